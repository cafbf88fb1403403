"""Ledger files to measure on: made once, copied for each variant, and what a file or a connection says of itself."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbilling
from bench.by_hand import PRAGMAS
from bench.stream import NOW, customer

_ENDINGS = ("", "-wal", "-shm", "-lock")
_VALUE = re.compile(r"X?'(?:[^']|'')*'|(?<![\w.?])-?\d+(?:\.\d+)?\b|\bNULL\b", re.IGNORECASE)


def remove(path: Path) -> None:
    """Deletes a file of SQLite's with what lies beside it. Nobody has it open."""
    for ending in _ENDINGS:
        Path(f"{path}{ending}").unlink(missing_ok=True)


def copy(source: Path, target: Path) -> Path:
    """A copy of a file that is closed, and so has no ``-wal``; what was at the target goes."""
    remove(target)
    shutil.copyfile(source, target)
    os.chmod(target, 0o600)
    return target


def make(path: Path, customers: int, *, live: bool = False) -> Path:
    """A ledger in which the stream's customers exist, each with its billing period, and nothing else.

    The periods are those of the stream's time, or with ``live`` those of now, for what is measured by the machine's
    clock: a customer whose period has ended gets a new one first, and that is not what a call costs.
    """
    remove(path)
    nbilling.init(path)
    with opened_now(path) if live else opened(path) as billing:
        billing._core.write(  # in one commit; the public way is one a customer
            lambda db: billing._accounts.ensure_many(
                db, [customer(number) for number in range(customers)], billing._core.now(db)
            )
        )
    return path


def opened(path: str | Path) -> nbilling.Billing:
    """The engine on a ledger, at the stream's own time."""
    return nbilling.open(path, config=nbilling.Config(), clock=nbilling.FixedClock(NOW), actor="bench")


def opened_now(path: str | Path) -> nbilling.Billing:
    """The engine on a ledger, by the machine's clock."""
    return nbilling.open(path, config=nbilling.Config(), actor="bench")


def checkpointed_size(path: Path) -> int:
    """Bytes of the file when everything is in it. Nobody has it open."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    db.close()
    return path.stat().st_size


def conditions(**more: str) -> dict[str, str]:
    """What holds for every variant of a subject, for its report."""
    settings = ", ".join(f"{name}={value}" for name, value in PRAGMAS.items())
    return {"durability": "every commit is on the disk before it is acknowledged (synchronous=FULL)",
            "pragmas": f"{settings}; the same for all", **more}  # fmt: skip


@contextmanager
def traced(db: sqlite3.Connection) -> Iterator[list[str]]:
    """Every statement that the connection executes meanwhile, in order."""
    found: list[str] = []
    db.set_trace_callback(found.append)
    try:
        yield found
    finally:
        db.set_trace_callback(None)


def shape(statement: str) -> str:
    """A statement without its values, on one line."""
    return _VALUE.sub("?", " ".join(statement.split()))


def counted(statements: list[str]) -> str:
    """Different statements in order of their first execution, each with how often it ran."""
    times = Counter(map(shape, statements))
    return "\n".join(f"{count:>6} x  {text}" for text, count in times.items())


def engine_statements(billing: nbilling.Billing, action: Callable[[], object]) -> str:
    """What the engine executes for an action, on its write connection and on this thread's reader."""
    writers: list[sqlite3.Connection] = []
    billing.ledger.write(writers.append)
    action()  # meters and statements are known from here on
    with traced(writers[0]) as written, traced(billing.ledger.read()) as read:
        action()
    # The first of the writer's own ones begins before the job and is seen too: the trace is set on the connection.
    return counted([f"{text}  -- reader" for text in read] + written)
