// Results taken away: Excel, CSV, SPSS, a report as PDF, a figure, ELAN; without names and words.

import { ask, openOf } from "./api.js";
import { both, h, help, language, setText, t } from "./dom.js";
import { choiceList, download, keyed, keyOf, messages, openLink, people, sessionWords } from "./study_shared.js";

const FORMS = ["excel", "csv", "spss", "report", "figure", "elan"].map((form) => [form, `export.${form}`, `export.${form}_what`]);
const TRACKS = ["together", "face", "voice", "words", "valence", "disagreement", "episodes", "speech", "pitch", "level"];
const USUAL = new Set(["together", "face", "words", "valence", "episodes", "speech", "pitch"]);
const KINDS = ["pdf", "svg", "png"];

export async function exportView(place, asked) {
  const [found, { measures }] = await Promise.all([people(), ask("GET", "api/measures")]);
  const page = h("div", {});
  place.replaceChildren(h("div", { class: "beside" }, page, help("export")));
  page.append(h("h1", { t: "export.title" }), h("p", { class: "what", t: "export.what" }));
  const done = [...found].map(([code, sessions]) => [code, sessions.filter((one) => one.done)]).filter(([, sessions]) => sessions.length);
  if (!done.length) {
    page.append(h("p", { class: "box", t: "compare.none" }), h("p", { class: "actions" }, h("a", { class: "button primary", href: "#/consent", t: "study.begin" })));
    return;
  }
  let form = "excel";
  const chosen = new Set(done.flatMap(([code, sessions]) => sessions.filter((one) => one.id === asked || code === asked).map((one) => one.id)));
  if (!chosen.size && done.length === 1) done[0][1].forEach((one) => chosen.add(one.id));
  const say = messages();
  const finished = h("p", { class: "box good", role: "status", hidden: true });
  const options = h("div", {});
  const leave = h("input", { type: "checkbox", role: "switch", id: "leave-out" });
  const go = h("button", { class: "primary", id: "export-go", on: { click: run } });
  const label = () => setText(go, form === "report" ? "export.go_report" : "export.go");

  page.append(chooser(done, chosen),
    choiceList("export-form", "export.form", FORMS, form, (next) => { form = next; finished.hidden = true; drawOptions(); label(); }), options,
    h("div", { class: "switch" }, leave, h("label", { for: "leave-out" }, h("b", { t: "export.leave_out" }), h("small", { t: "export.leave_out_what" }))),
    h("p", { class: "actions" }, go), say.busy, say.trouble, finished);
  label();
  const figure = figureOptions(measures);
  const drawOptions = () => options.replaceChildren(form === "figure" ? figure.node : "");

  async function run() {
    finished.hidden = true;
    if (!chosen.size) { say.tell(t("export.choose_one")); return; }
    const common = { leave_out: leave.checked, lang: language() };
    if (form === "report") {
      for (const id of chosen) {
        await say.during("export.making_report", async () => openLink("api/exports/report", { ...common, session: { id, key: await keyOf(id) } }, "#print"));
        if (!say.trouble.hidden) return;
      }
      finished.hidden = false;
      setText(finished, "export.report_open");
      return;
    }
    const wanted = form === "figure" ? figure.read() : {};
    if (typeof wanted === "string") { say.tell(wanted); return; }
    const made = await say.during(leave.checked || form === "elan" ? "export.making_long" : "study.making", async () =>
      download("api/exports", { ...common, form, sessions: await keyed([...chosen]), figure: wanted }));
    if (made === null) return;
    finished.hidden = false;
    if (made.absent.length) setText(finished, "export.saved_without", { name: made.name, absent: made.absent.map((one) => t(`export.track.${one}`)).join(", ") });
    else setText(finished, "export.saved", { name: made.name });
  }
  page.append(h("details", { class: "raw" }, h("summary", { t: "export.raw" }), h("p", { class: "caption", t: "export.raw_what" }),
    h("p", { class: "actions" }, h("button", { t: "export.raw_go", on: { click: async () => {
      if (chosen.size !== 1) { say.tell(t("export.raw_one")); return; }
      await say.during("study.making", async () => { await keyOf([...chosen][0]); await openOf([...chosen][0], "export:zip"); });
    } } }))));
}

