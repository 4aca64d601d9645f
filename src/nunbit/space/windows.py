"""Windows in the shared space of an aligned bundle, and the agreement of face, voice and words.

A bundle that ``nunbit align`` wrote holds linear heads (``alignment.npz``). Here they are written
and read, and a recording's windows go through them: ``agreement`` per window and pair, and
``windows.npz`` for the search. Mean and drift of the recording are removed from the vectors, so
they carry the state and not the person. The bundle's verdict states which pairs share a state; the
agreement of other pairs is masked (``unvalidated``) unless the user asks for it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.core.messages import BundleError, InputError, Text
from nunbit.core.streams import (
    MODALITIES,
    FaceStream,
    Floats,
    Interval,
    MeasureBlock,
    Singles,
    Transcript,
    Turn,
    VoiceStream,
)
from nunbit.core.timebase import bounds
from nunbit.measures.class_probabilities import text_chances
from nunbit.measures.episodes import excerpts_of
from nunbit.measures.modality_pairs import PAIRS
from nunbit.model.bundle import BUNDLE_FILE
from nunbit.model.bundle_check import sealed_document
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.runtime.claims import replaced_folder
from nunbit.runtime.files import atomic_path, read_arrays, read_json, sha256_file, write_json
from nunbit.space.cca import Head, Heads
from nunbit.space.retrieval import NO_VERDICT, sentence
from nunbit.space.vectors import (
    PROSODY,
    WindowTable,
    centred,
    detrended,
    face_vectors,
    own_stretches,
    prosody_vectors,
    text_vectors,
)

ALIGNMENT_FILE = "alignment.npz"
ALIGNMENT = "alignment"
"""Section of ``bundle.json`` that says how the heads were fitted."""

TREND = "quadratic"
"""Value of ``trend`` in the section for heads fitted to detrended vectors; older bundles have only
the mean removed."""

FOUND = "found"
"""Code of a verdict for which agreement is shown."""

WINDOWS_FILE = "windows.npz"
WINDOWS_FORMAT = "nunbit-windows-1"
SAID = "said"
"""Array of ``windows.npz`` with the scores of what is said; absent in files from before it."""

_LONGEST_TEXT = 200  # characters, as for the class probabilities of words
_HEAD = ("centre", "scale", "weight")


@dataclass(frozen=True, eq=False)
class AlignedWindows:
    """A recording in the shared space.

    Attributes:
        windows: W windows.
        embeddings: Modality -> (W, E) unit rows, NaN where missing.
        reasons: Modality -> (W,) of str, why it is missing, '' where it is there.
        agreement: ``a-b`` -> (W,) cosine, NaN where one is missing.
        excerpts: (W,) words of the window, '' if there are none.
        said: (W, E) scores of what is said for each emotion that readers could name, NaN where
            there are none; None where the bundle has no side for words. For the search.
        verdicts: Pair ``a-b`` -> verdict of the alignment.
    """

    windows: tuple[Interval, ...]
    embeddings: dict[str, Singles]
    reasons: dict[str, np.ndarray]
    agreement: dict[str, Floats]
    excerpts: tuple[str, ...]
    verdicts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    said: Singles | None = None


@dataclass(frozen=True, eq=False)
class WindowStreams:
    """The streams of a recording that windows are made of.

    Attributes:
        faces: With embeddings kept (``FaceSettings.keep_embeddings``), or None.
        voice: None without audio.
        transcript: None without words.
        turns: Turns of the recording.
        windows: The grid.
    """

    faces: FaceStream | None
    voice: VoiceStream | None
    transcript: Transcript | None
    turns: Sequence[Turn]
    windows: tuple[Interval, ...]


def window_inputs(bundle: Bundle, seen: WindowStreams) -> dict[str, Singles]:
    """Modality -> (W, D) vectors of a recording before any mean is taken out, NaN where missing.

    A modality that the recording does not have at all is rows of NaN of the size it would have.
    """
    own = own_stretches(seen.turns)
    sentences = None
    if seen.transcript is not None and seen.transcript.utterances and bundle.has_text_tower:
        texts = [u.text[-_LONGEST_TEXT:] or " " for u in seen.transcript.utterances]
        sentences = bundle.embed_texts(texts)
    found = {
        "face": face_vectors(seen.faces, seen.windows),
        "voice": prosody_vectors(seen.voice, seen.windows, own),
        "text": text_vectors(seen.transcript, sentences, seen.windows, own),
    }
    n, sizes = len(seen.windows), vector_sizes(bundle)
    return {
        m: np.full((n, sizes[m]), np.nan, np.float32) if rows is None else rows
        for m, rows in found.items()
    }


def vector_sizes(bundle: Bundle) -> dict[str, int]:
    """Modality -> D, of the vectors that the heads take."""
    return {"face": bundle.embedding_size, "voice": len(PROSODY), "text": bundle.embedding_size}


def verdicts_of(bundle: Bundle) -> dict[str, Mapping[str, Any]]:
    """Pair ``a-b`` -> verdict of an aligned bundle; ``no_verdict`` where it is older than these."""
    section = bundle.document.alignment or {}
    given = section.get("verdict", {})
    names = section.get("modalities", ())
    return {
        f"{a}-{b}": given.get(f"{a}-{b}", {"code": NO_VERDICT})
        for a, b in PAIRS
        if a in names and b in names
    }


def verdict_notices(verdicts: Mapping[str, Mapping[str, Any]]) -> list[Text]:
    """One sentence a pair of modalities, for whoever uses the bundle."""
    said = [sentence(pair, verdict) for pair, verdict in verdicts.items()]
    return [Text(f"alignment of the bundle, {t.en}", f"번들의 정렬, {t.ko}") for t in said]


def masked_notice(verdicts: Mapping[str, Mapping[str, Any]], shown: bool) -> Text | None:
    """The notice about masked or unproven agreement; None if every pair was found."""
    if all(verdict["code"] == FOUND for verdict in verdicts.values()):
        return None
    if shown:
        return Text(
            "the agreement of face, voice and words is shown although the bundle's alignment was "
            "not confirmed (`unproven_agreement=true`): it is not known what it measures",
            "번들의 정렬은 확인되지 않았지만 요청하신 대로 얼굴·목소리·말의 일치도를 "
            "표시합니다(`unproven_agreement=true`). 무엇을 재는지 알 수 없는 값입니다",
        )
    return Text(
        "the agreement of pairs without a confirmed alignment is masked (unvalidated); to see it "
        "anyway: `unproven_agreement=true`",
        "정렬이 확인되지 않은 쌍의 일치도는 표시하지 않습니다(unvalidated). 그래도 보려면 "
        "`unproven_agreement=true`",
    )


def read_heads(bundle: Bundle) -> Heads | None:
    """The heads of a bundle, None where it is not aligned.

    Raises:
        BundleError: The heads are damaged or do not fit the bundle.
    """
    section = bundle.document.alignment
    if section is None:
        return None
    path = bundle.path / ALIGNMENT_FILE
    try:
        arrays = read_arrays(path)
        heads = {
            str(m): Head(*(arrays[f"{m}_{part}"] for part in _HEAD)) for m in section["modalities"]
        }
        correlations = arrays["correlations"]
    except (OSError, KeyError, TypeError, ValueError) as exc:
        raise _unfit(path, exc) from exc
    for name, head in heads.items():
        expected = vector_sizes(bundle).get(name)
        if len(head.weight) != expected:
            raise _unfit(path, f"{name}: {len(head.weight)} numbers, expected {expected}")
    return Heads(heads, str(section.get("method", "")), correlations, section)


def write_heads(path: Path, heads: Heads) -> None:
    """Write ``alignment.npz``: per modality centre, scale and weight, and the correlations."""
    arrays = ((m, head, part) for m, head in heads.heads.items() for part in _HEAD)
    _save(
        path,
        {f"{m}_{part}": getattr(head, part) for m, head, part in arrays}
        | {"correlations": heads.correlations},
    )


def write_aligned_bundle(
    source: Path, target: Path, heads: Heads, result: Mapping[str, Any]
) -> None:
    """Copy a bundle and add the heads; everything else stays as it is.

    Args:
        source: The bundle whose models the heads were fitted to.
        target: Folder to write; an earlier one is replaced.
        heads: Of the alignment.
        result: ``result.json``; its figures go into the bundle's section.

    Raises:
        InputError: It cannot be written.
    """
    with replaced_folder(target) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        _add_heads(folder, heads, result)
        load_bundle(folder, threads=1)  # what was written can be read


def _add_heads(target: Path, heads: Heads, result: Mapping[str, Any]) -> None:
    document = read_json(target / BUNDLE_FILE)
    write_heads(target / ALIGNMENT_FILE, heads)
    document["checksums"] = document["checksums"] | {
        ALIGNMENT_FILE: sha256_file(target / ALIGNMENT_FILE)
    }
    document[ALIGNMENT] = {
        "modalities": list(heads.modalities),
        "method": heads.method,
        "size": heads.size,
        "window_s": result["window_s"],
        "people": result["assessment"]["people"],
        "windows": result["assessment"]["windows"],
        "synthetic": result["synthetic"],
        "trend": TREND,
        "headline": result["assessment"]["headline"],
        "verdict": {
            name: {k: v for k, v in pair["verdict"].items() if k not in ("text", "text_ko")}
            for name, pair in result["assessment"]["pairs"].items()
        },
        "identity": {
            modality: {k: probe[k] for k in ("state", "chance", "above_chance", "margin", "people")}
            for modality, probe in result["assessment"]["identity"].items()
        },
    }
    write_json(target / BUNDLE_FILE, sealed_document(document))


# -- a recording in the space ----------------------------------------------------------------------


def align_windows(bundle: Bundle, seen: WindowStreams) -> AlignedWindows | None:
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
    placed = heads.project(leveller(heads)(table))
    absent = {
        "face": "no_video" if seen.faces is None else "no_face",
        "voice": "no_audio" if seen.voice is None else "silence",
        "text": "no_transcript" if seen.transcript is None else "silence",
    }
    return AlignedWindows(
        windows=seen.windows,
        embeddings=placed,
        reasons={
            m: np.where(
                np.isfinite(rows).all(axis=1),
                "",
                np.where(table.present(m), "too_few", absent[m]),
            )
            for m, rows in placed.items()
        },
        agreement={
            f"{a}-{b}": np.asarray((placed[a] * placed[b]).sum(axis=1), np.float64)
            for a, b in PAIRS
            if a in placed and b in placed
        },
        excerpts=excerpts_of(seen.transcript, seen.windows),
        verdicts=verdicts_of(bundle),
        said=_said(bundle, seen),
    )


def leveller(heads: Heads) -> Callable[[WindowTable], WindowTable]:
    """What takes the mean or the trend out of a recording before these heads see it."""
    return detrended if heads.details.get("trend") == TREND else centred


def _said(bundle: Bundle, seen: WindowStreams) -> Singles | None:
    """(W, E) of the sentences that are scored; those left out leave no trace here either."""
    scores = text_chances(bundle, seen.transcript).scores
    if scores is None or seen.transcript is None:
        return None
    kept = np.asarray(np.isfinite(scores).all(axis=1))
    said = zip(seen.transcript.utterances, kept.tolist(), strict=True)
    some = [utterance for utterance, there in said if there]
    if not some:
        return np.full((len(seen.windows), scores.shape[1]), np.nan, np.float32)
    part = replace(seen.transcript, utterances=tuple(some))
    return text_vectors(part, scores[kept], seen.windows, own_stretches(seen.turns))


def agreement_blocks(aligned: AlignedWindows, *, unproven: bool = False) -> Iterator[MeasureBlock]:
    """``agreement_<a>_<b>`` per window: the cosine of two modalities in the shared space.

    Args:
        aligned: The recording in the shared space.
        unproven: Whether pairs without a found shared state are shown.
    """
    edges = bounds(aligned.windows)
    for name, value in aligned.agreement.items():
        a, b = name.split("-")
        there = np.isfinite(value)
        first, second = aligned.reasons[a], aligned.reasons[b]
        reason = np.where(there, "", np.where(first != "", first, second))
        if not unproven and aligned.verdicts.get(name, {}).get("code") != FOUND:
            reason = np.where(there, "unvalidated", reason)
            value, there = np.full(len(value), np.nan), np.zeros(len(value), bool)
        yield MeasureBlock(
            scope="window",
            modality="fused",
            measure=f"agreement_{a}_{b}",
            unit="cosine",
            grade=None,
            t_start=edges[:, 0],
            t_end=edges[:, 1],
            value=value,
            n_expected=np.ones(len(value), np.int64),
            n_valid=there.astype(np.int64),
            confidence=np.full(len(value), np.nan),
            mask_reason=reason.astype(np.str_),
            experimental=True,
        )


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
    for modality in MODALITIES:
        rows = aligned.embeddings.get(modality)
        arrays[modality] = empty if rows is None else rows.astype(np.float16)
    if aligned.said is not None:
        arrays[SAID] = aligned.said.astype(np.float16)
    _save(path, arrays)
    return path


def _save(path: Path, arrays: dict[str, Any]) -> None:
    with atomic_path(path) as partial, partial.open("wb") as stream:
        np.savez(stream, **arrays)  # such numbers do not compress


def _unfit(path: Path, reason: object) -> BundleError:
    return BundleError(
        Text(
            f"{path}: the alignment does not fit this bundle: {reason}; run nunbit align again",
            f"{path}: 정렬이 이 번들과 맞지 않습니다: {reason}. nunbit align을 다시 실행하십시오",
        )
    )


def read_windows(path: Path) -> dict[str, Any]:
    """The arrays of a ``windows.npz``; ``excerpts`` as a tuple of texts.

    Raises:
        InputError: It is missing, damaged or of another format.
    """
    try:
        found: dict[str, Any] = dict(read_arrays(path))
        if str(found["format"]) != WINDOWS_FORMAT:
            raise ValueError(str(found["format"]))
        found["excerpts"] = tuple(json.loads(found["excerpts"].tobytes().decode()))
        n = len(found["t_start"])
        if any(len(found.get(k, range(n))) != n for k in ("t_end", "excerpts", SAID, *MODALITIES)):
            raise ValueError("rows differ in number")
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as exc:
        raise InputError(
            Text(
                f"{path}: cannot read these windows: {exc}; analyse the recording again",
                f"{path}: 창 파일을 읽을 수 없습니다: {exc}. 녹화를 다시 분석하십시오",
            )
        ) from exc
    return found
