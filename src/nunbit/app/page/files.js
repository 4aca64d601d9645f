// Recordings that exist already: upload to the app on this machine, and the queue of analyses.

import { ask, keepSessionKey } from "./api.js";
import { h, setText, t } from "./dom.js";
import { failed, jobLine } from "./sessions.js";

const ASK_MS = 1500;

export async function filesView(place) {
  let over = false, timer = 0;
  const media = h("input", { id: "media", type: "file", accept: "video/*,audio/*,.mkv" });
  const transcript = h("input", { id: "transcript", type: "file" });
  const agree = h("input", { type: "checkbox", id: "agree" });
  const trouble = h("p", { class: "box warn", role: "alert", hidden: true });
  const go = h("button", { class: "primary", t: "files.go" });
  const jobs = h("div", { class: "jobs" });

  async function submit(event) {
    event.preventDefault();
    trouble.hidden = true;
    if (!media.files.length || !agree.checked) { trouble.hidden = false; setText(trouble, "files.need"); return; }
    const form = new FormData();
    form.append("lang", document.documentElement.lang);
    form.append("media", media.files[0]);
    if (transcript.files.length) form.append("transcript", transcript.files[0]);
    go.disabled = true;
    setText(go, "files.sending");
    try {
      const { session } = await ask("POST", "api/analyses", form);
      keepSessionKey(session.id, session.key);
      media.value = transcript.value = "";
      agree.checked = false;
    } catch (error) {
      trouble.hidden = false;
      delete trouble.dataset.t;
      trouble.textContent = failed(error);
    }
    go.disabled = false;
    setText(go, "files.go");
    await refresh();
  }

  async function refresh() {
    clearTimeout(timer);
    const { jobs: given } = await ask("GET", "api/jobs");
    if (over) return;
    jobs.replaceChildren(...(given.length ? given.map(row) : [h("p", { class: "caption", t: "files.no_jobs" })]));
    if (given.some((job) => ["queued", "running"].includes(job.state))) timer = setTimeout(() => refresh().catch(() => {}), ASK_MS);
  }

  const row = (job) => h("div", { class: "job-row" }, h("b", { text: job.name ?? job.id }),
    jobLine(job) ?? h("p", { class: "job", text: t("job.done") }),
    h("p", { class: "actions" },
      ["queued", "running"].includes(job.state) ? h("button", { t: "job.cancel", on: { click: async () => { await ask("DELETE", `api/jobs/${encodeURIComponent(job.id)}`); await refresh(); } } }) : null,
      job.session ? h("a", { class: "button", href: `#/sessions/${encodeURIComponent(job.session)}`, t: "job.open" }) : null));

  const field = (input, name) => h("p", { class: "field" }, h("label", { for: input.id, t: `files.${name}` }), input);
  place.replaceChildren(h("h1", { t: "files.title" }), h("p", { class: "what", t: "files.what" }),
    h("form", { class: "narrow", on: { submit } }, field(media, "media"), field(transcript, "transcript"),
      h("p", { class: "check" }, agree, h("label", { for: "agree", t: "files.agree" })), trouble, h("p", { class: "actions" }, go)),
    h("section", {}, h("h2", { t: "files.jobs" }), jobs));
  await refresh();
  return { end: () => { over = true; clearTimeout(timer); } };
}
