// Choosing a recording: the files, whose face it is, who speaks, and a stretch at rest.

import { ask, askSession, keepSessionKey, pictureOf, upload } from "./api.js";
import { both, clock, h, has, help, say, setText, t } from "./dom.js";
import { baselineAxis } from "./axis.js";
import { failed } from "./sessions.js";

const TEXT_FILES = /\.(srt|vtt|textgrid|eaf|json|csv|tsv|txt)$/i;
const SPEAKER_FILES = /\.rttm$/i;
const PARTICIPANT = /^(참여자|참가자|내담자|환자|대상자|피면담자|participant|interviewee|client|patient|subject)\s*\d*$/i;
const BATCH = "nunbit.batch"; // further recordings of the same upload, chosen one after another

const stem = (name) => name.normalize("NFC").replace(/\.[^.]*$/, "");

/** Files as recordings, each with the transcript and the speakers of its name. */
export function matched(files) {
  const media = files.filter((file) => !TEXT_FILES.test(file.name) && !SPEAKER_FILES.test(file.name));
  const own = (pattern, recording) => {
    const texts = files.filter((file) => pattern.test(file.name));
    return texts.find((file) => stem(file.name) === stem(recording?.name ?? "")) ?? (media.length < 2 ? texts[0] : undefined);
  };
  const recordings = media.map((file) => ({ media: file, transcript: own(TEXT_FILES, file), speakers: own(SPEAKER_FILES, file) }));
  if (media.length) return recordings;
  const found = { transcript: own(TEXT_FILES), speakers: own(SPEAKER_FILES) };
  return found.transcript || found.speakers ? [found] : [];
}

const batch = () => { try { return JSON.parse(sessionStorage.getItem(BATCH) ?? "[]"); } catch { return []; } };
const keepBatch = (ids) => sessionStorage.setItem(BATCH, JSON.stringify(ids));

