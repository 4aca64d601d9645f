"""The bundle at inference: pixels and texts in, unit embeddings out, by onnxruntime.

Only the bundle decides the preprocessing. Knows nothing of torch, data sets or metrics. N images
or stretches of speech, M texts, T templates, K classes, D dimensions, F voice functionals.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
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
from nunbit.model.bundle import (
    BUNDLE_FILE,
    BUNDLE_FORMAT,
    IMAGE_FILE,
    PROMPTS_FILE,
    SENTENCES_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
    VOICE_FILE,
    BundleDocument,
    Preprocessing,
    Tokenizer,
    VoiceSection,
    damaged,
    load_tokenizer,
    verify_checksums,
)
from nunbit.model.zeroshot import normalise
from nunbit.runtime.files import require_regular
from nunbit.runtime.workers import available_cores

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
    if preprocessing.grey:
        image = image.convert("RGB")
    return np.asarray(image)


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
        trained = self.document.trained_template_set
        if trained and trained in template_set_names():
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
        """What a tower makes of its inputs; it is loaded when first used."""
        if name not in self._sessions:
            self._sessions[name] = self._session(name)
        vectors: NDArray[np.float32] = self._sessions[name].run(None, feed)[0]
        return vectors

    def _session(self, name: str) -> Any:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as refusals

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # warnings about graph clean-up help nobody here
        path = self.path / name
        try:
            return onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except (
            refusals.Fail,
            refusals.InvalidArgument,
            refusals.InvalidGraph,
            refusals.InvalidProtobuf,
            refusals.NoSuchFile,
            refusals.NotImplemented,
            refusals.RuntimeException,
        ) as exc:
            raise damaged(path, exc) from exc


def load_bundle(path: Path | str, *, threads: int | None = None) -> Bundle:
    """Open a bundle and verify the checksums of its files; models load when first used.

    Args:
        path: The bundle's folder.
        threads: Threads of each session; None takes the cores this process may use.

    Raises:
        BundleError: The folder or a file is missing, ``bundle.json`` is broken, or a checksum
            differs.
    """
    path = Path(path).expanduser()
    file = path / BUNDLE_FILE
    try:
        require_regular(file)
        raw = file.read_bytes()
        document = msgspec.convert(json.loads(raw), BundleDocument)
    except FileNotFoundError as exc:
        raise BundleError(
            Text(
                f"{path}: no bundle here (no {BUNDLE_FILE}); give the folder that nunbit train or "
                "nunbit export wrote, for example RUN/bundle",
                f"{path}: 번들이 아닙니다 ({BUNDLE_FILE} 없음). nunbit train이나 nunbit export가 "
                "만든 폴더(예: RUN/bundle)를 주십시오",
            )
        ) from exc
    except InputError as exc:
        raise BundleError(exc.text) from exc
    except RecursionError as exc:
        raise damaged(file, "nested too deeply") from exc
    except (OSError, ValueError, msgspec.ValidationError) as exc:
        raise damaged(file, exc) from exc
    if document.format != BUNDLE_FORMAT:
        raise damaged(file, f"format '{document.format}', expected '{BUNDLE_FORMAT}'")
    if IMAGE_FILE not in document.checksums:
        raise damaged(file, f"no checksum of {IMAGE_FILE}")
    verify_checksums(path, document.checksums)
    try:
        return Bundle(path, document, hashlib.sha256(raw).hexdigest(), threads or available_cores())
    except InputError as exc:
        raise BundleError(exc.text) from exc
    except msgspec.ValidationError as exc:
        raise damaged(file, exc) from exc


def tokenise(
    tokenizer: Tokenizer, texts: list[str], max_tokens: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and attention mask, padded to the longest text of the batch.

    Padding to the longest instead of to the tower's limit gives the same embeddings (the mask or
    the causal attention hides padding) for a fraction of the work.

    Args:
        tokenizer: With padding enabled, without truncation.
        texts: M texts, at least one.
        max_tokens: What the tower reads; None for no limit.

    Returns:
        Two (M, L) int64 arrays.

    Raises:
        InputError: A text is longer than ``max_tokens``.
    """
    encodings = tokenizer.encode_batch(texts)
    ids = np.array([e.ids for e in encodings], np.int64)
    mask = np.array([e.attention_mask for e in encodings], np.int64)
    lengths = mask.sum(axis=1)
    if max_tokens is not None and lengths.max() > max_tokens:
        longest = int(lengths.argmax())
        start = texts[longest][:30]
        raise InputError(
            Text(
                f"text '{start}…' has {lengths[longest]} tokens, the text tower reads "
                f"{max_tokens}: shorten it",
                f"문장 '{start}…'은(는) {lengths[longest]}토큰인데 텍스트 인코더는 {max_tokens}토큰"
                "까지 읽습니다. 줄여 주십시오",
            )
        )
    return ids, mask


def _arrays(path: Path, *names: str) -> list[NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as exc:
        raise damaged(path, exc) from exc
