"""How large and how orderly the house is: a source tree measured beside an older one.

python benchmarks/house.py --before OLD/src [SRC] [--no-times]

``SRC`` holds the package (default: this repository's ``src``). Works on any layout: a *room* is a
first-level entry of the package, and each entry of ``stories/`` is a room of its own.

- First-level entries are counted without ``__init__`` and ``__main__``; modules are all ``.py``
  files; lines of a function are those from ``def`` to its end without the docstring; statements are
  ``ast.stmt`` nodes. Public names are modules, classes, functions and methods without a leading
  underscore, at module or class level.
- Story to story: pairs of modules in which one story imports another (``STORIES``). ``demo`` runs
  the others by trade and is not counted as an importer.
- The way of media through analyze: functions in the order in which they are evaluated (arguments
  before the call), from the story's public function on, each function of the story's own room
  entered where it is first met; a function handed on counts as called. Every function of another
  room adds that room to the list; a class adds nothing. Rooms are the different ones in the list.
  A step back goes from one room to another that came into the list earlier; the services that
  everything uses (``SERVICES``) are no steps. At commit eb7f1f9 this gives the 27 rooms and 30
  steps back that a reader counted by hand. What was moved out of the story into ``recording`` is
  followed there too (the line 'with the reading'), so that moving alone makes nothing shorter.
- Two languages: uses by form. ``Text(…)`` is the form that stays; TOML is data. Pairs of a kind and
  a Korean morpheme pattern are no texts in two languages, nor are dicts of anything but strings.
- ``dict[str, Any]``: all uses. At a JSON edge is what stands in a function that reads or writes
  JSON or TOML itself, or whose name says so (``EDGE``). Of the others, those cross rooms that stand
  in the signature of a function, or in a field of a class, that another room imports.
- Repeated blocks: six or more equal lines that stand in two modules or more, without blank lines,
  comments, imports, docstrings and lines of brackets; a longer block counts once.
- Times: median processor time of 20 runs, the two trees in turn (a busy machine counts less).
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import resource
import statistics
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

PACKAGE = "nunbit"
STORIES = {"prepare", "predict", "evaluate", "analyze", "align", "search", "check", "doctor"}
STORIES |= {"demo", "train", "training"}
SERVICES = {"errors", "progress", "files", "memory", "config", "provenance", "core", "runtime"}
READING = "recording"
FORMS = ("en=, ko= arguments", "pairs", "dicts", "_en, _ko fields", "choices by lang")
LONG_MODULE, LONG_FUNCTION, BLOCK, RUNS = 450, 60, 6, 20
EDGE = re.compile(r"dict|json|document|toml|plain|provenance")
READS_JSON = {"read_json", "write_json", "loads", "dumps", "load_toml", "parse_toml", "to_builtins"}
HANGUL = re.compile("[가-힣]")
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass(frozen=True)
class Tree:
    """The modules of a package.

    Attributes:
        root: Folder of the package.
        texts: Dotted module name -> source.
    """

    root: Path
    texts: Mapping[str, str]

    @classmethod
    def read(cls, source: Path) -> Tree:
        """All modules below ``source/nunbit``."""
        root, texts = source / PACKAGE, {}
        for path in sorted(root.rglob("*.py")):
            parts = [PACKAGE, *path.relative_to(root).with_suffix("").parts]
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            texts[name] = path.read_text(encoding="utf-8")
        if not texts:
            raise SystemExit(f"{root}: no modules; give the folder that holds {PACKAGE}/")
        return cls(root, texts)

    @cached_property
    def parsed(self) -> dict[str, ast.Module]:
        """Dotted name -> syntax tree."""
        return {name: ast.parse(text) for name, text in self.texts.items()}

    @cached_property
    def definitions(self) -> dict[str, dict[str, Definition]]:
        """Dotted name -> name -> function or class at module level."""
        return {
            module: {n.name: n for n in tree.body if isinstance(n, Definition)}
            for module, tree in self.parsed.items()
        }

    @cached_property
    def imports(self) -> dict[str, dict[str, tuple[str, str]]]:
        """Dotted name -> name here -> (module, name there), wherever an import stands."""
        return {
            module: {
                alias.asname or alias.name: (node.module, alias.name)
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE)
                for alias in node.names
                if node.module
            }
            for module, tree in self.parsed.items()
        }

    def find(self, module: str, name: str) -> tuple[str, str] | None:
        """Where a name that a module uses is defined, through re-exports; None elsewhere."""
        for _ in range(9):  # re-exports of re-exports
            if name in self.definitions.get(module, {}):
                return module, name
            if f"{module}.{name}" in self.texts:
                return f"{module}.{name}", ""
            if name not in self.imports.get(module, {}):
                return None
            module, name = self.imports[module][name]
        return None


def room(module: str) -> str:
    """The first-level entry that a module belongs to; a story is a room of its own."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2] if parts[:1] == ["stories"] else parts[:1]) or "__init__"


