"""Subscriptions: looked at, cancelled and brought back, paused, given more or fewer seats."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import DEFAULT_PLAN, Accounts
from nbilling.engine.core import Core
from nbilling.model.clock import DAY, format_time
from nbilling.model.errors import Conflict
from nbilling.model.periods import day_start, local_day, month_of, to_date
from nbilling.model.text import choice, plain, whole
from nbilling.rules.subscriptions import after
from nbilling.store import plans, subscriptions
from nbilling.store.customers import CustomerRow
from nbilling.store.plans import PlanRow
from nbilling.store.subscriptions import NEVER, SubscriptionRow

if TYPE_CHECKING:
    import sqlite3

WHEN = ("now", "at_period_end")
MOST_SEATS = 1_000_000


class Subscriptions:
    """What may happen in which state is ``rules.subscriptions.TRANSITIONS``. Repeated calls change nothing."""

    def __init__(self, core: Core, accounts: Accounts) -> None:
        self._core = core
        self._accounts = accounts

    def show(self, customer_id: str) -> dict[str, Any]:
        """The present subscription: plan, status, seats, period, trial, and what is pending."""
        db, row, now = self._accounts.view(customer_id)
        if row is None:
            start, end = month_of(now // DAY)
            plan = self._accounts.plan_of(db, None)
            return _shown(customer_id, "UTC", None, plan, None, (start * DAY, end * DAY))
        held = subscriptions.get(db, row.subscription)
        plan = plans.version(db, held.bought_plan)
        pending = plans.version(db, held.pending_plan) if held.pending_plan else None
        return _shown(customer_id, row.zone, held, plan, pending, (row.start_at, row.end_at))

    def history(self, customer_id: str) -> list[dict[str, Any]]:
        """Every change with its reason, oldest first: ``{at, day, event, from, to, plan, quantity, reason, by, …}``."""
        db, row, _ = self._accounts.view(customer_id)
        if row is None:
            return []
        found = []
        for at, actor, action, text in subscriptions.changes(db, customer_id):
            detail = json.loads(text)
            if action.startswith("plan."):  # the status stays; from and to are plans
                detail = {"plan": detail["to"], "reason": f"from {detail['from']}, {detail['when']}"}
            found.append(
                {
                    "at": format_time(at),
                    "day": to_date(detail["day"]).isoformat() if "day" in detail else None,
                    "event": action.removeprefix("subscription.").removeprefix("plan."),
                    "subscription": detail.get("subscription"),
                    "from": detail.get("from"),
                    "to": detail.get("to"),
                    "plan": detail.get("plan"),
                    "quantity": detail.get("quantity"),
                    "reason": detail.get("reason", ""),
                    "by": actor,
                }
            )
        return found

    def cancel(self, customer_id: str, when: str = "at_period_end", reason: str = "") -> dict[str, Any]:
        """Ends the subscription, ``now`` (the fee is charged by the day) or with its period. Again: nothing."""
        choice(when, "when", WHEN)
        plain(reason, "reason", limit=200, empty=True)

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            row = self._known(db, customer_id, now)
            held = self._bought(db, row)
            if held is None:
                return
            default = self._accounts.plan_of(db, None)
            if when == "now":
                after(held.status, "cancel")
                day = local_day(row.zone, now)
                self._accounts.change_plan(db, row, held, default, day, now, reason or "cancelled")
                return
            after(held.status, "cancel_at_period_end")
            if held.pending_plan and plans.version(db, held.pending_plan).plan_id == DEFAULT_PLAN:
                return
            end = subscriptions.period(db, row.period).end_day
            subscriptions.set_pending(db, held.id, default.id, end, now)
            self._accounts.note(db, row, held, "cancel_at_period_end", held.status, now, reason, end)

        self._core.write(job)
        return self.show(customer_id)

    def reactivate(self, customer_id: str, reason: str = "") -> dict[str, Any]:
        """Takes a pending cancellation back, or buys anew the plan that was cancelled, without a second trial."""
        plain(reason, "reason", limit=200, empty=True)

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            row = self._known(db, customer_id, now)
            held = self._bought(db, row)
            if held is None:
                self._buy_again(db, row, now, reason or "reactivated")
            elif held.pending_plan and plans.version(db, held.pending_plan).plan_id == DEFAULT_PLAN:
                after(held.status, "keep")
                subscriptions.set_pending(db, held.id, 0, 0, now)
                day = local_day(row.zone, now)
                self._accounts.note(db, row, held, "keep", held.status, now, reason or "reactivated", day)

        self._core.write(job)
        return self.show(customer_id)

    def _buy_again(self, db: sqlite3.Connection, row: CustomerRow, now: int, reason: str) -> None:
        last = subscriptions.last_bought(db, row.id)
        if last is None:
            raise Conflict(f"{row.customer_id!r:.80} never had a subscription", hint="use plan upgrade")
        plan = plans.newest(db, plans.version(db, last.bought_plan).plan_id, row.id)
        assert plan is not None  # plans are never deleted
        held, day = subscriptions.get(db, row.subscription), local_day(row.zone, now)
        quantity = last.quantity if plan.per_seat else 1
        self._accounts.change_plan(db, row, held, plan, day, now, reason, quantity, trial=False)

    def pause(self, customer_id: str, reason: str = "") -> dict[str, Any]:
        """Stops fee and allowances from today on; until it is resumed the limits of the default plan hold. Paused:
        nothing. The day counts as paused, as the day of a change belongs to what is new."""
        plain(reason, "reason", limit=200, empty=True)

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            row = self._known(db, customer_id, now)
            held = self._need_bought(db, row)
            if held.paused_plan:
                return
            default = self._accounts.plan_of(db, None)
            fresh = held._replace(status=after(held.status, "pause"), paused_plan=held.plan, plan=default.id)
            self._switch(db, row, held, fresh, "pause", now, reason or "paused")

        self._core.write(job)
        return self.show(customer_id)

    def resume(self, customer_id: str, reason: str = "") -> dict[str, Any]:
        """Goes on with a paused subscription from today on, in the same periods. Not paused: nothing."""
        plain(reason, "reason", limit=200, empty=True)

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            row = self._known(db, customer_id, now)
            held = self._need_bought(db, row)
            if held.paused_plan:
                fresh = held._replace(status=after(held.status, "resume"), plan=held.paused_plan, paused_plan=0)
                self._switch(db, row, held, fresh, "resume", now, reason or "resumed")

        self._core.write(job)
        return self.show(customer_id)

    def _switch(
        self,
        db: sqlite3.Connection,
        row: CustomerRow,
        held: SubscriptionRow,
        fresh: SubscriptionRow,
        event: str,
        now: int,
        why: str,
    ) -> None:
        day = local_day(row.zone, now)
        self._accounts.switch(db, row, held, fresh, day, now, why)
        self._accounts.note(db, row, fresh, event, held.status, now, why, day)

    def set_quantity(self, customer_id: str, quantity: int | str, reason: str = "") -> dict[str, Any]:
        """So many seats from today on; fee and limits by the seat follow, prorated. The same number: nothing."""
        count = whole(quantity, "quantity", minimum=1, maximum=MOST_SEATS)
        plain(reason, "reason", limit=200, empty=True)

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            row = self._known(db, customer_id, now)
            held = self._need_bought(db, row)
            plan = plans.version(db, held.bought_plan)
            if held.quantity == count:
                return
            if not plan.per_seat:
                raise Conflict(f"{plan.plan_id} is not sold by the seat", hint="its quantity is 1")
            after(held.status, "change_quantity")
            day, why = local_day(row.zone, now), reason or f"{held.quantity} to {count} seats"
            self._accounts.change_plan(db, row, held, plan, day, now, why, count)
            self._accounts.note(
                db, row, held._replace(quantity=count), "change_quantity", held.status, now, why, day
            )  # fmt: skip

        self._core.write(job)
        return self.show(customer_id)

    def settle_standing(self, db: sqlite3.Connection, row: CustomerRow, now: int) -> str | None:
        """Within a job: past due where a finalised invoice is open after its due day, active again where none is.
        Returns what has happened, if anything has."""
        held = self._bought(db, row)
        if held is None:
            return None
        overdue = subscriptions.is_overdue(db, row.id, now)
        event = {("active", True): "overdue", ("past_due", False): "settled"}.get((held.status, overdue))
        if event is not None:
            fresh = held._replace(status=after(held.status, event))
            subscriptions.save(db, fresh, now)
            why = "an invoice is overdue" if overdue else "no invoice is overdue"
            self._accounts.note(db, row, fresh, event, held.status, now, why, local_day(row.zone, now))
        return event

    def _known(self, db: sqlite3.Connection, customer_id: str, now: int) -> CustomerRow:
        self._core.known_customer(db, customer_id)
        return self._accounts.ensure(db, customer_id, now)

    @staticmethod
    def _bought(db: sqlite3.Connection, row: CustomerRow) -> SubscriptionRow | None:
        held = subscriptions.get(db, row.subscription)
        return None if held.is_default else held

    def _need_bought(self, db: sqlite3.Connection, row: CustomerRow) -> SubscriptionRow:
        held = self._bought(db, row)
        if held is None:
            raise Conflict(f"{row.customer_id!r:.80} has no subscription", hint="use plan upgrade")
        return held


def _shown(
    customer_id: str,
    zone: str,
    held: SubscriptionRow | None,
    plan: PlanRow,
    pending: PlanRow | None,
    bounds: tuple[int, int],
) -> dict[str, Any]:
    def moment(day: int | None) -> str | None:
        return format_time(day_start(zone, day)) if day and day != NEVER else None

    bought = held is not None and not held.is_default
    return {
        "customer_id": customer_id,
        "id": held.subscription_id if held else None,
        "status": held.status if held else "active",
        "plan": plan.plan_id,
        "plan_version": plan.version,
        "quantity": held.quantity if held else 1,
        "current_period_start": format_time(bounds[0]),
        "current_period_end": format_time(bounds[1]),
        "started_at": moment(held.start_day) if held and bought else None,
        "trial_end": moment(held.trial_end_day) if held else None,
        "cancel_at_period_end": pending is not None and pending.plan_id == DEFAULT_PLAN and bought,
        "pending_plan": pending.plan_id if pending else None,
        "pending_at": moment(held.pending_day) if held and pending else None,
    }
