"""What is there already is never lost to a run: results of others, edited exports, transcripts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("av")

from make_media import Sound, clicks, write_media
from make_timeline import Recipe, make_timeline
from nunbit.core.messages import InputError
from nunbit.report.joined_tables import write_joined
from nunbit.runtime.files import read_json, write_json
from nunbit.stories.analyze import analyze
from nunbit.stories.analyze.job import AnalyzeSettings

SETTINGS = AnalyzeSettings(workers=1)
SRT = "1\n00:00:00,500 --> 00:00:02,000\n{}\n"


def sound(path: Path, first: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_media(path, sounds=[Sound(clicks([first, 1.5], 3.0), codec="pcm_s16le")])


@pytest.fixture
def people(tmp_path: Path) -> tuple[Path, Path]:
    """Two persons whose recordings have one name."""
    return tuple(sound(tmp_path / f"P{n}" / "interview.wav", n / 5) for n in (1, 2))  # type: ignore[return-value]


@pytest.mark.slow
def test_the_result_of_another_recording_of_that_name_is_not_overwritten(
    people: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = people
    out = tmp_path / "tl"
    analyze([first], out, SETTINGS)
    before = read_json(out / "interview" / "summary.json")
    with pytest.raises(InputError, match=r"has the result of another recording.*P1") as caught:
        analyze([second], out, SETTINGS)
    assert "\n" not in caught.value.text.line("ko")
    assert read_json(out / "interview" / "summary.json") == before
    # Among several, the others are done.
    done = analyze([second, sound(tmp_path / "P3" / "other.wav", 0.8)], out, SETTINGS)
    assert [each.state for each in done] == ["failed", "done"]
    assert read_json(out / "interview" / "summary.json") == before
    # The same file, cut anew, is the same recording; and the same bytes elsewhere are, too.
    shutil.copy(first, tmp_path / "interview.wav")
    assert analyze([tmp_path / "interview.wav"], out, SETTINGS)[0].state == "kept"
    sound(first, 0.9)
    assert analyze([first], out, SETTINGS)[0].state == "done"
    shutil.rmtree(out / "interview")
    assert analyze([second], out, SETTINGS)[0].state == "done"


@pytest.mark.slow
def test_of_two_earlier_results_with_one_name_none_is_lost_unsaid(
    people: tuple[Path, Path], tmp_path: Path
) -> None:
    for n, recording in enumerate(people):
        analyze([recording], tmp_path / f"results{n}", SETTINGS)
    both = [tmp_path / f"results{n}" for n in (0, 1)]
    with pytest.raises(InputError, match=r"results0.*results1.*both would be written") as caught:
        analyze(both, tmp_path / "again", SETTINGS)
    assert "\n" not in caught.value.text.line("ko")
    # The same result twice, and a recording beside its own result, are one.
    twice = [both[0], both[0] / "interview"]
    assert len(analyze(twice, tmp_path / "again", SETTINGS)) == 1
    with_own = analyze([people[0], both[0]], both[0], SETTINGS)
    assert [each.state for each in with_own] == ["kept"]
    with pytest.raises(InputError, match="both would be written"):
        analyze([people[1], both[0]], tmp_path / "new", SETTINGS)


@pytest.mark.slow
def test_results_that_keep_nothing_are_named(
    people: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tl"
    analyze([people[0]], out, SETTINGS)
    forgetting = AnalyzeSettings(workers=1, forget=True)
    analyze([sound(tmp_path / "P3" / "secret.wav", 0.8)], out, forgetting)
    capfd.readouterr()
    again = analyze([out], tmp_path / "again", SETTINGS)
    assert [each.session for each in again] == ["interview"]
    assert "secret" in capfd.readouterr().err


@pytest.mark.slow
def test_an_edited_export_is_kept_when_it_is_written_again(
    people: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tl"
    wanted = AnalyzeSettings(workers=1, export=("eaf", "csv"))
    for number in ("", "2"):
        analyze([people[0]], out, wanted)
        eaf = out / "interview" / "interview.eaf"
        eaf.write_text(f"coded by hand {number}", encoding="utf-8")
        capfd.readouterr()
        analyze([people[0]], out, wanted)
        kept = out / "interview" / f"interview.edited{number}.eaf"
        assert kept.read_text(encoding="utf-8") == f"coded by hand {number}"
        assert kept.name in capfd.readouterr().err
        assert "ANNOTATION_DOCUMENT" in eaf.read_text(encoding="utf-8")
    assert len(list((out / "interview").glob("*.edited*"))) == 2  # what nobody changed is not kept
    assert analyze([people[0]], out, wanted)[0].state == "kept"


@pytest.mark.parametrize("what", ["transcript", "speakers"])
def test_one_file_of_a_folder_is_not_read_for_two_people(
    people: tuple[Path, Path], tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    if what == "transcript":
        (folder / "interview.srt").write_text(SRT.format("안녕하세요"), encoding="utf-8")
    else:
        line = "SPEAKER interview 1 0.5 1.5 <NA> <NA> A <NA> <NA>\n"
        (folder / "interview.rttm").write_text(line, encoding="utf-8")
    settings = AnalyzeSettings(workers=1, **{what: str(folder)})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"interview.*P1.*P2") as caught:
        analyze(list(people), tmp_path / "tl", settings)
    assert "\n" not in caught.value.text.line("ko")
    table = tmp_path / "people.csv"
    rows = [f"{path},P{n}" for n, path in enumerate(people, 1)]
    table.write_text("\n".join(["file,person", *rows]), encoding="utf-8")
    with pytest.raises(InputError, match=r"interview.*P1.*P2"):
        analyze([], tmp_path / "tl", settings, people=table)


@pytest.mark.slow
def test_a_table_may_give_one_transcript_to_two_recordings(
    people: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    words = folder / "interview.srt"
    words.write_text(SRT.format("안녕하세요"), encoding="utf-8")
    table = tmp_path / "people.csv"
    rows = [f"{path},P{n},{words}" for n, path in enumerate(people, 1)]
    table.write_text("\n".join(["file,person,transcript", *rows]), encoding="utf-8")
    settings = AnalyzeSettings(workers=1, transcript=str(folder))
    done = analyze([], tmp_path / "tl", settings, people=table)
    assert [each.state for each in done] == ["done", "done"]
    assert all((each.summary or {})["transcript"] for each in done)


@pytest.mark.slow
def test_a_finished_recording_that_cannot_be_read_stops_no_other(
    people: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nunbit.stories.analyze import job

    out = tmp_path / "tl"
    other = sound(tmp_path / "P3" / "other.wav", 0.8)
    analyze([people[0], other], out, SETTINGS)
    real = job.sha256_file

    def denied(path: Path) -> str:
        if path.name == "interview.wav":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(job, "sha256_file", denied)
    job._sha256_of.cache_clear()
    done = analyze([people[0], other], out, SETTINGS)
    assert [each.state for each in done] == ["failed", "kept"]
    assert done[0].error is not None
    assert "Permission denied" in done[0].error.en


def test_the_same_recording_in_two_folders_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, person in (("a", "P01"), ("b", "P01"), ("c", "P02"), ("d", "P03")):
        make_timeline(tmp_path / name, Recipe(duration_s=30))
        summary = read_json(tmp_path / name / "summary.json")
        summary["subject"] = person
        summary["provenance"] = {
            **summary.get("provenance", {}),
            "inputs": {"media": str(name < "d")},
        }
        write_json(tmp_path / name / "summary.json", summary)
    write_joined(tmp_path, lang="en")
    said = capfd.readouterr().err
    assert "a, b: the same recording in two folders counts twice" in said
    assert "a, c:" in said  # of two people: said, too
    assert "d:" not in said


@pytest.mark.slow
def test_an_edited_export_is_kept_whatever_was_asked_for_between(
    people: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tl"
    eaf = out / "interview" / "interview.eaf"
    wanted = AnalyzeSettings(workers=1, export=("eaf",))
    analyze([people[0]], out, wanted)
    eaf.write_text("coded by hand", encoding="utf-8")
    analyze([people[0]], out, AnalyzeSettings(workers=1, export=("csv",)))
    analyze([people[0]], out, wanted)
    kept = eaf.with_name("interview.edited.eaf")
    assert kept.read_text(encoding="utf-8") == "coded by hand"
    # So is a file that nunbit never wrote, and one that is there when a run is killed.
    vtt = eaf.with_suffix(".vtt")
    vtt.write_text("mine", encoding="utf-8")
    eaf.write_text("coded again", encoding="utf-8")
    both = AnalyzeSettings(workers=1, export=("eaf", "vtt"), subject="Kim")
    with monkeypatch.context() as dying:
        dying.setattr("nunbit.stories.analyze.session.write_timeline", _killed)
        with pytest.raises(KeyboardInterrupt):
            analyze([people[0]], out, both)
    analyze([people[0]], out, both)
    assert vtt.with_name("interview.edited.vtt").read_text(encoding="utf-8") == "mine"
    texts = {p.read_text(encoding="utf-8") for p in eaf.parent.glob("*.edited*.eaf")}
    assert texts == {"coded by hand", "coded again"}
    assert not list(eaf.parent.glob(".summary*"))
    # A run that was killed after its exports leaves none that nobody edited.
    with monkeypatch.context() as dying:
        dying.setattr("nunbit.stories.analyze.session.describe_written", _killed)
        with pytest.raises(KeyboardInterrupt):
            analyze([people[0]], out, AnalyzeSettings(workers=1, export=("eaf", "csv")))
    analyze([people[0]], out, AnalyzeSettings(workers=1, export=("eaf", "csv")))
    assert not list(eaf.parent.glob("*.edited*.csv"))


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_what_is_read_is_not_written_over(people: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "tl"
    (out / "interview").mkdir(parents=True)
    words = out / "interview" / "interview.vtt"
    words.write_text("WEBVTT\n\n00:00.500 --> 00:02.000\n안녕하세요\n", encoding="utf-8")
    wanted = AnalyzeSettings(workers=1, transcript=str(words), export=("vtt",))
    with pytest.raises(InputError, match="is read, and would be written over"):
        analyze([people[0]], out, wanted)
    table = out / "sessions_wide.csv"
    table.write_text(f"file,person\n{people[0]},P1\n", encoding="utf-8")
    with pytest.raises(InputError, match="is read, and would be written over"):
        analyze([], out, SETTINGS, people=table)
    (out / "interview" / "summary.json").write_text('{"mine": 1}', encoding="utf-8")
    with pytest.raises(InputError, match="was not written by this command"):
        analyze([people[0]], out, SETTINGS)
    assert "안녕" in words.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_person_of_a_result_stays_when_it_is_derived_again(
    people: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "tl"
    analyze([people[0]], out, AnalyzeSettings(workers=1, subject="Kim"))
    for target in (out, tmp_path / "again"):
        done = analyze([out], target, AnalyzeSettings(workers=1, export=("csv",)))
        assert done[0].summary is not None
        assert done[0].summary["subject"] == "Kim"
    other = analyze([out], out, AnalyzeSettings(workers=1, subject="Lee"))
    assert (other[0].summary or {})["subject"] == "Lee"


@pytest.mark.slow
def test_a_recording_keeps_its_folder_when_another_of_its_name_comes(
    people: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "tl"
    analyze([people[0]], out, SETTINGS)
    done = analyze(list(people), out, SETTINGS)
    assert [(each.session, each.state) for each in done] == [
        ("interview", "kept"), ("P2-interview.wav", "done")]  # fmt: skip
    # With codes the table says whose recording it is, also after it was cut anew.
    table = tmp_path / "people.csv"
    table.write_text(f"file,person,session\n{people[0]},Kim,1\n", encoding="utf-8")
    coded = AnalyzeSettings(workers=1, codes=True)
    analyze([], tmp_path / "coded", coded, people=table)
    sound(people[0], 0.9)
    again = analyze([], tmp_path / "coded", coded, people=table)
    assert [each.state for each in again] == ["done"]


@pytest.mark.slow
def test_results_in_a_folder_named_like_a_recording_are_results(
    people: tuple[Path, Path], tmp_path: Path
) -> None:
    analyze(list(people), tmp_path / "tl", SETTINGS)
    assert len(analyze([tmp_path / "tl"], tmp_path / "again", SETTINGS)) == 2
