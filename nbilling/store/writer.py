"""The writer: one write connection a process, and one queue before it.

Who calls puts a job in the queue. If nobody is at work the caller *leads*: it takes the file lock, opens one
``BEGIN IMMEDIATE``, takes all that waits, runs it, commits once, answers all, and wakes the next leader. There is no
thread to die or to lose in a fork. Only while another process has the file lock does a thread wait for it and lead.

What a job must know: it runs in any thread of the process; it does everything through the connection it is given, and
leaves no cursor behind; it may run again after its first effects were undone; it does not begin or end a transaction,
fork, use the network, or wait for another job.

How interrupts are survived. Ctrl-C can strike between any two calls of the main thread, so cleaning up in ``finally``
is not enough: it can be struck too. Therefore everything a leader does is written down first (``_group``, ``_phase``),
in steps that a signal cannot split, and whoever leads next finishes what was left: ``_repair``. Who may lead is decided
by the lock ``_turn`` alone, which ``with`` always gives back. Wake-ups are hints: a waiter looks for itself every
``HEARTBEAT`` seconds, so a lost one costs a moment, never a stall.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from typing import Any

from nbilling.model.errors import LedgerBusy, NbillingError, OutcomeUnknown, StorageError
from nbilling.store.connection import closed, copy_of, newer, shown, storage_error
from nbilling.store.job import Call, Job
from nbilling.store.lock import FileLock
from nbilling.store.session import NotNow, WriteSession
from nbilling.store.stand_in import StandIn

DEFAULT_TIMEOUT = 30.0
"""Seconds a call waits for its turn before LedgerBusy."""

QUEUE_LIMIT = 1024
"""Jobs that may wait. Who comes then waits for room, within the same deadline."""

HEARTBEAT = 0.1
"""Seconds after which a waiter looks whether anyone leads."""

CLOSE_TIMEOUT = 5.0
"""Seconds that closing waits for another process. After that the -wal file is left to the others."""

# The phases of a group.
_IDLE = 0
_OPEN = 1  # a transaction may be open; nothing is committed
_COMMITTING = 2  # COMMIT was or will be called: if no transaction is open, it has succeeded
_COMMIT_FAILED = 3  # COMMIT raised what is in _failure
_ANSWERED = 4  # every job of the group has its value or its error

_LEFT_OPEN = "nothing of it was recorded; a job has left a statement unfinished"


class Writer:
    """The queue, the connection and the lock of one ledger file in this process. See ``store/registry.py``."""

    def __init__(self, path: str, inode: tuple[int, int]) -> None:
        self.path = path
        self.pid = os.getpid()
        self.references = 0
        self.broken: StorageError | None = None
        self._session = WriteSession(path, inode)
        self.real_path = self._session.real
        self._lock = FileLock(self._session.real)
        self._turn = threading.RLock()  # held by who leads, for one group
        self._leader = 0  # its thread, for the question: is this call made from inside a job?
        self._mutex = threading.RLock()  # guards the queue, for a few instructions; a signal handler may call run, too
        self._queue: list[Job] = []
        self._led = False  # somebody leads, or was woken to lead
        self._closed = False
        self._crowded = False  # somebody waits for room in the queue
        self._apart = 0  # so many at the front of the queue are to go one by one
        self._room = threading.Condition(self._mutex)
        self._group: list[Job] = []
        self._phase = _IDLE
        self._failure: sqlite3.Error | MemoryError | None = None
        self._orphan = False  # this process is a fork of the one that made it
        self._stand_in: StandIn | None = None

    # -- the caller's side

    def run(self, call: Call, *, version: int, timeout: float | None = None, dry_run: bool = False) -> Any:
        """Run ``call(connection)`` in the next group and return its value once it is durable.

        ``version`` is the user_version the caller was written for. Raises what the call raised, LedgerBusy after
        ``timeout`` seconds without a turn, NewerLedger, or a StorageError; then nothing of it is in the ledger, except
        after OutcomeUnknown.
        """
        if self._leader == threading.get_ident():
            raise RuntimeError("a job must not wait for another job: do the work on the connection it was given")
        deadline = time.monotonic() + (DEFAULT_TIMEOUT if timeout is None else timeout)
        job = Job(call, version, dry_run)
        try:
            if self._enqueue(job, deadline):
                self._lead()
            while not job.done:
                self._wait(job, deadline)
        except StorageError:
            raise  # it never entered the queue, or it was taken back
        except BaseException:
            while True:
                try:
                    self._withdraw(job)
                    break
                except KeyboardInterrupt:
                    continue  # struck again: it may be repeated, and must come to its end
            raise
        if job.error is not None:
            try:
                raise job.error
            finally:
                job.error = None  # or the traceback, the frame and the job keep one another alive
        return job.value

    def _enqueue(self, job: Job, deadline: float) -> bool:
        """Put the job in the queue. True if its caller is to lead."""
        with self._mutex:
            while len(self._queue) >= QUEUE_LIMIT and not self._closed:
                self._crowded = True
                left = deadline - time.monotonic()
                if left <= 0:
                    raise LedgerBusy(
                        f"{QUEUE_LIMIT} writes wait already for {shown(self.path)}", hint="write from fewer threads"
                    )
                self._room.wait(left)
            if self._closed:
                raise closed(self.path)
            if self.broken is not None:
                raise copy_of(self.broken)
            self._queue.append(job)
            lead = not self._led
            self._led = True
            return lead

    def _wait(self, job: Job, deadline: float) -> None:
        """Wait until the job is answered, or its caller is to lead, or its time is up."""
        left = deadline - time.monotonic()
        if left <= 0 and self._take_back(job):
            raise LedgerBusy(
                f"no turn to write to {shown(self.path)} came before the deadline",
                hint="try again, or look for the process or the thread that holds it",
            )
        woken = job.wake.acquire(timeout=HEARTBEAT if left <= 0 else min(left, HEARTBEAT))
        if job.done:
            return
        if woken or not (self._leader or self._waits_for_lock()):
            self._lead()

    def _take_back(self, job: Job) -> bool:
        """Remove a job that nobody has taken yet. If its caller had been chosen to lead, the next is."""
        with self._mutex:
            if job not in self._queue:
                return False
            self._queue.remove(job)
            self._room.notify_all()
            if not job.wake.locked():
                self._choose()
            return True

    def _withdraw(self, job: Job) -> None:
        """The caller was interrupted: take its job back, or see it answered; settle what it left; choose a leader."""
        if self._orphan:
            return
        self._take_back(job)
        with self._mutex:
            taken = job in self._group
        if self._leader and not taken:
            return  # somebody is at work, and chooses the next
        with self._turn:
            self._repair()
            self._lock.release()
            self._take_back(job)
            with self._mutex:
                self._choose()

    def _choose(self) -> None:
        """Wake the first in the queue to lead. The mutex is held."""
        if self._queue:
            self._led = True
            self._queue[0].rouse()
        else:
            self._led = False

    # -- the leader's side

    def _lead(self) -> None:
        """One group, led by this thread, or by the stand-in if another process has the file lock."""
        with self._turn:
            self._leader = threading.get_ident()
            try:
                if self._phase:
                    self._repair()
                try:
                    if not self._lock.try_acquire():
                        self._call_stand_in()
                        return
                    self._run_group()
                except StorageError as error:
                    self._refuse(error)  # the lock file cannot be used
                finally:
                    self._lock.release()
                with self._mutex:
                    self._choose()
            finally:
                self._leader = 0

    def _run_group(self) -> None:
        """Everything that waits, in one transaction. The turn and the file lock are held."""
        if not self._queue:
            return
        self._phase = _OPEN
        try:
            if self._closed or self.broken is not None:
                raise self.broken or closed(self.path)
            connection, version = self._session.begin()
        except NotNow:
            self._phase = _IDLE
            return
        except StorageError as error:
            self._refuse(error)
            return
        self._take_queue()
        try:
            if self._run_jobs(connection, version):
                self._phase = _COMMITTING
                try:
                    connection.execute("COMMIT")
                except (sqlite3.Error, MemoryError) as error:
                    self._failure = error
                    self._phase = _COMMIT_FAILED
                    self._commit_failed()
            elif self._phase:
                self._session.rollback()
                self._phase = _ANSWERED
        except sqlite3.Error as error:
            # SAVEPOINT, RELEASE or ROLLBACK TO failed: the storage is at fault, not a job.
            self._session.rollback()
            self._fail_group(self._session.typed(error))
        self._settle()

    def _run_jobs(self, connection: sqlite3.Connection, version: int) -> bool:
        """Run each job of the group, each but a lone one in a savepoint. True if there is something to commit."""
        group = self._group
        alone = len(group) == 1
        effects = False
        for job in group:
            if job.version != version:
                job.error = self._skewed(version, job.version)
                continue
            if not alone:
                connection.execute("SAVEPOINT job")
            self._perform(connection, job)
            if not connection.in_transaction:
                self._transaction_lost(job)
                return False
            if job.error is None and not job.dry_run:
                effects = True
            elif not alone:
                connection.execute("ROLLBACK TO job")
            if not alone:
                connection.execute("RELEASE job")
        return effects

    def _perform(self, connection: sqlite3.Connection, job: Job) -> None:
        try:
            value = job.call(connection)
            if isinstance(value, sqlite3.Cursor):
                raise TypeError("a job must not return a cursor: fetch the rows")
            job.value = value
        except KeyboardInterrupt:
            raise  # meant for this thread, not for the job: see _repair
        except BaseException as error:  # noqa: BLE001 - also SystemExit: it is the job's caller who must get it
            job.error = storage_error(error, self.path) or error
            if job.error is not error:
                job.error.__cause__ = error
        if self._orphan:
            raise RuntimeError("a job forked: the transaction belongs to the parent process")

    def _take_queue(self) -> None:
        with self._mutex:
            if self._apart:
                # A commit of several failed on a constraint: these go one by one.
                taken, rest = self._queue[:1], self._queue[1:]
                self._apart -= 1
            else:
                taken, rest = self._queue, []
            # One step for a signal: nothing is called between the two assignments.
            self._group, self._queue = taken, rest
            if self._crowded:
                self._crowded = False
                self._room.notify_all()

    def _settle(self) -> None:
        """Answer the group. May be repeated."""
        for job in self._group:
            job.done = True
            job.rouse()
        self._group = []
        self._phase = _IDLE

    # -- when something went wrong

    def _repair(self, *, locked: bool = False) -> None:
        """Finish the group that an interrupted leader left. The turn is held; is the file lock?"""
        if self._phase == _COMMIT_FAILED:
            if locked:
                self._commit_failed()
            else:
                self._commit_failed_before()
        elif self._phase == _OPEN or (self._phase == _COMMITTING and self._session.in_transaction):
            self._session.rollback()
            self._requeue(self._group, [])
        self._settle()

    def _requeue(self, jobs: list[Job], rest: list[Job]) -> None:
        """Put jobs whose effects are undone back at the front of the queue; the rest of the group stays in it."""
        for job in jobs:
            job.value = job.error = None
        with self._mutex:
            self._queue, self._group = jobs + self._queue, rest

    def _refuse(self, error: NbillingError) -> None:
        """No transaction could be opened: everyone who waits gets the reason."""
        self._phase = _OPEN
        self._take_queue()
        self._fail_group(error)
        self._settle()

    def _fail_group(self, error: NbillingError) -> None:
        for job in self._group:
            if job.error is None:
                job.error = copy_of(error)
        self._phase = _ANSWERED

    def _transaction_lost(self, culprit: Job) -> None:
        """SQLite undid the whole transaction because of one job (no room, a failed disk, RAISE(ROLLBACK)), or that job
        ended it. In the first case the others run again, without it."""
        if culprit.error is not None:
            self._requeue([job for job in self._group if job is not culprit], [culprit])
        else:
            culprit.error = RuntimeError("a job must not end its transaction (executescript does)")
            self._fail_group(
                OutcomeUnknown(
                    f"a job ended the transaction of others on {shown(self.path)}", hint="look whether it was recorded"
                )
            )
        self._settle()

    def _commit_failed(self) -> None:
        """COMMIT raised what is in ``_failure``. Answer "failed" when it is sure that it will never come back."""
        error = self._failure
        assert error is not None
        self._session.rollback()
        if isinstance(error, sqlite3.IntegrityError):
            self._constraint_failed(error)
            return
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_BUSY:
            # Refused before anything was written. As long as that statement lives, this connection cannot commit.
            self._session.drop()
            self._fail_group(StorageError(f"a commit to {shown(self.path)} failed: {error}", hint=_LEFT_OPEN))
        # SQLITE_FULL is certain in any case: the frame that could not be written was the one with the commit mark, or
        # one before it.
        elif self._session.overwrite_failed_frames() or code == sqlite3.SQLITE_FULL:
            self._fail_group(self._session.typed(error))
        else:
            self._break()

    def _commit_failed_before(self) -> None:
        """The same, after the leader was interrupted at it and has given the file lock up."""
        try:
            locked = self._lock.acquire(CLOSE_TIMEOUT)
        except StorageError:
            locked = False
        try:
            if locked:
                self._commit_failed()
            else:
                self._break()
        finally:
            self._lock.release()

    def _break(self) -> None:
        self.broken = OutcomeUnknown(
            f"a commit to {shown(self.path)} failed and could not be undone for certain: {self._failure}",
            hint="open the ledger again and look whether it was recorded; until then this handle refuses writes",
        )
        self._fail_group(self.broken)

    def _constraint_failed(self, error: sqlite3.IntegrityError) -> None:
        """A deferred constraint does not hold. Whose, shows when each job runs alone."""
        if len(self._group) > 1:
            self._apart = len(self._group)
            self._requeue(self._group, [])
        for job in self._group:
            job.error = error
        self._phase = _ANSWERED

    def _skewed(self, found: int, wanted: int) -> NbillingError:
        if found > wanted:
            return newer(self.path, found, wanted)
        return StorageError(
            f"{shown(self.path)} has schema {found}, but had {wanted} when it was opened", hint="open it again"
        )

    # -- while another process has the file lock

    def _call_stand_in(self) -> None:
        try:
            if self._stand_in is None or not self._stand_in.thread.is_alive():
                self._stand_in = StandIn(self, self._lock)
            self._stand_in.called.set()
        except RuntimeError:
            # No more threads: stay in the lead, and poll.
            self._stand_in = None
            time.sleep(0.002)
            with self._mutex:
                self._choose()

    def _waits_for_lock(self) -> bool:
        stand_in = self._stand_in
        return stand_in is not None and stand_in.called.is_set() and stand_in.thread.is_alive()

    def lead_with(self, lock: FileLock) -> bool:
        """One group for the stand-in, which has taken ``lock``. True if more wait."""
        with self._turn:
            self._leader = threading.get_ident()
            try:
                if self._phase:
                    self._repair(locked=True)
                self._run_group()
            finally:
                self._leader = 0
                lock.release()
        with self._mutex:
            return bool(self._queue)

    def stand_down(self) -> bool:
        """The stand-in has nothing to do: whoever comes next leads. True if the writer is closed."""
        with self._mutex:
            if self._closed or not self._queue:
                self._led = False
                if self._stand_in is not None:
                    self._stand_in.called.clear()
            return self._closed

    def refuse_all(self, error: NbillingError) -> None:
        """Answer everyone with this error."""
        with self._turn:
            self._repair()
            self._refuse(error)

    # -- the end

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Checkpoint and close under the file lock. Whoever still waits gets an error. May be repeated."""
        with self._mutex:
            self._closed = True
            self._room.notify_all()
        with self._turn:
            self._repair()
            self._refuse(closed(self.path))
            self._session.close(self._lock, timeout)
        if self._stand_in is not None:
            self._stand_in.called.set()

    # -- forks

    def hold_for_fork(self) -> None:
        """Wait for the group in progress. A fork from inside a job cannot wait; its child must not go on with it."""
        if self._leader != threading.get_ident():
            self._turn.acquire()

    def go_on_after_fork(self) -> None:
        """In the parent."""
        if self._leader != threading.get_ident():
            try:
                self._turn.release()
            except RuntimeError:
                pass  # the wait was interrupted

    def abandon(self) -> sqlite3.Connection | None:
        """In the child: this writer is the parent's. Its lock is closed already. Returns the connection to close."""
        self._orphan = True
        return self._session.abandon()
