"""Quotas: check, and check-and-record in one commit."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from nbilling.engine.accounts import Accounts, limits_of
from nbilling.engine.core import Core
from nbilling.engine.prices import price_model, shown_unit_price
from nbilling.engine.recorder import UsageRecorder
from nbilling.model.clock import DAY, HOUR, LATEST, MINUTE, format_time
from nbilling.model.errors import BadInput, Conflict, NotFound
from nbilling.model.identity import event_key, uuid7
from nbilling.model.money import format_amount
from nbilling.model.periods import day_start, hour_start, local_day, month_of
from nbilling.model.text import choice, plain, whole
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.rules.quota import (
    MODES,
    PERIODS,
    UNLIMITED,
    Decision,
    Usage,
    decide,
    effective_limits,
    fullest,
    percentage,
    warns,
)
from nbilling.rules.usage import base_amount, unit_amount
from nbilling.store import gauges, plans, quota, usage
from nbilling.store.customers import CustomerRow
from nbilling.store.plans import PlanRow, PriceRow
from nbilling.store.quota import LimitRow, OwnLimit
from nbilling.store.usage import DAILY, LIFETIME, WINDOW, MeterRow, UsageRow

if TYPE_CHECKING:
    import sqlite3

_SCOPES = {
    "monthly": ("quota_month", "quota_day"),
    "daily": ("quota_day",),
    "period": ("quota_period", "quota_month", "quota_day"),
}
RESETS = tuple(_SCOPES)


_time = lru_cache(4096)(format_time)
"""The same few instants are named again and again."""


class QuotaDecision(NamedTuple):
    """The answer to a check, in the meter's unit. ``limit`` and ``remaining`` None: unlimited.

    ``warning`` None: neither is a soft limit exceeded nor the threshold of a limit reached.
    """

    allowed: bool
    resource: str
    amount: int | Decimal
    period: str
    limit: int | Decimal | None
    used: int | Decimal
    remaining: int | Decimal | None
    resets_at: str | None
    warning: str | None
    reason: str


class Quota:
    """Limits of customers. Reads go through the thread's own connection, ``enforce`` is one write job."""

    def __init__(self, core: Core, accounts: Accounts, recorder: UsageRecorder) -> None:
        self._core = core
        self._accounts = accounts
        self._recorder = recorder

    def set_limit(
        self,
        customer_id: str,
        resource: str,
        limit: object,
        period: str,
        *,
        mode: str = "hard",
        threshold: int | str | None = None,
    ) -> None:
        """Sets a customer's own limit in the meter's unit; 0 blocks all, ``unlimited`` lifts it.

        ``mode`` ``soft`` lets pass what exceeds it, with a warning; what lies above is charged by the plan's price.
        ``threshold``: whole percent from which there is a warning, else as configured.
        """
        meter = self._core.meter(self._core.read(), resource)
        choice(period, "period", PERIODS)
        choice(mode, "mode", MODES)
        percent = None if threshold is None else whole(threshold, "threshold", minimum=1, maximum=100)
        amount = None if limit in (None, UNLIMITED) else base_amount(limit, meter.scale, "limit")
        check_limited(meter, period)

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            row = self._accounts.ensure(db, customer_id, now)
            quota.set_own(db, row.id, OwnLimit(meter.id, period, amount, mode, percent), now)
            self._accounts.refresh_limits(db, row)
            detail: dict[str, Any] = {"resource": resource, "limit": amount, "period": period}
            if mode != "hard" or percent is not None:
                detail |= {"mode": mode, "threshold": percent}
            self._core.audit(db, now, "quota.set_limit", customer_id, detail)

        self._core.write(job)

    def remove_limit(self, customer_id: str, resource: str, period: str) -> None:
        """Removes a customer's own limit, so that its plan's or the default one holds again. None there: nothing."""
        meter = self._core.meter(self._core.read(), resource)
        choice(period, "period", PERIODS)

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            row = self._accounts.ensure(db, self._core.known_customer(db, customer_id).customer_id, now)
            if quota.remove_own(db, row.id, meter.id, period):
                self._accounts.refresh_limits(db, row)
                self._core.audit(db, now, "quota.remove_limit", customer_id, {"resource": resource, "period": period})

        self._core.write(job)

    def check(self, customer_id: str, resource: str, amount: object = 1, *, warn: bool = True) -> QuotaDecision:
        """Whether ``amount`` more would fit. Records nothing. An error is never an approval: it is raised.

        ``warn`` False leaves the warning out, for those who only ask yes or no: it needs the settings.
        """
        valid_customer_id(customer_id)
        db = self._core.read()
        meter = self._core.meter(db, resource)
        value = base_amount(amount, meter.scale, "amount")
        look = quota.look(db, customer_id, meter.id)
        now = self._core.moment(look.clock) if look is not None else 0
        if look is not None and look.customer.start_at <= now < look.customer.end_at:
            usages = self._usages_under(db, look.customer, meter, now, look.limits)
        else:  # new, or its period has ended
            db, row, now = self._accounts.view(customer_id)
            usages = self.usages(db, row, meter, now)
        return self._answer(meter, value, decide(usages, value), warn)

    def hard_limit_check(self, customer_id: str, resource: str, amount: object = 1) -> QuotaDecision:
        """The same question as :meth:`check`, under the seed's name."""
        return self.check(customer_id, resource, amount)

    def enforce(
        self,
        customer_id: str,
        resource: str,
        amount: object = 1,
        *,
        dimension: str = "",
        id: str | None = None,
        warn: bool = True,
    ) -> QuotaDecision:
        """Checks and, where it fits, records in one commit; on a gauge the amount is added to the level.

        Of what was recorded the decision tells how much is used and remains after it, of a refusal before it. With an
        ``id`` the call can be repeated: what was recorded under it stays allowed and is not counted again.
        """
        meter = self._core.meter(self._core.read(), resource)
        value = base_amount(amount, meter.scale, "amount")
        _check_enforced(meter)
        plain(dimension, "dimension", limit=100, empty=True)
        if id is not None:
            plain(id, "event id")

        def job(db: sqlite3.Connection) -> Decision:
            now = self._core.now(db)
            row = self._accounts.ensure(db, customer_id, now)
            key, text = (uuid7(now), None) if id is None else event_key(customer_id, id)
            number = usage.dimension_id(db, dimension) if dimension else 0
            event = UsageRow(row.id, meter.id, number, now, value, key, text, gauges.ADD, None)
            if id is not None:
                known = usage.find_event(db, usage.claim_id(db, key, row.id, now // HOUR), key, row.id)
                if known is not None:
                    if known != event._replace(at=known.at):
                        raise Conflict(
                            f"event id {id!r:.80} is already recorded with other content",
                            hint="an id names one event; use a new id for a new event",
                        )
                    return decide(self.usages(db, row, meter, now), 0)._replace(allowed=True)
            usages, counted = self.usages(db, row, meter, now), 1 if meter.aggregation == "count" else value
            decision = decide(usages, counted)
            if not decision.allowed:
                raise _Refusal(decision)
            self._recorder.record(db, [event], (row,))
            return decide([each._replace(used=each.used + counted) for each in usages], 0)._replace(allowed=True)

        try:
            decision = self._core.write(job)
        except _Refusal as refusal:
            decision = refusal.decision
        return self._answer(meter, value, decision, warn)

    def release(self, customer_id: str, resource: str, id: str, amount: object = None) -> QuotaDecision:
        """Gives back what :meth:`enforce` reserved under an id and was not used: all of it, or an ``amount`` of it.

        It is a correction, an event of its own with the time of the reservation (on a level: of now), so every limit
        that the reservation counted against has it back. Once for an id: the same again changes nothing, another
        amount is a Conflict. NotFound where nothing was reserved under that id.
        """
        meter = self._core.meter(self._core.read(), resource)
        _check_enforced(meter)
        if meter.aggregation == "count":
            raise BadInput(f"{meter.name} counts events: none can be given back", hint="use a meter that is summed")
        plain(id, "event id", limit=240)
        wanted = None if amount is None else base_amount(amount, meter.scale, "amount")

        def job(db: sqlite3.Connection) -> tuple[int, Decision]:
            now = self._core.now(db)
            row = self._accounts.ensure(db, self._core.known_customer(db, customer_id).customer_id, now)
            reserved = self._reserved(db, row, meter, id, now)
            given = reserved.amount if wanted is None else wanted
            if given > reserved.amount:
                raise Conflict("that is more than was reserved", hint=f"at most {_amount(reserved.amount, meter)}")
            key, text = event_key(customer_id, f"release:{id}")
            at = now if meter.kind == "gauge" else reserved.at
            event = reserved._replace(at=at, amount=-given, key=key, id=text)
            known = usage.find_event(db, usage.claim_id(db, key, row.id, at // HOUR), key, row.id)
            if known is None:
                self._recorder.record(db, [event], (row,))
            elif known != event._replace(at=known.at):
                raise Conflict(f"of {id!r:.80} another amount was given back", hint="an id is released once")
            return given, decide(self.usages(db, row, meter, now), 0)._replace(allowed=True)

        given, decision = self._core.write(job)
        return self._answer(meter, given, decision, True)

    @staticmethod
    def _reserved(db: sqlite3.Connection, row: CustomerRow, meter: MeterRow, id: str, now: int) -> UsageRow:
        key, _ = event_key(row.customer_id, id)
        found = usage.find_event(db, usage.claim_id(db, key, row.id, now // HOUR), key, row.id)
        if found is None or found.meter != meter.id or found.op != gauges.ADD or found.amount < 0:
            raise NotFound(f"nothing of {meter.name} is reserved under {id!r:.80}", hint="use the id of quota enforce")
        return found

    def entitled(self, customer_id: str, feature: str) -> bool | int | Decimal | str:
        """What the plan in force says of a feature: a boolean, a number or a text; False where it says nothing."""
        plain(feature, "feature")
        db, row, _ = self._accounts.view(customer_id)
        found = self._accounts.features(db, row).get(feature, False)
        assert isinstance(found, (bool, int, Decimal, str))  # checked when the plan was made
        return found

    def soft_limit_check(self, customer_id: str, resource: str) -> dict[str, Any]:
        """``{customer_id, resource, limit, usage, percentage, threshold, warning}`` of the fullest limit."""
        meter, usage_, _, _ = self._fullest(customer_id, resource)
        percent = percentage(usage_.used, usage_.limit)
        threshold = usage_.threshold or self._core.config.quota_warning_threshold
        return {
            "customer_id": customer_id,
            "resource": resource,
            "limit": _amount(usage_.limit, meter),
            "usage": unit_amount(usage_.used, meter.scale),
            "percentage": percent,
            "threshold": threshold,
            "warning": warns(percent, usage_.threshold, threshold),
        }

    def get_usage_percentage(self, customer_id: str, resource: str) -> int:
        """Whole percent of the fullest limit, rounded down, not capped; 0 if unlimited, 100 of a limit of 0."""
        _, usage_, _, _ = self._fullest(customer_id, resource)
        return percentage(usage_.used, usage_.limit)

    def calculate_overage(self, customer_id: str, resource: str) -> dict[str, Any]:
        """What lies above the fullest limit, and what that costs by the plan's price.

        Of a gauge it is the present level, priced as if it held for a whole period; its invoice weighs it by time.
        """
        from nbilling.rules.pricing import amount_minor, rate

        meter, usage_, plan, price = self._fullest(customer_id, resource)
        over = 0 if usage_.limit is None else max(0, usage_.used - usage_.limit)
        model = price_model(price)
        cost = amount_minor(rate(model, over).amount, plan.currency) if model is not None else 0
        return {
            "customer_id": customer_id,
            "resource": resource,
            "limit": _amount(usage_.limit, meter),
            "usage": unit_amount(usage_.used, meter.scale),
            "overage": unit_amount(over, meter.scale),
            "unit_price": shown_unit_price(model, plan.currency),
            "cost": format_amount(cost, plan.currency),
            "cost_minor": cost,
            "currency": plan.currency,
        }

    def limits(self, customer_id: str) -> list[dict[str, Any]]:
        """Every limit in force: ``{resource, period, limit, usage, percentage, source, mode, threshold}``."""
        db, row, now = self._accounts.view(customer_id)
        threshold = self._core.config.quota_warning_threshold
        result = []
        for meter in usage.meters(db):
            rows = self._limits(db, row, meter)
            for limit, used in zip(rows, self.usages(db, row, meter, now), strict=False):
                result.append(
                    {
                        "resource": meter.name,
                        "period": limit.period,
                        "limit": _amount(limit.amount, meter),
                        "usage": unit_amount(used.used, meter.scale),
                        "percentage": percentage(used.used, used.limit),
                        "source": limit.source,
                        "mode": limit.mode,
                        "threshold": limit.threshold or threshold,
                    }
                )
        return result

    def reset(self, customer_id: str, period: str) -> None:
        """Starts a counting window for quotas alone: ``daily``, ``monthly`` (days included) or ``period``, that of
        billing (months and days included). Absolute ones stay."""
        choice(period, "period", RESETS)

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            row = self._accounts.ensure(db, customer_id, now)
            for scope in _SCOPES[period]:
                usage.open_window(db, row.id, scope, now)
            self._core.audit(db, now, "quota.reset", customer_id, {"period": period})

        self._core.write(job)

    def _fullest(self, customer_id: str, resource: str) -> tuple[MeterRow, Usage, PlanRow, PriceRow | None]:
        db, row, now = self._accounts.view(customer_id)
        meter = self._core.meter(db, resource)
        plan = self._accounts.plan_of(db, row)
        price = plans.prices(db, plan.id).get(meter.id)
        return meter, fullest(self.usages(db, row, meter, now)), plan, price

    def _limits(self, db: sqlite3.Connection, row: CustomerRow | None, meter: MeterRow) -> list[LimitRow]:
        if row is not None:
            return quota.effective(db, row.id, meter.id)
        plan = self._accounts.plan_of(db, None)
        rows = effective_limits([], limits_of(plans.limits(db, plan.id), 1), quota.defaults(db), set())
        return [LimitRow(*limit) for limit in rows if limit[0] == meter.id]

    def usages(self, db: sqlite3.Connection, row: CustomerRow | None, meter: MeterRow, now: int) -> list[Usage]:
        """What counts against each limit in force; one unlimited entry where there is none."""
        limits = self._limits(db, row, meter)
        if row is None:
            end = month_of(now // DAY)[1] * DAY
            usages = [
                Usage(limit.period, limit.amount, 0, _ends(limit.period, now, "UTC", end), limit.mode, limit.threshold)
                for limit in limits
            ]
            return usages or [Usage("per_month", None, 0, end)]
        return self._usages_under(db, row, meter, now, limits)

    def _usages_under(
        self, db: sqlite3.Connection, row: CustomerRow, meter: MeterRow, now: int, limits: list[LimitRow]
    ) -> list[Usage]:
        if meter.kind == "gauge":
            level = gauges.level_at(db, row.id, meter.id, LATEST)
            usages = [Usage(limit.period, limit.amount, level, 0, limit.mode, limit.threshold) for limit in limits]
            return usages or [Usage("absolute", None, level, 0)]
        usages = [
            Usage(limit.period, limit.amount, *self._used(db, row, meter, limit, now), limit.mode, limit.threshold)
            for limit in limits
        ]
        return usages or [Usage("per_month", None, *self._used(db, row, meter, None, now))]

    def _used(
        self, db: sqlite3.Connection, row: CustomerRow, meter: MeterRow, limit: LimitRow | None, now: int
    ) -> tuple[int, int]:
        """What counts against a limit (None: in the billing period), and when that begins anew."""
        period = limit.period if limit is not None else "per_period"
        if period == "per_period" or (period == "per_month" and limit is not None and not limit.own_months):
            scope = "quota_period" if limit is not None and period == "per_period" else "quota_month"
            span = (row.period, row.start_at, row.end_at)
            return usage.amount_in_period(db, row.id, meter, scope, span), row.end_at
        if period == "absolute":
            return usage.amount(db, LIFETIME, 0, row.id, meter), 0
        if period in ("per_minute", "per_hour"):
            start, end = _clock_span(period, now, row.zone)
            return usage.amount_since(db, row.id, meter, start, end), end
        day = local_day(row.zone, now)
        first, last = (day, day + 1) if period == "per_day" else self._accounts.billing_month(db, row, day)
        start, end = day_start(row.zone, first), day_start(row.zone, last)
        window = usage.window(db, row.id, "quota_day" if period == "per_day" else "quota_month", start, end)
        if window:
            return usage.amount(db, WINDOW, window, row.id, meter), end
        if period == "per_day":
            return usage.amount(db, DAILY, day, row.id, meter), end
        return usage.amount_of_days(db, row.id, meter, first, last), end

    def _answer(self, meter: MeterRow, amount: int, decision: Decision, warn: bool) -> QuotaDecision:
        warning = None
        if warn and decision.limit is not None:
            configured = decision.threshold or self._core.config.quota_warning_threshold
            if decision.over or warns(decision.percentage, decision.threshold, configured):
                limit = f"{_amount(decision.limit, meter)} {meter.unit} {decision.period}"
                used = unit_amount(decision.used, meter.scale)
                warning = (
                    f"the soft limit of {limit} is exceeded: {used} are used"
                    if decision.over
                    else f"{decision.percentage} % of {limit} are used"
                )
        return _shown(meter, amount, decision, warning)


def check_limited(meter: MeterRow, period: str) -> None:
    """BadInput where a meter cannot have a limit of that period."""
    if meter.kind == "event" and meter.aggregation in ("max", "last"):
        raise BadInput(f"{meter.name} does not add up", hint="limits are for what is summed or counted, and for levels")
    if period in ("per_minute", "per_hour") and (meter.kind == "counter" or meter.aggregation == "unique"):
        raise BadInput(f"{meter.name} has no limit {period}", hint="use per_day, per_month or absolute")


def _check_enforced(meter: MeterRow) -> None:
    if meter.kind == "counter" or (meter.kind == "event" and meter.aggregation not in ("sum", "count")):
        raise BadInput(f"{meter.name} cannot be reserved", hint="use quota check, then track what was used")


class _Refusal(Exception):
    """Carries a refusal out of the job, so that the customer that it may have made goes too: nothing is recorded."""

    def __init__(self, decision: Decision) -> None:
        super().__init__("refused")
        self.decision = decision


def _clock_span(period: str, now: int, zone: str) -> tuple[int, int]:
    """The minute or the local hour of an instant."""
    if period == "per_minute":
        start = now // MINUTE * MINUTE
        return start, start + MINUTE
    start = hour_start(zone, now)
    return start, start + HOUR


def _ends(period: str, now: int, zone: str, month_end: int) -> int:
    """When a limit of a customer that is not there yet begins anew."""
    if period in ("per_month", "per_period"):
        return month_end
    if period == "per_day":
        return day_start(zone, local_day(zone, now) + 1)
    if period == "absolute":
        return 0
    return _clock_span(period, now, zone)[1]


def _amount(value: int | None, meter: MeterRow) -> int | Decimal | None:
    return None if value is None else unit_amount(value, meter.scale)


def _shown(meter: MeterRow, amount: int, decision: Decision, warning: str | None) -> QuotaDecision:
    shown = unit_amount(amount, meter.scale)
    limit, used = _amount(decision.limit, meter), unit_amount(decision.used, meter.scale)
    resets_at = _time(decision.resets_at) if decision.resets_at else None
    if decision.limit is None:
        reason = f"{meter.name} is unlimited"
    elif decision.allowed:
        reason = f"{used} of {limit} {meter.unit} used {decision.period}"
    else:
        until = f" until {resets_at}" if resets_at else ""
        reason = f"{shown} more would exceed {limit} {meter.unit} {decision.period}: {used} are used{until}"
    return QuotaDecision(
        allowed=decision.allowed,
        resource=meter.name,
        amount=shown,
        period=decision.period,
        limit=limit,
        used=used,
        remaining=_amount(decision.remaining, meter),
        resets_at=resets_at,
        warning=warning,
        reason=reason,
    )
