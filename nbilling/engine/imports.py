"""Import of access logs: each line becomes a request and its bytes, once, however often the log is imported.

Lines are read, parsed and hashed outside of any job. Each batch is then one write job: it finds the batch's place in
the known logs, records the events of what is new, and writes down the lines and whom they were billed to. So an import
that is killed has either recorded a batch and knows it, or neither, and two processes may import one file at once.

``strict`` reads the input twice: first all of it is parsed, then it is imported. One job for the whole log would leave
nothing behind either, but it would lock out every other writer meanwhile and hold the log in memory and in the WAL.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from nbilling.engine.log_batch import Batch, Done, Recorder, State
from nbilling.engine.log_lines import RawLines, is_stream
from nbilling.engine.log_places import Source
from nbilling.engine.log_reader import Line, LogReader
from nbilling.model.clock import Clock
from nbilling.model.errors import BadInput
from nbilling.model.imports import BadLine, ImportOptions, ImportReport, LogPart
from nbilling.model.text import plain
from nbilling.rules.access_logs import REASONS, printable
from nbilling.rules.log_customers import customer_choice
from nbilling.rules.log_identity import HEAD_LINES, Occurrences

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

BATCH_LINES = 2500
"""Lines of one write job: up to twice as many events."""

_SPOOLED = 8 << 20
_MOST_CUSTOMERS = 100_000
_LONGEST_NAME = 4096


class Writer(Protocol):
    """What runs a job in one durable commit."""

    def write(self, job: Callable[[sqlite3.Connection], T], /) -> T:
        """Runs the job and returns its answer."""


class LogImport:
    """The use case. ``ledger`` runs the jobs, ``recorder`` records inside them, ``clock`` says what is the future."""

    def __init__(self, ledger: Writer, recorder: Recorder, clock: Clock) -> None:
        self._ledger = ledger
        self._recorder = recorder
        self._clock = clock

    def run(
        self,
        lines: BinaryIO | Iterable[bytes],
        options: ImportOptions,
        *,
        progress: Callable[[int, int], None] | None = None,
        on_bad: Callable[[BadLine], None] | None = None,
    ) -> ImportReport:
        """Imports a log from a binary stream or an iterable of lines.

        ``progress`` is told after each batch how many bytes of the stream and how many lines are done so far;
        ``on_bad`` is given each line that was not taken, in order within its batch. Raises BadInput for options that
        contradict each other, for a damaged gzip stream, and with ``strict`` for the first bad line; Conflict where the
        log was imported by another choice of the customer. What was imported before a failure stays, and importing the
        log again goes on from there.
        """
        choice = customer_choice(options)
        source = Source(
            plain(options.source, "source", empty=True),
            choice.rule,
            _reading(options),
            printable(options.name)[:_LONGEST_NAME],
        )
        tell_bad = on_bad or _ignore

        def over(raw: RawLines) -> ImportReport:
            reader = LogReader(options, choice, self._clock.now)
            tell_progress = progress or _ignore
            run = _Run(self._ledger, self._recorder, self._clock, source, reader, tell_progress, tell_bad)
            return run.over(raw)

        if not options.strict:
            return over(RawLines(lines))
        with _rereadable(lines) as stream:
            start = stream.tell()
            checked = _check(RawLines(stream), LogReader(options, choice, self._clock.now), tell_bad)
            stream.seek(start)
            # A log that has grown meanwhile is imported as far as it was checked.
            return over(RawLines(stream, checked))


def _ignore(*_: object) -> None:
    """Nobody wants to know."""


def _reading(options: ImportOptions) -> str:
    """How lines are understood, in words. Lines that were read otherwise before are compared again, not passed over."""
    fields = " ".join(f"{target}={name}" for target, name in sorted(options.fields.items()))
    return f"1 {options.format} {fields}".rstrip()


@contextmanager
def _rereadable(lines: BinaryIO | Iterable[bytes]) -> Iterator[BinaryIO]:
    """The input as a stream that can be read twice: itself if it is a file, else a copy in a temporary file."""
    if is_stream(lines) and lines.seekable():
        yield lines
        return
    with tempfile.SpooledTemporaryFile(_SPOOLED) as copy:
        if is_stream(lines):
            while block := lines.read(1 << 20):
                copy.write(block)
        else:
            for some in RawLines(lines).lists(BATCH_LINES):
                copy.writelines(line + b"\n" for line in some)
        copy.seek(0)
        yield copy  # type: ignore[misc]


def _check(raw: RawLines, reader: LogReader, on_bad: Callable[[BadLine], None]) -> int:
    """Reads all of a log and records nothing. Raises BadInput for the first bad line; returns the bytes read."""
    for chunk in raw.lists(BATCH_LINES):
        _refuse(reader.read(chunk)[1], on_bad)
    last = reader.read_rest(raw.rest)
    _refuse(last[1] if last else [], on_bad)
    return raw.consumed


def _refuse(bad: list[BadLine], on_bad: Callable[[BadLine], None]) -> None:
    if bad:
        on_bad(bad[0])
        raise BadInput(
            f"line {bad[0].number:,}: {bad[0].message}", hint="nothing was imported; correct it, or leave --strict out"
        )


class _Run:
    """One import, batch after batch."""

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

    def over(self, raw: RawLines) -> ImportReport:
        """Imports all lines. Reads one batch ahead, for another log may begin at the end of a batch."""
        batch: tuple[list[Line], list[BadLine]] = [], []
        done = 0, 0
        for chunk in raw.lists(BATCH_LINES):
            following = self._reader.read(chunk)
            self._import(*batch, following[0][:HEAD_LINES], done)
            batch, done = following, (raw.consumed, self._reader.number)
        last = self._reader.read_rest(raw.rest)
        if last:
            batch = batch[0] + last[0], batch[1] + last[1]
        self._import(*batch, [], (raw.consumed, self._reader.number))
        return self._report._replace(
            lines=self._reader.number,
            skipped=self._reader.skipped,
            unfinished=last is None,
            parts=tuple(self._parts),
        )

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
