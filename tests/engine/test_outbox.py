"""The outbox: queued with its change, in order, sent under a lease, settled once, and never lost or deleted."""

from __future__ import annotations

import sqlite3
import threading
from typing import Any

import pytest

from nbilling.engine.outbox import Outbox
from nbilling.engine.outbox_worker import COUNTS, Worker
from nbilling.model.clock import DAY, HOUR, MINUTE, SECOND, format_time
from nbilling.model.errors import BadInput, Conflict, NotFound
from nbilling.model.outbox import Delivered, Message, NotDone, Outcome, Refused, Retry, Unknown


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

    def keys(self) -> list[str]:
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
        return Worker(self.core, {kind: chosen for kind in kinds or ("mail",)}, draw=lambda n: n - 1)

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


# --- Queueing -------------------------------------------------------------------------------------------------------


def test_a_change_and_its_message_commit_together_or_not_at_all(desk: Desk) -> None:
    def job(db: sqlite3.Connection) -> None:
        desk.world.billing._accounts.ensure(db, "acme", desk.core.now(db))
        desk.outbox.enqueue(db, "mail", 0, {}, "op")
        raise KeyError("the change failed")

    with desk.world.unchanged(), pytest.raises(KeyError):
        desk.core.write(job)


def test_the_same_operation_again_is_the_message_that_is_there(desk: Desk) -> None:
    first = desk.queue("op", a=1, b=[True, None])
    with desk.world.unchanged():
        assert desk.queue("op", b=[True, None], a=1) == first
    desk.run()
    assert desk.queue("op", a=1, b=[True, None]) == first
    assert desk.run() == {}


@pytest.mark.parametrize("other", [{"a": 2}, {"customer": "zeta", "a": 1}, {"kind": "hook", "a": 1}, {}])
def test_the_same_operation_with_other_content_is_a_conflict(desk: Desk, other: dict[str, Any]) -> None:
    desk.queue("op", a=1)
    if "customer" in other:
        desk.queue("another", customer="zeta")
    with desk.world.refuses(Conflict, "already queued"):
        desk.queue("op", **other)


@pytest.mark.parametrize("operation,kind", [("", "mail"), ("a b", "mail"), ("op", "Mail"), ("op", "a.b.c")])
def test_what_is_no_operation_or_no_kind_is_refused(desk: Desk, operation: str, kind: str) -> None:
    with desk.world.refuses(BadInput):
        desk.queue(operation, kind=kind)


def test_who_asks_again_while_it_is_unfinished_finds_what_is_there(desk: Desk) -> None:
    number = desk.queue("op", a=1)
    [customer] = desk.world.rows("SELECT id FROM customers")[0]

    def found(**payload: Any) -> Any:
        return desk.core.write(lambda db: desk.outbox.unfinished(db, "mail", customer, payload))

    assert found(a=1).id == number
    assert found(a=2) is None
    desk.run()
    assert found(a=1) is None


def test_nothing_can_be_deleted_and_no_history_be_edited(desk: Desk) -> None:
    desk.queue("op")
    desk.run()
    for sql in ("DELETE FROM outbox", "DELETE FROM outbox_attempts", "UPDATE outbox_attempts SET reason = ''"):
        with pytest.raises(Exception, match="never deleted|append-only"):
            desk.core.write(lambda db, sql=sql: db.execute(sql))


# --- Sending --------------------------------------------------------------------------------------------------------


def test_a_message_is_sent_once_and_its_result_kept(desk: Desk) -> None:
    desk.queue("op", name="Ada")
    assert desk.run() == {"delivered": 1}
    assert desk.run() == {}
    assert desk.handler.sent == [("acme", "op:1")]
    shown = desk.outbox.show("op")
    assert (shown["state"], shown["result"], shown["payload"]) == ("done", {"ok": True}, {"name": "Ada"})
    assert desk.events("op") == [("send", "leased"), ("settled", "done")]


def test_the_handler_is_called_outside_of_any_job(desk: Desk) -> None:
    class Writing(Scripted):
        def send(self, message: Message) -> Outcome:
            desk.world.usage.track("acme", "api_requests", 5)  # inside a job this would raise
            return Delivered()

    desk.queue("op")
    assert desk.run(Writing()) == {"delivered": 1}
    assert desk.world.current("acme") == 5


