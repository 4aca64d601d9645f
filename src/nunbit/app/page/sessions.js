// The list of sessions, one session with its files, and deleting it with a receipt.

import { ApiError, ask, askSession, forgetSessionKey, keepSessionKey, openOf, sessionKey } from "./api.js";
import { both, bytes, clock, h, has, setText, t, when } from "./dom.js";

const ASK_MS = 1500; // while a session is analysed
const MOST_TRIES = 40; // for a report that no job is making

/** An error in words. */
export function failed(error) {
  if (!(error instanceof ApiError)) return error?.message ?? String(error);
  if (error.texts) return both(error.texts);
  return error.status === 0 ? t("error.0") : t("error.any", { status: error.status });
}

const path = (id) => `#/sessions/${encodeURIComponent(id)}`;
const stateText = (session) => (has(`session.state.${session.state}`) ? `session.state.${session.state}` : null);

function table(sessions) {
  const head = ["participant", "started", "length", "state", "media", "keep_until"];
  const cell = (name, ...content) => h("td", { "data-name": t(`sessions.${name}`) }, ...content);
  return h("div", { class: "scroll" }, h("table", { class: "sessions-list" },
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col", t: `sessions.${name}` })))),
    h("tbody", {}, sessions.map((session) => h("tr", {},
      h("th", { scope: "row" }, h("a", { href: path(session.id), text: session.participant || session.id })),
      cell("started", when(session.started)),
      cell("length", typeof session.duration_s === "number" ? clock(session.duration_s) : "–"),
      cell("state", stateText(session) ? t(stateText(session)) : session.state),
      cell("media", t(session.keep_media ? "sessions.kept" : "sessions.not_kept")),
      cell("keep_until", session.keep_until ? String(session.keep_until).slice(0, 10) : "–"))))));
}

export async function homeList(place) {
  const { sessions } = await ask("GET", "api/sessions");
  if (!sessions.length) return;
  place.replaceChildren(h("h2", { t: "home.recent" }), table(sessions.slice(0, 5)));
}

export async function sessionsView(place) {
  const { sessions } = await ask("GET", "api/sessions");
  place.replaceChildren(h("h1", { t: "sessions.title" }),
    sessions.length ? table(sessions) : h("p", { class: "caption", t: "sessions.none" }),
    h("p", { class: "actions" }, h("a", { class: "button primary", href: "#/consent", t: "home.record" })));
}

export async function sessionView(place, id) {
  let timer = 0, over = false, tries = 0, drawn = "";
  const stop = () => { over = true; clearTimeout(timer); };
  const again = () => { if (!over) timer = setTimeout(() => refresh().catch(() => { if (tries++ < MOST_TRIES) again(); }), ASK_MS); };
  async function refresh() {
    clearTimeout(timer);
    let session;
    try { session = await askSession("GET", id); } catch (error) {
      if (over) return;
      if (error instanceof ApiError && [401, 403].includes(error.status)) { place.replaceChildren(...needsKey(id, refresh, stop)); return; }
      throw error;
    }
    if (over) return;
    // Drawn again only where something is new, and never under somebody who writes.
    const told = JSON.stringify(session), writes = place.querySelector("input:focus") !== null;
    if (told !== drawn && !writes) {
      place.replaceChildren(...page(id, session, refresh, stop));
      drawn = told;
    }
    // Until its tables are there; a request that fails meanwhile is asked again.
    const working = ["recording", "analysing"].includes(session.state) || ["queued", "running"].includes(session.job?.state);
    const awaited = !session.has_report && !["open", "failed"].includes(session.state) && tries++ < MOST_TRIES;
    if (working || awaited) again();
  }
  await refresh();
  return { end: stop };
}

