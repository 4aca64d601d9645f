// Labelled face pictures: chosen by expression and person, added one at a time, taken out again.

import { ask } from "./api.js";
import { both, h, setText, t, when } from "./dom.js";
import { failed } from "./sessions.js";

// Names of folders that people use for the model's expressions.
const SPELLINGS = {
  joy: ["happy", "happiness", "smile"], anger: ["angry"], fear: ["afraid", "fearful", "anxious"], disgust: ["disgusted"], sadness: ["sad"],
  surprise: ["surprised"], neutral: ["calm"], anxiety: ["anxious"], hurt: [], flustered: ["embarrassed"],
};
const ASK_MS = 1200;

/** The class that a folder's name means, or null. */
function classOf(name, labels) {
  const given = name.trim().toLowerCase();
  return labels.find((label) => [label.id, label.ko, label.en.toLowerCase(), ...(SPELLINGS[label.id] ?? [])].includes(given))?.id ?? null;
}

/**
 * A form that makes a set of pictures and starts the work on it.
 * @param {"adapt"|"evaluate"} what
 * @param {(set: object) => void} started called with the set that works
 */
export async function pictureForm(what, started) {
  const { labels } = await ask("GET", "api/about");
  let set = null, adding = Promise.resolve(), waiting = 0;
  const trouble = h("p", { class: "box warn", role: "alert", hidden: true });
  const agree = h("input", { type: "checkbox", id: "faces-agree" });
  const crops = h("input", { type: "checkbox", id: "faces-crops" });
  const person = h("input", { id: "faces-person", autocomplete: "off", maxlength: 32 });
  const sum = h("p", { class: "sum", role: "status" });
  const go = h("button", { class: "primary", id: "faces-go", t: `faces.go_${what}`, on: { click: start } });
  const tell = (text) => { trouble.hidden = false; trouble.textContent = text; };
  const shelves = new Map(labels.map((label) => [label.id, shelf(label)]));
  const folder = h("input", { type: "file", id: "faces-folder", webkitdirectory: true, multiple: true, on: { change: fromFolder } });

  function shelf(label) {
    const input = h("input", { type: "file", id: `faces-${label.id}`, accept: "image/*", multiple: true, class: "unseen-input", on: { change: () => { add(label.id, [...input.files]); input.value = ""; } } });
    const count = h("small", { text: t("faces.count", { n: 0 }) }), shown = h("div", { class: "thumbs" });
    const node = h("div", { class: "shelf", role: "group", "aria-label": both(label), on: {
      dragover: (event) => { event.preventDefault(); node.classList.add("over"); },
      dragleave: () => node.classList.remove("over"),
      drop: (event) => { event.preventDefault(); node.classList.remove("over"); add(label.id, [...event.dataTransfer.files]); },
    } }, h("div", { class: "shelf-head" }, h("b", { text: both(label) }), count, input, h("label", { class: "button", for: input.id, t: "faces.add", "aria-label": t("faces.add_name", { label: both(label) }) })), shown);
    return { node, count, shown, n: 0, label };
  }

  const total = () => [...shelves.values()].reduce((all, each) => all + each.n, 0);
  const persons = new Map();
  function told() {
    for (const each of shelves.values()) each.count.textContent = t("faces.count", { n: each.n });
    setText(sum, waiting ? "faces.adding" : "faces.sum", { n: total(), persons: [...persons.values()].filter((n) => n > 0).length, waiting });
  }

  async function begin() {
    set ??= await ask("POST", "api/face-sets", { what, everybody_agrees: agree.checked, crops: crops.checked, lang: document.documentElement.lang });
    agree.disabled = crops.disabled = true;
  }

  /** Pictures of one expression, of the person whose code stands in the field (or is given). */
  function add(label, files, code = person.value.trim()) {
    trouble.hidden = true;
    if (!agree.checked) { tell(t("faces.agree_first")); agree.focus(); return; }
    for (const file of files) {
      waiting += 1;
      adding = adding.then(() => one(label, file, code)).catch((error) => tell(`${file.name}: ${failed(error)}`)).finally(() => { waiting -= 1; told(); });
    }
    told();
  }

  async function one(label, file, code) {
    await begin();
    const form = new FormData();
    form.append("label", label);
    if (code) form.append("person", code);
    form.append("image", file);
    const made = await ask("POST", `api/face-sets/${set.id}/pictures`, form);
    const each = shelves.get(label), address = URL.createObjectURL(file);
    each.n += 1;
    persons.set(code, (persons.get(code) ?? 0) + (code ? 1 : 0));
    const name = `${both(each.label)}, ${code || t("faces.no_person")}`;
    const node = h("button", { class: "thumb", type: "button", "aria-label": t("faces.take_out", { name, n: made.number }), on: { click: async () => {
      try { await ask("DELETE", `api/face-sets/${set.id}/pictures/${made.number}`); } catch (error) { tell(failed(error)); return; }
      each.n -= 1;
      if (code) persons.set(code, persons.get(code) - 1);
      URL.revokeObjectURL(address);
      const next = node.nextElementSibling ?? node.previousElementSibling ?? document.getElementById(`faces-${label}`);
      node.remove();
      next?.focus();
      told();
    } } }, h("img", { src: address, alt: "" }), h("span", { class: "thumb-off", "aria-hidden": "true", text: "×" }), h("small", { text: code || "–" }));
    each.shown.append(node);
  }

  /** Class folders: the name of a folder is the expression; a folder above it, if any, the person. */
  function fromFolder() {
    const unknown = new Set();
    for (const file of folder.files) {
      if (!/\.(jpe?g|png|webp|bmp|heic|tiff?)$/i.test(file.name)) continue;
      const parts = file.webkitRelativePath.split("/").slice(0, -1);
      const at = parts.findLastIndex((part) => classOf(part, labels) !== null);
      if (at < 0) { unknown.add(parts.at(-1) ?? ""); continue; }
      const below = parts.slice(at + 1), above = parts.slice(1, at);
      const code = (below.at(-1) ?? above.at(-1) ?? "").replace(/[^\p{L}\p{N}_-]/gu, "").slice(0, 32);
      add(classOf(parts[at], labels), [file], code || person.value.trim());
    }
    folder.value = "";
    if (unknown.size) tell(t("faces.unknown_folder", { names: [...unknown].slice(0, 4).join(", "), known: labels.map(both).join(", ") }));
  }

  async function start() {
    trouble.hidden = true;
    if (!set) { tell(t(agree.checked ? "faces.none_yet" : "faces.agree_first")); (agree.checked ? person : agree).focus(); return; }
    go.disabled = true;
    try { await adding; started(await ask("POST", `api/face-sets/${set.id}/start`)); } catch (error) { tell(failed(error)); } finally { go.disabled = false; }
  }

  told();
  return h("div", { class: "pictures-form" },
    h("p", { class: "check" }, agree, h("label", { for: "faces-agree", t: "faces.agree" })),
    h("p", { class: "check" }, crops, h("label", { for: "faces-crops", t: "faces.crops" })),
    h("p", { class: "field narrow" }, h("label", { for: "faces-person", t: "faces.person" }), person, h("small", { t: "faces.person_what" })),
    h("div", { class: "shelves" }, [...shelves.values()].map((each) => each.node)),
    h("details", {}, h("summary", { t: "faces.folder" }), h("p", { class: "caption", t: "faces.folder_what" }), h("p", { class: "field" }, h("label", { for: "faces-folder", t: "faces.folder_go" }), folder)),
    sum, trouble, h("p", { class: "actions" }, go));
}

