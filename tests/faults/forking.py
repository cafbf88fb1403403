"""Forks of a process that has a ledger open, one function a state: ``forking.py STATE LEDGER``. Silent if all is well.

Each runs in a process of its own, so that a fault cannot hang or confuse the one that runs the tests.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from nbilling.model.errors import StorageError
from nbilling.store.database import Ledger, create_ledger, open_ledger
from nbilling.store.lock import FileLock
from nbilling.store.migrations import Step
from nbilling.store.registry import acquire_writer, release_writer
from nbilling.store.writer import Writer


def tables(connection: sqlite3.Connection) -> None:
    """One table of keys."""
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY) STRICT")


STEPS: tuple[Step, ...] = (("0001_initial", tables),)


def put(ledger: Ledger, key: str) -> None:
    """Record a key, once."""
    ledger.write(lambda connection: connection.execute("INSERT INTO t VALUES (?)", (key,)).close())


def keys(ledger: Ledger) -> set[str]:
    """What is recorded."""
    return {key for (key,) in ledger.read().execute("SELECT k FROM t")}


def expect(found: object, wanted: object) -> None:
    """An assertion that also holds under -O."""
    if found != wanted:
        raise SystemExit(f"pid {os.getpid()}: {found!r}, not {wanted!r}")


def in_child(body: Callable[[], object], *, wait: bool = True) -> int:
    """Fork; the child runs ``body`` and ends as a program ends, with everything that Python cleans up."""
    pid = os.fork()
    if pid == 0:
        try:
            body()
        finally:
            if sys.exc_info()[0] is not None:
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
                os._exit(1)
        sys.exit(0)
    if wait:
        well(pid)
    return pid


def well(pid: int) -> None:
    """Wait for a child that must end well."""
    expect(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)


def refused(use: Callable[[], object]) -> None:
    """The use of the ledger must be refused, with the reason."""
    try:
        use()
    except StorageError as error:
        expect("was forked while" in str(error), True)
    else:
        expect("allowed", "refused")


def writer_of(ledger: Ledger) -> Writer:
    """The writer, to look into its queue."""
    writer = acquire_writer(ledger.path)
    release_writer(writer)
    return writer


class Held:
    """Another thread in the middle of a job, until it is let go."""

    def __init__(self, ledger: Ledger) -> None:
        self._inside, self.go_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=ledger.write, args=(self._job,))
        self._thread.start()
        self._inside.wait()

    def _job(self, connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES ('held')")
        self._inside.set()
        self.go_on.wait()

    def end(self) -> None:
        """Let the job go on, and wait until it is recorded."""
        self.go_on.set()
        self._thread.join()


def idle(ledger: Ledger) -> None:
    """Nothing is going on. Parent and child go on with the same handle, in turn and at once."""
    put(ledger, "before")
    keys(ledger)

    def child() -> None:
        expect("before" in keys(ledger), True)
        for n in range(50):
            put(ledger, f"child/{n}")

    pid = in_child(child, wait=False)
    for n in range(50):
        put(ledger, f"parent/{n}")
    well(pid)
    put(ledger, "after")
    expect(len(keys(ledger)), 102)


def never_written(ledger: Ledger) -> None:
    """Nothing was opened yet but a reader."""
    in_child(lambda: put(ledger, "child"))
    put(ledger, "parent")
    expect(keys(ledger), {"child", "parent"})


def in_a_group(ledger: Ledger) -> None:
    """Another thread is in the middle of a transaction: the fork waits for its end, so the child finds it whole."""
    put(ledger, "before")
    held = Held(ledger)
    forked = threading.Event()

    def let_go() -> None:
        expect(forked.is_set(), False)
        held.end()

    timer = threading.Timer(0.05, let_go)
    timer.start()
    pid = in_child(lambda: (expect(keys(ledger), {"before", "held"}), put(ledger, "child")), wait=False)
    forked.set()
    well(pid)
    timer.join()
    put(ledger, "after")
    expect(keys(ledger), {"before", "held", "child", "after"})


def with_jobs_in_the_queue(ledger: Ledger) -> None:
    """Other threads wait for another process's lock. Their jobs are the parent's: the child must not run them too."""
    put(ledger, "before")
    rival = FileLock(ledger.path)
    expect(rival.acquire(10), True)
    threads = [threading.Thread(target=put, args=(ledger, f"waiting/{n}")) for n in range(3)]
    for thread in threads:
        thread.start()
    while len(writer_of(ledger)._queue) < 3 or not writer_of(ledger)._waits_for_lock():
        pass
    ready, go = os.pipe()
    pid = in_child(lambda: (os.read(ready, 1), put(ledger, "child")), wait=False)
    rival.close()
    for thread in threads:
        thread.join()
    expect(len(keys(ledger)), 4)
    os.write(go, b"x")
    well(pid)
    expect(len(keys(ledger)), 5)


def inside_a_job(ledger: Ledger) -> None:
    """A job forks, which it must not: the parent goes on, the child can neither go on nor use the ledger."""
    put(ledger, "before")
    parent = os.getpid()
    pids: list[int] = []

    def job(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES ('job')")
        pids.append(os.fork())
        connection.execute("INSERT INTO t VALUES ('job, too')")

    try:
        ledger.write(job)
    except RuntimeError as error:
        expect(os.getpid() != parent, True)
        expect("forked" in str(error), True)
        refused(lambda: keys(ledger))
        refused(lambda: put(ledger, "child"))
        refused(lambda: open_ledger(ledger.path, steps=STEPS))
        sys.exit(0)
    expect(os.getpid(), parent)
    well(pids[0])
    put(ledger, "after")
    expect(keys(ledger), {"before", "job", "job, too", "after"})


def in_the_middle_of_a_query(ledger: Ledger) -> None:
    """A cursor is still in use, so the child cannot close the connection, and must not go on without doing so."""
    put(ledger, "a")
    put(ledger, "b")
    rows = ledger.read().execute("SELECT k FROM t")
    rows.fetchone()
    in_child(lambda: refused(lambda: put(ledger, "child")))
    expect(rows.fetchone(), ("b",))
    put(ledger, "c")
    expect(keys(ledger), {"a", "b", "c"})


def while_another_thread_is_in_a_long_query(ledger: Ledger) -> None:
    """The connection of that thread is locked in the child for ever: no use of the ledger there, and no hang."""
    put(ledger, "a")
    long = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n, t"
    running = threading.Event()
    connections: list[sqlite3.Connection] = []

    def query() -> None:
        connections.append(ledger.read())
        connections[0].set_progress_handler(running.set, 1000)
        try:
            connections[0].execute(long).fetchone()
        except sqlite3.OperationalError as error:
            expect(str(error), "interrupted")

    thread = threading.Thread(target=query)
    thread.start()
    running.wait()
    in_child(lambda: refused(lambda: put(ledger, "child")))
    connections[0].interrupt()
    thread.join()
    put(ledger, "b")
    expect(keys(ledger), {"a", "b"})


def the_parent_closes_first(ledger: Ledger) -> None:
    """The parent closes its handle while the child goes on: what the child writes from then on must not be lost."""
    put(ledger, "before")
    keys(ledger)
    ready, go = os.pipe()
    told, tell = os.pipe()

    def child() -> None:
        put(ledger, "child")
        os.write(tell, b"x")
        os.read(ready, 1)
        put(ledger, "child, later")
        expect(keys(ledger), {"before", "child", "child, later"})
        os.kill(os.getpid(), signal.SIGKILL)

    pid = in_child(child, wait=False)
    os.read(told, 1)
    ledger.close()
    os.write(go, b"x")
    os.waitpid(pid, 0)
    with open_ledger(ledger.path, steps=STEPS) as again:
        expect(keys(again), {"before", "child", "child, later"})


def readers_of_other_threads(ledger: Ledger) -> None:
    """Other threads have read before and are idle now."""
    put(ledger, "before")
    leave = threading.Event()
    ready = threading.Barrier(4)

    def reader() -> None:
        keys(ledger)
        ready.wait()
        leave.wait()

    threads = [threading.Thread(target=reader) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    in_child(lambda: (put(ledger, "child"), expect(keys(ledger), {"before", "child"})))
    leave.set()
    for thread in threads:
        thread.join()
    expect(keys(ledger), {"before", "child"})


def in_a_snapshot(ledger: Ledger) -> None:
    """A read transaction is open: the child has a reader of its own, outside of it."""
    put(ledger, "before")
    with ledger.snapshot() as reader:
        expect(reader.execute("SELECT count(*) FROM t").fetchone(), (1,))
        in_child(
            lambda: (put(ledger, "child"), expect(ledger.read() is not reader, True), expect(len(keys(ledger)), 2))
        )
        expect(reader.execute("SELECT count(*) FROM t").fetchone(), (1,))
    expect(keys(ledger), {"before", "child"})


def from_another_thread(ledger: Ledger) -> None:
    """The thread that forks is not the main one; readers of other threads are lost in the child."""
    put(ledger, "before")
    keys(ledger)
    thread = threading.Thread(target=lambda: in_child(lambda: put(ledger, "child")))
    thread.start()
    thread.join()
    expect(keys(ledger), {"before", "child"})


def after_closing(ledger: Ledger) -> None:
    """The handle is closed before the fork: the child opens one."""
    put(ledger, "before")
    ledger.close()

    def child() -> None:
        with open_ledger(ledger.path, steps=STEPS) as own:
            put(own, "child")

    in_child(child)
    with open_ledger(ledger.path, steps=STEPS) as again:
        expect(keys(again), {"before", "child"})


def closed_by_the_child(ledger: Ledger) -> None:
    """The child closes the handle: that is the child's business alone."""
    put(ledger, "before")
    keys(ledger)
    in_child(ledger.close)
    in_child(lambda: (put(ledger, "child"), ledger.close()))
    put(ledger, "after")
    expect(keys(ledger), {"before", "child", "after"})


