"""The house holds: the import table of the design, one home for each library, lazy heavy imports, files of one thing.

The tables at the top are the rules. Most tests read the source with ``ast``; only a few import it.
"""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import nbilling

CHECKOUT = Path(__file__).resolve().parent.parent
SOURCE = CHECKOUT / "nbilling"

# room -> the rooms of ours that it may import. "nbilling" is the package itself: the public names.
MAY_IMPORT = {
    "nbilling": {"api", "model"},
    "__main__": {"cli"},
    "cli": {"api", "model", "nbilling"},
    "api": {"stripe_sync", "documents", "delivery", "engine", "store", "model"},
    "stripe_sync": {"engine", "store", "model"},
    "documents": {"model"},
    "delivery": {"model"},
    "engine": {"store", "rules", "model"},
    "store": {"model"},
    "rules": {"model"},
    "model": set(),
    "shell": set(),
}

# library -> its one home, a room or a file. Naming its types in annotations (under TYPE_CHECKING) is free.
HOME = {
    "click": "nbilling/cli/",
    "sqlite3": "nbilling/store/",
    "sqlite_utils": "nbilling/store/",
    "stripe": "nbilling/stripe_sync/",
    "cattrs": "nbilling/model/codec.py",
    "weasyprint": "nbilling/documents/pdf.py",
}

# Each costs 19 to 509 ms, so it is imported in the function that needs it.
HEAVY = {"stripe", "weasyprint", "markdown", "requests", "jinja2", "babel", "sqlite_utils", "cattrs"}

# What a quota check or a tracked event passes through. It does without attrs (32 ms) and click (31 ms): these are not
# imported by it at start-up, nor by anything that it imports then.
HOT_PATH = (
    "nbilling.store",
    "nbilling.rules.usage",
    "nbilling.rules.quota",
    "nbilling.engine.quota",
    "nbilling.engine.usage",
    "nbilling.engine.recorder",
    "nbilling.api.billing",
    "nbilling.cli.fast",
    "nbilling.cli.start",
)
SLOW_TO_START = {"attr", "attrs", "click"}

# Only these may compute the name of a module to import.
LAZY_LOADERS = ("nbilling/__init__.py", "nbilling/cli/")

LONGEST_FILE = 500
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "common", "misc", "tools", "stuff"}


class Import(NamedTuple):
    """One name that a file imports. ``lazy`` is inside a function, ``typing`` under ``if TYPE_CHECKING``."""

    name: str
    line: int
    lazy: bool
    typing: bool


class Module(NamedTuple):
    """A parsed file: its path from the checkout, its dotted name, its tree."""

    path: str
    name: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """``cli`` for nbilling/cli/start.py, ``api`` for nbilling/api.py, ``nbilling`` for nbilling/__init__.py."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else "nbilling"


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        relative = path.relative_to(CHECKOUT)
        parts = relative.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(relative.as_posix(), name, ast.parse(path.read_text("utf-8"), str(path))))
    return tuple(found)


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def imports_of(module: Module, ours: frozenset[str] = frozenset()) -> Iterator[Import]:
    """Every import in the file. ``ours`` are our modules' names, to tell a module from a name within one."""

    def names(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.name.split(".")
                if not module.path.endswith("__init__.py"):
                    package = package[:-1]
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, base] if base else package)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in ours else base
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                given = node.args[0]
                yield str(given.value) if isinstance(given, ast.Constant) else "?"

    def walk(node: ast.AST, lazy: bool, typing: bool) -> Iterator[Import]:
        for name in names(node):
            yield Import(name, getattr(node, "lineno", 0), lazy, typing)
        if isinstance(node, ast.If) and is_type_checking(node.test):
            for child in node.body:
                yield from walk(child, lazy, True)
            for child in node.orelse:
                yield from walk(child, lazy, typing)
            return
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside, typing)

    yield from walk(module.tree, False, False)


@cache
def all_imports() -> tuple[tuple[Module, Import], ...]:
    ours = frozenset(module.name for module in modules())
    return tuple((module, found) for module in modules() for found in imports_of(module, ours))


def parsed(code: str, path: str) -> Module:
    """A file that exists only in a test."""
    return Module(path, path.removesuffix(".py").removesuffix("/__init__").replace("/", "."), ast.parse(code))


def nothing(wrong: list[str]) -> None:
    assert not wrong, "\n" + "\n".join(wrong)


# --- Layers ---------------------------------------------------------------------------------------------------------


