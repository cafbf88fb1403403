"""Output: JSON with exact numbers, NDJSON, CSV, and tables for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

FORMATS = ("table", "json", "ndjson", "csv")


def chosen_format(flag: str | None, default: str | None = None) -> str:
    """Flag before ``NBILLING_FORMAT`` before the command's own default before: a table on a terminal, else JSON."""
    from nbilling.model.text import choice

    if flag:
        return flag
    environment = os.environ.get("NBILLING_FORMAT")
    if environment:
        return choice(environment, "NBILLING_FORMAT", FORMATS)
    return default or ("table" if sys.stdout.isatty() else "json")


def to_json(value: Any) -> str:
    """JSON on one line. A Decimal is written as a number with all its digits, which ``json.dumps`` cannot."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {to_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(to_json(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def show(value: Any, format: str | None = None, *, columns: Sequence[str] | None = None) -> None:
    """Prints a mapping or a list of mappings in the chosen format. ``columns``: what a table shows of each."""
    form = chosen_format(format)
    rows = value if isinstance(value, list) else [value]
    if form == "json":
        write(to_json(value))
    elif form == "ndjson":
        for row in rows:
            write(to_json(row))
    elif form == "csv":
        _csv(rows)
    elif isinstance(value, list):
        table(value, columns)
    else:
        pairs(value)


def write(text: str) -> None:
    """One line on stdout, in UTF-8 whatever the locale says."""
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")


def note(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr)


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """A table with a head; nothing but the head's word where there are no rows."""
    from tabulate import tabulate

    listed = list(rows)
    if not listed:
        note("nothing to show")
        return
    names = list(columns or _readable(listed[0]))
    body = [[_cell(row.get(name)) for name in names] for row in listed]
    numeric = [
        all(isinstance(row.get(name), (int, Decimal)) or row.get(name) is None for row in listed) for name in names
    ]
    align = ["right" if is_number else "left" for is_number in numeric]
    heads = [name.replace("_", " ") for name in names]
    write(tabulate(body, heads, tablefmt="simple", colalign=align, disable_numparse=True))


def pairs(value: Mapping[str, Any]) -> None:
    """A mapping as lines of name and value; lists of mappings as tables below."""
    plain = {name: value[name] for name in _readable(value) if not _is_rows(value[name])}
    width = max((len(name) for name in plain), default=0)
    for name, item in plain.items():
        write(f"{name.replace('_', ' '):{width}}  {_cell(item)}")
    for name, item in value.items():
        if _is_rows(item) and item:
            write(f"\n{name.replace('_', ' ')}")
            table(item)


def _readable(value: Mapping[str, Any]) -> list[str]:
    """Not the minor units: people read the amounts beside them."""
    return [name for name in value if not name.endswith("_minor")]


def _is_rows(item: Any) -> bool:
    return isinstance(item, list) and all(isinstance(row, Mapping) for row in item)


def _cell(item: Any) -> str:
    if item is None:
        return "-"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, (int, Decimal)):
        text = f"{item:,f}" if isinstance(item, Decimal) else f"{item:,}"
        whole, point, rest = text.partition(".")
        return whole + point + rest[:6] if rest else whole
    if isinstance(item, Mapping):
        return ", ".join(f"{key}={_cell(entry)}" for key, entry in item.items())
    if isinstance(item, list):
        return ", ".join(_cell(entry) for entry in item)
    return str(item)


def _csv(rows: Sequence[Mapping[str, Any]]) -> None:
    import csv
    import io

    if not rows:
        return
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    names = list(rows[0])
    writer.writerow(names)
    for row in rows:
        writer.writerow([_csv_cell(row.get(name)) for name in names])
    sys.stdout.buffer.write(out.getvalue().encode("utf-8", "backslashreplace"))


def _csv_cell(item: Any) -> Any:
    if item is None or isinstance(item, (bool, int)):
        return "" if item is None else item
    if isinstance(item, Decimal):
        return f"{item:f}"
    text = item if isinstance(item, str) else to_json(item)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
