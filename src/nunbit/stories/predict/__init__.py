"""Run ``nunbit predict``: read photos, find faces, embed them in batches, compare, draw.

An unreadable photo does not stop the others. Photos are not kept: only crops that wait for their
batch are in memory, and only requested annotated copies are written.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nunbit.core.messages import LANGS, InputError, MediaError, MissingExtra, Text, text_of
from nunbit.core.schema import Box, ReadingNote
from nunbit.language.labels import LabelSet
from nunbit.model.bundle import BUNDLE_FILE, find_bundle
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.posterior import Posterior, neutral_face
from nunbit.model.zeroshot import combine_cosines, normalise, probabilities, prompt_cosines
from nunbit.pictures.crops import FORMATS, Mark, draw_marks, write_picture
from nunbit.pictures.faces import DetectorSettings, Framing, detect_faces, frame_face, framing_of
from nunbit.pictures.given import GivenPicture, require_crop
from nunbit.pictures.photos import Photo, PhotoError, list_photos, read_photo
from nunbit.recording.paths import MEDIA_SUFFIXES
from nunbit.report.timeline_meaning import class_colours
from nunbit.runtime.config import settings_to_dict
from nunbit.runtime.progress import Progress, say, spoken_lang
from nunbit.runtime.resources import provenance
from nunbit.stories.predict.neutral import OwnNeutral, read_neutral
from nunbit.stories.predict.result import FaceAnswer, FileAnswer, PredictResult
from nunbit.stories.predict.texts import FaceTexts, PredictSettings, embed_all_texts

_PROGRESS_FROM = 10  # a few photos are done before a bar could be read
_SHOWN_PX = 72  # a face in a notebook: two to three kilobytes

STATEMENT = Text(
    "Apparent expression, what a face looks like to a viewer; not a diagnosis.",
    "겉으로 드러난 표정의 추정이며 진단이 아닙니다.",
)
"""Printed under every result, unless ``bundle.json`` has a ``statement`` (``en``, ``ko``)."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A face that waits for its batch."""

    box: Box | None
    score: float | None
    size_px: float
    crop: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    """A photo whose faces wait; has ``pixels`` only if a copy will be drawn."""

    answer: FileAnswer
    regions: tuple[Region, ...]
    pixels: NDArray[np.uint8] | None
    target: Path | None


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    bundle: Bundle
    texts: FaceTexts
    framing: Framing
    settings: PredictSettings
    statement: Text
    show: bool
    posterior: Posterior
    own_neutral: OwnNeutral | None


def predict(
    files: Sequence[Path | GivenPicture],
    settings: PredictSettings,
    *,
    bundle: Bundle | Path | str | None = None,
    annotate: Path | None = None,
    show: bool = False,
    neutral: Sequence[Path | GivenPicture] = (),
) -> PredictResult:
    """Find the faces in photos and compare each with prompts and sentences.

    Args:
        files: Photos, folders whose photos (not those of folders inside) are taken, or pictures in
            memory.
        settings: What to compare with and how.
        bundle: A loaded bundle, its folder or a shipped name; None takes the shipped one.
        annotate: Where annotated copies go: a file for one photo, else a folder.
        show: Keep a small picture of every face for a notebook, and refuse pictures that are no
            crops where ``settings.crops`` says that they are.
        neutral: Pictures of the person's own face at rest, one person for all ``files``; the
            probabilities are then relative to it. The largest face of each counts.

    Raises:
        BundleError: The bundle is missing, damaged or does not serve the prompts.
        InputError: No file given, the annotated copy would overwrite a photo or cannot be
            written, prompts cannot be read, or a neutral picture shows no neutral face.
        MissingExtra: The detector or the font for annotated copies is not installed.
    """
    if not files:
        raise InputError(Text("no photo given", "사진을 하나 이상 주십시오"))
    loaded = (
        bundle
        if isinstance(bundle, Bundle)
        else load_bundle(find_bundle(bundle), threads=settings.threads)
    )
    texts = embed_all_texts(loaded, settings)
    posterior = Posterior.of(loaded, label_set=texts.label_set, prior=settings.prior)
    model = _Model(
        bundle=loaded,
        texts=texts,
        framing=framing_of_bundle(loaded),
        settings=settings,
        statement=text_of(STATEMENT.to_dict() | (loaded.document.statement or {})),
        show=show,
        posterior=posterior,
        own_neutral=None,
    )
    if neutral:
        model = replace(model, own_neutral=_own_neutral(neutral, model))
    reading: list[ReadingNote] = []
    listed = list(_listed(files, reading))
    for note in reading:
        say(note.text)
    paths = [item for item in listed if isinstance(item, Path)]
    targets = annotation_targets(paths, annotate) if annotate is not None else {}
    answers: list[FileAnswer] = []
    pending: list[_Pending] = []
    with _progress(len(listed)) as progress:
        for item in listed:
            pending.append(_looked_at(item, model, targets))
            waiting = sum(len(p.regions) for p in pending)
            if waiting >= settings.batch_size or pending[-1].target is not None:
                answers += _answered(pending, model)
                pending = []
            if progress is not None:
                progress.advance()
        answers += _answered(pending, model)
    return replace(_result(answers, model), reading=tuple(reading))


