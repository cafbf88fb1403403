"""Invoices from usage to payment. Every amount here was computed by hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import nbilling
from nbilling.model.errors import BadInput, Conflict, NotFound

from .conftest import SELLER, HandClock

GIB = 2**30


def lines(invoice: dict[str, Any]) -> dict[str, tuple[Decimal | int, str]]:
    return {line["description"]: (line["quantity"], line["amount"]) for line in invoice["lines"]}


def test_a_pro_month_is_its_fee_and_the_usage_above_its_limits(billing: nbilling.Billing, clock: HandClock) -> None:
    clock.to("2026-01-01T00:00:00Z")
    billing.plans.upgrade("acme", "pro")
    billing.usage.track_storage("acme", 14 * GIB)
    billing.usage.track("acme", "api_requests", 28_021)
    billing.usage.track_bandwidth("acme", 17_540_769_234, "egress")
    clock.to("2026-02-01T00:00:00Z")
    invoice = billing.invoices.show(billing.invoices.generate("acme", "monthly", on="2026-01-15"))
    assert lines(invoice) == {
        "Pro plan": (1, "29.00"),
        "API requests": (18_021, "1.80"),  # 18,021 x 0.0001 = 1.8021
        "Storage": (4, "0.40"),  # 14 GB all month, 10 included
        "Bandwidth": (Decimal("6.336114"), "0.32"),  # 16.336114 GB less 10, x 0.05 = 0.3168
    }
    assert invoice["total"] == "31.52"


def test_the_free_plan_costs_nothing_and_still_shows_what_was_used(billing: nbilling.Billing) -> None:
    billing.usage.track("acme", "api_requests", 5000)
    invoice = billing.invoices.show(billing.invoices.generate("acme", "monthly"))
    assert lines(invoice) == {"Free plan": (1, "0.00"), "API requests": (0, "0.00")}
    assert billing.invoices.finalize(invoice["id"])["status"] == "paid"  # nothing is owed


def test_only_a_level_weighted_by_time_is_called_an_average(billing: nbilling.Billing, clock: HandClock) -> None:
    clock.to("2026-01-01T00:00:00Z")
    for aggregation in ("max", "last", "time_weighted"):
        billing.usage.create_meter(aggregation, kind="gauge", aggregation=aggregation, unit="jobs")
        billing.usage.track("acme", aggregation, 30, set=True)
    clock.to("2026-01-16T12:00:00Z")  # half of January
    for aggregation in ("max", "last", "time_weighted"):
        billing.usage.track("acme", aggregation, 10, set=True)
    clock.to("2026-02-01T00:00:00Z")
    invoice = billing.invoices.show(billing.invoices.generate("acme", "monthly", on="2026-01-15"))
    assert [line["detail"] for line in invoice["lines"][1:]] == [
        "30 jobs used, unlimited",
        "10 jobs used, unlimited",
        "20 jobs on average, unlimited",
    ]


def test_asking_again_returns_the_same_draft_brought_up_to_date(billing: nbilling.Billing) -> None:
    billing.plans.upgrade("acme", "pro")
    first = billing.invoices.generate("acme", "monthly")
    billing.usage.track("acme", "api_requests", 20_000)
    assert billing.invoices.generate("acme", "monthly") == first
    assert billing.invoices.show(first)["total"] == "30.00"  # 29 + 10,000 x 0.0001


def test_a_finalised_invoice_does_not_change_and_later_usage_is_on_the_next(
    billing: nbilling.Billing, clock: HandClock
) -> None:
    clock.to("2026-01-01T00:00:00Z")
    billing.plans.upgrade("acme", "pro")
    billing.usage.track("acme", "api_requests", 15_000)
    clock.to("2026-02-01T00:00:00Z")
    january = billing.invoices.generate("acme", "monthly", on="2026-01-15")
    billing.invoices.finalize(january)
    billing.usage.track("acme", "api_requests", 30_000, at="2026-01-31T23:59:59Z")
    billing.usage.track("acme", "api_requests", 1_000)
    assert billing.invoices.generate("acme", "monthly", on="2026-01-15") == january
    assert billing.invoices.show(january)["total"] == "29.50"
    february = billing.invoices.show(billing.invoices.generate("acme", "monthly"))
    assert lines(february) == {
        "Pro plan": (1, "29.00"),
        "API requests": (0, "0.00"),
        "API requests, 2026-01-01 to 2026-01-31, recorded later": (30_000, "3.00"),
    }
    fates = {event["amount"]: event["fate"] for event in billing.usage.list_events("acme")}
    assert fates == {15_000: "billed", 30_000: "pending", 1_000: "pending"}
    billing.invoices.finalize(february["id"])
    fates = {event["amount"]: event["fate"] for event in billing.usage.list_events("acme")}
    assert fates == {15_000: "billed", 30_000: "billed", 1_000: "included"}


def test_all_invoices_of_a_period_together_charge_what_one_would_have(
    billing: nbilling.Billing, clock: HandClock
) -> None:
    clock.to("2026-01-01T00:00:00Z")
    billing.plans.upgrade("acme", "pro")
    billing.usage.track("acme", "api_requests", 10_049)  # 0.0049: rounds to nothing
    clock.to("2026-02-01T00:00:00Z")
    billing.invoices.finalize(billing.invoices.generate("acme", "monthly", on="2026-01-15"))
    billing.usage.track("acme", "api_requests", 49, at="2026-01-31T00:00:00Z")  # 0.0098 in all: one cent
    late = [line for line in billing.invoices.calculate_charges("acme")["breakdown"] if "later" in line["description"]]
    assert [(line["quantity"], line["amount"]) for line in late] == [(49, "0.01")]


def test_a_correction_to_nothing_gives_back_what_was_charged(billing: nbilling.Billing, clock: HandClock) -> None:
    clock.to("2026-01-01T00:00:00Z")
    billing.plans.upgrade("acme", "pro")
    billing.usage.track("acme", "api_requests", 20_000)
    clock.to("2026-02-01T00:00:00Z")
    billing.invoices.finalize(billing.invoices.generate("acme", "monthly", on="2026-01-15"))
    billing.usage.track("acme", "api_requests", -20_000, at="2026-01-31T00:00:00Z")
    charges = billing.invoices.calculate_charges("acme")
    assert charges["total"] == "28.00"  # the new month's 29 less the 1.00 of January


def test_finalising_in_the_middle_leaves_the_rest_of_the_month_for_the_next_invoice(
    billing: nbilling.Billing, clock: HandClock
) -> None:
    clock.to("2026-01-01T00:00:00Z")
    billing.plans.upgrade("acme", "pro")
    billing.usage.track_storage("acme", 41 * GIB)
    clock.to("2026-01-16T12:00:00Z")  # half of 31 days
    invoice = billing.invoices.finalize(billing.invoices.generate("acme", "monthly"))
    # 41 GB for half the month are 20.5 GB-months, 10 are included: 10.5 x 0.10
    assert lines(invoice)["Storage"] == (Decimal("10.5"), "1.05")
    clock.to("2026-02-01T00:00:00Z")
    charges = billing.invoices.calculate_charges("acme")
    late = [line for line in charges["breakdown"] if "later" in line["description"]]
    assert [(line["quantity"], line["amount"]) for line in late] == [(Decimal("20.5"), "2.05")]


def test_an_upgrade_in_the_middle_prorates_fees_and_allowances_by_days(
    billing: nbilling.Billing, clock: HandClock
) -> None:
    clock.to("2026-01-01T00:00:00Z")
    billing.plans.upgrade("acme", "pro")
    billing.usage.track("acme", "api_requests", 10_000)
    clock.to("2026-01-21T09:00:00Z")
    billing.plans.upgrade("acme", "enterprise")
    billing.usage.track("acme", "api_requests", 10_000)
    clock.to("2026-02-01T00:00:00Z")
    invoice = billing.invoices.show(billing.invoices.generate("acme", "monthly", on="2026-01-15"))
    shown = [(line["description"], line["amount"], line["period_start"]) for line in invoice["lines"]]
    assert shown == [
        ("Pro plan", "18.71", "2026-01-01"),  # 29 x 20/31
        ("API requests", "0.35", "2026-01-01"),  # 10,000 less 6,451.6 included, x 0.0001
        ("Enterprise plan", "106.10", "2026-01-21"),  # 299 x 11/31; the day of change belongs to the new plan
        ("API requests", "0.00", "2026-01-21"),
    ]
    assert invoice["total"] == "125.16"


def test_the_first_paid_plan_is_charged_whole_and_the_free_days_before_are_a_period_of_their_own(
    billing: nbilling.Billing, clock: HandClock
) -> None:
    billing.usage.track("acme", "api_requests", 3)
    clock.to("2026-01-20T15:00:00Z")
    billing.plans.upgrade("acme", "pro")
    charges = billing.invoices.calculate_charges("acme")
    assert charges["total"] == "29.00"
    period = charges["breakdown"][0]["period_start"], charges["breakdown"][0]["period_end"]
    assert period == ("2026-01-20", "2026-02-20")
    free = billing.invoices.show(billing.invoices.generate("acme", "monthly", on="2026-01-10"))
    assert (free["period_end"], free["total"]) == ("2026-01-20T00:00:00Z", "0.00")
    assert lines(free)["API requests"] == (0, "0.00")


def test_periods_keep_the_anchor_over_short_months(billing: nbilling.Billing, clock: HandClock) -> None:
    clock.to("2028-01-31T08:00:00Z")
    billing.plans.upgrade("acme", "pro")
    starts = []
    for day in ("2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30", "2028-05-31"):
        clock.to(f"{day}T10:00:00Z")
        starts.append(billing.plans.get_current("acme")["subscription"]["current_period_start"][:10])
    assert starts == ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30", "2028-05-31"]


def test_a_downgrade_at_the_period_end_comes_into_force_even_when_nobody_looked_for_months(
    billing: nbilling.Billing, clock: HandClock
) -> None:
    billing.plans.upgrade("acme", "pro")
    billing.plans.downgrade("acme", "free", "at_period_end")
    clock.to("2026-07-04T00:00:00Z")
    current = billing.plans.get_current("acme")
    assert current["id"] == "free"
    assert current["subscription"]["current_period_start"] == "2026-07-01T00:00:00Z"
    between = billing.invoices.show(billing.invoices.generate("acme", "monthly", on="2026-02-20"))
    assert (between["period_start"], between["period_end"]) == ("2026-02-10T00:00:00Z", "2026-03-01T00:00:00Z")


def test_tax_is_on_the_sum_and_the_numbers_have_no_gaps(
    open_billing: Callable[..., nbilling.Billing], clock: HandClock
) -> None:
    billing = open_billing(**SELLER)
    for customer in ("a", "b", "c"):
        billing.plans.upgrade(customer, "pro")
    invoices = [billing.invoices.generate(customer, "monthly") for customer in ("a", "b", "c")]
    shown = [billing.invoices.finalize(invoice) for invoice in reversed(invoices)]
    assert [invoice["number"] for invoice in shown] == ["INV-2026-000001", "INV-2026-000002", "INV-2026-000003"]
    assert (shown[0]["subtotal"], shown[0]["tax"], shown[0]["total"]) == ("29.00", "5.51", "34.51")
    assert shown[0]["due_at"] == "2026-01-17T00:00:00Z"
    clock.to("2027-02-15T00:00:00Z")
    assert billing.invoices.finalize(billing.invoices.generate("a", "monthly"))["number"] == "INV-2027-000001"


def test_reverse_charge_within_the_eu_takes_no_tax_and_says_why(open_billing: Callable[..., nbilling.Billing]) -> None:
    billing = open_billing(**SELLER)
    billing.customers.create("globex", country="FR", vat_number="FR40303265045")
    billing.plans.upgrade("globex", "pro")
    invoice = billing.invoices.show(billing.invoices.generate("globex", "monthly"))
    assert (invoice["tax"], invoice["taxes"][0]["reason"]) == ("0.00", "reverse_charge")
    assert billing.invoices.calculate_tax("globex", "100")["reason"] == "reverse_charge"
    assert billing.invoices.calculate_tax("other", "125.50") | {"note": ""} == {
        "tax_rate": "19", "tax_amount": "23.85", "tax_amount_minor": 2385, "taxable_amount": "125.50",
        "taxable_amount_minor": 12550, "currency": "USD", "reason": "rated", "note": "",
    }  # fmt: skip


def test_paying_finalises_a_draft_once(billing: nbilling.Billing) -> None:
    billing.plans.upgrade("acme", "pro")
    draft = billing.invoices.generate("acme", "monthly")
    paid = billing.invoices.mark_paid(draft, "bank transfer")
    assert (paid["status"], paid["paid"], len(paid["payments"])) == ("paid", "29.00", 1)
    assert billing.invoices.mark_paid(draft, "cash")["payments"] == paid["payments"]
    with pytest.raises(Conflict):
        billing.invoices.void(draft)


def test_a_void_invoice_keeps_its_number_and_its_period_is_billed_anew(billing: nbilling.Billing) -> None:
    billing.plans.upgrade("acme", "pro")
    first = billing.invoices.generate("acme", "monthly")
    with pytest.raises(Conflict):
        billing.invoices.void(first)  # a draft
    billing.invoices.finalize(first)
    assert billing.invoices.void(first)["status"] == "void"
    assert billing.invoices.void(first)["number"] == "INV-2026-000001"
    with pytest.raises(Conflict):
        billing.invoices.mark_paid(first, "cash")
    second = billing.invoices.generate("acme", "monthly")
    assert second != first
    assert billing.invoices.finalize(second)["number"] == "INV-2026-000002"


def test_an_invoice_by_hand_does_not_make_its_period_billed(billing: nbilling.Billing, clock: HandClock) -> None:
    clock.to("2026-01-01T00:00:00Z")
    billing.plans.upgrade("acme", "pro")
    by_hand = billing.invoices.create("acme")
    billing.invoices.add_line(by_hand, "Set-up", "10.00")
    billing.invoices.finalize(by_hand)
    billing.usage.track("acme", "api_requests", 20_000)
    clock.to("2026-02-02T00:00:00Z")
    assert billing.invoices.finalize(billing.invoices.generate("acme", "monthly"))["total"] == "29.00"
    january = billing.invoices.generate("acme", "monthly", on="2026-01-15")
    assert billing.invoices.finalize(january)["total"] == "30.00"


def test_an_invoice_stands_while_a_later_one_charges_what_came_late_to_it(
    billing: nbilling.Billing, clock: HandClock
) -> None:
    clock.to("2026-01-01T00:00:00Z")
    billing.plans.upgrade("acme", "pro")
    billing.usage.track("acme", "api_requests", 20_000)
    clock.to("2026-02-01T00:00:00Z")
    january = billing.invoices.generate("acme", "monthly", on="2026-01-15")
    billing.invoices.finalize(january)
    billing.usage.track("acme", "api_requests", 10_000, at="2026-01-31T00:00:00Z")
    february = billing.invoices.generate("acme", "monthly")
    assert billing.invoices.finalize(february)["total"] == "30.00"
    with pytest.raises(Conflict, match="INV-2026-000002 charges what came late to INV-2026-000001"):
        billing.invoices.void(january)
    billing.invoices.void(february)
    billing.invoices.void(january)
    again = billing.invoices.generate("acme", "monthly", on="2026-01-15")
    assert billing.invoices.finalize(again)["total"] == "31.00"
    assert billing.invoices.finalize(billing.invoices.generate("acme", "monthly"))["total"] == "29.00"


def test_a_total_below_zero_is_the_customers_balance(billing: nbilling.Billing) -> None:
    refund = billing.invoices.create("acme")
    billing.invoices.add_line(refund, "Outage", "-10.00")
    assert billing.invoices.finalize(refund)["status"] == "paid"
    assert billing.credits.balance("acme")["balances"] == {"USD": "10.00"}
    billing.invoices.void(refund)
    assert billing.credits.balance("acme")["balances"] == {"USD": "0.00"}
    again = billing.invoices.create("acme")
    billing.invoices.add_line(again, "Outage", "-10.00")
    billing.invoices.finalize(again)
    billing.plans.upgrade("acme", "pro")
    paid = billing.invoices.finalize(billing.invoices.generate("acme", "monthly"))
    assert (paid["applied"], paid["open"]) == ("10.00", "19.00")
    with pytest.raises(Conflict, match="is spent"):
        billing.invoices.void(again)
    assert billing.verify().findings == ()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda i: i.generate("acme", "fortnightly"), BadInput),
        (lambda i: i.generate("acme", "yearly"), Conflict),
        (lambda i: i.generate("acme", "monthly", on="2026-13-01"), BadInput),
        (lambda i: i.generate("acme", "monthly", on="2027-01-01"), Conflict),
        (lambda i: i.generate("", "monthly"), BadInput),
        (lambda i: i.show("inv_nothing"), NotFound),
        (lambda i: i.finalize("inv_nothing"), NotFound),
        (lambda i: i.mark_paid("inv_nothing", "cash"), NotFound),
        (lambda i: i.mark_paid("inv_nothing", ""), BadInput),
        (lambda i: i.mark_paid("inv_nothing", "x" * 65), BadInput),
        (lambda i: i.mark_paid("inv_nothing", "a\nb"), BadInput),
        (lambda i: i.generate_pdf("inv_nothing", "x.pdf"), NotFound),
        (lambda i: i.calculate_tax("acme", "-1"), BadInput),
        (lambda i: i.calculate_tax("acme", "NaN"), BadInput),
        (lambda i: i.calculate_tax("acme", "1.005"), BadInput),
        (lambda i: i.get_history("acme", 0), BadInput),
        (lambda i: i.get_history("acme", "-1"), BadInput),
        (lambda i: i.get_history("acme", 10**9), BadInput),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(
    billing: nbilling.Billing, tmp_path: Path, call: Callable[[Any], object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        call(billing.invoices)
    with sqlite3.connect(tmp_path / "billing.db") as db:
        assert db.execute("SELECT count(*) FROM invoice_records").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM customers").fetchone() == (0,)


def test_reads_of_an_unknown_customer_answer_as_for_a_new_one(billing: nbilling.Billing, tmp_path: Path) -> None:
    assert billing.invoices.get_history("nobody", 12) == []
    charges = billing.invoices.calculate_charges("nobody")
    assert (charges["total"], [line["description"] for line in charges["breakdown"]]) == ("0.00", ["Free plan"])
    with sqlite3.connect(tmp_path / "billing.db") as db:
        assert db.execute("SELECT count(*) FROM customers").fetchone() == (0,)


def test_the_pdf_is_written_whole_and_shows_the_amounts(
    open_billing: Callable[..., nbilling.Billing], tmp_path: Path
) -> None:
    import pypdfium2

    billing = open_billing(**SELLER)
    billing.customers.create("acme", company="Acme Ltd", country="DE")
    billing.plans.upgrade("acme", "pro")
    billing.usage.track("acme", "api_requests", 28_021)
    invoice = billing.invoices.generate("acme", "monthly")
    billing.invoices.finalize(invoice)
    path = tmp_path / "invoice.pdf"
    path.write_text("something else")
    billing.invoices.generate_pdf(invoice, path)
    text = "\n".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(path))
    for expected in (
        "INV-2026-000001",
        "Acme Ltd",
        "Northwind Cloud GmbH",
        "36.65",
        "VAT",
        "DE136695976",
        "Thank you.",
    ):
        assert expected in text  # 29.00 + 1.80 = 30.80, tax 5.852: 36.65


def test_what_cannot_be_written_leaves_nothing(billing: nbilling.Billing, tmp_path: Path) -> None:
    invoice = billing.invoices.generate("acme", "monthly")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "missing" / "x.pdf", "/proc/x.pdf"):
        with pytest.raises(nbilling.StorageError):
            billing.invoices.generate_pdf(invoice, path)
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("billing.db")) == ["folder"]


def test_two_processes_that_ask_at_once_get_one_invoice(billing: nbilling.Billing, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    billing.plans.upgrade("acme", "pro")
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: billing.invoices.generate("acme", "monthly"), range(32)))
        assert len(found) == 1
        numbers = list(pool.map(lambda _: billing.invoices.finalize(next(iter(found)))["number"], range(32)))
    assert set(numbers) == {"INV-2026-000001"}


def test_a_customer_keeps_its_currency(billing: nbilling.Billing) -> None:
    billing.customers.create("acme", currency="EUR")
    with pytest.raises(Conflict, match="EUR"):
        billing.plans.upgrade("acme", "pro")
    assert billing.plans.get_current("acme")["id"] == "free"
