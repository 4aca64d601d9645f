// A time axis on which a stretch is dragged: who speaks, the stretch, and whether it is long enough.

import { clock, h, setText } from "./dom.js";

const STEP_S = 1, LEAP_S = 10;

/**
 * @param {number} duration of the recording, seconds
 * @param {number} least shortest stretch, seconds
 * @param {{who: number, start: number, end: number}[]} stretches who speaks when
 * @param {(stretch: {from: number, to: number} | null) => void} told called with every change
 * @param {{from: number, to: number} | null} now the stretch that is set
 */
export function baselineAxis({ duration, least, stretches = [], told, now = null }) {
  let from = now?.from ?? null, to = now?.to ?? null, held = null;
  const span = h("div", { class: "axis-span", hidden: true });
  const handle = (end) => h("button", { type: "button", class: `axis-handle ${end}`, role: "slider", hidden: true, label: `axis.${end}`, "aria-valuemin": 0, "aria-valuemax": Math.floor(duration) });
  const left = handle("from"), right = handle("to");
  const track = h("div", { class: "axis-track", label: "axis.name", role: "group" },
    ...stretches.map((each) => {
      const bar = h("i", { class: `axis-speech who-${each.who < 0 ? "none" : each.who % 4}` });
      bar.style.cssText = `left:${100 * each.start / duration}%;width:${100 * (each.end - each.start) / duration}%`;
      return bar;
    }), span, left, right);
  const line = h("p", { class: "axis-told", role: "status" });
  const clear = h("button", { type: "button", class: "quiet", hidden: true, t: "axis.clear", on: { click: () => set(null, null) } });
  const first = h("button", { type: "button", t: "axis.first", values: { s: least }, on: { click: () => { set(0, Math.min(duration, least)); right.focus(); } } });

  function set(a, b) {
    const clamp = (t) => Math.max(0, Math.min(duration, Math.round(10 * t) / 10));
    [from, to] = a === null ? [null, null] : [clamp(Math.min(a, b)), clamp(Math.max(a, b))];
    draw();
    told(from === null ? null : { from, to });
  }

  function draw() {
    const there = from !== null, long = there && to - from >= least;
    span.hidden = left.hidden = right.hidden = clear.hidden = !there;
    first.hidden = there;
    track.classList.toggle("short", there && !long);
    line.classList.toggle("care-for", there && !long);
    if (!there) { setText(line, "axis.none", { s: least }); return; }
    span.style.left = left.style.left = `${100 * from / duration}%`;
    span.style.width = `${100 * (to - from) / duration}%`;
    right.style.left = `${100 * to / duration}%`;
    for (const [button, value] of [[left, from], [right, to]]) {
      button.setAttribute("aria-valuenow", String(Math.round(value)));
      button.setAttribute("aria-valuetext", clock(value, true));
    }
    setText(line, long ? "axis.long_enough" : "axis.too_short", { from: clock(from), to: clock(to), n: Math.floor(to - from), s: least, more: Math.ceil(least - (to - from)) });
  }

  const timeOf = (event) => {
    const box = track.getBoundingClientRect();
    return duration * (event.clientX - box.left) / box.width;
  };
  track.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    track.setPointerCapture(event.pointerId);
    const at = timeOf(event);
    if (event.target === left) held = to;
    else if (event.target === right) held = from;
    else { held = at; return; }
    event.target.focus();
  });
  track.addEventListener("pointermove", (event) => {
    if (held === null) return;
    const at = timeOf(event);
    if (from !== null || Math.abs(at - held) > duration / 200) set(held, at);
  });
  const let_go = () => { held = null; };
  track.addEventListener("pointerup", let_go);
  track.addEventListener("pointercancel", let_go);
  for (const [button, end] of [[left, "from"], [right, "to"]]) {
    button.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -STEP_S, ArrowDown: -STEP_S, ArrowRight: STEP_S, ArrowUp: STEP_S, PageDown: -LEAP_S, PageUp: LEAP_S }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      if (end === "from") set(Math.min(from + step, to - 1), to); else set(from, Math.max(to + step, from + 1));
    });
  }
  const ticks = h("div", { class: "axis-ticks", "aria-hidden": "true" }, [0, 0.25, 0.5, 0.75, 1].map((share) => h("span", { text: clock(share * duration) })));
  const measure = h("div", { class: "axis-least", "aria-hidden": "true" }, h("span", { t: "axis.least", values: { s: least } }));
  measure.style.width = `${Math.min(100, 100 * least / duration)}%`;
  draw();
  return h("div", { class: "axis" }, measure, track, ticks, line, h("p", { class: "actions" }, first, clear));
}
