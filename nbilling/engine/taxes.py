"""Taxes of an invoice: the rule's answer for a customer, in the ledger's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nbilling.engine.core import Core
from nbilling.model.money import format_amount, format_decimal
from nbilling.rules.tax import Buyer, Seller, TaxDecision, TaxRate, default_rate, invoice_totals, tax_totals, taxes_for
from nbilling.store.invoices import LineRow, TaxRow


class Taxes:
    """Decides by the seller's settings and the customer's place and VAT number."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def _rates(self) -> list[TaxRate]:
        config = self._core.config
        return [] if config.tax_rate is None else [default_rate(config.tax_rate, label=config.tax_label)]

    def _decide(self, profile: Mapping[str, Any]) -> TaxDecision:
        config = self._core.config
        seller = Seller(config.company_country, config.company_vat_number)
        buyer = Buyer(profile.get("country", ""), profile.get("region", ""), profile.get("vat_number", ""))
        return taxes_for(self._rates(), seller, buyer)

    def of_lines(self, profile: Mapping[str, Any], lines: Sequence[LineRow]) -> list[TaxRow]:
        """One row a rate. Where no rate is set there is none: an invoice does not speak of a tax nobody set up."""
        decision = self._decide(profile)
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
            )
            for total in totals
        ]

    def quote(self, profile: Mapping[str, Any], amount_minor: int, currency: str) -> dict[str, Any]:
        """``{tax_rate, tax_amount, taxable_amount, currency, reason}`` of an amount before tax."""
        decision = self._decide(profile)
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
