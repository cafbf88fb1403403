"""Alerts on usage: set them, and fire each crossed one once a billing period, through the outbox.

A reset of usage opens a counting window, and alerts count in it as current usage does. It does not arm an alert again
within its period: what was told was true and the bill has not changed, and whoever resets daily would be written to
daily. A new billing period arms every alert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.engine.outbox import Outbox
from nbilling.model.clock import LATEST, format_time
from nbilling.model.errors import NotFound
from nbilling.model.text import choice, plain
from nbilling.rules.alerts import (
    AMOUNT,
    PERCENT,
    TYPES,
    crossed,
    meter_of,
    percent_of,
    quantity,
    threshold_of,
)
from nbilling.rules.quota import Usage, fullest, percentage
from nbilling.rules.usage import unit_amount
from nbilling.store import alerts, customers, gauges, usage
from nbilling.store.alerts import AlertRow
from nbilling.store.customers import CustomerRow
from nbilling.store.usage import PERIOD, WINDOW, MeterRow

if TYPE_CHECKING:
    import sqlite3

KINDS = {"email": "alert_mail", "webhook": "alert_webhook", "log": "alert_log"}
"""The kind of message that each type of alert becomes."""

Usages = Callable[["sqlite3.Connection", CustomerRow, MeterRow, int], Sequence[Usage]]
"""What counts against each limit of a customer on a meter at a time."""

_Crossed = tuple[AlertRow, MeterRow, int, Usage | None]
"""An alert, its meter, what was used, and of a quota's alert the fullest limit."""


