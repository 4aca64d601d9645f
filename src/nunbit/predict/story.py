"""Run ``nunbit predict``: read photos, find faces, embed them in batches, compare, draw.

One unreadable photo never stops the others. Photos are not kept: only the crops of the faces that
wait for their batch are in memory, and nothing but an annotated copy that was asked for is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.annotate import FORMATS, Mark, draw_marks, write_picture
from nunbit.config import settings_to_dict
from nunbit.encoders import BUNDLE_FILE, Bundle, load_bundle
from nunbit.errors import InputError, Lang, MediaError, MissingExtra
from nunbit.faces import DetectorSettings, Framing, detect_faces, frame_face, framing_of
from nunbit.photos import Photo, PhotoError, list_photos, read_photo
from nunbit.predict.result import FaceAnswer, FileAnswer, PredictResult
from nunbit.predict.settings import PredictSettings
from nunbit.predict.shipped import default_bundle_path
from nunbit.predict.texts import Texts, embed_all_texts
from nunbit.progress import Progress, say
from nunbit.provenance import provenance
from nunbit.reading import ReadingNote
from nunbit.recordings import MEDIA_SUFFIXES
from nunbit.schema import Box
from nunbit.zeroshot import combine_cosines, normalise, probabilities, prompt_cosines

_PROGRESS_FROM = 10  # a few photos are done before a bar could be read

STATEMENT = {
    "en": "Apparent expression, what a face looks like to a viewer; not a diagnosis.",
    "ko": "겉으로 드러난 표정의 추정이며 진단이 아닙니다.",
}
"""Stands under every result; ``statement`` in ``bundle.json`` (``en``, ``ko``) takes its place."""


@dataclass(frozen=True, slots=True, eq=False)
class _Region:
    """A face that waits for its batch."""

    box: Box | None
    score: float | None
    size_px: float
    crop: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    """A photo whose faces wait; ``pixels`` only where a copy will be drawn."""

    answer: FileAnswer
    regions: tuple[_Region, ...]
    pixels: NDArray[np.uint8] | None
    target: Path | None


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    bundle: Bundle
    texts: Texts
    framing: Framing
    settings: PredictSettings
    lang: Lang
    statement: dict[str, str]


def predict(
    files: Sequence[Path],
    settings: PredictSettings,
    *,
    bundle: Path | None = None,
    annotate: Path | None = None,
    lang: Lang = "en",
) -> PredictResult:
    """Find the faces in photos and compare each with prompts and sentences.

    Args:
        files: Photos, or folders whose photos (not those of folders inside) are taken.
        settings: What to compare with and how.
        bundle: Bundle folder; None takes the shipped one.
        annotate: Where annotated copies go: a file for one photo, else a folder.
        lang: Language of drawn labels and of progress.

    Raises:
        BundleError: The bundle is missing, damaged or does not serve the prompts.
        InputError: No file given, the annotated copy would overwrite a photo or cannot be
            written, or prompts cannot be read.
        MissingExtra: The detector or the font for annotated copies is not installed.
    """
    if not files:
        raise InputError(en="no photo given", ko="사진을 하나 이상 주십시오")
    loaded = load_bundle(bundle or default_bundle_path(), threads=settings.threads)
    model = _Model(
        bundle=loaded,
        texts=embed_all_texts(loaded, settings),
        framing=framing_of(
            loaded.document.get("preprocessing") or {}, str(loaded.path / BUNDLE_FILE)
        ),
        settings=settings,
        lang=lang,
        statement=STATEMENT | (loaded.document.get("statement") or {}),
    )
    reading: list[ReadingNote] = []
    listed = list(_listed(files, reading))
    for note in reading:
        say(note.text(lang))
    paths = [item for item in listed if isinstance(item, Path)]
    targets = annotation_targets(paths, annotate) if annotate is not None else {}
    answers: list[FileAnswer] = []
    pending: list[_Pending] = []
    with _progress(len(listed), lang) as progress:
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


def annotation_targets(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Where the annotated copy of each photo goes.

    One photo and an ``out`` that ends like a picture: that file. Else ``out`` is a folder that
    gets ``<name>.annotated.jpg``, numbered where two photos have the same name.

    Raises:
        InputError: A copy would overwrite one of the photos.
    """
    if len(paths) == 1 and out.suffix.lower() in FORMATS and not out.is_dir():
        targets = {paths[0]: out}
    else:
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
                en=f"{target}: --annotate would overwrite this photo; choose another place",
                ko=f"{target}: --annotate가 이 사진을 덮어쓰게 됩니다. 다른 곳을 고르십시오",
            )
    return targets


def _listed(files: Sequence[Path], reading: list[ReadingNote]) -> Iterator[Path | FileAnswer]:
    """Every photo once, in order; an argument that names none becomes an answer that says so."""
    seen = set()
    for argument in files:
        try:
            found = list_photos(argument, reading)
        except PhotoError as exc:
            yield FileAnswer(str(argument), "error", reason=exc.reason, error=exc)
            continue
        for path in found:
            if path not in seen:
                seen.add(path)
                yield path