def forbidden(module: Module, found: Import) -> str | None:
    """Why this import breaks the table, or None."""
    top = found.name.split(".")
    if top[0] != "nbilling":
        return None
    target = top[1] if len(top) > 1 else "nbilling"
    if target == module.room or target in MAY_IMPORT[module.room]:
        return None
    return f"{module.path}:{found.line}: {module.room} may not import {target}"


def test_every_module_lives_in_a_room_of_the_design() -> None:
    nothing([f"{m.path}: no room {m.room!r} in the design" for m in modules() if m.room not in MAY_IMPORT])


def test_rooms_import_only_what_the_table_allows() -> None:
    nothing([why for module, found in all_imports() if (why := forbidden(module, found))])


def test_the_table_has_no_way_round_between_store_and_rules() -> None:
    assert MAY_IMPORT["store"] == MAY_IMPORT["rules"] == {"model"}
    assert not MAY_IMPORT["model"]


@pytest.mark.parametrize(
    "path,code",
    [
        ("nbilling/store/quota.py", "from nbilling.rules import quota"),
        ("nbilling/store/quota.py", "def f():\n    from ..rules.quota import limit"),
        ("nbilling/rules/quota.py", "import nbilling.store.quota"),
        ("nbilling/model/money.py", "import importlib\nx = importlib.import_module('nbilling.store')"),
        (
            "nbilling/model/money.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from nbilling import api",
        ),
        ("nbilling/cli/quota.py", "from nbilling.engine.quota import check"),
        ("nbilling/engine/quota.py", "from nbilling import stripe_sync"),
        ("nbilling/documents/__init__.py", "from .. import store"),
        ("nbilling/model/money.py", "import nbilling"),
    ],
)
def test_a_forbidden_import_is_noticed_however_it_is_written(path: str, code: str) -> None:
    ours = frozenset(f"nbilling.{room}" for room in MAY_IMPORT)
    module = parsed(code, path)
    assert [why for found in imports_of(module, ours) if (why := forbidden(module, found))]


def test_only_the_lazy_loaders_compute_what_they_import() -> None:
    nothing(
        [
            f"{module.path}:{found.line}: the name of an imported module is computed"
            for module, found in all_imports()
            if found.name == "?" and not module.path.startswith(LAZY_LOADERS)
        ]
    )


