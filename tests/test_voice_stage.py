"""Voice tower: planted classes, no speaker, mapping, bundle, and chances of a recording."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from development.voice_data import CORPORA, label_set_with_own, load_recordings
from development.voice_export import voice_card, voice_licence, write_voice_bundle
from development.voice_stage import VoiceSettings, fit_voice, held_out
from nunbit.core.messages import InputError
from nunbit.core.streams import AUDIO_RATE_HZ as RATE
from nunbit.core.streams import AudioChunk, Interval, VoiceStream
from nunbit.language.labels import load_label_set
from nunbit.language.prompts import load_template_set
from nunbit.measures.class_probabilities import voice_chances
from nunbit.model.bundle import BUNDLE_FILE, PROMPTS_FILE, VOICE_FILE, VoiceSection
from nunbit.model.encoders import load_bundle
from nunbit.model.zeroshot import ensemble_cosines, normalise
from nunbit.recording.voice.functionals import FEATURE_FORMAT, functional_names
from nunbit.runtime.files import sha256_file
from test_encoders import make_bundle

pytestmark = pytest.mark.train

F = len(functional_names())
QUICK = VoiceSettings(hidden=4, weight_decay=0.1, dropout=0.1, steps=60, lr=0.02)


def planted(
    n: int = 240, k: int = 4, features: int = 12
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows whose first k numbers tell the class, prompts that are near each other, speakers."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, k, n)
    rows = generator.normal(size=(n, features)).astype(np.float32)
    rows[np.arange(n), truth] += 3
    prompts = normalise(1 + 0.2 * generator.normal(size=(3, k, 16)).astype(np.float32))
    return rows, truth, prompts, np.array([f"s{i % 8}" for i in range(n)])


def accuracy(vectors: np.ndarray, truth: np.ndarray, prompts: np.ndarray) -> float:
    cosines = ensemble_cosines(vectors, prompts, "mean_embedding")
    return float((cosines.argmax(axis=1) == truth).mean())


@pytest.mark.seconds
def test_held_out_speakers_find_their_prompts_and_noise_does_not() -> None:
    rows, truth, prompts, speakers = planted()
    vectors, scale = held_out(rows, truth, prompts, speakers, QUICK)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert accuracy(vectors, truth, prompts) > 0.8
    assert 1 < scale <= 100
    shuffled = np.random.default_rng(1).permutation(truth)
    vectors, _ = held_out(rows, shuffled, prompts, speakers, QUICK)
    assert accuracy(vectors, shuffled, prompts) < 0.4


def test_same_seed_same_tower_and_the_callers_random_numbers_stay() -> None:
    rows, truth, prompts, _ = planted()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = fit_voice(rows, truth, prompts, QUICK).embed(rows)
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(first, fit_voice(rows, truth, prompts, QUICK).embed(rows))
    assert not np.allclose(
        first, fit_voice(rows, truth, prompts, replace(QUICK, seed=1)).embed(rows)
    )


def test_a_rare_class_counts_as_much_as_the_others() -> None:
    rows, truth, prompts, _ = planted(n=600)
    rows[:, :4] *= 0.4  # hard enough that a prior matters
    keep = (truth != 3) | (np.arange(len(truth)) % 8 == 0)
    chosen = []
    for adjustment in (0.0, 1.0):
        fitted = fit_voice(
            rows[keep], truth[keep], prompts, replace(QUICK, logit_adjustment=adjustment)
        )
        cosines = ensemble_cosines(fitted.embed(rows), prompts, "mean_embedding")
        chosen.append((cosines.argmax(axis=1) == 3).mean())
    assert chosen[1] > chosen[0]


def test_classes_without_a_voice_stay_out_and_members_are_averaged() -> None:
    rows, truth, prompts, _ = planted()
    keep = truth != 2
    fitted = fit_voice(rows[keep], truth[keep], prompts, replace(QUICK, members=2))
    shown = np.array([0, 1, 3])
    cosines = ensemble_cosines(fitted.embed(rows[keep]), prompts, "mean_embedding")[:, shown]
    assert (shown[cosines.argmax(axis=1)] == truth[keep]).mean() > 0.8


@pytest.mark.parametrize("name", ["fer7", "aihub7"])
def test_every_emotion_is_a_label_or_has_its_own_prompt(name: str) -> None:
    label_set = load_label_set(name)
    labels, names = label_set_with_own(label_set)
    assert labels.ids[: len(label_set.labels)] == label_set.ids
    assert {"calm", "bored"} <= set(labels.ids)
    assert names["happy"] == "joy"
    assert all(i in labels.ids for i in names.values())
    assert not {"hurt", "flustered"} & set(names.values())
    assert all(label.adjective.ko and label.adjective.en for label in labels.labels)


def test_a_label_set_without_mapping_is_refused() -> None:
    with pytest.raises(InputError, match="no mapping"):
        label_set_with_own(load_label_set("dep2"))


def test_missing_corpus_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=CORPORA[0]):
        load_recordings(tmp_path, tmp_path / "cache.npz")
    assert not (tmp_path / "cache.npz").exists()


def section_for(size: int, **changes: object) -> VoiceSection:
    section = VoiceSection(
        format=FEATURE_FORMAT,
        rate_hz=RATE,
        window_s=4.0,
        logit_scale=30.0,
        temperature=1.2,
        spread=(1.0,) * size,
        labels_seen=("joy", "sadness"),
        corpora=("planted",),
        note="planted",
    )
    return replace(section, **changes)


@pytest.fixture(scope="module")
def voiced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A bundle that hears loud as joy and quiet as sadness, ``plain`` beside it; and its rows."""
    folder = tmp_path_factory.mktemp("voice")
    plain = make_bundle(folder / "plain", text=False)
    generator = np.random.default_rng(0)
    with np.load(plain / PROMPTS_FILE) as kept:
        texts = kept["texts"]
    apart = 1 + generator.normal(size=(7, load_bundle(plain).embedding_size)).astype(np.float32)
    classes = np.arange(len(texts)) % 7  # every template goes through the labels in order
    np.savez(plain / PROMPTS_FILE, texts=texts, embeddings=apart[classes])
    document = json.loads((plain / BUNDLE_FILE).read_text(encoding="utf-8"))
    document["checksums"][PROMPTS_FILE] = sha256_file(plain / PROMPTS_FILE)
    (plain / BUNDLE_FILE).write_text(json.dumps(document), encoding="utf-8")
    bundle = load_bundle(plain)
    prompts = bundle.prompt_embeddings(load_template_set("paper"), bundle.label_set)
    joy, sadness = (bundle.label_set.index(label) for label in ("joy", "sadness"))

    rows = generator.normal(size=(80, F)).astype(np.float32)
    loud = np.array(["level_" in name or "cepstrum_0_" in name for name in functional_names()])
    truth = np.where(np.arange(80) % 2, joy, sadness)
    rows[:, loud] += np.where(truth == joy, 1.0, -1.0)[:, None]
    rows[:, ~loud] = 0  # what never varied gets no weight
    fitted = fit_voice(rows, truth, prompts, replace(QUICK, hidden=0))
    write_voice_bundle(plain, folder / "voiced", fitted, section_for(F), rows)
    return folder / "voiced", rows


