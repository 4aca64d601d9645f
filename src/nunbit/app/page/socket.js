// The live socket: binary messages with a 24-byte head, events as JSON; a cut connection comes back
// within a minute and the clock goes on. Sound that the server has not got is sent again.

const HEAD = 24;
const FRAME = 1, SOUND = 2;
const COME_BACK_MS = 60_000;
const AGAIN_MS = 700;
const KEEP_SAMPLES = 60 * 16000;

export class LiveSocket {
  /**
   * @param {object} hello the first message, without `type` and `resume`
   * @param {(event: object) => void} onEvent
   * @param {(state: "open"|"cut"|"back"|"lost"|"ended", detail?: object) => void} onState
   */
  constructor(hello, onEvent, onState) {
    this.hello = hello;
    this.onEvent = onEvent;
    this.onState = onState;
    this.frames = 0;
    this.sounds = 0;
    this.kept = []; // {first, length, message}: the last minute of sound
    this.keptSamples = 0;
    this.unsent = 0; // first sample that was never given to a socket
    this.ready = false;
    this.session = null;
    this.cutAt = null;
    this.over = false;
    this.notes = []; // notes made while cut
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.ready = false;
    const ws = new WebSocket(`${scheme}//${location.host}/api/live`);
    this.ws = ws;
    ws.binaryType = "arraybuffer";
    ws.onopen = () => ws.send(JSON.stringify({ type: "hello", ...this.hello, resume: this.session }));
    ws.onmessage = (message) => { if (ws === this.ws) this._received(JSON.parse(message.data)); };
    ws.onclose = (event) => { if (ws === this.ws) this._closed(event); };
  }

  _received(event) {
    if (event.type === "ready") {
      const back = this.session !== null && this.cutAt !== null;
      this.session = event.session;
      this.ready = true;
      this.cutAt = null;
      const from = back ? event.next_sample ?? this.unsent : 0;
      for (const part of this.kept) if (part.first + part.length > from) this.ws.send(part.message);
      this.unsent = this._end();
      for (const note of this.notes.splice(0)) this.ws.send(note);
      this.onState(back ? "back" : "open", event);
      if (this.stopping) this.ws.send(JSON.stringify({ type: "stop" }));
    } else if (event.type === "stopped") {
      this.over = true;
    } else if (event.type === "problem" && event.fatal) {
      this.over = true;
      this.fatal = event;
    }
    this.onEvent(event);
  }

  _closed(event) {
    this.ready = false;
    if (this.over) { this.onState("ended", { fatal: this.fatal ?? null, begun: this.session !== null }); return; }
    const now = performance.now();
    if (this.session === null) { // it never began
      this.over = true;
      this.onState("lost", { begun: false, code: event.code });
      return;
    }
    if (this.cutAt === null) { this.cutAt = now; this.onState("cut", {}); }
    if (now - this.cutAt > COME_BACK_MS) {
      this.over = true;
      this.onState("lost", { begun: true, code: event.code });
      return;
    }
    this.again = setTimeout(() => { if (!this.over) this.open(); }, AGAIN_MS);
  }

  /** Bytes that wait to be sent; −1 while there is no connection. */
  waiting() { return this.ready ? this.ws.bufferedAmount : -1; }

  sendFrame(jpeg, capturedMs) {
    if (!this.ready) return null;
    const seq = this.frames++;
    this.ws.send(packed(FRAME, seq, capturedMs, 0, jpeg));
    return seq;
  }

  sendSound(pcm, first, capturedMs) {
    const length = pcm.byteLength / 2;
    const message = packed(SOUND, this.sounds++, capturedMs, first, pcm);
    this.kept.push({ first, length, message });
    this.keptSamples += length;
    while (this.keptSamples > KEEP_SAMPLES) this.keptSamples -= this.kept.shift().length;
    if (!this.ready) return;
    this.ws.send(message);
    this.unsent = first + length;
  }

  _end() {
    const last = this.kept.at(-1);
    return last ? last.first + last.length : 0;
  }

  note(kind, text, capturedMs) {
    const message = JSON.stringify({ type: "note", kind, text, captured_ms: capturedMs });
    if (this.ready) this.ws.send(message); else this.notes.push(message);
  }

  drawn(seq, capturedMs, latencyMs) {
    if (this.ready) this.ws.send(JSON.stringify({ type: "drawn", seq, captured_ms: capturedMs, latency_ms: latencyMs }));
  }

  ping(capturedMs) {
    if (this.ready) this.ws.send(JSON.stringify({ type: "ping", captured_ms: capturedMs }));
  }

  stop() {
    this.stopping = true;
    if (this.ready) this.ws.send(JSON.stringify({ type: "stop" }));
  }

  /** Leave without a word (the page goes away). */
  leave() {
    this.over = true;
    clearTimeout(this.again);
    this.ws?.close();
  }
}

function packed(kind, seq, capturedMs, first, payload) {
  const message = new ArrayBuffer(HEAD + payload.byteLength);
  const view = new DataView(message);
  view.setUint8(0, kind);
  view.setUint8(1, 1);
  view.setUint16(2, 0, true);
  view.setUint32(4, seq, true);
  view.setFloat64(8, capturedMs, true);
  view.setBigUint64(16, BigInt(Math.max(0, Math.round(first))), true);
  new Uint8Array(message, HEAD).set(new Uint8Array(payload));
  return message;
}
