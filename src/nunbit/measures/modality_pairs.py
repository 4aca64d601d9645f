"""What two modalities of one person have to do with each other: coupling and disagreement.

Coupling: do face and voice rise and fall together, more than chance would have it? Windowed
cross-correlation of apparent expressivity with the level of speech, compared with the same
recording shifted in time against itself: so neither the person nor slow signals can look like
coupling.

Disagreement: how far two modalities differ in apparent valence, held against the person's usual. A
model that reads every face as a little sad differs from the other models all the time: that is a
bias, not disagreement. So the usual difference, the median over the person's windows, is subtracted
first, and with it every constant bias. A difference that lasts longer than half of the recording
counts as usual. Modalities with an experimental model take no part. Knows nothing of files or
models. N samples at 10 Hz, S spans, W windows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from nunbit.core.spans import Spans, lengths, rows_in, sum_rows, union_s
from nunbit.core.streams import Flags, Floats, Ints, Modality, Singles
from nunbit.core.timebase import SAME_SUM_S, nearest_within, sample_grid
from nunbit.measures.definitions import Roles
from nunbit.measures.estimate import CODE, Codes, Estimate, first_reason, missing
from nunbit.measures.face_measures import FaceSamples, readable
from nunbit.measures.voice_measures import VoiceSamples
from nunbit.statistics.scores import ratio

PAIRS: tuple[tuple[Modality, Modality], ...] = (
    ("face", "voice"),
    ("face", "text"),
    ("voice", "text"),
)
"""Modalities that may contradict each other."""

# -- coupling --------------------------------------------------------------------------------------

RATE_HZ = 10.0
WINDOW_S, HOP_S = 10.0, 5.0
LAG_S, LAG_STEP_S = 2.0, 1.0  # more lags find more chance than coupling
SHIFTS = 100
SHORTEST_SHIFT_S = 30.0
MIN_S = 180.0
MIN_WINDOWS = 6
MIN_FACE, MIN_SPEECH = 0.5, 0.3
"""Shares of a window in which the face is readable and the person speaks."""


@dataclass(frozen=True, slots=True)
class Coupling:
    """Strength of the coupling of two series.

    Attributes:
        z: Standard deviations above the circular shifts; NaN where it cannot be told.
        peak: Mean over the windows of the highest correlation at any lag.
        n_windows: Windows that were used.
    """

    z: float
    peak: float
    n_windows: int


def couple(x: Floats, y: Floats, *, seed: int, n_shifts: int = SHIFTS) -> Coupling:
    """Windowed cross-correlation of two series against circular shifts of one of them.

    In each 10 s window, every 5 s, the highest correlation at lags of -2, -1, 0, 1 and 2 s is
    taken; their mean is compared with its mean and spread over shifts of 30 s and more. Missing
    samples add nothing to a correlation, as if they lay at their window's mean.

    Args:
        x: (N,) at 10 Hz, NaN where missing.
        y: (N,) likewise; this one is shifted.
        seed: Of the shifts.
        n_shifts: How many, 100 or more for a z that can be trusted.
    """
    n, width = len(x), round(WINDOW_S * RATE_HZ)
    least = round(SHORTEST_SHIFT_S * RATE_HZ)
    if n < 2 * least + width:
        return Coupling(np.nan, np.nan, 0)
    windows = _windows(x, width, round(HOP_S * RATE_HZ))
    shifts = np.random.default_rng(seed).integers(least, n - least + 1, n_shifts)
    true, used = _mean_peak(windows, y, width)
    if used < MIN_WINDOWS:
        return Coupling(np.nan, np.nan, used)
    chance = np.array([_mean_peak(windows, np.roll(y, s), width)[0] for s in shifts])
    chance = chance[np.isfinite(chance)]
    spread = float(chance.std()) if len(chance) > 1 else 0.0
    z = (true - float(chance.mean())) / spread if spread > 0 else np.nan
    return Coupling(z, true, used)


def _windows(x: Floats, width: int, hop: int) -> tuple[Singles, Ints]:
    """Windows of x as unit vectors (W, width), zero where missing, and where they begin."""
    starts = np.arange(0, len(x) - width + 1, hop)
    rows = sliding_window_view(x, width)[starts]
    there = np.isfinite(rows)
    enough = there.mean(axis=1) >= MIN_FACE
    rows, there, starts = rows[enough], there[enough], starts[enough]
    centred = np.where(there, rows - np.nanmean(rows, axis=1, keepdims=True), 0.0)
    size = np.linalg.norm(centred, axis=1, keepdims=True)
    moving = size[:, 0] > 0
    return (centred[moving] / size[moving]).astype(np.float32), starts[moving]


def _mean_peak(windows: tuple[Singles, Ints], y: Floats, width: int) -> tuple[float, int]:
    """Mean over the windows of the highest correlation at any lag, and how many had one."""
    x, starts = windows
    if not len(x):
        return np.nan, 0
    reach, step = round(LAG_S * RATE_HZ), round(LAG_STEP_S * RATE_HZ)
    there = np.isfinite(y)
    centre = float(y[there].mean()) if there.any() else 0.0
    filled = np.pad(np.where(there, y - centre, 0.0), reach)
    mask = np.pad(there.astype(np.float64), reach)
    sums = np.zeros((3, len(filled) + 1))
    np.cumsum([mask, filled, filled**2], axis=1, out=sums[:, 1:])
    places = starts[:, None] + np.arange(0, 2 * reach + 1, step)  # (W, lags)
    count, total, squares = sums[:, places + width] - sums[:, places]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / count
        size = np.sqrt(np.maximum(squares - total * mean, 0.0))
    values = sliding_window_view(filled.astype(np.float32), width)
    masks = sliding_window_view(mask.astype(np.float32), width)
    # sum of x (y - mean of y) over what is there; x is zero where it is missing
    product = np.stack(
        [
            np.einsum("wk,wk->w", x, values[at])
            - np.nan_to_num(own) * np.einsum("wk,wk->w", x, masks[at])
            for at, own in zip(places.T, mean.T, strict=True)
        ],
        axis=1,
    )
    usable = (count >= MIN_SPEECH * width) & (size > 1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.where(usable, product / size, -np.inf)
    peaks = r.max(axis=1)
    peaks = peaks[np.isfinite(peaks)]
    return (float(peaks.mean()), len(peaks)) if len(peaks) else (np.nan, 0)


def coupling_estimate(
    face: FaceSamples | None, voice: VoiceSamples | None, spans: Spans, roles: Roles, seed: int
) -> Estimate:
    """Coupling of expressivity and speech level on every span of three minutes or more."""
    n = len(spans)
    if face is None or voice is None:
        return missing(n, "no_video" if face is None else "no_audio")
    if why := "no_model" if face.chances is None else roles.reason("neutral"):
        return missing(n, why)
    asked = np.flatnonzero((spans.duration_s >= MIN_S) & spans.is_a("turn", "question", "session"))
    value, used = np.full(n, np.nan), np.zeros(n, np.int64)
    expected = np.maximum((spans.duration_s - WINDOW_S) // HOP_S + 1, 0).astype(np.int64)
    reason = np.full(n, CODE["too_short"], np.int8)
    if len(asked):
        grid = sample_grid(0.0, float(spans.end_s.max()), RATE_HZ)
        x = _like_with_like(_expressivity(face, roles, grid), voice.speaking.at(grid))
        y = _level(voice, grid)
        rows = rows_in(grid, spans)
        for i in asked:
            found = couple(x[rows[i, 0] : rows[i, 1]], y[rows[i, 0] : rows[i, 1]], seed=seed)
            value[i], used[i] = found.z, found.n_windows
            reason[i] = 0 if np.isfinite(found.z) else CODE["too_few"]
    return Estimate("given", (value,), expected, used, np.full(n, np.nan), reason)


def _expressivity(face: FaceSamples, roles: Roles, grid: Floats) -> Floats:
    index = nearest_within(face.times_s, grid)
    values = np.full(len(grid), np.nan)
    there = index >= 0
    good = readable(face)[index[there]] == 0
    if face.chances is not None:
        lively = 1.0 - face.chances[index[there]] @ roles.weights("neutral")
        values[there] = np.where(good, lively, np.nan)
    return values


def _like_with_like(x: Floats, speaking: Flags) -> Floats:
    """Expressivity less its mean while speaking or while not.

    Speech moves the mouth: without this every beginning of speech would pass for coupling.
    """
    level = np.zeros(len(x))
    for part in (speaking, ~speaking):
        known = x[part & np.isfinite(x)]
        level[part] = known.mean() if len(known) else 0.0
    return x - level


def _level(voice: VoiceSamples, grid: Floats) -> Floats:
    """Mean level of the target's speech in the tenth of a second around each grid time."""
    stream = voice.stream
    loud = np.flatnonzero(voice.target & stream.present & np.isfinite(stream.level_dbfs))
    bins = np.rint(stream.times_s[loud] * RATE_HZ).astype(np.int64)
    inside = bins < len(grid)
    bins, level = bins[inside], stream.level_dbfs[loud][inside].astype(np.float64)
    n = np.bincount(bins, minlength=len(grid))
    return ratio(np.bincount(bins, weights=level, minlength=len(grid)), n)


