// Consent before recording: what is agreed to, by whom, for what and for how long.

import { ask, keepSessionKey } from "./api.js";
import { h, help, language, setText, t } from "./dom.js";
import { failed } from "./sessions.js";

const PURPOSES = ["research_interview", "self_observation", "counselling_practice", "teaching_demo", "rating_people"];
const RETENTION_DAYS = 180;
const SHOWN = 8;

/** A session on a consent, and the page where it goes on. */
async function begin(participant, consent, keep, days, next) {
  const session = await ask("POST", "api/sessions", { participant, consent, keep_media: keep, retention_days: days });
  keepSessionKey(session.id, session.key);
  location.hash = `#/${next}?session=${encodeURIComponent(session.id)}`;
}

export async function consentView(place) {
  const today = new Date(Date.now() - 60_000 * new Date().getTimezoneOffset()).toISOString().slice(0, 10);
  const code = h("input", { id: "code", autocomplete: "off", maxlength: 64, "aria-describedby": "code-hint" });
  const purpose = h("select", { id: "purpose" }, h("option", { value: "", t: "purpose.choose" }),
    PURPOSES.map((name) => h("option", { value: name, t: `purpose.${name}` })));
  const why = h("textarea", { id: "purpose-text", rows: 2, maxlength: 2000 });
  const date = h("input", { id: "date", type: "date", value: today });
  const days = h("input", { id: "days", type: "number", min: 1, max: 3650, value: RETENTION_DAYS, "aria-describedby": "days-hint" });
  const scope = Object.fromEntries(["face", "voice", "words", "media"].map((name) =>
    [name, h("input", { type: "checkbox", id: `scope-${name}`, checked: name !== "media" })]));
  const everybody = h("input", { type: "checkbox", id: "everybody" });
  const stop = h("input", { type: "checkbox", id: "may-stop" });
  const minor = h("input", { type: "checkbox", id: "minor" });
  const guardian = h("input", { type: "checkbox", id: "guardian" });
  const guarded = h("p", { class: "check indented", hidden: true }, guardian, h("label", { for: "guardian", t: "consent.guardian" }));
  const refusal = h("p", { class: "box warn", id: "refusal", role: "alert", hidden: true, t: "purpose.refused" });
  const trouble = h("p", { class: "box warn", id: "consent-trouble", role: "alert", hidden: true });
  const file = h("button", { class: "primary", id: "consent-file", t: "consent.go_file" });
  const go = h("button", { id: "consent-go", t: "consent.go" });
  const { consents } = await ask("GET", "api/consents");

  minor.addEventListener("change", () => { guarded.hidden = !minor.checked; });
  purpose.addEventListener("change", () => {
    refusal.hidden = purpose.value !== "rating_people";
    go.disabled = file.disabled = purpose.value === "rating_people";
  });

  const missing = () => [
    [!code.value.trim(), "code"], [!purpose.value, "purpose"], [!why.value.trim(), "purpose_text"], [!date.value, "date"],
    [!Object.values(scope).some((box) => box.checked), "scope"],
    [!(Number(days.value) >= 1 && Number(days.value) <= 3650), "days"],
    [!everybody.checked, "everybody"], [!stop.checked, "stop"], [minor.checked && !guardian.checked, "guardian"],
  ].filter(([lacks]) => lacks).map(([, name]) => name);

  async function submit(event) {
    event.preventDefault();
    const lacks = missing();
    trouble.hidden = lacks.length === 0;
    if (lacks.length) {
      setText(trouble, "consent.missing", { what: lacks.map((name) => t(`consent.need_${name}`)).join(", ") });
      const first = { code, purpose, purpose_text: why, date, scope: scope.face, days, everybody, stop, guardian }[lacks[0]];
      first.focus();
      return;
    }
    const toCamera = event.submitter === go;
    go.disabled = file.disabled = true;
    try {
      const participant = await ask("POST", "api/participants", { code: code.value.trim() });
      const retention = Math.round(Number(days.value));
      const consent = await ask("POST", "api/consents", {
        participant: participant.id, everybody_agrees: true, minor: minor.checked, guardian: guardian.checked,
        purpose: purpose.value, purpose_text: why.value.trim(), date: date.value,
        scope: Object.fromEntries(Object.entries(scope).map(([name, box]) => [name, box.checked])),
        retention_days: retention, lang: language(),
      });
      await begin(participant.id, consent.id, scope.media.checked, retention, toCamera ? "live" : "choose");
    } catch (error) {
      trouble.hidden = false;
      delete trouble.dataset.t;
      trouble.textContent = failed(error);
      go.disabled = file.disabled = false;
    }
  }

  // Somebody who has agreed before need not be asked all of it again.
  const known = consents.length ? h("section", { class: "known" }, h("h2", { t: "consent.known" }), h("p", { class: "caption", t: "consent.known_what" }),
    h("ul", { class: "plain-list" }, consents.slice(0, SHOWN).map((given) => h("li", {},
      h("span", {}, h("b", { text: given.participant }), " ", h("small", { text: t("session.consent_of", { date: given.date, purpose: t(`purpose.${given.purpose}`), days: given.retention_days }) })),
      h("button", {
        type: "button", t: "consent.again", data: { consent: given.id },
        on: { click: (event) => { event.target.disabled = true; begin(given.participant, given.id, given.scope.media, given.retention_days, "choose").catch((error) => { event.target.disabled = false; trouble.hidden = false; trouble.textContent = failed(error); }); } },
      }))))) : null;

  const field = (input, name, hint = null) => h("p", { class: "field" }, h("label", { for: input.id, t: `consent.${name}` }), input, hint);
  const check = (input, textKey) => h("p", { class: "check" }, input, h("label", { for: input.id, t: textKey }));
  place.replaceChildren(h("div", { class: "beside" }, h("div", {}, h("h1", { t: "consent.title" }), known, h("form", { class: "narrow consent", novalidate: true, on: { submit } },
    known ? h("h2", { t: "consent.new" }) : null, h("p", { class: "what", t: "consent.what" }),
    h("div", { class: "row" },
      field(code, "code", h("small", { id: "code-hint", t: "consent.code_hint" })), field(date, "date")),
    field(purpose, "purpose"), refusal, field(why, "purpose_text"),
    h("fieldset", {}, h("legend", { t: "consent.scope" }),
      check(scope.face, "scope.face"), check(scope.voice, "scope.voice"), check(scope.words, "scope.words"),
      check(scope.media, "scope.media"), h("small", { class: "indented", t: "scope.media_hint" })),
    h("p", { class: "field" }, h("label", { for: "days", t: "consent.retention" }),
      h("span", { class: "unit" }, days, h("span", { t: "consent.days" })), h("small", { id: "days-hint", t: "consent.retention_hint" })),
    h("fieldset", {}, h("legend", { t: "session.consent" }),
      check(everybody, "consent.everybody"), check(stop, "consent.stop"), check(minor, "consent.minor"), guarded),
    trouble, h("p", { class: "actions" }, file, go, h("a", { class: "button quiet", href: "#/", t: "cancel" })))), help("consent")));
  place.querySelector("h1").tabIndex = -1;
  place.querySelector("h1").focus();
  return { keep: true }; // what was typed stays when the language changes
}
