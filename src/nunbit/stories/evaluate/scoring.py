"""From a prepared data set to cosines: one pass over the images, in bounded memory.

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

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import BundleError, InputError, Text
from nunbit.datasets.shards import MANIFEST, DataSet
from nunbit.language.labels import DEPRESSION_RELATED, LabelSet
from nunbit.language.prompts import TemplateSet, load_template_set, template_set_names
from nunbit.model.encoders import Bundle
from nunbit.model.zeroshot import Ensemble, combine_cosines, normalise, prompt_cosines
from nunbit.runtime.files import PartStore, remove_folder, sha256_file
from nunbit.runtime.progress import Progress
from nunbit.runtime.resources import packaged_table

Codes = NDArray[np.int64]
Floats = NDArray[np.float32]

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
        return _join(list(self._score(rows, range(_parts(rows)), None).values()))

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
        total = _parts(rows)
        own = range(share[0] - 1, total, share[1])
        found = self._score(rows, own, parts)
        for piece in set(range(total)) - set(own):
            if (part := parts.read(_name(piece))) is not None:
                found[piece] = part
        if len(found) < total:
            return total - len(found)
        return _join([found[piece] for piece in range(total)])

    def _score(
        self, rows: Codes, pieces: range, parts: PartStore[Cosines] | None
    ) -> dict[int, Cosines]:
        """Cosines of some parts, those of an earlier run read back."""
        chosen = {piece: rows[piece * _PART : (piece + 1) * _PART] for piece in pieces}
        read = {piece: parts.read(_name(piece)) for piece in pieces} if parts else {}
        found = {piece: part for piece, part in read.items() if part is not None}
        total = sum(map(len, chosen.values()))
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
                for crops in self._batches(chosen[piece], decoders):
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
            following = [
                decoders.submit(self.dataset.pixels, int(row))
                for row in rows[start : start + self.batch_size]
            ]
            if pending:
                yield np.stack([task.result() for task in pending])
            pending = following
        if pending:
            yield np.stack([task.result() for task in pending])


def _parts(rows: Codes) -> int:
    return -(-len(rows) // _PART)


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
