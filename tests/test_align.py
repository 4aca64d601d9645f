"""The story of align: persons, cache, refusals, report, bundle; and analyze's part."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nunbit.runtime.progress import set_lang

pytest.importorskip("av")

from nunbit.core.messages import BundleError, InputError, MissingExtra
from nunbit.core.streams import Interval, Transcript, Utterance, Word
from nunbit.measures.episodes import excerpts_of
from nunbit.model.bundle import BUNDLE_FILE, default_bundle_path
from nunbit.model.encoders import load_bundle
from nunbit.recording.paths import persons_notice, persons_of
from nunbit.recording.read import same_recordings
from nunbit.report import render_any
from nunbit.report.alignment_page import AlignmentView, alignment_html, result_text
from nunbit.runtime.files import read_json
from nunbit.runtime.workers import Tools
from nunbit.space.vectors import NUISANCES, PROSODY
from nunbit.space.window_reading import (
    AlignSettings,
    RecordingWindows,
    WindowsJob,
    lost_windows,
    recording_windows,
    window_store,
    windows_job,
)
from nunbit.space.windows import (
    AlignedWindows,
    WindowStreams,
    agreement_blocks,
    align_windows,
    masked_notice,
    read_heads,
    read_windows,
    verdict_notices,
    verdicts_of,
    write_windows,
)
from nunbit.stories.align import align, forget

SETTINGS = AlignSettings(workers=1, folds=2)
FACE = 256


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shipped bundle, which other runs may replace."""
    target = tmp_path_factory.mktemp("bundle") / "b"
    shutil.copytree(default_bundle_path(), target)
    return target


def _vectors(
    n: int, rng: np.random.Generator, *, without: tuple[str, ...] = (), shared: bool = True
) -> dict[str, NDArray[np.float32]]:
    """A shared state of three numbers in few dimensions of each modality."""
    sizes = {"face": FACE, "voice": len(PROSODY), "text": FACE}
    state = rng.standard_normal((n, 3))
    mixing = np.random.default_rng(99)
    rows = {}
    for m, width in sizes.items():
        map_ = mixing.standard_normal((3, width))
        if not shared:
            state = rng.standard_normal((n, 3))
        rows[m] = (state @ map_ + 0.5 * rng.standard_normal((n, width))).astype(np.float32)
        if m in without:
            rows[m][:] = np.nan
    return rows


