"""The catalogue: plans read from a file become versions, and are written back into one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.engine.quota import check_limited
from nbilling.model.errors import BadInput, Conflict
from nbilling.model.periods import local_day
from nbilling.rules.catalogue import LimitSpec, PlanSpec, PriceSpec, differences, read, write
from nbilling.rules.price_models import model_from_dict, model_to_dict
from nbilling.rules.usage import base_amount, unit_amount
from nbilling.store import customers, plans, subscriptions
from nbilling.store.plans import PlanLimitRow, PlanRow, PriceRow

if TYPE_CHECKING:
    import sqlite3


class Catalogue:
    """A plan that differs from its newest version becomes a new version; what was bought stays what it was."""

    def __init__(self, core: Core, accounts: Accounts) -> None:
        self._core = core
        self._accounts = accounts

    def apply(self, table: Mapping[str, Any], *, dry_run: bool = False) -> list[dict[str, Any]]:
        """Brings plans to what a parsed file says: ``[{plan, version, field, before, after}]`` of what changes.

        The same file again: nothing. Plans that the file does not name stay as they are.
        """
        specs = read(table, self._core.config.currency)

        def job(db: sqlite3.Connection) -> list[dict[str, Any]]:
            now = self._core.now(db)
            return [change for spec in specs for change in self._apply(db, spec, now)]

        return self._core.write(job, dry_run=dry_run)

    def _apply(self, db: sqlite3.Connection, spec: PlanSpec, now: int) -> list[dict[str, Any]]:
        newest = plans.any_owner(db, spec.id)
        old = self._spec(db, newest) if newest is not None else None
        changes = differences(old, spec)
        if not changes:
            return []
        if old is not None and old.customer != spec.customer:
            raise Conflict(f"plan {spec.id} belongs to {old.customer or 'everybody'}", hint="give yours another id")
        owner = 0
        if spec.customer:
            owner = self._accounts.ensure(db, spec.customer, now).id
            if newest is None and plans.named(db, owner, spec.name) is not None:
                raise Conflict(f"{spec.customer!r:.80} has a plan named {spec.name!r:.80}", hint="name it otherwise")
        version = newest.version + 1 if newest is not None else 1
        number = plans.insert(
            db,
            PlanRow(
                0, spec.id, version, spec.name, spec.currency, spec.price_minor, spec.interval, spec.interval_count,
                spec.proration, owner, _features_text(spec), now, spec.anchor_day,
                spec.trial_days, spec.fee, int(spec.per_seat),
            ),
        )  # fmt: skip
        self._add_terms(db, number, spec)
        shown = [{"field": field, "before": before, "after": after} for field, before, after in changes]
        self._core.audit(db, now, "plan.apply", spec.id, {"version": version, "changes": shown})
        return [{"plan": spec.id, "version": version, **change} for change in shown]

    def _add_terms(self, db: sqlite3.Connection, number: int, spec: PlanSpec) -> None:
        for limit in spec.limits:
            meter = self._core.meter(db, limit.meter, f"plans.{spec.id}.limits: meter")
            check_limited(meter, limit.period)
            amount = None if limit.amount is None else base_amount(limit.amount, meter.scale, limit.meter)
            if limit.per_seat and not spec.per_seat:
                raise BadInput(f"plans.{spec.id} is not sold by the seat", hint="set per_seat for the plan too")
            row = PlanLimitRow(meter.id, limit.period, amount, limit.mode, limit.threshold, int(limit.per_seat))
            plans.add_limit(db, number, row)
        for price in spec.prices:
            meter = self._core.meter(db, price.meter, f"plans.{spec.id}.prices: meter")
            plans.add_price(
                db, number, PriceRow(meter.id, json.dumps(model_to_dict(price.model)), price.unit, price.allowance)
            )

    def export(self, customer_id: str | None = None) -> str:
        """The newest versions of the plans for everybody, with a customer its own too, as a file for :meth:`apply`."""
        db = self._core.read()
        owner = self._core.known_customer(db, customer_id).id if customer_id is not None else 0
        return write([self._spec(db, plan) for plan in plans.listing(db, owner)])

    def move(self, plan_id: str, customer_id: str | None = None, *, now: bool = False) -> int:
        """Moves the subscriptions that hold an older version of a plan to its newest, at the end of their period or
        ``now``; all, or one customer's. Returns how many."""

        def job(db: sqlite3.Connection) -> int:
            at = self._core.now(db)
            known = self._core.known_customer(db, customer_id).customer_id if customer_id is not None else None
            moved = 0
            for name in [known] if known is not None else subscriptions.holders_of_older(db, plan_id):
                moved += self._move(db, name, plan_id, now, at)
            return moved

        return self._core.write(job)

    def _move(self, db: sqlite3.Connection, customer_id: str, plan_id: str, at_once: bool, now: int) -> bool:
        row = self._accounts.ensure(db, customer_id, now)
        held = subscriptions.get(db, row.subscription)
        current, newest = plans.version(db, held.bought_plan), plans.newest(db, plan_id, row.id)
        if newest is None or current.plan_id != plan_id or newest.id in (current.id, held.pending_plan):
            return False
        if newest.currency != current.currency and current.price_minor and newest.price_minor:
            raise Conflict(f"{customer_id!r:.80} is billed in {current.currency}", hint="a customer keeps its currency")
        why = f"version {current.version} to {newest.version}"
        if at_once:
            day = local_day(row.zone, now)
            self._accounts.change_plan(db, row, held, newest, day, now, why)
        else:
            day = subscriptions.period(db, row.period).end_day
            subscriptions.set_pending(db, held.id, newest.id, day, now)
        self._accounts.note(db, customers.get(db, row.id), held, "move", held.status, now, why, day)
        return True

    def _spec(self, db: sqlite3.Connection, plan: PlanRow) -> PlanSpec:
        limits, prices = [], []
        for limit in plans.limits(db, plan.id):
            meter = self._core.meter_by_id(db, limit.meter)
            amount = None if limit.amount is None else unit_amount(limit.amount, meter.scale)
            limits.append(
                LimitSpec(
                    meter=meter.name, period=limit.period, amount=amount, mode=limit.mode, threshold=limit.threshold,
                    per_seat=bool(limit.per_seat),
                )
            )  # fmt: skip
        for price in plans.prices(db, plan.id).values():
            name = self._core.meter_by_id(db, price.meter).name
            model = model_from_dict(json.loads(price.model))
            prices.append(PriceSpec(meter=name, model=model, unit=price.unit, allowance=price.allowance))
        return PlanSpec(
            id=plan.plan_id,
            name=plan.name,
            price_minor=plan.price_minor,
            currency=plan.currency,
            interval=plan.interval_unit,
            interval_count=plan.interval_count,
            anchor_day=plan.anchor_day,
            trial_days=plan.trial_days,
            proration=plan.proration,
            fee=plan.fee_timing,
            per_seat=bool(plan.per_seat),
            customer=customers.get(db, plan.owner).customer_id if plan.owner else "",
            features=dict(sorted(json.loads(plan.features, parse_float=Decimal).items())),
            limits=tuple(sorted(limits, key=lambda limit: (limit.meter, limit.period))),
            prices=tuple(sorted(prices, key=lambda price: price.meter)),
        )


def _features_text(spec: PlanSpec) -> str:
    """JSON with every digit of a decimal, which ``json`` would only write as text."""
    parts = [
        f"{json.dumps(key)}: {format(value, 'f') if isinstance(value, Decimal) else json.dumps(value)}"
        for key, value in spec.features.items()
    ]
    return "{" + ", ".join(parts) + "}"
