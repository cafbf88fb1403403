"""SQLite connections to a ledger: how they are opened, what is set on them, and what SQLite's errors mean.

Two kinds. The writer's connection (``mode=rw``, one a process) is opened, used, checkpointed and closed only under the
file lock of ``store/lock.py``. Readers (``mode=ro``, one a thread) never checkpoint, not even when they are closed.
Neither creates a file: a typing error in a path must not make a new ledger.
"""

from __future__ import annotations

import os
import sqlite3

from nbilling.model.errors import (
    LedgerBusy,
    LedgerMoved,
    LedgerReadOnly,
    NbillingError,
    NewerLedger,
    NotALedger,
    StorageError,
    StorageFull,
)

WRITER_BUSY_MS = 250
"""How long one BEGIN IMMEDIATE waits for a program outside the lock (a sqlite3 shell). The writer then tries again."""

READER_BUSY_MS = 10_000
"""A reader waits only while another process recovers the -wal file, or holds the whole file."""

CHECKPOINT_PAGES = 4_000
"""The COMMIT that finds this many pages in the -wal copies them into the ledger: 16 MiB."""

WAL_KEEP_BYTES = 64 << 20
"""A -wal file that a long reader made larger is cut back to this."""

_FULL = sqlite3.SQLITE_FULL
_FULL_TOO = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)

NETWORK_FILESYSTEMS = frozenset(
    "9p acfs afs beegfs ceph cifs coda davfs fuse.ceph fuse.davfs fuse.gcsfuse fuse.glusterfs fuse.rclone fuse.s3fs "
    "fuse.smbnetfs fuse.sshfs gfs gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 pvfs2 smb2 smb3 smbfs vboxsf".split()
)
"""File systems that several hosts share. SQLite's WAL mode shares memory between processes, so it works on one host."""


def shown(path: str) -> str:
    """The path as it can stand in a message of one line."""
    return path if path.isprintable() else repr(path)


def open_reader(path: str) -> sqlite3.Connection:
    """A read-only connection in autocommit mode. Any thread may close it; one thread uses it."""
    connection = _connect(path, "ro", READER_BUSY_MS)
    try:
        # Reading user_version touches the file: not a database, no permission, damaged -wal show here.
        connection.execute("PRAGMA user_version").fetchone()
        _set(connection, {"foreign_keys": 1, "synchronous": 2, "cache_size": -8_192})
    except BaseException:
        connection.close()
        raise
    return connection


