"""Sections that hold a result against something else: the two groups, another result."""

from __future__ import annotations

from typing import Any

from nunbit.report import shapes
from nunbit.report.shapes import Row, points_plot, share_plot, share_row
from nunbit.report.view import Document, View


def binary(view: View) -> dict[str, Any] | None:
    """Two groups: every way of answering, and what it means in words."""
    d, t = view.d["binary"], view.t
    if not d.get("group"):
        return None
    ways = [
        (t("binary.posterior_sum"), d["posterior_sum"], "strong"),
        (
            t("binary.threshold", value=shapes.decimal(d["threshold"]["value"], 2)),
            d["threshold"],
            "plain",
        ),
        (t("binary.collapsed"), d["collapsed"], "plain"),
    ]
    if d["two_prompt"]["n"]:
        ways.append((t("binary.two_prompt"), d["two_prompt"], "plain"))
    wordings = [
        (t("binary.wording", name=t.get(f"binary.{key}")), entry, "pale")
        for key, entry in d["two_prompt"]["wordings"].items()
    ]
    floor = (t("binary.constant"), d["constant"], "other")
    rows = [
        share_row(
            name,
            entry["accuracy"],
            entry["ci95"]["accuracy"],
            tag=_constant_tag(view, entry) if kind != "other" else "",
            kind=kind,
        )
        for name, entry, kind in (*ways, *wordings, floor)
    ]
    keys = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auroc")
    table = [
        {
            "name": name,
            "cells": [
                (shapes.percent(entry[key]), shapes.percent_interval(entry["ci95"][key]))
                for key in keys
            ],
        }
        for name, entry, _ in (*ways, *wordings, floor)
    ]
    return {
        "intro": t(
            "binary.intro",
            members=view.names(d["joined"]),
            prevalence=shapes.percent(d["prevalence"]),
        ),
        "stand_in": t(
            "binary.stand_in",
            wanted=view.names(d["stand_in_for"]),
            members=view.names(d["joined"]),
        )
        if d["stand_in_for"]
        else "",
        "words": [_binary_words(view, name, entry, d["constant"]) for name, entry, _ in ways],
        "plot": share_plot(rows, reference=d["constant"]["accuracy"]),
        "header": [t(f"metric.{key}") for key in keys],
        "table": table,
        "chosen": t(f"binary.chosen_{d['threshold']['chosen_on']}"),
        "wordings": [
            (t.get(f"binary.{key}"), entry["texts"])
            for key, entry in d["two_prompt"]["wordings"].items()
            if entry["texts"]
        ],
    }


def comparison(view: View) -> dict[str, Any] | None:
    """Another result beside this one."""
    c, t, d = view.d["comparison"], view.t, view.d
    if not c:
        return None
    other, name = c["other"], c["name"][view.lang]
    further = d["further_comparisons"]
    rows = []
    for key in ("top1", "macro_f1", "uar"):
        theirs = other.get("ci95") or {}
        rows += [
            share_row(
                t(f"metric.{key}"),
                d[key],
                d["ci95"][key],
                detail=t("comparison.this"),
                kind="strong",
            ),
            share_row("", other[key], theirs.get(key), detail=name, kind="other"),
        ]
    shared = [label for label in d["labels"] if label in other["per_class"]]
    by_class = []
    for label in shared:
        mine, theirs = d["per_class"][label], other["per_class"][label]
        by_class += [
            share_row(view.name(label), mine["f1"], mine["ci95"]["f1"], kind="strong"),
            share_row("", theirs["f1"], (theirs.get("ci95") or {}).get("f1"), kind="other"),
        ]
    return {
        "title": t("comparison.with", name=name),
        "name": name,
        "several": several_models(view) if further else [],
        "further_notes": [
            f"{entry['name'][view.lang]}: {note[view.lang]}"
            for entry in further
            for note in entry["notes"]
        ],
        "notes": [note[view.lang] for note in c["notes"]],
        "plot": share_plot(rows),
        "by_class": share_plot(by_class, span=(0.0, 1.0)) if by_class else None,
        "findings": _findings(view, c) if c["findings"] else [],
        "paired": _paired(view, c["paired"]) if c["paired"] else None,
    }


def several_models(view: View) -> list[dict[str, Any]]:
    """This result and everything it was compared with, one line each."""
    return [
        {
            "name": name,
            "n": shapes.whole(entry["n"]),
            "scores": _three_scores(entry),
            **_short_difference(view, paired, own=index == 0),
        }
        for index, (name, entry, paired) in enumerate(compared(view))
    ]


