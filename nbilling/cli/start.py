"""The console script: runs a command and turns what was raised into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``nbilling`` with arguments (the process's own if None) and returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_missing_streams()
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone, such as `| head`. Nothing was asked for that is not done.
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        print(f"Error: the output cannot be written: {error.strerror}; look at where it goes", file=sys.stderr)
        return 5


def _run(arguments: list[str]) -> int:
    from nbilling.cli import fast
    from nbilling.cli.errors import report

    try:
        _check_text(arguments)
        code = fast.run(arguments)
        return _invoke(arguments) if code is None else code
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last line of defence: whatever it is, one line and its code
        return report(error, arguments)


def _invoke(arguments: list[str]) -> int:
    """What ``click``'s own ``main`` does, without its answers to interrupts and closed pipes."""
    import click

    from nbilling.cli.main import cli

    if "_NBILLING_COMPLETE" in os.environ:  # a shell asks what the words could become
        cli.main(args=arguments, prog_name="nbilling")
    try:
        with cli.make_context("nbilling", list(arguments)) as ctx:
            result = cli.invoke(ctx)
    except click.exceptions.Exit as done:
        return done.exit_code
    return result if isinstance(result, int) else 0


def _check_text(arguments: list[str]) -> None:
    from nbilling.model.errors import BadInput

    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        raise BadInput("an argument is not valid text", hint="send UTF-8") from None


def _open_missing_streams() -> None:
    """Started with a closed stdout or stderr, Python has none; what is written then goes nowhere."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def _discard_output() -> None:
    """What is left in the buffer must not fail once more when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
