"""Commands about discount codes."""

from __future__ import annotations

import click

from nbilling.cli.context import billing, format_option
from nbilling.cli.output import show


@click.group()
def discount() -> None:
    """Discount codes."""


@discount.command()
@click.argument("code")
@click.option("--percent", help="Percent off, 0 to 100.")
@click.option("--amount", help="Amount off, in currency units.")
@click.option("--currency", default="USD", show_default=True, help="Of the amount.")
@click.option("--periods", default="once", show_default=True, help="once, forever, or on how many invoices.")
@click.option("--starts", help="From when on it can be taken, RFC 3339.")
@click.option("--expires", help="Up to when, exclusive.")
@click.option("--max-uses", help="How often in all.")
@click.option("--max-uses-per-customer", help="How often by one customer.")
@click.option("--plan", "plans", multiple=True, help="Only for this plan; repeatable.")
@click.option("--meter", "meters", multiple=True, help="Only on this meter's lines; repeatable.")
@click.option("--stackable/--not-stackable", default=True, show_default=True, help="Together with others.")
@click.option("--first-time-only", is_flag=True, help="Only for customers who were never billed.")
@format_option
@click.pass_context
def create(
    ctx: click.Context,
    /,
    code: str,
    percent: str | None,
    amount: str | None,
    currency: str,
    periods: str,
    starts: str | None,
    expires: str | None,
    max_uses: str | None,
    max_uses_per_customer: str | None,
    plans: tuple[str, ...],
    meters: tuple[str, ...],
    stackable: bool,
    first_time_only: bool,
    format: str | None,
) -> None:
    """Make a code.

    \b
    Example:
      nbilling discount create WELCOME --percent 20 --first-time-only
    """
    with billing(ctx) as ledger:
        made = ledger.discounts.create(
            code,
            percent=percent,
            amount=amount,
            currency=currency,
            periods=periods,
            starts=starts,
            expires=expires,
            max_uses=max_uses,
            max_uses_per_customer=max_uses_per_customer,
            plans=plans,
            meters=meters,
            stackable=stackable,
            first_time_only=first_time_only,
        )
    show(made, format)


@discount.command("list")
@format_option
@click.pass_context
def list_discounts(ctx: click.Context, format: str | None) -> None:
    """All codes, and how often each was taken.

    \b
    Example:
      nbilling discount list
    """
    with billing(ctx) as ledger:
        rows = ledger.discounts.list()
    show(rows, format, columns=("code", "kind", "value", "currency", "periods", "expires_at", "uses"))
