"""The table of ``nunbit predict`` for a terminal."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from nunbit.core.messages import Lang, Text
from nunbit.pictures.photos import NOTE_TEXTS
from nunbit.runtime.progress import listed
from nunbit.runtime.progress import width as text_width

if TYPE_CHECKING:
    from nunbit.stories.predict.result import FaceAnswer, FileAnswer, PredictResult

NAME_COLUMNS, _SENTENCE_COLUMNS, _WHOLE_COLUMNS = 32, 28, 72
_MOST_NAMED = 3


def predict_text(result: PredictResult, lang: Lang) -> str:
    """A table for a terminal: one row a face, then counts and what the figures are not."""
    rows = [_head(result, lang)]
    below: dict[int, list[str]] = {}
    for file in result.files:
        rows += _rows(result, file, lang)
        below |= _sentences_below(result, file, len(rows))
    errors = [f"! {file.error.text.line(lang)}" for file in result.files if file.error is not None]
    if len(errors) == len(result.files):  # a table of nothing helps nobody
        return "" if len(errors) == 1 else "\n".join(errors)
    return "\n".join(
        [
            *(x for n, row in enumerate(_aligned(rows)) for x in (row, *below.get(n, ()))),
            *errors,
            "",
            *(f"! {notice.line(lang)}" for notice in result.notices),
            *_copies(result, lang),
            _summary(result, lang),
            result.statement.pick(lang),
        ]
    )


def _head(result: PredictResult, lang: Lang) -> list[str]:
    heads = [*_HEAD, *(_SENTENCE_HEAD if result.sentences else ()), Text("note", "비고")]
    return [head.pick(lang) for head in heads]


def _rows(result: PredictResult, file: FileAnswer, lang: Lang) -> list[list[str]]:
    name = shortened(file.file, NAME_COLUMNS)
    notes = [NOTE_TEXTS[note].pick(lang) for note in file.notes]
    blank = ["-"] * (7 + 3 * bool(result.sentences))
    if file.state == "error":
        return [[name, *blank, Text("not read, see below", "읽지 못함, 아래 참조").pick(lang)]]
    if file.state == "no_face":
        state = Text("no face found", "얼굴을 찾지 못함").pick(lang)
        return [[name, *blank, ", ".join([state, *notes])]]
    tiny = Text("tiny face", "아주 작은 얼굴").pick(lang)
    return [
        [name, *_face_cells(result, number, face, lang), ", ".join(([tiny] * face.tiny) + notes)]
        for number, face in enumerate(file.faces, start=1)
    ]


def _face_cells(result: PredictResult, number: int, face: FaceAnswer, lang: Lang) -> list[str]:
    names = result.label_set.names(lang)
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
    if result.sentences:
        best = int(face.sentence_cosines.argmax())
        shares = face.sentence_probabilities
        cells += [
            shortened(result.sentences[best], _SENTENCE_COLUMNS),
            f"{face.sentence_cosines[best]:.3f}",
            "-" if shares is None else f"{shares[best]:.2f}",
        ]
    return cells


def _copies(result: PredictResult, lang: Lang) -> list[str]:
    """Where annotated copies are: the first three by name."""
    made = [file.annotated for file in result.files if file.annotated is not None]
    if not made:
        return []
    named = listed(made, _MOST_NAMED)
    return [Text(f"annotated copies: {named}", f"표시한 사본: {named}").pick(lang)]


def _sentences_below(result: PredictResult, file: FileAnswer, n_rows: int) -> dict[int, list[str]]:
    """For each face of a file: its row in the table -> its sentences, one a line, closest first."""
    return {
        at: [
            f"    {face.sentence_cosines[m]:.3f}  {face.sentence_probabilities[m]:.2f}  "
            f"{shortened(result.sentences[m], _WHOLE_COLUMNS)}"
            for m in np.argsort(-face.sentence_cosines, kind="stable").tolist()
        ]
        for at, face in enumerate(file.faces, start=n_rows - len(file.faces))
        if face.sentence_probabilities is not None
    }


def _summary(result: PredictResult, lang: Lang) -> str:
    n = result.counts
    return Text(
        f"files {n['files']}, faces {n['faces']}, files without a face {n['no_face']}, "
        f"unreadable {n['error']}; model {result.bundle_name}, prompts {result.template_set}",
        f"파일 {n['files']}, 얼굴 {n['faces']}, 얼굴 없는 파일 {n['no_face']}, "
        f"읽지 못한 파일 {n['error']}. 모델 {result.bundle_name}, "
        f"프롬프트 {result.template_set}",
    ).pick(lang)


_P = Text("p", "p")
_HEAD = (
    Text("file", "파일"),
    Text("face", "얼굴"),
    Text("px", "px"),
    Text("detection", "검출"),
    Text("expression", "표정"),
    _P,
    Text("next", "다음"),
    _P,
)
_SENTENCE_HEAD = (Text("closest sentence", "가장 가까운 문장"), Text("cosine", "코사인"), _P)


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(text_width(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(c + " " * (w - text_width(c)) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def shortened(text: str, width: int) -> str:
    """Keep the end, where file names differ, within ``width`` columns, on one line."""
    # NFC: names from macOS come with Hangul split into jamo, which are wide and not combining.
    clean = "".join(c if c.isprintable() else "?" for c in unicodedata.normalize("NFC", text))
    if text_width(clean) <= width:
        return clean
    while text_width(clean) > width - 1:
        clean = clean[1:]
    return f"…{clean}"
