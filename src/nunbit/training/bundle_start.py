"""A finished bundle as a starting point: its image tower learns on, all else stays to the bit.

The image tower's weights come out of ``image.onnx``, where each batch norm is part of the
convolution before it. Texts are embedded as the bundle embeds them, and the logit scale is kept,
so prompts, words and voices mean afterwards what they meant before. The bundle is copied into the
run; the export takes the copy and replaces the image tower. N images, M texts of L tokens, S input
side, D embedding size.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from nunbit.core.messages import InputError, Text
from nunbit.model.bundle import (
    BUNDLE_FILE,
    IMAGE_FILE,
    PROMPTS_FILE,
    SENTENCES_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
    VOICE_FILE,
    WORDS_FILE,
    load_any_tokenizer,
)
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.runtime.claims import replaced_folder
from nunbit.runtime.files import read_json, writing
from nunbit.training.towers import DualEncoder, LiteImageTower, build

START_BUNDLE = "start-bundle"
"""The copy of the bundle in a run's folder."""


# What stays of a bundle whose image tower learned on. What was fitted to the old tower's faces
# (thresholds, alignment and the like) does not.
_KEPT = (
    *("format", "name", "label_set", "template_sets", "cached_prompts", "trained_template_set"),
    *("trained_prompts", "max_tokens", "logit_scale", "embedding_size", "precision", "licence"),
    *("statement", "unvalidated_labels", "text_emotion", "voice"),
)
_KEPT_FILES = (TEXT_FILE, TOKENIZER_FILE, PROMPTS_FILE, SENTENCES_FILE, WORDS_FILE, VOICE_FILE)


class FoldedLiteImageTower(LiteImageTower):
    """:class:`LiteImageTower` as exported: each batch norm is part of the convolution before it.

    What is left has no statistics of batches, so mixed data sets do not disturb one another, and a
    step is quicker.
    """

    def __init__(self, image_size: int, embedding_size: int) -> None:
        super().__init__(image_size, embedding_size)
        modules = dict(self.named_modules())
        for name, module in modules.items():
            if isinstance(module, nn.BatchNorm2d):
                owner, _, own = name.rpartition(".")
                setattr(modules[owner], own, nn.Identity())
            elif isinstance(module, nn.Conv2d):
                module.bias = nn.Parameter(torch.zeros(module.out_channels))


class KeptTexts(nn.Module):
    """The texts of a finished bundle, as it embeds them: nothing here can learn.

    Args:
        folder: The bundle. Its cached prompts are taken to the bit; other texts go through its text
            tower.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._tower = folder / TEXT_FILE
        self._session: Any = None
        tokenizer = load_any_tokenizer(folder / TOKENIZER_FILE)
        with np.load(folder / PROMPTS_FILE, allow_pickle=False) as cache:
            texts, vectors = [str(text) for text in cache["texts"]], cache["embeddings"]
        ids = (np.array(e.ids, np.int64)[np.array(e.attention_mask) > 0].tobytes()
               for e in tokenizer.encode_batch(texts))  # fmt: skip
        self._known = dict(zip(ids, torch.from_numpy(vectors.astype(np.float32)), strict=True))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(M, L) ids and mask to (M, D)."""
        rows = [row[: int(n)].cpu().numpy() for row, n in zip(ids, mask.sum(dim=1), strict=True)]
        for row in rows:
            if row.tobytes() not in self._known:
                self._known[row.tobytes()] = self._embed(row)
        return torch.stack([self._known[row.tobytes()] for row in rows]).to(ids.device)

    def _embed(self, ids: np.ndarray[Any, Any]) -> Tensor:
        if self._session is None:
            import onnxruntime

            self._session = onnxruntime.InferenceSession(
                str(self._tower), providers=["CPUExecutionProvider"]
            )
        feed = {"input_ids": ids[None], "attention_mask": np.ones_like(ids)[None]}
        return torch.from_numpy(self._session.run(None, feed)[0][0])


