"""The one place where a face's class probabilities leave the model.

Adaptation to the user's people, the person's own neutral face, other class shares: all of it acts
on log-probabilities, after the cosines with the prompts and before anything is shown. Predict,
analyze, evaluate and live sessions call :class:`Posterior`; a bundle without any of it gives its
probabilities back unchanged. N faces, K classes.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import BundleError, InputError, Text
from nunbit.core.streams import FaceStream, Floats, Pixels, Singles
from nunbit.language.labels import LabelSet
from nunbit.model.bundle import BUNDLE_FILE, damaged
from nunbit.model.encoders import Bundle
from nunbit.model.zeroshot import ensemble_cosines, probabilities
from nunbit.runtime.files import as_given, require_regular
from nunbit.runtime.resources import packaged_table
from nunbit.statistics.remapping import FLOOR, Correction, centred_logs, softmax

TRAIN, BALANCED = "train", "balanced"
NEUTRAL = "neutral"

# Without a fit to neutral faces only what is plainly off is taken back, and half of it: more costs
# accuracy on web photos of persons whose neutral face is another photo (docs/results.md, "The
# person's own neutral").
_EXCESS_SHARE = 0.5
# A picture the model finds this joyful is no neutral face. Anger, sadness and the like are not
# refused: resting faces that are read so are what the correction is for.
_NOT_NEUTRAL = 0.8


@dataclass(frozen=True, slots=True)
class Remap:
    """A correction of log-probabilities as ``bundle.json`` holds it; see ``statistics.remapping``.

    Attributes:
        scale: Factor of the log-probabilities.
        bias: (K,).
        weight: (K, K), rows are classes; empty = zero.
        neutral: Share of the neutral face that is taken off.
    """

    scale: float
    bias: tuple[float, ...]
    weight: tuple[tuple[float, ...], ...] = ()
    neutral: float = 0.0

    @classmethod
    def of(cls, fitted: Correction) -> Remap:
        """The document of a fitted correction."""
        rows = fitted.weight if fitted.weight.any() else ()
        return cls(
            round(fitted.scale, 6),
            tuple(round(float(b), 6) for b in fitted.bias),
            tuple(tuple(round(float(w), 6) for w in row) for row in rows),
            round(fitted.neutral, 6),
        )

    def correction(self, n_classes: int) -> Correction:
        """The correction.

        Raises:
            ValueError: The numbers do not fit K classes.
        """
        weight = np.array(self.weight or np.zeros((n_classes, n_classes)), np.float64)
        bias = np.array(self.bias, np.float64)
        finite = np.isfinite([self.scale, self.neutral, *bias, *weight.ravel()]).all()
        if bias.shape != (n_classes,) or weight.shape != (n_classes, n_classes) or not finite:
            raise ValueError(f"adaptation: expected finite numbers of {n_classes} classes")
        return Correction(self.scale, bias, weight, self.neutral)


@dataclass(frozen=True, slots=True)
class Adaptation:
    """``adaptation`` of ``bundle.json``: what was fitted, to whom, and what it is worth.

    Attributes:
        method: The form, such as ``bias`` or ``remap_own_neutral``.
        plain: For faces without the person's neutral face; None changes nothing.
        own_neutral: For faces with it; None where it does not help.
        class_shares: Label id -> share that the corrected probabilities carry; None where unknown.
        evidence: What it is worth on persons left out, and the limits of that.
        base: ``name`` and ``sha256`` of the bundle it was fitted to.
    """

    method: str
    plain: Remap | None
    own_neutral: Remap | None
    class_shares: dict[str, float] | None
    evidence: Mapping[str, Any]
    base: dict[str, str]


def adaptation_of(bundle: Bundle) -> Adaptation | None:
    """The bundle's adaptation, None without one.

    Raises:
        BundleError: It is damaged.
    """
    document = bundle.document.adaptation
    if document is None:
        return None
    try:
        found = msgspec.convert(document, Adaptation)
        for remap in (found.plain, found.own_neutral):
            if remap is not None:
                remap.correction(len(bundle.label_set.labels))
    except (msgspec.ValidationError, ValueError) as exc:
        raise damaged(bundle.path / BUNDLE_FILE, exc) from exc
    return found


@dataclass(frozen=True, eq=False, slots=True)
class Posterior:
    """How the raw probabilities of faces become those that are shown; make it with :meth:`of`.

    Attributes:
        adaptation: That is applied, None without one or with other classes.
        prior: ``train``, ``balanced`` or a file's name.
        ratio: (K,) wanted over carried class shares; None changes nothing.
        neutral_at: Position of the neutral class; None without one.
        not_applied: Whether the bundle has an adaptation that is not applied: to other classes.
    """

    adaptation: Adaptation | None
    prior: str
    ratio: Floats | None
    neutral_at: int | None
    not_applied: bool = False

    @classmethod
    def of(cls, bundle: Bundle, *, label_set: LabelSet | None = None, prior: str = "") -> Posterior:
        """For a bundle.

        Args:
            bundle: Whose probabilities these are.
            label_set: The classes asked for; None = the bundle's own. An adaptation is to the
                bundle's own classes and is not applied to others (``notes`` says so).
            prior: ``train`` or empty = as the bundle is, ``balanced`` = all classes alike, or a
                file of shares.

        Raises:
            BundleError: The adaptation is damaged, or the shares that the probabilities carry are
                unknown and others are wanted.
            InputError: The file cannot be read or does not fit the classes.
        """
        classes = label_set or bundle.label_set
        own = classes.ids == bundle.label_set.ids
        found = adaptation_of(bundle) if own else None
        ratio = None
        if prior not in ("", TRAIN):
            carried = carried_shares(bundle) if own else None
            if carried is None:
                raise _unknown_shares(bundle, classes)
            ratio = wanted_shares(prior, classes) / carried
        name = prior if prior in (TRAIN, BALANCED) else Path(prior).name if prior else TRAIN
        at = classes.ids.index(NEUTRAL) if NEUTRAL in classes.ids else None
        return cls(found, name, ratio, at, not own and bundle.document.adaptation is not None)

    def probabilities(self, raw: NDArray[Any], neutral: Floats | None = None) -> Singles:
        """Probabilities to show.

        Args:
            raw: (N, K) of ``zeroshot.probabilities``; rows of NaN stay.
            neutral: (K,) of :func:`neutral_face`, or (N, K); None = none is known.

        Returns:
            (N, K) float32, rows sum to one; ``raw`` itself where nothing is to be done.
        """
        if self.adaptation is None and self.ratio is None and neutral is None:
            return np.asarray(raw, np.float32)
        x = centred_logs(raw)
        k = x.shape[-1]
        plain = None if self.adaptation is None else self.adaptation.plain
        own = None if self.adaptation is None else self.adaptation.own_neutral
        if neutral is not None and own is not None:
            x = own.correction(k).logits(x, neutral)
        else:
            if neutral is not None:
                x = x - self._excess(neutral)
            if plain is not None:
                x = plain.correction(k).logits(x)
        if self.ratio is not None:
            x = x + np.log(self.ratio)
        return softmax(x).astype(np.float32)

    def faces(
        self, faces: FaceStream, neutral: Floats | None = None, own: Collection[int] = ()
    ) -> FaceStream:
        """Faces with the probabilities to show.

        Args:
            faces: With those of the model.
            neutral: (K,) neutral face of one person; None = none is known.
            own: Tracks of that person; the others are never relative.
        """
        tracks = tuple(
            track
            if track.probabilities is None
            else replace(
                track,
                probabilities=self.probabilities(
                    track.probabilities, neutral if track.track_id in own else None
                ),
            )
            for track in faces.tracks
        )
        return replace(faces, tracks=tracks)

    def _excess(self, neutral: Floats) -> Floats:
        """What other classes have over neutral on the neutral face itself, in part; (K,)."""
        at = self.neutral_at
        assert at is not None  # a neutral face was asked for
        return np.asarray(_EXCESS_SHARE * np.maximum(neutral - neutral[..., at : at + 1], 0.0))

    def require_neutral(self) -> int:
        """The position of the neutral class.

        Raises:
            InputError: The classes have none.
        """
        if self.neutral_at is None:
            raise InputError(
                Text(
                    "`neutral`: these classes have no 'neutral', so nothing can be relative to it; "
                    "leave it out or choose another label set",
                    "`neutral`: 이 클래스에는 'neutral'이 없어 중립에 견줄 수 없습니다. 빼거나 "
                    "다른 레이블 집합을 고르십시오",
                )
            )
        return self.neutral_at

    @property
    def notes(self) -> tuple[Text, ...]:
        """What a reader of the probabilities must know."""
        found = []
        if self.adaptation is not None:
            about = self.adaptation.evidence
            n, persons = about.get("n_images"), about.get("n_persons")
            found.append(
                Text(
                    f"probabilities are adapted ({self.adaptation.method}; {n} images, "
                    f"{persons} persons)",
                    f"사용자의 자료에 맞춘 확률입니다({self.adaptation.method}, 이미지 {n}장, "
                    f"인물 {persons}명)",
                )
            )
        if self.not_applied:
            found.append(
                Text(
                    "the bundle is adapted to its own classes; the adaptation is not applied to "
                    "these",
                    "번들의 맞춤은 번들 자신의 클래스에 대한 것이어서 이 클래스에는 쓰지 않습니다",
                )
            )
        if self.prior != TRAIN:
            found.append(
                Text(
                    f"class shares assumed: {self.prior}, not those of training",
                    f"가정한 클래스 비율: {self.prior} (학습 자료의 비율이 아닙니다)",
                )
            )
        return tuple(found)

    def to_dict(self, *, relative: bool) -> dict[str, Any]:
        """Plain data for a result: ``adapted`` (method or None), ``prior``, ``relative``."""
        method = None if self.adaptation is None else self.adaptation.method
        return {"adapted": method, "prior": self.prior, "relative": relative}


def neutral_face(raw: NDArray[Any]) -> Floats:
    """What the model says of a person's neutral face: mean centred log-probabilities; (K,).

    Args:
        raw: (M, K) probabilities of M pictures or frames of it.
    """
    return np.asarray(centred_logs(raw).mean(axis=0))


def check_neutral(raw: NDArray[Any], label_set: LabelSet, where: str) -> tuple[Text, ...]:
    """Refuse a picture that is no neutral face, and say where the model doubts it.

    Args:
        raw: (M, K) probabilities of the pictures given as neutral.
        label_set: The K classes.
        where: What the pictures are called.

    Returns:
        A notice where the mean answer is not neutral, else nothing.

    Raises:
        InputError: The model is sure that it is a joyful face.
    """
    mean = np.asarray(raw, np.float64).mean(axis=0)
    top = int(mean.argmax())
    label = label_set.labels[top]
    en, ko = label.name.en, label.name.ko
    if label.valence > 0 and mean[top] >= _NOT_NEUTRAL:
        raise InputError(
            Text(
                f"{where}: not a neutral face: the model reads {en} ({mean[top]:.2f}); give a "
                "picture of the same person at rest",
                f"{where}: 중립 표정이 아닙니다. 모델은 {ko}({mean[top]:.2f})으로 읽습니다. 같은 "
                "사람이 무표정하게 있는 사진을 주십시오",
            )
        )
    if label.id == NEUTRAL:
        return ()
    return (
        Text(
            f"{where}: given as neutral, read as {en} ({mean[top]:.2f}): if the face is not at "
            "rest, everything relative to it is off",
            f"{where}: 중립이라고 주셨지만 모델은 {ko}({mean[top]:.2f})으로 읽습니다. 무표정한 "
            "얼굴이 아니라면 그에 견준 값이 모두 어긋납니다",
        ),
    )


def shares_of_faces(
    bundle: Bundle, prompts: Singles, batches: Iterable[Pixels]
) -> dict[str, float] | None:
    """Label id -> mean probability on images as they come; what the bundle's answers carry.

    Args:
        bundle: With its final temperature.
        prompts: (T, K, D) of its classes.
        batches: Crops, each (N, H, W, 3) uint8.

    Returns:
        Positive shares of about one in all; None without images.
    """
    said = [
        ensemble_cosines(bundle.embed_images(crops), prompts, "mean_embedding") for crops in batches
    ]
    if not said:
        return None
    rows = probabilities(np.concatenate(said), bundle.logit_scale, bundle.temperature)
    shares = np.maximum(rows.mean(axis=0, dtype=np.float64), FLOOR)
    return {i: round(float(v), 4) for i, v in zip(bundle.label_set.ids, shares, strict=True)}


def carried_shares(bundle: Bundle) -> Floats | None:
    """(K,) class shares that the bundle's probabilities carry; None where it does not say."""
    if (adapted := adaptation_of(bundle)) is not None and (adapted.plain or adapted.own_neutral):
        return _shares(adapted.class_shares, bundle.label_set)
    return base_shares(bundle)


