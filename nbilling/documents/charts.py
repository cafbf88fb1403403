"""Usage drawn small: bars as SVG for HTML and PDF, blocks for the terminal. No float: heights are integers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Literal

_BLOCKS = "▁▂▃▄▅▆▇█"
MAX_BARS = 124  # four months of days; more would be thinner than print can show

Point = tuple[date, Decimal]


def spark(values: Sequence[Decimal | int]) -> str:
    """One character a value, the highest a full block: ``▁▃█``. Zero and below are the lowest block."""
    highest = max(values, default=Decimal(0))
    if highest <= 0:
        return _BLOCKS[0] * len(values)
    steps = len(_BLOCKS) - 1
    return "".join(_BLOCKS[max(0, min(steps, _scaled(value, highest, steps)))] for value in values)


def bar_chart_svg(values: Sequence[Decimal | int], *, color: str, width: int = 600, height: int = 120) -> str:
    """A standalone SVG of one bar a value, the highest as high as the picture; ``color`` is ``#rrggbb``.

    It holds no text, so it needs no font: what the bars mean is said beside it. Every value above zero is seen.
    """
    count = max(1, len(values))
    highest = max(values, default=Decimal(0))
    # In hundredths of a unit, so that integers are fine enough for hundreds of bars.
    wide, high = width * 100, height * 100
    gap = wide // (count * 4) if count > 1 else 0
    bars = []
    for index, value in enumerate(values):
        if value <= 0:
            continue
        left = wide * index // count
        right = wide * (index + 1) // count - gap
        tall = max(high // 50, _scaled(value, highest, high))
        bars.append(f"M{left} {high}V{high - tall}H{right}V{high}z")
    path = f'<path fill="{color}" d="{"".join(bars)}"/>' if bars else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {wide} {high}" preserveAspectRatio="none">{path}</svg>'
    )


def condensed(points: Sequence[Point], aggregate: Literal["sum", "level"]) -> tuple[Point, ...]:
    """At most ``MAX_BARS`` points: neighbours are added up, or for a level the highest of them is kept."""
    size = -(-len(points) // MAX_BARS)
    if size <= 1:
        return tuple(points)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    if aggregate == "level":
        return tuple((group[0][0], max(value for _, value in group)) for group in groups)
    return tuple((group[0][0], sum((value for _, value in group), Decimal(0))) for group in groups)


def _scaled(value: Decimal | int, highest: Decimal | int, steps: int) -> int:
    """``value / highest * steps`` rounded to the nearest, exactly."""
    top, bottom = Decimal(value).as_integer_ratio()
    high_top, high_bottom = Decimal(highest).as_integer_ratio()
    numerator, denominator = top * high_bottom * steps, bottom * high_top
    return (2 * numerator + denominator) // (2 * denominator)