def build_on_bundle(architecture: Mapping[str, Any], folder: Path) -> DualEncoder:
    """The network of a run on a bundle, with a random image tower.

    Args:
        architecture: ``image_size``, ``embedding_size``, ``logit_scale``.
        folder: The bundle.
    """
    tower = FoldedLiteImageTower(architecture["image_size"], architecture["embedding_size"])
    model = DualEncoder(tower, KeptTexts(folder), architecture["logit_scale"])
    model.log_scale.requires_grad_(False)  # faces are read beside words and voices
    return model


def rebuild(architecture: Mapping[str, Any], run: Path) -> DualEncoder:
    """The network that a run's architecture describes, with random weights.

    Args:
        architecture: ``kind`` and its sizes.
        run: The run's folder, where the bundle is that it began with.
    """
    if architecture["kind"] == "bundle":
        return build_on_bundle(architecture, run / START_BUNDLE)
    return build(architecture)


def load_on_bundle(
    folder: Path,
) -> tuple[DualEncoder, Bundle, dict[str, Any], dict[str, str]]:
    """The network that a bundle holds, ready to learn on.

    Returns:
        The network, the bundle, the architecture and the origin of the weights.

    Raises:
        BundleError: It is damaged.
        InputError: It has no text tower, or another image tower than ``lite``.
    """
    bundle = load_bundle(folder)
    architecture = {
        "kind": "bundle",
        "image_size": bundle.image_size,
        "embedding_size": bundle.embedding_size,
        "logit_scale": bundle.logit_scale,
    }
    if not bundle.has_text_tower or PROMPTS_FILE not in bundle.document.checksums:
        raise _unfit(folder, "no text tower or no cached prompts")
    model = build_on_bundle(architecture, folder)
    model.image.load_state_dict(folded_weights(folder, model.image))
    before = read_json(folder / BUNDLE_FILE)
    trained, start = before["training_data"], before["starting_point"]
    origin = {
        "name": bundle.document.name,
        "weights": f"the bundle {bundle.document.name}, of which the image tower learned on; it is "
        f"a run on {trained['train_images']:,} images ({trained['label_set']}, policy "
        f"{trained['policy']}, data set {trained['sha256'][:12]}), which began with "
        f"{start['name']}: {start['weights']}",
        "licence": start["licence"],
    }
    return model, bundle, architecture, origin


def folded_weights(folder: Path, tower: nn.Module) -> dict[str, Tensor]:
    """The image tower's weights in a bundle, by the names of :class:`FoldedLiteImageTower`.

    Raises:
        InputError: The bundle's image tower is another network.
    """
    found = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(folder / IMAGE_FILE).graph.initializer
    }
    state: dict[str, Tensor] = {}
    for name, own in tower.state_dict().items():
        # The exporter names the bias that came of a batch norm after the weight.
        value = found.get(name, found.get(name.removesuffix("bias") + "weight_bias"))
        if value is None or value.shape != own.shape:
            raise _unfit(folder, f"no weights {name} {tuple(own.shape)}")
        state[name] = value
    return state


