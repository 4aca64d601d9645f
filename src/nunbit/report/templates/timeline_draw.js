// Painters: each draws one kind of track onto its canvas for the stretch of time in view.
// A view is { from, to, width, height, x(t), scale (pixels per second), duration, theme, alone }.

function themeOf(root) {
  const style = getComputedStyle(root);
  const get = (name) => style.getPropertyValue(name).trim();
  const theme = { font: getComputedStyle(document.body).fontFamily, classes: [] };
  for (const name of ["paper", "ink", "soft", "line", "wash", "blue", "orange", "plum", "face",
                      "voice", "text", "fused", "hatch"]) theme[name] = get("--" + name);
  for (let i = 0; get("--class-" + i); i++) theme.classes.push(get("--class-" + i));
  return theme;
}

function hatchPattern(context, theme, ratio) {
  if (theme.pattern) return theme.pattern;
  const size = Math.round(7 * ratio);
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const c = tile.getContext("2d");
  c.strokeStyle = theme.hatch;
  c.lineWidth = ratio;
  c.beginPath();
  for (const shift of [-size, 0, size]) {
    c.moveTo(shift - 1, size + 1);
    c.lineTo(shift + size + 1, -1);
  }
  c.stroke();
  theme.pattern = context.createPattern(tile, "repeat");
  theme.pattern.setTransform(new DOMMatrix().scale(1 / ratio));
  return theme.pattern;
}

function fillHatched(c, view, from, to, top, height) {
  const a = Math.max(0, view.x(from)), b = Math.min(view.width, view.x(to));
  if (b <= a) return;
  const x = b - a < 1 ? a - 0.5 : a, width = Math.max(1, b - a);
  c.fillStyle = view.theme.wash;
  c.fillRect(x, top, width, height);
  c.fillStyle = hatchPattern(c, view.theme, view.ratio);
  c.fillRect(x, top, width, height);
}

// Stretches [first, last] of a level that are in view and not lost.
function stretches(level, view) {
  const margin = 2 * level.step;
  let i = Math.max(0, lastAtMost(level.x, view.from - margin));
  const stop = Math.min(level.x.length - 1, lastAtMost(level.x, view.to + margin) + 1);
  const found = [];
  while (i <= stop) {
    while (i <= stop && level.lost[i] > 0.5) i++;
    if (i > stop) break;
    const first = i;
    while (i <= stop && level.lost[i] <= 0.5) i++;
    found.push([first, i - 1]);
  }
  return found;
}

// A window stands for the step around its centre; the first and last reach the ends of the file.
function edges(level, view, first, last) {
  const start = first === 0 ? 0 : level.x[first] - level.step / 2;
  const end = last === level.x.length - 1 ? view.duration : level.x[last] + level.step / 2;
  return [view.x(start), view.x(end)];
}

function traceTop(c, level, view, values, first, last, toY, begin) {
  const [left, right] = edges(level, view, first, last);
  if (begin) c.moveTo(left, toY(values[first])); else c.lineTo(left, toY(values[first]));
  for (let i = first; i <= last; i++) c.lineTo(view.x(level.x[i]), toY(values[i]));
  c.lineTo(right, toY(values[last]));
}

function traceBack(c, level, view, values, first, last, toY) {
  const [left, right] = edges(level, view, first, last);
  c.lineTo(right, values ? toY(values[last]) : toY(0));
  if (values) for (let i = last; i >= first; i--) c.lineTo(view.x(level.x[i]), toY(values[i]));
  c.lineTo(left, values ? toY(values[first]) : toY(0));
  c.closePath();
}

// From afar points lie a pixel or two apart. Upright columns on whole pixels then look like the
// curve and cost a tenth of a path with as many corners.
const isDense = (level, view) => level.step * view.scale < 2.5;

function eachColumn(level, view, first, last, paint) {
  const [left, right] = edges(level, view, first, last);
  for (let i = first; i <= last; i++) {
    const a = Math.round(i === first ? left : view.x(level.x[i] - level.step / 2));
    const b = Math.round(i === last ? right : view.x(level.x[i] + level.step / 2));
    if (b > a) paint(i, a, b - a);
  }
}

