"""The bundle at inference: pixels and texts in, unit embeddings out, by onnxruntime.

Only the bundle decides the preprocessing. Knows nothing of torch, data sets or metrics. N images
or stretches of speech, M texts, T templates, K classes, D dimensions, F voice functionals.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nunbit.core.messages import BundleError, InputError, Text
from nunbit.language.labels import LabelSet, label_set_from_dict
from nunbit.language.prompts import (
    TemplateSet,
    load_template_set,
    older_template_sets,
    prompts_for,
    template_set_names,
)
from nunbit.language.tokenizer import Tokenizer, tokenise
from nunbit.model.bundle import (
    BUNDLE_FILE,
    IMAGE_FILE,
    PROMPTS_FILE,
    SENTENCES_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
    VOICE_FILE,
    BundleDocument,
    Preprocessing,
    VoiceSection,
    damaged,
    load_tokenizer,
    more_outputs,
)
from nunbit.model.bundle_check import read_bundle_document
from nunbit.model.zeroshot import normalise
from nunbit.pictures.deblur import deblurred
from nunbit.runtime.files import as_given, read_arrays
from nunbit.runtime.workers import available_cores, give_back_freed_memory

# Activations of a ViT-B/32 at 224 px take about 10 MB an image: this bounds memory, not speed.
_IMAGES_AT_ONCE = 32
_TEXTS_AT_ONCE = 64

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def resize_crop(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Bring one crop to the input's size and colours.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        preprocessing: Of the bundle or the model in training.

    Returns:
        (S, S, 3) uint8.
    """
    size = preprocessing.image_size
    image = Image.fromarray(pixels)
    if preprocessing.grey:
        image = image.convert("L")
    if image.size != (size, size):
        image = image.resize((size, size), _RESAMPLING[preprocessing.resample])
    if not preprocessing.grey:
        return np.asarray(image)
    grey = np.asarray(image)
    return np.repeat((deblurred(grey) if preprocessing.deblur else grey)[..., None], 3, axis=2)


