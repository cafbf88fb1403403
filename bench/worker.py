"""What the benchmarks run in processes of their own: ``python -m bench.worker TASK …``.

A worker that races others says ``ready``, waits for a line on its input, works for so many seconds, and prints what it
did as JSON.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from itertools import islice

from bench import by_hand, ledgers
from bench.stream import METADATA, Stream, customer

Call = Callable[[int], object]


def memory(path: str, count: str, customers: str, first: str) -> None:
    """Imports events as they are made, behind ``first`` that are there, and prints the most bytes that the process ever
    held."""
    stream = Stream(int(customers), first=int(first))
    with ledgers.opened(path) as billing:
        billing.usage.track_many(islice(iter(lambda: stream.take(1)[0], None), int(count)))
    print(_peak_memory())


def _peak_memory() -> int:
    """Bytes. What ``getrusage`` says may begin with the memory of the process that started this one."""
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def engine(path: str, threads: str, seconds: str, customers: str) -> None:
    """Tracks durably, all threads through the one engine of this process."""
    with ledgers.opened_now(path) as billing:

        def track(number: int) -> None:
            billing.usage.track(customer(number % int(customers)), "api_requests", metadata=METADATA)

        track(0)
        _race([track] * int(threads), int(seconds))


def own(path: str, threads: str, seconds: str, customers: str) -> None:
    """Writes the same by hand, each thread on a connection of its own."""
    connections = [by_hand.connect(path) for _ in range(int(threads))]
    known = by_hand.known(connections[0])

    def writing(db: sqlite3.Connection) -> Call:
        return lambda number: by_hand.write_tracked(db, known, customer(number % int(customers)))

    calls = [writing(db) for db in connections]
    calls[0](0)
    _race(calls, int(seconds))
    for db in connections:
        db.close()


def _race(calls: list[Call], seconds: int) -> None:
    waits: list[list[float]] = [[] for _ in calls]
    until = 0.0
    gate = threading.Event()

    def work(place: int) -> None:
        call, mine, clock = calls[place], waits[place], time.perf_counter
        number = place * 7
        gate.wait()
        start = clock()
        while start < until:
            call(number)
            number += 1
            mine.append(-start + (start := clock()))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    until = began + seconds
    gate.set()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    # The first call of each worker, before the race, is in the file too.
    every = [wait for some in waits for wait in some]
    print(json.dumps({"calls": len(every), "before": 1, "seconds": took, "waits": every}))


TASKS: dict[str, Callable[..., None]] = {"memory": memory, "engine": engine, "own": own}

if __name__ == "__main__":
    TASKS[sys.argv[1]](*sys.argv[2:])
