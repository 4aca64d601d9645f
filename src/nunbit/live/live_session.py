"""A live session: what is pushed in goes to faces, voice and words, each in its own thread.

One slot for frames: the latest wins, and what it replaces is counted. Sound is never left out. A
thread that fails says so and ends; the others go on, and so does the recording.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.core.messages import NunbitError, SettingsError, Text
from nunbit.core.streams import AUDIO_RATE_HZ, AudioChunk, MediaInfo
from nunbit.core.timebase import Placed, SessionClock, clock
from nunbit.live import inbox
from nunbit.live.events import Event, FaceEvent, LiveSettings, NoteEvent, NoteKind, ProblemEvent
from nunbit.live.hearing import LiveVoice, Samples, SoundLine
from nunbit.live.live_faces import LiveFaces, video_info
from nunbit.live.live_windows import LiveWords, SaidStretch, Windows, no_camera
from nunbit.live.recorder import MEDIA_FILE, Keeper, KeptSound, reading_settings, start_line
from nunbit.live.shared_agreement import SharedAgreement
from nunbit.measures.class_probabilities import warm_words
from nunbit.model.bundle import find_bundle
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.recording.observer import Observer
from nunbit.recording.transcript import load_recogniser
from nunbit.runtime.files import whole_text, writing
from nunbit.runtime.workers import fault_text, give_back_freed_memory

Emit = Callable[[Event], None]
Finish = Callable[[Path, KeptSound | None], Mapping[str, Any]]
"""Makes the tables of a session's folder, with its sound where that is in no file."""

_KEPT_EVENTS = {"window", "words", "pause", "note", "problem"}
_WAIT_FOR_SOUND_S = 2.0  # a microphone that is asked for answers sooner
_LATE_S = 1.5  # frames come within this after their sound, else their windows go without them
_PULSE_S = 1.0
_PART = 50  # frames of the voice that are kept at once: half a second
_UTTERANCES = 3  # that wait for the recogniser; more means that it is too slow here
_LOST_S = 1.0  # shorter losses of sound are counted, not said


