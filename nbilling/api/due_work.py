"""``nbilling run``: everything that is due, in the order in which one thing leads to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nbilling.engine.alerts import Alerts
from nbilling.engine.due_work import DueWork
from nbilling.engine.outbox import Outbox

if TYPE_CHECKING:
    from nbilling.api.billing import Billing


def run(
    billing: Billing, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """See :meth:`nbilling.api.billing.Billing.run`."""
    if dry_run:
        report = billing.invoices.run(dry_run=True, progress=progress)
        return {"rolled": 0, **_billed(report), "standing_changed": 0, "alerts_fired": 0}
    core, accounts = billing.parts()
    due = DueWork(core, accounts, billing.subscriptions)
    rolled = due.roll()
    report = billing.invoices.run(progress=progress)
    standing = due.settle()
    fired = due.alert(Alerts(core, accounts, Outbox(core), billing.quota.usages))
    due.learn()
    return {"rolled": rolled, **_billed(report), "standing_changed": standing, "alerts_fired": fired}


def _billed(report: dict[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("invoices", "totals", "made")}
