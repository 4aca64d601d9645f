"""Agreement of a running session in the shared space of an aligned bundle.

As ``nunbit analyze`` has it for a file up to here: vectors of the windows so far, less their mean
or trend, through the bundle's heads. Both move while the session runs, so values are provisional.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nunbit.core.streams import (
    VOICE_HOP_S,
    Floats,
    Interval,
    Singles,
    Transcript,
    Utterance,
    VoiceStream,
)
from nunbit.live.events import PairAgreement, Value
from nunbit.live.hearing import HeardSeconds
from nunbit.model.encoders import Bundle
from nunbit.space.vectors import WindowTable, prosody_vectors, text_vectors
from nunbit.space.windows import FOUND, leveller, read_heads, vector_sizes, verdicts_of

_KEPT = 600  # windows: ten minutes at a step of one second
_LONGEST_TEXT = 400  # characters of an utterance that the text tower reads


class SharedAgreement:
    """Holds the vectors of the last ten minutes of windows.

    Args:
        bundle: An aligned one.
        faces: Start of a window -> (D,) mean vector of the face in it; grows while it runs.

    Raises:
        BundleError: The heads are damaged.
    """

    def __init__(self, bundle: Bundle, faces: dict[float, Singles]) -> None:
        heads = read_heads(bundle)
        if heads is None:
            raise ValueError("the bundle is not aligned")
        self._bundle, self._heads, self._faces = bundle, heads, faces
        self._level, self._sizes = leveller(heads), vector_sizes(bundle)
        self._found = {
            pair for pair, verdict in verdicts_of(bundle).items() if verdict.get("code") == FOUND
        }
        self._spans: dict[float, Interval] = {}
        self._voices: dict[float, Singles] = {}
        self._said: list[Utterance] = []
        self._sentences = np.zeros((0, self._sizes["text"]), np.float32)

    def add_window(self, span: Interval, heard: HeardSeconds | None) -> None:
        """Take a window whose face is final and whose sound was heard."""
        self._spans[span.start_s] = span
        if heard is not None:
            row = prosody_vectors(_as_voice(heard), [span], fill=False)
            if row is not None:
                self._voices[span.start_s] = row[0]
        while len(self._spans) > _KEPT:
            first = next(iter(self._spans))
            for rows in (self._spans, self._voices, self._faces):
                rows.pop(first, None)
        edge = next(iter(self._spans))
        while self._said and self._said[0].interval.end_s < edge:
            self._said.pop(0)
            self._sentences = self._sentences[1:]

    def add_words(self, span: Interval, text: str) -> None:
        """Take what was said."""
        if not self._bundle.has_text_tower:
            return
        self._said.append(Utterance(span, text))
        vector = self._bundle.embed_texts([text[-_LONGEST_TEXT:] or " "])
        self._sentences = np.concatenate([self._sentences, vector])

    def agreement(self, span: Interval, reasons: Mapping[str, str]) -> PairAgreement:
        """Of a window that was taken.

        Args:
            span: The window.
            reasons: Modality -> why it is missing in the window; empty where it is not.
        """
        spans = list(self._spans.values())
        table = WindowTable(
            vectors={
                "face": self._rows("face", self._faces),
                "voice": _filled(self._rows("voice", self._voices)),
                "text": self._text(spans),
            },
            recording=np.zeros(len(spans), np.int64),
            person=np.zeros(len(spans), np.int64),
            start_s=np.array([s.start_s for s in spans]),
            length_s=span.duration_s,
        )
        place = list(self._spans).index(span.start_s)
        placed = {m: rows[place] for m, rows in self._heads.project(self._level(table)).items()}
        there = {m: bool(np.isfinite(table.vectors[m][place]).all()) for m in table.vectors}

        def pair(a: str, b: str) -> Value:
            if a not in placed or b not in placed:
                return Value(None, "no_model")
            cosine = float(placed[a] @ placed[b])
            if not np.isfinite(cosine):
                lost = a if not np.isfinite(placed[a]).all() else b
                return Value(None, "too_few" if there[lost] else reasons[lost] or "too_few")
            if f"{a}-{b}" not in self._found:
                return Value(None, "unvalidated")
            return Value(round(cosine, 4), "")

        return PairAgreement(
            face_voice=pair("face", "voice"),
            face_words=pair("face", "text"),
            voice_words=pair("voice", "text"),
            anchor="aligned",
        )

    def _rows(self, modality: str, known: Mapping[float, Singles]) -> Singles:
        missing = np.full(self._sizes[modality], np.nan, np.float32)
        return np.stack([known.get(start, missing) for start in self._spans])

    def _text(self, spans: Sequence[Interval]) -> Singles:
        said = Transcript(tuple(self._said), "live")
        rows = text_vectors(said, self._sentences, spans)
        size = (len(spans), self._sizes["text"])
        return np.full(size, np.nan, np.float32) if rows is None else rows


def _filled(rows: Singles) -> Singles:
    """Numbers that a window does not give are the mean of the others', as in a file."""
    finite = np.isfinite(rows)
    means = np.where(finite, rows, 0.0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    there = finite.any(axis=1, keepdims=True)
    return np.where(there & ~finite, means, rows).astype(np.float32)


def _as_voice(heard: HeardSeconds) -> VoiceStream:
    """The last seconds as a stretch of a recording."""
    times: Floats = (heard.first + np.arange(len(heard.present), dtype=np.float64) + 0.5) * (
        VOICE_HOP_S
    )
    return VoiceStream(
        times, heard.present, heard.speech, heard.f0_hz, heard.level_dbfs, (), None, heard.clipped
    )
