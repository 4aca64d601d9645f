"""From a prepared data set to cosines: one pass over the images, in bounded memory.

Each crop is embedded once and compared with every text of the evaluation at once. Cosines are kept
(some hundred bytes an image), embeddings are not. They are written part by part, so that an
interrupted evaluation can be resumed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import BundleError, InputError, Text
from nunbit.datasets.shards import MANIFEST, DataSet, open_dataset
from nunbit.language.labels import DEPRESSION_RELATED, LabelSet
from nunbit.language.prompts import TemplateSet, load_template_set, template_set_names
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.zeroshot import Ensemble, combine_cosines, normalise, prompt_cosines
from nunbit.runtime.engines import EngineChoice, described, open_engine
from nunbit.runtime.files import PartStore, remove_folder, sha256_file, writing
from nunbit.runtime.progress import Progress, say
from nunbit.runtime.resources import packaged_table
from nunbit.runtime.workers import Tools

Codes = NDArray[np.int64]
Floats = NDArray[np.float32]

_PART = 2048
_DECODERS = 2


@dataclass(frozen=True, slots=True)
class PromptWording:
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
    wordings: tuple[PromptWording, ...]
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

    def __reduce__(self) -> tuple[object, ...]:
        # Another process opens data and model from their folders, once.
        dataset, model = self.dataset.__reduce__()[1], (self.bundle.path, self.bundle.hash)
        return (_opened, (dataset, model, self.bank, self.rule, self.batch_size))

    def score(self, rows: Codes) -> Cosines:
        """Compare the crops of some rows, (N,), with every text; nothing is kept on disk."""
        with Progress(Text("scoring images", "이미지 비교"), len(rows), "img") as progress:
            return self.compare(rows, progress.advance)

    def score_share(
        self,
        rows: Codes,
        parts: PartStore[Cosines],
        share: tuple[int, int],
        choice: EngineChoice,
    ) -> tuple[Cosines | int, dict[str, Any]]:
        """Compute one job's share of the parts, then join all parts if they are there.

        Args:
            rows: (N,) rows of the manifest, the same for every job.
            parts: Store that all jobs write to.
            share: Job i of n: takes part i and every n-th after it.
            choice: Who scores.

        Returns:
            Everything, or how many parts other jobs have still to write; and the engine that
            scored, as provenance names it.

        Raises:
            InputError: Several jobs share the work and one of them does other work.
        """
        _refuse_others(parts, share)
        total = -(-len(rows) // _PART)
        pieces = {piece: rows[piece * _PART : (piece + 1) * _PART] for piece in range(total)}
        own = range(share[0] - 1, total, share[1])
        todo = [piece for piece in own if parts.read(_name(piece)) is None]
        n_own, n_todo = (sum(len(pieces[piece]) for piece in some) for some in (own, todo))
        title = Text("scoring images", "이미지 비교")
        with (
            open_engine(
                choice, len(todo), reads=[self.dataset.path, self.bundle.path], out=parts.folder
            ) as engine,
            Progress(title, n_own, "img", done=n_own - n_todo) as progress,
        ):
            tasks = (ScoredPart(self, piece, pieces[piece], parts) for piece in todo)
            for _ in engine.run(score_piece, tasks, advance=progress.advance):
                pass
        found = [parts.read(_name(piece)) for piece in range(total)]
        there = [part for part in found if part is not None]
        answer = _join(there) if len(there) == total else total - len(there)
        return answer, described(engine)

    def compare(self, rows: Codes, advance: Callable[[int], None]) -> Cosines:
        """Compare the crops of some rows, (N,), with every text."""
        batches = []
        with ThreadPoolExecutor(_DECODERS) as decoders:
            for crops in self._batches(rows, decoders):
                batches.append(_compare(self.bundle.embed_images(crops), self.bank, self.rule))
                advance(len(crops))
        return _join(batches)

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


@dataclass(frozen=True, eq=False)
class ScoredPart:
    """A part of the scoring.

    Attributes:
        scorer: What it is done with.
        number: Of the part.
        rows: (N,) rows of the manifest.
        parts: Gets the cosines.
    """

    scorer: Scorer
    number: int
    rows: Codes
    parts: PartStore[Cosines]


def score_piece(piece: ScoredPart, tools: Tools) -> int:
    """Score one part and write it; its number."""
    piece.parts.write(_name(piece.number), piece.scorer.compare(piece.rows, tools.advance))
    return piece.number


_OPENED: dict[tuple[object, ...], tuple[DataSet, Bundle]] = {}
"""Data and model of a worker process: opening them for every part would cost more than scoring."""


def _opened(
    dataset: tuple[Path, LabelSet | None],
    model: tuple[Path, str],
    bank: TextBank,
    rule: Ensemble,
    batch_size: int,
) -> Scorer:
    key = (dataset[0], dataset[1] and dataset[1].name, *model)
    if key not in _OPENED:
        _OPENED.clear()
        _OPENED[key] = (open_dataset(*dataset), load_bundle(model[0], threads=1))
    data, bundle = _OPENED[key]
    if bundle.hash != model[1]:
        raise BundleError(
            Text(
                f"{model[0]}: another bundle than where the run was started",
                f"{model[0]}: 실행을 시작한 곳과 다른 번들입니다",
            )
        )
    return Scorer(data, bundle, bank, rule, batch_size)


def _refuse_others(parts: PartStore[Cosines], share: tuple[int, int]) -> None:
    """Say that the folder holds parts of another evaluation; jobs that share work must not differ.

    Raises:
        InputError: This is one of several jobs.
    """
    with writing(parts.folder):
        parts.folder.mkdir(parents=True, exist_ok=True)
    count = sum(1 for _ in parts.others())
    if not count:
        return
    if share[1] > 1:
        raise InputError(
            Text(
                f"{parts.folder}: {count} parts of another evaluation (other data, split, bundle "
                "or prompts) are here; give every job the same line and another `out`, or delete "
                "that folder",
                f"{parts.folder}: 다른 평가(데이터, 분할, 번들, 프롬프트가 다름)의 조각 {count}개가"
                " 있습니다. 모든 작업에 같은 명령과 다른 `out`을 주거나 그 폴더를 지우십시오",
            )
        )
    say(
        Text(
            f"{parts.folder}: {count} parts of another, unfinished evaluation are replaced",
            f"{parts.folder}: 끝나지 않은 다른 평가의 조각 {count}개를 바꿔 씁니다",
        )
    )


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
) -> tuple[tuple[PromptWording, ...], Floats]:
    group = label_set.groups.get(DEPRESSION_RELATED)
    if group is None:
        return (), np.zeros((0, 2, prompts.shape[2]), np.float32)
    inside = [label_set.index(label) for label in group.labels]
    outside = [k for k in range(len(label_set.labels)) if k not in inside]
    classes = normalise(normalise(prompts).mean(axis=0))  # (K, D)
    wordings = [PromptWording("class_means", None)]
    sides = [np.stack([normalise(classes[side].mean(axis=0)) for side in (inside, outside)])]
    if bundle.has_text_tower:
        names = label_set.names(templates.language)
        members = ", ".join(names[k] for k in inside)
        others = ", ".join(names[k] for k in outside)
        for wording in packaged_table("stories/evaluate/data/binary_prompts.toml")["wordings"]:
            first, second = (
                text.format(members=members, others=others) for text in wording[templates.language]
            )
            wordings.append(PromptWording(wording["id"], (first, second)))
            sides.append(bundle.embed_texts([first, second]))
    return tuple(wordings), np.stack(sides)
