"""Access logs in JSON lines, by a map of fields, and the wrapping that docker's json-file driver puts round any log.

nginx writes such lines with ``log_format … escape=json``. Numbers are read as text, never as floats. A key that stands
twice in a line is refused: with ``escape=none`` a client could otherwise write fields of its own behind ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from nbilling.model.errors import BadInput
from nbilling.model.text import plain
from nbilling.rules.access_logs import (
    MAX_BYTES,
    MAX_LINE,
    AccessLine,
    Unreadable,
    endpoint,
    log_time,
    printable,
    split_request,
    unusable,
)

DEFAULT_FIELDS: dict[str, tuple[str, ...]] = {
    "time": ("time_iso8601", "msec", "time_local", "@timestamp", "timestamp", "time", "ts"),
    "bytes": ("body_bytes_sent", "bytes_sent", "bytes"),
    "status": ("status", "status_code"),
    "request": ("request",),
    "method": ("request_method", "method"),
    "path": ("request_uri", "uri", "path"),
    "duration": ("request_time",),
    "id": (),
    "user": ("remote_user",),
    "address": ("remote_addr",),
    "host": ("host", "server_name"),
}
"""What is looked for in a line, and under which names where the operator names none; the first that is there counts.

``id`` has no default: many servers log as ``request_id`` what the client sent, and a client that repeats an id would
have its requests taken for one.
"""

NOT_LOGGED = "-"
"""``bytes=-`` in a field map: the log does not say how many bytes were sent, and no bandwidth is counted."""

_DURATION = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,16}", re.ASCII)
_STATUS = re.compile(r"[0-9]{3}", re.ASCII)


def check_fields(fields: Mapping[str, str]) -> None:
    """BadInput where a field map names something that no line has."""
    for target, name in fields.items():
        if target not in DEFAULT_FIELDS:
            known = ", ".join(DEFAULT_FIELDS)
            raise BadInput(f"there is nothing called {target!r:.40} to map a field to", hint=f"map one of {known}")
        plain(name, f"the field for {target}")


def json_parser(fields: Mapping[str, str], who: tuple[str, ...] = ()) -> Callable[[bytes], AccessLine]:
    """Reads JSON lines. ``fields``: our name to the log's; ``who``: fields that say who asked, the first there counts.

    ``a.b`` means ``b`` within ``a`` where no field is called that outright.
    """
    request = request_reader(DEFAULT_FIELDS, fields, who)

    def parse(line: bytes) -> AccessLine:
        return request(json_object(line))

    return parse


def request_reader(
    defaults: Mapping[str, tuple[str, ...]], fields: Mapping[str, str], who: tuple[str, ...]
) -> Callable[[dict[str, Any]], AccessLine]:
    """Makes a request of a JSON object. ``defaults``: where each of our names is looked for unless ``fields`` says."""
    check_fields(fields)
    names = {target: (fields[target],) if target in fields else known for target, known in defaults.items()}
    counts_bytes = fields.get("bytes") != NOT_LOGGED

    def request(found: dict[str, Any]) -> AccessLine:
        status = _text(found, names["status"])
        if not _STATUS.fullmatch(status):
            raise Unreadable("status")
        duration = _text(found, names["duration"])
        if duration and not _DURATION.fullmatch(duration):
            raise Unreadable("duration")
        return AccessLine(
            log_time(_text(found, names["time"])),
            _size(found, names["bytes"]) if counts_bytes else 0,
            int(status),
            *_asked(found, names),
            duration,
            _text(found, who),
            _id(_text(found, names["id"])),
        )

    return request


def from_field(
    choice: str, fields: Mapping[str, str], defaults: Mapping[str, tuple[str, ...]] = DEFAULT_FIELDS
) -> tuple[str, ...]:
    """The log's fields that hold the ``user``, ``address`` or ``host``, by the map or by default."""
    return (fields[choice],) if choice in fields else defaults[choice]


def json_object(line: bytes) -> dict[str, Any]:
    """The object that a line holds, its numbers with a point as text. Raises :class:`Unreadable`."""
    if reason := unusable(line):
        raise Unreadable(reason)
    return decoded(line)


def decoded(line: bytes) -> dict[str, Any]:
    """The same of a line of any length."""
    try:
        # A byte that is no UTF-8 becomes a lone surrogate: one in a user agent must not garble the other fields.
        found = _DECODER.decode(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        raise Unreadable("json") from None
    if not isinstance(found, dict):
        raise Unreadable("json")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=str, parse_constant=_no_constant)


def _text(found: dict[str, Any], names: tuple[str, ...]) -> str:
    """The first of the fields that is there and says something, as text; empty where there is none."""
    for name in names:
        value: Any = found.get(name)
        if value is None and "." in name:
            value = found
            for part in name.split("."):
                value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str):
            if value and value != "-":
                return value
        elif isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""


def _size(found: dict[str, Any], names: tuple[str, ...]) -> int:
    text = _text(found, names)
    if not text and any(found.get(name) == "-" for name in names):
        return 0
    if not _WHOLE.fullmatch(text) or int(text) > MAX_BYTES:
        raise Unreadable("bytes")
    return int(text)


def _asked(found: dict[str, Any], names: Mapping[str, tuple[str, ...]]) -> tuple[str, str]:
    """Method and endpoint, from fields of their own or from the request line."""
    method, path = _text(found, names["method"]), _text(found, names["path"])
    if method and path:
        return printable(method)[:32], endpoint(printable(path))
    return split_request(
        _text(found, names["request"]).encode("utf-8", "surrogatepass"),
        lambda raw: printable(raw.decode("utf-8", "surrogatepass")),
    )


def _id(text: str) -> str:
    try:
        return plain(text, "id", empty=True)
    except BadInput:
        raise Unreadable("id") from None


class DockerLines:
    """Takes off the wrapping of ``/var/lib/docker/containers/*/*-json.log`` and joins what docker cut at 16 KiB.

    Only standard output is an access log; standard error (nginx's error log) is counted in ``skipped``.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._begun: list[bytes] = []
        self._length = 0

    def feed(self, line: bytes) -> bytes | None:
        """The log's own line when it is complete, without its line break; None while more of it is to come.

        Raises :class:`Unreadable` for what the driver did not write. A line that grows past the limit is kept only as
        far as it takes to refuse it.
        """
        wrapped = json_object(line)
        text, stream = wrapped.get("log"), wrapped.get("stream", "stdout")
        if not isinstance(text, str) or stream not in ("stdout", "stderr"):
            raise Unreadable("json", "it is not from docker's json-file driver")
        if stream == "stderr":
            self.skipped += 1
            return None
        part = text.encode("utf-8", "surrogatepass")
        if self._length <= MAX_LINE:
            self._begun.append(part[: MAX_LINE + 2])
            self._length += len(part)
        if not text.endswith("\n"):
            return None
        whole = b"".join(self._begun)
        self._begun, self._length = [], 0
        return whole.removesuffix(b"\n").removesuffix(b"\r")

    @property
    def unfinished(self) -> bool:
        """Whether the last line was cut and its rest has not come."""
        return bool(self._begun)
