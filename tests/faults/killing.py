"""Kill -9, again and again: ``killing.py LEDGER KILLS SEED`` prints what was acknowledged, as JSON.

Three processes of three threads write. Each thread tells what was acknowledged through a pipe, and now and then asks
for something that must be refused. At random moments one process is killed and replaced. This driver itself never opens
the ledger, so a fork of it is a fresh process that has its imports already.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import signal
import sqlite3
import sys
import threading
import time
from contextlib import suppress

from nbilling.store import connection as connection_module
from nbilling.store.database import create_ledger, open_ledger
from nbilling.store.migrations import Step

PROCESSES = 3
THREADS = 3


def tables(connection: sqlite3.Connection) -> None:
    """Events and what is kept of them: the sum must agree with the rows after every crash."""
    connection.execute("CREATE TABLE events (k TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT")
    connection.execute("CREATE TABLE totals (worker TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT")


STEPS: tuple[Step, ...] = (("0001_initial", tables),)


def record(connection: sqlite3.Connection, worker: str, key: str, n: int) -> None:
    """One event and its part of the total."""
    connection.execute("INSERT INTO events VALUES (?, ?)", (key, n))
    connection.execute("INSERT INTO totals VALUES (?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", (worker, n))


def work(path: str, worker: str, tell: int) -> None:
    """Write until killed. The handle is closed and opened often, so that kills fall into that as well."""

    def one_thread(thread: int) -> None:
        n = 0
        while True:
            with open_ledger(path, steps=STEPS) as ledger:
                for _ in range(40):
                    n += 1
                    key = f"{worker}/{thread}/{n}"
                    ledger.write(lambda c, key=key, n=n: record(c, worker, key, n))
                    os.write(tell, f"{key}\n".encode())
                    if n % 7 == 0:
                        with suppress(ZeroDivisionError):
                            ledger.write(lambda c, n=n: record(c, worker, f"refused/{worker}/{thread}/{n}", n) or 1 / 0)

    for thread in range(THREADS):
        threading.Thread(target=one_thread, args=(thread,)).start()


class Process:
    """A forked writer, and what it has told."""

    def __init__(self, path: str, name: str, patience: float) -> None:
        self.heard = b""
        self.ends_at = time.monotonic() + patience
        self.ear, mouth = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.ear)
            work(path, name, mouth)
            return
        os.close(mouth)

    def listen(self) -> bool:
        """Read what there is. False at the end."""
        said = os.read(self.ear, 1 << 16)
        self.heard += said
        return bool(said)

    def kill(self) -> list[str]:
        """Kill it and return every whole line that it told."""
        os.kill(self.pid, signal.SIGKILL)
        while self.listen():
            pass
        _, status = os.waitpid(self.pid, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(f"a writer ended by itself: {status}")
        os.close(self.ear)
        return self.heard.decode().split("\n")[:-1]


def main(path: str, kills: int, seed: int) -> None:
    """Replace killed writers until all kills are done; then kill the rest."""
    create_ledger(path, steps=STEPS)
    connection_module.CHECKPOINT_PAGES = 60  # so that kills fall into checkpoints, too
    chance = random.Random(seed)
    acknowledged: list[str] = []
    running: list[Process] = []
    started = done = 0
    with selectors.DefaultSelector() as selector:
        while done < kills or running:
            while len(running) < PROCESSES and done < kills:
                process = Process(path, f"w{started}", chance.uniform(0.005, 0.15))
                if process.pid == 0:
                    return  # a writer: its threads go on
                started += 1
                running.append(process)
                selector.register(process.ear, selectors.EVENT_READ, process)
            next_end = min(process.ends_at for process in running)
            for ready, _ in selector.select(max(0.0, next_end - time.monotonic())):
                ready.data.listen()
            for process in [process for process in running if process.ends_at <= time.monotonic()]:
                selector.unregister(process.ear)
                acknowledged += process.kill()
                running.remove(process)
                done += 1
    json.dump({"acknowledged": acknowledged, "kills": done}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
