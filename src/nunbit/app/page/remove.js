// Everything of one participant deleted: the list of files before, confirmation, the receipt after.

import { ask, forgetSessionKey } from "./api.js";
import { both, bytes, h, help, t, when } from "./dom.js";
import { day, messages, people, plainTable, save, sessionWords } from "./study_shared.js";

const KINDS = [
  [/\.(mp4|mkv|webm|avi|mov|mpg|ts|wav|mp3|flac|ogg|aac|flv|wma|aiff|caf|amr)$/i, "media"], [/^transcript\./, "transcript"], [/^speakers\./, "transcript"],
  [/^report\.html$/, "report"], [/^consent\.json$/, "consent"], [/^notes\.csv$/, "notes"], [/^words\./, "words"], [/\.(parquet|csv|xlsx|sav|npz)$/, "tables"],
  [/\.(eaf|TextGrid|vtt)$/, "exports"], [/^\.key$/, "key"], [/^summary\.json$/, "summary"],
];
const kindOf = (name) => KINDS.find(([pattern]) => pattern.test(name.split("/").pop()))?.[1] ?? "other";

export async function deleteView(place, asked) {
  const page = h("div", {});
  place.replaceChildren(h("div", { class: "beside" }, page, help("delete")));
  const say = messages();
  const list = h("div", {}), held = h("div", { id: "held" }), others = h("section", { id: "unnamed" }), earlier = h("section", {});
  const [{ participants }, found] = await Promise.all([ask("GET", "api/participants"), people()]);
  page.append(h("h1", { t: "remove.title" }), h("p", { class: "what", t: "remove.what" }), list, say.busy, say.trouble, held, others, earlier);
  others.append(...unnamedOf(found.get("") ?? []));
  await receipts(earlier);
  if (!participants.length) { list.append(h("p", { class: "box", t: "remove.none" })); return; }
  const sorted = [...participants].sort((a, b) => a.code.localeCompare(b.code, "ko", { numeric: true }));
  const select = h("select", { id: "remove-person", on: { change: () => look(select.value) } }, h("option", { value: "", t: "remove.choose" }),
    sorted.map((one) => h("option", { value: one.code, text: `${one.code} (${t("study.visits", { n: found.get(one.code)?.length ?? 0 })})` })));
  list.append(h("p", { class: "field narrow" }, h("label", { for: "remove-person", t: "remove.person" }), select));

  async function look(code) {
    held.replaceChildren();
    if (!code) return;
    const holdings = await say.during("study.looking", () => ask("GET", `api/participants/${encodeURIComponent(code)}/holdings`));
    if (holdings !== null && select.value === code) held.replaceChildren(...heldOf(holdings, async (given) => {
      const told = await say.during("remove.busy", () => ask("DELETE", `api/participants/${encodeURIComponent(holdings.id)}`, { confirm: given }));
      if (told === null) return;
      for (const session of holdings.sessions) forgetSessionKey(session.id);
      page.replaceChildren(...receiptOf(told.receipts, holdings));
      page.querySelector("h1").focus();
    }));
  }
  if (asked && sorted.some((one) => one.code === asked)) { select.value = asked; await look(asked); }
}

// Recordings that were sent without a participant are deleted one by one, each on its own page.
const unnamedOf = (sessions) => (sessions.length ? [h("h2", { t: "remove.unnamed" }), h("p", { t: "remove.unnamed_what" }),
  h("ul", { class: "lines" }, sessions.map((one) => h("li", {},
    h("a", { href: `#/sessions/${encodeURIComponent(one.id)}`, text: one.title || sessionWords(one) }), h("code", { text: one.id }))))] : []);