export async function chooseView(place, id) {
  if (!id) return beginnings(place);
  const session = await askSession("GET", id);
  if (!["open", "failed"].includes(session.state)) {
    location.replace(session.state === "analysing" ? `#/progress?session=${encodeURIComponent(id)}` : `#/sessions/${encodeURIComponent(id)}`);
    return null;
  }
  let over = false;
  const pictures = [];
  const trouble = h("p", { class: "box warn", role: "alert", id: "choose-trouble", hidden: true });
  const tell = (error) => { trouble.hidden = false; delete trouble.dataset.t; trouble.textContent = typeof error === "string" ? error : failed(error); trouble.scrollIntoView({ block: "nearest" }); };
  const body = h("div", { class: "choosing" });
  const words = session.consent?.scope?.words !== false;
  place.replaceChildren(h("div", { class: "beside" }, h("div", {},
    h("h1", { tabindex: -1, t: "choose.title", values: { who: session.participant ?? "" } }), h("p", { class: "what", t: "choose.what" }),
    session.problem ? h("p", { class: "box warn", text: both(session.problem) }) : null, trouble, body), help("choose")));
  place.querySelector("h1").focus();

  async function take(files) {
    trouble.hidden = true;
    const recordings = matched(files);
    if (!recordings.length) { tell(t("choose.no_file")); return; }
    const bar = h("progress", { max: 1, value: 0, label: "choose.sending" });
    const line = h("p", { class: "busy", role: "status" });
    body.replaceChildren(line, bar);
    try {
      let first = null;
      const others = [];
      for (const [n, recording] of recordings.entries()) {
        const session_id = n === 0 ? id : await another(session);
        if (n > 0) others.push(session_id);
        const name = recording.media?.name ?? "";
        setText(line, "choose.sending_one", { name: name || recording.transcript?.name || "", n: n + 1, of: recordings.length });
        const form = new FormData();
        if (name) form.append("title", name);
        for (const kind of ["media", "transcript", "speakers"]) if (recording[kind] && (kind !== "transcript" || words)) form.append(kind, recording[kind]);
        const look = await upload(session_id, form, (share) => { bar.value = share; if (share >= 1) setText(line, "choose.looking"); });
        first ??= look;
      }
      keepBatch([...new Set([...batch(), ...others])]);
      if (!over) chosen(first);
      if (!words && recordings.some((each) => each.transcript)) tell(t("choose.words_not_agreed"));
    } catch (error) {
      if (over) return;
      await shown();
      tell(error);
    }
  }

  function dropZone(again = false) {
    const input = h("input", { type: "file", id: "files", multiple: true, class: "unseen-input", "aria-describedby": "drop-hint" });
    input.addEventListener("change", () => { if (input.files.length) take([...input.files]); });
    const zone = h("div", { class: again ? "drop small" : "drop" },
      again ? null : h("p", { class: "drop-title", t: "choose.drop" }),
      h("label", { class: "button primary-label" }, input, h("span", { t: again ? "choose.other_file" : "choose.pick" })),
      h("p", { class: "caption", id: "drop-hint", t: again ? "choose.add_transcript" : "choose.drop_hint" }));
    zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => { event.preventDefault(); zone.classList.remove("over"); take([...event.dataTransfer.files]); });
    return zone;
  }

  async function shown() {
    try { chosen(await askSession("GET", id, "/recording")); } catch (error) {
      body.replaceChildren(dropZone());
      if (error.code !== "no_recording") tell(error);
    }
  }

  function chosen(look) {
    const picked = { face: null, speaker: "", baseline: null, fits: "" };
    const go = h("button", { class: "primary", id: "start", t: "choose.start" });
    const parts = [
      h("section", { class: "chosen-file" }, h("p", {}, h("b", { text: look.title || t("choose.untitled") }), " ", h("span", { class: "caption", text: clock(look.duration_s) })),
        h("p", { class: "caption", t: look.has_transcript ? "choose.with_words" : words ? "choose.without_words" : "choose.words_not_agreed" }), dropZone(true)),
      ...look.notes.map((note) => doubt(note, picked)),
      ...look.left_out.map((part) => h("p", { class: "box good", t: `choose.${part}_left_out` })),
      look.has_video ? faces(look, picked) : look.left_out.includes("face") ? null : h("p", { class: "caption", t: "choose.sound_only" }),
      speakers(look, picked),
      rest(look, picked),
    ];
    go.addEventListener("click", async () => {
      trouble.hidden = true;
      const doubts = look.notes.some((note) => note.doubt);
      if (look.people > 1 && !picked.face) { tell(t("choose.need_face")); body.querySelector(".face-box")?.focus(); return; }
      if (doubts && !picked.fits) { tell(t("choose.need_fits")); body.querySelector("input[name=fits]")?.focus(); return; }
      if (look.speakers.length > 1 && picked.fits !== "without" && !picked.speaker) { tell(t("choose.need_speaker")); body.querySelector("input[name=speaker]")?.focus(); return; }
      go.disabled = true;
      try {
        await askSession("POST", id, "/start", {
          face: picked.face, speaker: picked.fits === "without" ? "" : picked.speaker, baseline: picked.baseline,
          use_transcript: picked.fits !== "without", transcript_fits: picked.fits === "right", lang: document.documentElement.lang, upload: look.upload,
        });
        const [next, ...later] = batch().filter((each) => each !== id);
        keepBatch(later);
        location.hash = next ? `#/choose?session=${encodeURIComponent(next)}` : `#/progress?session=${encodeURIComponent(id)}`;
      } catch (error) { go.disabled = false; tell(error); }
    });
    body.replaceChildren(...parts.filter(Boolean), h("p", { class: "actions" }, go, h("span", { class: "caption", t: "choose.start_hint" })));
    say(t("choose.looked"));
  }

  function doubt(note, picked) {
    const key = `look.${note.code}`;
    const text = has(key) ? h("p", { t: key, values: { n: note.count } }) : note.doubt ? h("p", { t: "look.unfit" }) : h("p", { text: both(note) });
    if (!note.doubt) return h("div", { class: "box" }, text);
    const broken = note.code.startsWith("bad_");
    const choice = (value, name) => h("label", { class: "check" }, h("input", { type: "radio", name: "fits", value, on: { change: () => { picked.fits = value; } } }), h("span", { t: name }));
    return h("div", { class: "box warn", id: "doubt", role: "group", label: "look.doubt" }, text, broken ? h("p", { class: "caption", text: both(note) }) : null,
      choice("without", "look.go_without"), broken ? null : choice("right", "look.is_right"));
  }

  function faces(look, picked) {
    const place = h("div", { class: "face-picture" });
    const told = h("p", { class: "picked", role: "status" });
    const strip = h("div", { class: "frames", role: "group", label: "choose.frames" });
    const best = look.frames.reduce((a, b) => (b.faces.length > (a?.faces.length ?? -1) ? b : a), null);
    const single = look.people === 1;
    if (!look.frames.length) return h("p", { class: "box warn", t: "look.no_face_seen" });
    if (look.people > 0) setText(told, single ? "choose.one_person" : "choose.nobody_picked", { n: look.people });
    function show(frame) {
      const img = h("img", { alt: t("choose.frame_alt", { at: clock(frame.t), n: frame.faces.length }), width: frame.width, height: frame.height });
      pictureOf(id, `/frames/${frame.number}`).then((address) => { pictures.push(address); img.src = address; }).catch(tell);
      place.replaceChildren(img, ...frame.faces.map((face) => {
        const [x0, y0, x1, y1] = face.box;
        const mine = () => picked.face?.frame === frame.number && picked.face?.number === face.number;
        const button = h("button", {
          type: "button", class: "face-box", "aria-pressed": String(mine()), "aria-label": t("choose.face_label", { n: face.number, of: frame.faces.length }),
          on: {
            click: () => {
              picked.face = { frame: frame.number, number: face.number };
              for (const other of place.querySelectorAll(".face-box")) other.setAttribute("aria-pressed", String(other === button));
              setText(told, "choose.picked", { n: face.number, at: clock(frame.t) });
            },
          },
        }, h("b", { text: String(face.number) }));
        button.style.cssText = `left:${100 * x0}%;top:${100 * y0}%;width:${100 * (x1 - x0)}%;height:${100 * (y1 - y0)}%`;
        return button;
      }));
      for (const other of strip.children) other.setAttribute("aria-pressed", String(other.dataset.n === String(frame.number)));
    }
    strip.replaceChildren(...look.frames.map((frame) => h("button", { type: "button", data: { n: frame.number }, "aria-pressed": "false", "aria-label": t("choose.frame_at", { at: clock(frame.t) }), text: clock(frame.t), on: { click: () => show(frame) } })));
    show(best);
    return h("section", {}, h("h2", { t: "choose.face_title" }), h("p", { class: "caption", t: single ? "choose.face_one" : "choose.face_what" }), place, told,
      h("p", { class: "caption", t: "choose.frames_what" }), strip);
  }

  function speakers(look, picked) {
    if (!look.speakers.length) {
      return look.has_transcript || !look.has_sound ? h("section", {}, h("h2", { t: "choose.who_title" }), h("p", { class: "caption", t: look.has_sound ? "choose.who_unnamed" : look.left_out.includes("voice") ? "choose.who_not_agreed" : "choose.who_silent" }))
        : h("section", {}, h("h2", { t: "choose.who_title" }), h("p", { class: "caption", t: "choose.who_none" }));
    }
    // A name that says so itself need not be chosen, but can be changed.
    const telling = look.speakers.filter((each) => PARTICIPANT.test(each.name));
    const known = look.speakers.length === 1 ? look.speakers[0] : telling.length === 1 ? telling[0] : null;
    if (known) picked.speaker = known.name;
    return h("section", {}, h("h2", { t: "choose.who_title" }), h("p", { class: "caption", t: "choose.who_what" }),
      h("div", { class: "who", role: "radiogroup", label: "choose.who_title" }, look.speakers.map((each, n) => h("label", { class: `who-${n % 4}` },
        h("input", { type: "radio", name: "speaker", value: each.name, checked: each === known, on: { change: () => { picked.speaker = each.name; } } }),
        h("i", { class: "swatch", "aria-hidden": "true" }), h("b", { text: each.name }), h("span", { class: "caption", text: t("choose.speaks", { time: clock(each.seconds) }) }),
        each.says ? h("q", { text: each.says }) : null))));
  }

  function rest(look, picked) {
    const head = [h("h2", { t: "choose.rest_title" }), h("p", { class: "caption", t: "choose.rest_what", values: { s: look.least_baseline_s } })];
    if (look.duration_s < look.least_baseline_s) return h("section", {}, head, h("p", { t: "choose.rest_short", values: { s: look.least_baseline_s } }));
    return h("section", {}, head, baselineAxis({ duration: look.duration_s, least: look.least_baseline_s, stretches: look.stretches, told: (stretch) => { picked.baseline = stretch; } }));
  }

  await shown();
  return { keep: true, end: () => { over = true; pictures.forEach((address) => URL.revokeObjectURL(address)); } };
}

