"""The write session: failing commits, full disks, and a file that changes under it. In one process."""

from __future__ import annotations

import functools
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from nbilling.model.errors import (
    LedgerMoved,
    LedgerReadOnly,
    NewerLedger,
    NotALedger,
    OutcomeUnknown,
    StorageError,
    StorageFull,
)
from nbilling.store import lock as lock_module
from nbilling.store import session as session_module
from nbilling.store.database import Ledger, create_ledger, open_ledger


def put(key: str) -> Callable[[sqlite3.Connection], str]:
    """A job that records a key, once."""

    def job(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO t (k) VALUES (?)", (key,))
        return key

    return job


def keys(ledger: Ledger) -> set[str]:
    return {key for (key,) in ledger.read().execute("SELECT k FROM t")}


# -- failing commits


class Faulty(sqlite3.Connection):
    """A connection whose COMMIT raises as many times as ``failures`` says; each entry is the code SQLite would give."""

    failures: ClassVar[list[int]] = []

    def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        if sql == "COMMIT" and self.failures:
            code = self.failures.pop(0)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = code
            error.sqlite_errorname = f"code {code}"
            raise error
        return super().execute(sql, *rest)


@pytest.fixture
def faulty(steps: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Faulty))
    monkeypatch.setattr(Faulty, "failures", [])
    with open_ledger(path, steps=steps) as ledger:
        ledger.write(put("before"))
        yield ledger


FSYNC = sqlite3.SQLITE_IOERR_FSYNC


def wal_size(ledger: Ledger) -> int:
    return Path(f"{ledger.path}-wal").stat().st_size


def test_a_failed_commit_is_overwritten_before_it_is_called_failed(faulty: Ledger) -> None:
    size = wal_size(faulty)
    Faulty.failures[:] = [FSYNC]
    with pytest.raises(StorageError, match="the disk failed") as caught:
        faulty.write(put("a"))
    assert not isinstance(caught.value, OutcomeUnknown)
    assert wal_size(faulty) - size == 4096 + 24  # one frame, the header page
    assert faulty.write(put("b")) == "b"
    assert keys(faulty) == {"before", "b"}


def test_a_failed_commit_fails_its_whole_group_each_with_an_exception_of_its_own(gate: Any, faulty: Ledger) -> None:
    def arm(connection: sqlite3.Connection) -> None:
        Faulty.failures[:] = [FSYNC]

    held = gate(faulty, 4)
    futures = [held.submit(job) for job in (put("a"), arm, put("b"), put("c"))]
    held.open()
    errors = [future.exception() for future in futures]
    assert {type(error) for error in errors} == {StorageError}
    assert len({id(error) for error in errors}) == 4
    assert faulty.write(put("after")) == "after"
    assert keys(faulty) == {"before", "after"}


def test_a_commit_that_cannot_be_undone_is_unknown_and_ends_writing(steps: Any, faulty: Ledger, path: Path) -> None:
    Faulty.failures[:] = [FSYNC, FSYNC, FSYNC]
    with pytest.raises(OutcomeUnknown):
        faulty.write(put("a"))
    Faulty.failures.clear()
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            faulty.write(put("b"))
    with open_ledger(path, steps=steps) as reopened:
        assert reopened.write(put("c")) == "c"
        assert "b" not in keys(reopened)
    with pytest.raises(OutcomeUnknown):
        faulty.write(put("d"))


def test_the_wal_is_emptied_when_there_is_no_room_to_overwrite(faulty: Ledger) -> None:
    Faulty.failures[:] = [FSYNC, FSYNC]
    with pytest.raises(StorageError) as caught:
        faulty.write(put("a"))
    assert not isinstance(caught.value, OutcomeUnknown)
    assert wal_size(faulty) < 3 * (4096 + 24)  # begun anew
    assert faulty.write(put("b")) == "b"
    assert keys(faulty) == {"before", "b"}


def test_a_full_disk_is_certain_and_writing_resumes_when_it_is_freed(faulty: Ledger) -> None:
    Faulty.failures[:] = [sqlite3.SQLITE_FULL] * 3
    with pytest.raises(StorageFull):
        faulty.write(put("a"))
    assert faulty.write(put("b")) == "b"
    assert keys(faulty) == {"before", "b"}


def test_a_file_size_limit_is_a_full_disk(faulty: Ledger) -> None:
    Faulty.failures[:] = [sqlite3.SQLITE_IOERR_WRITE]
    with pytest.raises(StorageFull):
        faulty.write(put("a"))
    assert faulty.write(put("b")) == "b"