def the_child_outlives_its_parent(ledger: Ledger) -> None:
    """The parent is killed with everything open. The child ends in order, and must not close what was its parent's."""
    ready, go = os.pipe()
    middle = os.fork()
    if middle == 0:
        put(ledger, "before")
        keys(ledger)
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(ready, 1)  # until the last writer of the pipe is gone: the grandparent
            sys.exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(ready)
    os.waitpid(middle, 0)
    expect(FileLock(ledger.path).acquire(10), True)
    wal = Path(f"{ledger.path}-wal")
    size = wal.stat().st_size
    expect(size > 0, True)
    os.close(go)
    expect(wal.stat().st_size, size)


def _pool_work(numbers: tuple[int, int]) -> int:
    put(_pool_ledger[0], f"{numbers}")
    return len(keys(_pool_ledger[0]))


_pool_ledger: list[Ledger] = []


def a_pool(ledger: Ledger) -> None:
    """What a preloading server does: everything is opened, written and read, and then come the workers."""
    put(ledger, "before")
    keys(ledger)
    _pool_ledger.append(ledger)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        counts = pool.map(_pool_work, [(a, b) for a in range(10) for b in range(6)], chunksize=5)
    expect(min(counts) > 1, True)
    put(ledger, "after")
    expect(len(keys(ledger)), 62)


