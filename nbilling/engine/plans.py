"""Plans, and the subscriptions by which customers are on them."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import DEFAULT_PLAN, Accounts
from nbilling.engine.core import Core
from nbilling.model.clock import DAY, format_time
from nbilling.model.errors import BadInput, Conflict, NotFound
from nbilling.model.identity import new_id
from nbilling.model.money import format_amount, parse_amount
from nbilling.model.periods import Interval, day_start, local_day, month_of
from nbilling.model.text import choice, json_object, plain
from nbilling.rules.plans import compare, monthly_price
from nbilling.rules.quota import UNLIMITED
from nbilling.rules.subscriptions import after
from nbilling.rules.usage import base_amount, unit_amount
from nbilling.store import customers, plans, subscriptions
from nbilling.store.plans import PlanLimitRow, PlanRow

if TYPE_CHECKING:
    import sqlite3

WHEN = ("now", "at_period_end")


class Plans:
    """Plans are versioned data: a change is a new version, and a subscription keeps the one it bought."""

    def __init__(self, core: Core, accounts: Accounts) -> None:
        self._core = core
        self._accounts = accounts

    def list(self, customer_id: str | None = None) -> list[dict[str, Any]]:
        """The plans for everybody, cheapest first, and with a customer its own too."""
        db = self._core.read()
        owner = self._core.known_customer(db, customer_id).id if customer_id is not None else 0
        return [self._shown(db, plan) for plan in plans.listing(db, owner)]

    def get_details(self, plan_id: str) -> dict[str, Any]:
        """``{id, name, price, price_minor, currency, interval, limits, features}``; limits in the meters' units."""
        db = self._core.read()
        return self._shown(db, _found(plans.any_owner(db, _id(plan_id)), plan_id))

    def compare(self, first: str, second: str) -> dict[str, Any]:
        """Price, limits and features of two plans side by side."""
        return compare(self.get_details(first), self.get_details(second))

    def get_current(self, customer_id: str) -> dict[str, Any]:
        """The customer's plan and, as ``subscription``, its status, present period and what is pending."""
        db, row, now = self._accounts.view(customer_id)
        if row is None:
            start, end = month_of(now // DAY)
            bounds, held = (start * DAY, end * DAY), None
        else:
            bounds, held = (row.start_at, row.end_at), subscriptions.get(db, row.subscription)
        result = self._shown(db, plans.version(db, held.bought_plan) if held else self._accounts.plan_of(db, None))
        pending = plans.version(db, held.pending_plan) if held is not None and held.pending_plan else None
        result["subscription"] = {
            "id": held.subscription_id if held else None,
            "status": held.status if held else "active",
            "current_period_start": format_time(bounds[0]),
            "current_period_end": format_time(bounds[1]),
            "pending_plan": pending.plan_id if pending else None,
            "pending_at": format_time(day_start(row.zone, held.pending_day)) if pending and row and held else None,
        }
        return result

    def upgrade(self, customer_id: str, plan_id: str) -> None:
        """Moves to a plan of the same or a higher price a month, at once and prorated. The same plan: nothing."""
        self._move(customer_id, plan_id, "now", up=True)

    def downgrade(self, customer_id: str, plan_id: str, when: str = "at_period_end") -> None:
        """Moves to a plan of the same or a lower price a month, ``now`` or ``at_period_end``."""
        choice(when, "when", WHEN)
        self._move(customer_id, plan_id, when, up=False)

    def _move(self, customer_id: str, plan_id: str, when: str, *, up: bool) -> None:
        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            _found(plans.any_owner(db, _id(plan_id)), plan_id)  # an unknown plan makes no customer
            row = self._accounts.ensure(db, customer_id, now)
            plan = _found(plans.newest(db, plan_id, row.id), plan_id)
            held = subscriptions.get(db, row.subscription)
            current = plans.version(db, held.bought_plan)
            if plan.plan_id == current.plan_id:
                return
            _check_direction(current, plan, up)
            _check_currency(plan, customers.profile(db, row.id)["currency"])
            if not held.is_default:
                after(held.status, "cancel" if plan.plan_id == DEFAULT_PLAN else "change_plan")
            if when == "now":
                day = local_day(row.zone, now)
                self._accounts.change_plan(db, row, held, plan, day, now, "upgrade" if up else "downgrade")
            elif held.pending_plan == plan.id:
                return
            else:
                end = subscriptions.period(db, row.period).end_day
                subscriptions.set_pending(db, held.id, plan.id, end, now)
            self._note(db, now, customer_id, "plan.upgrade" if up else "plan.downgrade", current, plan, when)

        self._core.write(job)

    def _note(
        self, db: sqlite3.Connection, now: int, customer_id: str, action: str, old: PlanRow, new: PlanRow, when: str
    ) -> None:
        self._core.audit(db, now, action, customer_id, {"from": old.plan_id, "to": new.plan_id, "when": when})

    def create_custom(self, customer_id: str, name: str, price: object, limits_json: str) -> str:
        """A monthly plan for one customer; ``price`` in currency units. Returns the plan's id."""
        plain(name, "plan name", limit=100)
        minor = parse_amount(price, self._core.config.currency)
        if minor < 0:
            raise BadInput(f"price {price!s:.40} is below zero", hint="a plan costs 0 or more")
        limits = _limits(limits_json)

        def job(db: sqlite3.Connection) -> str:
            now = self._core.now(db)
            amounts = []
            for meter_name, limit in limits.items():
                meter = self._core.meter(db, meter_name, "limit")
                amount = None if limit in (None, UNLIMITED) else base_amount(limit, meter.scale, meter_name)
                amounts.append((meter.id, "absolute" if meter.kind == "gauge" else "per_month", amount))
            row = self._accounts.ensure(db, customer_id, now)
            if plans.named(db, row.id, name) is not None:
                raise Conflict(f"{customer_id!r:.80} has a plan named {name!r:.80}", hint="give it another name")
            slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40] or "custom"
            taken = slug == "name" or plans.any_owner(db, slug) is not None  # rows of a comparison have a "name"
            plan_id = new_id(slug, now) if taken else slug
            plan = PlanRow(
                0, plan_id, 1, name, self._core.config.currency, minor, "month", 1, "day", row.id, "{}", now
            )  # fmt: skip
            number = plans.insert(db, plan)
            for meter_id, period, amount in amounts:
                plans.add_limit(db, number, PlanLimitRow(meter_id, period, amount))
            detail = {"name": name, "price_minor": minor, "currency": plan.currency, "limits": limits}
            self._core.audit(db, now, "plan.create_custom", customer_id, {"plan": plan_id, **detail})
            return plan_id

        return self._core.write(job)

    def _shown(self, db: sqlite3.Connection, plan: PlanRow) -> dict[str, Any]:
        limits: dict[str, Any] = {}
        listed = plans.limits(db, plan.id)
        for limit in listed:
            meter = self._core.meter_by_id(db, limit.meter)
            alone = sum(other.meter == limit.meter for other in listed) == 1
            # Of several on one meter the month's bears its name alone.
            name = meter.name if alone or limit.period == "per_month" else f"{meter.name} {limit.period}"
            limits[name] = None if limit.amount is None else unit_amount(limit.amount, meter.scale)
        return {
            "id": plan.plan_id,
            "name": plan.name,
            "price": format_amount(plan.price_minor, plan.currency),
            "price_minor": plan.price_minor,
            "currency": plan.currency,
            "interval": plan.interval_unit,
            "interval_count": plan.interval_count,
            "trial_days": plan.trial_days,
            "fee": plan.fee_timing,
            "per_seat": bool(plan.per_seat),
            "version": plan.version,
            "limits": limits,
            "features": json.loads(plan.features),
        }


