"""One line of an access log: when, how many bytes, what was asked, who asked. Pure: bytes in, :class:`AccessLine` out.

The line formats are nginx's as its log module writes them (escape=default): client text is escaped as ``\\xHH``, so a
raw quote or a line break can only be the log's own. ``$status`` has three digits and may be ``000`` (nothing was
answered) or ``009`` (HTTP/0.9); ``$request`` may be empty, ``-`` or garbage; ``$remote_addr`` is ``unix:`` on a socket.
All of them are requests. What cannot be read is refused with a reason from :data:`REASONS`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from nbilling.model.clock import LATEST, SECOND
from nbilling.model.errors import BadInput

MAX_LINE = 65_536
"""Bytes of a line. nginx's own limits (8 KiB a request line, 4 headers of 8 KiB) stay well below."""

MAX_BYTES = 2**50
"""Bytes of one response, 1 PiB. More is damage, and two such lines could pass what a sum may hold (2^63-1)."""

MAX_ENDPOINT = 2048
"""Characters kept of a path; a longer one is cut and ends in an ellipsis."""

REASONS = {
    "empty": "the line is empty",
    "too_long": f"the line is longer than {MAX_LINE:,} bytes",
    "nul": "the line holds NUL bytes",
    "truncated": "the line ends before it is complete",
    "format": "the line is not in this format",
    "json": "the line is not a JSON object",
    "time": "the time is missing or does not exist",
    "future": "the time lies in the future",
    "status": "the status is not three digits",
    "bytes": f"the number of bytes is not a whole number from 0 to {MAX_BYTES:,}",
    "duration": "the duration is not a number of seconds",
    "id": "the request id is not 1 to 255 printable characters",
    "customer": "the customer is not an id that can be kept",
    "unknown_key": "the key is not in the key map",
    "unattributed": "the line names no customer",
    "conflict": "the line was imported before with other content or for another customer",
    "too_long_sample": "the sample is longer than 4 MiB",
    "zones": "the sample has no server zones that can be read",
    "total": "a total is not a whole number from 0 to 2^63-1",
    "server": "the sample is another server's",
}
"""Why a line was not taken, by code."""


class Unreadable(BadInput):
    """A line that cannot be taken. ``reason`` is a key of :data:`REASONS`."""

    code = "bad_line"

    def __init__(self, reason: str, detail: str = "") -> None:
        text = REASONS[reason]
        super().__init__(f"{text}: {detail}" if detail else text)
        self.reason = reason


class AccessLine(NamedTuple):
    """One request. Empty text: not there. ``size`` is the body's bytes, ``duration`` decimal seconds as written.

    ``who`` is the field that the parser was asked to fetch (a user, an address, a key); ``id`` is the request's own.
    """

    at: int
    size: int
    status: int
    method: str
    endpoint: str
    duration: str
    who: str
    id: str


Parser = Callable[[bytes], AccessLine | None]
"""Reads one line without its line break; None where it is about something else. Raises :class:`Unreadable`."""

# --- Time -----------------------------------------------------------------------------------------------------------

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = {
    name: number
    for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)
}  # fmt: skip
_MOST_HOURS = 4096
_CLF = re.compile(rb"(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d):(\d\d):(\d\d) ([+-]\d{4})")
_ISO = re.compile(
    rb"(\d{4}-\d\d-\d\d[Tt ]\d\d):(\d\d):(\d\d)(?:[.,](\d{1,12}))?\s?([Zz]|[+-]\d\d(?::?\d\d)?)", re.ASCII
)
_EPOCH_TIME = re.compile(r"(\d{1,11})\.(\d{1,12})|(\d{1,11})|(\d{13})|(\d{16})", re.ASCII)

_hours: dict[tuple[bytes, bytes], int] = {}


def _hour(day_and_hour: bytes, zone: bytes) -> int:
    """Microseconds of a local hour, kept for the next line: dates are slow, and a log has few hours.

    Entries never change, so threads may share them; the bound is for logs whose times are all over the place.
    """
    known = _hours.get((day_and_hour, zone))
    if known is not None:
        return known
    try:
        if day_and_hour[2:3] == b"/":
            day, month, year = int(day_and_hour[:2]), _MONTHS[day_and_hour[3:6]], int(day_and_hour[7:11])
        else:
            year, month, day = int(day_and_hour[:4]), int(day_and_hour[5:7]), int(day_and_hour[8:10])
        moment = datetime(year, month, day, int(day_and_hour[-2:]), tzinfo=UTC)
    except (KeyError, ValueError):
        raise Unreadable("time") from None
    seconds = (moment - _EPOCH).days * 86_400 + moment.hour * 3_600 - _offset(zone)
    if not 0 <= seconds <= LATEST // SECOND:
        raise Unreadable("time", "the year is impossible")
    if len(_hours) >= _MOST_HOURS:
        _hours.clear()
    _hours[day_and_hour, zone] = at = seconds * SECOND
    return at


