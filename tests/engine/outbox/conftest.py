"""An outbox at hand: a ledger with a clock that the test moves, and handlers that answer as they are told."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from nbilling.engine.outbox import Outbox
from nbilling.engine.outbox_worker import COUNTS, Worker
from nbilling.model.outbox import Delivered, Message, NotDone, Outcome


class Scripted:
    """Answers as it is told, then with ``usual``; remembers what it was asked."""

    def __init__(self, usual: Outcome | Exception = Delivered({"ok": True})) -> None:  # noqa: B008 - an immutable value
        self.usual = usual
        self.script: dict[str, list[Outcome | Exception]] = {}
        self.sent: list[tuple[str, str]] = []

    def send(self, message: Message) -> Outcome:
        self.sent.append((message.customer_id, message.idempotency_key))
        script = self.script.get(message.operation_id)
        answer = script.pop(0) if script else self.usual
        if isinstance(answer, Exception):
            raise answer
        return answer

    def seen(self) -> list[str]:
        return [key for _, key in self.sent]


class Asking(Scripted):
    """Can also be asked what became of a message."""

    def __init__(self, **answers: Outcome) -> None:
        super().__init__()
        self.answers = answers
        self.asked: list[str] = []

    def reconcile(self, message: Message) -> Outcome:
        self.asked.append(message.idempotency_key)
        return self.answers.get(message.operation_id, NotDone("never heard of it"))


class Desk:
    """An outbox in a ledger of its own, with a clock that the test moves."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.core = world.billing._core
        self.outbox = Outbox(self.core)
        self.handler = Scripted()

    def queue(self, operation: str, customer: str = "acme", kind: str = "mail", **payload: Any) -> int:
        def job(db: sqlite3.Connection) -> int:
            row = self.world.billing._accounts.ensure(db, customer, self.core.now(db))
            return self.outbox.enqueue(db, kind, row.id, payload, operation).id

        number: int = self.core.write(job)
        return number

    def worker(self, handler: Any = None, *kinds: str) -> Worker:
        chosen = self.handler if handler is None else handler
        return Worker(self.core, dict.fromkeys(kinds or ("mail",), chosen), draw=lambda n: n - 1)

    def run(self, handler: Any = None, *kinds: str, **how: Any) -> dict[str, int]:
        """What a run counted, without the zeros."""
        counts = self.worker(handler, *kinds).run(**how)
        assert tuple(counts) == COUNTS
        return {name: count for name, count in counts.items() if count}

    def lease(self, worker: Worker, operation: str) -> Any:
        row = worker._next(2**63 - 1, False)
        assert row is not None
        assert row.operation_id == operation
        lease = worker.claim(row)
        assert lease is not None
        return lease

    def state(self, operation: str) -> str:
        state: str = self.outbox.show(operation)["state"]
        return state

    def events(self, operation: str) -> list[tuple[str, str]]:
        return [(step["event"], step["state"]) for step in self.outbox.show(operation)["history"]]

    def later(self, by: int) -> None:
        self.world.clock.at += by


@pytest.fixture
def desk(world: Any) -> Desk:
    return Desk(world)


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture
def asking() -> type[Asking]:
    return Asking
