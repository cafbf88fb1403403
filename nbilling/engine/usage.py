"""Usage: tracking one event, meters, resets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.engine.recorder import UsageRecorder
from nbilling.model.clock import HOUR, LATEST, parse_time
from nbilling.model.errors import BadInput, Conflict
from nbilling.model.identity import event_key, key_text, uuid7, uuid7_time
from nbilling.model.text import choice, identifier, plain, whole
from nbilling.rules.usage import (
    DIRECTIONS,
    REPORT_WORDS,
    api_request_metadata,
    base_amount,
    check_amount,
    event_time,
    metadata_text,
    report_keys,
)
from nbilling.store import customers, gauges, usage
from nbilling.store.usage import MeterRow, UsageRow

if TYPE_CHECKING:
    import sqlite3

RESETS = ("monthly", "daily")
_SCOPES = {"monthly": ("usage_month", "quota_month", "quota_day"), "daily": ("quota_day",)}
_AGGREGATIONS = {
    "event": ("sum", "count", "max", "last", "unique"),
    "gauge": ("time_weighted", "max", "last"),
    "counter": ("sum",),
}


class UsageTracking:
    """Records usage. Every method takes the host's customer id and returns when the event is durable."""

    def __init__(self, core: Core, accounts: Accounts, recorder: UsageRecorder) -> None:
        self._core = core
        self._accounts = accounts
        self._recorder = recorder

    def track_api_request(
        self,
        customer_id: str,
        endpoint: str,
        method: str,
        status: int | str,
        duration: object,
        *,
        id: str | None = None,
        at: str | int | None = None,
    ) -> str:
        """One unit on ``api_requests``. ``duration`` in seconds, a decimal. Returns the event's id."""
        metadata = api_request_metadata(endpoint, method, status, duration)
        return self._track(customer_id, "api_requests", 1, "", metadata, id, at)

    def track_storage(
        self, customer_id: str, bytes: int | str, *, id: str | None = None, at: str | int | None = None
    ) -> str:
        """Sets the level of the gauge ``storage``, in bytes. Returns the event's id."""
        return self._track(customer_id, "storage", whole(bytes, "bytes"), "", None, id, at, gauges.SET)

    def track_bandwidth(
        self,
        customer_id: str,
        bytes: int | str,
        direction: str,
        *,
        id: str | None = None,
        at: str | int | None = None,
    ) -> str:
        """Adds bytes to ``bandwidth``; ``direction`` is egress or ingress. Returns the event's id."""
        choice(direction, "direction", DIRECTIONS)
        return self._track(customer_id, "bandwidth", whole(bytes, "bytes"), direction, None, id, at)

    def track_compute(
        self,
        customer_id: str,
        resource_type: str,
        seconds: object,
        *,
        id: str | None = None,
        at: str | int | None = None,
    ) -> str:
        """Adds seconds, exact to the microsecond, to ``compute``. Returns the event's id."""
        plain(resource_type, "resource type", limit=100)
        return self._track(customer_id, "compute", base_amount(seconds, 6, "seconds"), resource_type, None, id, at)

    def track(
        self,
        customer_id: str,
        meter: str,
        amount: object = 1,
        *,
        dimension: str = "",
        set: bool = False,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
        at: str | int | None = None,
    ) -> str:
        """Records an amount on any meter, in the meter's unit.

        ``dimension`` is one value of the meter's dimension. On a gauge the amount is added to the level, or with
        ``set`` becomes the level. ``id`` makes the call repeatable: the same event again changes nothing, another one
        under the same id is a Conflict. ``at`` is the event's time, RFC 3339 or microseconds. Returns the event's id.
        """
        row = self._core.meter(self._core.read(), meter, "meter")
        value = base_amount(amount, row.scale, "amount", signed=True)
        check_amount(row.kind, row.aggregation, value, set, dimension)
        plain(dimension, "dimension", limit=100, empty=True)
        return self._track(customer_id, meter, value, dimension, metadata_text(metadata), id, at, int(set))

    def _track(
        self,
        customer_id: str,
        meter: str,
        amount: int,
        dimension: str,
        metadata: str | None,
        event_id: str | None,
        at: str | int | None,
        op: int = 0,
    ) -> str:
        moment = _moment(at)
        if event_id is not None:
            plain(event_id, "event id")

        def job(db: sqlite3.Connection) -> str:
            now = self._core.now(db)
            row = self._accounts.ensure(db, customer_id, now)
            key, text, when = self._identity(db, row, event_id, moment, now)
            event = UsageRow(
                row.id,
                self._core.meter(db, meter).id,
                usage.dimension_id(db, dimension) if dimension else 0,
                event_time(when, now),
                amount,
                key,
                text,
                op,
                metadata,
            )
            recorded = self._recorder.record(db, [event], (row,))
            if recorded.conflicts:
                raise Conflict(
                    f"event id {event_id!r:.80} is already recorded with other content",
                    hint="an id names one event; use a new id for a new event",
                )
            return text or key_text(key)

        return self._core.write(job)

    @staticmethod
    def _identity(
        db: sqlite3.Connection, row: customers.CustomerRow, event_id: str | None, moment: int | None, now: int
    ) -> tuple[bytes, str | None, int]:
        """``(key, text, at)``. An id without a time is looked up, for its first event says when it was."""
        if event_id is None:
            return uuid7(now), None, now if moment is None else moment
        key, text = event_key(row.customer_id, event_id)
        if moment is not None:
            return key, text, moment
        embedded = uuid7_time(key) if text is None else None
        if embedded is not None:
            return key, text, embedded
        h = usage.claim_id(db, key, row.id, now // HOUR)
        known = usage.find_event(db, h, key, row.id)
        return key, text, known.at if known else now

    def reset(self, customer_id: str, period: str) -> None:
        """Starts a counting window now: ``monthly`` for current usage and quotas (days included), ``daily`` for daily
        quotas. Events, history, levels and everything billed stay."""
        choice(period, "period", RESETS)

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            row = self._accounts.ensure(db, customer_id, now)
            for scope in _SCOPES[period]:
                usage.open_window(db, row.id, scope, now)
            self._core.audit(db, now, "usage.reset", customer_id, {"period": period})

        self._core.write(job)

    def meters(self) -> list[dict[str, Any]]:
        """Every meter: ``name, kind, aggregation, unit, scale, dimension``."""
        return [_shown(row) for row in usage.meters(self._core.read())]

    def create_meter(
        self,
        name: str,
        *,
        kind: str = "event",
        aggregation: str | None = None,
        unit: str = "units",
        scale: int | str = 0,
        dimension: str = "",
    ) -> dict[str, Any]:
        """A meter of your own. ``scale``: how many decimals its amounts may have. The same meter again: nothing.

        ``event`` meters aggregate by sum, count, max, last or unique (different values); ``gauge`` meters hold a level
        that is billed time_weighted, as max or last; a ``counter`` is sent as a running total that may start again.
        """
        choice(kind, "kind", tuple(_AGGREGATIONS))
        aggregation = aggregation or _AGGREGATIONS[kind][0]
        if aggregation not in _AGGREGATIONS[kind]:
            raise BadInput(
                f"aggregation {aggregation!r:.60} is not for meters of kind {kind}",
                hint=f"use {' or '.join(_AGGREGATIONS[kind])}",
            )
        row = MeterRow(
            0,
            identifier(name, "meter"),
            kind,
            aggregation,
            plain(unit, "unit", limit=40),
            whole(scale, "scale", maximum=9),
            plain(dimension, "dimension", limit=60, empty=True),
        )

        keys = set(report_keys(row.name, row.unit))
        if keys & REPORT_WORDS:
            raise BadInput(f"{min(keys & REPORT_WORDS)} is a word of the reports", hint="call the meter otherwise")

        def job(db: sqlite3.Connection) -> dict[str, Any]:
            now = self._core.now(db)
            for other in usage.meters(db):
                if other.name != name and keys.intersection(report_keys(other.name, other.unit)):
                    raise Conflict(f"reports show meter {other.name} under that name", hint="call yours otherwise")
            if usage.insert_meter(db, row, now):
                self._core.audit(db, now, "meter.create", name, _shown(row))
            elif (found := usage.meter(db, name)) is None or found[1:] != row[1:]:
                raise Conflict(f"meter {name!r} exists with other settings", hint="nbilling meter list shows them")
            return _shown(row)

        return self._core.write(job)


def _shown(row: MeterRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "aggregation": row.aggregation,
        "unit": row.unit,
        "scale": row.scale,
        "dimension": row.dimension,
    }


def _moment(at: str | int | None) -> int | None:
    if at is None:
        return None
    return whole(at, "at", maximum=LATEST) if type(at) is int else parse_time(at, "at")  # type: ignore[arg-type]
