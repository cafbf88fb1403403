"""The billing run: each ended period once, whenever and however often it is started; and explanations."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import nbilling

from .conftest import HandClock


def fill(billing: nbilling.Billing, customers: int) -> None:
    for number in range(customers):
        name = f"c{number:03}"
        if number % 2:
            billing.plans.upgrade(name, "pro")
        billing.usage.track(name, "api_requests", 10_000 + number)


def test_a_run_bills_every_ended_period_once(billing: nbilling.Billing, clock: HandClock) -> None:
    clock.to("2026-01-01T00:00:00Z")
    fill(billing, 6)
    assert billing.invoices.run()["invoices"] == 0
    clock.to("2026-02-01T00:00:00Z")
    report = billing.invoices.run()
    assert (report["invoices"], report["totals"]) == (6, {"USD": "87.00"})
    assert [made["number"] for made in report["made"]] == [f"INV-2026-{n:06}" for n in range(1, 7)]
    assert billing.invoices.run()["invoices"] == 0


def test_a_subscription_nobody_touched_for_months_is_billed_for_each_of_them(
    billing: nbilling.Billing, clock: HandClock
) -> None:
    clock.to("2026-01-31T00:00:00Z")
    billing.plans.upgrade("acme", "pro")
    clock.to("2026-06-30T12:00:00Z")
    report = billing.invoices.run("acme")
    shown = [billing.invoices.show(made["id"]) for made in report["made"]]
    assert [invoice["period_start"][:10] for invoice in shown if invoice["total"] == "29.00"] == [
        "2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31",
    ]  # fmt: skip


def test_a_dry_run_says_the_same_and_writes_nothing(
    billing: nbilling.Billing, clock: HandClock, tmp_path: Path
) -> None:
    clock.to("2026-01-01T00:00:00Z")
    fill(billing, 4)
    clock.to("2026-02-01T00:00:00Z")
    dry = billing.invoices.run(dry_run=True)
    with sqlite3.connect(tmp_path / "billing.db") as db:
        assert db.execute("SELECT count(*) FROM invoice_records").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM number_series").fetchone() == (0,)
    real = billing.invoices.run()
    assert dry["totals"] == real["totals"]
    assert [made["number"] for made in dry["made"]] == [made["number"] for made in real["made"]]


RUN = """
import sys
import nbilling
with nbilling.open(sys.argv[1], clock=nbilling.FixedClock(int(sys.argv[2])), config=nbilling.Config({})) as billing:
    print(billing.invoices.run()["invoices"], flush=True)
"""


def test_runs_at_once_and_killed_runs_leave_one_invoice_a_period_and_numbers_without_gaps(
    billing: nbilling.Billing, clock: HandClock, tmp_path: Path
) -> None:
    clock.to("2026-01-01T00:00:00Z")
    fill(billing, 240)
    clock.to("2026-02-01T00:00:00Z")
    command = [sys.executable, "-c", RUN, str(tmp_path / "billing.db"), str(clock.at)]
    killed = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:  # kill it in the middle: after its first commit
        with sqlite3.connect(tmp_path / "billing.db") as db:
            if db.execute("SELECT count(*) FROM invoice_records").fetchone()[0] or killed.poll() is not None:
                break
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    made = [int(run.communicate()[0]) for run in runs]
    assert all(run.returncode == 0 for run in runs)
    with sqlite3.connect(tmp_path / "billing.db") as db:
        count = db.execute("SELECT count(*), count(DISTINCT customer) FROM invoice_records").fetchone()
        numbers = [row[0] for row in db.execute("SELECT number FROM invoice_records ORDER BY number")]
    assert count == (240, 240)
    assert numbers == [f"INV-2026-{n:06}" for n in range(1, 241)]
    assert sum(made) <= 240


def test_every_line_is_explained_down_to_its_events(billing: nbilling.Billing, clock: HandClock) -> None:
    clock.to("2026-01-01T00:00:00Z")
    billing.plans.upgrade("acme", "pro")
    billing.usage.track("acme", "api_requests", 12_345, id="first")
    billing.usage.track_storage("acme", 11 * 2**30, id="level")
    clock.to("2026-01-20T00:00:00Z")
    billing.usage.track("acme", "api_requests", 1, id="second")
    clock.to("2026-02-01T00:00:00Z")
    invoice = billing.invoices.generate("acme", "monthly", on="2026-01-15")
    billing.invoices.finalize(invoice)
    billing.usage.track("acme", "api_requests", 7, id="late", at="2026-01-05T00:00:00Z")
    found = {line["description"]: line for line in billing.invoices.explain(invoice, ids=10)["lines"]}
    requests = found["API requests"]
    assert requests["events"] == {
        "count": 2, "first": "2026-01-01T00:00:00Z", "last": "2026-01-20T00:00:00Z", "ids": ["first", "second"],
    }  # fmt: skip
    assert "2346 × 0.0001 = 0.2346" in requests["steps"]
    assert found["Storage"]["events"]["ids"] == ["level"]
    assert found["Storage"]["amount"] == "0.10"


def test_an_explanation_comes_to_the_amount_of_its_line_in_trials_and_in_periods_that_were_cut_short(
    billing: nbilling.Billing, clock: HandClock
) -> None:
    clock.to("2026-01-01T00:00:00Z")
    tiers = [{"up_to": "3100", "unit_price": "0.01"}, {"unit_price": "0.001"}]
    price = {"model": "graduated", "tiers": tiers, "allowance": "none"}
    billing.catalogue.apply(
        {"plans": {"tiered": {"price": "10.00", "trial_days": 5, "prices": {"api_requests": price}}}}
    )
    billing.plans.upgrade("acme", "tiered")
    clock.to("2026-01-06T00:00:00Z")
    billing.usage.track("acme", "api_requests", 2000)
    clock.to("2026-01-16T00:00:00Z")
    billing.plans.downgrade("acme", "free", "now")
    clock.to("2026-02-01T00:00:00Z")
    for made in billing.invoices.run()["made"]:
        for line in billing.invoices.explain(made["id"])["lines"]:
            steps = [Decimal(step.rpartition(" = ")[2].replace(",", "")) for step in line["steps"] if " = " in step]
            assert abs(sum(steps) - Decimal(line["amount"])) <= Decimal("0.005"), line


def test_a_subscription_made_at_stripe_is_billed_there_and_not_here_too(tmp_path: Path) -> None:
    clock = HandClock("2026-01-10T12:00:00Z")
    nbilling.init(tmp_path / "billing.db")
    with nbilling.open(tmp_path / "billing.db", clock=clock, config=nbilling.Config({})) as billing:
        billing.stripe.init("sk_test_PLACEHOLDER")
        customer = billing.stripe.customer_create("jane@acme.example", "Jane")
        billing.stripe.payment_method_attach(customer, "pm_card_visa")
        billing.stripe.subscription_create(customer, "price_pro_monthly")
        billing.plans.upgrade("other", "pro")
        clock.to("2026-03-15T00:00:00Z")
        made = billing.invoices.run()["made"]
    assert [invoice["customer_id"] for invoice in made] == ["other", "other"]
