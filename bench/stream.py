"""The events that are measured with: a stream that goes on in its own time, the same for all variants."""

from __future__ import annotations

import random
import uuid

from nbilling.model.clock import DAY, SECOND
from nbilling.model.events import UsageEvent

NOW = 1_768_867_200 * SECOND
"""The ledger's clock: 2026-01-20T00:00:00Z, in the middle of a month."""

START = NOW - 12 * DAY
STEP = SECOND // 20
"""Twenty events a second: 72,000 an hour, and 20 million in less than twelve days."""

METADATA = {"duration": 0, "endpoint": "/graphql", "method": "POST", "status": 200}
DESCRIPTION = (
    "one meter (api_requests), {customers:,} customers drawn evenly, 20 events a second of the stream's own time, "
    "metadata of four keys"
)


def customer(number: int) -> str:
    """The id of a customer, as a host gives it."""
    return f"customer-{number:06d}"


class Stream:
    """Events one after another. ``ids``: ``text`` (21 characters, random), ``uuid`` (version 4) or ``none``."""

    def __init__(self, customers: int, ids: str = "text", seed: int = 1, first: int = 0) -> None:
        self._random = random.Random(seed)
        self._customers = customers
        self._ids = ids
        self._next = first

    def take(self, count: int) -> list[UsageEvent]:
        """The next events. Their metadata is a mapping, as a program has it."""
        draw, base = self._random.randrange, self._next
        self._next += count
        return [
            UsageEvent(
                customer(draw(self._customers)),
                "api_requests",
                1,
                self._id(number),
                START + number * STEP,
                "",
                METADATA,
            )
            for number in range(base, base + count)
        ]

    def _id(self, number: int) -> str | None:
        if self._ids == "text":
            return f"req-{self._random.getrandbits(68):017x}"
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4)) if self._ids == "uuid" else None
