"""``docs/paper.md`` says what the code computes, and the code computes what it says."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from nunbit.core.messages import InputError
from nunbit.stories.evaluate.compare import paper_table
from paper_page import (
    BATCHES,
    MEASURED,
    Measured,
    MeasuredRun,
    false_negatives,
    paper_pages,
    read_measured,
    write_paper_pages,
)

DOCS = Path(__file__).parent.parent / "docs"
BALANCED = [1 / 7] * 7


@cache
def unmeasured() -> Mapping[str, str]:
    """The pages without measured figures; drawing them takes a second."""
    return paper_pages(None)


def test_the_committed_pages_are_what_the_code_writes() -> None:
    files = paper_pages(read_measured(DOCS / MEASURED))
    assert {"paper.md", "paper.ko.md"} <= set(files)
    for name, text in files.items():
        committed = (DOCS / name).read_text(encoding="utf-8")
        assert committed == text, f"{name}: run python scripts/paper_page.py docs"


@pytest.mark.parametrize("page", ["paper.md", "paper.ko.md"])
def test_the_page_shows_every_finding_and_its_figures(page: str) -> None:
    text = unmeasured()[page]
    for figure in ("52,147", "52,107", "29,327", "56.28%", "56.24%", "0.512", "0.518", "4,711"):
        assert figure in text
    for figure in ("10,747", "7,403", "37.20%", "37.2%", "76.17%", "0.653", "0.826", "44,995"):
        assert figure in text
    assert ("most likely" if page == "paper.md" else "가능성이 가장") in text
    for line in text.splitlines():
        if line.startswith("!["):
            target = line[line.index("(") + 1 : -1]
            assert target in unmeasured()
            ET.fromstring(unmeasured()[target])


def test_every_row_of_every_table_is_as_wide_as_its_head() -> None:
    for page in ("paper.md", "paper.ko.md"):
        width = None
        for line in unmeasured()[page].splitlines():
            if not line.startswith("|"):
                width = None
                continue
            width = width or line.count("|")
            assert line.count("|") == width, line


def test_no_mark_up_that_github_reads_otherwise() -> None:
    """Bold that ends in a sign before a letter stays asterisks; two tildes strike out."""
    for page in ("paper.md", "paper.ko.md"):
        text = unmeasured()[page]
        assert not re.search(r"[^\w\s*|]\*\*\w", text)
        assert "~" not in text


# Figures that an independent simulation gave; see the closed form in false_negatives.
@pytest.mark.parametrize(
    ("batch", "same_class", "same_text", "floor", "known"),
    [
        (32, 4.4, 0.9, 1.62, 0.52),
        (64, 9.0, 1.8, 2.26, 0.91),
        (256, 36.4, 7.3, 3.61, 2.06),
        (1024, 146.1, 29.2, 4.99, 3.39),
    ],
)
def test_false_negatives(
    batch: int, same_class: float, same_text: float, floor: float, known: float
) -> None:
    found = false_negatives(batch, BALANCED, 5)
    assert found["same_class"] == pytest.approx(same_class, abs=0.06)
    assert found["same_text"] == pytest.approx(same_text, abs=0.06)
    assert found["floor"] == pytest.approx(floor, abs=0.005)
    assert found["floor_if_template_known"] == pytest.approx(known, abs=0.005)
    assert found["uniform"] == pytest.approx(math.log(batch), abs=1e-6)
    assert found["share"] == pytest.approx(1 / 7, abs=1e-6)


@pytest.mark.parametrize("shares", [BALANCED, [0.4, 0.3, 0.1, 0.1, 0.05, 0.03, 0.02]])
def test_the_floor_agrees_with_simulated_batches(shares: list[float]) -> None:
    rng = np.random.default_rng(0)
    losses, matches = [], []
    for _ in range(400):
        classes = rng.choice(7, 32, p=shares)
        same = np.bincount(classes, minlength=7)[classes]
        losses.append(np.log(same).mean())
        matches.append((same - 1).mean())
    found = false_negatives(32, shares, 5)
    assert np.mean(losses) == pytest.approx(found["floor"], abs=0.02)
    assert np.mean(matches) == pytest.approx(found["same_class"], abs=0.15)
    assert BATCHES[0] == 32


@pytest.mark.train
def test_infonce_averaged_over_the_draw_is_the_papers_loss() -> None:
    """What the page says of the two losses, on a batch small enough to draw every way."""
    torch = pytest.importorskip("torch")
    from nunbit.training.losses import Pairs, contrastive_loss

    classes = torch.tensor([0, 0, 0, 1, 1, 2])
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = torch.eye(3, dtype=torch.float64)[classes]
    losses = []
    for first, second in itertools.product(
        itertools.permutations([0, 1, 2]), itertools.permutations([3, 4])
    ):
        own = torch.eye(6, dtype=torch.float64)[[*first, *second, 5]]
        pairs = Pairs(own, classes, targets, torch.ones(3, dtype=torch.float64))
        losses.append(float(contrastive_loss(logits, pairs, "infonce")))
    pairs = Pairs(torch.eye(6, dtype=torch.float64), classes, targets, torch.ones(3).double())
    assert np.std(losses) > 0.01
    assert float(contrastive_loss(logits, pairs, "paper")) == pytest.approx(np.mean(losses))


def test_measured_figures_come_in_and_absent_ones_are_said(tmp_path: Path) -> None:
    assert read_measured(tmp_path / MEASURED) is None
    assert "not been measured yet" in unmeasured()["paper.md"]
    assert "아직 측정하지" in unmeasured()["paper.ko.md"]
    runs = tuple(
        MeasuredRun(loss, 64, seed, 0.5 + 0.01 * seed, 0.4, 0.45, train_loss=2.5)
        for loss in ("paper", "infonce")
        for seed in range(3)
    )
    pages = paper_pages(Measured("Some data.", "어떤 데이터.", "nunbit train X", runs))
    assert "| `infonce` | 64 | 3 | 51.0% ± 1.0 | 40.0% ± 0.0 |" in pages["paper.md"]
    assert "2.26" in pages["paper.md"].split("<!-- measured:")[1]
    assert "어떤 데이터." in pages["paper.ko.md"]
    assert "not been measured yet" not in pages["paper.md"]


def test_damaged_measured_figures_are_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / MEASURED
    path.parent.mkdir()
    path.write_text('data_en = "x"\n')
    with pytest.raises(InputError, match=r"fer2013_loss.toml: not a file of measured figures"):
        write_paper_pages(tmp_path)
    assert not (tmp_path / "paper.md").exists()


def test_pages_are_written_where_asked(tmp_path: Path) -> None:
    written = write_paper_pages(tmp_path)
    assert all(path.is_file() for path in written)
    assert len(written) == 8
    assert len(paper_table().majority_shares) == 7
