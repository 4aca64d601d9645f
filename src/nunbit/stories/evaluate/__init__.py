"""The story of ``nunbit evaluate``: prepared data and a bundle in, ``EVAL/`` out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import SettingsError, Text
from nunbit.datasets.policies import labels_under, refuse_anonymous
from nunbit.datasets.predictions import (
    Predictions,
    codes_of,
    predictions_of,
    read_predictions,
    require_labels,
    rows_of_split,
    truth_of,
    write_predictions,
)
from nunbit.datasets.shards import MANIFEST, REJECTS, DataSet, open_dataset, whole_photos
from nunbit.language.labels import DEPRESSION_RELATED, LabelSet, load_label_set, merge_labels
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.posterior import TRAIN, Posterior
from nunbit.model.zeroshot import combine_cosines
from nunbit.report.page import render_evaluation
from nunbit.runtime.claims import claimed
from nunbit.runtime.config import parse_part, settings_to_dict
from nunbit.runtime.engines import EngineChoice
from nunbit.runtime.files import read_json, sha256_file, write_json
from nunbit.runtime.progress import say, spoken_lang
from nunbit.runtime.resources import Provenance, provenance
from nunbit.runtime.results import EvalResult
from nunbit.stories.evaluate.assess import (
    EvaluateSettings,
    assess,
    class_probabilities,
    posterior_section,
)
from nunbit.stories.evaluate.compare import check_others
from nunbit.stories.evaluate.place import (
    PREDICTIONS,
    RESULT,
    clear_place,
    digests_of_given,
    require_place,
    write_pictures,
)
from nunbit.stories.evaluate.scoring import Cosines, Scorer, drop_parts, text_bank
from nunbit.stories.evaluate.variants import (
    PromptEvidence,
    Threshold,
    choose_threshold,
    group_members,
)

Codes = NDArray[np.int64]
Floats = NDArray[np.float32]

# The threshold of the two-class experiment needs a distribution, not every image.
_THRESHOLD_IMAGES = 4000


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The share of this job is done, those of other jobs are not.

    Attributes:
        parts_missing: Parts of the scoring that other jobs have still to write.
    """

    parts_missing: int


def evaluate_part(
    data: Path, bundle: Path | None, out: Path, settings: EvaluateSettings
) -> EvalResult | Unfinished:
    """:func:`evaluate`, sharing the scoring with other jobs that write to the same ``out``.

    Raises:
        SettingsError: ``part`` is not i/n, or ``data`` is a prediction file.
    """
    share = parse_part(settings.part)
    if Path(data).is_file():
        raise SettingsError(
            Text(
                f"{data}: a prediction file needs no `part`; leave it out",
                f"{data}: 예측 파일은 이미 계산되어 있습니다. `part`를 빼십시오",
            )
        )
    require_place(out)
    with claimed(out, part=settings.part or ""):
        return _evaluate_dataset(data, bundle, out, settings, share)


def evaluate(data: Path, bundle: Path | None, out: Path, settings: EvaluateSettings) -> EvalResult:
    """Evaluate zero-shot: cosine to prompts, scores with intervals, files and report in ``out``.

    An interrupted evaluation goes on when the same line is run again.

    Args:
        data: Prepared data set, or a prediction file (then the bundle is not opened).
        bundle: Bundle folder; None = the shipped one.
        out: Folder of the evaluation.
        settings: What to evaluate and how.

    Raises:
        InputError: The data cannot be read, the split is missing, or no image has a label under
            the policy; ``out`` holds something else; a comparison or seed does not fit.
        BundleError: The bundle is damaged or does not serve the label set.
    """
    require_place(out)
    with claimed(out):
        if Path(data).is_file():
            return _evaluate_file(Path(data), out, settings)
        result = _evaluate_dataset(data, bundle, out, settings, (1, 1))
    assert isinstance(result, EvalResult)  # one job of one does all parts
    return result


