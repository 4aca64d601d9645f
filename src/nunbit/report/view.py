"""Turn ``result.json`` into the sentences, plots and tables of the page.

The page itself (``templates/``) only lays out; every word and number is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nunbit import statistics
from nunbit.core.messages import Lang
from nunbit.language.labels import label_set_from_dict
from nunbit.report import shapes
from nunbit.report.shapes import (
    ClassNames,
    Document,
    Parts,
    Plot,
    Row,
    Texts,
    share_plot,
    share_row,
)
from nunbit.runtime.progress import width

HEADLINE = ("top1", "macro_f1", "uar")
"""Scores that every result is told by."""

_CELL = 48  # side of a cell of the confusion matrix, units of its viewBox


class View(ClassNames):
    """A result with its texts.

    Args:
        document: ``result.json``.
        lang: Language of the page.
    """

    def __init__(self, document: Mapping[str, Any], lang: Lang) -> None:
        self.d, self.t, self.lang = current(dict(document)), Texts(lang), lang
        super().__init__(label_set_from_dict(document["label_set"], "result.json"), lang)

    def detail(self, entry: Document) -> str:
        """Images and persons of an entry, in small print."""
        parts = [self.t("facts.n_images", n=shapes.whole(entry["n"]))]
        if entry.get("n_subjects") is not None:
            parts.append(self.t("facts.n_persons", n=shapes.whole(entry["n_subjects"])))
        return " · ".join(parts)

    def score_row(self, label: str, entry: Document, *, counted: bool = True, **marks: str) -> Row:
        """Accuracy of an entry as a line of a plot, with its number of images if ``counted``."""
        detail = self.detail(entry) if counted else ""
        return share_row(label, entry["top1"], entry["ci95"]["top1"], detail=detail, **marks)

    def warnings(self, level: str) -> list[str]:
        """Sentences of one level."""
        return [w[self.lang] for w in self.d["warnings"] if w["level"] == level]

    def heading(self) -> str:
        """Heading of the page: the question it answers."""
        name = self.d["bundle"]["name"] if self.d["bundle"] else self.d["model"]
        heading = "heading_file" if name is None else "heading"
        return self.t(f"document.{heading}", bundle=name)

    def facts(self) -> list[tuple[str, str]]:
        """What was evaluated, as pairs of name and value."""
        d, t = self.d, self.t
        persons = shapes.whole(d["n_subjects"]) if d["n_subjects"] else t("facts.unknown")
        facts = {
            "split": t.get(f"split.{d['split']}"),
            "policy": self.policy(d["policy"]),
            "images": shapes.whole(d["n"]),
            "persons": persons,
            "prompts": d["prompts"],
            "ensemble": d["prompts"] and t.get(f"ensemble.{d['ensemble']}"),
        }
        return [(t(f"facts.{key}"), value) for key, value in facts.items() if value]

    def policy(self, policy: str) -> str:
        """A label policy with its id, since results are quoted by it."""
        # Where classes are folders or a column, nobody uploaded anything.
        source = (self.d["dataset"] or {}).get("source") if policy == "uploader" else None
        kind = f"{policy}_{source}" if source in ("folder", "table") else policy
        text = self.t.get(f"policy.{kind}")
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
        unseen, annotators, percent = d["unseen_subjects"], d["annotators"], shapes.percent
        if unseen["n"] and d["seen_subjects"]["n"]:
            n = shapes.whole(unseen["n"])
            sentences.append(t("headline.sentence_unseen", top1=percent(unseen["top1"]), n=n))
        if annotators["n_cases"]:
            if pairwise := annotators["pairwise"]:
                sentences.append(t("headline.sentence_pairwise", share=percent(pairwise["share"])))
            shares = {who: percent(annotators[who]["top1"]) for who in ("human", "model")}
            sentences.append(t("headline.sentence_others", **shares))
        if d["seeds"]:
            sentences.append(self._seeds_sentence(d["seeds"]))
        kind = "t" if d["ci_method"].startswith("t interval") else "ci"
        sentences.append(t(f"headline.{kind}_{d['ci_unit']}", n=shapes.whole(d["n_subjects"])))
        rows = [
            share_row(t(f"metric.{key}"), d[key], d["ci95"][key], kind="strong") for key in HEADLINE
        ]
        return sentences, share_plot(rows, reference=d["chance"]["uniform"], span=(0.0, 1.0))

    def _seeds_sentence(self, seeds: Document) -> str:
        spreads = [
            self.t(
                "headline.spread",
                metric=self.t(f"metric.{key}"),
                mean=shapes.percent(seeds[key]["mean"]),
                sd=shapes.decimal(100 * seeds[key]["sd"], 1),
                range=shapes.percent_interval((seeds[key]["min"], seeds[key]["max"])),
            )
            for key in HEADLINE
        ]
        return self.t("headline.seeds", n=seeds["n"], list="; ".join(spreads))

    def confusion(self) -> Parts:
        """Cells of the matrix and the most frequent confusions."""
        t, matrix = self.t, np.array(self.d["confusion"], np.int64)
        names = [self.name(label) for label in self.d["labels"]]
        of_row, of_column = (
            np.nan_to_num(statistics.ratio(matrix, matrix.sum(axis=axis, keepdims=True)))
            for axis in (1, 0)
        )
        cells = [
            {
                "row": i,
                "column": j,
                "count": shapes.whole(int(count)),
                "share": f"{100 * of_row[i, j]:.0f}" if matrix[i].any() else shapes.MISSING,
                "shade": round(float(of_row[i, j]), 3),
                "text": t(
                    "confusion.diagonal" if i == j else "confusion.cell",
                    truth=names[i],
                    prediction=names[j],
                    n=shapes.whole(int(count)),
                    row=shapes.percent(float(of_row[i, j])),
                    column=shapes.percent(float(of_column[i, j])),
                ),
            }
            for (i, j), count in np.ndenumerate(matrix)
        ]
        mixed_up = [(share, i, j) for (i, j), share in np.ndenumerate(of_row) if share and i != j]
        listed = ", ".join(
            t("confusion.pair", truth=names[i], prediction=names[j], share=shapes.percent(share, 0))
            for share, i, j in sorted(mixed_up, reverse=True)[:3]
        )
        widest = 6.8 * max(width(name) for name in names)  # at the 13 px of the drawing
        slanted = widest > _CELL - 2
        return {
            "names": names,
            "left": round(30 + widest),
            "top": round(24 + 0.68 * widest) if slanted else 42,
            "right": round(0.55 * widest) if slanted else 2,
            "slanted": slanted,
            "cells": cells,
            "size": len(names),
            "largest": t("confusion.largest", list=listed) if listed else "",
        }

    def distribution(self) -> list[Parts]:
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

    def classes(self) -> list[Parts]:
        """Precision, recall and F1 of each class with intervals."""
        plot = share_plot([], span=(0.0, 1.0))

        def score(value: float | None, interval: shapes.Interval) -> Parts:
            left, right = (plot.at(end) for end in interval) if interval else (None, None)
            return {
                "value": shapes.percent(value),
                "interval": shapes.percent_interval(interval),
                "at": None if value is None else plot.at(value),
                "left": left,
                "width": None if left is None or right is None else right - left,
            }

        return [
            {
                "name": self.name(label),
                "scores": [score(e[k], e["ci95"][k]) for k in ("recall", "precision", "f1")],
                "support": shapes.whole(e["support"]),
            }
            for label, e in ((label, self.d["per_class"][label]) for label in self.d["labels"])
        ]

    def mistakes(self, pictures: dict[str, str]) -> list[Parts]:
        """The most confident mistakes, with pictures (data URIs) where there are any."""
        rows: list[Parts] = []
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
        d, p = self.d, self.d["provenance"]
        bundle, ds = d["bundle"] or {}, d["dataset"]
        pairs = {
            "command": f"nunbit {p['command']}",
            "version": f"nunbit {p['nunbit']}, Python {p['python']}, {p['system']}",
            "created": p["created"],
            "bundle": f"{bundle['name']} · {bundle['hash']}" if bundle else None,
            "training_data": _statement(bundle.get("training_data")) or None,
            "dataset": f"{ds['name']} · {ds['label_set']} · {ds['n']:,}" if ds else None,
            **{
                key: ", ".join(f"{name} {value}" for name, value in p[key].items())
                for key in ("inputs", "settings", "packages")
            },
            "rejected": self.t(
                "provenance.rejected_text",
                rejected=shapes.whole(d["n_rejected"]),
                no_label=shapes.whole(d["n_skipped"]["no_label"]),
            ),
        }
        return [(self.t(f"provenance.{key}"), v) for key, v in pairs.items() if v is not None]

    def method(self) -> list[str]:
        """Explanations of the terms on the page."""
        keys = ["apparent", *["zero_shot"] * bool(self.d["prompts"]), "probability", "uar"]
        interval = self.t(
            "method.interval",
            n=shapes.whole(self.d["provenance"]["settings"].get("n_resamples")),
            unit=self.t(f"method.unit_{self.d['ci_unit']}"),
            few=statistics.FEW,
        )
        return [*(self.t(f"method.{key}") for key in keys), interval]


def current(document: Document) -> Document:
    """A result of any version with the keys of this one; missing values are None."""
    d = dict(document)
    if "annotators" not in d:  # until version 0.1: called a ceiling, without pairs of annotators
        d["annotators"] = {**d["human_ceiling"], "pairwise": None}
    d["calibration"] = {
        "ece_noise_floor_after": None,
        "ece_noise_floor_persons_after": None,
        **d["calibration"],
    }
    return d


def _statement(training_data: Any) -> str:
    """The bundle's statement about its training data, in any of its forms."""
    if isinstance(training_data, dict):
        return str(training_data.get("statement") or "")
    return str(training_data or "")
