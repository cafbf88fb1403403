"""Checks and enforcements against what people ask instead: Redis, PostgreSQL, and the library ``limits``.

Every server is on loopback of this machine. Without one of them its rows are left out, and the report says why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from bench import ledgers, servers
from bench.harness import (
    Figure,
    Options,
    Outcome,
    Ratio,
    Result,
    Skipped,
    Variant,
    cost_ratio,
    interleave,
    one_core_busy,
    per_call,
    per_item,
    rate_ratio,
)
from bench.quota import LIMIT, prepare

THREADS = 16
CHECK_AND_ADD = """local used = tonumber(redis.call('GET', KEYS[1]) or '0')
if used + tonumber(ARGV[1]) > tonumber(ARGV[2]) then return 0 end
redis.call('INCRBY', KEYS[1], ARGV[1])
return 1"""
TABLES = """CREATE TABLE counters (customer text, meter text, used bigint NOT NULL, allowed bigint NOT NULL,
  PRIMARY KEY (customer, meter));
CREATE TABLE events (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), customer text NOT NULL, meter text NOT NULL,
  amount bigint NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON events (customer);
CREATE INDEX ON events (created_at)"""
LOOK = "SELECT used, allowed FROM counters WHERE customer = %s AND meter = 'api_requests'"
TAKE = """UPDATE counters SET used = used + 1
WHERE customer = %s AND meter = 'api_requests' AND used + 1 <= allowed RETURNING used"""
NOTE = "INSERT INTO events (customer, meter, amount) VALUES (%s, 'api_requests', 1)"
Call = Callable[[int], object]


class _Peers:
    """What answers here: calls by name, and why others do not."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.checks: dict[str, Call] = {}
        self.enforcements: dict[str, Call] = {}
        self.together: dict[str, Callable[[], list[Call]]] = {}
        self.skipped: list[str] = []
        self.versions: dict[str, str] = {}

    def name(self, number: int) -> str:
        """Customers in turn."""
        return self.names[number % len(self.names)]


