// The live view: camera and microphone on, start, what is seen and heard, notes, stop.

import { Camera } from "./camera.js";
import { SPAN_S, Signals, Tracks } from "./charts.js";
import { listDevices, openDevices, openOne, reasonOf, takeLock } from "./devices.js";
import { bytes, clock, h, hideProblem, language, relabel, say, setText, showProblem, t } from "./dom.js";
import { ask, askSession, key, sessionKey } from "./api.js";
import { ClassTable, Picture, States } from "./now.js";
import { NoteBox } from "./notes.js";
import { LiveSocket } from "./socket.js";
import { RATE, Sound } from "./sound.js";

const DRAW_MS = 300; // the moving tracks; the box and the bars of the moment follow every frame
const DESCRIBE_MS = 500;
const PING_MS = 5000;
const SLOW_STOP_MS = 30_000;
const LATENCIES = 100; // of the last so many frames the delay is shown
const SLOW_FPS = 8;
const ASLEEP_MS = 2000;

export async function liveView(place, session) {
  // What was not agreed to is not even opened.
  const consent = session ? (await askSession("GET", session)).consent : null;
  const live = new Live(place, session, consent?.scope ?? { face: true, voice: true });
  live.build();
  return {
    stay: () => live.running() && !confirm(t("live.leave")),
    end: () => live.end(),
    relabel: () => live.relabel(),
  };
}

class Live {
  constructor(place, session, scope) {
    this.place = place;
    this.session = session;
    this.scope = { face: scope.face !== false, voice: scope.voice !== false };
    this.stream = null;
    this.latencies = [];
    this.clockMs = null; // performance time of session time zero
    this.dropped = 0;
    this.listeners = [];
  }

  running() { return this.stage === "running" || this.stage === "starting" || this.stage === "stopping"; }

  setStage(stage) {
    this.stage = stage;
    document.documentElement.dataset.live = stage;
    for (const [button, stages] of this.shown) button.hidden = !stages.includes(stage);
    this.bar.dataset.stage = stage;
    setText(this.mode, stage === "running" || stage === "stopping"
      ? (this.recording ? (this.keepsMedia ? "live.recording_media" : "live.recording") : "live.not_recording")
      : "live.not_yet");
  }

  build() {
    this.picture = new Picture();
    this.states = new States();
    this.mode = h("b", { class: "mode", t: "live.not_yet" });
    this.time = h("span", { class: "session-time", text: "0:00" });
    const figure = (name, title = null) => {
      const value = h("b", { text: "–" });
      const node = h("span", { class: "figure" }, h("span", { t: `health.${name}` }), value);
      if (title) node.title = t(title);
      this[`${name}Value`] = value;
      return node;
    };
    const button = (name, props, act) => h("button", { type: "button", id: `live-${name}`, t: `live.${name}`, ...props, on: { click: act } });
    const open = button("open", { class: "primary" }, () => this.open());
    const begin = h("button", { type: "button", id: "live-begin", class: "primary", t: this.session ? "live.record" : "live.try", on: { click: () => this.start() } });
    const stop = button("stop", { class: "primary stop" }, () => this.stop());
    const again = button("again", {}, () => this.reopen());
    const opening = h("span", { class: "busy", t: "live.opening" });
    const starting = h("span", { class: "busy", t: "live.starting" });
    const stopping = h("span", { class: "busy", t: "live.stopping" });
    const before = h("p", { class: "caption", t: "live.before" });
    const ended = h("p", { class: "box", id: "live-ended", t: "live.ended_try" });
    this.pickers = h("div", { class: "pickers" });
    this.shown = [
      [open, ["idle"]], [before, ["idle", "opening"]], [opening, ["opening"]], [begin, ["preview"]], [this.pickers, ["preview"]],
      [starting, ["starting"]], [stop, ["running"]], [stopping, ["stopping"]], [again, ["ended"]], [ended, ["ended"]],
    ];
    this.bar = h("div", { class: "livebar" },
      h("div", { class: "status" }, h("i", { class: "light", "aria-hidden": "true" }), this.mode, this.time),
      h("div", { class: "health" }, figure("latency", "health.latency_title"), figure("fps"), figure("dropped"), figure("bytes")),
      h("div", { class: "actions" }, open, opening, begin, starting, stop, stopping, again));
    this.now = h("div", { class: "now" });
    this.tracks = h("div", { class: "tracks" });
    this.notes = new NoteBox((kind, text, at) => this.note(kind, text, at), () => this.sessionTime());
    this.below = h("div", { class: "below", hidden: true },
      h("section", { "aria-labelledby": "tracks-title" },
        h("h2", { id: "tracks-title", t: "tracks.title" }), this.legend = h("p", { class: "legend" }), this.tracks),
      this.notes.node);
    this.place.replaceChildren(h("h1", { class: "unseen", t: "live.title" }), this.bar, ended,
      h("div", { class: "stage" },
        h("div", { class: "self" }, this.picture.node, this.states.node, before, this.pickers),
        this.now),
      this.below);
    document.body.classList.add("wide");
    this.setStage("idle");
    this.listen(document, "visibilitychange", () => this.visibility());
    this.listen(window, "beforeunload", (event) => { if (this.running() && this.recording) event.preventDefault(); });
    this.listen(window, "pagehide", () => { if (!this.running()) this.end(); });
    this.listen(document, "keydown", (event) => this.notes.key(event, this.stage === "running"));
  }

