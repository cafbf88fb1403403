"""Which log is this: lines, their numbers among equals, and the decision between known logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.imports import PREFIX
from nbilling.rules.log_identity import (
    HEAD_LINES,
    Match,
    Occurrences,
    common_lines,
    decide,
    event_keys,
    line_hash,
    positions,
    prefixes,
)

REAL_LOG = Path(__file__).resolve().parents[3] / "shared/data/logs/elastic_nginx_logs_first28020.log"


def packed(text: str) -> bytes:
    """One letter a line."""
    return b"".join(line_hash(letter.encode())[:PREFIX] for letter in text)


def matches(window: str, *logs: str, beginning: bool = True) -> Match | None:
    """Decides between logs numbered from 1."""
    found = [
        Match(common_lines(packed(log)[position * PREFIX :], packed(window)), number, position)
        for number, log in enumerate(logs, 1)
        for position in range(len(log))
    ]
    return decide(found, packed(window), {number: len(log) for number, log in enumerate(logs, 1)}, beginning)


def test_keys_depend_on_log_line_and_occurrence_and_differ_between_request_and_bytes() -> None:
    one, other = line_hash(b"one"), line_hash(b"other")
    keys = [key for log in (1, 2) for line in (one, other) for n in (1, 2) for key in event_keys(log, line, n)]
    assert len(set(keys)) == 16
    assert {len(key) for key in keys} == {16}
    assert event_keys(1, one, 1) == event_keys(1, one, 1)


def test_equal_lines_are_numbered() -> None:
    counter = Occurrences()
    counted: dict[bytes, int] = {}
    assert counter.number(prefixes(packed("abaa")), counted) == [1, 1, 2, 3]
    assert counter.number(prefixes(packed("ba")), counted) == [2, 4]


def test_a_job_that_failed_leaves_the_numbers_as_they_were() -> None:
    counter = Occurrences()
    first: dict[bytes, int] = {}
    counter.number(prefixes(packed("aa")), first)
    assert counter.number(prefixes(packed("aa")), {}) == [1, 2]
    counter.keep(first)
    assert counter.number(prefixes(packed("aa")), {}) == [3, 4]


@given(st.lists(st.integers(0, 30).map(lambda number: number.to_bytes(8, "big")), max_size=200), st.integers(1, 40))
def test_numbers_are_exact_while_different_lines_fit_in_a_generation(lines: list[bytes], batch: int) -> None:
    counter = Occurrences(31)
    numbers: list[int] = []
    for start in range(0, len(lines), batch):
        counted: dict[bytes, int] = {}
        numbers += counter.number(lines[start : start + batch], counted)
        counter.keep(counted)
    assert numbers == [lines[: at + 1].count(line) for at, line in enumerate(lines)]


def test_memory_is_bounded_by_two_generations() -> None:
    counter = Occurrences(10)
    for number in range(1000):
        counted: dict[bytes, int] = {}
        counter.number([number.to_bytes(8, "big")], counted)
        counter.keep(counted)
    remembered = [n for n in range(1000) if counter.number([n.to_bytes(8, "big")], {}) == [2]]
    assert remembered == list(range(remembered[0], 1000))
    assert 10 <= len(remembered) <= 22


def test_positions_are_whole_lines_only() -> None:
    page = b"\0" * 7 + b"\1" + b"\0" * 8 + b"\0" * 7 + b"\1"
    assert list(positions(page, b"\0" * 8)) == [1]
    assert list(positions(page, b"\0" * 7 + b"\1")) == [0, 2]


@given(st.text("ab", max_size=40), st.text("ab", max_size=40))
def test_common_lines_is_the_length_of_the_common_beginning(one: str, other: str) -> None:
    expected = next((n for n, pair in enumerate(zip(one, other, strict=False)) if len(set(pair)) == 2), None)
    assert common_lines(packed(one), packed(other)) == (min(len(one), len(other)) if expected is None else expected)


@pytest.mark.parametrize(
    "window,logs,found",
    [
        # The same head: a copy, a shorter copy, a log that has grown.
        ("abcd", ["abcd"], (1, 0)),
        ("ab", ["abcd"], (1, 0)),
        ("a", ["abcd"], (1, 0)),
        ("abcd", ["ab"], (1, 0)),
        ("abcd", ["a"], (1, 0)),
        ("aaaa", ["aa"], (1, 0)),
        # Not the same: another line comes before the shorter one ends.
        ("abcx", ["abcd"], None),
        ("xbcd", ["abcd"], None),
        ("ax", ["abcd"], None),
        # The last lines of a known log, and what was written since.
        ("cd", ["abcd"], (1, 2)),
        ("bc", ["abcd"], (1, 1)),
        ("cdef", ["abcd"], (1, 2)),
        ("ccd", ["abccd"], (1, 2)),
        # One line, or equal lines, that end one log and begin the next are requests of their own.
        ("d", ["abcd"], None),
        ("dx", ["abcd"], None),
        ("ddx", ["abcdd"], None),
        ("c", ["abcd"], None),
        # The longest run decides, then the older log.
        ("abcd", ["a", "xabcd"], (2, 1)),
        ("abcd", ["abcd", "abcd"], (1, 0)),
        ("cdx", ["abcd", "cdx"], (2, 0)),
        ("cdab", ["cdxcd", "cdabcd"], (2, 0)),
    ],
)
def test_the_log_that_lines_belong_to(window: str, logs: list[str], found: tuple[int, int] | None) -> None:
    match = matches(window, *logs)
    assert (match and (match.log, match.position)) == found


def test_in_the_middle_of_a_file_a_single_line_decides_nothing() -> None:
    assert matches("abcd", "a", beginning=False) is None
    assert matches("abcd", "ab", beginning=False) == Match(2, 1, 0)


def test_at_no_place_can_the_real_log_be_split_so_that_its_two_parts_seem_to_overlap() -> None:
    if not REAL_LOG.exists():
        pytest.skip(f"{REAL_LOG} is not there")
    lines = [line_hash(line)[:PREFIX] for line in REAL_LOG.read_bytes().split(b"\n")]
    assert len(lines) - len(set(lines)) == 366
    whole = b"".join(lines)
    before: dict[bytes, list[int]] = {}
    for split, line in enumerate(lines):
        window = b"".join(lines[split : split + HEAD_LINES])
        known = whole[: split * PREFIX]
        found = [
            Match(common_lines(known[at * PREFIX : (at + HEAD_LINES) * PREFIX], window), 1, at)
            for at in before.get(line, [])
        ]
        assert decide(found, window, {1: split}, True) is None
        before.setdefault(line, []).append(split)
