"""``MODEL_CARD.md`` of a bundle, written from ``bundle.json``: no figure is typed in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD_FILE = "MODEL_CARD.md"

_FOR = """\
- For researchers who describe apparent expression in pictures and recordings of people who agreed
  to it, within the person or between groups, and who report intervals and what could not be read.
- For teaching and for comparing methods.
"""

_NOT_COVERED = """\
- Labels are what raters saw, not what was felt. People read faces of their own culture better
  (Elfenbein and Ambady 2002): labels of raters from elsewhere carry their reading of the face.
- Who is shown (age, sex, skin tone, culture, health) is known only as far as the training data
  above say so. **This card has no figure by age, sex or skin tone: bias by them is unmeasured
  here.**
  `nunbit evaluate` gives figures by group where the data name groups.
- Whether the people shown agreed to this use is a matter of the training data's terms.
"""

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
                "started from": _start(origin),
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
        "`nunbit evaluate` gives the honest ones. They are figures of the run, on every image with "
        "a label under the policy above: an evaluation under another policy leaves other images "
        "out.\n",
        _table(_selection(training.get("selection", {}), document)),
        "## Prompts of the training\n",
        "\n".join(f"- {text}" for text in document["trained_prompts"]) + "\n",
        "## Settings\n",
        _table(_settings(training.get("settings", {}), origin)),
        "## Export\n",
        f"Agreement with torch on {parity['images']} images ({parity['images_from']}), checked "
        "when the run was exported: smallest "
        f"cosine {parity['image_cosine_min']:.6f} (images), {parity['text_cosine_min']:.6f} "
        f"(texts), same answer {parity['same_answer']:.2%}.\n",
        "## Licence\n",
        _table(document["licence"]),
        "## Intended users\n",
        _FOR,
        "## Who is not covered, and what is unmeasured\n",
        _NOT_COVERED,
        "## What it must not be used for\n",
        _NOT_FOR,
        f"\nWritten by nunbit {document['nunbit_version']}.\n",
    ]
    return "\n".join(sections)


def _start(origin: Mapping[str, Any]) -> str:
    """What the weights began with. A run's name is the user's folder and tells a reader nothing."""
    if str(origin["weights"]).startswith("a run on "):
        return "an earlier run of nunbit, see weights"
    return str(origin["name"])


def _settings(settings: Mapping[str, Any], origin: Mapping[str, Any]) -> dict[str, Any]:
    return {**settings, "init": _start(origin)} if "init" in settings else dict(settings)


def _selection(selection: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """The run's figures, with the temperature the bundle uses where it was fitted anew since."""
    shown = {k: v for k, v in selection.items() if k != "temperature"}
    images = document["training_data"].get("choosing_images")
    if images is not None:
        shown = {"images": images, **shown}
    if "temperature" in selection:
        shown["temperature of the run"] = selection["temperature"]
    if "temperature" in document:
        shown["temperature of this bundle"] = document["temperature"]
    return shown


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
