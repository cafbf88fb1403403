"""The outbox under every mixture of faults, against a receiver that counts: nothing twice, nothing lost, in order."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import nbilling
from nbilling.engine.outbox import Outbox
from nbilling.engine.outbox_worker import Lease, Worker
from nbilling.model.clock import DAY, HOUR, MINUTE, SECOND, FixedClock, parse_time
from nbilling.model.config import Config
from nbilling.model.errors import Conflict
from nbilling.model.outbox import Delivered, Message, NotDone, Outcome, Refused, Retry, Unknown

KINDS = ("stripe.make", "stripe.pay", "mail")
CUSTOMERS = ("acme", "zeta")
WORKERS = 3
LAST = 2**63 - 1


class Receiver:
    """Keeps an idempotency key for a day, as Stripe does, and a failure stored under a key as long."""

    def __init__(self, clock: FixedClock) -> None:
        self.clock = clock
        self.effects: list[str] = []
        self.answers: dict[str, tuple[int, bool]] = {}

    def post(self, operation: str, key: str, fail: bool = False) -> bool:
        """Whether it took effect, now or before under that key."""
        known = self.answers.get(key)
        if known is not None and self.clock.at - known[0] < DAY:
            return known[1]
        self.answers[key] = self.clock.at, not fail
        if not fail:
            self.effects.append(operation)
        return not fail


class Post:
    """A handler that tells the truth."""

    key_lifetime = DAY - HOUR

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def send(self, message: Message) -> Outcome:
        done = self.receiver.post(message.operation_id, message.idempotency_key)
        return Delivered() if done else Unknown("500, replayed")

    def reconcile(self, message: Message) -> Outcome:
        return Delivered() if message.operation_id in self.receiver.effects else NotDone()


class Machine(RuleBasedStateMachine):
    """Workers that stall, die, wake up and lie about nothing but what they cannot know; and people who decide."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        path = Path(self.directory.name) / "billing.db"
        shutil.copy(self.template, path)
        self.clock = FixedClock(parse_time("2026-01-10T12:00:00Z"))
        self.billing = nbilling.open(path, config=Config({}), clock=self.clock)
        self.core = self.billing._core
        self.outbox = Outbox(self.core)
        self.receiver = Receiver(self.clock)
        handler = Post(self.receiver)
        self.workers = [Worker(self.core, dict.fromkeys(KINDS, handler), lambda n: n - 1) for _ in range(WORKERS)]
        self.leases: list[Lease | None] = [None] * WORKERS
        self.took_effect: list[bool | None] = [None] * WORKERS
        self.queued = 0
        self.highest_token = 0

    def rows(self, sql: str, *values: Any) -> list[Any]:
        return self.core.read().execute(sql, values).fetchall()

    # -- what happens

    @rule(customer=st.sampled_from(CUSTOMERS), kind=st.sampled_from(KINDS))
    def queue(self, customer: str, kind: str) -> None:
        def job(db: sqlite3.Connection) -> None:
            row = self.billing._accounts.ensure(db, customer, self.core.now(db))
            self.outbox.enqueue(db, kind, row.id, {"n": self.queued}, f"op{self.queued}")

        self.core.write(job)
        self.queued += 1

    @rule(worker=st.integers(0, WORKERS - 1))
    def claim(self, worker: int) -> None:
        if self.leases[worker] is not None:
            return
        row = self.workers[worker]._next(LAST, False)
        if row is None:
            return
        lease = self.workers[worker].claim(row)
        assert lease is not None
        assert lease.message.token > self.highest_token
        self.highest_token = lease.message.token
        self.leases[worker], self.took_effect[worker] = lease, None

    @rule(worker=st.integers(0, WORKERS - 1), fail=st.booleans())
    def post(self, worker: int, fail: bool) -> None:
        """The worker's request arrives, however long it stood still, unless the receiver has forgotten its key."""
        lease = self.leases[worker]
        if lease is None or lease.action != "send":
            return
        first = lease.message.first_sent_at
        if self.clock.at - first < DAY - HOUR:
            self.took_effect[worker] = self.receive(lease.message, fail)

    def receive(self, message: Message, fail: bool) -> bool:
        before = len(self.receiver.effects)
        done = self.receiver.post(message.operation_id, message.idempotency_key, fail)
        if len(self.receiver.effects) > before:
            waiting = self.rows(
                """SELECT e.operation_id FROM outbox e JOIN outbox o ON o.operation_id = ?
                WHERE e.customer = o.customer AND e.lane = o.lane AND e.id < o.id
                AND e.state NOT IN ('done', 'dropped') AND o.state <> 'dropped'""",
                message.operation_id,
            )
            assert not waiting, "it took effect before one that stands before it"
        return done

    @rule(worker=st.integers(0, WORKERS - 1), choice=st.integers(0, 3))
    def report(self, worker: int, choice: int) -> None:
        lease = self.leases[worker]
        if lease is None:
            return
        outcome = self.outcome(worker, lease, choice)
        [(state, token)] = self.rows("SELECT state, token FROM outbox WHERE id = ?", lease.message.id)
        mine = (state, token) == ("leased", lease.message.token)
        try:
            self.workers[worker].settle(lease, outcome)
        except Conflict:
            assert not mine
        else:
            assert mine
        self.leases[worker] = None

    def outcome(self, worker: int, lease: Lease, choice: int) -> Outcome:
        if lease.action == "reconcile":
            if choice == 0:
                return Retry("busy")
            return Post(self.receiver).reconcile(lease.message) if choice < 3 else Unknown("no answer")
        effect = self.took_effect[worker]
        if effect is None:
            certain = lease.message.operation_id not in self.receiver.effects
            refused = Refused("no") if certain and choice == 1 else Retry("busy", 60)
            return refused if choice < 3 else Unknown("reset before it arrived")
        return Delivered() if effect and choice < 3 else Unknown("reset after it arrived")

    @rule(worker=st.integers(0, WORKERS - 1))
    def die(self, worker: int) -> None:
        self.leases[worker] = None

    @rule(by=st.sampled_from([SECOND, MINUTE, 6 * MINUTE, HOUR, DAY + HOUR]))
    def wait(self, by: int) -> None:
        self.clock.at += by

    @precondition(lambda self: self.queued)
    @rule(data=st.data(), drop=st.booleans())
    def decide(self, data: st.DataObject, drop: bool) -> None:
        number = data.draw(st.integers(1, self.queued))
        [(state, wake_at)] = self.rows("SELECT state, wake_at FROM outbox WHERE id = ?", number)
        allowed = state in ("pending", "unknown", "dead") or (state == "leased" and wake_at <= self.clock.at)
        allowed |= drop and state == "dropped"
        try:
            (self.outbox.drop if drop else self.outbox.retry)(number)
        except Conflict:
            assert not allowed
        else:
            assert allowed

    @rule(name=st.sampled_from(["", "stripe", "mail"]), paused=st.booleans())
    def pause(self, name: str, paused: bool) -> None:
        (self.outbox.pause if paused else self.outbox.resume)(name)

    @rule()
    def reconcile(self) -> None:
        self.workers[0].run(reconcile_only=True)

    # -- what always holds

    @invariant()
    def nothing_takes_effect_twice(self) -> None:
        assert len(set(self.receiver.effects)) == len(self.receiver.effects)

    @invariant()
    def what_is_done_has_happened(self) -> None:
        done = {operation for (operation,) in self.rows("SELECT operation_id FROM outbox WHERE state = 'done'")}
        assert done <= set(self.receiver.effects)

    @invariant()
    def each_lane_has_one_head_and_it_is_the_first(self) -> None:
        heads = self.rows("SELECT id FROM outbox WHERE head = 1 ORDER BY id")
        first = "SELECT min(id) FROM outbox WHERE state NOT IN ('done', 'dropped') GROUP BY customer, lane ORDER BY 1"
        assert heads == self.rows(first)

    @invariant()
    def only_heads_are_leased(self) -> None:
        assert self.rows("SELECT id FROM outbox WHERE head = 0 AND state = 'leased'") == []

    @invariant()
    def the_history_ends_where_the_message_stands(self) -> None:
        last = """SELECT o.id FROM outbox o JOIN outbox_attempts a ON a.seq =
          (SELECT max(seq) FROM outbox_attempts WHERE message = o.id AND event <> 'late') WHERE a.state <> o.state"""
        assert self.rows(last) == []

    def teardown(self) -> None:
        """When the faults end, all that was not dropped happens, in order."""
        try:
            self.drain()
        finally:
            self.billing.close()
            self.directory.cleanup()

    def drain(self) -> None:
        for name in ("", "stripe", "mail"):
            self.outbox.resume(name)
        for _ in range(2 * self.queued + 2):
            self.clock.at += DAY + HOUR
            for (number,) in self.rows("SELECT id FROM outbox WHERE state = 'dead'"):
                self.outbox.retry(number)
            self.workers[0].run()
        assert self.outbox.list() == []
        assert len(self.rows("SELECT id FROM outbox")) == self.queued
        kept = {operation for (operation,) in self.rows("SELECT operation_id FROM outbox WHERE state <> 'dropped'")}
        assert kept <= set(self.receiver.effects)
        self.nothing_takes_effect_twice()


def test_nothing_is_sent_twice_or_lost_or_out_of_order(empty_ledger: Path) -> None:
    Machine.template = empty_ledger
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
