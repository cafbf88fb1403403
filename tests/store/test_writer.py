"""The writer: group commit, isolation of jobs, deadlines, and what happens when a commit fails. In one process."""

from __future__ import annotations

import functools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from nbilling.model.errors import (
    LedgerBusy,
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
from nbilling.store import stand_in as stand_in_module
from nbilling.store import writer as writer_module
from nbilling.store.database import Ledger, create_ledger, open_ledger
from nbilling.store.lock import FileLock
from nbilling.store.migrations import Step
from nbilling.store.registry import acquire_writer, release_writer
from nbilling.store.writer import Writer

LONG = 20.0
"""Seconds that nothing here comes near to: a test that needs them has failed."""


def _tables(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB) STRICT")
    connection.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY) STRICT")
    connection.execute(
        "CREATE TABLE children (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED) STRICT"
    )
    connection.execute(
        "CREATE TRIGGER cursed BEFORE INSERT ON t WHEN new.k = 'cursed' BEGIN SELECT RAISE(ROLLBACK, 'cursed'); END"
    )


STEPS: tuple[Step, ...] = (("0001_initial", _tables),)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    create_ledger(path, steps=STEPS)
    return path


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with open_ledger(path, steps=STEPS) as ledger:
        yield ledger


def put(key: str) -> Callable[[sqlite3.Connection], str]:
    """A job that records a key, once."""

    def job(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO t (k) VALUES (?)", (key,))
        return key

    return job


def keys(ledger: Ledger) -> set[str]:
    return {key for (key,) in ledger.read().execute("SELECT k FROM t")}


def writer_of(ledger: Ledger) -> Writer:
    """The one writer of the ledger's file."""
    writer = acquire_writer(ledger.path)
    release_writer(writer)
    return writer


def waiting(ledger: Ledger) -> int:
    """How many jobs are in the queue."""
    return len(writer_of(ledger)._queue)


class Gate:
    """Holds the writer in a job, so that what comes meanwhile makes one group."""

    def __init__(self, ledger: Ledger, threads: int) -> None:
        self.ledger = ledger
        self.pool = ThreadPoolExecutor(threads + 1)
        self.statements: list[str] = []
        self._inside = threading.Event()
        self._go_on = threading.Event()
        self._first = self.pool.submit(ledger.write, self._hold)
        assert self._inside.wait(LONG)

    def _hold(self, connection: sqlite3.Connection) -> None:
        self._inside.set()
        assert self._go_on.wait(LONG)
        connection.set_trace_callback(self.statements.append)

    def submit(self, job: Callable[[sqlite3.Connection], Any], **options: Any) -> Future[Any]:
        """Call ``write`` in a thread and wait until the job is in the queue."""
        before = waiting(self.ledger)
        future: Future[Any] = self.pool.submit(self.ledger.write, job, **options)
        while waiting(self.ledger) == before:
            assert not future.done()
        return future

    def open(self) -> list[str]:
        """Let them through. Returns the statements of the group."""
        self._go_on.set()
        self._first.result(LONG)
        self.pool.shutdown()
        self.ledger.write(lambda connection: connection.set_trace_callback(None))
        return self.statements


# -- jobs


def test_a_job_returns_its_value_and_its_effect_is_there(ledger: Ledger) -> None:
    assert ledger.write(put("a")) == "a"
    assert keys(ledger) == {"a"}


def test_what_a_job_raises_reaches_its_caller_and_undoes_it(ledger: Ledger) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        put("a")(connection)
        raise LookupError("no such customer")

    with pytest.raises(LookupError, match="no such customer"):
        ledger.write(fail)
    assert keys(ledger) == set()


def test_an_error_of_a_statement_stays_what_it_is(ledger: Ledger) -> None:
    ledger.write(put("a"))
    with pytest.raises(sqlite3.IntegrityError):
        ledger.write(put("a"))
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        ledger.write(lambda connection: connection.execute("SELECT * FROM nowhere").fetchall())


def test_a_dry_run_returns_its_value_and_leaves_nothing(ledger: Ledger) -> None:
    assert ledger.write(put("a"), dry_run=True) == "a"
    assert keys(ledger) == set()


def test_a_lone_job_has_no_savepoint(ledger: Ledger) -> None:
    statements: list[str] = []

    def watched(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(statements.append)
        put("a")(connection)

    ledger.write(watched)
    assert "COMMIT" in statements
    assert "SAVEPOINT job" not in statements


def test_those_who_come_together_are_committed_once(ledger: Ledger) -> None:
    gate = Gate(ledger, 8)
    futures = [gate.submit(put(f"k{n}")) for n in range(8)]
    statements = gate.open()
    assert [future.result() for future in futures] == [f"k{n}" for n in range(8)]
    assert statements.count("COMMIT") == 2  # the gate's own and the group's
    assert statements.count("SAVEPOINT job") == 8
    assert len(keys(ledger)) == 8


def test_one_poisoned_job_in_a_group_of_a_hundred_fails_alone(ledger: Ledger) -> None:
    def poison(connection: sqlite3.Connection) -> None:
        put("poison")(connection)
        raise ZeroDivisionError

    gate = Gate(ledger, 100)
    futures = [gate.submit(poison if n == 50 else put(f"k{n}")) for n in range(100)]
    statements = gate.open()
    assert statements.count("SAVEPOINT job") == 100
    assert [n for n, future in enumerate(futures) if future.exception() is not None] == [50]
    assert isinstance(futures[50].exception(), ZeroDivisionError)
    assert keys(ledger) == {f"k{n}" for n in range(100) if n != 50}


def test_a_dry_run_in_a_group_leaves_nothing_and_the_others_stay(ledger: Ledger) -> None:
    gate = Gate(ledger, 3)
    futures = [gate.submit(put(f"k{n}"), dry_run=n == 1) for n in range(3)]
    gate.open()
    assert [future.result() for future in futures] == ["k0", "k1", "k2"]
    assert keys(ledger) == {"k0", "k2"}


def test_a_job_that_makes_sqlite_undo_everything_takes_no_neighbour_with_it(ledger: Ledger) -> None:
    gate = Gate(ledger, 5)
    futures = [gate.submit(put(key)) for key in ("a", "b", "cursed", "c", "d")]
    gate.open()
    assert isinstance(futures[2].exception(), sqlite3.IntegrityError)
    assert [future.result() for future in futures if future is not futures[2]] == ["a", "b", "c", "d"]
    assert keys(ledger) == {"a", "b", "c", "d"}


def test_a_deferred_constraint_fails_only_the_job_that_broke_it(ledger: Ledger) -> None:
    def orphan(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO children VALUES (7)")

    gate = Gate(ledger, 4)
    futures = [gate.submit(job) for job in (put("a"), orphan, put("b"), put("c"))]
    gate.open()
    assert isinstance(futures[1].exception(), sqlite3.IntegrityError)
    assert keys(ledger) == {"a", "b", "c"}
    with pytest.raises(sqlite3.IntegrityError):
        ledger.write(orphan)
    assert ledger.read().execute("SELECT count(*) FROM children").fetchone() == (0,)


def test_a_job_must_not_wait_for_another_job(ledger: Ledger, path: Path) -> None:
    with pytest.raises(RuntimeError, match="must not wait"):
        ledger.write(lambda connection: ledger.write(put("inner")))
    with open_ledger(path, steps=STEPS) as other, pytest.raises(RuntimeError, match="must not wait"):
        ledger.write(lambda connection: other.write(put("inner")))
    assert keys(ledger) == set()


def test_a_job_must_not_return_a_cursor(ledger: Ledger) -> None:
    with pytest.raises(TypeError, match="cursor"):
        ledger.write(lambda connection: connection.execute("SELECT 1"))


def test_a_job_must_not_end_its_transaction(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError, match="must not end"):
        ledger.write(lambda connection: connection.executescript("SELECT 1").close())
    assert ledger.write(put("a")) == "a"


def test_an_exit_in_a_job_reaches_the_caller_and_not_the_leader(ledger: Ledger) -> None:
    def leave(connection: sqlite3.Connection) -> None:
        raise SystemExit(3)

    gate = Gate(ledger, 3)
    futures = [gate.submit(job) for job in (put("a"), leave, put("b"))]
    gate.open()
    assert isinstance(futures[1].exception(), SystemExit)
    assert keys(ledger) == {"a", "b"}


def test_a_cursor_that_a_job_left_behind_does_not_stop_the_next(ledger: Ledger, path: Path) -> None:
    for n in range(3):
        ledger.write(put(f"k{n}"))
    left: list[sqlite3.Cursor] = []

    def forget(connection: sqlite3.Connection) -> None:
        left.append(connection.execute("SELECT k FROM t"))
        left[0].fetchone()

    ledger.write(forget)
    with sqlite3.connect(path, isolation_level=None) as foreign:
        foreign.execute("INSERT INTO t (k) VALUES ('foreign')")
    foreign.close()
    assert ledger.write(put("after")) == "after"
    left.clear()


# -- the queue


def test_two_handles_on_one_file_share_its_writer(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with open_ledger(link, steps=STEPS) as other:
        ledger.write(put("a"))
        other.write(put("b"))
        assert writer_of(other) is writer_of(ledger)
    assert ledger.write(put("c")) == "c"
    assert keys(ledger) == {"a", "b", "c"}


def test_the_queue_is_bounded(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "QUEUE_LIMIT", 2)
    gate = Gate(ledger, 4)
    futures = [gate.submit(put("a")), gate.submit(put("b"))]
    with pytest.raises(LedgerBusy, match="wait already"):
        ledger.write(put("refused"), timeout=0.01)
    patient = gate.pool.submit(ledger.write, put("c"))
    while not writer_of(ledger)._crowded:
        assert not patient.done()
    gate.open()
    assert [future.result() for future in [*futures, patient]] == ["a", "b", "c"]
    assert keys(ledger) == {"a", "b", "c"}


def test_a_job_whose_time_is_up_is_taken_out_of_the_queue(ledger: Ledger) -> None:
    gate = Gate(ledger, 2)
    late = gate.submit(put("late"), timeout=0.01)
    assert isinstance(late.exception(), LedgerBusy)
    other = gate.submit(put("other"))
    gate.open()
    assert other.result() == "other"
    assert keys(ledger) == {"other"}


def test_many_threads_are_all_answered_once(ledger: Ledger) -> None:
    def work(thread: int) -> list[str]:
        return [ledger.write(put(f"{thread}/{n}")) for n in range(25)]

    with ThreadPoolExecutor(16) as pool:
        answered = [key for answers in pool.map(work, range(16)) for key in answers]
    assert len(answered) == 400
    assert keys(ledger) == set(answered)


def test_closing_answers_those_who_wait(ledger: Ledger) -> None:
    gate = Gate(ledger, 2)
    future = gate.submit(put("a"))
    closer = threading.Thread(target=writer_of(ledger).close)
    closer.start()
    while not writer_of(ledger)._closed:
        pass
    gate._go_on.set()
    closer.join(LONG)
    gate.pool.shutdown()
    # Either the group was before the end or it was not: in no case is it left without an answer.
    assert future.exception() is None or "closed" in str(future.exception())
    assert keys(ledger) == (set() if future.exception() else {"a"})


# -- while somebody else has the lock


def test_the_wait_for_another_process_has_a_deadline(ledger: Ledger, path: Path) -> None:
    rival = FileLock(str(path))
    assert rival.acquire(LONG)
    for timeout in (0, 0.05):
        with pytest.raises(LedgerBusy, match="deadline"):
            ledger.write(put("late"), timeout=timeout)
    rival.close()
    assert ledger.write(put("a")) == "a"
    assert keys(ledger) == {"a"}


def test_whoever_waits_for_another_process_is_served_when_it_is_done(ledger: Ledger, path: Path) -> None:
    rival = FileLock(str(path))
    assert rival.acquire(LONG)
    names: list[str] = []

    def job(connection: sqlite3.Connection) -> None:
        names.append(threading.current_thread().name)

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(ledger.write, job) for _ in range(3)]
        while waiting(ledger) < 3 or not writer_of(ledger)._waits_for_lock():
            pass
        rival.close()
        for future in futures:
            future.result(LONG)
    assert names == ["nbilling-writer"] * 3


def test_a_stand_in_that_fails_answers_everyone_and_is_replaced(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = FileLock(str(path))
    assert rival.acquire(LONG)

    def die(self: FileLock) -> None:
        raise AssertionError("a fault in the stand-in")

    with monkeypatch.context() as patch:
        patch.setattr(stand_in_module.FileLock, "wait", die)
        with pytest.raises(StorageError, match="a fault in the stand-in"):
            ledger.write(put("a"))
    rival.close()
    assert ledger.write(put("b")) == "b"
    assert keys(ledger) == {"b"}


def test_without_a_thread_for_the_stand_in_the_caller_polls(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = FileLock(str(path))
    assert rival.acquire(LONG)

    def refuse(self: threading.Thread) -> None:
        rival.close()
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert ledger.write(put("a")) == "a"


def test_a_program_outside_the_lock_is_waited_for(ledger: Ledger, path: Path) -> None:
    ledger.write(put("a"))
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerBusy):
        ledger.write(put("late"), timeout=0.01)
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(ledger.write, put("b"))
        while not waiting(ledger):
            pass
        foreign.execute("ROLLBACK")
        assert patient.result(LONG) == "b"
    foreign.close()
    assert keys(ledger) == {"a", "b"}


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
def faulty(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Faulty))
    monkeypatch.setattr(Faulty, "failures", [])
    with open_ledger(path, steps=STEPS) as ledger:
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


def test_a_failed_commit_fails_its_whole_group_each_with_an_exception_of_its_own(faulty: Ledger) -> None:
    def arm(connection: sqlite3.Connection) -> None:
        Faulty.failures[:] = [FSYNC]

    gate = Gate(faulty, 4)
    futures = [gate.submit(job) for job in (put("a"), arm, put("b"), put("c"))]
    gate.open()
    errors = [future.exception() for future in futures]
    assert {type(error) for error in errors} == {StorageError}
    assert len({id(error) for error in errors}) == 4
    assert faulty.write(put("after")) == "after"
    assert keys(faulty) == {"before", "after"}


def test_a_commit_that_cannot_be_undone_is_unknown_and_ends_writing(faulty: Ledger, path: Path) -> None:
    Faulty.failures[:] = [FSYNC, FSYNC, FSYNC]
    with pytest.raises(OutcomeUnknown):
        faulty.write(put("a"))
    Faulty.failures.clear()
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            faulty.write(put("b"))
    with open_ledger(path, steps=STEPS) as reopened:
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


def test_a_ledger_that_cannot_grow_is_full_and_resumes_when_it_can(ledger: Ledger) -> None:
    def limit(pages: int) -> Callable[[sqlite3.Connection], int]:
        return lambda connection: int(connection.execute(f"PRAGMA max_page_count={pages}").fetchone()[0])

    least = ledger.write(limit(1))

    def big(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES ('big', zeroblob(100000))")

    gate = Gate(ledger, 3)
    futures = [gate.submit(job) for job in (put("a"), big, put("b"))]
    gate.open()
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


def test_a_newer_ledger_is_refused_in_mid_run(ledger: Ledger, path: Path) -> None:
    ledger.write(put("a"))
    newer_steps = (*STEPS, ("0002_more", lambda connection: connection.execute("CREATE TABLE more (x)").close()))
    with open_ledger(path, steps=newer_steps) as newer:
        with pytest.raises(NewerLedger, match="schema 2, this one knows 1"):
            ledger.write(put("b"))
        assert newer.write(put("c")) == "c"


def test_the_two_versions_may_even_meet_in_one_group(ledger: Ledger, path: Path) -> None:
    newer_steps = (*STEPS, ("0002_more", lambda connection: connection.execute("CREATE TABLE more (x)").close()))
    with open_ledger(path, steps=newer_steps) as newer:
        gate = Gate(newer, 3)
        ours = gate.submit(put("new"))
        old = gate.pool.submit(ledger.write, put("old"))
        while waiting(newer) < 2:
            pass
        gate.open()
        assert ours.result() == "new"
        assert isinstance(old.exception(), NewerLedger)
        assert keys(newer) == {"new"}


@pytest.mark.parametrize("what", ["renamed", "deleted", "replaced"])
def test_a_ledger_that_moved_away_is_not_written(ledger: Ledger, path: Path, tmp_path: Path, what: str) -> None:
    ledger.write(put("a"))
    away = tmp_path / "away.db"
    if what == "deleted":
        path.unlink()
    else:
        path.rename(away)
    if what == "replaced":
        create_ledger(path, steps=STEPS)
    with pytest.raises(LedgerMoved):
        ledger.write(put("lost"))
    if what == "renamed":
        away.rename(path)
        assert ledger.write(put("b")) == "b"
        assert keys(ledger) == {"a", "b"}


def test_closing_a_ledger_that_was_replaced_spares_the_new_one(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    ledger.write(put("old"))
    path.rename(tmp_path / "away.db")
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").rename(tmp_path / f"away.db{suffix}")
    create_ledger(path, steps=STEPS)
    with open_ledger(path, steps=STEPS) as new:
        new.write(put("new"))
        ledger.close()
        assert Path(f"{path}-wal").exists()  # SQLite deletes it by name when the last connection is closed
        new.write(put("newer"))
    with open_ledger(path, steps=STEPS) as new:
        assert keys(new) == {"new", "newer"}
    with open_ledger(tmp_path / "away.db", steps=STEPS) as old:
        assert keys(old) == {"old"}


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


def test_an_unusable_lock_file_is_said_to_everyone(ledger: Ledger, path: Path) -> None:
    ledger.write(put("a"))
    ledger.close()
    side = Path(lock_module.lock_path(str(path)))
    side.unlink()
    side.symlink_to("/nowhere")
    with open_ledger(path, steps=STEPS) as again, pytest.raises(StorageError):
        again.write(put("b"))
    side.unlink()
    with open_ledger(path, steps=STEPS) as again:
        assert again.write(put("b")) == "b"


def test_damage_is_not_a_ledger(path: Path, tmp_path: Path) -> None:
    with open_ledger(path, steps=STEPS) as ledger:
        for n in range(200):
            ledger.write(put(f"{n:0100}"))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(NotALedger), open_ledger(path, steps=STEPS) as ledger:
        ledger.write(put("x"))


def test_sqlite_says_read_only_and_we_say_so(ledger: Ledger) -> None:
    ledger.write(put("a"))
    ledger.write(lambda connection: connection.execute("PRAGMA query_only=ON").close())
    with pytest.raises(LedgerReadOnly):
        ledger.write(put("b"))
    ledger.write(lambda connection: connection.execute("PRAGMA query_only=OFF").close())
    assert ledger.write(put("c")) == "c"


def test_the_wal_is_copied_into_the_ledger_as_it_grows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def big(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (hex(randomblob(8)), zeroblob(8000))")

    monkeypatch.setattr("nbilling.store.connection.CHECKPOINT_PAGES", 50)
    with open_ledger(path, steps=STEPS) as ledger:
        for _ in range(100):
            ledger.write(big)
        assert wal_size(ledger) < 100 * 4096
        assert path.stat().st_size > 100 * 8000


def test_closing_leaves_one_file_and_the_lock(path: Path) -> None:
    with open_ledger(path, steps=STEPS) as ledger:
        ledger.write(put("a"))
    assert sorted(found.name for found in path.parent.iterdir()) == ["ledger.db", "ledger.db-lock"]