def _looked_at(item: Path | FileAnswer, model: _Model, targets: Mapping[Path, Path]) -> _Pending:
    if isinstance(item, FileAnswer):
        return _Pending(item, (), None, None)
    try:
        photo = read_photo(item)
    except (MediaError, MissingExtra) as exc:
        reason = exc.reason if isinstance(exc, PhotoError) else "missing_extra"
        if reason == "not_an_image" and item.suffix.lower() in MEDIA_SUFFIXES:
            exc = _recording(item)
        return _Pending(FileAnswer(str(item), "error", reason=reason, error=exc), (), None, None)
    regions = tuple(_regions(photo, model))
    answer = FileAnswer(
        file=str(item),
        state="ok" if regions else "no_face",
        size=photo.size,
        orientation=photo.orientation,
        notes=photo.notes,
        sha256=photo.sha256,
    )
    target = targets.get(item)
    return _Pending(answer, regions, photo.pixels if target else None, target)


def _recording(path: Path) -> PhotoError:
    return PhotoError(
        "not_an_image",
        en=f"{path}: a recording, not a photo; `nunbit analyze {path.name} --out OUT` reads it",
        ko=f"{path}: 사진이 아니라 녹화입니다. `nunbit analyze {path.name} --out OUT`으로 "
        "읽으십시오",
    )


def _regions(photo: Photo, model: _Model) -> Iterator[_Region]:
    if model.settings.crops:
        crop = frame_face(photo.pixels, None, model.framing)
        yield _Region(None, None, float(max(photo.size)), crop)
        return
    detector = DetectorSettings(model.settings.sizes_px, model.settings.min_score)
    across, down = photo.scale
    for face in detect_faces(photo.pixels, detector):
        x0, y0, x1, y1 = face.box_xyxy
        box = (x0 * across, y0 * down, x1 * across, y1 * down)
        size_px = max(box[2] - box[0], box[3] - box[1])
        yield _Region(
            box, face.score, size_px, frame_face(photo.pixels, face.box_xyxy, model.framing)
        )


def _answered(pending: Sequence[_Pending], model: _Model) -> list[FileAnswer]:
    regions = [region for p in pending for region in p.regions]
    faces = iter(_compared(regions, model))
    answers = []
    for p in pending:
        answer = replace(p.answer, faces=tuple(next(faces) for _ in p.regions))
        if p.target is not None and p.pixels is not None:
            _annotated(p.pixels, answer, p.target, model)
            answer = replace(answer, annotated=str(p.target))
        answers.append(answer)
    return answers


def _compared(regions: Sequence[_Region], model: _Model) -> list[FaceAnswer]:
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
    chances = probabilities(per_class, bundle.logit_scale, bundle.temperature)
    open_set = np.clip(normalise(vectors) @ texts.sentence_vectors.T, -1.0, 1.0)  # (N, M)
    shares = None
    if len(texts.sentences) > 1:  # among one sentence everything would be certain
        shares = probabilities(open_set, bundle.logit_scale, bundle.temperature)
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
        )
        for n, region in enumerate(regions)
    ]


def _annotated(pixels: NDArray[np.uint8], answer: FileAnswer, target: Path, model: _Model) -> None:
    height, width = pixels.shape[:2]
    full_width, full_height = answer.size or (width, height)
    across, down = width / full_width, height / full_height
    marks = []
    for number, face in enumerate(answer.faces, start=1):
        best = int(face.probabilities.argmax())
        label = model.texts.label_set.labels[best]
        box = face.box_xyxy
        if box is not None:
            box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        text = f"{number} {label.name(model.lang)} {face.probabilities[best]:.2f}"
        marks.append(Mark(box, text, label.valence))
    write_picture(draw_marks(pixels, marks, model.statement[model.lang]), target)


def _result(answers: Sequence[FileAnswer], model: _Model) -> PredictResult:
    texts = model.texts
    return PredictResult(
        label_set=texts.label_set,
        template_set=texts.templates.name,
        prompts=dict(zip(texts.templates.ids, texts.prompts, strict=True)),
        ensemble=model.settings.ensemble,
        sentences=texts.sentences,
        files=tuple(answers),
        bundle_name=str(model.bundle.document.get("name", model.bundle.path.name)),
        bundle_hash=model.bundle.hash,
        statement=model.statement,
        provenance=_provenance(answers, model),
    )


def _provenance(answers: Sequence[FileAnswer], model: _Model) -> dict[str, Any]:
    inputs = {"bundle": model.bundle.hash}
    inputs |= {f"file {n}": a.sha256 for n, a in enumerate(answers, start=1) if a.sha256}
    return provenance("predict", settings_to_dict(model.settings), inputs=inputs)


def _progress(total: int, lang: Lang) -> AbstractContextManager[Progress | None]:
    if total < _PROGRESS_FROM:
        return nullcontext()
    title = "표정 추정" if lang == "ko" else "predict"
    return Progress(title, total, "img", lang=lang)