def _nuisance(n: int, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Talking and a mouth that have nothing to do with the state."""
    return {name: rng.random(n) for name in NUISANCES}


def _job(media: Path, out: Path, bundle: Path) -> WindowsJob:
    digest = load_bundle(bundle).hash
    return windows_job(media, media.stem, out / "recordings", (bundle, digest), SETTINGS)


def _prepare(
    folder: Path,
    out: Path,
    bundle: Path,
    *,
    people: int = 6,
    n: int = 60,
    without: tuple[str, ...] = (),
    shared: bool = True,
    transcript: bool = True,
) -> list[Path]:
    """Recordings whose windows were read before: what the cache is for."""
    paths = []
    digest = load_bundle(bundle, threads=1).hash
    for k in range(people):
        media = folder / f"p{k}" / f"talk{k}.mp4"
        media.parent.mkdir(parents=True)
        media.write_bytes(b"recording %d" % k)
        job = windows_job(media, media.stem, out / "recordings", (bundle, digest), SETTINGS)
        vectors = _vectors(n, np.random.default_rng(k), without=without, shared=shared)
        found = RecordingWindows(
            media.stem, np.arange(n) * 4.0, vectors, _nuisance(n, np.random.default_rng([k, 1])),
            duration_s=4.0 * n if n else 3.0, transcript=transcript,
        )  # fmt: skip
        window_store(job).write(media.stem, found)
        paths.append(media)
    return paths


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("align")
    out = folder / "run"
    paths = _prepare(folder / "media", out, bundle)
    document = align(paths, out, SETTINGS, bundle=bundle)
    return out, document


def test_a_run_finds_the_planted_state(run: tuple[Path, dict[str, Any]]) -> None:
    out, document = run
    assert document["method"] == "cca"
    assert document["modalities"] == ["face", "voice", "text"]
    assert document["independent_windows"] == 360
    for pair in document["assessment"]["pairs"].values():
        assert pair["forward"]["within"]["r1"] > 0.5
    assert document["verdict"]["code"] == "found"
    assert set(document["verdict"]["pairs"].values()) == {"found"}
    assert {p["state"] for p in document["assessment"]["identity"].values()} <= {
        "passed", "cannot_tell"
    }  # fmt: skip
    assert document["assessment"]["limits"] == ["few_people"]
    assert json.loads((out / "result.json").read_text(encoding="utf-8")) == document
    text = result_text(document, out, "ko")
    assert "얼굴과 목소리: 찾았습니다" in text
    assert "nunbit align --forget" in text
    assert "R@1" in text


def test_the_report_names_nobody_and_loads_nothing(run: tuple[Path, dict[str, Any]]) -> None:
    out, document = run
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "talk0" not in page
    assert page.index("face and voice: found") < page.index("<main>")  # on the first screen
    assert page.index("nunbit align --forget") < page.index("<main>")
    korean = alignment_html(AlignmentView(document, "ko"))
    assert "신원 검사" in korean
    assert "질의 창" in korean
    assert "대조: 시간을 섞음" in korean
    for suffix in ("png", "svg"):
        assert (out / "figures" / f"retrieval.{suffix}").stat().st_size > 1000


def test_the_bundle_has_the_heads(run: tuple[Path, dict[str, Any]], bundle: Path) -> None:
    out, _ = run
    aligned, plain = load_bundle(out / "bundle"), load_bundle(bundle)
    heads = read_heads(aligned)
    assert heads is not None
    assert heads.modalities == ("face", "voice", "text")
    assert heads.size == 128
    assert read_heads(plain) is None
    assert aligned.label_set == plain.label_set
    section = aligned.document.alignment
    assert section is not None
    assert section["people"] == 6
    verdict = section["verdict"]["face-voice"]
    assert verdict["code"] == "found"
    assert verdict["n_people"] == 6
    assert verdict["null"] < 0.1 < verdict["above_null_ci"][0]
    assert section["identity"]["face"]["margin"] == 0.05
    new, old = read_json(aligned.path / BUNDLE_FILE), read_json(plain.path / BUNDLE_FILE)
    assert set(new) - set(old) - {"document_sha256"} == {"alignment"}  # 0.1 wrote no checksum
    assert "document_sha256" in new


def test_damaged_heads_are_refused(run: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    broken = tmp_path / "b"
    shutil.copytree(run[0] / "bundle", broken)
    (broken / "alignment.npz").write_bytes(b"nothing")
    with pytest.raises(BundleError):  # its checksum
        load_bundle(broken)
    whole = load_bundle(run[0] / "bundle")
    whole.path = broken
    with pytest.raises(BundleError, match="align again"):
        read_heads(whole)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"n": 0, "transcript": True}, "shorter than one window of 4 s"),
        ({"without": ("voice", "text"), "transcript": True}, "words were given, but"),
        ({"without": ("voice", "text"), "transcript": False}, "no transcript was given"),
        ({"without": ("voice", "text")}, "two of face, voice and words"),
        ({"people": 1, "n": 10}, "only 10 windows"),
        ({"people": 1, "n": 5}, "two of face, voice and words"),  # too few for a mean
    ],
    ids=["short-clips", "unused-words", "no-words", "silent", "ten-windows", "five-windows"],
)
def test_too_little_is_refused_in_one_line(
    changes: dict[str, Any], wanted: str, tmp_path: Path, bundle: Path
) -> None:
    out = tmp_path / "run"
    paths = _prepare(tmp_path / "media", out, bundle, **changes)
    with pytest.raises(InputError, match=wanted) as caught:
        align(paths, out, SETTINGS, bundle=bundle)
    assert "\n" not in caught.value.text.line("ko")


def test_one_person_and_no_words_are_stated(tmp_path: Path, bundle: Path) -> None:
    out = tmp_path / "run"
    paths = _prepare(tmp_path / "media", out, bundle, people=1, n=150, without=("text",),
                     transcript=False)  # fmt: skip
    set_lang("ko")
    document = align(paths, out, SETTINGS, bundle=bundle)
    assert document["modalities"] == ["face", "voice"]
    assert "one_person" in document["assessment"]["limits"]
    assert document["verdict"]["code"] == "too_little"
    assert any("no transcript" in en for en, _ in document["notices"])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "한 사람뿐" in page
    assert "전사(`transcript`)가 없거나" in page
    heads = read_heads(load_bundle(out / "bundle"))
    assert heads is not None
    assert heads.modalities == ("face", "voice")


@pytest.mark.slow
def test_a_recording_that_fails_is_left_out(tmp_path: Path, bundle: Path) -> None:
    out = tmp_path / "run"
    paths = _prepare(tmp_path / "media", out, bundle, people=4)
    bad = tmp_path / "media" / "p9" / "bad.mp4"
    bad.parent.mkdir()
    bad.write_bytes(b"not a video")
    document = align([*paths, bad], out, SETTINGS, bundle=bundle)
    assert document["assessment"]["people"] == 4
    assert any("bad" in en for en, _ in document["notices"])
    with pytest.raises(InputError, match="none of the 1 recordings"):
        align([bad], tmp_path / "other", SETTINGS, bundle=bundle)


def test_contrastive_learning_without_torch_is_refused(tmp_path: Path) -> None:
    settings = replace(SETTINGS, method="infonce")
    with pytest.raises(MissingExtra, match=r"nunbit\[train\]"):
        align([tmp_path], tmp_path, settings, contrastive=None)


@pytest.mark.slow
def test_a_null_alignment_is_said_wherever_it_is_used(tmp_path: Path, bundle: Path) -> None:
    out = tmp_path / "run"
    paths = _prepare(tmp_path / "media", out, bundle, people=6, shared=False, without=("text",))
    document = align(paths, out, SETTINGS, bundle=bundle)
    assert document["verdict"]["code"] in {"not_found", "cannot_tell"}
    text = result_text(document, out, "en")
    assert "NOT found" in text or "cannot tell" in text
    page = (out / "report.html").read_text(encoding="utf-8")
    assert 'class="box warn" id="verdict"' in page
    loaded = load_bundle(out / "bundle")
    verdicts = verdicts_of(loaded)
    assert verdicts["face-voice"]["code"] == document["verdict"]["code"]
    (notice,) = verdict_notices(verdicts)
    assert "face and voice" in notice.en
    assert "얼굴과 목소리" in notice.ko
    hidden = masked_notice(verdicts, shown=False)
    assert hidden is not None
    assert "unproven_agreement=true" in hidden.en
    aligned = AlignedWindows(
        tuple(Interval(float(k), k + 4.0) for k in range(3)),
        {m: np.ones((3, 2), np.float32) for m in ("face", "voice")},
        {m: np.array(["", "", "silence"]) for m in ("face", "voice")},
        {"face-voice": np.array([0.5, 0.4, np.nan])}, ("", "", ""), verdicts,
    )  # fmt: skip
    (block,) = agreement_blocks(aligned)
    assert np.isnan(block.value).all()
    assert list(block.mask_reason) == ["unvalidated", "unvalidated", "silence"]
    assert block.n_valid.sum() == 0
    (shown,) = agreement_blocks(aligned, unproven=True)
    assert shown.value[0] == 0.5
    assert list(shown.mask_reason) == ["", "", "silence"]


@pytest.mark.slow
def test_a_bundle_without_a_verdict_is_read_and_says_so(
    run: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    old = tmp_path / "b"
    shutil.copytree(run[0] / "bundle", old)
    document = json.loads((old / "bundle.json").read_text(encoding="utf-8"))
    del document["document_sha256"]  # version 0.1 wrote none
    for key in ("verdict", "identity", "trend", "headline"):
        del document["alignment"][key]
    document["alignment"]["within_r1"] = {"face-voice": 0.6}
    (old / "bundle.json").write_text(json.dumps(document), encoding="utf-8")
    loaded = load_bundle(old)
    aligned = align_windows(loaded, _seen())
    assert aligned is not None
    assert {v["code"] for v in aligned.verdicts.values()} == {"no_verdict"}
    notice = verdict_notices(aligned.verdicts)[0]
    assert "it has no such verdict" in notice.en
    assert "판정이 없습니다" in notice.ko


def test_an_earlier_result_is_not_rendered_as_if_judged(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"format": "nunbit-alignment-1"}', encoding="utf-8")
    with pytest.raises(InputError, match="earlier version"):
        render_any(tmp_path, lang="en")


@pytest.mark.slow
def test_readings_are_deleted_and_a_rerun_says_so(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    paths = _prepare(tmp_path / "media", out, bundle, people=2, without=("text",))
    document = align(paths, out, SETTINGS, bundle=bundle)
    assert document["readings"]["files"] == 2
    assert document["readings"]["bytes"] > 0
    document = forget(out)
    assert document["readings"]["files"] == 0
    assert not list(out.rglob("*.npz.*")) + list((out / "recordings").glob("*"))
    assert json.loads((out / "result.json").read_text(encoding="utf-8")) == document
    assert "have been deleted" in (out / "report.html").read_text(encoding="utf-8")
    assert load_bundle(out / "bundle")
    capsys.readouterr()
    with pytest.raises(InputError):  # the media are no recordings
        align(paths, out, SETTINGS, bundle=bundle)
    assert "were deleted on" in capsys.readouterr().err
    with pytest.raises(InputError, match="no run of nunbit align"):
        forget(tmp_path / "nowhere")


@pytest.mark.slow
def test_readings_of_the_first_version_are_counted_and_deleted_too(
    tmp_path: Path, bundle: Path
) -> None:
    out = tmp_path / "run"
    paths = _prepare(tmp_path / "media", out, bundle, people=2, without=("text",))
    old = out / "recordings" / "earlier.npz"
    np.savez(old, key=np.array("k"), start_s=np.zeros(1))
    np.savez(out / "recordings" / "mine.npz", x=np.zeros(1))  # of the user
    document = align(paths, out, SETTINGS, bundle=bundle)
    assert document["readings"]["files"] == 3
    window_store(_job(paths[0], out, bundle)).path(paths[0].stem).unlink()
    replaced = out / "recordings" / f"{paths[0].stem}.npz"
    np.savez(replaced, key=np.array("k"), start_s=np.zeros(1))
    tools = Tools(lambda units: None, contextlib.nullcontext())
    recording_windows(_job(paths[0], out, bundle), tools)  # no recording: but what it would replace
    left = sorted(path.name for path in (out / "recordings").glob("*.npz"))
    assert left == ["earlier.npz", "mine.npz"]
    assert forget(out)["readings"]["files"] == 0
    assert [path.name for path in (out / "recordings").iterdir()] == ["mine.npz"]


def test_forgetting_leaves_the_users_own_files(tmp_path: Path, bundle: Path) -> None:
    """A folder ``recordings`` may hold the only copies of what was filmed."""
    film = tmp_path / "recordings" / "visit.mp4"
    film.parent.mkdir()
    film.write_bytes(b"the only copy")
    (film.parent / "mine.part").write_bytes(b"half a download")
    with pytest.raises(InputError, match="no run of nunbit align"):
        forget(tmp_path)
    with pytest.raises(InputError, match="lies in"):
        align([film.parent], tmp_path, replace(SETTINGS, forget=True), bundle=bundle)
    _prepare(tmp_path / "media", tmp_path, bundle, people=2, n=4)
    unfinished = tmp_path / "recordings" / "talk9.unfinished" / "faces"
    unfinished.mkdir(parents=True)
    shutil.copy(next(film.parent.glob("talk*.part")), unfinished / "0.part")
    assert forget(tmp_path)["readings"]["files"] == 0
    left = sorted(path.name for path in film.parent.rglob("*"))
    assert left == ["mine.part", "visit.mp4"]
    (tmp_path / "result.json").write_text('{"format": "nunbit-evaluation-1"}', encoding="utf-8")
    with pytest.raises(InputError, match="not written by this command"):
        forget(tmp_path)


def test_a_trained_model_and_another_result_are_not_written_over(
    tmp_path: Path, bundle: Path
) -> None:
    shutil.copytree(bundle, tmp_path / "train" / "bundle")
    before = (tmp_path / "train" / "bundle" / BUNDLE_FILE).read_bytes()
    other = tmp_path / "evaluation" / "result.json"
    other.parent.mkdir()
    other.write_text('{"format": "nunbit-evaluation-1"}', encoding="utf-8")
    for number, name in enumerate(("train", "evaluation")):
        paths = _prepare(tmp_path / f"m{number}", tmp_path / name, bundle, people=2)
        with pytest.raises(InputError, match="not written by this command"):
            align(paths, tmp_path / name, SETTINGS, bundle=bundle)
    assert (tmp_path / "train" / "bundle" / BUNDLE_FILE).read_bytes() == before
    assert "evaluation" in other.read_text(encoding="utf-8")


def test_whatever_a_recording_raises_it_is_named(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, tools = _job(tmp_path / "a.mp4", tmp_path, bundle), Tools(lambda _: None, None)  # type: ignore[arg-type]
    (tmp_path / "a.mp4").write_bytes(b"film")
    for exc in (PermissionError(13, "Permission denied"), MemoryError(), ZeroDivisionError()):

        def fail(*_: object, exc: BaseException = exc) -> None:
            raise exc

        monkeypatch.setattr("nunbit.space.window_reading.observe_recording", fail)
        error = recording_windows(job, tools).error
        assert error is not None
        assert "a.mp4" in error.en
    assert lost_windows(job, InputError(error)).error is not None


def test_one_transcript_and_one_recording_are_of_one_person(tmp_path: Path, bundle: Path) -> None:
    for name in ("p1", "p2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "talk.mp4").write_bytes(name.encode())
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "talk.srt").write_text("", encoding="utf-8")
    paths = [tmp_path / name / "talk.mp4" for name in ("p1", "p2")]
    settings = replace(SETTINGS, transcript=str(tmp_path / "words"))
    with pytest.raises(InputError, match="would be read for both"):
        align(paths, tmp_path / "run", settings, bundle=bundle)
    paths[1].write_bytes(b"p1")
    with pytest.raises(InputError, match="the same recording for two persons"):
        align(paths, tmp_path / "run", SETTINGS, bundle=bundle)
    (notice,) = same_recordings(paths, ("a", "a"))
    assert "counts twice" in notice.en


def test_forget_on_the_command_line(tmp_path: Path, bundle: Path) -> None:
    from click.testing import CliRunner

    from nunbit.cli import cli

    out = tmp_path / "run"
    _prepare(tmp_path / "media", out, bundle, people=2, n=4)
    assert len(list((out / "recordings").glob("*.part"))) == 2
    said = CliRunner().invoke(cli, ["align", "--forget", "--out", str(out), "--json"])
    assert said.exit_code == 0, said.output
    assert not (out / "recordings").exists()
    nothing = CliRunner().invoke(cli, ["align", "--out", str(out)])
    assert nothing.exit_code == 2


# ---------------------------------------------------------------- persons


def test_who_was_taken_for_whom_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    media = [tmp_path / f"x_{k}.mp4" for k in range(6)] + [tmp_path / "y_0.mp4"]
    persons = persons_of(media)
    (notice,) = persons_notice(media, persons, "")
    assert "x (6)" in capsys.readouterr().err
    assert notice.en.startswith("7 recordings were assumed to show 2 people, by file name")
    assert "x" not in notice.en.split()  # names stay out of reports
    assert persons_notice(media, persons, "p.csv") == ()


def test_a_path_in_the_table_loses_no_more_than_its_prefix(tmp_path: Path) -> None:
    hidden, above = tmp_path / "s" / ".a.mp4", tmp_path / "a.mp4"
    plain = tmp_path / "s" / "b" / "a.mp4"
    table = tmp_path / "s" / "p.csv"
    table.parent.mkdir()
    table.write_text("media,person\n.a.mp4,one\n../a.mp4,two\n././b/a.mp4,three\n",
                     encoding="utf-8")  # fmt: skip
    assert persons_of([hidden, above, plain], str(table)) == ("one", "two", "three")


def test_persons_by_folder_by_name_and_by_table(tmp_path: Path) -> None:
    a, b = tmp_path / "s1" / "x.mp4", tmp_path / "s2" / "x.mp4"
    assert persons_of([a, b]) == ("s1", "s2")
    one = [tmp_path / name for name in ("kim_1.mp4", "kim_2.mp4", "lee_1.mp4")]
    assert persons_of(one) == ("kim", "kim", "lee")
    # All of one beginning: the beginning names the study, not a person.
    assert persons_of(one[:2]) == ("kim_1", "kim_2")
    table = tmp_path / "p.csv"
    table.write_text("media,person\ns1/x.mp4,가람\ns2/x.mp4,나래\n", encoding="utf-8")
    assert persons_of([a, b], str(table)) == ("가람", "나래")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("media,person\nx.mp4,a\nx.mp4,b\n", "several persons"),
        ("media,person\ny.mp4,a\n", "no person"),
        ("file,who\nx.mp4,a\n", "columns media and person"),
    ],
)
def test_a_table_that_does_not_fit(text: str, wanted: str, tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=wanted):
        persons_of([tmp_path / "x.mp4"], str(table))


def test_two_corpora_with_the_same_person_names(tmp_path: Path) -> None:
    media = [tmp_path / corpus / "p01" / "x.mp4" for corpus in ("a", "b")]
    with pytest.raises(InputError, match="`persons`"):
        persons_of(media)


# ---------------------------------------------------------------- analyze's part


def _seen(n: int = 12) -> WindowStreams:
    windows = tuple(Interval(float(k), k + 4.0) for k in range(n))
    said = Utterance(
        Interval(1.0, 3.0), "정말 힘들어요", words=(
            Word(Interval(1.0, 2.0), "정말"), Word(Interval(2.0, 3.0), "힘들어요")),
    )  # fmt: skip
    return WindowStreams(None, None, Transcript((said,), "srt"), (), windows)


def test_a_plain_bundle_gives_no_agreement(bundle: Path) -> None:
    assert align_windows(load_bundle(bundle), _seen()) is None


@pytest.mark.slow
def test_missing_modalities_are_missing_with_a_reason(run: tuple[Path, dict[str, Any]]) -> None:
    aligned = align_windows(load_bundle(run[0] / "bundle"), _seen())
    assert aligned is not None
    blocks = {b.measure: b for b in agreement_blocks(aligned)}
    assert set(blocks) == {"agreement_face_voice", "agreement_face_text", "agreement_voice_text"}
    assert np.isnan(blocks["agreement_face_voice"].value).all()
    assert set(blocks["agreement_face_voice"].mask_reason) == {"no_video"}
    # Words in three windows: too few for a mean.
    assert set(aligned.reasons["text"]) == {"too_few", "silence"}


def test_agreement_is_the_cosine_and_windows_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    windows = tuple(Interval(float(k), k + 4.0) for k in range(5))
    rows = rng.standard_normal((2, 5, 128)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    rows[1, 2] = np.nan
    reasons = {"face": np.array([""] * 5), "voice": np.array(["", "", "silence", "", ""])}
    value = (rows[0] * rows[1]).sum(axis=1).astype(np.float64)
    aligned = AlignedWindows(windows, {"face": rows[0], "voice": rows[1]}, reasons,
                             {"face-voice": value}, ("하나", "", "", "", "끝"))  # fmt: skip
    (block,) = agreement_blocks(aligned, unproven=True)
    assert block.value[0] == pytest.approx(float(rows[0, 0] @ rows[1, 0]), abs=1e-6)
    assert list(block.mask_reason) == ["", "", "silence", "", ""]
    path = write_windows(tmp_path, aligned, session="회기1", bundle_hash="h")
    found = read_windows(path)
    assert str(found["session"]) == "회기1"
    assert found["excerpts"] == ("하나", "", "", "", "끝")
    np.testing.assert_allclose(found["face"], rows[0], atol=1e-3)
    assert np.isnan(found["text"]).all()
    path.write_bytes(b"half")
    with pytest.raises(InputError, match="analyse the recording again"):
        read_windows(path)


def test_excerpts_hold_the_words_of_the_window() -> None:
    seen = _seen(3)
    assert excerpts_of(seen.transcript, seen.windows) == (
        "정말 힘들어요",
        "정말 힘들어요",
        "힘들어요",
    )
    assert excerpts_of(None, seen.windows) == ("", "", "")


@pytest.mark.slow
def test_recordings_are_read_through_the_real_pipeline(tmp_path: Path, bundle: Path) -> None:
    """Two drawn people of half a minute: faces, voices and words become windows, once."""

    from nunbit.synth.truth import PlantedSettings, planted_script
    from nunbit.synth.video import render_video, transcript_path

    settings = PlantedSettings(duration_s=36.0, fps=2, hold_s=0.5, memory_s=4.0)
    paths = []
    for person in range(2):
        path = tmp_path / f"p{person}" / f"talk{person}.mp4"
        path.parent.mkdir()
        render_video(path, planted_script(person, 0, settings)[0])
        shutil.copy(transcript_path(path), tmp_path / f"talk{person}.srt")
        paths.append(path)
    given = replace(SETTINGS, rate_hz=2.0, transcript=str(tmp_path))
    document = align(paths, tmp_path / "run", given, bundle=bundle)
    assert document["assessment"]["windows"] == 66
    assert document["coverage"]["face"] > 0.9
    assert document["coverage"]["voice"] > 0.9
    assert "too_short" not in document["assessment"]["limits"]
    job = windows_job(paths[0], "talk0", tmp_path / "run" / "recordings",
                      (bundle, load_bundle(bundle).hash), given,
                      (tmp_path / "talk0.srt", None))  # fmt: skip
    tools = Tools(lambda units: None, contextlib.nullcontext())
    assert recording_windows(job, tools).kept
