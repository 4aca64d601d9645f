"""``nunbit.study``: labels of a group held against measures and controls."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from nunbit.api.loaded import Model
from nunbit.api.outcomes import StudyResult, place_results
from nunbit.core.messages import Lang
from nunbit.runtime.config import settings_from
from nunbit.runtime.progress import in_language
from nunbit.runtime.results import PathLike, as_path, as_paths

if TYPE_CHECKING:
    from nunbit.stories.timelines import SessionsResult

Paths = PathLike | Iterable[PathLike]
ModelLike = Model | PathLike


@in_language
def study(
    timelines: Paths | SessionsResult,
    labels: PathLike,
    out: PathLike | None = None,
    *,
    lang: Lang | None = None,
    **settings: Any,
) -> StudyResult:
    """Ask whether measures of participants say more about labels than the controls do.

    Args:
        timelines: The ``out`` of :func:`analyze`, single sessions, or what it returned.
        labels: A CSV or Parquet table: an outcome a person or session, or a label a stretch of
            time (``session``, ``t_start``, ``t_end``, ``label``).
        out: Folder of the study, for good; an interrupted one goes on. None takes a temporary one
            that lives as long as the result.
        lang: Language of the report and of progress; None keeps the one before, English at first.
        settings: Any of ``StudySettings`` by name, such as ``outcome`` or ``covariates``.

    Returns:
        Scores of models and controls and the verdict; nothing about a single person.

    Raises:
        InputError: Timelines or labels cannot be used, or ``out`` holds another study.
        SettingsError: A column was named that the labels do not have.
    """
    from nunbit.stories.study import study as run_study
    from nunbit.stories.study.study_plan import StudySettings
    from nunbit.stories.timelines import SessionsResult

    made = settings_from(StudySettings, settings, "study")
    if isinstance(timelines, SessionsResult):
        folders = [timeline.folder for timeline in timelines]
    else:
        folders = as_paths(timelines, "timelines")
    cross_modal = None
    if made.transformer and find_spec("torch") is not None:

        def cross_modal(task: Any) -> Any:
            # torch takes seconds to load: only once there is something to learn.
            from nunbit.training.cross_modal import cross_modal_chances

            return cross_modal_chances(task)

    folder, owner = place_results(out)
    found = run_study(folders, as_path(labels, "labels"), folder, made, cross_modal=cross_modal)
    return StudyResult(folder, found.document, owner)
