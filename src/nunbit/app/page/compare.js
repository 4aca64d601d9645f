// Sessions of one person side by side, or conditions within them, each with its interval.

import { ask, askSession } from "./api.js";
import { both, clock, h, help, language, setText, t } from "./dom.js";
import { choiceList, dotChart, download, keyed, messages, people, plainTable, range, sessionWords, shown } from "./study_shared.js";

const SOURCES = ["face", "voice", "text"];
const WAYS = ["sessions", "speaking", "stretches"].map((way) => [way, `compare.by.${way}`, `compare.by.${way}_what`]);

export async function compareView(place, asked) {
  const found = await people();
  const able = [...found].filter(([, sessions]) => sessions.some((one) => one.done));
  const page = h("div", {});
  place.replaceChildren(h("div", { class: "beside" }, page, help("compare")));
  page.append(h("h1", { t: "compare.title" }), h("p", { class: "what", t: "compare.what" }));
  if (!able.length) {
    page.append(h("p", { class: "box", t: "compare.none" }), h("p", { class: "actions" }, h("a", { class: "button primary", href: "#/consent", t: "study.begin" })));
    return;
  }
  const state = { by: "sessions", person: able.some(([code]) => code === asked) ? asked : able[0][0], stretches: [] };
  const person = h("select", { id: "compare-person", on: { change: () => { state.person = person.value; state.stretches = []; draw(); run(); } } },
    able.map(([code, sessions]) => h("option", { value: code, selected: code === state.person, text: `${code || t("study.nobody")} (${t("study.visits", { n: sessions.filter((one) => one.done).length })})` })));
  const sessionsPlace = h("div", {}), stretchesPlace = h("div", {}), result = h("div", { id: "compare-result" });
  const say = messages();
  const go = h("button", { class: "primary", id: "compare-go", t: "compare.go", on: { click: () => run(true) } });
  page.append(h("p", { class: "field" }, h("label", { for: "compare-person", t: "compare.person" }), person),
    choiceList("compare-by", "compare.by", WAYS, state.by, (way) => { state.by = way; result.replaceChildren(); draw(); if (way !== "stretches") run(); }),
    sessionsPlace, stretchesPlace, h("p", { class: "actions" }, go), say.busy, say.trouble, result);

  const mine = () => found.get(state.person).filter((one) => one.done);
  const chosen = () => [...sessionsPlace.querySelectorAll("input:checked")].map((box) => box.value);

  function draw() {
    sessionsPlace.replaceChildren(h("fieldset", {}, h("legend", { t: "compare.sessions" }), mine().map((session) => h("p", { class: "check" },
      h("input", { type: "checkbox", id: `s-${session.id}`, value: session.id, checked: true }), h("label", { for: `s-${session.id}`, text: sessionWords(session) })))));
    stretchesPlace.replaceChildren(state.by === "stretches" ? stretchTable(mine(), state.stretches, say.tell) : "");
  }

  let runs = 0;
  async function run(asking = false) {
    const ids = chosen(), mineNow = ++runs;
    say.trouble.hidden = true;
    if (state.by === "sessions" && ids.length < 2) { result.replaceChildren(); if (asking || mine().length < 2) say.tell(t("compare.one")); return; }
    const body = { by: state.by };
    if (state.by === "stretches") {
      const read = readStretches(state.stretches, ids);
      if (typeof read === "string") { say.tell(read); return; }
      body.stretches = read;
    }
    const compared = await say.during("compare.busy", async () => ask("POST", "api/comparisons", { ...body, sessions: await keyed(ids) }));
    if (compared === null || mineNow !== runs) return;
    result.replaceChildren(...resultOf(compared, mine(), say));
    if (asking) result.querySelector("h2")?.focus();
  }

  draw();
  await run();
  return { keep: false };
}

// -- stretches of one's own --

const seconds = (text) => {
  const parts = text.trim().split(":").map(Number);
  if (!text.trim() || parts.length > 3 || parts.some((part) => !Number.isFinite(part) || part < 0)) return null;
  return parts.reduce((sum, part) => 60 * sum + part, 0);
};

function readStretches(rows, ids) {
  const read = [];
  for (const [at, row] of rows.entries()) {
    if (!row.from.trim() && !row.to.trim() && !row.condition.trim()) continue;
    const from = seconds(row.from), to = seconds(row.to);
    if (from === null || to === null || !row.condition.trim()) return t("compare.row_wrong", { n: at + 1 });
    if (!ids.includes(row.session)) continue;
    read.push({ session: row.session, from, to, condition: row.condition.trim() });
  }
  return read.length ? read : t("compare.no_rows");
}

