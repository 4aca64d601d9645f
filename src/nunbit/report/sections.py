"""The longer sections of the page: labels, persons, subgroups, calibration, prompts."""

from __future__ import annotations

from typing import Any

from nunbit.report import shapes
from nunbit.report.shapes import Plot, Row, points_plot, share_plot, share_row
from nunbit.report.view import Document, View

# Size of the two calibration charts, in the units of their viewBox.
CHART = {"width": 366, "height": 300, "left": 46, "right": 346, "top": 12, "bottom": 258}


def labels(view: View) -> dict[str, Any]:
    """Every label policy, clear and disputed images, annotators with one another."""
    d, t = view.d, view.t
    policies = [
        view.score_row(
            view.policy(name),
            entry,
            tag=t("labels.this_policy") if name == d["policy"] else "",
            kind="strong" if name == d["policy"] else "plain",
        )
        for name, entry in d["policies"].items()
    ]
    agreement = [
        view.score_row(
            t(f"labels.{name}"), entry, tag=shapes.percent(entry["share"], 0) if entry["n"] else ""
        )
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


def _annotators(view: View) -> dict[str, Any] | None:
    """Two annotators with each other; one, and the model, with the others where these agree."""
    d, t = view.d["annotators"], view.t
    if not d["n_cases"]:
        return None
    rows = [
        view.score_row(t("labels.human"), d["human"], kind="other", counted=False),
        view.score_row(t("labels.model"), d["model"], kind="strong", counted=False),
    ]
    captions = [
        t(
            "labels.others_caption",
            cases=shapes.whole(d["n_cases"]),
            images=shapes.whole(d["n_images"]),
        )
    ]
    two = d["pairwise"]
    if two:
        rows.insert(0, share_row(t("labels.pairwise"), two["share"], two["ci95"], kind="other"))
        captions.insert(
            0,
            t(
                "labels.pairwise_caption",
                pairs=shapes.whole(two["n_pairs"]),
                images=shapes.whole(two["n_images"]),
            ),
        )
    return {"plot": share_plot(rows), "captions": captions}


def people(view: View) -> dict[str, Any]:
    """Persons seen and unseen in training, and the spread over groups of persons."""
    d, t = view.d, view.t
    rows = [
        view.score_row(t(f"people.{key}"), d[f"{key}_subjects"], kind=kind)
        for key, kind in (("unseen", "strong"), ("seen", "other"))
        if d[f"{key}_subjects"]["n"]
    ]
    folds = d["person_folds"]
    return {
        "plot": share_plot(rows) if rows else None,
        "folds": t(
            "people.folds",
            mean=shapes.percent(folds["top1"]["mean"]),
            sd=shapes.percent(folds["top1"]["sd"]),
        )
        if folds["n_folds"] and d["ci_unit"] == "person"
        else "",
    }


def subgroups(view: View) -> list[dict[str, Any]]:
    """One plot per attribute, all on the same scale."""
    d, t = view.d, view.t
    parts: list[tuple[str, list[Row], str]] = []
    for attribute, section in d["subgroups"].items():
        rows = [
            view.score_row(
                group["value"],
                group,
                tag=t("subgroups.small") if group["small"] else "",
                kind="pale" if group["small"] else "plain",
            )
            for group in section["groups"]
        ]
        sentence = _gap_sentence(view, section["gap"]) if section["gap"] else ""
        parts.append((t.get(f"subgroups.{attribute}"), rows, sentence))
    # Small groups have intervals that would squeeze all others into a corner.
    judged = [row for _, rows, _ in parts for row in rows if row.kind != "pale"]
    everything = [row for _, rows, _ in parts for row in rows]
    scale = share_plot(judged or everything, reference=d["top1"])
    return [
        {
            "title": title,
            "plot": Plot(tuple(rows), scale.low, scale.high, scale.ticks, d["top1"]),
            "gap": sentence,
        }
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
    """What the subgroup gaps are tested with; empty where none is."""
    gaps = [section["gap"] for section in view.d["subgroups"].values() if section["gap"]]
    if not any("test" in gap for gap in gaps):
        return ""
    return view.t(
        "subgroups.tested" if view.d["ci_unit"] == "person" else "subgroups.tested_images"
    )


def calibration(view: View) -> dict[str, Any]:
    """Reliability diagram, risk-coverage curve and the numbers beside them."""
    c, t = view.d["calibration"], view.t
    curve = c["risk_coverage"]
    line = [_point(x, y) for x, y in zip(curve["coverage"], curve["accuracy"], strict=True)]
    table = [
        (
            t(f"calibration.{key}"),
            form(c[before]),
            form(c[after]),
            interval(c["ci95"][after]),
        )
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
    """The ECE that chance alone gives; empty in results that do not have it."""
    c = view.d["calibration"]
    images, persons = c["ece_noise_floor_after"], c["ece_noise_floor_persons_after"]
    if images is None:
        return ""
    if persons is None:
        return view.t("calibration.floor", images=shapes.percent(images))
    return view.t(
        "calibration.floor_persons", images=shapes.percent(images), persons=shapes.percent(persons)
    )


def prompts(view: View) -> dict[str, Any] | None:
    """Templates, ensembles, other sets, leave-one-out and the similarity of the classes."""
    d, t = view.d, view.t
    if not d["per_template"]:
        return None
    templates = [
        view.score_row(f"{key}  {entry['text']}", entry, tag=_trained(view, entry), counted=False)
        for key, entry in d["per_template"].items()
    ]
    ensembles = [
        view.score_row(
            t(f"ensemble.{rule}"),
            entry,
            kind="strong" if rule == d["ensemble"] else "plain",
            counted=False,
        )
        for rule, entry in d["ensembles"].items()
    ]
    served = {k: e for k, e in d["template_sets"].items() if e["n"]}
    sets = [
        view.score_row(
            name,
            entry,
            tag=_trained(view, entry),
            kind="strong" if entry["headline"] else "plain",
            counted=False,
        )
        for name, entry in served.items()
    ]
    scale = share_plot([*templates, *ensembles, *sets], reference=d["top1"])

    def on_scale(rows: list[Row]) -> Plot:
        return Plot(tuple(rows), scale.low, scale.high, scale.ticks, d["top1"])

    without = [
        Row(
            key,
            entry["difference"]["top1"],
            entry["difference"]["ci95"]["top1"],
            shapes.points(entry["difference"]["top1"]),
            shapes.points_interval(entry["difference"]["ci95"]["top1"]),
        )
        for key, entry in d["leave_one_template_out"].items()
    ]
    shares = [f"{key} {shapes.percent(share, 0)}" for key, share in d["deciding_template"].items()]
    return {
        "templates": on_scale(templates),
        "ensembles": on_scale(ensembles),
        "sets": on_scale(sets) if len(sets) > 1 else None,
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
    if entry["trained"] is None:
        return ""
    return view.t("prompts.trained" if entry["trained"] else "prompts.untrained")


def _similarity(view: View) -> dict[str, Any]:
    s = view.d["prompt_similarity"]
    values = s["classes"]
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


def _bin(entry: Document) -> dict[str, Any]:
    x, y = _point(entry["confidence"], entry["accuracy"])
    interval = entry["ci95"]
    return {
        "x": x,
        "y": y,
        "top": None if interval is None else _point(0.0, interval[1])[1],
        "bottom": None if interval is None else _point(0.0, interval[0])[1],
    }


def _point(x: float, y: float) -> tuple[float, float]:
    """Shares of both axes in the units of the chart."""
    return (
        round(CHART["left"] + x * (CHART["right"] - CHART["left"]), 1),
        round(CHART["bottom"] - y * (CHART["bottom"] - CHART["top"]), 1),
    )
