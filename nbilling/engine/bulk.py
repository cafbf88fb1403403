"""Many events at once: checked outside the job, interned and recorded inside it, a batch a commit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.engine.log_lines import RawLines, rereadable
from nbilling.engine.recorder import UsageRecorder
from nbilling.model.clock import FUTURE_TOLERANCE, HOUR, LATEST, parse_time
from nbilling.model.errors import BadInput, Conflict
from nbilling.model.events import BadEvent, BulkReport, UsageEvent
from nbilling.model.identity import event_key, key_text, uuid7, uuid7_time
from nbilling.model.money import shown
from nbilling.model.text import MAX_INTEGER, choice, json_object, plain, whole
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.rules.event_lines import QUIET, Event, Quiet, csv_events, named_fields, ndjson_events
from nbilling.rules.usage import base_amount, check_amount, event_time, metadata_text
from nbilling.store import usage
from nbilling.store.customers import CustomerRow
from nbilling.store.usage import MeterRow, UsageRow

if TYPE_CHECKING:
    import sqlite3

BATCH = 1000
FORMATS = ("ndjson", "csv")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNIQUE_HINT = 'send it as metadata {"value": "user-17"}'
_PLAIN_ID = re.compile(r"[!-~]{1,255}").fullmatch
"""Most ids need no closer look."""

_MOST_KEPT = 100_000
_MOST_TEXTS = 1_000


class _Checked(NamedTuple):
    """An event whose values are right. ``at`` None: it has no time of its own; ``claim``: its id must be looked up."""

    number: int
    customer: str
    meter: MeterRow
    dimension: str
    at: int | None
    amount: int
    key: bytes | None
    text: str | None
    op: int
    metadata: str | None
    claim: bool


class BulkTracking:
    """Records events as fast as the ledger takes them. Memory holds one batch."""

    def __init__(self, core: Core, accounts: Accounts, recorder: UsageRecorder) -> None:
        self._core = core
        self._accounts = accounts
        self._recorder = recorder
        self._good_ids: set[str] = set()
        self._good_texts: dict[str, str | None] = {}

    def track_many(
        self,
        events: Iterable[UsageEvent | Mapping[str, Any] | BadInput],
        *,
        batch: int = BATCH,
        on_bad: Callable[[BadEvent], None] | None = None,
        progress: Callable[[BulkReport], None] | None = None,
    ) -> BulkReport:
        """Records many events, ``batch`` a commit; each batch is durable before the next one is read.

        Without ``on_bad`` the first event that is wrong raises, and nothing of its batch is recorded; with it, it is
        called for each of them and the others go on. An event with an id may be sent again: it is counted as a
        duplicate; one without is another event each time. An event that could not even be read may be given as its
        error.
        """
        whole(batch, "batch", minimum=1)
        return self._track_all(events, batch, on_bad, progress)

    def import_events(
        self,
        lines: BinaryIO | Iterable[bytes],
        format: str,
        *,
        customer: str = "",
        strict: bool = False,
        on_bad: Callable[[BadEvent], None] | None = None,
        progress: Callable[[BulkReport], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> BulkReport:
        """Records events from lines of ``ndjson`` or ``csv``: a file, a pipe (what was read of it is durable within
        about a second), or an iterable. ``customer``: whose they are where a line says nothing.

        ``strict``: all of it is checked first, and nothing is recorded where one event is bad by itself (an id that was
        recorded with other content is only found then). Otherwise as :meth:`track_many`. Numbers of bad events count
        events, not lines: empty lines and a CSV's header are left out. ``stop`` is asked now and then whether to end.
        """
        choice(format, "format", FORMATS)
        if customer:
            valid_customer_id(customer)
        read = ndjson_events if format == "ndjson" else csv_events
        if not strict:
            return self._track_all(read(_lines(RawLines(lines, stop=stop)), customer), BATCH, on_bad, progress)
        with rereadable(lines) as stream:
            start = stream.tell()
            raw = RawLines(stream, stop=stop)
            self._check_all(read(_lines(raw), customer))
            stream.seek(start)
            raw = RawLines(stream, raw.consumed, stop=stop)
            return self._track_all(read(_lines(raw), customer), BATCH, None, progress)

    def _check_all(self, events: Iterable[Event]) -> None:
        """Raises for the first event that is wrong; records nothing."""
        now = self._core.now(self._core.read())
        for event in self._checked(events, None):
            if event is not None and event.at is not None:
                try:
                    event_time(event.at, now)
                except BadInput as error:
                    raise _numbered(error, event.number) from None

    def _track_all(
        self,
        events: Iterable[UsageEvent | Event],
        batch: int,
        on_bad: Callable[[BadEvent], None] | None,
        progress: Callable[[BulkReport], None] | None,
    ) -> BulkReport:
        report = BulkReport()
        bad = 0

        def refuse(event: BadEvent) -> None:
            nonlocal bad
            bad += 1
            assert on_bad is not None
            on_bad(event)

        tell = refuse if on_bad is not None else None
        pending: list[_Checked] = []
        read = 0
        for event in self._checked(events, tell):
            if event is not None:
                pending.append(event)
                read = event.number
                if len(pending) < batch:
                    continue
            if pending:
                added, known = self._record(pending, tell)
                report = BulkReport(read, report.added + added, report.duplicates + known, bad)
                pending = []
                if progress is not None:
                    progress(report)
        if pending:
            added, known = self._record(pending, tell)
            report = BulkReport(read, report.added + added, report.duplicates + known, bad)
        return report._replace(events=report.added + report.duplicates + bad, bad=bad)

    def _checked(
        self, events: Iterable[UsageEvent | Event], refuse: Callable[[BadEvent], None] | None
    ) -> Iterator[_Checked | None]:
        """The events whose values are right; None for silence. What is wrong is refused, or raises."""
        number = 0
        for event in events:
            if event is QUIET:
                yield None
                continue
            number += 1
            try:
                checked = self._check(number, event)
            except BadInput as error:
                if refuse is None:
                    raise _numbered(error, number) from None
                refuse(BadEvent(number, error.code, error.message))
            else:
                yield checked

    def _check(self, number: int, event: UsageEvent | Event) -> _Checked:
        if isinstance(event, BadInput):
            raise event
        if not isinstance(event, UsageEvent):
            event = _from_mapping(event)
        customer, name, amount, event_id, at, dimension, metadata, set_level = event
        if type(customer) is not str or customer not in self._good_ids:
            valid_customer_id(customer)
            if len(self._good_ids) < _MOST_KEPT:
                self._good_ids.add(customer)
        meter = self._core.known_meter(name) or self._core.meter(self._core.read(), name, "meter")
        if meter.scale == 0 and type(amount) is int and -MAX_INTEGER <= amount <= MAX_INTEGER:
            value = amount
        else:
            value = base_amount(amount, meter.scale, "amount", signed=True)
        if type(set_level) is not bool:
            raise BadInput("set is neither true nor false", hint="leave it out, or send true")
        if value < 0 or set_level or meter.aggregation == "unique":
            check_amount(meter.kind, meter.aggregation, value, set_level, dimension)
        if dimension != "":
            plain(dimension, "dimension", limit=100)
        moment = None if at is None else _moment(at)
        key, text, claim = None, None, False
        if event_id is not None:
            if type(event_id) is not str or not _PLAIN_ID(event_id):
                plain(event_id, "event id")
            key, text = event_key(customer, event_id)
            if moment is None:
                moment = uuid7_time(key) if text is None else None
                claim = moment is None
        words = self._text(metadata) if type(metadata) is str else metadata_text(metadata)  # type: ignore[arg-type]
        if meter.aggregation == "unique" and not _has_value(words):
            raise BadInput("an event of a unique meter needs a value", hint=_UNIQUE_HINT)
        return _Checked(number, customer, meter, dimension, moment, value, key, text, int(set_level), words, claim)

    def stamped(self, event: UsageEvent | Mapping[str, Any]) -> UsageEvent:
        """The event to be kept for later. One without an id gets one, and its time: so it can be sent again.

        One that has an id and no time gets none, for its first coming says when it was. BadInput for a mapping that
        cannot be an event; values are checked when it is recorded.
        """
        if not isinstance(event, UsageEvent):
            event = _from_mapping(event)
        if isinstance(event.metadata, Mapping):
            event = event._replace(metadata=dict(event.metadata))
        if event.id is not None:
            return event
        now = self._core.now(self._core.read())
        return event._replace(id=key_text(uuid7(now)), at=now if event.at is None else event.at)

    def _text(self, metadata: str) -> str | None:
        """Metadata that came as JSON text, as it is kept. Few texts repeat over and over, so these are remembered."""
        if metadata in self._good_texts:
            return self._good_texts[metadata]
        words = metadata_text(json_object(metadata, "metadata", hint='write it as {"key": "value"}'))
        if len(self._good_texts) >= _MOST_TEXTS:
            self._good_texts = {}
        self._good_texts[metadata] = words
        return words

    def _record(self, batch: list[_Checked], refuse: Callable[[BadEvent], None] | None) -> tuple[int, int]:
        """Records a batch in one commit; returns how many were added and how many known."""

        def job(db: sqlite3.Connection) -> tuple[int, int, list[BadEvent]]:
            now = self._core.now(db)
            refused: list[BadEvent] = []
            rows, places, known = self._rows(db, batch, now, refused if refuse else None)
            recorded = self._recorder.record(db, rows, known)
            refused += [_conflict(batch[places[index]]) for index in recorded.conflicts]
            if refused and refuse is None:
                raise Conflict(f"event {refused[0].number}: {refused[0].message}", hint="an id names one event")
            return recorded.added, recorded.duplicates, refused

        try:
            added, duplicates, refused = self._core.write(job)
        except BadInput as error:
            # Each event is right by itself, and one is too much for what is there: a sum that leaves 64 bits.
            if refuse is None:
                raise
            if len(batch) == 1:
                refuse(BadEvent(batch[0].number, error.code, error.message))
                return 0, 0
            middle = len(batch) // 2
            one, other = self._record(batch[:middle], refuse), self._record(batch[middle:], refuse)
            return one[0] + other[0], one[1] + other[1]
        if refuse is not None:
            for bad in refused:
                refuse(bad)
        return added, duplicates

    def _rows(
        self, db: sqlite3.Connection, batch: list[_Checked], now: int, refused: list[BadEvent] | None
    ) -> tuple[list[UsageRow], list[int], list[CustomerRow]]:
        """The batch interned, and each row's place in it. An event of the future is refused, or raises."""
        customers = self._accounts.ensure_many(db, list(dict.fromkeys(event.customer for event in batch)), now)
        numbers = {name: row.id for name, row in customers.items()}
        dimensions = {"": 0}
        rows, places = [], []
        latest = now + FUTURE_TOLERANCE
        for place, event in enumerate(batch):
            customer = numbers[event.customer]
            dimension = dimensions.get(event.dimension)
            if dimension is None:
                dimension = dimensions[event.dimension] = usage.dimension_id(db, event.dimension)
            at = now if event.at is None else event.at
            if at > latest:
                try:
                    event_time(at, now)
                except BadInput as error:
                    if refused is None:
                        raise _numbered(error, event.number) from None
                    refused.append(BadEvent(event.number, error.code, error.message))
                    continue
            key = event.key or uuid7(now)
            if event.claim:
                known = usage.find_event(db, usage.claim_id(db, key, customer, now // HOUR), key, customer)
                at = known.at if known else now
            rows.append(
                UsageRow(
                    customer, event.meter.id, dimension, at, event.amount, key, event.text, event.op, event.metadata
                )
            )
            places.append(place)
        return rows, places, list(customers.values())


def _lines(raw: RawLines) -> Iterator[bytes | Quiet]:
    for some in raw.lists(BATCH):
        yield from some or (QUIET,)
    if raw.rest and not raw.stopped:
        yield raw.rest


def _numbered(error: BadInput, number: int) -> BadInput:
    return BadInput(f"event {number}: {error.message}", hint=error.hint)


def _conflict(event: _Checked) -> BadEvent:
    shown = event.text or key_text(event.key or b"")
    return BadEvent(event.number, Conflict.code, f"id {shown!r:.80} is already recorded with other content")


def _has_value(words: str | None) -> bool:
    """Whether the metadata of a unique meter's event says which value it counts."""
    found = json.loads(words).get("value") if words else None
    return isinstance(found, (str, int)) and not isinstance(found, bool) and found != ""


def _moment(at: object) -> int:
    if type(at) is int:
        if 0 <= at <= LATEST:
            return at
    elif type(at) is str:
        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            return parse_time(at, "at")
        if len(at) >= 20 and at[4] == "-" and moment.tzinfo is not None:
            value = (moment - _EPOCH) // _MICROSECOND
            if 0 <= value <= LATEST:
                return value
        return parse_time(at, "at")
    raise BadInput(f"at {shown(at)} is not a time", hint="write it as 2026-01-31T10:00:00Z")


def _from_mapping(event: object) -> UsageEvent:
    """An event from a mapping with the names of :class:`UsageEvent`; the seed's names are understood too."""
    if not isinstance(event, Mapping):
        raise BadInput("an event is not an object", hint='write it as {"customer": "acme", "meter": "api_requests"}')
    known = named_fields(event.items())
    if known.get("customer") is None or known.get("meter") is None:
        raise BadInput("an event needs a customer and a meter", hint="name both")
    if isinstance(known.get("metadata"), str):
        raise BadInput("metadata must be an object", hint='write it as {"key": "value"}')
    for name, nothing in (("dimension", ""), ("set", False)):
        if known.get(name) is None:
            known[name] = nothing
    return UsageEvent(**known)
