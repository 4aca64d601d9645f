// The page's frame: key, language, and which view an address shows.

import { ask, ApiError, key, setKey, takeKey } from "./api.js";
import { clearProblems, h, relabel, setLanguage, showProblem, startLanguage, t } from "./dom.js";
import { consentView } from "./consent.js";
import { chooseView } from "./choose.js";
import { progressView } from "./progress.js";
import { STUDY_ROUTES } from "./study_routes.js";
import { liveView } from "./live.js";
import { failed, homeList, sessionsView, sessionView } from "./sessions.js";

const view = document.getElementById("view");
const more = document.getElementById("more");
let leave = null; // of the shown view: stay() keeps it, end() closes it, relabel(), keep

const ROUTES = [
  [/^#\/?$/, home, "title.home"],
  [/^#\/consent$/, consentView, "title.consent"],
  [/^#\/choose(?:\?session=(.+))?$/, chooseView, "title.choose"],
  [/^#\/progress(?:\?session=(.+))?$/, progressView, "title.progress"],
  [/^#\/live(?:\?session=(.+))?$/, liveView, "title.live"],
  [/^#\/sessions$/, sessionsView, "title.sessions"],
  [/^#\/sessions\/(.+)$/, sessionView, "title.sessions"],
  ...STUDY_ROUTES,
];

let shown = "";

async function show() {
  const address = location.hash || "#/";
  if (address.startsWith("#key=")) takeKey();
  const [pattern, make, title] = ROUTES.find(([p]) => p.test(location.hash || "#/")) ?? ROUTES[0];
  if (address !== shown && leave?.stay?.()) {
    history.replaceState(null, "", shown);
    return;
  }
  leave?.end?.();
  leave = null;
  shown = location.hash || "#/";
  clearProblems();
  more.open = false;
  document.title = `${t(title)} · 눈빛 nunbit`;
  document.title_key = title;
  for (const link of document.querySelectorAll(".top nav a")) {
    const here = link.getAttribute("href");
    const current = shown === here || shown.startsWith(`${here}?`) || shown.startsWith(`${here}/`);
    if (current) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  if (!key()) { view.replaceChildren(keyForm(false)); return; }
  const found = pattern.exec(location.hash || "#/");
  // Each view has a place of its own: one that answers late cannot overwrite the next.
  const place = h("div", { class: "page" });
  view.replaceChildren(place);
  try {
    const made = (await make(place, found?.[1] ? decodeURIComponent(found[1]) : null)) ?? null;
    if (place.isConnected) leave = made; else made?.end?.();
  } catch (error) {
    if (!place.isConnected) return;
    if (error instanceof ApiError && error.status === 401 && error.code !== "session_key") view.replaceChildren(keyForm(true));
    else { view.replaceChildren(h("p", { class: "box warn", text: failed(error) })); }
  }
}

function keyForm(wrong) {
  const field = h("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false" });
  return h("form", {
    class: "narrow", on: {
      submit: (event) => {
        event.preventDefault();
        const given = /key=([^&]+)/.exec(field.value)?.[1] ?? field.value.trim();
        if (!given) return;
        setKey(decodeURIComponent(given));
        show();
      },
    },
  },
  h("h1", { t: "key.title" }), h("p", { t: wrong ? "key.wrong" : "key.what" }),
  h("p", { class: "field" }, h("label", { for: "key", t: "key.field" }), field),
  h("button", { class: "primary", t: "key.open" }));
}

async function home(place) {
  await ask("GET", "api/about");
  const list = h("div", { class: "home-list" });
  place.replaceChildren(
    h("div", { class: "intro" }, h("h1", { t: "home.title" }), h("p", { class: "what", t: "home.what" })),
    h("div", { class: "choices" },
      h("section", {}, h("h2", { t: "home.record" }), h("p", { t: "home.record_what" }),
        h("a", { class: "button primary", href: "#/consent", t: "home.record_go" })),
      h("section", {}, h("h2", { t: "home.try" }), h("p", { t: "home.try_what" }),
        h("a", { class: "button", href: "#/live", t: "home.try_go" }))),
    h("aside", { class: "care" }, h("h2", { t: "care.title" }), h("p", { t: "care.use" }), h("p", { t: "care.meaning" }),
      h("p", { t: "care.licence" })),
    list);
  await homeList(list);
}

startLanguage();
takeKey();
for (const button of document.querySelectorAll("[data-lang]")) {
  button.addEventListener("click", () => {
    setLanguage(button.dataset.lang);
    document.title = `${t(document.title_key)} · 눈빛 nunbit`;
    // A running session keeps running; its texts follow. Other views are simply drawn again.
    if (leave?.relabel) leave.relabel(); else if (!leave?.keep) show();
    relabel();
  });
}
document.addEventListener("click", (event) => { if (!more.contains(event.target)) more.open = false; });
more.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { more.open = false; more.querySelector("summary").focus(); }
});
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); view.focus(); });
addEventListener("hashchange", show);
addEventListener("error", (event) => showProblem("script", "problem.script", { why: event.message }));
addEventListener("unhandledrejection", (event) => showProblem("script", "problem.script", { why: event.reason?.message ?? String(event.reason) }));
show();
