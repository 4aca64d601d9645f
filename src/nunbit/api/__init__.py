"""The Python library: one function a verb, each naming its story.

Paths may be ``str`` or ``Path``, ``~`` is the home folder. Everything has a default; any other
setting of a story is given by its name (``nunbit.analyze("a.mp4", window_s=6.0)``), or all
together as ``settings=``. What goes wrong is a ``NunbitError``, or a ``TypeError`` where a value
is of the wrong type. Progress goes to stderr.

torch is imported by ``train`` alone, by ``align`` where there are windows enough for it, and by
``study`` once its transformer has something to learn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nunbit.api.loaded import Model, Prompts, load
from nunbit.api.outcomes import (
    AlignResult,
    PrepareResult,
    SearchResult,
    TrainResult,
    place_results,
)
from nunbit.core.messages import InputError, Lang, MissingExtra, SettingsError, Text
from nunbit.model.bundle import find_bundle
from nunbit.pictures.given import Pictures
from nunbit.runtime.config import settings_from
from nunbit.runtime.progress import in_language, spoken_lang
from nunbit.runtime.results import PathLike, as_path, as_paths
from nunbit.stories.predict.result import PredictResult

if TYPE_CHECKING:
    from nunbit.live import Event, LiveSession
    from nunbit.runtime.results import EvalResult
    from nunbit.stories.adapt import AdaptResult
    from nunbit.stories.timelines import SessionsResult, TimelineResult

Paths = PathLike | Iterable[PathLike]
ModelLike = Model | PathLike


def predict(
    images: Pictures,
    prompts: Prompts | None = None,
    crops: bool = False,
    neutral: Pictures | None = None,
    *,
    model: ModelLike | None = None,
    **settings: Any,
) -> PredictResult:
    """Find the faces in pictures and estimate their apparent expression.

    ``nunbit.load(model).predict(…)``; see :meth:`nunbit.Model.predict`.

    Example:
        >>> result = nunbit.predict("photo.jpg", prompts=["환하게 웃는 얼굴", "침울한 얼굴"])
        >>> result[0].faces[0].label
    """
    asked = load(model, threads=settings.pop("threads", None))
    return asked.predict(images, prompts, crops, neutral, **settings)


@in_language
def analyze(
    media: Paths | None = None,
    out: PathLike | None = None,
    *,
    people: PathLike | None = None,
    model: ModelLike | None = None,
    lang: Lang | None = None,
    **settings: Any,
) -> TimelineResult | SessionsResult:
    """Bring face, voice and words of recordings onto one clock.

    Args:
        media: A recording, or several, or folders of them; None where ``people`` names them.
        people: Table of recordings with the column ``file``, and ``person``, ``session``,
            ``group``, ``baseline``, ``transcript``, ``speakers`` as wanted (``docs/tables.md``).
        out: Gets a folder a recording, for good; what is done there is not done again. None
            takes a temporary folder that lives as long as the result (``result.save(…)`` keeps
            it).
        model: A model, its folder or a shipped name; None takes the shipped one.
        lang: Language of the report and of progress; None keeps the one before, English at first.
        settings: Any of ``AnalyzeSettings`` by name, such as ``transcript`` or ``baseline``
            (``"0-75"`` or ``(0, 75)``, seconds).

    Returns:
        The timeline of one recording; for several (a list, or a folder) all of them, with the
        reason for each that could not be analysed.

    Raises:
        InputError: No recording could be used.
        MissingExtra: The extra ``media`` is not installed.
    """
    from nunbit.stories.analyze import analyze as run_analysis
    from nunbit.stories.analyze.job import AnalyzeSettings
    from nunbit.stories.timelines import SessionsResult, TimelineResult

    if media is None and people is None:
        raise InputError(
            Text(
                "give `media`, recordings or folders of them, or a table of them as `people`",
                "`media`로 녹화나 폴더를, 또는 `people`로 녹화의 표를 주십시오",
            )
        )
    paths = [] if media is None else as_paths(media, "media")
    table = None if people is None else as_path(people, "people")
    if isinstance(settings.get("baseline"), tuple | list):
        settings["baseline"] = "-".join(
            f"{edge:g}" if isinstance(edge, float) else str(edge) for edge in settings["baseline"]
        )
    made = settings_from(AnalyzeSettings, settings, "analyze")
    folder, owner = place_results(out)
    outcomes = run_analysis(paths, folder, made, bundle=_bundle(model), people=table)
    failed = {o.session: o.error.pick(spoken_lang()) for o in outcomes if o.error is not None}
    if len(failed) == len(outcomes):
        first, why = next(iter(failed.items()))
        raise InputError(
            Text(
                f"none of the {len(failed)} recordings could be analysed; {first}: {why}",
                f"녹화 {len(failed)}개를 모두 분석하지 못했습니다. {first}: {why}",
            )
        )
    done = tuple(
        TimelineResult(o.folder, o.summary, o.state, owner)
        for o in outcomes
        if o.summary is not None
    )
    one = isinstance(media, str | Path) and not paths[0].is_dir() and table is None
    return done[0] if one else SessionsResult(done, failed)


@in_language
def prepare(
    src: Paths, out: PathLike, *, lang: Lang | None = None, **settings: Any
) -> PrepareResult:
    """Turn labelled photos into a prepared data set of face crops.

    Args:
        src: The AI Hub download, a folder of class folders (or a zip of it), or a table; several
            may be given.
        out: Folder of the data set; an interrupted one goes on.
        lang: Language of progress; None keeps the one before, English at first.
        settings: Any of ``PrepareSettings`` by name, such as ``label_set`` or ``size``.

    Raises:
        InputError: There is no labelled picture, or ``out`` holds another data set.
    """
    from nunbit.stories.prepare import PrepareSettings
    from nunbit.stories.prepare import prepare as run_preparation

    made = settings_from(PrepareSettings, settings, "prepare")
    folder = as_path(out, "out")
    return PrepareResult(folder, run_preparation(as_paths(src, "src"), folder, made))


@in_language
def train(
    data: PathLike | PrepareResult,
    out: PathLike,
    *,
    recipe: str | Path = "paper",
    model: ModelLike | None = None,
    lang: Lang | None = None,
    **settings: Any,
) -> TrainResult:
    """Fine-tune both encoders on a prepared data set, or train a baseline to compare with.

    Args:
        data: From :func:`prepare`, or its folder.
        out: Folder of the run.
        recipe: ``paper``, another recipe of the package, or a TOML file.
        model: Whose embeddings the baselines ``linear`` and ``knn`` use.
        lang: Language of progress; None keeps the one before, English at first.
        settings: Any of ``TrainSettings`` by name, such as ``init`` or ``epochs``; besides
            ``resume=True`` to go on with the run in ``out``, and ``baseline`` (``linear``,
            ``knn``, ``efficientnet``, ``resnet``, ``majority``).

    Raises:
        MissingExtra: The extra ``train`` is not installed.
        TrainingError: A class or split is missing, or a run is in ``out`` already.
    """
    if find_spec("torch") is None:
        raise MissingExtra("torch", "train")
    from nunbit.training.baselines import train_baseline
    from nunbit.training.loop import train as run_training
    from nunbit.training.settings import TrainSettings, recipe_path

    resume, baseline = bool(settings.pop("resume", False)), settings.pop("baseline", None)
    source, folder = _data(data), as_path(out, "out")
    made = settings_from(TrainSettings, settings, "train", files=[recipe_path(str(recipe))])
    if baseline is None:
        document = run_training(source, folder, made, resume=resume)
    else:
        document = train_baseline(
            source, folder, baseline, made, bundle=_bundle(model), resume=resume
        )
    return TrainResult(folder, document)


@in_language
def evaluate(
    data: PathLike | PrepareResult,
    out: PathLike | None = None,
    *,
    model: ModelLike | None = None,
    lang: Lang | None = None,
    **settings: Any,
) -> EvalResult:
    """Evaluate a model zero-shot on a prepared data set.

    Args:
        data: From :func:`prepare`, or its folder; a file of predictions; or a folder of class
            folders, which is prepared in ``out/data`` and evaluated whole.
        out: Folder of the evaluation; None takes a temporary one that lives as long as the
            result.
        model: A model, its folder or a shipped name; None takes the shipped one.
        lang: Language of the report and of progress; None keeps the one before, English at first.
        settings: Any of ``EvaluateSettings`` by name, such as ``split`` or ``prompts``.

    Raises:
        InputError: The data cannot be read, or no image has a label.
        BundleError: The model does not serve the label set.
    """
    from nunbit.api.folders import prepared
    from nunbit.stories.evaluate import evaluate as run_evaluation
    from nunbit.stories.evaluate.assess import EvaluateSettings

    made = settings_from(EvaluateSettings, settings, "evaluate")
    if made.part is not None:
        raise SettingsError(
            Text(
                "`part` is for job arrays, which use the command line; leave it out",
                "`part`는 작업 배열용이며 명령줄에서 씁니다. 빼십시오",
            )
        )
    folder, owner = place_results(out)
    ready, made = prepared(_data(data), _bundle(model), folder, made)
    result = run_evaluation(ready, _bundle(model), folder, made)
    return dataclasses.replace(result, folder=folder, owner=owner)


@in_language
def adapt(
    model: ModelLike | None = None,
    data: PathLike | PrepareResult | None = None,
    out: PathLike | None = None,
    *,
    lang: Lang | None = None,
    **settings: Any,
) -> AdaptResult:
    """Fit a model to your people with a few labelled faces, and write it where that helps.

    Args:
        model: A model, its folder or a shipped name; None takes the shipped one. It is never
            changed.
        data: Labelled faces: from :func:`prepare`, class folders, or a table with ``path``,
            ``label`` and ``subject``; photos with ``unlabelled=True``.
        out: Folder of the new model; ``load`` takes it.
        lang: Language of progress; None keeps the one before, English at first.
        settings: Any of ``AdaptSettings`` by name, such as ``crops``, ``unlabelled`` or ``figure``.

    Returns:
        Scores before and after on persons left out; ``written`` says whether there is a new model.

    Raises:
        InputError: The faces do not serve (too few, one class, one person, other labels), or
            ``out`` is not given or not free.
        BundleError: The model is damaged.
    """
    from nunbit.stories.adapt import AdaptSettings
    from nunbit.stories.adapt import adapt as run_adaptation

    made = settings_from(AdaptSettings, settings, "adapt")
    if out is None:
        raise InputError(
            Text(
                "`out` is missing: the folder of the new model",
                "`out`이 없습니다. 새 모델의 폴더를 주십시오",
            )
        )
    base = model.bundle if isinstance(model, Model) else _bundle(model)
    return run_adaptation(base, None if data is None else _data(data), as_path(out, "out"), made)


@in_language
def align(
    media: Paths,
    out: PathLike,
    *,
    model: ModelLike | None = None,
    lang: Lang | None = None,
    **settings: Any,
) -> AlignResult:
    """Learn from unlabelled recordings how face, voice and words go together, and judge it.

    Args:
        media: Recordings of many people, or folders of them.
        out: Folder of the run.
        model: Whose face and text models are used; None takes the shipped one.
        lang: Language of the report and of progress; None keeps the one before, English at first.
        settings: Any of ``AlignSettings`` by name, such as ``transcript`` or ``persons``.

    Raises:
        InputError: Nothing to learn from.
        MissingExtra: The extra ``media`` is not installed, or ``train`` where it was asked for.
    """
    from nunbit.space.window_reading import AlignSettings
    from nunbit.stories.align import align as run_alignment

    made = settings_from(AlignSettings, settings, "align")
    contrastive = None
    if made.method != "cca" and find_spec("torch") is not None:

        def contrastive(*given: Any) -> Any:
            # torch takes seconds to load: only once there are windows enough for it.
            from nunbit.training.losses import fit_infonce

            return fit_infonce(*given)

    folder = as_path(out, "out")
    document = run_alignment(
        as_paths(media, "media"), folder, made, bundle=_bundle(model), contrastive=contrastive
    )
    return AlignResult(folder, document)


def search(
    timelines: Paths | TimelineResult | SessionsResult,
    text: str,
    *,
    model: ModelLike | AlignResult,
    **settings: Any,
) -> SearchResult:
    """Find the windows of analysed recordings that are nearest to a sentence.

    Args:
        timelines: Folders that :func:`analyze` wrote with an aligned model, or its results.
        text: The query sentence.
        model: The aligned model: from :func:`align`, or its bundle's folder.
        settings: Any of ``SearchSettings`` by name, such as ``top`` or ``modality``.

    Raises:
        InputError: The text is empty, or nothing was analysed with an aligned model.
        BundleError: The model is not aligned, or not the one that made the timelines.
    """
    from nunbit.stories.search import SearchSettings, load_index, search_notices
    from nunbit.stories.search import search as run_search
    from nunbit.stories.timelines import SessionsResult, TimelineResult

    made = settings_from(SearchSettings, settings, "search")
    if isinstance(timelines, TimelineResult):
        folders = [timelines.folder]
    elif isinstance(timelines, SessionsResult):
        folders = [timeline.folder for timeline in timelines]
    else:
        folders = as_paths(timelines, "timelines")
    if not isinstance(text, str):
        raise TypeError(f"text: expected a sentence, got {type(text).__name__}")
    bundle = load(model.bundle if isinstance(model, AlignResult) else model).bundle
    hits = run_search(load_index(folders), bundle, text, made)
    return SearchResult(text, hits, tuple(search_notices(bundle, made.modality)))


def start_live(
    emit: Callable[[Event], None] | None = None,
    out: PathLike | None = None,
    *,
    model: ModelLike | None = None,
    keep_media: bool = False,
    **settings: Any,
) -> LiveSession:
    """Start a live session: push frames and sound, get events, :meth:`LiveSession.stop` it.

    Args:
        emit: Called with every event (``nunbit.live.events``), from any thread.
        out: Gets the session's tables when it stops, as :func:`analyze` writes them; None keeps
            nothing.
        model: As for :func:`analyze`.
        keep_media: Keep pictures and sound in ``out`` as ``session.mkv``. Ask everybody first.
        settings: Any of ``LiveSettings`` by name, such as ``sound=False`` or ``rate_hz``.

    Raises:
        MissingExtra: The extra ``media`` is not installed.
    """
    from nunbit.live import LiveSession, LiveSettings
    from nunbit.stories.analyze.live_end import finish_live

    if emit is not None and not callable(emit):
        raise TypeError(f"emit: expected a function of an event, got {type(emit).__name__}")
    made = settings_from(LiveSettings, settings, "start_live")
    folder = None if out is None else as_path(out, "out")
    bundle = load(model, threads=made.threads).bundle
    return LiveSession(bundle, made, folder, keep_media, emit, finish_live if folder else None)


def _bundle(model: ModelLike | None) -> Path | None:
    """The folder of a model that is given."""
    if isinstance(model, Model):
        return model.path
    return None if model is None else find_bundle(as_path(model, "model"))


def _data(data: PathLike | PrepareResult) -> Path:
    return data.folder if isinstance(data, PrepareResult) else as_path(data, "data")