class LiveSession:
    """One session, from its first frame to :meth:`stop`.

    Args:
        bundle: The model, its folder or a shipped name; None takes the shipped one.
        settings: None takes the defaults.
        folder: Gets what is kept; None keeps nothing.
        keep_media: Whether pictures and sound are kept in it.
        emit: Called with every event, from any thread; it must be quick and must not raise.
        finish: Makes the result of :meth:`stop` from the folder; None makes none.

    Raises:
        BundleError: The bundle is missing or damaged.
        InputError: The folder cannot be written, or the recogniser's model cannot be used.
        MissingExtra: The extra ``media`` or the recogniser is not installed.
        SettingsError: There is neither camera nor sound.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str | None = None,
        settings: LiveSettings | None = None,
        folder: Path | None = None,
        keep_media: bool = False,
        emit: Emit | None = None,
        finish: Finish | None = None,
    ) -> None:
        self.settings = given = settings or LiveSettings()
        if not (given.camera or given.sound):
            raise SettingsError(inbox.NOTHING)
        self._emit, self._finish = emit or (lambda _: None), finish
        if not isinstance(bundle, Bundle):
            bundle = load_bundle(find_bundle(bundle), threads=given.threads)
        self.bundle = bundle
        self._prepare_readers(bundle)
        self._clock: SessionClock[tuple[Samples, int]] = SessionClock()
        self._lock = threading.Lock()  # of the clock and of the windows
        self._said: queue.Queue[SaidStretch | None] = queue.Queue()
        self._aborted = False
        self._recogniser_free = True
        self._n_notes = self._leaps = self._n_windows = 0
        self._inbox, self._health = inbox.Inbox(), inbox.Health()
        self._first_frame_s: float | None = None
        self._now_s = 0.0
        self._sound_s, self._frame_s = time.monotonic(), time.monotonic()  # when one came last
        self._silences = inbox.Silences()
        self._keeper: Keeper | None = None
        self._kept_sound: KeptSound | None = None
        if folder is not None:
            self._keep(folder, bundle, keep_media=keep_media)
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=f"live-{name}", daemon=True)
            for name, work in (
                ("faces", self._run_faces), ("sound", self._run_sound),
                ("words", self._run_words), ("pulse", self._run_pulse),
            )
        ]  # fmt: skip
        self._say(inbox.ready_event(bundle, given, recording=self._records))
        for thread in self._threads:
            thread.start()

    def _prepare_readers(self, bundle: Bundle) -> None:
        given = self.settings
        video = video_info(640, 480, given.rate_hz) if given.camera else None
        media = MediaInfo(MEDIA_FILE, 0.0, video, None)  # the voice is read when it has ended
        observer = Observer(bundle, reading_settings(given, bundle).face_settings(media), media)
        self._faces = LiveFaces(observer, bundle, given) if given.camera else None
        self._voice = LiveVoice() if given.sound else None
        self._line = SoundLine()
        self._words: LiveWords | None = None
        if given.asr and given.sound:
            recogniser = load_recogniser(given.asr, given.asr_model or None)
            self._words = LiveWords(recogniser, bundle, given.language)
        vectors = self._faces.vectors if self._faces else {}
        self._windows = Windows(
            bundle, camera=given.camera, sound=given.sound, words=self._words is not None,
            shared=SharedAgreement(bundle, vectors) if bundle.is_aligned else None,
        )  # fmt: skip
        if self._faces is not None:  # the first frame should not wait for what loads when used
            size = bundle.image_size
            bundle.embed_images(np.zeros((1, size, size, 3), np.uint8))
        give_back_freed_memory()

    def _keep(self, folder: Path, bundle: Bundle, *, keep_media: bool) -> None:
        given = self.settings
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._keeper = Keeper(
                folder, media=keep_media, rate_hz=given.rate_hz, camera=given.camera,
                sound=given.sound, failed=self._problem,
            )  # fmt: skip
        if given.sound and not keep_media:
            self._kept_sound = KeptSound()
        self._keeper.line(start_line(bundle, given, keep_media=keep_media))

    # -- what comes in -----------------------------------------------------------------------------

    def push_frame(self, jpeg: bytes, captured_ms: float, seq: int) -> None:
        """Take a frame; returns at once.

        Args:
            jpeg: Of the camera, not mirrored.
            captured_ms: The sender's clock when it was captured.
            seq: Its number; given back with the answer.
        """
        self._frame_s = time.monotonic()
        self._health.arrived(captured_ms)
        self._inbox.put_frame(inbox.SentFrame(jpeg, float(captured_ms), seq))

    def push_sound(
        self, pcm: bytes, first_sample: int, captured_ms: float, rate_hz: int = AUDIO_RATE_HZ
    ) -> None:
        """Take the next sound; returns at once.

        Args:
            pcm: int16 mono, little endian.
            first_sample: Number of its first sample since the sender began.
            captured_ms: The sender's clock at that sample.
            rate_hz: Of these samples.

        Raises:
            SettingsError: The rate is none of a microphone.
        """
        if not 4_000 <= rate_hz <= 384_000:
            raise SettingsError(inbox.RATE.fill(rate=rate_hz))
        samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(np.int16)
        self._sound_s = time.monotonic()
        if len(samples):
            self._inbox.put_sound(
                inbox.SentSound(samples, first_sample, float(captured_ms), rate_hz)
            )

    def note(self, kind: NoteKind, text: str, captured_ms: float | None = None) -> NoteEvent:
        """Put a note on the axis; now, where no time is given."""
        with self._lock:
            self._n_notes += 1
            time_s = None if captured_ms is None else self._clock.place_s(captured_ms)
            at = self._now_s if time_s is None else time_s
            event = NoteEvent(at, kind, whole_text(text), self._n_notes)
        self._say(event)
        return event

    def drawn(self, latency_ms: float) -> None:
        """Take the sender's own measurement, from the capture of a frame to its drawing."""
        self._health.drawn(latency_ms)

    def wait(self) -> None:
        """Return once all that was pushed is read: for sources faster than real time."""
        self._inbox.wait()

    def stop(self) -> Mapping[str, Any]:
        """End the session; what waits is still read.

        Returns:
            What ``finish`` gives: ``summary.json``. Without it, how long the session was.

        Raises:
            InputError: The tables cannot be written.
        """
        self._end()
        if self._keeper is None or self._finish is None:
            return {"duration_s": self._now_s}
        try:
            return self._finish(self._keeper.folder, self._kept_sound)
        finally:
            if self._kept_sound is not None:
                self._kept_sound.close()

    def abort(self, reason: str) -> None:
        """End the session at once, without tables; what was kept stays, with the reason."""
        self._aborted = True
        self._inbox.end(forget=True)
        if self._keeper is not None:
            self._keeper.line({"type": "aborted", "reason": reason, "t": self._now_s})
        self._end()
        if self._kept_sound is not None:
            self._kept_sound.close()

    # -- what goes out -----------------------------------------------------------------------------

    @property
    def _records(self) -> bool:
        return self._keeper is not None and self._keeper.records

    def _say(self, *events: Event) -> None:
        for event in events:
            kept = event.type in _KEPT_EVENTS and not (event.type == "words" and event.open)
            if self._keeper is not None and kept:
                self._keeper.line(event)
            self._emit(event)

    def _problem(self, code: str, text: Text) -> None:
        self._say(ProblemEvent(code, text.ko, text.en))

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except NunbitError as exc:
            self._problem("failed", exc.text)
        except Exception as exc:  # whatever it is: the others must go on
            self._problem("failed", fault_text(Path(MEDIA_FILE), exc))
        finally:
            if work == self._run_faces:
                self._inbox.refuse_frames()
            elif work == self._run_sound:
                self._inbox.refuse_sound()
                self._said.put(None)

    # -- faces -------------------------------------------------------------------------------------

    def _run_faces(self) -> None:
        while not self._inbox.ending or self._inbox.has_frame:
            with self._inbox.frame() as sent:
                if self._faces is None:
                    continue
                if sent is not None:
                    self._face(self._faces, sent)
                elif self._clock.has_sound:
                    late_s = self._clock.sound_end_s - _LATE_S
                    self._take_windows(self._faces.until(late_s))

    def _face(self, faces: LiveFaces, sent: inbox.SentFrame) -> None:
        started_s = time.monotonic()
        if self._first_frame_s is None:
            self._first_frame_s = started_s
        waits = started_s - self._first_frame_s < _WAIT_FOR_SOUND_S
        with self._lock:
            if self.settings.sound and not self._clock.has_sound and waits:
                return  # the sound is the clock
            time_s = self._clock.frame_s(sent.captured_ms)
        self._tell_leaps()
        if time_s is None or not faces.wants(time_s):
            return
        had_size = faces.size is not None
        read = faces.read(sent.jpeg, time_s)
        if read is None:
            self._problem("bad_frame", inbox.BAD_FRAME.fill(seq=sent.seq))
            return
        if self._keeper is not None and faces.size is not None:
            if not had_size:
                width, height = faces.size
                self._keeper.line({"type": "picture", "width": width, "height": height})
            self._keeper.frame(time_s, sent.jpeg, faces.size)
            self._keeper.part(read.part)
        self._now_s = max(self._now_s, time_s)
        done_s = time.monotonic()
        self._health.analysed(sent.captured_ms)
        self._say(
            FaceEvent(
                sent.seq, time_s, sent.captured_ms, read.state, read.faces, read.p, read.valence,
                self._inbox.dropped, round(1000 * (done_s - started_s), 1),
            )
        )  # fmt: skip
        self._take_windows(read.windows)

    def _take_windows(self, windows: Iterable[Any]) -> None:
        with self._lock:
            self._windows.add_faces(windows)
            if self._voice is not None:
                return  # they are given once their sound was heard
            found = self._windows.ready(None, self._now_s)
        self._say(*found)

    # -- sound -------------------------------------------------------------------------------------

    def _run_sound(self) -> None:
        while not self._inbox.ending or self._inbox.has_sound:
            with self._inbox.sounds() as sounds:
                for sent in sounds:
                    samples, rate_hz = sent.samples, sent.rate_hz
                    with self._lock:
                        placed = self._clock.sound(
                            sent.first_sample, len(samples), rate_hz, sent.captured_ms,
                            (samples, rate_hz),
                        )  # fmt: skip
                    self._tell_leaps()
                    self._hear(placed)
                self._give_windows()
        if not self._aborted:
            with self._lock:
                placed = self._clock.flush()
            self._hear(placed)
            self._hear_samples(self._line.finish())
            if self._keeper is not None and self._voice is not None and self._voice.n_fresh:
                self._keeper.part(self._voice.take())
        self._utter(ended=True)

    def _hear(self, placed: Iterable[Placed[tuple[Samples, int]]]) -> None:
        for each in placed:
            if each.jump_s >= _LOST_S:
                at, lost = clock(each.start_s - each.jump_s, tenths=True), f"{each.jump_s:.1f}"
                self._problem("sound_lost", inbox.LOST.fill(at=at, lost=lost))
            samples, rate_hz = each.piece
            self._hear_samples(self._line.add(each.start_s, samples, rate_hz))
            self._utter()

    def _hear_samples(self, pieces: Iterable[tuple[int, Samples]]) -> None:
        for position, samples in pieces:
            if self._keeper is not None:
                self._keeper.sound(position, samples)
            if self._kept_sound is not None:
                self._kept_sound.add(position, samples)
            start_s = position / AUDIO_RATE_HZ
            self._now_s = max(self._now_s, start_s + len(samples) / AUDIO_RATE_HZ)
            if self._words is not None:
                self._words.add(position, samples)
            if self._voice is not None:
                chunk = AudioChunk(start_s, samples.astype(np.float32) / np.float32(32768))
                self._say(*self._voice.add(chunk))
                if self._keeper is not None and self._voice.n_fresh >= _PART:
                    self._keeper.part(self._voice.take())

    def _give_windows(self) -> None:
        """Windows whose face is final and whose sound was heard, or will not come any more."""
        voice, given = self._voice, self.settings
        if voice is None:
            return
        if not given.camera:
            fresh = no_camera(given.window_s, given.hop_s, self._n_windows, voice.end_s)
            self._n_windows += len(fresh)
            with self._lock:
                self._windows.add_faces(fresh)
        end_s = self._windows.next_end_s
        late = end_s is not None and (self._now_s > end_s + _LATE_S or self._inbox.ending)
        if not late and not self._windows.is_heard(voice.end_s):
            return
        heard = voice.heard()
        with self._lock:
            found = self._windows.ready(heard, self._now_s - _LATE_S, wait=not self._inbox.ending)
        self._say(*found)

    # -- words -------------------------------------------------------------------------------------

    def _utter(self, *, ended: bool = False) -> None:
        if self._words is None or self._voice is None or self._aborted:
            return
        while (said := self._words.closed(self._voice, ended=ended)) is not None:
            if self._said.qsize() >= _UTTERANCES:
                at = clock(said.span.start_s, tenths=True)
                self._problem("words_late", inbox.WORDS_LATE.fill(at=at))
            else:
                self._said.put(said)
        free = self._recogniser_free and self._said.empty() and not ended
        if free and (said := self._words.going_on(self._voice)) is not None:
            self._said.put(said)

    def _run_words(self) -> None:
        if self._words is not None:
            warm_words(self.bundle)  # a second, in which nobody has finished a sentence
        while (said := self._said.get()) is not None:
            if self._words is None or self._aborted:
                continue
            self._recogniser_free = False
            for event in self._words.recognise(said):
                with self._lock:
                    changed = self._windows.add_words(event)
                self._say(event, *changed)
            self._recogniser_free = True

    # -- once a second -----------------------------------------------------------------------------

    def _run_pulse(self) -> None:
        while not self._inbox.ending:
            self._inbox.pause(_PULSE_S)
            self._pulse()

    def _pulse(self) -> None:
        now, given = time.monotonic(), self.settings
        ages_s = {
            "no_audio": now - self._sound_s if given.sound else 0.0,
            "no_frames": now - self._frame_s if given.camera else 0.0,
        }
        for name in self._silences.begun(ages_s):
            if not self._inbox.ending:
                self._problem(name, inbox.MISSING[name])
        with self._lock:
            error, drift = self._clock.error_ms, self._clock.drift_ppm
        self._say(
            self._health.event(
                self._now_s, self._inbox.dropped, error, drift, recording=self._records,
                n_bytes=0 if self._keeper is None else self._keeper.n_bytes,
            )
        )  # fmt: skip

    def _tell_leaps(self) -> None:
        if self._clock.leaps > self._leaps:
            self._leaps = self._clock.leaps
            self._problem("clock_jump", inbox.LEAP.fill(at=clock(self._now_s, tenths=True)))

    def _end(self) -> None:
        if not self._inbox.end() and not self._aborted:
            return
        for thread in self._threads:
            thread.join()
        if not self._aborted:
            if self._faces is not None:
                self._take_windows(self._faces.until(self._now_s))
            self._give_windows()
        if self._keeper is not None:
            self._keeper.line({"type": "end", "t": self._now_s})
            self._keeper.close()
