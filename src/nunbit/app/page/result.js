// One result on one plain page: how much could be read, where to look first, the recording with its
// tracks (the report itself, in a frame), notes; all else is folded.

import { askSession, openOf } from "./api.js";
import { baselineAxis } from "./axis.js";
import { both, bytes, clock, h, has, help, language, percent, say, setText, t, when } from "./dom.js";
import { back, deletion, failed } from "./sessions.js";

const LEAST_BASELINE_S = 60;
const NOTICES = 3; // shown; the others are folded

/** Draw the page of a session; `refresh` asks for it again, `stop` ends asking. Returns {end}. */
export async function resultPage(place, id, session, { refresh, stop }) {
  const address = encodeURIComponent(id);
  const trouble = h("p", { class: "box warn", role: "alert", hidden: true });
  const tell = (error) => { trouble.hidden = false; trouble.textContent = failed(error); };
  const title = [session.participant, session.title].filter(Boolean).join(" · ") || t("sessions.no_code");
  const head = [back(), h("h1", { text: title }), h("p", { class: "what", text: factsOf(session) }), trouble];
  const report = h("button", { type: "button", id: "open-report", t: "session.report", on: { click: () => openOf(id, "report").catch(tell) } });
  const remove = deletion(id, session, stop);
  const waiting = session.job && ["queued", "running"].includes(session.job.state);
  const state = [
    session.problem ? h("p", { class: "box warn", text: both(session.problem) }) : null,
    waiting || session.state === "analysing" ? h("p", { class: "box" }, h("span", { t: "result.working" }), " ", h("a", { href: `#/progress?session=${address}`, t: "result.to_progress" })) : null,
    ["open", "failed"].includes(session.state) ? h("p", { class: "actions" },
      h("a", { class: "button primary", href: `#/choose?session=${address}`, t: "choose.title_none" }),
      session.origin === "live" && !session.started ? h("a", { class: "button", href: `#/live?session=${address}`, t: "session.record" }) : null) : null,
  ].filter(Boolean);
  if (!session.has_report) {
    place.replaceChildren(...head, ...state, session.state === "open" ? "" : h("p", { class: "caption", t: "session.no_report" }),
      session.notes.length ? noteSection(id, session, null, tell) : "", remove);
    return { end: () => {} };
  }
  const plain = h("div", { class: "plain", "aria-busy": "true" }, h("p", { class: "busy", t: "loading" }));
  const more = h("div", {});
  const view = frameOf(id, session, tell);
  const film = h("section", { class: "film" }, h("h2", { t: "result.film" }), h("p", { class: "caption", t: session.has_media ? "result.film_what" : "result.film_gone" }), view.element);
  const next = h("nav", { class: "actions next", "aria-label": t("result.next") },
    h("a", { class: "button primary", id: "to-export", href: `#/export?session=${address}`, t: "result.export" }),
    session.participant ? h("a", { class: "button", href: `#/compare?person=${encodeURIComponent(session.participant)}`, t: "result.compare" }) : null, report);
  place.replaceChildren(...head, ...state, h("div", { class: "beside" }, h("div", {}, plain, next), help("result")), film,
    noteSection(id, session, view, tell), more, remove);
  try {
    const found = await askSession("GET", id, `/plain?lang=${language()}`);
    plain.replaceChildren(...plainParts(found, view, session).filter(Boolean));
    plain.removeAttribute("aria-busy");
    more.replaceChildren(...details(id, session, found, tell, refresh).filter(Boolean));
    document.documentElement.dataset.result = "shown";
    await view.load();
  } catch (error) { plain.replaceChildren(h("p", { class: "box warn", text: failed(error) })); }
  return { end: () => { view.end(); delete document.documentElement.dataset.result; } };
}

function factsOf(session) {
  return [when(session.started ?? session.created), typeof session.duration_s === "number" ? t("result.length", { time: clock(session.duration_s) }) : "",
    session.keep_until ? t("result.until", { day: session.keep_until.slice(0, 10) }) : ""].filter(Boolean).join(" · ");
}

