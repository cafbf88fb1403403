"""Commands of the room ``usage``."""

from __future__ import annotations

import sys

import click

from nbilling.cli.alerts import alert_check, alert_list, alert_remove, alert_set
from nbilling.cli.context import billing, format_option
from nbilling.cli.imports import import_log
from nbilling.cli.ledger import make
from nbilling.cli.output import chosen_format, show, table, write

id_option = click.option("--id", "event_id", help="The event's id: the same call again changes nothing.")
at_option = click.option("--at", help="When it happened, RFC 3339. Default: now.")


@click.group()
def usage() -> None:
    """Track usage, import logs, look at totals, export events."""


usage.add_command(import_log)
for command in (alert_set, alert_check, alert_list, alert_remove):
    usage.add_command(command)


@usage.command()
@click.pass_context
def init(ctx: click.Context) -> None:
    """Create the ledger, or migrate it. Again: nothing.

    \b
    Example:
      nbilling usage init
    """
    make(ctx)


@usage.command("track-api-request")
@click.argument("customer")
@click.argument("endpoint")
@click.argument("method")
@click.argument("status")
@click.argument("duration")
@id_option
@at_option
@click.pass_context
def track_api_request(
    ctx: click.Context,
    customer: str,
    endpoint: str,
    method: str,
    status: str,
    duration: str,
    event_id: str | None,
    at: str | None,
) -> None:
    """Record one API request. DURATION is in seconds.

    \b
    Example:
      nbilling usage track-api-request acme /graphql POST 200 0.125
    """
    with billing(ctx) as ledger:
        ledger.usage.track_api_request(customer, endpoint, method, status, duration, id=event_id, at=at)


@usage.command("track-storage")
@click.argument("customer")
@click.argument("bytes")
@id_option
@at_option
@click.pass_context
def track_storage(ctx: click.Context, customer: str, bytes: str, event_id: str | None, at: str | None) -> None:
    """Set how many bytes a customer stores.

    \b
    Example:
      nbilling usage track-storage acme 1073741824
    """
    with billing(ctx) as ledger:
        ledger.usage.track_storage(customer, bytes, id=event_id, at=at)


@usage.command("track-bandwidth")
@click.argument("customer")
@click.argument("bytes")
@click.argument("direction")
@id_option
@at_option
@click.pass_context
def track_bandwidth(
    ctx: click.Context, customer: str, bytes: str, direction: str, event_id: str | None, at: str | None
) -> None:
    """Add bytes that went out (egress) or came in (ingress).

    \b
    Example:
      nbilling usage track-bandwidth acme 524288000 egress
    """
    with billing(ctx) as ledger:
        ledger.usage.track_bandwidth(customer, bytes, direction, id=event_id, at=at)


@usage.command("track-compute")
@click.argument("customer")
@click.argument("resource_type")
@click.argument("seconds")
@id_option
@at_option
@click.pass_context
def track_compute(
    ctx: click.Context, customer: str, resource_type: str, seconds: str, event_id: str | None, at: str | None
) -> None:
    """Add seconds of compute, exact to the microsecond.

    \b
    Example:
      nbilling usage track-compute acme function_execution 3600
    """
    with billing(ctx) as ledger:
        ledger.usage.track_compute(customer, resource_type, seconds, id=event_id, at=at)


@usage.command()
@click.argument("customer")
@click.argument("meter")
@click.argument("amount", default="1")
@click.option("--dimension", default="", help="The value of the meter's dimension.")
@click.option("--set", "set_level", is_flag=True, help="On a gauge: the amount becomes the level.")
@click.option("--metadata", help="A JSON object that is kept with the event.")
@id_option
@at_option
@click.pass_context
def track(
    ctx: click.Context,
    customer: str,
    meter: str,
    amount: str,
    dimension: str,
    set_level: bool,
    metadata: str | None,
    event_id: str | None,
    at: str | None,
) -> None:
    """Record an amount on any meter, in its unit, and print the event's id. A negative amount is a correction.

    \b
    Example:
      nbilling usage track acme api_requests 25 --id batch-17
      nbilling usage track acme api_requests -- -25
    """
    with billing(ctx) as ledger:
        write(
            ledger.usage.track(
                customer,
                meter,
                amount,
                dimension=dimension,
                set=set_level,
                metadata=_object(metadata),
                id=event_id,
                at=at,
            )
        )


def _object(text: str | None) -> dict[str, object] | None:
    from nbilling.model.text import json_object

    return None if text is None else json_object(text, "metadata", hint='write it as {"key": "value"}')