  listen(target, kind, act) {
    target.addEventListener(kind, act);
    this.listeners.push(() => target.removeEventListener(kind, act));
  }

  // -- devices -------------------------------------------------------------------------------

  async open(chosen = {}) {
    this.setStage("opening");
    this.giveBack ??= await takeLock();
    if (!this.giveBack) {
      showProblem("second_tab", "problem.second_tab");
      this.setStage("idle");
      return;
    }
    hideProblem("second_tab");
    hideProblem("devices");
    hideProblem("lost");
    const { stream, problems } = await openDevices({ ...chosen, scope: this.scope });
    document.documentElement.dataset.openedMs = performance.now();
    if (problems.length) showProblem("devices", problems[0]);
    if (!stream) { this.setStage("idle"); return; }
    this.take(stream);
    await this.pick();
    this.setStage("preview");
    document.getElementById("live-begin").focus();
  }

  take(stream) {
    this.stream = stream;
    this.picture.show(stream);
    for (const track of stream.getTracks()) this.watch(track);
    if (!stream.getVideoTracks().length) this.states.set("face", this.scope.face ? "off" : "not_agreed");
    if (!stream.getAudioTracks().length) this.states.set("voice", this.scope.voice ? "off" : "not_agreed");
  }

  watch(track) {
    track.addEventListener("ended", () => this.gone(track));
    if (track.kind === "audio") {
      track.addEventListener("mute", () => showProblem("muted", "problem.muted"));
      track.addEventListener("unmute", () => hideProblem("muted"));
    }
  }

  gone(track) {
    if (!this.stream?.getTracks().includes(track)) return;
    const camera = track.kind === "video", name = camera ? "camera" : "microphone";
    this.states.set(camera ? "face" : "voice", "off");
    if (camera) this.picture.show(null);
    showProblem(`${name}_gone`, `problem.${name}_gone`, {}, { t: `problem.${name}_again`, act: () => this.replace(track) });
  }

  // Another device of the same kind in the place of one that went away; the clock goes on.
  async replace(old) {
    try {
      const [track] = (await openOne(old.kind)).getTracks();
      this.stream.removeTrack(old);
      this.stream.addTrack(track);
      this.watch(track);
      if (track.kind === "video") {
        this.picture.show(this.stream);
        this.states.set("face", "waiting");
      } else if (this.stage === "running") {
        const zero = this.sound?.zeroMs ?? null;
        await this.sound?.stop();
        await this.listenTo(zero);
        this.states.set("voice", "waiting");
      }
    } catch (error) {
      const name = old.kind === "video" ? "camera" : "microphone";
      showProblem(`${name}_gone`, reasonOf(error, name), {}, { t: `problem.${name}_again`, act: () => this.replace(old) });
    }
  }