def _own_neutral(files: Sequence[Path | GivenPicture], model: _Model) -> OwnNeutral:
    def cut(photo: Photo) -> NDArray[np.uint8] | None:
        found = next(regions_of(photo, model.settings, model.framing), None)
        return None if found is None else found.crop

    return read_neutral(files, model.bundle, model.texts, model.posterior, cut, model.settings)


def framing_of_bundle(bundle: Bundle) -> Framing:
    """How the bundle wants faces cut out."""
    return framing_of(bundle.document.preprocessing, str(bundle.path / BUNDLE_FILE))


def annotation_targets(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Where the annotated copy of each photo goes.

    One photo and an ``out`` that ends like a picture: that file. Else ``out`` is a folder that
    gets ``<name>.annotated.jpg``, numbered where two photos have the same name.

    Raises:
        InputError: A copy would overwrite one of the photos, or ``out`` is one file for several.
    """
    if len(paths) == 1 and out.suffix.lower() in FORMATS and not out.is_dir():
        targets = {paths[0]: out}
    else:
        if out.suffix.lower() in FORMATS and not out.is_dir():
            raise InputError(
                Text(
                    f"{out}: `annotate` names a picture, but there are {len(paths)} photos; give a "
                    "folder",
                    f"{out}: `annotate`가 그림 파일 이름인데 사진이 {len(paths)}장입니다. 폴더를 "
                    "주십시오",
                )
            )
        targets, taken = {}, set()
        for path in paths:
            name, number = f"{path.stem}.annotated.jpg", 2
            while name.casefold() in taken:
                name, number = f"{path.stem}.annotated-{number}.jpg", number + 1
            taken.add(name.casefold())
            targets[path] = out / name
    photos = {path.resolve() for path in paths}
    for target in targets.values():
        if target.resolve() in photos:
            raise InputError(
                Text(
                    f"{target}: `annotate` would overwrite this photo; choose another place",
                    f"{target}: `annotate`가 이 사진을 덮어쓰게 됩니다. 다른 곳을 고르십시오",
                )
            )
    return targets


def _listed(
    files: Sequence[Path | GivenPicture], reading: list[ReadingNote]
) -> Iterator[Path | GivenPicture | FileAnswer]:
    """Every photo once, in order; an argument without photos becomes a result with the reason."""
    seen = set()
    for argument in files:
        if isinstance(argument, GivenPicture):
            yield argument
            continue
        try:
            found = list_photos(argument, reading)
        except PhotoError as exc:
            yield FileAnswer(str(argument), "error", reason=exc.reason, error=exc)
            continue
        for path in found:
            if path not in seen:
                seen.add(path)
                yield path


def _looked_at(
    item: Path | GivenPicture | FileAnswer, model: _Model, targets: Mapping[Path, Path]
) -> _Pending:
    if isinstance(item, FileAnswer):
        return _Pending(item, (), None, None)
    name = item.name if isinstance(item, GivenPicture) else str(item)
    try:
        photo = item.photo() if isinstance(item, GivenPicture) else read_photo(item)
    except (MediaError, MissingExtra) as exc:
        reason = exc.reason if isinstance(exc, PhotoError) else "missing_extra"
        if reason == "not_an_image" and Path(name).suffix.lower() in MEDIA_SUFFIXES:
            exc = _recording(Path(name))
        return _Pending(FileAnswer(name, "error", reason=reason, error=exc), (), None, None)
    if model.show and model.settings.crops:
        require_crop(photo.pixels, name)
    regions = tuple(regions_of(photo, model.settings, model.framing))
    answer = FileAnswer(
        file=name,
        state="ok" if regions else "no_face",
        size=photo.size,
        orientation=photo.orientation,
        notes=photo.notes,
        sha256=photo.sha256,
    )
    target = targets.get(item) if isinstance(item, Path) else None
    return _Pending(answer, regions, photo.pixels if target else None, target)


def _recording(path: Path) -> PhotoError:
    return PhotoError(
        Text(
            f"{path}: a recording, not a photo; `analyze` reads recordings",
            f"{path}: 사진이 아니라 녹화입니다. 녹화는 `analyze`가 읽습니다",
        ),
        "not_an_image",
    )


def regions_of(photo: Photo, settings: PredictSettings, framing: Framing) -> Iterator[Region]:
    """The faces of a photo as the model's crops, the largest first; the whole of a crop."""
    if settings.crops:
        crop = frame_face(photo.pixels, None, framing)
        yield Region(None, None, float(max(photo.size)), crop)
        return
    across, down = photo.scale
    for face in detect_faces(photo.pixels, DetectorSettings(settings.sizes_px, settings.min_score)):
        x0, y0, x1, y1 = face.box_xyxy
        box = (x0 * across, y0 * down, x1 * across, y1 * down)
        size_px = max(box[2] - box[0], box[3] - box[1])
        crop = frame_face(photo.pixels, face.box_xyxy, framing)
        yield Region(box, face.score, size_px, crop)


def _answered(pending: Sequence[_Pending], model: _Model) -> list[FileAnswer]:
    faces = iter(_compared([region for p in pending for region in p.regions], model))
    answers = []
    for p in pending:
        answer = replace(p.answer, faces=tuple(next(faces) for _ in p.regions))
        if p.target is not None and p.pixels is not None:
            _annotated(p.pixels, answer, p.target, model)
            answer = replace(answer, annotated=str(p.target))
        answers.append(answer)
    return answers


def _compared(regions: Sequence[Region], model: _Model) -> list[FaceAnswer]:
    """Embed N crops and compare them with all T × K prompts and M sentences."""
    if not regions:
        return []
    bundle, texts, settings = model.bundle, model.texts, model.settings
    batch = settings.batch_size
    vectors = np.concatenate(
        [
            bundle.embed_images(np.stack([r.crop for r in regions[i : i + batch]]))
            for i in range(0, len(regions), batch)
        ]
    )  # (N, D)
    per_prompt = prompt_cosines(vectors, texts.prompt_vectors)  # (N, T, K)
    per_class = combine_cosines(per_prompt, texts.prompt_vectors, settings.ensemble)  # (N, K)
    raw = probabilities(per_class, bundle.logit_scale, bundle.temperature)
    own = None if model.own_neutral is None else neutral_face(model.own_neutral.raw)
    chances = model.posterior.probabilities(raw, own)
    open_set = np.clip(normalise(vectors) @ texts.sentence_vectors.T, -1.0, 1.0)  # (N, M)
    several = len(texts.sentences) > 1  # the probability of a single sentence would always be 1
    shares = probabilities(open_set, bundle.logit_scale, bundle.temperature) if several else None
    return [
        FaceAnswer(
            box_xyxy=region.box,
            detection_score=region.score,
            size_px=region.size_px,
            tiny=region.size_px < settings.tiny_px,
            probabilities=chances[n],
            cosines=per_class[n],
            prompt_cosines=per_prompt[n],
            sentence_cosines=open_set[n],
            sentence_probabilities=None if shares is None else shares[n],
            labels=texts.label_set.ids,
            picture=_small_jpeg(region.crop) if model.show else b"",
        )
        for n, region in enumerate(regions)
    ]


def _small_jpeg(crop: NDArray[np.uint8]) -> bytes:
    image, stream = Image.fromarray(crop), io.BytesIO()
    image.thumbnail((_SHOWN_PX, _SHOWN_PX))
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _annotated(pixels: NDArray[np.uint8], answer: FileAnswer, target: Path, model: _Model) -> None:
    height, width = pixels.shape[:2]
    full_width, full_height = answer.size or (width, height)
    across, down = width / full_width, height / full_height
    marks, colours = [], class_colours(model.texts.label_set)
    for number, face in enumerate(answer.faces, start=1):
        best = int(face.probabilities.argmax())
        label = model.texts.label_set.labels[best]
        box = face.box_xyxy
        if box is not None:
            box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        text = f"{number} {label.name.pick(spoken_lang())} {face.probabilities[best]:.2f}"
        marks.append(Mark(box, text, label.valence, colours[label.id][0]))
    write_picture(draw_marks(pixels, marks, model.statement.pick(spoken_lang())), target)


def _result(answers: Sequence[FileAnswer], model: _Model) -> PredictResult:
    texts = model.texts
    inputs = {
        "bundle": model.bundle.hash,
        **{f"file {n}": a.sha256 for n, a in enumerate(answers, start=1) if a.sha256},
    }
    if model.own_neutral is not None:
        given = enumerate(model.own_neutral.sha256, start=1)
        inputs |= {f"neutral {n}": digest for n, digest in given if digest}
    return PredictResult(
        label_set=texts.label_set,
        template_set=texts.templates.name,
        prompts=dict(zip(texts.templates.ids, texts.prompts, strict=True)),
        ensemble=model.settings.ensemble,
        sentences=texts.sentences,
        files=tuple(answers),
        bundle_name=model.bundle.document.name,
        bundle_hash=model.bundle.hash,
        statement=model.statement,
        provenance=provenance("predict", settings_to_dict(model.settings), inputs=inputs),
        posterior=model.posterior.to_dict(relative=model.own_neutral is not None),
        notices=(
            *model.posterior.notes,
            *_by_prompt_only(model.bundle, texts.label_set),
            *(() if model.own_neutral is None else model.own_neutral.notices),
        ),
    )


def _by_prompt_only(bundle: Bundle, label_set: LabelSet) -> tuple[Text, ...]:
    """What to say of classes that the model never learned from faces."""
    known = {label.id for label in bundle.label_set.labels}
    names = [label.name for label in label_set.labels if label.id not in known]
    if not names:
        return ()
    en, ko = (", ".join(name.pick(lang) for name in names) for lang in LANGS)
    return (
        Text(
            f"{en}: not among the classes this model learned; it knows them by their prompt only, "
            "and such classes are barely found (docs/results.md, unseen classes by prompt)",
            f"{ko}: 이 모델이 배우지 않은 클래스입니다. 프롬프트로만 알며, 그런 클래스는 거의 찾지 "
            "못합니다(docs/results.md, 학습하지 않은 클래스)",
        ),
    )


def _progress(total: int) -> AbstractContextManager[Progress | None]:
    if total < _PROGRESS_FROM:
        return nullcontext()
    return Progress(Text("predict", "표정 추정"), total, "img")
