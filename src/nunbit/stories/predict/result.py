"""Results of ``nunbit predict``: types, JSON document, table for a terminal."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import InputError, Lang, NunbitError, Text
from nunbit.core.schema import Box, ReadingNote, reading_document
from nunbit.language.labels import LabelSet, label_set_to_dict
from nunbit.pictures.photos import PhotoNote
from nunbit.runtime.resources import Provenance
from nunbit.runtime.results import Result
from nunbit.stories.predict.terminal import NAME_COLUMNS, predict_text, shortened

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "nunbit-predict-1"

State = Literal["ok", "no_face", "error"]
Floats = NDArray[np.float32]

_SHOWN_FACES = 24
"""Faces a notebook shows; the rest is counted."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FaceAnswer:
    """One face. K classes, T templates, M sentences.

    Attributes:
        box_xyxy: Pixels of the full upright photo; None where the picture is a crop.
        detection_score: The detector's confidence, 0 to 1; None where the picture is a crop.
        size_px: Longer side of the box, or of the crop.
        tiny: Smaller than ``tiny_px``: the result is unreliable.
        probabilities: (K,) sum to one.
        cosines: (K,) cosine per class, templates combined.
        prompt_cosines: (T, K) cosine per prompt.
        sentence_cosines: (M,).
        sentence_probabilities: (M,) softmax among the sentences; None with fewer than two.
        labels: K label ids, the order of ``probabilities`` and ``cosines``.
        picture: A small JPEG of the face; empty unless the Python library asked for it.
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
    labels: tuple[str, ...]
    picture: bytes = b""

    @property
    def label(self) -> str:
        """Id of the most probable class."""
        return self.labels[int(self.probabilities.argmax())]

    @property
    def probability(self) -> dict[str, float]:
        """Label id -> probability; they sum to one."""
        return dict(zip(self.labels, map(float, self.probabilities), strict=True))

    def __repr__(self) -> str:
        return f"<face of {self.size_px:.0f} px: {self.label} {self.probabilities.max():.2f}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        found = f"{len(self.faces)} face{'s' * (len(self.faces) != 1)}"
        what = {"ok": found, "no_face": "no face found", "error": f"unreadable ({self.reason})"}
        return f"<{self.file}: {what[self.state]}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PredictResult(Result):
    """All files of one call; ``result[0]`` is the first, ``result[2:5]`` a result of three.

    Attributes:
        label_set: The K classes.
        template_set: Name of the templates.
        prompts: Template id -> its K texts.
        ensemble: How the templates were combined.
        sentences: The user's M sentences.
        files: In the order given.
        bundle_name: Of the model.
        bundle_hash: Of the model.
        statement: What the figures are and are not.
        provenance: How this came about.
        reading: Notes about files in folders that were left out.
        posterior: ``adapted`` (method or None), ``prior`` and ``relative`` (to the person's own
            neutral face).
        notices: What a reader of the probabilities must know.
    """

    label_set: LabelSet
    template_set: str
    prompts: dict[str, tuple[str, ...]]
    ensemble: str
    sentences: tuple[str, ...]
    files: tuple[FileAnswer, ...]
    bundle_name: str
    bundle_hash: str
    statement: Text
    provenance: Provenance
    reading: tuple[ReadingNote, ...] = ()
    posterior: dict[str, Any] = field(default_factory=dict)
    notices: tuple[Text, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[FileAnswer]:
        return iter(self.files)

    @overload
    def __getitem__(self, key: int) -> FileAnswer: ...
    @overload
    def __getitem__(self, key: slice) -> PredictResult: ...
    def __getitem__(self, key: int | slice) -> FileAnswer | PredictResult:
        if isinstance(key, slice):
            return replace(self, files=self.files[key])
        return self.files[key]

    def __repr__(self) -> str:
        n = self.counts
        rest = [f"{n['no_face']} without a face"] * bool(n["no_face"])
        rest += [f"{n['error']} unreadable"] * bool(n["error"])
        found = ", ".join([f"{n['files']} pictures", f"{n['faces']} faces", *rest])
        return f"<PredictResult: {found}; model {self.bundle_name}>"

    def to_arrow(self) -> pa.Table:
        """A row a face; pictures without one have no row (``counts`` has their number).

        Columns: ``picture`` (its place in the result), ``file``, ``face`` (from 1), the box
        (``x0``, ``y0``, ``x1``, ``y1``, pixels; null for crops), ``detection_score``, ``size_px``,
        ``tiny``, ``label``, ``p_<label>`` and ``cosine_<label>``; with sentences of yours the
        closest (``sentence``), then ``cosine: <sentence>`` and ``p: <sentence>``.
        """
        import pyarrow as pa

        rows = [
            (place, file.file, number, face)
            for place, file in enumerate(self.files)
            for number, face in enumerate(file.faces, start=1)
        ]
        faces = [face for *_, face in rows]
        boxes = [f.box_xyxy or (None,) * 4 for f in faces]
        labels = tuple(enumerate(self.label_set.ids))
        columns: dict[str, Any] = {
            "picture": pa.array([row[0] for row in rows], pa.int64()),
            "file": pa.array([row[1] for row in rows], pa.string()),
            "face": pa.array([row[2] for row in rows], pa.int64()),
            **{
                name: pa.array([box[n] for box in boxes], pa.float64())
                for n, name in enumerate(("x0", "y0", "x1", "y1"))
            },
            "detection_score": pa.array([f.detection_score for f in faces], pa.float64()),
            "size_px": pa.array([f.size_px for f in faces], pa.float64()),
            "tiny": pa.array([f.tiny for f in faces], pa.bool_()),
            "label": pa.array([f.label for f in faces], pa.string()),
            **{f"p_{name}": _column([f.probabilities[k] for f in faces]) for k, name in labels},
            **{f"cosine_{name}": _column([f.cosines[k] for f in faces]) for k, name in labels},
        }
        if self.sentences:
            closest = [self.sentences[int(f.sentence_cosines.argmax())] for f in faces]
            columns["sentence"] = pa.array(closest, pa.string())
        for m, sentence in enumerate(self.sentences):
            columns[f"cosine: {sentence}"] = _column([f.sentence_cosines[m] for f in faces])
            if len(self.sentences) > 1:
                shares = [f.sentence_probabilities for f in faces]
                columns[f"p: {sentence}"] = _column([None if s is None else s[m] for s in shares])
        return pa.table(columns)

    def _plain_document(self) -> Any:
        return self.document

    def _repr_html_(self) -> str:
        cards = [card for file in self.files for card in _cards(file, self.label_set)]
        boxes = "".join(
            f'<div style="display:inline-block;margin:4px 10px;vertical-align:top">{card}</div>'
            for card in cards[:_SHOWN_FACES]
        )
        more = f"<p>… {len(cards) - _SHOWN_FACES:,} more</p>" * (len(cards) > _SHOWN_FACES)
        said = f"<p><small>{html.escape(self.statement.en)}</small></p>"
        return f"<div><p>{html.escape(repr(self))}</p>{boxes}{more}{said}</div>"

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
        """The error that the command ends with; None if every file was read.

        A photo without a face is a result, not a failure.
        """
        failed = [file.error for file in self.files if file.error is not None]
        if not failed:
            return None
        if len(self.files) == 1:
            return InputError(failed[0].text)
        return InputError(
            Text(
                f"{len(failed)} of {len(self.files)} files could not be read; the others are done",
                f"파일 {len(self.files)}개 중 {len(failed)}개를 읽지 못했습니다. 나머지는 "
                "끝났습니다",
            )
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
            **self.posterior,
            "notices": [notice.to_dict() for notice in self.notices],
            "counts": self.counts,
            "files": [self._file_document(file) for file in self.files],
            "statement": self.statement.to_dict(),
            "reading": reading_document(self.reading),
            "provenance": self.provenance,
        }

    def _file_document(self, file: FileAnswer) -> dict[str, Any]:
        return {
            "file": file.file,
            "state": file.state,
            "reason": file.reason,
            "message": None if file.error is None else file.error.text.to_dict(),
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
        return predict_text(self, lang)


def _column(values: list[Any]) -> pa.Array:
    """Numbers as float64 with the six decimals that ``--json`` has, None as null."""
    import pyarrow as pa

    return pa.array([None if v is None else round(float(v), 6) for v in values], pa.float64())


def _cards(file: FileAnswer, label_set: LabelSet) -> list[str]:
    """What a notebook shows of a file: its faces, or that there are none."""
    name = html.escape(shortened(file.file, NAME_COLUMNS))
    if not file.faces:
        return [f"<small>{html.escape(repr(file)[1:-1])}</small>"]
    return [f"{_face_html(face, label_set)}<small>{name}</small>" for face in file.faces]


def _face_html(face: FaceAnswer, label_set: LabelSet) -> str:
    """The face with its three most probable classes as bars."""
    picture = base64.b64encode(face.picture).decode("ascii")
    shown = f'<img alt="" src="data:image/jpeg;base64,{picture}"><br>' if picture else ""
    names = label_set.names("en")
    order = np.argsort(-face.probabilities, kind="stable")[:3]
    best = [(html.escape(names[k]), float(face.probabilities[k])) for k in order]
    return shown + "".join(
        '<div style="font-size:85%;background:linear-gradient(90deg,#9cc3e6 '
        f'{share:.0%},transparent {share:.0%})">{name} {share:.2f}</div>'
        for name, share in best
    )


def _numbers(values: Floats) -> list[float]:
    return [round(float(v), 6) for v in values]