function needsKey(id, refresh, stop) {
  const field = h("input", { id: "session-key", type: "password", autocomplete: "off" });
  return [back(), h("form", {
    class: "narrow", on: { submit: (event) => { event.preventDefault(); keepSessionKey(id, field.value.trim()); refresh(); } },
  }, h("p", { t: "error.session_key", values: { id } }),
  h("p", { class: "field" }, h("label", { for: "session-key", t: "session.key" }), field), h("button", { class: "primary", t: "key.open" })),
  deletion(id, { participant: "" }, stop)];
}

const back = () => h("p", {}, h("a", { href: "#/sessions", t: "session.back" }));

function page(id, session, refresh, stop) {
  const trouble = h("p", { class: "box warn", role: "alert", hidden: true });
  const tell = (error) => { trouble.hidden = false; trouble.textContent = failed(error); };
  const get = (what) => h("button", { type: "button", on: { click: () => openOf(id, what).catch(tell) } });
  const named = (what, text) => { const button = get(what); button.textContent = text; return button; };
  const report = get("report");
  report.className = "primary";
  report.id = "open-report";
  setText(report, "session.report");
  const facts = [
    ["sessions.started", when(session.started)],
    ["sessions.length", typeof session.duration_s === "number" ? clock(session.duration_s) : "–"],
    ["sessions.state", stateText(session) ? t(stateText(session)) : session.state],
    ["sessions.media", t(session.keep_media ? "sessions.kept" : "sessions.not_kept")],
    ["sessions.keep_until", session.keep_until ? String(session.keep_until).slice(0, 10) : "–"],
    ["session.consent", consentText(session.consent)],
  ];
  const list = (title, names, kind) => names?.length ? h("div", {}, h("h3", { t: title }),
    h("p", { class: "chips" }, names.map((name) => named(`${kind}:${name}`, name)))) : null;
  return [back(), h("h1", { t: "session.title", values: { name: session.participant || id } }), trouble,
    h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", { t: name }), h("dd", { text: value })))),
    session.problem ? h("p", { class: "box warn", text: both(session.problem) }) : null,
    jobLine(session.job),
    session.state === "open" && session.origin !== "upload" ? h("p", { class: "actions" },
      h("a", { class: "button primary", href: `#/live?session=${encodeURIComponent(id)}`, t: "session.record" })) : null,
    session.state === "open" ? null : h("p", { class: "actions" }, session.has_report ? report : h("span", { class: "caption", t: "session.no_report" }),
      session.has_media ? (() => { const button = get("media"); setText(button, "session.media"); return button; })() : null),
    session.state === "open" ? null : h("div", { class: "columns" },
      h("section", {}, h("h2", { t: "session.notes" }), notes(session.notes)),
      h("section", {}, h("h2", { t: "session.baseline" }), baseline(id, session, tell, refresh))),
    h("section", {}, h("h2", { t: "session.files" }),
      list("session.tables", session.tables, "table"), list("session.exports", session.exports, "export"),
      h("ul", { class: "file-list" }, (session.files ?? []).map((file) => h("li", {}, h("code", { text: file.name }), " ", h("small", { text: bytes(file.bytes) }))))),
    deletion(id, session, stop)].filter(Boolean);
}

function consentText(consent) {
  if (!consent) return "–";
  const purpose = has(`purpose.${consent.purpose}`) ? t(`purpose.${consent.purpose}`) : consent.purpose;
  return t("session.consent_of", { date: consent.date, purpose, days: consent.retention_days });
}

/** How far an analysis is, in words and as a bar. */
export function jobLine(job) {
  if (!job || job.state === "done") return null;
  const text = has(`job.${job.state}`) ? t(`job.${job.state}`, { place: job.place ?? 1 }) : job.state;
  const left = job.state === "running" && job.minutes_left ? `, ${t("job.left", { n: Math.max(1, Math.round(job.minutes_left)) })}` : "";
  return h("p", { class: "job" }, h("span", { t: "session.job", values: { state: text + left } }),
    job.state === "running" ? h("progress", { max: 1, value: job.progress ?? 0, label: "session.state.analysing" }) : null,
    job.error ? h("span", { class: "why", text: both(job.error) }) : null);
}

