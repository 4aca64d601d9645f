"""From ``result.json`` to what the page shows: sentences, plots and tables, ready to print.

The page itself (``templates/``) only lays out; every word and number is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nunbit import metrics
from nunbit.columns import width
from nunbit.errors import Lang
from nunbit.labels import LabelSet, label_set_from_dict, load_label_set
from nunbit.report import shapes
from nunbit.report.shapes import Plot, Row, share_plot, share_row
from nunbit.report.texts import Texts

Document = dict[str, Any]

_CELL = 48  # side of a cell of the confusion matrix, units of its viewBox


class View:
    """A result with its texts.

    Args:
        document: ``result.json``.
        lang: Language of the page.
    """

    def __init__(self, document: Document, lang: Lang) -> None:
        self.d, self.t, self.lang = current(document), Texts(lang), lang
        self.label_set: LabelSet = label_set_from_dict(document["label_set"], "result.json")
        # The package's classes first: a stand-in or merged group names classes the own set lacks.
        self._names = {
            label.id: label.name(lang)
            for known in (load_label_set("fer7"), load_label_set("aihub7"), self.label_set)
            for label in known.labels
        }

    def name(self, label: str) -> str:
        """Name of a class in the language of the page."""
        return self._names.get(label, label)

    def names(self, labels: Iterable[str]) -> str:
        """Names of several classes."""
        return ", ".join(self.name(label) for label in labels)

    def detail(self, entry: Document) -> str:
        """Images and persons of an entry, in small print."""
        parts = [self.t("facts.n_images", n=shapes.whole(entry["n"]))]
        if entry.get("n_subjects") is not None:
            parts.append(self.t("facts.n_persons", n=shapes.whole(entry["n_subjects"])))
        return " · ".join(parts)

    def score_row(
        self,
        label: str,
        entry: Document,
        *,
        tag: str = "",
        kind: str = "plain",
        counted: bool = True,
    ) -> Row:
        """Accuracy of an entry as a line of a plot, with its number of images if ``counted``."""
        return share_row(
            label,
            entry["top1"],
            entry["ci95"]["top1"],
            detail=self.detail(entry) if counted else "",
            tag=tag,
            kind=kind,
        )

    def warnings(self, level: str) -> list[str]:
        """Sentences of one level."""
        return [w[self.lang] for w in self.d["warnings"] if w["level"] == level]

    def heading(self) -> str:
        """The question the page answers."""
        name = self.d["bundle"]["name"] if self.d["bundle"] else self.d["model"]
        if name is None:
            return self.t("document.heading_file")
        return self.t("document.heading", bundle=name)

    def facts(self) -> list[tuple[str, str]]:
        """What was evaluated, as pairs of name and value."""
        d, t = self.d, self.t
        facts = [
            (t("facts.split"), t.get(f"split.{d['split']}")),
            (t("facts.policy"), self.policy(d["policy"])),
            (t("facts.images"), shapes.whole(d["n"])),
            (
                t("facts.persons"),
                shapes.whole(d["n_subjects"]) if d["n_subjects"] else t("facts.unknown"),
            ),
        ]
        if d["prompts"]:
            facts += [
                (t("facts.prompts"), d["prompts"]),
                (t("facts.ensemble"), t.get(f"ensemble.{d['ensemble']}")),
            ]
        return facts

    def policy(self, policy: str) -> str:
        """A label policy with its id, since results are quoted by it."""
        # Where classes are folders or a column, nobody uploaded anything.
        source = (self.d["dataset"] or {}).get("source") if policy == "uploader" else None
        kind = f"{policy}_{source}" if source in ("folder", "table") else policy
        text = self.t.get(f"policy.{kind}")
        if kind != policy:
            return f"{text} ({policy})"
        return text if text == policy else f"{text} ({policy})"

    def headline(self) -> tuple[list[str], Plot]:
        """The answer in sentences, and the three headline scores on one scale."""
        d, t = self.d, self.t
        sentences = [
            t(
                "headline.sentence",
                n=shapes.whole(d["n"]),
                split=t.get(f"split.{d['split']}"),
                policy=self.policy(d["policy"]),
                top1=shapes.percent(d["top1"]),
                ci=shapes.percent_interval(d["ci95"]["top1"]),
                largest=shapes.percent(d["chance"]["largest_class"]),
                uniform=shapes.percent(d["chance"]["uniform"]),
            )
        ]
        unseen, annotators = d["unseen_subjects"], d["annotators"]
        if unseen["n"] and d["seen_subjects"]["n"]:
            sentences.append(
                t(
                    "headline.sentence_unseen",
                    top1=shapes.percent(unseen["top1"]),
                    n=shapes.whole(unseen["n"]),
                )
            )
        if annotators["n_cases"]:
            if annotators["pairwise"]:
                share = shapes.percent(annotators["pairwise"]["share"])
                sentences.append(t("headline.sentence_pairwise", share=share))
            sentences.append(
                t(
                    "headline.sentence_others",
                    human=shapes.percent(annotators["human"]["top1"]),
                    model=shapes.percent(annotators["model"]["top1"]),
                )
            )
        if d["seeds"]:
            sentences.append(self._seeds_sentence(d["seeds"]))
        kind = "t" if d["ci_method"].startswith("t interval") else "ci"
        sentences.append(t(f"headline.{kind}_{d['ci_unit']}", n=shapes.whole(d["n_subjects"])))
        rows = [
            share_row(t(f"metric.{key}"), d[key], d["ci95"][key], kind="strong")
            for key in ("top1", "macro_f1", "uar")
        ]
        plot = share_plot(rows, reference=d["chance"]["uniform"], span=(0.0, 1.0))
        return sentences, plot

    def _seeds_sentence(self, seeds: Document) -> str:
        spreads = [
            self.t(
                "headline.spread",
                metric=self.t(f"metric.{key}"),
                mean=shapes.percent(seeds[key]["mean"]),
                sd=shapes.decimal(100 * seeds[key]["sd"], 1),
                range=shapes.percent_interval((seeds[key]["min"], seeds[key]["max"])),
            )
            for key in ("top1", "macro_f1", "uar")
        ]
        return self.t("headline.seeds", n=seeds["n"], list="; ".join(spreads))

    def confusion(self) -> dict[str, Any]:
        """Cells of the matrix and the most frequent confusions."""
        d, t, labels = self.d, self.t, self.d["labels"]
        matrix = d["confusion"]
        row_sums = [sum(row) for row in matrix]
        column_sums = [sum(column) for column in zip(*matrix, strict=True)]
        cells, pairs = [], []
        for i, row in enumerate(matrix):
            for j, count in enumerate(row):
                share = count / row_sums[i] if row_sums[i] else 0.0
                column = count / column_sums[j] if column_sums[j] else 0.0
                text = t(
                    "confusion.diagonal" if i == j else "confusion.cell",
                    truth=self.name(labels[i]),
                    prediction=self.name(labels[j]),
                    n=shapes.whole(count),
                    row=shapes.percent(share),
                    column=shapes.percent(column),
                )
                cells.append(
                    {
                        "row": i,
                        "column": j,
                        "count": shapes.whole(count),
                        "share": f"{100 * share:.0f}" if row_sums[i] else shapes.MISSING,
                        "shade": round(share, 3),
                        "text": text,
                    }
                )
                if i != j and count:
                    pairs.append((share, i, j))
        worst = sorted(pairs, reverse=True)[:3]
        listed = [
            t(
                "confusion.pair",
                truth=self.name(labels[i]),
                prediction=self.name(labels[j]),
                share=shapes.percent(share, 0),
            )
            for share, i, j in worst
        ]
        names = [self.name(label) for label in labels]
        widest = 6.8 * max(width(name) for name in names)  # at the 13 px of the drawing
        slanted = widest > _CELL - 2
        return {
            "names": names,
            "left": round(30 + widest),
            "top": round(24 + 0.68 * widest) if slanted else 42,
            "right": round(0.55 * widest) if slanted else 2,
            "slanted": slanted,
            "cells": cells,
            "size": len(labels),
            "row_sums": [shapes.whole(n) for n in row_sums],
            "largest": t("confusion.largest", list=", ".join(listed)) if listed else "",
        }

    def distribution(self) -> list[dict[str, Any]]:
        """True and predicted share of each class; ``*_width`` in per cent of the longest bar."""
        truth, answers = self.d["truth_distribution"], self.d["prediction_distribution"]
        longest = max(*truth.values(), *answers.values(), 1e-9)
        return [
            {
                "name": self.name(label),
                "truth": shapes.percent(truth[label]),
                "answers": shapes.percent(answers[label]),
                "truth_width": 100 * truth[label] / longest,
                "answers_width": 100 * answers[label] / longest,
            }
            for label in self.d["labels"]
        ]

    def classes(self) -> list[dict[str, Any]]:
        """Precision, recall and F1 of each class with intervals."""
        plot = share_plot([], span=(0.0, 1.0))
        rows = []
        for label in self.d["labels"]:
            entry = self.d["per_class"][label]
            scores = []
            for key in ("recall", "precision", "f1"):
                value, interval = entry[key], entry["ci95"][key]
                scores.append(
                    {
                        "value": shapes.percent(value),
                        "interval": shapes.percent_interval(interval),
                        "at": None if value is None else plot.at(value),
                        "left": None if interval is None else plot.at(interval[0]),
                        "width": None
                        if interval is None
                        else plot.at(interval[1]) - plot.at(interval[0]),
                    }
                )
            rows.append(
                {
                    "name": self.name(label),
                    "scores": scores,
                    "support": shapes.whole(entry["support"]),
                }
            )
        return rows

    def mistakes(self, pictures: dict[str, str]) -> list[dict[str, Any]]:
        """The most confident mistakes, with pictures (data URIs) where there are any."""
        rows = []
        for entry in self.d["confident_mistakes"]:
            votes = [self.name(v) if v else self.t("mistakes.null_vote") for v in entry["votes"]]
            counted = {v: votes.count(v) for v in dict.fromkeys(votes)}
            rows.append(
                {
                    "record": entry["record_id"],
                    "truth": self.name(entry["truth"]),
                    "prediction": self.name(entry["prediction"]),
                    "probability": shapes.percent(entry["probability"]),
                    "template": entry["deciding_template"] or "",
                    "votes": ", ".join(f"{v} {n}" if n > 1 else v for v, n in counted.items()),
                    "picture": pictures.get(entry["record_id"]),
                }
            )
        return rows

    def provenance(self) -> list[tuple[str, str]]:
        """How the result was made, as pairs."""
        d, t, p = self.d, self.t, self.d["provenance"]
        pairs = [
            (t("provenance.command"), f"nunbit {p['command']}"),
            (t("provenance.version"), f"nunbit {p['nunbit']}, Python {p['python']}, {p['system']}"),
            (t("provenance.created"), p["created"]),
        ]
        if d["bundle"]:
            pairs.append((t("provenance.bundle"), f"{d['bundle']['name']} · {d['bundle']['hash']}"))
            statement = _statement(d["bundle"].get("training_data"))
            if statement:
                pairs.append((t("provenance.training_data"), statement))
        if d["dataset"]:
            ds = d["dataset"]
            pairs.append(
                (t("provenance.dataset"), f"{ds['name']} · {ds['label_set']} · {ds['n']:,}")
            )
        pairs += [
            (t("provenance.inputs"), _pairs(p["inputs"])),
            (t("provenance.settings"), _pairs(p["settings"])),
            (t("provenance.packages"), _pairs(p["packages"])),
            (
                t("provenance.rejected"),
                t(
                    "provenance.rejected_text",
                    rejected=shapes.whole(d["n_rejected"]),
                    no_label=shapes.whole(d["n_skipped"]["no_label"]),
                ),
            ),
        ]
        return pairs

    def method(self) -> list[str]:
        """What the words of the page mean."""
        keys = ["apparent", "probability", "uar"]
        if self.d["prompts"]:
            keys.insert(1, "zero_shot")
        texts = [self.t(f"method.{key}") for key in keys]
        resamples = self.d["provenance"]["settings"].get("n_resamples")
        unit = self.t(f"method.unit_{self.d['ci_unit']}")
        texts.append(
            self.t("method.interval", n=shapes.whole(resamples), unit=unit, few=metrics.FEW)
        )
        return texts


def current(document: Document) -> Document:
    """A result of any version in the keys of this one; what it did not compute is None."""
    d = dict(document)
    if "annotators" not in d:  # until version 0.1: called a ceiling, without pairs of annotators
        d["annotators"] = {**d["human_ceiling"], "pairwise": None}
    d["calibration"] = {
        "ece_noise_floor_after": None,
        "ece_noise_floor_persons_after": None,
        **d["calibration"],
    }
    return d


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _statement(training_data: Any) -> str:
    """What a bundle says of its training data, in whatever form it keeps it."""
    if isinstance(training_data, dict):
        return str(training_data.get("statement") or "")
    return str(training_data or "")