def base_shares(bundle: Bundle) -> Floats | None:
    """The same without the adaptation."""
    said: Any = bundle.document.class_shares
    if said is None and isinstance(bundle.document.training_data, dict):
        known = packaged_table("model/data/class_shares.toml")
        said = known.get(str(bundle.document.training_data.get("sha256")))
    return _shares(said, bundle.label_set)


def _shares(said: Mapping[str, float] | None, label_set: LabelSet) -> Floats | None:
    if said is None or set(said) != set(label_set.ids):
        return None
    values = np.array([float(said[label]) for label in label_set.ids])
    if not (values > 0).all() or not np.isfinite(values).all():
        return None
    return np.asarray(values / values.sum())


def wanted_shares(prior: str, label_set: LabelSet) -> Floats:
    """(K,) class shares that a user asks for.

    Args:
        prior: ``balanced``, or a file: CSV with ``label,share``, or a JSON object of them.
        label_set: The K classes.

    Raises:
        InputError: The file cannot be read, or does not give every class a share above zero.
    """
    if prior == BALANCED:
        return np.full(len(label_set.labels), 1.0 / len(label_set.labels))
    path = as_given(prior)
    try:
        require_regular(path)
        text = path.read_text(encoding="utf-8-sig")
        said = (
            json.loads(text)
            if path.suffix.lower() == ".json"
            else {
                row["label"]: row["share"]
                for row in csv.DictReader(text.splitlines(), skipinitialspace=True)
            }
        )
        given = {label_set.find(str(name)): float(share) for name, share in dict(said).items()}
    except FileNotFoundError as exc:
        raise _bad_prior(path, "no such file", "파일이 없습니다", label_set) from exc
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise _bad_prior(path, str(exc), str(exc), label_set) from exc
    if missing := [label for label in label_set.ids if label not in given]:
        names = ", ".join(missing)
        raise _bad_prior(path, f"no share of {names}", f"{names}의 비율이 없습니다", label_set)
    values = np.array([given[label] for label in label_set.ids])
    if not all(math.isfinite(v) and v > 0 for v in values):
        raise _bad_prior(
            path, "a share is not above zero", "0보다 크지 않은 비율이 있습니다", label_set
        )
    return np.asarray(values / values.sum())


def _bad_prior(path: Path, why_en: str, why_ko: str, label_set: LabelSet) -> InputError:
    ids = ", ".join(label_set.ids)
    return InputError(
        Text(
            f"{path}: cannot use as `prior`: {why_en}; give train, balanced, or a CSV with "
            f"label,share (or a JSON object) of {ids}",
            f"{path}: `prior`로 쓸 수 없습니다: {why_ko}. train, balanced, 또는 {ids}의 "
            "label,share CSV(나 JSON 객체)를 주십시오",
        )
    )


def _unknown_shares(bundle: Bundle, classes: LabelSet) -> BundleError:
    return BundleError(
        Text(
            f"{bundle.path}: which class shares its probabilities carry for {classes.name} is not "
            f"known (`class_shares` in {BUNDLE_FILE}), so `prior` cannot change them; leave it out "
            "or use the classes it was trained for",
            f"{bundle.path}: 이 번들의 {classes.name} 확률이 어떤 클래스 비율을 따르는지 알 수 "
            f"없어({BUNDLE_FILE}의 `class_shares`) `prior`로 바꿀 수 없습니다. 빼거나 학습한 "
            "클래스를 쓰십시오",
        )
    )
