"""A bundle as a folder: its document, its tokenizer, its checksums, and those that are shipped.

A bundle holds ``bundle.json``, ``image.onnx`` and ``prompts.npz``; ``text.onnx`` with
``tokenizer.json`` for the user's own sentences; ``voice.onnx`` if it has a voice tower.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nunbit.core.messages import BundleError, InputError, MissingExtra, Text
from nunbit.language.tokenizer import Tokenizer, read_unigram
from nunbit.runtime.files import as_given, read_json, sha256_file
from nunbit.runtime.resources import packaged_path

DEFAULT_FILE = "default.txt"
"""Names the folder to take where ``bundles/`` has several."""


@dataclass(frozen=True, slots=True)
class ShippedBundle:
    """A bundle inside the package.

    Attributes:
        name: Its folder's name.
        path: Its folder.
        licence: Licence of the trained weights.
    """

    name: str
    path: Path
    licence: str


def shipped_bundles(folder: Path | None = None) -> tuple[ShippedBundle, ...]:
    """The bundles in the package, by name.

    Args:
        folder: Where to look; None means the package's own ``bundles/``.

    Raises:
        InputError: A ``bundle.json`` is not JSON.
    """
    found = []
    for path in sorted((folder or _own_folder()).glob(f"*/{BUNDLE_FILE}")):
        licence = read_json(path).get("licence") or {}
        text = licence.get("trained_weights", "-") if isinstance(licence, dict) else str(licence)
        found.append(ShippedBundle(path.parent.name, path.parent, text))
    return tuple(found)


def default_bundle_path(folder: Path | None = None) -> Path:
    """The bundle that is used where none is named.

    Args:
        folder: Where to look; None means the package's own ``bundles/``.

    Raises:
        BundleError: None is shipped, or several and ``default.txt`` names none of them.
    """
    folder = folder or _own_folder()
    shipped = {bundle.name: bundle.path for bundle in shipped_bundles(folder)}
    if not shipped:
        raise BundleError(
            Text(
                "this build ships no model: give a folder as `model`, for example the RUN/bundle "
                "that nunbit train wrote",
                "이 빌드에는 모델이 들어 있지 않습니다. `model`로 폴더를 주십시오. 예: nunbit "
                "train이 만든 RUN/bundle",
            )
        )
    if len(shipped) == 1:
        return next(iter(shipped.values()))
    file = folder / DEFAULT_FILE
    named = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    if named not in shipped:
        names = ", ".join(shipped)
        raise BundleError(
            Text(
                f"this build ships several models ({names}) and {file} names none of them: choose "
                "one with `model`",
                f"모델이 여럿 들어 있는데({names}) {file}이(가) 그중 하나를 가리키지 않습니다. "
                "`model`로 고르십시오",
            )
        )
    return shipped[named]


def find_bundle(name_or_path: str | Path | None = None) -> Path:
    """The folder of a bundle that is named.

    Args:
        name_or_path: A bundle's folder, the name of a shipped one, or None for the shipped one. A
            folder wins over a shipped name.

    Raises:
        BundleError: It is neither, or none is shipped.
    """
    if name_or_path is None:
        return default_bundle_path()
    path = as_given(name_or_path)
    if path.exists():
        return path
    shipped = {bundle.name: bundle.path for bundle in shipped_bundles()}
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    names = ", ".join(shipped) or "-"
    raise BundleError(
        Text(
            f"{name_or_path}: neither a folder nor a shipped model ({names}); give the folder that "
            "nunbit train or nunbit export wrote, for example RUN/bundle",
            f"{name_or_path}: 폴더도 아니고 함께 제공하는 모델({names})의 이름도 아닙니다. nunbit "
            "train이나 nunbit export가 만든 폴더(예: RUN/bundle)를 주십시오",
        )
    )


def _own_folder() -> Path:
    return packaged_path("bundles")


BUNDLE_FORMAT = "nunbit-bundle-1"

BUNDLE_FILE = "bundle.json"

IMAGE_FILE, TEXT_FILE, VOICE_FILE = "image.onnx", "text.onnx", "voice.onnx"

TOKENIZER_FILE, PROMPTS_FILE = "tokenizer.json", "prompts.npz"

SENTENCES_FILE = "sentences.npz"

WORDS_FILE = "words.npz"

CropDocument = dict[str, str | int | float | None]
"""``crop`` of ``dataset.json`` and ``bundle.json``: ``kind``, ``margin`` and ``size``."""


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
        mirror: Embed every crop and its mirror image and average the two embeddings: it takes twice
            the time, and a face and its reflection get the same result.
        deblur: Take blur off a face that has much (``pictures.deblur``); of ``grey`` only.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: Literal["bilinear", "bicubic"] = "bicubic"
    grey: bool = False
    crop: CropDocument = field(default_factory=dict)
    mirror: bool = False
    deblur: bool = False


@dataclass(frozen=True, slots=True)
class VoiceSection:
    """How the voice tower is used: ``voice`` in ``bundle.json``.

    Attributes:
        format: Which functionals it takes (``nunbit.recording.voice.functionals.FEATURE_FORMAT``).
        rate_hz: Of the sound.
        window_s: Longest stretch it was trained on, seconds.
        logit_scale: The factor that turns a cosine of a voice into a logit.
        temperature: Divisor of the logits.
        spread: (F,) usual standard deviation of each functional within a person.
        labels_seen: Labels that occur in its corpora; the model knows the others by their prompt
            only.
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
class TextEmotion:
    """How what people say is compared with prompts: ``text_emotion`` in ``bundle.json``.

    Attributes:
        languages: That it was tested on; sentences of others get no probabilities.
        logit_scale: What a cosine of a sentence is multiplied by to be a logit.
        temperature: Divisor of the logits.
    """

    languages: tuple[str, ...]
    logit_scale: float
    temperature: float


