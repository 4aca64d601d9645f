"""What comes into a session and waits, how quickly it is answered, and what is said of it."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nunbit.core.messages import Text
from nunbit.live.events import HealthEvent, LabelShown, LiveSettings, Ready
from nunbit.live.hearing import Samples
from nunbit.model.encoders import Bundle
from nunbit.report.timeline_meaning import class_colours

_LATELY_S, _FPS_S = 10.0, 5.0
_SILENT_S = 3.0  # silence of the sender that is said
_TURN_S = 0.5  # a thread without work looks around so often


def ready_event(bundle: Bundle, given: LiveSettings, *, recording: bool) -> Ready:
    """The first event: what the session will show."""
    labels = bundle.label_set
    colours = class_colours(labels)
    unvalidated = set(bundle.document.unvalidated_labels or ())
    shown = tuple(
        LabelShown(x.id, x.name.ko, x.name.en, colours[x.id][0], x.id in unvalidated)
        for x in labels.labels
    )
    return Ready(
        given.session or None, recording, given.asr, given.rate_hz, given.window_s, given.hop_s,
        shown, aligned=bundle.is_aligned,
    )  # fmt: skip


@dataclass(frozen=True, eq=False, slots=True)
class SentFrame:
    """A frame as it came."""

    jpeg: bytes
    captured_ms: float
    seq: int


@dataclass(frozen=True, eq=False, slots=True)
class SentSound:
    """A piece of sound as it came; (n,) samples."""

    samples: Samples
    first_sample: int
    captured_ms: float
    rate_hz: int


class Inbox:
    """Holds what came until it is read: one frame, the latest, and all sound.

    Attributes:
        dropped: Frames that another took the place of.
        ending: Whether nothing more is taken.
    """

    def __init__(self) -> None:
        self._came = threading.Condition()
        self._frame: SentFrame | None = None
        self._sounds: deque[SentSound] = deque()
        self._busy = self.dropped = 0
        self.ending = False
        self._frames, self._hears = True, True

    def refuse_frames(self) -> None:
        """Take no more frames: nobody reads them."""
        with self._came:
            self._frames, self._frame = False, None
            self._came.notify_all()

    def refuse_sound(self) -> None:
        """Take no more sound: nobody reads it."""
        with self._came:
            self._hears = False
            self._sounds.clear()
            self._came.notify_all()

    @property
    def has_frame(self) -> bool:
        """Whether a frame waits."""
        return self._frame is not None

    @property
    def has_sound(self) -> bool:
        """Whether sound waits."""
        return bool(self._sounds)

    def put_frame(self, sent: SentFrame) -> None:
        """Take a frame."""
        with self._came:
            if self._frames and not self.ending:
                self.dropped += self._frame is not None
                self._frame = sent
                self._came.notify_all()

    def put_sound(self, sent: SentSound) -> None:
        """Take a piece of sound."""
        with self._came:
            if self._hears and not self.ending:
                self._sounds.append(sent)
                self._came.notify_all()

    @contextmanager
    def frame(self) -> Iterator[SentFrame | None]:
        """The frame that waits, or None after half a second or at the end."""
        with self._came:
            self._came.wait_for(lambda: self._frame is not None or self.ending, _TURN_S)
            sent, self._frame = self._frame, None
            self._busy += sent is not None
        with self._until_done(sent is not None):
            yield sent

    @contextmanager
    def sounds(self) -> Iterator[list[SentSound]]:
        """The sound that waits; nothing after half a second or at the end."""
        with self._came:
            self._came.wait_for(lambda: self._sounds or self.ending, _TURN_S)
            sounds = list(self._sounds)
            self._sounds.clear()
            self._busy += bool(sounds)
        with self._until_done(bool(sounds)):
            yield sounds

    @contextmanager
    def _until_done(self, busy: bool) -> Iterator[None]:
        try:
            yield
        finally:
            with self._came:
                self._busy -= busy
                self._came.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end."""
        with self._came:
            self._came.wait_for(lambda: self.ending, seconds)

    def wait(self) -> None:
        """Wait until all that came is read."""
        with self._came:
            self._came.wait_for(lambda: not (self._sounds or self._frame or self._busy))

    def end(self, *, forget: bool = False) -> bool:
        """Take nothing more; returns whether this is the first call.

        Args:
            forget: Leave out what waits.
        """
        with self._came:
            first, self.ending = not self.ending, True
            if forget:
                self._frame = None
                self._sounds.clear()
            self._came.notify_all()
        return first


