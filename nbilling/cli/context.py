"""What the commands share: opening the ledger, the format option, commands that take their values as data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nbilling.cli.actor import actor
from nbilling.cli.output import FORMATS

if TYPE_CHECKING:
    from nbilling.api.billing import Billing

F = TypeVar("F", bound=Callable[..., Any])


@contextmanager
def billing(ctx: click.Context) -> Iterator[Billing]:
    """The ledger that the command line names, open for one command."""
    from nbilling.api.billing import open

    with open(path_of(ctx), actor=actor) as opened:
        yield opened


def path_of(ctx: click.Context) -> str | None:
    """What ``--db`` said."""
    path: str | None = ctx.find_root().obj
    return path


def format_option(command: F) -> F:
    """``--format``: a table on a terminal, JSON in a pipe."""
    return click.option(
        "--format", "format", type=click.Choice(FORMATS), help="Default: table on a terminal, else json."
    )(command)


def values(**kwargs: Any) -> dict[str, Any]:
    """Options that were given."""
    return {name: value for name, value in kwargs.items() if value is not None}


def confirm(question: str, yes: bool) -> None:
    """Asks before something that cannot be taken back; without a terminal and ``--yes`` it is refused."""
    if yes:
        return
    import sys

    from nbilling.model.errors import BadInput, Refused

    if not sys.stdin.isatty():
        raise BadInput("this asks for a confirmation and there is no terminal", hint="add --yes")
    if not click.confirm(question, err=True):
        raise Refused("nothing was changed", hint="")


@contextmanager
def bar(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr, on a terminal only: told how many are done and how many there are."""
    import sys

    if not sys.stderr.isatty():
        yield None
        return
    shown: Any = click.progressbar(length=1, label=label, file=sys.stderr, width=30)
    with shown:

        def tell(done: int, length: int) -> None:
            shown.length = length
            shown.update(done - shown.pos)

        yield tell
