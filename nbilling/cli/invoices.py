"""Commands of the room ``invoice``."""

from __future__ import annotations

from typing import Any

import click

from nbilling.cli.context import bar, billing, confirm, format_option
from nbilling.cli.ledger import make
from nbilling.cli.output import chosen_format, note, show, write

_COLUMNS = ("id", "number", "customer_id", "status", "total", "currency", "period_start", "period_end")


@click.group()
def invoice() -> None:
    """Invoices: from usage to a paid document."""


@invoice.command()
@click.pass_context
def init(ctx: click.Context) -> None:
    """Create the ledger, or migrate it. Again: nothing.

    \b
    Example:
      nbilling invoice init
    """
    make(ctx)


@invoice.command()
@click.argument("customer")
@click.argument("period", default="monthly")
@click.option("--on", metavar="DATE", help="Bill the period that holds this date. Default: the present one.")
@click.pass_context
def generate(ctx: click.Context, customer: str, period: str, on: str | None) -> None:
    """Make the draft of a billing period, or bring it up to date, and print its id.

    \b
    Example:
      nbilling invoice generate acme monthly
    """
    with billing(ctx) as ledger:
        write(ledger.invoices.generate(customer, period, on=on))


@invoice.command("calculate-charges")
@click.argument("customer")
@format_option
@click.pass_context
def calculate_charges(ctx: click.Context, customer: str, format: str | None) -> None:
    """What the present period costs so far, before discounts and tax. Writes nothing.

    \b
    Example:
      nbilling invoice calculate-charges acme
    """
    with billing(ctx) as ledger:
        show(ledger.invoices.calculate_charges(customer), chosen_format(format, "json"))


@invoice.command("calculate-tax")
@click.argument("customer")
@click.argument("amount")
@format_option
@click.pass_context
def calculate_tax(ctx: click.Context, customer: str, amount: str, format: str | None) -> None:
    """The tax on an amount in currency units.

    \b
    Example:
      nbilling invoice calculate-tax acme 125.50
    """
    with billing(ctx) as ledger:
        show(ledger.invoices.calculate_tax(customer, amount), chosen_format(format, "json"))


@invoice.command("show")
@click.argument("invoice_id", metavar="INVOICE")
@format_option
@click.pass_context
def show_invoice(ctx: click.Context, invoice_id: str, format: str | None) -> None:
    """One invoice with its lines, taxes and payments, by id or number.

    \b
    Example:
      nbilling invoice show INV-2026-000001
    """
    with billing(ctx) as ledger:
        show(ledger.invoices.show(invoice_id), format)


@invoice.command("list")
@click.option("--customer", help="Of one customer.")
@click.option("--status", default="", help="draft, open, part_paid, paid, void or uncollectible.")
@click.option("--limit", default="50", show_default=True, help="How many.")
@click.option("--after", default="", help="The last id of the page before.")
@format_option
@click.pass_context
def list_invoices(
    ctx: click.Context, customer: str | None, status: str, limit: str, after: str, format: str | None
) -> None:
    """List invoices, newest first.

    \b
    Example:
      nbilling invoice list --status open
    """
    with billing(ctx) as ledger:
        rows = ledger.invoices.list(customer, status=status, limit=limit, after=after)
    show(rows, format, columns=_COLUMNS)


@invoice.command("get-history")
@click.argument("customer")
@click.argument("months", default="12")
@format_option
@click.pass_context
def get_history(ctx: click.Context, customer: str, months: str, format: str | None) -> None:
    """A customer's invoices of the last months, newest first.

    \b
    Example:
      nbilling invoice get-history acme 12
    """
    with billing(ctx) as ledger:
        rows = ledger.invoices.get_history(customer, months)
    show(rows, chosen_format(format, "json"), columns=_COLUMNS)


@invoice.command("create")
@click.argument("customer")
@click.pass_context
def create_invoice(ctx: click.Context, customer: str) -> None:
    """Make a one-off draft without lines and print its id.

    \b
    Example:
      nbilling invoice create acme
    """
    with billing(ctx) as ledger:
        write(ledger.invoices.create(customer))


@invoice.command("add-line")
@click.argument("invoice_id", metavar="INVOICE")
@click.argument("description")
@click.argument("unit_price")
@click.argument("quantity", default="1")
@click.pass_context
def add_line(ctx: click.Context, invoice_id: str, description: str, unit_price: str, quantity: str) -> None:
    """Write a line onto a draft. UNIT_PRICE is in currency units.

    \b
    Example:
      nbilling invoice add-line inv_01kc "Set-up" 150.00
    """
    with billing(ctx) as ledger:
        ledger.invoices.add_line(invoice_id, description, unit_price, quantity)


@invoice.command("apply-discount")
@click.argument("invoice_id", metavar="INVOICE")
@click.argument("code")
@click.pass_context
def apply_discount(ctx: click.Context, invoice_id: str, code: str) -> None:
    """Put a discount code on a draft.

    \b
    Example:
      nbilling invoice apply-discount inv_01kc SAVE20
    """
    with billing(ctx) as ledger:
        ledger.invoices.apply_discount(invoice_id, code)


@invoice.command("apply-discount-percentage")
@click.argument("invoice_id", metavar="INVOICE")
@click.argument("percentage")
@click.pass_context
def apply_discount_percentage(ctx: click.Context, invoice_id: str, percentage: str) -> None:
    """Take a percentage off a draft, of what is left after its other discounts.

    \b
    Example:
      nbilling invoice apply-discount-percentage inv_01kc 15
    """
    with billing(ctx) as ledger:
        ledger.invoices.apply_discount_percentage(invoice_id, percentage)


