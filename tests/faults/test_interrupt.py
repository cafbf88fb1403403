"""Ctrl-C, in the waiter and in the leader: at every point at which Python can deliver it, and for real.

An interrupt can surface after each call of a built-in function, at the beginning of each function and at each turn of a
loop. The first tests raise KeyboardInterrupt at every one of these points in turn, while the main thread leads alone,
leads a group with others in it, and waits. After each: nothing is locked, nobody stalls, what was acknowledged is there
once, and what others asked for is there once.
"""

from __future__ import annotations

import dis
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from nbilling.model.errors import StorageError
from nbilling.store import lock, session, writer
from nbilling.store.database import Ledger, create_ledger, open_ledger
from nbilling.store.lock import FileLock
from nbilling.store.migrations import Step
from nbilling.store.registry import acquire_writer, release_writer
from nbilling.store.writer import Writer

LONG = 20.0
"""Seconds that nothing here comes near to: a test that needs them has failed."""

WATCHED = frozenset((writer.__file__, session.__file__, lock.__file__))


def _tables(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY) STRICT")


STEPS: tuple[Step, ...] = (("0001_initial", _tables),)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    create_ledger(tmp_path / "ledger.db", steps=STEPS)
    with open_ledger(tmp_path / "ledger.db", steps=STEPS) as ledger:
        put(ledger, "first")
        yield ledger


