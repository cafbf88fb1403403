"""The command line's root: commands are loaded when they are asked for, so that a start stays cheap."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from nbilling import __version__
from nbilling.cli.output import chosen_format

_COMMANDS = {
    # name: (module, attribute, one line of help). In the order in which the help shows them: by workflow.
    "init": ("ledger", "init", "Create the ledger, or migrate it."),
    "demo": ("demo", "demo", "Run the main job offline, in a directory of its own."),
    "customer": ("customers", "customer", "Customers: create, show, update, list."),
    "meter": ("meters", "meter", "Meters: what is measured."),
    "usage": ("usage", "usage", "Usage: track, import, look at, export."),
    "quota": ("quota", "quota", "Quotas: set limits, check, enforce."),
    "plan": ("plans", "plan", "Plans, and which one a customer is on."),
    "subscription": ("subscriptions", "subscription", "Subscriptions: change, cancel, pause."),
    "discount": ("discounts", "discount", "Discount codes."),
    "invoice": ("invoices", "invoice", "Invoices: generate, finalise, print, pay."),
    "credit": ("credits", "credit", "Credit notes and balances."),
    "tax": ("taxes", "tax", "Tax rates."),
    "stripe": ("stripe", "stripe", "Stripe: customers, cards, subscriptions, invoices, webhooks."),
    "run": ("due_work", "run", "Do what is due: roll periods, bill, fire alerts."),
    "shell": ("shell", "shell", "Bash modules: every command as a function."),
    "verify": ("verify", "verify", "Recompute the ledger and compare: is anything wrong?"),
    "outbox": ("outbox", "outbox", "What waits to be sent: look, send, retry, drop."),
    "clock": ("ledger", "clock", "The test clock."),
    "config": ("ledger", "config", "Settings, and where each comes from."),
    "help": ("ledger", "help_page", "Exit codes and other pages."),
    "completion": ("ledger", "completion", "Completion for your shell."),
}


class Lazy(click.Group):
    """A group whose commands are imported when they are used; the list of them needs no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the workflow."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command's module."""
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"nbilling.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, _, help) in _COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Says which names are near when one is not known."""
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, _COMMANDS, 1)
            ctx.fail(f"there is no command {name!r:.60}" + (f", did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done or allowed, 1 refused, 2 bad input, 3 not found, 4 conflict, 5 ledger or disk, "
    "6 Stripe or mail, 70 our fault, 130 interrupted.",
)
@click.option("--db", metavar="FILE", help="The ledger. Default: $NBILLING_DB, else ./nbilling.db.")
@click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
@click.version_option(__version__, prog_name="nbilling")
@click.pass_context
def cli(ctx: click.Context, db: str | None, debug: bool) -> None:
    """Usage metering, quotas, plans and invoices in one SQLite file.

    \b
    Example:
      nbilling init
      nbilling usage import access.log --customer acme
      nbilling invoice generate acme monthly
    """
    ctx.obj = db
    chosen_format(None)  # a wrong NBILLING_FORMAT is refused before anything is done
