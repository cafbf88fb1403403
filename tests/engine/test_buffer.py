"""Buffered tracking: what is durable when, what a failure keeps, threads, forks, and the bound."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nbilling
from nbilling.engine import buffer as module
from nbilling.engine.buffer import UsageBuffer
from nbilling.model.clock import parse_time
from nbilling.model.errors import BadInput, StorageFull
from nbilling.model.events import BadEvent, BulkReport, UsageEvent

EVENT = UsageEvent("acme", "api_requests")


def held(world: Any, **how: Any) -> UsageBuffer:
    bad: list[BadEvent] = []
    made: UsageBuffer = world.usage.buffered(bad.append, **{"limit": 10, "delay_seconds": 3600} | how)
    made.bad = bad  # type: ignore[attr-defined]
    return made


def recorded(world: Any) -> int:
    count: int = world.rows("SELECT count(*) FROM events")[0][0]
    return count


@pytest.fixture
def full(world: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Fills the disk, and frees it."""
    write = world.billing._core.ledger.write

    def fail(*_: object, **__: object) -> None:
        raise StorageFull("the disk is full", hint="free some")

    return lambda yes: monkeypatch.setattr(world.billing._core.ledger, "write", fail if yes else write)


# --- When it is written -----------------------------------------------------------------------------------------------


def test_events_are_written_by_the_call_that_finds_the_buffer_full(world: Any) -> None:
    buffer = held(world)
    counts = []
    for _ in range(25):
        buffer.track(EVENT)
        counts.append(recorded(world))
    assert counts == [0] * 10 + [10] * 10 + [20] * 5
    assert buffer.flush() == BulkReport(25, 25, 0, 0)
    assert buffer.flush() == BulkReport(25, 25, 0, 0)
    assert recorded(world) == 25