/** The report's player and tracks in a sandbox: it has no key, and is told times only. */
function frameOf(id, session, tell) {
  const frame = h("iframe", { class: "report-frame", title: t("result.film"), sandbox: "allow-scripts", referrerpolicy: "no-referrer", allow: "fullscreen" });
  let at = 0, ready = false, wanted = null;
  const told = (event) => {
    if (event.source !== frame.contentWindow) return;
    if (Number.isFinite(event.data?.height)) {
      ready = true;
      frame.style.height = `${Math.max(200, event.data.height)}px`;
      frame.dataset.ready = "1";
      if (wanted !== null) { seek(wanted); wanted = null; }
    }
    if (Number.isFinite(event.data?.time)) at = event.data.time;
  };
  addEventListener("message", told);
  function seek(time) {
    at = time;
    if (!ready) { wanted = time; return; }
    frame.contentWindow.postMessage({ seek: time }, "*");
  }
  return {
    element: frame,
    seek: (time) => { seek(time); frame.scrollIntoView({ block: "nearest", behavior: "instant" }); say(t("result.went_to", { at: clock(time) })); },
    time: () => at,
    load: async () => {
      try { frame.src = (await askSession("POST", id, "/ticket", { what: `view:${language()}` })).url; } catch (error) { tell(error); }
    },
    end: () => removeEventListener("message", told),
  };
}

function plainParts(found, view, session) {
  return [
    session.baseline && !found.baseline_used ? h("p", { class: "box warn", id: "baseline-unused", t: "result.baseline_unused", values: { s: LEAST_BASELINE_S } }) : null,
    found.synthetic ? h("p", { class: "caption", t: "result.drawn" }) : null,
    h("section", {}, h("h2", { t: "result.read" }), h("div", { class: "parts" }, found.parts.map((each) => partRow(each, found, session.consent?.scope))),
      found.speaker ? h("p", { class: "caption", t: "result.whose", values: { name: found.speaker } }) : null,
      found.missing.length ? h("ul", { class: "short" }, found.missing.map((text) => h("li", { text }))) : null),
    h("section", { id: "moments" }, h("h2", { t: "result.moments" }),
      found.moments.length ? h("ol", { class: "moments" }, found.moments.map((each) => h("li", {},
        h("button", { type: "button", class: "moment-go", "aria-label": t("result.go_to", { at: clock(each.t) }), on: { click: () => view.seek(each.t) } }, clock(each.t)), h("span", { text: each.why }))))
        : h("p", { t: "result.no_moments" }),
      found.moments.length ? h("p", { class: "caption", text: found.moments_note }) : null),
    found.notices.length ? h("section", {}, h("h2", { t: "result.notices" }),
      h("ul", { class: "short" }, found.notices.slice(0, NOTICES).map((text) => h("li", { text }))),
      found.notices.length > NOTICES ? h("details", {}, h("summary", { t: "result.more_notices", values: { n: found.notices.length - NOTICES } }),
        h("ul", { class: "short" }, found.notices.slice(NOTICES).map((text) => h("li", { text })))) : null) : null,
  ];
}

function partRow(each, found, scope) {
  const name = t(`part.${each.part}`);
  if (each.share === null) {
    return h("div", { class: "part none" }, h("h3", { text: name }), h("p", { t: scope && scope[each.part] === false ? `result.${each.part}_not_agreed` : `result.${each.part}_none` }));
  }
  const bar = h("div", { class: "part-bar", role: "img", "aria-label": t("result.bar", { name, share: percent(each.share) }) },
    h("i", { class: `fill ${each.part}` }), ...each.why.slice(0, 4).map(() => h("i", { class: "lost" })));
  [each.share, ...each.why.slice(0, 4).map((why) => why.share)].forEach((share, n) => { bar.children[n].style.flexGrow = String(Math.max(0.001, share)); });
  return h("div", { class: "part" }, h("h3", { text: name }), h("p", { class: "part-value", text: percent(each.share) }), bar,
    h("p", { t: `result.${each.part}_share`, values: { share: percent(each.share), n: found.words.toLocaleString() } }),
    each.why.length ? h("ul", { class: "short" }, each.why.map((why) => h("li", { t: "result.why", values: { reason: why.reason, share: why.share < 0.01 ? "<1%" : percent(why.share) } }))) : null);
}

