// The moving tracks, drawn by uPlot: the last minute on the session's clock, in the order and the
// colours of nunbit's reports. Final values are solid; provisional ones are dashed and lighter.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { clock, h, language, percent, signed, t } from "./dom.js";

export const SPAN_S = 60;
const KEEP_S = 90; // what lies further back is forgotten here; the server has it
const VOICE_HOP_S = 0.05;
const LEVEL_FLOOR = -80;
const MOST_LETTERS = 28; // of an utterance on its track; all of it stands beside the picture
const SYNC = "nunbit-live";

/** What was received, as far as it is shown. */
export class Signals {
  constructor() {
    this.frames = []; // {t, p, valence, state}
    this.windows = [];
    this.level = { t: [], dbfs: [], speech: [], f0: [] };
    this.pauses = [];
    this.words = [];
    this.notes = [];
    this.voiceState = "";
  }

  face(event) { this.frames.push(event); }

  voice(event) {
    const hop = event.hop_s || VOICE_HOP_S, level = this.level;
    // What was said before about the same time is replaced: provisional rows may come again.
    while (level.t.length && level.t.at(-1) > event.t - hop / 2) for (const key in level) level[key].pop();
    event.level_dbfs.forEach((value, i) => {
      level.t.push(event.t + i * hop);
      level.dbfs.push(value);
      level.speech.push(event.speech[i] ?? 0);
      level.f0.push(event.f0_hz[i] ?? null);
    });
    this.voiceState = event.state;
  }

  pause(event) { replaceOrPush(this.pauses, event); }

  // Words of an utterance that goes on give way to whatever comes next.
  word(event) {
    this.words = this.words.filter((other) => !other.open);
    if (event.text) replaceOrPush(this.words, event);
  }

  // A window comes again when words of its time are known; its face is the same.
  window(event) { replaceOrPush(this.windows, { ...event, mid: (event.t_start + event.t_end) / 2 }); }

  note(event) { this.notes.push(event); }

  forget(now) {
    const from = now - KEEP_S, level = this.level;
    trim(this.frames, (x) => x.t < from);
    trim(this.windows, (x) => x.t_end < from);
    trim(this.pauses, (x) => x.t_end < from);
    trim(this.words, (x) => x.t_end < from);
    trim(this.notes, (x) => x.t < from);
    const old = level.t.findIndex((time) => time >= from);
    if (old > 200) for (const key in level) level[key].splice(0, old);
  }
}

function replaceOrPush(list, event) {
  const at = list.findIndex((other) => Math.abs(other.t_start - event.t_start) < 0.02);
  if (at >= 0) list[at] = event; else list.push(event);
}

function trim(list, old) {
  let n = 0;
  while (n < list.length && old(list[n])) n++;
  if (n > 100 || n === list.length) list.splice(0, n);
}

export function themeOf() {
  const style = getComputedStyle(document.documentElement);
  const theme = { font: getComputedStyle(document.body).fontFamily };
  for (const name of ["paper", "ink", "soft", "line", "wash", "blue", "orange", "plum", "hatch",
                      "face", "voice", "text", "fused"]) theme[name] = style.getPropertyValue("--" + name).trim();
  theme.dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return theme;
}

/** Colours of the classes for the page's light: {id: colour}. */
export const classColours = (labels) => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? 1 : 0;
  return Object.fromEntries(labels.map((label) =>
    [label.id, Array.isArray(label.colour) ? label.colour[dark] : label.colour]));
};

