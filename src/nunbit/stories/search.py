"""The story of ``nunbit search``: a sentence, and windows ranked by what they have of it.

One ranking from three: the cosine in the shared space of face, voice and words; the emotions that
readers would name in what is said; and the exact words. A hundred hours at one window a second are
360,000 windows: 92 MB a modality. They are compared in blocks, so that nothing of that size is made
again in single precision. Fixed point, because processors convert half precision to single
precision much more slowly.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import BundleError, InputError, Lang, Text
from nunbit.core.streams import MODALITIES, Flags, Floats, Singles
from nunbit.core.timebase import clock
from nunbit.measures.class_probabilities import emotion_scores
from nunbit.model.encoders import Bundle
from nunbit.model.said import WordsSide, words_side_of
from nunbit.model.zeroshot import normalise
from nunbit.runtime.progress import pad
from nunbit.space.cca import Heads
from nunbit.space.exact_words import ExactWords
from nunbit.space.windows import (
    FOUND,
    SAID,
    WINDOWS_FILE,
    read_heads,
    read_windows,
    verdict_notices,
    verdicts_of,
)

Fixed = NDArray[np.int16]

_BLOCK = 2048  # rows turned to single precision at once: 1 MB, which a processor's cache holds
_ONE = 32767

EMOTION_WEIGHT, EXACT_WEIGHT = 1.0, 2.0
"""Of emotions and exact words beside the similarity, chosen on comments of KOTE's part val that
neither the tower nor the side had seen (``benchmarks/search_quality.py``)."""


@dataclass(frozen=True, eq=False)
class WindowIndex:
    """N windows of several recordings.

    Attributes:
        sessions: Names of the recordings.
        folders: Where each is.
        session: (N,) which recording.
        t_start: (N,) seconds.
        t_end: (N,) seconds.
        embeddings: Modality -> (N, E) unit rows times 32767, zero where missing.
        present: Modality -> (N,) whether it is there.
        excerpts: Per recording, one text a window.
        first: (S,) the first row of each recording.
        bundle: Hash of the bundle that made them.
        said: (N, E) scores of what is said, NaN where there are none; None for windows of a bundle
            without a side for words, or from before it.
    """

    sessions: tuple[str, ...]
    folders: tuple[Path, ...]
    session: NDArray[np.int32]
    t_start: Floats
    t_end: Floats
    embeddings: dict[str, Fixed]
    present: dict[str, Flags]
    excerpts: tuple[Sequence[str], ...]
    first: NDArray[np.int64]
    bundle: str
    said: Singles | None = None

    @cached_property
    def words(self) -> ExactWords:
        """The windows' words, made ready when first asked for."""
        return ExactWords([text for own in self.excerpts for text in own])

    def emotions(self, side: WordsSide, asked: Singles) -> Singles:
        """(N,) cosine of what is said with (E,) scores of a query, by emotions; 0 without words.

        What is usual in these recordings is taken out: else all that is said is most like itself.
        """
        if self.said is None:
            return np.zeros(len(self), np.float32)
        there = np.isfinite(self.said).all(axis=1)
        rows = side.logits(self.said[there].astype(np.float32))
        found = np.zeros(len(self), np.float32)
        if len(rows):
            usual = rows.mean(axis=0)
            found[there] = normalise(rows - usual) @ normalise(side.logits(asked) - usual)
        return found

    def __len__(self) -> int:
        return len(self.t_start)

    def excerpt(self, row: int) -> str:
        """The words of a window."""
        recording = int(self.session[row])
        return self.excerpts[recording][row - int(self.first[recording])]

    def similarity(self, query: Singles, modalities: Sequence[str]) -> Singles:
        """(N,) mean cosine of a (E,) unit query with the modalities a window has; NaN without."""
        total = np.zeros(len(self), np.float32)
        count = np.zeros(len(self), np.float32)
        for name in modalities:
            rows, scaled = self.embeddings[name], query / np.float32(_ONE)
            for start in range(0, len(rows), _BLOCK):
                part = rows[start : start + _BLOCK].astype(np.float32)
                total[start : start + _BLOCK] += part @ scaled
            count += self.present[name]
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), np.float32)

    def ranked(
        self, score: Singles, most: int, apart_s: float, lowest: float = -np.inf
    ) -> list[int]:
        """Rows by falling score, no two of a recording closer than ``apart_s``."""
        usable = np.flatnonzero(np.isfinite(score) & (score >= lowest))
        found: list[int] = []
        # The best few hundred suffice in almost all cases; the rest is sorted only if not.
        for size in (min(len(usable), 64 * most), len(usable)):
            all_of_them = size == len(usable)
            best = usable if all_of_them else usable[np.argpartition(-score[usable], size)[:size]]
            found = []
            taken: dict[int, list[float]] = {}
            for row in best[np.lexsort((best, -score[best]))].tolist():
                times = taken.setdefault(int(self.session[row]), [])
                if all(abs(self.t_start[row] - t) >= apart_s for t in times):
                    times.append(float(self.t_start[row]))
                    found.append(row)
                    if len(found) == most:
                        return found
        return found