# -- disagreement ----------------------------------------------------------------------------------

MIN_USUAL_S = 30.0
"""Windows in which both modalities are read must cover this much before one can say what is usual:
half of what a marked baseline needs, because only a middle is taken from it, no spread. Thirty
seconds hold seven windows of 4 s that share no sample."""


def disagreement_estimates(
    spans: Spans,
    in_baseline: Flags,
    valences: Mapping[Modality, Estimate],
    out: Collection[Modality],
) -> dict[str, Estimate]:
    """Half the difference of valence less its usual one, for each pair and over the pairs.

    Windows and turns compare what the modalities say about that very span; questions and the
    session are the mean over the windows inside, because modalities that take turns in being sad
    would cancel out in one long average.

    Args:
        spans: S spans.
        in_baseline: (W,) windows in the stretch the user marked as neutral.
        valences: Apparent valence of face, voice and words on all spans.
        out: Modalities that are not compared.
    """
    found: dict[str, Estimate] = {}
    sizes = []
    for a, b in PAIRS:
        first, second = valences[a], valences[b]
        reason = first_reason(
            (first.reason != 0, first.reason),
            (second.reason != 0, second.reason),
            (np.full(len(spans), a in out or b in out), "unvalidated"),
            n=len(spans),
        )
        differ = (first.parts[0] - second.parts[0]) / 2.0
        usual = _usual_difference(spans, in_baseline, differ, reason == 0)
        if np.isnan(usual):
            reason[reason == 0] = CODE["too_few"]
        signed = differ - usual
        confidence = np.fmin(first.confidence, second.confidence)
        name = f"incongruence_{a}_{b}"
        found[name] = _averaged(spans, np.abs(signed), confidence, reason)
        found[f"{name}_signed"] = _averaged(spans, signed, confidence, reason)
        sizes.append(np.where(reason == 0, np.abs(signed), np.nan))
    n_pairs = np.isfinite(sizes).sum(axis=0)
    mean = ratio(np.nansum(sizes, axis=0), n_pairs)
    # Words are rarer than sound, and sound than pictures: the pair of face and words says most.
    why = found["incongruence_face_text"].reason
    single = np.stack([v.reason == 0 for v in valences.values()]).sum(axis=0) < 2
    why = np.where(single & (why == 0), CODE["too_few"], why)
    reason = np.where(n_pairs > 0, 0, why).astype(np.int8)
    found["incongruence"] = _averaged(spans, mean, np.full(len(mean), np.nan), reason)
    return found


