"""``MODEL_CARD.md`` of a bundle, written from ``bundle.json``: no figure is typed in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD_FILE = "MODEL_CARD.md"

_NOT_FOR = """\
- It estimates **apparent expression**, what a face looks like to a viewer. It does not know what
  a person feels, and it is **not a diagnosis** of depression or of anything else.
- Not for decisions about people: hiring, schooling, policing, border control, insurance, credit.
- Not for watching people at work or at school, and not without the consent of the people shown.
- Groups of labels such as the depression-related one are groups of words, nothing clinical.
- Not validated on video, on faces of other age groups, cultures or cameras than the training data
  has, or on crops that are framed differently.
"""


def model_card(document: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        document: ``bundle.json`` with ``parity``.
    """
    data, training = document["training_data"], document["training"]
    labels = document["label_set"]["labels"]
    origin, parity = document["starting_point"], document["parity"]
    sections = [
        f"# {document['name']}\n",
        "A dual encoder of face crops and sentences, classifying by cosine to prompts; no "
        "classifier head.\n",
        "## Starting point\n",
        _table(
            {
                "name": origin["name"],
                "weights": origin["weights"],
                "licence": origin["licence"],
                "input": f"{document['preprocessing']['image_size']} px",
                "embedding": f"{document['embedding_size']} numbers",
            }
        ),
        "## Training data\n",
        _table(data),
        "Classes: " + ", ".join(f"{lb['id']} ({lb['ko']})" for lb in labels) + "\n",
        "## Result on the selection split\n",
        "These images chose the checkpoint and the temperature, so the figures are optimistic; "
        "`nunbit evaluate` gives the honest ones.\n",
        _table(training.get("selection", {})),
        "## Prompts of the training\n",
        "\n".join(f"- {text}" for text in document["trained_prompts"]) + "\n",
        "## Settings\n",
        _table(training.get("settings", {})),
        "## Export\n",
        f"Agreement with torch on {parity['images']} images ({parity['images_from']}): smallest "
        f"cosine {parity['image_cosine_min']:.6f} (images), {parity['text_cosine_min']:.6f} "
        f"(texts), same answer {parity['same_answer']:.2%}.\n",
        "## Licence\n",
        _table(document["licence"]),
        "## What it must not be used for\n",
        _NOT_FOR,
        f"\nWritten by nunbit {document['nunbit_version']}.\n",
    ]
    return "\n".join(sections)


def _table(values: Mapping[str, Any]) -> str:
    if not values:
        return "(none)\n"
    rows = [f"| {key} | {_cell(value)} |" for key, value in values.items()]
    return "\n".join(["| | |", "|---|---|", *rows]) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_cell(v)}" for k, v in value.items())
    return str(value).replace("|", "\\|")
