"""The documentation is true: generated pages are fresh, links lead somewhere, the README's sessions run as shown."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import click
import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = [path for path in (CHECKOUT / "README.md", CHECKOUT / "CHANGELOG.md") if path.exists()]
PAGES += sorted((CHECKOUT / "docs").rglob("*.md"))


def load_generator() -> ModuleType:
    """docs/generate.py, which is a script and no package."""
    spec = importlib.util.spec_from_file_location("docs_generate", CHECKOUT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()


# --- The generated pages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(generate.PAGES))
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    fresh = generate.PAGES[name]()
    assert (CHECKOUT / "docs" / name).read_text("utf-8") == fresh, "run python docs/generate.py"


def test_every_command_has_help_and_every_one_that_does_something_an_example() -> None:
    from nbilling.cli.main import cli

    assert [why for found in generate.commands(cli) if (why := undocumented(found))] == []


def undocumented(found: generate.Command) -> str | None:  # type: ignore[name-defined]
    """What is missing from a command's help, or None. An example is a line that begins with the command itself."""
    if not found.command.help:
        return f"{found.path}: no help"
    after_usage = found.help.split("\n", 1)[1]
    is_group = isinstance(found.command, click.Group)
    if not is_group and not re.search(rf"^\s*(?:\$ |.*\| )?{re.escape(found.path)}\b", after_usage, re.MULTILINE):
        return f"{found.path}: no example"
    return None


def small_cli() -> click.Group:
    @click.group()
    def root() -> None:
        """Bills."""

    @root.group()
    def usage() -> None:
        """Meters."""

    @usage.command("import")
    @click.option("--customer", help="Whose log | it is.", show_default=True, default="acme")
    def import_(customer: str) -> None:
        """Reads a log.

        \b
          nbilling usage import access.log --customer acme
        """

    @usage.command()
    def bare() -> None:
        """Reads nothing."""

    @root.command(hidden=True)
    def secret() -> None: ...

    return root


def test_the_reference_holds_the_help_of_every_command_that_is_not_hidden() -> None:
    text = generate.cli_page(small_cli())
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == [
        "nbilling",
        "nbilling usage",
        "nbilling usage bare",
        "nbilling usage import",
    ]
    assert "Usage: nbilling usage import [OPTIONS]" in text
    assert "  - [`nbilling usage import`](#nbilling-usage-import): Reads a log." in text
    assert "secret" not in text
    assert broken_links(text, CHECKOUT / "docs" / "cli.md") == []


def test_a_command_without_help_or_example_is_noticed() -> None:
    missing = [undocumented(found) for found in generate.commands(small_cli())]
    assert missing == [None, None, "nbilling usage bare: no example", None]


def test_the_schema_page_takes_meanings_from_the_comments_of_the_tables() -> None:
    db = sqlite3.connect(":memory:")
    db.execute("""CREATE TABLE parents (
  -- who pays
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL DEFAULT '', -- as printed
  -- on the invoice
  note TEXT
) STRICT""")
    db.execute("""CREATE TABLE children (
  parent INTEGER NOT NULL REFERENCES parents (id),
  at INTEGER NOT NULL,
  UNIQUE (parent, at)
) STRICT""")
    db.execute("CREATE INDEX children_at ON children (at) WHERE at > 0")
    db.execute("CREATE VIEW names AS\n  -- to read from\n  SELECT name FROM parents")
    db.execute("CREATE TRIGGER no INSTEAD OF INSERT ON names BEGIN SELECT raise(ABORT, 'names is a view'); END")
    text = generate.schema_page(db)
    db.close()
    for expected in (
        "### parents\n\nWho pays.",
        "| `id` | INTEGER | key 1 |  |",
        "| `name` | TEXT | default '' | as printed on the invoice |",
        "| `note` | TEXT | may be NULL |  |",
        "| `parent` | INTEGER | of `parents.id` |  |",
        "- index `children_at` on `at` where at > 0",
        "- unique index `sqlite_autoindex_children_1` on `parent`, `at`",
        "### names\n\nTo read from.\n\nColumns: `name`\n\nRefuses writes: names is a view.",
    ):
        assert expected in text


def test_the_errors_page_names_every_error_and_every_exit_code() -> None:
    text = generate.errors_page()
    from nbilling.model import errors

    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.NbillingError):
            assert f"`{value.__name__}` | `{value.code}` | {value.exit_code} |" in text


def test_a_page_that_is_missing_or_edited_is_stale(tmp_path: Path) -> None:
    (tmp_path / "fresh.md").write_text("a")
    (tmp_path / "edited.md").write_text("b")
    pages = {"fresh.md": lambda: "a", "edited.md": lambda: "a", "missing.md": lambda: "a"}
    assert generate.stale(tmp_path, pages) == ["edited.md", "missing.md"]


# --- Links ----------------------------------------------------------------------------------------------------------


