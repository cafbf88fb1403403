"""Commands about the ledger as a whole: init, clock, config, help, completion."""

from __future__ import annotations

import click

from nbilling.cli.context import billing, format_option, path_of
from nbilling.cli.output import note, show, write

EXIT_CODES = """\
0    done, or allowed
1    refused: over quota, declined, a check that failed
2    bad input or usage
3    not found
4    conflict with the present state
5    ledger, disk, or a missing system library
6    Stripe or mail failed, or the outcome is unknown
70   a fault of nbilling's own (never 1: a crash is not a refusal)
130  interrupted"""


@click.command()
@click.option("--fixtures", is_flag=True, help="For trials: an offline Stripe, mail into files. For ever.")
@click.pass_context
def init(ctx: click.Context, fixtures: bool) -> None:
    """Create the ledger with the plans free, pro and enterprise, or migrate an older one. Again: nothing.

    \b
    Example:
      nbilling init
      nbilling --db trial.db init --fixtures
    """
    make(ctx)
    if fixtures:
        with billing(ctx) as ledger:
            ledger.stripe.init_fixtures()


def make(ctx: click.Context) -> None:
    """Creates or migrates the ledger; says so on stderr when it is new."""
    from nbilling.api.billing import init as create
    from nbilling.api.billing import ledger_path

    path = path_of(ctx)
    if create(path):
        note(f"created {ledger_path(path)}")


@click.group()
def clock() -> None:
    """The test clock: set once, then only moved forward. Never in a live ledger."""


@clock.command("show")
@format_option
@click.pass_context
def clock_show(ctx: click.Context, format: str | None) -> None:
    """What time the ledger has.

    \b
    Example:
      nbilling clock show
    """
    with billing(ctx) as ledger:
        show(ledger.clock.show(), format)


@clock.command("set")
@click.argument("time")
@format_option
@click.pass_context
def clock_set(ctx: click.Context, time: str, format: str | None) -> None:
    """Set the test clock; from then on the ledger can never become live.

    \b
    Example:
      nbilling clock set 2026-01-15T12:00:00Z
    """
    with billing(ctx) as ledger:
        show(ledger.clock.set(time), format)


@clock.command("advance")
@click.argument("step")
@format_option
@click.pass_context
def clock_advance(ctx: click.Context, step: str, format: str | None) -> None:
    """Move the clock forward by 90s, 15m, 12h, 30d or 2w.

    \b
    Example:
      nbilling clock advance 30d
    """
    with billing(ctx) as ledger:
        show(ledger.clock.advance(step), format)


@click.group()
def config() -> None:
    """Settings: flag before environment before nbilling.toml before default."""


@config.command("show")
@format_option
def config_show(format: str | None) -> None:
    """Every setting, its value, and where it came from.

    \b
    Example:
      nbilling config show --format table
    """
    from nbilling.api.billing import load_config
    from nbilling.model.config import SETTINGS

    settings = load_config()
    rows = [
        {
            "setting": setting.field,
            "value": _setting_text(getattr(settings, setting.field), setting.secret),
            "origin": settings.origins[setting.field],
            "environment": setting.environment,
            "help": setting.help,
        }
        for setting in SETTINGS
    ]
    show(rows, format)


def _setting_text(value: object, secret: bool) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "(set, not shown)" if secret else str(value)


@click.command("help")
@click.argument("page", type=click.Choice(["exit-codes"]))
def help_page(page: str) -> None:
    """Pages of help that belong to no command.

    \b
    Example:
      nbilling help exit-codes
    """
    write(EXIT_CODES)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Example:
      nbilling completion bash > ~/.local/share/bash-completion/completions/nbilling
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        ctx.fail(f"there is no completion for {shell}")
    write(kind(ctx.find_root().command, {}, "nbilling", "_NBILLING_COMPLETE").source())
