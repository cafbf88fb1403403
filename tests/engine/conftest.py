"""A ledger in memory with the real tables and the real recorder, for use cases that take many jobs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, TypeVar

import pytest

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.engine.imports import LogImport
from nbilling.engine.recorder import UsageRecorder
from nbilling.model.clock import FixedClock, parse_time
from nbilling.model.config import Config
from nbilling.model.imports import ImportOptions, ImportReport
from nbilling.store.steps import STEPS

T = TypeVar("T")


class Killed(BaseException):
    """The process ended here."""


class MemoryLedger:
    """Runs each job twice, undoing the first run, for a job must stand that. ``kill_at``: the job that is the last.

    The killed job is durable or not, as ``kill_after`` says; its caller never learns which.
    """

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        for _, step in STEPS:
            step(self.connection)
        self.jobs = 0
        self.kill_at = 0
        self.kill_after = False

    def write(self, job: Callable[[sqlite3.Connection], T], *, dry_run: bool = False) -> T:
        self.jobs += 1
        killed = self.jobs == self.kill_at
        self.connection.execute("BEGIN")
        try:
            self.connection.execute("SAVEPOINT once")
            job(self.connection)
            self.connection.execute("ROLLBACK TO once")
            answer = job(self.connection)
            if killed and not self.kill_after:
                raise Killed
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        if killed:
            raise Killed
        return answer

    def read(self) -> sqlite3.Connection:
        return self.connection


class Imports:
    """Imports logs into a ledger of its own and says what is in it."""

    def __init__(self, now: str = "2026-06-01T00:00:00Z") -> None:
        self.ledger = MemoryLedger()
        self.clock = FixedClock(parse_time(now))
        core = Core(self.ledger, self.clock, False, lambda: Config({}), "test")  # type: ignore[arg-type]
        self.case = LogImport(self.ledger, UsageRecorder(core, Accounts(core)), self.clock)

    def run(self, lines: BinaryIO | Iterable[bytes], options: ImportOptions | None = None, **how: Any) -> ImportReport:
        callbacks = {name: how.pop(name) for name in ("progress", "on_bad") if name in how}
        if options is None:
            options = ImportOptions(**({"customer": "acme"} | how))
        return self.case.run(lines, options, **callbacks)

    def totals(self) -> dict[str, tuple[int, int]]:
        """Requests and bytes by customer, summed from the events; the rollups must say the same."""
        query = """SELECT c.customer_id, sum(CASE m.name WHEN 'api_requests' THEN {0}.amount ELSE 0 END),
          sum(CASE m.name WHEN 'bandwidth' THEN {0}.amount ELSE 0 END)
        FROM {0} JOIN customers c ON c.id = {0}.customer JOIN meters m ON m.id = {0}.meter {1} GROUP BY 1"""
        found = [
            {name: (requests, size) for name, requests, size in self.ledger.connection.execute(sql).fetchall()}
            for sql in (query.format("events", ""), query.format("rollups", "WHERE grain = 0"))
        ]
        assert found[0] == found[1]
        return found[0]

    def requests(self) -> int:
        return sum(requests for requests, _ in self.totals().values())


@pytest.fixture
def imports() -> Imports:
    return Imports()


@pytest.fixture
def new_imports() -> Callable[[], Imports]:
    """For properties, which need a fresh ledger for each example."""
    return Imports


@pytest.fixture
def killed() -> type[BaseException]:
    return Killed
