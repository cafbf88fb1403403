"""The writer: group commit, isolation of jobs, deadlines. In one process."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nbilling.model.errors import (
    LedgerBusy,
    StorageError,
)
from nbilling.store import stand_in as stand_in_module
from nbilling.store import writer as writer_module
from nbilling.store.database import Ledger, open_ledger
from nbilling.store.lock import FileLock
from nbilling.store.registry import acquire_writer, release_writer
from nbilling.store.writer import Writer

LONG = 20.0
"""Seconds that nothing here comes near to: a test that needs them has failed."""


def put(key: str) -> Callable[[sqlite3.Connection], str]:
    """A job that records a key, once."""

    def job(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO t (k) VALUES (?)", (key,))
        return key

    return job


def keys(ledger: Ledger) -> set[str]:
    return {key for (key,) in ledger.read().execute("SELECT k FROM t")}


def writer_of(ledger: Ledger) -> Writer:
    """The one writer of the ledger's file."""
    writer = acquire_writer(ledger.path)
    release_writer(writer)
    return writer


def waiting(ledger: Ledger) -> int:
    """How many jobs are in the queue."""
    return len(writer_of(ledger)._queue)


# -- jobs


def test_a_job_returns_its_value_and_its_effect_is_there(ledger: Ledger) -> None:
    assert ledger.write(put("a")) == "a"
    assert keys(ledger) == {"a"}


def test_what_a_job_raises_reaches_its_caller_and_undoes_it(ledger: Ledger) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        put("a")(connection)
        raise LookupError("no such customer")

    with pytest.raises(LookupError, match="no such customer"):
        ledger.write(fail)
    assert keys(ledger) == set()


def test_an_error_of_a_statement_stays_what_it_is(ledger: Ledger) -> None:
    ledger.write(put("a"))
    with pytest.raises(sqlite3.IntegrityError):
        ledger.write(put("a"))
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        ledger.write(lambda connection: connection.execute("SELECT * FROM nowhere").fetchall())


def test_a_dry_run_returns_its_value_and_leaves_nothing(ledger: Ledger) -> None:
    assert ledger.write(put("a"), dry_run=True) == "a"
    assert keys(ledger) == set()


