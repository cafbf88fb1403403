"""The file lock: processes take turns at one ledger.

SQLite's own wait is a poll that starves; this lock is a queue in the kernel. It is held for each group of writes and
for each checkpoint, so no checkpoint ever runs beside a commit: SQLite before 3.51.3 can corrupt the file then.

``flock`` on a side file, for these reasons. POSIX record locks (``lockf``) vanish when *any* descriptor of the file is
closed in the process. Locks on the ledger itself would mean a second descriptor of it, and closing that drops SQLite's
own locks. Open file description locks would do, but ``flock`` is the same thing in one call, on every Unix. Two
descriptions exclude one another within a process too, so threads and processes are treated alike.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from weakref import WeakSet

from nbilling.model.errors import LedgerMoved, StorageError
from nbilling.store.connection import from_os, shown

LOOK_SECONDS = 1.0
"""A lock taken without waiting is compared with the file at its path this often; one that was waited for, each time.
Nothing of ours deletes the file, so this is for accidents, and then SQLite's own locks still keep commits apart."""


def lock_path(ledger: str) -> str:
    """The side file of a ledger. ``ledger`` is its real path."""
    return f"{ledger}-lock"


class FileLock:
    """One description of the side file. Not reentrant; one thread uses it at a time."""

    __slots__ = ("__weakref__", "_fd", "_inode", "_look_at", "ledger", "path")

    def __init__(self, ledger: str) -> None:
        self.ledger = ledger
        self.path = lock_path(ledger)
        self._fd = -1
        self._inode = (0, 0)
        self._look_at = 0.0
        _all.add(self)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):  # not when Ctrl-C struck at the very beginning
            self.close()

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it. Raises StorageError when the side file cannot be opened."""
        while True:
            if self._fd < 0:
                self._open()
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError as error:
                raise from_os(error, self.path) from error
            if time.monotonic() < self._look_at or self._still_there():
                return True

    def wait(self) -> None:
        """Take the lock, however long that takes. The kernel does the queueing, so this has no deadline."""
        while True:
            if self._fd < 0:
                self._open()
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX)
            except OSError as error:
                raise from_os(error, self.path) from error
            if self._still_there():
                return

    def acquire(self, timeout: float) -> bool:
        """Take the lock within ``timeout`` seconds: at once if it is free, else through a thread that waits for it."""
        if self.try_acquire():
            return True
        try:
            return _Wait(self).until(timeout)
        except RuntimeError:
            return self._poll(timeout)  # no thread can be started, for one while the interpreter ends

    def _poll(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not self.try_acquire():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        return True

    def release(self) -> None:
        """Give the lock up. Does nothing when it is not held."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the descriptor, which gives the lock up."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def adopt(self, other: FileLock) -> None:
        """Take over the description, and the lock, of another object on the same side file."""
        self.close()
        self._fd, self._inode = other._fd, other._inode
        other._fd = -1

    def _still_there(self) -> bool:
        """Whether the locked file is still the one at the path. If not, someone deleted it: lock the new one."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            self.close()
            return False
        except OSError as error:
            raise from_os(error, self.path) from error
        if (found.st_dev, found.st_ino) == self._inode:
            self._look_at = time.monotonic() + LOOK_SECONDS
            return True
        self.close()
        return False

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            try:
                fd = os.open(self.path, flags)
            except FileNotFoundError:
                fd = self._create(flags)
            found = os.fstat(fd)
        except FileNotFoundError as error:
            raise LedgerMoved(
                f"the directory of {shown(self.ledger)} is gone", hint="open the ledger where it is now"
            ) from error
        except OSError as error:
            raise from_os(error, self.path) from error
        self._fd, self._inode, self._look_at = fd, (found.st_dev, found.st_ino), 0.0

    def _create(self, flags: int) -> int:
        """Make the side file with the owner and mode of the ledger, as SQLite does for -wal and -shm."""
        mode, owner = 0o600, None
        try:
            ledger = os.stat(self.ledger)
            mode, owner = ledger.st_mode & 0o666, (ledger.st_uid, ledger.st_gid)
        except FileNotFoundError:
            pass  # init takes the lock before it makes the ledger
        try:
            fd = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            return os.open(self.path, flags)
        os.fchmod(fd, mode)
        if owner and os.geteuid() == 0:
            os.fchown(fd, *owner)
        return fd


class _Wait:
    """A thread that waits for the lock on a description of its own, and hands it over if it is still wanted."""

    def __init__(self, wanted_by: FileLock) -> None:
        self._wanted_by = wanted_by
        self._rival = FileLock(wanted_by.ledger)
        self._gate = threading.Lock()
        self._ended = threading.Event()
        self._given_up = False
        self._failure: StorageError | None = None

    def until(self, timeout: float) -> bool:
        threading.Thread(target=self._wait, name="nbilling-lock", daemon=True).start()
        try:
            self._ended.wait(timeout)
            with self._gate:
                if not self._ended.is_set():
                    self._given_up = True
                    return False
            if self._failure is not None:
                raise self._failure
            self._wanted_by.adopt(self._rival)
            return True
        except BaseException:
            # Ctrl-C, also between the thread's success and here: whoever passes the gate second closes the rival.
            with self._gate:
                self._given_up = True
                if self._ended.is_set():
                    self._rival.close()
            raise

    def _wait(self) -> None:
        try:
            self._rival.wait()
        except StorageError as error:
            self._failure = error
        with self._gate:
            self._ended.set()
            if self._given_up:
                self._rival.close()


_all: WeakSet[FileLock] = WeakSet()


def _after_fork_in_child() -> None:
    """The child shares each description with its parent. To unlock would take the parent's lock, to keep the
    descriptor would hold it beyond the parent's death: so close it and do nothing else."""
    for lock in list(_all):
        lock.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