@dataclass(frozen=True, slots=True)
class BundleDocument:
    """``bundle.json``, as far as anything but its writer relies on it.

    Attributes:
        format: ``BUNDLE_FORMAT``.
        name: Of the model.
        label_set: The classes, as ``label_set_from_dict`` reads them.
        preprocessing: How crops become input (:class:`Preprocessing`), and how faces are framed
            (``faces.framing_of``).
        logit_scale: The factor that turns a cosine into a logit.
        temperature: What logits are divided by so that probabilities are calibrated.
        embedding_size: D.
        checksums: File name -> sha256.
        template_sets: Whose prompts are cached.
        max_tokens: What the text tower reads; None for no limit.
        voice: How the voice tower is used.
        trained_template_set: Whose prompts were captions in training.
        trained_prompts: The captions.
        thresholds: Group of labels -> threshold of the sum of its probabilities.
        unvalidated_labels: Labels the model knows by their prompt only.
        statement: What the model says and does not say, by language.
        licence: Of the weights.
        training_data: What it was trained on.
        precision: Of the towers.
        nunbit_version: That wrote it.
        text_emotion: Where it was fitted to what people say.
        alignment: Where it has heads for face, voice and words: the verdict on them.
        class_shares: Label id -> share that its probabilities carry: the mean probability on its
            selection images.
        adaptation: What ``nunbit adapt`` fitted (``posterior.Adaptation``).
    """

    format: str
    name: str
    label_set: dict[str, Any]
    preprocessing: dict[str, Any]
    logit_scale: float
    temperature: float
    embedding_size: int
    checksums: dict[str, str]
    template_sets: tuple[str, ...] = ()
    max_tokens: int | None = None
    voice: VoiceSection | None = None
    trained_template_set: str | None = None
    trained_prompts: tuple[str, ...] | None = None
    thresholds: dict[str, float | None] | None = None
    unvalidated_labels: tuple[str, ...] | None = None
    statement: dict[str, str] | None = None
    licence: Any = None
    training_data: Any = None
    precision: Any = None
    nunbit_version: str | None = None
    text_emotion: TextEmotion | None = None
    alignment: dict[str, Any] | None = None
    class_shares: dict[str, float] | None = None
    adaptation: dict[str, Any] | None = None


