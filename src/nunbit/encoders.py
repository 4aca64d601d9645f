"""The bundle at inference: pixels and texts in, unit embeddings out, by onnxruntime.

A bundle is a folder: ``bundle.json``, ``image.onnx``, ``prompts.npz``, where a user's own sentence
is to work ``text.onnx`` with ``tokenizer.json``, and where voices are read ``voice.onnx``.
Preprocessing comes only from the bundle. Knows nothing of torch, data sets or metrics. N images or
stretches of speech, M texts, T templates, K classes, D dimensions, F voice functionals.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nunbit.errors import BundleError, InputError, MissingExtra
from nunbit.files import require_regular, sha256_file
from nunbit.labels import LabelSet, label_set_from_dict
from nunbit.prompts import (
    TemplateSet,
    load_template_set,
    older_template_sets,
    prompts_for,
    template_set_names,
)
from nunbit.unigram import read_unigram
from nunbit.zeroshot import normalise

BUNDLE_FORMAT = "nunbit-bundle-1"
BUNDLE_FILE = "bundle.json"
IMAGE_FILE, TEXT_FILE, VOICE_FILE = "image.onnx", "text.onnx", "voice.onnx"
TOKENIZER_FILE, PROMPTS_FILE = "tokenizer.json", "prompts.npz"
SENTENCES_FILE = "sentences.npz"

# Activations of a ViT-B/32 at 224 px take about 10 MB an image: this bounds memory, not speed.
_IMAGES_AT_ONCE = 32
_TEXTS_AT_ONCE = 64

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a crop becomes the input of the image tower.

    Attributes:
        image_size: Side S of the input, pixels.
        mean: Per channel, subtracted from pixels scaled to [0, 1].
        std: Per channel, divided by afterwards.
        resample: Pillow filter for resizing to S x S.
        grey: True if the three channels all carry the luminance.
        crop: How training crops were cut: ``kind`` and ``margin`` of ``dataset.json``.
        mirror: Embed every crop and its mirror image, and take the mean of the two embeddings:
            twice the time, one answer for a face and its reflection.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: Literal["bilinear", "bicubic"] = "bicubic"
    grey: bool = False
    crop: dict[str, Any] = field(default_factory=dict)
    mirror: bool = False


@dataclass(frozen=True, slots=True)
class VoiceSection:
    """How the voice tower is used: ``voice`` in ``bundle.json``.

    Attributes:
        format: Which functionals it takes (``nunbit.voice_features.FEATURE_FORMAT``).
        rate_hz: Of the sound.
        window_s: Longest stretch it was trained on, seconds.
        logit_scale: What a cosine of a voice is multiplied by to be a logit.
        temperature: What logits are divided by.
        spread: (F,) usual standard deviation of each functional within a person.
        labels_seen: Labels that its corpora show; the others are known by their prompt only.
        corpora: What it was trained on.
        note: What it was not validated on.
    """

    format: str
    rate_hz: int
    window_s: float
    logit_scale: float
    temperature: float
    spread: tuple[float, ...]
    labels_seen: tuple[str, ...]
    corpora: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True)
class _Header:
    """The part of ``bundle.json`` that inference relies on."""

    format: str
    name: str
    label_set: dict[str, Any]
    preprocessing: Preprocessing
    logit_scale: float
    temperature: float
    embedding_size: int
    checksums: dict[str, str]
    template_sets: tuple[str, ...] = ()
    max_tokens: int | None = None
    voice: VoiceSection | None = None


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
    mean = np.asarray(preprocessing.mean, np.float32)
    std = np.asarray(preprocessing.std, np.float32)
    scaled = (crops.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


class Bundle:
    """A loaded bundle; make it with :func:`load_bundle`.

    Attributes:
        path: The folder.
        document: ``bundle.json`` as plain data.
        label_set: The K classes the model was trained for.
        preprocessing: How crops become input.
        hash: sha256 of ``bundle.json``, which holds the checksums of all other files.
        threads: Threads of each onnxruntime session.
    """

    def __init__(
        self, path: Path, document: dict[str, Any], header: _Header, digest: str, threads: int
    ) -> None:
        self.path, self.document, self.hash, self.threads = path, document, digest, threads
        self.label_set = label_set_from_dict(header.label_set, str(path / BUNDLE_FILE))
        self.preprocessing = header.preprocessing
        self._header = header

    @property
    def logit_scale(self) -> float:
        """What a cosine is multiplied by to be a logit."""
        return self._header.logit_scale

    @property
    def temperature(self) -> float:
        """What logits are divided by so that probabilities are calibrated; 1 changes nothing."""
        return self._header.temperature

    @property
    def embedding_size(self) -> int:
        """D."""
        return self._header.embedding_size

    @property
    def image_size(self) -> int:
        """S, the side of the image tower's input in pixels."""
        return self.preprocessing.image_size

    @property
    def has_text_tower(self) -> bool:
        """Whether any text can be embedded, not only the cached prompts."""
        return {TEXT_FILE, TOKENIZER_FILE} <= set(self._header.checksums)

    @property
    def has_voice_tower(self) -> bool:
        """Whether speech can be embedded."""
        return VOICE_FILE in self._header.checksums and self._header.voice is not None

    @property
    def voice(self) -> VoiceSection | None:
        """How the voice tower is used, or None without one."""
        return self._header.voice if self.has_voice_tower else None

    @cached_property
    def default_template_set(self) -> str:
        """The set trained with where the package has it, else the first cached, else ``paper``.

        Where the package has mended a set since, the wording that was trained with.
        """
        trained = self.document.get("trained_template_set")
        if trained in template_set_names():
            texts = set(self.document.get("trained_prompts") or ())
            for name in (str(trained), *older_template_sets(str(trained))) if texts else ():
                rows = prompts_for(load_template_set(name), self.label_set)
                if all(text in texts for row in rows for text in row):
                    return name
            return str(trained)
        cached = self.document.get("template_sets") or ("paper",)
        return str(cached[0])

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
            pixels = standardise(resized, self.preprocessing)
            rows[start : start + len(part)] = self._embed_pixels(pixels)
        return normalise(rows)

    def _embed_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = self._image_session.run(None, {"pixels": pixels})[0]
        if not self.preprocessing.mirror:
            return vectors
        mirrored = np.ascontiguousarray(pixels[:, :, :, ::-1])
        reflected = self._image_session.run(None, {"pixels": mirrored})[0]
        return normalise(vectors) + normalise(reflected)

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
            ids, mask = tokenise(self._tokenizer, part, self._header.max_tokens)
            feed = {"input_ids": ids, "attention_mask": mask}
            rows[start : start + len(part)] = self._text_session.run(None, feed)[0]
        return normalise(rows)

    def embed_sentences(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed what people say, where a bundle was fitted to it; else as :meth:`embed_texts`.

        Sentences about faces and sentences of people have different words: a linear map after the
        text tower brings the second to the prompts of their emotions.

        Args:
            texts: M texts.

        Returns:
            (M, D) float32 unit rows.

        Raises:
            BundleError: The bundle has no text tower, or the map is damaged.
            InputError: A text is longer than the tower reads.
        """
        vectors = self.embed_texts(texts)
        if SENTENCES_FILE not in self._header.checksums:
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
                en=f"{self.path}: this bundle has no voice tower ({VOICE_FILE}): voices cannot be "
                "embedded; use a bundle that has one",
                ko=f"{self.path}: 이 번들에는 음성 인코더({VOICE_FILE})가 없어 목소리를 임베딩할 "
                "수 없습니다. 음성 인코더가 있는 번들을 쓰십시오",
            )
        size = len(self.voice.spread)
        if functionals.ndim != 2 or functionals.shape[1] != size:
            raise ValueError(f"functionals: expected (N, {size}), got {functionals.shape}")
        if not np.isfinite(functionals).all():
            raise ValueError("functionals: expected finite numbers")
        if not len(functionals):
            return np.zeros((0, self.embedding_size), np.float32)
        rows = np.ascontiguousarray(functionals, np.float32)
        return normalise(self._voice_session.run(None, {"functionals": rows})[0])

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
        sets = ", ".join(self._header.template_sets) or "-"
        wanted_en = f" for {wanted}" if wanted else ""
        wanted_ko = f" ({wanted})" if wanted else ""
        raise BundleError(
            en=f"{self.path}: this bundle has no text tower{wanted_en}, only cached prompts ({sets}"
            f" for {self.label_set.name}); choose one of these with --prompts, or a bundle with "
            "text.onnx (nunbit export RUN --out BUNDLE writes one)",
            ko=f"{self.path}: 이 번들에는 텍스트 인코더가 없고{wanted_ko} 미리 계산한 프롬프트만 "
            f"있습니다 ({self.label_set.name}: {sets}). --prompts로 그중에서 고르거나 "
            "text.onnx가 있는 번들을 쓰십시오 (nunbit export RUN --out BUNDLE)",
        )

    @cached_property
    def _cached_prompts(self) -> dict[str, NDArray[np.float32]]:
        if PROMPTS_FILE not in self._header.checksums:
            return {}
        path = self.path / PROMPTS_FILE
        try:
            with np.load(path, allow_pickle=False) as arrays:
                texts, vectors = arrays["texts"], arrays["embeddings"].astype(np.float32)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as exc:
            raise _broken(path, exc) from exc
        if vectors.shape != (len(texts), self.embedding_size):
            raise _broken(path, f"shape {vectors.shape}, D = {self.embedding_size}")
        return dict(zip((str(t) for t in texts), vectors, strict=True))

    @cached_property
    def _sentence_map(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        path, size = self.path / SENTENCES_FILE, self.embedding_size
        try:
            with np.load(path, allow_pickle=False) as arrays:
                weight, bias = arrays["weight"], arrays["bias"]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as exc:
            raise _broken(path, exc) from exc
        if weight.shape != (size, size) or bias.shape != (size,):
            raise _broken(path, f"shape {weight.shape}, D = {size}")
        return weight.astype(np.float32), bias.astype(np.float32)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.path / TOKENIZER_FILE)

    def unload(self) -> None:
        """Give up the models that were loaded; the next call loads them again."""
        for name in ("_image_session", "_text_session", "_voice_session"):
            self.__dict__.pop(name, None)

    @cached_property
    def _image_session(self) -> Any:
        return self._session(IMAGE_FILE)

    @cached_property
    def _text_session(self) -> Any:
        return self._session(TEXT_FILE)

    @cached_property
    def _voice_session(self) -> Any:
        return self._session(VOICE_FILE)

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
            raise _broken(path, exc) from exc


def load_bundle(path: Path, *, threads: int | None = None) -> Bundle:
    """Open a bundle and verify the checksums of its files; models load when first used.

    Args:
        path: The bundle's folder.
        threads: Threads of each session; None takes the cores this process may use.

    Raises:
        BundleError: The folder or a file is missing, ``bundle.json`` is broken, or a checksum
            differs.
    """
    file = path / BUNDLE_FILE
    try:
        require_regular(file)
        raw = file.read_bytes()
        document = json.loads(raw)
        header = msgspec.convert(document, _Header)
    except FileNotFoundError as exc:
        raise BundleError(
            en=f"{path}: no bundle here (no {BUNDLE_FILE}); give the folder that nunbit train or "
            "nunbit export wrote, for example RUN/bundle",
            ko=f"{path}: 번들이 아닙니다 ({BUNDLE_FILE} 없음). nunbit train이나 nunbit export가 "
            "만든 폴더(예: RUN/bundle)를 주십시오",
        ) from exc
    except InputError as exc:
        raise BundleError(en=exc.en, ko=exc.ko) from exc
    except RecursionError as exc:
        raise _broken(file, "nested too deeply") from exc
    except (OSError, ValueError, msgspec.ValidationError) as exc:
        raise _broken(file, exc) from exc
    if header.format != BUNDLE_FORMAT:
        raise _broken(file, f"format '{header.format}', expected '{BUNDLE_FORMAT}'")
    if IMAGE_FILE not in header.checksums:
        raise _broken(file, f"no checksum of {IMAGE_FILE}")
    _verify(path, header.checksums)
    try:
        digest = hashlib.sha256(raw).hexdigest()
        return Bundle(path, document, header, digest, threads or available_cores())
    except InputError as exc:
        raise BundleError(en=exc.en, ko=exc.ko) from exc


class Tokenizer(Protocol):
    """What :func:`tokenise` needs of a tokenizer: padding on, no truncation."""

    def encode_batch(self, texts: Any) -> Sequence[Any]:
        """Objects with ``ids`` and ``attention_mask``, all of one length."""
        ...


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``: of kind Unigram here, any other by the ``tokenizers`` library.

    Raises:
        BundleError: The file cannot be read.
        MissingExtra: It needs the library, which is not installed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        own = read_unigram(json.loads(text))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _broken(path, exc) from exc
    if own is not None:
        return own
    other: Tokenizer = load_any_tokenizer(path)
    return other


def load_any_tokenizer(path: Path) -> Any:
    """Read a ``tokenizer.json`` of any kind by the ``tokenizers`` library, as training needs it.

    Raises:
        BundleError: The file cannot be read.
        MissingExtra: The library is not installed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        kind = json.loads(text)["model"]["type"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise _broken(path, exc) from exc
    try:
        from tokenizers import Tokenizer as AnyTokenizer
    except ImportError as exc:
        raise MissingExtra(
            en=f"{path}: a tokenizer of kind {kind}, which the package tokenizers reads: "
            "pip install tokenizers",
            ko=f"{path}: {kind} 방식의 토크나이저라서 tokenizers 패키지가 필요합니다: "
            "pip install tokenizers",
        ) from exc
    try:
        return AnyTokenizer.from_str(text)
    except Exception as exc:  # the library raises no narrower class
        raise _broken(path, exc) from exc


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
            en=f"text '{start}…' has {lengths[longest]} tokens, the text tower reads {max_tokens}: "
            "shorten it",
            ko=f"문장 '{start}…'은(는) {lengths[longest]}토큰인데 텍스트 인코더는 {max_tokens}토큰"
            "까지 읽습니다. 줄여 주십시오",
        )
    return ids, mask


def available_cores() -> int:
    """Cores this process may use; containers and ``taskset`` allow fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _verify(path: Path, checksums: dict[str, str]) -> None:
    for name, expected in checksums.items():
        file = path / name
        if Path(name).name != name:
            raise _broken(path / BUNDLE_FILE, f"a checksum names a path outside: {name}")
        try:
            actual = sha256_file(file)
        except InputError as exc:
            raise BundleError(en=exc.en, ko=exc.ko) from exc
        except OSError as exc:
            raise _broken(file, exc) from exc
        if actual != expected:
            raise BundleError(
                en=f"{file}: the checksum differs from {BUNDLE_FILE}: the file was changed or "
                "copied incompletely; copy or export the bundle again",
                ko=f"{file}: 체크섬이 {BUNDLE_FILE}과 다릅니다. 파일이 바뀌었거나 덜 "
                "복사되었습니다. 번들을 다시 복사하거나 내보내십시오",
            )


def _broken(path: Path, reason: object) -> BundleError:
    return BundleError(
        en=f"{path}: the bundle is damaged: {reason}; copy or export it again",
        ko=f"{path}: 번들이 손상되었습니다: {reason}. 다시 복사하거나 내보내십시오",
    )