def test_events_are_written_by_the_first_call_after_the_delay(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0
    monkeypatch.setattr(module.time, "monotonic_ns", lambda: now * 1_000_000_000)
    buffer = held(world, limit=1000, delay_seconds=2)
    counts = []
    for second in (0, 1, 1, 2, 3, 3, 4, 4):
        now = second
        buffer.track(EVENT)
        counts.append(recorded(world))
    assert counts == [0, 0, 0, 3, 3, 3, 6, 6]


def test_a_context_ends_with_everything_written(world: Any) -> None:
    with held(world) as buffer:
        buffer.track(EVENT)
        buffer.track({"customer_id": "acme", "resource_type": "api_requests", "amount": 4})
    assert world.current("acme") == 5


def test_what_a_flush_has_acknowledged_survives_a_kill(tmp_path: Path, empty_ledger: Path) -> None:
    path = shutil.copy(empty_ledger, tmp_path / "killed.db")
    program = """
import os, signal, sys, nbilling
billing = nbilling.open(sys.argv[1])
buffer = billing.usage.buffered(print, limit=10**6, delay_seconds=3600)
for number in range(2500):
    buffer.track({"customer": "acme", "meter": "api_requests"})
print(*buffer.flush())
for number in range(9):
    buffer.track({"customer": "acme", "meter": "api_requests"})
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "2500 2500 0 0\n"), done.stderr
    with nbilling.open(path) as billing:
        [(count,)] = billing.ledger.read().execute("SELECT count(*) FROM events").fetchall()
    assert count == 2500


# --- What is written --------------------------------------------------------------------------------------------------


def test_an_event_has_the_time_of_its_call_and_not_of_the_flush(world: Any) -> None:
    buffer = held(world)
    buffer.track(EVENT)
    buffer.track(EVENT._replace(at="2026-01-05T00:00:00Z"))
    buffer.track(EVENT._replace(id="r-1"))  # its id may come again from elsewhere: the ledger says when it was
    world.to("2026-02-03T00:00:00Z")
    buffer.flush()
    times = [parse_time(text) for text in ("2026-01-10T12:00:00Z", "2026-01-05T00:00:00Z", "2026-02-03T00:00:00Z")]
    assert world.rows("SELECT at FROM events ORDER BY seq") == [(at,) for at in times]
    assert world.usage.track_many([EVENT._replace(id="r-1")]).duplicates == 1


def test_metadata_is_taken_as_it_is_at_the_call(world: Any) -> None:
    metadata = {"n": 1}
    buffer = held(world)
    buffer.track(EVENT._replace(metadata=metadata))
    metadata["n"] = 2
    buffer.flush()
    assert world.rows("SELECT metadata FROM events") == [('{"n":1}',)]


def test_bad_events_are_told_by_their_number_when_they_are_written(world: Any) -> None:
    buffer = held(world, limit=3)
    for number in range(1, 9):
        buffer.track(EVENT._replace(amount="x" if number in (2, 7) else 1))
    report = buffer.close()
    assert report == BulkReport(8, 6, 0, 2)
    assert [bad.number for bad in buffer.bad] == [2, 7]  # type: ignore[attr-defined]
    with pytest.raises(BadInput, match="not an object"):
        buffer.track("text")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="no field 'price'"):
        buffer.track({"customer": "acme", "meter": "api_requests", "price": 1})


def test_who_is_told_of_a_bad_event_may_track(world: Any) -> None:
    def instead(bad: BadEvent) -> None:
        buffer.track(EVENT._replace(metadata={"instead": bad.number}))

    buffer: UsageBuffer = world.usage.buffered(instead, limit=2, delay_seconds=3600)
    for _ in range(5):
        buffer.track(EVENT._replace(amount="x"))
    buffer.flush()
    assert buffer.flush().added == 5


# --- Failures ---------------------------------------------------------------------------------------------------------


def test_a_call_that_raises_has_taken_nothing_and_what_was_held_stays(world: Any, full: Callable[[bool], None]) -> None:
    buffer = held(world)
    for _ in range(10):
        buffer.track(EVENT)
    full(True)
    for _ in range(50):
        with pytest.raises(StorageFull):
            buffer.track(EVENT)
    assert len(buffer._events) == 10
    with pytest.raises(StorageFull):
        buffer.flush()
    full(False)
    buffer.track(EVENT)
    assert buffer.flush() == BulkReport(11, 11, 0, 0)
    assert world.current("acme") == 11


@pytest.mark.parametrize("durable", [True, False])
def test_a_write_of_unknown_outcome_is_written_again_and_counts_once(
    world: Any, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    buffer = held(world, limit=5000)
    for number in range(2500):
        buffer.track(EVENT._replace(id=f"r{number}" if number % 2 else None))
    ledger = world.billing._core.ledger
    write, jobs = ledger.write, 0

    def fails_in_the_second(*values: Any, **how: Any) -> Any:
        nonlocal jobs
        jobs += 1
        if jobs != 2:
            return write(*values, **how)
        if durable:
            write(*values, **how)
        raise StorageFull("nobody knows", hint="look")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "write", fails_in_the_second)
        with pytest.raises(StorageFull):
            buffer.flush()
    buffer.flush()
    assert world.current("acme") == recorded(world) == 2500


@pytest.mark.parametrize("how", [{"limit": 0}, {"limit": -1}, {"limit": "x"}, {"delay_seconds": -1}, {"limit": 2.5}])
def test_a_bound_that_cannot_be_meant_is_refused(world: Any, how: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        held(world, **how)


# --- Threads and forks ------------------------------------------------------------------------------------------------


def test_many_threads_share_a_buffer_that_never_grows_beyond_its_bound(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = held(world, limit=40)
    sizes: list[int] = []
    write = UsageBuffer._write

    def noting(self: UsageBuffer, bad: list[BadEvent]) -> None:
        sizes.append(len(self._events))
        write(self, bad)

    monkeypatch.setattr(UsageBuffer, "_write", noting)

    def work(thread: int) -> None:
        choose = random.Random(thread)
        for number in range(500):
            buffer.track(EVENT._replace(customer=f"c{thread}", metadata={"n": number}))
            if choose.random() < 0.01:
                buffer.flush()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert buffer.close() == BulkReport(4000, 4000, 0, 0)
    assert max(sizes) <= 40
    assert world.rows("SELECT customer, count(*), count(DISTINCT metadata) FROM events GROUP BY 1") == [
        (number, 500, 500) for number in range(1, 9)
    ]


def forked(work: Callable[[], int]) -> int:
    """What ``work`` returns in a child."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks beside threads: that is the test
        pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def real(tmp_path: Path, empty_ledger: Path) -> Any:
    """A ledger with the machine's clock."""
    with nbilling.open(shutil.copy(empty_ledger, tmp_path / "forked.db")) as billing:
        yield billing


def count_in(billing: Any) -> int:
    with sqlite3.connect(f"file:{billing.ledger.path}?mode=ro", uri=True) as db:
        count: int = db.execute("SELECT count(*) FROM events").fetchone()[0]
    db.close()
    return count


def test_a_forked_child_begins_empty_and_the_parent_writes_what_it_held(real: Any) -> None:
    buffer = real.usage.buffered(print, limit=1000, delay_seconds=3600)
    for _ in range(5):
        buffer.track(EVENT)

    def child() -> int:
        if buffer.flush() != BulkReport() or buffer._events:
            return 1
        buffer.track(EVENT)
        buffer.track(EVENT)
        return 0 if buffer.close() == BulkReport(2, 2, 0, 0) else 2

    assert forked(child) == 0
    assert count_in(real) == 2
    assert buffer.close() == BulkReport(5, 5, 0, 0)
    assert count_in(real) == 7


def test_a_fork_while_another_thread_writes_leaves_the_child_a_free_lock(real: Any) -> None:
    buffer = real.usage.buffered(print, limit=1000, delay_seconds=3600)
    buffer.track(EVENT)
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with buffer._lock:
            locked.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait()

    def child() -> int:
        signal.alarm(20)  # a child that waits for ever ends with a failure
        buffer.track(EVENT)
        return 0 if buffer.flush().added == 1 else 1

    try:
        assert forked(child) == 0
    finally:
        release.set()
        thread.join()
    assert buffer.flush().added == 1
    assert count_in(real) == 2
