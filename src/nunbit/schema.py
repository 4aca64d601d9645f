"""The frozen types that cross module boundaries.

K is the number of labels, T of templates, D the embedding size, N of samples. Nothing here reads
files or knows a source, a model or a page. Absent is ``None``, never zero and never 'neutral'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.errors import Lang

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Policy = Literal["uploader", "annot_a", "majority", "unanimous", "votes"]
POLICIES: tuple[Policy, ...] = ("uploader", "annot_a", "majority", "unanimous", "votes")

SYNTHETIC_MARK = ".nunbit-synth"
"""A file of this name marks a folder of drawn data; everything made of it says so."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the upright image (EXIF orientation applied)."""


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where the bytes of one image are.

    Attributes:
        path: The image file, or the zip that holds it; absolute.
        member: The member's name exactly as the zip's directory spells it, or None for a file.
        source_path: How people read it: relative to SRC, NFC, ``zip!member`` inside a zip.
    """

    path: str
    member: str | None
    source_path: str


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """One labelled image, before any policy has turned votes into a label.

    Attributes:
        record_id: Unique in the data set; no ``.`` and no ``/``.
        image: Where the bytes are.
        split: The official or given split.
        uploader_label: Label id the person who made the photo (or the table) gave, or None.
        votes: One label id per annotator; None where unknown, contempt or not a face.
        subject_id: Person key verbatim, or None where the source has none.
        box_xyxy: Face box in pixels of the upright image as the source has it (not clamped:
            only the decoded image knows its size); None means the whole image.
        fallback_boxes: Other annotators' boxes in order of preference.
        gender: Raw value of the source, or None.
        age: Raw value of the source, or None.
        place: Raw value of the source, or None.
    """

    record_id: str
    image: ImageRef
    split: Split
    uploader_label: str | None
    votes: tuple[str | None, ...] = ()
    subject_id: str | None = None
    box_xyxy: Box | None = None
    fallback_boxes: tuple[Box, ...] = ()
    gender: str | None = None
    age: str | None = None
    place: str | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """An input that was not used, with the reason; one line of ``rejects.jsonl``.

    Attributes:
        file: ``source_path`` of the image, or of the label file.
        reason: A short stable id such as ``truncated`` or ``no_record``.
        detail: One line for people, in English whatever the language of the run: the same input
            gives the same bytes.
        detail_ko: The same in Korean; '' where it is the system's or a library's own words.
    """

    file: str
    reason: str
    detail: str = ""
    detail_ko: str = ""

    def text(self, lang: Lang) -> str:
        """The detail in the reader's language."""
        return self.detail_ko or self.detail if lang == "ko" else self.detail


Interval95 = tuple[float, float]
"""Lower and upper end of a 95% interval."""


@dataclass(frozen=True, eq=False)
class EvalResult:
    """What an evaluation found; ``document`` is the whole ``result.json``.

    Attributes:
        labels: K label ids, the order of every array.
        split: Which split was evaluated.
        policy: Label policy that made the truth.
        n: Labelled images.
        n_skipped: Images left out, by reason.
        confusion: (K, K) int64, rows = truth.
        recall: (K,) float64, NaN for a class without images.
        top1: Accuracy.
        macro_f1: Mean F1 of the classes that are true or predicted somewhere.
        uar: Mean recall of the classes that have images, the headline.
        ci95: 95% intervals of ``top1``, ``macro_f1`` and ``uar``; None where there is none.
        provenance: How the result was made.
        document: ``result.json`` as plain data.
    """

    labels: tuple[str, ...]
    split: str
    policy: str
    n: int
    n_skipped: dict[str, int]
    confusion: NDArray[np.int64]
    recall: NDArray[np.float64]
    top1: float
    macro_f1: float
    uar: float
    ci95: dict[str, Interval95 | None]
    provenance: dict[str, Any]
    document: dict[str, Any]

    def __post_init__(self) -> None:
        k = len(self.labels)
        if self.confusion.shape != (k, k):
            raise ValueError(f"confusion: expected shape {(k, k)}, got {self.confusion.shape}")
        if self.recall.shape != (k,):
            raise ValueError(f"recall: expected shape {(k,)}, got {self.recall.shape}")
        if int(self.confusion.sum()) != self.n:
            raise ValueError(f"confusion: expected sum n = {self.n}, got {self.confusion.sum()}")

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> EvalResult:
        """Read the typed part of a ``result.json`` document.

        Raises:
            KeyError: A key of the contract is missing.
            ValueError: A value does not fit.
        """
        labels = tuple(document["labels"])
        recalls = [document["per_class"][label]["recall"] for label in labels]
        return cls(
            labels=labels,
            split=document["split"],
            policy=document["policy"],
            n=document["n"],
            n_skipped=document["n_skipped"],
            confusion=np.array(document["confusion"], dtype=np.int64),
            recall=np.array([np.nan if r is None else r for r in recalls]),
            top1=document["top1"],
            macro_f1=document["macro_f1"],
            uar=document["uar"],
            ci95={k: None if v is None else (v[0], v[1]) for k, v in document["ci95"].items()},
            provenance=document["provenance"],
            document=document,
        )
