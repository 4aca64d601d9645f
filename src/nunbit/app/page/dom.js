// Small helpers: elements from plain values (never from HTML text), texts in two languages.

import { TEXTS as TEXTS_LIVE } from "./texts.js";
import { TEXTS_STUDY } from "./texts_study.js";
import { TEXTS_WAY } from "./texts_way.js";

const TEXTS = { ...TEXTS_LIVE, ...TEXTS_WAY, ...TEXTS_STUDY };

const STORED = "nunbit.lang";
let lang = "ko";

export const language = () => lang;

/** A text by its key, in the page's language; {name} is filled from `values`. */
export function t(key, values = {}) {
  const pair = TEXTS[key];
  if (!pair) return key;
  const text = pair[lang === "ko" ? 0 : 1];
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
}

export const has = (key) => key in TEXTS;

/** The text of something that carries both languages, as the server's do. */
export const both = (value) => (value ? value[lang] ?? value.ko ?? value.en ?? "" : "");

/**
 * An element. `props`: class, text, t (key of its text), values, label / title / placeholder (keys
 * of attributes), on (listeners), data, and attributes by their own names. Children may be null.
 */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else if (name === "t") setText(node, value, props.values);
    else if (name === "values") continue;
    else if (name === "label") setLabel(node, "aria-label", value);
    else if (name === "placeholder") setLabel(node, "placeholder", value);
    else if (name === "on") for (const [kind, act] of Object.entries(value)) node.addEventListener(kind, act);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (value === true) node.setAttribute(name, "");
    else node.setAttribute(name, String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Give an element a text by its key, so that it follows the language. */
export function setText(node, key, values) {
  const given = values ? JSON.stringify(values) : "";
  if (node.dataset.t === key && (node.dataset.tValues ?? "") === given && node.dataset.tLang === lang) return;
  node.dataset.t = key;
  node.dataset.tLang = lang;
  if (given) node.dataset.tValues = given; else delete node.dataset.tValues;
  node.textContent = t(key, values);
}

function setLabel(node, attribute, key) {
  node.dataset[attribute === "aria-label" ? "tLabel" : "tPlaceholder"] = key;
  node.setAttribute(attribute, t(key));
}

/** What a page is for and how it is used, beside it; folded on a narrow screen. Texts: `help.<name>.1` … */
export function help(name) {
  const lines = [];
  for (let n = 1; has(`help.${name}.${n}`); n += 1) lines.push(h("li", { t: `help.${name}.${n}` }));
  return h("aside", { class: "help", label: "help.title" },
    h("details", { open: matchMedia("(min-width: 1000px)").matches },
      h("summary", { t: "help.title" }), h("ul", {}, lines)));
}

/** Put all texts below an element into the page's language. */
export function relabel(root = document) {
  for (const node of root.querySelectorAll("[data-t]")) {
    node.dataset.tLang = "";
    setText(node, node.dataset.t, node.dataset.tValues ? JSON.parse(node.dataset.tValues) : undefined);
  }
  for (const node of root.querySelectorAll("[data-t-label]")) setLabel(node, "aria-label", node.dataset.tLabel);
  for (const node of root.querySelectorAll("[data-t-placeholder]")) setLabel(node, "placeholder", node.dataset.tPlaceholder);
}

/** Korean unless the reader chose otherwise before. */
export function startLanguage() {
  try { lang = localStorage.getItem(STORED) === "en" ? "en" : "ko"; } catch { lang = "ko"; }
  showLanguage();
}

export function setLanguage(chosen) {
  lang = chosen === "en" ? "en" : "ko";
  try { localStorage.setItem(STORED, lang); } catch { /* private windows may refuse */ }
  showLanguage();
}

function showLanguage() {
  document.documentElement.lang = lang;
  for (const button of document.querySelectorAll("[data-lang]")) {
    button.setAttribute("aria-pressed", String(button.dataset.lang === lang));
  }
  relabel();
}

/** Let a screen reader say something, without moving the focus. */
export function say(text) {
  const place = document.getElementById("spoken");
  if (place.textContent !== text) place.textContent = text;
}

/** Show a problem at the top of the page until it is closed or replaced by its code. */
export function showProblem(code, key, values = {}, action = null) {
  hideProblem(code);
  const box = h("div", { class: "box warn problem", data: { code } },
    typeof key === "string" ? h("p", { t: key, values }) : h("p", { text: both(key) }));
  if (action) box.append(h("button", { t: action.t, on: { click: () => { hideProblem(code); action.act(); } } }));
  box.append(h("button", { class: "quiet", t: "close", on: { click: () => box.remove() } }));
  document.getElementById("problems").append(box);
}

export function hideProblem(code) {
  for (const box of document.querySelectorAll(".problem")) if (box.dataset.code === code) box.remove();
}

export const clearProblems = () => document.getElementById("problems").replaceChildren();

/** 75.3 → "1:15"; with tenths "1:15.3". */
export function clock(seconds, tenths = false) {
  const whole = Math.max(0, seconds);
  const minutes = Math.floor(whole / 60);
  const rest = whole - 60 * minutes;
  const text = tenths ? (Math.floor(rest * 10) / 10).toFixed(1) : String(Math.floor(rest));
  return `${minutes}:${text.padStart(tenths ? 4 : 2, "0")}`;
}

export const percent = (share) => `${Math.round(100 * share)}%`;

export function bytes(n) {
  if (n < 1024) return `${n} B`;
  return n < 2 ** 20 ? `${(n / 1024).toFixed(0)} kB` : `${(n / 2 ** 20).toFixed(1)} MB`;
}

/** Signed numbers with a true minus. */
export const signed = (value, digits = 2) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);

export function when(iso) {
  if (!iso) return "–"; // not yet
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return String(iso ?? "");
  return date.toLocaleString(lang === "ko" ? "ko-KR" : "en-GB", { dateStyle: "medium", timeStyle: "short" });
}
