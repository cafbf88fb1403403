"""Commands of the room ``subscription``."""

from __future__ import annotations

from typing import Any

import click

from nbilling.cli.context import billing, confirm, format_option
from nbilling.cli.output import chosen_format, show


@click.group()
def subscription() -> None:
    """Subscriptions: what a customer has bought, and what becomes of it."""


@subscription.command("show")
@click.argument("customer")
@format_option
@click.pass_context
def show_one(ctx: click.Context, customer: str, format: str | None) -> None:
    """The present subscription: plan, status, seats, period, and what is pending.

    \b
    Example:
      nbilling subscription show acme
    """
    with billing(ctx) as ledger:
        show(ledger.subscriptions.show(customer), format)


@subscription.command()
@click.argument("customer")
@format_option
@click.pass_context
def history(ctx: click.Context, customer: str, format: str | None) -> None:
    """Every change with its reason, oldest first.

    \b
    Example:
      nbilling subscription history acme
    """
    with billing(ctx) as ledger:
        rows = ledger.subscriptions.history(customer)
    show(rows, format, columns=("at", "event", "from", "to", "plan", "quantity", "reason", "by"))


@subscription.command("plans")
@click.option("--customer", help="With the plans that belong to this customer alone.")
@format_option
@click.pass_context
def list_plans(ctx: click.Context, customer: str | None, format: str | None) -> None:
    """The plans that there are.

    \b
    Example:
      nbilling subscription plans
    """
    with billing(ctx) as ledger:
        plans = ledger.plans.list(customer)
    show(plans, format, columns=("id", "name", "price", "currency", "interval", "limits", "features"))


@subscription.command()
@click.argument("customer")
@click.argument("plan_id", metavar="PLAN")
@format_option
@click.pass_context
def upgrade(ctx: click.Context, customer: str, plan_id: str, format: str | None) -> None:
    """Move to a higher plan, at once and prorated.

    \b
    Example:
      nbilling subscription upgrade acme pro
    """
    with billing(ctx) as ledger:
        ledger.plans.upgrade(customer, plan_id)
        _shown(ledger.subscriptions.show(customer), format)


@subscription.command()
@click.argument("customer")
@click.argument("plan_id", metavar="PLAN")
@click.argument("when", default="at_period_end")
@format_option
@click.pass_context
def downgrade(ctx: click.Context, customer: str, plan_id: str, when: str, format: str | None) -> None:
    """Move to a lower plan; WHEN is now or at_period_end.

    \b
    Example:
      nbilling subscription downgrade acme free
    """
    with billing(ctx) as ledger:
        ledger.plans.downgrade(customer, plan_id, when)
        _shown(ledger.subscriptions.show(customer), format)


@subscription.command()
@click.argument("customer")
@click.argument("when", default="at_period_end")
@click.option("--reason", default="", help="Kept in the history.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@format_option
@click.pass_context
def cancel(ctx: click.Context, customer: str, when: str, reason: str, yes: bool, format: str | None) -> None:
    """End the subscription; WHEN is at_period_end or now. Until then it can be reactivated.

    \b
    Example:
      nbilling subscription cancel acme --reason "too expensive" --yes
    """
    confirm(f"Cancel the subscription of {customer}?", yes)
    with billing(ctx) as ledger:
        _shown(ledger.subscriptions.cancel(customer, when, reason), format)


@subscription.command()
@click.argument("customer")
@click.option("--reason", default="", help="Kept in the history.")
@format_option
@click.pass_context
def reactivate(ctx: click.Context, customer: str, reason: str, format: str | None) -> None:
    """Take a cancellation back, or buy the cancelled plan anew. There is no second trial.

    \b
    Example:
      nbilling subscription reactivate acme
    """
    with billing(ctx) as ledger:
        _shown(ledger.subscriptions.reactivate(customer, reason), format)


@subscription.command()
@click.argument("customer")
@click.option("--reason", default="", help="Kept in the history.")
@format_option
@click.pass_context
def pause(ctx: click.Context, customer: str, reason: str, format: str | None) -> None:
    """Stop fee and allowances from today on; the limits of the free plan hold.

    \b
    Example:
      nbilling subscription pause acme --reason "season is over"
    """
    with billing(ctx) as ledger:
        _shown(ledger.subscriptions.pause(customer, reason), format)


@subscription.command()
@click.argument("customer")
@click.option("--reason", default="", help="Kept in the history.")
@format_option
@click.pass_context
def resume(ctx: click.Context, customer: str, reason: str, format: str | None) -> None:
    """Go on with a paused subscription from today on.

    \b
    Example:
      nbilling subscription resume acme
    """
    with billing(ctx) as ledger:
        _shown(ledger.subscriptions.resume(customer, reason), format)


@subscription.command("set-quantity")
@click.argument("customer")
@click.argument("quantity")
@click.option("--reason", default="", help="Kept in the history.")
@format_option
@click.pass_context
def set_quantity(ctx: click.Context, customer: str, quantity: str, reason: str, format: str | None) -> None:
    """Set the number of seats from today on, prorated.

    \b
    Example:
      nbilling subscription set-quantity acme 12
    """
    with billing(ctx) as ledger:
        _shown(ledger.subscriptions.set_quantity(customer, quantity, reason), format)


def _shown(found: dict[str, Any], format: str | None) -> None:
    show(found, chosen_format(format, "json"))
