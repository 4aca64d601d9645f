// What would be read of a file, repaired and left out: looked at in seconds, nothing is kept.

import { ask } from "./api.js";
import { both, clock, h, help, language, percent, t } from "./dom.js";
import { messages } from "./study_shared.js";

export async function checkView(place) {
  const page = h("div", {}), result = h("div", { id: "check-result" }), say = messages();
  const field = (name, accept) => h("input", { type: "file", id: `check-${name}`, accept });
  const inputs = { media: field("media", "video/*,audio/*,.mkv"), transcript: field("transcript"), speakers: field("speakers", ".rttm,text/plain") };
  async function submit(event) {
    event.preventDefault();
    const form = new FormData();
    for (const [name, input] of Object.entries(inputs)) if (input.files.length) form.append(name, input.files[0]);
    if (![...form.keys()].length) { say.tell(t("check.need")); inputs.media.focus(); return; }
    result.replaceChildren();
    const found = await say.during("check.busy", () => ask("POST", `api/checks?lang=${language()}`, form));
    if (found === null) return;
    result.replaceChildren(checkSentences(found), found.state === "failed" ? "" : h("p", { class: "actions" }, h("a", { class: "button primary", href: "#/consent", t: "check.go_on" })));
    result.querySelector("h2").focus();
  }
  place.replaceChildren(h("div", { class: "beside" }, page, help("check")));
  page.append(h("h1", { t: "check.title" }), h("p", { class: "what", t: "check.what" }),
    h("form", { class: "narrow", on: { submit } }, Object.entries(inputs).map(([name, input]) =>
      h("p", { class: "field" }, h("label", { for: input.id, t: `check.${name}` }), input, h("small", { t: `check.${name}_what` }))),
    h("p", { class: "actions" }, h("button", { class: "primary", id: "check-go", t: "check.go" })), say.busy, say.trouble), result);
}

/** What `POST api/checks` found, as an element with headings. */
export function checkSentences(found) {
  const noted = found.state === "noted";
  const sentences = [];
  if (found.faces) {
    const { frames, with_face: seen, several, size_px: size } = found.faces;
    sentences.push(t("check.faces", { frames, seen }));
    if (several) sentences.push(t("check.several", { several, frames }));
    if (size) sentences.push(t("check.size", { size: Math.round(size) }));
  }
  if (found.speech_share !== null) sentences.push(t("check.speech", { share: percent(found.speech_share) }));
  if (found.words_in_speech !== null) sentences.push(t(found.words_in_speech < 0.5 ? "check.other_recording" : "check.words", { share: percent(found.words_in_speech) }));
  const list = (name, notes) => (notes.length ? h("section", {}, h("h3", { t: `check.${name}` }), h("ul", { class: "sentences" }, notes.map((note) => h("li", {}, h("span", { text: both(note) }),
    name !== "read" && note.count > 1 ? h("small", { t: "check.times", values: { n: note.count, first: note.first.replace("line ", "") } }) : null)))) : null);
  return h("div", { class: "check-result" },
    h("h2", { tabindex: -1, t: found.state === "failed" ? "check.failed" : noted ? "check.noted" : "check.ok" }),
    found.error ? h("p", { class: "box warn", role: "alert", text: found.error }) : null,
    found.duration_s ? h("p", { t: "check.length", values: { length: clock(found.duration_s) } }) : null,
    sentences.length ? h("ul", { class: "sentences" }, sentences.map((text) => h("li", { text }))) : null,
    list("read", found.read), list("repaired", found.repaired), list("left_out", found.left_out),
    found.faces || found.speech_share !== null ? h("p", { class: "caption", t: "check.sampled" }) : null);
}
