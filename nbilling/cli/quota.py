"""Commands of the room ``quota``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nbilling.cli.context import billing, format_option
from nbilling.cli.ledger import make
from nbilling.cli.output import chosen_format, note, show, write
from nbilling.model.errors import EXIT_OK, EXIT_REFUSED

if TYPE_CHECKING:
    from nbilling.api.quota import QuotaDecision


@click.group()
def quota() -> None:
    """Limits: set them, check them, record under them."""


@quota.command()
@click.pass_context
def init(ctx: click.Context) -> None:
    """Create the ledger, or migrate it. Again: nothing.

    \b
    Example:
      nbilling quota init
    """
    make(ctx)


@quota.command("set-limit")
@click.argument("customer")
@click.argument("resource")
@click.argument("limit")
@click.argument("period")
@click.option("--mode", default="hard", show_default=True, help="soft: warn, let pass, charge what lies above.")
@click.option("--threshold", help="Percent from which there is a warning. Default: QUOTA_WARNING_THRESHOLD.")
@click.pass_context
def set_limit(
    ctx: click.Context, customer: str, resource: str, limit: str, period: str, mode: str, threshold: str | None
) -> None:
    """Set a customer's own limit.

    PERIOD is per_month, per_day, per_hour, per_minute, per_period (of billing) or absolute. LIMIT is in the meter's
    unit; 0 blocks all, "unlimited" lifts the limit.

    \b
    Example:
      nbilling quota set-limit acme api_requests 10000 per_month
    """
    with billing(ctx) as ledger:
        ledger.quota.set_limit(customer, resource, limit, period, mode=mode, threshold=threshold)


@quota.command("remove-limit")
@click.argument("customer")
@click.argument("resource")
@click.argument("period")
@click.pass_context
def remove_limit(ctx: click.Context, customer: str, resource: str, period: str) -> None:
    """Remove a customer's own limit, so that its plan's holds again.

    \b
    Example:
      nbilling quota remove-limit acme api_requests per_day
    """
    with billing(ctx) as ledger:
        ledger.quota.remove_limit(customer, resource, period)


@quota.command()
@click.argument("customer")
@click.argument("resource")
@click.argument("event_id", metavar="ID")
@click.argument("amount", required=False)
@click.option("--format", "format", type=click.Choice(["table", "json"]), help="Print the decision too.")
@click.pass_context
def release(
    ctx: click.Context, customer: str, resource: str, event_id: str, amount: str | None, format: str | None
) -> int:
    """Give back what enforce reserved under ID: all of it, or AMOUNT of it. Again: nothing.

    \b
    Example:
      nbilling quota enforce acme api_requests 100 --id job-17
      nbilling quota release acme api_requests job-17 40
    """
    with billing(ctx) as ledger:
        return _answer(ledger.quota.release(customer, resource, event_id, amount), format)


@quota.command()
@click.argument("customer")
@click.argument("feature")
@click.pass_context
def entitled(ctx: click.Context, customer: str, feature: str) -> int:
    """Print what the plan says of a feature. Exit 0: entitled, 1: not (false, 0 or nothing).

    \b
    Example:
      nbilling quota entitled acme support
    """
    with billing(ctx) as ledger:
        found = ledger.quota.entitled(customer, feature)
    write(str(found).lower() if isinstance(found, bool) else str(found))
    return EXIT_OK if found else EXIT_REFUSED


@quota.command()
@click.argument("customer")
@click.argument("resource")
@click.argument("amount", default="1")
@click.option("--format", "format", type=click.Choice(["table", "json"]), help="Print the decision too.")
@click.pass_context
def check(ctx: click.Context, customer: str, resource: str, amount: str, format: str | None) -> int:
    """Would AMOUNT more fit? Exit 0: yes, 1: no. Records nothing.

    \b
    Example:
      nbilling quota check acme api_requests 1
    """
    with billing(ctx) as ledger:
        return _answer(ledger.quota.check(customer, resource, amount), format)


@quota.command("hard-limit-check")
@click.argument("customer")
@click.argument("resource")
@click.argument("amount", default="1")
@click.option("--format", "format", type=click.Choice(["table", "json"]), help="Print the decision too.")
@click.pass_context
def hard_limit_check(ctx: click.Context, customer: str, resource: str, amount: str, format: str | None) -> int:
    """Exit 0: under or at the limit after AMOUNT more, 1: over.

    \b
    Example:
      nbilling quota hard-limit-check acme api_requests 999999
    """
    with billing(ctx) as ledger:
        return _answer(ledger.quota.hard_limit_check(customer, resource, amount), format)


@quota.command()
@click.argument("customer")
@click.argument("resource")
@click.argument("amount", default="1")
@click.option("--dimension", default="", help="The value of the meter's dimension.")
@click.option("--id", "event_id", help="The event's id: the same call again is not counted again.")
@click.option("--format", "format", type=click.Choice(["table", "json"]), help="Print the decision too.")
@click.pass_context
def enforce(
    ctx: click.Context,
    customer: str,
    resource: str,
    amount: str,
    dimension: str,
    event_id: str | None,
    format: str | None,
) -> int:
    """Check and record in one commit. Exit 0: recorded, 1: refused and nothing recorded.

    \b
    Example:
      nbilling quota enforce acme api_requests 1
    """
    with billing(ctx) as ledger:
        decision = ledger.quota.enforce(customer, resource, amount, dimension=dimension, id=event_id)
        return _answer(decision, format)


def _answer(decision: QuotaDecision, format: str | None) -> int:
    if format is not None:
        show(decision._asdict(), format)
    if decision.allowed:
        return EXIT_OK
    note(f"Refused: {decision.reason}")
    return EXIT_REFUSED


@quota.command("soft-limit-check")
@click.argument("customer")
@click.argument("resource")
@format_option
@click.pass_context
def soft_limit_check(ctx: click.Context, customer: str, resource: str, format: str | None) -> None:
    """How full the fullest limit is, and whether that deserves a warning.

    \b
    Example:
      nbilling quota soft-limit-check acme api_requests
    """
    with billing(ctx) as ledger:
        show(ledger.quota.soft_limit_check(customer, resource), chosen_format(format, "json"))


@quota.command("calculate-overage")
@click.argument("customer")
@click.argument("resource")
@format_option
@click.pass_context
def calculate_overage(ctx: click.Context, customer: str, resource: str, format: str | None) -> None:
    """What lies above the limit, and what it costs.

    \b
    Example:
      nbilling quota calculate-overage acme api_requests
    """
    with billing(ctx) as ledger:
        show(ledger.quota.calculate_overage(customer, resource), chosen_format(format, "json"))


@quota.command("get-usage-percentage")
@click.argument("customer")
@click.argument("resource")
@click.pass_context
def get_usage_percentage(ctx: click.Context, customer: str, resource: str) -> None:
    """Whole percent of the fullest limit, rounded down.

    \b
    Example:
      nbilling quota get-usage-percentage acme storage
    """
    with billing(ctx) as ledger:
        write(str(ledger.quota.get_usage_percentage(customer, resource)))


@quota.command()
@click.argument("customer")
@click.argument("period")
@click.pass_context
def reset(ctx: click.Context, customer: str, period: str) -> None:
    """Start a counting window for quotas now: daily, monthly or period. Usage and billing do not change.

    \b
    Example:
      nbilling quota reset acme daily
    """
    with billing(ctx) as ledger:
        ledger.quota.reset(customer, period)


@quota.command("list")
@click.argument("customer")
@format_option
@click.pass_context
def list_limits(ctx: click.Context, customer: str, format: str | None) -> None:
    """Every limit in force, with what counts against it and where it comes from.

    \b
    Example:
      nbilling quota list acme
    """
    with billing(ctx) as ledger:
        show(ledger.quota.limits(customer), format)