def put(ledger: Ledger, key: str) -> str:
    def job(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO t VALUES (?)", (key,))
        return key

    return ledger.write(job, timeout=LONG)


def keys(ledger: Ledger) -> set[str]:
    return {key for (key,) in ledger.read().execute("SELECT k FROM t")}


def writer_of(ledger: Ledger) -> Writer:
    found = acquire_writer(ledger.path)
    release_writer(found)
    return found


def watched(frame: FrameType) -> bool:
    """Whether it is the writer's code, and not called by a destructor, where Python swallows what is raised."""
    names = {frame.f_code.co_name, frame.f_back.f_code.co_name if frame.f_back else ""}
    return frame.f_code.co_filename in WATCHED and "__del__" not in names


class Strike:
    """A trace function that raises KeyboardInterrupt at the n-th point, and again ``then`` points later.

    Python stops tracing when a trace function raises, so the second time is left to a profile function.
    """

    names: dict[CodeType, dict[int, str]] = {}  # noqa: RUF012 - a cache

    def __init__(self, at: int, then: int = 0) -> None:
        self.at = at
        self.then = then
        self.passed = 0
        self.struck = 0
        self._before: dict[int, str] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not watched(frame):
            return None
        frame.f_trace = self._step  # Python 3.13 wants this first
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self._point()
        return self._step

    def _point(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            self.struck = 1
            raise KeyboardInterrupt

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            code = frame.f_code
            if code not in self.names:
                self.names[code] = {at.offset: at.opname for at in dis.get_instructions(code)}
            now = self.names[code].get(frame.f_lasti, "")
            before = self._before.get(id(frame), "")
            self._before[id(frame)] = now
            if before.startswith("CALL") or now.startswith("JUMP_BACKWARD"):
                self._point()
        return self._step

    def again(self, frame: FrameType, event: str, argument: Any) -> None:
        """The profile function."""
        if self.struck == 1 and event in ("call", "c_return") and watched(frame):
            self.then -= 1
            if self.then == 0:
                self.struck = 2
                raise KeyboardInterrupt

    def during(self, call: Callable[[], object]) -> bool:
        """Whether ``call`` came to its end."""
        before = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # Python 3.12 asks for it at the moment of settrace
        if self.then:
            sys.setprofile(self.again)
        sys.settrace(self)
        try:
            call()
        except KeyboardInterrupt:
            return False
        finally:
            sys.settrace(before)
            sys.setprofile(None)
        return True


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def nobody_stalls_and_nothing_is_locked(ledger: Ledger, key: str) -> None:
    rival = FileLock(ledger.path)
    assert rival.try_acquire()
    rival.close()
    other = in_thread(lambda: put(ledger, f"thread after {key}"))
    other.join(LONG)
    assert not other.is_alive()
    put(ledger, f"main after {key}")
    assert {f"thread after {key}", f"main after {key}"} <= keys(ledger)


@pytest.mark.parametrize("then", [0, 1, 2, 3, 5, 8, 13])
def test_a_leader_of_its_own_job_may_be_struck_anywhere_and_then_again(ledger: Ledger, then: int) -> None:
    at, struck = 0, 1
    while struck:
        at += 1
        key = f"k{at}"
        strike = Strike(at, then)
        ended = strike.during(lambda key=key: put(ledger, key))  # type: ignore[misc]
        struck = strike.struck
        assert not ended or key in keys(ledger)
        nobody_stalls_and_nothing_is_locked(ledger, key)
    assert at > 20


class Company:
    """Holds the writer in a job until the main thread is first in the queue and two others are behind it."""

    def __init__(self, ledger: Ledger, key: str) -> None:
        self.ledger = ledger
        self.key = key
        self.alone = threading.Event()  # the main thread has given up: do not wait for it
        self._inside, self._go_on = threading.Event(), threading.Event()
        self._threads = [in_thread(lambda: ledger.write(self._hold, timeout=LONG))]
        assert self._inside.wait(LONG)
        self._gatherer = in_thread(self._gather)

    def _hold(self, connection: sqlite3.Connection) -> None:
        self._inside.set()
        assert self._go_on.wait(LONG)

    def _gather(self) -> None:
        queue = writer_of(self.ledger)
        while not (queue._queue or self.alone.is_set()):
            pass
        for n in range(2):
            self._threads.append(in_thread(lambda n=n: put(self.ledger, f"{self.key}/{n}")))  # type: ignore[misc]
            while len(queue._queue) < n + 2 and not self.alone.is_set():
                pass
        self._go_on.set()

    def end(self) -> None:
        """Everyone has been served."""
        self.alone.set()
        self._gatherer.join(LONG)
        for thread in self._threads:
            thread.join(LONG)
            assert not thread.is_alive()


@pytest.mark.parametrize("then", [0, 1, 3, 7])
def test_a_leader_of_others_may_be_struck_anywhere_and_they_are_served_once(ledger: Ledger, then: int) -> None:
    at, struck = 0, 1
    while struck:
        at += 1
        key = f"k{at}"
        company = Company(ledger, key)
        strike = Strike(at, then)
        ended = strike.during(lambda key=key: put(ledger, key))  # type: ignore[misc]
        company.end()
        struck = strike.struck
        assert {f"{key}/0", f"{key}/1"} <= keys(ledger)
        assert not ended or key in keys(ledger)
        nobody_stalls_and_nothing_is_locked(ledger, key)
    assert at > 20


@pytest.mark.parametrize("then", [0, 2])
def test_a_waiter_may_be_struck_anywhere(ledger: Ledger, then: int) -> None:
    the_writer = writer_of(ledger)
    at, struck = 0, 1
    while struck:
        at += 1
        key = f"k{at}"
        rival = FileLock(ledger.path)
        assert rival.acquire(LONG)
        gave_up = threading.Event()

        def let_go(rival: FileLock = rival, gave_up: threading.Event = gave_up) -> None:
            while not (gave_up.is_set() or (the_writer._queue and the_writer._waits_for_lock())):
                pass
            rival.close()

        other = in_thread(let_go)
        strike = Strike(at, then)
        ended = strike.during(lambda key=key: put(ledger, key))  # type: ignore[misc]
        gave_up.set()
        struck = strike.struck
        other.join(LONG)
        assert not ended or key in keys(ledger)
        # The stand-in may hold the lock for a moment yet: it was called before the interrupt.
        free = FileLock(ledger.path)
        assert free.acquire(LONG)
        free.close()
        put(ledger, f"after {key}")
    assert at > 10


def test_an_interrupted_waiter_takes_its_job_back(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    rival = FileLock(ledger.path)
    assert rival.acquire(LONG)

    def struck(self: Writer, job: object, deadline: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_wait", struck)
        with pytest.raises(KeyboardInterrupt):
            put(ledger, "withdrawn")
    rival.close()
    put(ledger, "after")
    assert keys(ledger) == {"first", "after"}


def test_an_interrupted_commit_that_failed_is_overwritten_by_the_next_leader(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    the_writer = writer_of(ledger)
    failed = sqlite3.OperationalError("disk I/O error")
    failed.sqlite_errorcode, failed.sqlite_errorname = sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC"
    calls: list[str] = []
    overwrite = the_writer._session.overwrite_failed_frames

    def struck() -> bool:
        calls.append("overwrite")
        if len(calls) == 1:
            raise KeyboardInterrupt
        return overwrite()

    def commit_fails(self: Writer, connection: sqlite3.Connection, version: int) -> bool:
        connection.execute("ROLLBACK")
        self._failure, self._phase = failed, writer._COMMIT_FAILED
        self._commit_failed()
        return False

    monkeypatch.setattr(the_writer._session, "overwrite_failed_frames", struck)
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_run_jobs", commit_fails)
        with pytest.raises((KeyboardInterrupt, StorageError)):
            put(ledger, "lost")
    assert calls == ["overwrite", "overwrite"]
    put(ledger, "after")
    assert keys(ledger) == {"first", "after"}


def test_real_interrupts_stall_nobody_and_lose_nothing(tmp_path: Path) -> None:
    script = Path(__file__).with_name("interrupting.py")
    command = [sys.executable, script, tmp_path / "ledger.db", "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "ready\n":
                process.send_signal(signal.SIGINT)
    assert process.returncode == 0
