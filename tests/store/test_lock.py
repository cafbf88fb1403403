"""The file lock, with real descriptors, threads and forks."""

from __future__ import annotations

import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from nbilling.model.errors import LedgerMoved, StorageError
from nbilling.store import lock as lock_module
from nbilling.store.lock import FileLock, lock_path

# Forking beside threads is what is tested here; Python 3.12 and later warn of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

LONG = 20.0
"""Seconds that nothing here comes near to: a test that needs them has failed."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    ledger = tmp_path / "ledger.db"
    ledger.touch(mode=0o600)
    return str(ledger)


def free(path: str) -> bool:
    """Whether somebody else could take the lock now."""
    other = FileLock(path)
    try:
        return other.try_acquire()
    finally:
        other.close()


def test_one_has_it_and_the_other_does_not(path: str) -> None:
    first, second = FileLock(path), FileLock(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()


def test_waiting_ends_with_the_lock_when_it_is_given_up(path: str) -> None:
    first, second = FileLock(path), FileLock(path)
    assert first.try_acquire()
    got: list[bool] = []
    waiter = threading.Thread(target=lambda: got.append(second.acquire(LONG)))
    waiter.start()
    first.release()
    waiter.join(LONG)
    assert got == [True]
    assert not free(path)
    second.release()
    assert free(path)


def test_waiting_has_a_deadline_and_what_was_given_up_is_not_kept(path: str) -> None:
    first, second, third = FileLock(path), FileLock(path), FileLock(path)
    assert first.try_acquire()
    assert not second.acquire(0.01)
    first.release()
    # The thread that waited for second may get the lock now; it must give it up again.
    assert third.acquire(LONG)


def test_an_interrupt_while_waiting_leaves_nothing_locked(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = FileLock(path), FileLock(path), FileLock(path)
    assert first.try_acquire()
    wait = threading.Event.wait

    def interrupted(self: threading.Event, timeout: float | None = None) -> bool:
        if timeout == LONG:  # ours: the lock is granted, and Ctrl-C comes before anyone knows it
            first.release()
            assert wait(self, LONG + 1)
            raise KeyboardInterrupt
        return wait(self, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Event, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            second.acquire(LONG)
    assert third.try_acquire()


def test_without_a_thread_to_wait_in_it_polls(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = FileLock(path), FileLock(path)
    assert first.try_acquire()

    def refuse(self: threading.Thread) -> None:
        first.release()
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert second.acquire(LONG)
    assert not first.acquire(0.01)


def test_the_side_file_has_the_mode_of_the_ledger(path: str) -> None:
    Path(path).chmod(0o660)
    before = os.umask(0o077)
    try:
        assert FileLock(path).try_acquire()
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path(lock_path(path)).stat().st_mode) == 0o660


def test_before_there_is_a_ledger_the_side_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "new.db")
    before = os.umask(0)
    try:
        assert FileLock(path).try_acquire()
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path(lock_path(path)).stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_side_file_that_root_makes_belongs_to_the_owner_of_the_ledger(path: str) -> None:
    os.chown(path, 12345, 12346)
    assert FileLock(path).try_acquire()
    made = Path(lock_path(path)).stat()
    assert (made.st_uid, made.st_gid) == (12345, 12346)


def test_a_deleted_side_file_is_noticed_after_waiting(path: str) -> None:
    first, second, third = FileLock(path), FileLock(path), FileLock(path)
    assert first.try_acquire()
    waiting = threading.Thread(target=second.wait)
    second._open()
    waiting.start()
    Path(lock_path(path)).unlink()
    assert third.try_acquire()  # the new file: the old one is locked by first, and means nothing now
    first.close()
    third.release()
    waiting.join(LONG)
    assert not third.try_acquire()  # second has the new file, too


def test_a_deleted_side_file_is_noticed_by_a_lock_that_is_free(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "LOOK_SECONDS", 0.0)
    first = FileLock(path)
    assert first.try_acquire()
    first.release()
    Path(lock_path(path)).unlink()
    assert first.try_acquire()
    assert not free(path)


def test_a_side_file_that_is_a_symbolic_link_is_refused(path: str, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("x")
    Path(lock_path(path)).symlink_to(target)
    with pytest.raises(StorageError):
        FileLock(path).try_acquire()
    assert target.read_text() == "x"


def test_a_directory_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerMoved, match="gone"):
        FileLock(str(tmp_path / "nowhere" / "ledger.db")).try_acquire()


def test_a_dropped_lock_is_given_up(path: str) -> None:
    lock = FileLock(path)
    assert lock.try_acquire()
    del lock
    assert free(path)


def test_a_child_that_ends_does_not_take_the_parents_lock_away(path: str) -> None:
    lock = FileLock(path)
    assert lock.try_acquire()
    child = os.fork()
    if child == 0:
        lock.release()  # what cleaning up in the child would do
        lock.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert not free(path)


def test_a_lock_does_not_outlive_its_process_in_a_child(path: str) -> None:
    told, tell = os.pipe()
    leave, stay = os.pipe()
    parent = os.fork()
    if parent == 0:
        lock = FileLock(path)
        lock.try_acquire()
        child = os.fork()
        if child == 0:
            os.close(stay)
            os.write(tell, b"c")
            os.read(leave, 1)
            os._exit(0)
        os.write(tell, b"p")
        signal.pause()
    os.close(leave)
    assert {os.read(told, 1), os.read(told, 1)} == {b"c", b"p"}
    assert not free(path)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    try:
        assert free(path)  # and the child is still alive
    finally:
        os.close(stay)
        os.close(told)
        os.close(tell)
