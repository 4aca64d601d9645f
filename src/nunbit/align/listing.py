"""What ``nunbit align`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nunbit.errors import Lang
from nunbit.report.alignment_page import AlignmentView
from nunbit.report.texts import Texts


def result_text(document: dict[str, Any], out: Path, lang: Lang) -> str:
    """The verdict, a line per pair and step, the probe, the limits, and where the rest is."""
    t = Texts(lang, "alignment_texts.toml")
    judged = document["assessment"]
    lines = [t("terminal.head", method=t.get(f"method.{document['method']}"),
               windows=judged["windows"], people=judged["people"])]  # fmt: skip
    lines += [pair["verdict"]["text_ko" if lang == "ko" else "text"]
              for pair in judged["pairs"].values()]  # fmt: skip
    for name, pair in judged["pairs"].items():
        lines.append(f"{t.get(f'pair.{name}')}:")
        lines += [f"  {_step(t, key, step)}" for key, step in pair["steps"].items()]
    for modality, probe in judged["identity"].items():
        state = t.get(f"identity.{probe['state']}")
        lines.append(f"{t('identity.title')}, {t.get(f'modality.{modality}')}: {state}")
    n = document["candidates"]
    lines += [f"! {t(f'limit.{limit}', n=n)}" for limit in judged["limits"]]
    lines.append(f"! {AlignmentView(document, lang).kept()}")
    lines.append(str(out / "report.html"))
    return "\n".join(lines)


def _step(t: Texts, key: str, step: dict[str, Any]) -> str:
    """R@1 of a step and what chance gives, each with its interval over people."""
    if step["r1"] is None:
        return t("terminal.nothing", step=t.get(f"step.{key}"))
    own = _with(step["r1"], step["ci95"])
    if key == "nuisance":
        return t("terminal.nuisance", step=t.get(f"step.{key}"), r1=own)
    null = "–" if step["null"] is None else _with(step["null"], step["null_ci95"])
    return t("terminal.step", step=t.get(f"step.{key}"), r1=own, null=null)


def _with(value: float, ci: list[float] | None) -> str:
    return f"{value:.3f}" if ci is None else f"{value:.3f} [{ci[0]:.3f}, {ci[1]:.3f}]"
