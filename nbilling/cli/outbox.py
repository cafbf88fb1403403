"""Commands of the room ``outbox``."""

from __future__ import annotations

from typing import Any

import click

from nbilling.cli.context import billing, confirm, format_option
from nbilling.cli.output import chosen_format, note, show, table, write
from nbilling.model.errors import EXIT_OK, EXIT_UPSTREAM

_COLUMNS = ("id", "kind", "customer_id", "state", "attempts", "next_at", "waits_for", "reason")
_HISTORY = ("at", "event", "state", "generation", "by", "reason")


@click.group()
def outbox() -> None:
    """What waits to be sent: mail, webhooks, Stripe. Look at it, send it, decide about what failed."""


@outbox.command("list")
@click.option("--state", default="open", help="open, all, pending, leased, unknown, done, dead or dropped.")
@click.option("--kind", default="", help="One kind of message.")
@click.option("--customer", help="One customer.")
@click.option("--limit", default="50", help="How many at most.")
@click.option("--after", default="0", help="The last number of the page before.")
@format_option
@click.pass_context
def list_messages(
    ctx: click.Context, state: str, kind: str, customer: str | None, limit: str, after: str, format: str | None
) -> None:
    """Messages, oldest first. Without --state: those that are neither done nor dropped.

    \b
    Example:
      nbilling outbox list --state dead
    """
    with billing(ctx) as ledger:
        rows = ledger.outbox.list(state=state, kind=kind, customer_id=customer, limit=limit, after=after)
    show(rows, format, columns=_COLUMNS)


@outbox.command("show")
@click.argument("message")
@format_option
@click.pass_context
def show_message(ctx: click.Context, message: str, format: str | None) -> None:
    """One message with its content and its history. MESSAGE is its number or its operation's id.

    \b
    Example:
      nbilling outbox show 7
    """
    with billing(ctx) as ledger:
        found = ledger.outbox.show(message)
    if chosen_format(format) != "table":
        show(found, format)
        return
    history = found.pop("history")
    show(found, "table")
    write("\nhistory")
    table(history, _HISTORY)
    _say_how_to_go_on([found])


@outbox.command("status")
@format_option
@click.pass_context
def status(ctx: click.Context, format: str | None) -> None:
    """How many messages are in which state, since when the oldest waits, and what is paused.

    \b
    Example:
      nbilling outbox status
    """
    with billing(ctx) as ledger:
        show(ledger.outbox.status(), format)


@outbox.command("retry")
@click.argument("messages", nargs=-1, required=True)
@click.option("--not-done", is_flag=True, help="You know that it did not happen: send it again under a new key.")
@format_option
@click.pass_context
def retry(ctx: click.Context, messages: tuple[str, ...], not_done: bool, format: str | None) -> None:
    """Make messages due at once: dead ones, and those that wait. What may have happened is looked into first.

    \b
    Example:
      nbilling outbox retry 7
      nbilling outbox process
    """
    with billing(ctx) as ledger:
        rows = [ledger.outbox.retry(message, not_done=not_done) for message in messages]
    show(rows, format, columns=_COLUMNS)


@outbox.command("drop")
@click.argument("message")
@click.option("--reason", default="", help="Kept with the message.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def drop(ctx: click.Context, message: str, reason: str, yes: bool) -> None:
    """Decide that a message shall not be sent. It stays in the table; those behind it go on.

    \b
    Example:
      nbilling outbox drop 7 --reason "told by telephone" --yes
    """
    with billing(ctx) as ledger:
        found = ledger.outbox.show(message)
        warning = ", which may have happened" if found["uncertain"] else ""
        confirm(f"Drop message {found['id']} ({found['kind']}, {found['state']}{warning})?", yes)
        ledger.outbox.drop(message, reason)


@outbox.command("pause")
@click.argument("kind", default="")
@click.option("--reason", default="", help="Shown by status.")
@click.pass_context
def pause(ctx: click.Context, kind: str, reason: str) -> None:
    """Send nothing more of KIND, or nothing at all. What is decided meanwhile waits.

    \b
    Example:
      nbilling outbox pause stripe --reason "account is being moved"
    """
    with billing(ctx) as ledger:
        ledger.outbox.pause(kind, reason)


@outbox.command("resume")
@click.argument("kind", default="")
@click.pass_context
def resume(ctx: click.Context, kind: str) -> None:
    """End a pause of KIND, or of everything.

    After a restore: first find out what became of the open messages, then look at what is left.

    \b
    Example:
      nbilling outbox process --reconcile
      nbilling outbox list --state unknown
      nbilling outbox resume
    """
    with billing(ctx) as ledger:
        ledger.outbox.resume(kind)


@outbox.command("process")
@click.option("--once", is_flag=True, help="Send what is due and end. The default.")
@click.option("--watch", is_flag=True, help="Go on until SIGTERM or Ctrl-C.")
@click.option("--reconcile", is_flag=True, help="Send nothing: find out what became of the unknown ones.")
@click.option("--limit", help="At most so many messages.")
@click.option("--poll", default="2", help="With --watch: seconds between looks.")
@click.option("--format", "format", type=click.Choice(["table", "json"]), help="Default: json in a pipe.")
@click.pass_context
def process(
    ctx: click.Context, once: bool, watch: bool, reconcile: bool, limit: str | None, poll: str, format: str | None
) -> int:
    """Send what is due, in order for each customer, and print what came of it. Any number may run at once.

    Exit 6 where something is dead or its outcome unknown.

    \b
    Example:
      nbilling outbox process
      nbilling outbox process --watch
    """
    from nbilling.model.errors import BadInput
    from nbilling.model.text import whole

    if watch and (once or reconcile or limit):
        raise BadInput("--watch goes with none of --once, --reconcile and --limit", hint="choose one")
    most = whole(limit, "limit", minimum=1) if limit is not None else None
    seconds = whole(poll, "poll", minimum=1, maximum=3600)
    with billing(ctx) as ledger:
        if watch:
            from nbilling.cli.stopping import Stop

            with Stop() as stop:
                counts = ledger.outbox.watch(stop.asked, lambda: stop.wait(seconds))
        else:
            counts = ledger.outbox.process(reconcile_only=reconcile, limit=most)
        paused = ledger.outbox.status()["paused"]
    show(counts, format)
    for one in paused:
        note(f"{one['name']} is paused: {one['reason'] or 'no reason was given'}; nbilling outbox resume ends it")
    return EXIT_UPSTREAM if counts["dead"] or counts["unknown"] else EXIT_OK


def _say_how_to_go_on(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["state"] == "dead":
            note(
                f"Message {row['id']} holds up what follows it: nbilling outbox retry {row['id']}, or drop {row['id']}"
            )
        elif row["waits_for"]:
            note(f"Message {row['id']} waits for message {row['waits_for']}: nbilling outbox show {row['waits_for']}")
