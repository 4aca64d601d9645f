// What the pages for comparing, exporting, deleting and studying share: sessions by person, keys,
// downloads, and a chart of values with their intervals.

import { ApiError, ask, keepSessionKey, key, sessionKey } from "./api.js";
import { clock, h, language, t } from "./dom.js";
import { failed } from "./sessions.js";

/** The key of a session: of this browser, or asked for on this computer. */
export async function keyOf(id) {
  if (!sessionKey(id)) {
    const found = await ask("POST", `api/sessions/${encodeURIComponent(id)}/key`);
    keepSessionKey(id, found.key);
  }
  return sessionKey(id);
}

export const keyed = (ids) => Promise.all(ids.map(async (id) => ({ id, key: await keyOf(id) })));

const began = (session) => session.started ?? session.created;

/** Finished and unfinished sessions by participant, each with the number of the visit. */
export async function people() {
  const { sessions } = await ask("GET", "api/sessions");
  const found = new Map();
  const sorted = [...sessions].sort((a, b) => (began(a) + a.id < began(b) + b.id ? -1 : 1));
  for (const session of sorted) {
    const code = session.participant ?? "";
    if (!found.has(code)) found.set(code, []);
    const mine = found.get(code);
    mine.push({ ...session, visit: mine.length + 1, done: session.state === "done" });
  }
  return new Map([...found].sort(([a], [b]) => a.localeCompare(b, "ko", { numeric: true })));
}

export function day(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleDateString(language() === "ko" ? "ko-KR" : "en-GB", { dateStyle: "medium" });
}

/** A session in words: visit, day, length. */
export function sessionWords(session) {
  const length = typeof session.duration_s === "number" ? clock(session.duration_s) : "";
  return [t("study.visit", { n: session.visit }), day(began(session)), length].filter(Boolean).join(" · ");
}

/** Send a request whose answer is a file, and save it; returns its name and what had to be left out. */
export async function download(path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST", cache: "no-store", body: JSON.stringify(body),
      headers: { Authorization: `Bearer ${key()}`, "Content-Type": "application/json" },
    });
  } catch { throw new ApiError(0, null); }
  if (!answer.ok) throw new ApiError(answer.status, (await answer.json().catch(() => null))?.error ?? null);
  const told = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("content-disposition") ?? "");
  const name = told ? decodeURIComponent(told[1]) : "nunbit";
  save(await answer.blob(), name);
  return { name, absent: (answer.headers.get("x-left-out") ?? "").split(",").filter(Boolean) };
}

/** Hand a file to the browser's downloads. */
export function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name, hidden: true });
  document.body.append(link);
  link.click();
  setTimeout(() => { URL.revokeObjectURL(link.href); link.remove(); }, 10_000);
}

/** Open what a request gives a link to, in a tab that the click itself opens. */
export async function openLink(path, body, hash = "") {
  const tab = window.open("", "_blank");
  try {
    const { url } = await ask("POST", path, body);
    if (tab) { tab.opener = null; tab.location.replace(new URL(url, location.origin).href + hash); }
  } catch (error) {
    tab?.close();
    throw error;
  }
}

/** A place for what goes wrong, and one for what is being done. */
export function messages() {
  const trouble = h("p", { class: "box warn", role: "alert", hidden: true });
  const busy = h("p", { class: "busy", role: "status", hidden: true });
  const tell = (error) => {
    busy.hidden = true;
    trouble.hidden = false;
    trouble.textContent = typeof error === "string" ? error : failed(error);
  };
  /** Do something that takes a moment; what goes wrong is told, and null is given. */
  const during = async (words, act) => {
    trouble.hidden = true;
    busy.hidden = false;
    busy.textContent = t(words);
    try { return await act(); } catch (error) { tell(error); return null; } finally { busy.hidden = true; }
  };
  return { trouble, busy, tell, during };
}

// -- numbers --

const SHARES = new Set(["0–1", "%"]);
const UNITS = { "syl/s": "unit.syllables", st: "unit.semitones", "°/s": "unit.degrees" };

