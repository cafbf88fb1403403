"""What this process has open: one writer for each ledger file, and the readers of all threads.

Two handles on one file share its writer, by the file's device and inode; with a writer each they would wait for one
another. At the end of the process the writers are closed under the file lock.

A fork is the hard part. SQLite keeps a table of its locks in the memory of the process, and the child inherits the
table but not the locks. A connection that the child opens then takes none: when the parent closes its own, it finds
itself alone, deletes the -wal file, and what the child writes from then on is lost (seen: acknowledged rows gone). So
the child first closes everything it inherited, which touches no lock of the parent's, and then opens its own. The fork
waits for the transaction in progress. What cannot be closed (a cursor still in use, another thread in the middle of a
query, a fork inside a job) leaves the table as it is: then the child is told that it cannot use this ledger.
"""

from __future__ import annotations

import atexit
import os
import sqlite3
import threading
from weakref import WeakSet

from nbilling.model.errors import StorageError
from nbilling.store.connection import leak, open_reader, shown
from nbilling.store.writer import Writer

EXIT_TIMEOUT = 2.0
"""Seconds that the end of the process waits for another process to give the lock up."""

INHERITED_TIMEOUT = 0.5
"""Seconds that a child tries to close what other threads of its parent had open."""

_pid = os.getpid()
_guard = threading.RLock()
_writers: dict[tuple[int, int], Writer] = {}
_living: set[Writer] = set()  # those of _writers, and those whose connection is not closed yet
_opened: set[str] = set()  # the real path of everything that was ever opened
_unusable: set[str] = set()
_inherited: list[sqlite3.Connection] = []


class Reader:
    """A read-only connection of one thread. It is closed when the thread ends, as the thread's data goes."""

    __slots__ = ("__weakref__", "connection", "pid")

    def __init__(self, path: str) -> None:
        self.pid = os.getpid()
        self.connection: sqlite3.Connection | None = None
        _opened.add(path)
        self.connection = open_reader(path)
        _readers.add(self)

    def close(self) -> None:
        """Close the connection."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        if self.pid == os.getpid():
            self.close()
        elif self.connection is not None:
            # In a child, where Python discards the other threads before it calls _after_fork_in_child.
            _inherited.append(self.connection)


_readers: WeakSet[Reader] = WeakSet()


def refuse_after_fork(path: str) -> None:
    """Raise StorageError if this process inherited the ledger at this real path in a state that is unsafe here."""
    if path in _unusable or os.getpid() != _pid:
        raise StorageError(
            f"this process was forked while {shown(path)} was in use, and cannot use it",
            hint="fork before threads or jobs use the ledger, or start processes with spawn or forkserver",
        )


def guard() -> threading.RLock:
    """What keeps threads apart while writers are opened and given back."""
    return _guard


def acquire_writer(path: str) -> Writer:
    """The process's writer for the file at ``path``. Give it back with :func:`release_writer`. Raises OSError."""
    found = os.stat(path)
    inode = found.st_dev, found.st_ino
    with _guard:
        writer = _writers.get(inode)
        if writer is None or writer.broken is not None:
            writer = _writers[inode] = Writer(path, inode)
            _living.add(writer)
            _opened.add(writer.real_path)
        writer.references += 1
        return writer


def release_writer(writer: Writer) -> None:
    """Close the writer when nobody uses it any more."""
    if writer.pid != os.getpid():
        return
    with _guard:
        writer.references -= 1
        if writer.references > 0:
            return
        for inode in [inode for inode, known in _writers.items() if known is writer]:
            del _writers[inode]
    writer.close()
    _living.discard(writer)  # or else, after an interrupt, it is closed at exit


def _close_all() -> None:
    for writer in list(_living):
        if writer.pid == os.getpid():
            writer.close(EXIT_TIMEOUT)


_held: list[Writer] = []
_alone = True


def _before_fork() -> None:
    global _alone
    _guard.acquire()
    _held[:] = _living
    for writer in _held:
        writer.hold_for_fork()
    _alone = threading.active_count() == 1


def _after_fork_in_parent() -> None:
    for writer in _held:
        writer.go_on_after_fork()
    _held.clear()
    try:
        _guard.release()
    except RuntimeError:
        pass  # the wait before the fork was interrupted


def _after_fork_in_child() -> None:
    global _guard, _pid
    _guard = threading.RLock()
    _pid = os.getpid()
    _held.clear()
    if not _opened:
        return
    _inherited.extend(filter(None, [writer.abandon() for writer in _living]))
    _living.clear()
    _writers.clear()
    for reader in list(_readers):
        if reader.connection is not None:
            _inherited.append(reader.connection)
            reader.connection = None
    if _alone:
        _close_inherited()
    else:
        # A thread of the parent that was just then inside SQLite has left locks of SQLite's behind that nobody will
        # ever release. Whoever needs them waits for ever: not this thread, now or when the process ends.
        closer = threading.Thread(target=_close_inherited, name="nbilling-close", daemon=True)
        closer.start()
        closer.join(INHERITED_TIMEOUT)
        if closer.is_alive():
            _unusable.update(_opened)
            for connection in _inherited:
                leak(connection)
    _unusable.update(_still_open())


def _close_inherited() -> None:
    while _inherited:
        _inherited[-1].close()
        _inherited.pop()


def _still_open() -> set[str]:
    """Those ledgers of which this process still has a descriptor. Knows nothing without ``/proc``."""
    names = {f"{path}{suffix}": path for path in _opened for suffix in ("", "-wal", "-shm")}
    found: set[str] = set()
    try:
        descriptors = os.listdir("/proc/self/fd")
    except OSError:
        return found
    for descriptor in descriptors:
        try:
            name = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue  # that of the listing itself
        path = names.get(name.removesuffix(" (deleted)"))
        if path is not None:
            found.add(path)
    return found


atexit.register(_close_all)
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
