"""The longer sections of an evaluation's page, from labels and persons to other results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from nunbit.report import shapes
from nunbit.report.shapes import (
    Document,
    Parts,
    Row,
    difference_row,
    points_plot,
    share_plot,
    share_row,
    strong,
)
from nunbit.report.view import HEADLINE, View

BINARY = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auroc")
"""Scores of the two groups."""

# Size of the two calibration charts, in the units of their viewBox.
CHART = {"width": 366, "height": 300, "left": 46, "right": 346, "top": 12, "bottom": 258}


def labels(view: View) -> Parts:
    """Every label policy, clear and disputed images, annotators with one another."""
    d, t = view.d, view.t
    policies = [
        view.score_row(view.policy(name), entry, kind=strong(name == d["policy"]),
                       tag=t("labels.this_policy") if name == d["policy"] else "")
        for name, entry in d["policies"].items()
    ]  # fmt: skip
    agreement = [
        view.score_row(t(f"labels.{name}"), entry, tag=shapes.percent(entry["share"], 0))
        for name, entry in d["agreement"].items()
        if entry["n"]
    ]
    soft = d["policies"].get("votes", {}).get("soft_cross_entropy")
    return {
        "policies": share_plot(policies) if len(policies) > 1 else None,
        "agreement": share_plot(agreement) if agreement else None,
        "annotators": _annotators(view),
        "soft": t("labels.soft", value=shapes.decimal(soft)) if soft is not None else "",
    }


def _annotators(view: View) -> Parts | None:
    """Agreement of two annotators; of one annotator, and of the model, with the others."""
    d, t = view.d["annotators"], view.t
    if not d["n_cases"]:
        return None
    rows = [
        view.score_row(t("labels.human"), d["human"], kind="other", counted=False),
        view.score_row(t("labels.model"), d["model"], kind="strong", counted=False),
    ]
    cases, images = shapes.whole(d["n_cases"]), shapes.whole(d["n_images"])
    captions = [t("labels.others_caption", cases=cases, images=images)]
    if two := d["pairwise"]:
        rows.insert(0, share_row(t("labels.pairwise"), two["share"], two["ci95"], kind="other"))
        pairs, images = shapes.whole(two["n_pairs"]), shapes.whole(two["n_images"])
        captions.insert(0, t("labels.pairwise_caption", pairs=pairs, images=images))
    return {"plot": share_plot(rows), "captions": captions}


def people(view: View) -> Parts:
    """Scores of persons seen and unseen in training, and their spread over groups of persons."""
    d, t = view.d, view.t
    rows = [
        view.score_row(t(f"people.{key}"), d[f"{key}_subjects"], kind=kind)
        for key, kind in (("unseen", "strong"), ("seen", "other"))
        if d[f"{key}_subjects"]["n"]
    ]
    folds, spread = d["person_folds"], ""
    if folds["n_folds"] and d["ci_unit"] == "person":
        spread = t("people.folds", **{k: shapes.percent(folds["top1"][k]) for k in ("mean", "sd")})
    return {"plot": share_plot(rows) if rows else None, "folds": spread}


def subgroups(view: View) -> list[Parts]:
    """One plot per attribute, all on the same scale."""
    d, t = view.d, view.t
    parts: list[tuple[str, list[Row], str]] = []
    for attribute, section in d["subgroups"].items():
        rows = [
            view.score_row(group["value"], group, kind="pale" if group["small"] else "plain",
                           tag=t("subgroups.small") if group["small"] else "")
            for group in section["groups"]
        ]  # fmt: skip
        sentence = _gap_sentence(view, section["gap"]) if section["gap"] else ""
        parts.append((t.get(f"subgroups.{attribute}"), rows, sentence))
    # Small groups have intervals that would squeeze all others into a corner.
    judged = [row for _, rows, _ in parts for row in rows if row.kind != "pale"]
    everything = [row for _, rows, _ in parts for row in rows]
    scale = share_plot(judged or everything, reference=d["top1"])
    return [
        {"title": title, "plot": replace(scale, rows=tuple(rows)), "gap": sentence}
        for title, rows, sentence in parts
    ]


def _gap_sentence(view: View, gap: Document) -> str:
    key, more = "subgroups.gap_old", {}
    if "test" in gap:
        key = "subgroups.gap_found" if gap["p_value"] < 0.05 else "subgroups.gap_chance"
        more = {
            "ci": shapes.points_interval(gap["ci95"]),
            "n": gap["n_groups"],
            "expected": f"{100 * gap['expected_if_alike']:.1f}",
            "p": shapes.p_value(gap["p_value"]),
        }
    value = f"{100 * gap['difference']:.1f}"
    return view.t(key, best=gap["best"], worst=gap["worst"], value=value, **more)


def gap_tested(view: View) -> str:
    """Name of the test of subgroup gaps; empty if there is none."""
    gaps = [section["gap"] for section in view.d["subgroups"].values() if section["gap"]]
    key = "tested" if view.d["ci_unit"] == "person" else "tested_images"
    return view.t(f"subgroups.{key}") if any("test" in gap for gap in gaps) else ""


def calibration(view: View) -> Parts:
    """Reliability diagram, risk-coverage curve and the numbers beside them."""
    c, t = view.d["calibration"], view.t
    curve = c["risk_coverage"]
    line = [_point(x, y) for x, y in zip(curve["coverage"], curve["accuracy"], strict=True)]
    table = [
        (t(f"calibration.{key}"), form(c[before]), form(c[after]), interval(c["ci95"][after]))
        for key, before, after, form, interval in (
            ("ece", "ece_before", "ece_after", shapes.percent, shapes.percent_interval),
            ("brier", "brier_before", "brier", shapes.decimal, shapes.decimal_interval),
            ("nll", "nll_before", "nll_after", shapes.decimal, shapes.decimal_interval),
        )
    ]
    return {
        "chart": CHART,
        "after": [_bin(b) for b in c["bins"]],
        "before": [_bin(b) for b in c["bins_before"]],
        "ticks": [(*_point(v, v), f"{100 * v:.0f}%") for v in (0.0, 0.25, 0.5, 0.75, 1.0)],
        "curve": " ".join(f"{x},{y}" for x, y in line),
        "overall": _point(1.0, view.d["top1"]),
        "sentences": [
            t("calibration.coverage_caption", coverage=coverage, accuracy=shapes.percent(accuracy))
            for coverage, accuracy in curve["accuracy_at_coverage"].items()
        ],
        "table": table,
        "temperature": t("calibration.temperature", value=shapes.decimal(c["temperature"])),
        "floor": _floor(view),
    }


def _floor(view: View) -> str:
    """The ECE of a perfectly calibrated model; empty in results without it."""
    images, persons = (
        view.d["calibration"][f"ece_noise_floor{unit}_after"] for unit in ("", "_persons")
    )
    if images is None:
        return ""
    key = "calibration.floor" if persons is None else "calibration.floor_persons"
    return view.t(key, images=shapes.percent(images), persons=shapes.percent(persons))


def prompts(view: View) -> Parts | None:
    """Templates, ensembles, other sets, leave-one-out and the similarity of the classes."""
    d, t = view.d, view.t
    if not d["per_template"]:
        return None
    templates = [
        view.score_row(f"{key}  {entry['text']}", entry, tag=_trained(view, entry), counted=False)
        for key, entry in d["per_template"].items()
    ]
    ensembles = [
        view.score_row(t(f"ensemble.{rule}"), entry, kind=strong(rule == d["ensemble"]),
                       counted=False)
        for rule, entry in d["ensembles"].items()
    ]  # fmt: skip
    sets = [
        view.score_row(name, entry, tag=_trained(view, entry), kind=strong(entry["headline"]),
                       counted=False)
        for name, entry in d["template_sets"].items()
        if entry["n"]
    ]  # fmt: skip
    scale = share_plot([*templates, *ensembles, *sets], reference=d["top1"])
    without = [
        difference_row(key, entry["difference"], "top1")
        for key, entry in d["leave_one_template_out"].items()
    ]
    shares = [f"{key} {shapes.percent(share, 0)}" for key, share in d["deciding_template"].items()]
    return {
        "templates": replace(scale, rows=tuple(templates)),
        "ensembles": replace(scale, rows=tuple(ensembles)),
        "sets": replace(scale, rows=tuple(sets)) if len(sets) > 1 else None,
        "unserved": [
            f"{name}: " + t("prompts.unserved", reason=entry["unserved"][view.lang])
            for name, entry in d["template_sets"].items()
            if not entry["n"] and "unserved" in entry
        ],
        "without": points_plot(without) if without else None,
        "deciding": t("prompts.deciding", list=", ".join(shares)) if len(shares) > 1 else "",
        "similarity": _similarity(view),
    }


def _trained(view: View, entry: Document) -> str:
    key = {True: "prompts.trained", False: "prompts.untrained"}.get(entry["trained"])
    return view.t(key) if key else ""


def _similarity(view: View) -> Parts:
    values = view.d["prompt_similarity"]["classes"]
    apart = [v for i, row in enumerate(values) for j, v in enumerate(row) if i != j]
    # Shade from the least to a perfect likeness (zero is never reached), but not below a tenth:
    # classes that are all alike must look it.
    low = min([*apart, 0.9])
    digits = 3 if min(apart, default=0.0) > 0.98 else 2
    return {
        "names": [view.name(label) for label in view.d["labels"]],
        "rows": [
            [
                {
                    "text": shapes.decimal(v, digits) if i != j else "",
                    "shade": round(max(0.0, (v - low) / max(1.0 - low, 1e-9)), 3) if i != j else 0,
                }
                for j, v in enumerate(row)
            ]
            for i, row in enumerate(values)
        ],
    }


def _bin(entry: Document) -> Parts:
    x, y = _point(entry["confidence"], entry["accuracy"])
    bottom, top = (_point(0.0, end)[1] for end in entry["ci95"]) if entry["ci95"] else (None, None)
    return {"x": x, "y": y, "top": top, "bottom": bottom}


def _point(x: float, y: float) -> tuple[float, float]:
    """Shares of both axes in the units of the chart."""
    return (
        round(CHART["left"] + x * (CHART["right"] - CHART["left"]), 1),
        round(CHART["bottom"] - y * (CHART["bottom"] - CHART["top"]), 1),
    )


def binary(view: View) -> Parts | None:
    """Two groups: every way of answering, with an explanation."""
    d, t = view.d["binary"], view.t
    if not d.get("group"):
        return None
    limit = d["threshold"]
    ways = [
        (t("binary.posterior_sum"), d["posterior_sum"], "strong"),
        (t("binary.threshold", value=shapes.decimal(limit["value"], 2)), limit, "plain"),
        (t("binary.collapsed"), d["collapsed"], "plain"),
    ]
    if d["two_prompt"]["n"]:
        ways.append((t("binary.two_prompt"), d["two_prompt"], "plain"))
    wordings = [
        (t("binary.wording", name=t.get(f"binary.{key}")), entry, "pale")
        for key, entry in d["two_prompt"]["wordings"].items()
    ]
    everything = [*ways, *wordings, (t("binary.constant"), d["constant"], "other")]
    rows = [
        share_row(name, entry["accuracy"], entry["ci95"]["accuracy"], kind=kind,
                  tag="" if kind == "other" else _constant_tag(view, entry))
        for name, entry, kind in everything
    ]  # fmt: skip
    members, wanted = view.names(d["joined"]), view.names(d["stand_in_for"] or ())
    stand_in = t("binary.stand_in", wanted=wanted, members=members) if wanted else ""
    return {
        "intro": t("binary.intro", members=members, prevalence=shapes.percent(d["prevalence"])),
        "stand_in": stand_in,
        "words": [_binary_words(view, name, entry, d["constant"]) for name, entry, _ in ways],
        "plot": share_plot(rows, reference=d["constant"]["accuracy"]),
        "header": [t(f"metric.{key}") for key in BINARY],
        "table": [{"name": name, "cells": _scores(e, BINARY)} for name, e, _ in everything],
        "chosen": t(f"binary.chosen_{limit['chosen_on']}"),
        "wordings": [
            (t.get(f"binary.{key}"), entry["texts"])
            for key, entry in d["two_prompt"]["wordings"].items()
            if entry["texts"]
        ],
    }


def comparison(view: View) -> Parts | None:
    """Another result beside this one."""
    c, t, d = view.d["comparison"], view.t, view.d
    if not c:
        return None
    other, name = c["other"], c["name"][view.lang]
    further, theirs = d["further_comparisons"], other.get("ci95") or {}
    rows = [
        row
        for key in HEADLINE
        for row in (
            share_row(t(f"metric.{key}"), d[key], d["ci95"][key], detail=t("comparison.this"),
                      kind="strong"),
            share_row("", other[key], theirs.get(key), detail=name, kind="other"),
        )
    ]  # fmt: skip
    scored = [
        (view.name(label), d["per_class"][label], its)
        for label in d["labels"]
        if (its := other["per_class"].get(label)) is not None
    ]
    by_class = [
        row
        for label, mine, its in scored
        for row in (
            share_row(label, mine["f1"], mine["ci95"]["f1"], kind="strong"),
            share_row("", its["f1"], (its.get("ci95") or {}).get("f1"), kind="other"),
        )
    ]
    return {
        "title": t("comparison.with", name=name),
        "name": name,
        "several": _several_models(view) if further else [],
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


def _several_models(view: View) -> list[Parts]:
    """This result and everything it was compared with, one line each."""
    return [
        {
            "name": name,
            "n": shapes.whole(entry["n"]),
            "scores": _scores(entry, HEADLINE),
            **_short_difference(view, paired, own=index == 0),
        }
        for index, (name, entry, paired) in enumerate(compared(view))
    ]


def compared(view: View) -> list[tuple[str, Document, Document | None]]:
    """Name, scores and pairing of this result and of everything it was compared with.

    A result with common images is scored on these under this result's truth, because its own scores
    may come from other images or another label policy.
    """
    others = (view.d["comparison"], *view.d["further_comparisons"])
    return [
        (view.t("comparison.this"), view.d, None),
        *((c["name"][view.lang], (c["paired"] or c)["other"], c["paired"]) for c in others),
    ]


def _scores(entry: Document, keys: Sequence[str]) -> list[tuple[str, str]]:
    """Scores and intervals of a result as text."""
    ci95 = entry.get("ci95") or {}
    return [(shapes.percent(entry[k]), shapes.percent_interval(ci95.get(k))) for k in keys]


def _short_difference(view: View, paired: Document | None, *, own: bool) -> dict[str, str]:
    if paired is None:
        unpaired = "" if own else view.t("comparison.unpaired")
        return {"difference": unpaired, "interval": "", "p": ""}
    difference = paired["difference"]
    return {
        "difference": shapes.points(difference["top1"]),
        "interval": shapes.points_interval(difference["ci95"]["top1"]),
        "p": shapes.p_value(paired["mcnemar"]["p_value"]),
    }


def _paired(view: View, paired: Document) -> Parts:
    test = paired["mcnemar"]
    rows = [
        difference_row(view.t(f"metric.{key}"), paired["difference"], key, kind="strong")
        for key in HEADLINE
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
    f, two, other = c["findings"], c["findings"]["binary"], c["other"]
    whole, decimal, exact = shapes.whole, shapes.decimal, partial(shapes.percent, digits=2)
    gaps: dict[str, dict[str, str]] = {
        "sum": {
            "sum": whole(f["table_sum"]), "stated": whole(f["n_stated"]), "hits": whole(f["hits"]),
            "by_stated": exact(f["accuracy_by_stated_n"]),
            "by_sum": exact(f["accuracy_by_table_sum"]), "quoted": exact(f["accuracy_stated"]),
            "difference": whole(f["sum_minus_stated"]),
        },
        "scores": {"macro_f1": decimal(other["macro_f1"]), "uar": decimal(other["uar"])},
        "policy": {
            "smallest": decimal(f["smallest_row_to_folder"], 2),
            "largest": decimal(f["largest_row_to_folder"], 2),
        },
    }  # fmt: skip
    if "pairwise_agreement" in f:
        gaps["pairwise"] = {
            "unanimous": exact(f["unanimous"]), "majority": exact(f["majority_exists"]),
            "pairwise": shapes.percent(f["pairwise_agreement"]),
            "quoted": exact(f["accuracy_stated"]),
        }  # fmt: skip
    gaps["constant"] = {
        "stated": shapes.percent(two["accuracy_stated"]), "share": exact(two["share_of_group"]),
        "best": shapes.percent(two["best_constant"]),
    }  # fmt: skip
    gaps["collapsed"] = {
        "accuracy": exact(two["collapsed_accuracy"]),
        "sensitivity": decimal(two["collapsed_sensitivity"]),
        "specificity": decimal(two["collapsed_specificity"]),
    }
    return [view.t(f"comparison.finding_{name}", **values) for name, values in gaps.items()]


def _binary_words(view: View, name: str, entry: Document, constant: Document) -> str:
    gain = entry["accuracy"] - constant["accuracy"]
    key = "constant" if entry["nearly_constant"] else "below" if gain <= 0 else "above"
    return view.t(
        f"binary.words_{key}",
        name=name,
        accuracy=shapes.percent(entry["accuracy"]),
        constant=shapes.percent(constant["accuracy"]),
        points=f"{100 * gain:.1f}",
    )


def _constant_tag(view: View, entry: Document) -> str:
    if entry["constant"]:
        return view.t("binary.constant_flag")
    return view.t("binary.nearly_flag") if entry["nearly_constant"] else ""