def test_a_lone_job_has_no_savepoint(ledger: Ledger) -> None:
    statements: list[str] = []

    def watched(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(statements.append)
        put("a")(connection)

    ledger.write(watched)
    assert "COMMIT" in statements
    assert "SAVEPOINT job" not in statements


def test_those_who_come_together_are_committed_once(gate: Any, ledger: Ledger) -> None:
    held = gate(ledger, 8)
    futures = [held.submit(put(f"k{n}")) for n in range(8)]
    statements = held.open()
    assert [future.result() for future in futures] == [f"k{n}" for n in range(8)]
    assert statements.count("COMMIT") == 2  # the gate's own and the group's
    assert statements.count("SAVEPOINT job") == 8
    assert len(keys(ledger)) == 8


def test_one_poisoned_job_in_a_group_of_a_hundred_fails_alone(gate: Any, ledger: Ledger) -> None:
    def poison(connection: sqlite3.Connection) -> None:
        put("poison")(connection)
        raise ZeroDivisionError

    held = gate(ledger, 100)
    futures = [held.submit(poison if n == 50 else put(f"k{n}")) for n in range(100)]
    statements = held.open()
    assert statements.count("SAVEPOINT job") == 100
    assert [n for n, future in enumerate(futures) if future.exception() is not None] == [50]
    assert isinstance(futures[50].exception(), ZeroDivisionError)
    assert keys(ledger) == {f"k{n}" for n in range(100) if n != 50}


def test_a_dry_run_in_a_group_leaves_nothing_and_the_others_stay(gate: Any, ledger: Ledger) -> None:
    held = gate(ledger, 3)
    futures = [held.submit(put(f"k{n}"), dry_run=n == 1) for n in range(3)]
    held.open()
    assert [future.result() for future in futures] == ["k0", "k1", "k2"]
    assert keys(ledger) == {"k0", "k2"}


def test_a_job_that_makes_sqlite_undo_everything_takes_no_neighbour_with_it(gate: Any, ledger: Ledger) -> None:
    held = gate(ledger, 5)
    futures = [held.submit(put(key)) for key in ("a", "b", "cursed", "c", "d")]
    held.open()
    assert isinstance(futures[2].exception(), sqlite3.IntegrityError)
    assert [future.result() for future in futures if future is not futures[2]] == ["a", "b", "c", "d"]
    assert keys(ledger) == {"a", "b", "c", "d"}


def test_a_deferred_constraint_fails_only_the_job_that_broke_it(gate: Any, ledger: Ledger) -> None:
    def orphan(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO children VALUES (7)")

    held = gate(ledger, 4)
    futures = [held.submit(job) for job in (put("a"), orphan, put("b"), put("c"))]
    held.open()
    assert isinstance(futures[1].exception(), sqlite3.IntegrityError)
    assert keys(ledger) == {"a", "b", "c"}
    with pytest.raises(sqlite3.IntegrityError):
        ledger.write(orphan)
    assert ledger.read().execute("SELECT count(*) FROM children").fetchone() == (0,)


def test_a_job_must_not_wait_for_another_job(steps: Any, ledger: Ledger, path: Path) -> None:
    with pytest.raises(RuntimeError, match="must not wait"):
        ledger.write(lambda connection: ledger.write(put("inner")))
    with open_ledger(path, steps=steps) as other, pytest.raises(RuntimeError, match="must not wait"):
        ledger.write(lambda connection: other.write(put("inner")))
    assert keys(ledger) == set()


def test_a_job_must_not_return_a_cursor(ledger: Ledger) -> None:
    with pytest.raises(TypeError, match="cursor"):
        ledger.write(lambda connection: connection.execute("SELECT 1"))


def test_a_job_must_not_end_its_transaction(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError, match="must not end"):
        ledger.write(lambda connection: connection.executescript("SELECT 1").close())
    assert ledger.write(put("a")) == "a"


def test_an_exit_in_a_job_reaches_the_caller_and_not_the_leader(gate: Any, ledger: Ledger) -> None:
    def leave(connection: sqlite3.Connection) -> None:
        raise SystemExit(3)

    held = gate(ledger, 3)
    futures = [held.submit(job) for job in (put("a"), leave, put("b"))]
    held.open()
    assert isinstance(futures[1].exception(), SystemExit)
    assert keys(ledger) == {"a", "b"}


def test_a_cursor_that_a_job_left_behind_does_not_stop_the_next(ledger: Ledger, path: Path) -> None:
    for n in range(3):
        ledger.write(put(f"k{n}"))
    left: list[sqlite3.Cursor] = []

    def forget(connection: sqlite3.Connection) -> None:
        left.append(connection.execute("SELECT k FROM t"))
        left[0].fetchone()

    ledger.write(forget)
    with sqlite3.connect(path, isolation_level=None) as foreign:
        foreign.execute("INSERT INTO t (k) VALUES ('foreign')")
    foreign.close()
    assert ledger.write(put("after")) == "after"
    left.clear()


# -- the queue


def test_two_handles_on_one_file_share_its_writer(steps: Any, ledger: Ledger, path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with open_ledger(link, steps=steps) as other:
        ledger.write(put("a"))
        other.write(put("b"))
        assert writer_of(other) is writer_of(ledger)
    assert ledger.write(put("c")) == "c"
    assert keys(ledger) == {"a", "b", "c"}


def test_the_queue_is_bounded(gate: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "QUEUE_LIMIT", 2)
    held = gate(ledger, 4)
    futures = [held.submit(put("a")), held.submit(put("b"))]
    with pytest.raises(LedgerBusy, match="wait already"):
        ledger.write(put("refused"), timeout=0.01)
    patient = held.pool.submit(ledger.write, put("c"))
    while not writer_of(ledger)._crowded:
        assert not patient.done()
    held.open()
    assert [future.result() for future in [*futures, patient]] == ["a", "b", "c"]
    assert keys(ledger) == {"a", "b", "c"}


def test_a_job_whose_time_is_up_is_taken_out_of_the_queue(gate: Any, ledger: Ledger) -> None:
    held = gate(ledger, 2)
    late = held.submit(put("late"), timeout=0.01)
    assert isinstance(late.exception(), LedgerBusy)
    other = held.submit(put("other"))
    held.open()
    assert other.result() == "other"
    assert keys(ledger) == {"other"}


def test_a_wake_up_that_was_lost_costs_a_moment_and_no_more(ledger: Ledger) -> None:
    ledger.write(put("a"))
    writer_of(ledger)._led = True  # as if somebody had been woken to lead, and had died
    assert ledger.write(put("b"), timeout=LONG) == "b"


def test_many_threads_are_all_answered_once(ledger: Ledger) -> None:
    def work(thread: int) -> list[str]:
        return [ledger.write(put(f"{thread}/{n}")) for n in range(25)]

    with ThreadPoolExecutor(16) as pool:
        answered = [key for answers in pool.map(work, range(16)) for key in answers]
    assert len(answered) == 400
    assert keys(ledger) == set(answered)


def test_closing_answers_those_who_wait(gate: Any, ledger: Ledger) -> None:
    held = gate(ledger, 2)
    future = held.submit(put("a"))
    closer = threading.Thread(target=writer_of(ledger).close)
    closer.start()
    while not writer_of(ledger)._closed:
        pass
    held.end()
    closer.join(LONG)
    held.pool.shutdown()
    # Either the group was before the end or it was not: in no case is it left without an answer.
    assert future.exception() is None or "closed" in str(future.exception())
    assert keys(ledger) == (set() if future.exception() else {"a"})


# -- while somebody else has the lock


def test_the_wait_for_another_process_has_a_deadline(ledger: Ledger, path: Path) -> None:
    rival = FileLock(str(path))
    assert rival.acquire(LONG)
    for timeout in (0, 0.05):
        with pytest.raises(LedgerBusy, match="deadline"):
            ledger.write(put("late"), timeout=timeout)
    rival.close()
    assert ledger.write(put("a")) == "a"
    assert keys(ledger) == {"a"}


def test_whoever_waits_for_another_process_is_served_when_it_is_done(ledger: Ledger, path: Path) -> None:
    rival = FileLock(str(path))
    assert rival.acquire(LONG)
    names: list[str] = []

    def job(connection: sqlite3.Connection) -> None:
        names.append(threading.current_thread().name)

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(ledger.write, job) for _ in range(3)]
        while waiting(ledger) < 3 or not writer_of(ledger)._waits_for_lock():
            pass
        rival.close()
        for future in futures:
            future.result(LONG)
    assert names == ["nbilling-writer"] * 3


def test_a_stand_in_that_fails_answers_everyone_and_is_replaced(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = FileLock(str(path))
    assert rival.acquire(LONG)

    def die(self: FileLock) -> None:
        raise AssertionError("a fault in the stand-in")

    with monkeypatch.context() as patch:
        patch.setattr(stand_in_module.FileLock, "wait", die)
        with pytest.raises(StorageError, match="a fault in the stand-in"):
            ledger.write(put("a"))
    rival.close()
    assert ledger.write(put("b")) == "b"
    assert keys(ledger) == {"b"}


def test_without_a_thread_for_the_stand_in_the_caller_polls(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = FileLock(str(path))
    assert rival.acquire(LONG)

    def refuse(self: threading.Thread) -> None:
        rival.close()
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert ledger.write(put("a")) == "a"


def test_a_program_outside_the_lock_is_waited_for(ledger: Ledger, path: Path) -> None:
    ledger.write(put("a"))
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerBusy):
        ledger.write(put("late"), timeout=0.01)
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(ledger.write, put("b"))
        while not waiting(ledger):
            pass
        foreign.execute("ROLLBACK")
        assert patient.result(LONG) == "b"
    foreign.close()
    assert keys(ledger) == {"a", "b"}
