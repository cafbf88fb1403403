"""The catalogue file: plans as text, checked field by field, compared with what is there, and written back.

Pure: TOML comes in as plain tables and goes out as text. A limit's amount is in its meter's unit; a price is a price
model of ``rules.price_models`` with the name of its priced unit and what the limit includes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import attrs

from nbilling.model.errors import BadInput
from nbilling.model.money import currency, format_amount, parse_amount, shown
from nbilling.model.periods import INTERVALS
from nbilling.model.text import choice, identifier, plain, whole
from nbilling.rules.price_models import Percentage, PriceModel, model_from_dict, model_to_dict
from nbilling.rules.quota import MODES, PERIODS, UNLIMITED

PRORATIONS = ("day", "none")
TIMINGS = ("arrears", "advance")
_FIELDS = (
    "name", "price", "currency", "interval", "interval_count", "anchor_day", "trial_days", "proration", "fee",
    "per_seat", "customer", "features", "limits", "prices",
)  # fmt: skip
_LIMIT_FIELDS = ("meter", "period", "amount", "mode", "threshold", "per_seat")


@attrs.frozen(kw_only=True)
class LimitSpec:
    """A limit as the file says it. ``amount`` None is unlimited, else text or a number in the meter's unit."""

    meter: str
    period: str
    amount: int | Decimal | None
    mode: str = "hard"
    threshold: int | None = None
    per_seat: bool = False


@attrs.frozen(kw_only=True)
class PriceSpec:
    """A price as the file says it. ``allowance``: ``limit`` (what the limit includes is free) or ``none``."""

    meter: str
    model: PriceModel
    unit: str
    allowance: str = "limit"


@attrs.frozen(kw_only=True)
class PlanSpec:
    """A plan as the file says it. ``customer`` empty: for everybody. Limits and prices in order of their meters."""

    id: str
    name: str
    price_minor: int
    currency: str
    interval: str = "month"
    interval_count: int = 1
    anchor_day: int = 0
    trial_days: int = 0
    proration: str = "day"
    fee: str = "arrears"
    per_seat: bool = False
    customer: str = ""
    features: Mapping[str, bool | int | Decimal | str] = attrs.field(factory=dict, hash=False)
    limits: tuple[LimitSpec, ...] = ()
    prices: tuple[PriceSpec, ...] = ()


# --- Reading --------------------------------------------------------------------------------------------------------


def read(table: Mapping[str, Any], default_currency: str) -> list[PlanSpec]:
    """The plans of a file that was parsed with ``Decimal`` for floats. BadInput names the place of what is wrong."""
    unknown = next((key for key in table if key != "plans"), None)
    if unknown is not None:
        raise BadInput(f"the catalogue has no part {shown(unknown)}", hint="it holds [plans.<id>] tables")
    return [
        _plan(identifier(key, "plan"), _table(found, f"plans.{key}"), default_currency)
        for key, found in _table(table.get("plans", {}), "plans").items()
    ]


def _plan(plan_id: str, found: Mapping[str, Any], default_currency: str) -> PlanSpec:
    where = f"plans.{plan_id}"
    _only(found, _FIELDS, where)
    if plan_id == "name":
        raise BadInput("no plan can be called name", hint="rows of a comparison have a name; call it otherwise")
    code = currency(_text(found, "currency", where, default_currency)).code
    minor = parse_amount(_need(found, "price", where), code)
    if minor < 0:
        raise BadInput(f"{where}.price is below zero", hint="a plan costs 0 or more")
    plan = PlanSpec(
        id=plan_id,
        name=plain(found.get("name", plan_id), f"{where}.name", limit=100),
        price_minor=minor,
        currency=code,
        interval=choice(found.get("interval", "month"), f"{where}.interval", INTERVALS),
        interval_count=whole(found.get("interval_count", 1), f"{where}.interval_count", minimum=1, maximum=1200),
        anchor_day=whole(found.get("anchor_day", 0), f"{where}.anchor_day", maximum=31),
        trial_days=whole(found.get("trial_days", 0), f"{where}.trial_days", maximum=3660),
        proration=choice(found.get("proration", "day"), f"{where}.proration", PRORATIONS),
        fee=choice(found.get("fee", "arrears"), f"{where}.fee", TIMINGS),
        per_seat=_flag(found, "per_seat", where),
        customer=_text(found, "customer", where, ""),
        features=_features(found.get("features", {}), f"{where}.features"),
        limits=_limits(found.get("limits", []), f"{where}.limits"),
        prices=_prices(found.get("prices", {}), f"{where}.prices"),
    )
    if plan.anchor_day and plan.interval in ("day", "week"):
        raise BadInput(f"{where}.anchor_day is for intervals of months", hint="leave it out")
    if plan_id == "free" and (plan.price_minor or (plan.interval, plan.interval_count) != ("month", 1)):
        raise BadInput("the plan free is by the calendar month and costs nothing", hint="give another plan its price")
    return plan