@usage.command("get-current")
@click.argument("customer")
@click.option("--format", "format", type=click.Choice(["table", "json", "csv"]), help="Default: json.")
@click.pass_context
def get_current(ctx: click.Context, customer: str, format: str | None) -> None:
    """Usage of the present billing period, since the last monthly reset in it.

    \b
    Example:
      nbilling usage get-current acme
    """
    with billing(ctx) as ledger:
        show(ledger.usage.get_current(customer), chosen_format(format, "json"))


@usage.command("get-history")
@click.argument("customer")
@click.argument("days", default="30")
@format_option
@click.pass_context
def get_history(ctx: click.Context, customer: str, days: str, format: str | None) -> None:
    """Usage by day in the customer's zone, oldest first, today last.

    \b
    Example:
      nbilling usage get-history acme 30
    """
    with billing(ctx) as ledger:
        show(ledger.usage.get_history(customer, days), chosen_format(format, "json"))


@usage.command()
@click.argument("customer")
@click.argument("period")
@click.option("--since", help="From when on, RFC 3339. Default: the last 48 hours, 31 days or 12 months.")
@click.option("--until", help="Up to when, exclusive.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing.")
@format_option
@click.pass_context
def aggregate(
    ctx: click.Context,
    customer: str,
    period: str,
    since: str | None,
    until: str | None,
    quiet: bool,
    format: str | None,
) -> None:
    """Rollups by hour, day or month. They are always current: they are written in the commit of their events.

    \b
    Example:
      nbilling usage aggregate acme day
    """
    with billing(ctx) as ledger:
        rows = ledger.usage.aggregate(customer, period, since=since, until=until)
    if not quiet:
        show(rows, chosen_format(format, "json"))


@usage.command()
@click.argument("customer")
@click.argument("format")
@click.argument("path", required=False)
@click.pass_context
def export(ctx: click.Context, customer: str, format: str, path: str | None) -> None:
    """Write every event of a customer to a file, csv or json, whole or not at all. Without PATH: to stdout.

    \b
    Example:
      nbilling usage export acme csv acme.csv
    """
    with billing(ctx) as ledger:
        if path is None:
            ledger.usage.write_export(customer, format, sys.stdout.buffer)
        else:
            ledger.usage.export(customer, format, path)


@usage.command()
@click.argument("customer")
@click.argument("period")
@click.pass_context
def reset(ctx: click.Context, customer: str, period: str) -> None:
    """Start a counting window now, monthly or daily. No event is deleted, billing does not change.

    \b
    Example:
      nbilling usage reset acme monthly
    """
    with billing(ctx) as ledger:
        ledger.usage.reset(customer, period)


@usage.command("events")
@click.argument("customer")
@click.option("--fate", default="", help="billed, included or pending.")
@click.option("--meter", default="", help="Of one meter.")
@click.option("--limit", default="50", show_default=True, help="How many.")
@click.option("--after", default="", help="The last id of the page before.")
@format_option
@click.pass_context
def list_events(
    ctx: click.Context, customer: str, fate: str, meter: str, limit: str, after: str, format: str | None
) -> None:
    """Events and what became of each, newest first.

    \b
    Example:
      nbilling usage events acme --fate pending
    """
    with billing(ctx) as ledger:
        rows = ledger.usage.list_events(customer, fate=fate, meter=meter, limit=limit, after=after)
    show(rows, format, columns=("id", "created_at", "resource_type", "dimension", "amount", "fate", "invoice"))


@usage.command("show")
@click.argument("event_id", metavar="ID")
@click.option("--customer", help="Whose, where two customers have sent the same id.")
@format_option
@click.pass_context
def show_event(ctx: click.Context, event_id: str, customer: str | None, format: str | None) -> None:
    """One event, and the invoice line that it is on.

    \b
    Example:
      nbilling usage show batch-17
    """
    with billing(ctx) as ledger:
        show(ledger.usage.show_event(event_id, customer), format)


@usage.command("summary")
@click.argument("customer")
@click.argument("days", default="14")
@click.pass_context
def look(ctx: click.Context, customer: str, days: str) -> None:
    """Usage to look at: the present period, its limits, and a bar for each of the last days.

    \b
    Example:
      nbilling usage summary acme 14
    """
    from nbilling.api.charts import spark

    with billing(ctx) as ledger:
        current = ledger.usage.get_current(customer)
        history = ledger.usage.get_history(customer, days)
        limits = ledger.quota.limits(customer)
    write(f"{customer}  {current['period_start'][:10]} to {current['period_end'][:10]}")
    rows = [
        {"meter": name, "last days": spark([day[name] for day in history]), "today": history[-1][name]}
        for name in history[-1]
        if name != "date"
    ]
    table(rows)
    if limits:
        write("")
        table(limits)