function drawRibbon(c, track, view) {
  const level = levelFor(track.levels, view.scale);
  const toY = (v) => view.height * (1 - Math.min(1, v));
  fillHatched(c, view, 0, view.duration, 0, view.height);
  for (const [first, last] of stretches(level, view)) {
    const [left, right] = edges(level, view, first, last);
    c.clearRect(left, 0, right - left, view.height);
    const alone = track.classes.indexOf(view.alone);
    if (alone >= 0) {
      c.fillStyle = view.theme.wash;
      c.fillRect(left, 0, right - left, view.height);
    }
    for (let k = track.classes.length - 1; k >= 0; k--) {
      if (alone >= 0 && k !== alone) continue;
      // From the top down, each over the last: no seams between neighbours.
      c.fillStyle = view.theme.classes[track.classes[k]];
      if (isDense(level, view)) {
        const tops = alone < 0 ? level.tops[k] : level.values[k];
        eachColumn(level, view, first, last, (i, x, width) => {
          const y = toY(tops[i]);
          c.fillRect(x, y, width, view.height - y);
        });
        continue;
      }
      c.beginPath();
      traceTop(c, level, view, alone < 0 ? level.tops[k] : level.values[k], first, last, toY, true);
      traceBack(c, level, view, null, first, last, toY);
      c.fill();
    }
  }
}

function drawScale(c, view, ticks, toY, text) {
  c.font = `10px ${view.theme.font}`;
  c.textBaseline = "middle";
  c.textAlign = "left";
  for (const tick of ticks) {
    const y = Math.round(toY(tick)) + 0.5;
    c.strokeStyle = view.theme.line;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(0, y);
    c.lineTo(view.width, y);
    c.stroke();
  }
  // Texts later, over the curves: see drawScaleTexts.
  view.texts = { ticks, toY, text };
}

function drawScaleTexts(c, view) {
  if (!view.texts) return;
  const { ticks, toY, text } = view.texts;
  c.font = `10px ${view.theme.font}`;
  c.textBaseline = "middle";
  for (const tick of ticks) {
    const y = Math.min(view.height - 6, Math.max(6, toY(tick)));
    c.lineWidth = 3;
    c.strokeStyle = view.theme.paper;
    c.strokeText(text(tick), 3, y);
    c.fillStyle = view.theme.soft;
    c.fillText(text(tick), 3, y);
  }
  view.texts = null;
}

function drawLine(c, line, view, toY, filled) {
  const level = levelFor(line.levels, view.scale);
  const colour = view.theme[line.colour] || view.theme.blue;
  const [values, low, high] = level.values;
  const dense = isDense(level, view);
  c.fillStyle = c.strokeStyle = colour;
  for (const [first, last] of stretches(level, view)) {
    if (dense) {
      drawColumns(c, level, view, first, last, toY, filled);
      continue;
    }
    if (low && !isNaN(low[first])) {
      c.fillStyle = colour;
      c.globalAlpha = 0.16;
      c.beginPath();
      traceTop(c, level, view, high, first, last, toY, true);
      traceBack(c, level, view, low, first, last, toY);
      c.fill();
    }
    if (filled) {
      c.fillStyle = colour;
      c.globalAlpha = 0.14;
      c.beginPath();
      traceTop(c, level, view, values, first, last, toY, true);
      traceBack(c, level, view, null, first, last, toY);
      c.fill();
    }
    c.globalAlpha = 1;
    c.strokeStyle = colour;
    c.lineWidth = line.colour === "fused" ? 2 : 1.5;
    c.lineJoin = "round";
    c.beginPath();
    traceTop(c, level, view, values, first, last, toY, true);
    c.stroke();
  }
  if (line.baseline !== undefined) {
    c.strokeStyle = colour;
    c.lineWidth = 1;
    c.globalAlpha = 0.7;
    c.setLineDash([2, 3]);
    c.beginPath();
    c.moveTo(0, toY(line.baseline));
    c.lineTo(view.width, toY(line.baseline));
    c.stroke();
    c.setLineDash([]);
    c.globalAlpha = 1;
  }
}

