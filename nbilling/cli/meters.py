"""Commands about meters."""

from __future__ import annotations

import click

from nbilling.cli.context import billing, format_option
from nbilling.cli.output import show


@click.group()
def meter() -> None:
    """Meters: what is measured, and in which unit."""


@meter.command("list")
@format_option
@click.pass_context
def list_meters(ctx: click.Context, format: str | None) -> None:
    """All meters.

    \b
    Example:
      nbilling meter list
    """
    with billing(ctx) as ledger:
        show(ledger.usage.meters(), format)


@meter.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(["event", "gauge", "counter"]), default="event", show_default=True)
@click.option(
    "--aggregation",
    type=click.Choice(["sum", "count", "max", "last", "unique", "time_weighted"]),
    help="Default: sum of events, time_weighted level of gauges.",
)
@click.option("--unit", default="units", show_default=True, help="What one is called: tokens, bytes, seconds.")
@click.option("--scale", default="0", show_default=True, help="How many decimals an amount may have.")
@click.option("--dimension", default="", help="What the dimension of its events means, such as model or region.")
@format_option
@click.pass_context
def create(
    ctx: click.Context,
    name: str,
    kind: str,
    aggregation: str | None,
    unit: str,
    scale: str,
    dimension: str,
    format: str | None,
) -> None:
    """Add a meter of your own. The same meter again: nothing.

    \b
    Example:
      nbilling meter create tokens --unit tokens --dimension model
    """
    with billing(ctx) as ledger:
        made = ledger.usage.create_meter(
            name, kind=kind, aggregation=aggregation, unit=unit, scale=scale, dimension=dimension
        )
    show(made, format)