def test_no_imports_go_in_a_circle() -> None:
    graph: dict[str, set[str]] = {module.name: set() for module in modules()}
    for module, found in all_imports():
        if found.name in graph and found.name != module.name and not found.typing:
            graph[module.name].add(found.name)
    nothing([" -> ".join(circle) for circle in circles(graph)])


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The circles that a depth-first walk meets; empty if and only if there are none."""
    done: set[str] = set()
    found: list[list[str]] = []

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            found.append([*way[way.index(name) :], name])
        elif name not in done:
            for target in sorted(graph[name]):
                visit(target, [*way, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


def test_a_circle_is_noticed() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


# --- Libraries ------------------------------------------------------------------------------------------------------


def test_each_outside_library_stays_in_its_home() -> None:
    nothing(
        [
            f"{module.path}:{found.line}: {library} belongs in {home}"
            for module, found in all_imports()
            for library, home in HOME.items()
            if found.name.split(".")[0] == library and not found.typing and not module.path.startswith(home)
        ]
    )


def test_all_the_sql_is_in_the_store() -> None:
    nothing(
        [
            f"{module.path}:{node.lineno}: .{node.func.attr}() belongs in nbilling/store/"
            for module in modules()
            if not module.path.startswith("nbilling/store/")
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("execute", "executemany", "executescript", "cursor")
        ]
    )


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    nothing(
        [
            f"{module.path}:{found.line}: import {found.name} inside the function that needs it"
            for module, found in all_imports()
            if found.name.split(".")[0] in HEAVY and not found.lazy and not found.typing
        ]
    )


def test_the_hot_path_starts_quickly() -> None:
    at_start: dict[str, list[str]] = {module.name: [] for module in modules()}
    for module, found in all_imports():
        if not found.lazy and not found.typing:
            at_start[module.name].append(found.name)

    def loaded_by(name: str) -> set[str]:
        """All that importing the module brings in: the packages around each of our modules too."""
        loaded: set[str] = set()
        waiting = [name]
        while waiting:
            name = waiting.pop()
            if name not in loaded:
                loaded.add(name)
                waiting += [*at_start.get(name, ()), *([name.rpartition(".")[0]] if "." in name else [])]
        return {name.split(".")[0] for name in loaded}

    hot = [name for name in at_start if any(name == part or name.startswith(part + ".") for part in HOT_PATH)]
    assert hot
    nothing([f"{name} imports {sorted(slow)}" for name in hot if (slow := loaded_by(name) & SLOW_TO_START)])


def test_what_is_imported_is_declared() -> None:
    """A library that only another one brings along may go when that one changes."""
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg", "utf-8")
    distributions = {
        re.split(r"[<>=!\[; ]", line)[0].lower().replace("-", "_")
        for line in config["options"]["install_requires"].split("\n")
        if line
    }
    declared = {{"python_stdnum": "stdnum"}.get(name, name) for name in distributions}
    nothing(
        [
            f"{module.path}:{found.line}: {found.name} is not in install_requires of setup.cfg"
            for module, found in all_imports()
            if found.name.split(".")[0] not in sys.stdlib_module_names | declared | {"nbilling", "?"}
        ]
    )


def test_importing_nbilling_and_its_api_loads_nothing_heavy() -> None:
    code = (
        "import importlib.util, sys, nbilling\n"
        "if importlib.util.find_spec('nbilling.api'): import nbilling.api\n"
        f"print(*sorted({HEAVY | {'attrs', 'attr', 'click'}!r} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []


# --- Shape ----------------------------------------------------------------------------------------------------------


def our_files() -> list[Path]:
    """Every Python and shell file of the project."""
    roots = [CHECKOUT / name for name in ("nbilling", "tests", "docs", "bench", "fixtures", ".ci")]
    files = [path for root in roots for path in root.rglob("*") if path.suffix in (".py", ".sh")]
    return sorted([*files, *CHECKOUT.glob("*.sh"), *CHECKOUT.glob("*.py")])


def test_no_file_is_longer_than_500_lines() -> None:
    lengths = {path.relative_to(CHECKOUT): len(path.read_text("utf-8").splitlines()) for path in our_files()}
    nothing([f"{path}: {lines} lines; it is two things" for path, lines in lengths.items() if lines > LONGEST_FILE])


def test_every_name_of_a_file_says_what_is_in_it() -> None:
    nothing([str(path) for path in our_files() if path.stem in NAMES_THAT_SAY_NOTHING])


def undocumented(module: Module) -> Iterator[str]:
    """Public modules, classes, functions and methods without a docstring."""
    if ast.get_docstring(module.tree) is None:
        yield f"{module.path}: the module"

    def within(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.If):
                yield from within([*node.body, *node.orelse], prefix)
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
                continue
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            if any(name.endswith((".setter", ".deleter", "overload")) for name in decorators):
                continue
            if ast.get_docstring(node) is None:
                yield f"{module.path}:{node.lineno}: {prefix}{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from within(node.body, f"{node.name}.")

    yield from within(module.tree.body, "")


def test_everything_public_has_a_docstring() -> None:
    nothing([what for module in modules() for what in undocumented(module)])


def test_a_missing_docstring_is_noticed() -> None:
    code = '"""A module."""\nclass A:\n    """A class."""\n    def b(self): ...\n    def _c(self): ...\n'
    assert list(undocumented(parsed(code, "nbilling/model/a.py"))) == ["nbilling/model/a.py:4: A.b"]


def test_all_is_what_can_be_reached() -> None:
    """``__all__`` names each thing that nbilling hands on, and nothing else is public in it."""
    declared = list(getattr(nbilling, "__all__", []))
    nothing(
        [f"nbilling.{name} is in __all__ and cannot be reached" for name in declared if not hasattr(nbilling, name)]
    )
    reachable = {
        name
        for name in dir(nbilling)
        if not name.startswith("_") and name != "annotations" and not isinstance(getattr(nbilling, name), type(ast))
    }
    assert reachable == {name for name in declared if not name.startswith("_")}
    assert len(declared) == len(set(declared))


def test_what_is_installed_is_what_is_in_the_checkout() -> None:
    """Templates and fixtures come along, and a build directory left behind brings no deleted module back."""

    def files(root: Path) -> set[str]:
        paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return {path.as_posix() for path in paths if "__pycache__" not in path.parts}

    installed = files(Path(nbilling.__file__).resolve().parent)
    there = files(SOURCE)
    assert there - installed == set(), "not installed: see package_data in setup.cfg"
    assert installed - there == set(), "left over: remove build/ and install again"