class Health:
    """Counts how fast frames are answered.

    The sender's clock is told from the arrival of its frames: the quickest of the last ten seconds
    took no time. Where the sender measures itself, its numbers are taken.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leads: deque[tuple[float, float]] = deque(maxlen=512)
        self._own: deque[tuple[float, float]] = deque(maxlen=512)
        self._drawn: deque[tuple[float, float]] = deque(maxlen=512)

    def arrived(self, captured_ms: float) -> None:
        """A frame came now."""
        now_s = time.monotonic()
        with self._lock:
            self._leads.append((now_s, now_s - captured_ms / 1000))

    def analysed(self, captured_ms: float) -> None:
        """A frame was answered now."""
        now_s = time.monotonic()
        with self._lock:
            least = min((x for at, x in self._leads if at > now_s - _LATELY_S), default=0.0)
            self._own.append((now_s, 1000 * (now_s - captured_ms / 1000 - least)))

    def drawn(self, latency_ms: float) -> None:
        """The sender drew an answer, so long after the capture."""
        with self._lock:
            self._drawn.append((time.monotonic(), latency_ms))

    def event(
        self, t: float, dropped: int, error_ms: float | None, drift_ppm: float | None,
        *, recording: bool, n_bytes: int,
    ) -> HealthEvent:  # fmt: skip
        """How the session is now."""
        now_s = time.monotonic()
        with self._lock:
            own = [ms for at, ms in self._own if at > now_s - _LATELY_S]
            drawn = [ms for at, ms in self._drawn if at > now_s - _LATELY_S]
            fps = sum(at > now_s - _FPS_S for at, _ in self._own) / _FPS_S
        half, most = np.percentile(drawn or own, (50, 95)).tolist() if own or drawn else (None,) * 2
        return HealthEvent(
            t=round(t, 3), fps=round(fps, 1), latency_p50_ms=half, latency_p95_ms=most,
            dropped=dropped, memory_mb=memory_mb(), clock_error_ms=error_ms, drift_ppm=drift_ppm,
            recording=recording, recorded_bytes=n_bytes,
        )  # fmt: skip


class Silences:
    """What the sender has stopped sending; each is said once until it comes again."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def begun(self, ages_s: Mapping[str, float]) -> list[str]:
        """What has not come for three seconds, where that was not said yet.

        Args:
            ages_s: Seconds since each came last.
        """
        silent = {name for name, age_s in ages_s.items() if age_s >= _SILENT_S}
        fresh = sorted(silent - self._told)
        self._told = silent
        return fresh


def memory_mb() -> float:
    """Resident memory of this process, MB; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
    except (OSError, ValueError, IndexError):
        return 0.0


NOTHING = Text(
    "a session needs a camera or a microphone",
    "세션에는 카메라나 마이크 중 하나가 있어야 합니다",
)
RATE = Text(
    "{rate} samples a second is no rate of a microphone; expected 4,000 to 384,000",
    "초당 표본 {rate}개는 마이크의 표본율이 아닙니다. 4,000에서 384,000 사이여야 합니다",
)
BAD_FRAME = Text(
    "frame {seq} is no JPEG that can be decoded; it is left out",
    "{seq}번 화면은 읽을 수 있는 JPEG가 아니므로 제외했습니다",
)
LOST = Text(
    "{lost} s of sound are missing from {at} on (the tab slept, or the microphone was away); they "
    "stay a gap",
    "{at}부터 {lost}초 동안 소리가 없습니다(탭이 잠들었거나 마이크가 끊겼습니다). 빈 구간으로 "
    "남깁니다",
)
LEAP = Text(
    "the sender's clock leapt at {at}; pictures are placed anew by the sound",
    "{at}에 브라우저 시계가 뛰었습니다. 소리를 기준으로 화면 시각을 다시 맞춥니다",
)
WORDS_LATE = Text(
    "the recogniser is too slow for this machine: the words from {at} on are left out now, and "
    "recognised when the session has ended",
    "이 컴퓨터에서는 음성 인식이 너무 느립니다. {at}부터의 말은 지금 건너뛰고 세션이 끝난 뒤 "
    "인식합니다",
)
MISSING = {
    "no_audio": Text(
        "no sound comes; check the microphone and whether this page may use it",
        "소리가 들어오지 않습니다. 마이크와 페이지의 마이크 권한을 확인하십시오",
    ),
    "no_frames": Text(
        "no pictures come; check the camera, whether this page may use it, and whether its tab is "
        "in front",
        "화면이 들어오지 않습니다. 카메라와 권한, 그리고 탭이 앞에 있는지 확인하십시오",
    ),
}
