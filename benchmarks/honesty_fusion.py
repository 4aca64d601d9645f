"""Honesty of the fused index and of disagreement; a part of ``honesty.py``.

The index on class-paired data: each FER+ face gets a KOTE comment of its own class (real faces,
real comments, pairs drawn at random). Such pairs are independent given the class by construction,
which recordings are not: this checks the code, it calibrates nothing. 'Before' is the equal mean,
which version 0.1 gave to 3e-8 on the same pairs. Disagreement: neutral GRID commands joined (real),
and a planted incongruent minute (simulated). ``NUNBIT_DATA`` names the folder of the real data;
without it their rows say so.

    python benchmarks/honesty.py --only fusion
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import zipfile
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from development.comments import read_kote
from fer2013_table import rows_of
from honesty import Row, print_rows
from nunbit.core.streams import FaceStream, FaceTrack, Interval, Transcript, Turn, Utterance
from nunbit.core.timebase import window_grid
from nunbit.language.labels import load_label_set
from nunbit.language.prompts import load_template_set
from nunbit.measures import MeasureInput
from nunbit.measures.class_probabilities import emotion_scores
from nunbit.measures.episodes import find_episodes
from nunbit.measures.fusion import fuse_windows
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.said import words_side_of
from nunbit.model.zeroshot import ensemble_cosines, probabilities
from nunbit.report.exports import read_timeline_table
from nunbit.runtime.files import read_json
from nunbit.statistics.changes import scan_series
from nunbit.stories.analyze import analyze
from nunbit.stories.analyze.job import AnalyzeSettings

Table = NDArray[np.float64]
Codes = NDArray[np.int64]

LABELS = load_label_set("fer7").ids
PAIR_S = 4.0  # one window a pair
DATA = Path(os.environ.get("NUNBIT_DATA", ""))
LONGEST = 200  # characters of a comment, as analyze reads them
PAIRINGS = 20


# -- recordings out of arrays ---------------------------------------------------------------------


def recording(
    face: Table, text: Table, *, text_s: float, windows: tuple[Interval, ...], rate_hz: float
) -> MeasureInput:
    """A face with these rows at a rate, and an utterance of ``text_s`` a row of text."""
    n, duration = len(face), len(face) / rate_hz
    times = (np.arange(n) + 0.5) / rate_hz
    nothing = np.full(n, np.nan, np.float32)
    track = FaceTrack(
        track_id=0,
        times_s=times,
        boxes_xyxy=np.tile(np.array([10, 10, 110, 110], np.float32), (n, 1)),
        det_score=np.full(n, 0.95, np.float32),
        sharpness=np.full(n, 200.0, np.float32),
        reasons=np.full(n, "", "<U12"),
        rotation=np.full((n, 3, 3), np.nan),
        pose_deg=np.full((n, 3), np.nan),
        landmarks=None,
        mouth_open=nothing,
        eye_aspect=nothing,
        probabilities=face.astype(np.float32),
    )
    faces = FaceStream(
        rate_hz=rate_hz,
        sample_times_s=times,
        n_faces=np.ones(n, np.int64),
        tracks=(track,),
        targets=(0,),
        labels=LABELS,
        has_landmarks=False,
    )
    said = tuple(
        Utterance(Interval(text_s * i, text_s * (i + 1)), f"말 {i}") for i in range(len(text))
    )
    return MeasureInput(
        duration_s=duration,
        labels=LABELS,
        unvalidated=frozenset(),
        faces=faces,
        voice=None,
        transcript=Transcript(said, source="made up"),
        turns=(Turn(Interval(0.0, duration), "", True, None),),
        windows=windows,
        text_probabilities=text.astype(np.float32),
    )


def fused(face: Table, text: Table) -> Table:
    """(N, K) the index of each pair, as ``fuse_windows`` gives it for a window of its own."""
    grid = window_grid(PAIR_S * len(face), PAIR_S, PAIR_S)
    face_rows = np.repeat(face, int(PAIR_S), axis=0)
    given = recording(face_rows, text, text_s=PAIR_S, windows=grid, rate_hz=1.0)
    table = {
        b.measure: b.value
        for b in fuse_windows(given)
        if b.modality == "fused" and b.scope == "window"
    }
    return np.stack([table[f"p_{label}"] for label in LABELS], axis=1)


# -- class-paired faces and comments --------------------------------------------------------------


def read_faces(bundle: Bundle, count: int | None, split: str = "test") -> tuple[Table, Codes]:
    """Probabilities and classes of FER+ faces that at least five of ten raters agree on."""
    rows, _ = rows_of(DATA / "fer2013", "ferplus")
    some = [r for r in rows if r["split"] == split and r["label"]][:count]
    with zipfile.ZipFile(DATA / "fer2013" / f"{split}.zip") as archive:
        crops = np.stack(
            [
                np.asarray(
                    Image.open(io.BytesIO(archive.read(r["path"].split("!")[1]))).convert("RGB")
                )
                for r in some
            ]
        )
    parts = [bundle.embed_images(crops[i : i + 256]) for i in range(0, len(crops), 256)]
    cosines = cosines_of(bundle, np.concatenate(parts))
    chances = probabilities(cosines, bundle.logit_scale, bundle.temperature)
    truth = np.array([bundle.label_set.index(r["label"]) for r in some], np.int64)
    return chances.astype(np.float64), truth


def read_comments(bundle: Bundle, count: int | None) -> tuple[Table, Codes]:
    """Probabilities and classes of KOTE test comments with one main emotion."""
    comments = read_kote(DATA / "text" / "kote.csv", "test", bundle.label_set)
    keep = np.flatnonzero(comments.truth >= 0)
    if count is not None:  # every class stays: neutral comments are few
        order = np.random.default_rng(0).permutation(keep)
        keep = np.concatenate(
            [order[comments.truth[order] == c][:count] for c in range(len(LABELS))]
        )
    texts = [comments.texts[i][-LONGEST:] for i in keep]
    side = words_side_of(bundle)
    if side is not None:  # as `analyze` reads them
        chances = side.chances(emotion_scores(bundle, side, texts))
        return chances.astype(np.float64), comments.truth[keep]
    order = np.argsort([len(text) for text in texts], kind="stable")
    vectors = np.empty((len(texts), bundle.embedding_size), np.float32)
    vectors[order] = bundle.embed_sentences([texts[i] for i in order])
    fit = bundle.document.text_emotion
    assert fit is not None
    chances = probabilities(cosines_of(bundle, vectors), fit.logit_scale, fit.temperature)
    return chances.astype(np.float64), comments.truth[keep]


def cosines_of(bundle: Bundle, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, K) cosines with the bundle's own prompts."""
    templates = load_template_set(bundle.default_template_set)
    prompts = bundle.prompt_embeddings(templates, bundle.label_set)
    return ensemble_cosines(vectors, prompts, "mean_embedding")