function drawColumns(c, level, view, first, last, toY, filled) {
  const [values, low, high] = level.values, floor = toY(0);
  let before = toY(values[first]);
  eachColumn(level, view, first, last, (i, x, width) => {
    const y = toY(values[i]);
    if (low && !isNaN(low[i])) {
      c.globalAlpha = 0.16;
      c.fillRect(x, toY(high[i]), width, toY(low[i]) - toY(high[i]));
    }
    if (filled) {
      c.globalAlpha = 0.14;
      c.fillRect(x, Math.min(y, floor), width, Math.abs(y - floor));
    }
    c.globalAlpha = 1;
    c.fillRect(x, Math.min(y, before) - 0.6, width, Math.abs(y - before) + 1.2);
    before = y;
  });
}

function drawLines(c, track, view) {
  const pad = 3, toY = (v) =>
    pad + (view.height - 2 * pad) * (1 - (v - track.low) / (track.high - track.low));
  // Hatched where no line has a value.
  fillHatched(c, view, 0, view.duration, 0, view.height);
  for (const line of track.lines) {
    const level = levelFor(line.levels, view.scale);
    for (const [first, last] of stretches(level, view)) {
      const [left, right] = edges(level, view, first, last);
      c.clearRect(left, 0, right - left, view.height);
    }
  }
  drawScale(c, view, track.ticks, toY, (t) => (track.signed && t > 0 ? "+" : "") + minus(t));
  for (const line of track.lines) drawLine(c, line, view, toY, track.filled);
  drawScaleTexts(c, view);
}

function drawChosen(c, track, view, data) {
  const option = chosenOption(track, data);
  const spread = option.high - option.low || 1;
  drawLines(c, {
    lines: [option.line], low: option.low - 0.04 * spread, high: option.high + 0.04 * spread,
    ticks: [option.low, option.high], filled: false,
  }, view);
}

function minus(value) {
  const size = Math.abs(value);
  const text = String(Number(size.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)));
  return (value < 0 ? "−" : "") + text;
}

function drawSpans(c, track, view) {
  const lane = view.height / track.lanes.length;
  const colours = { joy: classColour(view, "joy"), depgroup: classColour(view, "sadness"),
                    incongruence: view.theme.orange, low_agreement: view.theme.plum };
  c.font = `11px ${view.theme.font}`;
  c.textBaseline = "middle";
  c.textAlign = "left";
  for (const [kind, start, end] of track.spans) {
    if (end < view.from || start > view.to) continue;
    const left = view.x(start), width = Math.max(2, view.x(end) - left), top = kind * lane + 1;
    if (track.hatched) {
      fillHatched(c, view, start, Math.max(end, start + 2 / view.scale), top, lane - 2);
    } else {
      c.fillStyle = colours[track.colours[kind]] || view.theme.blue;
      c.globalAlpha = 0.85;
      c.fillRect(left, top, width, lane - 2);
      c.globalAlpha = 1;
    }
  }
  for (let kind = 0; kind < track.lanes.length; kind++) {
    if (kind && track.colours[kind] === track.colours[kind - 1]) continue;
    const y = kind * lane + lane / 2;
    c.lineWidth = 3;
    c.strokeStyle = view.theme.paper;
    c.strokeText(track.lanes[kind], 4, y);
    c.fillStyle = view.theme.soft;
    c.fillText(track.lanes[kind], 4, y);
  }
}

function classColour(view, id) {
  const at = view.classIds.indexOf(id);
  return at < 0 ? view.theme.blue : view.theme.classes[at];
}

function turnAt(track, t) {
  const i = lastAtMost(track.turnStarts, t);
  return i >= 0 && t <= track.turns[i][1] ? track.turns[i] : null;
}

function isTarget(track, turn) {
  return !turn || track.target === null || track.speakers[turn[2]] === "" ||
    track.speakers[turn[2]] === track.target;
}

