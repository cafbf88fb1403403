"""``verify``: the whole ledger recomputed from its events, plans and payments, and compared with what is stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from nbilling.engine.core import Core
from nbilling.engine.verify_accounts import AccountsCheck
from nbilling.engine.verify_context import Context, moment
from nbilling.engine.verify_events import check_counters, check_events, check_gauges
from nbilling.engine.verify_invoices import InvoicesCheck
from nbilling.engine.verify_plans import PlanBook
from nbilling.engine.verify_settings import check_settings
from nbilling.engine.verify_totals import TotalsCheck
from nbilling.engine.verify_usage import UsageCheck
from nbilling.engine.verify_windows import WindowCheck
from nbilling.model.clock import parse_time
from nbilling.model.errors import NotALedger
from nbilling.model.verification import VerifyProgress, VerifyReport
from nbilling.store import verify as store

if TYPE_CHECKING:
    import sqlite3

CHECKED = (
    "the file's pages, indexes and constraints, and every reference from row to row",
    "events: numbers without a gap, hours, identities of the ids that were sent",
    "rollups of hours and local days against events, of periods and lifetimes against days, resets against events",
    "gauge levels and counter deltas replayed from their events",
    "subscriptions, phases, periods and the limits in force; meters, tax rates and codes by the audit trail",
    "invoices: sums, discounts, taxes, payments, numbers, the audit trail, every line rated again",
    "usage on finalised invoices against what was recorded when they were finalised",
)
NOT_CHECKED = (
    "texts: names, addresses, descriptions, notes and metadata",
    "an event's time within its hour where its meter only adds up, and amounts that do not count (below a maximum)",
    "ids of events that are UUIDs or were not sent, and who did what by the audit trail",
    "plans and prices that no invoice and no limit rests on, and the registry of imported logs",
)


class Verification:
    """Reads one snapshot of the ledger, while others may go on writing. Changes nothing."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def run(
        self, *, since: str | None = None, progress: Callable[[VerifyProgress], None] | None = None
    ) -> VerifyReport:
        """Verifies the ledger. With ``since`` (a date, or a time in RFC 3339) only usage from then on is read again,
        and only invoices that were finalised since."""
        started = time.monotonic_ns()
        start_at = parse_time(since, "since") if since is not None else 0
        start_at -= start_at % _DAY
        with self._core.ledger.snapshot() as db:
            context = _verified(db, start_at, progress)
        seconds = Decimal((time.monotonic_ns() - started) // 1_000_000).scaleb(-3)
        checked = CHECKED
        if start_at:
            context.not_checked.append(f"usage before {moment(start_at)}, invoices finalised before, and indexes")
        return VerifyReport(
            ok=not context.findings,
            counts=context.counts,
            checked=checked,
            not_checked=(*NOT_CHECKED, *context.not_checked),
            findings=tuple(context.findings),
            more=context.more,
            seconds=seconds,
        )


_DAY = 86_400_000_000


def _verified(db: sqlite3.Connection, since: int, progress: Callable[[VerifyProgress], None] | None) -> Context:
    with store.reading():
        context = Context(db, since, progress)
        book = PlanBook(context)
    for name, check in _checks(context, book):
        context.tell(name)
        try:
            with store.reading():
                check()
        except NotALedger as error:
            context.wrong("file", name, "data that can be read", error.message)
            context.not_checked.append(f"the rest of {name}: the file cannot be read")
    return context


def _checks(context: Context, book: PlanBook) -> list[tuple[str, Callable[[], None]]]:
    return [
        ("file", lambda: _file(context)),
        ("settings", lambda: check_settings(context)),
        ("usage", lambda: UsageCheck(context).run()),
        ("identities", lambda: check_events(context)),
        ("gauges", lambda: check_gauges(context)),
        ("counters", lambda: check_counters(context)),
        ("totals", lambda: TotalsCheck(context).run()),
        ("windows", lambda: WindowCheck(context).run()),
        ("accounts", lambda: AccountsCheck(context, book).run()),
        ("invoices", lambda: InvoicesCheck(context, book).run()),
    ]


def _file(context: Context) -> None:
    """SQLite's own checks, constraints, references."""
    for text in store.damage(context.db, quick=bool(context.since)):
        context.wrong("file", "SQLite's own check", "ok", text)
    for table, constraint, row in store.broken_constraints(context.db):
        context.wrong(table, _row(context, row, ""), f"CHECK ({constraint})", "a row that breaks it")
    for table, column, parent, row in store.broken_references(context.db):
        context.wrong(table, _row(context, row, column), f"a row of {parent} for {column}", "none")


def _row(context: Context, row: dict[str, object], broken: str) -> str:
    """The key of a row of any table, by names instead of numbers; but for the column that leads to nothing."""
    return ", ".join(
        context.named(column, value) if isinstance(value, int) and column != broken else f"{column} {value}"
        for column, value in row.items()
    )
