"""Where the lines of an import stand in the known logs: copies, heads, tails, rotation, and all of them mixed."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbilling.engine import imports as use_case
from nbilling.model.imports import PAGE_LINES


def line(number: int, second: int | None = None) -> bytes:
    """A line of its own, at a second of its own unless one is given."""
    second = number if second is None else second
    time = f"17/May/2026:{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02} +0000"
    return f'10.0.0.1 - - [{time}] "GET /{number} HTTP/1.1" 200 1 "-" "-"'.encode()


def log(*numbers: int | range) -> list[bytes]:
    return [line(n) for some in numbers for n in ([some] if isinstance(some, int) else some)]


def rules(report: Any) -> list[tuple[int, str, int]]:
    return [tuple(part) for part in report.parts]


@pytest.fixture(params=[7, 2500])
def batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(use_case, "BATCH_LINES", request.param)
    return int(request.param)


def test_a_log_that_grows_adds_only_what_is_new(imports: Any, batches: int) -> None:
    for size, added in ((1, 1), (2, 1), (63, 61), (64, 1), (65, 1), (200, 135), (200, 0), (120, 0)):
        report = imports.run(log(range(size)))
        assert (report.added, report.log) == (added, 1)
    assert imports.requests() == 200


def test_a_log_grows_over_the_pages_of_the_registry(imports: Any) -> None:
    sizes = (PAGE_LINES - 1, PAGE_LINES, PAGE_LINES + 1, 3 * PAGE_LINES, 3 * PAGE_LINES + 7)
    for before, size in zip((0, *sizes), sizes, strict=False):
        assert imports.run(log(range(size))).added == size - before
    for begin in (PAGE_LINES - 2, PAGE_LINES, 2 * PAGE_LINES - 30, 3 * PAGE_LINES + 5):
        report = imports.run(log(range(begin, 3 * PAGE_LINES + 7)))
        assert (report.added, report.rule) == (0, "overlap")


def test_a_rotation_begins_a_new_log_and_its_continuation_goes_on(imports: Any, batches: int) -> None:
    assert rules(imports.run(log(range(50)))) == [(1, "new", 50)]
    assert rules(imports.run(log(range(50, 60)))) == [(2, "new", 10)]
    assert rules(imports.run(log(range(50, 90)))) == [(2, "head", 40)]
    assert rules(imports.run(log(range(70)))) == [(1, "head", 50), (2, "head", 20)]
    assert imports.requests() == 90


def test_a_split_between_two_equal_lines_counts_both(imports: Any, batches: int) -> None:
    first, second = log(range(30), 29), log(29, 29, range(30, 60))
    assert imports.run(first).added == 31
    assert imports.run(second).added == 32
    assert imports.run(first + second).added == 0
    assert imports.run(second).added == imports.run(first).added == 0


def test_two_rotated_logs_in_one_are_the_two_that_are_known(imports: Any, batches: int) -> None:
    imports.run(log(range(40)))
    imports.run(log(range(50, 90)))
    # The first one had grown before it was rotated: its last lines were never imported.
    report = imports.run(log(range(100)))
    assert report.added == 20
    assert rules(report) == [(1, "head", 50), (2, "head", 50)]
    assert imports.run(log(range(100))).added == 0


def test_a_log_whose_last_lines_were_imported_before_is_completed(imports: Any, batches: int) -> None:
    imports.run(log(range(80, 100)))
    report = imports.run(log(range(120)))
    assert (report.added, rules(report)) == (100, [(2, "new", 80), (1, "head", 40)])
    assert imports.run(log(range(150))).added == 30
    assert imports.requests() == 150


def test_windows_that_overlap_as_docker_logs_since_gives_them_add_up(imports: Any, batches: int) -> None:
    for begin in range(0, 300, 30):
        assert imports.run(log(range(begin, begin + 50))).added == (50 if begin == 0 else 30)
    assert imports.requests() == 320


@pytest.mark.parametrize("tail", [2, 5, 63, 64, 65, 199])
def test_the_end_of_a_known_log_and_what_follows(imports: Any, batches: int, tail: int) -> None:
    imports.run(log(range(200)))
    report = imports.run(log(range(200 - tail, 230)))
    assert (report.added, report.rule) == (30, "overlap")
    assert imports.run(log(range(230))).added == 0


def test_equal_lines_before_and_after_the_beginning_of_a_tail_are_told_apart(imports: Any, batches: int) -> None:
    again = [line(7, 0)]
    whole = again * 3 + log(range(1, 90)) + again * 2
    imports.run(whole)
    assert imports.run(log(range(80, 90)) + again * 5 + log(90)).added == 4
    assert imports.requests() == len(whole) + 4


def test_one_line_that_ends_a_log_and_begins_the_next_is_two_requests(imports: Any) -> None:
    imports.run(log(range(20)))
    assert imports.run(log(19)).added == 1
    assert imports.run(log(19)).added == 0
    assert imports.run([line(19)] * 3).added == 2


def test_equal_lines_only_are_told_by_their_head(imports: Any, batches: int) -> None:
    assert imports.run(log(5) * 100).added == 100
    assert imports.run(log(5) * 130).added == 30
    assert imports.run(log(5) * 130 + log(6)).added == 1
    assert imports.run(log(5) * 2).added == 0


def test_a_log_that_grew_in_the_middle_of_a_burst_loses_nothing(imports: Any, batches: int) -> None:
    burst = [line(1, 0), line(2, 0)]
    imports.run(burst * 5)
    assert imports.run(burst * 8 + log(9)).added == 7


def test_two_servers_that_share_lines_both_count(imports: Any, batches: int) -> None:
    shared = log(range(10, 90, 2))
    one = sorted(log(*range(11, 90, 8)) + shared)
    other = sorted(log(*range(13, 90, 8)) + shared)
    assert imports.run(one, source="").added == len(one)
    assert imports.run(other).added == len(other)
    assert imports.run(one).added == imports.run(other).added == 0


def test_two_servers_that_share_all_lines_are_kept_apart_by_their_sources(imports: Any, batches: int) -> None:
    for source in ("", "a", "b"):
        assert imports.run(log(range(50)), source=source).added == 50
        assert imports.run(log(range(60)), source=source).added == 10
        assert imports.run(log(range(30, 60)), source=source).added == 0


def test_copytruncate_begins_a_new_log_in_the_old_file(imports: Any, batches: int) -> None:
    imports.run(log(range(40)))
    copy = log(range(50))
    assert imports.run(log(range(50, 55))).added == 5
    assert imports.run(copy).added == 10
    assert imports.run(log(range(50, 70))).added == 15
    assert imports.run(copy + log(range(50, 80))).added == 10


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: sorted(lines, key=lambda text: text[::-1]),
        lambda lines: [text for text in lines if b"3 HTTP" not in text],
        lambda lines: lines[::-1],
        lambda lines: lines[5:],
        lambda lines: lines[5:50] + lines[60:90],
        lambda lines: lines[:50] + lines[70:],
        lambda lines: lines[:70] + lines[65:],
    ],
)
def test_a_log_that_was_sorted_filtered_or_cut_adds_nothing_that_is_known(
    imports: Any, batches: int, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    lines = log(range(100))
    imports.run(lines)
    changed = change(lines)
    twice = len(changed) - len(set(changed))
    assert imports.run(changed).added == twice
    assert imports.run(changed).added == 0
    assert imports.run(lines).added == 0


def test_a_line_put_into_a_known_log_is_added_alone(imports: Any, batches: int) -> None:
    lines = log(range(100))
    imports.run(lines)
    edited = lines[:70] + log(500) + lines[70:]
    assert imports.run(edited).added == 1
    assert imports.run(edited).added == imports.run(lines).added == 0


def test_bad_lines_play_no_part_in_what_log_it_is(imports: Any, batches: int) -> None:
    lines = log(range(50))
    noise = [b"/docker-entrypoint.sh: ready", b"", b"\0"]
    imports.run(noise + lines)
    assert imports.run(lines).added == 0
    assert imports.run(lines[:20] + noise + lines[20:] + noise).added == 0


def test_the_last_line_counts_the_same_with_and_without_its_break(imports: Any) -> None:
    data = b"\n".join(log(range(10)))
    for stream, added in ((data, 10), (data + b"\n", 0), (data + b"\n" + line(10), 1)):
        assert imports.run(io.BytesIO(stream)).added == added


# --- Any mixture ------------------------------------------------------------------------------------------------------


def written(repeats: set[int]) -> list[bytes]:
    """What a server wrote. At ``repeats`` a line is the one three before it, never two in a row."""
    lines = log(range(90))
    for at in sorted(repeats):
        if at >= 3 and at - 1 not in repeats:
            lines[at] = lines[at - 3]
    return lines


def ambiguous(view: range, logs: list[range]) -> bool:
    """Whether the view meets a known log in a single line, which by design is a request of its own; else notes it."""
    at, current = view.start, -1
    grown = list(logs)
    while at < view.stop:
        number = next((n for n, known in enumerate(grown) if at in known), None)
        if number is not None:
            stop = min(view.stop, grown[number].stop)
            if stop - at < 2 and not (at == view.start == grown[number].start):
                return True
            current = number
        else:
            stop = min([known.start for known in grown if known.start > at] + [view.stop])
            if current < 0 or grown[current].stop != at:
                grown.append(range(at, stop))
                current = len(grown) - 1
            else:
                grown[current] = range(grown[current].start, stop)
        at = stop
    logs[:] = grown
    return False


views = st.tuples(st.integers(0, 85), st.integers(1, 90)).map(lambda pair: range(pair[0], min(90, pair[0] + pair[1])))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(views, min_size=1, max_size=8),
    st.sets(st.integers(0, 89), max_size=20),
    st.integers(1, 40),
    st.integers(0, 12),
)
def test_any_mixture_of_heads_tails_rotations_and_copies_counts_each_line_once(
    new_imports: Callable[[], Any],
    killed: type[BaseException],
    parts: list[range],
    repeats: set[int],
    batch: int,
    kill: int,
) -> None:
    lines = written(repeats)
    imports = new_imports()
    logs: list[range] = []
    seen: set[int] = set()
    imports.ledger.kill_at, imports.ledger.kill_after = kill, bool(kill % 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(use_case, "BATCH_LINES", batch)
        for view in parts:
            if ambiguous(view, logs):
                continue
            seen.update(view)
            text = [lines[at] for at in view]
            try:
                imports.run(text)
            except killed:
                imports.run(text)
            assert imports.requests() == len(seen), (view, logs)