def again_and_again(ledger: Ledger) -> None:
    """Threads write all the time, and the process forks in whatever state that is."""
    stop = threading.Event()
    written: list[str] = []

    def write(thread: int) -> None:
        n = 0
        while not stop.is_set():
            n += 1
            put(ledger, f"{thread}/{n}")
            written.append(f"{thread}/{n}")

    threads = [threading.Thread(target=write, args=(thread,), daemon=True) for thread in range(4)]
    for thread in threads:
        thread.start()
    for n in range(30):
        in_child(lambda n=n: (put(ledger, f"child/{n}"), keys(ledger)))  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join()
    expect(keys(ledger), {*written, *(f"child/{n}" for n in range(30))})


def again_and_again_with_readers(ledger: Ledger) -> None:
    """The same with threads that read all the time. Most children are refused the ledger then, but none hangs."""
    stop = threading.Event()
    put(ledger, "before")

    def read() -> None:
        while not stop.is_set():
            keys(ledger)

    def use() -> None:
        try:
            put(ledger, f"child/{os.getpid()}")
        except StorageError as error:
            expect("was forked while" in str(error), True)
        else:
            expect("before" in keys(ledger), True)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        in_child(use)
    stop.set()
    for thread in threads:
        thread.join()
    put(ledger, "after")


STATES = (
    idle,
    never_written,
    in_a_group,
    with_jobs_in_the_queue,
    inside_a_job,
    in_the_middle_of_a_query,
    while_another_thread_is_in_a_long_query,
    the_parent_closes_first,
    readers_of_other_threads,
    in_a_snapshot,
    from_another_thread,
    after_closing,
    closed_by_the_child,
    the_child_outlives_its_parent,
    a_pool,
    again_and_again,
    again_and_again_with_readers,
)


def main(state: str, path: str) -> None:
    """Run one state and look at the ledger afterwards."""
    create_ledger(path, steps=STEPS)
    ledger = open_ledger(path, steps=STEPS)
    next(body for body in STATES if body.__name__ == state)(ledger)
    ledger.close()
    connection = sqlite3.connect(path)
    expect(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