function drawSpeech(c, track, view) {
  const top = 12, height = view.height - top;
  for (const [start, end] of track.lost) fillHatched(c, view, start, end, 0, view.height);
  c.font = `10px ${view.theme.font}`;
  c.textBaseline = "alphabetic";
  c.textAlign = "left";
  for (const turn of track.turns) {
    if (turn[1] < view.from || turn[0] > view.to) continue;
    const left = view.x(turn[0]), width = view.x(turn[1]) - left;
    c.fillStyle = isTarget(track, turn) ? view.theme.blue : view.theme.soft;
    c.fillRect(left, 9, Math.max(1, width - 1), 2);
    const name = track.speakers[turn[2]];
    if (name && width > c.measureText(name).width + 6) c.fillText(name, Math.max(left, 0) + 2, 8);
  }
  if (view.scale < 3) return drawSpeechShares(c, track, view, top, height);
  for (const [start, end] of track.speech) {
    if (end < view.from || start > view.to) continue;
    const mine = isTarget(track, turnAt(track, (start + end) / 2));
    c.fillStyle = mine ? view.theme.blue : view.theme.soft;
    c.globalAlpha = mine ? 0.85 : 0.4;
    c.fillRect(view.x(start), top + 2, Math.max(0.6, view.x(end) - view.x(start)), height - 4);
  }
  c.globalAlpha = 1;
  for (const [start, end] of track.pauses) {
    if (end < view.from || start > view.to) continue;
    c.fillStyle = view.theme.orange;
    c.fillRect(view.x(start), top + height / 2 - 2, Math.max(1, view.x(end) - view.x(start)), 4);
  }
}

// Seen from afar: the share of each pixel column that is speech, the person's and the others'.
function drawSpeechShares(c, track, view, top, height) {
  const n = Math.ceil(view.width), mine = new Float32Array(n), all = new Float32Array(n);
  for (const [start, end] of track.speech) {
    if (end < view.from || start > view.to) continue;
    const own = isTarget(track, turnAt(track, (start + end) / 2));
    const a = view.x(start), b = view.x(end);
    for (let i = Math.max(0, Math.floor(a)); i < Math.min(n, Math.ceil(b)); i++) {
      const part = Math.min(b, i + 1) - Math.max(a, i);
      all[i] += part;
      if (own) mine[i] += part;
    }
  }
  for (const [share, colour, alpha] of [[all, view.theme.soft, 0.4], [mine, view.theme.blue, 0.85]]) {
    c.fillStyle = colour;
    c.globalAlpha = alpha;
    for (let i = 0; i < n; i++) {
      const h = (height - 2) * Math.min(1, share[i]);
      if (h > 0) c.fillRect(i, top + height - 1 - h, 1, h);
    }
  }
  c.globalAlpha = 1;
}

function drawCurve(c, track, view) {
  const map = track.log ? Math.log2 : (v) => v;
  const low = map(track.low), high = map(track.high), pad = 3;
  const toY = (v) => pad + (view.height - 2 * pad) * (1 - (map(v) - low) / (high - low));
  for (const [start, end] of track.lost) fillHatched(c, view, start, end, 0, view.height);
  drawScale(c, view, track.ticks, toY, (t) => String(t).replace("-", "−"));
  const visible = (view.to - view.from) / track.hop;
  const most = Math.min(4000, 1.2 * view.width);
  let factor = 1;
  while (visible / factor > most) factor *= 2;
  const level = curveLevel(track, factor);
  const first = Math.max(0, Math.floor((view.from - level.start) / level.hop) - 1);
  const last = Math.min(level.median.length - 1, Math.ceil((view.to - level.start) / level.hop) + 1);
  const width = level.hop * view.scale, spread = factor > 1 || track.least;
  if (spread) {
    c.fillStyle = view.theme.blue;
    c.globalAlpha = 0.25;
    for (let i = first; i <= last; i++) {
      if (isNaN(level.median[i])) continue;
      const y = toY(level.most[i]), x = Math.round(view.x(level.start + i * level.hop) - width / 2);
      c.fillRect(x, y, Math.ceil(width), Math.max(1, toY(level.least[i]) - y));
    }
    c.globalAlpha = 1;
    for (let i = first; i <= last; i++) {
      if (isNaN(level.median[i])) continue;
      const x = Math.round(view.x(level.start + i * level.hop) - width / 2);
      c.fillRect(x, toY(level.median[i]) - 0.75, Math.ceil(width), 1.5);
    }
    drawScaleTexts(c, view);
    return;
  }
  c.strokeStyle = view.theme.blue;
  c.lineWidth = 1.6;
  c.lineJoin = "round";
  c.beginPath();
  let before = false;
  for (let i = first; i <= last; i++) {
    const v = level.median[i], x = view.x(level.start + i * level.hop);
    if (isNaN(v)) { before = false; continue; }
    const alone = !before && (i === last || isNaN(level.median[i + 1]));
    if (alone) c.rect(x - 0.5, toY(v) - 0.5, 1, 1);
    else if (before) c.lineTo(x, toY(v));
    else c.moveTo(x, toY(v));
    before = true;
  }
  c.stroke();
  drawScaleTexts(c, view);
}

