"""Commands about credit notes and balances."""

from __future__ import annotations

import click

from nbilling.cli.context import billing, confirm, format_option
from nbilling.cli.output import show
from nbilling.model.errors import BadInput


@click.group()
def credit() -> None:
    """Credit notes: what was wrong on an issued invoice is taken back."""


@credit.command()
@click.argument("invoice_id", metavar="INVOICE")
@click.option("--amount", help="Before tax, in currency units. Default: all that is left.")
@click.option("--line", "lines", multiple=True, metavar="N=AMOUNT", help="Of one line, before tax; repeatable.")
@click.option("--reason", default="", help="Printed on the credit note.")
@click.option("--refund", default="", metavar="METHOD", help="What was paid is given back. Default: to the balance.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@format_option
@click.pass_context
def create(
    ctx: click.Context,
    /,
    invoice_id: str,
    amount: str | None,
    lines: tuple[str, ...],
    reason: str,
    refund: str,
    yes: bool,
    format: str | None,
) -> None:
    """Credit an invoice, whole or in part; tax follows.

    \b
    Example:
      nbilling credit create INV-2026-000001 --amount 10.00 --reason "outage on 3 May" --yes
    """
    with billing(ctx) as ledger:
        found = ledger.invoices.show(invoice_id)
        confirm(f"Credit invoice {found['number'] or invoice_id}?", yes)
        note = ledger.credits.credit(invoice_id, amount=amount, lines=_lines(lines), reason=reason, refund=refund)
    show(note, format)


def _lines(pairs: tuple[str, ...]) -> dict[int, object]:
    lines: dict[int, object] = {}
    for pair in pairs:
        place, sign, amount = pair.partition("=")
        if not (sign and place.isascii() and place.isdigit() and len(place) < 9):
            raise BadInput(f"--line {pair!r:.60} is not a line and an amount", hint="write it as 2=10.00")
        if int(place) in lines:
            raise BadInput(f"line {int(place)} is there twice", hint="give the whole amount of a line at once")
        lines[int(place)] = amount
    return lines


@credit.command("show")
@click.argument("credit_note", metavar="CREDIT_NOTE")
@format_option
@click.pass_context
def show_credit(ctx: click.Context, credit_note: str, format: str | None) -> None:
    """One credit note, by id or number.

    \b
    Example:
      nbilling credit show CN-2026-000001
    """
    with billing(ctx) as ledger:
        show(ledger.credits.show(credit_note), format)


@credit.command("list")
@click.argument("invoice_id", metavar="INVOICE")
@format_option
@click.pass_context
def list_credits(ctx: click.Context, invoice_id: str, format: str | None) -> None:
    """The credit notes of an invoice.

    \b
    Example:
      nbilling credit list INV-2026-000001
    """
    with billing(ctx) as ledger:
        rows = ledger.credits.list(invoice_id)
    show(rows, format, columns=("number", "issued_at", "net", "tax", "total", "to_balance", "refund", "reason"))


@credit.command()
@click.argument("customer")
@format_option
@click.pass_context
def balance(ctx: click.Context, customer: str, format: str | None) -> None:
    """What a customer has to its credit; the next invoice uses it.

    \b
    Example:
      nbilling credit balance acme
    """
    with billing(ctx) as ledger:
        show(ledger.credits.balance(customer), format)