function notes(given) {
  const shown = given ?? [];
  if (!shown.length) return h("p", { class: "caption", t: "notes.none" });
  return h("ol", { class: "note-list" }, shown.map((note) => h("li", { "data-kind": note.kind },
    h("span", { class: "at", text: clock(note.t) }), h("b", { text: has(`note.${note.kind}`) ? t(`note.${note.kind}`) : note.kind }),
    h("span", { text: note.text ?? "" }))));
}

function baseline(id, session, tell, refresh) {
  const set = session.baseline;
  const number = (name, value) => h("input", { id: `baseline-${name}`, type: "number", step: 0.1, min: 0, value: value ?? "" });
  const from = number("from", set?.from), to = number("to", set?.to);
  const done = h("span", { class: "caption", role: "status" });
  return h("form", {
    class: "baseline", on: {
      submit: async (event) => {
        event.preventDefault();
        try {
          await askSession("POST", id, "/baseline", { from: Number(from.value), to: Number(to.value) });
          document.activeElement?.blur();
          await refresh();
          setText(done, "session.baseline_done");
        } catch (error) { tell(error); }
      },
    },
  }, set ? h("p", { text: `${clock(set.from, true)} – ${clock(set.to, true)}` }) : h("p", { class: "caption", t: "session.baseline_none" }),
  h("p", { class: "field" }, h("label", { for: "baseline-from", t: "session.baseline_from" }), from),
  h("p", { class: "field" }, h("label", { for: "baseline-to", t: "session.baseline_to" }), to),
  h("button", { t: "session.baseline_set" }), done);
}

function deletion(id, session, stop) {
  const place = h("section", { class: "delete", "aria-labelledby": "delete-title" });
  const field = h("input", { id: "delete-code", autocomplete: "off" });
  const wrong = h("p", { class: "box warn", role: "alert", hidden: true });
  async function submit(event) {
    event.preventDefault();
    const given = field.value.trim();
    wrong.hidden = true;
    if (session.participant && given !== session.participant) { wrong.hidden = false; setText(wrong, "delete.wrong"); field.focus(); return; }
    try {
      const receipt = await ask("DELETE", `api/sessions/${encodeURIComponent(id)}`, { confirm: given }, { session: sessionKey(id) ? id : null });
      stop();
      forgetSessionKey(id);
      const main = place.parentElement;
      main.replaceChildren(back(), ...receiptOf(receipt));
      main.querySelector("h1").focus();
    } catch (error) {
      wrong.hidden = false;
      delete wrong.dataset.t;
      wrong.textContent = failed(error);
    }
  }
  place.append(h("h2", { id: "delete-title", t: "delete.title" }), h("p", { t: "delete.what" }),
    h("form", { on: { submit } },
      h("p", { class: "field" }, h("label", { for: "delete-code", t: "delete.confirm", values: { code: session.participant } }), field),
      wrong, h("button", { class: "danger", id: "delete-go", t: "delete.go" })));
  return place;
}

function receiptOf(receipt) {
  const files = receipt.deleted ?? [];
  return [h("h1", { tabindex: -1, t: "delete.done" }),
    h("p", { class: receipt.verified ? "box good" : "box warn", id: "receipt" },
      h("b", { t: receipt.verified ? "delete.verified" : "delete.not_verified", values: { n: files.length } }), " ",
      h("span", { t: "delete.receipt", values: { id: receipt.receipt, at: when(receipt.at) } })),
    h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, ["file", "size", "gone"].map((name) => h("th", { scope: "col", t: `delete.${name}` })))),
      h("tbody", {}, files.map((file) => h("tr", {}, h("td", {}, h("code", { text: file.name })), h("td", { text: bytes(file.bytes ?? 0) }),
        h("td", { t: file.gone ? "delete.is_gone" : "delete.is_there" }))))))];
}
