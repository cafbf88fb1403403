"""Recomputations for a verification of the ledger. Pure: what stored values must be, from what they are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple, TypeVar

K = TypeVar("K")
A = TypeVar("A")
B = TypeVar("B")


class Tally(NamedTuple):
    """What a rollup holds: sum, count, maximum, last value or number of different values; how many events; and of a
    last value its time (0 for all others)."""

    amount: int
    events: int
    mark: int = 0

    def __str__(self) -> str:
        events = "1 event" if self.events == 1 else f"{self.events} events"
        return f"{self.amount} ({events})" + (f", last at {self.mark}" if self.mark else "")


def combine(aggregation: str, first: Tally | None, other: Tally) -> Tally:
    """Two tallies of one series as one. Of last values at one time the ``other`` counts. Numbers of different values
    cannot be combined: they are added, and the caller puts the right number in."""
    if first is None:
        return other
    events = first.events + other.events
    if aggregation == "max":
        return Tally(max(first.amount, other.amount), events)
    if aggregation == "last":
        newer = other if other.mark >= first.mark else first
        return Tally(newer.amount, events, newer.mark)
    return Tally(first.amount + other.amount, events)


def matched(first: Iterable[tuple[K, A]], other: Iterable[tuple[K, B]]) -> Iterator[tuple[K, A | None, B | None]]:
    """Two sequences in order of their keys, side by side; None where one has no such key. Holds one item of each."""
    ones, others = iter(first), iter(other)
    one, two = next(ones, None), next(others, None)
    while one is not None or two is not None:
        if two is None or (one is not None and one[0] < two[0]):  # type: ignore[operator]
            assert one is not None
            yield one[0], one[1], None
            one = next(ones, None)
        elif one is None or two[0] < one[0]:  # type: ignore[operator]
            yield two[0], None, two[1]
            two = next(others, None)
        else:
            yield one[0], one[1], two[1]
            one, two = next(ones, None), next(others, None)


def level_after(level: int, op: int, amount: int) -> int:
    """The level of a gauge after a sample: 0 adds, 1 sets."""
    return amount if op == 1 else level + amount


def counter_delta(before: int | None, total: int) -> int:
    """What a running total adds to the one before: nothing where it is the first, all of it where it began again."""
    if before is None:
        return 0
    return total - before if total >= before else total


def id_prefix(customer: str) -> bytes:
    """A customer's part of what its event ids are hashed with: length-prefixed, as in ``model.identity``."""
    name = customer.encode()
    return len(name).to_bytes(4, "big") + name


def id_hash(prefix: bytes, event_id: str) -> bytes:
    """The key of an event id that is no UUID."""
    return blake2b(prefix + event_id.encode(), digest_size=16).digest()


def value_hash(metadata: str | None) -> bytes:
    """What an event of a unique meter counts: the hash of ``value`` in its metadata. ValueError where there is none."""
    found = json.loads(metadata or "{}")
    value = found.get("value") if isinstance(found, dict) else None
    if not isinstance(value, (str, int)) or isinstance(value, bool) or value == "":
        raise ValueError(f"no value in {metadata!s:.80}")
    return blake2b(f"{type(value).__name__}:{value}".encode(), digest_size=16).digest()


class Window(NamedTuple):
    """A counting window with the end of the period or day in which it was opened (``end_at`` 0: there is none)."""

    id: int
    scope: str
    opened_at: int
    opened_seq: int
    end_at: int

    def may_count(self, at: int, seq: int) -> bool:
        """Whether an event was recorded after the window was opened, and is not older by its own time."""
        return self.opened_at <= at and self.opened_seq < seq


def counting(windows: Sequence[Window], at: int, seq: int) -> list[Window]:
    """The windows that an event counts in: of each scope the newest that may count it and has not ended.

    ``windows`` are in the order in which they were opened.
    """
    newest: dict[str, Window] = {}
    for window in windows:
        if window.may_count(at, seq) and at < window.end_at:
            newest[window.scope] = window
    return list(newest.values())


def standing_status(status: str, open_minor: int, paid_minor: int) -> str:
    """What payments and credits make of a finalised invoice. ``void`` and ``uncollectible`` are decisions."""
    if status == "void":
        return status
    if not open_minor:
        return "paid"
    if status == "uncollectible":
        return status
    return "part_paid" if paid_minor else "open"


def gaps(numbers: Iterable[int], last: int) -> list[tuple[int, int]]:
    """``(first, last)`` of the runs of numbers that are missing from ``1..last``."""
    missing = []
    expected = 1
    for number in sorted(numbers):
        if number > expected:
            missing.append((expected, number - 1))
        expected = max(expected, number + 1)
    if expected <= last:
        missing.append((expected, last))
    return missing
