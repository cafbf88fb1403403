"""Where in the known logs the lines of an import stand. Works inside a write job, so what it reads cannot change.

An input need not be one log: ``cat access.log.1 access.log`` is two, and a log of which only the last lines were
imported before has a known log in its middle. So the lines are followed stretch by stretch. Along a known log they are
known; where that log ends, or another one begins, the question which log this is comes up again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from nbilling.model.errors import Conflict
from nbilling.model.imports import PAGE_LINES, PREFIX
from nbilling.rules.log_identity import HEAD_LINES, Match, common_lines, decide, positions, prefixes
from nbilling.store import imports
from nbilling.store.imports import LogRow

if TYPE_CHECKING:
    import sqlite3


class Kind(Enum):
    """What is known of a stretch of lines."""

    KNOWN = "known"
    """They stand in the log, in this order."""
    NEW = "new"
    """They follow what is known of the log."""
    DOUBTFUL = "doubtful"
    """The file left the log's order, so some of them may be known and some not. Their keys tell."""


class Place(NamedTuple):
    """Where the input is: the next line belongs to ``log``, at ``position``; None where its order is not the log's.

    ``fresh``: the line before was added by this import: nothing is known of what follows. ``rule``: how it was found,
    as in :class:`~nbilling.model.imports.LogPart`. ``doubtful``: the input has left the log's order before.
    """

    log: int
    position: int | None
    rule: str
    fresh: bool = False
    doubtful: bool = False


class Stretch(NamedTuple):
    """Lines ``[start, end)`` of the batch, in one log, of one kind. ``position`` None: the log does not keep them."""

    start: int
    end: int
    kind: Kind
    position: int | None


class Source(NamedTuple):
    """What all logs of an import share."""

    source: str
    customer_rule: str
    reading: str
    name: str


class Window(NamedTuple):
    """Prefixes and times of the ``size`` lines of a batch and of the lines after them, which are only looked at."""

    lines: bytes
    times: Sequence[int]
    size: int


class LogPlaces:
    """One job's view of the registry for one batch."""

    def __init__(self, db: sqlite3.Connection, source: Source, window: Window, now: int) -> None:
        self._db = db
        self._source = source
        self._window = window
        self._now = now
        self._heads: tuple[int, set[bytes]] = 0, set()

    def begin(self) -> Place:
        """The log that the input begins with; a new one is made where no known one fits."""
        match = self._find(0, None)
        if match is not None:
            return self._enter(match)
        known = self._holding()
        if known is not None:
            self._check(imports.get_log(self._db, known))
            return Place(known, None, "known_lines")
        source, rule, reading, name = self._source
        log = imports.add_log(self._db, source, rule, reading, self._window.lines[:PREFIX], name, self._now)
        return Place(log, 0, "new", fresh=True)

    def known(self, tail: Window) -> tuple[bool, bool]:
        """Whether the input begins within a log that is billed as this one is to be; and whether, with ``tail`` as its
        last lines, it begins and ends as that log does."""
        match = self._find(0, None)
        number = match.log if match is not None else self._holding()
        if number is None or (log := imports.get_log(self._db, number)).customer_rule != self._source.customer_rule:
            return False, False
        count = len(tail.lines) // PREFIX
        lines, _ = imports.read_lines(self._db, log.id, max(0, log.lines - count), count)
        return True, match is not None and match.position == 0 and count > 0 and lines == tail.lines

    def step(self, place: Place, start: int) -> tuple[Stretch, Place, Place]:
        """The next stretch from a line of the batch on, the place it is in, and the place after it."""
        size = self._window.size
        if place.position is None:
            return Stretch(start, size, Kind.DOUBTFUL, None), place, place
        log = imports.get_log(self._db, place.log)
        known, _ = imports.read_lines(self._db, place.log, place.position, size - start)
        run = common_lines(known, self._window.lines[start * PREFIX : size * PREFIX])
        if run:
            after = place._replace(position=place.position + run, fresh=False)
            return Stretch(start, start + run, Kind.KNOWN, place.position), place, after
        if (not place.fresh or self._is_head(start, place)) and (match := self._find(start, place)):
            return self.step(self._enter(match), start)
        doubtful = place.doubtful or place.position < log.lines
        end = self._next_log(start + 1, place)
        here = place._replace(position=log.lines, doubtful=doubtful)
        # Where the last line may be the first one of another log, the next line is to be looked for.
        fresh = end == size and not self._is_head(end - 1, place)
        after = here._replace(position=log.lines + end - start, fresh=fresh)
        return Stretch(start, end, Kind.DOUBTFUL if doubtful else Kind.NEW, log.lines), here, after

    def _enter(self, match: Match) -> Place:
        self._check(imports.get_log(self._db, match.log))
        return Place(match.log, match.position, "overlap" if match.position else "head")

    def _check(self, log: LogRow) -> None:
        if log.customer_rule != self._source.customer_rule:
            raise Conflict(
                f"this log was imported with its customers by {log.customer_rule!r:.90}, now it is by "
                f"{self._source.customer_rule!r:.90}",
                hint="its usage would be billed twice; import it as before, or give --source NAME if it is another log",
            )

    def _next_log(self, start: int, place: Place) -> int:
        """The next line of the batch with which another known log begins, or the batch's end."""
        for at in range(start, self._window.size):
            if self._is_head(at, place) and self._find(at, place):
                return at
        return self._window.size

    def _is_head(self, at: int, place: Place) -> bool:
        """Whether another log begins with the same line."""
        if self._heads[0] != place.log:
            self._heads = place.log, imports.other_heads(self._db, self._source.source, place.log)
        return self._window.lines[at * PREFIX : (at + 1) * PREFIX] in self._heads[1]

    def _find(self, at: int, place: Place | None) -> Match | None:
        """The known log, other than what lies behind in this one, that the lines from ``at`` on run along."""
        window = self._window.lines[at * PREFIX : (at + HEAD_LINES) * PREFIX]
        matches = list(self._matches(window, self._window.times[at], place))
        lengths = {match.log: imports.get_log(self._db, match.log).lines for match in matches}
        return decide(matches, window, lengths, place is None)

    def _matches(self, window: bytes, time: int, place: Place | None) -> Iterator[Match]:
        for log, page, lines in imports.pages_at(self._db, self._source.source, time, time):
            for index in positions(lines, window[:PREFIX]):
                position = page * PAGE_LINES + index
                # A log does not go back: lines that repeat what stands before this place are requests of their own.
                if place and place.log == log and (place.position is None or position <= place.position):
                    continue
                known = lines[index * PREFIX : index * PREFIX + len(window)]
                if len(known) < len(window) and len(lines) == PAGE_LINES * PREFIX:
                    known, _ = imports.read_lines(self._db, log, position, len(window) // PREFIX)
                yield Match(common_lines(known, window), log, position)

    def _holding(self) -> int | None:
        """The log that holds all of the first lines, though not in a row: of a file that was sorted or filtered."""
        times = self._window.times[:HEAD_LINES]
        wanted = set(prefixes(self._window.lines[: HEAD_LINES * PREFIX]))
        if len(wanted) < 2:
            return None
        missing: dict[int, set[bytes]] = {}
        for log, _, lines in imports.pages_at(self._db, self._source.source, min(times), max(times)):
            missing.setdefault(log, set(wanted)).difference_update(prefixes(lines))
        return min((log for log, lines in missing.items() if not lines), default=None)
