"""Run ``nunbit search``: a sentence through text tower and text head, windows by similarity."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from nunbit.alignment import Heads
from nunbit.analyze.aligned import FOUND, read_heads, verdict_notices, verdicts_of
from nunbit.columns import pad
from nunbit.encoders import Bundle
from nunbit.errors import BundleError, InputError, Lang
from nunbit.search.index import WindowIndex
from nunbit.streams import Singles


@dataclass(frozen=True)
class SearchSettings:
    """What is searched.

    Attributes:
        top: Windows returned.
        modality: Compared with the sentence: one of them, or ``all`` that a window has.
        apart_s: Windows of one recording are at least so far apart, so that one moment is found
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
        similarity: Mean cosine in the shared space, -1 to 1; no probability.
        modalities: What the window has of those compared.
        excerpt: What is said in it.
        report: Its timeline report, or None.
    """

    session: str
    t_start: float
    t_end: float
    similarity: float
    modalities: tuple[str, ...]
    excerpt: str
    report: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "session": self.session,
            "t_start": round(self.t_start, 3),
            "t_end": round(self.t_end, 3),
            "similarity": round(self.similarity, 4),
            "modalities": list(self.modalities),
            "excerpt": self.excerpt,
            "report": None if self.report is None else str(self.report),
        }


def search(
    index: WindowIndex, bundle: Bundle, text: str, settings: SearchSettings | None = None
) -> tuple[Hit, ...]:
    """Windows nearest to a sentence, best first.

    Args:
        index: From :func:`nunbit.search.load_index`.
        bundle: The aligned bundle that made the windows.
        text: What is searched for.
        settings: None takes the defaults.

    Raises:
        InputError: The text is empty, or nothing of the modality is in the windows.
        BundleError: The bundle is not aligned, knows no words, or is not the one that made the
            windows.
    """
    settings = settings or SearchSettings()
    sentence = unicodedata.normalize("NFC", text).strip()
    if not sentence:
        raise InputError(en="give a sentence to search for", ko="찾을 문장을 주십시오")
    heads = _text_heads(bundle)
    if index.bundle != bundle.hash:
        raise BundleError(
            en=f"{bundle.path}: the timelines were made with another bundle; give that one with "
            "--bundle, or analyse again with this one",
            ko=f"{bundle.path}: 타임라인은 다른 번들로 만들었습니다. 그 번들을 --bundle로 주거나 "
            "이 번들로 다시 분석하십시오",
        )
    return nearest(index, query_of(bundle, heads, sentence), settings)


def search_notices(bundle: Bundle, modality: str) -> list[tuple[str, str]]:
    """What the bundle's alignment is worth for a search by a sentence, as (en, ko).

    Args:
        bundle: The aligned bundle.
        modality: As in ``SearchSettings``; among words alone nothing has to be shared.
    """
    wanted = {"face": ("face-text",), "voice": ("voice-text",), "text": ()}.get(
        modality, ("face-text", "voice-text")
    )
    verdicts = {name: v for name, v in verdicts_of(bundle).items() if name in wanted}
    said = verdict_notices(verdicts)
    if any(verdict["code"] != FOUND for verdict in verdicts.values()):
        said.append(
            ("what is found by face or voice below is then no better than chance may be; "
             "--modality text compares words only",
             "따라서 아래에서 얼굴이나 목소리로 찾은 것은 우연일 수 있습니다. --modality text는 "
             "말끼리만 비교합니다")
        )  # fmt: skip
    return said


def query_of(bundle: Bundle, heads: Heads, sentence: str) -> Singles:
    """(E,) unit vector of a sentence in the shared space."""
    placed = heads.heads["text"].project_alone(bundle.embed_texts([sentence]))
    return np.asarray(placed[0], np.float32)


def nearest(index: WindowIndex, query: Singles, settings: SearchSettings) -> tuple[Hit, ...]:
    """Windows nearest to a unit vector of the shared space.

    Raises:
        InputError: Nothing of the modality is in the windows.
    """
    wanted = ("face", "voice", "text") if settings.modality == "all" else (settings.modality,)
    modalities = [m for m in wanted if index.present[m].any()]
    if not modalities:
        raise InputError(
            en=f"no window has {' or '.join(wanted)}; choose another --modality",
            ko=f"{', '.join(wanted)}이(가) 있는 구간이 없습니다. 다른 --modality를 고르십시오",
        )
    score = index.similarity(query, modalities)
    return tuple(_hit(index, row, float(score[row]), modalities)
                 for row in index.ranked(score, settings.top, settings.apart_s))  # fmt: skip


def _hit(index: WindowIndex, row: int, similarity: float, modalities: Sequence[str]) -> Hit:
    recording = int(index.session[row])
    report = index.folders[recording] / "report.html"
    return Hit(
        session=index.sessions[recording],
        t_start=float(index.t_start[row]),
        t_end=float(index.t_end[row]),
        similarity=similarity,
        modalities=tuple(m for m in modalities if index.present[m][row]),
        excerpt=index.excerpt(row),
        report=report if report.is_file() else None,
    )


def _text_heads(bundle: Bundle) -> Heads:
    heads = read_heads(bundle)
    if heads is None:
        raise BundleError(
            en=f"{bundle.path}: not an aligned bundle; give the RUN/bundle that nunbit align wrote",
            ko=f"{bundle.path}: 정렬된 번들이 아닙니다. nunbit align이 만든 RUN/bundle을 주십시오",
        )
    if "text" not in heads.heads:
        raise BundleError(
            en=f"{bundle.path}: this alignment was learned without words, so a sentence has no "
            "place in it; run nunbit align with --transcript",
            ko=f"{bundle.path}: 말 없이 학습한 정렬이라 문장을 놓을 자리가 없습니다. "
            "--transcript를 주어 nunbit align을 다시 실행하십시오",
        )
    return heads


def hits_text(hits: Sequence[Hit], lang: Lang) -> str:
    """A line per window."""
    if not hits:
        return "no window found" if lang == "en" else "찾은 구간이 없습니다"
    lines = []
    for rank, hit in enumerate(hits, 1):
        times = f"{_clock(hit.t_start)}–{_clock(hit.t_end)}"
        found = "+".join(hit.modalities)
        session = pad(hit.session, 28, left=True)
        lines.append(
            f"{rank:>3} {hit.similarity:+.3f} {session} {times:<17} {found:<15} "
            f"{hit.excerpt}".rstrip()
        )
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