def test_a_ledger_that_cannot_grow_is_full_and_resumes_when_it_can(gate: Any, ledger: Ledger) -> None:
    def limit(pages: int) -> Callable[[sqlite3.Connection], int]:
        return lambda connection: int(connection.execute(f"PRAGMA max_page_count={pages}").fetchone()[0])

    least = ledger.write(limit(1))

    def big(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES ('big', zeroblob(100000))")

    held = gate(ledger, 3)
    futures = [held.submit(job) for job in (put("a"), big, put("b"))]
    held.open()
    assert isinstance(futures[1].exception(), StorageFull)
    assert [futures[0].result(), futures[2].result()] == ["a", "b"]
    ledger.write(limit(least + 100))
    ledger.write(big)
    assert keys(ledger) == {"a", "b", "big"}


def test_an_unfinished_statement_that_stops_the_commit_is_the_jobs_fault(ledger: Ledger) -> None:
    left: list[sqlite3.Cursor] = []

    def returning(connection: sqlite3.Connection) -> None:
        rows = connection.execute("INSERT INTO t (k) VALUES ('a'), ('b') RETURNING k")
        rows.fetchone()
        left.append(rows)

    with pytest.raises(StorageError, match="unfinished"):
        ledger.write(returning)
    assert ledger.write(put("c")) == "c"
    left.clear()
    assert keys(ledger) == {"c"}


# -- the file under it


def test_a_newer_ledger_is_refused_in_mid_run(steps: Any, ledger: Ledger, path: Path) -> None:
    ledger.write(put("a"))
    newer_steps = (*steps, ("0002_more", lambda connection: connection.execute("CREATE TABLE more (x)").close()))
    with open_ledger(path, steps=newer_steps) as newer:
        with pytest.raises(NewerLedger, match="schema 2, this one knows 1"):
            ledger.write(put("b"))
        assert newer.write(put("c")) == "c"


def test_the_two_versions_may_even_meet_in_one_group(steps: Any, gate: Any, ledger: Ledger, path: Path) -> None:
    newer_steps = (*steps, ("0002_more", lambda connection: connection.execute("CREATE TABLE more (x)").close()))
    with open_ledger(path, steps=newer_steps) as newer:
        held = gate(newer, 3)
        ours = held.submit(put("new"))
        old = held.submit(put("old"), by=ledger)
        held.open()
        assert ours.result() == "new"
        assert isinstance(old.exception(), NewerLedger)
        assert keys(newer) == {"new"}


@pytest.mark.parametrize("what", ["renamed", "deleted", "replaced"])
def test_a_ledger_that_moved_away_is_not_written(
    steps: Any, ledger: Ledger, path: Path, tmp_path: Path, what: str
) -> None:
    ledger.write(put("a"))
    away = tmp_path / "away.db"
    if what == "deleted":
        path.unlink()
    else:
        path.rename(away)
    if what == "replaced":
        create_ledger(path, steps=steps)
    with pytest.raises(LedgerMoved):
        ledger.write(put("lost"))
    if what == "renamed":
        away.rename(path)
        assert ledger.write(put("b")) == "b"
        assert keys(ledger) == {"a", "b"}


def test_closing_a_ledger_that_was_replaced_spares_the_new_one(
    steps: Any, ledger: Ledger, path: Path, tmp_path: Path
) -> None:
    ledger.write(put("old"))
    path.rename(tmp_path / "away.db")
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").rename(tmp_path / f"away.db{suffix}")
    create_ledger(path, steps=steps)
    with open_ledger(path, steps=steps) as new:
        new.write(put("new"))
        ledger.close()
        assert Path(f"{path}-wal").exists()  # SQLite deletes it by name when the last connection is closed
        new.write(put("newer"))
    with open_ledger(path, steps=steps) as new:
        assert keys(new) == {"new", "newer"}
    with open_ledger(tmp_path / "away.db", steps=steps) as old:
        assert keys(old) == {"old"}


def test_closing_when_the_wal_is_another_spares_that_one(steps: Any, ledger: Ledger, path: Path) -> None:
    ledger.write(put("a"))
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    # A process that finds no -wal makes one, and dies with what it acknowledged in it.
    code = """if True:
        import os, sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("INSERT INTO t (k) VALUES ('theirs')")
        os._exit(0)"""
    subprocess.run([sys.executable, "-c", code, path], check=True)
    ledger.close()
    look = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT k FROM t').fetchall())"
    ran = subprocess.run([sys.executable, "-c", look, path], check=True, capture_output=True, text=True)
    assert "theirs" in ran.stdout


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_deleted_side_file_of_sqlite_ends_writing(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(session_module, "LOOK_SECONDS", 0.0)
    ledger.write(put("a"))
    ledger.write(put("b"))
    Path(f"{path}{suffix}").unlink()
    with pytest.raises(LedgerMoved):
        ledger.write(put("lost"))


def test_an_unusable_lock_file_is_said_to_everyone(steps: Any, ledger: Ledger, path: Path) -> None:
    ledger.write(put("a"))
    ledger.close()
    side = Path(lock_module.lock_path(str(path)))
    side.unlink()
    side.symlink_to("/nowhere")
    with open_ledger(path, steps=steps) as again, pytest.raises(StorageError):
        again.write(put("b"))
    side.unlink()
    with open_ledger(path, steps=steps) as again:
        assert again.write(put("b")) == "b"


def test_damage_is_not_a_ledger(steps: Any, path: Path, tmp_path: Path) -> None:
    with open_ledger(path, steps=steps) as ledger:
        for n in range(200):
            ledger.write(put(f"{n:0100}"))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(NotALedger), open_ledger(path, steps=steps) as ledger:
        ledger.write(put("x"))


def test_sqlite_says_read_only_and_we_say_so(ledger: Ledger) -> None:
    ledger.write(put("a"))
    ledger.write(lambda connection: connection.execute("PRAGMA query_only=ON").close())
    with pytest.raises(LedgerReadOnly):
        ledger.write(put("b"))
    ledger.write(lambda connection: connection.execute("PRAGMA query_only=OFF").close())
    assert ledger.write(put("c")) == "c"


def test_the_wal_is_copied_into_the_ledger_as_it_grows(steps: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def big(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (hex(randomblob(8)), zeroblob(8000))")

    monkeypatch.setattr("nbilling.store.connection.CHECKPOINT_PAGES", 50)
    with open_ledger(path, steps=steps) as ledger:
        for _ in range(100):
            ledger.write(big)
        assert wal_size(ledger) < 100 * 4096
        assert path.stat().st_size > 100 * 8000


def test_closing_leaves_one_file_and_the_lock(steps: Any, path: Path) -> None:
    with open_ledger(path, steps=steps) as ledger:
        ledger.write(put("a"))
    assert sorted(found.name for found in path.parent.iterdir()) == ["ledger.db", "ledger.db-lock"]
