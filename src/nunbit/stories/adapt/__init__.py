"""The story of ``nunbit adapt``: a bundle and the user's labelled faces in, a better bundle out.

What is learned are a few numbers on the log-probabilities of the classes; the encoders and the
prompts stay. It is judged on persons left out, and written only where it helps there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nunbit import statistics
from nunbit.core.messages import InputError, Text
from nunbit.core.schema import Policy
from nunbit.model.bundle import find_bundle
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.posterior import NEUTRAL, Adaptation, Remap, adaptation_of, base_shares
from nunbit.report.adaptation_figure import draw_before_after, require_figure
from nunbit.runtime.config import BatchSize, Seed, Threads, settings_to_dict
from nunbit.runtime.files import as_given
from nunbit.runtime.progress import say, spoken_lang
from nunbit.runtime.resources import provenance
from nunbit.statistics.remapping import centred_logs
from nunbit.stories.adapt.adaptation_result import FORMAT, AdaptResult, scores_of
from nunbit.stories.adapt.choice import (
    FEWEST_OF_CLASS,
    FORMS,
    MOST_IMAGES,
    OF_NEUTRAL,
    Fitted,
    Judged,
    Labelled,
    balancing_weights,
    helps,
    judge,
)
from nunbit.stories.adapt.labelled_faces import ReadFaces, counts_of, neutral_of_others, read_faces
from nunbit.stories.adapt.unlabelled import shift_of
from nunbit.stories.adapt.write import refuse_place, write_adapted, write_removed

FEWEST_IMAGES = 20
"""Fewer labelled faces are refused: the interval of anything is wider than any gain."""

# Fewer persons with a neutral face say nothing about what it is good for.
_FEWEST_WITH_NEUTRAL = 5
_FEW_PERSONS, _FEW_OF_A_CLASS = 5, FEWEST_OF_CLASS


@dataclass(frozen=True, slots=True)
class AdaptSettings:
    """How a bundle is adapted.

    Attributes:
        unlabelled: Use no labels: only the shares of the classes are estimated, by expectation
            maximisation, and kept only where two halves of the pictures agree.
        remove: Write the bundle without its adaptation; then DATA is not needed.
        crops: The pictures are face crops already: no face is searched for.
        label_set: TOML file with the bundle's classes and more spellings of them; None = those of
            the bundle.
        policy: Rule that turns votes into a label; None = the label given.
        own_neutral: Try the person's own neutral face, where the data have one for each of several
            persons.
        figure: Picture of before and after (``.svg``, ``.png`` or ``.pdf``); empty = none.
        batch_size: Faces embedded at once.
        threads: Threads of the model; None = one for every core.
        seed: Decides folds and intervals.
    """

    unlabelled: bool = False
    remove: bool = False
    crops: bool = False
    label_set: str | None = None
    policy: Policy | None = None
    own_neutral: bool = True
    figure: str = ""
    batch_size: BatchSize = 64
    threads: Threads | None = None
    seed: Seed = 0


def adapt(
    bundle: Bundle | Path | str | None, data: Path | None, out: Path, settings: AdaptSettings
) -> AdaptResult:
    """Fit a bundle to the user's people, and write it where that helps.

    Args:
        bundle: A loaded bundle, its folder or a shipped name; None takes the shipped one. It is
            never changed.
        data: A prepared data set, class folders or a table with ``path,label,subject``; photos
            with ``unlabelled``.
        out: Folder of the new bundle, which must not exist or be empty.
        settings: How.

    Raises:
        InputError: The data do not serve: too few faces, one class, one person, other labels, no
            faces; or ``out`` is not free.
        BundleError: The bundle is missing or damaged, or adapted already.
    """
    base = (
        bundle
        if isinstance(bundle, Bundle)
        else load_bundle(find_bundle(bundle), threads=settings.threads)
    )
    refuse_place(base, out)
    if settings.figure:
        require_figure(Path(settings.figure))
    if settings.remove:
        return write_removed(base, out)
    if adaptation_of(base) is not None:
        raise InputError(
            Text(
                f"{base.path}: adapted already; give the bundle it was made from, or take the "
                "adaptation off first (`remove`)",
                f"{base.path}: 이미 맞춘 번들입니다. 원래 번들을 주거나 먼저 맞춤을 제거하십시오"
                "(`remove`)",
            )
        )
    if data is None:
        raise InputError(
            Text(
                "no `data` given: labelled faces, or photos with `unlabelled`",
                "`data`가 없습니다. 레이블이 있는 얼굴이나, `unlabelled`와 함께 사진을 주십시오",
            )
        )
    faces = read_faces(
        data,
        base,
        labelled=not settings.unlabelled,
        label_set=settings.label_set,
        policy=settings.policy,
        crops=settings.crops,
        batch_size=settings.batch_size,
    )
    if settings.unlabelled:
        found = shift_of(faces, base, settings.seed)
    else:
        found = _fitted(faces, base, data, settings)
    origin = provenance(
        "adapt",
        {k: v for k, v in settings_to_dict(settings).items() if k != "figure"},
        seeds={"seed": settings.seed},
        inputs={"bundle": base.hash, "faces": faces.digest},
    )
    found = replace(found, provenance=origin)
    if found.adaptation is not None:
        found = write_adapted(base, out, found)
    return _drawn(found, settings.figure)


def _drawn(found: AdaptResult, figure: str) -> AdaptResult:
    """With the picture of before and after, where one is wanted and there is something on it."""
    after = found.tried["after"]
    if not figure or found.before is None or after is None:
        return found
    path = as_given(figure)
    draw_before_after(path, found.before, after, found.captions, spoken_lang())
    return replace(found, figure=path)


def _fitted(faces: ReadFaces, base: Bundle, data: Path, settings: AdaptSettings) -> AdaptResult:
    """The result without its bundle."""
    person = statistics.cluster_codes(faces.subjects, len(faces))
    _refuse_unfit(faces, person, base, data)
    say(Text("choosing by persons left out …", "떼어 둔 인물로 방법을 고릅니다 …"))
    x = centred_logs(faces.raw)
    classes = base.label_set
    at = classes.ids.index(NEUTRAL) if NEUTRAL in classes.ids else None
    x0 = neutral_of_others(x, faces.truth, person, at)
    given = Labelled(x, faces.truth, person, x0)
    used = _some(given, settings.seed)
    plain = judge(used, list(FORMS), settings.seed)
    own = None
    with_neutral = len(set(used.person[used.has_neutral].tolist()))
    if settings.own_neutral and with_neutral >= _FEWEST_WITH_NEUTRAL:
        own = judge(used, [*FORMS, *OF_NEUTRAL], settings.seed)
    taken, plain_helps = _taken(used, plain, own)
    limits = (*faces.limits, *_limits(faces, person, base, given, used))
    judged = taken or plain
    before, after = scores_of(used.x, used, settings.seed), scores_of(judged.after, used, 0)
    return AdaptResult(
        written=False,
        method="none" if taken is None else taken.chosen.form,
        before=before,
        after=after if taken is not None else before,
        tried={"method": judged.chosen.form, "after": after},
        gain={"log_loss": judged.gain, "low": judged.gain_low},
        losses=(own or plain).losses,
        n_images=len(used),
        n_persons=int(person.max()) + 1 if faces.knows_persons else None,
        counts=counts_of(used.truth, classes),
        limits=limits,
        bundle_name=base.document.name,
        bundle_hash=base.hash,
        labels=classes.ids,
        adaptation=None
        if taken is None
        else _adaptation(base, used, taken.chosen, plain.chosen if plain_helps else None),
    )


def _taken(faces: Labelled, plain: Judged, own: Judged | None) -> tuple[Judged | None, bool]:
    """The judged choice to write, None for none; and whether the plain one helps."""
    plain_helps = helps(plain, faces)
    relative = own is not None and own.chosen.own_neutral is not None and helps(own, faces)
    if own is not None and relative and (not plain_helps or own.gain > plain.gain):
        return own, plain_helps
    return (plain if plain_helps else None), plain_helps


def _adaptation(base: Bundle, faces: Labelled, taken: Fitted, plain: Fitted | None) -> Adaptation:
    """The document of what is written; its evidence is added by :func:`write_adapted`."""
    if taken.own_neutral is None:
        plain = taken
    forms = [FORMS[plain.form]] if plain is not None else []
    biased = taken.own_neutral is not None or any(form.bias for form in forms)
    return Adaptation(
        method=taken.form,
        plain=None if plain is None else Remap.of(plain.plain),
        own_neutral=None if taken.own_neutral is None else Remap.of(taken.own_neutral),
        class_shares=_shares(base, faces) if biased else _carried(base),
        evidence={},
        base={"name": base.document.name, "sha256": base.hash},
    )


def _carried(base: Bundle) -> dict[str, float] | None:
    shares = base_shares(base)
    return (
        None if shares is None else dict(zip(base.label_set.ids, map(float, shares), strict=True))
    )


def _shares(base: Bundle, faces: Labelled) -> dict[str, float] | None:
    """Class shares after a fit with a bias: those of the weighted images; others as before."""
    before = base_shares(base)
    weights = balancing_weights(faces.truth, len(base.label_set.ids))
    counts = np.bincount(faces.truth, minlength=len(base.label_set.ids))
    shares = np.bincount(faces.truth, weights=weights, minlength=len(counts)) / weights.sum()
    rare = counts < _FEW_OF_A_CLASS
    if rare.any():
        if before is None:
            return None
        shares = np.where(rare, before, shares * (1.0 - before[rare].sum()))
    shares = shares / shares.sum()
    return dict(zip(base.label_set.ids, (round(float(s), 6) for s in shares), strict=True))


def _some(faces: Labelled, seed: int) -> Labelled:
    """At most ``MOST_IMAGES``, drawn over all persons."""
    if len(faces) <= MOST_IMAGES:
        return faces
    rows = np.random.default_rng(seed).permutation(len(faces))[:MOST_IMAGES]
    some = faces.rows(np.sort(rows))
    return replace(some, person=np.unique(some.person, return_inverse=True)[1])


def _refuse_unfit(faces: ReadFaces, person: Any, base: Bundle, data: Path) -> None:
    n, labels = len(faces), sorted(set(faces.truth.tolist()))
    if n < FEWEST_IMAGES:
        raise InputError(
            Text(
                f"{data}: {n} labelled faces; at least {FEWEST_IMAGES} are needed, better 50 of "
                "several persons",
                f"{data}: 레이블이 있는 얼굴이 {n}장입니다. {FEWEST_IMAGES}장 이상, 되도록 여러 "
                "사람의 50장이 필요합니다",
            )
        )
    if len(labels) < 2:
        only = base.label_set.ids[labels[0]]
        raise InputError(
            Text(
                f"{data}: one class only ({only}): nothing says how it differs from others; label "
                "faces of two classes or more",
                f"{data}: 클래스가 하나뿐입니다({only}). 다른 클래스와 어떻게 다른지 알 수 없으니 "
                "둘 이상의 클래스에 레이블을 붙이십시오",
            )
        )
    if len(set(person.tolist())) < 2:
        raise InputError(
            Text(
                f"{data}: one person only: what fits this person may fit nobody else, and nothing "
                "is left to judge it on; label faces of two persons or more",
                f"{data}: 인물이 한 명뿐입니다. 다른 사람에게도 맞는지 확인할 수 없으니 두 명 "
                "이상의 얼굴에 레이블을 붙이십시오",
            )
        )


def _limits(
    faces: ReadFaces, person: Any, base: Bundle, given: Labelled, used: Labelled
) -> list[Text]:
    found = []
    if not faces.knows_persons:
        found.append(
            Text(
                "persons are unknown: every picture counts as a person of its own, so the figures "
                "are too good and the intervals too narrow if one person has several pictures",
                "인물을 알 수 없어 사진 하나를 한 사람으로 셉니다. 한 사람의 사진이 여럿이면 "
                "수치가 실제보다 좋고 구간이 좁게 나옵니다",
            )
        )
    elif (n := int(person.max()) + 1) < _FEW_PERSONS:
        found.append(
            Text(
                f"only {n} persons: the interval by persons is very wide",
                f"인물이 {n}명뿐이라 인물 단위 구간이 매우 넓습니다",
            )
        )
    rare = [k for k, n in counts_of(given.truth, base.label_set).items() if n < _FEW_OF_A_CLASS]
    if rare:
        names = [label.name for label in base.label_set.labels if label.id in rare]
        en, ko = (", ".join(name.pick(lang) for name in names) for lang in ("en", "ko"))
        found.append(
            Text(
                f"fewer than {_FEW_OF_A_CLASS} faces of {en}: these classes stay as they were",
                f"{ko}의 얼굴이 {_FEW_OF_A_CLASS}장보다 적어 이 클래스는 그대로 둡니다",
            )
        )
    if len(used) < len(given):
        found.append(
            Text(
                f"{len(used):,} of {len(given):,} faces were drawn: more change nothing",
                f"얼굴 {len(given):,}장 중 {len(used):,}장을 뽑아 썼습니다. 더 써도 "
                "달라지지 않습니다",
            )
        )
    return found


__all__ = ["FORMAT", "AdaptResult", "AdaptSettings", "adapt"]
