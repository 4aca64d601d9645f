"""A model to ask: faces of pictures to probabilities, embeddings and similarities."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import InputError, NunbitError, SettingsError, Text
from nunbit.language.prompts import template_set_names
from nunbit.model.bundle import BUNDLE_FILE, find_bundle
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.pictures.given import Pictures, given_pictures, require_crop
from nunbit.runtime.config import settings_from
from nunbit.runtime.results import PathLike, as_path
from nunbit.stories.predict import framing_of_bundle, regions_of
from nunbit.stories.predict import predict as run_prediction
from nunbit.stories.predict.neutral import photos_of
from nunbit.stories.predict.result import PredictResult
from nunbit.stories.predict.texts import PredictSettings, is_sentence_file

Floats = NDArray[np.float32]
Prompts = str | os.PathLike[str] | Iterable[str]

_KEPT_MODELS = 4  # 60 MB each; more are rarely compared at once
_AT_ONCE = 64  # crops embedded at once: bounds memory
_PROMPT_FILES = (".toml", ".txt")


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A loaded bundle; make it with :func:`load`. It is used from one thread at a time.

    Attributes:
        bundle: The encoders beneath.
    """

    bundle: Bundle

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.bundle.document.name

    @property
    def path(self) -> Path:
        """The bundle's folder."""
        return self.bundle.path

    @property
    def labels(self) -> tuple[str, ...]:
        """Ids of the classes that the model was trained for."""
        return self.bundle.label_set.ids

    @property
    def embedding_size(self) -> int:
        """D."""
        return self.bundle.embedding_size

    def predict(
        self,
        images: Pictures,
        prompts: Prompts | None = None,
        crops: bool = False,
        neutral: Pictures | None = None,
        **settings: Any,
    ) -> PredictResult:
        """Find the faces in pictures and estimate their apparent expression.

        Args:
            images: A path (a photo, or a folder of photos), a PIL image, a uint8 RGB array
                (H, W, 3), a grey one (H, W), or any number of these; also an array (N, H, W, 3).
            prompts: Sentences of yours, compared among themselves (``closest sentence``); one
                sentence, or several. The name of a template set (``paper``, ``natural``,
                ``english``) or a file (``.toml``, ``.txt``) chooses the classes' prompts instead.
            crops: The pictures are face crops already: no face is searched for.
            neutral: Pictures of the person's own face at rest: probabilities are then relative to
                it, and all ``images`` must show this person.
            settings: Any of ``PredictSettings`` by name, such as ``label_set`` or ``prior``.

        Returns:
            A result a picture, in order. One that cannot be read has ``state`` ``error``.

        Raises:
            TypeError: Something is no picture, or no text.
            InputError: Nothing was given, no picture can be read, one is no face crop, or a neutral
                picture shows no neutral face.
            SettingsError: A setting is unknown or does not fit.
            BundleError: The model does not serve the prompts.
        """
        result = run_prediction(
            given_pictures(images),
            predict_settings(prompts, crops, settings),
            bundle=self.bundle,
            show=True,
            neutral=() if neutral is None else given_pictures(neutral, "neutral"),
        )
        if result.counts["error"] == len(result):
            raise _all_unreadable(result)
        return result

    def embed(
        self,
        images: Pictures,
        crops: bool = False,
        *,
        missing: Literal["raise", "nan"] = "raise",
    ) -> Floats:
        """Embed the face of each picture; of several faces in one, the largest.

        Args:
            images: As for :meth:`predict`; a folder counts as its photos.
            crops: The pictures are face crops already.
            missing: A picture without a face is an error (``raise``), or a row of NaN (``nan``).

        Returns:
            (N, D) float32 unit rows, row n for picture n.

        Raises:
            TypeError: Something is no picture.
            InputError: A picture cannot be read, has no face, or with ``crops`` is no face crop.
        """
        if missing not in ("raise", "nan"):
            raise SettingsError(
                Text(
                    f"`missing` is '{missing}'; choose from raise, nan",
                    f"`missing`이 '{missing}'입니다. raise와 nan 중에서 고르십시오",
                )
            )
        settings, framing = PredictSettings(crops=crops), framing_of_bundle(self.bundle)
        found: list[NDArray[np.uint8] | None] = []
        faceless = []
        for name, photo in photos_of(given_pictures(images)):
            if crops:
                require_crop(photo.pixels, name)
            region = next(iter(regions_of(photo, settings, framing)), None)
            found.append(None if region is None else region.crop)
            faceless += [name] if region is None else []
        if faceless and missing == "raise":
            raise _no_face(faceless, len(found))
        rows = np.full((len(found), self.embedding_size), np.nan, np.float32)
        there = [(n, crop) for n, crop in enumerate(found) if crop is not None]
        for start in range(0, len(there), _AT_ONCE):
            part = there[start : start + _AT_ONCE]
            rows[[n for n, _ in part]] = self.bundle.embed_images(
                np.stack([crop for _, crop in part])
            )
        return rows

    def score(self, crops: Pictures, texts: str | Iterable[str]) -> Floats:
        """Compare face crops with texts.

        Args:
            crops: Face crops, given as the pictures of :meth:`predict`.
            texts: One text or M of them, in any language the model reads.

        Returns:
            (N, M) float32 cosines, -1 to 1: similarities, not probabilities.

        Raises:
            TypeError: Something is no picture, or no text.
            InputError: Nothing was given, or a picture is no face crop.
            BundleError: The model embeds no texts.
        """
        sentences = sentences_of(texts, "texts")
        cosines = self.embed(crops, crops=True) @ self.bundle.embed_texts(sentences).T
        return np.asarray(np.clip(cosines, -1.0, 1.0), np.float32)

    def __repr__(self) -> str:
        return f"<Model {self.name}: {', '.join(self.labels)}>"


