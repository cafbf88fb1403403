"""Import of access logs: each line becomes a request and its bytes, once, however often the log is imported.

Lines are read, parsed and hashed outside of any job. Each batch is then one write job: it finds the batch's place in the
known logs, records the events of what is new, and writes down the lines and whom they were billed to. So an import that
is killed has either recorded a batch and knows it, or neither, and two processes may import one file at once.

``strict`` reads the input twice: first all of it is parsed, then it is imported. One job for the whole log would also
leave nothing behind, but would lock out every other writer meanwhile and hold the log in SQLite's memory and WAL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol, TypeVar

from nbilling.engine.log_lines import RawLines, is_stream
from nbilling.engine.log_places import Kind, LogPlaces, Place, Source, Stretch, Window
from nbilling.model.clock import FUTURE_TOLERANCE, HOUR, Clock
from nbilling.model.errors import BadInput
from nbilling.model.identity import event_key
from nbilling.model.imports import PREFIX, BadLine, ImportOptions, ImportReport, LogPart
from nbilling.model.text import plain
from nbilling.rules.access_logs import MAX_LINE, AccessLine, Parser, Unreadable, line_parser, metadata
from nbilling.rules.json_logs import DockerLines, json_parser
from nbilling.rules.log_customers import CustomerChoice, customer_choice
from nbilling.rules.log_identity import HEAD_LINES, LOOK_BACK, Occurrences, event_keys, line_hash, prefixes
from nbilling.store import imports
from nbilling.store.usage import Recorded, UsageRow

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

BATCH_LINES = 2500
"""Lines of one write job: up to twice as many events."""

_SPOOLED = 8 << 20
_MOST_KEPT = 16_384
_NOBODY = 0


class Writer(Protocol):
    """What runs a job in one durable commit."""

    def write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Runs the job and returns its answer."""


class Recorder(Protocol):
    """What records usage events inside a job."""

    def customer_id(self, db: sqlite3.Connection, customer_id: str, /) -> int:
        """The customer's number; a new one where it is new."""

    def meter_id(self, db: sqlite3.Connection, name: str, /) -> int:
        """The meter's number."""

    def dimension_id(self, db: sqlite3.Connection, value: str, /) -> int:
        """The number of a dimension's value."""

    def record(self, db: sqlite3.Connection, rows: list[UsageRow], /) -> Recorded:
        """Records what is new."""


class Line(NamedTuple):
    """A readable line. ``customer`` is empty where nobody is billed for it (yet); ``hash`` stands for all of it."""

    number: int
    raw: bytes
    hash: bytes
    at: int
    size: int
    customer: str
    id: str
    metadata: str


class LogReader:
    """Makes :class:`Line` and :class:`BadLine` of raw lines. Holds what must go on from one batch to the next."""

    def __init__(self, options: ImportOptions, choice: CustomerChoice, now: Callable[[], int]) -> None:
        self._parse = _parser(options, choice)
        self._customer = choice.customer
        self._docker = DockerLines() if options.docker else None
        self._now = now
        self._customers: dict[str, str] = {}
        self._metadata: dict[tuple[int, str, str], str] = {}
        self.number = 0

    @property
    def skipped(self) -> int:
        """Lines of standard error in a docker log."""
        return self._docker.skipped if self._docker else 0

    @property
    def cut(self) -> bool:
        """Whether docker's last line was a part whose rest has not come."""
        return self._docker is not None and self._docker.unfinished

    def read(self, raw_lines: Iterable[bytes]) -> tuple[list[Line], list[BadLine]]:
        """The readable lines, and those that nobody is billed for: a line may be in both."""
        good: list[Line] = []
        bad: list[BadLine] = []
        latest = self._now() + FUTURE_TOLERANCE
        for raw in raw_lines:
            self.number += 1
            try:
                line = raw if self._docker is None else self._docker.feed(raw)
                if line is not None:
                    good.append(self._line(line, latest, bad))
            except Unreadable as error:
                bad.append(BadLine(self.number, error.reason, error.message, raw[:MAX_LINE]))
        return good, bad

    def _line(self, raw: bytes, latest: int, bad: list[BadLine]) -> Line:
        found = self._parse(raw)
        customer = ""
        try:
            if found.at > latest:
                raise Unreadable("future")
            customer = self._named(found.who)
        except Unreadable as error:
            bad.append(BadLine(self.number, error.reason, error.message, raw))
        return Line(
            self.number, raw, line_hash(raw), found.at, found.size, customer, found.id, self._kept(found)
        )  # fmt: skip

    def _named(self, who: str) -> str:
        customer = self._customers.get(who)
        if customer is None:
            customer = self._customer(who)
            if len(self._customers) >= _MOST_KEPT:
                self._customers.clear()
            self._customers[who] = customer
        return customer

    def _kept(self, found: AccessLine) -> str:
        if found.duration:
            return metadata(found)
        key = found.status, found.method, found.endpoint
        text = self._metadata.get(key)
        if text is None:
            if len(self._metadata) >= _MOST_KEPT:
                self._metadata.clear()
            text = self._metadata[key] = metadata(found)
        return text


def _parser(options: ImportOptions, choice: CustomerChoice) -> Parser:
    if options.format == "json":
        return json_parser(options.fields, choice.who)
    return line_parser(options.format, *choice.who)


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
            plain(options.name, "name of the log", limit=4096, empty=True),
        )
        tell_progress, tell_bad = progress or _ignore, on_bad or _ignore
        if not options.strict:
            reader = LogReader(options, choice, self._clock.now)
            return _Run(self, source, reader, tell_progress, tell_bad).over(RawLines(lines))
        with _rereadable(lines) as stream:
            start = stream.tell()
            checked = _check(RawLines(stream), LogReader(options, choice, self._clock.now), tell_bad)
            stream.seek(start)
            reader = LogReader(options, choice, self._clock.now)
            return _Run(self, source, reader, tell_progress, tell_bad).over(RawLines(stream, checked))
