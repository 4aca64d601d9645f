"""From crops to cosines: one pass over the images, in memory that does not grow with the pixels.

Each crop is embedded once and compared with every text of the evaluation at once. Cosines are
kept (some hundred bytes an image), embeddings are not. They are written in parts as they come, so
that an interrupted evaluation goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import shutil
import tomllib
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.encoders import Bundle
from nunbit.errors import BundleError, InputError, Lang
from nunbit.files import atomic_path, sha256_file
from nunbit.labels import DEPRESSION_RELATED, LabelSet
from nunbit.progress import Progress
from nunbit.prompts import TemplateSet, load_template_set, template_set_names
from nunbit.shards import MANIFEST, DataSet
from nunbit.zeroshot import Ensemble, combine_cosines, normalise, prompt_cosines

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]

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
        unserved: Template set name -> why the bundle does not serve it.
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
    """What N images scored against a text bank.

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
            except (BundleError, InputError) as exc:  # said in the result, not fatal
                unserved[name] = {"en": exc.en, "ko": exc.ko}
    wordings, sides = _two_prompt_sides(bundle, label_set, templates, vectors)
    trained = bundle.document.get("trained_prompts")
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
        lang: Language of the progress line.
    """

    dataset: DataSet
    bundle: Bundle
    bank: TextBank
    rule: Ensemble
    batch_size: int
    lang: Lang

    def score(self, rows: Codes, parts: Path | None = None) -> Cosines:
        """Compare the crops of some rows with every text.

        Args:
            rows: (N,) rows of the manifest.
            parts: Folder of finished parts, made if missing; None keeps nothing.
        """
        pieces = range(len(self._starts(rows)))
        found = self._score(rows, pieces, parts)
        return _join([found[piece] for piece in pieces])

    def score_share(self, rows: Codes, parts: Path, share: tuple[int, int]) -> Cosines | int:
        """Score one job's share of the parts, then join all parts if they are there.

        Args:
            rows: (N,) rows of the manifest, the same for every job.
            parts: Folder that all jobs write to.
            share: Job i of n: takes part i and every n-th after it.

        Returns:
            Everything, or how many parts other jobs have still to write.
        """
        total = len(self._starts(rows))
        own = range(share[0] - 1, total, share[1])
        found = self._score(rows, own, parts)
        for piece in set(range(total)) - set(own):
            if (part := _read_part(_part_path(parts, piece))) is not None:
                found[piece] = part
        if len(found) < total:
            return total - len(found)
        return _join([found[piece] for piece in range(total)])

    def _starts(self, rows: Codes) -> range:
        return range(0, len(rows), _PART)

    def _score(self, rows: Codes, pieces: range, parts: Path | None) -> dict[int, Cosines]:
        """Cosines of some parts, those of an earlier run read back."""
        found = {}
        if parts:
            read = ((piece, _read_part(_part_path(parts, piece))) for piece in pieces)
            found = {piece: part for piece, part in read if part is not None}
        total = sum(len(rows[piece * _PART : (piece + 1) * _PART]) for piece in pieces)
        finished = sum(len(part.prompts) for part in found.values())
        title = "이미지 비교" if self.lang == "ko" else "scoring images"
        with (
            Progress(title, total, "img", done=finished, lang=self.lang) as progress,
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
                    _write_part(_part_path(parts, piece), found[piece])
        return found

    def parts_folder(self, out: Path, split: str) -> Path:
        """Where the parts of exactly this scoring are; whatever changes a number changes it."""
        key = hashlib.sha256()
        key.update(f"{self.bundle.hash} {split} {self.rule}".encode())
        key.update(sha256_file(self.dataset.path / MANIFEST).encode())
        vectors = (self.bank.prompts, self.bank.sides, *(v for _, v in self.bank.other_sets))
        for array in vectors:
            key.update(np.ascontiguousarray(array).tobytes())
        return out / f".scores-{key.hexdigest()[:16]}"

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


def _part_path(parts: Path, piece: int) -> Path:
    return parts / f"{piece:05d}.npz"


def drop_parts(out: Path) -> None:
    """Remove the parts of this and of abandoned evaluations."""
    for folder in out.glob(".scores-*"):
        shutil.rmtree(folder, ignore_errors=True)


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


def _write_part(path: Path, part: Cosines) -> None:
    with atomic_path(path) as partial, partial.open("wb") as stream:
        np.savez(stream, prompts=part.prompts, other_sets=part.other_sets, sides=part.sides)


def _read_part(path: Path) -> Cosines | None:
    """A finished part; None where it is missing or the machine went down while writing it."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return Cosines(arrays["prompts"], arrays["other_sets"], arrays["sides"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


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
        for wording in _read_wordings():
            first, second = (
                text.format(members=members, others=others) for text in wording[templates.language]
            )
            wordings.append(Wording(wording["id"], (first, second)))
            sides.append(bundle.embed_texts([first, second]))
    return tuple(wordings), np.stack(sides)


def _read_wordings() -> list[dict[str, Any]]:
    source = resources.files("nunbit") / "data" / "binary_prompts.toml"
    wordings: list[dict[str, Any]] = tomllib.loads(source.read_text(encoding="utf-8"))["wordings"]
    return wordings
