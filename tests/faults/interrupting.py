"""Real Ctrl-C: ``interrupting.py LEDGER TIMES`` says "ready" each time it wants to be interrupted.

The main thread writes all the time, three other threads write as well, and a second process competes for the lock. The
interrupt comes at any moment. Ends with 0 if everyone went on, and everything acknowledged is there once.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
import threading
import time

from nbilling.store.database import Ledger, create_ledger, open_ledger
from nbilling.store.migrations import Step


def tables(connection: sqlite3.Connection) -> None:
    """One table of keys."""
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY) STRICT")


STEPS: tuple[Step, ...] = (("0001_initial", tables),)


def put(ledger: Ledger, key: str) -> None:
    """Record a key, once."""
    ledger.write(lambda connection: connection.execute("INSERT INTO t VALUES (?)", (key,)).close())


def competitor(path: str) -> int:
    """A process that writes until its parent is gone or kills it."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with open_ledger(path, steps=STEPS) as ledger:
            parent = os.getppid()
            n = 0
            while os.getppid() == parent:
                n += 1
                put(ledger, f"competitor/{n}")
                if n % 100 == 0:
                    time.sleep(0.002)  # so that the lock is free at times
        os._exit(0)
    return pid


def main(path: str, times: int) -> None:
    """Be interrupted, and go on."""
    create_ledger(path, steps=STEPS)
    rival = competitor(path)
    acknowledged: list[str] = []
    stop = threading.Event()
    chance = random.Random(1)

    def write(ledger: Ledger, name: str) -> None:
        n = 0
        while not stop.is_set():
            n += 1
            put(ledger, f"{name}/{n}")
            acknowledged.append(f"{name}/{n}")

    with open_ledger(path, steps=STEPS) as ledger:
        threads = [threading.Thread(target=write, args=(ledger, f"thread{n}")) for n in range(3)]
        for thread in threads:
            thread.start()
        interrupted = n = 0
        while interrupted < times:
            say_at = n + chance.randrange(1, 20)
            try:
                while True:
                    n += 1
                    if n == say_at:
                        os.write(1, b"ready\n")
                    put(ledger, f"main/{n}")
                    acknowledged.append(f"main/{n}")
            except KeyboardInterrupt:
                interrupted += 1
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop.set()
        for thread in threads:
            thread.join(20)
            if thread.is_alive():
                sys.exit("a thread stalled")
        os.kill(rival, signal.SIGKILL)
        os.waitpid(rival, 0)
        found = {key for (key,) in ledger.read().execute("SELECT k FROM t")}
        lost = set(acknowledged) - found
        if lost or len(acknowledged) != len(set(acknowledged)):
            sys.exit(f"{len(lost)} lost")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
