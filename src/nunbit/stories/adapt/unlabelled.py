"""Class shares of faces without labels, by expectation maximisation, with a guard.

It rests on one assumption that the faces cannot prove: that only the shares differ from training,
not how the classes look. So the shares must come out alike in two halves of the persons, explain
each half better with the shares of the other, and not be extreme.
"""

from __future__ import annotations

import numpy as np

from nunbit import statistics
from nunbit.core.messages import BundleError, InputError, Text
from nunbit.model.bundle import BUNDLE_FILE
from nunbit.model.encoders import Bundle
from nunbit.model.posterior import Adaptation, Remap, base_shares
from nunbit.statistics.remapping import Floats, prior_by_em
from nunbit.stories.adapt.adaptation_result import AdaptResult
from nunbit.stories.adapt.choice import mean_by_person
from nunbit.stories.adapt.labelled_faces import ReadFaces

FEWEST = 100
_STRENGTH = 20.0  # images that the shares of training weigh: a class unseen in 100 keeps a sixth
_MOST_RATIO = 8.0  # a class eight times as frequent or rare: it is rather seen differently
_MOST_APART = 0.15  # total variation of the shares of two halves
_LEVEL = 0.90

ASSUMED = Text(
    "no labels: it is assumed that only the class shares differ from training, not how the classes "
    "look; labels alone can show whether it helps",
    "레이블이 없어, 클래스의 모습은 학습 자료와 같고 비율만 다르다고 가정합니다. 나아졌는지는 "
    "레이블이 있어야 확인할 수 있습니다",
)


def shift_of(faces: ReadFaces, base: Bundle, seed: int) -> AdaptResult:
    """Estimate the class shares and decide whether they are to be believed.

    Raises:
        InputError: There are fewer than ``FEWEST`` faces.
        BundleError: The bundle does not say which shares its probabilities carry.
    """
    before = base_shares(base)
    if before is None:
        raise BundleError(
            Text(
                f"{base.path}: which class shares its probabilities carry is not known "
                f"(`class_shares` in {BUNDLE_FILE}): give labels",
                f"{base.path}: 이 번들의 확률이 어떤 클래스 비율을 따르는지 알 수 없습니다"
                f"({BUNDLE_FILE}의 `class_shares`). 레이블을 주십시오",
            )
        )
    if len(faces) < FEWEST:
        raise InputError(
            Text(
                f"{len(faces)} faces: at least {FEWEST} are needed without labels; 20 with labels "
                "are enough",
                f"얼굴이 {len(faces)}장입니다. 레이블 없이는 {FEWEST}장 이상이 필요하고, 레이블이 "
                "있으면 20장으로 됩니다",
            )
        )
    person = statistics.cluster_codes(faces.subjects, len(faces))
    raw = faces.raw.astype(np.float64)
    shares = prior_by_em(raw, before, strength=_STRENGTH)
    reason, gain, low = judged(raw, person, before, seed)
    ids = base.label_set.ids
    named = dict(zip(ids, (round(float(s), 6) for s in shares), strict=True))
    adaptation = None
    if reason is None:
        bias = np.log(shares / before)
        adaptation = Adaptation(
            method="prior",
            plain=Remap(1.0, tuple(round(float(b), 6) for b in bias)),
            own_neutral=None,
            class_shares=named,
            evidence={},
            base={"name": base.document.name, "sha256": base.hash},
        )
    return AdaptResult(
        written=False,
        method="none" if adaptation is None else "prior",
        before=None,
        after=None,
        tried={"method": "prior", "after": None},
        gain={"log_loss": gain, "low": low},
        losses={},
        n_images=len(faces),
        n_persons=int(person.max()) + 1 if faces.knows_persons else None,
        counts={},
        limits=(*faces.limits, ASSUMED),
        bundle_name=base.document.name,
        bundle_hash=base.hash,
        labels=ids,
        adaptation=adaptation,
        shares=named,
        reason=reason,
    )


def judged(
    raw: Floats, person: np.ndarray, before: Floats, seed: int
) -> tuple[Text | None, float, float]:
    """Why the shares are not to be believed (None: they are), the gain, and its lower bound.

    The gain is the mean log evidence of a face under the shares of the other half of the persons,
    minus that under the shares of training.

    Args:
        raw: (N, K) probabilities.
        person: (N,) codes.
        before: (K,) shares that the probabilities carry.
        seed: Decides the halves.
    """
    codes = np.random.default_rng(seed).permutation(int(person.max()) + 1)
    half = np.isin(person, codes[: len(codes) // 2])
    if not half.any() or half.all():
        return _APART, 0.0, np.nan
    found = [prior_by_em(raw[rows], before, strength=_STRENGTH) for rows in (half, ~half)]
    gains = np.zeros(len(raw))
    for rows, shares in ((half, found[1]), (~half, found[0])):
        gains[rows] = np.log(np.maximum(raw[rows] @ (shares / before), 1e-12))
    gain, error = mean_by_person(gains, np.ones(len(raw)), person)
    n = statistics.effective(np.bincount(person))
    low = gain - statistics.t_quantile(max(1.0, n - 1.0), _LEVEL) * error
    apart = float(np.abs(found[0] - found[1]).sum() / 2.0)
    ratio = prior_by_em(raw, before, strength=_STRENGTH) / before
    doubts = {
        _NO_SHIFT: not low > 0,
        _APART: apart > _MOST_APART,
        _EXTREME: max(ratio.max(), 1.0 / ratio.min()) > _MOST_RATIO,
    }
    return next((why for why, holds in doubts.items() if holds), None), gain, low


_NO_SHIFT = Text(
    "nothing is written: other class shares than those of training do not explain these faces "
    "surely better",
    "아무것도 저장하지 않았습니다. 학습 자료와 다른 클래스 비율이 이 얼굴들을 확실히 더 잘 "
    "설명하지 않습니다",
)
_APART = Text(
    "nothing is written: two halves of the faces give different class shares; give more faces of "
    "more persons",
    "아무것도 저장하지 않았습니다. 얼굴을 둘로 나누면 클래스 비율이 서로 다르게 나옵니다. 더 많은 "
    "인물의 얼굴을 주십시오",
)
_EXTREME = Text(
    "nothing is written: a class would be eight times as frequent or rare as in training: the "
    "model rather sees these faces differently; label 20 or more of them",
    "아무것도 저장하지 않았습니다. 어떤 클래스가 학습 자료보다 여덟 배 넘게 많거나 적게 나옵니다. "
    "모델이 이 얼굴들을 다르게 보는 것일 수 있으니 20장 이상에 레이블을 붙이십시오",
)
