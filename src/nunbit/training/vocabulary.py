"""The tokenizer of the starting points that bring none: byte-level pieces learned from prompts.

Every byte is a piece, so any text in any language can be spelled offline; merges learned on the
prompts make those short. Knows nothing of towers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nunbit.errors import InputError
from nunbit.labels import LabelSet, label_set_names, load_label_set
from nunbit.prompts import TemplateSet, load_template_set, prompts_for, template_set_names

PAD, START = "<pad>", "<s>"


def known_prompts(
    label_sets: Iterable[LabelSet], template_sets: Iterable[TemplateSet]
) -> dict[str, dict[str, list[str]]]:
    """Prompts of every template set × label set that fit each other.

    A label set without adjective forms does not fit a template that needs one; such a pair is
    left out.

    Returns:
        Label set name -> template set name -> texts, template by template.
    """
    table: dict[str, dict[str, list[str]]] = {}
    for label_set in label_sets:
        for template_set in template_sets:
            try:
                rows = prompts_for(template_set, label_set)
            except InputError:
                continue
            flat = [text for row in rows for text in row]
            table.setdefault(label_set.name, {})[template_set.name] = flat
    return table


def package_sets(
    label_set: LabelSet, template_set: TemplateSet
) -> tuple[list[LabelSet], list[TemplateSet]]:
    """The package's label and template sets, with the given ones first and none twice."""
    labels = [label_set] + [
        load_label_set(name) for name in label_set_names() if name != label_set.name
    ]
    templates = [template_set] + [
        load_template_set(name) for name in template_set_names() if name != template_set.name
    ]
    return labels, templates


def prompt_tokenizer(texts: Iterable[str], size: int) -> Any:
    """Train a byte-level BPE (``tokenizers.Tokenizer``) with padding enabled.

    Args:
        texts: What to learn merges from.
        size: Largest vocabulary, more than 258.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    # macOS hands over decomposed Hangul; the same word must give the same pieces.
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, START],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # A start piece gives the empty text something to pool.
    start = tokenizer.token_to_id(START)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, start)]
    )
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(PAD), pad_token=PAD)
    return tokenizer
