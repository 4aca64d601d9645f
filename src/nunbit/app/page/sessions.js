// The list of sessions, one session while it changes, and deleting it with a receipt.

import { ApiError, ask, askSession, forgetSessionKey, keepSessionKey, sessionKey } from "./api.js";
import { both, bytes, clock, h, has, setText, t, when } from "./dom.js";
import { resultPage } from "./result.js";

const ASK_MS = 1500; // while a session is analysed
const MOST_TRIES = 40; // for a report that no job is making

/** An error in words. */
export function failed(error) {
  if (!(error instanceof ApiError)) return error?.message ?? String(error);
  if (error.texts) return both(error.texts);
  return error.status === 0 ? t("error.0") : t("error.any", { status: error.status });
}

const path = (session) => (session.state === "open" && session.participant && session.origin !== "upload"
  ? `#/choose?session=${encodeURIComponent(session.id)}` : `#/sessions/${encodeURIComponent(session.id)}`);
const stateText = (session) => (has(`session.state.${session.state}`) ? `session.state.${session.state}` : null);

function table(sessions) {
  const head = ["participant", "recording", "made", "length", "state", "keep_until"];
  const cell = (name, ...content) => h("td", { "data-name": t(`sessions.${name}`) }, ...content);
  return h("div", { class: "scroll", tabindex: 0, role: "group", label: "sessions.title" }, h("table", { class: "sessions-list" },
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col", t: `sessions.${name}` })))),
    h("tbody", {}, sessions.map((session) => h("tr", {},
      h("th", { scope: "row" }, h("a", { href: path(session), text: session.participant || t("sessions.no_code") })),
      cell("recording", session.title || t(session.origin === "live" ? "sessions.live" : "sessions.untitled")),
      cell("made", when(session.started ?? session.created)),
      cell("length", typeof session.duration_s === "number" ? clock(session.duration_s) : "–"),
      cell("state", stateText(session) ? t(stateText(session)) : session.state),
      cell("keep_until", session.keep_until ? String(session.keep_until).slice(0, 10) : "–"))))));
}

const newestFirst = (sessions) => [...sessions].sort((a, b) => (a.created < b.created ? 1 : -1));

export async function homeList(place) {
  const { sessions } = await ask("GET", "api/sessions");
  if (!sessions.length) return;
  place.replaceChildren(h("h2", { t: "home.recent" }), table(newestFirst(sessions).slice(0, 5)));
}

export async function sessionsView(place) {
  const { sessions } = await ask("GET", "api/sessions");
  const all = newestFirst(sessions), list = h("div", {});
  const find = h("input", { type: "search", id: "find", autocomplete: "off" });
  const count = h("p", { class: "caption", role: "status" });
  const draw = () => {
    const wanted = find.value.trim().toLowerCase();
    const shown = wanted ? all.filter((each) => `${each.participant ?? ""} ${each.title}`.toLowerCase().includes(wanted)) : all;
    setText(count, "sessions.count", { n: shown.length });
    list.replaceChildren(shown.length ? table(shown) : h("p", { class: "caption", t: all.length ? "sessions.not_found" : "sessions.none" }));
  };
  find.addEventListener("input", draw);
  draw();
  place.replaceChildren(h("h1", { t: "sessions.title" }), h("p", { class: "what", t: "sessions.what" }),
    all.length > 5 ? h("p", { class: "field find" }, h("label", { for: "find", t: "sessions.find" }), find) : "",
    all.length > 5 ? count : "", list,
    h("p", { class: "actions" }, h("a", { class: "button primary", href: "#/consent", t: "progress.new" })));
}

export async function sessionView(place, id) {
  let timer = 0, over = false, tries = 0, drawn = "", shownResult = null;
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
    const told = JSON.stringify(session), writes = place.querySelector("input:focus, textarea:focus") !== null;
    if (told !== drawn && !writes) {
      shownResult?.end();
      shownResult = await resultPage(place, id, session, { refresh, stop });
      drawn = told;
    }
    // Until its tables are there; a request that fails meanwhile is asked again.
    const working = ["recording", "analysing"].includes(session.state) || ["queued", "running"].includes(session.job?.state);
    const awaited = !session.has_report && !["open", "failed"].includes(session.state) && tries++ < MOST_TRIES;
    if (working || awaited) again();
  }
  await refresh();
  return { end: () => { stop(); shownResult?.end(); } };
}

function needsKey(id, refresh, stop) {
  const field = h("input", { id: "session-key", type: "password", autocomplete: "off" });
  return [back(), h("form", {
    class: "narrow", on: { submit: (event) => { event.preventDefault(); keepSessionKey(id, field.value.trim()); refresh(); } },
  }, h("p", { t: "error.session_key", values: { id } }),
  h("p", { class: "field" }, h("label", { for: "session-key", t: "session.key" }), field), h("button", { class: "primary", t: "key.open" })),
  deletion(id, { participant: "" }, stop)];
}

export const back = () => h("p", {}, h("a", { href: "#/sessions", t: "session.back" }));

export function deletion(id, session, stop) {
  const place = h("details", { class: "delete", id: "delete" });
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
      const main = place.closest(".page");
      main.replaceChildren(back(), ...receiptOf(receipt));
      main.querySelector("h1").focus();
    } catch (error) {
      wrong.hidden = false;
      delete wrong.dataset.t;
      wrong.textContent = failed(error);
    }
  }
  place.append(h("summary", { t: "delete.title" }), h("p", { t: "delete.what" }),
    h("form", { on: { submit } },
      h("p", { class: "field" }, h("label", { for: "delete-code", t: session.participant ? "delete.confirm" : "delete.confirm_id", values: { code: session.participant || id } }), field),
      wrong, h("button", { class: "danger", id: "delete-go", t: "delete.go" })));
  return place;
}

function receiptOf(receipt) {
  const files = receipt.deleted ?? [];
  return [h("h1", { tabindex: -1, t: "delete.done" }),
    h("p", { class: receipt.verified ? "box good" : "box warn", id: "receipt" },
      h("b", { t: receipt.verified ? "delete.verified" : "delete.not_verified", values: { n: files.length } }), " ",
      h("span", { t: "delete.receipt", values: { id: receipt.receipt, at: when(receipt.at) } })),
    h("div", { class: "scroll", tabindex: 0, role: "group", label: "delete.done" }, h("table", {},
      h("thead", {}, h("tr", {}, ["file", "size", "gone"].map((name) => h("th", { scope: "col", t: `delete.${name}` })))),
      h("tbody", {}, files.map((file) => h("tr", {}, h("td", {}, h("code", { text: file.name })), h("td", { text: bytes(file.bytes ?? 0) }),
        h("td", { t: file.gone ? "delete.is_gone" : "delete.is_there" }))))))];
}
