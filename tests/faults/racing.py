"""Many processes at once: ``racing.py WHAT LEDGER PROCESSES`` prints what each of them got, a line each.

The processes are forked from this one, which has its imports and never opens a ledger, and start together.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import traceback

from nbilling.store.database import Ledger, create_ledger, open_ledger
from nbilling.store.migrations import Step

THREADS = 4
WRITES = 40


def first(connection: sqlite3.Connection) -> None:
    """The tables of version 1."""
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY) STRICT")
    connection.execute("CREATE TABLE made (once TEXT PRIMARY KEY) STRICT")
    connection.execute("INSERT INTO made VALUES ('first')")


def second(connection: sqlite3.Connection) -> None:
    """Version 2: applied twice it would fail."""
    connection.execute("INSERT INTO made VALUES ('second')")
    connection.execute("ALTER TABLE t ADD COLUMN v TEXT")


OLD: tuple[Step, ...] = (("0001_first", first),)
STEPS: tuple[Step, ...] = (*OLD, ("0002_second", second))


def put(ledger: Ledger, key: str) -> None:
    """Record a key, once."""
    ledger.write(lambda connection: connection.execute("INSERT INTO t (k) VALUES (?)", (key,)).close())


def create(path: str, number: int) -> str:
    """Make the ledger, or find it made, and write to it."""
    made = create_ledger(path, steps=STEPS)
    with open_ledger(path, steps=STEPS) as ledger:
        put(ledger, f"{number}")
    return "made" if made else "found"


def upgrade(path: str, number: int) -> str:
    """Open an old ledger, and write to it."""
    with open_ledger(path, steps=STEPS) as ledger:
        put(ledger, f"{number}")
    return "opened"


def write(path: str, number: int) -> str:
    """Write from several threads; how many were acknowledged."""
    acknowledged: list[str] = []
    with open_ledger(path, steps=STEPS) as ledger:

        def work(thread: int) -> None:
            for n in range(WRITES):
                put(ledger, f"{number}/{thread}/{n}")
                acknowledged.append("")

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return str(len(acknowledged))


def main(what: str, path: str, processes: int) -> None:
    """Start them all, let them go, wait."""
    body = {"create": create, "upgrade": upgrade, "write": write}[what]
    ready, go = os.pipe()
    pids = []
    for number in range(processes):
        pid = os.fork()
        if pid == 0:
            os.close(go)
            os.read(ready, 1)  # the end of the file, when the parent closes it
            try:
                os.write(1, f"{body(path, number)}\n".encode())
            except BaseException:  # noqa: BLE001 - whatever it is, the test must see it
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        pids.append(pid)
    os.close(go)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