def mixture(text: str, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A weighted mean of kept averages of a tower, and of the tower that they began with.

    Args:
        text: ``0.6*RUN:800,1200+0.4*start``: shares that make 1, of ``RUN/average-800.pt`` and the
            like (several steps of a run count alike), and of ``start``.
        start: Weights of the tower that the runs began with.

    Raises:
        ValueError: The text is not of this form, or the shares do not make 1.
        OSError: A file is not there.
    """
    parts: list[tuple[float, Mapping[str, Tensor]]] = []
    for term in text.split("+"):
        share, star, source = term.strip().partition("*")
        run, _, steps = source.rpartition(":")
        if not star or (source != "start" and not (run and steps)):
            raise ValueError(f"{term!r} is not SHARE*RUN:STEP,STEP or SHARE*start")
        if source == "start":
            parts.append((float(share), start))
            continue
        names = steps.split(",")
        for step in names:
            file = Path(run) / f"average-{step}.pt"
            parts.append((float(share) / len(names), torch.load(file, weights_only=True)))
    if abs(sum(share for share, _ in parts) - 1) > 1e-6:
        raise ValueError(f"{text!r}: the shares do not make 1")
    return {
        name: torch.stack([share * state[name].float() for share, state in parts])
        .sum(dim=0)
        .to(value.dtype)
        for name, value in start.items()
    }


def keep_bundle(source: Path, run: Path) -> None:
    """Copy the bundle that a run begins with, or that an earlier run began with, into the run.

    Raises:
        InputError: The disk is full, or the like.
    """
    with writing(run / START_BUNDLE):
        kept = source / START_BUNDLE
        shutil.copytree(kept if kept.is_dir() else source, run / START_BUNDLE, dirs_exist_ok=True)


def carry_over(start: Path, folder: Path, changed: Mapping[str, Any]) -> dict[str, Any]:
    """Copy what stays of the bundle that a run began with: texts, words and voices.

    Args:
        start: That bundle.
        folder: The new one's.
        changed: ``bundle.json`` as a bundle of the run alone would have it.

    Returns:
        ``bundle.json``: what stays of the old one, and what the run changed.
    """
    before: dict[str, Any] = read_json(start / BUNDLE_FILE)
    with writing(folder):
        for name in _KEPT_FILES:
            if name in before["checksums"]:
                shutil.copyfile(start / name, folder / name)
    document = dict(changed) | {name: before[name] for name in _KEPT if name in before}
    # Where the training frame lies in the detector's box is not the run's to say.
    document["preprocessing"] = before["preprocessing"] | changed["preprocessing"]
    return document


def _unfit(folder: Path, reason: str) -> InputError:
    return InputError(
        Text(
            f"{folder}: training cannot go on from this bundle ({reason}); give one that began "
            "with `init=lite`, or the folder of its run",
            f"{folder}: 이 번들에서는 학습을 이어 갈 수 없습니다 ({reason}). `init=lite`로 시작한 "
            "번들이나 그 학습 폴더를 주십시오",
        )
    )


# --- the place of a bundle

_FILES = {BUNDLE_FILE, IMAGE_FILE, TEXT_FILE, VOICE_FILE, TOKENIZER_FILE, PROMPTS_FILE}
_FILES |= {SENTENCES_FILE, WORDS_FILE, "MODEL_CARD.md"}


@contextmanager
def replaced_bundle(out: Path) -> Iterator[Path]:
    """Give an empty folder beside ``out``; on success it takes ``out``'s place.

    Raises:
        InputError: ``out`` is a file or a folder with something else in it, or a bundle that took
            more than an export to make.
    """
    taken = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    if taken and not (out / BUNDLE_FILE).is_file():
        raise InputError(
            Text(
                f"{out}: exists and is not a bundle; choose another `out`",
                f"{out}: 이미 있고 번들이 아닙니다. 다른 `out`을 고르십시오",
            )
        )
    if taken:
        _require_only_exported(out)
    with replaced_folder(out) as partial:
        yield partial


def _require_only_exported(out: Path) -> None:
    """Refuse to replace a bundle that was adapted or aligned since, and files of the user in it."""
    document = None
    with suppress(InputError):  # damaged: it is made anew
        document = read_json(out / BUNDLE_FILE)
    made = document if isinstance(document, dict) else {}
    for key, command in (("adaptation", "adapt"), ("alignment", "align")):
        if made.get(key) is not None:
            raise InputError(
                Text(
                    f"{out}: is a bundle that `{command}` made and would be lost; choose another "
                    "`out`",
                    f"{out}: `{command}`으로 만든 번들이어서 덮어쓰지 않습니다. 다른 `out`을 "
                    "고르십시오",
                )
            )
    known = _FILES | set(made.get("checksums") or ())
    if others := sorted(
        path.name for path in out.iterdir() if path.name not in known and path.name[0] != "."
    ):
        raise InputError(
            Text(
                f"{out}: {others[0]} is no file of a bundle and would be lost; choose another "
                "`out`",
                f"{out}: {others[0]}은(는) 번들의 파일이 아니어서 지우지 않습니다. 다른 `out`을 "
                "고르십시오",
            )
        )
