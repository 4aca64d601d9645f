// Markers, notes, questions, answers and the neutral baseline, dated on the session's clock. What
// is written is dated when its first letter was typed, not when it was sent.

import { clock, h, say, setText, t } from "./dom.js";

const KINDS = ["note", "question", "answer"];
const KEYS = { m: "marker", n: "note", q: "question", a: "answer", b: "neutral" };
// The same keys under the Korean layout.
const HANGUL = { ㅡ: "m", ㅜ: "n", ㅂ: "q", ㅁ: "a", ㅠ: "b" };

export class NoteBox {
  /**
   * @param {(kind: string, text: string, capturedMs: number) => void} send
   * @param {() => number} time session time, seconds
   */
  constructor(send, time) {
    this.send = send;
    this.time = time;
    this.begunMs = null;
    this.neutralSince = null;
    const choice = (kind) => h("label", {},
      h("input", { type: "radio", name: "note-kind", value: kind, id: `kind-${kind}`, checked: kind === "note" }), h("span", { t: `note.${kind}` }));
    this.kinds = h("fieldset", { class: "kinds" }, h("legend", { class: "unseen", t: "notes.kind" }), KINDS.map(choice));
    this.field = h("input", { id: "note-text", autocomplete: "off", maxlength: 500, placeholder: "notes.text_hint", label: "notes.text" });
    this.field.addEventListener("input", () => {
      if (!this.field.value) this.begunMs = null; else this.begunMs ??= performance.now();
    });
    this.neutral = h("button", { type: "button", id: "neutral", t: "notes.neutral_start", "aria-pressed": "false", on: { click: () => this.toggleNeutral() } });
    this.list = h("ol", { class: "note-list" });
    this.none = h("p", { class: "caption", t: "notes.none" });
    this.node = h("section", { class: "notes", "aria-labelledby": "notes-title" },
      h("h2", { id: "notes-title", t: "notes.title" }),
      h("div", { class: "note-tools" },
        h("button", { type: "button", id: "marker", t: "notes.marker", on: { click: () => this.marker() } }), this.neutral),
      h("small", { t: "notes.neutral_hint" }),
      h("form", { class: "note-form", on: { submit: (event) => this.add(event) } }, this.kinds, this.field, h("button", { t: "notes.add" })),
      h("small", { class: "keys", t: "notes.keys" }), this.none, this.list);
  }

  start() {
    this.list.replaceChildren();
    this.none.hidden = false;
    this.neutralSince = null;
    this.tick();
  }

  marker() { this.send("marker", "", performance.now()); }

  add(event) {
    event.preventDefault();
    const text = this.field.value.trim();
    const kind = this.kinds.querySelector("input:checked").value;
    if (!text) { this.field.focus(); return; }
    this.send(kind, text, this.begunMs ?? performance.now());
    this.field.value = "";
    this.begunMs = null;
  }

  toggleNeutral() {
    const now = performance.now();
    this.send(this.neutralSince === null ? "neutral_start" : "neutral_end", "", now);
    this.neutralSince = this.neutralSince === null ? now : null;
    this.tick();
  }

  /** An open baseline ends with the session. */
  close() { if (this.neutralSince !== null) this.toggleNeutral(); }

  tick() {
    const open = this.neutralSince !== null;
    this.neutral.setAttribute("aria-pressed", String(open));
    const s = open ? Math.floor((performance.now() - this.neutralSince) / 1000) : 0;
    setText(this.neutral, open ? "notes.neutral_end" : "notes.neutral_start", open ? { s } : undefined);
  }

  /** A note as the server dated it. */
  show(event) {
    this.none.hidden = true;
    this.list.prepend(h("li", { data: { kind: event.kind } }, h("span", { class: "at", text: clock(event.t) }),
      h("b", { t: `note.${event.kind}` }), h("span", { text: event.text ?? "" })));
    say(`${t(`note.${event.kind}`)} ${clock(event.t)}`);
  }

  key(event, running) {
    if (!running || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (/^(input|textarea|select)$/i.test(event.target.tagName) && event.target.type !== "radio") {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const kind = KEYS[HANGUL[event.key] ?? event.key.toLowerCase()];
    if (!kind) return;
    event.preventDefault();
    if (kind === "marker") this.marker();
    else if (kind === "neutral") this.toggleNeutral();
    else { document.getElementById(`kind-${kind}`).checked = true; this.field.focus(); }
  }

  relabel() { this.neutral.dataset.tLang = ""; this.tick(); }
}
