"""Due work: what time brings about, whoever asks for it and however late.

Periods roll over and pending changes happen lazily too, when a customer is next looked at; here they happen for all.
Everything is safe to do twice, at once in several processes, months late, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.engine.subscriptions import Subscriptions
from nbilling.store import subscriptions, usage

if TYPE_CHECKING:
    import sqlite3

    from nbilling.engine.alerts import Alerts

BATCH = 200
"""Customers a commit."""


class DueWork:
    """The parts of ``nbilling run`` that are not the billing run itself."""

    def __init__(self, core: Core, accounts: Accounts, held: Subscriptions) -> None:
        self._core = core
        self._accounts = accounts
        self._held = held

    def roll(self) -> int:
        """Gives every customer its present period; what was pending for an earlier day has happened. How many."""
        db = self._core.read()
        due = subscriptions.to_roll(db, self._core.now(db))

        def job(db: sqlite3.Connection, batch: Sequence[str]) -> None:
            now = self._core.now(db)
            for customer_id in batch:
                self._accounts.ensure(db, customer_id, now)

        self._in_batches(due, job)
        return len(due)

    def settle(self) -> int:
        """Subscriptions become past due, or active again, as their invoices say. How many did."""
        db = self._core.read()
        due = subscriptions.to_settle(db, self._core.now(db))

        def job(db: sqlite3.Connection, batch: Sequence[str]) -> int:
            now = self._core.now(db)
            rows = [self._accounts.ensure(db, customer_id, now) for customer_id in batch]
            return sum(self._held.settle_standing(db, row, now) is not None for row in rows)

        return sum(self._in_batches(due, job))

    def alert(self, alerts: Alerts) -> int:
        """Fires the alerts that are crossed. How many did; their messages are in the outbox."""
        due = subscriptions.with_alerts(self._core.read())
        return sum(len(alerts.alert_check(customer_id)) for customer_id in due)

    def learn(self) -> None:
        """Lets SQLite look at how its indexes are filled, so that a customer's events are found at once."""
        self._core.write(usage.analyze)

    def _in_batches(self, due: Sequence[str], job: Callable[[sqlite3.Connection, Sequence[str]], Any]) -> list[Any]:
        return [
            self._core.write(lambda db, batch=due[start : start + BATCH]: job(db, batch))  # type: ignore[misc]
            for start in range(0, len(due), BATCH)
        ]
