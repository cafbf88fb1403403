"""Usage events as lines of text: NDJSON and CSV. Pure; a line that is wrong becomes the error that says why."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, NoReturn

from nbilling.model.errors import BadInput
from nbilling.model.events import UsageEvent
from nbilling.rules.access_logs import MAX_LINE, Unreadable, log_time

SERVICES = {"api": "api_requests"}
"""nself calls the meter of API requests ``api``; its other services are called as the seed's meters are."""

OTHER_UNITS = {"storage": "GB-hours", "bandwidth": "GB", "compute": "CPU-hours"}
"""What nself counts these services in. The meters of the same name count bytes, bytes and seconds."""

ALIASES = {
    "customer_id": "customer",
    "resource_type": "meter",
    "service": "meter",
    "quantity": "amount",
    "created_at": "at",
    "timestamp": "at",
    "time": "at",
}
"""The seed's, the exports' and nself's names of what an event has."""

_FIELDS = UsageEvent._fields
_BOM = b"\xef\xbb\xbf"
_JSON_HINT = 'write a line as {"customer": "acme", "meter": "api_requests", "amount": 1, "id": "r-1"}'
_EPOCH_TIME = re.compile(r"[0-9]{9,16}(?:\.[0-9]+)?", re.ASCII)
_DEFUSED = re.compile(r"'(?=[=+@-])")


class Quiet(Enum):
    """What stands between events where nothing more is there for the moment."""

    QUIET = "quiet"


QUIET = Quiet.QUIET
Event = Mapping[str, Any] | BadInput | Quiet
Lines = Iterable[bytes | Quiet]


def ndjson_events(lines: Lines, customer: str = "") -> Iterator[Event]:
    """One JSON object a line, with the names of ``UsageEvent`` or :data:`ALIASES`. Empty lines are left out.

    ``customer``: whose an event is that names none.
    """
    for line in lines:
        if isinstance(line, Quiet):
            yield line
        elif line.strip():
            yield _or_error(partial(_ndjson_event, line, customer))


def csv_events(lines: Lines, customer: str = "") -> Iterator[Event]:
    """CSV with a header: at least a meter (or ``resource_type``, ``service``), and a customer unless one is given.

    Metadata that stands unquoted in the last column, as nself's documents write it, is understood, and so are the
    cells that an export has defused for spreadsheets. BadInput for a header that cannot be right.
    """
    header: list[str] | None = None
    for line in lines:
        if isinstance(line, Quiet):
            yield line
        elif header is None:
            if line.strip():
                header = _header(line, customer)
        elif line.strip():
            yield _or_error(partial(_csv_event, line, customer, header))