def test_the_bundle_has_the_tower_and_says_how_it_is_used(voiced: tuple[Path, np.ndarray]) -> None:
    path, rows = voiced
    bundle = load_bundle(path, threads=1)
    assert bundle.voice is not None
    assert bundle.voice == section_for(F)
    vectors = bundle.embed_voice(rows)
    assert vectors.shape == (80, bundle.embedding_size)
    document = json.loads((path / BUNDLE_FILE).read_text(encoding="utf-8"))
    assert document["voice"]["parity"]["min_cosine"] >= 0.999
    assert document["voice"]["parity"]["bytes"] == (path / VOICE_FILE).stat().st_size < 2_000_000
    assert document["checksums"][VOICE_FILE] == sha256_file(path / VOICE_FILE)
    card = (path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "## Voice tower (experimental)" in card
    assert "Never heard, known by their prompt only: " in card
    assert "hurt" in card.split("Never heard")[1]
    licence = (path / "LICENSE").read_text(encoding="utf-8")
    assert "non-commercial research" in licence
    assert document["checksums"]["LICENSE"] == sha256_file(path / "LICENSE")
    assert sorted(p.name for p in path.parent.iterdir()) == ["plain", "voiced"]


@pytest.mark.slow
def test_a_second_fit_replaces_what_is_said_of_the_first(
    voiced: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path, rows = voiced
    _, truth, prompts, _ = planted()
    fitted = fit_voice(rows, truth[:80], prompts[..., : load_bundle(path).embedding_size], QUICK)
    test = {"utterances": 80, "speakers": 8, "uar": 0.5, "ci95": [0.4, 0.6]}
    figures = {"tests": {"all corpora": test}, "recall": {"joy": 0.25}}
    corpora = ("emodb", "korean_emotional", "ravdess")
    document = write_voice_bundle(
        path, tmp_path / "again", fitted, section_for(F, corpora=corpora), rows, figures
    )
    card = (tmp_path / "again" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.count("## Voice tower") == 1
    assert card.endswith(voice_card(document))
    assert "| all corpora | 80 | 8 | 0.500 [0.400, 0.600] |" in card
    assert "joy 0.25" in card
    licence = (tmp_path / "again" / "LICENSE").read_text(encoding="utf-8")
    assert licence.count("The voice tower (voice.onnx)") == 1
    assert all(name in licence for name in ("RAVDESS", "EmoDB", "Korean emotional speech"))
    assert licence.count("CC BY-NC-SA 4.0") == 2
    assert voice_card({}) == voice_licence({}) == ""


def test_nothing_is_overwritten(voiced: tuple[Path, np.ndarray]) -> None:
    path, rows = voiced
    _, truth, prompts, _ = planted()
    fitted = fit_voice(rows[:, :12], truth[:80], prompts, QUICK)
    with pytest.raises(InputError, match="exists already"):
        write_voice_bundle(path.parent / "plain", path, fitted, section_for(12), rows[:, :12])


def talk(seconds: int) -> tuple[list[AudioChunk], VoiceStream]:
    """Noise that is loud in every other ten seconds."""
    n = seconds * 100
    loud = np.arange(n) // 1000 % 2 == 1
    gain = np.repeat(np.where(loud, 0.3, 0.01), RATE // 100)
    sound = (gain * np.random.default_rng(0).normal(size=len(gain))).astype(np.float32)
    wobble = 2 * np.sin(np.arange(n) / 7)
    voice = VoiceStream(
        times_s=(np.arange(n) + 0.5) / 100,
        present=np.ones(n, bool),
        speech=np.ones(n, bool),
        f0_hz=np.where(np.arange(n) % 40 < 25, 120 + wobble, np.nan).astype("f4"),
        level_dbfs=(np.where(loud, -10.0, -40.0) + wobble).astype("f4"),
        segments=(Interval(0.0, float(seconds)),),
    )
    chunks = [AudioChunk(i / RATE, sound[i : i + 8000]) for i in range(0, len(sound), 8000)]
    return chunks, voice


def test_chances_follow_the_voice_of_the_person(voiced: tuple[Path, np.ndarray]) -> None:
    path, _ = voiced
    bundle = load_bundle(path, threads=1)
    chunks, voice = talk(40)
    windows = [Interval(float(s), s + 4.0) for s in range(37)]
    chances = voice_chances(bundle, lambda: iter(chunks), windows, voice)
    assert chances is not None
    assert chances.dtype == np.float32
    assert chances.shape == (37, 7)
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5)
    joy, sadness = (bundle.label_set.index(label) for label in ("joy", "sadness"))
    assert (chances[[12, 32], joy] > 2 * chances[[12, 32], sadness]).all()
    assert (chances[[2, 22], joy] < chances[[2, 22], sadness] / 2).all()
    spoilt = replace(voice, clipped=np.arange(4000) < 1000)
    masked = voice_chances(bundle, lambda: iter(chunks), windows, spoilt)
    assert masked is not None
    assert np.isnan(masked[:9]).all()
    np.testing.assert_array_equal(masked[10:], chances[10:])
    own = [Interval(0.0, 20.0)]
    part = voice_chances(bundle, lambda: iter(chunks), windows, voice, own)
    assert part is not None
    assert np.isfinite(part[:20]).all()
    assert np.isnan(part[20:]).all()
    little = voice_chances(bundle, lambda: iter(chunks), windows, voice, [Interval(0.0, 9.0)])
    assert little is not None
    assert np.isnan(little).all()
    assert voice_chances(bundle, lambda: iter(chunks), [], voice).shape == (0, 7)  # type: ignore[union-attr]


def test_no_tower_or_other_functionals_give_no_answer(
    voiced: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path = Path(shutil.copytree(voiced[0], tmp_path / "voiced"))
    chunks, voice = talk(20)
    windows = [Interval(0.0, 4.0)]
    plain = load_bundle(voiced[0].parent / "plain")
    assert voice_chances(plain, lambda: chunks, windows, voice) is None
    file = path / BUNDLE_FILE
    document = json.loads(file.read_text(encoding="utf-8"))
    document["voice"] = asdict(section_for(F, format="older"))
    file.write_text(json.dumps(document), encoding="utf-8")
    assert voice_chances(load_bundle(path), lambda: chunks, windows, voice) is None