def run(options: Options) -> list[Result]:
    """A call at a time, and enforcements from 16 threads."""
    billing, names = prepare(options, "peers.db")
    peers = _Peers(names)
    with ExitStack() as stack:
        stack.enter_context(one_core_busy(not options.busy))
        stack.enter_context(billing)
        quota = billing.quota
        peers.checks["quota.check"] = lambda number: quota.check(peers.name(number), "api_requests").allowed
        peers.enforcements["quota.enforce"] = lambda number: quota.enforce(peers.name(number), "api_requests").allowed
        peers.together["quota.enforce"] = lambda: [peers.enforcements["quota.enforce"]] * THREADS
        for add in (_redis, _postgres, _limits):
            try:
                stack.enter_context(add(peers))
            except Skipped as why:
                peers.skipped.append(str(why))
        writes = max(options.calls // 8, 20)
        checks = interleave(
            [Variant(name, partial(per_call, options.calls, call)) for name, call in peers.checks.items()],
            options,
        )
        writing = [
            Variant(f"{name}, durable", partial(per_call, writes, call)) for name, call in peers.enforcements.items()
        ]
        writing += [
            Variant(f"{name}, durable, {THREADS} threads", partial(_at_once, calls, 4 * writes))
            for name, calls in peers.together.items()
        ]
        enforcements = interleave(writing, options)
    figures = {**checks, **enforcements}
    conditions = ledgers.conditions(
        busy="one core is kept at work: on a sleeping machine each answer of a server must first wake a core",
        servers="on loopback, Debian's packages, "
        + (", ".join(f"{k} {v}" for k, v in peers.versions.items()) or "none"),
        data=f"{len(names)} customers in turn; {options.calls:,} checks and {writes:,} enforcements a round, a figure "
        f"is the median call; with {THREADS} threads the whole",
    )
    statements = {
        "Redis, check and add": CHECK_AND_ADD,
        "PostgreSQL, tables": TABLES,
        "PostgreSQL, check": LOOK,
        "PostgreSQL, check and add with its event": f"BEGIN;\n{TAKE};\n{NOTE};\nCOMMIT;",
    }
    return [
        Result(
            "peers", "Quota checks against servers", conditions, list(figures.values()), list(_ratios(figures)),
            statements, {}, peers.skipped, "call",
        )
    ]  # fmt: skip


def _ratios(figures: dict[str, Figure]) -> Iterator[Ratio]:
    check, one = figures["quota.check"], figures["quota.enforce, durable"]
    if other := figures.get("Redis GET"):
        yield cost_ratio("check / Redis GET", check, other, "with one core busy at most 0.4, later 0.3")
    if other := figures.get("PostgreSQL SELECT"):
        yield cost_ratio("check / PostgreSQL SELECT", check, other)
    if other := figures.get("limits, in memory"):
        yield cost_ratio("check / limits in memory", check, other)
    if other := figures.get("PostgreSQL UPDATE and INSERT, durable"):
        yield cost_ratio("enforce / PostgreSQL, durable", one, other, "at most 1.1")
    if other := figures.get("Redis script, durable"):
        yield cost_ratio("enforce / Redis script, durable", one, other)
    if other := figures.get(f"PostgreSQL UPDATE and INSERT, durable, {THREADS} threads"):
        many = figures[f"quota.enforce, durable, {THREADS} threads"]
        yield rate_ratio(f"rate of enforce / rate of PostgreSQL, {THREADS} threads", many, other, "at least 1.5")


def _client(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise Skipped(f"the Python library {name} is not installed") from None


@contextmanager
def _redis(peers: _Peers) -> Iterator[None]:
    client = _client("redis")
    with servers.redis(durable=False) as quick, servers.redis(durable=True) as sure:
        reading, writing = client.Redis(port=quick), client.Redis(port=sure)
        for name in peers.names:
            reading.set(name, 1)
        script = writing.register_script(CHECK_AND_ADD)
        parser = "hiredis" if client.utils.HIREDIS_AVAILABLE else "its own parser"
        peers.versions["Redis"] = f"{reading.info()['redis_version']} (redis-py {client.__version__}, {parser})"
        peers.checks["Redis GET"] = lambda number: reading.get(peers.name(number))
        peers.enforcements["Redis script"] = lambda number: script(keys=[peers.name(number)], args=[1, LIMIT])
        yield
        reading.close()
        writing.close()


@contextmanager
def _postgres(peers: _Peers) -> Iterator[None]:
    psycopg = _client("psycopg")
    with servers.postgres() as where, ExitStack() as stack:

        def connect() -> Any:
            return stack.enter_context(psycopg.connect(where, autocommit=True))

        first = connect()
        first.execute(TABLES)
        with first.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO counters VALUES (%s, 'api_requests', 0, %s)", [(name, LIMIT) for name in peers.names]
            )
        peers.versions["PostgreSQL"] = f"{first.info.server_version // 10000} (psycopg {psycopg.__version__})"

        def taking(connection: Any) -> Call:
            def call(number: int) -> None:
                name = peers.name(number)
                with connection.transaction():
                    if connection.execute(TAKE, (name,)).fetchone() is not None:
                        connection.execute(NOTE, (name,))

            return call

        connections = [first, *(connect() for _ in range(THREADS - 1))]
        peers.checks["PostgreSQL SELECT"] = lambda number: first.execute(LOOK, (peers.name(number),)).fetchone()
        peers.enforcements["PostgreSQL UPDATE and INSERT"] = taking(first)
        peers.together["PostgreSQL UPDATE and INSERT"] = lambda: [taking(one) for one in connections]
        yield


@contextmanager
def _limits(peers: _Peers) -> Iterator[None]:
    library = _client("limits")
    limiter = library.strategies.FixedWindowRateLimiter(library.storage.MemoryStorage())
    limit = library.parse(f"{LIMIT}/month")
    peers.versions["limits"] = library.__version__
    peers.checks["limits, in memory"] = lambda number: limiter.test(limit, peers.name(number))
    yield


def _at_once(made: Callable[[], list[Call]], count: int) -> Outcome:
    """So many calls spread over a thread for each."""
    calls = made()
    each = max(1, count // len(calls))
    waiting = threading.Barrier(len(calls) + 1)

    def work(place: int) -> None:
        waiting.wait()
        for number in range(place, place + each):
            calls[place](number)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    waiting.wait()

    def join() -> None:
        for thread in threads:
            thread.join()

    return per_item(each * len(calls), join)
