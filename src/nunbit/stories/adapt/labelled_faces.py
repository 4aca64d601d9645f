"""The labelled faces of ``adapt``: read, cut out, embedded, with all that speaks against them.

DATA is a prepared data set, class folders or a table (or photos alone, without labels). Knows
nothing of corrections.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import InputError, MediaError, Text
from nunbit.core.schema import FaceRecord, Policy
from nunbit.core.spans import lists_by_key
from nunbit.datasets.archives import read_image_bytes
from nunbit.datasets.policies import label_under, refuse_anonymous
from nunbit.datasets.shards import DOCUMENT, open_dataset
from nunbit.datasets.sources import read_source
from nunbit.language.labels import LabelSet, load_label_set
from nunbit.language.prompts import load_template_set
from nunbit.model.bundle import BUNDLE_FILE
from nunbit.model.encoders import Bundle
from nunbit.model.zeroshot import ensemble_cosines, probabilities
from nunbit.pictures.crops import CropSettings, decode_crop
from nunbit.pictures.faces import detect_faces, frame_face, framing_of
from nunbit.pictures.given import FEWEST_FACES, faces_found
from nunbit.pictures.photos import decode_photo, list_photos, read_photo
from nunbit.runtime.progress import Progress

Pixels = NDArray[np.uint8]

_MOST_FACES = 0.9  # below, adapt says in how many crops a face is found


@dataclass(frozen=True, eq=False, slots=True)
class Face:
    """A face that waits for the model.

    Attributes:
        crop: (H, W, 3) as the model wants it framed.
        label: Label id, None without labels.
        subject: Person key, None where unknown.
        name: Of the picture.
    """

    crop: Pixels
    label: str | None
    subject: str | None
    name: str


@dataclass(frozen=True, eq=False, slots=True)
class ReadFaces:
    """All faces of DATA.

    Attributes:
        raw: (N, K) the bundle's probabilities without any adaptation.
        truth: (N,) classes, -1 without labels.
        subjects: N person keys or None.
        limits: What speaks against them, and what was left out.
        digest: Of the pictures and labels.
    """

    raw: NDArray[np.float32]
    truth: NDArray[np.int64]
    subjects: tuple[str | None, ...]
    limits: tuple[Text, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def knows_persons(self) -> bool:
        """Whether any picture has a person."""
        return any(subject is not None for subject in self.subjects)


@dataclass(slots=True)
class _Tally:
    """What was left out and why, for the limits."""

    unread: list[str]
    faceless: list[str]
    unlabelled: int = 0
    test: int = 0
    doubles: int = 0


def read_faces(
    data: Path,
    bundle: Bundle,
    *,
    labelled: bool = True,
    label_set: str | None = None,
    policy: Policy | None = None,
    crops: bool = False,
    batch_size: int = 64,
) -> ReadFaces:
    """Read DATA and ask the model.

    Args:
        data: A prepared data set, class folders (or a zip of them), a table, or with ``labelled``
            false photos.
        bundle: Whose classes the labels must be.
        labelled: Labels are wanted.
        label_set: TOML file with the bundle's ids and more spellings of them.
        policy: Rule for votes; None = that of the data set, or the label given.
        crops: The pictures are face crops already.
        batch_size: Faces embedded at once.

    Raises:
        InputError: Nothing usable, labels of other classes, or crops without faces.
    """
    classes = bundle.label_set if label_set is None else load_label_set(label_set)
    if classes.ids != bundle.label_set.ids:
        raise _other_classes(str(label_set), classes.ids, bundle.label_set)
    tally = _Tally([], [])
    prepared = (data / DOCUMENT).is_file()
    faces = list(
        _distinct(_faces(data, bundle, classes, policy, crops, labelled, tally), tally, data)
    )
    limits = list(_left_out(tally))
    if crops or prepared:
        limits += _must_show_faces([face.crop for face in faces], data)
    raw = _asked(bundle, [face.crop for face in faces], batch_size)
    index = {label: k for k, label in enumerate(bundle.label_set.ids)}
    truth = np.array([-1 if f.label is None else index[f.label] for f in faces], np.int64)
    digest = hashlib.sha256()
    for face in faces:
        digest.update(face.crop.tobytes() + f"{face.label}|{face.subject}".encode())
    subjects = tuple(face.subject for face in faces)
    return ReadFaces(raw, truth, subjects, tuple(limits), digest.hexdigest())


def _faces(
    data: Path,
    bundle: Bundle,
    classes: LabelSet,
    policy: Policy | None,
    crops: bool,
    labelled: bool,
    tally: _Tally,
) -> Iterator[Face]:
    if (data / DOCUMENT).is_file():
        yield from _prepared(data, bundle, policy, labelled, tally)
    elif not labelled and data.is_dir():
        yield from _photos(data, bundle, crops, tally)
    else:
        yield from _listed(data, bundle, classes, policy, crops, tally)


def _prepared(
    data: Path, bundle: Bundle, policy: Policy | None, labelled: bool, tally: _Tally
) -> Iterator[Face]:
    """The crops of a prepared data set; those of its test split stay for ``evaluate``."""
    dataset = open_dataset(data)
    used = policy or dataset.policy
    columns = ("split", "uploader_label", "votes", "subject_id", "record_id")
    rows = list(zip(*(dataset.column(name) for name in columns), strict=True))
    refuse_anonymous(used, dataset.vote_names, (tuple(row[2]) for row in rows), str(data))
    named = {label_under(used, row[1], tuple(row[2])) for row in rows} - {None}
    unknown = sorted(str(n) for n in named - set(bundle.label_set.ids))
    if unknown and labelled:
        raise _other_classes(str(data), unknown, bundle.label_set)
    with Progress(Text("reading faces", "얼굴 읽기"), len(rows), "img") as progress:
        for number, (split, uploader, votes, subject, record) in enumerate(rows):
            progress.advance()
            if split == "test":
                tally.test += 1
                continue
            label = label_under(used, uploader, tuple(votes)) if labelled else None
            if labelled and label is None:
                tally.unlabelled += 1
                continue
            yield Face(dataset.pixels(number), label, subject, record)


def _listed(
    data: Path,
    bundle: Bundle,
    classes: LabelSet,
    policy: Policy | None,
    crops: bool,
    tally: _Tally,
) -> Iterator[Face]:
    listing = read_source([data], None, classes)
    used = policy or ("annot_a" if listing.kind == "aihub" else "uploader")
    refuse_anonymous(used, listing.vote_names, (r.votes for r in listing.records), str(data))
    tally.unread += [reject.file for reject in listing.rejects]
    with Progress(Text("reading faces", "얼굴 읽기"), len(listing.records), "img") as progress:
        for record in listing.records:
            progress.advance()
            label = label_under(used, record.uploader_label, record.votes)
            if label is None:
                tally.unlabelled += 1
                continue
            # A split that the user named; an implicit one has no test.
            if record.split == "test":
                tally.test += 1
                continue
            try:
                crop = _cut(record, bundle, crops)
            except MediaError:
                tally.unread.append(record.image.source_path)
                continue
            if crop is None:
                tally.faceless.append(record.image.source_path)
                continue
            yield Face(crop, label, record.subject_id, record.image.source_path)


def _cut(record: FaceRecord, bundle: Bundle, crops: bool) -> Pixels | None:
    data = read_image_bytes(record.image)
    framing = framing_of(bundle.document.preprocessing, str(bundle.path / BUNDLE_FILE))
    if record.box_xyxy is not None:  # annotated: as `prepare` cuts it
        margin = float(bundle.preprocessing.crop.get("margin") or 0.0)
        settings = CropSettings("square", framing.size, margin)
        return decode_crop(data, record.box_xyxy, record.fallback_boxes, settings).pixels
    pixels = decode_photo(data).pixels
    if crops:
        return frame_face(pixels, None, framing)
    found = next(iter(detect_faces(pixels)), None)
    return None if found is None else frame_face(pixels, found.box_xyxy, framing)


def _photos(data: Path, bundle: Bundle, crops: bool, tally: _Tally) -> Iterator[Face]:
    """Photos of a folder and of the folders in it, without labels."""
    framing = framing_of(bundle.document.preprocessing, str(bundle.path / BUNDLE_FILE))
    folders = [data, *sorted(p for p in data.rglob("*") if p.is_dir())]
    paths = [path for folder in folders for path in _photos_in(folder)]
    with Progress(Text("reading faces", "얼굴 읽기"), len(paths), "img") as progress:
        for path in paths:
            progress.advance()
            try:
                pixels = read_photo(path).pixels
            except MediaError:
                tally.unread.append(str(path))
                continue
            boxes = [None] if crops else [face.box_xyxy for face in detect_faces(pixels)[:1]]
            if not boxes:
                tally.faceless.append(str(path))
            for box in boxes:
                yield Face(frame_face(pixels, box, framing), None, None, str(path))


def _photos_in(folder: Path) -> Sequence[Path]:
    try:
        return list_photos(folder)
    except MediaError:  # none in it
        return ()


def _distinct(faces: Iterable[Face], tally: _Tally, data: Path) -> Iterator[Face]:
    """Every picture once, so that no copy is on both sides of a fold.

    Raises:
        InputError: There is no face at all, or one picture has two labels.
    """
    known: dict[bytes, Face] = {}
    for face in faces:
        key = hashlib.sha256(face.crop.tobytes()).digest()
        if key in known:
            if known[key].label != face.label:
                raise _two_labels(known[key], face)
            tally.doubles += 1
            continue
        known[key] = face
        yield face
    if not known:
        n, shown = len(tally.faceless), ", ".join(tally.faceless[:3])
        raise InputError(
            Text(
                f"{data}: no labelled face: {n} pictures without a face found"
                f"{f' ({shown})' if shown else ''}, {len(tally.unread)} unreadable, "
                f"{tally.unlabelled} without a label; give `crops` if they are face crops",
                f"{data}: 레이블이 있는 얼굴이 없습니다. 얼굴을 찾지 못한 사진 {n}장"
                f"{f'({shown})' if shown else ''}, 읽지 못한 파일 {len(tally.unread)}개, 레이블 "
                f"없는 사진 {tally.unlabelled}장. 얼굴만 자른 그림이라면 `crops`를 주십시오",
            )
        )


def _asked(bundle: Bundle, crops: Sequence[Pixels], batch_size: int) -> NDArray[np.float32]:
    prompts = bundle.prompt_embeddings(
        load_template_set(bundle.default_template_set), bundle.label_set
    )
    rows = []
    for start in range(0, len(crops), batch_size):
        part = crops[start : start + batch_size]
        same = len({crop.shape for crop in part}) == 1
        vectors = (
            bundle.embed_images(np.stack(part))
            if same
            else np.concatenate([bundle.embed_images(crop[None]) for crop in part])
        )
        cosines = ensemble_cosines(vectors, prompts, "mean_embedding")
        rows.append(probabilities(cosines, bundle.logit_scale, bundle.temperature))
    return np.concatenate(rows)


def _must_show_faces(crops: Sequence[Pixels], data: Path) -> list[Text]:
    """Look for faces in some crops; refuse them where there are hardly any."""
    found, looked_at = faces_found(crops)
    share = found / looked_at
    said = Text(
        f"{data}: a face is found in {found} of {looked_at} crops looked at",
        f"{data}: 살펴본 얼굴 이미지 {looked_at}장 중 {found}장에서 얼굴을 찾았습니다",
    )
    if share < FEWEST_FACES:
        raise InputError(
            Text(
                f"{said.en}: these are no face crops; leave `crops` out so that faces are searched "
                "for, or check the pictures",
                f"{said.ko}. 얼굴만 자른 그림이 아닙니다. `crops`를 빼고 얼굴을 찾게 하거나 그림을 "
                "확인하십시오",
            )
        )
    return [said] if share < _MOST_FACES else []


def _left_out(tally: _Tally) -> Iterator[Text]:
    if tally.unread:
        n, first = len(tally.unread), tally.unread[0]
        yield Text(
            f"{n} pictures are missing or unreadable and were left out (first: {first})",
            f"없거나 읽을 수 없는 사진 {n}장을 뺐습니다(첫째: {first})",
        )
    if tally.faceless:
        n, first = len(tally.faceless), tally.faceless[0]
        yield Text(
            f"no face found in {n} pictures, left out (first: {first}); give `crops` if they are "
            "face crops",
            f"얼굴을 찾지 못한 사진 {n}장을 뺐습니다(첫째: {first}). 얼굴만 자른 그림이라면 "
            "`crops`를 주십시오",
        )
    if tally.unlabelled:
        yield Text(
            f"{tally.unlabelled} pictures have no usable label and were left out",
            f"쓸 수 있는 레이블이 없는 사진 {tally.unlabelled}장을 뺐습니다",
        )
    if tally.test:
        yield Text(
            f"{tally.test} pictures of the test split were left for `evaluate`",
            f"test 분할의 사진 {tally.test}장은 `evaluate`를 위해 남겨 두었습니다",
        )
    if tally.doubles:
        yield Text(
            f"{tally.doubles} pictures are copies of others and were left out",
            f"다른 사진과 똑같은 {tally.doubles}장을 뺐습니다",
        )


def _other_classes(where: str, named: Sequence[str], classes: LabelSet) -> InputError:
    wrong = [name for name in named if name not in classes.ids] or list(named)
    names, own = ", ".join(wrong[:8]), ", ".join(classes.ids)
    return InputError(
        Text(
            f"{where}: labels of another label set ({names}); this bundle's are {own}: give "
            "labels of these, or a bundle trained for yours",
            f"{where}: 다른 레이블 집합의 레이블입니다({names}). 이 번들의 레이블은 {own}입니다. "
            "이 레이블로 주거나 그 레이블로 학습한 번들을 쓰십시오",
        )
    )


def _two_labels(one: Face, other: Face) -> InputError:
    return InputError(
        Text(
            f"{other.name}: the same picture as {one.name}, but labelled {other.label} and "
            f"{one.label}: remove one of them",
            f"{other.name}: {one.name}과(와) 같은 사진인데 레이블이 {other.label}, {one.label}로 "
            "다릅니다. 하나를 빼십시오",
        )
    )


def neutral_of_others(
    x: NDArray[np.float64], truth: NDArray[np.int64], person: NDArray[np.int64], at: int | None
) -> NDArray[np.float64]:
    """(N, K) mean of the same person's other pictures that are labelled neutral; NaN without one.

    Args:
        x: (N, K) centred log-probabilities.
        truth: (N,) classes.
        person: (N,) codes; a picture of an unknown person has a code of its own.
        at: Position of the neutral class, None without one.
    """
    found = np.full_like(x, np.nan)
    neutral = np.flatnonzero(truth == at) if at is not None else np.zeros(0, np.int64)
    rows = lists_by_key(zip(person[neutral].tolist(), neutral.tolist(), strict=True))
    for row, code in enumerate(person.tolist()):
        others = [other for other in rows.get(code, ()) if other != row]
        if others:
            found[row] = x[others].mean(axis=0)
    return found


def counts_of(truth: NDArray[np.int64], classes: LabelSet) -> dict[str, int]:
    """Label id -> images."""
    counted = Counter(truth.tolist())
    return {label: counted.get(k, 0) for k, label in enumerate(classes.ids)}
