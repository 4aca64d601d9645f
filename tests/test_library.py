"""nunbit as a Python library: what a newcomer types, and what they get wrong."""

from __future__ import annotations

import ast
import base64
import gc
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import nunbit
from make_timeline import Recipe, make_timeline
from nunbit.cli.shared import in_flags
from nunbit.core.messages import BundleError, InputError, MediaError, MissingExtra, SettingsError
from nunbit.runtime.results import as_paths
from nunbit.synth.actors import expression_of, sample_person
from nunbit.synth.drawn_photo import draw_photo, exif_of, sample_photo

SMILE, GLOOM = "환하게 웃는 얼굴", "침울한 얼굴"


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A drawn person, found by the detector, with a scene around."""
    rng = np.random.default_rng(3)
    person = sample_person(rng)
    return draw_photo(sample_photo(person, expression_of("joy", rng), "room", 480, rng))


@pytest.fixture(scope="module")
def model() -> nunbit.Model:
    return nunbit.load(threads=1)


@pytest.fixture(scope="module")
def crop(model: nunbit.Model, photo: Image.Image) -> Image.Image:
    x0, y0, x1, y1 = model.predict(photo)[0].faces[0].box_xyxy or (0, 0, 1, 1)
    return photo.crop((round(x0), round(y0), round(x1), round(y1)))


@pytest.fixture(scope="module")
def file(photo: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("사진 들") / "얼굴 하나.png"
    photo.save(path)
    return path


# --- the names -------------------------------------------------------------------------------


VERBS = (
    *("load", "predict", "analyze", "prepare", "train", "evaluate", "align", "search"),
    *("read_timeline", "read_sessions", "start_live", "summarise", "find_changes"),
)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_a_documented_function_of_six_parameters_at_most(name: str) -> None:
    verb = getattr(nunbit, name)
    assert inspect.isfunction(verb)
    assert name in nunbit.__all__
    assert verb.__doc__
    named = [p for p in inspect.signature(verb).parameters.values() if p.kind != p.VAR_KEYWORD]
    assert len(named) <= 6


def test_the_verbs_stay_functions_after_their_stories_are_imported() -> None:
    code = (
        "import nunbit.stories.predict, nunbit.stories.evaluate, nunbit.stories.prepare, "
        "nunbit.stories.align, nunbit.stories.search, nunbit.training, nunbit, types\n"
        f"assert all(isinstance(getattr(nunbit, n), types.FunctionType) for n in {VERBS})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_module_of_the_package_has_the_name_of_a_verb() -> None:
    root = Path(nunbit.__file__).parent
    taken = {path.stem for path in root.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not taken & set(VERBS)


def test_the_version_is_that_of_the_installed_package() -> None:
    from importlib.metadata import version

    assert nunbit.__version__ == version("nunbit")
    assert "__version__" in dir(nunbit)


def test_types_are_declared() -> None:
    assert (Path(nunbit.__file__).parent / "py.typed").is_file()


def test_the_exported_names_are_these() -> None:
    assert set(nunbit.__all__) >= {*VERBS, "Model", "PredictResult", "TimelineResult", "EvalResult"}
    source = Path(nunbit.__file__).read_text(encoding="utf-8")
    checked = next(n for n in ast.parse(source).body if isinstance(n, ast.If))
    typed = {a.name for n in checked.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert typed == set(nunbit.__all__)  # type checkers see what Python gives


# --- models ----------------------------------------------------------------------------------


def test_a_model_is_loaded_by_name_by_path_or_by_nothing(model: nunbit.Model) -> None:
    assert nunbit.load(model.path, threads=1).path == model.path
    assert nunbit.load(str(model.path), threads=1).bundle is model.bundle  # opened once
    assert nunbit.load(model.path.name, threads=1).bundle is model.bundle
    assert nunbit.load(model) is model
    assert repr(model) == f"<Model {model.name}: {', '.join(model.labels)}>"


def test_a_model_that_is_written_again_is_opened_again(model: nunbit.Model, tmp_path: Path) -> None:
    import os
    import shutil

    shutil.copytree(model.path, tmp_path / "copy")
    first = nunbit.load(tmp_path / "copy").bundle
    os.utime(tmp_path / "copy" / "bundle.json", ns=(1, 1))
    assert nunbit.load(tmp_path / "copy").bundle is not first


def test_an_unknown_model_names_those_there_are() -> None:
    with pytest.raises(
        BundleError, match=r"fer8-lite: neither a folder nor a shipped model \(.*fer7-lite"
    ):
        nunbit.load("fer8-lite")
    with pytest.raises(
        TypeError, match="name_or_path: expected a name, a path or nothing, got int"
    ):
        nunbit.load(7)  # type: ignore[arg-type]


def test_a_bundle_is_opened_by_a_text_too(model: nunbit.Model) -> None:
    assert nunbit.load_bundle(str(model.path)).hash == model.bundle.hash
    with pytest.raises(BundleError, match="fer7-lite: no bundle here"):
        nunbit.load_bundle("fer7-lite")


# --- pictures --------------------------------------------------------------------------------


def rgba(photo: Image.Image) -> Image.Image:
    return photo.convert("RGBA")


def sixteen_bit(photo: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) << 8)


GIVEN: dict[str, Callable[[Image.Image], Any]] = {
    "PIL": lambda p: p,
    "array": np.asarray,
    "list": lambda p: [p],
    "generator": lambda p: (x for x in (p,)),
    "batch": lambda p: np.asarray(p)[None],
    "not contiguous": lambda p: np.asarray(p)[:, ::-1][:, ::-1],
    "RGBA": rgba,
}


@pytest.mark.parametrize("kind", GIVEN)
def test_pictures_of_every_kind_give_the_same(
    model: nunbit.Model, photo: Image.Image, kind: str
) -> None:
    expected = model.predict(photo)[0].faces[0]
    result = model.predict(GIVEN[kind](photo))
    assert len(result) == 1
    face = result[0].faces[0]
    assert face.box_xyxy == expected.box_xyxy
    assert np.array_equal(face.probabilities, expected.probabilities)


@pytest.mark.parametrize("mode", ["P", "L", "1", "LA", "CMYK", "RGBA", "16 bit", "grey array"])
def test_every_mode_of_pil_is_read(model: nunbit.Model, crop: Image.Image, mode: str) -> None:
    given: Any = crop.convert(mode) if mode not in ("16 bit", "grey array") else sixteen_bit(crop)
    if mode == "grey array":
        given = np.asarray(crop.convert("L"))
    faces = model.predict(given, crops=True)[0].faces
    assert len(faces) == 1
    assert np.isclose(faces[0].probabilities.sum(), 1, atol=1e-5)


def test_a_palette_with_a_transparent_colour_lies_on_white(
    model: nunbit.Model, crop: Image.Image
) -> None:
    clear = crop.convert("RGBA")
    clear.putalpha(0)
    white = Image.new("RGB", crop.size, "white")
    both = model.predict([clear, white], crops=True)
    assert np.array_equal(both[0].faces[0].probabilities, both[1].faces[0].probabilities)


def test_paths_are_texts_or_paths_and_know_the_home_folder(
    model: nunbit.Model, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    for given in (file, str(file), [str(file)], f"~/{file.name}", file.parent):
        result = model.predict(given)
        assert [len(answer.faces) for answer in result] == [1]
        assert Path(result[0].file).name == file.name


def test_a_turned_photo_in_memory_is_turned_upright(
    model: nunbit.Model, photo: Image.Image, tmp_path: Path
) -> None:
    stored = photo.transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / "turned.png", exif=exif_of(6))
    opened = Image.open(tmp_path / "turned.png")
    answers = model.predict([tmp_path / "turned.png", opened, photo])
    assert [a.orientation for a in answers] == [6, 6, None]
    assert [a.size for a in answers] == [photo.size] * 3
    boxes = [a.faces[0].box_xyxy for a in answers]
    assert boxes[0] == boxes[1] == boxes[2]


WRONG: tuple[tuple[Any, type[Exception], str], ...] = (
    (np.zeros((64, 64, 3), np.float32), TypeError, r"images: expected uint8 .* 0 to 1; give \(x"),
    (np.full((64, 64, 3), 3.5), TypeError, "images: expected uint8 .* undo the scaling"),
    ([np.zeros((64, 64, 3), np.int64)], TypeError, r"images\[0\]: expected uint8 .*int64"),
    (np.zeros((3, 64, 64), np.uint8), InputError, r"images: .*\(3, 64, 64\); colours come last"),
    (np.zeros((64, 64, 4), np.uint8), InputError, r"images: .*\(64, 64, 4\); give PIL"),
    (np.zeros((0, 64, 3), np.uint8), InputError, "images: .*it is empty"),
    (np.zeros((2, 2, 2, 2, 3), np.uint8), InputError, "images: expected an array of shape"),
    (np.zeros(64, np.uint8), InputError, "images: expected an array of shape"),
    ([], InputError, "`images` is empty"),
    ((), InputError, "`images` is empty"),
    (np.zeros((0, 48, 48, 3), np.uint8), InputError, "`images` is empty"),
    (None, TypeError, "images: expected a path, a PIL image"),
    (7, TypeError, "images: expected a path, .*got int"),
    (b"\xff\xd8\xff", TypeError, "images: expected a path, .*got bytes"),
    ({"a.jpg": 1}, TypeError, "images: .*got dict"),
    (["a.jpg", 7], TypeError, r"images\[1\]: .*got int"),
    ([[1, 2, 3]], TypeError, r"images\[0\]: .*got list"),
    (Image.fromarray(np.ones((64, 64), np.float32)), MediaError, "images: pixels of mode F"),
    ("nofile.jpg", MediaError, "nofile.jpg: there is no such file"),
    ("https://example.org/a.jpg", MediaError, "https://example.org/a.jpg: an address, not a file"),
)


@pytest.mark.parametrize(
    ("given", "error", "said"), WRONG, ids=[f"{n} {w[2]}" for n, w in enumerate(WRONG)]
)
@pytest.mark.parametrize("verb", ["predict", "embed", "score"])
def test_what_is_no_picture_is_said_in_one_line(
    model: nunbit.Model, verb: str, given: Any, error: type[Exception], said: str
) -> None:
    calls = {
        "predict": lambda: model.predict(given),
        "embed": lambda: model.embed(given),
        "score": lambda: model.score(given, "얼굴"),
    }
    with pytest.raises(error, match=said) as caught:
        calls[verb]()
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)


def test_a_tensor_is_told_apart_from_a_list(model: nunbit.Model) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"got Tensor; give x.numpy\(\)"):
        model.predict(torch.zeros(3, 8, 8))


def test_a_recording_is_sent_to_analyze(model: nunbit.Model, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(64))
    with pytest.raises(MediaError, match="a recording, not a photo; `analyze` reads recordings"):
        model.predict(tmp_path / "a.mp4")


def test_one_unreadable_picture_does_not_stop_the_others(
    model: nunbit.Model, photo: Image.Image, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    result = model.predict([tmp_path / "broken.jpg", photo, Image.new("RGB", (200, 200))])
    assert [answer.state for answer in result] == ["error", "ok", "no_face"]
    assert "1 without a face, 1 unreadable" in repr(result)
    assert result.to_arrow()["picture"].to_pylist() == [1]


# --- prompts ---------------------------------------------------------------------------------


def test_prompts_are_sentences_compared_among_themselves(
    model: nunbit.Model, photo: Image.Image
) -> None:
    result = model.predict(photo, prompts=[SMILE, GLOOM])
    assert result.sentences == (SMILE, GLOOM)
    shares = result[0].faces[0].sentence_probabilities
    assert shares is not None
    assert np.isclose(shares.sum(), 1, atol=1e-5)
    row = result.to_arrow().to_pylist()[0]
    assert row["sentence"] in (SMILE, GLOOM)
    assert np.isclose(row[f"p: {SMILE}"] + row[f"p: {GLOOM}"], 1, atol=1e-5)


def test_one_prompt_is_one_prompt_and_not_its_letters(
    model: nunbit.Model, photo: Image.Image
) -> None:
    assert model.predict(photo, prompts=SMILE).sentences == (SMILE,)
    from nunbit.stories.predict.texts import PredictSettings

    assert PredictSettings(prompt=SMILE).prompt == (SMILE,)  # type: ignore[arg-type]


def test_the_name_of_a_template_set_or_a_file_is_that(
    model: nunbit.Model, photo: Image.Image, tmp_path: Path
) -> None:
    assert model.predict(photo, prompts="english").template_set == "english"
    (tmp_path / "mine.txt").write_text(f"{SMILE}\n{GLOOM}\n", encoding="utf-8")
    for given in (tmp_path / "mine.txt", str(tmp_path / "mine.txt")):
        assert model.predict(photo, prompts=given).sentences == (SMILE, GLOOM)


@pytest.mark.parametrize(
    ("prompts", "error", "said"),
    [
        ([], InputError, "`prompts` is empty"),
        ("", InputError, "`prompts` is empty"),
        (["  "], InputError, "`prompts` is empty"),
        ([1], TypeError, r"prompts\[0\]: expected text, got int"),
        (7, TypeError, "prompts: expected text or a list of it, got int"),
        ({"a": "b"}, TypeError, "prompts: expected text or a list of it, got dict"),
    ],
)
def test_prompts_that_are_none_are_refused(
    model: nunbit.Model, photo: Image.Image, prompts: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        model.predict(photo, prompts=prompts)
    with pytest.raises(error, match=said.replace("prompts", "texts")):
        model.score(photo, prompts)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: nunbit.predict(""), nunbit.InputError, "`images` is an empty text"),
        (lambda: nunbit.analyze(""), nunbit.InputError, "`media` is an empty text"),
        (lambda: nunbit.load(""), nunbit.InputError, "`name_or_path` is an empty text"),
        (lambda: nunbit.load(threads="two"), TypeError, "threads: expected a whole number"),
        (lambda: nunbit.load(threads=-1), TypeError, "threads: expected a whole number"),
        (lambda: nunbit.start_live(emit=5), TypeError, "emit: expected a function"),
        (
            lambda: nunbit.analyze("a.mp4", baseline=("a", "b")),
            nunbit.SettingsError,
            "baseline=a-b",
        ),
        (
            lambda: nunbit.analyze("a.mp4", window_s="6"),
            nunbit.SettingsError,
            "`window_s`: Expected",
        ),
    ],
    ids=[*["predict", "analyze", "load", "word", "negative", "emit", "baseline", "window"]],
)
def test_what_cannot_be_meant_is_one_line_that_names_the_argument(
    call: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=re.escape(says)) as told:
        call()
    assert "\n" not in str(told.value)


def test_an_unknown_setting_names_those_there_are(model: nunbit.Model, photo: Image.Image) -> None:
    with pytest.raises(SettingsError, match="predict: unknown setting colour; there are: batch"):
        model.predict(photo, colour="red")
    with pytest.raises(SettingsError, match="min_score"):
        nunbit.predict(photo, min_score="high")


# --- results of predict ----------------------------------------------------------------------


def test_a_result_is_walked_sliced_and_short(model: nunbit.Model, photo: Image.Image) -> None:
    result = model.predict([photo, photo, photo])
    assert [a.file for a in result] == ["images[0]", "images[1]", "images[2]"]
    part = result[1:]
    assert isinstance(part, nunbit.PredictResult)
    assert [a.file for a in part] == ["images[1]", "images[2]"]
    face = result[-1].faces[0]
    assert face.label in model.labels
    assert face.probability[face.label] == pytest.approx(float(face.probabilities.max()))
    with pytest.raises(IndexError):
        result[3]
    for shown in (result, part, result[0], face):
        assert len(repr(shown)) < 120
        assert "\n" not in repr(shown)


def test_a_result_is_a_table_with_a_row_a_face(model: nunbit.Model, photo: Image.Image) -> None:
    result = model.predict([photo, Image.new("RGB", (100, 100)), photo])
    frame = result.to_pandas()
    assert len(frame) == result.counts["faces"] == 2
    assert list(frame["picture"]) == [0, 2]
    assert list(frame["label"]) == [answer.faces[0].label for answer in (result[0], result[2])]
    chances = frame[[f"p_{label}" for label in model.labels]]
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert result.to_arrow().column_names == list(frame.columns)


def test_a_result_without_a_face_is_a_table_with_the_same_columns(
    model: nunbit.Model, photo: Image.Image
) -> None:
    none = model.predict(Image.new("RGB", (100, 100)))
    assert none.to_arrow().schema == model.predict(photo).to_arrow().schema
    assert len(none.to_pandas()) == 0


def test_without_pandas_the_line_that_installs_it_is_said(
    model: nunbit.Model, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setattr("nunbit.runtime.results.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"nunbit\[pandas\]"):
        model.predict(photo).to_pandas()


def test_a_result_is_saved_by_the_ending_of_the_name(
    model: nunbit.Model, photo: Image.Image, tmp_path: Path
) -> None:
    import pandas as pd

    result = model.predict(photo, prompts=["=1+1", GLOOM])
    table = result.to_arrow()
    assert result.save(tmp_path / "new" / "a.parquet") == tmp_path / "new" / "a.parquet"
    assert pq.read_table(tmp_path / "new" / "a.parquet").equals(table)
    read = pd.read_csv(result.save(str(tmp_path / "a.csv")))
    assert list(read.columns) == table.column_names
    assert read["p_joy"][0] == pytest.approx(table["p_joy"][0].as_py())
    assert not str(read["sentence"][0]).startswith("=")  # no spreadsheet takes it for a formula
    document = json.loads(result.save(tmp_path / "a.json").read_text(encoding="utf-8"))
    assert document == json.loads(json.dumps(result.document))
    with pytest.raises(InputError, match=r"cannot save as '.xlsx'; end the name in .csv"):
        result.save(tmp_path / "a.xlsx")


def test_a_notebook_shows_the_faces(model: nunbit.Model, photo: Image.Image) -> None:
    shown = model.predict([photo, Image.new("RGB", (99, 99))])._repr_html_()
    pictures = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", shown)
    assert len(pictures) == 1
    assert base64.b64decode(pictures[0]).startswith(b"\xff\xd8\xff")
    assert "no face found" in shown
    assert "not a diagnosis" in shown


def test_a_file_name_cannot_write_into_the_notebook(
    model: nunbit.Model, photo: Image.Image, tmp_path: Path
) -> None:
    photo.save(tmp_path / "<script>.png")
    assert "<script>" not in model.predict(tmp_path / "<script>.png")._repr_html_()


# --- embeddings ------------------------------------------------------------------------------


def test_embeddings_are_unit_rows_of_the_face_in_each_picture(
    model: nunbit.Model, photo: Image.Image, file: Path
) -> None:
    rows = model.embed([photo, file])
    assert rows.shape == (2, model.embedding_size)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.array_equal(rows[0], rows[1])  # a PNG holds the same pixels
    face = model.predict(photo)[0].faces[0]
    prompts = model.bundle.prompt_embeddings(
        nunbit.load_template_set(model.bundle.default_template_set), model.bundle.label_set
    )
    assert np.allclose(prompts @ rows[0], face.prompt_cosines, atol=1e-5)


def test_pictures_without_a_face_are_named(model: nunbit.Model, photo: Image.Image) -> None:
    empty = Image.new("RGB", (300, 200), "grey")
    with pytest.raises(InputError, match=r"no face found in 2 of 3 pictures \(images\[0\], images"):
        model.embed([empty, photo, empty])
    rows = model.embed([empty, photo], missing="nan")
    assert np.isnan(rows[0]).all()
    assert np.isfinite(rows[1]).all()
    with pytest.raises(SettingsError, match="`missing` is 'skip'; choose from raise, nan"):
        model.embed(photo, missing="skip")  # type: ignore[arg-type]


@pytest.mark.slow
def test_what_is_no_face_crop_is_refused(
    model: nunbit.Model, photo: Image.Image, crop: Image.Image
) -> None:
    canvas = Image.new("RGB", (900, 900), "white")
    canvas.paste(crop.resize((180, 180)), (350, 300))
    for given in (canvas, photo.resize((1600, 900)), Image.new("RGB", (8, 8)),
                  Image.new("RGB", (300, 100))):  # fmt: skip
        for call in (model.embed, model.predict):
            with pytest.raises(InputError, match="images: no face crop"):
                call(given, crops=True)
        with pytest.raises(InputError, match="no face crop"):
            model.score(given, SMILE)
    for size in (16, 48, 224, 512):
        assert model.embed(crop.resize((size, size)), crops=True).shape == (
            1,
            128 and model.embedding_size,
        )


def test_scores_are_cosines_of_crops_and_texts(model: nunbit.Model, crop: Image.Image) -> None:
    cosines = model.score([crop, crop], [SMILE, GLOOM, "얼굴"])
    assert cosines.shape == (2, 3)
    expected = model.embed(crop, crops=True) @ model.bundle.embed_texts([SMILE, GLOOM, "얼굴"]).T
    assert np.allclose(cosines[0], expected[0], atol=1e-6)
    assert model.score(np.asarray(crop), SMILE).shape == (1, 1)


# --- timelines -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def timelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("timelines")
    make_timeline(out / "first", Recipe(duration_s=60.0))
    make_timeline(out / "second", Recipe(duration_s=40.0, words=False, seed=8))
    return out


def test_a_timeline_is_read_as_tables(timelines: Path) -> None:
    for given in (timelines / "first", str(timelines / "first"), timelines / "first/summary.json"):
        result = nunbit.read_timeline(given)
        assert result.session == "first"
    assert result.duration_s == 60.0
    assert repr(result) == "<TimelineResult 'first': 60.0 s, 57 windows>"
    whole = pq.read_table(timelines / "first" / "timeline.parquet")
    assert result.to_arrow().num_rows == whole.num_rows == len(result.to_pandas())
    assert set(result.windows().to_pandas()["scope"]) == {"window"}
    assert len(result.words) == pq.read_table(timelines / "first" / "words.parquet").num_rows
    assert {"time", "target"} <= set(result.frames.columns)
    assert result.episodes.columns == ("kind", "start", "end", "peak", "note")
    assert len(result.episodes) == len(result.summary["episodes"])


def test_wide_windows_hold_the_values_of_the_long_rows(timelines: Path) -> None:
    result = nunbit.read_timeline(timelines / "first")
    wide, long = result.windows(wide=True), result.windows()
    assert len(wide) == 57
    assert list(wide["t_start"]) == sorted(wide["t_start"])
    rows = [r for r in long if (r["modality"], r["measure"]) == ("face", "p_joy")]
    assert rows
    at = {start: n for n, start in enumerate(wide["t_start"])}
    for row in rows:
        value = wide["face.p_joy"][at[row["t_start"]]]
        assert np.array_equal(value, row["value"], equal_nan=True)


def test_a_table_is_walked_sliced_and_saved(timelines: Path, tmp_path: Path) -> None:
    words = nunbit.read_timeline(timelines / "first").words
    assert words[0]["text"] == words[-len(words)]["text"] == next(iter(words))["text"]
    assert [row["text"] for row in words[2:4]] == list(words["text"][2:4])
    assert len(repr(words)) < 120
    assert words.save(tmp_path / "w.json").is_file()
    assert "<table>" in words._repr_html_()
    with pytest.raises(KeyError, match="no column 'word'; there are: t_start"):
        words["word"]
    with pytest.raises(IndexError):
        words[len(words)]


def test_a_timeline_is_drawn(timelines: Path) -> None:
    result = nunbit.read_timeline(timelines / "first")
    shown = result._repr_html_()
    assert "<svg" in shown
    assert "not a diagnosis" in shown
    assert len(result.plot().axes) > 3


def test_sessions_are_one_table(timelines: Path, tmp_path: Path) -> None:
    result = nunbit.read_sessions(timelines)
    assert [t.session for t in result] == ["first", "second"]
    assert result["second"].duration_s == 40.0
    assert len(result[:1]) == 1
    assert repr(result) == "<SessionsResult: 2 recordings>"
    wide = result.wide()
    assert list(wide["session"]) == ["first", "second"]
    long = result.to_pandas()
    assert set(long["session"]) == {"first", "second"}
    assert set(result.windows(wide=True)["session"]) == {"first", "second"}
    assert set(result.words["session"]) == {"first"}
    assert len(result.frames) == sum(len(t.frames) for t in result)
    assert result.save(tmp_path / "copy") == tmp_path / "copy"
    assert len(nunbit.read_sessions(tmp_path / "copy")) == 2
    with pytest.raises(InputError, match="not an empty folder"):
        result.save(tmp_path / "copy")
    with pytest.raises(KeyError, match="no recording 'third'; there are: first, second"):
        result["third"]


def test_folders_without_timelines_are_refused(timelines: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no timeline here"):
        nunbit.read_timeline(tmp_path)
    with pytest.raises(InputError, match="holds 2 timelines .*use read_sessions"):
        nunbit.read_timeline(timelines)
    with pytest.raises(InputError, match="no analysed recordings here"):
        nunbit.read_sessions(tmp_path)
    with pytest.raises(TypeError, match="path: expected a path"):
        nunbit.read_sessions(7)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="`scope` is 'day'; choose from window"):
        nunbit.read_timeline(timelines / "first").measures("day")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("av")
    from nunbit.synth.script import load_script
    from nunbit.synth.video import render_video

    path = tmp_path_factory.mktemp("clip") / "talk.mp4"
    overrides = ("duration_s=6.0", "width=320", "height=240", "emotions=[]", "sayings=[]")
    render_video(path, load_script(None, overrides=overrides))
    return path


@pytest.mark.slow
def test_analyze_needs_nothing_but_the_recording(clip: Path) -> None:
    result = nunbit.analyze(str(clip), workers=1, seed=np.int64(0))
    assert isinstance(result, nunbit.TimelineResult)
    assert result.session == "talk"
    assert len(result.frames) > 0
    folder = result.folder
    assert result.report.is_file()
    many = nunbit.analyze([clip], workers=1)
    assert isinstance(many, nunbit.SessionsResult)
    one = many[0]
    del many, result
    gc.collect()
    assert not folder.exists()  # it lived as long as its result
    assert one.report.is_file()  # and this one still has its own


@pytest.mark.slow
def test_one_recording_that_fails_is_said_and_not_dropped(clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no film", encoding="utf-8")
    result = nunbit.analyze([clip, broken], tmp_path / "out", workers=1)
    assert isinstance(result, nunbit.SessionsResult)
    assert list(result.failed) == ["broken"]
    assert repr(result) == "<SessionsResult: 1 recordings, 1 failed>"
    again = nunbit.analyze(clip, str(tmp_path / "out"), workers=1)
    assert isinstance(again, nunbit.TimelineResult)
    assert again.kept == "kept"


@pytest.mark.parametrize(
    ("media", "settings", "error", "said"),
    [
        ([], {}, InputError, "`media` is empty"),
        (7, {}, TypeError, r"media\[0\]: expected a path|media: expected a path"),
        ("nofile.mp4", {}, InputError, "nofile.mp4: there is no such file"),
        (".", {"colour": 1}, SettingsError, "analyze: unknown setting colour; there are: a"),
        (".", {"export": "pdf"}, SettingsError, "choose from eaf, textgrid"),
        (".", {"settings": 3}, TypeError, "settings: expected AnalyzeSettings, got int"),
    ],
)
def test_what_analyze_cannot_use_is_said(
    media: Any, settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    pytest.importorskip("av")
    with pytest.raises(error, match=said):
        nunbit.analyze(media, **settings)


def test_settings_take_paths_texts_for_lists_and_numbers_of_numpy() -> None:
    from nunbit.runtime.config import settings_from
    from nunbit.stories.analyze.job import AnalyzeSettings

    made = settings_from(
        AnalyzeSettings,
        {
            "transcript": Path("a.srt"),
            "export": "eaf, csv",
            "window_s": np.float32(6),
            "seed": None,
        },
        "analyze",
    )
    assert (made.transcript, made.export, made.window_s) == ("a.srt", ("eaf", "csv"), 6.0)
    assert settings_from(AnalyzeSettings, {"settings": made}, "analyze") is made
    with pytest.raises(TypeError, match="given beside seed"):
        settings_from(AnalyzeSettings, {"settings": made, "seed": 1}, "analyze")


def test_as_paths_takes_one_for_a_list() -> None:
    assert as_paths("a", "media") == as_paths(Path("a"), "media") == as_paths(["a"], "media")


# --- the experiment --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> nunbit.PrepareResult:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("experiment")
    for label in ("happy", "sad", "neutral", "angry", "fear", "disgust", "surprise"):
        (folder / "faces" / label).mkdir(parents=True)
        for n in range(10):
            pixels = rng.integers(0, 255, (48, 48, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "faces" / label / f"{n}.png")
    return nunbit.prepare(str(folder / "faces"), folder / "data", label_set="fer7", size=48,
                          num_workers=1)  # fmt: skip


def test_a_prepared_set_is_a_table_of_its_crops(prepared: nunbit.PrepareResult) -> None:
    assert prepared.finished
    assert sum(n for split, n in prepared.counts.items() if split != "rejects") == 70
    assert len(prepared.to_pandas()) == 70
    assert len(repr(prepared).split(";")[0]) < 100


@pytest.mark.slow
def test_evaluate_takes_what_prepare_gives_and_needs_no_folder(
    prepared: nunbit.PrepareResult, model: nunbit.Model, tmp_path: Path
) -> None:
    result = nunbit.evaluate(prepared, model=model, n_resamples=100)
    assert isinstance(result, nunbit.EvalResult)
    assert result.report is not None
    assert result.report.is_file()
    assert list(result.to_pandas()["label"]) == list(result.labels)
    assert result.to_pandas()["support"].sum() == result.n
    assert repr(result).startswith("<EvalResult: UAR 0.")
    assert json.loads(result.save(tmp_path / "r.json").read_text("utf-8")) == result.document
    folder = result.folder
    del result
    gc.collect()
    assert folder is not None
    assert not folder.exists()
    with pytest.raises(SettingsError, match="`part` is for job arrays"):
        nunbit.evaluate(prepared, part="1/2")


@pytest.mark.train
@pytest.mark.slow
def test_a_tiny_model_is_trained_and_used(
    prepared: nunbit.PrepareResult, tmp_path: Path, photo: Image.Image
) -> None:
    pytest.importorskip("torch")
    run = nunbit.train(prepared, tmp_path / "run", init="tiny", image_size=32, epochs=1,
                       holdout=0.5, num_workers=0)  # fmt: skip
    assert run.bundle == tmp_path / "run" / "bundle"
    assert set(run.validation) >= {"top1", "uar"}
    assert run.to_arrow().num_rows > 0
    assert "top1" in repr(run)
    assert len(run.model().predict(photo)) == 1


def test_data_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="data: expected a path"):
        nunbit.evaluate(7)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="make it with `prepare`"):
        nunbit.evaluate(tmp_path)
    with pytest.raises(InputError, match="`src` is empty"):
        nunbit.prepare([], tmp_path / "x")
    with pytest.raises(TypeError, match="text: expected a sentence, got list"):
        nunbit.search(tmp_path, ["a"], model=nunbit.load())  # type: ignore[arg-type]


# --- the command line ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("choose another `out`", "choose another --out"),
        ("give it as `model`", "give it as --bundle"),
        ("another `policy`", "another --labels"),
        ("use `batch_size=32`", "use --set batch_size=32"),
        ("or `crops=True` where", "or --crops where"),
        ("`asr=vosk`", "--asr vosk"),
        ("`analyze` reads it", "`nunbit analyze` reads it"),
        ("with `aliases` in it", "with `aliases` in it"),
        ("`nunbit prepare SRC --out DATA`", "`nunbit prepare SRC --out DATA`"),
    ],
)
def test_the_command_line_says_flags(said: str, shown: str) -> None:
    assert in_flags(said) == shown


def test_every_flag_exists_in_a_command() -> None:
    import click

    from nunbit.cli import cli
    from nunbit.cli.shared import FLAGS

    groups = [c for c in cli.commands.values() if isinstance(c, click.Group)]
    commands = [*cli.commands.values(), *(c for group in groups for c in group.commands.values())]
    options = {
        (param.name, flag)
        for command in commands
        for param in command.params
        if isinstance(param, click.Option)
        for flag in param.opts
    }
    flags = {flag for _, flag in options}
    assert set(FLAGS.values()) <= flags
    assert {name for name, _ in options} >= set(FLAGS) - {"model"}


def test_a_shipped_model_is_known_by_name_on_the_command_line(file: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "nunbit", "predict", str(file), "--bundle", "fer7-lite", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(run.stdout)["counts"]["faces"] == 1


def test_columns_of_arrow_are_of_plain_types(model: nunbit.Model, photo: Image.Image) -> None:
    kinds = {field.type for field in model.predict(photo).to_arrow().schema}
    assert kinds == {pa.int64(), pa.string(), pa.float64(), pa.bool_()}
