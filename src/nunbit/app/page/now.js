// What is to be seen at this moment: the box over the picture, states in words, the table of classes.

import { classColours, themeOf } from "./charts.js";
import { h, has, language, percent, say, setText, t } from "./dom.js";

const STALE_S = 12; // words are known some seconds late: those of an older window are not shown
const STEADY_MS = 1200; // a state is said aloud after it has held for so long

/** The table of classes: face (final), voice (experimental), words; and the face at this moment. */
export class ClassTable {
  constructor(ready) {
    this.labels = ready.labels;
    this.sources = ["face", "voice", "words"];
    const head = (name, ...marks) => h("th", { scope: "col" }, h("span", { t: `now.${name}` }), h("small", {}, marks.map((mark) => h("span", { t: `now.${mark}` }))));
    this.rows = this.labels.map((label) => {
      const name = h("span", { class: "class-name", text: label[language()] });
      const cells = Object.fromEntries(this.sources.map((source) => [source, this.cell(source)]));
      const row = h("tr", { class: label.unvalidated ? "unvalidated" : null },
        h("th", { scope: "row" }, h("i", { class: "swatch" }), name,
          label.unvalidated ? h("small", { t: "now.unvalidated" }) : null),
        this.sources.map((source) => cells[source].td));
      return { label, name, row, cells };
    });
    this.why = Object.fromEntries(this.sources.map((source) => [source, h("td", { class: "why" })]));
    this.caption = h("caption", { t: "now.caption", values: { length: ready.window_s } });
    this.node = h("table", { class: "now-classes" }, this.caption,
      h("thead", {}, h("tr", {}, h("th", { scope: "col", t: "now.class" }), head("face", "final"),
        head("voice", "experimental", "provisional"), head("words", "provisional"))),
      h("tbody", {}, this.rows.map((row) => row.row)),
      h("tfoot", {}, h("tr", {}, h("td"), this.sources.map((source) => this.why[source]))));
    this.light = matchMedia("(prefers-color-scheme: dark)");
    this.paint = () => {
      const colours = classColours(this.labels);
      for (const { label, row } of this.rows) row.style.setProperty("--c", colours[label.id]);
    };
    this.light.addEventListener("change", this.paint);
    this.paint();
    for (const source of this.sources) setText(this.why[source], "now.first_window");
  }

  cell(source) {
    const number = h("b", { t: "now.none" }), moment = source === "face" ? h("i", { class: "moment" }) : null;
    const bar = h("i", { class: "bar" });
    return { td: h("td", { class: source }, h("span", { class: "lane" }, bar, moment), number), number, moment, bar };
  }

  /** The newest window; words come later than the rest, so theirs are those of the last that has any. */
  window(event) {
    if (this.newest && event.t_start < this.newest.t_start - 0.01) {
      if (event.words?.p && event.t_end >= this.newest.t_end - STALE_S && event.t_start >= (this.spoken?.t_start ?? -1)) this.show({ words: event.words });
      if (event.words?.p && event.t_start >= (this.spoken?.t_start ?? -1)) this.spoken = event;
      return;
    }
    this.newest = event;
    if (event.words?.p) this.spoken = event;
    const recent = this.spoken && event.t_end - this.spoken.t_end <= STALE_S;
    this.show({ face: event.face, voice: event.voice, words: recent ? this.spoken.words : event.words });
  }

  show(parts) {
    for (const source of Object.keys(parts)) {
      const part = parts[source];
      const p = part?.p ?? null;
      for (const { label, cells } of this.rows) {
        const value = p?.[label.id];
        const { td, number, bar } = cells[source];
        td.classList.toggle("lost", typeof value !== "number");
        bar.style.width = `${typeof value === "number" ? 100 * value : 0}%`;
        number.textContent = typeof value === "number" ? percent(value) : "–";
      }
      const code = part?.reason || "unknown";
      if (p) { delete this.why[source].dataset.t; this.why[source].textContent = ""; }
      else setText(this.why[source], has(`reason.${code}`) ? `reason.${code}` : "reason.unknown");
    }
  }

  moment(p) {
    for (const { label, cells } of this.rows) {
      const value = p?.[label.id];
      cells.face.moment.style.transform = typeof value === "number" ? `translateX(${(100 * value).toFixed(1)}%)` : "";
      cells.face.moment.classList.toggle("lost", typeof value !== "number");
    }
  }

