"""One batch of a log inside its write job: events for what is new, and the lines into the registry, in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from nbilling.engine.log_places import Kind, LogPlaces, Place, Source, Stretch, Window
from nbilling.engine.log_reader import Line
from nbilling.model.clock import HOUR
from nbilling.model.identity import event_key
from nbilling.model.imports import PREFIX, LogPart
from nbilling.rules.log_identity import LOOK_BACK, Occurrences, event_keys, prefixes
from nbilling.store import imports
from nbilling.store.usage import Recorded, UsageRow

if TYPE_CHECKING:
    import sqlite3

NOBODY = 0
"""Stands for the customer of a line that is not billed to anybody yet."""


class Recorder(Protocol):
    """What records usage events inside a job."""

    def customer_id(self, db: sqlite3.Connection, customer_id: str, /) -> int:
        """The customer's number; a new one where it is new."""

    def meter_id(self, db: sqlite3.Connection, name: str, /) -> int:
        """The meter's number."""

    def dimension_id(self, db: sqlite3.Connection, value: str, /) -> int:
        """The number of a dimension's value."""

    def record(self, db: sqlite3.Connection, rows: Sequence[UsageRow], /) -> Recorded:
        """Records what is new."""


class State(NamedTuple):
    """What an import knows between two batches: its place, how often each line has come, customers' numbers."""

    place: Place | None
    occurrences: Occurrences
    customers: dict[str, int]


class Done(NamedTuple):
    """What the job did, to be taken over when it is durable and not before. ``conflicts`` are indexes of lines."""

    state: State
    counted: dict[bytes, int]
    parts: list[LogPart]
    added: int
    conflicts: list[int]