def story(module: str) -> str:
    """The story that a module belongs to, or an empty string."""
    name = room(module).removeprefix("stories.")
    return name if name in STORIES else ""


# ---- counters ---------------------------------------------------------------------------------


def length(function: Function) -> int:
    """Lines of a function without its docstring."""
    said = function.body[0] if ast.get_docstring(function, clean=False) is not None else None
    own = 0 if said is None else (said.end_lineno or 0) - said.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - own


def documented(tree: Tree) -> tuple[int, int]:
    """How many public names have a docstring, and how many there are."""
    nodes: list[Any] = [*tree.parsed.values()]
    for owner in nodes:  # grows: classes are searched as well
        if not isinstance(owner, Function):
            public = (n for n in owner.body if isinstance(n, Definition) and n.name[0] != "_")
            nodes.extend(public)
    return sum(ast.get_docstring(node) is not None for node in nodes), len(nodes)


def story_imports(tree: Tree) -> list[tuple[str, str]]:
    """(importing module, imported module) of different stories."""
    pairs = {
        (module, where)
        for module, names in tree.imports.items()
        for where, name in names.values()
        for own, other in [(story(module), story(where) or story(f"{where}.{name}"))]
        if own and other and own not in {other, "demo"}
    }
    return sorted(pairs)


def references(node: Definition) -> Iterator[ast.Name | ast.Attribute]:
    """Names that the body of a definition uses, in the order of evaluation; no annotations."""

    def visit(n: ast.AST) -> Iterator[ast.Name | ast.Attribute]:
        if isinstance(n, ast.Name | ast.Attribute):
            yield n
        for child in parts(n):
            yield from visit(child)

    def parts(n: ast.AST) -> Iterable[ast.AST]:
        if isinstance(n, Definition):
            return n.body
        if isinstance(n, ast.Call):
            return [*n.args, *(k.value for k in n.keywords), n.func]
        if isinstance(n, ast.AnnAssign | ast.Assign):
            return [n.value] if n.value else []
        if isinstance(n, ast.For | ast.AsyncFor):
            return [n.iter, *n.body]
        if isinstance(n, ast.ListComp | ast.SetComp | ast.GeneratorExp):
            return [*n.generators, n.elt]
        if isinstance(n, ast.ExceptHandler):
            return n.body
        return [] if isinstance(n, ast.Raise | ast.arg) else ast.iter_child_nodes(n)

    for statement in node.body:
        yield from visit(statement)


def way(tree: Tree, name: str, through: str = "") -> list[str]:
    """Rooms in the order in which a story calls functions in them, its own left out.

    Args:
        tree: The package.
        name: The story, and its public function.
        through: A further room whose functions are followed; it is left out as well.
    """
    own = {m for m in tree.texts if room(m).removeprefix("stories.") == name}
    start = next((m for m in sorted(own) if name in tree.definitions[m]), None)
    listed: list[str] = []
    entered: set[tuple[str, str]] = set()

    def enter(module: str, what: str) -> None:
        if (module, what) in entered:
            return
        entered.add((module, what))
        for node in references(tree.definitions[module][what]):
            target = None
            if isinstance(node, ast.Name):
                target = tree.find(module, node.id)
            elif isinstance(node.value, ast.Name):
                base = tree.find(module, node.value.id)
                target = tree.find(base[0], node.attr) if base and not base[1] else None
            if not target or not target[1]:
                continue
            where, found = target
            if where in own or room(where) == through:
                enter(where, found)
            elif isinstance(tree.definitions[where][found], Function):
                listed.append(room(where))

    if start is not None:
        enter(start, name)
    return listed


def steps_back(rooms: Sequence[str]) -> int:
    """Steps from one room to another that came into the list earlier; services left out."""
    listed = [r for r in rooms if r not in SERVICES]
    rank = {r: i for i, r in enumerate(dict.fromkeys(listed))}
    return sum(rank[b] < rank[a] for a, b in pairwise(listed))


