"""Events looked at one by one: what they say, and what became of each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.model.clock import format_time
from nbilling.model.errors import NotFound
from nbilling.model.identity import event_key, key_text
from nbilling.model.periods import local_day
from nbilling.model.text import choice, plain, whole
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.rules.usage import unit_amount
from nbilling.store import customers, invoices, subscriptions, usage
from nbilling.store.customers import CustomerRow
from nbilling.store.usage import UsageRow

if TYPE_CHECKING:
    import sqlite3

FATES = ("billed", "included", "pending")


class UsageEvents:
    """Read-only. Every recorded event has one fate.

    ``billed``: its meter's line on a finalised invoice charges something. ``included``: it is on a finalised invoice
    that charges nothing for its meter. ``pending``: it waits for its period's invoice or, where that is finalised
    already, for the next one. An event belongs to the first finalised invoice of its period that was issued after it
    was recorded. What was refused was never recorded: the call that sent it was told why.
    """

    def __init__(self, core: Core, accounts: Accounts) -> None:
        self._core = core
        self._accounts = accounts

    def list_events(
        self,
        customer_id: str,
        *,
        fate: str = "",
        meter: str = "",
        limit: int | str = 50,
        after: str = "",
    ) -> list[dict[str, Any]]:
        """A customer's events with their fate, newest first; ``after`` is the last id of the page before."""
        count = whole(limit, "limit", minimum=1, maximum=10_000)
        if fate:
            choice(fate, "fate", FATES)
        db = self._core.read()
        row = customers.find(db, valid_customer_id(customer_id))
        number = self._core.meter(db, meter, "meter").id if meter else 0
        if row is None:
            return []
        before = self._found(db, after, row)[0] if after else 2**63 - 1
        known: dict[tuple[int, int], list[tuple[int, dict[str, Any]]]] = {}
        result: list[dict[str, Any]] = []
        while len(result) < count:
            page = usage.page_of_events(db, row.id, number, before, count)
            for seq, dimension, event in page:
                shown = self._shown(db, row, seq, dimension, event, known)
                if not fate or shown["fate"] == fate:
                    result.append(shown)
            if len(page) < count:
                break
            before = page[-1][0]
        return result[:count]

    def show_event(self, event_id: str, customer_id: str | None = None) -> dict[str, Any]:
        """One event with its fate, by the id it was sent with or that it was given."""
        db = self._core.read()
        owner = self._core.known_customer(db, valid_customer_id(customer_id)) if customer_id is not None else None
        seq, dimension, event = self._found(db, event_id, owner)
        row = customers.get(db, event.customer)
        return self._shown(db, row, seq, dimension, event, {})

    def _found(self, db: sqlite3.Connection, event_id: str, owner: CustomerRow | None) -> tuple[int, str, UsageRow]:
        plain(event_id, "event id")
        key, text = event_key("", event_id)
        found = usage.events_by_key(db, key, text or event_id)
        if owner is not None:
            found = [event for event in found if event[2].customer == owner.id]
        if not found:
            raise NotFound(f"there is no event {event_id!r:.80}", hint="nbilling usage events CUSTOMER shows them")
        return found[0]

    def _shown(
        self,
        db: sqlite3.Connection,
        row: CustomerRow,
        seq: int,
        dimension: str,
        event: UsageRow,
        known: dict[tuple[int, int], list[tuple[int, dict[str, Any]]]],
    ) -> dict[str, Any]:
        meter = self._core.meter_by_id(db, event.meter)
        period = subscriptions.period_holding(db, row.id, local_day(row.zone, event.at))
        result: dict[str, Any] = {
            "id": event.id or key_text(event.key),
            "customer_id": row.customer_id,
            "resource_type": meter.name,
            "amount": unit_amount(event.amount, meter.scale),
            "dimension": dimension,
            "sets_level": bool(event.op),
            "created_at": format_time(event.at),
            "metadata": json.loads(event.metadata) if event.metadata else {},
            "fate": "pending",
            "invoice": None,
        }
        if period is not None:
            billed = known.get((period.id, meter.id))
            if billed is None:
                billed = known[period.id, meter.id] = _invoices(db, period.id, meter.id)
            for through, fate in billed:
                if seq <= through:
                    return result | fate
        return result


def _invoices(db: sqlite3.Connection, period: int, meter: int) -> list[tuple[int, dict[str, Any]]]:
    """``(through_seq, fate)`` of the invoices that hold a meter's usage of a period, in order."""
    result = []
    for invoice in invoices.billed_of_period(db, period):
        line = invoices.usage_line(db, invoice.id, period, meter)
        charged = line is not None and line[1].quantity != "0"
        place = {"id": invoice.invoice_id, "number": invoice.number, "line": line[0] if line else None}
        result.append((invoice.through_seq, {"fate": "billed" if charged else "included", "invoice": place}))
    return result