class Alerts:
    """Thresholds of customers. ``usages``: the quota room's reading of what counts against which limit."""

    def __init__(self, core: Core, accounts: Accounts, outbox: Outbox, usages: Usages) -> None:
        self._core = core
        self._accounts = accounts
        self._outbox = outbox
        self._usages = usages

    def alert_set(self, customer_id: str, metric: str, threshold: object, type: str) -> None:
        """Fires when usage of the billing period reaches a threshold.

        ``metric`` is a meter, with the threshold in its unit, or the name under which current usage shows it
        (``storage_gb``: in GB of 2^30 bytes). ``type``: ``email``, ``webhook`` or ``log``. The same metric and
        threshold again sets the type of that alert; other thresholds add alerts.
        """
        meter, amount = self._amount(metric, threshold)
        self._set(customer_id, meter, AMOUNT, amount, type)

    def alert_set_percentage(self, customer_id: str, resource: str, percent: object, type: str) -> None:
        """Fires when usage reaches so many whole percent of the fullest quota on a resource, once a billing period."""
        meter = self._meter(resource)[0]
        self._set(customer_id, meter, PERCENT, percent_of(percent), type)

    def alert_remove(self, customer_id: str, metric: str, threshold: object, *, percent: bool = False) -> None:
        """Takes an alert out of use, or NotFound. Set again within the period it has fired in, it does not fire."""
        if percent:
            meter, basis, amount = self._meter(metric)[0], PERCENT, percent_of(threshold)
        else:
            meter, amount = self._amount(metric, threshold)
            basis = AMOUNT

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            row = self._core.known_customer(db, customer_id)
            if not alerts.remove(db, row.id, meter.id, basis, amount, now):
                raise NotFound(
                    f"{customer_id!r:.80} has no such alert on {meter.name}",
                    hint="nbilling usage alert-list shows them",
                )
            self._audit(db, now, "alert.remove", customer_id, meter, basis, amount, "")

        self._core.write(job)

    def alert_list(self, customer_id: str) -> list[dict[str, Any]]:
        """Alerts in use: ``[{metric, basis, threshold, unit, type, fired_at}]``, the last in this period or None."""
        db, row, _ = self._accounts.view(customer_id)
        if row is None:
            return []
        listed = []
        for alert, fired_at in alerts.of_customer(db, row.id, row.start_at):
            meter = self._core.meter_by_id(db, alert.meter)
            listed.append(
                {
                    "metric": meter.name,
                    "basis": alert.basis,
                    "threshold": _threshold(alert, meter),
                    "unit": "%" if alert.basis == PERCENT else meter.unit,
                    "type": alert.type,
                    "fired_at": format_time(fired_at) if fired_at else None,
                }
            )
        return listed

    def alert_check(self, customer_id: str) -> list[dict[str, Any]]:
        """Fires every alert that is crossed and has not fired in this billing period; returns those that did now."""
        db, row, now = self._accounts.view(customer_id)
        if row is None or not self._crossed(db, row, now):
            return []  # nothing to decide, so nothing is written

        def job(db: sqlite3.Connection) -> list[dict[str, Any]]:
            now = self._core.now(db)
            return self.check_in(db, self._accounts.ensure(db, customer_id, now), now)

        return self._core.write(job)

    def check_in(self, db: sqlite3.Connection, row: CustomerRow, now: int) -> list[dict[str, Any]]:
        """The same in a write job, for those who record usage. ``row`` with its present period. Cheap without alerts.

        A period's firing is a row under a unique constraint, in the commit that queues its message: it fires once.
        """
        return [self._fire(db, row, now, found) for found in self._crossed(db, row, now)]

    def _crossed(self, db: sqlite3.Connection, row: CustomerRow, now: int) -> list[_Crossed]:
        """The armed alerts that are crossed."""
        found: list[_Crossed] = []
        totals: dict[int, int] | None = None
        for alert in alerts.armed(db, row.id, row.start_at):
            meter = self._core.meter_by_id(db, alert.meter)
            if alert.basis == PERCENT:
                limit = fullest(self._usages(db, row, meter, now))
                # A limit of 0 is full before anything was used: that is no news.
                if limit.used and crossed(percentage(limit.used, limit.limit), alert.threshold):
                    found.append((alert, meter, limit.used, limit))
                continue
            if meter.kind == "gauge":
                used = gauges.level_at(db, row.id, meter.id, LATEST)
            else:
                totals = self._totals(db, row) if totals is None else totals
                used = totals.get(meter.id, 0)
            if crossed(used, alert.threshold):
                found.append((alert, meter, used, None))
        return found

    @staticmethod
    def _totals(db: sqlite3.Connection, row: CustomerRow) -> dict[int, int]:
        """Current usage by meter: of the billing period, or since the last monthly reset in it."""
        window = usage.window(db, row.id, "usage_month", row.start_at, row.end_at)
        grain, bucket = (WINDOW, window) if window else (PERIOD, row.period)
        return usage.amounts(db, grain, bucket, row.id)

    def _fire(self, db: sqlite3.Connection, row: CustomerRow, now: int, found: _Crossed) -> dict[str, Any]:
        alert, _, used, limit = found
        fired = _payload(row, now, found)
        operation = self._operation(db, row, alert)
        message = self._outbox.enqueue(db, KINDS[alert.type], row.id, fired, operation)
        percent = percentage(limit.used, limit.limit) if limit else 0
        alerts.fire(db, alert.id, row.start_at, now, used, percent, message.id)
        return {**fired, "operation_id": operation}

    @staticmethod
    def _operation(db: sqlite3.Connection, row: CustomerRow, alert: AlertRow) -> str:
        """The same for the same alert, period and ledger for ever: a copy that was put back fires under the same id."""
        ledger = customers.fact(db, "created_at") or ""
        parts = (ledger, row.customer_id, alert.meter, alert.basis, alert.threshold, row.start_at)
        return f"alert_{blake2b(repr(parts).encode(), digest_size=16).hexdigest()}"

    def _set(self, customer_id: str, meter: MeterRow, basis: str, threshold: int, type: str) -> None:
        choice(type, "type", TYPES)

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            row = self._accounts.ensure(db, customer_id, now)
            alerts.put(db, row.id, meter.id, basis, threshold, type, now)
            self._audit(db, now, "alert.set", customer_id, meter, basis, threshold, type)

        self._core.write(job)

    def _audit(
        self,
        db: sqlite3.Connection,
        now: int,
        action: str,
        customer_id: str,
        meter: MeterRow,
        basis: str,
        threshold: int,
        type: str,
    ) -> None:
        detail = {"metric": meter.name, "basis": basis, "threshold": threshold, "type": type}
        self._core.audit(db, now, action, customer_id, detail)

    def _amount(self, metric: str, threshold: object) -> tuple[MeterRow, int]:
        meter, in_gb = self._meter(metric)
        return meter, threshold_of(threshold, meter.scale, in_gb)

    def _meter(self, metric: str) -> tuple[MeterRow, bool]:
        db = self._core.read()
        known = [(meter.name, meter.unit) for meter in usage.meters(db)]
        name, in_gb = meter_of(plain(metric, "metric"), known)
        return self._core.meter(db, name, "metric"), in_gb


def _payload(row: CustomerRow, now: int, found: _Crossed) -> dict[str, Any]:
    """What is told, with a sentence for people."""
    alert, meter, used, limit = found
    told = quantity(used, meter.unit, meter.scale)
    bound, percent = (limit.limit or 0, percentage(limit.used, limit.limit)) if limit else (0, 0)
    if limit:
        against = quantity(bound, meter.unit, meter.scale)
        summary = f"{row.customer_id} has used {percent} % of its quota on {meter.name}: {told} of {against}"
    else:
        against = quantity(alert.threshold, meter.unit, meter.scale)
        summary = f"{row.customer_id} has reached {told} on {meter.name}, the alert is set at {against}"
    return {
        "customer_id": row.customer_id,
        "metric": meter.name,
        "basis": alert.basis,
        "threshold": _threshold(alert, meter),
        "unit": meter.unit,
        "usage": unit_amount(used, meter.scale),
        "limit": unit_amount(bound, meter.scale) if limit else None,
        "percentage": percent if limit else None,
        "type": alert.type,
        "period_start": format_time(row.start_at),
        "period_end": format_time(row.end_at),
        "fired_at": format_time(now),
        "summary": summary,
    }


def _threshold(alert: AlertRow, meter: MeterRow) -> Any:
    return alert.threshold if alert.basis == PERCENT else unit_amount(alert.threshold, meter.scale)
