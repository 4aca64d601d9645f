"""Write what is generated of the documentation: the map, the settings, the columns of tables.

``python scripts/house_docs.py`` writes README.md, README.ko.md, docs/settings.md, docs/tables.md
and their Korean pages; ``--check`` only says which of them are stale and exits with 1. English
comes from docstrings, Korean from docs/map.ko.toml and docs/settings.ko.toml.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from nunbit.app import AppSettings
from nunbit.report.codebook import reference
from nunbit.space.window_reading import AlignSettings
from nunbit.stories.adapt import AdaptSettings
from nunbit.stories.analyze.job import AnalyzeSettings
from nunbit.stories.check.look import CheckSettings
from nunbit.stories.evaluate.assess import EvaluateSettings
from nunbit.stories.predict.texts import PredictSettings
from nunbit.stories.prepare import PrepareSettings
from nunbit.stories.search import SearchSettings
from nunbit.stories.study.study_plan import StudySettings
from nunbit.synth.aihub_records import SynthSettings
from nunbit.synth.script import VideoScript
from nunbit.synth.study_worlds import WorldSettings
from nunbit.training.settings import TrainSettings

Lang = Literal["en", "ko"]

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- map: made by scripts/house_docs.py -->", "<!-- map ends -->"

COLUMNS_BEGIN = "<!-- columns: made by scripts/house_docs.py -->"
COLUMNS_END = "<!-- columns end -->"

COMMANDS: dict[str, type] = {
    "prepare": PrepareSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
    "predict": PredictSettings,
    "adapt": AdaptSettings,
    "check": CheckSettings,
    "analyze": AnalyzeSettings,
    "align": AlignSettings,
    "search": SearchSettings,
    "app": AppSettings,
    "study": StudySettings,
    "synth-aihub": SynthSettings,
    "synth-video": VideoScript,
    "synth-study": WorldSettings,
}
"""Every command that takes ``--set``, in the order of the work; a test compares it with the CLI."""

_SUFFIXES = {
    "_per_min": "1/min",
    "_per_s": "1/s",
    "_minutes": "min",
    "_dbfs": "dBFS",
    "_mb": "MB",
    "_deg": "°",
    "_hz": "Hz",
    "_px": "px",
    "_s": "s",
}
_UNITS = {
    "size": "px",
    "image_size": "px",
    "photo_width": "px",
    "width": "px",
    "height": "px",
    "rotate": "°",
    "target_time": "s",
}
"""Units of settings whose names have no suffix."""

_WORDS: dict[Lang, dict[Any, str]] = {
    "en": {
        bool: "true or false",
        int: "whole number",
        float: "number",
        str: "text",
        dict: "table",
        "list": "list: {}",
        "or": " or ",
    },
    "ko": {
        bool: "true 또는 false",
        int: "정수",
        float: "수",
        str: "글",
        dict: "표",
        "list": "목록: {}",
        "or": " 또는 ",
    },
}
_HEAD: dict[Lang, str] = {
    "en": """# Settings

Every key of `--set KEY=VALUE` and of the TOML file of `--config`, command by command. What comes
later wins: default, preset (`--paper`), recipe or file, option of the command line, `--set`.
Unknown keys and values outside their range are refused. *none* means that nothing is set; an empty
cell means that there is no unit or limit. `scripts/house_docs.py` makes this page from the settings
dataclasses.
""",
    "ko": """# 설정

