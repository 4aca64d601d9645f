// Reports on how often the model is right: on labelled pictures of one's own, or finished ones opened.

import { ask } from "./api.js";
import { both, h, help, language, t, when } from "./dom.js";
import { plain, worth } from "./faces.js";
import { follow, leftOver, pictureForm } from "./pictures.js";
import { messages, openLink } from "./study_shared.js";

export async function evaluationsView(place) {
  let end = () => {};
  const page = h("div", {}), list = h("section", {}), work = h("section", {}), say = messages();
  const file = h("input", { type: "file", id: "evaluation-folder", webkitdirectory: true, multiple: true, on: { change: openFolder } });
  const single = h("input", { type: "file", id: "evaluation-file", accept: ".json,application/json", on: { change: () => open(single.files[0]) } });
  place.replaceChildren(h("div", { class: "beside" }, page, help("evaluations")));
  page.append(h("h1", { t: "evaluations.title" }), h("p", { class: "what", t: "evaluations.what" }), say.busy, say.trouble, list, work,
    h("section", {}, h("h2", { t: "evaluations.open" }), h("p", { class: "caption", t: "evaluations.open_what" }),
      h("p", { class: "field narrow" }, h("label", { for: "evaluation-folder", t: "evaluations.folder" }), file),
      h("details", {}, h("summary", { t: "evaluations.single" }), h("p", { class: "field narrow" }, h("label", { for: "evaluation-file", t: "evaluations.file" }), single))));

  async function openFolder() {
    const found = [...file.files].filter((one) => one.name === "result.json").sort((a, b) => a.webkitRelativePath.length - b.webkitRelativePath.length);
    file.value = "";
    if (!found.length) { say.tell(t("evaluations.no_result")); return; }
    await open(found[0]);
  }
  async function open(chosen) {
    if (!chosen) return;
    const form = new FormData();
    form.append("result", chosen);
    const made = await say.during("evaluations.opening", () => ask("POST", "api/evaluations", form));
    single.value = "";
    if (made !== null) await draw(made.id);
  }
  const report = (set) => say.during("evaluations.opening", () => openLink(`api/face-sets/${set.id}/report`, { lang: language() }));
  async function remove(set) {
    if (await say.during("study.deleting", () => ask("DELETE", `api/face-sets/${set.id}`)) !== null) await draw();
  }
  async function draw(focus = "") {
    const { sets } = await ask("GET", "api/face-sets");
    const shown = sets.filter((set) => set.has_report);
    list.replaceChildren(h("h2", { t: "evaluations.finished" }), shown.length ? h("ul", { class: "lines" }, shown.map((set) => h("li", {},
      h("span", { text: when(set.created) }), h("span", { text: set.what === "opened" ? t("evaluations.opened") : worth(set.outcome) }),
      h("button", { class: "primary", id: `report-${set.id}`, t: "evaluations.report", "aria-label": t("evaluations.report_name", { at: when(set.created) }), on: { click: () => report(set) } }),
      h("button", { class: "quiet", t: "study.delete", "aria-label": t("evaluations.delete_name", { at: when(set.created) }), on: { click: () => remove(set) } })))) : h("p", { class: "caption", t: "evaluations.none" }), leftOver(sets, "evaluate", remove) ?? "");
    if (focus) document.getElementById(`report-${focus}`)?.focus();
  }
  async function form() {
    end();
    work.replaceChildren(h("h2", { t: "evaluations.new" }), h("p", { class: "caption", t: "evaluations.new_what" }), await pictureForm("evaluate", watch));
  }
  function watch(set) {
    end();
    end = follow(set.id, async (now) => {
      if (now.state === "done") { await form(); await draw(now.id); return; }
      const working = ["queued", "running"].includes(now.state);
      work.replaceChildren(h("h2", { tabindex: -1, t: working ? "evaluations.working" : now.state === "cancelled" ? "faces.cancelled" : "faces.failed" }),
        working ? h("p", { class: "busy", role: "status", t: now.state === "queued" ? "faces.waiting" : "faces.computing" }) : "",
        now.problem ? h("p", { class: "box warn", text: plain(both(now.problem)) }) : "",
        h("p", { class: "actions" }, working ? h("button", { t: "job.cancel", on: { click: () => ask("DELETE", `api/jobs/${now.job.id}`).catch(() => {}) } })
          : h("button", { class: "primary", t: "faces.again", on: { click: async () => { await remove(now); await form(); } } })));
    });
  }
  const { sets } = await ask("GET", "api/face-sets");
  const busy = sets.find((set) => set.what === "evaluate" && ["queued", "running"].includes(set.state));
  if (busy) watch(busy); else await form();
  await draw();
  return { end: () => end(), keep: true };
}
