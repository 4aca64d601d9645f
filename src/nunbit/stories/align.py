"""The story of ``nunbit align``: recordings to windows and heads, tested on people left out.

``RUN/`` gets ``recordings/`` (windows, so that an interrupted run goes on; ``--forget`` deletes
them), ``result.json``, ``report.html``, figures and ``bundle/``: a copy of the bundle with the
heads and the verdict, for ``analyze``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.core.messages import NO_TEXT, InputError, MissingExtra, Text, joined
from nunbit.core.streams import MODALITIES, Singles
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import load_bundle
from nunbit.recording.paths import (
    SPEAKER_SUFFIXES,
    TRANSCRIPT_SUFFIXES,
    companion,
    list_media,
    persons_notice,
    persons_of,
    require_media_extra,
    session_names,
)
from nunbit.recording.read import refuse_shared, same_recordings
from nunbit.report.alignment_page import render_alignment
from nunbit.runtime.claims import claimed
from nunbit.runtime.config import settings_to_dict
from nunbit.runtime.engines import EngineChoice, described, open_engine
from nunbit.runtime.files import write_json, writing
from nunbit.runtime.progress import Progress, say, spoken_lang
from nunbit.runtime.resources import provenance
from nunbit.space.cca import Heads, fit_cca, independent_windows
from nunbit.space.held_out import assess_alignment, erasing
from nunbit.space.retrieval import RetrievalSettings
from nunbit.space.vectors import NUISANCES, WindowTable, centred, detrended
from nunbit.space.window_reading import (
    ENOUGH_FOR_INFONCE,
    FEWEST_WINDOWS,
    RECORDINGS,
    RESULT,
    AlignSettings,
    RecordingWindows,
    delete_readings,
    kept_readings,
    lost_windows,
    recording_windows,
    refuse_inside,
    refuse_other_run,
    windows_job,
)
from nunbit.space.windows import write_aligned_bundle

FORMAT = "nunbit-alignment-2"

Contrastive = Callable[[WindowTable, Heads, AlignSettings], Heads]
"""Contrastive learning from heads to start with; the training extra has it."""

Notices = list[Text]


@dataclass(frozen=True, eq=False)
class _Corpus:
    """All recordings that could be read."""

    raw: WindowTable
    sessions: tuple[str, ...]
    persons: tuple[str, ...]
    synthetic: bool
    absent: dict[str, Text]


@dataclass(frozen=True, eq=False)
class _Learned:
    """Heads, and what they are worth."""

    method: str
    heads: Heads
    assessment: Mapping[str, Any]
    bundle_hash: str


def align(
    media: Sequence[Path],
    out: Path,
    settings: AlignSettings,
    *,
    bundle: Path | None = None,
    contrastive: Contrastive | None = None,
) -> Mapping[str, Any]:
    """Learn and test an alignment.

    Args:
        media: Recordings or folders of them.
        out: The run's folder.
        settings: How.
        bundle: Whose face and text models are used; None takes the shipped bundle.
        contrastive: Contrastive learning; None where torch is not installed.

    Returns:
        ``result.json``.

    Raises:
        InputError: Nothing to learn from.
        MissingExtra: ``method = infonce`` without the training extra, or no decoder.
    """
    require_media_extra()
    if settings.method == "infonce" and contrastive is None:
        raise MissingExtra("torch", "train")
    with claimed(out):
        return _align(media, out, settings, bundle, contrastive)


def _align(
    media: Sequence[Path],
    out: Path,
    settings: AlignSettings,
    bundle: Path | None,
    contrastive: Contrastive | None,
) -> Mapping[str, Any]:
    paths = list_media(media)
    refuse_other_run(out)
    refuse_inside(paths, out)
    persons = persons_of(paths, settings.persons)
    folder = (bundle or default_bundle_path()).resolve()
    notices: Notices = list(persons_notice(paths, persons, settings.persons))
    notices += same_recordings(paths, persons)
    read, engine = _read_all(paths, out, settings, folder)
    corpus = _corpus(read, persons, settings, notices)
    table = _usable(centred(corpus.raw, settings.centre), corpus.absent, notices)
    raw = corpus.raw.only(table.modalities)
    method = _method(settings, independent_windows(table), contrastive, notices)
    centres = _centres(raw)

    refine = contrastive if method == "infonce" else None

    def fit(part: WindowTable) -> Heads:
        heads = fit_cca(part, centres=centres)
        return heads if refine is None else refine(part, heads, settings)

    how = RetrievalSettings(settings.n_candidates, settings.apart_s, seed=settings.seed)
    judged = assess_alignment(
        table, raw, fit, how, most_folds=settings.folds,
        headline="without_talking" if settings.without_talking else "matched",
    )  # fmt: skip
    # What is used is what the headline is about.
    heads = (erasing(fit) if settings.without_talking else fit)(detrended(raw))
    learned = _Learned(method, heads, judged.document, load_bundle(folder, threads=1).hash)
    document = _document(corpus, table, learned, settings, notices, kept_readings(out))
    document["provenance"]["engine"] = engine
    write_aligned_bundle(folder, out / "bundle", heads, document)
    write_json(out / RESULT, document)
    if settings.forget:
        return forget(out)
    render_alignment(out, lang=spoken_lang())
    return document


def forget(run: Path) -> Mapping[str, Any]:
    """Delete the window vectors of a run and write its report anew; result and bundle stay.

    Raises:
        InputError: There is no run here, or a file cannot be deleted.
    """
    document = delete_readings(run)
    if (run / RESULT).is_file():
        render_alignment(run, lang=spoken_lang())
    return document


def _document(
    corpus: _Corpus,
    table: WindowTable,
    learned: _Learned,
    settings: AlignSettings,
    notices: Notices,
    readings: object,
) -> dict[str, Any]:
    """``result.json``."""
    heads = learned.heads
    return {
        "format": FORMAT,
        "method": learned.method,
        "verdict": learned.assessment["verdict"],
        "synthetic": corpus.synthetic,
        "modalities": list(table.modalities),
        "coverage": {m: float(table.present(m).mean()) for m in table.modalities},
        "independent_windows": independent_windows(table),
        "window_s": settings.window_s,
        "candidates": settings.n_candidates,
        "assessment": dict(learned.assessment),
        "correlations": [round(float(r), 4) for r in heads.correlations[:20]],
        "fit": dict(heads.details),
        "persons": _person_rows(corpus, table),
        "notices": [notice.pair() for notice in dict.fromkeys(notices)],
        "readings": readings,
        "provenance": provenance(
            "align",
            settings_to_dict(settings),
            seeds={"seed": settings.seed},
            inputs={"bundle": learned.bundle_hash},
        ),
    }


def _read_all(
    paths: Sequence[Path], out: Path, settings: AlignSettings, bundle: Path
) -> tuple[list[RecordingWindows], dict[str, Any]]:
    """Windows of every recording, in the order given, and who read them; failures are reported."""
    digest = load_bundle(bundle, threads=1).hash
    cache = out / RECORDINGS
    say_forgotten(out)
    with writing(cache):
        cache.mkdir(parents=True, exist_ok=True)
    names = session_names(paths)
    jobs = [
        windows_job(
            path,
            name,
            cache,
            (bundle, digest),
            settings,
            (
                companion(settings.transcript, path, len(paths), TRANSCRIPT_SUFFIXES),
                companion(settings.speakers, path, len(paths), SPEAKER_SUFFIXES),
            ),
        )
        for path, name in zip(paths, names, strict=True)
    ]
    refuse_shared(
        (own.media, *given)
        for own in (job.recording for job in jobs)
        for given in ((settings.transcript, own.transcript), (settings.speakers, own.speakers))
    )
    lost = lost_windows if len(jobs) > 1 else None
    found: dict[str, RecordingWindows] = {}
    choice = EngineChoice(settings.engine, settings.address, settings.workers)
    reads = sorted({bundle, *(path.parent for path in paths)})
    with (
        open_engine(choice, len(jobs), reads=reads, out=cache) as engine,
        Progress(Text("reading", "녹화 읽기"), None, "s") as bar,
    ):
        for result in engine.run(recording_windows, jobs, advance=bar.advance, lost=lost):
            found[result.session] = result
            if result.error is not None:
                say(result.error.under(f"nunbit: {result.session}"))
    kept = sum(r.kept for r in found.values())
    if kept:
        say(
            Text(
                f"{kept} recordings were read earlier and are reused",
                f"녹화 {kept}개는 이미 읽어 둔 결과를 사용합니다",
            )
        )
    return [found[name] for name in names], described(engine)


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
            said = result.error.under(result.session)
            notices.append(Text(f"left out: {said.en}", f"제외됨: {said.ko}"))
        notices += [notice.under(result.session) for notice in result.notices]
    if not good:
        why = read[0].error or NO_TEXT
        raise InputError(
            Text(
                f"none of the {len(read)} recordings could be read; the first: {why.en}",
                f"녹화 {len(read)}개를 모두 읽지 못했습니다. 첫 번째 이유: {why.ko}",
            )
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
        absent=_ABSENT | ({"text": _UNUSED_WORDS} if any(r.transcript for r, _ in good) else {}),
    )


def _say_short(read: Sequence[RecordingWindows], window_s: float, notices: Notices) -> None:
    """Report recordings that are shorter than a window.

    Raises:
        InputError: None does.
    """
    short = [r for r in read if not len(r.start_s)]
    if not short:
        return
    longest = max(r.duration_s for r in short)
    if len(short) == len(read):
        raise InputError(
            Text(
                f"all {len(read)} recordings are shorter than one window of {window_s:g} s (the "
                f"longest has {longest:.1f} s): nothing can be aligned; give longer recordings, "
                "or shorter windows with `window_s`",
                f"녹화 {len(read)}개가 모두 창 하나({window_s:g}초)보다 짧아(가장 긴 것 "
                f"{longest:.1f}초) 정렬할 수 없습니다. 더 긴 녹화를 주거나 `window_s`로 창을 "
                "줄이십시오",
            )
        )
    notices.append(
        Text(
            f"{len(short)} of {len(read)} recordings are shorter than one window of {window_s:g} "
            "s and give none",
            f"녹화 {len(read)}개 중 {len(short)}개는 창 하나({window_s:g}초)보다 짧아 쓰지 "
            "못했습니다",
        )
    )


def _usable(table: WindowTable, absences: dict[str, Text], notices: Notices) -> WindowTable:
    """The modalities with enough windows to learn from.

    Raises:
        InputError: Fewer than two modalities, or fewer than 60 windows with two.
    """
    there = table.modalities
    absent = [m for m in MODALITIES if m not in there]
    notices += [absences[m] for m in absent]
    if len(there) < 2:
        names = Text(", ".join(there) or "nothing", ", ".join(_KO[m] for m in there) or "없음")
        why = joined("; ", [absences[m] for m in absent])
        raise InputError(
            Text(
                f"an alignment needs two of face, voice and words; found: {names.en} ({why.en})",
                f"정렬에는 얼굴, 목소리, 말 중 둘이 필요합니다. 있는 것: {names.ko} ({why.ko})",
            )
        )
    table = table.only(there)
    n = int((np.sum([table.present(m) for m in there], axis=0) >= 2).sum())
    if n < FEWEST_WINDOWS:
        raise InputError(
            Text(
                f"only {n} windows have two modalities; at least {FEWEST_WINDOWS} are needed "
                "(about a minute with a face and a voice), and many people to test the alignment",
                f"두 모달리티가 함께 있는 창이 {n}개뿐입니다. 적어도 {FEWEST_WINDOWS}개(얼굴이 "
                "보이고 목소리가 들리는 약 1분)가 필요하고, 평가하려면 여러 사람이 있어야 합니다",
            )
        )
    return table


def _method(
    settings: AlignSettings, independent: int, contrastive: Contrastive | None, notices: Notices
) -> str:
    if settings.method != "auto":
        if settings.method == "infonce" and independent < ENOUGH_FOR_INFONCE:
            notices.append(
                Text(f"contrastive learning was requested with {independent} windows that do not "
                 f"overlap; below {ENOUGH_FOR_INFONCE:,} ridge CCA is the safer choice",
                 f"겹치지 않는 창이 {independent}개인데 대조 학습을 골랐습니다. "
                 f"{ENOUGH_FOR_INFONCE:,}개 미만에서는 릿지 CCA가 더 안전합니다")
            )  # fmt: skip
        return settings.method
    if independent < ENOUGH_FOR_INFONCE:
        return "cca"
    if contrastive is None:
        notices.append(
            Text("enough windows for contrastive learning, but torch is not installed: ridge CCA "
             "(pip install 'nunbit[train]')",
             "대조 학습을 할 만큼 창이 많지만 torch가 설치되어 있지 않아 릿지 CCA를 썼습니다 "
             "(pip install 'nunbit[train]')")
        )  # fmt: skip
        return "cca"
    return "infonce"


def _centres(raw: WindowTable) -> dict[str, Singles]:
    return {
        m: np.asarray(raw.vectors[m][raw.present(m)].mean(axis=0, dtype=np.float64), np.float32)
        for m in raw.modalities
    }


def _person_rows(corpus: _Corpus, table: WindowTable) -> list[dict[str, Any]]:
    """Windows per person and modality, people numbered: names are not for reports."""
    theirs = [table.person == code for code in range(len(corpus.persons))]
    return [
        {
            "person": number,
            "recordings": len(np.unique(table.recording[own])),
            "windows": int(own.sum()),
            **{m: int((table.present(m) & own).sum()) for m in table.modalities},
        }
        for number, own in enumerate(theirs, start=1)
    ]


_KO = {"face": "얼굴", "voice": "목소리", "text": "말"}
_ABSENT = {
    "face": Text("no window has a readable face", "읽을 수 있는 얼굴이 있는 창이 없습니다"),
    "voice": Text(
        "no window has speech: there is no sound, or only silence",
        "말소리가 있는 창이 없습니다. 소리가 없거나 내내 조용합니다",
    ),
    "text": Text(
        "no window has words: no transcript was given (`transcript`), or the bundle has no text "
        "tower",
        "말이 있는 창이 없습니다. 전사(`transcript`)가 없거나 번들에 텍스트 인코더가 없습니다",
    ),
}
_UNUSED_WORDS = Text(
    "words were given, but no recording has eight windows with a second of the person's words, "
    "or the bundle has no text tower for them",
    "말이 주어졌지만 그 사람의 말이 1초 이상 든 창이 여덟 개 있는 녹화가 없거나 번들에 텍스트 "
    "인코더가 없습니다",
)


def say_forgotten(run: Path) -> None:
    """Print before reading that the window vectors of this run were deleted."""
    kept = kept_readings(run)
    if kept["deleted"] is not None and not kept["files"]:
        day = kept["deleted"][:10]
        say(
            Text(
                f"the window vectors of this run were deleted on {day}: the recordings are read "
                "again",
                f"이 실행의 창 벡터는 {day}에 삭제되었으므로 녹화를 다시 읽습니다",
            )
        )