def _evaluate_dataset(
    data: Path, bundle: Path | None, out: Path, settings: EvaluateSettings, share: tuple[int, int]
) -> EvalResult | Unfinished:
    merged = None if settings.label_set is None else load_label_set(settings.label_set)
    dataset = open_dataset(data, merged)
    rows, split = rows_of_split(dataset, settings.split)
    policy = settings.policy or dataset.policy
    truth = truth_of(dataset, rows, policy)
    require_labels(int((truth >= 0).sum()), policy, str(data))
    model = load_bundle(bundle or default_bundle_path(), threads=settings.threads)
    scorer = Scorer(
        dataset=dataset,
        bundle=model,
        bank=text_bank(model, dataset.label_set, settings.prompts),
        rule=settings.ensemble,
        batch_size=settings.batch_size,
    )
    origin = {"bundle": model.hash, "dataset": sha256_file(dataset.path / MANIFEST)}
    inputs = origin | digests_of_given(settings)
    check_others(
        out,
        settings.comparisons,
        settings.seeds,
        labels=list(dataset.label_set.ids),
        policy=policy,
        split=split,
        n=int((truth >= 0).sum()),
        prompts=scorer.bank.templates.name,
        dataset=origin["dataset"],
    )
    # Alone, one process with all threads is fastest; a cluster has a process a CPU.
    most = 1 if settings.engine == "local" else settings.workers
    choice = EngineChoice(settings.engine, settings.address, most)
    cosines, engine = scorer.score_share(rows, scorer.parts(out, split), share, choice)
    if isinstance(cosines, int):
        return _joined_elsewhere(out, settings, inputs) or Unfinished(cosines)
    posterior = Posterior.of(model, label_set=dataset.label_set, prior=settings.prior)
    p = _predictions(scorer, cosines, rows, truth, posterior, split=split, policy=policy)
    threshold = _threshold(scorer, posterior, split, policy, settings.seed)
    say(Text("computing scores and intervals", "지표와 구간을 계산합니다"))
    evidence = PromptEvidence(scorer.bank, cosines, threshold, model.label_set.name)
    about = posterior_section(p, scorer, posterior, settings)
    if warning := whole_photos(dataset):
        about["whole_photos"] = warning.pair()
    n_rejected = _count_rejects(dataset)
    document = assess(p, settings, evidence=evidence, n_rejected=n_rejected, about=about) | {
        "bundle": _bundle_line(model),
        "dataset": _dataset_line(dataset),
        "provenance": _provenance(settings, inputs) | {"engine": engine},
    }
    clear_place(out)
    write_predictions(out / PREDICTIONS, p, origin=origin)
    write_json(out / RESULT, document)
    if settings.with_images:
        row_of = dict(zip(p.record_id, rows, strict=True))
        write_pictures(
            out, document["confident_mistakes"], lambda record: dataset.jpeg(int(row_of[record]))
        )
    result = _shown(out)
    drop_parts(out)
    return result


def _joined_elsewhere(
    out: Path, settings: EvaluateSettings, inputs: dict[str, str]
) -> EvalResult | None:
    """The result, where another job has joined all parts while this one looked for them."""
    if not (out / RESULT).is_file():
        return None
    document, own = read_json(out / RESULT), _provenance(settings, inputs)
    same = all(document["provenance"][key] == own[key] for key in ("settings", "inputs"))
    return EvalResult.from_document(document) if same else None


def _evaluate_file(data: Path, out: Path, settings: EvaluateSettings) -> EvalResult:
    _refuse_fixed(settings, data)
    p = read_predictions(data)
    if settings.label_set is not None:
        p = merge_predictions(p, load_label_set(settings.label_set))
    if settings.policy is not None and settings.policy != p.policy:
        refuse_anonymous(settings.policy, p.vote_names, p.votes, str(data))
        labels = labels_under(settings.policy, p.uploader_label, p.votes)
        p = replace(p, truth=codes_of(labels, p.label_set), policy=settings.policy)
    require_labels(int((p.truth >= 0).sum()), p.policy, str(data))
    check_others(
        out,
        settings.comparisons,
        settings.seeds,
        labels=list(p.label_set.ids),
        policy=p.policy,
        split=p.split,
        n=int((p.truth >= 0).sum()),
        prompts=p.templates["name"] if p.templates else None,
    )
    origin = {"predictions": sha256_file(data)}
    document = assess(p, settings) | {
        "bundle": None,
        "dataset": None,
        "provenance": _provenance(settings, origin | digests_of_given(settings)),
    }
    clear_place(out)
    if data.resolve() != (out / PREDICTIONS).resolve():
        write_predictions(out / PREDICTIONS, p, origin=origin)
    write_json(out / RESULT, document)
    return _shown(out)


def merge_predictions(p: Predictions, merged: LabelSet) -> Predictions:
    """Merge the answers into coarser classes: a class has the sum of its members' probabilities.

    The truth is decided anew from the joined labels and votes. Cosines of single prompts do not
    apply to a sum and are dropped.

    Raises:
        InputError: ``merged`` does not cover the classes.
    """
    if merged.name == p.label_set.name:
        return p
    label_set, new_id = merge_labels(p.label_set, merged)
    column = np.array([label_set.index(new_id[old]) for old in p.label_set.ids])
    joining = (column[:, None] == np.arange(len(label_set.labels))).astype(np.float32)  # (old, new)
    uploader = [None if x is None else new_id[x] for x in p.uploader_label]
    votes = [tuple(None if v is None else new_id[v] for v in cast) for cast in p.votes]
    truth = np.where(p.truth >= 0, column[p.truth], -1)
    if p.policy != "uploader" and any(votes):
        truth = codes_of(labels_under(p.policy, uploader, votes), label_set)
    return replace(
        p,
        label_set=label_set,
        truth=truth,
        probability=p.probability @ joining,
        uploader_label=uploader,
        votes=votes,
        temperature=1.0,  # of the single classes; a sum has none
        cosine=None,
        prompt_cosine=None,
        ensemble=None,
        templates=None,
    )


