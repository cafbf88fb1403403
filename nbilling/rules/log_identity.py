"""Which log is this, and which of its lines is that? What makes importing a log twice add nothing.

A log is the sequence of its readable lines. The registry keeps eight bytes of each line's hash, in order, in pages; a
file is a known log where its lines run along a known sequence. Two identical lines of one log are two requests: the
identity of a line is its log, its hash, and how often that line came before it in that log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import NamedTuple

from nbilling.model.imports import PAGE_LINES, PREFIX

HEAD_LINES = 64
"""How many lines must agree for two logs to be the same one; a shorter file must agree as far as it goes."""

DISTINCT_LINES = 100_000
"""How many different lines a generation of :class:`Occurrences` holds. Identical lines stand close together, for a line
holds its time; in a real log of 28,021 lines at most 116 lines apart."""

LOOK_BACK = 4 * PAGE_LINES
"""How many lines before the first one are counted where a file begins in the middle of a known log."""


def line_hash(line: bytes) -> bytes:
    """16 bytes that stand for a line without its line break."""
    return blake2b(line, digest_size=16).digest()


def event_keys(log: int, line: bytes, occurrence: int) -> tuple[bytes, bytes]:
    """The keys of a line's two events, the request and its bytes. ``line`` is its hash, ``occurrence`` is from 1 on."""
    text = b"nbilling access log" + log.to_bytes(8, "big") + line + occurrence.to_bytes(8, "big")
    keys = blake2b(text, digest_size=32).digest()
    return keys[:16], keys[16:]


class Occurrences:
    """How often each line has come so far, in bounded memory: of two generations the older one is forgotten."""

    def __init__(self, limit: int = DISTINCT_LINES) -> None:
        self._limit = limit
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}

    def number(self, lines: Iterable[bytes], counted: dict[bytes, int]) -> list[int]:
        """The number of each of the next lines among its equals, from 1. ``lines`` are prefixes.

        The count goes on in ``counted``, which :meth:`keep` takes when the job that needed the numbers has succeeded.
        """
        numbers = []
        for line in lines:
            before = counted.get(line)
            if before is None:
                before = self._young.get(line) or self._old.get(line, 0)
            counted[line] = before + 1
            numbers.append(before + 1)
        return numbers

    def keep(self, counted: dict[bytes, int]) -> None:
        """Remembers the lines of a job that is done."""
        self._young.update(counted)
        if len(self._young) > self._limit:
            self._old, self._young = self._young, {}


def positions(page: bytes, prefix: bytes) -> Iterator[int]:
    """Where in a page of prefixes a line stands."""
    at = page.find(prefix)
    while at >= 0:
        if at % PREFIX == 0:
            yield at // PREFIX
        at = page.find(prefix, at + 1)


def common_lines(a: bytes, b: bytes) -> int:
    """How many lines two sequences of prefixes have in common at their beginning."""
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length // PREFIX
    low, high = 0, length // PREFIX
    while high - low > 1:
        middle = (low + high) // 2
        if a[: middle * PREFIX] == b[: middle * PREFIX]:
            low = middle
        else:
            high = middle
    return low


def prefixes(lines: bytes) -> list[bytes]:
    """The lines of a sequence, one by one."""
    return [lines[at : at + PREFIX] for at in range(0, len(lines), PREFIX)]


class Match(NamedTuple):
    """The file's next lines stand in ``log`` from ``position`` on; ``run`` of them were compared and agree."""

    run: int
    log: int
    position: int


def decide(matches: Iterable[Match], window: bytes, lengths: dict[int, int], beginning: bool) -> Match | None:
    """The known log that the next lines belong to, or None. ``window`` holds the prefixes of these lines.

    The lines must agree to the end of the window or of what is known of that log, and two of them must differ: one
    line that stands at the end of a log and again at the beginning of the next is two requests. Only at the beginning
    of a file does a single line that begins a known log decide, for then that log has no other beginning. The longest
    run wins, then the older log.
    """
    best: Match | None = None
    for match in matches:
        run, log, position = match
        whole = run * PREFIX == len(window) or position + run == lengths[log]
        if not run or not whole:
            continue
        if len(set(prefixes(window[: run * PREFIX]))) < 2 and not (beginning and position == 0):
            continue
        if best is None or (run, -log, -position) > (best.run, -best.log, -best.position):
            best = match
    return best
