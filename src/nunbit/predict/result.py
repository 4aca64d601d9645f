"""What ``nunbit predict`` found: as types, as a JSON document, as a table for a terminal."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.columns import width as text_width
from nunbit.errors import InputError, Lang, NunbitError
from nunbit.labels import LabelSet, label_set_to_dict
from nunbit.photos import PhotoNote, note_text
from nunbit.reading import ReadingNote, reading_document
from nunbit.schema import Box

FORMAT = "nunbit-predict-1"

State = Literal["ok", "no_face", "error"]
Floats = NDArray[np.float32]

_NAME_COLUMNS, _SENTENCE_COLUMNS = 32, 28


@dataclass(frozen=True, slots=True, eq=False)
class FaceAnswer:
    """One face. K classes, T templates, M sentences.

    Attributes:
        box_xyxy: Pixels of the full upright photo; None where the picture is a crop.
        detection_score: The detector's confidence, 0 to 1; None where the picture is a crop.
        size_px: Longer side of the box, or of the crop.
        tiny: Smaller than ``tiny_px``: the answer is worth little.
        probabilities: (K,) sum to one.
        cosines: (K,) cosine per class, templates combined.
        prompt_cosines: (T, K) cosine per prompt.
        sentence_cosines: (M,).
        sentence_probabilities: (M,) softmax among the sentences; None with fewer than two.
    """

    box_xyxy: Box | None
    detection_score: float | None
    size_px: float
    tiny: bool
    probabilities: Floats
    cosines: Floats
    prompt_cosines: Floats
    sentence_cosines: Floats
    sentence_probabilities: Floats | None


@dataclass(frozen=True, slots=True, eq=False)
class FileAnswer:
    """One file.

    Attributes:
        file: As the user gave it, or its place in the folder they gave.
        state: ``ok``, ``no_face`` or ``error``.
        faces: Largest first; empty unless ``ok``.
        reason: Stable id of what went wrong, or None.
        error: What went wrong, or None.
        size: Width and height of the upright photo, or None.
        orientation: Raw EXIF tag, or None.
        notes: See ``photos.Photo``.
        sha256: Of the file, or None where it could not be read.
        annotated: Where the annotated copy is, or None.
    """

    file: str
    state: State
    faces: tuple[FaceAnswer, ...] = ()
    reason: str | None = None
    error: NunbitError | None = None
    size: tuple[int, int] | None = None
    orientation: int | None = None
    notes: tuple[PhotoNote, ...] = ()
    sha256: str | None = None
    annotated: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PredictResult:
    """All files of one call.

    Attributes:
        label_set: The K classes.
        template_set: Name of the templates.
        prompts: Template id -> its K texts.
        ensemble: How the templates were combined.
        sentences: The user's M sentences.
        files: In the order given.
        bundle_name: Of the model.
        bundle_hash: Of the model.
        statement: What the figures are and are not, by language.
        provenance: How this came about.
        reading: What in the folders was left out.
    """

    label_set: LabelSet
    template_set: str
    prompts: dict[str, tuple[str, ...]]
    ensemble: str
    sentences: tuple[str, ...]
    files: tuple[FileAnswer, ...]
    bundle_name: str
    bundle_hash: str
    statement: dict[str, str]
    provenance: dict[str, Any]
    reading: tuple[ReadingNote, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Files by state, and faces."""
        states = [file.state for file in self.files]
        return {
            "files": len(states),
            "ok": states.count("ok"),
            "no_face": states.count("no_face"),
            "error": states.count("error"),
            "faces": sum(len(file.faces) for file in self.files),
        }

    @property
    def failure(self) -> InputError | None:
        """What a command should end with: None if every file could be read.

        A photo without a face is an answer, not a failure.
        """
        failed = [file for file in self.files if file.error is not None]
        if not failed:
            return None
        first = failed[0].error
        if len(self.files) == 1 and first is not None:
            return InputError(en=first.en, ko=first.ko)
        return InputError(
            en=f"{len(failed)} of {len(self.files)} files could not be read; the rest is done",
            ko=f"파일 {len(self.files)}개 중 {len(failed)}개를 읽지 못했습니다. 나머지는 "
            "끝났습니다",
        )

    @property
    def document(self) -> dict[str, Any]:
        """The result as plain data for ``--json``."""
        return {
            "format": FORMAT,
            "bundle": {"name": self.bundle_name, "sha256": self.bundle_hash},
            "labels": list(self.label_set.ids),
            "label_set": label_set_to_dict(self.label_set),
            "template_set": self.template_set,
            "prompts": {name: list(texts) for name, texts in self.prompts.items()},
            "ensemble": self.ensemble,
            "sentences": list(self.sentences),
            "counts": self.counts,
            "files": [self._file_document(file) for file in self.files],
            "statement": self.statement,
            "reading": reading_document(self.reading),
            "provenance": self.provenance,
        }

    def _file_document(self, file: FileAnswer) -> dict[str, Any]:
        message = None if file.error is None else {"en": file.error.en, "ko": file.error.ko}
        return {
            "file": file.file,
            "state": file.state,
            "reason": file.reason,
            "message": message,
            "size": None if file.size is None else list(file.size),
            "orientation": file.orientation,
            "notes": list(file.notes),
            "sha256": file.sha256,
            "annotated": file.annotated,
            "faces": [self._face_document(face) for face in file.faces],
        }

    def _face_document(self, face: FaceAnswer) -> dict[str, Any]:
        ids = self.label_set.ids
        shared = face.sentence_probabilities
        box = face.box_xyxy
        return {
            "box_xyxy": None if box is None else [round(v, 1) for v in box],
            "detection_score": face.detection_score,
            "size_px": round(face.size_px, 1),
            "tiny": face.tiny,
            "label": ids[int(face.probabilities.argmax())],
            "probability": dict(zip(ids, _numbers(face.probabilities), strict=True)),
            "cosine": dict(zip(ids, _numbers(face.cosines), strict=True)),
            "prompt_cosine": {
                name: _numbers(row)
                for name, row in zip(self.prompts, face.prompt_cosines, strict=True)
            },
            "sentence_cosine": _numbers(face.sentence_cosines),
            "sentence_probability": None if shared is None else _numbers(shared),
        }

    def text(self, lang: Lang) -> str:
        """A table for a terminal: one row a face, then counts and what the figures are not."""
        rows = [self._head(lang)]
        for file in self.files:
            rows += self._rows(file, lang)
        errors = [f"! {file.error.text(lang)}" for file in self.files if file.error is not None]
        if len(errors) == len(self.files):  # a table of nothing helps nobody
            return "" if len(errors) == 1 else "\n".join(errors)
        lines = [*_aligned(rows), *errors]
        return "\n".join([*lines, "", self._summary(lang), self.statement[lang]])

    def _head(self, lang: Lang) -> list[str]:
        en = ["file", "face", "px", "found", "expression", "p", "next", "p"]
        ko = ["파일", "얼굴", "px", "검출", "표정", "p", "다음", "p"]
        sentence = {
            "en": ["closest sentence", "cosine", "p"],
            "ko": ["가장 가까운 문장", "코사인", "p"],
        }[lang]
        note = ["note"] if lang == "en" else ["비고"]
        return [*(ko if lang == "ko" else en), *(sentence if self.sentences else []), *note]

    def _rows(self, file: FileAnswer, lang: Lang) -> list[list[str]]:
        name = _shortened(file.file, _NAME_COLUMNS)
        notes = [note_text(note, lang) for note in file.notes]
        blank = ["-"] * (7 + 3 * bool(self.sentences))
        if file.state == "error":
            return [[name, *blank, file.reason or "error"]]
        if file.state == "no_face":
            state = "얼굴을 찾지 못함" if lang == "ko" else "no face found"
            return [[name, *blank, ", ".join([state, *notes])]]
        tiny = "아주 작은 얼굴" if lang == "ko" else "tiny face"
        return [
            [name, *self._face_cells(number, face, lang), ", ".join(([tiny] * face.tiny) + notes)]
            for number, face in enumerate(file.faces, start=1)
        ]

    def _face_cells(self, number: int, face: FaceAnswer, lang: Lang) -> list[str]:
        names = self.label_set.names(lang)
        first, second = (int(i) for i in np.argsort(-face.probabilities, kind="stable")[:2])
        score = face.detection_score
        cells = [
            str(number),
            f"{face.size_px:.0f}",
            "-" if score is None else f"{score:.2f}",
            names[first],
            f"{face.probabilities[first]:.2f}",
            names[second],
            f"{face.probabilities[second]:.2f}",
        ]
        if self.sentences:
            best = int(face.sentence_cosines.argmax())
            shares = face.sentence_probabilities
            cells += [
                _shortened(self.sentences[best], _SENTENCE_COLUMNS),
                f"{face.sentence_cosines[best]:.3f}",
                "-" if shares is None else f"{shares[best]:.2f}",
            ]
        return cells

    def _summary(self, lang: Lang) -> str:
        n = self.counts
        if lang == "ko":
            return (
                f"파일 {n['files']}, 얼굴 {n['faces']}, 얼굴 없는 파일 {n['no_face']}, "
                f"읽지 못한 파일 {n['error']}. 모델 {self.bundle_name}, "
                f"프롬프트 {self.template_set}"
            )
        return (
            f"files {n['files']}, faces {n['faces']}, files without a face {n['no_face']}, "
            f"unreadable {n['error']}; model {self.bundle_name}, prompts {self.template_set}"
        )


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(text_width(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(c + " " * (w - text_width(c)) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _shortened(text: str, width: int) -> str:
    """Keep the end, where file names differ, within ``width`` columns, on one line."""
    # NFC: names from macOS come with Hangul split into jamo, which are wide and not combining.
    clean = "".join(c if c.isprintable() else "?" for c in unicodedata.normalize("NFC", text))
    if text_width(clean) <= width:
        return clean
    while text_width(clean) > width - 1:
        clean = clean[1:]
    return f"…{clean}"


def _numbers(values: Floats) -> list[float]:
    return [round(float(v), 6) for v in values]
