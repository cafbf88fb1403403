"""The console script: runs a command and turns what was raised into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``nbilling`` with arguments (the process's own if None) and returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone, such as `| head`. Nothing was asked for that is not done.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        print("Error: out of memory; try a smaller request", file=sys.stderr)
        return 70


def _run(arguments: list[str]) -> int:
    from nbilling.cli.errors import report
    from nbilling.model.errors import BadInput

    try:
        for argument in arguments:
            _check_text(argument)
        from nbilling.cli.main import cli

        result = cli.main(args=arguments, prog_name="nbilling", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except UnicodeError:
        return report(BadInput("an argument is not valid text", hint="send UTF-8"), arguments)
    except Exception as error:  # noqa: BLE001 - the last line of defence: whatever it is, one line and its code
        return report(error, arguments)


def _check_text(argument: str) -> None:
    argument.encode()
