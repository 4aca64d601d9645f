// What moves the cursor in time: the recording where it can be played, else a clock of our own.

function makePlayer(data, element, told) {
  const at = (id) => document.getElementById(id);
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const text = data.text;
  let media = element, playable = false, playing = false, rate = 1, wanted = null;
  let began = 0, from = 0, now = 0;

  function own() {
    return now = Math.min(data.duration, from + ((performance.now() - began) / 1000) * rate);
  }

  function say(message) {
    at("no-media").hidden = !message;
    if (message) at("media-note").textContent = message;
  }

  function checkLength() {
    const note = at("length-note"), found = media.duration;
    const differs = isFinite(found) && Math.abs(found - data.duration) > Math.max(0.5, 0.01 * data.duration);
    note.hidden = !differs;
    if (differs) {
      note.textContent = fill(text.other_length, { found: clock(found, 1), expected: clock(data.duration, 1) });
    }
  }

  function failed() {
    if (playing) player.pause();
    playable = false;
    media.hidden = true;
    say(fill(text.unplayable, { name: data.media }));
  }

  function watch() {
    media.addEventListener("loadedmetadata", () => {
      playable = true;
      media.hidden = false;
      media.playbackRate = rate;
      say("");
      checkLength();
      if (wanted !== null) media.currentTime = wanted;
    });
    media.addEventListener("error", failed);
    media.addEventListener("play", () => { playing = true; told(); });
    media.addEventListener("pause", () => { playing = false; told(); });
    media.addEventListener("ended", () => { playing = false; told(); });
    media.addEventListener("ratechange", () => {
      rate = media.playbackRate;
      const select = at("speed");
      if ([...select.options].some((o) => Number(o.value) === rate)) select.value = String(rate);
    });
    for (const name of ["timeupdate", "seeked"]) {
      media.addEventListener(name, () => {
        if (playable && !player.scrubbing) { now = media.currentTime; told(); }
      });
    }
  }

  const player = {
    scrubbing: false,
    get playing() { return playing; },
    get playable() { return playable; },
    // Seconds on the media clock, which is also what the video element counts from.
    time() {
      if (playable && playing) now = media.currentTime;
      else if (playing) {
        own();
        if (now >= data.duration) player.pause();
      }
      return now;
    },
    seek(t) {
      now = Math.max(0, Math.min(data.duration, t));
      from = now;
      began = performance.now();
      wanted = now;
      if (playable) media.currentTime = now;
    },
    play() {
      if (playable) { media.play().catch(() => {}); return; }
      from = now >= data.duration - 0.01 ? 0 : now;
      began = performance.now();
      playing = true;
      told();
    },
    pause() {
      if (playable) { media.pause(); return; }
      if (playing) own();
      from = now;
      playing = false;
      told();
    },
    setRate(value) {
      if (!playable && playing) { own(); from = now; began = performance.now(); }
      rate = value;
      if (media) media.playbackRate = value;
    },
  };

  at("choose").parentElement.querySelector("span").textContent = text.choose;
  at("choose-note").textContent = text.choose_note;
  at("choose").addEventListener("change", (event) => {
    const file = event.target.files[0];
    if (!file) return;
    if (playing) player.pause();
    if (media) media.remove();
    media = document.createElement(file.type.startsWith("audio/") ? "audio" : "video");
    media.id = "media";
    media.controls = true;
    media.playsInline = true;
    at("player").prepend(media);
    wanted = now;
    watch();
    media.src = URL.createObjectURL(file);
  });
  if (media) {
    watch();
    // The error may have come before this script ran.
    if (media.error) failed();
    else if (media.readyState >= 1) media.dispatchEvent(new Event("loadedmetadata"));
  } else {
    say(fill(text.no_media, { name: data.media }));
  }
  return player;
}