  async pick() {
    const { camera, microphone } = await listDevices();
    const used = Object.fromEntries(this.stream.getTracks().map((track) => [track.kind, track.getSettings().deviceId]));
    const select = (id, list, current) => list.length < 2 ? null : h("p", { class: "field" },
      h("label", { for: id, t: `live.${id}` }),
      h("select", { id, on: { change: () => this.choose() } },
        list.map((device) => h("option", { value: device.deviceId, selected: device.deviceId === current, text: device.label || device.deviceId.slice(0, 8) }))));
    this.pickers.replaceChildren(...[select("camera", camera, used.video), select("microphone", microphone, used.audio)].filter(Boolean));
  }

  async choose() {
    const value = (id) => document.getElementById(id)?.value ?? null;
    const chosen = { camera: value("camera"), microphone: value("microphone") };
    this.release();
    await this.open(chosen);
  }

  release() {
    const stream = this.stream;
    this.stream = null; // first: ending the tracks here is no accident
    stream?.getTracks().forEach((track) => track.stop());
  }

  // -- start ---------------------------------------------------------------------------------

  async start() {
    this.setStage("starting");
    this.signals = new Signals();
    this.latencies = [];
    this.clockMs = null;
    const picture = this.stream.getVideoTracks()[0]?.getSettings() ?? {};
    this.socket = new LiveSocket({
      key: key(), session: this.session, session_key: this.session ? sessionKey(this.session) : null, sample_rate: RATE,
      width: picture.width ?? 0, height: picture.height ?? 0, lang: language(),
    }, (event) => this.received(event), (state, detail) => this.connection(state, detail));
    this.socket.open();
  }

  async begin(ready) {
    ready.labels = await this.coloured(ready.labels);
    this.recording = Boolean(this.session);
    this.keepsMedia = ready.recording; // whether picture and sound stay
    this.rateHz = ready.rate_hz;
    this.table = new ClassTable(ready);
    this.now.replaceChildren(h("h2", { t: "now.title" }), this.table.node,
      h("p", { class: "caption", t: ready.words ? "words.by" : "words.none", values: { name: ready.words } }));
    this.below.hidden = false;
    this.charts = new Tracks(this.tracks, this.signals, ready);
    this.drawLegend(ready);
    this.notes.start();
    if (this.stream.getAudioTracks().length) await this.listenTo(null);
    this.camera = new Camera(this.picture.video, (jpeg, at) => this.frame(jpeg, at), () => this.socket.waiting(),
      () => this.clockMs, ready.rate_hz);
    this.camera.start();
    this.drawTimer = setInterval(() => this.drawTracks(), DRAW_MS);
    this.describeTimer = setInterval(() => this.describe(), DESCRIBE_MS);
    this.pingTimer = setInterval(() => this.socket.ping(performance.now()), PING_MS);
    this.lastTick = { wall: Date.now(), own: performance.now() };
    this.setStage("running");
    this.startedMs = performance.now();
    document.documentElement.dataset.session = ready.session ?? "";
    say(t(this.recording ? "live.recording" : "live.not_recording"));
    document.getElementById("live-stop").focus();
  }

  // Each class in its colours of the reports: one for light, one for dark pages.
  async coloured(labels) {
    if (labels.every((label) => Array.isArray(label.colour))) return labels;
    const about = await ask("GET", "api/about");
    const known = Object.fromEntries(about.labels.map((label) => [label.id, label.colour]));
    return labels.map((label) => ({ ...label, colour: known[label.id] ?? [label.colour, label.colour] }));
  }

  drawLegend(ready) {
    this.legendReady = ready;
    const hatch = h("i", { class: "swatch hatch" });
    this.legend.replaceChildren(...ready.labels.filter((label) => !label.unvalidated).map((label) => {
      const swatch = h("i", { class: "swatch" });
      const light = h("span", {}, swatch, label[language()]);
      swatch.style.setProperty("--light", Array.isArray(label.colour) ? label.colour[0] : label.colour);
      swatch.style.setProperty("--dark", Array.isArray(label.colour) ? label.colour[1] : label.colour);
      return light;
    }), h("span", {}, hatch, t("tracks.missing")));
  }