def standardise(crops: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Scale, centre and lay out resized crops: (N, S, S, 3) uint8 to (N, 3, S, S) float32."""
    mean, std = np.asarray((preprocessing.mean, preprocessing.std), np.float32)
    scaled = (crops.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


class Bundle:
    """A loaded bundle; make it with :func:`load_bundle`.

    Attributes:
        path: The folder.
        document: ``bundle.json``.
        label_set: The K classes the model was trained for.
        preprocessing: How crops become input.
        hash: sha256 of ``bundle.json``, which holds the checksums of all other files.
        threads: Threads of each onnxruntime session.
    """

    def __init__(self, path: Path, document: BundleDocument, digest: str, threads: int) -> None:
        self.path, self.document, self.hash, self.threads = path, document, digest, threads
        self.label_set = label_set_from_dict(document.label_set, str(path / BUNDLE_FILE))
        self.preprocessing = msgspec.convert(document.preprocessing, Preprocessing)
        self._sessions: dict[str, Any] = {}

    @property
    def logit_scale(self) -> float:
        """The factor that turns a cosine into a logit."""
        return self.document.logit_scale

    @property
    def temperature(self) -> float:
        """Divisor of the logits that calibrates the probabilities; 1 changes nothing."""
        return self.document.temperature

    @property
    def embedding_size(self) -> int:
        """D."""
        return self.document.embedding_size

    @property
    def image_size(self) -> int:
        """S, the side of the image tower's input in pixels."""
        return self.preprocessing.image_size

    @property
    def is_aligned(self) -> bool:
        """Whether it has heads of the shared space: faces are then read with their vectors."""
        return self.document.alignment is not None

    @property
    def has_text_tower(self) -> bool:
        """Whether any text can be embedded, not only the cached prompts."""
        return {TEXT_FILE, TOKENIZER_FILE} <= set(self.document.checksums)

    @property
    def voice(self) -> VoiceSection | None:
        """How the voice tower is used, or None without one."""
        return self.document.voice if VOICE_FILE in self.document.checksums else None

    @cached_property
    def default_template_set(self) -> str:
        """The set of the training if the package has it, else the first cached one, else ``paper``.

        If the package has corrected a set since, the wording that the bundle was trained with.
        """
        if (trained := self.document.trained_template_set) and trained in template_set_names():
            texts = set(self.document.trained_prompts or ())
            for name in (trained, *older_template_sets(trained)) if texts else ():
                rows = prompts_for(load_template_set(name), self.label_set)
                if all(text in texts for row in rows for text in row):
                    return name
            return trained
        return (self.document.template_sets or ("paper",))[0]

    def embed_images(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed face crops.

        Args:
            crops: (N, H, W, 3) uint8 RGB of any size; resized as the bundle says.

        Returns:
            (N, D) float32 unit rows.

        Raises:
            ValueError: The array has another shape or type.
        """
        if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.uint8:
            raise ValueError(f"crops: expected (N, H, W, 3) uint8, got {crops.shape} {crops.dtype}")
        rows = np.empty((len(crops), self.embedding_size), np.float32)
        for start in range(0, len(crops), _IMAGES_AT_ONCE):
            part = crops[start : start + _IMAGES_AT_ONCE]
            resized = np.stack([resize_crop(c, self.preprocessing) for c in part])
            rows[start : start + len(part)] = self._embed_pixels(
                standardise(resized, self.preprocessing)
            )
        return normalise(rows)

    def _embed_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        vectors = self._run(IMAGE_FILE, {"pixels": pixels})
        if not self.preprocessing.mirror:
            return vectors
        mirrored = self._run(IMAGE_FILE, {"pixels": np.ascontiguousarray(pixels[:, :, :, ::-1])})
        return normalise(vectors) + normalise(mirrored)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts in any language the tokenizer can spell.

        Args:
            texts: M texts.

        Returns:
            (M, D) float32 unit rows.

        Raises:
            BundleError: The bundle has no text tower.
            InputError: A text is longer than the tower reads.
        """
        self._require_text_tower("")
        rows = np.empty((len(texts), self.embedding_size), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            part = list(texts[start : start + _TEXTS_AT_ONCE])
            ids, mask = tokenise(self._tokenizer, part, self.document.max_tokens)
            rows[start : start + len(part)] = self._run(
                TEXT_FILE, {"input_ids": ids, "attention_mask": mask}
            )
        return normalise(rows)

    def embed_sentences(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed what people say, by the bundle's map for it, else as :meth:`embed_texts`.

        Sentences about faces and what people say use different words: a linear map after the text
        tower brings the second to the prompts of their emotions.

        Args:
            texts: M texts.

        Returns:
            (M, D) float32 unit rows.

        Raises:
            BundleError: The bundle has no text tower, or the map is damaged.
            InputError: A text is longer than the tower reads.
        """
        vectors = self.embed_texts(texts)
        if SENTENCES_FILE not in self.document.checksums:
            return vectors
        weight, bias = self._sentence_map
        return normalise(vectors @ weight.T + bias)

    def text_layers(self, texts: Sequence[str], layers: tuple[str, ...]) -> NDArray[np.float32]:
        """What the text tower knows of texts before its last step: means over their tokens.

        Args:
            texts: M texts.
            layers: Names of L of its tensors, (texts, tokens, H) each.

        Returns:
            (M, L, H) float32.

        Raises:
            BundleError: The bundle has no text tower, or it has no such tensors.
            InputError: A text is longer than the tower reads.
        """
        self._require_text_tower("")
        found = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            part = list(texts[start : start + _TEXTS_AT_ONCE])
            ids, mask = tokenise(self._tokenizer, part, self.document.max_tokens)
            feed = {"input_ids": ids, "attention_mask": mask}
            weight = (mask / mask.sum(axis=1, keepdims=True)).astype(np.float32)
            rows = self._session(TEXT_FILE, layers).run(list(layers), feed)
            found.append(np.stack([np.einsum("mt,mth->mh", weight, h) for h in rows], axis=1))
        return np.concatenate(found)

    def embed_voice(self, functionals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed stretches of speech.

        Args:
            functionals: (N, F) standardised per person, finite.

        Returns:
            (N, D) float32 unit rows.

        Raises:
            BundleError: The bundle has no voice tower.
            ValueError: The array has another shape, or holds what is not finite.
        """
        if self.voice is None:
            raise BundleError(
                Text(
                    f"{self.path}: this bundle has no voice tower ({VOICE_FILE}): voices cannot be "
                    "embedded; use a bundle that has one",
                    f"{self.path}: 이 번들에는 음성 인코더({VOICE_FILE})가 없어 목소리를 임베딩할 "
                    "수 없습니다. 음성 인코더가 있는 번들을 쓰십시오",
                )
            )
        size = len(self.voice.spread)
        if functionals.ndim != 2 or functionals.shape[1] != size:
            raise ValueError(f"functionals: expected (N, {size}), got {functionals.shape}")
        if not np.isfinite(functionals).all():
            raise ValueError("functionals: expected finite numbers")
        if not len(functionals):
            return np.zeros((0, self.embedding_size), np.float32)
        rows = np.ascontiguousarray(functionals, np.float32)
        return normalise(self._run(VOICE_FILE, {"functionals": rows}))

    def prompt_embeddings(
        self, template_set: TemplateSet, label_set: LabelSet
    ) -> NDArray[np.float32]:
        """Embed every prompt of a template set and a label set, from the cache where it has them.

        Returns:
            (T, K, D) float32, unit along D.

        Raises:
            BundleError: Neither the cache nor a text tower serves these prompts.
            InputError: The label set lacks a form that a template needs.
        """
        rows = prompts_for(template_set, label_set)
        flat = [text for row in rows for text in row]
        cached = self._cached_prompts
        if all(text in cached for text in flat):
            vectors = normalise(np.stack([cached[text] for text in flat]))
        else:
            self._require_text_tower(f"{template_set.name} × {label_set.name}")
            vectors = self.embed_texts(flat)
        return vectors.reshape(len(rows), len(label_set.labels), self.embedding_size)

    def _require_text_tower(self, wanted: str) -> None:
        if self.has_text_tower:
            return
        sets = ", ".join(self.document.template_sets) or "-"
        wanted_en = f" for {wanted}" if wanted else ""
        wanted_ko = f" ({wanted})" if wanted else ""
        raise BundleError(
            Text(
                f"{self.path}: this bundle has no text tower{wanted_en}, only cached prompts "
                f"({sets} for {self.label_set.name}); choose one of these as `prompts`, or a "
                "bundle with text.onnx (nunbit export writes one)",
                f"{self.path}: 이 번들에는 텍스트 인코더가 없고{wanted_ko} 미리 계산한 프롬프트만 "
                f"있습니다 ({self.label_set.name}: {sets}). 그중 하나를 `prompts`로 고르거나 "
                "text.onnx가 있는 번들을 쓰십시오 (nunbit export로 만듭니다)",
            )
        )

    @cached_property
    def _cached_prompts(self) -> dict[str, NDArray[np.float32]]:
        if PROMPTS_FILE not in self.document.checksums:
            return {}
        path = self.path / PROMPTS_FILE
        texts, vectors = _arrays(path, "texts", "embeddings")
        if vectors.shape != (len(texts), self.embedding_size):
            raise damaged(path, f"shape {vectors.shape}, D = {self.embedding_size}")
        return dict(zip((str(t) for t in texts), vectors.astype(np.float32), strict=True))

    @cached_property
    def _sentence_map(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        path, size = self.path / SENTENCES_FILE, self.embedding_size
        weight, bias = _arrays(path, "weight", "bias")
        if weight.shape != (size, size) or bias.shape != (size,):
            raise damaged(path, f"shape {weight.shape}, D = {size}")
        return weight.astype(np.float32), bias.astype(np.float32)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.path / TOKENIZER_FILE)

    def unload(self) -> None:
        """Free the loaded models; the next call loads them again."""
        self._sessions.clear()

    def _run(self, name: str, feed: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """What a tower makes of its inputs."""
        n, session = len(next(iter(feed.values()))), self._session(name)
        try:
            vectors: NDArray[np.float32] = session.run(None, feed)[0]
        except _session_errors() as exc:
            raise damaged(self.path / name, str(exc).splitlines()[0]) from exc
        if getattr(vectors, "shape", None) != (n, self.embedding_size):
            found = getattr(vectors, "shape", type(vectors).__name__)
            raise damaged(self.path / name, f"gives {found}, expected {(n, self.embedding_size)}")
        return vectors

    def _session(self, name: str, layers: tuple[str, ...] = ()) -> Any:
        """A tower, loaded when first used; with ``layers`` it gives these tensors as well."""
        key = " ".join((name, *layers))
        if key not in self._sessions:
            self._sessions[key] = self._load(name, layers)
            give_back_freed_memory()  # of the text tower's 340 MB 215 were for loading
        return self._sessions[key]

    def _load(self, name: str, layers: tuple[str, ...]) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # warnings about graph clean-up help nobody here
        path = self.path / name
        model = path.read_bytes() + more_outputs(layers) if layers else str(path)
        try:
            return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except _session_errors() as exc:
            raise damaged(path, exc) from exc


def _session_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises for a model that it cannot load or run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as refusals

    return (
        refusals.Fail,
        refusals.InvalidArgument,
        refusals.InvalidGraph,
        refusals.InvalidProtobuf,
        refusals.NoSuchFile,
        refusals.NotImplemented,
        refusals.RuntimeException,
        ValueError,  # a name of an input that it does not have
    )


def load_bundle(path: Path | str, *, threads: int | None = None) -> Bundle:
    """Open a bundle and verify the checksums of its files; models load when first used.

    Args:
        path: The bundle's folder.
        threads: Threads of each session; None takes the cores this process may use.

    Raises:
        BundleError: The folder or a file is missing, ``bundle.json`` is broken, or a checksum
            differs.
    """
    path = as_given(path)
    document, digest = read_bundle_document(path)
    try:
        return Bundle(path, document, digest, threads or available_cores())
    except InputError as exc:
        raise BundleError(exc.text) from exc
    except (KeyError, TypeError, ValueError, AttributeError) as exc:  # of its label set
        raise damaged(path / BUNDLE_FILE, exc) from exc


def _arrays(path: Path, *names: str) -> list[NDArray[Any]]:
    try:
        arrays = read_arrays(path, names)
    except (OSError, ValueError) as exc:
        raise damaged(path, exc) from exc
    return [arrays[name] for name in names]
