"""Interleaved rounds, and what they say: medians, quartiles, and ratios of one run.

Every figure is a cost, in microseconds an item, taken once a round. The variants of a subject run in a new order each
round, so what else the machine does meets all of them; a ratio is taken round by round, and its median is shown.
"""

from __future__ import annotations

import gc
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parent.parent
BUSY_LIMIT_SECONDS = 3600
CPU = "µs of CPU"
"""A further figure of most variants: processor time an item, which a slow disk or a busy machine moves little."""


class Options(NamedTuple):
    """What the command line asked for. ``directory``: where files are made, and found again if it is kept."""

    directory: Path
    rounds: int = 7
    events: int = 100_000
    calls: int = 2_000
    customers: int = 1_000
    sizes: tuple[int, ...] = (0, 1_000_000, 5_000_000)
    busy: bool = False
    seed: int = 1
    tell: Callable[[str], None] = lambda text: None


class Outcome(NamedTuple):
    """One round of one variant. ``cost``: microseconds an item. ``waits``: seconds of single calls, if they were timed.
    ``more``: further figures of the round, whose medians are shown. Every round of a variant has the same ones."""

    cost: float
    waits: Sequence[float] = ()
    more: dict[str, float] = {}  # noqa: RUF012 - never written to


class Variant(NamedTuple):
    """A thing to measure. ``run`` does one round; ``statements`` is the SQL that it executes, to be printed."""

    name: str
    run: Callable[[], Outcome]
    statements: str = ""


class Figure(NamedTuple):
    """All rounds of a variant. ``waits`` holds p50, p99 and the longest of all calls, in microseconds; ``more`` the
    further figures, round by round."""

    name: str
    rounds: list[float]
    waits: dict[str, float]
    more: dict[str, list[float]]

    @property
    def median(self) -> float:
        """Microseconds an item."""
        return statistics.median(self.rounds)


class Ratio(NamedTuple):
    """Two figures compared. ``rounds``: the ratio of each; ``target`` in words, empty where there is none."""

    name: str
    rounds: list[float]
    target: str = ""
    more_is_better: bool = False

    @property
    def median(self) -> float:
        """The middle ratio of all rounds."""
        return statistics.median(self.rounds)


class Skipped(Exception):
    """This cannot be measured here; the message says why."""


class Result(NamedTuple):
    """What one subject found. ``conditions`` are printed above its tables, ``statements`` by variant below them;
    ``facts`` are figures that belong to no variant."""

    name: str
    title: str
    conditions: dict[str, str]
    figures: list[Figure]
    ratios: list[Ratio]
    statements: dict[str, str] = {}  # noqa: RUF012 - never written to
    facts: dict[str, float] = {}  # noqa: RUF012 - never written to
    skipped: list[str] = []  # noqa: RUF012 - never written to
    item: str = "event"


def per_item(items: int, action: Callable[[], object]) -> Outcome:
    """Runs the action once; its cost is the time over all items."""
    start, work = time.perf_counter(), time.process_time()
    action()
    took, worked = time.perf_counter() - start, time.process_time() - work
    return Outcome(took / items * 1e6, (), {CPU: worked / items * 1e6})


def per_call(calls: int, action: Callable[[int], object]) -> Outcome:
    """Calls the action with 0, 1, 2…, times each call, and takes the median: a pause of the machine moves it little."""
    clock, waits, work = time.perf_counter, [], time.process_time()
    for number in range(calls):
        start = clock()
        action(number)
        waits.append(clock() - start)
    worked = time.process_time() - work
    return Outcome(statistics.median(waits) * 1e6, waits, {CPU: worked / calls * 1e6})


def interleave(
    variants: Sequence[Variant], options: Options, before_round: Callable[[int], None] | None = None
) -> dict[str, Figure]:
    """Runs every variant once a round, in a new order each time. ``before_round`` prepares what all of them share."""
    order = random.Random(options.seed)
    outcomes: dict[str, list[Outcome]] = {variant.name: [] for variant in variants}
    for number in range(options.rounds):
        if before_round is not None:
            gc.unfreeze()
            before_round(number)
            gc.collect()
            gc.freeze()  # millions of prepared values are the benchmark's own: no variant is to look through them
        for variant in order.sample(list(variants), len(variants)):
            options.tell(f"round {number + 1} of {options.rounds}: {variant.name}")
            outcomes[variant.name].append(variant.run())
    gc.unfreeze()
    return {name: _figure(name, found) for name, found in outcomes.items()}


def _figure(name: str, outcomes: list[Outcome]) -> Figure:
    waits = sorted(wait * 1e6 for outcome in outcomes for wait in outcome.waits)
    summary = {"p50": _at(waits, 0.5), "p99": _at(waits, 0.99), "max": waits[-1]} if waits else {}
    more = {key: [outcome.more[key] for outcome in outcomes] for key in outcomes[0].more}
    return Figure(name, [outcome.cost for outcome in outcomes], summary, more)


def _at(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The lower and the upper quartile; of fewer than four values the lowest and the highest."""
    if len(values) < 4:
        return min(values), max(values)
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, upper


def cost_ratio(name: str, of: Figure, to: Figure, target: str = "") -> Ratio:
    """How many times as much ``of`` costs as ``to``: less is better."""
    return Ratio(name, [mine / other for mine, other in zip(of.rounds, to.rounds, strict=True)], target)


def rate_ratio(name: str, of: Figure, to: Figure, target: str = "") -> Ratio:
    """How many times as fast ``of`` is as ``to``: more is better."""
    return Ratio(name, [other / mine for mine, other in zip(of.rounds, to.rounds, strict=True)], target, True)


def more_ratio(name: str, key: str, of: Figure, to: Figure, target: str = "") -> Ratio:
    """A further figure of two variants compared."""
    return Ratio(name, [mine / other for mine, other in zip(of.more[key], to.more[key], strict=True)], target)


def child(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    """A Python that finds this checkout, with pipes for its input and output."""
    found = os.environ.get("PYTHONPATH")
    path = f"{CHECKOUT}{os.pathsep}{found}" if found else str(CHECKOUT)
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        **more,
    )


def end(process: subprocess.Popen[Any], patience_seconds: int = 10) -> None:
    """Ends a process that was started here, and closes its pipes."""
    process.terminate()
    try:
        process.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


@contextmanager
def one_core_busy(wanted: bool) -> Iterator[None]:
    """Keeps one core at work meanwhile. A machine that sleeps between calls makes servers look slow: each answer must
    first wake a core."""
    if not wanted:
        yield
        return
    spinner = child(
        "-c", f"import time\nend = time.monotonic() + {BUSY_LIMIT_SECONDS}\nwhile time.monotonic() < end: 0"
    )
    try:
        yield
    finally:
        end(spinner)
