"""Durable tracking, one event a call, from one thread and from many."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial

from bench import by_hand, ledgers
from bench.harness import Options, Outcome, Result, Variant, interleave, per_call, per_item, rate_ratio
from bench.stream import METADATA, customer
from nbilling.model.events import UsageEvent

THREADS = (1, 4, 16, 64)
TARGETS = {1: "at least 0.85, later 0.95", 16: "at least 1.8, later 2.1", 64: "at least 2.8, later 3.1"}


def run(options: Options) -> list[Result]:
    """``track`` from 1, 4, 16 and 64 threads, and buffered, beside one thread that writes the same by hand."""
    base = ledgers.make(options.directory / "track-base.db", options.customers, live=True)
    own, mine = (ledgers.copy(base, options.directory / f"track-{name}.db") for name in ("hand", "engine"))
    by_hand_db = by_hand.connect(str(own))
    known = by_hand.known(by_hand_db)
    with ledgers.opened_now(mine) as billing:

        def track(number: int) -> None:
            billing.usage.track(customer(number % options.customers), "api_requests", metadata=METADATA)

        def write(number: int) -> None:
            by_hand.write_tracked(by_hand_db, known, customer(number % options.customers))

        def buffered() -> Outcome:
            def action() -> None:
                with billing.usage.buffered(_refused) as buffer:
                    for number in range(options.calls):
                        buffer.track(
                            UsageEvent(customer(number % options.customers), "api_requests", metadata=METADATA)
                        )

            return per_item(options.calls, action)

        def whole(outcome: Outcome) -> Outcome:
            """Of calls one after another the sum, as of those at once, not the median."""
            return outcome._replace(cost=sum(outcome.waits) / len(outcome.waits) * 1e6)

        track(0)
        write(0)
        hand = "by hand, 1 thread"
        variants = [Variant(hand, lambda: whole(per_call(options.calls, write)))]
        variants += [
            Variant(_name(count), partial(_together, count, max(20, options.calls // count), track))
            for count in THREADS
        ]
        variants.append(Variant("track, 1 thread, buffered", buffered))
        figures = interleave(variants, options)
        statements = {
            "track": ledgers.engine_statements(billing, lambda: track(0)),
            hand: _statements_by_hand(by_hand_db, lambda: write(0)),
        }
        _check(billing.ledger.read())
    by_hand_db.close()
    ratios = [
        rate_ratio(f"rate of track from {count} / rate by hand from 1", figures[_name(count)], figures[hand],
                   TARGETS.get(count, ""))
        for count in THREADS
    ]  # fmt: skip
    conditions = ledgers.conditions(
        batch="one event a call; calls that wait at once share a commit",
        data=f"one meter, {options.customers:,} customers in turn, no ids, metadata of four keys; {options.calls:,} "
        "calls a round",
    )
    return [Result("track", "Durable tracking from threads", conditions, list(figures.values()), ratios, statements)]


def _refused(event: object) -> None:
    raise RuntimeError(f"refused: {event}")


def _name(threads: int) -> str:
    return f"track, {threads} thread{'s' if threads > 1 else ''}"


def _together(count: int, each: int, track: Callable[[int], object]) -> Outcome:
    """Calls spread over threads that begin at once."""
    waits: list[list[float]] = [[] for _ in range(count)]
    barrier = threading.Barrier(count + 1)

    def work(place: int) -> None:
        clock, mine = time.perf_counter, waits[place]
        track(place)  # opens what a thread needs
        barrier.wait()
        for number in range(place, place + each):
            start = clock()
            track(number)
            mine.append(clock() - start)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    barrier.wait()

    def join() -> None:
        for thread in threads:
            thread.join()

    return per_item(each * count, join)._replace(waits=[wait for some in waits for wait in some])


def _statements_by_hand(db: sqlite3.Connection, action: Callable[[], object]) -> str:
    with ledgers.traced(db) as found:
        action()
    return ledgers.counted(found)


def _check(db: sqlite3.Connection) -> None:
    """Every event is in the sums, or the figures are worth nothing."""
    events = db.execute("SELECT count(*) FROM events").fetchone()[0]
    counted = db.execute("SELECT sum(events) FROM rollups WHERE grain = 0").fetchone()[0]
    if events != counted:
        raise RuntimeError(f"{events} events, {counted} of them counted")