function heldOf(holdings, act) {
  const n = holdings.sessions.reduce((sum, one) => sum + one.files.length, 0);
  const busy = holdings.sessions.filter((one) => one.busy || one.state === "analysing").length;
  const recording = holdings.sessions.some((one) => one.state === "recording");
  const field = h("input", { id: "remove-code", autocomplete: "off", spellcheck: "false" });
  const wrong = h("p", { class: "box warn", role: "alert", hidden: true, t: "delete.wrong" });
  const submit = (event) => {
    event.preventDefault();
    wrong.hidden = field.value.trim() === holdings.code;
    if (!wrong.hidden) { field.focus(); return; }
    act(field.value.trim());
  };
  return [h("h2", { t: "remove.list", values: { code: holdings.code } }),
    h("p", { t: "remove.sum", values: { sessions: holdings.sessions.length, files: n, size: bytes(holdings.bytes), consents: holdings.consents } }),
    busy ? h("p", { class: "box warn", id: "remove-busy", t: "remove.jobs", values: { n: busy } }) : null,
    recording ? h("p", { class: "box warn", t: "remove.recording" }) : null,
    ...holdings.sessions.map((session, at) => h("details", { class: "held", open: holdings.sessions.length <= 3 },
      h("summary", {}, h("b", { text: t("study.visit", { n: at + 1 }) }), ` · ${day(session.created)} · ${t("remove.files", { n: session.files.length })}`),
      plainTable(t("remove.files_of", { n: at + 1 }), [t("remove.kind"), t("delete.file"), t("delete.size")],
        session.files.map((file) => [t(`remove.kind.${kindOf(file.name)}`), h("code", { text: file.name }), bytes(file.bytes)])))),
    h("section", { class: "delete" }, h("h2", { t: "remove.sure" }), h("p", { t: "remove.sure_what" }),
      h("form", { on: { submit } }, h("p", { class: "field" }, h("label", { for: "remove-code", t: "delete.confirm", values: { code: holdings.code } }), field),
        wrong, h("p", { class: "actions" }, h("button", { class: "danger", id: "remove-go", t: "remove.go" }), h("a", { class: "button", href: "#/delete", t: "cancel" }))))].filter(Boolean);
}

function receiptOf(given, holdings) {
  const files = given.flatMap((one) => one.deleted);
  const cancelled = given.reduce((sum, one) => sum + (one.cancelled ?? 0), 0);
  return [h("h1", { tabindex: -1, t: "delete.done" }),
    h("p", { class: given.every((one) => one.verified) ? "box good" : "box warn", id: "receipt" },
      h("b", { t: "remove.verified", values: { code: holdings.code, n: files.length } })),
    cancelled ? h("p", { t: "remove.cancelled", values: { n: cancelled } }) : null,
    h("p", { t: "remove.consents_gone", values: { n: holdings.consents } }),
    h("p", { class: "caption", text: both(given[0]?.note) }),
    h("p", { class: "actions" }, h("button", { class: "primary", id: "receipt-save", t: "remove.save", on: { click: () => saveReceipt(given, holdings.code) } }),
      h("button", { t: "remove.print", on: { click: () => print() } }), h("a", { class: "button", href: "#/sessions", t: "remove.back" })),
    ...given.map((one) => receiptTable(one))].filter(Boolean);
}

const receiptTable = (one) => h("section", {}, h("h2", { t: "remove.receipt", values: { id: one.receipt } }), h("p", { class: "caption", text: when(one.at) }),
  plainTable(t("remove.receipt", { id: one.receipt }), [t("delete.file"), t("delete.size"), t("delete.gone")],
    one.deleted.map((file) => [h("code", { text: file.name }), bytes(file.bytes ?? 0), t(file.gone ? "delete.is_gone" : "delete.is_there")])));

/** A receipt as a text file: what, when, that it was looked for and is gone. */
function saveReceipt(given, code) {
  const lines = [t("remove.receipt_title"), "", ...(code ? [t("remove.receipt_person", { code })] : [])];
  for (const one of given) {
    lines.push("", t("remove.receipt", { id: one.receipt }), `${when(one.at)} (${one.at})`, t("delete.verified", { n: one.deleted.length }));
    if (one.cancelled) lines.push(t("remove.cancelled", { n: one.cancelled }));
    lines.push(...one.deleted.map((file) => `- ${file.name}, ${bytes(file.bytes ?? 0)}: ${t(file.gone ? "delete.is_gone" : "delete.is_there")}`));
  }
  lines.push("", both(given[0]?.note) || "");
  save(new Blob([`\ufeff${lines.join("\r\n")}\r\n`], { type: "text/plain;charset=utf-8" }), t("remove.receipt_file", { code: code || given[0]?.receipt || "" }));
}

async function receipts(place) {
  const { receipts: given } = await ask("GET", "api/receipts");
  if (!given.length) return;
  place.replaceChildren(h("details", { class: "earlier" }, h("summary", { t: "remove.earlier", values: { n: given.length } }),
    h("ul", { class: "lines" }, given.map((one) => h("li", {}, h("span", { text: when(one.at) }), h("span", { t: "remove.earlier_row", values: { id: one.receipt, n: one.deleted.length } }),
      h("span", { t: `remove.why.${["asked", "retention", "withdrawn", "participant"].includes(one.why) ? one.why : "asked"}` }),
      h("button", { class: "quiet", t: "remove.save", "aria-label": `${t("remove.save")} ${one.receipt}`, on: { click: () => saveReceipt([one], "") } }))))));
}

