"""Usage events as lines of text: NDJSON and CSV. Pure; a line that is wrong becomes the error that says why."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from nbilling.model.errors import BadInput

MAX_LINE = 65_536
SERVICES = {"api": "api_requests"}
"""nself calls the meter of API requests ``api``; its other services are called as the seed's meters are."""

_ALIASES = {
    "customer_id": "customer",
    "resource_type": "meter",
    "service": "meter",
    "quantity": "amount",
    "created_at": "at",
    "timestamp": "at",
    "time": "at",
}
_JSON_HINT = 'write a line as {"customer": "acme", "meter": "api_requests", "amount": 1, "id": "r-1"}'
Event = Mapping[str, Any] | BadInput


def ndjson_events(lines: Iterable[bytes], customer: str = "") -> Iterator[Event]:
    """One JSON object a line, with the names of ``UsageEvent`` or the seed's. Empty lines are left out."""
    for line in lines:
        if line.strip():
            yield _or_error(_ndjson_event, line, customer)


def csv_events(lines: Iterable[bytes], customer: str = "") -> Iterator[Event]:
    """CSV with a header: at least a meter (or ``resource_type``, ``service``), and a customer unless one is given.

    Metadata that stands unquoted in the last column, as nself's documents write it, is understood.
    """
    header: list[str] | None = None
    for line in lines:
        if not line.strip():
            continue
        if header is None:
            header = [_name(cell) for cell in _cells(line.removeprefix(b"\xef\xbb\xbf"))]
            if "meter" not in header:
                raise BadInput("the CSV has no column for the meter", hint="name one meter, resource_type or service")
            continue
        yield _or_error(_csv_event, line, customer, header)


def _or_error(read: Any, *values: Any) -> Event:
    try:
        event: Event = read(*values)
    except BadInput as error:
        return error
    return event


def _ndjson_event(line: bytes, customer: str) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise BadInput(f"the line has {len(line):,} bytes", hint=f"at most {MAX_LINE:,} are read")
    try:
        found = json.loads(line, parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=_unique)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput("the line is not JSON", hint=_JSON_HINT) from None
    if not isinstance(found, dict):
        raise BadInput("the line is not a JSON object", hint=_JSON_HINT)
    return _named({_name(key): value for key, value in found.items()}, customer)


def _csv_event(line: bytes, customer: str, header: list[str]) -> dict[str, Any]:
    cells = _bare_metadata(line, len(header)) if header[-1] == "metadata" else None
    cells = cells or _cells(line)
    if len(cells) != len(header):
        raise BadInput(f"the line has {len(cells)} cells, the header {len(header)}", hint="quote cells with commas")
    event: dict[str, Any] = {name: cell for name, cell in zip(header, cells, strict=True) if cell != ""}
    if "metadata" in event:
        text = event["metadata"]
        event["metadata"] = _metadata(text.removeprefix("'"))
    if "set" in event:
        event["set"] = event["set"].lower() in ("1", "true", "yes")
    return _named(event, customer)


def _bare_metadata(line: bytes, columns: int) -> list[str] | None:
    """The cells of a line whose last one is JSON without quotes around it."""
    cells = line.rstrip(b"\r\n").decode("utf-8", "replace").split(",", columns - 1)
    bare = len(cells) == columns and cells[-1].startswith("{") and not any('"' in cell for cell in cells[:-1])
    return cells if bare else None


def _metadata(text: str) -> Any:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (json.JSONDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput("metadata is not a JSON object", hint='write it as {"key": "value"}')
    return found


def _named(event: dict[str, Any], customer: str) -> dict[str, Any]:
    if customer:
        event.setdefault("customer", customer)
    meter = event.get("meter")
    if isinstance(meter, str):
        event["meter"] = SERVICES.get(meter, meter)
    return event


def _name(text: str) -> str:
    name = text.strip().lower()
    return _ALIASES.get(name, name)


def _cells(line: bytes) -> list[str]:
    if len(line) > MAX_LINE:
        raise BadInput(f"the line has {len(line):,} bytes", hint=f"at most {MAX_LINE:,} are read")
    try:
        return next(csv.reader([line.decode("utf-8")], strict=False), [])
    except (UnicodeDecodeError, csv.Error):
        raise BadInput("the line is not CSV in UTF-8", hint="check the file's encoding") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadInput("an object names a key twice", hint="send each key once")
    return found


def _refuse(constant: str) -> None:
    raise BadInput(f"{constant} is not a number", hint="send digits")
