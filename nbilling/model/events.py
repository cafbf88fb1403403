"""A usage event as it comes in, before anything is interned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class UsageEvent(NamedTuple):
    """One event for :meth:`track_many`. ``amount`` in the meter's unit; ``at`` RFC 3339 or microseconds UTC.

    ``id`` makes it repeatable. ``set``: on a gauge the amount becomes the level.
    """

    customer: str
    meter: str
    amount: Any = 1
    id: str | None = None
    at: str | int | None = None
    dimension: str = ""
    metadata: Mapping[str, Any] | str | None = None
    set: bool = False


class BulkReport(NamedTuple):
    """What came of many events: recorded, known already, refused."""

    events: int = 0
    added: int = 0
    duplicates: int = 0
    bad: int = 0


class BadEvent(NamedTuple):
    """An event that was not taken: its place (from 1), the error's code and message."""

    number: int
    code: str
    message: str
