// What is being analysed: the file, minutes left, the place in the queue, and cancelling.

import { ask } from "./api.js";
import { both, h, help, say, t } from "./dom.js";
import { failed } from "./sessions.js";

const ASK_MS = 1500;
const SHOWN = 10; // of those that have ended

export async function progressView(place, id) {
  let over = false, timer = 0, asking = "", last = "";
  const running = h("div", { class: "job-list" }), ended = h("div", { class: "job-list" });
  const trouble = h("p", { class: "box warn", role: "alert", hidden: true });
  place.replaceChildren(h("div", { class: "beside" }, h("div", {}, h("h1", { tabindex: -1, t: "progress.title" }),
    h("p", { class: "box good", t: "progress.stays_here" }), trouble, running,
    h("section", {}, h("h2", { t: "progress.ended" }), ended)), help("progress")));
  place.querySelector("h1").focus();

  async function refresh() {
    clearTimeout(timer);
    let found;
    try {
      found = await Promise.all([ask("GET", "api/jobs"), ask("GET", "api/sessions")]);
      trouble.hidden = true;
    } catch (error) { // the app may be starting again: what is shown stays, and is asked for again
      if (over) return;
      trouble.hidden = false;
      trouble.textContent = failed(error);
      timer = setTimeout(refresh, 2 * ASK_MS);
      return;
    }
    if (over) return;
    const [{ jobs }, { sessions }] = found;
    const of = new Map(sessions.map((session) => [session.id, session]));
    const busy = jobs.filter((job) => ["queued", "running"].includes(job.state)).sort((a, b) => (a.place ?? 0) - (b.place ?? 0));
    const mine = id ? jobs.filter((job) => job.session === id).at(-1) : null;
    if (mine?.state === "done") { say(t("progress.done")); location.replace(`#/sessions/${encodeURIComponent(id)}`); return; }
    const rest = jobs.filter((job) => !busy.includes(job) && of.has(job.session)).reverse().slice(0, SHOWN);
    const told = JSON.stringify([busy, rest, asking, document.documentElement.lang]);
    if (told !== last) {
      const focused = document.activeElement?.dataset?.act;
      running.replaceChildren(...(busy.length ? busy.map((job) => row(job, of.get(job.session))) : [h("p", { t: "progress.none" }),
        h("p", { class: "actions" }, h("a", { class: "button primary", href: "#/consent", t: "progress.new" }))]));
      ended.replaceChildren(...(rest.length ? rest.map((job) => row(job, of.get(job.session))) : [h("p", { class: "caption", t: "progress.none_ended" })]));
      if (focused) place.querySelector(`[data-act="${CSS.escape(focused)}"]`)?.focus();
      last = told;
    }
    if (busy.length) timer = setTimeout(refresh, ASK_MS);
  }

  const name = (session) => [session?.participant, session?.title].filter(Boolean).join(" · ") || t("progress.unnamed");

  function row(job, session) {
    const address = encodeURIComponent(job.session ?? "");
    const left = job.minutes_left;
    const time = left === null || left === undefined ? "progress.left_unknown" : left < 1 ? "progress.left_less" : "progress.left";
    const state = { queued: "progress.queued", running: "progress.running", done: "progress.is_done", failed: "progress.failed", cancelled: "progress.cancelled" }[job.state];
    const busy = ["queued", "running"].includes(job.state);
    return h("article", { class: `job-card ${job.state}`, "aria-label": name(session) },
      h("h2", { text: name(session) }),
      h("p", { class: "job-state" }, h("b", { t: job.kind === "baseline" && busy ? "progress.baseline" : state, values: { place: job.place ?? 1 } }),
        busy ? h("span", { t: time, values: { n: Math.round(left ?? 0) } }) : null),
      job.state === "running" ? h("progress", { max: 1, value: job.progress, "aria-label": name(session) }) : null,
      job.problem ? h("p", { class: "caption", text: both(job.problem) }) : null,
      asking === job.id ? h("div", { class: "box warn confirm", role: "alertdialog", label: "progress.cancel_ask" }, h("p", { t: "progress.cancel_ask" }),
        h("p", { class: "actions" },
          h("button", { class: "danger", t: "progress.cancel_yes", data: { act: `yes-${job.id}` }, on: { click: () => cancel(job) } }),
          h("button", { t: "progress.cancel_no", data: { act: `no-${job.id}` }, on: { click: () => { asking = ""; refresh(); } } })))
        : h("p", { class: "actions" },
          busy ? h("button", { t: "job.cancel", data: { act: `cancel-${job.id}` }, on: { click: () => { asking = job.id; refresh().then(() => place.querySelector(`[data-act="no-${job.id}"]`)?.focus()); } } }) : null,
          job.state === "done" ? h("a", { class: "button", href: `#/sessions/${address}`, t: "progress.see" }) : null,
          ["failed", "cancelled"].includes(job.state) && ["open", "failed"].includes(session?.state) ? h("a", { class: "button", href: `#/choose?session=${address}`, t: "progress.again" }) : null));
  }

  async function cancel(job) {
    asking = "";
    try { await ask("DELETE", `api/jobs/${encodeURIComponent(job.id)}`); } catch (error) { trouble.hidden = false; trouble.textContent = failed(error); }
    await refresh();
    timer = setTimeout(refresh, ASK_MS);
  }

  await refresh();
  return { end: () => { over = true; clearTimeout(timer); }, relabel: () => { last = ""; refresh(); } };
}