def load_index(timelines: Iterable[Path]) -> WindowIndex:
    """Read every ``windows.npz`` below the given folders.

    Args:
        timelines: Folders that ``nunbit analyze`` wrote, or single session folders.

    Raises:
        InputError: There is none, one is damaged, or they come from different alignments.
    """
    timelines = tuple(timelines)
    paths = [path for folder in timelines for path in _files(folder)]
    if not paths:
        first = timelines[0] if timelines else Path()
        raise InputError(
            Text(
                f"{first}: no {WINDOWS_FILE} here; analyse with an aligned bundle first: nunbit "
                "analyze MEDIA --bundle RUN/bundle --out TIMELINES (RUN from nunbit align)",
                f"{first}: {WINDOWS_FILE} 파일이 없습니다. 먼저 정렬된 번들로 분석하십시오: nunbit "
                "analyze MEDIA --bundle RUN/bundle --out TIMELINES (RUN은 nunbit align의 결과)",
            )
        )
    parts = [_fixed(read_windows(path)) for path in paths]
    bundles = {str(part["bundle"]) for part in parts}
    if len(bundles) > 1:
        raise InputError(
            Text(
                "these timelines come from different aligned bundles, whose spaces cannot be "
                "compared; analyse them again with one bundle",
                "이 타임라인들은 서로 다른 정렬 번들로 만들어져 비교할 수 없습니다. 하나의 번들로 "
                "다시 분석하십시오",
            )
        )
    counts = [len(part["t_start"]) for part in parts]
    embeddings: dict[str, Any] = {
        m: np.concatenate([part.pop(m) for part in parts]) for m in MODALITIES
    }
    return WindowIndex(
        sessions=tuple(str(part["session"]) for part in parts),
        folders=tuple(path.parent for path in paths),
        session=np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        t_start=np.concatenate([part["t_start"] for part in parts]),
        t_end=np.concatenate([part["t_end"] for part in parts]),
        embeddings=embeddings,
        present={m: np.asarray(rows.any(axis=1)) for m, rows in embeddings.items()},
        excerpts=tuple(part["excerpts"] for part in parts),
        first=np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64),
        bundle=bundles.pop(),
        said=_said(parts),
    )


def _said(parts: Sequence[dict[str, Any]]) -> Singles | None:
    rows = [part.get(SAID) for part in parts]
    if any(each is None for each in rows):
        return None
    return np.concatenate([each for each in rows if each is not None])


