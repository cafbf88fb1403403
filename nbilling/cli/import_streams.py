"""What an import reads from and tells to: a file or stdin, bad lines, a bar, signals."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, BinaryIO

import click

from nbilling.cli.output import note
from nbilling.cli.stopping import Stop
from nbilling.model.errors import BadInput
from nbilling.model.imports import BadLine

NAMED = 10
"""So many bad lines are named on stderr; ``--errors`` keeps them all."""


@contextmanager
def input_stream(file: str) -> Iterator[BinaryIO]:
    """The file, or stdin for ``-``. BadInput where it cannot be read."""
    if file == "-":
        if sys.stdin is None:
            raise BadInput("there is no stdin to read", hint="name a file, or pipe something in")
        yield sys.stdin.buffer
        return
    try:
        stream = open(file, "rb")  # noqa: SIM115 - closed below, with an error of its own for opening
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise BadInput(f"{file!r:.200} cannot be read: {reason}", hint="check the path") from None
    with stream:
        yield stream


@contextmanager
def bad_lines(path: str | None, what: str = "lines") -> Iterator[Callable[[BadLine], None]]:
    """Names the first bad lines on stderr, and keeps all of them where that was asked for."""
    named = 0
    kept = None
    if path is not None:
        try:
            kept = open(path, "wb")  # noqa: SIM115 - closed in the finally below
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a file name"
            raise BadInput(f"{path!r:.200} cannot be written: {reason}", hint="check --errors") from None

    def tell(line: BadLine) -> None:
        nonlocal named
        named += 1
        if named <= NAMED:
            note(f"{what.removesuffix('s')} {line.number}: {line.message}")
        if kept is not None:
            kept.write(line.raw + b"\n")
            kept.flush()  # an import that goes on for days is looked at in between

    try:
        yield tell
    finally:
        if kept is not None:
            kept.close()
        if named > NAMED:
            note(f"and {named - NAMED:,} more {what} were not taken; --errors FILE keeps them")


@contextmanager
def progress_of(stream: BinaryIO) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr, on a terminal only. A pipe has no length, so there it counts lines."""
    if not sys.stderr.isatty():
        yield None
        return
    length = _length(stream)
    bar: Any = click.progressbar(length=length, label="importing", file=sys.stderr, width=30, show_pos=length is None)
    with bar:
        done = 0

        def tell(size: int, lines: int) -> None:
            nonlocal done
            bar.update((size if length is not None else lines) - done)
            done = size if length is not None else lines

        yield tell


def _length(stream: BinaryIO) -> int | None:
    try:
        here = stream.tell()
        end = stream.seek(0, 2)
        stream.seek(here)
    except (OSError, ValueError):
        return None
    return end - here


class Signals(Stop):
    """SIGTERM and Ctrl-C end what goes on until it is told to stop. Ctrl-C is remembered, for its exit code is 130."""

    interrupted = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = number == signal.SIGINT
        super()._ask(number, frame)


@contextmanager
def until_told(follow: bool) -> Iterator[Signals | None]:
    """Signals to stop by, or None for what ends by itself. In the end an interrupt is one."""
    if not follow:
        yield None
        return
    signals = Signals()
    with signals:
        yield signals
    if signals.interrupted:
        raise KeyboardInterrupt
