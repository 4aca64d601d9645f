// The page itself: one view of time for all tracks, one cursor, what is read at it.

function startTimeline() {
  const at = (id) => document.getElementById(id);
  const app = at("app"), tracks = at("tracks");
  const data = prepare(JSON.parse(at("data").textContent));
  const text = data.text, duration = data.duration || 1;
  const fill = (line, values) => line.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const percent = (p) => `${Math.round(100 * p)}%`;
  // What is put together is an index, so it never looks like a probability.
  const share = (ribbon, p) => (ribbon.modality === "fused" ? p.toFixed(2) : percent(p));
  const shortest = Math.min(2, duration);
  const state = { from: 0, to: duration, cursor: 0, hover: null, alone: -1, dirty: true };
  const classIds = data.classes.map((c) => c.id);
  app.hidden = false;

  const rows = [...tracks.querySelectorAll(".track[data-track]")].map((element) => ({
    element, track: data.tracks[Number(element.dataset.track)],
    canvas: element.querySelector("canvas"), value: element.querySelector(".value"),
  }));
  const axis = { canvas: tracks.querySelector(".axis canvas") };
  const words = data.tracks.find((t) => t.kind === "words");
  const speech = data.tracks.find((t) => t.kind === "speech");
  const ribbons = data.tracks.filter((t) => t.kind === "ribbon");
  let theme = themeOf(document.documentElement), box = { left: 0, width: 1 }, narrow = false;

  // -- view ------------------------------------------------------------------------------------

  const scale = () => box.width / (state.to - state.from);
  const toX = (t) => (t - state.from) * scale();
  const toTime = (x) => state.from + x / scale();

  function show(from, to) {
    const span = Math.max(shortest, Math.min(duration, to - from));
    const start = Math.max(0, Math.min(duration - span, from));
    if (start === state.from && start + span === state.to) return;
    state.from = start;
    state.to = start + span;
    invalidate();
  }

  function zoom(factor, around) {
    const span = Math.max(shortest, Math.min(duration, (state.to - state.from) * factor));
    const share = (around - state.from) / (state.to - state.from);
    show(around - share * span, around + (1 - share) * span);
  }

  function reveal(t) {
    const span = state.to - state.from;
    if (t < state.from || t > state.to) show(t - 0.1 * span, t + 0.9 * span);
  }

  // -- drawing ---------------------------------------------------------------------------------

  function measure() {
    const outer = tracks.getBoundingClientRect(), inner = axis.canvas.getBoundingClientRect();
    narrow = outer.width < 620;
    box = { left: inner.left - outer.left, width: Math.max(1, inner.width) };
    for (const row of rows) {
      row.height = trackHeight(row.track, narrow);
      row.canvas.style.height = `${row.height}px`;
    }
    theme = themeOf(document.documentElement);
    at("hint").textContent = matchMedia("(pointer: coarse)").matches ? text.hint_touch : text.hint_mouse;
    invalidate();
  }

  function surface(canvas, width, height) {
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    const w = Math.round(width * ratio), h = Math.round(height * ratio);
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.globalAlpha = 1;
    return [c, ratio];
  }

  function viewOf(height, ratio) {
    return { from: state.from, to: state.to, x: toX, scale: scale(), width: box.width, height,
             duration, theme, alone: state.alone, ratio, classIds };
  }

  function draw() {
    state.dirty = false;
    const [ac, aratio] = surface(axis.canvas, box.width, 22);
    drawAxis(ac, viewOf(22, aratio));
    for (const row of rows) {
      if (row.element.hidden) continue;
      const [c, ratio] = surface(row.canvas, box.width, row.height);
      PAINTERS[row.track.kind](c, row.track, viewOf(row.height, ratio), data);
    }
    drawWhole();
    place();
  }

  function drawWhole() {
    const overview = at("overview"), canvas = overview.querySelector("canvas");
    const width = overview.clientWidth, height = overview.clientHeight;
    if (state.wholeWidth !== width || state.wholeTheme !== theme) {
      const [c, ratio] = surface(canvas, width, height);
      const k = width / duration;
      drawOverview(c, data, { from: 0, to: duration, x: (t) => t * k, scale: k, width, height,
                              duration, theme, alone: -1, ratio, classIds });
      state.wholeWidth = width;
      state.wholeTheme = theme;
    }
    const frame = at("frame");
    frame.style.left = `${(100 * state.from) / duration}%`;
    frame.style.width = `${(100 * (state.to - state.from)) / duration}%`;
  }

  let asked = false;
  function invalidate() {
    state.dirty = true;
    if (!asked) requestAnimationFrame(frame);
    asked = true;
  }

  let readAt = 0, announce = null;
  function frame(stamp) {
    asked = false;
    if (player.playing) {
      setCursor(player.time(), true);
      asked = true;
      requestAnimationFrame(frame);
    }
    if (state.dirty) draw(); else place();
    if (!player.playing || stamp - readAt > 80) { readAt = stamp; read(); announce?.({ time: state.cursor }); }
  }

  // -- cursor ----------------------------------------------------------------------------------

  function place() {
    const x = toX(state.cursor), inside = x >= -1 && x <= box.width + 1;
    const cursor = at("cursor");
    cursor.style.display = inside ? "" : "none";
    cursor.style.transform = `translateX(${box.left + x}px)`;
    at("overview-cursor").style.left = `${(100 * state.cursor) / duration}%`;
    const hover = at("hover");
    hover.style.display = state.hover === null ? "none" : "";
    if (state.hover !== null) hover.style.transform = `translateX(${box.left + toX(state.hover)}px)`;
  }

  function setCursor(t, playing) {
    state.cursor = Math.max(0, Math.min(duration, t));
    if (!playing) return;
    const span = state.to - state.from;
    if (at("follow").checked && !state.dragging && span < duration
        && (state.cursor > state.to - 0.06 * span || state.cursor < state.from)) {
      show(state.cursor - 0.08 * span, state.cursor + 0.92 * span);
    }
  }

  function seek(t) {
    player.seek(t);
    setCursor(t, false);
    if (!asked) { asked = true; requestAnimationFrame(frame); }
  }

  function jump(t) {
    seek(t);
    reveal(state.cursor);
  }

  // -- what is read at a time ------------------------------------------------------------------

  function windowAt(t) {
    const middles = data.windows.middle;
    let i = lastAtMost(middles, t);
    if (i < 0 || (i + 1 < middles.length && middles[i + 1] - t < t - middles[i])) i++;
    return Math.min(i, middles.length - 1);
  }

  function ribbonAt(track, t) {
    const w = windowAt(t);
    const shares = track.classes.map((k, j) => [k, track.values[j][w]]).filter(([, p]) => !isNaN(p));
    if (!shares.length) return { missing: data.reasons[track.reasons[w]] };
    return { shares: shares.sort((a, b) => b[1] - a[1]), used: track.used[w] };
  }

  function spansAt(track, t, slack) {
    return track.spans.filter(([, start, end]) => t >= start - slack && t < end + slack);
  }

  function curveAt(track, t) {
    const i = Math.round((t - track.start) / track.hop), v = track.median[i];
    if (track.lost.some(([a, b]) => t >= a && t < b)) return text.no_sound;
    if (v === undefined || isNaN(v)) return track.log ? text.unvoiced : "–";
    return `${track.log ? Math.round(v) : minus(Math.round(v))} ${track.unit}`;
  }

  function samplesAt(track, t) {
    const i = lastAtMost(track.times, t), near = [i, i + 1]
      .filter((k) => k >= 0 && k < track.times.length && Math.abs(track.times[k] - t) < 0.5)
      .sort((a, b) => Math.abs(track.times[a] - t) - Math.abs(track.times[b] - t))[0];
    if (near === undefined || isNaN(track.lines[0].value[near])) return null;
    return track.lines.map((line) => [line, line.value[near]]);
  }

  function lineTexts(lines, t, unit) {
    const w = windowAt(t);
    return lines.map((line) => [line, isNaN(line.value[w])
      ? fill(text.missing, { reason: data.reasons[line.reasons[w]] || "–" })
      : `${minus(Number(line.value[w].toFixed(2)))}${unit ? " " + unit : ""}`, isNaN(line.value[w])]);
  }

  function speechAt(track, t) {
    if (track.lost.some(([a, b]) => t >= a && t < b)) return text.no_sound;
    const pause = track.pauses.find(([a, b]) => t >= a && t < b);
    const i = lastAtMost(track.starts, t), talking = i >= 0 && t < track.speech[i][1];
    const turn = turnAt(track, t), name = turn && track.speakers[turn[2]];
    const what = talking ? text.speaking
      : pause ? fill(text.pausing, { s: (pause[1] - pause[0]).toFixed(2) }) : text.quiet;
    return name ? `${what} · ${fill(text.speaker, { name })}` : what;
  }

  function sayingAt(t) {
    if (!words) return null;
    const i = lastAtMost(words.sayingStarts, t);
    return i >= 0 && t <= words.sayings[i].end + 0.6 ? words.sayings[i] : null;
  }

  // Texts for the gutter: [text, colour or null] pieces.
  function valueAt(track, t) {
    if (track.kind === "ribbon") {
      const found = ribbonAt(track, t);
      if (found.missing !== undefined) return [[found.missing, null]];
      return found.shares.slice(0, narrow ? 2 : 1).map(([k, p]) =>
        [`${data.classes[k].name} ${share(track, p)}`, theme.classes[k]]);
    }
    if (track.kind === "lines") {
      return lineTexts(track.lines, t).filter(([, , lost], i, all) => !lost || (i === 0 && all.every((e) => e[2])))
        .map(([line, value]) => [line.name === track.title ? value : `${line.name} ${value}`,
                                 track.lines.length > 1 ? theme[line.colour] : null]);
    }
    if (track.kind === "chosen") {
      const option = chosenOption(track, data);
      return lineTexts([option.line], t, option.unit).map(([, value]) => [value, null]);
    }
    if (track.kind === "curve") return [[curveAt(track, t), null]];
    if (track.kind === "speech") return [[speechAt(track, t), null]];
    if (track.kind === "samples") {
      const found = samplesAt(track, t);
      if (!found) return [["–", null]];
      const named = (line) => found.length > 1 && line.name ? `${line.name} ` : "";
      return found.map(([line, v]) => [named(line) + (track.unit ? `${minus(Math.round(v))}${track.unit}` : v.toFixed(2)),
                                       found.length > 1 ? theme[line.colour] : null]);
    }
    if (track.kind === "spans") return spansAt(track, t, 0).map(([kind]) => [track.lanes[kind], null]);
    return [];
  }

  function fillPieces(element, pieces) {
    element.replaceChildren(...pieces.map(([words, colour]) => {
      const piece = document.createElement("span");
      if (colour) {
        const dot = document.createElement("i");
        dot.style.background = colour;
        piece.append(dot);
      }
      piece.append(words);
      return piece;
    }));
  }

  const table = makeTable();
  function makeTable() {
    if (!ribbons.length) return null;
    const element = document.createElement("table");
    const shown = ribbons.filter((r) => r.main);
    const head = element.createTHead().insertRow();
    for (const name of [text.class, ...shown.map((r) => r.source)]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = name;
      head.append(cell);
    }
    const body = element.createTBody(), cells = [];
    for (const k of [...shown[0].classes].reverse()) {
      const row = body.insertRow(), name = document.createElement("th");
      name.scope = "row";
      const dot = document.createElement("i");
      dot.style.background = `var(--class-${k})`;
      name.append(dot, data.classes[k].name);
      row.append(name);
      cells.push([k, shown.map(() => row.insertCell())]);
    }
    at("now-classes").append(element);
    return { shown, cells };
  }

  function readTable(t) {
    if (!table) return;
    const found = table.shown.map((ribbon) => {
      const there = ribbonAt(ribbon, t);
      return there.shares ? new Map(there.shares) : null;
    });
    for (const [k, cells] of table.cells) {
      cells.forEach((cell, j) => {
        const p = found[j] && found[j].get(k);
        cell.textContent = p === undefined || p === null ? "–" : share(table.shown[j], p);
        cell.style.setProperty("--p", p || 0);
        cell.style.setProperty("--c", `var(--class-${k})`);
        cell.classList.toggle("lost", !found[j]);
      });
    }
  }

  let said;
  function readWords(t) {
    const saying = sayingAt(t), element = at("said");
    if (saying !== said) {
      said = saying;
      if (!saying) element.textContent = words ? text.nothing_said : "";
      else element.replaceChildren(...sayingNodes(saying));
    }
    if (!saying) return;
    const current = Math.min(lastAtMost(words.start, t), saying.stop - 1);
    element.querySelectorAll("[data-word]").forEach((node) => {
      const i = Number(node.dataset.word);
      node.classList.toggle("on", i === current && t < words.end[i] + 0.15);
    });
  }

  function sayingNodes(saying) {
    const nodes = [], name = words.speakers[saying.speaker];
    if (name) {
      const tag = document.createElement("small");
      tag.className = "tag";
      tag.textContent = name;
      nodes.push(tag, " ");
    }
    for (let i = saying.first; i < saying.stop; i++) {
      const node = document.createElement("span");
      node.dataset.word = i;
      node.textContent = words.text[i];
      node.title = wordTexts(i).join(" · ");
      if (words.flags[i] & 1) node.classList.add("filler");
      if (words.flags[i] & 2) node.classList.add("estimated");
      if (words.confidence[i] < 0.6) node.classList.add("unsure");
      nodes.push(node, " ");
    }
    return nodes;
  }

  function read() {
    const t = state.cursor, step = duration < 36000 ? 0.1 : 1;
    at("now-time").textContent = clock(t, step);
    at("play").textContent = player.playing ? text.pause : text.play;
    for (const row of rows) fillPieces(row.value, valueAt(row.track, t));
    readTable(t);
    readWords(t);
    tracks.setAttribute("aria-valuenow", t.toFixed(2));
    if (!player.playing) {
      const main = ribbons.find((r) => r.main);
      const spoken = main ? valueAt(main, t).map(([words]) => words).join(", ") : "";
      const there = speech ? speechAt(speech, t) : "";
      tracks.setAttribute("aria-valuetext", [clock(t, step), spoken, there].filter(Boolean).join(", "));
    }
  }

  // -- tip -------------------------------------------------------------------------------------

  function wordTexts(i) {
    const lines = [words.text[i]];
    if (words.flags[i] & 1) lines.push(text.filler);
    if (!isNaN(words.confidence[i])) lines.push(fill(text.confidence, { value: words.confidence[i].toFixed(2) }));
    if (words.flags[i] & 2) lines.push(text.estimated);
    return lines;
  }

  function tipLines(row, t, x, y) {
    const track = row.track;
    if (track.kind === "ribbon") {
      const found = ribbonAt(track, t);
      if (found.missing !== undefined) return [fill(text.missing, { reason: found.missing })];
      const lines = found.shares.slice(0, 3).map(([k, p]) => `${data.classes[k].name} ${share(track, p)}`);
      if (!isNaN(found.used) && found.used < 0.995) lines.push(fill(text.used, { share: percent(found.used) }));
      return lines;
    }
    if (track.kind === "lines") return lineTexts(track.lines, t).map(([line, value]) => `${line.name}: ${value}`);
    if (track.kind === "chosen") {
      const option = chosenOption(track, data);
      return lineTexts([option.line], t, option.unit).map(([line, value]) => `${line.name}: ${value}`);
    }
    if (track.kind === "spans") {
      const lane = Math.floor(y / (row.height / track.lanes.length));
      return spansAt(track, t, 3 / scale()).filter(([kind]) => kind === lane).map(([kind, a, b, peak, note]) =>
        [track.lanes[kind], `${clock(a, 0.1)}–${clock(b, 0.1)}`, peak === null ? "" : fill(text.peak, { value: peak.toFixed(2) }),
         note ? `“${note}”` : ""].filter(Boolean).join(" · "));
    }
    if (track.kind === "words") {
      const hit = (track.placed || []).find((p) => x >= p.left - 2 && x <= p.right + 2 && y >= p.top && y < p.top + WORD_ROW);
      if (hit) return wordTexts(hit.i);
      const saying = sayingAt(t);
      if (track.placed && track.placed.length || !saying) return [];
      const some = words.text.slice(saying.first, Math.min(saying.stop, saying.first + 12)).join(" ");
      return [some, text.zoom_for_words];
    }
    return valueAt(track, t).map(([words]) => words);
  }

  function showTip(event, row) {
    const tip = at("tip");
    if (!row || state.hover === null) { tip.hidden = true; return; }
    const inside = row.canvas.getBoundingClientRect();
    const lines = tipLines(row, state.hover, event.clientX - inside.left, event.clientY - inside.top);
    tip.hidden = !lines.length;
    if (!lines.length) return;
    const time = document.createElement("b");
    time.textContent = clock(state.hover, 0.1);
    tip.replaceChildren(time, ...lines.map((line) => {
      const p = document.createElement("span");
      p.textContent = line;
      return p;
    }));
    const w = tip.offsetWidth, h = tip.offsetHeight;
    const left = event.clientX + 14 + w > innerWidth - 8 ? event.clientX - 14 - w : event.clientX + 14;
    const top = event.clientY + 14 + h > innerHeight - 8 ? event.clientY - 10 - h : event.clientY + 14;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, top)}px`;
  }

  // -- pointer, wheel, keys --------------------------------------------------------------------

  const pointers = new Map();
  const timeOf = (event) => toTime(event.clientX - tracks.getBoundingClientRect().left - box.left);
  const onCanvas = (event) => event.clientX - tracks.getBoundingClientRect().left >= box.left - 2;
  let pinch = null, panned = null;

  tracks.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("select, button") || !onCanvas(event)) return;
    pointers.set(event.pointerId, event.clientX);
    tracks.setPointerCapture(event.pointerId);
    if (pointers.size === 2) {
      const [a, b] = [...pointers.values()];
      const left = tracks.getBoundingClientRect().left + box.left;
      pinch = { a: toTime(Math.min(a, b) - left), b: toTime(Math.max(a, b) - left) };
      player.scrubbing = state.dragging = false;
      return;
    }
    if (event.shiftKey) { panned = { x: event.clientX, from: state.from, to: state.to }; return; }
    player.scrubbing = state.dragging = true;
    seek(timeOf(event));
  });

  tracks.addEventListener("pointermove", (event) => {
    if (pointers.has(event.pointerId)) pointers.set(event.pointerId, event.clientX);
    if (pinch && pointers.size === 2) {
      const left = tracks.getBoundingClientRect().left + box.left;
      const xs = [...pointers.values()].map((x) => x - left).sort((p, q) => p - q);
      const wide = Math.max(20, xs[1] - xs[0]);
      const span = ((pinch.b - pinch.a) / wide) * box.width;
      const from = pinch.a - (xs[0] / box.width) * span;
      show(from, from + span);
    } else if (panned) {
      const shift = (panned.x - event.clientX) / scale();
      show(panned.from + shift, panned.to + shift);
    } else if (state.dragging) {
      seek(timeOf(event));
    }
    if (event.pointerType !== "mouse") return;
    state.hover = onCanvas(event) ? Math.max(state.from, Math.min(state.to, timeOf(event))) : null;
    const row = rows.find((r) => {
      const inside = r.canvas.getBoundingClientRect();
      return event.clientY >= inside.top && event.clientY < inside.bottom;
    });
    showTip(event, row);
    if (!asked) { asked = true; requestAnimationFrame(frame); }
  });

  function release(event) {
    pointers.delete(event.pointerId);
    if (pointers.size < 2) pinch = null;
    if (!pointers.size) { panned = null; player.scrubbing = state.dragging = false; }
  }
  tracks.addEventListener("pointerup", release);
  tracks.addEventListener("pointercancel", release);
  function leave() {
    state.hover = null;
    at("tip").hidden = true;
    place();
  }
  tracks.addEventListener("pointerleave", leave);

  tracks.addEventListener("wheel", (event) => {
    leave();
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.006), timeOf(event));
    } else if (sideways || event.shiftKey) {
      event.preventDefault();
      const shift = (sideways ? event.deltaX : event.deltaY) / scale();
      show(state.from + shift, state.to + shift);
    }
  }, { passive: false });

  function nextEpisode(direction) {
    const found = data.tracks.filter((t) => t.id === "episodes").flatMap((t) => t.spans.map((s) => s[1]))
      .sort((a, b) => a - b);
    return direction > 0 ? found.find((t) => t > state.cursor + 0.05)
      : found.reverse().find((t) => t < state.cursor - 0.05);
  }

  tracks.addEventListener("keydown", (event) => {
    if (event.target !== tracks || event.ctrlKey || event.metaKey || event.altKey) return;
    const span = state.to - state.from, step = event.shiftKey ? 10 : 1;
    const keys = {
      ArrowLeft: () => jump(state.cursor - step), ArrowRight: () => jump(state.cursor + step),
      ArrowDown: () => jump(state.cursor - step), ArrowUp: () => jump(state.cursor + step),
      Home: () => jump(0), End: () => jump(duration),
      PageUp: () => show(state.from - 0.9 * span, state.to - 0.9 * span),
      PageDown: () => show(state.from + 0.9 * span, state.to + 0.9 * span),
      "+": () => zoom(0.6, middle()), "=": () => zoom(0.6, middle()),
      "-": () => zoom(1 / 0.6, middle()), "_": () => zoom(1 / 0.6, middle()),
      0: () => show(0, duration), " ": toggle,
      "[": () => { const t = nextEpisode(-1); if (t !== undefined) jump(t); },
      "]": () => { const t = nextEpisode(1); if (t !== undefined) jump(t); },
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    leave();
    keys[event.key]();
  });

  // Zooming keeps the cursor where it is, if it is in view.
  function middle() {
    const inView = state.cursor >= state.from && state.cursor <= state.to;
    return inView ? state.cursor : (state.from + state.to) / 2;
  }

  function toggle() {
    if (player.playing) player.pause(); else player.play();
  }

  // -- overview --------------------------------------------------------------------------------

  const overview = at("overview");
  let held = null;
  overview.addEventListener("pointerdown", (event) => {
    const inside = overview.getBoundingClientRect();
    const t = ((event.clientX - inside.left) / inside.width) * duration;
    const reach = (14 / inside.width) * duration;
    const edge = state.to - state.from >= duration ? null
      : Math.abs(t - state.from) < reach ? "from" : Math.abs(t - state.to) < reach ? "to" : null;
    overview.setPointerCapture(event.pointerId);
    const span = state.to - state.from;
    if (!edge && (t < state.from || t > state.to)) show(t - span / 2, t + span / 2);
    held = { t, edge, from: state.from, to: state.to, moved: false };
  });
  overview.addEventListener("pointermove", (event) => {
    if (!held) return;
    const inside = overview.getBoundingClientRect();
    const t = ((event.clientX - inside.left) / inside.width) * duration, shift = t - held.t;
    if (Math.abs(shift) * inside.width > 3 * duration) held.moved = true;
    if (!held.moved) return;
    if (held.edge === "from") show(Math.min(held.from + shift, held.to - shortest), held.to);
    else if (held.edge === "to") show(held.from, Math.max(held.to + shift, held.from + shortest));
    else show(held.from + shift, held.to + shift);
  });
  overview.addEventListener("pointerup", () => {
    if (held && !held.moved) seek(held.t);
    held = null;
  });
  overview.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const inside = overview.getBoundingClientRect();
    zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.006),
         ((event.clientX - inside.left) / inside.width) * duration);
  }, { passive: false });

  // -- controls, links, transcript -------------------------------------------------------------

  const player = makePlayer(data, at("media"), () => {
    if (!state.dragging) setCursor(player.time(), player.playing);
    if (!asked) { asked = true; requestAnimationFrame(frame); }
  });

  at("play").addEventListener("click", toggle);
  at("zoom-in").addEventListener("click", () => zoom(0.6, middle()));
  at("zoom-out").addEventListener("click", () => zoom(1 / 0.6, middle()));
  at("fit").addEventListener("click", () => show(0, duration));
  at("speed").addEventListener("change", (event) => player.setRate(Number(event.target.value)));
  at("zoom-in").setAttribute("aria-label", text.zoom_in);
  at("zoom-out").setAttribute("aria-label", text.zoom_out);
  at("zoom-in").title = text.zoom_in;
  at("zoom-out").title = text.zoom_out;
  at("fit").textContent = text.fit;
  at("speed-name").textContent = text.speed;
  at("follow-name").textContent = text.follow;
  tracks.setAttribute("aria-label", text.tracks);
  overview.title = text.overview;

  for (const button of document.querySelectorAll("#legend button")) {
    button.title = text.highlight;
    button.addEventListener("click", () => {
      const k = Number(button.dataset.class);
      state.alone = state.alone === k ? -1 : k;
      for (const other of document.querySelectorAll("#legend button")) {
        other.setAttribute("aria-pressed", String(Number(other.dataset.class) === state.alone));
      }
      invalidate();
    });
  }

  for (const row of rows) {
    const choice = row.element.querySelector("select");
    if (choice) choice.addEventListener("change", () => { row.track.at = Number(choice.value); invalidate(); });
  }

  const folder = at("fold");
  if (folder) {
    folder.addEventListener("click", () => {
      const open = folder.getAttribute("aria-expanded") !== "true";
      folder.setAttribute("aria-expanded", String(open));
      for (const row of tracks.querySelectorAll("[data-folded]")) row.hidden = !open;
      invalidate();
    });
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-t]");
    if (!link) return;
    event.preventDefault();
    jump(Number(link.dataset.t));
    const stage = app.getBoundingClientRect();
    if (stage.bottom < 80 || stage.top > innerHeight - 80) app.scrollIntoView({ block: "start" });
    tracks.focus({ preventScroll: true });
  });
  at("said").addEventListener("click", (event) => {
    const node = event.target.closest("[data-word]");
    if (node) jump(words.start[Number(node.dataset.word)]);
  });

  const transcript = at("transcript-box");
  if (transcript && words) {
    transcript.addEventListener("toggle", () => {
      const room = at("transcript-text");
      if (!transcript.open || room.firstChild) return;
      room.append(...words.sayings.map((saying) => {
        const line = document.createElement("p"), time = document.createElement("a");
        time.href = `#t=${saying.start.toFixed(2)}`;
        time.dataset.t = saying.start;
        time.className = "jump";
        time.textContent = clock(saying.start, 0.1);
        line.append(time, " ", ...sayingNodes(saying));
        return line;
      }));
    });
    at("transcript-text").addEventListener("click", (event) => {
      const node = event.target.closest("[data-word]");
      if (node) jump(words.start[Number(node.dataset.word)]);
    });
  }

  // -- start -----------------------------------------------------------------------------------

  // #t=83.2 puts the cursor there, #t=83.2,20 shows 20 s around it; #print asks for the printer.
  function readAddress() {
    if (location.hash === "#print") setTimeout(() => print(), 400); // once it is drawn
    const found = /^#t=([\d.]+)(?:,([\d.]+))?/.exec(location.hash);
    if (!found) return;
    const t = Number(found[1]), span = Number(found[2]);
    if (span) show(t - span / 2, t + span / 2);
    jump(t);
  }
  window.addEventListener("hashchange", readAddress);

  // The command that draws what is shown now as a figure for a paper.
  function paperLine() {
    const line = at("paper-line"), name = line.dataset.folder;
    const quoted = /^[\w.-]+$/.test(name) ? name : `"${name.replace(/["$`\\]/g, "_")}"`;
    const cut = state.from > 0 || state.to < duration
      ? ` --from ${clock(state.from, 1)} --to ${clock(state.to, 1)}` : "";
    line.textContent = `nunbit figure ${quoted}${cut} --out figure.pdf`;
    return line;
  }
  at("paper").addEventListener("toggle", paperLine);
  at("paper-copy").addEventListener("click", () => {
    const line = paperLine();
    // Pages opened as files may not write to the clipboard: then the line is selected.
    const marked = () => getSelection().selectAllChildren(line);
    if (navigator.clipboard) navigator.clipboard.writeText(line.textContent).catch(marked);
    marked();
  });
  // Drawn at once: the next frame would show the old picture stretched.
  new ResizeObserver(() => { measure(); draw(); }).observe(tracks);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", measure);
  window.addEventListener("beforeprint", () => {
    if (location.hash === "#print") return; // what is folded stays folded: a report of some pages
    document.querySelectorAll("details").forEach((d) => { d.open = true; });
  });
  measure();
  readAddress();
  draw();
  read();
  // Inside another page: it learns the height and the time, nothing else, and may ask for a time.
  if (document.body.classList.contains("framed")) {
    announce = (what) => parent.postMessage(what, "*");
    window.addEventListener("message", (event) => {
      if (event.source === parent && Number.isFinite(event.data?.seek)) jump(event.data.seek);
    });
    const tell = () => announce({ height: Math.ceil(document.body.getBoundingClientRect().height) });
    new ResizeObserver(tell).observe(document.body);
    tell(); // a frame that is out of sight is not observed
  }
  document.documentElement.dataset.ready = "1";
}

try {
  startTimeline();
} catch (error) {
  document.getElementById("app").hidden = true;
  document.getElementById("broken").hidden = false;
  throw error;
}
