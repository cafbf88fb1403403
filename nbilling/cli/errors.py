"""Errors on the command line: one line on stderr, or one JSON object, and the exit code."""

from __future__ import annotations

import json
import os
import sys

from nbilling.model.errors import EXIT_BAD_INPUT, EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_STORAGE, NbillingError


def report(error: Exception, arguments: list[str]) -> int:
    """Says what is wrong and what to do next; returns the exit code. A traceback only with ``--debug``."""
    if "--debug" in arguments or os.environ.get("NBILLING_DEBUG"):
        import traceback

        traceback.print_exception(error)
    code, message, hint, exit_code = _read(error)
    if _wants_json(arguments):
        text = json.dumps({"error": {"code": code, "message": message, "hint": hint}}, ensure_ascii=False)
    else:
        text = f"Error: {message}; {hint}" if hint else f"Error: {message}"
    print(_one_line(text), file=sys.stderr)
    return exit_code


def _one_line(text: str) -> str:
    """Without line breaks, escape sequences, and stand-ins of bytes that are no text."""
    line = " ".join(text.splitlines())
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def _read(error: Exception) -> tuple[str, str, str, int]:
    if isinstance(error, NbillingError):
        return error.code, error.message, error.hint, error.exit_code
    import click

    if isinstance(error, click.Abort):
        return "interrupted", "interrupted", "", EXIT_INTERRUPTED
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "nbilling"
        message = error.format_message().rstrip(".")
        if isinstance(error, click.exceptions.NoArgsIsHelpError):
            message = f"{path} needs a command"
        return "usage", _cut(message), f"see {path} --help", EXIT_BAD_INPUT
    if isinstance(error, click.ClickException):
        return "usage", _cut(error.format_message()), "see nbilling --help", EXIT_BAD_INPUT
    if isinstance(error, OSError):
        return "storage", f"the system refused: {error!s:.300}", "check the disk and its permissions", EXIT_STORAGE
    kind = type(error).__name__
    hint = "this is a fault of nbilling; run again with --debug and report it"
    return "internal", f"{kind}: {error!s:.300}", hint, EXIT_INTERNAL


def _cut(message: str) -> str:
    return message if len(message) <= 300 else f"{message[:297]}..."


def _wants_json(arguments: list[str]) -> bool:
    """Looks at the words themselves: the error may be that they could not be parsed."""
    option = "--output" if "import" in arguments else "--format"  # the format of an import is that of its input
    for position, word in enumerate(arguments):
        if word == "--":
            break
        if word in (f"{option}=json", f"{option}=ndjson"):
            return True
        if word == option and arguments[position + 1 : position + 2] in (["json"], ["ndjson"]):
            return True
    return os.environ.get("NBILLING_FORMAT") in ("json", "ndjson")
