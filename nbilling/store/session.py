"""The write session: the one write connection of a process to a ledger. The writer uses it, under the file lock."""

from __future__ import annotations

import os
import sqlite3
import time

from nbilling.model.errors import LedgerBusy, StorageError
from nbilling.store.connection import leak, moved, open_writer, shown, storage_error
from nbilling.store.lock import FileLock

_NO_FILE = (0, 0)

LOOK_SECONDS = 1.0
"""How often the inodes of -wal and -shm are compared; the ledger's own is before each group. Asking for that of -wal
makes the next commit a third slower: ext4 then records the exact time of the next write, and fdatasync waits for it."""


class NotNow(Exception):
    """A program outside the file lock (a sqlite3 shell) is writing: try again."""


class WriteSession:
    """Opens the connection when it is first needed, begins transactions on it, and closes it for good."""

    def __init__(self, path: str, inode: tuple[int, int]) -> None:
        self.path = path
        self.real = os.path.realpath(path)
        self._inode = inode
        self._beside: tuple[tuple[str, tuple[int, int]], ...] = ()
        self._look_at = 0.0
        self._connection: sqlite3.Connection | None = None

    @property
    def in_transaction(self) -> bool:
        """Whether something begun is neither committed nor undone."""
        return self._connection is not None and self._connection.in_transaction

    def begin(self) -> tuple[sqlite3.Connection, int]:
        """Open a transaction on the file that was opened. Returns the connection and the file's user_version.

        Raises NotNow, or the StorageError that says why this file cannot be written.
        """
        if self._moved():
            raise moved(self.path)
        try:
            connection = self._connection
            if connection is None:
                connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
            return connection, version
        except sqlite3.Error as error:
            typed = self.typed(error)
            if not isinstance(typed, LedgerBusy):
                self.drop()
                raise typed from error
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY_SNAPSHOT:
                self.drop()  # a job left a cursor, and that keeps an old snapshot
            time.sleep(0.002)
            raise NotNow from error

    def _open(self) -> sqlite3.Connection:
        self._connection = open_writer(self.real)
        beside = ((path, _identity(path)) for path in (f"{self.real}-wal", f"{self.real}-shm"))
        self._beside = tuple((path, inode) for path, inode in beside if inode != _NO_FILE)
        return self._connection

    def _moved(self) -> bool:
        """Whether the ledger, its -wal or its -shm is no longer the file that is open.

        SQLite would go on writing to the old one, and what it acknowledges then is lost to everyone else.
        """
        if _identity(self.path) != self._inode:
            return True
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        return any(_identity(path) != was for path, was in self._beside)

    def rollback(self) -> None:
        """Undo the open transaction, if there is one."""
        if self._connection is not None and self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                self.drop()  # closing undoes it too

    def overwrite_failed_frames(self) -> bool:
        """After a COMMIT that raised: make sure that no recovery brings it back. False if that cannot be done.

        Its frames may be complete in the -wal. So commit one page (the header, unchanged) where they begin: checksums
        are chained, so the rest is void. Without room for it, empty the -wal into the ledger and try again.
        """
        for last_try in (False, True):
            connection = self._connection
            if connection is None:
                return False
            try:
                connection.execute("BEGIN IMMEDIATE")
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                connection.execute(f"PRAGMA user_version={version}")
                connection.execute("COMMIT")
                return True
            except sqlite3.Error:
                self.rollback()
            if not last_try:
                try:
                    _checkpoint(connection, "TRUNCATE")
                except sqlite3.Error:
                    pass  # the second try tells
        return False

    def typed(self, error: sqlite3.Error | MemoryError) -> StorageError:
        """The error for the caller."""
        typed = storage_error(error, self.path)
        if typed is None:
            typed = StorageError(f"a write to {shown(self.path)} failed: {error!r}", hint="nothing of it was recorded")
        typed.__cause__ = error
        return typed

    def drop(self) -> None:
        """Close the connection, or never if another -wal is at its path: SQLite might delete that one, by its name."""
        connection, self._connection = self._connection, None
        self._look_at = 0.0
        if connection is not None:
            if self._moved():
                leak(connection)
            else:
                connection.close()
        self._beside = ()

    def close(self, lock: FileLock, timeout: float) -> None:
        """Checkpoint and close under the lock. Without the lock in time, leave the -wal file to the others."""
        connection = self._connection
        self._look_at = 0.0
        if connection is not None:
            try:
                if lock.acquire(timeout) and not self._moved():
                    _checkpoint(connection, "PASSIVE")
                    connection.close()
                else:
                    leak(connection)
            except (StorageError, sqlite3.Error):
                leak(connection)
            self._connection = None
        lock.close()

    def abandon(self) -> sqlite3.Connection | None:
        """In the child of a fork: the parent's connection, to be closed there. See ``store/registry.py``."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.in_transaction:
            # Forked inside a job. To close it would undo the parent's transaction in the memory that both share; to go
            # on would spill pages into the parent's -wal. So the job's next statement is refused.
            connection.set_authorizer(_deny)
            leak(connection)
            return None
        return connection


def _deny(*_action: object) -> int:
    return sqlite3.SQLITE_DENY


def _checkpoint(connection: sqlite3.Connection, mode: str) -> None:
    connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return _NO_FILE
    return found.st_dev, found.st_ino
