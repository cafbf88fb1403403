"""Tax rates by place and customer, several at once, inclusive prices, exemption. Amounts by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

import nbilling
from nbilling.model.errors import BadInput, Conflict, NotFound

Open = Callable[..., nbilling.Billing]


def pro(billing: nbilling.Billing, customer: str, **profile: str) -> dict[str, Any]:
    billing.customers.create(customer, **profile)
    billing.plans.upgrade(customer, "pro")
    return billing.invoices.show(billing.invoices.generate(customer, "monthly"))


def test_a_country_has_its_rate_and_a_region_comes_on_top_or_instead(open_billing: Open) -> None:
    billing = open_billing(BILLING_TAX_RATE="7")
    billing.taxes.add("GST", 5, country="CA")
    billing.taxes.add("QST", "9.975", country="CA", region="QC")
    billing.taxes.add("HST", 13, country="CA", region="ON", replaces=True)
    quebec = pro(billing, "a", country="CA", region="QC")
    assert [(tax["label"], tax["tax"]) for tax in quebec["taxes"]] == [("GST", "1.45"), ("QST", "2.89")]
    assert quebec["total"] == "33.34"
    assert [tax["tax"] for tax in pro(billing, "b", country="CA", region="ON")["taxes"]] == ["3.77"]
    assert [tax["tax"] for tax in pro(billing, "c", country="US")["taxes"]] == ["2.03"]  # the default, 7 %


def test_inclusive_prices_stay_what_they_are(open_billing: Open) -> None:
    billing = open_billing()
    billing.taxes.add("VAT", 20, country="GB", inclusive=True)
    invoice = pro(billing, "a", country="GB")
    assert (invoice["subtotal"], invoice["tax"], invoice["total"]) == ("24.17", "4.83", "29.00")
    assert billing.invoices.finalize(invoice["id"])["total"] == "29.00"
    note = billing.credits.credit(invoice["id"])
    assert (note["net"], note["tax"], note["total"]) == ("24.17", "4.83", "29.00")


def test_an_invoice_with_inclusive_prices_adds_up_from_its_lines(open_billing: Open) -> None:
    billing = open_billing()
    billing.taxes.add("USt", 19, country="DE", inclusive=True)
    invoice = pro(billing, "acme", country="DE", locale="de_DE")["id"]
    billing.invoices.apply_discount_percentage(invoice, "2.5")  # 29.00 less 0.73: 28.27, which contains 4.51
    text = re.sub(r"<[^>]*>|\s", " ", billing.invoices.html(invoice))
    assert re.search(r"Zwischensumme\s+29,00\s+Rabatt 2,5 %\s+-0,73", text)
    assert "28,27" in text


def test_a_customer_may_have_rates_of_its_own_or_none(open_billing: Open) -> None:
    billing = open_billing(BILLING_TAX_RATE="19")
    billing.customers.create("special")
    billing.taxes.add("Reduced", "7", customer_id="special")
    assert billing.invoices.calculate_tax("special", "100")["tax_amount"] == "7.00"
    billing.customers.create("charity", tax_exempt="certificate 4711")
    quote = billing.invoices.calculate_tax("charity", "100")
    assert (quote["tax_amount"], quote["reason"], quote["note"]) == ("0.00", "exempt", "certificate 4711")
    assert billing.invoices.calculate_tax("anybody", "100")["tax_amount"] == "19.00"


def test_no_rate_anywhere_is_said_and_not_printed(open_billing: Open) -> None:
    billing = open_billing()
    assert billing.invoices.calculate_tax("acme", "125.50")["reason"] == "no_rate_set"
    assert pro(billing, "acme")["taxes"] == []


def test_rates_are_listed_and_taken_out_of_force(open_billing: Open) -> None:
    billing = open_billing()
    added = billing.taxes.add("VAT", 20, country="GB")
    with pytest.raises(Conflict):
        billing.taxes.add("VAT", 21, country="GB")
    (rate,) = billing.taxes.list()
    assert rate == added
    invoice = pro(billing, "a", country="GB")
    billing.invoices.finalize(invoice["id"])
    billing.taxes.remove(rate["number"])
    assert billing.taxes.list() == []
    assert billing.invoices.show(invoice["id"])["tax"] == "5.80"
    with pytest.raises(NotFound):
        billing.taxes.remove(rate["number"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"percent": "-1"}, {"percent": "101"}, {"percent": "NaN"}, {"percent": 5.5}, {"country": "Germany"},
        {"category": "Q"}, {"label": ""}, {"percent": 0, "category": "S"},
    ],
)  # fmt: skip
def test_a_rate_that_is_none_is_refused(open_billing: Open, wrong: dict[str, Any]) -> None:
    billing = open_billing()
    values = {"label": "VAT", "percent": "20"} | wrong
    with pytest.raises(BadInput):
        billing.taxes.add(values.pop("label"), values.pop("percent"), **values)
    assert billing.taxes.list() == []