/** Sessions by person, with a field that finds a code among many. */
function chooser(done, chosen) {
  const list = h("div", { class: "people" }), count = h("p", { class: "caption", role: "status" });
  const find = h("input", { id: "find", type: "search", autocomplete: "off", on: { input: () => draw() } });
  const told = () => setText(count, "export.chosen", { n: chosen.size });
  function person([code, sessions]) {
    const boxes = sessions.map((session) => h("input", { type: "checkbox", id: `e-${session.id}`, checked: chosen.has(session.id),
      on: { change: (event) => { if (event.target.checked) chosen.add(session.id); else chosen.delete(session.id); all.checked = boxes.every((box) => box.checked); told(); } } }));
    const all = h("input", { type: "checkbox", id: `all-${code || "-"}`, checked: sessions.every((one) => chosen.has(one.id)), on: { change: () => {
      boxes.forEach((box, at) => { box.checked = all.checked; if (all.checked) chosen.add(sessions[at].id); else chosen.delete(sessions[at].id); });
      told();
    } } });
    return h("details", { open: done.length <= 4 || sessions.some((one) => chosen.has(one.id)) },
      h("summary", {}, h("b", { text: code || t("study.nobody") }), ` · ${t("study.visits", { n: sessions.length })}`),
      sessions.length < 2 ? null : h("p", { class: "check" }, all, h("label", { for: all.id, t: "export.all_of", values: { code: code || t("study.nobody") } })),
      sessions.map((session, at) => h("p", { class: sessions.length < 2 ? "check" : "check indented" }, boxes[at], h("label", { for: boxes[at].id, text: sessionWords(session) }))));
  }
  function draw() {
    const wanted = find.value.trim().toLowerCase();
    list.replaceChildren(...done.filter(([code]) => code.toLowerCase().includes(wanted)).map(person));
    told();
  }
  draw();
  return h("fieldset", {}, h("legend", { t: "export.sessions" }),
    done.length > 8 ? h("p", { class: "field" }, h("label", { for: "find", t: "export.find" }), find) : null, list, count);
}

const seconds = (text) => (text.trim() === "" ? null : text.trim().split(":").map(Number).reduce((sum, part) => 60 * sum + part, 0));

function figureOptions(measures) {
  let of = "time";
  const kind = h("select", { id: "figure-kind" }, KINDS.map((name) => h("option", { value: name, t: `export.kind_${name}` })));
  const measure = h("select", { id: "figure-measure" }, measures.map((one) => h("option", { value: one.id, text: both(one.label) })));
  const about = h("small", {});
  const tell = () => { about.textContent = both(measures.find((one) => one.id === measure.value)?.meaning); };
  measure.addEventListener("change", tell);
  const from = h("input", { id: "figure-from", autocomplete: "off", placeholder: "export.from_hint" });
  const to = h("input", { id: "figure-to", autocomplete: "off", placeholder: "export.to_hint" });
  const boxes = TRACKS.map((name) => h("input", { type: "checkbox", id: `track-${name}`, value: name, checked: USUAL.has(name) }));
  const over = h("div", {}, h("div", { class: "row even" }, h("p", { class: "field" }, h("label", { for: "figure-from", t: "export.from" }), from), h("p", { class: "field" }, h("label", { for: "figure-to", t: "export.to" }), to)),
    h("fieldset", { class: "tracks-choice" }, h("legend", { t: "export.tracks" }), boxes.map((box) => h("p", { class: "check" }, box, h("label", { for: box.id, t: `export.track.${box.value}` })))));
  const one = h("p", { class: "field" }, h("label", { for: "figure-measure", t: "export.measure" }), measure, about);
  const place = h("div", {});
  const draw = () => place.replaceChildren(of === "time" ? over : one);
  draw();
  tell();
  const node = h("div", { class: "inset" }, choiceList("figure-of", "export.figure_of", [["time", "export.of_time", "export.of_time_what"], ["measure", "export.of_measure", "export.of_measure_what"]], of, (next) => { of = next; draw(); }),
    place, h("p", { class: "field narrow" }, h("label", { for: "figure-kind", t: "export.kind" }), kind));
  function read() {
    if (of === "measure") return { kind: kind.value, measure: measure.value };
    const ends = [seconds(from.value), seconds(to.value)];
    if (ends.some((end) => end !== null && !Number.isFinite(end)) || (ends[0] !== null && ends[1] !== null && ends[0] >= ends[1])) return t("export.time_wrong");
    const tracks = boxes.filter((box) => box.checked).map((box) => box.value);
    if (!tracks.length) return t("export.no_track");
    return { kind: kind.value, tracks, ...(ends[0] === null ? {} : { from: ends[0] }), ...(ends[1] === null ? {} : { to: ends[1] }) };
  }
  return { node, read };
}
