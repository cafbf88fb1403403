"""Taxes: rates that the seller sets up, and the rule's answer for an invoice in the ledger's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbilling.engine.core import Core
from nbilling.model.errors import Conflict, NotFound
from nbilling.model.money import format_amount, format_decimal, parse_decimal
from nbilling.model.text import country as valid_country
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.model.text import plain, whole
from nbilling.rules.tax import Buyer, Seller, TaxDecision, TaxRate, default_rate, invoice_totals, tax_totals, taxes_for
from nbilling.store import taxes
from nbilling.store.invoices import LineRow, TaxRow
from nbilling.store.taxes import RateRow

if TYPE_CHECKING:
    import sqlite3


class Taxes:
    """Decides by the seller's settings and rates, and by the customer's place, VAT number and exemption."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def add(
        self,
        label: str,
        percent: object,
        *,
        country: str = "",
        region: str = "",
        category: str = "",
        inclusive: bool = False,
        replaces: bool = False,
        note: str = "",
        customer_id: str | None = None,
    ) -> dict[str, Any]:
        """A rate for a country, a region of it (on top of the country's, or ``replaces`` it), or one customer.

        ``category`` is of UNCL 5305: S (standard) above 0, else Z (zero rated) unless said. ``inclusive``: prices
        contain it. A rate of that label for that place is a Conflict.
        """
        plain(label, "label", limit=60)
        rate = TaxRate(
            label,
            parse_decimal(percent, places=6, minimum=0, maximum=100, what="rate"),
            category=category or ("S" if parse_decimal(percent, places=6, what="rate") else "Z"),
            country=valid_country(country),
            region=plain(region, "region", limit=60, empty=True),
            inclusive=inclusive,
            replaces=replaces,
            note=plain(note, "note", limit=500, empty=True),
        )

        def job(db: sqlite3.Connection) -> dict[str, Any]:
            now = self._core.now(db)
            owner = self._core.known_customer(db, valid_customer_id(customer_id)).id if customer_id else 0
            row = RateRow(
                0, rate.label, format_decimal(rate.percent), rate.category, rate.country, rate.region,
                int(rate.inclusive), int(rate.replaces), rate.note, owner, now,
            )  # fmt: skip
            number = taxes.insert(db, row)
            if number is None:
                raise Conflict(f"there is a rate {label!r:.60} for that place already", hint="remove it first")
            shown = _shown(row._replace(id=number), customer_id or "")
            self._core.audit(db, now, "tax.add", label, shown)
            return shown

        return self._core.write(job)

    def remove(self, number: int | str) -> None:
        """Takes a rate out of force, by its number in :meth:`list`. Issued invoices keep what they say."""
        wanted = whole(number, "number", minimum=1)

        def job(db: sqlite3.Connection) -> None:
            if not taxes.remove(db, wanted):
                raise NotFound(f"there is no tax rate {wanted}", hint="nbilling tax list shows them")
            self._core.audit(db, self._core.now(db), "tax.remove", str(wanted), {})

        self._core.write(job)

    def decide(self, db: sqlite3.Connection, customer: int, profile: Mapping[str, Any]) -> TaxDecision:
        """The rates of a customer's invoice, and why."""
        config = self._core.config
        found = taxes.rates(db, customer)
        rates = [_rate(row) for row in found if not row.customer]
        if config.tax_rate is not None:
            rates.append(default_rate(config.tax_rate, label=config.tax_label))
        buyer = Buyer(
            profile.get("country", ""),
            profile.get("region", ""),
            profile.get("vat_number", ""),
            exempt=bool(profile.get("tax_exempt")),
            exempt_reason=profile.get("tax_exempt", ""),
            rates=tuple(_rate(row) for row in found if row.customer),
        )
        return taxes_for(rates, Seller(config.company_country, config.company_vat_number), buyer)

    def of_lines(
        self, db: sqlite3.Connection, customer: int, profile: Mapping[str, Any], lines: Sequence[LineRow]
    ) -> list[TaxRow]:
        """One row a rate. Where no rate is set there is none: an invoice does not speak of a tax nobody set up."""
        decision = self.decide(db, customer, profile)
        if decision.reason == "no_rate_set":
            return []
        totals = tax_totals((line.amount_minor - line.discount_minor, decision.rates) for line in lines)
        return [
            TaxRow(
                total.rate.label,
                format_decimal(total.rate.percent),
                total.rate.category,
                decision.reason,
                total.taxable_minor,
                total.tax_minor,
                int(total.rate.inclusive),
                total.rate.note or decision.note,
            )
            for total in totals
        ]

    def quote(
        self, db: sqlite3.Connection, customer: int, profile: Mapping[str, Any], amount_minor: int, currency: str
    ) -> dict[str, Any]:
        """``{tax_rate, tax_amount, taxable_amount, currency, reason}`` of an amount before tax."""
        decision = self.decide(db, customer, profile)
        lines = [(amount_minor, decision.rates)]
        totals = invoice_totals(lines, tax_totals(lines))
        rate = sum((rate.percent for rate in decision.rates), start=0 * decision.rates[0].percent)
        return {
            "tax_rate": format_decimal(rate),
            "tax_amount": format_amount(totals.tax_minor, currency),
            "tax_amount_minor": totals.tax_minor,
            "taxable_amount": format_amount(totals.net_minor, currency),
            "taxable_amount_minor": totals.net_minor,
            "currency": currency,
            "reason": decision.reason,
            "note": decision.note,
        }

    def list(self) -> list[dict[str, Any]]:
        """Every rate in force, with its number."""
        return [_shown(row, customer) for row, customer in taxes.listing(self._core.read())]


def _rate(row: RateRow) -> TaxRate:
    return TaxRate(
        row.label,
        row.percent,
        category=row.category,
        country=row.country,
        region=row.region,
        inclusive=bool(row.inclusive),
        replaces=bool(row.replaces),
        note=row.note,
    )


def _shown(row: RateRow, customer: str) -> dict[str, Any]:
    return {
        "number": row.id,
        "label": row.label,
        "percent": row.percent,
        "category": row.category,
        "country": row.country,
        "region": row.region,
        "inclusive": bool(row.inclusive),
        "replaces": bool(row.replaces),
        "note": row.note,
        "customer_id": customer or None,
    }
