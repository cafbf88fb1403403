"""A small ledger of its own for the tests of the writer, and a gate to gather callers before it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nbilling.store.database import Ledger, create_ledger, open_ledger
from nbilling.store.migrations import Step
from nbilling.store.registry import acquire_writer, release_writer

LONG = 20.0
"""Seconds that nothing here comes near to: a test that needs them has failed."""


def _tables(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB) STRICT")
    connection.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY) STRICT")
    connection.execute(
        "CREATE TABLE children (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED) STRICT"
    )
    connection.execute(
        "CREATE TRIGGER cursed BEFORE INSERT ON t WHEN new.k = 'cursed' BEGIN SELECT RAISE(ROLLBACK, 'cursed'); END"
    )


STEPS: tuple[Step, ...] = (("0001_initial", _tables),)


@pytest.fixture
def steps() -> Sequence[Step]:
    """The schema of the small ledger."""
    return STEPS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A new small ledger."""
    path = tmp_path / "ledger.db"
    create_ledger(path, steps=STEPS)
    return path


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """The same, open."""
    with open_ledger(path, steps=STEPS) as ledger:
        yield ledger


def waiting(ledger: Ledger) -> int:
    """How many jobs are in the queue."""
    writer = acquire_writer(ledger.path)
    release_writer(writer)
    return len(writer._queue)


class Gate:
    """Holds the writer in a job, so that what comes meanwhile makes one group."""

    def __init__(self, ledger: Ledger, threads: int) -> None:
        self.ledger = ledger
        self.pool = ThreadPoolExecutor(threads + 1)
        self.statements: list[str] = []
        self._inside = threading.Event()
        self._go_on = threading.Event()
        self._first = self.pool.submit(ledger.write, self._hold)
        assert self._inside.wait(LONG)

    def _hold(self, connection: sqlite3.Connection) -> None:
        self._inside.set()
        assert self._go_on.wait(LONG)
        connection.set_trace_callback(self.statements.append)

    def submit(
        self, job: Callable[[sqlite3.Connection], Any], *, by: Ledger | None = None, **options: Any
    ) -> Future[Any]:
        """Call ``write`` in a thread and wait until the job is in the queue. ``by`` another handle on the same file."""
        before = waiting(self.ledger)
        future: Future[Any] = self.pool.submit((by or self.ledger).write, job, **options)
        while waiting(self.ledger) == before:
            assert not future.done()
        return future

    def open(self) -> list[str]:
        """Let them through. Returns the statements of the group."""
        self._go_on.set()
        self._first.result(LONG)
        self.pool.shutdown()
        self.ledger.write(lambda connection: connection.set_trace_callback(None))
        return self.statements

    def end(self) -> None:
        """Let everyone through, whatever becomes of them."""
        self._go_on.set()
        self.pool.shutdown()


@pytest.fixture
def gate() -> type[Gate]:
    """The gate: make one with a ledger and the number of callers."""
    return Gate