def bilingual(tree: Tree) -> Counter[str]:
    """Uses of each form in which a text stands in two languages."""
    found: Counter[str] = Counter()
    for parsed in tree.parsed.values():
        for node in ast.walk(parsed):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                keys = {k.arg for k in node.keywords}
                if name == "Text":
                    found["Text(en, ko)"] += 1
                elif {"en", "ko"} <= keys:
                    found["en=, ko= arguments"] += 1
            elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
                first, second = (ast.unparse(e) for e in node.elts)
                words = all(isinstance(e, ast.Constant | ast.JoinedStr) for e in node.elts)
                pattern = "*" in second  # morphemes of language/polarity.py, no translation
                if words and HANGUL.search(second) and not HANGUL.search(first) and not pattern:
                    found["pairs"] += 1
            elif isinstance(node, ast.Dict):
                named = {ast.unparse(key) for key in node.keys if key}
                texts = any(isinstance(v, ast.Constant | ast.JoinedStr) for v in node.values)
                found["dicts"] += texts and {"'en'", "'ko'"} <= named
            elif isinstance(node, ast.IfExp):
                found["choices by lang"] += "lang" in ast.unparse(node.test) and bool(
                    HANGUL.search(ast.unparse(node))
                )
            elif isinstance(node, ast.arg):
                found["parameters lang"] += node.arg == "lang"
            elif isinstance(node, ast.ClassDef):
                fields = {ast.unparse(n.target) for n in node.body if isinstance(n, ast.AnnAssign)}
                found["_en, _ko fields"] += sum(
                    f.endswith("_en") and f"{f[:-3]}_ko" in fields for f in fields
                )
    for path in tree.root.rglob("*.toml"):
        found["TOML"] += _bilingual_tables(tomllib.loads(path.read_text(encoding="utf-8")))
    return +found


def _bilingual_tables(value: Any) -> int:
    own = isinstance(value, dict) and {"en", "ko"} <= value.keys()
    children = value.values() if isinstance(value, dict) else value
    return own + sum(map(_bilingual_tables, children if isinstance(value, dict | list) else ()))


def loose_dicts(tree: Tree) -> tuple[int, int, int]:
    """Uses of ``dict[str, Any]``: all, outside JSON edges, and of these crossing rooms."""
    imported: dict[tuple[str, str], set[str]] = defaultdict(set)
    for module, names in tree.imports.items():
        for name in names:
            target = tree.find(module, name)
            if target:
                imported[target].add(room(module))
    total = outside = crossing = 0
    for module, parsed in tree.parsed.items():
        for owners, in_signature in _dict_uses(parsed):
            total += 1
            if any(_is_edge(owner) for owner in owners):
                continue
            outside += 1
            top = owners[0].name if owners else "*"  # an alias is imported by its own name
            public = not any(owner.name.startswith("_") for owner in owners)
            crossing += in_signature and public and bool(imported[module, top] - {room(module)})
    return total, outside, crossing


def _dict_uses(parsed: ast.Module) -> Iterator[tuple[list[Definition], bool]]:
    """Definitions around each use, and whether it stands in a signature or a class field."""

    def visit(
        node: ast.AST, owners: list[Definition], shown: bool
    ) -> Iterator[tuple[list[Definition], bool]]:
        if isinstance(node, ast.Subscript) and ast.unparse(node) == "dict[str, Any]":
            yield owners, shown
            return
        inside = [*owners, node] if isinstance(node, Definition) else owners
        body = node.body if isinstance(node, Function) else []
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside, shown if child not in body else False)

    for node in parsed.body:
        yield from visit(node, [], True)


def _is_edge(owner: Definition) -> bool:
    calls = [n.func for n in ast.walk(owner) if isinstance(n, ast.Call)]
    named = {getattr(f, "id", getattr(f, "attr", "")) for f in calls}
    named |= {"loads" for f in calls if ast.unparse(f).startswith("msgspec.json.")}
    return bool(EDGE.search(owner.name)) or (
        isinstance(owner, Function) and bool(named & READS_JSON)
    )


def plain_lines(text: str) -> list[str]:
    """The lines of a module that say something: see the head of this file."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = [line.strip() for i, line in enumerate(text.splitlines(), 1) if i not in left_out]
    return [line for line in lines if re.search(r"\w", line) and not line.startswith("#")]


def repeated_blocks(texts: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The modules of every block of six or more equal lines that stands in several modules."""
    lines = {name: plain_lines(text) for name, text in texts.items()}
    where: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for name, own in lines.items():
        for i in range(len(own) - BLOCK + 1):
            where[tuple(own[i : i + BLOCK])].append((name, i))
    shared = {w: at for w, at in where.items() if len({name for name, _ in at}) > 1}
    starts = []
    for at in shared.values():
        name, i = at[0]
        before = tuple(lines[name][i - 1 : i - 1 + BLOCK]) if i else ()
        # The block began a line earlier, in the same modules: this window is its continuation.
        if {n for n, _ in shared.get(before, [])} >= {n for n, _ in at}:
            continue
        starts.append(tuple(sorted({n for n, _ in at})))
    return sorted(starts)