/** Sets of pictures that nothing came of, to be deleted before their week is over; null without any. */
export function leftOver(sets, what, remove) {
  const left = sets.filter((set) => set.what === what && ["collecting", "failed", "cancelled"].includes(set.state));
  if (!left.length) return null;
  return h("details", {}, h("summary", { t: "faces.left_over", values: { n: left.length } }), h("p", { class: "caption", t: "faces.left_over_what" }),
    h("ul", { class: "lines" }, left.map((set) => h("li", {}, h("span", { text: when(set.created) }), h("span", { t: "faces.left_over_row", values: { n: Object.values(set.counts).reduce((sum, n) => sum + n, 0) } }),
      h("button", { class: "quiet", t: "study.delete", "aria-label": t("faces.delete_name", { at: when(set.created) }), on: { click: () => remove(set) } })))));
}

/** Ask for a set until its work is over; `draw` gets it each time. Returns a function that ends it. */
export function follow(id, draw) {
  let over = false, timer = 0;
  async function again() {
    try {
      const set = await ask("GET", `api/face-sets/${id}`);
      if (over) return;
      draw(set);
      if (["queued", "running"].includes(set.state)) timer = setTimeout(again, ASK_MS);
    } catch { if (!over) timer = setTimeout(again, ASK_MS); }
  }
  again();
  return () => { over = true; clearTimeout(timer); };
}
