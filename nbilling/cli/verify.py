"""``nbilling verify``: the ledger recomputed and compared."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from nbilling.cli.context import billing, format_option
from nbilling.cli.output import chosen_format, note, show, table, write
from nbilling.model.errors import EXIT_OK, EXIT_REFUSED
from nbilling.model.verification import VerifyProgress, VerifyReport

_NANOSECONDS = 200_000_000
"""Between two lines of progress."""


@click.command()
@click.option("--since", metavar="DATE", help="Read again only usage, and invoices finalised, from this date (UTC) on.")
@format_option
@click.pass_context
def verify(ctx: click.Context, since: str | None, format: str | None) -> int:
    """Recompute the ledger from its events, plans and payments, and compare: exit 1 with a list of what differs.

    Changes nothing, and others may go on writing. Of csv and ndjson the rows are what was found; the summary is in
    table and json.

    \b
    Example:
      nbilling verify
      nbilling verify --since 2026-01-01 --format json
    """
    form = chosen_format(format)
    with billing(ctx) as ledger, _progress() as progress:
        report: VerifyReport = ledger.verify(since=since, progress=progress)
    findings = [finding._asdict() for finding in report.findings]
    if form == "table":
        _summary(report)
    elif form == "json":
        show(report._asdict() | {"findings": findings}, form)
    else:
        show(findings, form)
    if report.more:
        note(f"and {report.more:,} more findings")
    return EXIT_OK if report.ok else EXIT_REFUSED


def _summary(report: VerifyReport) -> None:
    counts = ", ".join(f"{number:,} {what}" for what, number in report.counts.items())
    write(f"verified {counts} in {report.seconds} s")
    for title, lines in (("checked", report.checked), ("not checked", report.not_checked)):
        write(f"\n{title}")
        for line in lines:
            write(f"  {line}")
    if report.ok:
        write("\nnothing is wrong")
        return
    number = len(report.findings) + report.more
    write(f"\n{number:,} finding{'' if number == 1 else 's'}")
    table([finding._asdict() for finding in report.findings])


@contextmanager
def _progress() -> Iterator[Callable[[VerifyProgress], None] | None]:
    """One line on stderr that is written over, on a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    before = 0

    def tell(progress: VerifyProgress) -> None:
        nonlocal before
        now = time.monotonic_ns()
        if now - before < _NANOSECONDS:
            return
        before = now
        share = f"{progress.done * 100 // progress.total} %" if progress.total else f"{progress.done:,}"
        print(f"\r\033[Kverifying {progress.step} {share}", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
