"""The ledger file: making it, opening it, reading beside the writer."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbilling.model.errors import (
    BadInput,
    LedgerMissing,
    LedgerMoved,
    NewerLedger,
    NotALedger,
    StorageError,
)
from nbilling.store import database
from nbilling.store.database import Ledger, create_ledger, open_ledger
from nbilling.store.migrations import Step


def _tables(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY) STRICT")


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


def put(ledger: Ledger, key: str) -> None:
    ledger.write(lambda connection: connection.execute("INSERT INTO t VALUES (?)", (key,)).close())


def count(ledger: Ledger) -> int:
    number: int = ledger.read().execute("SELECT count(*) FROM t").fetchone()[0]
    return number


def connections(path: Path) -> int:
    """How many connections to the ledger this process has: each has a descriptor of the -wal file."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found += str(descriptor.readlink()).startswith(f"{path}-wal")
        except FileNotFoundError:
            pass  # the descriptor of the listing itself
    return found


def modes(directory: Path) -> dict[str, int]:
    return {found.name: stat.S_IMODE(found.stat().st_mode) for found in directory.iterdir()}


# -- making


def test_making_it_twice_makes_it_once(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    assert create_ledger(path, steps=STEPS)
    with open_ledger(path, steps=STEPS) as ledger:
        put(ledger, "a")
    assert not create_ledger(path, steps=STEPS)
    with open_ledger(path, steps=STEPS) as ledger:
        assert count(ledger) == 1


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o007])
def test_every_file_of_a_ledger_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "x.db"
    before = os.umask(umask)
    try:
        create_ledger(path, steps=STEPS)
        with open_ledger(path, steps=STEPS) as ledger:
            put(ledger, "a")
            assert count(ledger) == 1
            assert modes(tmp_path) == dict.fromkeys(["x.db", "x.db-lock", "x.db-shm", "x.db-wal"], 0o600)
    finally:
        os.umask(before)


