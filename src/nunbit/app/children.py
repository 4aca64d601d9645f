"""What runs in child processes of the app, and the first look at an uploaded recording.

A file may break what decodes it, so nothing is decoded in the app itself. The first look finds a
few frames with the faces in them, and who says what. It lies in a hidden folder of the session
until the analysis is done: the page shows the frames, and a click on a face becomes the box that
the analysis follows.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from nunbit.app.access import Refusal
from nunbit.core.messages import InputError, NunbitError, Text, text_of
from nunbit.core.schema import ReadingNote
from nunbit.core.streams import Interval, MediaInfo, Transcript
from nunbit.runtime.files import json_text

LOOK_FOLDER, LOOK_FILE = ".look", "look.json"
FRAMES = 6
_LOOK_S = 180.0  # of patience; two hours take some 10 s
_PART_S = 900.0  # a copy of 4 GB from a slow disk
_KINDS = {"face": "video", "voice": "audio"}
_SHOWN_PX = 960
_SAMPLE_LETTERS = 60
_MOST_STRETCHES = 2000  # on the axis of a page 1000 px wide
_JOIN_S = 1.0


@dataclass(frozen=True)
class NumberedFace:
    """A face of a frame.

    Attributes:
        number: From 1, from left to right.
        box: x0, y0, x1, y1 as shares of the frame.
    """

    number: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class FrameShown:
    """A frame of the recording: number from 0, time, size in pixels, faces."""

    number: int
    t: float
    width: int
    height: int
    faces: tuple[NumberedFace, ...]


@dataclass(frozen=True)
class SpeakerShown:
    """A name in the transcript or in the file of speakers.

    Attributes:
        name: As it stands there.
        seconds: How long this person speaks.
        says: The first words, '' where they are not known.
    """

    name: str
    seconds: float
    says: str


@dataclass(frozen=True)
class SpokenStretch:
    """When somebody speaks; ``who`` counts the speakers from 0, -1 is nobody in particular."""

    who: int
    start: float
    end: float


@dataclass(frozen=True)
class LookHint:
    """Something to know before the analysis; ``doubt`` asks for a decision."""

    code: str
    count: int
    ko: str
    en: str
    doubt: bool = False


@dataclass(frozen=True)
class Look:
    """What a recording shows at first sight.

    Attributes:
        title: What the researcher calls it.
        duration_s: Length.
        has_video, has_sound, has_transcript: What there is.
        frames: A few, spread over the recording.
        people: Most faces in one of them.
        speakers: Who speaks, in the order in which they begin.
        stretches: When.
        least_baseline_s: Shortest neutral stretch.
        notes: What is odd.
        left_out: What the consent does not cover and was taken out of the copy: face, voice.
        upload: Which upload it is of; the start of an analysis sends it back.
    """

    title: str
    duration_s: float
    has_video: bool
    has_sound: bool
    has_transcript: bool
    frames: tuple[FrameShown, ...]
    people: int
    speakers: tuple[SpeakerShown, ...]
    stretches: tuple[SpokenStretch, ...]
    least_baseline_s: float
    notes: tuple[LookHint, ...]
    left_out: tuple[str, ...] = ()
    upload: str = ""

    @property
    def doubted(self) -> bool:
        """Whether the transcript may be of another recording."""
        return any(note.doubt for note in self.notes)


def look_at(place: Path, files: dict[str, str], out: Path) -> dict[str, Any]:
    """Look at the recording of a session in a child process, or take what an earlier look found.

    Args:
        place: The session's folder.
        files: ``media``, ``transcript``, ``speakers`` -> name in it, '' where there is none.
        out: Folder that is made for a new look: the session's own may be deleted meanwhile.

    Returns:
        What :func:`run_look` wrote.

    Raises:
        Refusal: It cannot be read; the words say why.
    """
    kept = place / LOOK_FOLDER / LOOK_FILE
    if not kept.is_file():
        out.mkdir()
        names = [files.get(kind, "") for kind in ("media", "transcript", "speakers")]
        _run_apart("run_look", str(place), str(out), *names, seconds=_LOOK_S)
        kept = out / LOOK_FILE
    return _told(kept)


def _run_apart(name: str, *words: str, seconds: float) -> None:
    """Call a function of this module in a process of its own, which may die or hang."""
    child = f"from nunbit.app.children import {name}; {name}()"
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-P", "-c", child, *words],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False,
        )  # fmt: skip


def _told(path: Path) -> dict[str, Any]:
    """What such a process wrote.

    Raises:
        Refusal: It wrote nothing that can be read.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as exc:
        raise Refusal("cannot_look") from exc


@dataclass(frozen=True, slots=True)
class AgreedPart:
    """What a consent covers of an upload.

    Attributes:
        path: The file.
        ending: By its content.
        left_out: What was taken out: ``face``, ``voice``.
        later_s: How much later than the upload it begins.
    """

    path: Path
    ending: str
    left_out: tuple[str, ...] = ()
    later_s: float = 0.0