def _usual_difference(spans: Spans, in_baseline: Flags, differ: Floats, both: Flags) -> float:
    """Median difference over the windows that have both; NaN where these cover too little.

    The windows of the marked baseline are taken where they hold enough, else all: only windows with
    both, so that a speaking mouth is not compared with a listening one.
    """
    part, windows = spans.parts["window"], spans.of("window")
    for inside in (both[part] & in_baseline, both[part]):
        if union_s(windows.start_s[inside], windows.end_s[inside]) >= MIN_USUAL_S - SAME_SUM_S:
            return float(np.median(differ[part][inside]))
    return float("nan")


def _averaged(spans: Spans, value: Floats, confidence: Floats, reason: Codes) -> Estimate:
    """Windows and turns as they are; longer spans as the mean of the windows inside."""
    part, centres = spans.parts["window"], spans.of("window").centre_s
    good = np.flatnonzero(reason[part] == 0)
    rows = rows_in(centres[good], spans)
    count = lengths(rows)
    total = sum_rows(value[part][good], rows)
    direct = spans.is_a("window", "turn")
    n_expected = np.where(direct, 1, lengths(rows_in(centres, spans)))
    n_valid = np.where(direct, reason == 0, count)
    kinds, counts = np.unique(reason[part][reason[part] != 0], return_counts=True)
    usual = kinds[np.argmax(counts)] if len(kinds) else CODE["too_few"]
    codes = np.where(direct, reason, np.where(count > 0, 0, usual)).astype(np.int8)
    sums = np.where(direct, np.where(reason == 0, value, 0.0), total)
    return Estimate(
        "ratio", (sums, n_valid.astype(np.float64)), n_expected, n_valid, confidence, codes
    )
