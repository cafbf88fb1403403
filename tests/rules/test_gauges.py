from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.errors import BadInput
from nbilling.rules.gauges import HOUR, in_parts, over_period

GIB = 2**30
spans = st.lists(st.integers(0, 1000), min_size=2, max_size=2, unique=True).map(sorted)
samples = st.lists(st.tuples(st.integers(-50, 1050), st.integers(0, 10**12)), max_size=12).map(
    lambda found: sorted(found, key=lambda sample: sample[0])
)
levels = st.integers(0, 10**12)


@given(samples, spans, levels)
def test_the_area_is_what_reading_the_level_at_every_instant_gives(
    found: list[tuple[int, int]], span: list[int], carried: int
) -> None:
    start, end = span
    readings = []
    for instant in range(start, end):
        known = [level for at, level in found if at <= instant]
        readings.append(known[-1] if known else carried)
    usage = over_period(found, start, end, carried)
    assert usage.area == sum(readings)
    assert usage.average == Fraction(sum(readings), len(readings))
    assert usage.maximum == max(readings)
    assert usage.last == readings[-1]


@given(samples, st.lists(st.integers(0, 1000), min_size=2, max_size=5, unique=True).map(sorted), levels)
def test_parts_add_up_to_the_whole_and_hand_the_level_on(
    found: list[tuple[int, int]], cuts: list[int], carried: int
) -> None:
    inside = [sample for sample in found if sample[0] >= cuts[0]]
    parts = in_parts(inside, cuts, carried)
    whole = over_period(inside, cuts[0], cuts[-1], carried)
    assert sum(part.area for part in parts) == whole.area
    assert max(part.maximum for part in parts) == whole.maximum
    assert parts[-1].last == whole.last
    assert len(parts) == len(cuts) - 1


@given(levels, spans)
def test_a_level_that_never_changes_is_its_own_average(level: int, span: list[int]) -> None:
    usage = over_period([], *span, carried=level)
    assert usage.average == usage.maximum == usage.last == level


def test_a_level_in_the_last_hour_weighs_an_hour() -> None:
    month = 30 * 24 * HOUR
    usage = over_period([(month - HOUR, 720 * GIB)], 0, month)
    assert usage.average == GIB
    assert usage.unit_hours == 720 * GIB


def test_of_several_samples_at_one_instant_the_last_counts_and_the_others_are_no_peak() -> None:
    usage = over_period([(10, 99), (10, 5)], 0, 20, carried=1)
    assert (usage.area, usage.maximum, usage.last) == (10 * 1 + 10 * 5, 5, 5)


def test_samples_at_the_end_belong_to_the_next_period_and_earlier_ones_are_carried() -> None:
    usage = over_period([(-5, 7), (100, 50)], 0, 100, carried=3)
    assert (usage.average, usage.maximum, usage.last) == (7, 7, 7)


def test_an_empty_period_and_samples_out_of_order_are_refused() -> None:
    with pytest.raises(BadInput, match="empty"):
        over_period([], 5, 5)
    with pytest.raises(BadInput, match="order"):
        over_period([(5, 1), (4, 1)], 0, 10)