def test_messages_of_a_lane_are_sent_in_the_order_of_their_queueing(desk: Desk) -> None:
    operations = [f"op{n}" for n in range(12)]
    for n, operation in enumerate(operations):
        desk.queue(operation, customer=f"c{n % 3}")
    desk.handler.script = {"op1": [Retry("busy", 60)], "op2": [Unknown("reset")]}
    assert desk.run(desk.handler) == {"delivered": 4, "retried": 1, "unknown": 1}
    assert [key for key in desk.handler.keys() if key in ("op0:1", "op3:1", "op6:1", "op9:1")] == [
        "op0:1", "op3:1", "op6:1", "op9:1",
    ]  # fmt: skip
    desk.later(HOUR)
    assert desk.run() == {"delivered": 4}
    assert desk.handler.keys()[-4:] == ["op1:1", "op4:1", "op7:1", "op10:1"]
    assert desk.outbox.list()[0]["operation_id"] == "op2"
    assert {row["waits_for"] for row in desk.outbox.list()[1:]} == {desk.outbox.list()[0]["id"]}


def test_kinds_that_share_a_lane_wait_for_one_another_and_others_do_not(desk: Desk) -> None:
    desk.queue("a", kind="stripe.finalize")
    desk.queue("b", kind="stripe.pay")
    desk.queue("c", kind="mail")
    desk.handler.script = {"a": [Refused("no")]}
    assert desk.run(None, "stripe.finalize", "stripe.pay", "mail") == {"dead": 1, "delivered": 1}
    assert (desk.state("b"), desk.state("c")) == ("pending", "done")


def test_a_kind_without_a_handler_is_left_alone(desk: Desk) -> None:
    desk.queue("a", kind="mail.one")
    desk.queue("b", kind="mail.two")
    with desk.world.unchanged():
        assert desk.run(None, "mail.two") == {}


def test_a_message_waits_until_its_time(desk: Desk) -> None:
    until = desk.world.clock.at + HOUR
    desk.core.write(lambda db: desk.outbox.enqueue(db, "mail", 0, {}, "op", not_before=until))
    assert desk.run() == {}
    desk.later(HOUR)
    assert desk.run() == {"delivered": 1}
    assert desk.handler.sent == [("", "op:1")]