def part_of(path: Path, ending: str, scope: frozenset[str]) -> AgreedPart:
    """What a consent covers of an upload: itself, or a copy without pictures or without sound.

    Args:
        path: The upload.
        ending: By its content.
        scope: What is agreed to: ``face``, ``voice``.

    Returns:
        It as it is, or a copy beside it; then the upload is removed.

    Raises:
        Refusal: Nothing of it is covered, or it cannot be parted.
    """
    leave_out = [kind for part, kind in _KINDS.items() if part not in scope]
    if not leave_out:
        return AgreedPart(path, ending)
    ending = ending if ending in ("mp4", "webm") else "mkv"
    target, told = path.with_name(f"part.{ending}"), path.with_name("part.json")
    _run_apart("run_part", str(path), str(target), str(told), *leave_out, seconds=_PART_S)
    found = _told(told)
    path.unlink(missing_ok=True)
    if found.get("nothing_else"):
        raise Refusal("face_not_agreed" if leave_out == ["video"] else "voice_not_agreed")
    if "error" in found:
        raise Refusal("unreadable_recording", why=text_of(found["error"]))
    left_out = [part for part, kind in _KINDS.items() if kind in found["left_out"]]
    return AgreedPart(target, ending, tuple(left_out), float(found["later_s"]))


# -- inside the child ------------------------------------------------------------------------------

FINISH = "from nunbit.app.children import run_finish; run_finish()"
CHILD = (
    "from nunbit.app.children import prepare_child; prepare_child(); "
    "from nunbit.cli import main; main()"
)


def prepare_child() -> None:
    """Note how long the recording is, before the command line is run.

    ``sys.argv``: where to note it, the recording (or ''), then the command line, which is left.
    """
    from nunbit.core.messages import NunbitError
    from nunbit.recording.media import probe_media
    from nunbit.runtime.progress import speak_every

    _, place, media, *line = sys.argv
    speak_every(1.0)
    if media:
        with contextlib.suppress(NunbitError):  # the command says it in full
            Path(place).write_text(f"{probe_media(Path(media)).duration_s:.3f}")
    sys.argv = ["nunbit", *line]


def run_finish() -> None:
    """Make the tables of a live session that was cut off; ``sys.argv``: its folder."""
    from nunbit.core.messages import NunbitError
    from nunbit.stories.analyze.live_end import finish_live

    try:
        document: dict[str, Any] = {"summary": finish_live(Path(sys.argv[1]))}
    except NunbitError as exc:
        document = {"error": exc.text.to_dict()}
    print(json_text(document))  # noqa: T201  (the app reads it)


def run_part() -> None:
    """Copy without pictures or sound, and look that they are gone.

    ``sys.argv``: recording, copy, where to tell what came of it, then what is left out.
    """
    from nunbit.recording.media import copy_without, probe_media

    path, target, told = map(Path, sys.argv[1:4])
    leave_out = frozenset(sys.argv[4:])
    document: dict[str, Any]
    try:
        whole = probe_media(path)
        there = {"video": whole.video is not None, "audio": whole.audio is not None}
        if not any(has for kind, has in there.items() if kind not in leave_out):
            document = {"nothing_else": True}
        else:
            later_s = copy_without(path, target, leave_out)
            left = probe_media(target)
            if any(getattr(left, kind) is not None for kind in leave_out):
                raise InputError(
                    Text(f"{path.name}: not parted", f"{path.name}: 나누지 못했습니다")
                )
            gone = sorted(kind for kind in leave_out if there[kind])
            document = {"later_s": round(later_s, 3), "left_out": gone}
    except NunbitError as exc:
        target.unlink(missing_ok=True)
        document = {"error": {"ko": _unnamed(exc.text.ko, path), "en": _unnamed(exc.text.en, path)}}
    told.write_text(json_text(document), encoding="utf-8")


def run_look() -> None:
    """Look and write what is found; ``sys.argv``: folder, where to, recording, words, speakers."""
    place, out, media, *texts = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:6]
    try:
        document = _looked(place, out, media, *texts)
    except NunbitError as exc:
        path = place / media
        document = {"error": {"ko": _unnamed(exc.text.ko, path), "en": _unnamed(exc.text.en, path)}}
    target = out / LOOK_FILE
    part = target.with_suffix(".part")
    part.write_text(json_text(document), encoding="utf-8")
    part.replace(target)