export class Tracks {
  constructor(place, signals, ready) {
    this.place = place;
    this.signals = signals;
    this.labels = ready.labels.filter((label) => !label.unvalidated);
    this.words = ready.words;
    this.aligned = ready.aligned;
    this.now = 0;
    // What is scrolled out of sight is not drawn.
    this.inSight = new Set();
    this.visible = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) this.inSight.add(target); else this.inSight.delete(target);
      }
    }, { rootMargin: "40px" });
    this.build();
    this.light = matchMedia("(prefers-color-scheme: dark)");
    this.changed = () => this.build();
    this.light.addEventListener("change", this.changed);
    this.seen = new ResizeObserver(() => this.resize());
    this.seen.observe(place);
  }

  build() {
    this.plots?.forEach(({ plot }) => plot.destroy());
    this.visible.disconnect();
    this.inSight.clear();
    this.theme = themeOf();
    this.hatch = null;
    this.colours = classColours(this.labels);
    this.place.replaceChildren();
    const value = (min, max, ticks, format) => ({ min, max, ticks, format });
    const three = value(-1.05, 1.05, [-1, 0, 1], (v) => (v > 0 ? "+1" : v < 0 ? "−1" : "0"));
    this.plots = [
      this.track("face", 64, null, (u) => this.ribbon(u)),
      this.track("valence", 68, three, (u) => this.valence(u)),
      this.track("disagreement", 48, value(0, 1.02, [0, 0.5, 1], String), (u) => this.disagreement(u)),
      this.track("agreement", 68, three, (u) => this.agreement(u)),
      this.track("speech", 34, null, (u) => this.speech(u)),
      this.track("pitch", 52, value(Math.log2(70), Math.log2(420), [100, 200, 400].map(Math.log2), (v) => String(Math.round(2 ** v))), (u) => this.pitch(u)),
      this.track("level", 48, value(LEVEL_FLOOR, 0, [-60, -40, -20], (v) => String(v).replace("-", "−")), (u) => this.level(u)),
      this.words ? this.track("words", 60, null, (u) => this.spoken(u)) : null,
      this.track("notes", 40, null, (u) => this.notes(u), true),
    ].filter(Boolean);
    this.resize();
  }

  track(name, height, scale, paint, axis = false) {
    const title = h("span", { class: "title", t: `track.${name}` });
    const note = h("span", { class: "note", t: name === "agreement" && this.aligned ? "track.agreement_shared_note" : `track.${name}_note` });
    const values = h("span", { class: "value" });
    const place = h("div", { class: "plot", role: "img" });
    this.place.append(h("div", { class: `track${axis ? " last" : ""}` }, h("div", { class: "gutter" }, title, note, values), place));
    const theme = this.theme;
    const plot = new uPlot({
      width: 300, height: height + (axis ? 22 : 0), pxAlign: 1, padding: [0, 0, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: SYNC }, points: { show: false }, drag: { x: false, y: false }, y: false },
      scales: {
        x: { time: false, range: () => [this.now - SPAN_S, this.now] },
        y: { range: scale ? [scale.min, scale.max] : [0, 1] },
      },
      axes: [
        { show: axis, size: 22, font: `11px ${theme.font}`, stroke: theme.soft, grid: { show: false },
          ticks: { stroke: theme.line, size: 4 }, gap: 3, space: 70,
          // No half of a time at the edges.
          values: (u, ticks) => ticks.map((tick) => (tick - u.scales.x.min < 1.8 || u.scales.x.max - tick < 1.8 ? "" : clock(tick))) },
        { show: false },
      ],
      series: [{}, { show: true, paths: () => null, points: { show: false } }],
      hooks: {
        drawClear: [(u) => this.backdrop(u, scale)],
        draw: [(u) => { u.ctx.save(); clip(u); paint(u); this.scaleTexts(u, scale); u.ctx.restore(); }],
      },
    }, [[0], [null]], place);
    this.visible.observe(place);
    return { name, plot, place, values, height: height + (axis ? 22 : 0) };
  }

  resize() {
    for (const { plot, place, height } of this.plots) {
      const width = Math.floor(place.clientWidth);
      if (width > 40 && (plot.width !== width || plot.height !== height)) plot.setSize({ width, height });
    }
  }

  /** Draw everything at session time `now`. */
  draw(now) {
    this.now = now;
    this.signals.forget(now);
    for (const { plot, place } of this.plots) {
      if (this.inSight.has(place)) plot.setData([[now - SPAN_S, now], [null, null]], true);
    }
  }

  /** Values beside the tracks, and what a screen reader reads of each: once or twice a second. */
  describe() {
    const last = this.signals.windows.at(-1), level = this.signals.level;
    const said = { face: [], valence: [], disagreement: [], agreement: [], speech: [], pitch: [], level: [], words: [], notes: [] };
    const reason = (part) => ({ text: t(`reason.${part?.reason || "unknown"}`) });
    if (last) {
      if (last.face?.p) {
        const [id, p] = Object.entries(last.face.p).sort((a, b) => b[1] - a[1])[0];
        const label = this.labels.find((x) => x.id === id);
        if (label) said.face.push({ colour: this.colours[id], text: `${label[language()]} ${percent(p)}` });
      } else said.face.push(reason(last.face));
      const parts = [["face", "face"], ["voice", "voice"], ["words", "text"]];
      said.valence.push(...parts.map(([part, key]) => this.valued(last[part]?.valence, key, `part.${part}`)));
      const d = last.disagreement;
      said.disagreement.push(typeof d?.value === "number" ? { text: d.value.toFixed(2) } : reason(d));
      said.agreement.push(...PAIRS.map(([pair, key]) => this.valued(last.agreement?.[pair]?.value, key, `pair.${pair}`)));
    } else {
      for (const name of ["face", "valence", "disagreement", "agreement"]) said[name].push({ text: t("now.first_window") });
    }
    if (level.t.length) {
      const n = level.t.length - 1;
      said.speech.push({ text: t(level.speech[n] >= 0.5 ? "speech.on" : "speech.off") });
      said.pitch.push({ text: level.f0[n] ? `${Math.round(level.f0[n])} Hz` : t("pitch.none") });
      said.level.push({ text: `${Math.round(level.dbfs[n])} dBFS`.replace("-", "−") });
    }
    if (this.signals.words.length) said.words.push({ text: t("track.words_count", { n: this.signals.words.flatMap((said) => said.text.split(/\s+/)).length }) });
    for (const { name, values, place } of this.plots) {
      values.replaceChildren(...said[name].map(({ colour, text }) => {
        const item = h("span", {}, text);
        if (colour) { const dot = h("i"); dot.style.background = colour; item.prepend(dot); }
        return item;
      }));
      place.setAttribute("aria-label", `${t(`track.${name}`)}: ${said[name].map((x) => x.text).join(", ") || "–"}`);
    }
  }

  // The name beside its colour stays where the value is missing: it says which line is which.
  valued(value, key, name) {
    return { colour: this.theme[key], text: `${t(name)} ${typeof value === "number" ? signed(value) : "–"}` };
  }

  // -- painting ------------------------------------------------------------------------------

  backdrop(u, scale) {
    if (!scale) return;
    const c = u.ctx;
    c.strokeStyle = this.theme.line;
    c.lineWidth = devicePixelRatio;
    for (const tick of scale.ticks) {
      const y = Math.round(u.valToPos(tick, "y", true)) + 0.5;
      line(c, u.bbox.left, y, u.bbox.left + u.bbox.width, y);
    }
  }

  scaleTexts(u, scale) {
    if (!scale) return;
    const c = u.ctx, ratio = devicePixelRatio;
    c.font = `${10 * ratio}px ${this.theme.font}`;
    c.textBaseline = "middle";
    c.textAlign = "left";
    for (const tick of scale.ticks) {
      const y = Math.min(u.bbox.top + u.bbox.height - 6 * ratio, Math.max(u.bbox.top + 6 * ratio, u.valToPos(tick, "y", true)));
      c.lineWidth = 3 * ratio;
      c.strokeStyle = this.theme.paper;
      c.strokeText(scale.format(tick), u.bbox.left + 2 * ratio, y);
      c.fillStyle = this.theme.soft;
      c.fillText(scale.format(tick), u.bbox.left + 2 * ratio, y);
    }
  }

  hatched(u, from, to, top = 0, bottom = 1) {
    const c = u.ctx, x0 = u.valToPos(from, "x", true), x1 = u.valToPos(to, "x", true);
    if (x1 <= x0) return;
    const y = u.bbox.top + top * u.bbox.height, height = (bottom - top) * u.bbox.height;
    c.fillStyle = this.theme.wash;
    c.fillRect(x0, y, x1 - x0, height);
    c.fillStyle = this.pattern(c);
    c.fillRect(x0, y, x1 - x0, height);
  }

  pattern(c) {
    if (this.hatch) return this.hatch;
    const size = Math.round(7 * devicePixelRatio), tile = h("canvas", { width: size, height: size });
    const p = tile.getContext("2d");
    p.strokeStyle = this.theme.hatch;
    p.lineWidth = devicePixelRatio;
    for (const shift of [-size, 0, size]) line(p, shift - 1, size + 1, shift + size + 1, -1);
    this.hatch = c.createPattern(tile, "repeat");
    return this.hatch;
  }

  // Final windows as solid bands of their step; single frames since then, lighter, with a dashed edge.
  ribbon(u) {
    const step = this.step();
    for (const w of this.signals.windows) {
      const from = w.mid - step / 2, to = w.mid + step / 2;
      if (w.face?.p) this.stack(u, from, to, w.face.p, 1); else this.hatched(u, from, to);
    }
    const done = this.signals.windows.length ? this.signals.windows.at(-1).mid + step / 2 : -1;
    const tail = this.signals.frames.filter((frame) => frame.t >= done);
    tail.forEach((frame, i) => {
      const to = Math.min(i + 1 < tail.length ? tail[i + 1].t : frame.t + 0.1, frame.t + 0.5);
      if (frame.p) this.stack(u, Math.max(done, frame.t), to, frame.p, 0.42);
      else this.hatched(u, frame.t, to);
    });
    if (done > 0 && tail.length) this.edge(u, done);
  }

  stack(u, from, to, p, alpha) {
    const c = u.ctx, x0 = Math.round(u.valToPos(from, "x", true)), x1 = Math.round(u.valToPos(to, "x", true));
    if (x1 <= x0) return;
    let below = 0;
    c.globalAlpha = alpha;
    for (const label of this.labels) {
      const share = p[label.id] ?? 0;
      const top = u.bbox.top + u.bbox.height * (1 - Math.min(1, below + share));
      c.fillStyle = this.colours[label.id];
      c.fillRect(x0, top, x1 - x0, Math.ceil(u.bbox.height * share) + 1);
      below += share;
    }
    c.globalAlpha = 1;
  }

  // Where final values end.
  edge(u, at) {
    const c = u.ctx, x = Math.round(u.valToPos(at, "x", true)) + 0.5;
    c.strokeStyle = this.theme.ink;
    c.lineWidth = devicePixelRatio;
    c.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    line(c, x, u.bbox.top, x, u.bbox.top + u.bbox.height);
    c.setLineDash([]);
  }

  step() {
    const w = this.signals.windows;
    return w.length > 1 ? Math.max(0.1, w.at(-1).mid - w.at(-2).mid) : 1;
  }

  // One line through windows; gaps where a value is missing.
  curve(u, read, colour, { dash = null, alpha = 1, width = 2 } = {}) {
    const c = u.ctx, ratio = devicePixelRatio, step = this.step();
    c.strokeStyle = colour;
    c.globalAlpha = alpha;
    c.lineWidth = width * ratio;
    c.lineJoin = "round";
    c.setLineDash(dash ? dash.map((x) => x * ratio) : []);
    c.beginPath();
    let before = null;
    for (const w of this.signals.windows) {
      const value = read(w);
      if (typeof value !== "number") { before = null; continue; }
      const x = u.valToPos(w.mid, "x", true), y = u.valToPos(value, "y", true);
      if (before === null || w.mid - before > 1.6 * step) {
        c.moveTo(u.valToPos(w.mid - step / 2, "x", true), y);
        c.lineTo(x, y);
      } else c.lineTo(x, y);
      before = w.mid;
    }
    c.stroke();
    c.setLineDash([]);
    c.globalAlpha = 1;
  }

  missing(u, read) {
    const step = this.step();
    for (const w of this.signals.windows) {
      if (typeof read(w) !== "number") this.hatched(u, w.mid - step / 2, w.mid + step / 2);
    }
  }

  valence(u) {
    this.missing(u, (w) => w.face?.valence ?? w.voice?.valence ?? w.words?.valence);
    this.curve(u, (w) => w.voice?.valence, this.theme.voice, { dash: [5, 4], alpha: 0.7, width: 1.6 });
    this.curve(u, (w) => w.words?.valence, this.theme.text, { dash: [2, 3], alpha: 0.8, width: 2 });
    this.curve(u, (w) => w.face?.valence, this.theme.face);
    // The face since the last window: its frames.
    const done = this.signals.windows.at(-1)?.mid ?? -1, c = u.ctx, ratio = devicePixelRatio;
    c.strokeStyle = this.theme.face;
    c.globalAlpha = 0.5;
    c.lineWidth = 1.2 * ratio;
    c.setLineDash([3 * ratio, 3 * ratio]);
    c.beginPath();
    let open = false;
    for (const frame of this.signals.frames) {
      if (frame.t < done) continue;
      if (typeof frame.valence !== "number") { open = false; continue; }
      const x = u.valToPos(frame.t, "x", true), y = u.valToPos(frame.valence, "y", true);
      if (open) c.lineTo(x, y); else c.moveTo(x, y);
      open = true;
    }
    c.stroke();
    c.setLineDash([]);
    c.globalAlpha = 1;
  }

  disagreement(u) {
    this.missing(u, (w) => w.disagreement?.value);
    this.curve(u, (w) => w.disagreement?.value, this.theme.fused, { dash: [5, 4], alpha: 0.8, width: 1.8 });
  }

  agreement(u) {
    this.missing(u, (w) => PAIRS.map(([pair]) => w.agreement?.[pair]?.value).find((v) => typeof v === "number"));
    for (const [pair, key, dash] of PAIRS) {
      this.curve(u, (w) => w.agreement?.[pair]?.value, this.theme[key], { dash, alpha: 0.85, width: 1.8 });
    }
  }

  speech(u) {
    const { t: times, speech } = this.signals.level, c = u.ctx;
    const top = u.bbox.top + 0.24 * u.bbox.height, height = 0.52 * u.bbox.height;
    c.fillStyle = this.theme.blue;
    c.globalAlpha = 0.62;
    for (let i = 0; i < times.length; i++) {
      if (speech[i] < 0.5) continue;
      let last = i;
      while (last + 1 < times.length && speech[last + 1] >= 0.5 && times[last + 1] - times[last] < 0.2) last++;
      const x = u.valToPos(times[i], "x", true);
      c.fillRect(x, top, u.valToPos(times[last] + VOICE_HOP_S, "x", true) - x, height);
      i = last;
    }
    c.globalAlpha = 1;
    c.strokeStyle = this.theme.orange;
    c.lineWidth = 3 * devicePixelRatio;
    c.setLineDash([5 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const pause of this.signals.pauses) {
      const y = top + height / 2;
      line(c, u.valToPos(pause.t_start, "x", true), y, u.valToPos(pause.t_end, "x", true), y);
    }
    c.setLineDash([]);
  }

  pitch(u) {
    const { t: times, f0 } = this.signals.level, c = u.ctx, size = 2 * devicePixelRatio;
    c.fillStyle = this.theme.blue;
    c.globalAlpha = 0.75;
    for (let i = 0; i < times.length; i++) {
      if (!f0[i]) continue;
      c.fillRect(u.valToPos(times[i], "x", true) - size / 2, u.valToPos(Math.log2(f0[i]), "y", true) - size / 2, size, size);
    }
    c.globalAlpha = 1;
  }

  level(u) {
    const { t: times, dbfs } = this.signals.level, c = u.ctx;
    c.strokeStyle = this.theme.blue;
    c.globalAlpha = 0.8;
    c.lineWidth = 1.2 * devicePixelRatio;
    c.beginPath();
    let before = null;
    for (let i = 0; i < times.length; i++) {
      const x = u.valToPos(times[i], "x", true), y = u.valToPos(Math.max(LEVEL_FLOOR, dbfs[i] ?? LEVEL_FLOOR), "y", true);
      if (before === null || times[i] - before > 0.2) c.moveTo(x, y); else c.lineTo(x, y);
      before = times[i];
    }
    c.stroke();
    c.globalAlpha = 1;
  }

  spoken(u) {
    const c = u.ctx, ratio = devicePixelRatio, rows = 3, row = u.bbox.height / rows, ends = new Array(rows).fill(-Infinity);
    c.font = `${12 * ratio}px ${this.theme.font}`;
    c.textBaseline = "middle";
    c.textAlign = "left";
    for (const word of this.signals.words) {
      const x0 = u.valToPos(word.t_start, "x", true), x1 = u.valToPos(word.t_end, "x", true);
      const text = word.text.length > MOST_LETTERS ? word.text.slice(0, MOST_LETTERS - 1) + "…" : word.text;
      const wide = c.measureText(text).width;
      const line_ = Math.max(0, ends.findIndex((end) => end <= x0));
      ends[line_] = Math.max(x1, x0 + wide) + 5 * ratio;
      c.globalAlpha = word.provisional ? 0.65 : 1;
      c.fillStyle = this.theme.ink;
      const y = u.bbox.top + (line_ + 0.45) * row;
      c.fillText(text, x0, y);
      c.strokeStyle = this.theme.text;
      c.lineWidth = 1.5 * ratio;
      c.setLineDash(word.provisional ? [3 * ratio, 2 * ratio] : []);
      line(c, x0, y + 8 * ratio, Math.max(x1, x0 + 4 * ratio), y + 8 * ratio);
    }
    c.setLineDash([]);
    c.globalAlpha = 1;
  }

  notes(u) {
    const c = u.ctx, ratio = devicePixelRatio;
    c.font = `${12 * ratio}px ${this.theme.font}`;
    c.textBaseline = "middle";
    c.textAlign = "left";
    let neutral = null;
    const ends = [-Infinity, -Infinity];
    for (const note of this.signals.notes) {
      const x = u.valToPos(note.t, "x", true);
      if (note.kind === "neutral_start") { neutral = note.t; continue; }
      if (note.kind === "neutral_end") { this.neutral(u, neutral, note.t); neutral = null; continue; }
      c.strokeStyle = this.theme.plum;
      c.lineWidth = 2 * ratio;
      line(c, x, u.bbox.top, x, u.bbox.top + u.bbox.height);
      c.fillStyle = this.theme.ink;
      const text = `${t(`note.short.${note.kind}`)}${note.text ? " " + note.text : ""}`;
      const short = text.length > MOST_LETTERS ? text.slice(0, MOST_LETTERS - 1) + "…" : text;
      const row = ends[0] <= x || ends[0] <= ends[1] ? 0 : 1;
      ends[row] = x + c.measureText(short).width + 10 * ratio;
      c.fillText(short, x + 4 * ratio, u.bbox.top + (0.28 + 0.46 * row) * u.bbox.height);
    }
    if (neutral !== null) this.neutral(u, neutral, this.now);
  }

  neutral(u, from, to) {
    const c = u.ctx, x = u.valToPos(from ?? this.now - SPAN_S, "x", true);
    c.fillStyle = this.theme.plum;
    c.globalAlpha = 0.22;
    c.fillRect(x, u.bbox.top, u.valToPos(to, "x", true) - x, u.bbox.height);
    c.globalAlpha = 1;
    c.fillStyle = this.theme.ink;
    c.fillText(t("note.short.neutral"), x + 4 * devicePixelRatio, u.bbox.top + u.bbox.height / 2);
  }

  destroy() {
    this.light.removeEventListener("change", this.changed);
    this.seen.disconnect();
    this.visible.disconnect();
    this.plots.forEach(({ plot }) => plot.destroy());
  }
}

const PAIRS = [["face_words", "text", null], ["face_voice", "voice", [5, 4]], ["voice_words", "plum", [2, 3]]];

function line(c, x0, y0, x1, y1) {
  c.beginPath();
  c.moveTo(x0, y0);
  c.lineTo(x1, y1);
  c.stroke();
}

function clip(u) {
  u.ctx.beginPath();
  u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  u.ctx.clip();
}