`--set KEY=VALUE`와 `--config` TOML 파일에 쓸 수 있는 모든 키를 명령별로 적었습니다. 뒤에 오는
것이 이깁니다: 기본값, 프리셋(`--paper`), 레시피나 파일, 명령줄 옵션, `--set`. 모르는 키와 범위
밖의 값은 거절합니다. *없음*은 정하지 않았다는 뜻이고, 빈칸은 단위나 한계가 없다는 뜻입니다.
이 문서는 `scripts/house_docs.py`가 설정 데이터클래스에서 만듭니다.
""",
}
_COLUMNS: dict[Lang, str] = {
    "en": "| key | type | default | unit | range | meaning |\n|---|---|---|---|---|---|",
    "ko": "| 키 | 종류 | 기본값 | 단위 | 범위 | 뜻 |\n|---|---|---|---|---|---|",
}
_NONE: dict[Lang, str] = {"en": "*none*", "ko": "*없음*"}


class StaleError(Exception):
    """A docstring or a Korean line that the generated pages need is missing or left over."""


# --- the map ---------------------------------------------------------------------------------


def summary(path: Path) -> str:
    """First line of the docstring of a module or package, without its full stop.

    Raises:
        StaleError: There is none.
    """
    file = path / "__init__.py" if path.is_dir() else path
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) if file.is_file() else ""
    if not text:
        raise StaleError(f"{file}: no docstring whose first line could stand in the map")
    return text.split("\n\n")[0].replace("\n", " ").removesuffix(".")


def entries(package: Path) -> list[str]:
    """First-level entries of the package: folders with a slash, modules, marker files."""
    found = (p for p in package.iterdir() if not p.name.startswith((".", "__pycache__")))
    return sorted(p.name + "/" * p.is_dir() for p in found)


def package_map(package: Path, table: Mapping[str, Any], lang: Lang) -> str:
    """The map as a Markdown list: a line for each room and for the modules the table names in it.

    Args:
        package: ``src/nunbit``.
        table: ``docs/map.ko.toml``: entry -> ``ko``, for entries without a docstring also ``en``,
            and ``modules`` (path in the room -> Korean line). Its order is that of the map.
        lang: Language.

    Raises:
        StaleError: An entry has no line, or a line has no entry.
    """
    there = set(entries(package))
    if missing := sorted(there - set(table)):
        raise StaleError(f"docs/map.ko.toml: no line for {', '.join(missing)}")
    if gone := sorted(set(table) - there):
        raise StaleError(f"docs/map.ko.toml: {', '.join(gone)} no longer exists")
    lines = []
    for name, entry in table.items():
        path = package / name.rstrip("/")
        line = entry["ko"] if lang == "ko" else entry.get("en") or summary(path)
        lines.append(f"- [`{name}`](src/nunbit/{name.rstrip('/')}): {line}")
        for inner, ko in entry.get("modules", {}).items():
            if not (path / inner).exists():
                raise StaleError(f"docs/map.ko.toml: {name}{inner} does not exist")
            line = ko if lang == "ko" else summary(path / inner)
            lines.append(f"  - [`{inner}`](src/nunbit/{name}{inner}): {line}")
    return "\n".join(lines)


def with_map(readme: str, text: str, begins: str = BEGIN, ends: str = END) -> str:
    """A page with the map, or another generated text, between its markers.

    Raises:
        StaleError: The markers are missing.
    """
    head, begin, rest = readme.partition(begins)
    _, end, tail = rest.partition(ends)
    if not begin or not end:
        raise StaleError(f"no {begins} … {ends}")
    return f"{head}{begins}\n{text}\n{ends}{tail}"


# --- the settings ----------------------------------------------------------------------------


def meanings(kind: type) -> dict[str, str]:
    """Meaning of every field, from the ``Attributes`` of the class's docstring."""
    section = inspect.getdoc(kind) or ""
    section = section.partition("Attributes:\n")[2].split("\n\n")[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def settings_page(korean: Mapping[str, Mapping[str, str]], lang: Lang) -> str:
    """The settings reference.

    Raises:
        StaleError: A key has no meaning, or a meaning has no key.
    """
    parts = [_HEAD[lang]]
    for command, kind in COMMANDS.items():
        keys = [f.name for f in dataclasses.fields(kind)]
        known = meanings(kind) if lang == "en" else korean.get(command, {})
        where = kind.__name__ if lang == "en" else f"docs/settings.ko.toml [{command}]"
        if odd := set(keys) ^ set(known):
            raise StaleError(f"{where}: keys and meanings differ in {', '.join(sorted(odd))}")
        hints = get_type_hints(kind, include_extras=True)
        rows = [_row(f, hints[f.name], known[f.name], lang) for f in dataclasses.fields(kind)]
        title = command.replace("-", " ")
        parts += [f"## nunbit {title}\n", _COLUMNS[lang], *rows, ""]
    return "\n".join(parts)


def _row(field: dataclasses.Field[Any], hint: Any, meaning: str, lang: Lang) -> str:
    unit = _UNITS.get(field.name) or next(
        (u for suffix, u in _SUFFIXES.items() if field.name.endswith(suffix)), ""
    )
    has_default = field.default is not dataclasses.MISSING
    default = field.default if has_default else field.default_factory()  # type: ignore[misc]
    cells = [
        f"`{field.name}`",
        _kind(hint, lang),
        _value(default, lang),
        unit,
        _range(hint),
        meaning.replace("``", "`"),
    ]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _kind(hint: Any, lang: Lang) -> str:
    """A type in words."""
    words, origin, members = _WORDS[lang], get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _kind(members[0], lang)
    if origin in (Union, UnionType):
        named = [_kind(m, lang) for m in members if m is not NoneType]
        return words["or"].join(dict.fromkeys(named))
    if origin is Literal:
        return ", ".join(f"`{m}`" if m != "" else '`""`' for m in members)
    if origin is tuple:
        inner = members[:1] if members[-1] is ... else members
        return words["list"].format(", ".join(_kind(m, lang) for m in inner))
    if origin is dict or dataclasses.is_dataclass(hint):
        return words[dict]
    return words[hint]


def _value(value: Any, lang: Lang) -> str:
    """A default as TOML would have it."""
    if value is None:
        return _NONE[lang]
    plain = msgspec.to_builtins(value)
    return f"`{msgspec.json.encode(plain).decode()}`"


def _range(hint: Any) -> str:
    """Limits of the numbers of a type, empty where it has none."""
    members = get_args(hint)
    if get_origin(hint) is not Annotated:
        return next((r for m in members if (r := _range(m))), "")
    metas = [m for m in members[1:] if isinstance(m, msgspec.Meta)]
    limits = [
        f"{sign} {getattr(meta, name):,}"
        for meta in metas
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if getattr(meta, name) is not None
    ]
    return ", ".join(limits) or _range(members[0])


# --- all of it -------------------------------------------------------------------------------


def map_pages(root: Path = ROOT) -> dict[Path, str]:
    """Both READMEs with the map that should stand in them."""
    table = tomllib.loads((root / "docs" / "map.ko.toml").read_text(encoding="utf-8"))
    made: dict[Path, str] = {}
    for lang, name in (("en", "README.md"), ("ko", "README.ko.md")):
        text = package_map(root / "src" / "nunbit", table, lang)  # type: ignore[arg-type]
        made[root / name] = with_map((root / name).read_text(encoding="utf-8"), text)
    return made


def settings_pages(root: Path = ROOT) -> dict[Path, str]:
    """Both settings references as they should be."""
    korean = tomllib.loads((root / "docs" / "settings.ko.toml").read_text(encoding="utf-8"))
    return {
        root / "docs" / name: settings_page(korean, lang)  # type: ignore[arg-type]
        for lang, name in (("en", "settings.md"), ("ko", "settings.ko.md"))
    }


def tables_pages(root: Path = ROOT) -> dict[Path, str]:
    """Both pages about the tables, with every column that there can be."""
    made: dict[Path, str] = {}
    for lang, name in (("en", "tables.md"), ("ko", "tables.ko.md")):
        path = root / "docs" / name
        text = reference(lang)  # type: ignore[arg-type]
        page = path.read_text(encoding="utf-8")
        made[path] = with_map(page, text, COLUMNS_BEGIN, COLUMNS_END)
    return made


def stale(pages: Mapping[Path, str]) -> list[Path]:
    """Pages that are not what they should be."""
    return [
        path
        for path, text in pages.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` report which are stale."""
    pages = settings_pages() | map_pages() | tables_pages()
    if "--check" not in arguments:
        for path, text in pages.items():
            path.write_text(text, encoding="utf-8")
        return 0
    old = stale(pages)
    for path in old:
        print(f"{path.relative_to(ROOT)} is stale: run scripts/house_docs.py")
    return int(bool(old))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