# ---- the table --------------------------------------------------------------------------------


def measure(tree: Tree) -> dict[str, str]:
    """Every figure of a tree as the table shows it."""
    texts, parsed = tree.texts, tree.parsed
    lengths = [length(n) for p in parsed.values() for n in ast.walk(p) if isinstance(n, Function)]
    entries = [p for p in tree.root.iterdir() if not p.name.startswith("__")]
    have, names = documented(tree)
    sizes = [text.count("\n") for text in texts.values()]
    statements = sum(isinstance(n, ast.stmt) for p in parsed.values() for n in ast.walk(p))
    found: dict[str, str] = {
        "first-level entries": f"{len(entries)}",
        "modules": f"{len(texts)}",
        "lines": f"{sum(sizes):,}",
        f"modules above {LONG_MODULE} lines": str(sum(n > LONG_MODULE for n in sizes)),
        "functions": f"{len(lengths):,}",
        f"functions above {LONG_FUNCTION} lines": str(sum(n > LONG_FUNCTION for n in lengths)),
        "statements": f"{statements:,}",
        "public names with a docstring": f"{have / names:.1%} of {names:,}",
        "story → story imports": str(len(story_imports(tree))),
    }
    for name in ("analyze", "prepare"):
        for title, through in ((name, ""), (f"{name}, with the reading", READING)):
            rooms = way(tree, name, through)
            found[f"{title}: rooms, back"] = f"{len(set(rooms))}, {steps_back(rooms)}"
    forms = bilingual(tree)
    found["bilingual forms besides Text, TOML"] = str(sum(forms[form] > 0 for form in FORMS))
    for form in ("Text(en, ko)", "TOML", *FORMS, "parameters lang"):
        found[f"  {form}"] = str(forms[form])
    total, outside, crossing = loose_dicts(tree)
    found |= {"dict[str, Any]": str(total), "  outside JSON edges": str(outside)}
    found["  … crossing rooms"] = str(crossing)
    found[f"repeated blocks of {BLOCK} lines or more"] = str(len(repeated_blocks(texts)))
    return found


def times(sources: Sequence[Path]) -> list[dict[str, str]]:
    """Medians of processor time, the trees in turn; the start of Python is included."""
    commands = {"nunbit --help, s": ["-m", PACKAGE, "--help"]}
    commands |= {"import nunbit, s": ["-c", f"import {PACKAGE}"], "python alone, s": ["-c", "pass"]}
    taken: list[dict[str, list[float]]] = [{name: [] for name in commands} for _ in sources]
    for _ in range(RUNS):
        for source, own in zip(sources, taken, strict=True):
            environment = {**os.environ, "PYTHONPATH": str(source.resolve())}
            for name, arguments in commands.items():
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run(
                    [sys.executable, *arguments], env=environment, check=True, capture_output=True
                )
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                own[name].append(sum(after[:2]) - sum(before[:2]))  # user and system
    return [{k: f"{statistics.median(v):.3f}" for k, v in own.items()} for own in taken]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parents[1] / "src"
    parser.add_argument("source", nargs="?", type=Path, default=here, metavar="SRC")
    parser.add_argument("--before", type=Path, metavar="OLD_SRC", help="tree to stand beside it")
    parser.add_argument("--no-times", action="store_true")
    parser.add_argument("--list", action="store_true", help="name what is counted")
    a = parser.parse_args()
    sources = [a.source] if a.before is None else [a.before, a.source]
    trees = [Tree.read(source) for source in sources]
    columns = [measure(tree) for tree in trees]
    if not a.no_times:
        for column, own in zip(columns, times(sources), strict=True):
            column.update(own)
    heads = ["before", "now"][-len(sources) :]
    print(f"| {'':42} | {' | '.join(f'{h:>14}' for h in heads)} |")
    print(f"|{'-' * 44}|{'|'.join('-' * 15 + ':' for _ in heads)}|")
    for name in columns[-1]:
        print(f"| {name:42} | {' | '.join(f'{c[name]:>14}' for c in columns)} |")
    if a.list:
        tree = trees[-1]
        print("\nstory → story:", *(f"  {x} → {y}" for x, y in story_imports(tree)), sep="\n")
        print("\nway through analyze:", " ".join(way(tree, "analyze", READING)))
        print("\nrepeated:", *(f"  {' '.join(m)}" for m in repeated_blocks(tree.texts)), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