def named_fields(pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """What an event says, under the names of :class:`UsageEvent`. BadInput for what it does not have, and for what
    stands there under two names."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        known = ALIASES.get(name, name)
        if known not in _FIELDS:
            raise BadInput(f"an event has no field {name!r:.60}", hint=f"there are {', '.join(_FIELDS)}")
        if known in found:
            raise BadInput(f"an event has two fields for {known}", hint="leave one of them out")
        found[known] = value
    return found


def _or_error(read: Callable[[], dict[str, Any]]) -> Event:
    try:
        return read()
    except BadInput as error:
        return error


def _decoded(line: bytes) -> str:
    if len(line) > MAX_LINE:
        raise BadInput(f"the line is longer than {MAX_LINE:,} bytes", hint="send less metadata")
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise BadInput("the line is not UTF-8", hint="check the file's encoding") from None


# --- NDJSON -----------------------------------------------------------------------------------------------------------


def _ndjson_event(line: bytes, customer: str) -> dict[str, Any]:
    return _named(_object(_decoded(line.removeprefix(_BOM))).items(), customer)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=_unique)
    except BadInput:
        raise
    except (ValueError, RecursionError):  # a number of more than 4,300 digits is a ValueError too
        raise BadInput("the line is not JSON", hint=_JSON_HINT) from None
    if not isinstance(found, dict):
        raise BadInput("the line is not a JSON object", hint=_JSON_HINT)
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadInput("an object names a key twice", hint="send each key once")
    return found


def _refuse(constant: str) -> NoReturn:
    raise BadInput(f"{constant} is not a number", hint="send digits")


# --- CSV --------------------------------------------------------------------------------------------------------------


def _header(line: bytes, customer: str) -> list[str]:
    names = [cell.strip().lower() for cell in _cells(line.removeprefix(_BOM))]
    try:
        known = named_fields((name, None) for name in names)
    except BadInput as error:
        raise BadInput(f"the header of the CSV: {error.message}", hint=error.hint) from None
    if "meter" not in known:
        raise BadInput("the CSV has no column for the meter", hint="name one meter, resource_type or service")
    if "customer" not in known and not customer:
        raise BadInput("the CSV has no column for the customer", hint="name one customer, or give --customer")
    return names


def _csv_event(line: bytes, customer: str, header: list[str]) -> dict[str, Any]:
    cells = _bare_metadata(line, len(header)) if header[-1] == "metadata" else None
    cells = cells or _cells(line)
    if len(cells) != len(header):
        raise BadInput(f"the line has {len(cells)} cells, the header {len(header)}", hint="quote cells with commas")
    pairs: list[tuple[str, Any]] = []
    for name, cell in zip(header, cells, strict=True):
        if cell == "":
            continue
        value: Any = _DEFUSED.sub("", cell, count=1) if name not in ("amount", "quantity") else cell
        if name == "metadata":
            value = _metadata(value)
        elif name == "set":
            value = _truth(value)
        pairs.append((name, value))
    return _named(pairs, customer)


def _bare_metadata(line: bytes, columns: int) -> list[str] | None:
    """The cells of a line whose last one is JSON without quotes around it."""
    cells = _decoded(line).split(",", columns - 1)
    bare = len(cells) == columns and cells[-1].startswith("{") and not any('"' in cell for cell in cells[:-1])
    return cells if bare else None


def _cells(line: bytes) -> list[str]:
    try:
        return next(csv.reader([_decoded(line)], strict=True), [])
    except csv.Error:
        raise BadInput("the line is not CSV", hint='quote cells as "one, two", and a quote in them as ""') from None


def _metadata(text: str) -> dict[str, Any]:
    try:
        return _object(text)
    except BadInput:
        raise BadInput("metadata is not a JSON object", hint='write it as {"key": "value"}') from None


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("1", "true", "yes", "0", "false", "no"):
        raise BadInput(f"set {text!r:.60} is neither true nor false", hint="write true or false")
    return word in ("1", "true", "yes")


# --- Both -------------------------------------------------------------------------------------------------------------


def _named(pairs: Iterable[tuple[str, Any]], customer: str) -> dict[str, Any]:
    listed = [(name.strip().lower(), value) for name, value in pairs]
    event = named_fields(listed)
    if customer and event.get("customer") is None:
        event["customer"] = customer
    meter = event.get("meter")
    if isinstance(meter, str):
        if meter in OTHER_UNITS and ("service", meter) in listed:
            raise BadInput(
                f"service {meter} is counted in {OTHER_UNITS[meter]}, the meter {meter} is not",
                hint="convert the amounts to the meter's unit and call the field meter",
            )
        event["meter"] = SERVICES.get(meter, meter)
    if "at" in event:
        event["at"] = _time(event["at"])
    return event


def _time(at: Any) -> Any:
    """Numbers are seconds, milliseconds or microseconds since 1970 by how many digits they have, as in a log."""
    text = f"{at:f}" if isinstance(at, Decimal) and abs(at.adjusted()) < 20 else at
    text = str(at) if type(at) is int else text
    if not isinstance(text, str):
        return at
    if _EPOCH_TIME.fullmatch(text):
        try:
            return log_time(text)
        except Unreadable:
            pass
    elif not isinstance(at, (int, Decimal)):
        return at  # not a number: whoever records it reads it
    raise BadInput(f"at {text:.60} is not a time", hint="write it as 2026-01-31T10:00:00Z")