def prose(text: str) -> str:
    """The text without fenced blocks, and without brackets in code spans, which are no links."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", lambda span: re.sub(r"[\[\]()]", "", span[0]), text)


def anchors(text: str) -> set[str]:
    """The fragments that the headings of a page can be reached by."""
    headings = re.findall(r"^#+ +(.*?) *$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(text: str, path: Path) -> list[str]:
    """The targets of links within the project that lead nowhere. ``path`` is the page that holds the text."""

    def leads_somewhere(target: str) -> bool:
        name, _, fragment = target.partition("#")
        file = path.parent / name if name else path
        if file != path and not file.exists():
            return False
        return not fragment or fragment in anchors(text if file == path else file.read_text("utf-8"))

    targets = re.findall(r"\[[^\[\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]: +(\S+)", prose(text), re.MULTILINE)
    within = [target for target in map("".join, targets) if not re.match(r"[a-z]+:", target)]
    return [target for target in within if not leads_somewhere(target)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_within_the_project_leads_somewhere(path: Path) -> None:
    assert broken_links(path.read_text("utf-8"), path) == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# The `one` heading\n")
    text = (
        "# Here\n[a](other.md) [b](other.md#the-one-heading) [c](#here) [d](https://example.com/x)\n"
        "[e](missing.md) [f](other.md#missing) ![g](g.png)\n```\n[h](h.md)\n```\n"
    )
    assert broken_links(text, tmp_path / "page.md") == ["missing.md", "other.md#missing", "g.png"]


# --- Sessions -------------------------------------------------------------------------------------------------------
#
# A ```console block whose first line is "$ nbilling …" is run. The blocks of a page run in order in one empty
# directory. Each line that begins with "$ " is a command for bash (a trailing \ goes on in the next line); it must
# exit with 0, or with N if the line after it is "# exit N". The lines below a command are its output (both streams).
# They are compared only in a block marked ```console exact, where "..." stands for anything.


class Step(NamedTuple):
    """A command of a session, its expected exit code, and its output, or None if that is not compared."""

    command: str
    code: int
    output: str | None


def session(text: str) -> Iterator[Step]:
    """The commands of a page that are to be run, in order."""
    for mark, block in re.findall(r"^```console( exact)?\n(\$ nbilling\b.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, rest = part.partition("\n")
            while command.endswith("\\"):
                more, _, rest = rest.partition("\n")
                command = f"{command}\n{more}"
            code = re.match(r"# exit (\d+)\n", rest)
            if code:
                rest = rest[code.end() :]
            yield Step(command, int(code[1]) if code else 0, rest if mark else None)


def nbilling_on_path(directory: Path) -> str:
    """A PATH on which ``nbilling`` is the one that is being tested, installed or not."""
    directory.mkdir()
    shim = directory / "nbilling"
    start = "import sys; sys.argv[0] = 'nbilling'; from nbilling.cli.start import main; sys.exit(main())"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{start}" "$@"\n')
    shim.chmod(0o755)
    return f"{directory}{os.pathsep}{os.environ['PATH']}"


def alike(shown: str, printed: str) -> bool:
    """Whether the output is as shown, ``...`` standing for anything."""
    return doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS)


def run(steps: list[Step], directory: Path, path: str) -> list[str]:
    """Runs a session and returns what went otherwise than shown."""
    wrong = []
    for step in steps:
        done = subprocess.run(
            ["bash", "-c", step.command],
            cwd=directory,
            env={**os.environ, "PATH": path, "HOME": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        if done.returncode != step.code:
            wrong.append(f"$ {step.command}\nexit {done.returncode} instead of {step.code}\n{done.stdout}")
        elif step.output is not None and not alike(step.output, done.stdout):
            wrong.append(f"$ {step.command}\nprinted\n{done.stdout}instead of\n{step.output}")
    return wrong


SESSIONS = {
    str(path.relative_to(CHECKOUT)): steps for path in PAGES if (steps := list(session(path.read_text("utf-8"))))
}


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_in_the_documentation_runs_as_shown(name: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    wrong = run(SESSIONS[name], work, nbilling_on_path(tmp_path / "bin"))
    assert not wrong, "\n\n".join(["", *wrong])


PAGE = """
```console
$ ./setup.sh
```
```console
$ nbilling one
whatever
$ echo two \\
    three > file
```
```console exact
$ nbilling check
# exit 1
blocked ...
$ cat file
two three
```
"""


def test_a_session_is_read_block_by_block() -> None:
    assert list(session(PAGE)) == [
        Step("nbilling one", 0, None),
        Step("echo two \\\n    three > file", 0, None),
        Step("nbilling check", 1, "blocked ...\n"),
        Step("cat file", 0, "two three\n"),
    ]


def test_a_session_that_goes_otherwise_is_noticed(tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "nbilling"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\n[ "$1" = check ] || exit 0\necho blocked at 10; exit 1\n')
    fake.chmod(0o755)
    path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
    assert run(list(session(PAGE)), tmp_path, path) == []
    assert len(run(list(session(PAGE.replace("blocked ...", "allowed"))), tmp_path, path)) == 1
    assert len(run(list(session(PAGE.replace("# exit 1\n", ""))), tmp_path, path)) == 1
