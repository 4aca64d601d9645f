// Runs on the audio thread: collects the microphone's samples into 16-bit chunks at 16 kHz. Where
// the context runs at another rate, a windowed sinc brings it to 16 kHz. Changes nothing else.

const RATE = 16000;
const CHUNK = 800; // 50 ms
const HALF = 24; // taps on each side, in samples of the lower rate

class Resampler {
  constructor(from) {
    this.step = from / RATE; // input samples for one output sample
    this.cut = Math.min(1, RATE / from) * 0.95; // of the input's half rate
    this.half = Math.ceil(HALF * Math.max(1, this.step));
    this.input = new Float32Array(this.half); // silence before the first sample
    this.at = this.half; // place of the next output sample in `input`
  }

  push(block, give) {
    const joined = new Float32Array(this.input.length + block.length);
    joined.set(this.input);
    joined.set(block, this.input.length);
    while (this.at + this.half < joined.length) {
      const first = Math.ceil(this.at - this.half), last = Math.floor(this.at + this.half);
      let sum = 0;
      for (let i = Math.max(0, first); i <= last; i++) {
        const x = i - this.at;
        const sinc = x === 0 ? this.cut : Math.sin(Math.PI * this.cut * x) / (Math.PI * x);
        sum += joined[i] * sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / this.half));
      }
      give(sum);
      this.at += this.step;
    }
    const drop = Math.max(0, Math.floor(this.at) - this.half - 1);
    this.input = joined.slice(drop);
    this.at -= drop;
  }
}

class Collector extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Int16Array(CHUNK);
    this.filled = 0;
    this.sent = 0; // samples given away before this chunk
    this.start = -1; // context time of the first sample, seconds
    this.resampler = sampleRate === RATE ? null : new Resampler(sampleRate);
    this.over = false;
    this.port.onmessage = () => { this.over = true; };
  }

  give(value) {
    const scaled = Math.round(value * 32768);
    this.chunk[this.filled++] = scaled > 32767 ? 32767 : scaled < -32768 ? -32768 : scaled;
    if (this.filled < CHUNK) return;
    const pcm = this.chunk.buffer;
    // `block`: context time at the end of what was read; the page knows when it arrives.
    this.port.postMessage({ pcm, first: this.sent, block: currentTime + 128 / sampleRate }, [pcm]);
    this.sent += CHUNK;
    this.chunk = new Int16Array(CHUNK);
    this.filled = 0;
  }

  process(inputs) {
    if (this.over) return false;
    const channels = inputs[0];
    if (!channels || channels.length === 0) return true; // nothing is connected: a gap
    let mono = channels[0];
    if (channels.length > 1) {
      mono = new Float32Array(channels[0].length);
      for (const channel of channels) for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / channels.length;
    }
    if (this.resampler) this.resampler.push(mono, (value) => this.give(value));
    else for (let i = 0; i < mono.length; i++) this.give(mono[i]);
    return true;
  }
}

registerProcessor("nunbit-collector", Collector);
