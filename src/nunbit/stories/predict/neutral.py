"""The person's own neutral face, from pictures given for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import InputError, Text
from nunbit.model.encoders import Bundle
from nunbit.model.posterior import Posterior, check_neutral
from nunbit.model.zeroshot import combine_cosines, probabilities, prompt_cosines
from nunbit.pictures.given import GivenPicture
from nunbit.pictures.photos import Photo, list_photos, read_photo
from nunbit.stories.predict.texts import FaceTexts, PredictSettings


@dataclass(frozen=True, eq=False, slots=True)
class OwnNeutral:
    """A person's neutral face.

    Attributes:
        raw: (M, K) what the bundle says of its pictures.
        sha256: Of the pictures, None of one in memory.
        notices: What a reader must know.
    """

    raw: NDArray[np.float32]
    sha256: tuple[str | None, ...]
    notices: tuple[Text, ...]


def read_neutral(
    files: Sequence[Path | GivenPicture],
    bundle: Bundle,
    texts: FaceTexts,
    posterior: Posterior,
    cut: Callable[[Photo], NDArray[np.uint8] | None],
    settings: PredictSettings,
) -> OwnNeutral:
    """Read pictures of a person's face at rest.

    Args:
        files: Photos, folders of photos, or pictures in memory.
        bundle: The model.
        texts: The prompts it is asked.
        posterior: Of the same classes.
        cut: The largest face of a photo, None where there is none.
        settings: Of the prediction.

    Raises:
        InputError: A picture cannot be read, has no face, or is joyful to the model; or the classes
            have no neutral one.
    """
    posterior.require_neutral()
    crops, digests, names = [], [], []
    for name, photo in list(photos_of(files)):
        crop = cut(photo)
        if crop is None:
            raise InputError(
                Text(
                    f"{name}: no face found in this neutral picture; give another one of the same "
                    "person",
                    f"{name}: 중립으로 준 사진에서 얼굴을 찾지 못했습니다. 같은 사람의 다른 사진을 "
                    "주십시오",
                )
            )
        crops.append(crop)
        digests.append(photo.sha256 or None)
        names.append(name)
    cosines = prompt_cosines(bundle.embed_images(np.stack(crops)), texts.prompt_vectors)
    per_class = combine_cosines(cosines, texts.prompt_vectors, settings.ensemble)
    raw = probabilities(per_class, bundle.logit_scale, bundle.temperature)
    where = names[0] if len(names) == 1 else f"{names[0]} …"
    relative = Text(
        f"probabilities are relative to the person's own neutral face ({len(names)} pictures): all "
        "files must show this person",
        f"그 사람의 중립 얼굴(사진 {len(names)}장)에 견준 확률입니다. 모든 파일이 같은 사람이어야 "
        "합니다",
    )
    return OwnNeutral(raw, tuple(digests), (relative, *check_neutral(raw, texts.label_set, where)))


def photos_of(files: Iterable[Path | GivenPicture]) -> Iterator[tuple[str, Photo]]:
    """Name and photo of pictures in memory, of files, and of the photos in folders."""
    for item in files:
        if isinstance(item, GivenPicture):
            yield item.name, item.photo()
        else:
            yield from ((str(path), read_photo(path)) for path in list_photos(item))
