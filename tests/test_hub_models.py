"""Hugging Face dual encoders: small random ones, saved and loaded the way a user has them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from nunbit.core.messages import InputError
from nunbit.training.hub_models import HALF, OPENAI_MEAN, load_hub_model

pytestmark = pytest.mark.train

TEXTS = ["이 사람의 표정은 슬픔이다", "기쁨", "a sad face"]
SIDE, PATCH = 32, 16
_SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_IMAGE = _SMALL | {"image_size": SIDE, "patch_size": PATCH}


def _bytes_tokenizer(pad: str, start: str, end: str) -> Any:
    """Byte-level pieces with the special pieces a family uses."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*dict.fromkeys((start, pad, end)), *alphabet]
    tokenizer = Tokenizer(models.BPE({p: n for n, p in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(list(dict.fromkeys((start, pad, end))))
    ids = [(p, tokenizer.token_to_id(p)) for p in dict.fromkeys((start, end))]
    tokenizer.post_processor = TemplateProcessing(single=f"{start} $A {end}", special_tokens=ids)
    return tokenizer


def _save(model: Any, tokenizer: Any, folder: Path, pad: str) -> Any:
    import transformers

    model = model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad)
    wrapped.save_pretrained(folder)
    return model


def _clip(folder: Path) -> Any:
    import transformers as t

    text = _SMALL | {"vocab_size": 270, "max_position_embeddings": 120, "eos_token_id": 1}
    config = t.CLIPConfig(text_config=text, vision_config=_IMAGE)
    return _save(t.CLIPModel(config), _bytes_tokenizer("<e>", "<s>", "<e>"), folder, "<e>")


def _korean(folder: Path) -> Any:
    """The shape of public Korean CLIPs: a vision transformer and a RoBERTa with a Korean text."""
    import transformers as t

    text = t.RobertaConfig(
        **_SMALL, vocab_size=270, max_position_embeddings=130, pad_token_id=1, type_vocab_size=1
    )
    config = t.VisionTextDualEncoderConfig.from_vision_text_configs(
        t.ViTConfig(**_IMAGE), text, projection_dim=24
    )
    model = t.VisionTextDualEncoderModel(config=config)
    return _save(model, _bytes_tokenizer("<pad>", "<s>", "</s>"), folder, "<pad>")


def _multilingual(folder: Path) -> Any:
    import transformers as t

    text = t.XLMRobertaConfig(
        **_SMALL, vocab_size=270, max_position_embeddings=130, pad_token_id=1, type_vocab_size=1
    )
    config = t.VisionTextDualEncoderConfig.from_vision_text_configs(
        t.CLIPVisionConfig(**_IMAGE), text, projection_dim=24
    )
    model = t.VisionTextDualEncoderModel(config=config)
    return _save(model, _bytes_tokenizer("<pad>", "<s>", "</s>"), folder, "<pad>")


def _siglip(folder: Path) -> Any:
    import transformers as t

    text = _SMALL | {"vocab_size": 270, "max_position_embeddings": 128, "projection_size": 32}
    config = t.SiglipConfig(text_config=text, vision_config=_IMAGE)
    return _save(t.SiglipModel(config), _bytes_tokenizer("</s>", "</s>", "</s>"), folder, "</s>")


def _bert_text() -> dict[str, Any]:
    return _SMALL | {"vocab_size": 270, "max_position_embeddings": 128, "pad_token_id": 1}


def _chinese(folder: Path) -> Any:
    import transformers as t

    config = t.ChineseCLIPConfig(text_config=_bert_text(), vision_config=_IMAGE, projection_dim=24)
    tokenizer = _bytes_tokenizer("<pad>", "<s>", "</s>")
    return _save(t.ChineseCLIPModel(config), tokenizer, folder, "<pad>")


def _alt(folder: Path) -> Any:
    import transformers as t

    text = _SMALL | {
        "vocab_size": 270,
        "max_position_embeddings": 130,
        "pad_token_id": 1,
        "type_vocab_size": 1,
        "project_dim": 24,
    }
    config = t.AltCLIPConfig(text_config=text, vision_config=_IMAGE, projection_dim=24)
    tokenizer = _bytes_tokenizer("<pad>", "<s>", "</s>")
    return _save(t.AltCLIPModel(config), tokenizer, folder, "<pad>")


FAMILIES: dict[str, Callable[[Path], Any]] = {
    "clip": _clip,
    "korean": _korean,
    "multilingual": _multilingual,
    "siglip": _siglip,
    "chinese": _chinese,
    "alt": _alt,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    made: dict[str, tuple[Path, Any]] = {}

    def get(name: str) -> tuple[Path, Any]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            torch.manual_seed(0)
            made[name] = (folder, FAMILIES[name](folder))
        return made[name]

    return get


@pytest.mark.parametrize("name", FAMILIES)
def test_loads_model_tokenizer_and_sizes(
    folders: Callable[[str], tuple[Path, Any]], name: str
) -> None:
    folder, model = folders(name)
    loaded = load_hub_model(str(folder))
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value), key
    assert loaded.image_size == SIDE
    limits = {"clip": 120}
    assert loaded.max_tokens == limits.get(name, 128), "RoBERTa reads two less than its table"
    assert loaded.mean == (HALF if name in ("siglip", "korean") else OPENAI_MEAN)
    lengths = {len(e.ids) for e in loaded.tokenizer.encode_batch(TEXTS)}
    own = max(len(loaded.tokenizer.encode(t).tokens) for t in TEXTS)
    assert lengths == ({128} if name == "siglip" else {own})


def test_preprocessor_config_is_heeded(
    folders: Callable[[str], tuple[Path, Any]], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders("clip")[0], tmp_path / "m")
    pixels = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1], "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    loaded = load_hub_model(str(folder))
    assert (loaded.mean, loaded.std, loaded.resample) == ((0.1, 0.2, 0.3), (1, 1, 1), "bilinear")


class _Evil:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.flag),))