_DAMAGED = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, IndexError),
    *(RecursionError, OverflowError),
)
"""What reading a damaged ``tokenizer.json`` raises."""


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``: of kind Unigram here, any other by the ``tokenizers`` library.

    Raises:
        BundleError: The file cannot be read.
        MissingExtra: It needs the library, which is not installed.
    """
    try:
        own = read_unigram(json.loads(path.read_text(encoding="utf-8")))
    except _DAMAGED as exc:
        raise damaged(path, exc) from exc
    found: Tokenizer = load_any_tokenizer(path) if own is None else own
    return found


def load_any_tokenizer(path: Path) -> Any:
    """Read a ``tokenizer.json`` of any kind by the ``tokenizers`` library, as training needs it.

    Raises:
        BundleError: The file cannot be read.
        MissingExtra: The library is not installed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        kind = json.loads(text)["model"]["type"]
    except _DAMAGED as exc:
        raise damaged(path, exc) from exc
    try:
        from tokenizers import Tokenizer as AnyTokenizer
    except ImportError as exc:
        raise MissingExtra(
            Text(
                f"{path}: a tokenizer of kind {kind}, which the package tokenizers reads: "
                "pip install tokenizers",
                f"{path}: {kind} 방식의 토크나이저라서 tokenizers 패키지가 필요합니다: "
                "pip install tokenizers",
            )
        ) from exc
    try:
        return AnyTokenizer.from_str(text)
    except Exception as exc:  # the library raises no narrower class
        raise damaged(path, exc) from exc


def more_outputs(names: Iterable[str]) -> bytes:
    """What, put after an ONNX file, makes tensors of its graph outputs; the file itself stays.

    Protocol buffers that follow one another are merged: these bytes are a model of which only
    ``graph.output`` is there.
    """
    outputs = b""
    for name in names:
        raw = name.encode()
        value = b"\x0a" + _varint(len(raw)) + raw  # ValueInfoProto.name
        outputs += b"\x62" + _varint(len(value)) + value  # GraphProto.output
    return b"\x3a" + _varint(len(outputs)) + outputs  # ModelProto.graph


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(0x80 | number & 0x7F)
        number >>= 7
    return bytes([*found, number])


def verify_checksums(path: Path, checksums: dict[str, str]) -> None:
    """Compare the files of a bundle's folder with their sha256.

    Raises:
        BundleError: A file is missing or differs.
    """
    for name, expected in checksums.items():
        file = path / name
        if Path(name).name != name:
            raise damaged(path / BUNDLE_FILE, f"a checksum names a path outside: {name}")
        try:
            same = sha256_file(file) == expected
        except InputError as exc:
            raise BundleError(exc.text) from exc
        except OSError as exc:
            raise damaged(file, exc) from exc
        if not same:
            raise BundleError(
                Text(
                    f"{file}: the checksum differs from that in {BUNDLE_FILE}: the file was "
                    "changed or not copied completely; copy or export the bundle again",
                    f"{file}: 체크섬이 {BUNDLE_FILE}과 다릅니다. 파일이 변경되었거나 완전히 "
                    "복사되지 않았습니다. 번들을 다시 복사하거나 내보내십시오",
                )
            )


def damaged(path: Path, reason: object) -> BundleError:
    """The error for a file of a bundle that is not what it should be, or cannot be opened."""
    if isinstance(reason, OSError) and not isinstance(reason, FileNotFoundError):
        why = reason.strerror or reason
        return BundleError(
            Text(
                f"{path}: cannot read this file of the bundle: {why}; check its permissions and "
                "the disk",
                f"{path}: 번들의 파일을 읽을 수 없습니다: {why}. 권한과 디스크를 확인하십시오",
            )
        )
    return BundleError(
        Text(
            f"{path}: the bundle is damaged: {reason}; copy or export it again",
            f"{path}: 번들이 손상되었습니다: {reason}. 다시 복사하거나 내보내십시오",
        )
    )