  async listenTo(zeroMs) {
    const stream = new MediaStream(this.stream.getAudioTracks());
    this.sound = new Sound(stream, (pcm, first, at) => this.heard(pcm, first, at),
      (gap) => { if (gap > ASLEEP_MS) showProblem("asleep", "problem.asleep", { s: Math.round(gap / 1000) }); }, zeroMs);
    try {
      await this.sound.start();
      if (this.sound.resampledFrom) showProblem("resampled", "problem.resampled", { rate: this.sound.resampledFrom });
    } catch (error) {
      this.sound = null;
      this.states.set("voice", "off");
      if (error.name === "NoOutputError") showProblem("no_output", "problem.no_output");
      else showProblem("sound_failed", "problem.sound_failed", { why: error.message });
    }
  }

  // -- out -----------------------------------------------------------------------------------

  heard(pcm, first, at) {
    if (this.stage !== "running") return;
    this.socket.sendSound(pcm, first, at);
    if (this.clockMs === null) this.setClock(this.sound.zeroMs);
  }

  frame(jpeg, at) {
    if (this.stage === "running") this.socket.sendFrame(jpeg, at);
  }

  note(kind, text, at) { this.socket?.note(kind, text, at); }

  // -- in ------------------------------------------------------------------------------------

  received(event) {
    switch (event.type) {
      case "ready": if (this.stage === "starting") this.begin(event); break;
      case "face": this.face(event); break;
      case "voice": this.signals.voice(event); this.states.set("voice", event.state); break;
      case "pause": this.signals.pause(event); break;
      case "words": this.signals.word(event); this.states.said(event); break;
      case "window": this.signals.window(event); this.table?.window(event); break;
      case "note": this.signals.note(event); this.notes.show(event); break;
      case "health": this.health(event); break;
      case "problem": showProblem(`server_${event.code}`, { ko: event.ko, en: event.en }); break;
      case "stopped": this.stopped(event); break;
      default: // a newer server may say more
    }
  }

  setClock(zeroMs) {
    this.clockMs = zeroMs;
    document.documentElement.dataset.zeroMs = zeroMs;
  }

  face(event) {
    this.setClock(event.captured_ms - 1000 * event.t);
    this.signals.face(event);
    this.states.set("face", event.state);
    this.latest = event;
    if (this.waitsToDraw || document.hidden) return;
    this.waitsToDraw = true;
    requestAnimationFrame(() => {
      this.waitsToDraw = false;
      const shown = this.latest;
      this.picture.draw(shown.faces, shown.state);
      this.table?.moment(shown.p);
      // A message comes after the browser has painted what was drawn above.
      const after = new MessageChannel();
      after.port1.onmessage = () => { this.drawn(shown); after.port1.close(); };
      after.port2.postMessage(null);
    });
  }

  drawn(event) {
    const latency = performance.now() - event.captured_ms;
    this.latencies.push(latency);
    if (this.latencies.length > LATENCIES) this.latencies.shift();
    this.socket.drawn(event.seq, event.captured_ms, latency);
  }

  health(event) {
    this.healthEvent = event;
    if (this.latencies.length) {
      const sorted = [...this.latencies].sort((a, b) => a - b);
      this.latencyValue.textContent = `${Math.round(sorted[Math.min(sorted.length - 1, Math.floor(0.95 * sorted.length))])} ms`;
    }
    setText(this.fpsValue, "health.fps_value", { n: (event.fps ?? 0).toFixed(1) });
    this.droppedValue.textContent = String((event.dropped ?? 0) + (this.camera?.heldBack ?? 0));
    if (event.recording) this.bytesValue.textContent = bytes(event.recorded_bytes ?? 0);
    else setText(this.bytesValue, "live.not_recording"); // it follows the language at once
    const slow = this.stream?.getVideoTracks().length && performance.now() - this.startedMs > 8000 && event.fps > 0 && event.fps < SLOW_FPS && !document.hidden;
    this.slowFor = slow ? (this.slowFor ?? 0) + 1 : 0;
    if (this.slowFor === 5) showProblem("slow", "health.slow", { n: event.fps.toFixed(0) });
    if (this.slowFor === 0) hideProblem("slow");
  }

