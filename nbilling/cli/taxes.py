"""Commands about tax rates."""

from __future__ import annotations

import click

from nbilling.cli.context import billing, format_option
from nbilling.cli.output import show


@click.group()
def tax() -> None:
    """Tax rates by country, region or customer. BILLING_TAX_RATE is the default."""


@tax.command()
@click.argument("label")
@click.argument("percent")
@click.option("--country", default="", help="Two capitals, ISO 3166. Default: wherever no other rate applies.")
@click.option("--region", default="", help="Of that country; comes on top of the country's rate.")
@click.option("--replaces", is_flag=True, help="A region's rate stands in place of the country's.")
@click.option("--category", default="", help="UNCL 5305: S, Z, E, O … Default: S, or Z for 0.")
@click.option("--inclusive", is_flag=True, help="Prices contain it.")
@click.option("--note", default="", help="Printed on invoices with this rate.")
@click.option("--customer", help="For this customer alone.")
@format_option
@click.pass_context
def add(
    ctx: click.Context,
    /,
    label: str,
    percent: str,
    country: str,
    region: str,
    replaces: bool,
    category: str,
    inclusive: bool,
    note: str,
    customer: str | None,
    format: str | None,
) -> None:
    """Set up a rate.

    \b
    Example:
      nbilling tax add "MwSt." 19 --country DE
      nbilling tax add QST 9.975 --country CA --region QC
    """
    with billing(ctx) as ledger:
        made = ledger.taxes.add(
            label,
            percent,
            country=country,
            region=region,
            category=category,
            inclusive=inclusive,
            replaces=replaces,
            note=note,
            customer_id=customer,
        )
    show(made, format)


@tax.command("list")
@format_option
@click.pass_context
def list_rates(ctx: click.Context, format: str | None) -> None:
    """Every rate in force.

    \b
    Example:
      nbilling tax list
    """
    with billing(ctx) as ledger:
        rows = ledger.taxes.list()
    columns = ("number", "label", "percent", "category", "country", "region", "inclusive", "customer_id")
    show(rows, format, columns=columns)


@tax.command()
@click.argument("number")
@click.pass_context
def remove(ctx: click.Context, number: str) -> None:
    """Take a rate out of force. Issued invoices keep what they say.

    \b
    Example:
      nbilling tax remove 1
    """
    with billing(ctx) as ledger:
        ledger.taxes.remove(number)
