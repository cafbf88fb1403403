"""The ledger file: making it, opening it, writing through the group commit, and reading beside it."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar
from weakref import WeakSet

from nbilling.model.errors import BadInput, LedgerBusy, LedgerMissing, LedgerReadOnly, NotALedger, StorageError
from nbilling.store import migrations
from nbilling.store.connection import (
    closed,
    connect_to_migrate,
    from_os,
    moved,
    newer,
    prepare_writer,
    refuse_network_filesystem,
    shown,
    storage_error,
)
from nbilling.store.lock import FileLock
from nbilling.store.migrations import Step
from nbilling.store.registry import Reader, acquire_writer, guard, refuse_after_fork, release_writer
from nbilling.store.writer import DEFAULT_TIMEOUT, Writer

T = TypeVar("T")

LOOK_SECONDS = 1.0
"""How often a reader looks whether the file is still the one it opened, and still of its version."""


class Ledger:
    """One open ledger file. Cheap; any number of handles and threads share one writer. A context manager.

    After a fork the child uses the same handle: it opens connections of its own.
    """

    def __init__(self, path: str, version: int) -> None:
        self.path = path
        self.version = version
        self._real = os.path.realpath(path)
        self._inode = _inode(path)
        self._writers: dict[int, Writer] = {}  # by process id: the child of a fork finds none of its own
        self._mine = threading.local()
        self._readers: WeakSet[Reader] = WeakSet()
        self._closed = False
        self._look_at = 0.0

    def found_version(self) -> int:
        """The schema version of the file. Raises NotALedger or NewerLedger if this version cannot use it."""
        try:
            connection = self._open_reader().connection
        except LedgerReadOnly as error:
            if getattr(error.__cause__, "sqlite_errorcode", None) != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            # Whoever made this ledger died while doing so. A reader cannot undo that.
            with _locked(self.path):
                connect_to_migrate(self._real).close()
            _require_file(self.path)
            connection = self._open_reader().connection
        assert connection is not None
        if not migrations.is_ledger(connection):
            raise NotALedger(f"{shown(self.path)} is a database of another program", hint="give the path of a ledger")
        found = migrations.version_of(connection)
        if found > self.version:
            raise newer(self.path, found, self.version)
        return found

    def write(
        self, job: Callable[[sqlite3.Connection], T], *, timeout: float | None = None, dry_run: bool = False
    ) -> T:
        """Run ``job(connection)`` in the writer's next transaction; return its value when that is durable.

        The job may share the transaction with others, in a savepoint of its own: what it raises undoes its effects and
        reaches this caller alone. With ``dry_run`` its effects are undone as well and its value is returned. What a job
        must know stands at the top of ``store/writer.py``.

        ``timeout``: seconds to wait for other processes (30). Raises LedgerBusy, StorageFull, LedgerReadOnly,
        LedgerMoved, NewerLedger, NotALedger, or StorageError, and then nothing was recorded; or OutcomeUnknown.
        """
        writer = self._writers.get(os.getpid()) or self._open_writer()
        value: T = writer.run(job, version=self.version, timeout=timeout, dry_run=dry_run)
        return value

    def read(self) -> sqlite3.Connection:
        """This thread's read-only connection, in autocommit mode. Each SELECT sees the newest commit.

        Not for use inside a job, which has a connection that sees the job's own effects.
        """
        reader: Reader | None = getattr(self._mine, "reader", None)
        if reader is None or reader.connection is None or reader.pid != os.getpid():
            reader = self._open_reader()
        connection = reader.connection
        assert connection is not None
        now = time.monotonic()
        if now >= self._look_at:
            self._look(connection)
            self._look_at = now + LOOK_SECONDS
        return connection

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """The same connection in a read transaction: its SELECTs all see one state. Within another it joins that."""
        connection = self.read()
        if connection.in_transaction:
            yield connection
            return
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            # In the child of a fork, or when the ledger was closed meanwhile, the connection is closed already.
            if self._mine.reader.connection is connection and connection.in_transaction:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Give the writer back and close the readers of all threads. May be repeated; nobody may be reading."""
        with guard():
            self._closed = True
            writer = self._writers.pop(os.getpid(), None)
        for reader in list(self._readers):
            reader.close()
        if writer is not None:
            release_writer(writer)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _open_writer(self) -> Writer:
        with guard():
            writer = self._writers.get(os.getpid())
            if writer is None:
                self._refuse_if_unusable()
                try:
                    writer = self._writers[os.getpid()] = acquire_writer(self.path)
                except OSError as error:
                    raise from_os(error, self.path) from error
            return writer

    def _open_reader(self) -> Reader:
        self._refuse_if_unusable()
        try:
            reader = Reader(self._real)
        except sqlite3.Error as error:
            self._refuse_if_unusable()
            raise storage_error(error, self.path) or error from error
        self._readers.add(reader)
        self._refuse_if_unusable()  # it may have been replaced or closed meanwhile
        self._mine.reader = reader
        return reader

    def _refuse_if_unusable(self) -> None:
        if self._closed:
            raise closed(self.path)
        refuse_after_fork(self._real)
        if _inode(self.path) != self._inode:
            raise moved(self.path)

    def _look(self, connection: sqlite3.Connection) -> None:
        self._refuse_if_unusable()
        found = migrations.version_of(connection)
        if found > self.version:
            raise newer(self.path, found, self.version)


