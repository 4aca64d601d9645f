"""Notices of an evaluation: what a careful reviewer would object to, in words.

Every notice has an id, a level (``warning`` calls the result into question, ``note`` limits what
it says) and one sentence in each language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nunbit import statistics
from nunbit.core.messages import Text, joined, text_of
from nunbit.datasets.predictions import Predictions
from nunbit.language.labels import LabelSet, label_set_names, load_label_set
from nunbit.language.prompts import with_particle
from nunbit.stories.evaluate.variants import NEARLY_CONSTANT

Notice = dict[str, Any]

_FEW_IMAGES = 200
_FEW_PERSONS = statistics.FEW
# A relabelling must gain this much accuracy before mixed-up labels are suspected.
_RELABELLING_GAIN = 0.15
# A subgroup this far below everybody else, with an interval that excludes zero, is pointed out.
_SUBGROUP_DROP = 0.10
# Of the test of an attribute's largest gap.
_LEVEL = 0.05
_ALIKE = 0.99
_HIGH_ECE = 0.10
_NEVER_PREDICTED = 0.002


def notices(document: dict[str, Any], p: Predictions) -> list[Notice]:
    """All notices of a result, warnings first.

    Args:
        document: ``result.json`` without ``warnings``.
        p: The predictions it was made from.
    """
    found = [notice for check in _CHECKS for notice in check(document, p)]
    return sorted(found, key=lambda notice: notice["level"] != "warning")


def _constant(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    shares = d["prediction_distribution"]
    label = max(shares, key=shares.get)
    if len(d["labels"]) < 2 or shares[label] < NEARLY_CONSTANT:
        return
    name = _name(p.label_set, label)
    en, ko = name.en, name.ko
    if shares[label] == 1.0:
        yield _warning(
            "constant_classifier",
            Text(
                f"Every image is called '{en}': this is a constant answer, not a classifier. Its "
                f"accuracy ({d['top1']:.1%}) is the share of that class.",
                f"모든 이미지를 '{ko}'{_ro(ko)} 답했습니다. 분류가 아니라 상수 답입니다. "
                f"정확도({d['top1']:.1%})는 그 클래스의 비율일 뿐입니다.",
            ),
        )
    else:
        yield _warning(
            "nearly_constant_classifier",
            Text(
                f"{shares[label]:.1%} of the images are called '{en}': nearly a constant answer.",
                f"이미지의 {shares[label]:.1%}를 '{ko}'{_ro(ko)} 답했습니다. 거의 상수에 가까운 "
                "답입니다.",
            ),
        )


def _never_predicted(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    shares, truth = d["prediction_distribution"], d["truth_distribution"]
    if max(shares.values()) >= NEARLY_CONSTANT:
        return  # said already
    labels = [
        label
        for label in d["labels"]
        if shares[label] < _NEVER_PREDICTED and truth[label] > 10 * _NEVER_PREDICTED
    ]
    if labels:
        names = joined(", ", [_name(p.label_set, x) for x in labels])
        yield _warning(
            "class_never_predicted",
            Text(
                f"The model (almost) never answers: {names.en}.",
                f"모델이 (거의) 한 번도 답하지 않은 클래스: {names.ko}.",
            ),
        )


def _persons_in_train(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    seen, unseen = d["seen_subjects"]["n"], d["unseen_subjects"]["n"]
    if d["split"] == "train":
        yield _warning(
            "train_split",
            Text(
                "These are training images: the scores only show how well they were learned.",
                "학습 이미지로 평가했습니다. 얼마나 학습했는지만 보여 주는 수치입니다.",
            ),
        )
        return
    if d["split"] == "all":
        yield _note(
            "all_splits",
            Text(
                "All splits were evaluated together. A model that was trained on this data set has "
                "seen part of these images; then quote the test split instead.",
                "모든 분할을 함께 평가했습니다. 이 자료로 학습한 모델이라면 이미 본 이미지가 "
                "섞여 있으니 시험 분할의 수치를 인용하십시오.",
            ),
        )
    if seen:
        share = seen / (seen + unseen)
        persons = d["seen_subjects"]["n_subjects"]
        yield _warning(
            "persons_in_train",
            Text(
                f"{share:.1%} of the images show persons who are also in the train split "
                f"({persons} persons): quote the scores of unseen persons.",
                f"이미지의 {share:.1%}가 학습 분할에도 나오는 인물입니다({persons}명). 처음 보는 "
                "인물의 수치를 인용하십시오.",
            ),
        )


def _no_persons(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    if not p.knows_persons:
        yield _note(
            "no_persons",
            Text(
                "No person keys are known: intervals resample images. If persons occur more than "
                "once, the intervals are too narrow, and leaked persons cannot be found.",
                "인물 정보가 없어 이미지 단위로 재표집했습니다. 같은 인물이 여러 번 나온다면 "
                "구간이 실제보다 좁고, 인물 누출도 확인할 수 없습니다.",
            ),
        )


def _relabelling(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    order, accuracy = statistics.best_relabelling(np.array(d["confusion"]))
    if not accuracy - d["top1"] >= _RELABELLING_GAIN:
        return
    ids = p.label_set.ids
    moved = [(ids[i], ids[j]) for i, j in enumerate(order) if i != j]
    pairs = [joined(" → ", [_name(p.label_set, x) for x in pair]) for pair in moved]
    en, ko = joined(", ", pairs).en, joined(", ", pairs).ko
    yield _warning(
        "labels_swapped",
        Text(
            f"Labels may be swapped: reading them as {en} would raise accuracy from "
            f"{d['top1']:.1%} to {accuracy:.1%}. Check the label order of the data and of the "
            "bundle.",
            f"레이블이 뒤바뀌었을 수 있습니다. {ko}{_ro(ko)} 읽으면 정확도가 {d['top1']:.1%}에서 "
            f"{accuracy:.1%}로 오릅니다. 데이터와 번들의 레이블 순서를 확인하십시오.",
        ),
    )


def _subgroups(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    for attribute, section in d["subgroups"].items():
        gap = section["gap"]
        if gap is not None and gap["p_value"] >= _LEVEL:
            continue  # of many groups one is always the lowest
        for group in section["groups"]:
            difference = group["difference_to_rest"]
            interval = difference["ci95"]
            if group["small"] or interval is None or difference["top1"] is None:
                continue
            if difference["top1"] <= -_SUBGROUP_DROP and interval[1] < 0.0:
                points = -100 * difference["top1"]
                name = ATTRIBUTES.get(attribute, Text(attribute, attribute))
                yield _warning(
                    "subgroup_worse",
                    Text(
                        f"{name.en} {group['value']}: accuracy is {points:.1f} points below all "
                        f"other images ({group['top1']:.1%}, {group['n']} images).",
                        f"{name.ko} {group['value']}: 정확도가 나머지보다 {points:.1f}%p 낮습니다"
                        f"({group['top1']:.1%}, 이미지 {group['n']}장).",
                    ),
                )


def _missing_classes(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    absent = [label for label in d["labels"] if d["per_class"][label]["support"] == 0]
    if not absent:
        return
    present = len(d["labels"]) - len(absent)
    names = joined(", ", [_name(p.label_set, x) for x in absent])
    yield _warning(
        "class_missing",
        Text(
            f"No image of: {names.en}. UAR is the mean over the {present} classes that occur"
            + (
                "; with one class it does not show whether classes are distinguished."
                if present == 1
                else "."
            ),
            f"이미지가 없는 클래스: {names.ko}. UAR은 나타난 {present}개 클래스의 평균입니다"
            + (". 클래스가 하나뿐이면 구별 능력을 알 수 없습니다." if present == 1 else "."),
        ),
    )


def _few(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    persons = d["n_subjects"]
    if d["n"] < _FEW_IMAGES:
        yield _warning(
            "few_images",
            Text(
                f"Only {d['n']} labelled images: the scores are rough, and so are their intervals.",
                f"레이블이 있는 이미지가 {d['n']}장뿐입니다. 수치와 구간 모두 정밀하지 않습니다.",
            ),
        )
    elif persons is not None and persons < _FEW_PERSONS:
        yield _warning(
            "few_persons",
            Text(
                f"Only {persons} persons: the intervals are t intervals over these persons, wider "
                "than a bootstrap's, and hold only if these persons are like those you want to "
                "describe.",
                f"인물이 {persons}명뿐입니다. 그래서 구간은 부트스트랩보다 넓은 인물 단위 t "
                "구간이며, 이 인물들이 관심 있는 집단을 대표할 때만 의미가 있습니다.",
            ),
        )


def _unlabelled(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    skipped = d["n_skipped"]["no_label"]
    if skipped:
        share = skipped / (skipped + d["n"])
        yield _note(
            "images_without_label",
            Text(
                f"{skipped} images ({share:.1%}) have no label under policy {d['policy']} and "
                "are left out of the scores.",
                f"{d['policy']} 정책으로 레이블이 정해지지 않은 이미지 {skipped}장({share:.1%})은 "
                "점수에서 뺐습니다.",
            ),
        )


def _other_label_set(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    trained = d["trained_label_set"]
    if trained is not None and trained != p.label_set.name:
        yield _note(
            "other_label_set",
            Text(
                f"The model was trained for label set {trained} and reads the classes of "
                f"{p.label_set.name} from their prompts alone; its temperature was fitted for the "
                "training set.",
                f"모델은 {trained} 레이블 집합으로 학습했고 {p.label_set.name}의 클래스는 "
                "프롬프트로만 읽습니다. 온도도 학습한 집합에 맞춘 값입니다.",
            ),
        )


def _prompts_alike(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    similarity = d.get("prompt_similarity")
    if similarity and similarity["most_alike"]["cosine"] >= _ALIKE:
        first, second = similarity["most_alike"]["labels"]
        one, two = _name(p.label_set, first).ko, _name(p.label_set, second).ko
        yield _warning(
            "prompts_alike",
            Text(
                f"The prompts of '{first}' and '{second}' are almost the same to the model "
                f"(cosine {similarity['most_alike']['cosine']:.3f}): it can hardly distinguish "
                "them by words.",
                f"모델에게는 '{one}', '{two}' 두 클래스의 프롬프트가 거의 같습니다(코사인 "
                f"{similarity['most_alike']['cosine']:.3f}). 문장만으로는 구별하기 어렵습니다.",
            ),
        )


def _calibration(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    ece = d["calibration"]["ece_after"]
    if ece is not None and ece >= _HIGH_ECE and d["n"] >= _FEW_IMAGES:
        yield _warning(
            "poorly_calibrated",
            Text(
                f"Probabilities deviate by {ece:.1%} on average (ECE): read them as ranks, not as "
                "probabilities.",
                f"확률이 평균 {ece:.1%} 어긋납니다(ECE). 확률이 아니라 순위로만 읽으십시오.",
            ),
        )


def _binary(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    if not d["binary"].get("n"):
        return
    names = {
        "posterior_sum": Text("the sum of posteriors", "사후확률의 합"),
        "two_prompt": Text("two prompts", "두 프롬프트"),
    }
    for key, name in names.items():
        answer = d["binary"][key]
        if answer.get("nearly_constant"):
            share = max(answer["share_answered_inside"], 1 - answer["share_answered_inside"])
            side = answer["share_answered_inside"] > 0.5
            yield _warning(
                "binary_constant",
                Text(
                    f"Two-class experiment by {name.en}: {share:.1%} of the images get the same "
                    f"answer ('{'inside' if side else 'outside'} the group'), so its accuracy "
                    f"({answer['accuracy']:.1%}) is about the share of that group.",
                    f"두 묶음 실험({name.ko}): 이미지의 {share:.1%}에 같은 답('묶음 "
                    f"{'안' if side else '밖'}')을 냈습니다. 정확도({answer['accuracy']:.1%})는 "
                    "그 묶음의 비율과 거의 같습니다.",
                ),
            )


def _stand_in(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    if d["binary"].get("stand_in_for"):
        own = ", ".join(d["binary"]["joined"])
        wanted = ", ".join(d["binary"]["stand_in_for"])
        ko = ", ".join(_name(p.label_set, x).ko for x in d["binary"]["joined"])
        wanted_ko = ", ".join(_name(p.label_set, x).ko for x in d["binary"]["stand_in_for"])
        yield _note(
            "binary_stand_in",
            Text(
                "Two-class experiment: this label set lacks classes of the paper's group "
                f"({wanted}); {own} stand in for it. It is not the paper's experiment.",
                f"두 묶음 실험: 이 레이블 집합에는 논문 묶음({wanted_ko})의 클래스 일부가 없어 "
                f"{ko}{_ro(ko)} 대신했습니다. 논문의 실험과 같지 않습니다.",
            ),
        )


def _whole_photos(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    if said := d.get("whole_photos"):
        yield _warning("whole_photos", text_of(said))


def _adapted(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    for note in d.get("adaptation_notes") or ():
        yield _note("posterior", text_of(note))


def _priors(d: dict[str, Any], p: Predictions) -> Iterator[Notice]:
    both = d.get("priors")
    if not both:
        return
    shown = [
        f"top-1 {both[name]['top1']:.1%}, UAR {both[name]['uar']:.1%}"
        for name in ("train", "balanced")
    ]
    yield _warning(
        "priors",
        Text(
            f"Class shares matter here: as the bundle is {shown[0]}; all classes alike {shown[1]}. "
            "Balanced data overstate rare classes in daily life, and the other way round.",
            f"클래스 비율에 따라 결과가 다릅니다. 번들 그대로 {shown[0]}, 모든 클래스를 같게 두면 "
            f"{shown[1]}. 어느 쪽이 맞는지는 쓰려는 자료의 비율에 달려 있습니다.",
        ),
    )


_CHECKS: tuple[Callable[[dict[str, Any], Predictions], Iterator[Notice]], ...] = (
    _constant,
    _never_predicted,
    _whole_photos,
    _relabelling,
    _persons_in_train,
    _missing_classes,
    _few,
    _subgroups,
    _prompts_alike,
    _calibration,
    _binary,
    _unlabelled,
    _other_label_set,
    _no_persons,
    _stand_in,
    _priors,
    _adapted,
)

ATTRIBUTES = {
    "gender": Text("Gender", "성별"),
    "age": Text("Age", "나이"),
    "place": Text("Place", "장소"),
    "box_px": Text("Face size (px)", "얼굴 크기(px)"),
    "blur": Text("Sharpness", "선명도"),
}


def _name(label_set: LabelSet, label: str) -> Text:
    # Classes that were merged, or that others stand in for, are named by the package's sets.
    known = (label_set, *(load_label_set(name) for name in label_set_names()))
    named = (each.labels[each.index(label)].name for each in known if label in each.ids)
    return next(named, Text(label, label))  # of a user's own set that was merged


def _ro(word: str) -> str:
    """The particle (으)로 that fits a word."""
    return with_particle(word, "으로").removeprefix(word)


def _warning(code: str, text: Text) -> Notice:
    return {"id": code, "level": "warning", **text.to_dict()}


def _note(code: str, text: Text) -> Notice:
    return {"id": code, "level": "note", **text.to_dict()}
