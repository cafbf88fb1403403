"""Write while the disk fails: ``failing_disk.py LEDGER THREADS WRITES`` prints a line for each call and its outcome.

``ok``, ``failed`` or ``unknown`` and the key. At the end it kills itself, so that what is found afterwards is what a
recovery finds: nothing was closed in order. To be run under strace, with a file size limit, or on a small disk.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading

from nbilling.model.errors import OutcomeUnknown, StorageError
from nbilling.store.database import open_ledger
from nbilling.store.migrations import Step


def tables(connection: sqlite3.Connection) -> None:
    """Rows large enough that a transaction is several pages."""
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB) STRICT")


STEPS: tuple[Step, ...] = (("0001_initial", tables),)


def main(path: str, threads: int, writes: int) -> None:
    """Write, tell, die."""
    ledger = open_ledger(path, steps=STEPS)

    def work(thread: int) -> None:
        for n in range(writes):
            key = f"{thread}/{n}"
            try:
                ledger.write(
                    lambda connection, key=key: connection.execute(  # type: ignore[misc]
                        "INSERT INTO t VALUES (?, zeroblob(6000))", (key,)
                    ).close()
                )
                outcome = "ok"
            except OutcomeUnknown:
                outcome = "unknown"
            except StorageError as error:
                outcome = f"failed:{error.code}"
            os.write(1, f"{outcome} {key}\n".encode())

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
