"""Writes the pages that are read off the code: cli.md, schema.md and errors.md, beside this file.

::

    python docs/generate.py          write them
    python docs/generate.py --check  say which are out of date, and exit 1 if any is
"""

from __future__ import annotations

import argparse
import os
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from nbilling.model import errors

HERE = Path(__file__).resolve().parent
WIDTH = 100
NOTICE = "<!-- Written by docs/generate.py. Edit the code instead, then run it again. -->"
ENVIRONMENT = ("NBILLING_", "STRIPE_", "BILLING_", "INVOICE_", "AUTH_SMTP_", "QUOTA_")

EXIT_MEANINGS = {
    "EXIT_OK": "done, or allowed",
    "EXIT_REFUSED": "refused: over quota, declined, a check that failed",
    "EXIT_BAD_INPUT": "bad input or usage",
    "EXIT_NOT_FOUND": "not found",
    "EXIT_CONFLICT": "conflict with the present state",
    "EXIT_STORAGE": "the ledger, the disk or a missing system library",
    "EXIT_UPSTREAM": "Stripe or mail failed, or the outcome is unknown",
    "EXIT_INTERNAL": "our own fault; never 1, so a crash is not taken for a refusal",
    "EXIT_INTERRUPTED": "interrupted",
}


def page(title: str, *parts: str) -> str:
    """A whole page: title, notice, parts with an empty line between them."""
    return "\n\n".join([f"# {title}", NOTICE, *(part.strip("\n") for part in parts if part)]) + "\n"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# --- The command line


class Command(NamedTuple):
    """A command of the tree: its words (``nbilling usage import``), itself, and what ``--help`` prints."""

    path: str
    command: click.Command
    help: str


def commands(command: click.Command, path: str = "nbilling", parent: click.Context | None = None) -> Iterator[Command]:
    """The command and all below it that are not hidden, in the order in which ``--help`` lists them."""
    context = click.Context(
        command,
        info_name=path.rsplit(" ", 1)[-1],
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        **{name: value for name, value in command.context_settings.items() if "width" not in name},
    )
    yield Command(path, command, click.unstyle(command.get_help(context)))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from commands(below, f"{path} {name}", context)


def cli_page(root: click.Command) -> str:
    """The reference of the command line: what ``--help`` prints, for every command."""
    found = list(commands(root))
    listed = "\n".join(
        f"{'  ' * (one.path.count(' ') - 1)}- [`{one.path}`](#{one.path.replace(' ', '-')}): "
        f"{one.command.get_short_help_str(WIDTH)}"
        for one in found[1:]
    )
    parts = []
    for one in found:
        text = "\n".join(line.rstrip() for line in one.help.splitlines()).strip("\n")
        parts.append(f"## {one.path}\n\n```text\n{text}\n```")
    return page("Command line", "Exit codes are in [errors.md](errors.md).", listed, *parts)


# --- The ledger file


def comments(sql: str) -> tuple[str, dict[str, str]]:
    """The comments within a CREATE statement: the object's own (before its first column), and each column's.

    A column's comment follows it on its line; a comment on a line of its own goes on with the one before.
    """
    about: list[str] = []
    columns: dict[str, str] = {}
    column = ""
    for line in sql.splitlines()[1:]:
        code, mark, comment = line.partition("--")
        name = re.match(r"\s*\"?(\w+)\"? ", code)
        if name:
            column = name[1]
        if not mark:
            continue
        if not column:
            about.append(comment.strip())
        else:
            columns[column] = f"{columns.get(column, '')} {comment.strip()}".strip()
    return " ".join(about), columns


def schema_page(db: sqlite3.Connection) -> str:
    """Every table and view of a ledger: its columns, what they mean, its indexes, what it refuses."""
    objects = db.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%'"
        " ORDER BY rowid"
    ).fetchall()
    views = [view_section(db, name, sql) for kind, name, sql in objects if kind == "view"]
    tables = [table_section(db, name, sql) for kind, name, sql in objects if kind == "table"]
    return page(
        "Ledger file",
        "One SQLite file. The views hold readable amounts and ISO 8601 times and can be read with any SQLite client; "
        "the tables behind them hold integers: microseconds since 1970 in UTC (`…_at`, `at`), days since 1970 in the "
        "customer's zone (`…_day`), minor units of the currency (`…_minor`) and base units of the meter (`amount`).",
        "## Views",
        *views,
        "## Tables",
        *tables,
    )


def columns_of(db: sqlite3.Connection, name: str) -> list[tuple[str, str, bool, str | None, int]]:
    """``(name, type, may be NULL, default, place in the primary key from 1)`` of each column."""
    rows = db.execute('SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(?)', (name,)).fetchall()
    return [(column, kind, not (required or key), default, key) for column, kind, required, default, key in rows]


