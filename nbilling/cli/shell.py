"""``nbilling shell``: the bash modules that self-hosted installs source."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import click

from nbilling.cli.output import note
from nbilling.model.errors import StorageError

MODULES = (
    "usage-tracking.sh",
    "stripe-integration.sh",
    "quota-enforcement.sh",
    "invoice-generation.sh",
    "plan-management.sh",
)
_PLACE = "@NBILLING@"


@click.group()
def shell() -> None:
    """Bash modules: every command as a function."""


@shell.command()
@click.argument("directory")
def install(directory: str) -> None:
    """Write the five modules into DIRECTORY; they call this nbilling, whatever PATH says.

    \b
    Example:
      nbilling shell install src/lib/billing
    """
    from nbilling.api.files import whole_file

    target = Path(directory)
    program = _this_program()
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{directory!r:.200} cannot be made: {error.strerror}", hint="check the path") from None
    for name in MODULES:
        text = (files("nbilling.shell") / name).read_text("utf-8").replace(_PLACE, program)
        with whole_file(str(target / name), mode=0o644) as out:
            out.write(text.encode())
    note(f"wrote {len(MODULES)} modules to {directory}")


def _this_program() -> str:
    """The installed script beside this Python, as text that is safe inside double quotes and braces."""
    beside = Path(sys.executable).parent / "nbilling"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("nbilling") or ""
    if any(character in found for character in '"$`\\}\n'):
        raise StorageError(f"{found!r:.200} cannot stand in a shell script", hint="install nbilling elsewhere")
    return found