function drawSamples(c, track, view) {
  const pad = 3, toY = (v) =>
    pad + (view.height - 2 * pad) * (1 - (v - track.low) / (track.high - track.low));
  const times = track.times, first = Math.max(0, lastAtMost(times, view.from) - 1);
  const last = Math.min(times.length - 1, lastAtMost(times, view.to) + 1);
  // Hatched where no face was seen for more than half a second.
  let seen = first === 0 ? 0 : times[first];
  for (let i = first; i <= last + 1; i++) {
    const t = i > last ? (last === times.length - 1 ? view.duration : times[last]) : times[i];
    if (i <= last && isNaN(track.lines[0].value[i])) continue;
    if (t - seen > 0.5) fillHatched(c, view, seen, t, 0, view.height);
    seen = t;
  }
  drawScale(c, view, track.ticks, toY, (t) => minus(t));
  const clipped = (v) => toY(Math.max(track.low, Math.min(track.high, v)));
  for (const line of track.lines) {
    c.fillStyle = c.strokeStyle = view.theme[line.colour];
    if (last - first > view.width) drawRanges(c, times, line.value, first, last, view, clipped);
    else drawPolyline(c, times, line.value, first, last, view, clipped);
  }
  drawScaleTexts(c, view);
}

function drawPolyline(c, times, values, first, last, view, toY) {
  c.lineWidth = 1.2;
  c.beginPath();
  let before = -1;
  for (let i = first; i <= last; i++) {
    if (isNaN(values[i])) { before = -1; continue; }
    if (before >= 0 && times[i] - times[before] <= 0.5) c.lineTo(view.x(times[i]), toY(values[i]));
    else c.moveTo(view.x(times[i]), toY(values[i]));
    before = i;
  }
  c.stroke();
}

// Several samples to a pixel: from the smallest to the largest of each pixel column.
function drawRanges(c, times, values, first, last, view, toY) {
  let column = null, low = 0, high = 0;
  const paint = () => {
    const y = toY(high);
    c.fillRect(column, y - 0.5, 1, toY(low) - y + 1);
  };
  for (let i = first; i <= last; i++) {
    if (isNaN(values[i])) continue;
    const x = Math.floor(view.x(times[i]));
    if (x !== column) {
      if (column !== null) paint();
      column = x;
      low = high = values[i];
    } else {
      low = Math.min(low, values[i]);
      high = Math.max(high, values[i]);
    }
  }
  if (column !== null) paint();
}

const WORD_ROW = 17;