def _fixed(part: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a recording with embeddings in fixed point."""
    for name in MODALITIES:
        part[name] = np.rint(np.nan_to_num(part[name].astype(np.float32)) * _ONE).astype(np.int16)
    return part


def _files(folder: Path) -> list[Path]:
    if folder.is_file() and folder.name == WINDOWS_FILE:
        return [folder]
    own = folder / WINDOWS_FILE
    return [own] if own.is_file() else sorted(folder.glob(f"*/{WINDOWS_FILE}"))


@dataclass(frozen=True)
class SearchSettings:
    """How windows are searched.

    Attributes:
        top: Windows returned.
        modality: Modality that is compared with the sentence; ``all`` = every one that a window
            has.
        apart_s: Least distance between two windows of one recording, so that one moment is returned
            once.
    """

    top: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    modality: Literal["all", "face", "voice", "text"] = "all"
    apart_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 4.0


@dataclass(frozen=True, slots=True)
class Hit:
    """A window that was found.

    Attributes:
        session: Recording.
        t_start: Seconds.
        t_end: Seconds.
        score: What windows are ranked by: the similarity and, where words are compared, emotions
            and exact words; no probability.
        similarity: Mean cosine in the shared space, -1 to 1; no probability.
        exact: Share of the sentence's letters that the words of the window have, 0 to 1.
        emotion: Cosine by the emotions that readers would name, -1 to 1.
        modalities: The compared modalities that the window has.
        excerpt: Its words.
        report: Its timeline report, or None.
    """

    session: str
    t_start: float
    t_end: float
    score: float
    similarity: float
    exact: float
    emotion: float
    modalities: tuple[str, ...]
    excerpt: str
    report: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "session": self.session,
            "t_start": round(self.t_start, 3),
            "t_end": round(self.t_end, 3),
            "score": round(self.score, 4),
            "similarity": round(self.similarity, 4),
            "exact": round(self.exact, 4),
            "emotion": round(self.emotion, 4),
            "modalities": list(self.modalities),
            "excerpt": self.excerpt,
            "report": None if self.report is None else str(self.report),
        }


def search(
    index: WindowIndex, bundle: Bundle, text: str, settings: SearchSettings | None = None
) -> tuple[Hit, ...]:
    """Windows nearest to a sentence, best first.

    Args:
        index: From :func:`nunbit.stories.search.load_index`.
        bundle: The aligned bundle that made the windows.
        text: The query sentence.
        settings: None takes the defaults.

    Raises:
        InputError: The text is empty, or nothing of the modality is in the windows.
        BundleError: The bundle is not aligned, knows no words, or is not the one that made the
            windows.
    """
    settings = settings or SearchSettings()
    sentence = unicodedata.normalize("NFC", text).strip()
    if not sentence:
        raise InputError(Text("give a sentence to search for", "찾을 문장을 주십시오"))
    heads = _text_heads(bundle)
    if index.bundle != bundle.hash:
        raise BundleError(
            Text(
                f"{bundle.path}: the timelines were made with another bundle; give that bundle "
                "as `model`, or analyse again with this one",
                f"{bundle.path}: 타임라인은 다른 번들로 만들었습니다. 그 번들을 `model`로 주거나 "
                "이 번들로 다시 분석하십시오",
            )
        )
    asked = Query(query_of(bundle, heads, sentence), sentence)
    side = words_side_of(bundle)
    if side is not None and index.said is not None:
        asked = replace(asked, side=side, scores=emotion_scores(bundle, side, [sentence])[0])
    return nearest_windows(index, asked, settings)


@dataclass(frozen=True, eq=False)
class Query:
    """A sentence that is searched for.

    Attributes:
        vector: (E,) unit vector of the shared space.
        text: The sentence; '' compares no words.
        side: Reads emotions; None compares none.
        scores: (E,) of the sentence.
    """

    vector: Singles
    text: str = ""
    side: WordsSide | None = None
    scores: Singles | None = None


def combined(similarity: Singles, emotion: Singles, exact: Singles) -> Singles:
    """(N,) what windows are ranked by. A few letters in common are nothing, most of them decide."""
    return np.asarray(similarity + EMOTION_WEIGHT * emotion + EXACT_WEIGHT * exact**2, np.float32)


def search_notices(bundle: Bundle, modality: str) -> list[Text]:
    """What the bundle's alignment is worth for a search by a sentence.

    Args:
        bundle: The aligned bundle.
        modality: As in ``SearchSettings``; words alone need no shared state.
    """
    wanted = {"face": ("face-text",), "voice": ("voice-text",), "text": ()}.get(
        modality, ("face-text", "voice-text")
    )
    verdicts = {name: v for name, v in verdicts_of(bundle).items() if name in wanted}
    said = verdict_notices(verdicts)
    if any(verdict["code"] != FOUND for verdict in verdicts.values()):
        said.append(
            Text("results by face or voice below may therefore be no better than chance; "
            "`modality=text` compares words only",
             "따라서 아래에서 얼굴이나 목소리로 찾은 것은 우연일 수 있습니다. `modality=text`는 "
             "말만 비교합니다")
        )  # fmt: skip
    return said


def query_of(bundle: Bundle, heads: Heads, sentence: str) -> Singles:
    """(E,) unit vector of a sentence in the shared space."""
    placed = heads.heads["text"].project_alone(bundle.embed_texts([sentence]))
    return np.asarray(placed[0], np.float32)


def nearest_windows(index: WindowIndex, query: Query, settings: SearchSettings) -> tuple[Hit, ...]:
    """Windows nearest to a query.

    Raises:
        InputError: Nothing of the modality is in the windows.
    """
    wanted = MODALITIES if settings.modality == "all" else (settings.modality,)
    modalities = [m for m in wanted if index.present[m].any()]
    if not modalities:
        raise InputError(
            Text(
                f"no window has {' or '.join(wanted)}; choose another `modality`",
                f"{', '.join(wanted)}이(가) 있는 창이 없습니다. 다른 `modality`를 고르십시오",
            )
        )
    nothing = np.zeros(len(index), np.float32)
    similarity, emotion, exact = index.similarity(query.vector, modalities), nothing, nothing
    if "text" in modalities:
        exact = index.words.scores(query.text) if query.text else nothing
        if query.side is not None and query.scores is not None:
            emotion = index.emotions(query.side, query.scores)
    score = combined(similarity, emotion, exact)
    return tuple(
        _hit(index, row, (score, similarity, exact, emotion), modalities)
        for row in index.ranked(score, settings.top, settings.apart_s)
    )


def _hit(
    index: WindowIndex, row: int, values: tuple[Singles, ...], modalities: Sequence[str]
) -> Hit:
    recording = int(index.session[row])
    report = index.folders[recording] / "report.html"
    return Hit(
        session=index.sessions[recording],
        t_start=float(index.t_start[row]),
        t_end=float(index.t_end[row]),
        score=float(values[0][row]),
        similarity=float(values[1][row]),
        exact=float(values[2][row]),
        emotion=float(values[3][row]),
        modalities=tuple(m for m in modalities if index.present[m][row]),
        excerpt=index.excerpt(row),
        report=report if report.is_file() else None,
    )


def _text_heads(bundle: Bundle) -> Heads:
    heads = read_heads(bundle)
    if heads is None:
        raise BundleError(
            Text(
                f"{bundle.path}: not an aligned bundle; give the RUN/bundle that nunbit align "
                "wrote",
                f"{bundle.path}: 정렬된 번들이 아닙니다. nunbit align이 만든 RUN/bundle을 주십시오",
            )
        )
    if "text" not in heads.heads:
        raise BundleError(
            Text(
                f"{bundle.path}: this alignment was learned without words, so it has no head for "
                "a sentence; run `align` with `transcript`",
                f"{bundle.path}: 말을 빼고 학습한 정렬이므로 문장을 위한 헤드가 없습니다. "
                "`transcript`를 주어 `align`을 다시 실행하십시오",
            )
        )
    return heads


def hits_text(hits: Sequence[Hit], lang: Lang) -> str:
    """A line per window."""
    if not hits:
        return Text("no window found", "찾은 창이 없습니다").pick(lang)
    return "\n".join(
        f"{rank:>3} {hit.score:+.3f} {pad(hit.session, 28, left=True)} "
        f"{f'{clock(hit.t_start)}–{clock(hit.t_end)}':<17} {'+'.join(hit.modalities):<15} "
        f"{hit.excerpt}".rstrip()
        for rank, hit in enumerate(hits, 1)
    )