def loss(table: Table, truth: Codes) -> float:
    """Mean negative log likelihood."""
    return float(-np.log(np.maximum(table[np.arange(len(truth)), truth], 1e-9)).mean())


def right_less_sure(table: Table, truth: Codes) -> tuple[float, float]:
    """Accuracy, and accuracy minus mean confidence."""
    right = float((table.argmax(axis=1) == truth).mean())
    return right, right - float(table.max(axis=1).mean())


def paired_rows(quick: bool) -> list[Row]:
    """The index on pairs of one class, and the same with words that say nothing."""
    if not (DATA / "fer2013" / "labels.csv").is_file():
        return [Row("fused index, class-paired FER+ and KOTE (real)", "", "no data", "", None)]
    bundle = load_bundle(default_bundle_path(), threads=1)
    faces, truth = read_faces(bundle, 400 if quick else None)
    comments, classes = read_comments(bundle, 30 if quick else None)
    draws = []
    for seed in range(3 if quick else PAIRINGS):
        rng = np.random.default_rng(seed)
        said = comments[[rng.choice(np.flatnonzero(classes == c)) for c in truth]]
        both = {"now": fused(faces, said), "before": (faces + said) / 2.0}
        draws.append(
            [loss(t, truth) for t in (faces, said)]
            + [x for t in both.values() for x in (loss(t, truth), *right_less_sure(t, truth))]
        )
    face, text, now, right, gap, old, old_right, old_gap = np.mean(draws, axis=0)
    spread = np.std(draws, axis=0)
    nothing = np.full_like(faces, 1.0 / len(LABELS))
    moved = np.abs(fused(faces, nothing) - faces).max()
    moved_before = np.abs((faces + nothing) / 2.0 - faces).max()
    what = (
        f"class-paired FER+ test faces and KOTE test comments ({len(truth)} pairs, real; "
        "code check)"
    )
    best = min(face, text)
    return [
        Row(
            f"NLL of the fused index against the best single modality, {what}",
            f"{old:.3f} against {best:.3f} (ratio {old / best:.2f})",
            f"{now:.3f} ± {spread[2]:.3f} against {best:.3f} (ratio {now / best:.2f})",
            "lower",
            bool(now < best),
        ),
        Row(
            "accuracy − mean confidence of the same",
            f"{old_gap:+.3f} (accuracy {100 * old_right:.1f}%)",
            f"{gap:+.3f} (accuracy {100 * right:.1f}%, face alone "
            f"{100 * right_less_sure(faces, truth)[0]:.1f}%)",
            "abs ≤ .05",
            bool(abs(gap) <= 0.05),
        ),
        Row(
            "largest change of the index when words come that say nothing (uniform)",
            f"{moved_before:.3f}",
            f"{moved:.3f}",
            "0",
            bool(moved < 1e-3),
        ),
    ]