def _no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def _cut(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def _code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"x": _Evil(folder / "ran")}, folder / "pytorch_model.bin")


def _config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        document = json.loads(path.read_text())
        path.write_text(json.dumps(document | changes))

    return change


def _remote_code(folder: Path) -> None:
    _config(auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M"}, model_type="mine")(folder)
    (folder / "evil.py").write_text(f"import os; os.mkdir({str(folder / 'ran')!r})\n")


def _many_words(folder: Path) -> None:
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    document["model"]["vocab"]["하나"] = 5000
    path.write_text(json.dumps(document))


def _fewer_layers(folder: Path) -> None:
    path = folder / "config.json"
    document = json.loads(path.read_text())
    document["vision_config"]["num_hidden_layers"] = 3
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_no_tokenizer, "it has no tokenizer (tokenizer.json)"),
        (_cut, "cannot load this model"),
        (_code, "cannot load this model"),
        (_remote_code, "cannot load this model"),
        (_config(model_type="bert"), "model_type is bert, expected clip or siglip"),
        (_many_words, "do not belong together"),
        (_fewer_layers, "weights are missing, first vision_model"),
        (lambda f: (f / "config.json").unlink(), "cannot load this model"),
        (lambda f: (f / "config.json").write_text("{"), "cannot load this model"),
    ],
    ids=["tokenizer", "cut", "code", "remote", "type", "vocabulary", "layers", "config", "json"],
)
def test_damaged_folders(
    folders: Callable[[str], tuple[Path, Any]],
    tmp_path: Path,
    damage: Callable[[Path], Any],
    expected: str,
) -> None:
    folder = shutil.copytree(folders("clip")[0], tmp_path / "m")
    damage(folder)
    with pytest.raises(InputError) as caught:
        load_hub_model(str(folder))
    assert expected in caught.value.text.line("en"), caught.value.text.line("en")
    assert str(folder) in caught.value.text.line("ko")
    assert not (folder / "ran").exists()


def test_neither_folder_nor_hub_id() -> None:
    for init in ("./nowhere", "/nowhere/x", "nowhere"):
        with pytest.raises(InputError, match="no such folder or file, and not a hub id"):
            load_hub_model(init)


def test_hub_id_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"nobody/nothing.*hf download nobody/nothing"):
        load_hub_model("nobody/nothing")
