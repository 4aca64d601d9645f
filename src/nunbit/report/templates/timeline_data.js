// The other half of timeline_pack.py: base64 to typed arrays, and coarser levels for the screen.

const WHOLE = { u1: [Uint8Array, 255], u2: [Uint16Array, 65535], i4: [Int32Array, null] };

function rawOf(packed) {
  const text = atob(packed.d);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new WHOLE[packed.k][0](bytes.buffer);
}

function unpack(packed) {
  const raw = rawOf(packed);
  const missing = WHOLE[packed.k][1];
  const Kind = packed.k === "i4" ? Float64Array : Float32Array;
  const values = new Kind(raw.length);
  for (let i = 0; i < raw.length; i++) {
    values[i] = raw[i] === missing ? NaN : packed.o + packed.s * raw[i];
  }
  return values;
}

// Index of the last item <= value, or -1.
function lastAtMost(sorted, value) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1; else high = middle;
  }
  return low - 1;
}

// Windows on a screen: level 0 is every window, each further level joins two neighbours.
function windowLevels(middles, columns, hop) {
  let x = middles, values = columns, step = hop;
  let lost = new Float32Array(middles.length);
  for (let i = 0; i < lost.length; i++) lost[i] = columns.every((c) => isNaN(c[i])) ? 1 : 0;
  const levels = [{ x, values, lost, step }];
  while (x.length > 256) {
    const n = Math.ceil(x.length / 2);
    const nextX = new Float64Array(n), nextLost = new Float32Array(n);
    const next = values.map(() => new Float32Array(n));
    for (let i = 0; i < n; i++) {
      const a = 2 * i, b = Math.min(2 * i + 1, x.length - 1);
      nextX[i] = (x[a] + x[b]) / 2;
      nextLost[i] = (lost[a] + lost[b]) / 2;
      for (let k = 0; k < values.length; k++) {
        const p = values[k][a], q = values[k][b];
        next[k][i] = isNaN(p) ? q : isNaN(q) ? p : (p + q) / 2;
      }
    }
    step *= 2;
    x = nextX; values = next; lost = nextLost;
    levels.push({ x, values, lost, step });
  }
  return levels;
}

// The coarsest level whose points are at most about a pixel apart, or the finest there is.
function levelFor(levels, pixelsPerSecond) {
  let chosen = levels[0];
  for (const level of levels) if (level.step * pixelsPerSecond <= 1.2) chosen = level;
  return chosen;
}

// Smallest, median and largest of every `factor` samples of a curve; kept once made.
function curveLevel(track, factor) {
  if (!track.levels) track.levels = new Map();
  if (track.levels.has(factor)) return track.levels.get(factor);
  const middle = track.median, n = Math.ceil(middle.length / factor);
  const least = track.least || middle, most = track.most || middle;
  const level = {
    start: track.start + ((factor - 1) / 2) * track.hop,
    hop: track.hop * factor,
    least: new Float32Array(n), median: new Float32Array(n), most: new Float32Array(n),
  };
  const sorted = new Float32Array(factor);
  for (let i = 0; i < n; i++) {
    let count = 0, low = Infinity, high = -Infinity;
    const stop = Math.min(middle.length, (i + 1) * factor);
    for (let j = i * factor; j < stop; j++) {
      if (isNaN(middle[j])) continue;
      sorted[count++] = middle[j];
      if (least[j] < low) low = least[j];
      if (most[j] > high) high = most[j];
    }
    if (count === 0) {
      level.least[i] = level.median[i] = level.most[i] = NaN;
      continue;
    }
    const part = sorted.subarray(0, count).sort();
    level.least[i] = low;
    level.most[i] = high;
    level.median[i] = (part[(count - 1) >> 1] + part[count >> 1]) / 2;
  }
  track.levels.set(factor, level);
  return level;
}

// [a0, b0, a1, b1, ...] as pairs.
function pairs(packed) {
  const flat = unpack(packed), list = [];
  for (let i = 0; i < flat.length; i += 2) list.push([flat[i], flat[i + 1]]);
  return list;
}

function prepareLine(line, data) {
  const middles = data.windows.middle, hop = data.windows.hop;
  line.value = unpack(line.value);
  line.reasons = data.reasonSets[line.reasons];
  const columns = [line.value];
  if (line.low) {
    line.low = unpack(line.low);
    line.high = unpack(line.high);
    columns.push(line.low, line.high);
  }
  line.levels = windowLevels(middles, columns, hop);
}

function prepareRibbon(track, data) {
  const middles = data.windows.middle, hop = data.windows.hop;
  track.values = track.values.map(unpack);
  track.reasons = data.reasonSets[track.reasons];
  track.used = unpack(track.used);
  track.levels = windowLevels(middles, track.values, hop);
  for (const level of track.levels) {
    level.tops = [];  // running sums from below
    let below = new Float32Array(level.x.length);
    for (const column of level.values) {
      const top = new Float32Array(below.length);
      for (let i = 0; i < top.length; i++) top[i] = below[i] + (isNaN(column[i]) ? 0 : column[i]);
      level.tops.push(top);
      below = top;
    }
  }
}

function prepareWords(track) {
  track.start = unpack(track.start);
  track.end = unpack(track.end);
  track.confidence = unpack(track.confidence);
  track.flags = rawOf(track.flags);
  track.speaker = rawOf(track.speaker);
  track.widths = new Float32Array(track.text.length);
  track.sayings = [];  // consecutive words of one utterance
  for (let i = 0; i < track.text.length; i++) {
    const last = track.sayings[track.sayings.length - 1];
    if (last && track.utterance[i] === last.utterance && track.speaker[i] === last.speaker) {
      last.stop = i + 1;
      last.end = Math.max(last.end, track.end[i]);
    } else {
      track.sayings.push({
        utterance: track.utterance[i], speaker: track.speaker[i],
        first: i, stop: i + 1, start: track.start[i], end: track.end[i],
      });
    }
  }
  track.sayingStarts = track.sayings.map((s) => s.start);
}

// Turns the packed document into what the painters use, in place.
function prepare(data) {
  data.windows.middle = unpack(data.windows.middle);
  data.reasonSets = data.reasonSets.map(rawOf);
  data.frames = data.frames && unpack(data.frames);
  for (const track of data.tracks) {
    if (track.kind === "ribbon") prepareRibbon(track, data);
    if (track.kind === "lines") track.lines.forEach((line) => prepareLine(line, data));
    if (track.kind === "words") prepareWords(track);
    if (track.kind === "chosen") track.at = 0;
    if (track.kind === "samples") {
      track.times = data.frames;
      for (const line of track.lines) line.value = unpack(line.value);
    }
    if (track.kind === "curve") {
      for (const name of ["least", "median", "most"]) {
        if (track[name]) track[name] = unpack(track[name]);
      }
      track.lost = pairs(track.lost);
    }
    if (track.kind === "speech") {
      for (const name of ["speech", "pauses", "lost"]) track[name] = pairs(track[name]);
      track.starts = track.speech.map((span) => span[0]);
      track.turnStarts = track.turns.map((turn) => turn[0]);
    }
  }
  return data;
}

// The measure chosen in the selection list, unpacked when first asked for.
function chosenOption(track, data) {
  const option = track.options[track.at];
  if (!option.line.levels) prepareLine(option.line, data);
  return option;
}