# -- disagreement: neutral commands, and a planted minute ------------------------------------------


def join_clips(clips: list[Path], out: Path) -> None:
    """Write clips one after the other: pictures nearly lossless, samples as they are."""
    with av.open(str(out), "w") as made:
        pictures = sound = None
        frames = samples = 0
        for clip in clips:
            with av.open(str(clip)) as source:
                video, audio = source.streams.video[0], source.streams.audio[0]
                if pictures is None:
                    pictures = made.add_stream("libx264", rate=25, options={"qp": "8"})
                    pictures.width, pictures.height, pictures.pix_fmt = 360, 288, "yuv420p"
                    sound = made.add_stream("pcm_s16le", rate=audio.rate, layout="mono")
                convert = av.AudioResampler(format="s16", layout="mono", rate=audio.rate)
                for frame in source.decode(video, audio):
                    if isinstance(frame, av.VideoFrame):
                        picture = frame.reformat(format="yuv420p")
                        picture.pts, picture.time_base = frames, 1 / Fraction(25)
                        frames += 1
                        made.mux(pictures.encode(picture))
                        continue
                    for piece in convert.resample(frame):
                        piece.pts, piece.time_base = samples, 1 / Fraction(audio.rate)
                        samples += piece.samples
                        made.mux(sound.encode(piece))
        for stream in (pictures, sound):
            made.mux(stream.encode(None))


def grid_rows() -> list[Row]:
    """Episodes of disagreement in 36 s of neutral commands by one talker."""
    what = "episodes of disagreement in 36 s of neutral GRID commands (talker s1, 12 clips, real)"
    clips = sorted((DATA / "video" / "grid").glob("s1_*.mpg"))
    if len(clips) < 12:
        return [Row(what, "2", "no data", "0", None)]
    with tempfile.TemporaryDirectory() as folder:
        joined = Path(folder) / "joined.mkv"
        join_clips(clips[:12], joined)
        outcome = analyze([joined], Path(folder) / "out", AnalyzeSettings())[0]
        kinds = [e["kind"] for e in read_json(outcome.folder / "summary.json")["episodes"]]
        table = read_timeline_table(outcome.folder, scope="window").to_pandas()
    found = kinds.count("incongruence")
    one = table[(table.measure == "incongruence_face_voice")]
    reasons = ", ".join(
        f"{why or 'valid'} {n}" for why, n in one.mask_reason.value_counts().items()
    )
    voice = {
        m: table[(table.modality == m) & (table.measure == "valence")].value.to_numpy()
        for m in ("face", "voice")
    }
    differ = (voice["face"] - voice["voice"]) / 2.0
    let_in = len(scan_series(differ - np.nanmedian(differ), 1.0))
    return [
        Row(what, "2", f"{found} (face–voice windows: {reasons})", "0", found == 0),
        Row(
            "the same, had the experimental voice been let into disagreement",
            "2",
            f"{let_in}",
            "–",
            None,
        ),
    ]