def test_an_empty_file_becomes_a_ledger_and_private(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.touch(mode=0o644)
    with pytest.raises(NotALedger, match="empty"):
        open_ledger(path, steps=STEPS)
    assert create_ledger(path, steps=STEPS)
    assert modes(tmp_path)["x.db"] == 0o600
    assert not create_ledger(path, steps=STEPS)


def test_a_directory_that_is_missing_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(LedgerMissing, match=r"there is no directory .*/nowhere"):
        create_ledger(tmp_path / "nowhere" / "x.db", steps=STEPS)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_beginning_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.db"

    def die(connection: sqlite3.Connection) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(database, "prepare_writer", die)  # after the commit, before WAL
        with pytest.raises(KeyboardInterrupt):
            create_ledger(path, steps=STEPS)
    assert not create_ledger(path, steps=STEPS)
    with open_ledger(path, steps=STEPS) as ledger:
        put(ledger, "a")
        assert ledger.read().execute("PRAGMA journal_mode").fetchone() == ("wal",)


def die_in_the_middle(path: Path) -> None:
    """A process that dies while it makes the ledger leaves pages in the file, and the journal to undo them."""
    code = """if True:
        import os, sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("PRAGMA cache_size=1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE half (x)")
        for _ in range(100):
            connection.execute("INSERT INTO half VALUES (zeroblob(3000))")
        os._exit(0)"""
    subprocess.run([sys.executable, "-c", code, path], check=True)
    assert path.stat().st_size > 0
    assert Path(f"{path}-journal").exists()


def test_a_beginning_that_died_is_undone_and_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    die_in_the_middle(path)
    assert create_ledger(path, steps=STEPS)
    with open_ledger(path, steps=STEPS) as ledger:
        put(ledger, "a")
        assert count(ledger) == 1


def test_opening_a_beginning_that_died_says_that_there_is_nothing_in_it(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    die_in_the_middle(path)
    with pytest.raises(NotALedger, match="is empty"):
        open_ledger(path, steps=STEPS)
    assert create_ledger(path, steps=STEPS)


# -- permissions


def as_nobody(directory: Path, code: str) -> list[str]:
    """What the lines of ``code`` say, run by a user who owns nothing here. Each line is an expression."""
    script = f"""if True:
        import os, sys
        import sqlite_utils
        from nbilling.store.database import create_ledger, open_ledger
        from nbilling.store.migrations import default_steps
        import nbilling.store.schema
        default_steps()[0][1]  # everything is imported before the privilege is gone
        if os.geteuid() == 0:
            os.setegid(65534), os.seteuid(65534)
        for line in {code.splitlines()!r}:
            try:
                print(eval(line) or "done")
            except Exception as error:
                print(type(error).__name__)
    """
    ran = subprocess.run([sys.executable, "-c", script], cwd=directory, check=True, capture_output=True, text=True)
    return ran.stdout.split()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
@pytest.mark.parametrize(
    "file, directory, said",
    [
        (0o600, 0o755, ["LedgerReadOnly", "LedgerReadOnly", "LedgerReadOnly"]),
        (0o644, 0o755, ["LedgerReadOnly", "LedgerReadOnly", "LedgerReadOnly"]),
        (0o644, 0o777, ["done", "LedgerReadOnly", "True"]),
    ],
)
def test_what_may_not_be_written_is_said_to_be_read_only(file: int, directory: int, said: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:  # beside, not in, pytest's directory, which is for its owner alone
        place = Path(name)
        create_ledger(place / "x.db")
        (place / "x.db").chmod(file)
        place.chmod(directory)
        code = (
            "[ledger.read().execute('SELECT count(*) FROM events').close() for ledger in [open_ledger('x.db')]][0]\n"
            "open_ledger('x.db').write(lambda connection: connection.execute('SELECT 1').close())\n"
            "create_ledger('new.db')"
        )
        assert as_nobody(place, code) == said


# -- opening what is not a ledger


def _directory(path: Path) -> None:
    path.mkdir()


def _text(path: Path) -> None:
    path.write_text("Dear diary,\n" * 200)


def _short_text(path: Path) -> None:
    path.write_text("hi")


def _foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [_directory, _text, _short_text, _foreign, _fifo])
@pytest.mark.parametrize("use", [open_ledger, create_ledger])
def test_what_is_not_a_ledger_is_refused_and_left_alone(tmp_path: Path, make: object, use: object) -> None:
    path = tmp_path / "x.db"
    make(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(NotALedger) as caught:
        use(path, steps=STEPS)  # type: ignore[operator]
    assert "x.db" in str(caught.value)
    assert caught.value.hint
    assert [found.name for found in tmp_path.iterdir()] == ["x.db"]
    assert before is None or path.read_bytes() == before


def test_a_path_typed_wrong_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(LedgerMissing, match=r"typo\.db"):
        open_ledger(tmp_path / "typo.db", steps=STEPS)
    with pytest.raises(LedgerMissing):
        open_ledger(tmp_path / "nowhere" / "x.db", steps=STEPS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800"])
def test_what_can_be_no_path_is_bad_input(path: str) -> None:
    for use in (open_ledger, create_ledger):
        with pytest.raises(BadInput):
            use(path, steps=STEPS)


def test_a_path_in_memory_is_a_name_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LedgerMissing):
        open_ledger(":memory:", steps=STEPS)


def test_a_relative_path_stays_that_file_when_the_process_moves(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with open_ledger(path.name, steps=STEPS) as ledger:
        monkeypatch.chdir("/")
        put(ledger, "a")
        assert count(ledger) == 1


@pytest.mark.parametrize("name", ["a b.db", "q?x=1.db", "hash#1.db", "50%41.db", "帳簿 é.db"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert create_ledger(path, steps=STEPS)
    with open_ledger(path, steps=STEPS) as ledger:
        put(ledger, "a")
        assert count(ledger) == 1
        assert sorted(modes(tmp_path)) == sorted(f"{name}{suffix}" for suffix in ("", "-lock", "-shm", "-wal"))


# -- reading


def test_a_reader_cannot_write(ledger: Ledger) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        ledger.read().execute("INSERT INTO t VALUES ('a')")


def test_a_reader_sees_each_commit_and_is_the_same_one_each_time(ledger: Ledger) -> None:
    assert count(ledger) == 0
    first = ledger.read()
    put(ledger, "a")
    assert count(ledger) == 1
    assert ledger.read() is first


def test_a_snapshot_sees_one_state_however_much_is_written(ledger: Ledger) -> None:
    put(ledger, "a")
    with ledger.snapshot() as reader:
        assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)
        put(ledger, "b")
        with ledger.snapshot() as inner:
            assert inner is reader
        assert reader.in_transaction
        assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)
    assert count(ledger) == 2


def test_a_snapshot_that_raises_is_over(ledger: Ledger) -> None:
    with pytest.raises(sqlite3.OperationalError), ledger.snapshot() as reader:
        reader.execute("SELECT * FROM nowhere")
    assert not ledger.read().in_transaction


def test_each_thread_has_a_reader_and_takes_it_along_when_it_ends(ledger: Ledger, path: Path) -> None:
    mine = ledger.read()
    before = connections(path)
    seen: list[sqlite3.Connection] = []

    def read() -> None:
        seen.append(ledger.read())
        assert connections(path) > before

    for _ in range(3):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert mine not in seen
    for theirs in seen:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            theirs.execute("SELECT 1")
    assert connections(path) == before


def test_a_reader_notices_that_the_ledger_was_replaced(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOOK_SECONDS", 0.0)
    assert count(ledger) == 0
    path.rename(path.with_name("away.db"))
    with pytest.raises(LedgerMoved):
        ledger.read()
    create_ledger(path, steps=STEPS)
    with pytest.raises(LedgerMoved):
        ledger.read()


def test_a_reader_notices_a_newer_schema(ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOOK_SECONDS", 0.0)
    assert count(ledger) == 0
    more: Step = ("0002_more", lambda connection: connection.execute("CREATE TABLE more (x)").close())
    open_ledger(path, steps=(*STEPS, more)).close()
    with pytest.raises(NewerLedger):
        ledger.read()


# -- closing


def test_a_closed_handle_says_so(ledger: Ledger) -> None:
    put(ledger, "a")
    assert count(ledger) == 1
    ledger.close()
    ledger.close()
    with pytest.raises(StorageError, match="closed"):
        ledger.read()
    with pytest.raises(StorageError, match="closed"):
        put(ledger, "b")


def test_closing_closes_the_readers_of_all_threads(ledger: Ledger, path: Path) -> None:
    ready, leave = threading.Event(), threading.Event()

    def read() -> None:
        ledger.read()
        ready.set()
        leave.wait()

    thread = threading.Thread(target=read)
    thread.start()
    ready.wait()
    put(ledger, "a")
    ledger.close()
    assert connections(path) == 0
    leave.set()
    thread.join()


def test_closing_one_handle_leaves_the_other_working(ledger: Ledger, path: Path) -> None:
    with open_ledger(path, steps=STEPS) as other:
        put(other, "a")
        put(ledger, "b")
    put(ledger, "c")
    assert count(ledger) == 3


def test_threads_that_open_the_writer_at_once_leave_nothing_open(path: Path) -> None:
    for _ in range(20):
        ledger = open_ledger(path, steps=STEPS)
        barrier = threading.Barrier(4)

        def write(number: int, ledger: Ledger = ledger, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            ledger.write(lambda connection: connection.execute("SELECT ?", (number,)).close())

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ledger.close()
        assert connections(path) == 0