def _features(found: object, where: str) -> dict[str, bool | int | Decimal | str]:
    features: dict[str, bool | int | Decimal | str] = {}
    for key, value in _table(found, where).items():
        plain(key, where, limit=100)
        if isinstance(value, str):
            plain(value, f"{where}.{key}", limit=500, empty=True)
        elif not isinstance(value, (bool, int, Decimal)) or (isinstance(value, Decimal) and not value.is_finite()):
            raise BadInput(f"{where}.{key} is no boolean, number or text", hint='write true, 5 or "email"')
        features[key] = value
    return dict(sorted(features.items()))


def _limits(found: object, where: str) -> tuple[LimitSpec, ...]:
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise BadInput(f"{where} is not a list", hint='write {meter = "api_requests", period = "per_month", …}')
    limits: dict[tuple[str, str], LimitSpec] = {}
    for place, given in enumerate(found):
        at = f"{where}[{place}]"
        entry = _table(given, at)
        _only(entry, _LIMIT_FIELDS, at)
        amount = _need(entry, "amount", at)
        if isinstance(amount, bool) or not (amount == UNLIMITED or isinstance(amount, (int, Decimal))):
            raise BadInput(f"{at}.amount is not a number", hint='write a number, or "unlimited"')
        threshold = entry.get("threshold")
        limit = LimitSpec(
            meter=identifier(_need(entry, "meter", at), f"{at}.meter"),
            period=choice(_need(entry, "period", at), f"{at}.period", PERIODS),
            amount=None if amount == UNLIMITED else amount,
            mode=choice(entry.get("mode", "hard"), f"{at}.mode", MODES),
            threshold=None if threshold is None else whole(threshold, f"{at}.threshold", minimum=1, maximum=100),
            per_seat=_flag(entry, "per_seat", at),
        )
        if (limit.meter, limit.period) in limits:
            raise BadInput(f"{at} is there twice", hint=f"{limit.meter} has one limit {limit.period}")
        limits[limit.meter, limit.period] = limit
    return tuple(limits[key] for key in sorted(limits))


def _prices(found: object, where: str) -> tuple[PriceSpec, ...]:
    prices = []
    for meter, given in sorted(_table(found, where).items()):
        at = f"{where}.{meter}"
        entry = dict(_table(given, at))
        unit, allowance = entry.pop("unit", None), entry.pop("allowance", "limit")
        model = model_from_dict(entry, at)
        if isinstance(model, Percentage) and model.needs_transactions:
            raise BadInput(
                f"{at} needs each transaction, and usage is summed up", hint="leave out what is for each one"
            )
        prices.append(
            PriceSpec(
                meter=identifier(meter, f"{where}: meter"),
                model=model,
                unit=plain(unit if unit is not None else "unit", f"{at}.unit", limit=40),
                allowance=choice(allowance, f"{at}.allowance", ("limit", "none")),
            )
        )
    return tuple(prices)


