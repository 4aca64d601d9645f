// The microphone: 16 kHz samples with their index, and when the first of a chunk was recorded on
// the clock of `performance.now()`. Echo cancellation, noise suppression and gain control are off,
// because they change the voice.

const RESUME_MS = 4000; // a machine with a sound output takes less than one second
export const RATE = 16000;
const GAP_MS = 200; // a jump of the sound against the clock that is no jitter
const SURE = 8; // chunks in a row that must say so
const FORGET_MS_PER_S = 0.2; // how fast the least delay is forgotten: drift of clocks up to 200 ppm

export const SOUND_WISHES = {
  echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1,
};

export class Sound {
  /**
   * @param {MediaStream} stream with an audio track
   * @param {(pcm: ArrayBuffer, first: number, capturedMs: number) => void} onChunk
   * @param {(gapMs: number) => void} onGap
   * @param {number|null} zeroMs time of sample 0 where the session's clock runs already
   */
  constructor(stream, onChunk, onGap, zeroMs = null) {
    this.stream = stream;
    this.onChunk = onChunk;
    this.onGap = onGap;
    this.zeroMs = zeroMs; // performance time of sample 0 of the session
    this.shift = 0; // session index minus worklet index
    this.least = null; // least (arrival − context time) seen, ms, slowly forgotten
    this.leastAt = 0;
    this.recent = []; // the last differences
    this.resampledFrom = 0;
    this.inputMs = 1000 * (stream.getAudioTracks()[0]?.getSettings?.().latency ?? 0);
  }

  async start() {
    this.context = this._context(RATE);
    let source;
    try {
      source = this.context.createMediaStreamSource(this.stream);
    } catch {
      // Some browsers connect a microphone only at its own rate.
      await this.context.close();
      this.context = new AudioContext({ latencyHint: "interactive" });
      source = this.context.createMediaStreamSource(this.stream);
    }
    if (this.context.sampleRate !== RATE) this.resampledFrom = this.context.sampleRate;
    await this.context.audioWorklet.addModule(new URL("./sound_worklet.js", import.meta.url));
    this.node = new AudioWorkletNode(this.context, "nunbit-collector", {
      numberOfInputs: 1, numberOfOutputs: 1, outputChannelCount: [1],
    });
    this.node.port.onmessage = (event) => this._arrived(event.data, performance.now());
    this.source = source;
    source.connect(this.node);
    // A node whose output goes nowhere may not run; its output is silence.
    this.node.connect(this.context.destination);
    this.context.onstatechange = () => {
      if (this.context.state === "suspended" || this.context.state === "interrupted") this.context.resume().catch(() => {});
    };
    if (this.context.state !== "running") await this._resumed();
  }

  /** Firefox reads no microphone, and never answers, where the machine has no sound output. */
  async _resumed() {
    await Promise.race([this.context.resume(), new Promise((go) => setTimeout(go, RESUME_MS))]);
    if (this.context.state === "running") return;
    this.context.onstatechange = null;
    this.context.close().catch(() => {});
    throw new DOMException("the sound output does not open", "NoOutputError");
  }

  _context(rate) {
    try { return new AudioContext({ sampleRate: rate, latencyHint: "interactive" }); } catch {
      return new AudioContext({ latencyHint: "interactive" });
    }
  }

  _arrived({ pcm, first, block }, now) {
    const length = pcm.byteLength / 2;
    // A message never comes early: the least difference of arrival and context time is the mapping.
    const difference = now - 1000 * block;
    const forgotten = this.least === null ? Infinity : this.least + (FORGET_MS_PER_S * (now - this.leastAt)) / 1000;
    this.least = Math.min(difference, forgotten);
    this.leastAt = now;
    // A busy page delays some messages; only sound that stood still (sleep) delays all that follow.
    this.recent = [...this.recent.slice(1 - SURE), difference];
    const lately = Math.min(...this.recent);
    if (this.recent.length === SURE && lately > this.least + GAP_MS) this.least = lately;
    const capturedMs = 1000 * block + this.least - this.inputMs - (1000 * length) / RATE;
    if (this.zeroMs === null) this.zeroMs = capturedMs - (1000 * first) / RATE;
    else this._keepClock(first, capturedMs);
    this.onChunk(pcm, first + this.shift, capturedMs);
  }

  // The index goes on with the clock where the sound stood still (sleep, another microphone).
  _keepClock(first, capturedMs) {
    const expected = ((capturedMs - this.zeroMs) * RATE) / 1000;
    const missing = expected - (first + this.shift);
    // The clocks drift apart by some parts per million: follow that, and jump only for gaps.
    if (this.behind === undefined) {
      this.behind = 0;
      if (Math.abs(missing) > (GAP_MS * RATE) / 1000) { this.shift += Math.max(0, Math.round(missing)); }
      return;
    }
    if (missing - this.behind > (GAP_MS * RATE) / 1000) {
      const gap = Math.round(missing - this.behind);
      this.shift += gap;
      this.onGap((1000 * gap) / RATE);
    } else {
      this.behind += 0.01 * (missing - this.behind);
    }
  }

  async stop() {
    if (!this.context) return;
    this.node.port.postMessage("stop");
    this.source.disconnect();
    this.node.disconnect();
    this.context.onstatechange = null;
    await this.context.close().catch(() => {});
    this.context = null;
  }
}
