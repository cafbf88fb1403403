"""What this process has open: one writer for each ledger file, and the readers of all threads.

Two handles on one file share its writer, by the file's device and inode; with a writer each they would wait for one
another. After a fork the child must not touch anything of its parent's, and at the end of the process the writers must
be closed under the file lock: both are seen to here.
"""

from __future__ import annotations

import atexit
import os
import sqlite3
import threading
from weakref import WeakSet

from nbilling.store.connection import leak, open_reader
from nbilling.store.writer import Writer

EXIT_TIMEOUT = 2.0
"""Seconds that the end of the process waits for another process to give the lock up."""

_guard = threading.RLock()
_writers: dict[tuple[int, int], Writer] = {}
_retired: set[Writer] = set()


class Reader:
    """A read-only connection of one thread. It is closed when the thread ends, as the thread's data goes."""

    __slots__ = ("__weakref__", "connection", "pid")

    def __init__(self, path: str) -> None:
        self.pid = os.getpid()
        self.connection: sqlite3.Connection | None = None
        self.connection = open_reader(path)
        _readers.add(self)

    def close(self) -> None:
        """Close the connection, or forget it for ever if it is the parent process's."""
        connection, self.connection = self.connection, None
        if connection is not None:
            if self.pid == os.getpid():
                connection.close()
            else:
                leak(connection)

    __del__ = close


_readers: WeakSet[Reader] = WeakSet()


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
        _retired.add(writer)  # an interrupted close is repeated at exit
        for inode in [inode for inode, known in _writers.items() if known is writer]:
            del _writers[inode]
    writer.close()
    _retired.discard(writer)


def _all_writers() -> set[Writer]:
    return _retired.union(_writers.values())


def _close_all() -> None:
    for writer in _all_writers():
        if writer.pid == os.getpid():
            writer.close(EXIT_TIMEOUT)


_held: list[Writer] = []


def _before_fork() -> None:
    _guard.acquire()
    _held[:] = _all_writers()
    for writer in _held:
        writer.hold_for_fork()


def _after_fork_in_parent() -> None:
    for writer in _held:
        writer.go_on_after_fork()
    _held.clear()
    try:
        _guard.release()
    except RuntimeError:
        pass  # the wait before the fork was interrupted


def _after_fork_in_child() -> None:
    global _guard
    _guard = threading.RLock()
    for writer in _all_writers():
        writer.abandon()
    for reader in list(_readers):
        reader.close()
    _writers.clear()
    _retired.clear()
    _held.clear()


atexit.register(_close_all)
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
