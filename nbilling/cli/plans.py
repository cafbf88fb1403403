"""Commands of the room ``plan``."""

from __future__ import annotations

import click

from nbilling.cli.context import billing, confirm, format_option
from nbilling.cli.ledger import make
from nbilling.cli.output import chosen_format, note, show, write

_CHANGES = ("plan", "version", "field", "before", "after")


@click.group()
def plan() -> None:
    """Plans, and which one a customer is on."""


@plan.command()
@click.pass_context
def init(ctx: click.Context) -> None:
    """Create the ledger with the plans free, pro and enterprise. Again: nothing is overwritten.

    \b
    Example:
      nbilling plan init
    """
    make(ctx)


@plan.command("list")
@click.option("--customer", help="With the plans that belong to this customer alone.")
@format_option
@click.pass_context
def list_plans(ctx: click.Context, customer: str | None, format: str | None) -> None:
    """All plans, cheapest first.

    \b
    Example:
      nbilling plan list
    """
    with billing(ctx) as ledger:
        plans = ledger.plans.list(customer)
    show(
        plans,
        chosen_format(format, "json"),
        columns=("id", "name", "price", "currency", "interval", "limits", "features"),
    )


@plan.command("get-details")
@click.argument("plan_id", metavar="PLAN")
@format_option
@click.pass_context
def get_details(ctx: click.Context, plan_id: str, format: str | None) -> None:
    """One plan with its price, limits and features.

    \b
    Example:
      nbilling plan get-details pro
    """
    with billing(ctx) as ledger:
        show(ledger.plans.get_details(plan_id), chosen_format(format, "json"))


@plan.command()
@click.argument("first")
@click.argument("second")
@format_option
@click.pass_context
def compare(ctx: click.Context, first: str, second: str, format: str | None) -> None:
    """Two plans side by side.

    \b
    Example:
      nbilling plan compare free pro
    """
    with billing(ctx) as ledger:
        compared = ledger.plans.compare(first, second)
    form = chosen_format(format, "json")
    show(compared if form == "json" else compared["rows"], form)


@plan.command("get-current")
@click.argument("customer")
@format_option
@click.pass_context
def get_current(ctx: click.Context, customer: str, format: str | None) -> None:
    """The customer's plan, and the state of its subscription.

    \b
    Example:
      nbilling plan get-current acme
    """
    with billing(ctx) as ledger:
        show(ledger.plans.get_current(customer), chosen_format(format, "json"))


@plan.command()
@click.argument("customer")
@click.argument("plan_id", metavar="PLAN")
@click.pass_context
def upgrade(ctx: click.Context, customer: str, plan_id: str) -> None:
    """Move to a higher plan, at once and prorated. The same plan: nothing.

    \b
    Example:
      nbilling plan upgrade acme pro
    """
    with billing(ctx) as ledger:
        ledger.plans.upgrade(customer, plan_id)


@plan.command()
@click.argument("customer")
@click.argument("plan_id", metavar="PLAN")
@click.argument("when", default="at_period_end")
@click.pass_context
def downgrade(ctx: click.Context, customer: str, plan_id: str, when: str) -> None:
    """Move to a lower plan, WHEN is now or at_period_end.

    \b
    Example:
      nbilling plan downgrade acme free at_period_end
    """
    with billing(ctx) as ledger:
        ledger.plans.downgrade(customer, plan_id, when)


@plan.command("create-custom")
@click.argument("customer")
@click.argument("name")
@click.argument("price")
@click.argument("limits_json")
@click.pass_context
def create_custom(ctx: click.Context, customer: str, name: str, price: str, limits_json: str) -> None:
    """Make a monthly plan for one customer and print its id. PRICE is in currency units.

    \b
    Example:
      nbilling plan create-custom acme "Acme special" 299 '{"api_requests": 100000}'
    """
    with billing(ctx) as ledger:
        write(ledger.plans.create_custom(customer, name, price, limits_json))


@plan.command()
@click.argument("file", type=click.Path())
@click.option("--dry-run", is_flag=True, help="Only show the difference.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@format_option
@click.pass_context
def apply(ctx: click.Context, file: str, dry_run: bool, yes: bool, format: str | None) -> None:
    """Bring the plans to what FILE says (plans.toml). Shows the difference and asks.

    A plan that differs becomes a new version; subscriptions keep the one they bought until "plan move". Plans that the
    file does not name stay as they are.

    \b
    Example:
      nbilling plan apply plans.toml --dry-run
    """
    from nbilling.api.billing import read_catalogue

    table = read_catalogue(file)
    with billing(ctx) as ledger:
        changes = ledger.catalogue.apply(table, dry_run=True)
        if not dry_run and changes:
            if not yes:
                show(changes, "table", columns=_CHANGES)
            confirm(f"Change {len({change['plan'] for change in changes})} plans?", yes)
            changes = ledger.catalogue.apply(table)
    if not changes:
        note("the plans are as the file says")
    elif dry_run:
        note("dry run: nothing was written")
    show(changes, format, columns=_CHANGES)


@plan.command()
@click.option("--customer", help="With the plans that belong to this customer alone.")
@click.pass_context
def export(ctx: click.Context, customer: str | None) -> None:
    """Print the plans as a file for "plan apply".

    \b
    Example:
      nbilling plan export > plans.toml
    """
    with billing(ctx) as ledger:
        write(ledger.catalogue.export(customer).rstrip("\n"))


@plan.command()
@click.argument("plan_id", metavar="PLAN")
@click.option("--customer", help="Only this customer.")
@click.option("--now", is_flag=True, help="At once and prorated, not at the end of each period.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def move(ctx: click.Context, plan_id: str, customer: str | None, now: bool, yes: bool) -> None:
    """Move subscriptions from older versions of a plan to its newest.

    \b
    Example:
      nbilling plan move pro --yes
    """
    confirm(f"Move the subscriptions to the newest version of {plan_id}?", yes)
    with billing(ctx) as ledger:
        moved = ledger.catalogue.move(plan_id, customer, now=now)
    note(f"moved {moved}")
