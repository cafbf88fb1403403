"""Commands of the room ``usage`` that set alerts and check them."""

from __future__ import annotations

import click

from nbilling.cli.context import billing, format_option
from nbilling.cli.output import chosen_format, note, show

_COLUMNS = ("customer_id", "metric", "threshold", "usage", "percentage", "type", "delivery", "reason")


@click.command("alert-set")
@click.argument("customer")
@click.argument("metric")
@click.argument("threshold")
@click.argument("type")
@click.option("--percent", is_flag=True, help="THRESHOLD is whole percent of the fullest quota on METRIC.")
@click.pass_context
def alert_set(ctx: click.Context, customer: str, metric: str, threshold: str, type: str, percent: bool) -> None:
    """Alert when usage of the billing period reaches THRESHOLD: TYPE is email, webhook or log.

    METRIC is a meter, with THRESHOLD in its unit, or storage_gb and the like. The same METRIC and THRESHOLD again sets
    the TYPE of that alert; other thresholds are further alerts.

    \b
    Example:
      nbilling usage alert-set acme api_requests 10000 email
      nbilling usage alert-set acme api_requests 80 webhook --percent
    """
    with billing(ctx) as ledger:
        if percent:
            ledger.usage.alert_set_percentage(customer, metric, threshold, type)
        else:
            ledger.usage.alert_set(customer, metric, threshold, type)


@click.command("alert-check")
@click.argument("customer")
@format_option
@click.pass_context
def alert_check(ctx: click.Context, customer: str, format: str | None) -> None:
    """Fire each crossed alert, once a billing period, and print what fired now.

    What fires is in the outbox, and sent at once where that can be.

    \b
    Example:
      nbilling usage alert-check acme
    """
    with billing(ctx) as ledger:
        fired = ledger.usage.alert_check(customer)
    show(fired, chosen_format(format, "json"), columns=_COLUMNS)
    for one in fired:
        if one["delivery"] != "done":
            note(f"The alert on {one['metric']} waits in the outbox: {one['reason'] or one['delivery']}")


@click.command("alert-list")
@click.argument("customer")
@format_option
@click.pass_context
def alert_list(ctx: click.Context, customer: str, format: str | None) -> None:
    """Alerts of a customer, and when each fired in the present billing period.

    \b
    Example:
      nbilling usage alert-list acme
    """
    with billing(ctx) as ledger:
        show(ledger.usage.alert_list(customer), format)


@click.command("alert-remove")
@click.argument("customer")
@click.argument("metric")
@click.argument("threshold")
@click.option("--percent", is_flag=True, help="THRESHOLD is percent of a quota.")
@click.pass_context
def alert_remove(ctx: click.Context, customer: str, metric: str, threshold: str, percent: bool) -> None:
    """Take an alert out of use.

    \b
    Example:
      nbilling usage alert-remove acme api_requests 10000
    """
    with billing(ctx) as ledger:
        ledger.usage.alert_remove(customer, metric, threshold, percent=percent)
