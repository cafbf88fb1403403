"""A run beside a stored one: which ratios moved by more than their rounds spread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.harness import quartiles

NOTABLE = 0.05
"""A move of less than five percent is not told: medians of one run differ by that from the next."""


def with_stored(path: Path, found: dict[str, Any]) -> str:
    """What became worse, better, or stayed, as text. Only ratios are compared: machines differ, ratios less so."""
    before = _ratios(json.loads(path.read_text("utf-8")))
    now = _ratios(found)
    lines = [_line(name, before[name], now[name]) for name in now if name in before]
    lines += [f"new: {name}" for name in now if name not in before]
    return "\n".join([f"Compared with {path}:", *(sorted(lines, key=_order))])


def _ratios(run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{subject['name']}: {ratio['name']}": ratio for subject in run["subjects"] for ratio in subject["ratios"]}


def _line(name: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    change = now["median"] / before["median"]
    figures = f"{name}: {before['median']:.2f} before, {now['median']:.2f} now ({change - 1:+.0%})"
    (low, high), (low_now, high_now) = quartiles(before["rounds"]), quartiles(now["rounds"])
    apart = low_now > high or high_now < low
    if not apart or abs(change - 1) < NOTABLE:
        return f"same: {figures}"
    return f"{'better' if (change > 1) == now['more_is_better'] else 'worse'}: {figures}"


def _order(line: str) -> int:
    return ("worse", "better", "new", "same").index(line.partition(":")[0])
