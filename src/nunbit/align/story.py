"""Run ``nunbit align``: recordings to windows, windows to heads, judged on people left out.

``RUN/`` gets ``recordings/`` (windows, so that an interrupted run goes on; ``--forget`` deletes
them), ``result.json``, ``report.html``, figures and ``bundle/``: a copy of the bundle with the
heads and the verdict, for ``analyze``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.align.bundling import write_aligned_bundle
from nunbit.align.forgetting import forget, kept_readings, say_forgotten
from nunbit.align.persons import persons_notice, persons_of
from nunbit.align.reading import RecordingWindows, read_recording, reading_job, with_companions
from nunbit.align.settings import (
    ENOUGH_FOR_INFONCE,
    FEWEST_WINDOWS,
    RECORDINGS,
    RESULT,
    AlignSettings,
)
from nunbit.alignment import (
    MODALITIES,
    NUISANCES,
    Heads,
    RetrievalSettings,
    WindowTable,
    assess,
    centred,
    detrended,
    erasing,
    fit_cca,
    independent_windows,
)
from nunbit.analyze.story import (
    TRANSCRIPT_SUFFIXES,
    companion,
    list_media,
    require_media_extra,
    session_names,
)
from nunbit.config import settings_to_dict
from nunbit.encoders import load_bundle
from nunbit.errors import InputError, Lang, MissingExtra
from nunbit.files import write_json, writing
from nunbit.predict.shipped import default_bundle_path
from nunbit.progress import Progress, say
from nunbit.provenance import provenance
from nunbit.report.alignment_page import render_alignment
from nunbit.streams import Singles
from nunbit.workers import available_cores, run_tasks

FORMAT = "nunbit-alignment-2"

Contrastive = Callable[[WindowTable, Heads, AlignSettings], Heads]
"""Contrastive learning from heads to start with; the training extra has it."""

Notices = list[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class _Corpus:
    """All recordings that could be read."""

    raw: WindowTable
    sessions: tuple[str, ...]
    persons: tuple[str, ...]
    synthetic: bool
    absent: dict[str, tuple[str, str]]


def align(
    media: Sequence[Path],
    out: Path,
    settings: AlignSettings,
    *,
    bundle: Path | None = None,
    contrastive: Contrastive | None = None,
    lang: Lang,
) -> dict[str, Any]:
    """Learn and judge an alignment.

    Args:
        media: Recordings or folders of them.
        out: The run's folder.
        settings: How.
        bundle: Whose face and text models are used; None takes the shipped bundle.
        contrastive: Contrastive learning; None where torch is not installed.
        lang: Language of progress and report.

    Returns:
        ``result.json``.

    Raises:
        InputError: Nothing to learn from: too few windows, one modality only, persons unclear.
        MissingExtra: ``method = infonce`` without the training extra, or no decoder.
    """
    require_media_extra()
    if settings.method == "infonce" and contrastive is None:
        raise MissingExtra("torch", "train")
    paths = list_media(media)
    persons = persons_of(paths, settings.persons)
    folder = (bundle or default_bundle_path()).resolve()
    notices: Notices = list(persons_notice(paths, persons, settings.persons, lang))
    read = _read_all(paths, out, settings, folder, lang)
    corpus = _corpus(read, persons, settings, notices)
    table = centred(corpus.raw, settings.centre)
    table = _usable(table, corpus.absent, notices)
    raw = corpus.raw.only(table.modalities)
    independent = independent_windows(table)
    method = _method(settings, independent, contrastive, notices)
    centres = _centres(raw)

    def fit(part: WindowTable) -> Heads:
        heads = fit_cca(part, centres=centres)
        return contrastive(part, heads, settings) if method == "infonce" and contrastive else heads

    judged = assess(
        table,
        raw,
        fit,
        _retrieval(settings),
        most_folds=settings.folds,
        headline="without_talking" if settings.without_talking else "matched",
    )
    # What is used is what the headline is about.
    heads = (erasing(fit) if settings.without_talking else fit)(detrended(raw))
    bundle_hash = load_bundle(folder, threads=1).hash
    document = {
        "format": FORMAT,
        "method": method,
        "verdict": judged.document["verdict"],
        "synthetic": corpus.synthetic,
        "modalities": list(table.modalities),
        "coverage": {m: float(table.present(m).mean()) for m in table.modalities},
        "independent_windows": independent,
        "window_s": settings.window_s,
        "candidates": settings.n_candidates,
        "assessment": judged.document,
        "correlations": [round(float(r), 4) for r in heads.correlations[:20]],
        "fit": dict(heads.details),
        "persons": _person_rows(corpus, table),
        "notices": [list(n) for n in dict.fromkeys(notices)],
        "readings": kept_readings(out),
        "provenance": provenance(
            "align",
            settings_to_dict(settings),
            seeds={"seed": settings.seed},
            inputs={"bundle": bundle_hash},
        ),
    }
    write_aligned_bundle(folder, out / "bundle", heads, document)
    write_json(out / RESULT, document)
    if settings.forget:
        return forget(out, lang=lang)
    render_alignment(out, lang=lang)
    return document


def _read_all(
    paths: Sequence[Path], out: Path, settings: AlignSettings, bundle: Path, lang: Lang
) -> list[RecordingWindows]:
    """Windows of every recording, in the order given; those that fail are said and left out."""
    digest = load_bundle(bundle, threads=1).hash
    cache = out / RECORDINGS
    say_forgotten(out, lang)
    with writing(cache):
        cache.mkdir(parents=True, exist_ok=True)
    names = session_names(paths)
    jobs = [
        with_companions(
            reading_job(path, name, cache, (bundle, digest), settings),
            companion(settings.transcript, path, len(paths), TRANSCRIPT_SUFFIXES),
            companion(settings.speakers, path, len(paths), (".rttm",)),
        )
        for path, name in zip(paths, names, strict=True)
    ]
    found: dict[str, RecordingWindows] = {}
    title = "녹화 읽기" if lang == "ko" else "reading"
    workers = min(settings.workers or available_cores(), len(jobs))
    with Progress(title, None, "s", lang=lang) as bar:
        for result in run_tasks(read_recording, jobs, num_workers=workers, advance=bar.advance):
            found[result.session] = result
            if result.error is not None:
                say(f"nunbit: {result.session}: {result.error[lang == 'ko']}")
    kept = sum(r.kept for r in found.values())
    if kept:
        say(f"녹화 {kept}개는 이미 읽은 것을 씁니다" if lang == "ko"
            else f"{kept} recordings were read before and are kept")  # fmt: skip
    return [found[name] for name in names]


def _corpus(
    read: Sequence[RecordingWindows],
    persons: Sequence[str],
    settings: AlignSettings,
    notices: Notices,
) -> _Corpus:
    """One table of all windows that could be read."""
    good = [(r, p) for r, p in zip(read, persons, strict=True) if r.error is None]
    for result in read:
        if result.error is not None:
            en, ko = result.error
            notices.append((f"left out: {result.session}: {en}", f"제외됨: {result.session}: {ko}"))
        notices += [(f"{result.session}: {en}", f"{result.session}: {ko}")
                    for en, ko in result.notices]  # fmt: skip
    if not good:
        first = read[0].error or ("", "")
        raise InputError(
            en=f"none of the {len(read)} recordings could be read; the first: {first[0]}",
            ko=f"녹화 {len(read)}개를 모두 읽지 못했습니다. 첫 번째 이유: {first[1]}",
        )
    _say_short([r for r, _ in good], settings.window_s, notices)
    counts = [len(r.start_s) for r, _ in good]
    names = sorted({p for _, p in good})
    table = WindowTable(
        vectors={
            m: np.concatenate([r.vectors[m] for r, _ in good]).astype(np.float32)
            for m in MODALITIES
        },
        recording=np.repeat(np.arange(len(good)), counts),
        person=np.repeat([names.index(p) for _, p in good], counts).astype(np.int64),
        start_s=np.concatenate([r.start_s for r, _ in good]),
        length_s=settings.window_s,
        nuisance={name: np.concatenate([r.nuisance[name] for r, _ in good]) for name in NUISANCES},
    )
    return _Corpus(
        raw=table,
        sessions=tuple(r.session for r, _ in good),
        persons=tuple(names),
        synthetic=any(r.synthetic for r, _ in good),
        absent=_absent([r for r, _ in good]),
    )


def _say_short(read: Sequence[RecordingWindows], window_s: float, notices: Notices) -> None:
    """Say which recordings hold no whole window.

    Raises:
        InputError: None does.
    """
    short = [r for r in read if not len(r.start_s)]
    if not short:
        return
    longest = max(r.duration_s for r in short)
    if len(short) == len(read):
        raise InputError(
            en=f"all {len(read)} recordings are shorter than a window of {window_s:g} s (the "
            f"longest has {longest:.1f} s): nothing can be aligned; give longer recordings, or "
            "shorter windows with --set window_s",
            ko=f"녹화 {len(read)}개가 모두 구간 하나({window_s:g}초)보다 짧아(가장 긴 것 "
            f"{longest:.1f}초) 정렬할 수 없습니다. 더 긴 녹화를 주거나 --set window_s로 구간을 "
            "줄이십시오",
        )
    notices.append(
        (f"{len(short)} of {len(read)} recordings are shorter than a window of {window_s:g} s and "
         "give none",
         f"녹화 {len(read)}개 중 {len(short)}개는 구간 하나({window_s:g}초)보다 짧아 쓰지 "
            "못했습니다")
    )  # fmt: skip


def _absent(read: Sequence[RecordingWindows]) -> dict[str, tuple[str, str]]:
    """Why a modality would be missing, as far as the recordings say."""
    words = sum(r.transcript for r in read)
    return _ABSENT | ({"text": _UNUSED_WORDS} if words else {})


def _usable(
    table: WindowTable, absences: dict[str, tuple[str, str]], notices: Notices
) -> WindowTable:
    """The modalities that are there, once they suffice to learn from.

    Raises:
        InputError: Fewer than two modalities, or fewer than 60 windows with two.
    """
    there = table.modalities
    absent = [m for m in MODALITIES if m not in there]
    for m in absent:
        en, ko = absences[m]
        notices.append((en, ko))
    if len(there) < 2:
        names_en = ", ".join(there) or "nothing"
        names_ko = ", ".join(_KO[m] for m in there) or "없음"
        raise InputError(
            en=f"an alignment needs two of face, voice and words; found: {names_en} "
            f"({'; '.join(absences[m][0] for m in absent)})",
            ko=f"정렬에는 얼굴, 목소리, 말 중 둘이 필요합니다. 있는 것: {names_ko} "
            f"({'; '.join(absences[m][1] for m in absent)})",
        )
    table = table.only(there)
    n = int((np.sum([table.present(m) for m in there], axis=0) >= 2).sum())
    if n < FEWEST_WINDOWS:
        raise InputError(
            en=f"only {n} windows have two modalities; at least {FEWEST_WINDOWS} are needed (about "
            "a minute in which a face is seen and a voice is heard), and many people to judge it",
            ko=f"두 가지가 함께 있는 구간이 {n}개뿐입니다. 적어도 {FEWEST_WINDOWS}개(얼굴이 보이고 "
            "목소리가 들리는 약 1분)가 필요하고, 평가하려면 여러 사람이 있어야 합니다",
        )
    return table


def _method(
    settings: AlignSettings, independent: int, contrastive: Contrastive | None, notices: Notices
) -> str:
    if settings.method != "auto":
        if settings.method == "infonce" and independent < ENOUGH_FOR_INFONCE:
            notices.append(
                (f"contrastive learning was asked for with {independent} windows that do not "
                 f"overlap; below {ENOUGH_FOR_INFONCE:,} ridge CCA is the safer choice",
                 f"겹치지 않는 구간이 {independent}개인데 대조 학습을 골랐습니다. "
                 f"{ENOUGH_FOR_INFONCE:,}개 미만에서는 능형 CCA가 더 안전합니다")
            )  # fmt: skip
        return settings.method
    if independent < ENOUGH_FOR_INFONCE:
        return "cca"
    if contrastive is None:
        notices.append(
            ("enough windows for contrastive learning, but torch is not installed: ridge CCA "
             "(pip install 'nunbit[train]')",
             "대조 학습을 할 만큼 구간이 많지만 torch가 설치되어 있지 않아 능형 CCA를 썼습니다 "
             "(pip install 'nunbit[train]')")
        )  # fmt: skip
        return "cca"
    return "infonce"


def _centres(raw: WindowTable) -> dict[str, Singles]:
    return {
        m: np.asarray(raw.vectors[m][raw.present(m)].mean(axis=0, dtype=np.float64), np.float32)
        for m in raw.modalities
    }


def _retrieval(settings: AlignSettings) -> RetrievalSettings:
    return RetrievalSettings(
        n_candidates=settings.n_candidates,
        apart_s=settings.apart_s,
        seed=settings.seed,
    )


def _person_rows(corpus: _Corpus, table: WindowTable) -> list[dict[str, Any]]:
    """Windows per person and modality, people numbered: names are not for reports."""
    rows = []
    for code in range(len(corpus.persons)):
        own = table.person == code
        rows.append(
            {
                "person": code + 1,
                "recordings": len(np.unique(table.recording[own])),
                "windows": int(own.sum()),
                **{m: int((table.present(m) & own).sum()) for m in table.modalities},
            }
        )
    return rows


_KO = {"face": "얼굴", "voice": "목소리", "text": "말"}
_ABSENT = {
    "face": (
        "no window has a readable face",
        "읽을 수 있는 얼굴이 있는 구간이 없습니다",
    ),
    "voice": (
        "no window has a voice: no sound, or silence throughout",
        "목소리가 있는 구간이 없습니다. 소리가 없거나 내내 조용합니다",
    ),
    "text": (
        "no window has words: no transcript was given (--transcript), or the bundle has no text "
        "tower",
        "말이 있는 구간이 없습니다. 전사(--transcript)가 없거나 번들에 텍스트 인코더가 없습니다",
    ),
}
_UNUSED_WORDS = (
    "words were given, but no recording has eight windows with a second of the person's words, or "
    "the bundle has no text tower",
    "말이 주어졌지만 그 사람의 말이 1초 이상 든 구간이 여덟 개 있는 녹화가 없거나 번들에 텍스트 "
    "인코더가 없습니다",
)