def _table(found: object, where: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise BadInput(f"{where} is not a table", hint=f"write [{where}]")
    return found


def _only(found: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in found:
        if key not in known:
            raise BadInput(f"{where} has no field {shown(key)}", hint=f"its fields are {', '.join(known)}")


def _need(found: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in found:
        raise BadInput(f"{where}.{key} is missing", hint="add it")
    return found[key]


def _text(found: Mapping[str, Any], key: str, where: str, default: str) -> str:
    return plain(found.get(key, default), f"{where}.{key}", empty=True)


def _flag(found: Mapping[str, Any], key: str, where: str) -> bool:
    value = found.get(key, False)
    if not isinstance(value, bool):
        raise BadInput(f"{where}.{key} {shown(value)} is neither true nor false", hint="write true or false")
    return value


# --- Comparing ------------------------------------------------------------------------------------------------------


def differences(old: PlanSpec | None, new: PlanSpec) -> list[tuple[str, str, str]]:
    """``(field, before, after)`` of what a plan would change; before is empty where there is no such plan yet."""
    after = dict(_flat(new))
    before = dict(_flat(old)) if old is not None else {}
    return [
        (field, before.get(field, ""), after.get(field, ""))
        for field in [*after, *(field for field in before if field not in after)]
        if before.get(field, "") != after.get(field, "")
    ]


def _flat(plan: PlanSpec) -> Iterator[tuple[str, str]]:
    for key, value in _simple(plan):
        yield key, str(value)
    for feature, entitled in plan.features.items():
        yield f"features.{feature}", _value(entitled)
    for limit in plan.limits:
        yield f"limits.{limit.meter}.{limit.period}", _inline(_limit_fields(limit))
    for price in plan.prices:
        yield f"prices.{price.meter}", _inline(_price_fields(price))


def _simple(plan: PlanSpec) -> Iterator[tuple[str, str | int | bool]]:
    """The fields that differ from their default, and those that have none."""
    yield "name", plan.name
    yield "price", format_amount(plan.price_minor, plan.currency)
    yield "currency", plan.currency
    yield "interval", plan.interval
    for key in ("interval_count", "anchor_day", "trial_days", "proration", "fee", "per_seat", "customer"):
        value = getattr(plan, key)
        if value != getattr(attrs.fields(PlanSpec), key).default:
            yield key, value


# --- Writing --------------------------------------------------------------------------------------------------------


def write(plans: Sequence[PlanSpec]) -> str:
    """The catalogue as TOML that :func:`read` reads back to the same plans."""
    blocks = []
    for plan in plans:
        lines = [f"[plans.{plan.id}]", *(f"{key} = {_value(value)}" for key, value in _simple(plan))]
        if plan.limits:
            lines += ["limits = [", *(f"  {_inline(_limit_fields(limit))}," for limit in plan.limits), "]"]
        if plan.features:
            lines += ["", f"[plans.{plan.id}.features]"]
            lines += [f"{_key(key)} = {_value(value)}" for key, value in plan.features.items()]
        for price in plan.prices:
            lines += ["", f"[plans.{plan.id}.prices.{price.meter}]"]
            lines += [f"{key} = {_value(value)}" for key, value in _price_fields(price).items()]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _limit_fields(limit: LimitSpec) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "meter": limit.meter,
        "period": limit.period,
        "amount": UNLIMITED if limit.amount is None else limit.amount,
    }
    if limit.mode != "hard":
        fields["mode"] = limit.mode
    if limit.threshold is not None:
        fields["threshold"] = limit.threshold
    if limit.per_seat:
        fields["per_seat"] = True
    return fields


def _price_fields(price: PriceSpec) -> dict[str, Any]:
    return {**model_to_dict(price.model), "unit": price.unit, "allowance": price.allowance}


def _inline(fields: Mapping[str, Any]) -> str:
    """A table on one line. What is None, such as the bound of the last tier, is left out."""
    given = [f"{_key(key)} = {_value(value)}" for key, value in fields.items() if value is not None]
    return "{ " + ", ".join(given) + " }"


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "a").replace("-", "a").isalnum() else _value(key)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return format(value, "f") if isinstance(value, Decimal) else str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Mapping):
        return _inline(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    raise TypeError(type(value).__name__)
