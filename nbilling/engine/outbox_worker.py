"""A worker of the outbox: takes a message under a lease, has it sent outside of any job, and settles it.

Any number of workers may run, in any processes. A message has one lease at a time, and only who holds it can settle the
message. A worker that stops in the middle leaves a lease that runs out; whether it had sent is then unknown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from nbilling.engine.core import Core
from nbilling.engine.outbox import expire
from nbilling.model.errors import Conflict, LedgerBusy, NotFound
from nbilling.model.outbox import (
    RECONCILE,
    SEND,
    Delivered,
    Handler,
    Message,
    NotDone,
    Outcome,
    Refused,
    Retry,
    Traits,
    Unknown,
    lane_of,
    one_line,
    payload_of,
    payload_text,
    traits_of,
)
from nbilling.rules import retry
from nbilling.rules.retry import Draw, Standing
from nbilling.store import outbox
from nbilling.store.outbox import LAST_TIME, OutboxRow

if TYPE_CHECKING:
    import sqlite3


COUNTS = ("delivered", "retried", "unknown", "not_done", "dead", "held", "late")
_COUNTED = {"done": "delivered", "dead": "dead", "unknown": "unknown"}
_LATE = "late"


class Lease(NamedTuple):
    """A message that a worker has for itself, what to do with it, and how it stood."""

    message: Message
    action: str
    standing: Standing


class Worker:
    """Sends messages by handlers, a mapping of kinds. Kinds without a handler are left alone."""

    def __init__(self, core: Core, handlers: Mapping[str, Handler], draw: Draw | None = None) -> None:
        if draw is None:
            from random import SystemRandom

            draw = SystemRandom().randrange
        self._core = core
        self._handlers = dict(handlers)
        self._traits: dict[str, Traits] = {kind: traits_of(handler) for kind, handler in handlers.items()}
        self._draw = draw
        self.name = f"worker:{os.getpid()}-{os.urandom(3).hex()}"

    # -- runs

    def run(
        self, *, reconcile_only: bool = False, limit: int | None = None, stop: Callable[[], bool] = lambda: False
    ) -> dict[str, int]:
        """Takes everything that is due, each message once, and returns counts of what came of it.

        ``{delivered, retried, unknown, not_done, dead, held, late}``: settled as done, to be tried again, unknown,
        found not to have happened, given up or refused, not tried because something is missing, reported after the
        lease had been lost. ``reconcile_only`` finds out what became of the unknown ones, whatever is paused and
        however long they were to wait, and sends nothing.
        """
        counts = dict.fromkeys(COUNTS, 0)
        last = outbox.last_token(self._core.read())
        self._wake_held()
        left = limit
        while not stop() and (left is None or left > 0):
            row = self._next(last, reconcile_only)
            if row is None:
                break
            counted = self._attempt(row, reconcile_only)
            if counted is not None:
                counts[counted] += 1
                left = None if left is None else left - 1
        return counts

    def watch(self, stop: Callable[[], bool], wait: Callable[[], None]) -> dict[str, int]:
        """Runs until ``stop()``, calling ``wait()`` whenever nothing is due. A busy ledger is waited for too."""
        counts = dict.fromkeys(COUNTS, 0)
        self._wake_held()
        while not stop():
            try:
                row = self._next(LAST_TIME, False)
                counted = self._attempt(row, False) if row is not None else None
            except LedgerBusy:
                row, counted = None, None
            if counted is not None:
                counts[counted] += 1
            if row is None:
                wait()
        return counts

    def send_now(self, operation_id: str) -> OutboxRow:
        """Sends one message and what stands before it in its lane, whatever they were to wait; returns how it stands.

        For a caller that waits for the answer: done, or not done yet and why, in ``reason``.
        """
        last = outbox.last_token(self._core.read())
        while True:
            self._sweep()
            db = self._core.read()
            target = outbox.find(db, operation_id)
            if target is None:
                raise NotFound(f"there is no operation {operation_id!r:.80}", hint="nbilling outbox list shows them")
            head = outbox.lane_head(db, target.customer, target.lane)
            if head is None or head.id > target.id or head.token > last or head.state not in ("pending", "unknown"):
                return target
            if self._names_paused(db) & {"", head.kind, head.lane} or head.kind not in self._handlers:
                return target
            if self._attempt(head, False) in ("held", None):
                found = outbox.find(self._core.read(), operation_id)
                assert found is not None
                return found

    # -- one message

    def claim(self, row: OutboxRow, *, reconcile_only: bool = False) -> Lease | None:
        """Takes a message as it was just read; None where something has happened to it since."""
        traits = self._traits[row.kind]

        def job(db: sqlite3.Connection) -> Lease | None:
            now = self._core.now(db)
            found = outbox.get(db, row.id)
            if found is None or (found.state, found.token, found.wake_at) != (row.state, row.token, row.wake_at):
                return None
            if not reconcile_only and self._names_paused(db) & {"", row.kind, row.lane}:
                return None
            action = retry.next_action(_standing(found), now, traits)
            if action is None or (reconcile_only and action != RECONCILE):
                return None
            first_sent_at = found.first_sent_at or (now if action == SEND else 0)
            until = now + traits.lease
            token = outbox.note_lease(db, row.id, now, action, found.generation, self.name)
            outbox.change(
                db,
                row.id,
                now,
                state="leased",
                token=token,
                worker=self.name,
                wake_at=until,
                attempts=found.attempts + 1,
                failing_since=found.failing_since or now,
                first_sent_at=first_sent_at,
                uncertain=1,
                held=0,
            )
            taken = outbox.get(db, row.id)
            assert taken is not None
            return Lease(_message(taken), action, _standing(taken))

        return self._core.write(job)

    def settle(self, lease: Lease, outcome: Outcome, *, crashed: bool = False) -> str:
        """Writes down what came of an attempt, and returns which of the counts it belongs to.

        A Conflict where the lease is no longer the message's: another worker or a person went on without this one.
        What it reported is in the history all the same.
        """
        counted = self._settle(lease, outcome, crashed)
        if counted == _LATE:
            raise Conflict(
                f"the lease on message {lease.message.id} ran out before its worker reported",
                hint="another worker or a person has gone on with it; nbilling outbox show tells its history",
            )
        return counted

    def _settle(self, lease: Lease, outcome: Outcome, crashed: bool) -> str:
        message = lease.message
        result = payload_text(outcome.result) if isinstance(outcome, Delivered) else "{}"
        reason = "" if isinstance(outcome, Delivered) else one_line(outcome.reason)

        def job(db: sqlite3.Connection) -> str:
            now = self._core.now(db)
            row = outbox.get(db, message.id)
            assert row is not None  # nothing is ever deleted
            if (row.state, row.token) != ("leased", message.token):
                told = one_line(f"{type(outcome).__name__}: {reason or result}")
                outbox.note(db, row.id, now, "late", row.state, message.generation, message.token, self.name, told)
                return _LATE
            traits = self._traits[row.kind]
            verdict = retry.after(lease.action, lease.standing, outcome, now, traits, self._draw, crashed)
            outbox.note(db, row.id, now, "settled", verdict.state, message.generation, message.token, self.name, reason)
            _write(db, row, now, verdict, reason, result)
            self._apply(db, message, outcome)
            return _COUNTED.get(verdict.state) or ("not_done" if verdict.released else "retried")

        return self._core.write(job)

    def _apply(self, db: sqlite3.Connection, message: Message, outcome: Outcome) -> None:
        applied = getattr(self._handlers[message.kind], "applied", None)
        if applied is None or not isinstance(outcome, (Delivered, Refused)):
            return
        try:
            applied(db, message, outcome)
        except Exception as error:
            raise _NotApplied(error) from error

    def _attempt(self, row: OutboxRow, reconcile_only: bool) -> str | None:
        """Takes a message, has it sent, and settles it. None where another worker was faster."""
        if not reconcile_only:
            reason = self._blocked(row)
            if reason:
                return self._hold(row, reason)
        lease = self.claim(row, reconcile_only=reconcile_only)
        if lease is None:
            return None
        try:
            outcome, crashed = self._call(lease), False
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the message may have been sent
            outcome, crashed = Unknown(_told(error)), True
        except BaseException:
            self._settle(lease, Unknown("it was interrupted"), False)
            raise
        try:
            return self._settle(lease, outcome, crashed)
        except _NotApplied as failure:
            outcome = Unknown(f"its outcome could not be applied here: {_told(failure.error)}")
            return self._settle(lease, outcome, True)

    def _call(self, lease: Lease) -> Outcome:
        message, handler = lease.message, self._handlers[lease.message.kind]
        if lease.action == RECONCILE:
            return _outcome(handler.reconcile(message), NotDone)  # type: ignore[attr-defined]
        if self._core.now(self._core.read()) >= message.lease_until:
            return Retry("the lease ran out before it was sent")
        return _outcome(handler.send(message))

    def _blocked(self, row: OutboxRow) -> str:
        """Why a message cannot even be tried."""
        blocked = getattr(self._handlers[row.kind], "blocked", None)
        return one_line(blocked(_message(row))) if blocked is not None else ""

    def _hold(self, row: OutboxRow, reason: str) -> str | None:
        def job(db: sqlite3.Connection) -> str | None:
            now = self._core.now(db)
            found = outbox.get(db, row.id)
            if found is None or (found.state, found.token, found.wake_at) != (row.state, row.token, row.wake_at):
                return None
            outbox.change(db, row.id, now, held=1, wake_at=now + retry.HOLD, reason=reason)
            if found.reason != reason:
                outbox.note(db, row.id, now, "held", row.state, row.generation, 0, self.name, reason)
            return "held"

        return self._core.write(job)

    # -- what is due

    def _next(self, last: int, reconcile_only: bool) -> OutboxRow | None:
        self._sweep()
        db = self._core.read()
        if reconcile_only:
            kinds = [kind for kind, traits in self._traits.items() if traits.reconciles]
            return outbox.due(db, LAST_TIME, (), kinds, last_token=last)
        paused = self._names_paused(db)
        if "" in paused:
            return None
        kinds = [kind for kind in self._traits if not paused & {kind, lane_of(kind)}]
        resolvable = [kind for kind in kinds if self._traits[kind].reconciles or self._traits[kind].repeatable]
        return outbox.due(db, self._core.now(db), kinds, resolvable, last_token=last)

    def _sweep(self) -> None:
        """Ends the leases that have run out."""
        db = self._core.read()
        if not outbox.expired(db, self._core.now(db)):
            return

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            for row in outbox.expired(db, now):
                expire(db, row, now)

        self._core.write(job)

    def _wake_held(self) -> None:
        """What could not be tried is looked at again by every run: what was missing may be there now."""
        if outbox.any_held(self._core.read()):
            self._core.write(lambda db: outbox.wake_held(db, self._core.now(db)))

    @staticmethod
    def _names_paused(db: sqlite3.Connection) -> set[str]:
        return set(outbox.pauses(db))


class _NotApplied(Exception):
    """A handler failed to apply an outcome: the whole settlement is undone."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _write(db: sqlite3.Connection, row: OutboxRow, now: int, verdict: retry.Verdict, reason: str, result: str) -> None:
    values: dict[str, int | str] = {
        "state": verdict.state,
        "wake_at": verdict.wake_at,
        "generation": verdict.generation,
        "uncertain": int(verdict.uncertain),
        "astray": int(verdict.astray),
        "first_sent_at": verdict.first_sent_at,
        "reason": reason,
    }
    if verdict.state == "done":
        outbox.close(db, row, now, result=result, **values)
    elif verdict.released:
        outbox.change(db, row.id, now, token=0, **values)
    else:
        outbox.change(db, row.id, now, **values)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _outcome(value: object, *more: type) -> Outcome:
    """What a handler returned, or TypeError: then nobody knows what happened."""
    if isinstance(value, (Delivered, Retry, Refused, Unknown, *more)):
        if isinstance(value, Delivered):
            payload_text(value.result)
        return value  # type: ignore[return-value]
    raise TypeError(f"the handler returned a {type(value).__name__} where an outcome belongs")


def _message(row: OutboxRow) -> Message:
    return Message(
        id=row.id,
        kind=row.kind,
        customer_id=row.customer_id,
        payload=payload_of(row.payload),
        operation_id=row.operation_id,
        generation=row.generation,
        attempt=row.attempts,
        token=row.token,
        lease_until=row.wake_at,
        created_at=row.created_at,
        first_sent_at=row.first_sent_at,
    )


def _standing(row: OutboxRow) -> Standing:
    return Standing(row.state, row.generation, row.attempts, row.failing_since, row.first_sent_at, bool(row.astray))
