"""Import of access logs: each line becomes a request and its bytes, once, however often the log is imported.

Lines are read, parsed and hashed outside of any job. Each batch is then one write job: it finds the batch's place in
the known logs, records the events of what is new, and writes down the lines and whom they were billed to. So an import
that is killed has either recorded a batch and knows it, or neither, and two processes may import one file at once.

``strict`` reads the input twice: first all of it is parsed, then it is imported. One job for the whole log would leave
nothing behind either, but it would lock out every other writer meanwhile and hold the log in memory and in the WAL.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from nbilling.engine.log_batch import Batch, Done, Recorder, State
from nbilling.engine.log_lines import Lines, RawLines, Stop, rereadable
from nbilling.engine.log_places import LogPlaces, Source, Window
from nbilling.engine.log_reader import Line, LogReader
from nbilling.model.clock import Clock
from nbilling.model.errors import BadInput
from nbilling.model.imports import PREFIX, BadLine, ImportOptions, ImportReport, LogPart
from nbilling.model.text import plain
from nbilling.rules.access_logs import REASONS, printable
from nbilling.rules.log_customers import customer_choice
from nbilling.rules.log_identity import HEAD_LINES, Occurrences

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

BATCH_LINES = 2500
"""Lines of one write job: up to twice as many events."""

_TAIL = 1 << 16
_MOST_CUSTOMERS = 100_000
_LONGEST_NAME = 4096


class Writer(Protocol):
    """What runs a job in one durable commit."""

    def write(self, job: Callable[[sqlite3.Connection], T], /) -> T:
        """Runs the job and returns its answer."""


class Known(Enum):
    """What is known of a file."""

    NOT = "not"
    IN_PART = "in part"
    """It begins within a known log; its end may be new."""
    WHOLE = "whole"
    """It begins as a known log does and ends as that log does."""


class LogImport:
    """The use case. ``ledger`` runs the jobs, ``recorder`` records inside them, ``clock`` says what is the future."""

    def __init__(self, ledger: Writer, recorder: Recorder, clock: Clock) -> None:
        self._ledger = ledger
        self._recorder = recorder
        self._clock = clock

    def run(
        self,
        lines: Lines,
        options: ImportOptions,
        *,
        progress: Callable[[int, int], None] | None = None,
        on_bad: Callable[[BadLine], None] | None = None,
        stop: Stop | None = None,
    ) -> ImportReport:
        """Imports a log from a binary stream or an iterable of lines.

        What was read of a pipe is written within about a second, though it stays open. ``progress`` is told after each
        batch how many bytes of the stream and how many lines are done so far; ``on_bad`` is given each line that was
        not taken, in order within its batch; ``stop`` is asked between blocks whether to end here. Raises BadInput for
        options that contradict each other, for a damaged gzip stream, and with ``strict`` for the first bad line;
        Conflict where the log was imported by another choice of the customer. What was imported before a failure
        stays, and importing the log again goes on from there.
        """
        begun = self.begin(options, progress=progress, on_bad=on_bad)
        if not options.strict:
            return begun.over(RawLines(lines, stop=stop))
        with rereadable(lines) as stream:
            start = stream.tell()
            checked = _check(RawLines(stream, stop=stop), self._reader(options), on_bad or _ignore)
            stream.seek(start)
            # A log that has grown meanwhile is imported as far as it was checked.
            return begun.over(RawLines(stream, checked, stop=stop))

    def begin(
        self,
        options: ImportOptions,
        *,
        progress: Callable[[int, int], None] | None = None,
        on_bad: Callable[[BadLine], None] | None = None,
    ) -> LogRun:
        """An import that is fed by its caller. BadInput where the options contradict each other."""
        source = _source(options)
        reader = self._reader(options)
        return LogRun(self._ledger, self._recorder, self._clock, source, reader, progress or _ignore, on_bad or _ignore)

    def known(self, file: BinaryIO, options: ImportOptions) -> Known:
        """What the registry knows of a file, by its first and last lines. One that is packed is never ``WHOLE``."""
        source = _source(options)
        try:
            head = self._lines(RawLines(file), options)
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - _TAIL))
            # Where it does not begin with the file, the first line of the tail is only a part of one.
            tail = self._lines(RawLines(file), options, last=True)[int(end > _TAIL) :]
        except (BadInput, OSError):
            return Known.NOT
        if not head:
            return Known.NOT
        now = self._clock.now()
        windows = [
            Window(b"".join([line.hash[:PREFIX] for line in some]), [line.at for line in some], len(some))
            for some in (head, tail)
        ]
        found, whole = self._ledger.write(lambda db: LogPlaces(db, source, windows[0], now).known(windows[1]))
        return Known.WHOLE if whole else Known.IN_PART if found else Known.NOT

    def _lines(self, raw: RawLines, options: ImportOptions, *, last: bool = False) -> list[Line]:
        """The first readable lines, or with ``last`` the last ones. None of them where the last one is unfinished."""
        reader = self._reader(options)
        found: list[Line] = []
        for some in raw.lists(HEAD_LINES):
            found += reader.read(some)[0]
            if not last and len(found) >= HEAD_LINES:
                break
        return [] if last and raw.rest else found

    def _reader(self, options: ImportOptions) -> LogReader:
        return LogReader(options, customer_choice(options), self._clock.now)


def _ignore(*_: object) -> None:
    """Nobody wants to know."""


def _reading(options: ImportOptions) -> str:
    """How lines are understood, in words. Lines that were read otherwise before are compared again, not passed over."""
    fields = " ".join(f"{target}={name}" for target, name in sorted(options.fields.items()))
    return f"1 {options.format} {fields}".rstrip()


def _source(options: ImportOptions) -> Source:
    return Source(
        plain(options.source, "source", empty=True),
        customer_choice(options).rule,
        _reading(options),
        printable(options.name)[:_LONGEST_NAME],
    )


def _check(raw: RawLines, reader: LogReader, on_bad: Callable[[BadLine], None]) -> int:
    """Reads all of a log and records nothing. Raises BadInput for the first bad line; returns the bytes read."""
    for chunk in raw.lists(BATCH_LINES):
        _refuse(reader.read(chunk)[1], on_bad)
    last = None if raw.stopped else reader.read_rest(raw.rest)
    _refuse(last[1] if last else [], on_bad)
    return raw.consumed


def _refuse(bad: list[BadLine], on_bad: Callable[[BadLine], None]) -> None:
    if bad:
        on_bad(bad[0])
        raise BadInput(
            f"line {bad[0].number:,}: {bad[0].message}", hint="nothing was imported; correct it, or leave --strict out"
        )


class LogRun:
    """One log on its way into the ledger, list after list of its lines.

    It is one list behind: only when it is known what follows is a list imported, for another log may begin at its end.
    """

    def __init__(
        self,
        ledger: Writer,
        recorder: Recorder,
        clock: Clock,
        source: Source,
        reader: LogReader,
        progress: Callable[[int, int], None],
        on_bad: Callable[[BadLine], None],
    ) -> None:
        self._ledger = ledger
        self._recorder = recorder
        self._clock = clock
        self._source = source
        self._reader = reader
        self._progress = progress
        self._on_bad = on_bad
        self._state = State(None, Occurrences(), {})
        self._parts: list[LogPart] = []
        self._report = ImportReport()
        self._held: tuple[list[Line], list[BadLine]] = [], []
        self._done = 0, 0

    def over(self, raw: RawLines) -> ImportReport:
        """Imports all lines."""
        for lines in raw.lists(BATCH_LINES):
            self.feed(lines, raw.consumed)
        if not raw.stopped:
            return self.finish(raw.rest, raw.consumed)
        self.feed([], raw.consumed)
        return self.report()._replace(unfinished=bool(raw.rest))

    def feed(self, lines: list[bytes], consumed: int) -> None:
        """Takes the next lines, which end ``consumed`` bytes from the beginning. An empty list: all is durable."""
        following = self._reader.read(lines)
        self._import(*self._held, following[0][:HEAD_LINES], self._done)
        self._held, self._done = following, (consumed, self._reader.number)

    def settle(self) -> None:
        """All that is there was fed and is one log: what is appended to it now continues it, whatever it resembles."""
        place = self._state.place
        if place is not None:
            self._state = self._state._replace(place=place._replace(fresh=True))

    def finish(self, rest: bytes, consumed: int) -> ImportReport:
        """Takes what stands behind the last line break, if it is a line, and imports what is left."""
        last = self._reader.read_rest(rest)
        if last:
            self._held = self._held[0] + last[0], self._held[1] + last[1]
        self.feed([], consumed)
        return self.report()._replace(unfinished=last is None)

    def report(self) -> ImportReport:
        """What came of it so far."""
        number, skipped = self._reader.number, self._reader.skipped
        return self._report._replace(lines=number, skipped=skipped, parts=tuple(self._parts))

    def _import(self, good: list[Line], bad: list[BadLine], ahead: list[Line], done: tuple[int, int]) -> None:
        if not good and not bad:
            return
        refused = list(bad)
        if good:
            now = self._clock.now()
            outcome = self._ledger.write(
                lambda db: Batch(db, self._recorder, self._source, good, ahead, now).record(self._state)
            )
            self._take_over(outcome, good)
            refused += [
                BadLine(good[at].number, "conflict", REASONS["conflict"], good[at].raw) for at in outcome.conflicts
            ]
        self._report = self._report._replace(
            bad=self._report.bad + len(refused),
            unattributed=self._report.unattributed
            + sum(line.reason in ("unattributed", "unknown_key") for line in refused),
        )
        for line in sorted(refused):
            self._on_bad(line)
        self._progress(*done)

    def _take_over(self, outcome: Done, lines: list[Line]) -> None:
        """The job is durable: what it found out holds for the next one."""
        self._state = outcome.state
        self._state.occurrences.keep(outcome.counted)
        if len(self._state.customers) > _MOST_CUSTOMERS:
            self._state = self._state._replace(customers={})
        for part in outcome.parts:
            if self._parts and self._parts[-1][:2] == part[:2]:
                part = part._replace(lines=self._parts.pop().lines + part.lines)
            self._parts.append(part)
        conflicts = set(outcome.conflicts)
        sizes = [line.size for at, line in enumerate(lines) if line.customer and at not in conflicts]
        report = self._report
        self._report = report._replace(
            requests=report.requests + len(sizes),
            bytes=report.bytes + sum(sizes),
            added=report.added + outcome.added,
            duplicates=report.duplicates + len(sizes) - outcome.added,
            conflicts=report.conflicts + len(conflicts),
        )