def open_ledger(path: str | os.PathLike[str], *, steps: Sequence[Step] | None = None) -> Ledger:
    """Open the ledger at ``path``, brought up to this version if it is older. Never creates a file.

    Raises LedgerMissing, NotALedger (a directory, a file of another kind, another program's database, damage),
    NewerLedger, LedgerReadOnly, LedgerBusy, or another StorageError.
    """
    path = _absolute(path)
    steps = migrations.default_steps() if steps is None else steps
    _require_file(path)
    refuse_network_filesystem(path)
    ledger = Ledger(path, len(steps))
    try:
        if ledger.found_version() < len(steps):
            ledger.close()
            with _locked(path):
                _make_or_migrate(path, steps)
            ledger = Ledger(path, len(steps))
    except sqlite3.Error as error:
        ledger.close()
        raise storage_error(error, path) or error from error
    except BaseException:
        ledger.close()
        raise
    return ledger


def create_ledger(path: str | os.PathLike[str], *, steps: Sequence[Step] | None = None) -> bool:
    """Make a ledger at ``path``, readable by its owner alone, or bring the one that is there up to date.

    True if it is new. An empty file counts as nothing. Any number of processes may call this at once: one makes it.
    Raises LedgerMissing when there is no such directory, and otherwise what :func:`open_ledger` raises.
    """
    path = _absolute(path)
    steps = migrations.default_steps() if steps is None else steps
    directory = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(directory):
        raise LedgerMissing(f"there is no directory {shown(directory)}", hint="make it first")
    refuse_network_filesystem(directory)
    if os.path.lexists(path) and not _is_empty(path):
        # Nothing is written beside a file that is something else, and a current ledger needs no lock.
        with Ledger(path, len(steps)) as ledger:
            try:
                if ledger.found_version() == len(steps):
                    return False
            except NotALedger:
                if not _is_empty(path):  # it is so after an interrupted beginning
                    raise
    try:
        with _locked(path):
            return _make_or_migrate(path, steps)
    except sqlite3.Error as error:
        raise storage_error(error, path) or error from error
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise from_os(error, path) from error


@contextmanager
def _locked(path: str) -> Iterator[None]:
    lock = FileLock(os.path.realpath(path))
    try:
        if not lock.acquire(DEFAULT_TIMEOUT):
            raise LedgerBusy(f"another process kept {shown(path)} locked until the deadline", hint="try again")
        yield
    finally:
        lock.close()


def _make_or_migrate(path: str, steps: Sequence[Step]) -> bool:
    """The file lock is held, so no other nbilling is at it."""
    real = os.path.realpath(path)
    try:
        # No connection can have a file open that was not there: closing this descriptor drops nobody's locks.
        os.close(os.open(real, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        made = True
    except FileExistsError:
        made = False
    if made or os.stat(real).st_size == 0:
        os.chmod(real, 0o600)
    try:
        connection = connect_to_migrate(real)
        try:
            # A new ledger is made in one transaction of SQLite's first journal mode, and only then switched to WAL:
            # whenever the process dies, the file is empty or a ledger.
            new = migrations.migrate(connection, steps, shown(path))
            prepare_writer(connection)
        finally:
            connection.close()
    except BaseException:
        if made and os.stat(real).st_size == 0:
            os.unlink(real)
        raise
    return new


def _absolute(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise BadInput("the path of a ledger is empty, or has a NUL in it", hint="give the path of a file")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise BadInput(f"{text!r} cannot be the name of a file", hint="give the path of a file") from error
    return os.path.abspath(text)


def _require_file(path: str) -> None:
    if _is_empty(path):
        raise NotALedger(f"{shown(path)} is empty", hint="make a ledger of it with `nbilling init`")


def _is_empty(path: str) -> bool:
    """Whether the regular file at ``path`` has no bytes. Raises the typed error if there is no such file."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LedgerMissing(
            f"there is no ledger at {shown(path)}", hint="check the path, or make one with `nbilling init`"
        ) from error
    except OSError as error:
        raise from_os(error, path) from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise NotALedger(f"{shown(path)} is {kind}", hint="give the path of a file")
    return found.st_size == 0


def _inode(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino
