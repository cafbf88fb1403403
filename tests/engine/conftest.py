"""Ledgers for use cases: in memory for those that take many jobs, on disk with a clock that the test moves."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pytest

import nbilling
from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.engine.imports import LogImport
from nbilling.engine.recorder import UsageRecorder
from nbilling.model.clock import FixedClock, parse_time
from nbilling.model.config import Config
from nbilling.model.errors import NbillingError
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


class HandClock:
    """Stands where the test puts it."""

    def __init__(self, time: str) -> None:
        self.at = parse_time(time)

    def now(self) -> int:
        return self.at

    def to(self, time: str) -> None:
        self.at = parse_time(time)


class World:
    """A ledger on disk with a clock that the test moves, and what must always hold in it."""

    def __init__(self, path: Path, time: str = "2026-01-10T12:00:00Z", **settings: str) -> None:
        self.path = path
        self.clock = HandClock(time)
        self.closed = False
        self.billing = nbilling.open(path, config=Config(settings), clock=self.clock)
        self.usage, self.quota = self.billing.usage, self.billing.quota
        self.plans, self.customers = self.billing.plans, self.billing.customers

    def to(self, time: str) -> None:
        self.clock.to(time)

    def rows(self, sql: str, *values: Any) -> list[Any]:
        return self.billing.ledger.read().execute(sql, values).fetchall()

    def contents(self) -> dict[str, list[Any]]:
        """Every row of every table."""
        names = self.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        return {name: self.rows(f"SELECT * FROM {name}") for (name,) in names}

    @contextmanager
    def refuses(self, error: type[NbillingError], match: str = "") -> Iterator[None]:
        """What is done here raises exactly that, in one line with something to do next, and leaves no trace."""
        before = self.contents()
        with pytest.raises(error, match=match or None) as caught:
            yield
        assert type(caught.value) is error
        assert caught.value.hint
        assert len(str(caught.value).splitlines()) == 1
        assert self.contents() == before

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """What is done here succeeds and writes nothing."""
        before = self.contents()
        yield
        assert self.contents() == before

    def current(self, customer: str, name: str = "api_requests") -> Any:
        return self.usage.get_current(customer)[name]

    def period(self, customer: str) -> tuple[str, str]:
        """The present period, with times at midnight UTC cut to the date."""
        current = self.usage.get_current(customer)
        first, last = (current[key].removesuffix("T00:00:00Z") for key in ("period_start", "period_end"))
        return first, last

    def check(self) -> None:
        """The rollups say what the events say, and periods neither overlap nor split a day."""
        adds_up = "(SELECT id FROM meters WHERE kind = 'event' AND aggregation IN ('sum', 'count'))"
        series = "r.customer, r.meter, r.dimension, sum(r.amount), sum(r.events)"
        summed = (
            f"SELECT {series} FROM rollups r WHERE grain = ? AND meter IN {adds_up} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )
        lifetime, hours, days, periods = (self.rows(summed, grain) for grain in (0, 1, 2, 3))
        assert hours == days == periods == lifetime
        assert lifetime == self.rows(
            f"""SELECT e.customer, e.meter, e.dimension, sum(iif(m.aggregation = 'count', 1, e.amount)), count(*)
            FROM events e JOIN meters m ON m.id = e.meter WHERE m.id IN {adds_up} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
        )
        by_bucket = f"""SELECT {{}}, {series} FROM rollups r {{}}
        WHERE r.grain = ? AND r.meter IN {adds_up} {{}} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""
        within = "JOIN periods p ON p.customer = r.customer AND r.bucket >= p.start_day AND r.bucket < p.end_day"
        assert self.rows(by_bucket.format("r.bucket", "", ""), 3) == self.rows(by_bucket.format("p.id", within, ""), 2)
        in_utc = "JOIN customers c ON c.id = r.customer", "AND c.zone = 'UTC'"
        hours_of_days = self.rows(by_bucket.format("r.bucket / 24", *in_utc), 1)
        assert hours_of_days == self.rows(by_bucket.format("r.bucket", *in_utc), 2)
        made = self.rows("SELECT customer, start_day, end_day, start_at, end_at FROM periods ORDER BY 1, 2")
        for one, other in pairwise(made):
            assert one[0] != other[0] or (one[2] <= other[1] and one[4] <= other[3])

    def close(self) -> None:
        """Checks once more and closes; a second time nothing."""
        if not self.closed:
            self.closed = True
            self.check()
            self.billing.close()


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "billing.db"
    nbilling.init(path)
    return path


@pytest.fixture
def new_world(tmp_path: Path, empty_ledger: Path) -> Iterator[Callable[..., World]]:
    """Any number of ledgers in one test; all are closed and checked at its end."""
    made: list[World] = []

    def make(time: str = "2026-01-10T12:00:00Z", **settings: str) -> World:
        path = tmp_path / f"{len(made)}.db"
        shutil.copy(empty_ledger, path)
        made.append(World(path, time, **settings))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(new_world: Callable[..., World]) -> World:
    """10 January 2026, noon; nobody is there yet."""
    return new_world()
