"""The outbox: what is to be done outside the ledger waits here, and people look at it and decide about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbilling.engine.core import Core
from nbilling.model.clock import format_time
from nbilling.model.errors import Conflict, NotFound
from nbilling.model.outbox import (
    STATES,
    lane_of,
    one_line,
    payload_of,
    payload_text,
    valid_kind,
    valid_operation,
)
from nbilling.model.text import choice, plain, whole
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.rules.retry import NEVER
from nbilling.store import outbox
from nbilling.store.outbox import OutboxRow

if TYPE_CHECKING:
    import sqlite3

OPEN = ("pending", "leased", "unknown", "dead")
LISTED = ("open", "all", *STATES)


class Outbox:
    """Messages in order for each customer and lane. :class:`nbilling.engine.outbox_worker.Worker` sends them."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def enqueue(
        self,
        db: sqlite3.Connection,
        kind: str,
        customer: int,
        payload: Mapping[str, Any],
        operation_id: str,
        *,
        not_before: int = 0,
    ) -> OutboxRow:
        """Queues a message in the write job ``db`` of the change that it belongs to.

        ``customer`` is its internal number, 0 where the message concerns none. The same operation with the same content
        is the message that is there; with other content it is a Conflict. ``not_before``: microseconds UTC.
        """
        now = self._core.now(db)
        text = payload_text(payload)
        name = valid_kind(kind)
        wake_at = max(now, not_before)
        added = outbox.insert(db, valid_operation(operation_id), name, lane_of(name), customer, text, wake_at, now)
        row = outbox.find(db, operation_id)
        assert row is not None  # just inserted, or what was in its way
        if not added and (row.kind, row.customer, row.payload) != (name, customer, text):
            raise Conflict(
                f"operation {operation_id!r:.80} is already queued with other content",
                hint="an operation's id names one operation; use a new id for a new one",
            )
        return row

    def unfinished(
        self, db: sqlite3.Connection, kind: str, customer: int, payload: Mapping[str, Any]
    ) -> OutboxRow | None:
        """The open message of that kind, customer and content: who asks again resumes it instead of adding another."""
        return outbox.unfinished(db, kind, lane_of(valid_kind(kind)), customer, payload_text(payload))

    def list(
        self,
        *,
        state: str = "open",
        kind: str = "",
        customer_id: str | None = None,
        limit: int | str = 50,
        after: int | str = 0,
    ) -> list[dict[str, Any]]:
        """Messages, oldest first. ``state``: one of them, ``open`` (neither done nor dropped) or ``all``."""
        choice(state, "state", LISTED)
        states = {"open": OPEN, "all": STATES}.get(state, (state,))
        db = self._core.read()
        customer = -1
        if customer_id is not None:
            customer = self._core.known_customer(db, valid_customer_id(customer_id)).id
        if kind:
            valid_kind(kind)
        count = whole(limit, "limit", minimum=1, maximum=10_000)
        rows = outbox.page(db, states, kind, customer, whole(after, "after"), count)
        return [shown(db, row) for row in rows]

    def show(self, message: int | str) -> dict[str, Any]:
        """One message by its number or its operation's id: all of it, and its ``history``, oldest first."""
        with self._core.ledger.snapshot() as db:
            row = self._found(db, message)
            history = [
                {
                    "at": format_time(step.at),
                    "event": step.event,
                    "state": step.state,
                    "generation": step.generation,
                    "lease": step.token,
                    "by": step.actor,
                    "reason": step.reason,
                }
                for step in outbox.history(db, row.id)
            ]
            return {
                **shown(db, row),
                "generation": row.generation,
                "uncertain": bool(row.uncertain),
                "payload": payload_of(row.payload),
                "result": payload_of(row.result),
                "history": history,
            }

    def status(self) -> dict[str, Any]:
        """Counts by state, when the oldest open message was queued, and what is paused."""
        with self._core.ledger.snapshot() as db:
            found, oldest = outbox.counts(db), outbox.oldest_open(db)
            paused = [
                {"name": name or "everything", "reason": reason, "since": format_time(at)}
                for name, (reason, at) in outbox.pauses(db).items()
            ]
        return {
            **{state: found.get(state, 0) for state in STATES},
            "oldest_open": format_time(oldest) if oldest else None,
            "paused": paused,
        }

    def retry(self, message: int | str, *, not_done: bool = False) -> dict[str, Any]:
        """Makes a message due at once and gives it a new life. What may have happened is reconciled first.

        ``not_done``: you know that it did not happen, so it is sent again under a new key. A message that is done,
        dropped or being sent is a Conflict.
        """

        def job(db: sqlite3.Connection) -> dict[str, Any]:
            now = self._core.now(db)
            row = self._open(db, message, now)
            uncertain = row.uncertain and not not_done
            state = "unknown" if uncertain else "pending"
            generation = row.generation
            changes: dict[str, int | str] = {}
            if not_done and row.uncertain:
                generation += 1
                changes = {"generation": generation, "uncertain": 0, "astray": 0, "first_sent_at": 0}
            outbox.change(
                db, row.id, now, state=state, wake_at=now, attempts=0, failing_since=0, token=0, held=0, **changes
            )
            reason = "it did not happen" if not_done else ""
            outbox.note(db, row.id, now, "retry", state, generation, 0, self._who(), reason)
            detail = {"message": row.id, "kind": row.kind, "was": row.state, "not_done": not_done}
            self._core.audit(db, now, "outbox.retry", row.operation_id, detail)
            return shown(db, self._found(db, row.id))

        return self._core.write(job)

    def drop(self, message: int | str, reason: str = "") -> dict[str, Any]:
        """Decides that a message shall not be sent; those behind it go on. It stays in the table. Again: nothing.

        One that is done or being sent is a Conflict. What is unknown may have happened all the same.
        """
        why = plain(reason, "reason", limit=500, empty=True)

        def job(db: sqlite3.Connection) -> dict[str, Any]:
            now = self._core.now(db)
            found = self._found(db, message)
            if found.state == "dropped":
                return shown(db, found)
            row = self._open(db, message, now)
            outbox.close(db, row, now, state="dropped", wake_at=NEVER, token=0, held=0, reason=why)
            outbox.note(db, row.id, now, "drop", "dropped", row.generation, 0, self._who(), why)
            detail = {"message": row.id, "kind": row.kind, "was": row.state, "reason": why}
            self._core.audit(db, now, "outbox.drop", row.operation_id, detail)
            return shown(db, self._found(db, row.id))

        return self._core.write(job)

    def pause(self, name: str = "", reason: str = "") -> None:
        """Sends nothing more of a kind, of a lane, or (empty) at all. Queueing goes on."""
        self._set_pause(name, True, plain(reason, "reason", limit=500, empty=True))

    def resume(self, name: str = "") -> None:
        """Ends a pause."""
        self._set_pause(name, False, "")

    def _set_pause(self, name: str, paused: bool, reason: str) -> None:
        if name:
            valid_kind(name)

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            if paused == (name in outbox.pauses(db)):
                return
            outbox.set_pause(db, name, paused, reason, now)
            action = "outbox.pause" if paused else "outbox.resume"
            self._core.audit(db, now, action, name or "everything", {"reason": reason})

        self._core.write(job)

    def restored(self, db: sqlite3.Connection, reason: str) -> int:
        """For the job that puts an old copy in place: pauses everything, and holds all that is open for unknown.

        The time that the copy does not know of may have sent it. ``Worker.run(reconcile_only=True)`` finds out what it
        can, a person decides about the rest, and :meth:`resume` ends the pause. Returns how many messages are open.
        """
        now = self._core.now(db)
        why = one_line(reason)
        outbox.set_pause(db, "", True, why, now)
        count = outbox.mark_restored(db, now, NEVER, self._who(), why)
        self._core.audit(db, now, "outbox.restored", "everything", {"reason": why, "open": count})
        return count

    def _who(self) -> str:
        actor = self._core.actor
        return actor if isinstance(actor, str) else actor()

    def _found(self, db: sqlite3.Connection, message: int | str) -> OutboxRow:
        text = str(message)
        if text.isascii() and text.isdigit() and len(text) < 19:
            row = outbox.get(db, int(text))
        else:
            row = outbox.find(db, valid_operation(message))
        if row is None:
            raise NotFound(f"there is no message {message!r:.80}", hint="nbilling outbox list --state all shows them")
        return row

    def _open(self, db: sqlite3.Connection, message: int | str, now: int) -> OutboxRow:
        """The message, if a person may decide about it now."""
        row = self._found(db, message)
        if row.state in ("done", "dropped"):
            raise Conflict(f"message {row.id} is {row.state}", hint="nbilling outbox show tells its history")
        if row.state == "leased":
            if row.wake_at > now:
                raise Conflict(
                    f"message {row.id} is being sent",
                    hint=f"wait for its end, at the latest {format_time(row.wake_at)}",
                )
            expire(db, row, now)
            row = self._found(db, message)
        return row