def _offset(zone: bytes) -> int:
    """Seconds east of UTC. Clocks on land are never more than 14 hours away."""
    if zone in (b"Z", b"z"):
        return 0
    digits = zone[1:].replace(b":", b"").ljust(4, b"0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if minutes > 59 or hours * 60 + minutes > 14 * 60:
        raise Unreadable("time", "the zone does not exist")
    return (hours * 3_600 + minutes * 60) * (-1 if zone[:1] == b"-" else 1)


def _within_hour(minute: bytes, second: bytes) -> int:
    minutes, seconds = int(minute), int(second)
    if minutes > 59 or seconds > 59:
        raise Unreadable("time")
    return (minutes * 60 + seconds) * SECOND


def log_time(text: str) -> int:
    """Microseconds UTC of any way a log writes a time, further digits cut off.

    ``17/May/2015:08:05:32 +0200`` (``$time_local``), RFC 3339 with ``T`` or a space and a zone (``$time_iso8601``),
    ``1431849932.120`` (``$msec``), and whole numbers: up to 11 digits are seconds, 13 milliseconds, 16 microseconds.
    A time without a zone is refused, for nothing says whose noon it is.
    """
    raw = text.encode("ascii", "replace")
    if match := _CLF.fullmatch(raw):
        day_and_hour, minute, second, zone = match.groups()
        return _hour(day_and_hour, zone) + _within_hour(minute, second)
    if match := _ISO.fullmatch(raw):
        day_and_hour, minute, second, fraction, zone = match.groups()
        return _hour(day_and_hour, zone) + _within_hour(minute, second) + _micros(fraction)
    if found := _EPOCH_TIME.fullmatch(text):
        seconds, fraction_text, whole, millis, micros = found.groups()
        if seconds:
            return int(seconds) * SECOND + _micros(fraction_text.encode())
        return int(whole) * SECOND if whole else int(millis) * 1_000 if millis else int(micros)
    raise Unreadable("time", repr(text[:40]))


def _micros(fraction: bytes | None) -> int:
    return int(fraction[:6].ljust(6, b"0")) if fraction else 0


# --- Request --------------------------------------------------------------------------------------------------------

_REQUEST = re.compile(rb"([A-Z][A-Z_-]{0,31}) (.+?)(?: HTTP/\d(?:\.\d)?)?", re.DOTALL)
_ORIGIN = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*")
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|([\"\\]))")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def unescape(raw: bytes) -> str:
    """Text of a field as nginx writes it. Bytes that are no UTF-8 and control characters stay visible as escapes."""
    return printable(_bytes(raw).decode("utf-8", "backslashreplace"))


def _bytes(raw: bytes) -> bytes:
    return _ESCAPE.sub(lambda m: m[2] or bytes((int(m[1], 16),)), raw) if b"\\" in raw else raw


def printable(text: str) -> str:
    """The text with controls, line separators, direction marks and lone surrogates written as escapes."""
    return _UNPRINTABLE.sub(lambda m: m[0].encode("unicode_escape").decode("ascii"), text)


def split_request(request: bytes, text: Callable[[bytes], str] = unescape) -> tuple[str, str]:
    """Method and path of a request line; both empty where it is none (TLS on a plain port, a client that sent nothing).

    ``text`` makes text of the target's bytes; the default takes the log module's escapes off.
    """
    match = _REQUEST.fullmatch(request)
    return (match[1].decode("ascii"), endpoint(text(match[2]))) if match else ("", "")


def endpoint(target: str) -> str:
    """The path of a request target: without query and fragment, which hold people's secrets, and without the origin."""
    origin = None if target.startswith("/") else _ORIGIN.match(target)
    path = target[origin.end() :] if origin else target
    cut = path.partition("?")[0].partition("#")[0] or "/"
    return cut if len(cut) <= MAX_ENDPOINT else cut[: MAX_ENDPOINT - 1] + "\u2026"


def metadata(line: AccessLine) -> str:
    """What is kept of a request, as JSON in the order of ``track_api_request``; what was not there is left out."""
    text = f'"status":{line.status}'
    if line.method:
        path, method = (json.dumps(part, ensure_ascii=False) for part in (line.endpoint, line.method))
        text = f'"endpoint":{path},"method":{method},{text}'
    # The duration is written as the number it is, digit for digit.
    return f'{{{text},"duration":{line.duration}}}' if line.duration else f"{{{text}}}"


# --- Line formats ---------------------------------------------------------------------------------------------------

_TIME = rb"\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d):(\d\d):(\d\d) ([+-]\d{4})\]"
_QUOTED = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_CAUGHT = rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
# The user holds no quote, which is how two lines that a crash has run together are told from one.
_CLIENT = rb'(\S+) \S+ ([^"]*?) ' + _TIME
_ANSWER = rb" (\d{3}) (\d{1,16}|-)"

_COMBINED = _CLIENT + b" " + _CAUGHT + _ANSWER + b" " + _QUOTED + b" " + _QUOTED
_PATTERNS = {
    # group 1 address, 2 user, 3-6 time, 7 request, 8 status, 9 bytes, 10 (if any) the host or the customer
    "combined": _COMBINED,
    # nself's own: combined and, quoted, the client's X-Forwarded-For
    "main": _COMBINED + b" " + _QUOTED,
    # Apache's vhost_combined and the many nginx formats that begin with $host; the host is caught by name
    "vhost_combined": rb"(?P<host>\S+) " + _COMBINED,
    # nself's documentation; customer_id is what the client sent as X-Customer-ID
    "billing": _CLIENT + b" " + _CAUGHT + _ANSWER + b" " + _QUOTED
    + rb" customer_id=(?P<customer_id>.*?) service=\S* endpoint=.* method=\S*",
}  # fmt: skip
LINE_FORMATS = tuple(_PATTERNS)
"""The formats of whole lines; the other one is ``json``."""

FIELDS = {
    "combined": ("user", "address"),
    "main": ("user", "address"),
    "vhost_combined": ("host", "user", "address"),
    "billing": ("customer_id", "user", "address"),
}
"""What a line of each format can say about who asked."""


# Requests repeat; split ones are kept within about 4 MB.
_MOST_REQUESTS = 8192
_LONGEST_KEPT = 256


def line_parser(name: str, who: str = "") -> Callable[[bytes], AccessLine]:
    """Reads lines of a format of :data:`LINE_FORMATS`; ``who`` is one of its :data:`FIELDS`, or empty."""
    pattern = re.compile(_PATTERNS[name], re.DOTALL)
    groups = {"address": 1, "user": 2}
    first = 1 if name != "vhost_combined" else 2
    caught = first + groups[who] - 1 if who in groups else pattern.groupindex.get(who, 0)
    fullmatch = pattern.fullmatch
    requests: dict[bytes, tuple[str, str]] = {}

    def parse(line: bytes) -> AccessLine:
        match = fullmatch(line)
        if match is None or b"\0" in line or len(line) > MAX_LINE:
            raise _diagnosis(line, name)
        groups = match.groups()
        day_and_hour, minute, second, zone, request, status, size = groups[first + 1 : first + 8]
        split = requests.get(request)
        if split is None:
            split = split_request(request)
            if len(request) <= _LONGEST_KEPT:
                if len(requests) >= _MOST_REQUESTS:
                    requests.clear()
                requests[request] = split
        return AccessLine(
            _hour(day_and_hour, zone) + _within_hour(minute, second),
            _size(size),
            int(status),
            split[0],
            split[1],
            "",
            _who(groups[caught - 1]) if caught else "",
            "",
        )

    return parse


def _size(text: bytes) -> int:
    """Bytes of the body; Apache and a few others write none as ``-``."""
    size = 0 if text == b"-" else int(text)
    if size > MAX_BYTES:
        raise Unreadable("bytes")
    return size


def _who(raw: bytes) -> str:
    """A name exactly as the client sent it: what cannot be an id must not be turned into one that can."""
    return "" if raw == b"-" else _bytes(raw).decode("utf-8", "surrogateescape")


# The parts of a line in their order, each looked for from where the one before ended: never from every start again,
# or 64 KiB without a space would take minutes.
_TIME_AND_QUOTE = re.compile(_TIME + b' "')
_REST_OF_REQUEST = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*" ', re.DOTALL)
_STATUS_AND_BYTES = re.compile(rb'([^" ]*) ([^" ]*)( .*)?', re.DOTALL)


def _diagnosis(line: bytes, name: str) -> Unreadable:
    """Why a line does not match. Slow, and only for those."""
    if reason := unusable(line):
        return Unreadable(reason)
    if b" [" not in line:
        return Unreadable("format", f"it is not {name}")
    time = _TIME_AND_QUOTE.search(line)
    if time is None:
        return Unreadable("time" if b'] "' in line else "truncated" if b'"' not in line else "format")
    request = _REST_OF_REQUEST.match(line, time.end())
    answer = _STATUS_AND_BYTES.fullmatch(line, request.end()) if request else None
    if answer is None:
        return Unreadable("truncated")
    status, size, rest = answer.groups()
    if rest is None or rest.count(b'"') % 2 or rest.count(b'"') < (2 if name == "billing" else 4):
        return Unreadable("truncated")
    if len(status) != 3 or not status.isdigit():
        return Unreadable("status")
    if not re.fullmatch(rb"\d{1,16}|-", size):
        return Unreadable("bytes")
    return Unreadable("format", f"it is not {name}")


def unusable(line: bytes) -> str:
    """What is wrong with a line in any format: ``empty``, ``too_long``, ``nul``; else nothing."""
    if len(line) > MAX_LINE:
        return "too_long"
    if b"\0" in line:
        return "nul"
    return "" if line.strip() else "empty"
