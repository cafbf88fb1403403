"""The command ``run``."""

from __future__ import annotations

import click

from nbilling.cli.context import bar, billing, format_option
from nbilling.cli.output import note, show


@click.command()
@click.option("--dry-run", is_flag=True, help="Show the invoices it would make; write nothing.")
@format_option
@click.pass_context
def run(ctx: click.Context, dry_run: bool, format: str | None) -> None:
    """Do what is due: roll periods over, apply pending changes, bill, mark what is overdue, fire alerts.

    Safe to run again, late, and twice at once. Let cron or a timer call it.

    \b
    Example:
      nbilling run
    """
    with billing(ctx) as ledger, bar("billing") as progress:
        report = ledger.run(dry_run=dry_run, progress=progress)
    if dry_run:
        note("dry run: nothing was written")
    show(report, format)