class Batch:
    """Lines of a log on their way into the ledger. ``ahead``: the lines after them, which are only looked at."""

    def __init__(
        self, db: sqlite3.Connection, recorder: Recorder, source: Source, lines: list[Line], ahead: list[Line], now: int
    ) -> None:
        self._db = db
        self._recorder = recorder
        self._source = source
        self._lines = lines
        self._now = now
        seen = lines + ahead
        self._window = Window(
            b"".join([line.hash[:PREFIX] for line in seen]), [line.at for line in seen], len(lines)
        )  # fmt: skip
        self._api_requests = recorder.meter_id(db, "api_requests")
        self._bandwidth = recorder.meter_id(db, "bandwidth")
        self._egress = recorder.dimension_id(db, "egress")
        self._conflicts: set[int] = set()
        self._added = 0

    def record(self, state: State) -> Done:
        """Records the batch. Nothing of ``state`` is changed: the job may yet fail."""
        customers = self._numbers(state.customers)
        billed = [customers.get(line.customer, NOBODY) for line in self._lines]
        places = LogPlaces(self._db, self._source, self._window, self._now)
        place, occurrences, counted = state.place, state.occurrences, dict[bytes, int]()
        parts: list[LogPart] = []
        start = 0
        while start < len(self._lines):
            log = place.log if place else None
            stretch, here, after = places.step(place or places.begin(), start)
            if here.log != log:
                occurrences, counted = self._before(here), {}
            end = stretch.end
            numbers = occurrences.number(prefixes(self._window.lines[start * PREFIX : end * PREFIX]), counted)
            self._take(stretch, here.log, billed, numbers)
            parts.append(LogPart(here.log, here.rule, end - start))
            place, start = after, end
        return Done(State(place, occurrences, customers), counted, parts, self._added, sorted(self._conflicts))

    def _numbers(self, known: dict[str, int]) -> dict[str, int]:
        new = {line.customer for line in self._lines}.difference(known, ("",))
        return known | {name: self._recorder.customer_id(self._db, name) for name in sorted(new)} if new else known

    def _before(self, place: Place) -> Occurrences:
        """How often lines came in the log before the place at which the input joins it."""
        occurrences = Occurrences()
        if place.position:
            start = max(0, place.position - LOOK_BACK)
            lines, _ = imports.read_lines(self._db, place.log, start, place.position - start)
            counted: dict[bytes, int] = {}
            occurrences.number(prefixes(lines), counted)
            occurrences.keep(counted)
        return occurrences

    def _take(self, stretch: Stretch, log: int, billed: list[int], numbers: list[int]) -> None:
        start, end, kind, position = stretch
        if kind is Kind.KNOWN:
            assert position is not None  # what is known has its place
            self._take_known(start, end, log, position, billed, numbers)
            return
        wanted = [at for at in range(start, end) if billed[at] != NOBODY]
        self._record(wanted, start, log, billed, numbers, kind is Kind.DOUBTFUL)
        if position is not None:
            lines = self._window.lines[start * PREFIX : end * PREFIX]
            paid = [NOBODY if at in self._conflicts else billed[at] for at in range(start, end)]
            times = self._window.times[start:end]
            row = imports.get_log(self._db, log)
            imports.append_lines(
                self._db, row, lines, imports.pack_customers(paid), times, self._source.reading, self._now
            )  # fmt: skip

    def _take_known(self, start: int, end: int, log: int, position: int, billed: list[int], numbers: list[int]) -> None:
        """Known lines: those that nobody was billed for may have found a customer; the others are compared."""
        _, packed = imports.read_lines(self._db, log, position, end - start)
        read_alike = imports.get_log(self._db, log).reading == self._source.reading
        if read_alike and packed == imports.pack_customers(billed[start:end]):
            return
        before = imports.unpack_customers(packed)
        wanted = []
        for at in range(start, end):
            was, now = before[at - start], billed[at]
            if now != NOBODY and was not in (NOBODY, now):
                self._conflicts.add(at)
            elif now != NOBODY and (was == NOBODY or not read_alike):
                wanted.append(at)
        self._record(wanted, start, log, billed, numbers, doubtful=False)
        found = {at for at in wanted if at not in self._conflicts}
        after = [billed[at] if at in found else before[at - start] for at in range(start, end)]
        if tuple(after) != before:
            imports.set_customers(self._db, log, position, imports.pack_customers(after))

    def _record(
        self, wanted: list[int], start: int, log: int, billed: list[int], numbers: list[int], doubtful: bool
    ) -> None:
        requests: list[UsageRow] = []
        transfers: list[UsageRow] = []
        lines_of_requests: list[int] = []
        lines_of_transfers: list[int] = []
        for at in wanted:
            line, customer = self._lines[at], billed[at]
            (key, text), (other_key, other_text) = _identities(line, log, numbers[at - start])
            if doubtful and not line.id and imports.billed_to_another(self._db, line.at // HOUR, key, customer):
                self._conflicts.add(at)
                continue
            requests.append(UsageRow(customer, self._api_requests, 0, line.at, 1, key, text, 0, line.metadata))
            lines_of_requests.append(at)
            if line.size:
                transfers.append(
                    UsageRow(
                        customer, self._bandwidth, self._egress, line.at, line.size, other_key, other_text, 0, None
                    )
                )  # fmt: skip
                lines_of_transfers.append(at)
        if not requests:
            return
        recorded = self._recorder.record(self._db, requests)
        self._added += recorded.added
        self._conflicts.update(lines_of_requests[index] for index in recorded.conflicts)
        if transfers:
            recorded = self._recorder.record(self._db, transfers)
            self._conflicts.update(lines_of_transfers[index] for index in recorded.conflicts)


def _identities(line: Line, log: int, number: int) -> tuple[tuple[bytes, str | None], tuple[bytes, str | None]]:
    """Key and text of the request's event and of its bytes': by the request's own id, else by the line in its log."""
    if line.id:
        return event_key(line.customer, line.id), event_key(line.customer, f"{line.id}:bandwidth")
    request, transfer = event_keys(log, line.hash, number)
    return (request, None), (transfer, None)
