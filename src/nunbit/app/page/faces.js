// '20 of my faces': fit the model to one's own people, see what it is worth, choose it or not.

import { ask } from "./api.js";
import { both, h, help, t, when } from "./dom.js";
import { follow, leftOver, pictureForm } from "./pictures.js";
import { dotChart, messages, plainTable, range, shown } from "./study_shared.js";

const SHARE = "0–1";

export async function facesView(place) {
  let end = () => {};
  const page = h("div", {}), work = h("section", { id: "faces-work" }), models = h("section", {}), say = messages();
  place.replaceChildren(h("div", { class: "beside" }, page, help("faces")));
  page.append(h("h1", { t: "faces.title" }), h("p", { class: "what", t: "faces.what" }), h("p", { class: "box", t: "faces.honest" }), say.busy, say.trouble, work, models);

  async function form() {
    end();
    work.replaceChildren(h("h2", { t: "faces.new" }), await pictureForm("adapt", watch));
  }
  function watch(set) {
    end();
    end = follow(set.id, async (now) => {
      work.replaceChildren(...setOf(now, { again: form, remove: () => remove(now.id, form) }));
      if (["done", "failed", "cancelled"].includes(now.state)) { work.querySelector("h2")?.focus(); await list(); }
    });
  }
  async function remove(id, then) {
    const gone = await say.during("study.deleting", () => ask("DELETE", `api/face-sets/${id}`));
    if (gone !== null) { await list(); await then?.(); }
  }
  async function list() {
    const [{ models: given }, { sets }] = await Promise.all([ask("GET", "api/models"), ask("GET", "api/face-sets")]);
    const others = sets.filter((set) => set.what === "adapt" && set.state === "done" && !given.some((one) => one.id === set.id));
    models.replaceChildren(h("h2", { t: "faces.models" }), h("p", { class: "caption", t: "faces.models_what" }),
      h("fieldset", { class: "choice-list" }, h("legend", { class: "unseen", t: "faces.models" }), given.map((one) => h("div", { class: "choice" },
        h("input", { type: "radio", name: "model", id: `model-${one.id}`, value: one.id, checked: one.chosen, on: { change: () => choose(one.id) } }),
        h("label", { for: `model-${one.id}` }, h("b", { text: one.id === "shipped" ? t("faces.shipped") : t("faces.adapted", { at: when(one.created) }) }),
          h("small", { text: one.outcome ? worth(one.outcome) : t("faces.shipped_what") })),
        one.id === "shipped" ? null : h("button", { class: "quiet", t: "study.delete", "aria-label": t("faces.delete_name", { at: when(one.created) }), on: { click: () => remove(one.id) } })))),
      others.length ? h("details", {}, h("summary", { t: "faces.refused_before", values: { n: others.length } }), h("ul", { class: "lines" }, others.map((set) => h("li", {},
        h("span", { text: when(set.created) }), h("span", { text: worth(set.outcome) }), h("button", { class: "quiet", t: "study.delete", "aria-label": t("faces.delete_name", { at: when(set.created) }), on: { click: () => remove(set.id) } }))))) : "",
      leftOver(sets, "adapt", (set) => remove(set.id)) ?? "");
  }
  async function choose(id) {
    const done = await say.during("study.saving", () => ask("PUT", "api/models", { id }));
    if (done === null) await list();
  }

  const { sets } = await ask("GET", "api/face-sets");
  const busy = sets.find((set) => set.what === "adapt" && ["queued", "running"].includes(set.state));
  if (busy) watch(busy); else await form();
  await list();
  return { end: () => end(), keep: true };
}

const share = (score) => shown(score.value, SHARE) + (score.low === null ? "" : ` (${range(score.low, score.high, SHARE)})`);

/** What a set is worth, in a sentence. */
export function worth(outcome) {
  if (!outcome?.hits_before) return "";
  if (!outcome.hits_after) return t("faces.worth_now", { n: outcome.images, hits: share(outcome.hits_before) });
  return t("faces.worth", { n: outcome.images, before: share(outcome.hits_before), after: share(outcome.hits_after) });
}

/** A set that works or is done. */
export function setOf(set, { again, remove }) {
  if (set.state === "queued" || set.state === "running") {
    return [h("h2", { t: "faces.working" }), h("p", { class: "busy", role: "status", t: set.state === "queued" ? "faces.waiting" : "faces.computing" }), h("p", { class: "caption", t: "faces.may_leave" }),
      h("p", { class: "actions" }, h("button", { t: "job.cancel", on: { click: () => ask("DELETE", `api/jobs/${set.job.id}`).catch(() => {}) } }))];
  }
  if (set.state !== "done") {
    return [h("h2", { tabindex: -1, t: set.state === "cancelled" ? "faces.cancelled" : "faces.failed" }), set.problem ? h("p", { class: "box warn", text: plain(both(set.problem)) }) : "",
      h("p", { class: "actions" }, h("button", { class: "primary", t: "faces.again", on: { click: remove } }))];
  }
  const one = set.outcome;
  const rows = [["hits", one.hits_before, one.hits_after], ["recall", one.recall_before, one.recall_after]].filter(([, before]) => before);
  const nodes = [h("h2", { tabindex: -1, t: one.written ? "faces.better" : "faces.refused" }),
    h("p", { class: one.written ? "box good" : "box warn" }, h("b", { t: one.written ? "faces.better_what" : "faces.refused_what" }))];
  for (const [name, before, after] of rows) {
    const points = [{ ...before, name: t("faces.before") }, ...(after ? [{ ...after, name: t("faces.after") }] : [])];
    nodes.push(h("section", { class: "measure" }, h("h3", { t: `faces.${name}` }), h("p", { class: "caption", t: `faces.${name}_what` }),
      h("div", { class: "chart-and-table" }, dotChart(points, SHARE, t(`faces.${name}`)),
        plainTable(t(`faces.${name}`), ["", t("study.value"), t("study.interval")], points.map((point) => [point.name, shown(point.value, SHARE), range(point.low, point.high, SHARE)])))));
  }
  return [...nodes, h("p", { class: "caption", t: one.persons === null ? "faces.from_unknown" : "faces.from", values: { n: one.images, persons: one.persons ?? 0 } }),
    one.limits.length ? h("ul", { class: "sentences" }, one.limits.map((limit) => h("li", { text: plain(both(limit)) }))) : "",
    h("p", { class: "caption", t: "faces.erased" }), h("p", { class: "actions" }, h("button", { t: "faces.another", on: { click: again } }))];
}

/** A sentence of the command line without what only stands there. */
export const plain = (text) => text.replace(/^\S*[/\\]\S*:\s*/u, "").replace(/`?--[\w-]+`?\s*/gu, "");