def test_a_retry_keeps_its_key_and_waits_longer_each_time(desk: Desk) -> None:
    desk.queue("op")
    desk.handler.usual = Retry("503")
    waits = []
    for _ in range(4):
        assert desk.run() == {"retried": 1}
        at = desk.world.rows("SELECT wake_at FROM outbox")[0][0]
        waits.append((at - desk.world.clock.at) // SECOND)
        desk.later(at - desk.world.clock.at - 1)
        assert desk.run() == {}
        desk.later(1)
    assert waits == [2, 4, 8, 16]
    assert set(desk.handler.keys()) == {"op:1"}
    assert desk.outbox.show("op")["reason"] == "503"


def test_what_the_receiver_refuses_is_dead_and_blocks_only_its_lane(desk: Desk) -> None:
    for customer in ("acme", "zeta"):
        desk.queue(f"{customer}1", customer=customer)
        desk.queue(f"{customer}2", customer=customer)
    desk.queue("acme3", kind="hook")
    desk.handler.script = {"acme1": [Refused("address unknown")]}
    assert desk.run(None, "mail", "hook") == {"dead": 1, "delivered": 3}
    desk.later(30 * DAY)
    assert desk.run(None, "mail", "hook") == {}
    assert desk.outbox.show("acme1")["reason"] == "address unknown"
    assert desk.outbox.show("acme2")["waits_for"] == desk.outbox.show("acme1")["id"]


@pytest.mark.parametrize("decision", ["retry", "drop"])
def test_a_person_lets_what_waits_behind_a_dead_message_go_on(desk: Desk, decision: str) -> None:
    desk.queue("op1")
    desk.queue("op2")
    desk.handler.script = {"op1": [Refused("no")]}
    assert desk.run() == {"dead": 1}
    getattr(desk.outbox, decision)("op1")
    assert desk.run() == ({"delivered": 2} if decision == "retry" else {"delivered": 1})
    assert desk.state("op2") == "done"
    actions = [action for (action,) in desk.world.rows("SELECT action FROM audit WHERE action LIKE 'outbox.%'")]
    assert actions == [f"outbox.{decision}"]


def test_a_handler_that_crashes_is_unknown_until_it_is_given_up(desk: Desk) -> None:
    poison = Asking()
    poison.usual = KeyError("customer")
    desk.queue("poison", customer="bad")
    desk.queue("behind", customer="bad")
    for n in range(20):
        desk.queue(f"good{n}", customer=f"c{n}")
    poison.script = {f"good{n}": [Delivered()] for n in range(20)}
    total = dict.fromkeys(COUNTS, 0)
    for _ in range(30):
        for name, count in desk.run(poison).items():
            total[name] += count
        desk.later(2 * HOUR)
    assert total["delivered"] == 20
    assert (desk.state("poison"), desk.state("behind")) == ("dead", "pending")
    assert desk.outbox.show("poison")["attempts"] < 12
    assert "KeyError" in desk.outbox.show("poison")["reason"]


def test_a_handler_that_returns_nonsense_is_unknown(desk: Desk) -> None:
    for n, nonsense in enumerate((None, "ok", NotDone("from send"), Delivered({"amount": 1.5}))):
        desk.queue(f"op{n}", customer=f"c{n}")
        desk.handler.script[f"op{n}"] = [nonsense]  # type: ignore[list-item]
    assert desk.run() == {"unknown": 4}


def test_one_message_can_be_sent_now_with_those_before_it(desk: Desk) -> None:
    for operation in ("op1", "op2", "op3"):
        desk.queue(operation)
    desk.handler.script = {"op1": [Retry("busy", 3600)]}
    assert desk.worker().send_now("op2").state == "pending"
    assert desk.handler.keys() == ["op1:1"]
    assert desk.worker().send_now("op2").state == "done"
    assert desk.handler.keys() == ["op1:1", "op1:1", "op2:1"]
    assert desk.worker().send_now("op2").state == "done"
    assert desk.state("op3") == "pending"
    with desk.world.refuses(NotFound):
        desk.worker().send_now("other")


def test_sending_one_now_stops_at_what_is_dead_or_has_no_handler(desk: Desk) -> None:
    desk.queue("op1")
    desk.queue("op2")
    desk.queue("else", kind="other")
    desk.handler.script = {"op1": [Refused("no")]}
    assert desk.worker().send_now("op2").state == "pending"
    assert desk.worker().send_now("op2").state == "pending"
    assert desk.worker().send_now("else").state == "pending"
    assert desk.handler.keys() == ["op1:1"]


def test_what_happened_is_applied_in_the_commit_that_settles_it(desk: Desk) -> None:
    class Linking(Scripted):
        fails = True

        def applied(self, db: sqlite3.Connection, message: Message, outcome: Outcome) -> None:
            db.execute("INSERT INTO ledger VALUES ('linked', ?)", (type(outcome).__name__,))
            if self.fails:
                raise Conflict("the ledger says otherwise", hint="look")

    handler = Linking()
    desk.queue("op")
    assert desk.run(handler) == {"unknown": 1}
    assert "the ledger says otherwise" in desk.outbox.show("op")["reason"]
    assert desk.world.rows("SELECT * FROM ledger WHERE key = 'linked'") == []
    handler.fails = False
    desk.outbox.retry("op", not_done=True)
    assert desk.run(handler) == {"delivered": 1}
    assert desk.world.rows("SELECT value FROM ledger WHERE key = 'linked'") == [("Delivered",)]


# --- What cannot even be tried --------------------------------------------------------------------------------------


class Needy(Scripted):
    """Lacks something."""

    missing = "no server is set up"

    def blocked(self, message: Message) -> str:
        return self.missing


def test_what_cannot_be_tried_waits_with_its_reason_and_without_attempts(desk: Desk) -> None:
    desk.queue("op")
    needy = Needy()
    for _ in range(3):
        assert desk.run(needy) == {"held": 1}
        desk.later(5 * DAY)
    shown = desk.outbox.show("op")
    assert (shown["state"], shown["reason"], shown["attempts"]) == ("pending", "no server is set up", 0)
    assert desk.events("op") == [("held", "pending")]
    assert needy.sent == []
    needy.missing = "no address"
    assert desk.run(needy) == {"held": 1}
    assert desk.events("op") == [("held", "pending"), ("held", "pending")]


def test_what_was_missing_is_noticed_by_the_next_run(desk: Desk) -> None:
    desk.queue("op")
    needy = Needy()
    assert desk.run(needy) == {"held": 1}
    needy.missing = ""
    assert desk.run(needy) == {"delivered": 1}
    assert desk.outbox.show("op")["reason"] == ""


# --- Unknown outcomes -----------------------------------------------------------------------------------------------


def test_what_is_unknown_is_reconciled_before_anything_is_sent_again(desk: Desk) -> None:
    handler = Asking(happened=Delivered({"id": "x"}), refused=Refused("card declined"))
    for operation in ("happened", "not", "refused"):
        desk.queue(operation, customer=operation)
        handler.script[operation] = [Unknown("reset")]
    assert desk.run(handler) == {"unknown": 3}
    desk.later(MINUTE)
    assert desk.run(handler) == {"delivered": 2, "not_done": 1, "dead": 1}
    assert handler.asked == ["happened:1", "not:1", "refused:1"]
    assert handler.keys() == ["happened:1", "not:1", "refused:1", "not:2"]
    assert desk.outbox.show("happened")["result"] == {"id": "x"}


def test_what_nobody_can_find_out_waits_for_a_person(desk: Desk) -> None:
    desk.queue("op")
    desk.handler.script = {"op": [Unknown("reset")]}
    assert desk.run() == {"unknown": 1}
    desk.later(30 * DAY)
    with desk.world.unchanged():
        assert desk.run() == {}
    desk.outbox.retry("op", not_done=True)
    assert desk.run() == {"delivered": 1}
    assert desk.handler.keys() == ["op:1", "op:2"]


def test_what_may_be_repeated_is_sent_again_under_the_same_key(desk: Desk) -> None:
    desk.handler.repeatable = True  # type: ignore[attr-defined]
    desk.queue("op")
    desk.handler.script = {"op": [Unknown("no answer after DATA")]}
    assert desk.run() == {"unknown": 1}
    desk.later(MINUTE)
    assert desk.run() == {"delivered": 1}
    assert desk.handler.keys() == ["op:1", "op:1"]
    assert ("settled", "unknown") in desk.events("op")


def test_a_key_older_than_the_receiver_remembers_is_reconciled_first(desk: Desk) -> None:
    handler = Asking(op=Delivered({"id": "x"}))
    handler.key_lifetime = DAY  # type: ignore[attr-defined]
    desk.queue("op")
    handler.script = {"op": [Retry("500", 3600)]}
    assert desk.run(handler) == {"retried": 1}
    desk.later(25 * HOUR)
    assert desk.run(handler) == {"delivered": 1}
    assert (handler.keys(), handler.asked) == (["op:1"], ["op:1"])


def test_retrying_what_is_dead_and_uncertain_reconciles_first(desk: Desk) -> None:
    handler = Asking(op=Delivered())
    desk.queue("op")
    handler.script = {"op": [Unknown("reset")]}
    handler.answers = {"op": Retry("down")}
    for _ in range(200):
        desk.run(handler)
        desk.later(HOUR)
    assert desk.state("op") == "dead"
    assert handler.keys() == ["op:1"]
    handler.answers = {"op": Delivered()}
    assert desk.outbox.retry("op")["state"] == "unknown"
    assert desk.run(handler) == {"delivered": 1}
    assert handler.keys() == ["op:1"]


# --- Leases ---------------------------------------------------------------------------------------------------------


def test_a_stalled_worker_that_wakes_up_is_refused_and_the_effect_is_one(desk: Desk) -> None:
    """The first worker stops between its lease and its sending; the second takes over under the same key."""
    effects: dict[str, int] = {}
    stalled, go_on = threading.Event(), threading.Event()

    class Receiver(Asking):
        def send(self, message: Message) -> Outcome:
            if not stalled.is_set():
                stalled.set()
                assert go_on.wait(30)
            self.sent.append((message.customer_id, message.idempotency_key))
            effects.setdefault(message.idempotency_key, 1)
            return Delivered({"id": len(effects)})

        def reconcile(self, message: Message) -> Outcome:
            self.asked.append(message.idempotency_key)
            return Delivered() if effects else NotDone()

    handler, counts = Receiver(), {}
    desk.queue("op")
    first = threading.Thread(target=lambda: counts.update(desk.run(handler)))
    first.start()
    assert stalled.wait(30)
    assert desk.run(handler) == {}
    desk.later(6 * MINUTE)
    assert desk.run(handler) == {"not_done": 1, "delivered": 1}
    go_on.set()
    first.join(30)
    assert counts == {"late": 1}
    assert effects == {"op:1": 1}
    assert handler.keys() == ["op:1", "op:1"]
    assert [event for event, _ in desk.events("op")] == [
        "send", "lease_ran_out", "reconcile", "settled", "send", "settled", "late",
    ]  # fmt: skip


def test_settling_without_the_present_lease_is_a_conflict_and_changes_nothing_but_the_history(desk: Desk) -> None:
    desk.queue("op")
    first, second = desk.worker(Asking()), desk.worker(Asking())
    old = desk.lease(first, "op")
    desk.later(6 * MINUTE)
    new = desk.lease(second, "op")
    assert new.message.token > old.message.token
    before = desk.world.rows("SELECT * FROM outbox")
    with pytest.raises(Conflict, match="ran out"):
        first.settle(old, Refused("too late"))
    assert desk.world.rows("SELECT * FROM outbox") == before
    assert desk.outbox.show("op")["history"][-1]["reason"] == "Refused: too late"
    assert second.settle(new, Delivered()) == "delivered"
    with pytest.raises(Conflict):
        second.settle(new, Delivered())


def test_of_two_workers_that_read_the_same_message_one_gets_it(desk: Desk) -> None:
    desk.queue("op")
    first, second = desk.worker(), desk.worker()
    row = first._next(2**63 - 1, False)
    assert row is not None
    lease = first.claim(row)
    assert lease is not None
    assert second.claim(row) is None
    first.settle(lease, Retry("busy"))
    assert second.claim(row) is None, "it was tried meanwhile and has to wait"


def test_a_lease_that_ran_out_is_unknown_not_pending(desk: Desk) -> None:
    desk.queue("op")
    desk.lease(desk.worker(), "op")
    desk.later(6 * MINUTE)
    assert desk.run() == {}
    assert (desk.state("op"), desk.outbox.show("op")["uncertain"]) == ("unknown", True)


def test_who_reports_late_and_before_anybody_noticed_is_heard(desk: Desk) -> None:
    desk.queue("op")
    worker = desk.worker()
    lease = desk.lease(worker, "op")
    desk.later(HOUR)
    assert worker.settle(lease, Delivered()) == "delivered"
    assert desk.state("op") == "done"


def test_nothing_is_sent_once_the_lease_has_run_out(desk: Desk) -> None:
    desk.queue("op")
    worker = desk.worker()
    claim = worker.claim

    def slow(*args: Any, **kwargs: Any) -> Any:
        lease = claim(*args, **kwargs)
        desk.later(HOUR)
        return lease

    worker.claim = slow  # type: ignore[method-assign]
    assert worker.run()["retried"] == 1
    assert desk.handler.sent == []
    assert desk.outbox.show("op")["uncertain"] is False


def test_an_interrupt_leaves_an_unknown_message_and_no_lease(desk: Desk) -> None:
    class Interrupted(Scripted):
        def send(self, message: Message) -> Outcome:
            raise KeyboardInterrupt

    desk.queue("op")
    with pytest.raises(KeyboardInterrupt):
        desk.run(Interrupted())
    assert desk.state("op") == "unknown"


def test_many_workers_at_once_send_each_message_once_and_in_order(desk: Desk) -> None:
    for n in range(60):
        desk.queue(f"op{n}", customer=f"c{n % 6}")
    threads = [threading.Thread(target=desk.run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(desk.handler.sent) == 60
    for c in range(6):
        mine = [key for customer, key in desk.handler.sent if customer == f"c{c}"]
        assert mine == [f"op{n}:1" for n in range(60) if n % 6 == c]


# --- People ---------------------------------------------------------------------------------------------------------


def test_a_message_that_is_being_sent_is_nobody_elses_to_decide(desk: Desk) -> None:
    desk.queue("op")
    desk.lease(desk.worker(), "op")
    until = format_time(desk.world.clock.at + 5 * MINUTE)
    for decide in (desk.outbox.retry, desk.outbox.drop):
        with desk.world.refuses(Conflict, f"being sent.*{until}"):
            decide("op")
    desk.later(5 * MINUTE)
    assert desk.outbox.drop("op")["state"] == "dropped"
    assert [event for event, _ in desk.events("op")] == ["send", "lease_ran_out", "drop"]


def test_what_is_done_or_dropped_cannot_be_retried(desk: Desk) -> None:
    desk.queue("op")
    desk.run()
    for decide in (desk.outbox.retry, desk.outbox.drop):
        with desk.world.refuses(Conflict, "is done"):
            decide("op")
    desk.queue("other")
    desk.outbox.drop("other", "no longer wanted")
    with desk.world.unchanged():
        assert desk.outbox.drop("other")["reason"] == "no longer wanted"
    with desk.world.refuses(Conflict, "is dropped"):
        desk.outbox.retry("other")


@pytest.mark.parametrize("message", ["7", 7, "op", "9" * 40])
def test_an_unknown_message_is_not_found(desk: Desk, message: int | str) -> None:
    for decide in (desk.outbox.retry, desk.outbox.drop, desk.outbox.show):
        with desk.world.refuses(NotFound):
            decide(message)


def test_a_dropped_message_in_the_middle_lets_the_order_stand(desk: Desk) -> None:
    for operation in ("op1", "op2", "op3"):
        desk.queue(operation)
    desk.outbox.drop("op2")
    assert desk.run() == {"delivered": 2}
    assert desk.handler.keys() == ["op1:1", "op3:1"]


@pytest.mark.parametrize("name", ["", "mail", "mail.one"])
def test_a_pause_stops_sending_and_nothing_else(desk: Desk, name: str) -> None:
    desk.queue("op", kind="mail.one")
    desk.outbox.pause(name, "moving")
    desk.queue("op2", kind="mail.one")
    desk.later(DAY)
    with desk.world.unchanged():
        assert desk.run(None, "mail.one") == {}
        assert desk.worker(None, "mail.one").send_now("op").state == "pending"
        desk.outbox.pause(name, "again")
    assert [one["reason"] for one in desk.outbox.status()["paused"]] == ["moving"]
    desk.outbox.resume(name)
    assert desk.run(None, "mail.one") == {"delivered": 2}
    assert desk.outbox.status()["paused"] == []


def test_the_list_shows_what_is_open_and_pages(desk: Desk) -> None:
    for n in range(5):
        desk.queue(f"op{n}", customer="acme" if n % 2 else "zeta")
    desk.handler.script = {"op0": [Refused("no")]}
    desk.run()
    assert [row["operation_id"] for row in desk.outbox.list()] == ["op0", "op2", "op4"]
    assert [row["operation_id"] for row in desk.outbox.list(state="all", customer_id="acme")] == ["op1", "op3"]
    assert [row["operation_id"] for row in desk.outbox.list(state="dead", kind="mail")] == ["op0"]
    page = desk.outbox.list(state="all", limit=2)
    assert [row["operation_id"] for row in desk.outbox.list(state="all", limit="2", after=page[-1]["id"])] == ["op2", "op3"]
    status = desk.outbox.status()
    assert (status["dead"], status["pending"], status["done"]) == (1, 2, 2)
    assert status["oldest_open"] == "2026-01-10T12:00:00Z"
    for wrong in ({"state": "lost"}, {"limit": 0}, {"limit": "x"}, {"after": -1}, {"kind": "No"}, {"customer_id": ""}):
        with desk.world.refuses(BadInput):
            desk.outbox.list(**wrong)  # type: ignore[arg-type]
    with desk.world.refuses(NotFound):
        desk.outbox.list(customer_id="nobody")


# --- An old copy put back -------------------------------------------------------------------------------------------


def test_a_restored_copy_sends_nothing_before_it_was_reconciled(desk: Desk) -> None:
    """The copy was made before the message was sent: it must find out, not send again (F30)."""
    desk.queue("sent_since")
    desk.queue("never_sent", customer="zeta")
    desk.queue("mail", customer="zeta", kind="letter")
    path = desk.world.path.with_name("copy.db")
    target = sqlite3.connect(path)
    desk.world.billing.ledger.read().backup(target)
    target.close()
    restored = type(desk.world)(path)
    copy = Desk(restored)

    effects = {"sent_since": Delivered({"id": "x"})}
    assert desk.run() == {"delivered": 2}
    letters = Scripted()
    letters.repeatable = True  # type: ignore[attr-defined]
    handler = Asking(**effects)
    kinds = {"mail": handler, "letter": letters}

    assert copy.core.write(lambda db: copy.outbox.restored(db, "restored from a backup")) == 3
    copy.later(DAY)
    worker = Worker(copy.core, kinds)
    assert not any(worker.run().values())
    assert handler.asked == []
    found = worker.run(reconcile_only=True)
    assert (found["delivered"], found["not_done"]) == (1, 1)
    assert handler.sent == letters.sent == []
    copy.outbox.resume()
    assert worker.run()["delivered"] == 1
    assert handler.keys() == ["never_sent:1"]
    assert copy.state("mail") == "unknown", "whether a letter went out only a person can say"
    copy.outbox.retry("mail", not_done=True)
    assert worker.run()["delivered"] == 1
    restored.billing.close()