def _looked(place: Path, out: Path, media: str, transcript: str, speakers: str) -> dict[str, Any]:
    from nunbit.measures.estimate import MIN_BASELINE_S
    from nunbit.recording.media import probe_media

    info = probe_media(place / media)
    notes: list[LookHint] = []
    words, named = None, None
    if transcript:
        words = _read(notes, "transcript", place / transcript, info)
    if speakers:
        named = _read(notes, "speakers", place / speakers, info)
    frames = list(_frames(place / media, info, out)) if info.video else []
    if words is not None and info.audio is not None:
        notes += _fit(place / media, info, words)
    who, stretches = _who(words, named)
    if info.video and frames and not any(frame["faces"] for frame in frames):
        notes.append(LookHint("no_face_seen", len(frames), "", ""))
    return {
        "duration_s": info.duration_s,
        "has_video": info.video is not None,
        "has_sound": info.audio is not None,
        "frames": frames,
        "people": max((len(frame["faces"]) for frame in frames), default=0),
        "speakers": who,
        "stretches": stretches,
        "least_baseline_s": MIN_BASELINE_S,
        "notes": [
            {"code": n.code, "count": n.count, "ko": n.ko, "en": n.en, "doubt": n.doubt}
            for n in notes
        ],
    }


def _read(notes: list[LookHint], kind: str, path: Path, info: MediaInfo) -> Any:
    """A transcript or the speakers; None with a note where the file is of no use."""
    from nunbit.recording.transcript import Script, read_rttm, read_words

    try:
        if kind == "speakers":
            return read_rttm(path, duration_s=info.duration_s)
        found = read_words(path, duration_s=info.duration_s)
    except NunbitError as exc:
        said = exc.text
        notes.append(LookHint(f"bad_{kind}", 1, _unnamed(said.ko, path), _unnamed(said.en, path),
                              doubt=True))  # fmt: skip
        return None
    if isinstance(found, Script):
        notes.append(LookHint("no_times", 1, "", ""))
        return None
    return found


def _unnamed(sentence: str, path: Path) -> str:
    """A sentence without the place of the file, which the user has never seen."""
    return sentence.removeprefix(f"{path}: ").replace(str(path), "").replace(path.name, "").strip()


def _frames(path: Path, info: MediaInfo, out: Path) -> Iterator[dict[str, Any]]:
    """Frames spread over the recording, written as JPEG, with their faces."""
    from nunbit.pictures.faces import detect_faces
    from nunbit.recording.media.frames import sample_frames

    video = info.video
    assert video is not None
    length = video.end_s - video.start_s
    times = [video.start_s + length * (k + 0.5) / FRAMES for k in range(FRAMES)]
    for number, frame in enumerate(sample_frames(path, times)):
        height, width = frame.pixels.shape[:2]
        found = sorted(detect_faces(frame.pixels), key=lambda face: face.box_xyxy[0])
        picture = Image.fromarray(frame.pixels)
        picture.thumbnail((_SHOWN_PX, _SHOWN_PX))
        picture.save(out / f"{number}.jpg", "JPEG", quality=85)
        yield {
            "number": number, "t": round(frame.time_s, 3), "width": width, "height": height,
            "faces": [
                {"number": n, "box": [round(float(v) / s, 5) for v, s in
                                      zip(face.box_xyxy, (width, height) * 2, strict=True)]}
                for n, face in enumerate(found, start=1)
            ],
        }  # fmt: skip


def _fit(path: Path, info: MediaInfo, words: Transcript) -> Iterator[LookHint]:
    """Whether the words lie where somebody speaks."""
    from nunbit.stories.check.look import CheckSettings, fit_of, listen

    heard, listened, speech = listen(path, info, CheckSettings())
    _, notes = fit_of(words, listened, speech, info.duration_s if heard.whole else None)
    for note in notes:
        yield _note(note, doubt=True)


def _note(note: ReadingNote, *, doubt: bool) -> LookHint:
    text: Text = note.text
    return LookHint(note.code, note.count, text.ko, text.en, doubt)


def _who(words: Transcript | None, named: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Names with their time and first words, and the stretches in which each speaks."""
    spans: list[tuple[Interval, str]] = list(named.stretches) if named is not None else []
    said: dict[str, str] = {}
    utterances = () if words is None else words.utterances
    if not spans:
        spans = [(u.interval, u.speaker or "") for u in utterances]
        for each in utterances:
            if each.speaker and len(said.get(each.speaker, "")) < 2:
                said[each.speaker] = each.text[:_SAMPLE_LETTERS]
    spans.sort(key=lambda pair: pair[0])
    names = list(dict.fromkeys(name for _, name in spans if name))
    seconds = dict.fromkeys(names, 0.0)
    for span, name in spans:
        if name:
            seconds[name] += span.duration_s
    shown = [{"name": n, "seconds": round(seconds[n], 1), "says": said.get(n, "")} for n in names]
    return shown, _joined(spans, names)


def _joined(spans: Sequence[tuple[Interval, str]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Stretches of the same speaker that hardly part, as one."""
    place = {name: k for k, name in enumerate(names)}
    found: list[dict[str, Any]] = []
    for span, name in spans:
        who = place.get(name, -1)
        if found and found[-1]["who"] == who and span.start_s - found[-1]["end"] < _JOIN_S:
            found[-1]["end"] = round(max(found[-1]["end"], span.end_s), 2)
        else:
            found.append({"who": who, "start": round(span.start_s, 2), "end": round(span.end_s, 2)})
    return found[:_MOST_STRETCHES]
