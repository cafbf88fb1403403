"""Discount codes: made, looked at, and put on invoices."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from nbilling.engine.core import Core
from nbilling.model.clock import format_time, parse_time
from nbilling.model.errors import BadInput, Conflict, NotFound
from nbilling.model.money import format_decimal, parse_amount, parse_decimal
from nbilling.model.text import choice, plain, whole
from nbilling.rules.discounts import Discount, DiscountUse, refusal, still_runs
from nbilling.store import discounts, plans, usage

if TYPE_CHECKING:
    import sqlite3

    from nbilling.store.invoices import InvoiceRow

DURATIONS = ("once", "forever")


class Discounts:
    """Codes by which customers pay less."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def create(
        self,
        code: str,
        *,
        percent: object = None,
        amount: object = None,
        currency: str = "USD",
        periods: int | str = "once",
        starts: str | None = None,
        expires: str | None = None,
        max_uses: int | str | None = None,
        max_uses_per_customer: int | str | None = None,
        plans: tuple[str, ...] = (),
        meters: tuple[str, ...] = (),
        stackable: bool = True,
        first_time_only: bool = False,
    ) -> dict[str, Any]:
        """A new code: ``percent`` off, or an ``amount`` in currency units off. The same code again is a Conflict.

        ``periods``: ``once``, ``forever`` or on how many invoices of a customer it counts. ``starts`` and ``expires``
        (RFC 3339) bound when it can be taken.
        """
        if (percent is None) == (amount is None):
            raise BadInput("a discount is a percentage or an amount", hint="give one of the two")
        discount = Discount(
            code=_code(code),
            kind="percent" if amount is None else "amount",
            value=_percent(percent) if amount is None else _amount(amount, currency),
            currency="" if amount is None else currency,
            periods=_periods(periods),
            starts_at=parse_time(starts, "starts") if starts else None,
            expires_at=parse_time(expires, "expires") if expires else None,
            max_uses=whole(max_uses, "max uses", minimum=1) if max_uses is not None else None,
            max_uses_per_customer=(
                whole(max_uses_per_customer, "max uses per customer", minimum=1)
                if max_uses_per_customer is not None
                else None
            ),
            plans=frozenset(plans),
            meters=frozenset(meters),
            stackable=stackable,
            first_time_only=first_time_only,
        )

        def job(db: sqlite3.Connection) -> dict[str, Any]:
            now = self._core.now(db)
            self._check_names(db, discount)
            text = definition_text(discount)
            if not discounts.insert(db, discount.code, text, now):
                raise Conflict(f"there is a discount {discount.code} already", hint="choose another code")
            self._core.audit(db, now, "discount.create", discount.code, json.loads(text))
            return _shown(discount, 0)

        return self._core.write(job)

    @staticmethod
    def _check_names(db: sqlite3.Connection, discount: Discount) -> None:
        for name in sorted(discount.plans):
            if plans.any_owner(db, name) is None:
                raise NotFound(f"there is no plan {name!r:.60}", hint="nbilling plan list shows them")
        known = {meter.name for meter in usage.meters(db)}
        for name in sorted(discount.meters - known):
            raise NotFound(f"there is no meter {name!r:.60}", hint="nbilling meter list shows them")

    def list(self) -> list[dict[str, Any]]:
        """Every code with what it gives and how often it was taken."""
        return [_shown(read_definition(row.definition), uses) for row, uses in discounts.listing(self._core.read())]

    def put_on(self, db: sqlite3.Connection, invoice: InvoiceRow, code: str, plan: str, now: int) -> None:
        """Puts a code on a draft, inside a job; NotFound or Conflict where it cannot be taken."""
        row = discounts.find(db, _code(code))
        if row is None:
            raise NotFound(f"there is no discount {code!r:.60}", hint="nbilling discount list shows them")
        discount = read_definition(row.definition)
        used, used_by_customer = discounts.uses(db, row.id, invoice.customer)
        there = [read_definition(found.definition) for found in discounts.on_invoice(db, invoice.id)]
        use = DiscountUse(
            now, invoice.currency, plan, used, used_by_customer, discounts.paid_before(db, invoice.customer), there
        )
        refused = refusal(discount, use)
        if refused is not None:
            raise Conflict(refused.message, hint=refused.hint)
        discounts.redeem(db, invoice.customer, row.id, invoice.id, now)
        discounts.put_on_invoice(db, invoice.id, row.id, row.code, row.definition)

    @staticmethod
    def put_percentage_on(db: sqlite3.Connection, invoice: InvoiceRow, percent: object) -> None:
        """Puts a percentage given by hand on a draft, inside a job."""
        value = _percent(percent)
        there = discounts.on_invoice(db, invoice.id)
        if any(not read_definition(found.definition).stackable for found in there):
            raise Conflict("a discount on this invoice cannot be combined", hint="use one discount alone")
        discount = Discount(code=f"#{len(there) + 1}", kind="percent", value=value)
        discounts.put_on_invoice(db, invoice.id, 0, f"{format_decimal(value)} %", definition_text(discount))

    @staticmethod
    def carry_on(db: sqlite3.Connection, invoice: InvoiceRow) -> None:
        """Puts the codes that the customer took earlier and that still run on a new draft."""
        for row, counted in discounts.taken(db, invoice.customer):
            if still_runs(read_definition(row.definition), counted):
                discounts.put_on_invoice(db, invoice.id, row.id, row.code, row.definition)


def definition_text(discount: Discount) -> str:
    """A discount as JSON: text and whole numbers only."""
    return json.dumps(
        {
            "code": discount.code,
            "kind": discount.kind,
            "value": format_decimal(discount.value),
            "currency": discount.currency,
            "meters": sorted(discount.meters),
            "plans": sorted(discount.plans),
            "line_kinds": sorted(discount.line_kinds),
            "stackable": discount.stackable,
            "periods": discount.periods,
            "starts_at": discount.starts_at,
            "expires_at": discount.expires_at,
            "max_uses": discount.max_uses,
            "max_uses_per_customer": discount.max_uses_per_customer,
            "first_time_only": discount.first_time_only,
        }
    )


def read_definition(text: str) -> Discount:
    """The discount that :func:`definition_text` wrote."""
    return Discount(**json.loads(text))


def _code(code: object) -> str:
    return plain(code, "discount code", limit=64).upper()


def _percent(value: object) -> Decimal:
    return parse_decimal(value, places=6, minimum=0, maximum=100, what="percentage")


def _amount(value: object, currency: str) -> Decimal:
    minor = parse_amount(value, currency)
    if minor <= 0:
        raise BadInput(f"amount {value!s:.60} takes nothing off", hint="give an amount above 0")
    return Decimal(minor)


def _periods(value: int | str) -> int | None:
    if value in DURATIONS:
        return 1 if value == "once" else None
    if isinstance(value, str) and not value.isdigit():
        choice(value, "periods", (*DURATIONS, "a number"))
    return whole(value, "periods", minimum=1)


def _shown(discount: Discount, uses: int) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(definition_text(discount))
    for name in ("starts_at", "expires_at"):
        result[name] = format_time(result[name]) if result[name] is not None else None
    return result | {"uses": uses}