def compared(view: View) -> list[tuple[str, Document, Document | None]]:
    """Name, scores and pairing of this result and of everything it was compared with.

    What shares images with this result is scored on these, under this result's truth: its own
    figures may be of other images or another label policy.
    """
    d = view.d
    lines: list[tuple[str, Document, Document | None]] = [(view.t("comparison.this"), d, None)]
    for c in (d["comparison"], *d["further_comparisons"]):
        paired = c["paired"]
        lines.append((c["name"][view.lang], paired["other"] if paired else c["other"], paired))
    return lines


def _three_scores(entry: Document) -> list[tuple[str, str]]:
    intervals = entry.get("ci95") or {}
    return [
        (shapes.percent(entry[key]), shapes.percent_interval(intervals.get(key)))
        for key in ("top1", "macro_f1", "uar")
    ]


def _short_difference(view: View, paired: Document | None, *, own: bool) -> dict[str, str]:
    if paired is None:
        text = "" if own else view.t("comparison.unpaired")
        return {"difference": text, "interval": "", "p": ""}
    difference = paired["difference"]
    return {
        "difference": shapes.points(difference["top1"]),
        "interval": shapes.points_interval(difference["ci95"]["top1"]),
        "p": shapes.p_value(paired["mcnemar"]["p_value"]),
    }


def _paired(view: View, paired: Document) -> dict[str, Any]:
    difference, test = paired["difference"], paired["mcnemar"]
    rows = [
        Row(
            view.t(f"metric.{key}"),
            difference[key],
            difference["ci95"][key],
            shapes.points(difference[key]),
            shapes.points_interval(difference["ci95"][key]),
            kind="strong",
        )
        for key in ("top1", "macro_f1", "uar")
    ]
    return {
        "title": view.t("comparison.paired", n=shapes.whole(paired["n"])),
        "plot": points_plot(rows),
        "mcnemar": view.t(
            "comparison.mcnemar",
            first=shapes.whole(test["only_first"]),
            second=shapes.whole(test["only_second"]),
            p=shapes.p_value(test["p_value"]),
        ),
    }


def _findings(view: View, c: Document) -> list[str]:
    f, t, two = c["findings"], view.t, c["findings"]["binary"]
    sentences = [
        t(
            "comparison.finding_sum",
            sum=shapes.whole(f["table_sum"]),
            stated=shapes.whole(f["n_stated"]),
            hits=shapes.whole(f["hits"]),
            by_stated=shapes.percent(f["accuracy_by_stated_n"], 2),
            by_sum=shapes.percent(f["accuracy_by_table_sum"], 2),
            quoted=shapes.percent(f["accuracy_stated"], 2),
            difference=shapes.whole(f["sum_minus_stated"]),
        ),
        t(
            "comparison.finding_scores",
            macro_f1=shapes.decimal(c["other"]["macro_f1"]),
            uar=shapes.decimal(c["other"]["uar"]),
        ),
        t(
            "comparison.finding_policy",
            smallest=shapes.decimal(f["smallest_row_to_folder"], 2),
            largest=shapes.decimal(f["largest_row_to_folder"], 2),
        ),
        t(
            "comparison.finding_pairwise",
            unanimous=shapes.percent(f["unanimous"], 2),
            majority=shapes.percent(f["majority_exists"], 2),
            pairwise=shapes.percent(f["pairwise_agreement"]),
            quoted=shapes.percent(f["accuracy_stated"], 2),
        )
        if "pairwise_agreement" in f
        else "",
        t(
            "comparison.finding_constant",
            stated=shapes.percent(two["accuracy_stated"]),
            share=shapes.percent(two["share_of_group"], 2),
            best=shapes.percent(two["best_constant"]),
        ),
        t(
            "comparison.finding_collapsed",
            accuracy=shapes.percent(two["collapsed_accuracy"], 2),
            sensitivity=shapes.decimal(two["collapsed_sensitivity"]),
            specificity=shapes.decimal(two["collapsed_specificity"]),
        ),
    ]
    return [sentence for sentence in sentences if sentence]


def _binary_words(view: View, name: str, entry: Document, constant: Document) -> str:
    if entry["nearly_constant"]:
        return view.t("binary.words_constant", name=name)
    gain = entry["accuracy"] - constant["accuracy"]
    if gain <= 0:
        return view.t(
            "binary.words_below",
            name=name,
            accuracy=shapes.percent(entry["accuracy"]),
            constant=shapes.percent(constant["accuracy"]),
        )
    return view.t(
        "binary.words_above",
        name=name,
        accuracy=shapes.percent(entry["accuracy"]),
        points=f"{100 * gain:.1f}",
    )


def _constant_tag(view: View, entry: Document) -> str:
    if entry["constant"]:
        return view.t("binary.constant_flag")
    return view.t("binary.nearly_flag") if entry["nearly_constant"] else ""