  relabel() { for (const { label, name } of this.rows) name.textContent = label[language()]; }

  destroy() { this.light.removeEventListener("change", this.paint); }
}

/** States in words, with a sign that does not depend on colour; said aloud once they hold. */
export class States {
  constructor() {
    this.items = Object.fromEntries(["face", "voice"].map((which) => {
      const text = h("span", { t: `state.${which}.waiting` });
      const node = h("p", { class: "state waiting" }, h("i", { "aria-hidden": "true" }), h("b", { t: `state.${which}` }), text);
      return [which, { node, text, code: "waiting", timer: 0 }];
    }));
    this.words = h("q");
    this.heard = h("p", { class: "state said", hidden: true }, h("i", { "aria-hidden": "true" }), h("b", { t: "now.words" }), this.words);
    this.node = h("div", { class: "states" }, this.items.face.node, this.items.voice.node, this.heard);
  }

  /** The last utterance; provisional until the session ends. */
  said(event) {
    this.heard.hidden = !event.text;
    this.heard.classList.toggle("provisional", Boolean(event.provisional));
    this.words.textContent = event.text;
  }

  set(which, code) {
    const item = this.items[which];
    const known = has(`state.${which}.${code}`) ? code : "waiting";
    if (item.code === known) return;
    item.code = known;
    item.node.className = `state ${known === "ok" ? "good" : known === "waiting" ? "waiting" : ["silence", "off", "not_agreed"].includes(known) ? "quiet" : "care-for"}`;
    item.node.dataset.state = known;
    setText(item.text, `state.${which}.${known}`);
    clearTimeout(item.timer);
    item.timer = setTimeout(() => say(t(`state.${which}.${known}`)), STEADY_MS);
  }
}

/** The picture with the boxes over it. The mirror is only here: boxes are mirrored as the picture is. */
export class Picture {
  constructor() {
    this.video = h("video", { muted: true, playsinline: true, autoplay: true, label: "live.self" });
    this.video.muted = true;
    this.overlay = h("canvas", { "aria-hidden": "true" });
    this.off = h("p", { class: "camera-off", t: "live.off" });
    this.node = h("div", { class: "picture without" }, this.video, this.overlay, this.off);
    this.faces = [];
  }

  show(stream) {
    const there = Boolean(stream?.getVideoTracks().some((track) => track.readyState === "live"));
    this.video.srcObject = there ? stream : null;
    this.off.hidden = there;
    this.node.classList.toggle("without", !there);
    if (there) this.video.play().catch(() => {});
    else this.draw([], "off");
  }

  draw(faces, state) {
    const ratio = devicePixelRatio, box = this.node.getBoundingClientRect();
    const width = Math.round(box.width * ratio), height = Math.round(box.height * ratio);
    if (this.overlay.width !== width || this.overlay.height !== height) { this.overlay.width = width; this.overlay.height = height; this.theme = null; }
    const c = this.overlay.getContext("2d");
    c.clearRect(0, 0, width, height);
    if (!faces.length || !this.video.videoWidth) return;
    this.theme ??= themeOf();
    // The picture is fitted into its frame: the box's place follows from that.
    const scale = Math.min(width / this.video.videoWidth, height / this.video.videoHeight);
    const w = this.video.videoWidth * scale, left = (width - w) / 2;
    const tall = this.video.videoHeight * scale, top = (height - tall) / 2;
    for (const face of faces) {
      const [x0, y0, x1, y1] = face.box;
      const x = left + (1 - x1) * w, y = top + y0 * tall, wide = (x1 - x0) * w, high = (y1 - y0) * tall;
      const good = face.target && state === "ok";
      for (const [colour, thick] of [["rgba(0, 0, 0, .55)", 5], [good ? "#ffffff" : "#ffc46b", 2.5]]) {
        c.strokeStyle = colour;
        c.lineWidth = thick * ratio;
        c.setLineDash(face.target ? [] : [6 * ratio, 5 * ratio]);
        c.beginPath();
        c.roundRect(x, y, wide, high, 8 * ratio);
        c.stroke();
      }
    }
    c.setLineDash([]);
  }
}