@invoice.command()
@click.argument("invoice_id", metavar="INVOICE")
@format_option
@click.pass_context
def finalize(ctx: click.Context, invoice_id: str, format: str | None) -> None:
    """Fix a draft and give it its number. Finalised already: nothing.

    \b
    Example:
      nbilling invoice finalize inv_01kc
    """
    with billing(ctx) as ledger:
        show(ledger.invoices.finalize(invoice_id), format)


@invoice.command()
@click.option("--customer", help="Only this customer.")
@click.option("--dry-run", is_flag=True, help="Do it, show it, and roll it back.")
@format_option
@click.pass_context
def run(ctx: click.Context, customer: str | None, dry_run: bool, format: str | None) -> None:
    """Bill every period that has ended: one finalised invoice each. Safe to run again, late, and twice at once.

    \b
    Example:
      nbilling invoice run --dry-run
    """
    with billing(ctx) as ledger, bar("billing") as progress:
        report = ledger.invoices.run(customer, dry_run=dry_run, progress=progress)
    if dry_run:
        note("dry run: nothing was written")
    show(report, format)


@invoice.command()
@click.argument("invoice_id", metavar="INVOICE")
@click.option("--ids", default="0", show_default=True, help="How many ids of events to name for each line.")
@format_option
@click.pass_context
def explain(ctx: click.Context, invoice_id: str, ids: str, format: str | None) -> None:
    """Where every cent comes from: tier by tier, rounding, included usage, and the events.

    \b
    Example:
      nbilling invoice explain INV-2026-000001
    """
    with billing(ctx) as ledger:
        found = ledger.invoices.explain(invoice_id, ids=ids)
    if chosen_format(format) == "table":
        _explained(found)
    else:
        show(found, format)


def _explained(found: dict[str, Any]) -> None:
    for line in found["lines"]:
        write(f"{line['line']}. {line['description']}  {line['period']}  {line['amount']} {found['currency']}")
        for step in line["steps"]:
            write(f"     {step}")
        if "events" in line:
            events = line["events"]
            write(f"     {events['count']:,} events, {events['first']} to {events['last']}")
            for event_id in events.get("ids", []):
                write(f"       {event_id}")
    write("")
    for step in found["arithmetic"]:
        write(step)


@invoice.command("email-send")
@click.argument("invoice_id", metavar="INVOICE")
@click.argument("customer")
@click.pass_context
def email_send(ctx: click.Context, invoice_id: str, customer: str) -> None:
    """Mail an invoice to its customer; a draft is finalised first. What cannot be sent now waits in the outbox.

    \b
    Example:
      nbilling invoice email-send INV-2026-000001 acme
    """
    with billing(ctx) as ledger:
        sent = ledger.invoices.email_send(invoice_id, customer)
    if sent["state"] != "done":
        note(f"queued: {sent['reason'] or 'it will be sent'}; nbilling outbox process tries again")


@invoice.command("mark-paid")
@click.argument("invoice_id", metavar="INVOICE")
@click.argument("method")
@click.pass_context
def mark_paid(ctx: click.Context, invoice_id: str, method: str) -> None:
    """Record the payment of what is open; a draft is finalised first. Paid already: nothing.

    \b
    Example:
      nbilling invoice mark-paid INV-2026-000001 "bank transfer"
    """
    with billing(ctx) as ledger:
        ledger.invoices.mark_paid(invoice_id, method)


@invoice.command("record-payment")
@click.argument("invoice_id", metavar="INVOICE")
@click.argument("amount")
@click.argument("method")
@click.pass_context
def record_payment(ctx: click.Context, invoice_id: str, amount: str, method: str) -> None:
    """Record a payment of a part of what is open. AMOUNT is in currency units.

    \b
    Example:
      nbilling invoice record-payment INV-2026-000001 10.00 "bank transfer"
    """
    with billing(ctx) as ledger:
        ledger.invoices.record_payment(invoice_id, amount, method)


@invoice.command()
@click.argument("invoice_id", metavar="INVOICE")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def void(ctx: click.Context, invoice_id: str, yes: bool) -> None:
    """Void a finalised invoice that nothing was paid on. Its number stays taken.

    \b
    Example:
      nbilling invoice void INV-2026-000001 --yes
    """
    with billing(ctx) as ledger:
        found = ledger.invoices.show(invoice_id)
        confirm(f"Void invoice {found['number'] or invoice_id}?", yes)
        ledger.invoices.void(invoice_id)


@invoice.command("generate-pdf")
@click.argument("invoice_id", metavar="INVOICE")
@click.argument("path", required=False)
@click.pass_context
def generate_pdf(ctx: click.Context, invoice_id: str, path: str | None) -> None:
    """Write the invoice as PDF, whole or not at all. Without PATH: beside you, under its number.

    \b
    Example:
      nbilling invoice generate-pdf INV-2026-000001 invoice.pdf
    """
    with billing(ctx) as ledger:
        written = ledger.invoices.generate_pdf(invoice_id, path)
    if path is None:
        note(f"wrote {written}")


@invoice.command()
@click.argument("invoice_id", metavar="INVOICE")
@click.pass_context
def html(ctx: click.Context, invoice_id: str) -> None:
    """Print the invoice as one HTML page.

    \b
    Example:
      nbilling invoice html INV-2026-000001 > invoice.html
    """
    with billing(ctx) as ledger:
        write(ledger.invoices.html(invoice_id))
