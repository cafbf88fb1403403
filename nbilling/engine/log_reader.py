"""From raw lines to what is to be recorded: docker's wrapping off, parsed, hashed, and whom each line is billed to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from nbilling.model.clock import FUTURE_TOLERANCE
from nbilling.model.imports import BadLine, ImportOptions
from nbilling.rules.access_logs import MAX_LINE, AccessLine, Parser, Unreadable, line_parser, metadata
from nbilling.rules.hasura_logs import hasura_parser
from nbilling.rules.json_logs import DockerLines, json_parser
from nbilling.rules.log_customers import CustomerChoice
from nbilling.rules.log_identity import line_hash

_MOST_KEPT = 16_384


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
        self._others = 0
        self.number = 0

    @property
    def skipped(self) -> int:
        """Lines of standard error in a docker log, and those about something else than requests."""
        return self._others + (self._docker.skipped if self._docker else 0)

    def read(self, raw_lines: Iterable[bytes]) -> tuple[list[Line], list[BadLine]]:
        """The readable lines, and those that nobody is billed for: a line may be in both."""
        good: list[Line] = []
        bad: list[BadLine] = []
        latest = self._now() + FUTURE_TOLERANCE
        for raw in raw_lines:
            self.number += 1
            try:
                line = raw if self._docker is None else self._docker.feed(raw)
                if line is None:
                    continue
                found = self._parse(line)
                if found is None:
                    self._others += 1
                else:
                    good.append(self._line(line, found, latest, bad))
            except Unreadable as error:
                bad.append(BadLine(self.number, error.reason, error.message, raw[:MAX_LINE]))
        return good, bad

    def read_rest(self, raw: bytes) -> tuple[list[Line], list[BadLine]] | None:
        """The same for a last line without a line break; None where it can only be a part: it is left for next time."""
        good: list[Line] = []
        bad: list[BadLine] = []
        if raw := raw.removesuffix(b"\r"):
            good, bad = self.read([raw])
            if bad and not good:
                self.number -= 1
                return None
        return None if self._docker and self._docker.unfinished else (good, bad)

    def _line(self, raw: bytes, found: AccessLine, latest: int, bad: list[BadLine]) -> Line:
        customer = ""
        try:
            if found.at > latest:
                raise Unreadable("future")
            customer = self._named(found.who)
        except Unreadable as error:
            bad.append(BadLine(self.number, error.reason, error.message, raw))
        kept = self._kept(found)
        return Line(self.number, raw, line_hash(raw), found.at, found.size, customer, found.id, kept)

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
    if options.format == "hasura":
        return hasura_parser(options.fields, choice.who)
    return line_parser(options.format, *choice.who)