function noteSection(id, session, view, tell) {
  const list = h("ul", { class: "note-list" });
  const notes = [...session.notes];
  const draw = () => list.replaceChildren(...(notes.length ? notes.sort((a, b) => a.t - b.t).map((note) => h("li", {},
    view ? h("button", { type: "button", class: "moment-go", "aria-label": t("result.go_to", { at: clock(note.t) }), on: { click: () => view.seek(note.t) } }, clock(note.t)) : h("span", { class: "at", text: clock(note.t) }),
    h("b", { t: has(`note.${note.kind}`) ? `note.${note.kind}` : "note.note" }), h("q", { text: note.text }))) : [h("li", { class: "caption", t: "notes.none" })]));
  draw();
  const text = h("input", { id: "new-note", maxlength: 2000, autocomplete: "off" });
  const form = view ? h("form", {
    class: "result-note", on: {
      submit: async (event) => {
        event.preventDefault();
        if (!text.value.trim()) return;
        try {
          notes.push(await askSession("POST", id, "/notes", { t: Math.round(10 * view.time()) / 10, kind: "note", text: text.value.trim() }));
          text.value = "";
          draw();
        } catch (error) { tell(error); }
      },
    },
  }, h("p", { class: "field" }, h("label", { for: "new-note", t: "result.note" }), text), h("button", { t: "notes.add" })) : null;
  return h("section", { class: "result-notes" }, h("h2", { t: "session.notes" }), list, form ?? "");
}

function details(id, session, found, tell, refresh) {
  const fold = (key, ...content) => h("details", { class: "fold" }, h("summary", { t: key }), ...content);
  return [
    fold("result.measures", h("p", { class: "caption", t: "result.measures_what" }), ...found.measures.flatMap((group) => measureTable(group, found))),
    found.experimental.length ? fold("result.experimental", h("p", { class: "caption", t: "result.experimental_what" }), ...found.experimental.flatMap((group) => measureTable(group, found))) : null,
    fold("session.baseline", h("p", { class: "caption", t: "choose.rest_what", values: { s: LEAST_BASELINE_S } }), baseline(id, session, found, tell, refresh)),
    session.consent ? fold("session.consent", consent(session.consent)) : null,
    fold("session.files", h("ul", { class: "file-list" }, session.files.map((file) => h("li", {}, h("code", { text: file.name }), " ", h("small", { text: bytes(file.bytes) }))))),
  ];
}

function measureTable(group, found) {
  const cell = (key, value) => h("td", { "data-name": t(key) }, value || "–");
  return [h("h3", { text: group.title }), h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": group.title }, h("table", { class: "measure-table" },
    h("thead", {}, h("tr", {}, ["name", "value", "interval", ...(found.baseline_used ? ["usual"] : [])].map((name) => h("th", { scope: "col", t: `result.m_${name}` })))),
    h("tbody", {}, group.rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.name, row.meaning ? h("small", { text: row.meaning }) : null),
      row.value ? cell("result.m_value", row.value) : h("td", { "data-name": t("result.m_value"), class: "caption" }, row.reason || "–"),
      cell("result.m_interval", row.interval), found.baseline_used ? cell("result.m_usual", row.baseline) : null)),
    group.missing.map(([why, names]) => h("tr", {}, h("td", { class: "caption", colspan: found.baseline_used ? 4 : 3 }, `${why}: ${names}`))))))];
}

function baseline(id, session, found, tell, refresh) {
  if (found.duration_s < LEAST_BASELINE_S) return h("p", { t: "choose.rest_short", values: { s: LEAST_BASELINE_S } });
  let picked = session.baseline;
  const done = h("p", { role: "status", class: "caption" });
  const set = h("button", {
    type: "button", id: "baseline-set", t: "session.baseline_set", on: {
      click: async () => {
        if (!picked) { setText(done, "session.baseline_none"); return; }
        try {
          await askSession("POST", id, "/baseline", picked);
          await refresh();
        } catch (error) { tell(error); setText(done, "axis.none", { s: LEAST_BASELINE_S }); }
      },
    },
  });
  return h("div", {}, baselineAxis({ duration: found.duration_s, least: LEAST_BASELINE_S, now: session.baseline, told: (stretch) => { picked = stretch; } }), h("p", { class: "actions" }, set), done);
}

function consent(given) {
  const purpose = has(`purpose.${given.purpose}`) ? t(`purpose.${given.purpose}`) : given.purpose;
  const scope = ["face", "voice", "words", "media"].filter((name) => given.scope?.[name]).map((name) => t(`result.scope_${name}`)).join(", ");
  return h("dl", { class: "facts" }, [["consent.code", given.participant], ["consent.date", given.date], ["consent.purpose", purpose], ["result.purpose", given.purpose_text], ["consent.scope", scope],
    ["consent.retention", t("result.days", { n: given.retention_days })]].map(([name, value]) => h("div", {}, h("dt", { t: name }), h("dd", { text: value }))));
}