def _refuse_fixed(settings: EvaluateSettings, data: Path) -> None:
    """Refuse settings that a prediction file can no longer change, such as images and prompts."""
    fixed = ("split", "prompts", "with_images", "ensemble", "prior")
    usual = EvaluateSettings()
    given = [name for name in fixed if getattr(settings, name) != getattr(usual, name)]
    if given:
        names = ", ".join(given)
        raise SettingsError(
            Text(
                f"{data}: a prediction file fixes {names}; leave that out or evaluate the data set",
                f"{data}: 예측 파일에서는 {names}을(를) 바꿀 수 없습니다. 빼거나 데이터 세트를 "
                "평가하십시오",
            )
        )


def _provenance(settings: EvaluateSettings, inputs: dict[str, str]) -> Provenance:
    plain = settings_to_dict(settings)
    for key in ("part", "engine", "address", "workers"):  # who did it, not what was computed
        plain.pop(key, None)
    for key in ("compare", "seeds", "prompts", "label_set", "prior"):  # a path names people
        if isinstance(plain.get(key), str):
            plain[key] = Path(plain[key]).name
        elif key in plain:
            plain[key] = [Path(path).name for path in plain[key]]
    return provenance("evaluate", plain, seeds={"bootstrap": settings.seed}, inputs=inputs)


def _shown(out: Path) -> EvalResult:
    render_evaluation(out, lang=spoken_lang())
    return EvalResult.from_document(read_json(out / RESULT))


def _predictions(
    scorer: Scorer,
    cosines: Cosines,
    rows: Codes,
    truth: Codes,
    posterior: Posterior,
    *,
    split: str,
    policy: str,
) -> Predictions:
    model, templates = scorer.bundle, scorer.bank.templates
    cosine = combine_cosines(cosines.prompts, scorer.bank.prompts, scorer.rule)
    answers = predictions_of(
        scorer.dataset,
        rows,
        truth,
        class_probabilities(cosine, model, scorer.rule, posterior),
        split=split,
        policy=policy,
    )
    return replace(
        answers,
        model=model.document.name,
        cosine=cosine,
        prompt_cosine=cosines.prompts,
        logit_scale=model.logit_scale,
        temperature=model.temperature,
        ensemble=scorer.rule,
        templates={
            "name": templates.name,
            "language": templates.language,
            "templates": [{"id": t.id, "text": t.text} for t in templates.templates],
        },
    )


def _threshold(
    scorer: Scorer, posterior: Posterior, split: str, policy: str, seed: int
) -> Threshold | None:
    """A threshold for the group's posterior from images other than the evaluated ones.

    The bundle's own if it has one; for a test split, chosen on the validation split; else None,
    and the evaluation cross-fits over persons.
    """
    dataset, model = scorer.dataset, scorer.bundle
    members = group_members(dataset.label_set)
    if members is None:
        return None
    stored = (model.document.thresholds or {}).get(DEPRESSION_RELATED)
    same = model.label_set.ids == dataset.label_set.ids and posterior.prior == TRAIN
    if stored is not None and same:
        return Threshold(float(stored), "bundle")
    rows = dataset.split_rows("validation")
    if split != "test" or not len(rows):
        return None
    if len(rows) > _THRESHOLD_IMAGES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _THRESHOLD_IMAGES, replace=False))
    truth = truth_of(dataset, rows, policy)
    rows, truth = rows[truth >= 0], truth[truth >= 0]
    inside = np.isin(truth, members)
    if not inside.any() or inside.all():
        return None
    cosine = combine_cosines(scorer.score(rows).prompts, scorer.bank.prompts, scorer.rule)
    shown = class_probabilities(cosine, model, scorer.rule, posterior)
    chances = shown[:, members].sum(axis=1).astype(np.float64)
    return Threshold(choose_threshold(chances, inside), "validation")


def _count_rejects(dataset: DataSet) -> int:
    path = dataset.path / REJECTS
    if not path.is_file():
        return 0
    with path.open("rb") as stream:
        return sum(1 for line in stream if line.strip())


def _bundle_line(model: Bundle) -> dict[str, Any]:
    keys = ("name", "licence", "training_data", "precision", "nunbit_version")
    return {
        **{key: getattr(model.document, key) for key in keys},
        "label_set": model.label_set.name,
        "hash": model.hash,
    }


def _dataset_line(dataset: DataSet) -> dict[str, Any]:
    return {
        "name": dataset.path.resolve().name,
        "source": dataset.settings.get("source"),
        "label_set": dataset.label_set.name,
        "merged_from": dataset.settings.get("merged_from"),
        "n": len(dataset),
        "synthetic": bool(dataset.settings.get("synthetic")),
    }