  sessionTime(at = performance.now()) { return this.clockMs === null ? 0 : (at - this.clockMs) / 1000; }

  drawTracks() {
    const now = this.sessionTime();
    this.time.textContent = clock(now);
    const tick = { wall: Date.now(), own: performance.now() };
    const slept = tick.wall - this.lastTick.wall - (tick.own - this.lastTick.own);
    if (slept > ASLEEP_MS) showProblem("asleep", "problem.asleep", { s: Math.round(slept / 1000) });
    this.lastTick = tick;
    if (!document.hidden) this.charts?.draw(Math.max(now, SPAN_S));
  }

  describe() {
    if (!document.hidden) this.charts?.describe();
    this.notes.tick();
  }

  visibility() {
    if (this.stage !== "running" || !this.stream?.getVideoTracks().length) return;
    if (document.hidden) { this.hiddenAt = performance.now(); this.states.set("face", "hidden"); return; }
    const away = (performance.now() - (this.hiddenAt ?? performance.now())) / 1000;
    if (away > 1) showProblem("hidden", "problem.hidden", { s: Math.round(away) });
  }

  connection(state, detail) {
    document.documentElement.dataset.connection = state;
    if (state === "cut") showProblem("cut", "problem.cut");
    if (state === "back") {
      hideProblem("cut");
      say(t("problem.back"));
    }
    if (state === "lost") {
      hideProblem("cut");
      showProblem("lost", detail.begun ? "problem.lost" : "problem.no_connection");
    }
    if (state !== "lost" && !(state === "ended" && detail.fatal)) return;
    if (detail.begun) this.finish(this.recording); else this.notBegun();
  }

  // -- stop ----------------------------------------------------------------------------------

  stop() {
    this.notes.close();
    this.setStage("stopping");
    this.quiet();
    this.socket.stop();
    this.slowStop = setTimeout(() => showProblem("slow_stop", "problem.slow_stop"), SLOW_STOP_MS);
  }

  // No more is taken in; the devices are let go.
  async quiet() {
    this.camera?.stop();
    clearInterval(this.drawTimer);
    clearInterval(this.describeTimer);
    clearInterval(this.pingTimer);
    const sound = this.sound;
    this.sound = null;
    await sound?.stop();
    this.release();
    this.picture.show(null);
  }

  stopped(event) {
    clearTimeout(this.slowStop);
    hideProblem("slow_stop");
    this.finish(this.recording, event);
  }

  letGo(stage) {
    this.quiet();
    this.giveBack?.();
    this.giveBack = null;
    this.setStage(stage);
    this.states.set("face", "off");
    this.states.set("voice", "off");
  }

  // The devices were let go, so the way begins where they are turned on.
  notBegun() {
    this.letGo("idle");
    document.getElementById("live-open")?.focus();
  }

  finish(recorded) {
    this.letGo("ended");
    if (recorded && this.session) { location.hash = `#/sessions/${encodeURIComponent(this.session)}`; return; }
    say(t("live.ended_try"));
    document.getElementById("live-again")?.focus();
  }

  async reopen() {
    this.charts?.destroy();
    this.table?.destroy();
    this.now.replaceChildren();
    this.below.hidden = true;
    await this.open();
  }

  relabel() {
    relabel(this.place);
    this.table?.relabel();
    if (this.legendReady) this.drawLegend(this.legendReady);
    this.notes.relabel();
    this.charts?.describe();
  }

  end() {
    for (const forget of this.listeners) forget();
    if (this.stage !== "ended") this.socket?.leave();
    this.quiet();
    this.giveBack?.();
    this.charts?.destroy();
    this.table?.destroy();
    document.body.classList.remove("wide");
    delete document.documentElement.dataset.live;
  }
}