def wandering(n: int, memory: float, rng: np.random.Generator) -> Table:
    """A first-order autoregression of variance one; the memory is in steps."""
    phi = np.exp(-1.0 / memory)
    path = rng.normal(0.0, np.sqrt(1.0 - phi * phi), n)
    path[0] = rng.normal()
    for i in range(1, n):
        path[i] += phi * path[i - 1]
    return path


def leaning(valence: Table) -> Table:
    """(N, K) class probabilities with this valence: joy or sadness, the rest neutral."""
    table = np.zeros((len(valence), len(LABELS)))
    table[:, LABELS.index("joy")] = np.maximum(valence, 0.0)
    table[:, LABELS.index("sadness")] = np.maximum(-valence, 0.0)
    table[:, LABELS.index("neutral")] = 1.0 - np.abs(valence)
    return table


def talk(seed: int, *, minutes: int, memory_s: float, planted: bool) -> list[tuple[float, float]]:
    """Episodes of disagreement in which the face is the brighter one, start and end.

    Face (5 Hz) and words (a sentence every 4 s) wander with an SD of 0.25 and lean apart by 0.4 all
    along; in the planted minute the face smiles (+0.8) while the words despair (-0.7).
    """
    rng = np.random.default_rng(seed)
    duration = 60 * minutes
    face = -0.2 + 0.25 * wandering(duration * 5, 5.0 * memory_s, rng)
    text = 0.2 + 0.25 * wandering(duration // 4, memory_s / 4.0, rng)
    if planted:
        face[240 * 5 : 300 * 5] += 0.8
        text[60:75] -= 0.7
    tables = (leaning(np.clip(x, -0.98, 0.98)) for x in (face, text))
    given = recording(*tables, text_s=4.0, windows=window_grid(float(duration)), rate_hz=5.0)
    found = find_episodes(given, fuse_windows(given))
    return [
        (e.interval.start_s, e.interval.end_s)
        for e in found
        if e.kind == "incongruence" and (not planted or e.note.startswith("face+"))
    ]


def planted_rows(quick: bool) -> list[Row]:
    """A planted incongruent minute, and recordings that only lean apart."""
    n = 5 if quick else 20
    rows = []
    for minutes in (15, 10):
        found, wrong = [], []
        for memory in (2.0, 5.0, 10.0):
            hits = 0
            for seed in range(n):
                made = talk(seed, minutes=minutes, memory_s=memory, planted=True)
                inside = sum(max(0.0, min(b, 300.0) - max(a, 240.0)) for a, b in made)
                hits += inside >= 30.0
            found.append(hits)
            wrong.append(
                sum(
                    bool(talk(100 + seed, minutes=minutes, memory_s=memory, planted=False))
                    for seed in range(n)
                )
            )
        told = ", ".join(
            f"{hits}/{n} (memory {m} s)" for hits, m in zip(found, (2, 5, 10), strict=True)
        )
        asked = minutes == 15
        rows.append(
            Row(
                f"planted incongruent minute in {minutes} minutes, half of it found (simulated)",
                "–",
                told,
                "found" if asked else "–",
                found[0] == n if asked else None,
            )
        )
        rows.append(
            Row(
                f"{minutes} minutes of face and words that lean apart by 0.4 without any change: "
                "recordings with an episode (simulated)",
                "–",
                f"{sum(wrong)}/{3 * n}",
                "≤ 5%",
                sum(wrong) <= 0.05 * 3 * n,
            )
        )
    return rows


def rows(quick: bool) -> list[Row]:
    """All rows of this part."""
    return [*paired_rows(quick), *grid_rows(), *planted_rows(quick)]


if __name__ == "__main__":
    print_rows(rows("--quick" in sys.argv))
