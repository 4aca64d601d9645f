// The program itself: a file on the desktop that starts it by a double click, and ending it.

import { ask } from "./api.js";
import { h, help, say as aloud, t } from "./dom.js";
import { messages } from "./study_shared.js";

export async function programView(place) {
  const say = messages();
  const page = h("div", {});
  let asking = false;
  place.replaceChildren(h("div", { class: "beside" }, page, help("program")));

  async function act(method, path, words) {
    const found = await say.during("study.saving", () => ask(method, path));
    if (found === null) return;
    draw(found);
    if (words) { say.done.hidden = false; say.done.textContent = t(words, { name: found.name }); aloud(say.done.textContent); }
  }

  async function end() {
    if (await say.during("program.ending", () => ask("POST", "api/program/end")) === null) return;
    place.replaceChildren(h("h1", { tabindex: -1, t: "program.ended" }), h("p", { class: "box good", id: "program-ended", t: "program.ended_what" }));
    place.querySelector("h1").focus();
  }

  function draw(found) {
    const ask_end = [h("p", { t: found.jobs ? "program.end_busy" : "program.end_ask", values: { n: found.jobs } }),
      h("p", { class: "actions" }, h("button", { class: "danger", id: "program-end-yes", t: "program.end_yes", on: { click: end } }),
        h("button", { id: "program-end-no", t: "program.end_no", on: { click: () => { asking = false; draw(found); page.querySelector("#program-end").focus(); } } }))];
    say.done ??= h("p", { class: "box good", role: "status", hidden: true });
    page.replaceChildren(h("h1", { t: "program.title" }), h("p", { class: "what", t: "program.what" }), say.busy, say.trouble, say.done,
      h("section", {}, h("h2", { t: "program.shortcut" }), h("p", { t: found.shortcut ? "program.shortcut_there" : "program.shortcut_what", values: { name: found.name } }),
        h("p", { class: "actions" }, found.shortcut
          ? h("button", { id: "shortcut-off", t: "program.shortcut_off", on: { click: () => act("DELETE", "api/program/shortcut", "program.shortcut_gone") } })
          : h("button", { class: "primary", id: "shortcut-on", t: "program.shortcut_on", on: { click: () => act("POST", "api/program/shortcut", "program.shortcut_made") } }))),
      h("section", {}, h("h2", { t: "program.end" }), asking ? h("div", { class: "box warn confirm", role: "alertdialog", label: "program.end" }, ask_end)
        : h("p", { class: "actions" }, h("button", { id: "program-end", t: "program.end_go", on: { click: () => { asking = true; draw(found); page.querySelector("#program-end-no").focus(); } } }))));
  }

  draw(await ask("GET", "api/program"));
  return {};
}