function stretchTable(sessions, rows, tell) {
  const body = h("div", { class: "stretches" });
  const names = h("datalist", { id: "conditions" });
  const blank = () => ({ session: sessions[0].id, from: "", to: "", condition: "" });
  if (!rows.length) rows.push(blank(), blank());

  function row(each, at) {
    const n = at + 1;
    const field = (name, input) => h("span", { class: "field" }, h("label", { for: input.id, t: `compare.${name}` }), input);
    const text = (name, extra = {}) => h("input", { id: `${name}-${n}`, value: each[name], autocomplete: "off", ...extra,
      on: { input: (event) => { each[name] = event.target.value; fill(); } } });
    const session = h("select", { id: `session-${n}`, on: { change: () => { each.session = session.value; } } },
      sessions.map((one) => h("option", { value: one.id, selected: one.id === each.session, text: t("study.visit", { n: one.visit }) })));
    return h("div", { class: "stretch", role: "group", "aria-label": t("compare.row", { n }) },
      field("session", session), field("from", text("from", { placeholder: "compare.time_hint" })), field("to", text("to", { placeholder: "compare.time_hint" })),
      field("condition", text("condition", { list: "conditions", maxlength: 40, placeholder: "compare.condition_hint" })),
      h("button", { class: "quiet", t: "compare.row_off", "aria-label": t("compare.row_off_name", { n }), on: { click: () => { rows.splice(at, 1); if (!rows.length) rows.push(blank()); draw(); } } }));
  }
  const fill = () => names.replaceChildren(...[...new Set(rows.map((each) => each.condition.trim()).filter(Boolean))].map((value) => h("option", { value })));
  const draw = () => { body.replaceChildren(...rows.map(row)); fill(); };
  draw();
  return h("fieldset", {}, h("legend", { t: "compare.stretches" }), h("p", { class: "caption", t: "compare.stretches_what" }), body, names,
    h("p", { class: "actions" }, h("button", { t: "compare.row_more", on: { click: () => { rows.push(blank()); draw(); body.lastChild.querySelector("select").focus(); } } }),
      h("button", { t: "compare.from_notes", on: { click: async () => {
        try {
          const made = await fromNotes(sessions);
          if (!made.length) { tell(t("compare.no_notes")); return; }
          rows.splice(0, rows.length, ...made);
          draw();
        } catch (error) { tell(error); }
      } } })));
}

/** Stretches from one question to the next, by the questions that were noted. */
async function fromNotes(sessions) {
  const made = [];
  for (const session of sessions) {
    const whole = await askSession("GET", session.id);
    const questions = whole.notes.filter((note) => note.kind === "question");
    questions.forEach((note, at) => {
      const to = questions[at + 1]?.t ?? session.duration_s;
      made.push({ session: session.id, from: clock(note.t), to: clock(to), condition: (note.text || t("compare.question", { n: at + 1 })).slice(0, 40) });
    });
  }
  return made;
}

// -- what came of it --

function resultOf(compared, sessions, say) {
  const visits = new Map(compared.sessions.map((one) => [one.name, t("study.visit", { n: one.visit })]));
  const name = (condition) => visits.get(condition) ?? (compared.by === "speaking" ? t(`compare.${condition}`) : condition);
  const ofVisit = new Map(compared.sessions.map((one) => [one.id, one.visit]));
  const manySessions = compared.sessions.length > 1 && compared.by !== "sessions";
  const label = (cell) => (manySessions ? `${t("study.visit", { n: ofVisit.get(cell.session) })}, ${name(cell.condition)}` : name(cell.condition));
  const head = h("h2", { tabindex: -1 });
  setText(head, "compare.result");
  const nodes = [head, h("p", { class: "box", t: "compare.care" })];
  for (const source of SOURCES) {
    const own = compared.measures.filter((measure) => measure.id.startsWith(`${source}.`));
    if (own.length) nodes.push(h("h3", { t: `study.source.${source}` }), ...own.map((measure) => card(measure, compared, label, name, say)));
  }
  if (compared.intervals > 1) nodes.push(h("p", { class: "caption", t: "compare.chance", values: { n: compared.intervals, chance: compared.chance < 1 ? compared.chance.toFixed(1) : Math.round(compared.chance) } }));
  const without = sessions.length - new Set(compared.measures.flatMap((measure) => measure.cells.map((cell) => cell.session))).size;
  if (without > 0) nodes.push(h("p", { class: "caption", t: "compare.left_out", values: { n: without } }));
  return nodes;
}

function card(measure, compared, label, name, say) {
  const short = both(measure.label).replace(/, [^,]+$/u, ""), words = short[0].toUpperCase() + short.slice(1);
  const rows = measure.cells.map((cell) => ({ ...cell, name: label(cell) }));
  const save = () => say.during("study.making", async () => download("api/exports", {
    form: "figure", lang: language(), sessions: await keyed(compared.sessions.map((one) => one.id)), figure: { kind: "pdf", measure: measure.id },
  }));
  return h("section", { class: "measure" },
    h("h4", { text: words }), h("p", { class: "caption", text: both(measure.meaning) }),
    h("ul", { class: "verdicts" }, measure.differences.map((one) => h("li", { class: one.low !== null && (one.low > 0 || one.high < 0) ? "sure" : "" }, h("span", { text: verdict(one, measure, name) })))),
    h("div", { class: "chart-and-table" }, dotChart(rows, measure.unit, words),
      plainTable(words, [t(compared.by === "sessions" ? "compare.session" : "compare.condition"), t("study.value"), t("study.interval")],
        rows.map((row) => [row.name, row.value === null ? (both(row.why) || "–") : shown(row.value, measure.unit),
          row.low === null ? (row.value === null ? "–" : t("study.no_interval")) : range(row.low, row.high, measure.unit)]))),
    compared.by === "sessions" ? h("p", { class: "actions small" }, h("button", { class: "quiet", t: "compare.save", "aria-label": t("compare.save_name", { name: words }), on: { click: save } })) : null);
}

/** A difference as a sentence: how much, and whether it can be told from none. */
function verdict(one, measure, name) {
  const values = { from: name(one.start), to: name(one.to), by: shown(one.value, measure.unit, { difference: true }) };
  if (one.low === null) return t("compare.verdict_none", values);
  values.range = range(one.low, one.high, measure.unit, { difference: true });
  return t(one.low > 0 ? "compare.verdict_more" : one.high < 0 ? "compare.verdict_less" : "compare.verdict_open", values);
}
