"""Label policies against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nunbit.core.messages import SettingsError
from nunbit.core.schema import POLICIES
from nunbit.datasets.policies import (
    label_under,
    labels_under,
    refuse_anonymous,
    vote_distribution,
    vote_distributions,
)

IDS = ("joy", "anger", "hurt")


@pytest.mark.parametrize(
    ("uploader", "votes", "uploader_says", "annot_a", "majority", "unanimous", "plurality"),
    [
        ("joy", ("joy", "joy", "joy"), "joy", "joy", "joy", "joy", "joy"),
        ("joy", ("hurt", "joy", "hurt"), "joy", "hurt", "hurt", None, "hurt"),
        ("joy", ("joy", "anger", "hurt"), "joy", "joy", None, None, None),
        # A null vote counts as cast: two of three are more than half, one of two is not.
        ("joy", ("hurt", None, "hurt"), "joy", "hurt", "hurt", None, "hurt"),
        ("joy", (None, "hurt", "anger"), "joy", None, None, None, None),
        ("joy", ("hurt", None), "joy", "hurt", None, None, "hurt"),
        ("joy", (None, None, None), "joy", None, None, None, None),
        ("joy", ("hurt",), "joy", "hurt", "hurt", "hurt", "hurt"),
        # Ten raters: 5 of 10 is exactly half, 6 is more.
        ("joy", ("hurt",) * 5 + (None,) * 5, "joy", "hurt", None, None, "hurt"),
        ("joy", ("hurt",) * 6 + (None,) * 4, "joy", "hurt", "hurt", None, "hurt"),
        ("joy", ("hurt",) * 4 + ("joy",) * 3 + ("anger",) * 3, "joy", "hurt", None, None, "hurt"),
        ("joy", (), "joy", None, None, None, None),
        (None, (), None, None, None, None, None),
    ],
)
def test_each_policy(
    uploader: str | None,
    votes: tuple[str | None, ...],
    uploader_says: str | None,
    annot_a: str | None,
    majority: str | None,
    unanimous: str | None,
    plurality: str | None,
) -> None:
    expected = (uploader_says, annot_a, majority, unanimous, plurality)
    assert tuple(label_under(policy, uploader, votes) for policy in POLICIES) == expected
    assert tuple(label_under(policy, uploader, list(votes)) for policy in POLICIES) == expected


def test_policies_imply_each_other() -> None:
    for votes in itertools.product((*IDS, None), repeat=4):
        unanimous = label_under("unanimous", None, votes)
        majority = label_under("majority", None, votes)
        plurality = label_under("votes", None, votes)
        assert unanimous in (None, majority)
        assert majority in (None, plurality)


def test_many_records_at_once() -> None:
    votes = list(itertools.product((*IDS, None), repeat=3))
    uploaders = ["joy"] * len(votes)
    for policy in POLICIES:
        one_by_one = [label_under(policy, u, v) for u, v in zip(uploaders, votes, strict=True)]
        assert labels_under(policy, uploaders, votes) == one_by_one
    with pytest.raises(ValueError, match="zip"):
        labels_under("uploader", ["joy"], [])


def test_unknown_policy() -> None:
    for call in (lambda: label_under("best", "joy", ()), lambda: labels_under("best", [], [])):
        with pytest.raises(SettingsError, match="uploader, annot_a, majority, unanimous, votes"):
            call()


def test_vote_distribution() -> None:
    shares = vote_distribution(("joy", None, "hurt", "joy"), IDS)
    assert shares is not None
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares, [2 / 3, 0, 1 / 3], rtol=1e-6)
    assert vote_distribution((None, None), IDS) is None
    assert vote_distribution((), IDS) is None
    with pytest.raises(ValueError, match="got fear"):
        vote_distribution(("fear",), IDS)


def test_vote_distributions_are_absent_not_zero() -> None:
    votes = [("joy", "hurt"), (), (None,), ("anger", None), ("joy", "hurt")]
    table = vote_distributions(votes, IDS)
    assert table.shape == (5, 3)
    assert table.dtype == np.float32
    assert np.isnan(table[[1, 2]]).all()
    np.testing.assert_allclose(table[[0, 3, 4]], [[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])


@pytest.mark.parametrize(
    ("policy", "names", "votes", "refused"),
    [
        ("annot_a", (), [("joy",)], True),
        ("annot_a", (), [(), ("joy", None)], True),
        ("annot_a", ("vote_1",), [("joy",)], False),
        ("annot_a", (), [(), ()], False),  # no votes at all is said elsewhere
        ("majority", (), [("joy",)], False),
    ],
)
def test_nameless_votes_have_no_annotator_a(
    policy: str, names: tuple[str, ...], votes: list[tuple[str | None, ...]], refused: bool
) -> None:
    if not refused:
        refuse_anonymous(policy, names, votes, "data")
        return
    with pytest.raises(SettingsError, match="data: .*no annotator A.*majority") as caught:
        refuse_anonymous(policy, names, votes, "data")
    assert "주석자 A" in caught.value.text.ko