def load(name_or_path: PathLike | Model | None = None, *, threads: int | None = None) -> Model:
    """Open a model; opening the same one again costs nothing.

    Args:
        name_or_path: A bundle's folder, the name of a shipped one (``fer7-lite``), or None for
            the default. A model is returned as it is.
        threads: Threads it may use; None takes the cores there are.

    Raises:
        BundleError: There is no such model, or it is damaged.
        TypeError: It is no name, path or model.
    """
    if isinstance(name_or_path, Model):
        return name_or_path
    if name_or_path is not None and not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(
            f"name_or_path: expected a name, a path or nothing, got {type(name_or_path).__name__}"
        )
    if threads is not None and (type(threads) is not int or threads < 1):
        raise TypeError(f"threads: expected a whole number from 1 on or nothing, got {threads!r}")
    path = find_bundle(
        None if name_or_path is None else as_path(name_or_path, "name_or_path")
    ).resolve()
    file = path / BUNDLE_FILE
    stamp = file.stat().st_mtime_ns if file.is_file() else 0
    return Model(_opened(path, stamp, threads))


@lru_cache(maxsize=_KEPT_MODELS)
def _opened(path: Path, stamp: int, threads: int | None) -> Bundle:
    """The bundle; ``stamp`` makes one that was written again another one."""
    return load_bundle(path, threads=threads)


def predict_settings(prompts: Any, crops: bool, given: Mapping[str, Any]) -> PredictSettings:
    """Settings of a prediction, with what ``prompts`` means.

    Raises:
        TypeError: A prompt is no text.
        InputError: No prompt is given.
        SettingsError: A setting is unknown or does not fit.
    """
    options: dict[str, Any] = {"crops": bool(crops), **given}
    if isinstance(prompts, os.PathLike):
        options["prompts"] = os.fspath(prompts)
    elif isinstance(prompts, str) and _is_set(prompts):
        options["prompts"] = prompts
    elif prompts is not None:
        options["prompt"] = sentences_of(prompts, "prompts")
    return settings_from(PredictSettings, options, "predict")


def sentences_of(texts: Any, argument: str) -> tuple[str, ...]:
    """One text or several, none of them empty.

    Raises:
        TypeError: Something is no text.
        InputError: There is none, or one is empty.
    """
    if isinstance(texts, str):
        texts = (texts,)
    if isinstance(texts, bytes | Mapping) or not isinstance(texts, Iterable):
        raise TypeError(f"{argument}: expected text or a list of it, got {type(texts).__name__}")
    found = tuple(texts)
    for n, text in enumerate(found):
        if not isinstance(text, str):
            raise TypeError(f"{argument}[{n}]: expected text, got {type(text).__name__}")
    if not found or any(not text.strip() for text in found):
        raise InputError(
            Text(
                f"`{argument}` is empty: give a sentence",
                f"`{argument}`이(가) 비어 있습니다. 문장을 주십시오",
            )
        )
    return found


def _is_set(text: str) -> bool:
    is_file = text.lower().endswith(_PROMPT_FILES) or is_sentence_file(text)
    return is_file or text in template_set_names()


def _all_unreadable(result: PredictResult) -> NunbitError:
    first = result[0].error or InputError(Text("unreadable", "읽을 수 없습니다"))
    if len(result) == 1:
        return first
    return InputError(
        Text(
            f"none of the {len(result)} pictures can be read; the first: {first.text.en}",
            f"사진 {len(result)}장을 모두 읽지 못했습니다. 첫 번째: {first.text.ko}",
        )
    )


def _no_face(names: list[str], n: int) -> NunbitError:
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return InputError(
        Text(
            f"no face found in {len(names)} of {n} pictures ({shown}): leave them out, give "
            "`missing='nan'`, or `crops=True` where they are face crops",
            f"사진 {n}장 중 {len(names)}장에서 얼굴을 찾지 못했습니다({shown}). 빼거나 "
            "`missing='nan'`을 주고, 얼굴만 자른 그림이라면 `crops=True`를 주십시오",
        )
    )
