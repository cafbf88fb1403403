"""Time as the ledger keeps it: integer microseconds since 1970 in UTC. ``now`` comes from a clock that is handed in."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from nbilling.model.errors import BadInput
from nbilling.model.money import shown

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
FUTURE_TOLERANCE = HOUR
"""How far ahead of now an event's time may lie: clocks of two machines differ, logs are not written in advance."""

LATEST = 221_845_392_000 * SECOND - 1
"""The end of the year 8999. Calendars end with 9999, and a period that begins must have room to end."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)? ?([Zz]|[+-]\d{2}:?\d{2})?)?",
    re.ASCII,
)


class Clock(Protocol):
    """Where the engine asks what time it is."""

    def now(self) -> int:
        """Microseconds since 1970, UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        return time.time_ns() // 1000


class FixedClock:
    """A clock that stands still, for tests and for one command at a stated time."""

    def __init__(self, at: int) -> None:
        self.at = at

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        return self.at


def parse_time(text: str, what: str = "time") -> int:
    """Microseconds of an RFC 3339 time or date (``2026-01-31``, ``2026-01-31T10:00:00Z``). No zone means UTC."""
    match = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise BadInput(f"{what} {shown(text)} is not a time", hint="write it as 2026-01-31T10:00:00Z")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
        )
    except ValueError:
        raise BadInput(f"{what} {text!r:.60} does not exist", hint="write it as 2026-01-31T10:00:00Z") from None
    at = (moment - _EPOCH) // timedelta(microseconds=1)
    at += int((fraction or "0")[:6].ljust(6, "0"))
    if zone and zone not in "Zz":
        digits = zone[1:].replace(":", "")
        if int(digits[:2]) > 23 or int(digits[2:]) > 59:
            raise BadInput(f"{what} {text!r:.60} has an impossible zone", hint="write it as 2026-01-31T10:00:00Z")
        offset = (int(digits[:2]) * 60 + int(digits[2:])) * MINUTE
        at += offset if zone[0] == "-" else -offset
    if not 0 <= at <= LATEST:
        raise BadInput(f"{what} {text!r:.60} is outside 1970 to 8999", hint="check the year")
    return at


def format_time(at: int) -> str:
    """RFC 3339 with Z; microseconds only when there are any."""
    moment = _EPOCH + timedelta(microseconds=at)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    rest = at % SECOND
    return f"{text}.{rest:06d}Z" if rest else f"{text}Z"