def view_section(db: sqlite3.Connection, name: str, sql: str) -> str:
    """A view: its comment and its columns."""
    about, _ = comments(sql)
    names = ", ".join(f"`{column[0]}`" for column in columns_of(db, name))
    return "\n\n".join(
        part for part in (f"### {name}", sentence(about), f"Columns: {names}", refusals(db, name)) if part
    )


def table_section(db: sqlite3.Connection, name: str, sql: str) -> str:
    """A table: its comment, its columns, its indexes."""
    about, meanings = comments(sql)
    references = {row[3]: f"`{row[2]}.{row[4]}`" for row in db.execute(f"PRAGMA foreign_key_list({name})")}
    rows = []
    for column, kind, nullable, default, key in columns_of(db, name):
        notes = [
            f"key {key}" if key else "",
            "may be NULL" if nullable else "",
            f"default {default}" if default is not None else "",
            f"of {references[column]}" if column in references else "",
        ]
        rows.append((f"`{column}`", kind, ", ".join(note for note in notes if note), meanings.get(column, "")))
    indexes = [
        f"- {'unique ' if unique else ''}index `{index}` on "
        + ", ".join(f"`{row[0]}`" for row in db.execute("SELECT name FROM pragma_index_info(?)", (index,)))
        + (f" where {where.split('WHERE')[1].strip()}" if where and "WHERE" in where else "")
        for index, unique, where in db.execute(
            'SELECT l.name, l."unique", m.sql FROM pragma_index_list(?) l JOIN sqlite_master m ON m.name = l.name'
            " WHERE l.origin <> 'pk' ORDER BY m.rowid",
            (name,),
        )
    ]
    parts = (f"### {name}", sentence(about), table(("column", "type", "", "meaning"), rows), "\n".join(indexes))
    return "\n\n".join(part for part in (*parts, refusals(db, name)) if part)


def refusals(db: sqlite3.Connection, name: str) -> str:
    """What the triggers of a table or view say, each message once."""
    found = db.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? ORDER BY rowid", (name,))
    said = [
        match[1]
        for (sql,) in found
        if (match := re.search(r"raise\s*\(\s*ABORT\s*,\s*'(.*?)'\s*\)", sql, re.IGNORECASE))
    ]
    return "\n".join(f"Refuses writes: {message}." for message in dict.fromkeys(said))


def sentence(text: str) -> str:
    """A comment as a sentence."""
    return f"{text[0].upper()}{text[1:].rstrip('.')}." if text else ""


# --- Errors


def errors_page() -> str:
    """The exit codes, and the tree of errors with the code of each."""
    exits = sorted((value, EXIT_MEANINGS[name]) for name, value in vars(errors).items() if name.startswith("EXIT_"))
    rows = []

    def add(kind: type[errors.NbillingError], depth: int) -> None:
        meaning = " ".join((kind.__doc__ or "").split())
        rows.append((f"{'&emsp;' * depth}`{kind.__name__}`", f"`{kind.code}`", str(kind.exit_code), meaning))
        for below in kind.__subclasses__():
            if below.__module__ == errors.__name__:
                add(below, depth + 1)

    add(errors.NbillingError, 0)
    return page(
        "Errors and exit codes",
        "An error is one line on stderr that says what is wrong and what to do next. With `--format json` it is "
        '`{"error": {"code", "message", "hint"}}`.',
        "## Exit codes",
        table(("code", "meaning"), [(str(value), meaning) for value, meaning in exits]),
        "## Errors",
        "Python raises them, indented under what they are a kind of. All are in `nbilling.model.errors`.",
        table(("error", "code", "exit", "when"), rows),
    )


# --- All of them


def real_cli() -> str:
    """The page of nbilling's own commands."""
    from nbilling.cli.main import cli

    return cli_page(cli)


def real_schema() -> str:
    """The page of a fresh ledger."""
    from nbilling.store.database import create_ledger

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "nbilling.db"
        create_ledger(path)
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            return schema_page(db)
        finally:
            db.close()


PAGES: dict[str, Callable[[], str]] = {"cli.md": real_cli, "errors.md": errors_page, "schema.md": real_schema}


def stale(directory: Path, pages: dict[str, Callable[[], str]]) -> list[str]:
    """The names of the pages in ``directory`` that are missing or not what the code says."""
    return [
        name
        for name, write in pages.items()
        if not (directory / name).is_file() or (directory / name).read_text("utf-8") != write()
    ]


def main(arguments: list[str] | None = None) -> int:
    """Writes the pages, or checks them. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Writes docs/cli.md, docs/errors.md and docs/schema.md from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    check = parser.parse_args(arguments).check
    for name in list(os.environ):  # a setting of this shell is nobody's default
        if name.startswith(ENVIRONMENT):
            del os.environ[name]
    old = stale(HERE, PAGES)
    for name in old:
        if check:
            print(f"docs/{name} is out of date; run python docs/generate.py", file=sys.stderr)
        else:
            (HERE / name).write_text(PAGES[name](), "utf-8")
            print(f"docs/{name} written")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
