"""From a prepared data set to rows and cosines: one pass over the images, in bounded memory.

Each crop is embedded once and compared with every text of the evaluation at once. Cosines are kept
(some hundred bytes an image), embeddings are not. They are written part by part, so that an
interrupted evaluation can be resumed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.core.errors import BundleError, InputError
from nunbit.core.schema import SPLITS, Split
from nunbit.core.text import Text
from nunbit.datasets.policies import labels_under, refuse_anonymous
from nunbit.datasets.shards import MANIFEST, DataSet, open_dataset
from nunbit.language.labels import DEPRESSION_RELATED, LabelSet, load_label_set
from nunbit.language.prompts import TemplateSet, load_template_set, template_set_names
from nunbit.model.encoders import Bundle
from nunbit.model.zeroshot import Ensemble, combine_cosines, normalise, prompt_cosines
from nunbit.runtime.files import PartStore, remove_folder, sha256_file
from nunbit.runtime.progress import Progress
from nunbit.runtime.resources import packaged_table
from nunbit.stories.evaluate.predictions import SEEN, UNKNOWN, UNSEEN, Predictions, codes_of

# --- rows of a data set

Codes = NDArray[np.int64]
Floats = NDArray[np.float32]

_COPIED = ("record_id", "subject_id", "uploader_label", "source_path")


def open_for_evaluation(path: Path, label_set: str | None) -> DataSet:
    """A prepared data set, its classes merged if a label set is named.

    Raises:
        InputError: It cannot be read, or the label set does not cover its classes.
    """
    return open_dataset(path, None if label_set is None else load_label_set(label_set))


def rows_of_split(dataset: DataSet, asked: Split | None) -> tuple[Codes, Split]:
    """Rows of the split asked for; of test if there is one, else of validation.

    Raises:
        InputError: The split has no image.
    """
    sizes = {split: len(dataset.split_rows(split)) for split in SPLITS}
    held_out: Split = "test" if sizes["test"] else "validation"
    split = asked or held_out
    if sizes[split]:
        return dataset.split_rows(split), split
    present = ", ".join(f"{name} ({size})" for name, size in sizes.items() if size) or "-"
    raise InputError(
        Text(
            f"{dataset.path}: no image in split {split}; there are: {present}. Choose one with "
            "`split`",
            f"{dataset.path}: {split} 분할에 이미지가 없습니다. 있는 분할: {present}. `split`으로 "
            "고르십시오",
        )
    )


def truth_of(dataset: DataSet, rows: Codes, policy: str) -> Codes:
    """(N,) class positions under a policy, -1 where it gives no label.

    Raises:
        SettingsError: The policy asks for annotator A and the votes have no names.
    """
    votes = column(dataset, "votes", rows)
    refuse_anonymous(policy, dataset.vote_names, votes, str(dataset.path))
    if policy == dataset.policy:
        labels = column(dataset, "label", rows)
    else:
        labels = labels_under(policy, column(dataset, "uploader_label", rows), votes)
    return codes_of(labels, dataset.label_set)


def require_labels(n: int, policy: str, where: str) -> None:
    """Raise if there is not a single labelled image.

    Raises:
        InputError: ``n`` is 0.
    """
    if n == 0:
        raise InputError(
            Text(
                f"{where}: no image has a label under policy {policy}; choose another `policy`",
                f"{where}: {policy} 정책으로 레이블이 정해지는 이미지가 없습니다. 다른 `policy`를 "
                "고르십시오",
            )
        )


def column(dataset: DataSet, name: str, rows: Codes) -> list[Any]:
    """A manifest column as Python values; equal values are one object, lists become tuples."""
    known: dict[Any, Any] = {}
    values = dataset.manifest[name].take(rows).to_pylist()
    for i, value in enumerate(values):
        plain = tuple(value) if isinstance(value, list) else value
        values[i] = known.setdefault(plain, plain)
    return list(values)


def predictions_of(
    dataset: DataSet,
    rows: Codes,
    truth: Codes,
    probability: Floats,
    *,
    split: str,
    policy: str,
) -> Predictions:
    """Predictions for some rows, with everything that the manifest holds about them.

    Args:
        dataset: Prepared data.
        rows: (N,) rows of the manifest.
        truth: (N,) class positions, -1 without a label.
        probability: (N, K).
        split: What the rows are.
        policy: What the truth is.
    """
    columns: dict[str, Any] = {name: column(dataset, name, rows) for name in _COPIED}
    return Predictions(
        label_set=dataset.label_set,
        split=split,
        policy=policy,
        truth=truth,
        probability=probability,
        votes=column(dataset, "votes", rows),
        vote_names=dataset.vote_names,
        attributes={a: column(dataset, a, rows) for a in ("gender", "age", "place")},
        box_px=np.array(column(dataset, "box_px", rows), np.float32),
        blur=np.array(column(dataset, "blur", rows), np.float32),
        seen=_seen(dataset, columns["subject_id"]),
        **columns,
    )


def _seen(dataset: DataSet, subjects: list[str | None]) -> Codes:
    """Whether each person occurs in the train split; unknown without a person or a train split."""
    trained = set(column(dataset, "subject_id", dataset.split_rows("train"))) - {None}
    if not len(dataset.split_rows("train")):
        return np.full(len(subjects), UNKNOWN, np.int64)
    states = [UNKNOWN if s is None else SEEN if s in trained else UNSEEN for s in subjects]
    return np.array(states, np.int64)


# --- cosines

_PART = 2048
_DECODERS = 2


@dataclass(frozen=True, slots=True)
class Wording:
    """Two prompts that stand for a group of classes and for the rest.

    Attributes:
        id: Name in tables; ``class_means`` has no text, its sides are means of class prompts.
        texts: The prompt of the group and the prompt of the rest, or None.
    """

    id: str
    texts: tuple[str, str] | None


@dataclass(frozen=True, eq=False)
class TextBank:
    """Every text embedding of an evaluation.

    Attributes:
        templates: The T templates of the evaluation.
        prompts: (T, K, D) their prompt embeddings.
        other_sets: Further template sets that the bundle serves, with their embeddings.
        unserved: Template set name -> why the bundle cannot embed it.
        wordings: W two-prompt wordings; empty where the label set has no such group.
        sides: (W, 2, D) their embeddings: group, rest.
        trained: Texts the model saw in training, or None where the bundle does not say.
    """

    templates: TemplateSet
    prompts: Floats
    other_sets: tuple[tuple[TemplateSet, Floats], ...]
    unserved: dict[str, dict[str, str]]
    wordings: tuple[Wording, ...]
    sides: Floats
    trained: frozenset[str] | None


@dataclass(frozen=True, eq=False)
class Cosines:
    """Cosines of N images with a text bank.

    Attributes:
        prompts: (N, T, K) cosine with every prompt of the evaluation.
        other_sets: (N, S, K) ensemble cosine of every further template set.
        sides: (N, W, 2) cosine with the two prompts of every wording.
    """

    prompts: Floats
    other_sets: Floats
    sides: Floats


def text_bank(bundle: Bundle, label_set: LabelSet, prompts: str | None) -> TextBank:
    """Embed the texts of an evaluation.

    Args:
        bundle: The model.
        label_set: Of the data set.
        prompts: Template set or file; None takes the bundle's default.

    Raises:
        BundleError: The bundle serves the templates for this label set neither from its cache nor
            by a text tower.
        InputError: No such template set, or the label set lacks a form it needs.
    """
    templates = load_template_set(prompts or bundle.default_template_set)
    vectors = bundle.prompt_embeddings(templates, label_set)
    others: list[tuple[TemplateSet, Floats]] = []
    unserved: dict[str, dict[str, str]] = {}
    for name in template_set_names():
        if name != templates.name:
            candidate = load_template_set(name)
            try:
                others.append((candidate, bundle.prompt_embeddings(candidate, label_set)))
            except (BundleError, InputError) as exc:  # reported in the result, not fatal
                unserved[name] = exc.text.to_dict()
    wordings, sides = _two_prompt_sides(bundle, label_set, templates, vectors)
    trained = bundle.document.trained_prompts
    return TextBank(
        templates=templates,
        prompts=vectors,
        other_sets=tuple(others),
        unserved=unserved,
        wordings=wordings,
        sides=sides,
        trained=frozenset(trained) if trained else None,
    )


@dataclass(frozen=True, eq=False)
class Scorer:
    """Compares crops of a data set with the texts of a bank.

    Attributes:
        dataset: Prepared data.
        bundle: The model.
        bank: The texts.
        rule: Ensemble of the further template sets.
        batch_size: Crops in memory at once.
    """

    dataset: DataSet
    bundle: Bundle
    bank: TextBank
    rule: Ensemble
    batch_size: int

    def score(self, rows: Codes) -> Cosines:
        """Compare the crops of some rows, (N,), with every text; nothing is kept on disk."""
        pieces = range(len(self._starts(rows)))
        found = self._score(rows, pieces, None)
        return _join([found[piece] for piece in pieces])

    def score_share(
        self, rows: Codes, parts: PartStore[Cosines], share: tuple[int, int]
    ) -> Cosines | int:
        """Compute one job's share of the parts, then join all parts if they are there.

        Args:
            rows: (N,) rows of the manifest, the same for every job.
            parts: Store that all jobs write to.
            share: Job i of n: takes part i and every n-th after it.

        Returns:
            Everything, or how many parts other jobs have still to write.
        """
        total = len(self._starts(rows))
        own = range(share[0] - 1, total, share[1])
        found = self._score(rows, own, parts)
        for piece in set(range(total)) - set(own):
            if (part := parts.read(_name(piece))) is not None:
                found[piece] = part
        if len(found) < total:
            return total - len(found)
        return _join([found[piece] for piece in range(total)])

    def _starts(self, rows: Codes) -> range:
        return range(0, len(rows), _PART)

    def _score(
        self, rows: Codes, pieces: range, parts: PartStore[Cosines] | None
    ) -> dict[int, Cosines]:
        """Cosines of some parts, those of an earlier run read back."""
        found = {}
        if parts:
            read = ((piece, parts.read(_name(piece))) for piece in pieces)
            found = {piece: part for piece, part in read if part is not None}
        total = sum(len(rows[piece * _PART : (piece + 1) * _PART]) for piece in pieces)
        finished = sum(len(part.prompts) for part in found.values())
        title = Text("scoring images", "이미지 비교")
        with (
            Progress(title, total, "img", done=finished) as progress,
            ThreadPoolExecutor(_DECODERS) as decoders,
        ):
            for piece in pieces:
                if piece in found:
                    continue
                batches = []
                chosen = rows[piece * _PART : (piece + 1) * _PART]
                for crops in self._batches(chosen, decoders):
                    batches.append(_compare(self.bundle.embed_images(crops), self.bank, self.rule))
                    progress.advance(len(crops))
                found[piece] = _join(batches)
                if parts:
                    parts.write(_name(piece), found[piece])
        return found

    def parts(self, out: Path, split: str) -> PartStore[Cosines]:
        """The parts of exactly this scoring; whatever changes a number changes their key."""
        vectors = hashlib.sha256()
        for array in (self.bank.prompts, self.bank.sides, *(v for _, v in self.bank.other_sets)):
            vectors.update(np.ascontiguousarray(array).tobytes())
        manifest = sha256_file(self.dataset.path / MANIFEST)
        key = (self.bundle.hash, split, self.rule, manifest, vectors.hexdigest())
        return PartStore(out / ".scores", Cosines, key)

    def _batches(self, rows: Codes, decoders: ThreadPoolExecutor) -> Iterator[NDArray[np.uint8]]:
        """Decoded crops; the next batch is decoded while the caller works on this one."""
        pending: list[Future[NDArray[np.uint8]]] = []
        for start in range(0, len(rows), self.batch_size):
            chunk = rows[start : start + self.batch_size]
            following = [decoders.submit(self.dataset.pixels, int(row)) for row in chunk]
            if pending:
                yield np.stack([task.result() for task in pending])
            pending = following
        if pending:
            yield np.stack([task.result() for task in pending])


def _name(piece: int) -> str:
    return f"{piece:05d}"


def drop_parts(out: Path) -> None:
    """Remove the parts of this evaluation and of abandoned ones."""
    for folder in out.glob(".scores*"):  # version 0.1 put the key into the name
        remove_folder(folder)


def _compare(images: Floats, bank: TextBank, rule: Ensemble) -> Cosines:
    others = [
        combine_cosines(prompt_cosines(images, vectors), vectors, rule)
        for _, vectors in bank.other_sets
    ]
    n, k = len(images), bank.prompts.shape[1]
    return Cosines(
        prompts=prompt_cosines(images, bank.prompts),
        other_sets=np.stack(others, axis=1) if others else np.zeros((n, 0, k), np.float32),
        sides=prompt_cosines(images, bank.sides)
        if len(bank.sides)
        else np.zeros((n, 0, 2), np.float32),
    )


def _join(pieces: list[Cosines]) -> Cosines:
    return Cosines(
        prompts=np.concatenate([p.prompts for p in pieces]),
        other_sets=np.concatenate([p.other_sets for p in pieces]),
        sides=np.concatenate([p.sides for p in pieces]),
    )


def _two_prompt_sides(
    bundle: Bundle, label_set: LabelSet, templates: TemplateSet, prompts: Floats
) -> tuple[tuple[Wording, ...], Floats]:
    group = label_set.groups.get(DEPRESSION_RELATED)
    if group is None:
        return (), np.zeros((0, 2, prompts.shape[2]), np.float32)
    inside = [label_set.index(label) for label in group.labels]
    outside = [k for k in range(len(label_set.labels)) if k not in inside]
    classes = normalise(normalise(prompts).mean(axis=0))  # (K, D)
    wordings = [Wording("class_means", None)]
    sides = [np.stack([normalise(classes[side].mean(axis=0)) for side in (inside, outside)])]
    if bundle.has_text_tower:
        names = label_set.names(templates.language)
        members = ", ".join(names[k] for k in inside)
        others = ", ".join(names[k] for k in outside)
        for wording in packaged_table("stories/evaluate/data/binary_prompts.toml")["wordings"]:
            first, second = (
                text.format(members=members, others=others) for text in wording[templates.language]
            )
            wordings.append(Wording(wording["id"], (first, second)))
            sides.append(bundle.embed_texts([first, second]))
    return tuple(wordings), np.stack(sides)