function drawWords(c, track, view) {
  const first = Math.max(0, lastAtMost(track.start, view.from) - 40);
  const last = lastAtMost(track.start, view.to);
  const rows = Math.floor(view.height / WORD_ROW);
  const style = (i) => (track.flags[i] & 2 ? "italic " : "") + `12px ${view.theme.font}`;
  track.placed = [];
  const dense = (last - first) * 22 > rows * view.width * 1.3;
  if (dense) {
    for (const saying of track.sayings) {
      if (saying.end < view.from || saying.start > view.to) continue;
      const mine = track.target === null || track.speakers[saying.speaker] === track.target;
      c.fillStyle = mine ? view.theme.blue : view.theme.soft;
      c.globalAlpha = mine ? 0.55 : 0.3;
      const left = view.x(saying.start);
      c.fillRect(left, view.height / 2 - 8, Math.max(1, view.x(saying.end) - left - 0.5), 16);
    }
    c.globalAlpha = 1;
    for (let i = first; i <= last; i++) {
      if (!(track.flags[i] & 1)) continue;
      c.fillStyle = view.theme.orange;
      c.fillRect(view.x(track.start[i]), view.height / 2 + 9, 1.5, 4);
    }
    return;
  }
  c.textBaseline = "middle";
  c.textAlign = "left";
  const free = new Array(rows).fill(-Infinity);
  for (let i = first; i <= last; i++) {
    const left = view.x(track.start[i]), right = view.x(track.end[i]);
    c.font = style(i);
    if (!track.widths[i]) track.widths[i] = c.measureText(track.text[i]).width;
    const width = track.widths[i], row = free.findIndex((end) => end + 4 <= left);
    const mine = track.target === null || track.speakers[track.speaker[i]] === track.target;
    const colour = track.flags[i] & 1 ? view.theme.orange : mine ? view.theme.ink : view.theme.soft;
    const at = row < 0 ? rows - 1 : row, y = at * WORD_ROW + WORD_ROW / 2;
    c.fillStyle = colour;
    c.globalAlpha = 0.35;
    c.fillRect(left, y + 7, Math.max(1, right - left - 1), 1.5);
    c.globalAlpha = track.confidence[i] < 0.6 ? 0.5 : 1;  // NaN: the source gives none
    if (row >= 0) {
      c.fillText(track.text[i], left, y);
      free[row] = left + width;
      track.placed.push({ i, left, right: Math.max(right, left + width), top: at * WORD_ROW });
    }
    c.globalAlpha = 1;
  }
}

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

function clock(t, step) {
  const digits = step < 1 ? 1 : 0;
  const whole = Math.floor(t * 10 + 1e-6);
  const seconds = Math.floor(whole / 10), h = Math.floor(seconds / 3600);
  const m = Math.floor(seconds / 60) % 60, s = seconds % 60, two = (n) => String(n).padStart(2, "0");
  return (h ? `${h}:${two(m)}` : String(m)) + ":" + two(s) + (digits ? "." + (whole % 10) : "");
}

function drawAxis(c, view) {
  const step = STEPS.find((s) => s * view.scale >= 64) || 7200;
  c.font = `11px ${view.theme.font}`;
  c.textBaseline = "middle";
  c.textAlign = "left";
  for (let k = Math.floor(view.from / step); k * step <= view.to; k++) {
    const x = Math.round(view.x(k * step)) + 0.5;
    c.strokeStyle = view.theme.line;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(x, 3);
    c.lineTo(x, view.height);
    c.stroke();
    c.fillStyle = view.theme.soft;
    c.fillText(clock(k * step, step), x + 4, view.height / 2);
  }
}

// Above the tracks: the main ribbon in small and the speech below it, over the whole recording.
function drawOverview(c, data, view) {
  const ribbons = data.tracks.filter((t) => t.kind === "ribbon" && t.main);
  const ribbon = ribbons.find((t) => t.modality === "fused") || ribbons[0];
  const speech = data.tracks.find((t) => t.kind === "speech");
  const split = speech && ribbon ? view.height - 12 : ribbon ? view.height : 0;
  if (ribbon) drawRibbon(c, ribbon, { ...view, height: split - 2, alone: -1 });
  if (speech) {
    c.save();
    c.translate(0, split - 12);
    drawSpeechShares(c, speech, view, 12, view.height - split);
    c.restore();
  }
}

const PAINTERS = {
  ribbon: drawRibbon, lines: drawLines, spans: drawSpans, speech: drawSpeech, curve: drawCurve,
  samples: drawSamples, words: drawWords, chosen: drawChosen,
};

function trackHeight(track, narrow) {
  if (track.kind === "lines" && track.lines.length > 1) return narrow ? 72 : 78;
  const heights = { ribbon: 54, lines: 56, speech: 34, curve: 58, samples: 44, chosen: 46 };
  if (track.kind === "spans") return Math.max(18, 17 * track.lanes.length);
  if (track.kind === "words") return WORD_ROW * (narrow ? 4 : 3);
  return heights[track.kind];
}