/** A value in the unit that people read: shares as per cent. */
export function shown(value, unit, { difference = false } = {}) {
  if (value === null || value === undefined) return "–";
  const sign = difference && value > 0 ? "+" : "";
  const scaled = unit === "0–1" ? 100 * value : value;
  const size = Math.abs(scaled);
  const digits = unit === "0–1" ? (size < 10 ? 1 : 0) : size >= 100 ? 0 : size >= 10 ? 1 : 2;
  const bare = scaled.toFixed(digits);
  const number = Number(bare) === 0 ? bare.replace("-", "") : (sign + bare).replace("-", "−");
  if (unit === "0–1") return number + (difference ? t("unit.points") : "%");
  return unit ? `${number} ${UNITS[unit] ? t(UNITS[unit]) : unit}` : number;
}

/** Both ends of an interval, the unit once. */
export function range(low, high, unit, options = {}) {
  if (low === null || high === null) return "–";
  const bare = (value) => shown(value, unit, options).replace(/[^\d.,+−]+$/u, "").trim();
  const end = SHARES.has(unit) ? (options.difference ? t("unit.points") : "%") : "";
  return t("study.range", { low: bare(low), high: bare(high) }) + end;
}

// Less than this is no difference that a picture should make large.
const LEAST = { "0–1": 0.1, Hz: 10, st: 1, dB: 4, "°/s": 2, "syl/s": 1 };

/** A range of numbers that holds all values, with a little room, and never a very small one. */
function bounds(rows, unit) {
  const all = rows.flatMap((row) => [row.low, row.high, row.value]).filter((value) => value !== null && value !== undefined);
  if (!all.length) return [0, 1];
  let low = Math.min(...all), high = Math.max(...all);
  const positive = low >= 0, short = Math.max(0, (LEAST[unit] ?? 0) - (high - low)) / 2;
  low -= short;
  high += short;
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  low = positive && low - room < 0.3 * (high - low) ? 0 : low - room;
  // A share ends at 0 and at 100%.
  return unit === "0–1" && positive ? [Math.max(low, 0), Math.min(high + room, Math.max(1, high))] : [low, high + room];
}

/**
 * Values with intervals as a chart with a name for screen readers; the table stands beside it.
 * @param {{name: string, value: ?number, low: ?number, high: ?number}[]} rows
 */
export function dotChart(rows, unit, name) {
  const [low, high] = bounds(rows, unit);
  const place = (value) => `${(100 * (value - low)) / (high - low)}%`;
  const lane = (row) => {
    const box = h("span", { class: "dots-lane" });
    if (row.low !== null && row.low !== undefined) {
      const bar = h("i", { class: "dots-bar" });
      bar.style.left = place(row.low);
      bar.style.width = `${(100 * (row.high - row.low)) / (high - low)}%`;
      box.append(bar);
    }
    if (row.value !== null && row.value !== undefined) {
      const dot = h("i", { class: "dots-dot" });
      dot.style.left = place(row.value);
      box.append(dot);
    } else box.append(h("small", { t: "study.no_value" }));
    return box;
  };
  const words = rows.map((row) => `${row.name}: ${shown(row.value, unit)}${row.low === null || row.low === undefined ? "" : ` (${range(row.low, row.high, unit)})`}`);
  return h("div", { class: "dots", role: "img", "aria-label": `${name}. ${words.join("; ")}` },
    rows.map((row) => h("div", { class: "dots-row" }, h("span", { class: "dots-name", text: row.name }), lane(row))),
    h("div", { class: "dots-row dots-axis" }, h("span", {}),
      h("span", { class: "dots-ends" }, h("small", { text: shown(low, unit) }), h("small", { text: shown(high, unit) }))));
}

/** A table of plain cells: the first of a row names it. */
export function plainTable(caption, head, rows) {
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": caption }, h("table", { class: "plain" }, h("caption", { class: "unseen", text: caption }),
    h("thead", {}, h("tr", {}, head.map((text) => h("th", { scope: "col", text })))),
    h("tbody", {}, rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), rest.map((cell) => h("td", {}, cell)))))));
}

/** One of several, as large rows: [value, text key, key of a sentence]. */
export function choiceList(name, legend, options, chosen, change) {
  return h("fieldset", { class: "choice-list" }, h("legend", { t: legend }), options.map(([value, title, what]) => {
    const id = `${name}-${value}`;
    return h("div", { class: "choice" }, h("input", { type: "radio", name, id, value, checked: value === chosen, on: { change: () => change(value) } }),
      h("label", { for: id }, h("b", { t: title }), what ? h("small", { t: what }) : null));
  }));
}
