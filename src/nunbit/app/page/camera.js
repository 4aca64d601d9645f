// The camera: at most one JPEG in each step of 100 ms, at most 640 pixels wide, with the time at
// which it was captured. What is sent is never mirrored; only the picture on the page is.

const WIDEST_PX = 640;
const QUALITY = 0.85;
// A cell reaches half a step to both sides of its time on the session's grid. The first frame from so
// long before that time on is sent: with 15 or 30 a second it then lies well inside, whatever the
// clocks' small differences.
const BEFORE_MS = 25;
const FULL_BYTES = 200_000; // more than this waiting in the socket: the next frame would be late

export const PICTURE_WISHES = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };

export class Camera {
  /**
   * @param {HTMLVideoElement} video plays the stream
   * @param {(jpeg: ArrayBuffer, capturedMs: number) => void} onFrame
   * @param {() => number} waiting bytes that wait in the socket; negative where it is not open
   * @param {() => number|null} zero time of the session's zero: the cells are the session's
   */
  constructor(video, onFrame, waiting, zero, rateHz = 10) {
    this.video = video;
    this.onFrame = onFrame;
    this.waiting = waiting;
    this.zero = zero;
    this.cellMs = 1000 / rateHz;
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d", { alpha: false, desynchronized: true });
    this.lastCell = -Infinity;
    this.before = null;
    this.encoding = false;
    this.busyCell = null; // in which the socket or the encoder was busy
    this.heldBack = 0; // cells left out here because they were
    this.running = false;
    this.seenAt = 0;
  }

  start() {
    this.running = true;
    this.byCallback = "requestVideoFrameCallback" in HTMLVideoElement.prototype;
    if (this.byCallback) this._wait();
    // Without the callback, and while the tab is hidden (then it never comes), a timer.
    this.timer = setInterval(() => {
      if (!this.byCallback || performance.now() - this.seenAt > 500) this._take(performance.now());
    }, this.byCallback ? 250 : this.cellMs / 2);
  }

  _wait() {
    this.handle = this.video.requestVideoFrameCallback((now, about) => {
      if (!this.running) return;
      this._wait();
      this.seenAt = performance.now();
      // captureTime is the camera's own; browsers without it give when the frame was ready.
      this._take(about.captureTime > 0 ? about.captureTime : now);
    });
  }

  _take(capturedMs) {
    const video = this.video, zero = this.zero();
    const place = zero === null ? capturedMs : capturedMs - zero;
    if (zero !== null && this.before === null) this.lastCell = -Infinity; // other cells from here on
    this.before = zero;
    const cell = Math.floor((place + BEFORE_MS) / this.cellMs);
    if (!this.running || cell <= this.lastCell || video.readyState < 2 || !video.videoWidth) return;
    const waiting = this.waiting();
    if (waiting < 0) return;
    // While the socket or the encoder is busy, a later frame of the same cell may still go.
    if (this.encoding || waiting > FULL_BYTES) {
      if (cell !== this.busyCell) this.heldBack += 1;
      this.busyCell = cell;
      return;
    }
    if (cell === this.busyCell) this.heldBack -= 1;
    this.lastCell = cell;
    const scale = Math.min(1, WIDEST_PX / video.videoWidth);
    const width = 2 * Math.round((video.videoWidth * scale) / 2);
    const height = 2 * Math.round((video.videoHeight * scale) / 2);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    this.context.drawImage(video, 0, 0, width, height);
    this.encoding = true;
    this.canvas.toBlob(async (blob) => {
      try {
        if (blob && this.running) this.onFrame(await blob.arrayBuffer(), capturedMs);
      } finally { this.encoding = false; }
    }, "image/jpeg", QUALITY);
  }

  stop() {
    this.running = false;
    clearInterval(this.timer);
    if (this.handle && this.video.cancelVideoFrameCallback) this.video.cancelVideoFrameCallback(this.handle);
  }
}
