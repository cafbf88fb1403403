"""Connections: odd paths, settings that are read back, what SQLite's errors mean, network file systems."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nbilling.model.errors import (
    LedgerBusy,
    LedgerMoved,
    LedgerReadOnly,
    NotALedger,
    StorageError,
    StorageFull,
)
from nbilling.store import connection as module
from nbilling.store.connection import open_reader, open_writer, refuse_network_filesystem, storage_error

ODD = ["a b", "a?b", "a#b", "a%b", "a%3fb", "a%00b", "größe-дом-帳簿", "a&b=c;d", "it's", 'a"b', "a\nb", "a\\b", "-a"]


def make(path: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (x)")
    connection.close()


@pytest.mark.parametrize("name", ODD)
def test_a_path_is_opened_whatever_is_in_it(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    make(path)
    for opened in (open_writer(path), open_reader(path)):
        assert opened.execute("SELECT count(*) FROM t").fetchone() == (0,)
        assert opened.execute("PRAGMA database_list").fetchone()[2] == path
        opened.close()


def test_a_path_that_is_not_utf_8_is_opened(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    make(path)
    opened = open_reader(path)
    assert opened.execute("SELECT count(*) FROM t").fetchone() == (0,)
    opened.close()


@pytest.mark.parametrize("opener", [open_reader, open_writer])
def test_nothing_is_created(tmp_path: Path, opener: type) -> None:
    with pytest.raises(sqlite3.OperationalError):
        opener(str(tmp_path / "typo.db"))
    assert list(tmp_path.iterdir()) == []


def test_the_writer_has_every_setting(tmp_path: Path) -> None:
    make(str(tmp_path / "x.db"))
    opened = open_writer(str(tmp_path / "x.db"))

    def setting(name: str) -> object:
        return opened.execute(f"PRAGMA {name}").fetchone()[0]

    assert setting("synchronous") == 2
    assert setting("foreign_keys") == 1
    assert setting("journal_mode") == "wal"
    assert setting("wal_autocheckpoint") == module.CHECKPOINT_PAGES
    assert setting("busy_timeout") == module.WRITER_BUSY_MS
    assert opened.isolation_level is None
    opened.close()


def test_a_setting_that_sqlite_does_not_take_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(str(tmp_path / "x.db"))
    pragma = module._pragma
    monkeypatch.setattr(module, "_pragma", lambda c, name: 1 if name == "synchronous" else pragma(c, name))
    with pytest.raises(StorageError, match="did not take PRAGMA synchronous=2"):
        open_writer(str(tmp_path / "x.db"))


def test_a_reader_cannot_write_and_does_not_checkpoint_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    make(str(path))
    # A process that dies leaves its -wal behind.
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "c.execute('INSERT INTO t VALUES (1)'); os._exit(0)",
            path,
        ],
        check=True,
    )
    size, wal = path.stat().st_size, Path(f"{path}-wal").stat().st_size
    reader = open_reader(str(path))
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("INSERT INTO t VALUES (2)")
    reader.close()
    assert (path.stat().st_size, Path(f"{path}-wal").stat().st_size) == (size, wal)


@pytest.mark.parametrize(
    "code, meaning",
    [
        (sqlite3.SQLITE_FULL, StorageFull),
        (sqlite3.SQLITE_IOERR_WRITE, StorageFull),
        (sqlite3.SQLITE_IOERR_SHMSIZE, StorageFull),
        (sqlite3.SQLITE_IOERR_FSYNC, StorageError),
        (sqlite3.SQLITE_IOERR_READ, StorageError),
        (sqlite3.SQLITE_READONLY, LedgerReadOnly),
        (sqlite3.SQLITE_READONLY_DIRECTORY, LedgerReadOnly),
        (sqlite3.SQLITE_READONLY_DBMOVED, LedgerMoved),
        (sqlite3.SQLITE_CANTOPEN, LedgerReadOnly),
        (sqlite3.SQLITE_BUSY, LedgerBusy),
        (sqlite3.SQLITE_BUSY_RECOVERY, LedgerBusy),
        (sqlite3.SQLITE_LOCKED, LedgerBusy),
        (sqlite3.SQLITE_CORRUPT, NotALedger),
        (sqlite3.SQLITE_NOTADB, NotALedger),
        (sqlite3.SQLITE_ERROR, None),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, None),
    ],
)
def test_what_an_error_of_sqlite_means(tmp_path: Path, code: int, meaning: type[StorageError] | None) -> None:
    error = sqlite3.OperationalError("said SQLite")
    error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_SOMETHING"
    typed = storage_error(error, str(tmp_path / "x.db"))
    if meaning is None:
        assert typed is None
    else:
        assert type(typed) is meaning
        assert "\n" not in str(typed)
        assert typed.hint


def test_a_file_that_cannot_be_opened_on_a_full_disk_means_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_CANTOPEN, "SQLITE_CANTOPEN"
    full = os.statvfs_result((4096, 4096, 10, 0, 0, 10, 5, 5, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert type(storage_error(error, str(tmp_path / "x.db"))) is StorageFull


def test_an_error_that_is_not_sqlites_means_nothing_here() -> None:
    assert storage_error(ValueError("x"), "/x") is None
    assert storage_error(sqlite3.ProgrammingError("closed"), "/x") is None


def mounts(tmp_path: Path, kind: str, device: int) -> str:
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 0:21 / /proc rw,nosuid shared:5 - proc proc rw\n"
        f"40 1 {os.major(device)}:{os.minor(device)} / /data rw,relatime shared:1 master:2 - {kind} server:/export rw\n"
    )
    return str(table)


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.db"
    path.touch()
    table = mounts(tmp_path, kind, path.stat().st_dev)
    with pytest.raises(StorageError, match=f"network file system .{kind}.") as caught:
        refuse_network_filesystem(str(path), table)
    assert "NBILLING_ALLOW_NETWORK_FS=1" in caught.value.hint
    monkeypatch.setenv("NBILLING_ALLOW_NETWORK_FS", "1")
    refuse_network_filesystem(str(path), table)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "zfs"])
def test_a_local_file_system_is_taken(tmp_path: Path, kind: str) -> None:
    refuse_network_filesystem(str(tmp_path), mounts(tmp_path, kind, tmp_path.stat().st_dev))


def test_where_the_system_does_not_tell_nothing_is_refused(tmp_path: Path) -> None:
    refuse_network_filesystem(str(tmp_path), str(tmp_path / "no-mountinfo"))
    refuse_network_filesystem(str(tmp_path / "nowhere"))
    strange = tmp_path / "strange"
    strange.write_text("\n22 1\n- - - - - - - -\n")
    refuse_network_filesystem(str(tmp_path), str(strange))


def test_a_leaked_connection_is_never_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    make(str(path))
    script = (
        "import sys; from nbilling.store.connection import leak, open_writer;"
        "c = open_writer(sys.argv[1]); c.execute('INSERT INTO t VALUES (1)'); leak(c); del c"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True)
    assert Path(f"{path}-wal").stat().st_size > 0  # closing it would have emptied and deleted this
