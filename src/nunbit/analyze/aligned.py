"""Windows in the shared space of an aligned bundle: how far face, voice and words agree.

A bundle that ``nunbit align`` wrote holds linear heads (``alignment.npz``). Here a recording's
windows go through them: ``agreement`` per window and pair, and ``windows.npz`` for the search.
Vectors have the recording's mean and drift taken out, so they tell how and not who. What the bundle
was found to share is its verdict: agreement of a pair that was not found is masked
(``unvalidated``) unless it is asked for.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.alignment import (
    NO_VERDICT,
    PAIRS,
    PROSODY,
    Head,
    Heads,
    WindowTable,
    centred,
    detrended,
    face_vectors,
    prosody_vectors,
    sentence,
    text_vectors,
)
from nunbit.alignment.vectors import own_stretches
from nunbit.encoders import Bundle
from nunbit.errors import BundleError, InputError
from nunbit.files import atomic_path
from nunbit.streams import (
    FaceStream,
    Floats,
    Interval,
    MeasureBlock,
    Singles,
    Transcript,
    Turn,
    VoiceStream,
)

ALIGNMENT_FILE = "alignment.npz"
ALIGNMENT = "alignment"
"""Section of ``bundle.json`` that says how the heads were fitted."""

TREND = "quadratic"
"""What ``trend`` of the section says of heads that were fitted to detrended vectors; heads of older
bundles have only the mean taken out."""

FOUND = "found"
"""The code of a verdict with which agreement is shown."""

WINDOWS_FILE = "windows.npz"
WINDOWS_FORMAT = "nunbit-windows-1"

_LONGEST_TEXT = 200  # characters, as for the class probabilities of words
_EXCERPT = 80


@dataclass(frozen=True, eq=False)
class AlignedWindows:
    """A recording in the shared space.

    Attributes:
        windows: W windows.
        embeddings: Modality -> (W, E) unit rows, NaN where missing.
        reasons: Modality -> (W,) of str, why it is missing, '' where it is there.
        agreement: ``a-b`` -> (W,) cosine, NaN where one is missing.
        excerpts: (W,) what is said, '' where nothing is.
        verdicts: Pair ``a-b`` -> what the alignment was found to be worth there.
    """

    windows: tuple[Interval, ...]
    embeddings: dict[str, Singles]
    reasons: dict[str, np.ndarray]
    agreement: dict[str, Floats]
    excerpts: tuple[str, ...]
    verdicts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Seen:
    """What a recording gives the windows.

    Attributes:
        faces: With embeddings kept (``FaceSettings.keep_embeddings``), or None.
        voice: None without audio.
        transcript: None without words.
        turns: Who has the floor.
        windows: The grid.
    """

    faces: FaceStream | None
    voice: VoiceStream | None
    transcript: Transcript | None
    turns: Sequence[Turn]
    windows: tuple[Interval, ...]


def window_inputs(bundle: Bundle, seen: Seen) -> dict[str, Singles]:
    """Modality -> (W, D) vectors of a recording before any mean is taken out, NaN where missing.

    A modality that the recording does not have at all is rows of NaN of the size it would have.
    """
    own = own_stretches(seen.turns) if seen.turns else None
    sentences = None
    if seen.transcript is not None and seen.transcript.utterances and bundle.has_text_tower:
        texts = [u.text[-_LONGEST_TEXT:] or " " for u in seen.transcript.utterances]
        sentences = bundle.embed_texts(texts)
    found = {
        "face": face_vectors(seen.faces, seen.windows),
        "voice": prosody_vectors(seen.voice, seen.windows, own),
        "text": text_vectors(seen.transcript, sentences, seen.windows, own),
    }
    sizes = {"face": bundle.embedding_size, "voice": len(PROSODY), "text": bundle.embedding_size}
    n = len(seen.windows)
    return {
        m: np.full((n, sizes[m]), np.nan, np.float32) if rows is None else rows
        for m, rows in found.items()
    }


def is_aligned(bundle: Bundle) -> bool:
    """Whether the bundle has heads; then faces must be read with ``keep_embeddings``."""
    return ALIGNMENT in bundle.document


def verdicts_of(bundle: Bundle) -> dict[str, Mapping[str, Any]]:
    """Pair ``a-b`` -> verdict of an aligned bundle; ``no_verdict`` where it is older than these."""
    section = bundle.document.get(ALIGNMENT, {})
    given = section.get("verdict", {})
    names = section.get("modalities", ())
    return {
        f"{a}-{b}": given.get(f"{a}-{b}", {"code": NO_VERDICT})
        for a, b in PAIRS
        if a in names and b in names
    }


def verdict_notices(verdicts: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """One sentence a pair of modalities, in English and Korean, for whoever uses the bundle."""
    said = []
    for pair, verdict in verdicts.items():
        en, ko = sentence(pair, verdict)
        said.append((f"alignment of the bundle, {en}", f"번들의 정렬, {ko}"))
    return said


def masked_notice(verdicts: Mapping[str, Mapping[str, Any]], shown: bool) -> tuple[str, str] | None:
    """What became of the agreement of pairs that were not found; None where there is none."""
    if all(verdict["code"] == FOUND for verdict in verdicts.values()):
        return None
    if shown:
        return (
            "agreement of face, voice and words is shown although the bundle's alignment was not "
            "found to hold (unproven_agreement = true): it is no measure of anything known",
            "번들의 정렬이 확인되지 않았지만 요청에 따라 얼굴·목소리·말의 일치도를 표시합니다"
            "(unproven_agreement = true). 무엇을 재는지 알 수 없는 값입니다",
        )
    return (
        "agreement of pairs whose alignment was not found is masked (unvalidated); to look at it "
        "all the same: --set unproven_agreement=true",
        "정렬이 확인되지 않은 쌍의 일치도는 가렸습니다(unvalidated). 그래도 보려면 "
        "--set unproven_agreement=true",
    )


def read_heads(bundle: Bundle) -> Heads | None:
    """The heads of a bundle, None where it is not aligned.

    Raises:
        BundleError: The heads are damaged or do not fit the bundle.
    """
    if not is_aligned(bundle):
        return None
    path = bundle.path / ALIGNMENT_FILE
    section = bundle.document[ALIGNMENT]
    try:
        with np.load(path, allow_pickle=False) as arrays:
            heads = {
                str(m): Head(*(arrays[f"{m}_{part}"] for part in ("centre", "scale", "weight")))
                for m in section["modalities"]
            }
            correlations = arrays["correlations"]
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as exc:
        raise _unfit(path, exc) from exc
    sizes = {"face": bundle.embedding_size, "voice": len(PROSODY), "text": bundle.embedding_size}
    for name, head in heads.items():
        if len(head.weight) != sizes.get(name, -1):
            raise _unfit(path, f"{name}: {len(head.weight)} numbers, expected {sizes.get(name)}")
    return Heads(heads, str(section.get("method", "")), correlations, section)


def write_heads(path: Path, heads: Heads) -> None:
    """Write ``alignment.npz``: per modality centre, scale and weight, and the correlations."""
    arrays = {
        f"{m}_{part}": getattr(head, part)
        for m, head in heads.heads.items()
        for part in ("centre", "scale", "weight")
    }
    _save(path, arrays | {"correlations": heads.correlations})


def align_windows(bundle: Bundle, seen: Seen) -> AlignedWindows | None:
    """Place a recording's windows in the shared space; None where the bundle is not aligned.

    Raises:
        BundleError: The heads are damaged.
    """
    heads = read_heads(bundle)
    if heads is None:
        return None
    n = len(seen.windows)
    table = WindowTable(
        vectors=window_inputs(bundle, seen),
        recording=np.zeros(n, np.int64),
        person=np.zeros(n, np.int64),
        start_s=np.array([w.start_s for w in seen.windows]),
        length_s=seen.windows[0].duration_s if n else 4.0,
    )
    level = detrended if heads.details.get("trend") == TREND else centred
    placed = heads.project(level(table))
    reasons = {}
    for modality, rows in placed.items():
        there = np.isfinite(rows).all(axis=1)
        measured = table.present(modality)
        why = np.where(measured, "too_few", _reason(modality, seen))
        reasons[modality] = np.where(there, "", why)
    agreement = {
        f"{a}-{b}": np.asarray((placed[a] * placed[b]).sum(axis=1), np.float64)
        for a, b in PAIRS
        if a in placed and b in placed
    }
    return AlignedWindows(
        seen.windows,
        placed,
        reasons,
        agreement,
        excerpts_of(seen.transcript, seen.windows),
        verdicts_of(bundle),
    )


def agreement_blocks(
    aligned: AlignedWindows, *, unproven: bool = False
) -> tuple[MeasureBlock, ...]:
    """``agreement_<a>_<b>`` per window: the cosine of two modalities in the shared space.

    Args:
        aligned: The recording in the shared space.
        unproven: Whether pairs are shown that were not found to share anything.
    """
    starts = np.array([w.start_s for w in aligned.windows])
    ends = np.array([w.end_s for w in aligned.windows])
    blocks = []
    for name, value in aligned.agreement.items():
        a, b = name.split("-")
        there = np.isfinite(value)
        first, second = aligned.reasons[a], aligned.reasons[b]
        reason = np.where(there, "", np.where(first != "", first, second))
        if not unproven and aligned.verdicts.get(name, {}).get("code") != FOUND:
            reason = np.where(there, "unvalidated", reason)
            value, there = np.full(len(value), np.nan), np.zeros(len(value), bool)
        blocks.append(
            MeasureBlock(
                scope="window",
                modality="fused",
                measure=f"agreement_{a}_{b}",
                unit="cosine",
                grade=None,
                t_start=starts,
                t_end=ends,
                value=value,
                n_expected=np.ones(len(value), np.int64),
                n_valid=there.astype(np.int64),
                confidence=np.full(len(value), np.nan),
                mask_reason=reason.astype(np.str_),
                experimental=True,
            )
        )
    return tuple(blocks)


def write_windows(folder: Path, aligned: AlignedWindows, *, session: str, bundle_hash: str) -> Path:
    """Write ``windows.npz``: times, unit embeddings (float16) and excerpts; no raw vectors.

    Returns:
        Its path.

    Raises:
        InputError: It cannot be written.
    """
    path = folder / WINDOWS_FILE
    size = next(iter(aligned.embeddings.values())).shape[1]
    empty = np.full((len(aligned.windows), size), np.nan, np.float16)
    arrays: dict[str, Any] = {
        "format": np.array(WINDOWS_FORMAT),
        "session": np.array(session),
        "bundle": np.array(bundle_hash),
        "t_start": np.array([w.start_s for w in aligned.windows]),
        "t_end": np.array([w.end_s for w in aligned.windows]),
        # JSON and not an array of text: that would take the longest excerpt for every window.
        "excerpts": np.frombuffer(json.dumps(list(aligned.excerpts)).encode(), np.uint8),
    }
    for modality in ("face", "voice", "text"):
        rows = aligned.embeddings.get(modality)
        arrays[modality] = empty if rows is None else rows.astype(np.float16)
    _save(path, arrays)
    return path


def excerpts_of(transcript: Transcript | None, windows: Sequence[Interval]) -> tuple[str, ...]:
    """What is said in each window, shortened to 80 characters."""
    if transcript is None:
        return ("",) * len(windows)
    words = [(word.interval, word.text) for u in transcript.utterances for word in u.words] or [
        (u.interval, u.text) for u in transcript.utterances
    ]
    middles = np.array([(i.start_s + i.end_s) / 2.0 for i, _ in words])
    order = np.argsort(middles, kind="stable")
    middles = middles[order]
    found = []
    for window in windows:
        low, high = np.searchsorted(middles, [window.start_s, window.end_s])
        text = " ".join(words[k][1] for k in order[low:high])
        found.append(text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…")
    return tuple(found)


def _reason(modality: str, seen: Seen) -> str:
    """Why a window without the modality lacks it, as far as the streams say."""
    if modality == "face":
        return "no_video" if seen.faces is None else "no_face"
    if modality == "voice":
        return "no_audio" if seen.voice is None else "silence"
    return "no_transcript" if seen.transcript is None else "silence"


def _save(path: Path, arrays: dict[str, Any]) -> None:
    with atomic_path(path) as partial, partial.open("wb") as stream:
        np.savez(stream, **arrays)  # such numbers do not compress


def _unfit(path: Path, reason: object) -> BundleError:
    return BundleError(
        en=f"{path}: the alignment does not fit this bundle: {reason}; run nunbit align again",
        ko=f"{path}: 정렬이 이 번들과 맞지 않습니다: {reason}. nunbit align을 다시 실행하십시오",
    )


def read_windows(path: Path) -> dict[str, Any]:
    """The arrays of a ``windows.npz``; ``excerpts`` as a tuple of texts.

    Raises:
        InputError: It is missing, damaged or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found: dict[str, Any] = {name: arrays[name] for name in arrays.files}
        if str(found["format"]) != WINDOWS_FORMAT:
            raise ValueError(str(found["format"]))
        found["excerpts"] = tuple(json.loads(found["excerpts"].tobytes().decode()))
        n = len(found["t_start"])
        if any(len(found[k]) != n for k in ("t_end", "excerpts", "face", "voice", "text")):
            raise ValueError("rows differ in number")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as exc:
        raise InputError(
            en=f"{path}: cannot read these windows: {exc}; analyse the recording again",
            ko=f"{path}: 구간 파일을 읽을 수 없습니다: {exc}. 녹화를 다시 분석하십시오",
        ) from exc
    return found