def _id(plan_id: str) -> str:
    return plain(plan_id, "plan")


def _found(plan: PlanRow | None, plan_id: str) -> PlanRow:
    if plan is None:
        raise NotFound(f"there is no plan {plan_id!r:.80}", hint="nbilling plan list shows them")
    return plan


def _check_currency(plan: PlanRow, wanted: str) -> None:
    if plan.price_minor and wanted and wanted != plan.currency:
        raise Conflict(
            f"{plan.plan_id} is priced in {plan.currency}, this customer is billed in {wanted}",
            hint="a customer keeps its currency; make a plan in it",
        )


def _check_direction(current: PlanRow, plan: PlanRow, up: bool) -> None:
    if current.currency != plan.currency and current.price_minor and plan.price_minor:
        raise Conflict(
            f"{plan.plan_id} is priced in {plan.currency}, {current.plan_id} in {current.currency}",
            hint="a customer keeps its currency",
        )
    old = monthly_price(current.price_minor, Interval(current.interval_unit, current.interval_count))
    new = monthly_price(plan.price_minor, Interval(plan.interval_unit, plan.interval_count))
    if up and new < old:
        raise Conflict(f"{plan.plan_id} is a lower plan than {current.plan_id}", hint="use plan downgrade")
    if not up and new > old:
        raise Conflict(f"{plan.plan_id} is a higher plan than {current.plan_id}", hint="use plan upgrade")


def _limits(text: str) -> dict[str, Any]:
    """The limits of a custom plan: a flat JSON object of whole numbers, decimals, or null for unlimited."""
    hint = 'write it as {"api_requests": 100000}'
    found = json_object(text, "the JSON of the limits", hint=hint)
    for key, value in found.items():
        if isinstance(value, bool) or not (value is None or value == UNLIMITED or isinstance(value, (int, Decimal))):
            raise BadInput(f"limit {key!r:.60} is not a number", hint=hint)
    return found