def expire(db: sqlite3.Connection, row: OutboxRow, now: int) -> None:
    """Ends a lease that ran out: whether the worker came to send is unknown, and it may wake up and do so still."""
    reason = "the worker's lease ran out before it reported"
    outbox.change(db, row.id, now, state="unknown", wake_at=now, token=0, uncertain=1, astray=1, reason=reason)
    outbox.note(db, row.id, now, "lease_ran_out", "unknown", row.generation, row.token, row.worker, reason)


def shown(db: sqlite3.Connection, row: OutboxRow) -> dict[str, Any]:
    """A message as people see it. ``waits_for``: the number of the one before it in its lane, if that is open."""
    waits_for = None
    if not row.head and row.state in OPEN:
        head = outbox.lane_head(db, row.customer, row.lane)
        waits_for = head.id if head else None
    moving = row.state in ("pending", "unknown") and row.wake_at < NEVER
    return {
        "id": row.id,
        "kind": row.kind,
        "customer_id": row.customer_id,
        "state": row.state,
        "attempts": row.attempts,
        "next_at": format_time(row.wake_at) if moving else None,
        "waits_for": waits_for,
        "reason": row.reason,
        "operation_id": row.operation_id,
        "created_at": format_time(row.created_at),
        "updated_at": format_time(row.updated_at),
    }
