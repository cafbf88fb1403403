"""Usage drawn small."""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.documents.charts import MAX_BARS, bar_chart_svg, condensed, spark

values_of_days = st.lists(st.one_of(st.integers(0, 2**63), st.decimals(0, 10**9, places=6)), max_size=200)


def bars_of(svg: str) -> list[tuple[int, int, int, int]]:
    """Left, bottom, top, right of each bar."""
    return [
        tuple(map(int, found))
        for found in re.findall(r"M(\d+) (\d+)V(\d+)H(\d+)V\d+z", svg)  # type: ignore[misc]
    ]


def test_a_sparkline_has_a_block_for_each_value_and_a_full_one_for_the_highest() -> None:
    assert spark([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert spark([Decimal("0.1"), Decimal("0.2")]) == "▅█"
    assert spark([0, 0, 0]) == "▁▁▁"
    assert spark([-5, 10]) == "▁█"
    assert spark([]) == ""


@given(values_of_days)
def test_a_sparkline_is_as_long_as_its_values_and_keeps_their_order(values) -> None:
    line = spark(values)
    assert len(line) == len(values)
    assert sorted(line) == list(spark(sorted(values)))


@given(values_of_days)
def test_a_chart_has_a_bar_for_each_value_above_zero_inside_its_frame(values) -> None:
    svg = bar_chart_svg(values, color="#123456")
    width, height = map(int, ElementTree.fromstring(svg).attrib["viewBox"].split()[2:])
    bars = bars_of(svg)
    assert len(bars) == sum(1 for value in values if value > 0)
    for left, bottom, top, right in bars:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom == height


def test_heights_are_in_proportion_and_the_highest_fills_the_frame() -> None:
    (_, bottom, half, _), (_, _, full, _) = bars_of(bar_chart_svg([5, 10], color="#123456", height=100))
    assert (bottom - half, bottom - full) == (5000, 10000)


def test_the_smallest_use_is_still_seen_beside_the_largest() -> None:
    (_, bottom, top, _), _ = bars_of(bar_chart_svg([1, 2**63], color="#123456", height=100))
    assert bottom - top == 200


def test_many_days_become_fewer_bars_and_keep_their_sum_or_their_height() -> None:
    points = [(date(2026, 1, 1) + timedelta(days), Decimal(days % 7)) for days in range(400)]
    added = condensed(points, "sum")
    assert len(added) <= MAX_BARS
    assert sum(value for _, value in added) == sum(value for _, value in points)
    assert max(value for _, value in condensed(points, "level")) == 6
    assert added[0][0] == points[0][0]


@pytest.mark.parametrize("count", [1, MAX_BARS])
def test_days_that_fit_are_left_as_they_are(count: int) -> None:
    points = tuple((date(2026, 1, 1) + timedelta(days), Decimal(days)) for days in range(count))
    assert condensed(points, "sum") == points
