"""Recordings with words of despair through ``nunbit analyze`` and ``nunbit report``."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("av")
pytest.importorskip("kiwipiepy")

from click.testing import CliRunner

from make_media import Sound, write_media
from make_voice import silence, talk
from nunbit.cli import cli
from nunbit.core.streams import AUDIO_RATE_HZ
from nunbit.language import morphemes as adapter
from nunbit.report import render_timeline

pytestmark = pytest.mark.slow

Rows = list[dict[str, Any]]

DESPAIR = ("행복했던 적이 없어요.", "죽고 싶어요.", "행복했으면 좋겠어요.", "별로 힘들지 않았어요.")
PLAIN = ("정말 행복해요.", "아니 그렇죠.", "너무 즐거웠어요.", "많이 웃었어요.")
SHORT = (DESPAIR[0], "아니 그렇죠.", *DESPAIR[2:])
"""The second says nothing, in as many words and syllables: 죽고 싶어요, 아니 그렇죠."""

TIMES = ((0.2, 2.0), (2.2, 4.0), (4.6, 6.4), (6.5, 8.3))
EXPORTS = "eaf,textgrid,vtt,csv"
_DIGEST = re.compile("[0-9a-f]{16,64}")
_DATE = re.compile(r'DATE="[^"]*"')


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sound = np.concatenate([talk(4.0), silence(0.5), talk(4.0, seed=3)])
    path = tmp_path_factory.mktemp("sound") / "talk.wav"
    return write_media(path, sounds=Sound(sound[None], AUDIO_RATE_HZ, codec="pcm_s16le"))


def srt(texts: Sequence[str]) -> str:
    def clock(seconds: float) -> str:
        return f"00:00:{int(seconds):02d},{round(seconds % 1 * 1000):03d}"

    return "\n".join(
        f"{k}\n{clock(a)} --> {clock(b)}\n{text}\n"
        for k, ((a, b), text) in enumerate(zip(TIMES, texts, strict=True), 1)
    )


def analyze(media: Path, texts: Sequence[str], folder: Path, lang: str = "en") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.srt").write_text(srt(texts), encoding="utf-8")
    line = ["analyze", str(media), "--transcript", str(folder / "words.srt"), "--out",
            str(folder / "out"), "--export", EXPORTS, "--set", "workers=1",
            "--lang", lang]  # fmt: skip
    result = CliRunner().invoke(cli, line)
    assert result.exit_code == 0, result.output
    return folder / "out" / "talk"


@pytest.fixture(scope="module")
def despair(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return analyze(media, DESPAIR, tmp_path_factory.mktemp("despair"))


@pytest.fixture(scope="module")
def short(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return analyze(media, SHORT, tmp_path_factory.mktemp("short"))


def rows_of(folder: Path, measure: str, modality: str) -> Rows:
    table: Rows = pq.read_table(folder / "timeline.parquet").to_pylist()
    return [r for r in table if r["measure"] == measure and r["modality"] == modality]


def test_no_scope_reads_joy_or_sadness_out_of_them(despair: Path) -> None:
    reasons = set()
    for measure in ("p_joy", "p_sadness", "valence"):
        for modality in ("text", "fused"):
            found = rows_of(despair, measure, modality)
            assert {r["scope"] for r in found} >= {"window", "turn", "session"}
            for row in found:
                assert row["value"] is None or np.isnan(row["value"]), row
                assert row["mask_reason"]
            reasons |= {r["mask_reason"] for r in found if modality == "text"}
    assert {"negated", "wish", "not_scored"} <= reasons
    summary = json.loads((despair / "summary.json").read_text(encoding="utf-8"))
    (session,) = [
        m for m in summary["measures"] if (m["measure"], m["modality"]) == ("p_joy", "text")
    ]
    assert session["value"] is None
    assert session["n_valid"] == 0


def test_plain_words_keep_their_classes(media: Path, tmp_path: Path) -> None:
    folder = analyze(media, PLAIN, tmp_path)
    for modality in ("text", "fused"):
        (session,) = [r for r in rows_of(folder, "p_joy", modality) if r["scope"] == "session"]
        assert session["value"] > 0.8
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert 'id="passages"' not in page


def _arrays(path: Path) -> dict[str, str]:
    with np.load(path, allow_pickle=False) as arrays:
        texts = {name: arrays[name].tobytes().decode("utf-8", "replace") for name in arrays.files}
    plain = {name: _DIGEST.sub("", text) for name, text in texts.items()}
    swapped = {n: t.replace("죽고", "아니").replace("싶어요", "그렇죠") for n, t in plain.items()}
    return {name: _DATE.sub("", text) for name, text in swapped.items()}


def test_no_file_but_the_page_tells_them_from_a_short_answer(despair: Path, short: Path) -> None:
    """A recording with 죽고 싶어요 and one with 아니 그렇죠 there give the same tables."""
    names = {p.name for p in despair.iterdir()}
    assert names == {p.name for p in short.iterdir()}
    compared = 0
    for name in sorted(names - {"report.html", "words.parquet", "summary.json"}):
        one, other = (folder / name for folder in (despair, short))
        if name.endswith(".parquet"):
            # As text: NaN is not equal to itself.
            tables = [str(pq.read_table(path).to_pylist()) for path in (one, other)]
            assert tables[0] == tables[1], name
        elif name.endswith(".npz"):
            # Of the arrays only those of text differ, by the words themselves and by digests.
            kept = [_arrays(path) for path in (one, other)]
            assert kept[0] == kept[1], name
        else:
            texts = [_DATE.sub("", p.read_text(encoding="utf-8-sig")) for p in (one, other)]
            said = texts[0].replace("죽고", "아니").replace("싶어요", "그렇죠")
            assert said == texts[1], name
        compared += 1
    assert compared >= 5
    words = [pq.read_table(folder / "words.parquet") for folder in (despair, short)]
    kept = [str(table.drop_columns("text").to_pylist()) for table in words]
    assert kept[0] == kept[1]
    summaries = [
        json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        for folder in (despair, short)
    ]
    sums = []
    for summary in summaries:
        assert "109" not in json.dumps(summary["notices"])
        summary["provenance"].pop("created")
        summary["provenance"]["inputs"].pop("transcript")
        summary["media"].pop("path")
        # The files were compared above; their sums differ by the text that they hold.
        sums.append(summary.pop("files"))
    assert summaries[0] == summaries[1]
    differing = {name for name in sums[0] if sums[0][name] != sums[1][name]}
    texts_in = {"words.parquet", "talk.eaf", "talk.vtt", "talk.TextGrid", "talk.words.csv"}
    assert differing <= texts_in | {"observed.npz"}, differing


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        ("en", "Other passages may be missed. This is no assessment of risk: follow your study"),
        ("ko", "다른 대목은 놓쳤을 수 있습니다. 위험을 평가한 결과가 아니므로"),
    ],
)
def test_only_the_page_shows_the_passage_and_a_new_one_again(
    despair: Path, tmp_path: Path, lang: str, said: str
) -> None:
    folder = tmp_path / "talk"
    shutil.copytree(despair, folder)
    (folder / "report.html").unlink()
    result = CliRunner().invoke(cli, ["report", str(folder), "--lang", lang])
    assert result.exit_code == 0, result.output
    page = (folder / "report.html").read_text(encoding="utf-8")
    start = page.index('id="passages"')
    section = page[start : page.index("</section>", start)]
    assert said in section
    assert 'href="tel:109"' in section
    assert section.count("<li>") == 1
    assert "죽고 싶어요" in section
    assert "행복했던" not in section
    # Without the words there is nothing to show, and nothing else knows.
    (folder / "words.parquet").unlink()
    page = render_timeline(folder, lang=lang).read_text(encoding="utf-8")  # type: ignore[arg-type]
    assert 'id="passages"' not in page
    assert "죽고" not in page


def test_without_the_analyser_words_are_masked_and_the_line_is_named(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "find_spec", lambda name: None)
    folder = analyze(media, PLAIN, tmp_path)
    for row in rows_of(folder, "p_joy", "text"):
        assert row["value"] is None or np.isnan(row["value"])
    assert {r["mask_reason"] for r in rows_of(folder, "p_joy", "text")} <= {
        "no_analyser", "silence", "no_turns",
    }  # fmt: skip
    for measure in ("pos_rate", "neg_rate", "fps_rate"):
        (session,) = [r for r in rows_of(folder, measure, "text") if r["scope"] == "session"]
        assert session["mask_reason"] == "no_analyser"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    (missing,) = [m for m in summary["missing"] if m["what"] == "analyser"]
    assert missing["install"] == "pip install 'nunbit[asr]'"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "pip install &#39;nunbit[asr]&#39;" in page
