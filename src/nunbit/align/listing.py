"""What ``nunbit align`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nunbit.errors import Lang
from nunbit.report.texts import Texts


def result_text(document: dict[str, Any], out: Path, lang: Lang) -> str:
    """A line per pair and direction, the probe, the limits, and where the rest is."""
    t = Texts(lang, "alignment_texts.toml")
    judged = document["assessment"]
    lines = [t("terminal.head", method=t.get(f"method.{document['method']}"),
               windows=judged["windows"], people=judged["people"])]  # fmt: skip
    for name, pair in judged["pairs"].items():
        within = pair["forward"]["within"]
        if within is None:
            lines.append(f"{t.get(f'pair.{name}'):<24} –")
            continue
        ci = within["ci95"]["r1"]
        span = "" if ci is None else f" [{ci[0]:.3f}, {ci[1]:.3f}]"
        null, across = pair["forward"]["shifted_r1"], pair["forward"]["across"]
        lines.append(
            t(
                "terminal.pair",
                pair=t.get(f"pair.{name}"),
                r1=f"{within['r1']:.3f}{span}",
                null="–" if null is None else f"{null:.3f}",
                across="–" if across is None else f"{across['r1']:.3f}",
                chance=f"{1 / document['candidates']:.2f}",
            )
        )
    for modality, probe in judged["identity"].items():
        state = "identity.passes" if probe["passes"] else "identity.fails"
        lines.append(f"{t('identity.title')}, {t.get(f'modality.{modality}')}: {t(state)}")
    n = document["candidates"]
    lines += [f"! {t(f'limit.{limit}', n=n)}" for limit in judged["limits"]]
    lines.append(str(out / "report.html"))
    return "\n".join(lines)
