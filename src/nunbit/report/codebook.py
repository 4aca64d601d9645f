"""What every column of the tables over recordings means: label, unit, reason codes.

The same texts go into the .sav file, the sheet ``columns`` of the Excel file and
``docs/tables.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nunbit.core.messages import Lang, Text, text_of
from nunbit.core.streams import MODALITIES
from nunbit.language.labels import LabelSet, label_set_names, load_label_set
from nunbit.measures import FUNCTIONALS, SUFFIXES, definition_of, definitions
from nunbit.measures.definitions import Definition
from nunbit.report.joined_tables import HIGH, LOW, WHY
from nunbit.report.shapes import Texts
from nunbit.report.timeline_meaning import parts_of
from nunbit.report.timeline_view import TEXTS_FILE
from nunbit.runtime.resources import packaged_table

COLUMNS_FILE = "report/columns.toml"
_SOURCES = (*MODALITIES, "fused", "media")


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column.

    Attributes:
        name: As in the files.
        label: A few words.
        unit: '' for texts and plain numbers.
        meaning: A sentence or two.
    """

    name: str
    label: Text
    unit: str
    meaning: Text


class Codebook:
    """Knows the columns.

    Args:
        label_sets: Classes besides those of the package, from the recordings.
    """

    def __init__(self, label_sets: Iterable[LabelSet] = ()) -> None:
        known = [load_label_set(name) for name in label_set_names()]
        self._classes = {x.id: x.name for own in (*known, *label_sets) for x in own.labels}
        self._en, self._ko = Texts("en", TEXTS_FILE), Texts("ko", TEXTS_FILE)
        self._plain = packaged_table(COLUMNS_FILE)["columns"]

    def column(self, name: str) -> TableColumn:
        """A column by its name; a user's own column is its own label."""
        if name in self._plain:
            entry = self._plain[name]
            label, meaning = text_of(entry["label"]), text_of(entry["meaning"])
            return TableColumn(name, label, str(entry.get("unit", "")), meaning)
        for ending in (LOW, HIGH, WHY):
            if name.endswith(ending) and (own := name.removesuffix(ending)):
                return self._ending(name, own, ending)
        modality, _, measure = name.partition(".")
        if modality not in _SOURCES or not measure:
            return TableColumn(name, Text(name, name), "", Text("your own column", "직접 넣은 열"))
        return self._measure(name, modality, measure)

    def reasons(self) -> dict[str, Text]:
        """Reason code -> its words."""
        found = {
            code: self._said(f"reason.{code}")
            for code in packaged_table(f"report/{TEXTS_FILE}")["reason"]
        }
        return found | {"not_measured": text_of(packaged_table(COLUMNS_FILE)["not_measured"])}

    def kinds(self) -> dict[str, Text]:
        """Kind of episode -> its name."""
        return {kind: self._said(f"kind.{kind}") for kind in ("joy", "incongruence",
                "low_agreement")} | {"depgroup": self._label_of("depgroup_share")}  # fmt: skip

    def functionals(self) -> dict[str, Text]:
        """Ending of a session's column -> its words."""
        return {name: self._said(f"functional.{name}") for name in FUNCTIONALS}

    def _said(self, key: str) -> Text:
        return Text(self._en.get(key), self._ko.get(key))

    def _label_of(self, base: str) -> Text:
        known = definition_of(base)
        return Text(base, base) if known is None else known.name

    def _ending(self, name: str, own: str, ending: str) -> TableColumn:
        texts = packaged_table(COLUMNS_FILE)["endings"][ending[1:]]
        # `face.why` of the windows belongs to a whole modality.
        of = self.column(own) if "." in own else None
        label = self._said(f"modality.{own}") if of is None else of.label
        about = text_of(texts["source"] if of is None else texts["meaning"])
        unit = "" if of is None or ending == WHY else of.unit
        return TableColumn(name, text_of(texts["label"]).fill(of=label), unit, about.fill(of=label))

    def _measure(self, name: str, modality: str, measure: str) -> TableColumn:
        base, part, functional = parts_of(measure)
        source = self._said(f"modality.{modality}")
        known, unit = definition_of(base), ""
        if base.startswith("p_"):
            label = self._classes.get(base[2:], Text(base[2:], base[2:]))
            texts = packaged_table(COLUMNS_FILE)["probability"]
            kind = "index" if modality == "fused" else "probability"
            label, meaning = (text_of(texts[f"{kind}_{x}"]).fill(of=label) for x in
                              ("label", "meaning"))  # fmt: skip
            unit = "0–1"
        elif known is None:
            label, meaning = Text(base, base), Text("", "")
        else:
            label, meaning, unit = known.name, known.meaning, known.unit
        details = [self._said(f"measures.{part}")] if part else []
        details += [self._said(f"functional.{functional}")] if functional else []
        for each in (source, *details):
            label = Text(f"{label.en}, {each.en}", f"{label.ko}, {each.ko}")
        if functional == "slope" and unit:
            unit = f"{unit}/min"
        return TableColumn(name, label, "" if functional in ("z",) else unit, meaning)


# --- the generated part of docs/tables.md ---


def reference(lang: Lang) -> str:
    """Columns, measures, endings and reason codes as Markdown tables."""
    book = Codebook()
    heads = {key: text_of(text).pick(lang) for key, text in packaged_table(COLUMNS_FILE)[
        "reference"].items()}  # fmt: skip
    plain = [book.column(name) for name in packaged_table(COLUMNS_FILE)["columns"]]
    head = f"| {heads['column']} | {heads['unit']} | {heads['meaning']} |\n|---|---|---|"
    parts = [
        f"### {heads['fixed']}\n\n{head}",
        *(_row(f"`{c.name}`", c.unit, c.meaning.pick(lang)) for c in plain),
        f"\n### {heads['measures']}\n\n{heads['measures_note']}\n\n{head}",
        _row("`<source>.p_<class>`", "0–1", heads["classes"]),
        *(_row(f"`{d.modality}.{d.id}`", d.unit, _meaning(d, lang)) for d in definitions()),
        f"\n### {heads['endings']}\n\n{head}",
        *_endings(book, lang),
        f"\n### {heads['reasons']}\n\n{heads['reasons_note']}\n\n"
        f"| {heads['code']} | {heads['meaning']} |\n|---|---|",
        *(f"| `{code}` | {text.pick(lang)} |" for code, text in book.reasons().items()),
    ]
    return "\n".join(parts)


def _meaning(d: Definition, lang: Lang) -> str:
    return f"**{d.name.pick(lang)}.** {d.meaning.pick(lang)}"


def _endings(book: Codebook, lang: Lang) -> Iterator[str]:
    texts = packaged_table(COLUMNS_FILE)["endings"]
    for name in SUFFIXES:
        yield _row(f"`{name}`", "", book._said(f"measures.{name[1:]}").pick(lang))
    for name, text in book.functionals().items():
        yield _row(f"`.{name}`", "", text.pick(lang))
    for ending in (LOW, HIGH, WHY):
        of = text_of(texts["column"]).pick(lang)
        yield _row(
            f"`{ending}`", "", text_of(texts[ending[1:]]["meaning"]).pick(lang).format(of=of)
        )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
