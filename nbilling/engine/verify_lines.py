"""Verifies the lines of finalised invoices: each is rated again from its stored usage, plan and share of the period."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from nbilling.engine.prices import price_model
from nbilling.engine.verify_context import Context, span
from nbilling.engine.verify_plans import PlanBook
from nbilling.rules.invoices import Line, Metered, Part, charges
from nbilling.store import quota
from nbilling.store import verify_billing as billing_store
from nbilling.store.invoices import InvoiceRow, LineRow
from nbilling.store.subscriptions import PeriodRow, SubscriptionRow


class Span(NamedTuple):
    """A part of a period: with which plan, for how many seats (0: it is not sold by the seat)."""

    start_day: int
    end_day: int
    plan: int
    seats: int


Standing = Mapping[str, tuple[int, int]]
"""By invoice id, the numbers in the audit trail between which a finalised invoice stood."""


class LinesCheck:
    """Invoice by invoice."""

    def __init__(self, context: Context, book: PlanBook, standing: Standing) -> None:
        self._context = context
        self._db = context.db
        self._book = book
        self._standing = standing
        self.unsure = 0
        """Lines whose allowance rests on a limit of the customer's own, which may have changed since."""

    def check(self, key: str, invoice: InvoiceRow, held: SubscriptionRow, lines: list[LineRow]) -> None:
        """All lines of a finalised invoice; those written by hand are compared elsewhere."""
        own = {(meter, period) for meter, period, *_ in quota.own(self._db, invoice.customer)}
        limited = {meter for meter, _ in own}
        for position, line in enumerate(lines, 1):
            name = f"{key}, line {position}"
            with self._context.unit("invoice_lines", name):
                if line.kind != "manual":
                    self._line(name, invoice, held, line, line.meter in limited)

    # --- The parts of the period ----------------------------------------------------------------------------------

    def spans(self, key: str, invoice: InvoiceRow, held: SubscriptionRow, lines: list[LineRow]) -> list[Span]:
        """The parts that the invoice bills, each by the plan that was in force when it was finalised.

        A finding where the fees are not of these parts. Of a change in the very instant of finalising it is not
        known which came first.
        """
        fees = [span_of(line) for line in lines if line.kind == "fee"]
        phases = billing_store.phases_of(self._db, held.id)
        known: list[Span] = []
        for last in (invoice.finalized_at, invoice.finalized_at - 1):
            there = [phase for phase in phases if phase.changed_at <= last]
            known = self._parts(there, invoice.start_day, invoice.end_day)
            free = invoice.start_day < held.trial_end_day
            if fees == [p for p in known if len(known) == 1 or (self._book.plan(p.plan).price_minor and not free)]:
                break
        else:
            self._context.wrong("invoice_lines", f"{key}, fees", self._shown(known), self._shown(fees))
        for position, line in enumerate(lines, 1):
            if line.kind == "usage" and span_of(line) not in known:
                name = f"{key}, line {position}, part"
                self._context.wrong("invoice_lines", name, self._shown(known), self._shown([span_of(line)]))
        return known

    def _parts(self, phases: list[billing_store.Phase], start: int, end: int) -> list[Span]:
        """A plan without proration rates the whole that it ends."""
        # Of several phases on one day the last one holds.
        last_of_day = {phase.start_day: phase for phase in sorted(phases, key=lambda phase: phase.start_day)}
        days = [*last_of_day, end]
        parts = [
            Span(max(day, start), min(until, end), phase.plan, self._seats(phase))
            for (day, phase), until in zip(last_of_day.items(), days[1:], strict=True)
            if max(day, start) < min(until, end)
        ]
        if parts and self._book.plan(parts[-1].plan).proration == "none":
            return [parts[-1]._replace(start_day=start, end_day=end)]
        return parts

    def _seats(self, phase: billing_store.Phase) -> int:
        return phase.quantity if self._book.plan(phase.plan).per_seat else 0

    def _shown(self, parts: list[Span]) -> str:
        return "; ".join(self._shown_part(part) for part in parts) or "none"

    def _shown_part(self, part: Span) -> str:
        seats = f" for {part.seats} seats" if part.seats else ""
        return f"{self._book.plan(part.plan).plan_id} {span(part.start_day, part.end_day)}{seats}"

    # --- Rating ---------------------------------------------------------------------------------------------------

    def _line(self, name: str, invoice: InvoiceRow, held: SubscriptionRow, line: LineRow, own_limit: bool) -> None:
        context = self._context
        if line.kind == "late_usage":
            period = billing_store.period(self._db, line.period)
            if period is None or period[0].customer != invoice.customer or period[0].end_day > invoice.start_day:
                context.wrong("invoice_lines", f"{name}, period", "an earlier one of the customer", line.period)
                return
            held = billing_store.subscription(self._db, period[0].subscription) or held
            known = self.late_parts(invoice, held, period[0])
            if span_of(line) not in [*known, *map(span_of, self._billed_before(invoice, line))]:
                context.wrong("invoice_lines", f"{name}, part", self._shown(known), self._shown([span_of(line)]))
        elif line.kind == "fee_change":
            self._fee_change(name, invoice, line)
            return
        elif not context.equal("invoice_lines", f"{name}, period", invoice.period, line.period):
            return
        if not own_limit and line.kind != "fee":
            self._allowance(name, invoice, held, line)
        self.unsure += int(own_limit and line.kind != "fee")
        context.equal(
            "invoice_lines", f"{name}, currency of its plan", invoice.currency, self._book.plan(line.plan).currency
        )
        if line.kind == "fee":
            beside = line.meter, Fraction(line.usage or 0), line.included
            context.equal("invoice_lines", f"{name}, meter, usage and included of a fee", (0, Fraction(0), ""), beside)
        rated = self._rated(name, invoice, held, line)
        if rated is None:
            return
        quantity, amount = rated.quantity, rated.amount_minor
        if line.kind == "late_usage":
            before = self._billed_before(invoice, line)
            quantity -= sum((Fraction(earlier.quantity) for earlier in before), Fraction(0))
            amount -= sum(earlier.amount_minor for earlier in before)
        context.equal("invoice_lines", f"{name}, amount_minor", amount, line.amount_minor)
        context.equal("invoice_lines", f"{name}, quantity", quantity, Fraction(line.quantity))
        if Fraction(line.usage or 0) or line.kind != "late_usage":  # corrected to nothing: as it was billed first
            context.equal("invoice_lines", f"{name}, unit", rated.unit, line.unit)
            context.equal("invoice_lines", f"{name}, unit_price", _number(rated.unit_price), _number(line.unit_price))

    def _fee_change(self, name: str, invoice: InvoiceRow, line: LineRow) -> None:
        """The fee of a part as it was when the invoice was finalised, less what its invoices said before: nothing is
        left of a part that there is no more, or of a subscription that was given up on its first day."""
        fee: Line | None = None
        found = billing_store.period(self._db, line.period)
        held = billing_store.subscription(self._db, found[0].subscription) if found else None
        if found is not None and held is not None and line.period != invoice.period:
            parts = self.late_parts(invoice, held, found[0])
            kept = [part for part in parts if (part.start_day, part.plan, part.seats) == _fee_key(line)]
            if kept:
                fee = self._charged(invoice, held, line._replace(end_day=kept[0].end_day), ())[0]
                if len(parts) > 1 and not _number(fee.unit_price):
                    fee = None  # of several parts a free one has no fee
        before = [
            earlier
            for earlier in self._stood_before(invoice, billing_store.fees_of(self._db, line.period))
            if _fee_key(earlier) == _fee_key(line)
        ]
        quantity = sum((Fraction(earlier.quantity) for earlier in before), Fraction(0))
        amount = sum(earlier.amount_minor for earlier in before)
        equal = self._context.equal
        equal("invoice_lines", f"{name}, amount_minor", (fee.amount_minor if fee else 0) - amount, line.amount_minor)
        right = (fee.quantity if fee else Fraction(0)) - quantity
        equal("invoice_lines", f"{name}, quantity", right, Fraction(line.quantity))
        if fee is not None:
            equal("invoice_lines", f"{name}, end_day", fee.end_day, line.end_day)
        alike: list[Line | LineRow] = [fee, *before] if fee is not None else [*before]
        for like in alike[:1]:
            equal("invoice_lines", f"{name}, unit", like.unit, line.unit)
            equal("invoice_lines", f"{name}, unit_price", _number(like.unit_price), _number(line.unit_price))

    def late_parts(self, invoice: InvoiceRow, held: SubscriptionRow, period: PeriodRow) -> list[Span]:
        """The parts of an earlier period as they were when an invoice was finalised."""
        phases = [
            phase for phase in billing_store.phases_of(self._db, held.id) if phase.changed_at <= invoice.finalized_at
        ]
        return self._parts(phases, period.start_day, period.end_day)

    def _share(self, invoice: InvoiceRow, held: SubscriptionRow, line: LineRow) -> Fraction:
        if self._book.plan(line.plan).proration == "none":
            return Fraction(1)
        start, end = self._whole(invoice, held, line)
        return Fraction(line.end_day - line.start_day, end - start)

    def _whole(self, invoice: InvoiceRow, held: SubscriptionRow, line: LineRow) -> tuple[int, int]:
        """The whole period that a line is a share of. A trial is a period of its own; a change of plan may give it
        another end after its invoice, so unless the subscription ended in it it was as long as the invoice says."""
        trial = held.trial_end_day > held.start_day == invoice.start_day and line.period == invoice.period
        if trial and invoice.end_day != held.end_day:
            return invoice.start_day, invoice.end_day
        return self._book.full_span(held, line.start_day)

    def _rated(self, name: str, invoice: InvoiceRow, held: SubscriptionRow, line: LineRow) -> Line | None:
        """The line as the rules make it from what it says of usage and allowance; None after a finding."""
        share = self._share(invoice, held, line)
        metered: tuple[Metered, ...] = ()
        if line.kind != "fee":
            meter = self._context.meters[line.meter]
            price = self._book.prices(line.plan).get(line.meter)
            limit = Fraction(line.included) / share if line.included else None
            if limit is not None and limit.denominator != 1:
                self._context.wrong("invoice_lines", f"{name}, included", "a whole limit's share", line.included)
                return None
            metered = (
                Metered(
                    meter=meter.id,
                    name=meter.name,
                    unit=meter.unit,
                    scale=meter.scale,
                    gauge=meter.kind == "gauge",
                    usage=Fraction(line.usage),
                    limit=None if limit is None else int(limit),
                    model=price_model(price),
                    priced_unit=price.unit if price else meter.unit,
                    allowance=price.allowance if price else "limit",
                ),
            )
        charged = self._charged(invoice, held, line, metered)
        lines = [rated for rated in charged if (rated.kind == "fee") == (line.kind == "fee")]
        if lines:
            return lines[0]
        if line.kind == "late_usage":  # corrected to nothing
            return _nothing(line)
        self._context.wrong("invoice_lines", f"{name}, usage", "usage", line.usage)
        return None

    def _charged(
        self, invoice: InvoiceRow, held: SubscriptionRow, line: LineRow, metered: tuple[Metered, ...]
    ) -> list[Line]:
        """The fee of a line's part, and what was metered in it, as the rules charge them."""
        plan = self._book.plan(line.plan)
        part = Part(
            plan=plan.id,
            plan_name=plan.name,
            price_minor=0 if line.start_day < held.trial_end_day else plan.price_minor,
            interval=plan.interval_unit,
            start_day=line.start_day,
            end_day=line.end_day,
            share=self._share(invoice, held, line),
            metered=metered,
            seats=line.seats,
        )
        return charges([part], invoice.currency)

    def _allowance(self, name: str, invoice: InvoiceRow, held: SubscriptionRow, line: LineRow) -> None:
        """Without limits of its own a customer has its plan's."""
        price = self._book.prices(line.plan).get(line.meter)
        limit = self._book.included(line.plan, held, line.seats).get(line.meter)
        right = None if limit is None else limit * self._share(invoice, held, line)
        if price is not None and price.allowance == "none":
            right = Fraction(0)
        found = Fraction(line.included) if line.included else None
        self._context.equal("invoice_lines", f"{name}, included", right, found)

    def _billed_before(self, invoice: InvoiceRow, line: LineRow) -> list[LineRow]:
        """What was said before of the same part of the period."""
        found = billing_store.lines_of_series(self._db, line.period, line.meter, line.plan, line.start_day)
        return self._stood_before(invoice, found)

    def _stood_before(self, invoice: InvoiceRow, found: list[tuple[str, LineRow]]) -> list[LineRow]:
        """The lines of invoices that stood when this one was finalised."""
        now = self._standing.get(invoice.invoice_id, (0, 0))[0]
        return [
            earlier
            for invoice_id, earlier in found
            if invoice_id in self._standing and self._standing[invoice_id][0] < now < self._standing[invoice_id][1]
        ]


def _fee_key(line: LineRow) -> tuple[int, int, int]:
    return line.start_day, line.plan, line.seats


def span_of(line: LineRow) -> Span:
    """The part that a line is of."""
    return Span(line.start_day, line.end_day, line.plan, line.seats)


def _nothing(line: LineRow) -> Line:
    return Line(
        kind=line.kind, description="", detail="", meter=line.meter, meter_name="", plan=line.plan,
        start_day=line.start_day, end_day=line.end_day, usage=Fraction(0), included=None, quantity=Fraction(0),
        unit="", unit_price="", amount_minor=0,
    )  # fmt: skip


def _number(text: str) -> Decimal | None:
    return Decimal(text) if text else None