def open_writer(path: str) -> sqlite3.Connection:
    """The writing connection. The caller holds the file lock: this may recover the -wal file."""
    connection = _connect(path, "rw", WRITER_BUSY_MS)
    try:
        prepare_writer(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_writer(connection: sqlite3.Connection) -> None:
    """WAL, every commit on the disk before it is acknowledged, foreign keys. Each setting is read back.

    Automatic checkpoints happen within COMMIT, so they are under the lock like everything on this connection.
    """
    if (mode := _pragma(connection, "journal_mode=WAL")) != "wal":
        raise StorageError(
            f"SQLite keeps its journal in mode {mode!r}, not in WAL", hint="move the ledger to a local disk"
        )
    _set(
        connection,
        {
            "synchronous": 2,
            "foreign_keys": 1,
            "cache_size": -65_536,
            "wal_autocheckpoint": CHECKPOINT_PAGES,
            "journal_size_limit": WAL_KEEP_BYTES,
            "busy_timeout": WRITER_BUSY_MS,
        },
    )


def connect_to_migrate(path: str) -> sqlite3.Connection:
    """A connection that can write and on which nothing is set but FULL. The caller holds the file lock."""
    connection = _connect(path, "rw", READER_BUSY_MS)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA user_version").fetchone()  # undoes what a process that died had begun
    return connection


def _connect(path: str, mode: str, busy_ms: int) -> sqlite3.Connection:
    return sqlite3.connect(
        uri(path, mode),
        uri=True,
        timeout=busy_ms / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def uri(path: str, mode: str) -> str:
    """An absolute path as a URI. ``?`` and ``#`` would end the path and ``%`` would be an escape; the rest stays."""
    escaped = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:///{escaped.lstrip('/')}?mode={mode}"


def _pragma(connection: sqlite3.Connection, pragma: str) -> object:
    row = connection.execute(f"PRAGMA {pragma}").fetchone()
    return row[0] if row else None


def _set(connection: sqlite3.Connection, settings: dict[str, int]) -> None:
    for name, value in settings.items():
        connection.execute(f"PRAGMA {name}={value}").fetchone()
        if (found := _pragma(connection, name)) != value:
            raise StorageError(
                f"SQLite {sqlite3.sqlite_version} did not take PRAGMA {name}={value} (it is {found})",
                hint="use a SQLite that is built with its defaults",
            )


def storage_error(error: BaseException, path: str) -> StorageError | None:
    """What an error of SQLite means for the ledger, or None when it is about the statement, not about the storage."""
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(error, sqlite3.Error) or code is None:
        return None
    at, primary = shown(path), code & 0xFF
    detail = f"{error} ({getattr(error, 'sqlite_errorname', code)})"
    if primary == _FULL or code in _FULL_TOO or (primary == sqlite3.SQLITE_CANTOPEN and _no_room(path)):
        return StorageFull(
            f"no room left for {at}: {detail}",
            hint="free some space; nothing of this call was recorded, all that was acknowledged is safe",
        )
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return LedgerBusy(f"another program is writing to {at}: {detail}", hint="try again")
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return moved(path)
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return LedgerReadOnly(
            f"cannot write {at} or beside it: {detail}",
            hint="check the owner and the mode of the file, its -wal, -shm and -lock, and of their directory",
        )
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return NotALedger(f"{at} is not a ledger, or it is damaged: {detail}", hint="restore it from a backup")
    if primary == sqlite3.SQLITE_IOERR:
        return StorageError(f"the disk failed under {at}: {detail}", hint="look in the system's log, check the disk")
    return None


def moved(path: str) -> LedgerMoved:
    """The error for a ledger that is no longer the file that was opened."""
    return LedgerMoved(
        f"{shown(path)} was renamed, replaced or deleted while it was open",
        hint="open it again; what was acknowledged is in the file that was open",
    )


def newer(path: str, found: int, wanted: int) -> NewerLedger:
    """The error for a file that this version cannot read."""
    return NewerLedger(
        f"{shown(path)} was written by a newer nbilling (schema {found}, this one knows {wanted})",
        hint="upgrade nbilling",
    )


def closed(path: str) -> StorageError:
    """The error for a handle that was closed."""
    return StorageError(f"the handle on {shown(path)} is closed", hint="open the ledger again")


def copy_of(error: NbillingError) -> NbillingError:
    """One for each thread that raises it: a shared exception would collect everyone's tracebacks."""
    copy = type(error)(error.message, hint=error.hint)
    copy.__cause__ = error.__cause__
    return copy


def from_os(error: OSError, path: str) -> StorageError:
    """The typed error for a failed system call on the ledger or its lock file."""
    import errno

    reason = f"{shown(path)}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFull(f"no room left for {reason}", hint="free some space")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return LedgerReadOnly(reason, hint="check the owner and the mode of the file and of its directory")
    return StorageError(reason, hint="check the path and the disk")


def _no_room(path: str) -> bool:
    try:
        room = os.statvfs(os.path.dirname(path))
    except OSError:
        return False
    return room.f_bavail == 0 or (room.f_files > 0 and room.f_favail == 0)


def refuse_network_filesystem(path: str, mountinfo: str = "/proc/self/mountinfo") -> None:
    """Raise StorageError when the file lies on a file system that hosts share, unless NBILLING_ALLOW_NETWORK_FS=1.

    Does nothing where the system does not tell (no ``/proc``). ``mountinfo`` is described in proc(5): field 3 is the
    device, the type follows a lone ``-``.
    """
    if os.environ.get("NBILLING_ALLOW_NETWORK_FS") == "1":
        return
    try:
        device = os.stat(path).st_dev
        with open(mountinfo, "rb") as lines:
            table = lines.read()
    except OSError:
        return
    wanted = f"{os.major(device)}:{os.minor(device)}".encode()
    for line in table.splitlines():
        fields = line.split()
        if len(fields) > 6 and fields[2] == wanted and b"-" in fields[6:]:
            kind = fields[fields.index(b"-", 6) + 1].decode(errors="replace")
            if kind in NETWORK_FILESYSTEMS:
                raise StorageError(
                    f"{shown(path)} is on a network file system ({kind}), where SQLite can lose data",
                    hint="keep it on a local disk, or set NBILLING_ALLOW_NETWORK_FS=1 if one host alone uses it",
                )
            return


_leaked: list[sqlite3.Connection] = []


def leak(connection: sqlite3.Connection) -> None:
    """Never close this connection, not even when the interpreter ends.

    Closing would checkpoint without the lock, or delete the -wal file of whatever lies at the path now, when the ledger
    was moved away.
    """
    _leaked.append(connection)
    try:
        import ctypes
    except ImportError:
        return
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