/** A further session on the same consent, for a further recording. */
async function another(session) {
  const { participant, consent, retention_days: days } = session.consent;
  const made = await ask("POST", "api/sessions", { participant, consent, keep_media: session.keep_media, retention_days: days });
  keepSessionKey(made.id, made.key);
  return made.id;
}

/** Without a session: those that wait for their recording, and the way to a new one. */
async function beginnings(place) {
  const { sessions } = await ask("GET", "api/sessions");
  const open = sessions.filter((each) => each.participant && (each.state === "open" || (each.state === "failed" && each.origin === "file"))).reverse();
  place.replaceChildren(h("div", { class: "beside" }, h("div", {}, h("h1", { t: "choose.title_none" }), h("p", { class: "what", t: "choose.first_consent" }),
    h("p", { class: "actions" }, h("a", { class: "button primary", href: "#/consent", t: "choose.to_consent" })),
    open.length ? h("section", {}, h("h2", { t: "choose.waiting" }), h("ul", { class: "plain-list" }, open.map((each) => h("li", {},
      h("span", {}, h("b", { text: each.participant }), " ", h("small", { text: each.title || t(`session.state.${each.state}`) })),
      h("a", { class: "button", href: `#/choose?session=${encodeURIComponent(each.id)}`, t: "choose.go_on" }))))) : null), help("choose")));
  return null;
}
