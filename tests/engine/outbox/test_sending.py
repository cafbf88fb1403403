"""The outbox: queued with its change, sent in order, settled once, and never deleted."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from nbilling.engine.outbox_worker import COUNTS
from nbilling.model.clock import DAY, HOUR, SECOND
from nbilling.model.errors import BadInput, Conflict, NotFound
from nbilling.model.outbox import Delivered, Message, NotDone, Outcome, Refused, Retry, Unknown

# --- Queueing -------------------------------------------------------------------------------------------------------


def test_a_change_and_its_message_commit_together_or_not_at_all(desk: Any) -> None:
    def job(db: sqlite3.Connection) -> None:
        desk.world.billing._accounts.ensure(db, "acme", desk.core.now(db))
        desk.outbox.enqueue(db, "mail", 0, {}, "op")
        raise KeyError("the change failed")

    with desk.world.unchanged(), pytest.raises(KeyError):
        desk.core.write(job)


def test_the_same_operation_again_is_the_message_that_is_there(desk: Any) -> None:
    first = desk.queue("op", a=1, b=[True, None])
    with desk.world.unchanged():
        assert desk.queue("op", b=[True, None], a=1) == first
    desk.run()
    assert desk.queue("op", a=1, b=[True, None]) == first
    assert desk.run() == {}


@pytest.mark.parametrize("other", [{"a": 2}, {"customer": "zeta", "a": 1}, {"kind": "hook", "a": 1}, {}])
def test_the_same_operation_with_other_content_is_a_conflict(desk: Any, other: dict[str, Any]) -> None:
    desk.queue("op", a=1)
    if "customer" in other:
        desk.queue("another", customer="zeta")
    with desk.world.refuses(Conflict, "already queued"):
        desk.queue("op", **other)


@pytest.mark.parametrize("operation,kind", [("", "mail"), ("a b", "mail"), ("op", "Mail"), ("op", "a.b.c")])
def test_what_is_no_operation_or_no_kind_is_refused(desk: Any, operation: str, kind: str) -> None:
    with desk.world.refuses(BadInput):
        desk.queue(operation, kind=kind)


def test_who_asks_again_while_it_is_unfinished_finds_what_is_there(desk: Any) -> None:
    number = desk.queue("op", a=1)
    [customer] = desk.world.rows("SELECT id FROM customers")[0]

    def found(**payload: Any) -> Any:
        return desk.core.write(lambda db: desk.outbox.unfinished(db, "mail", customer, payload))

    assert found(a=1).id == number
    assert found(a=2) is None
    desk.run()
    assert found(a=1) is None


def test_nothing_can_be_deleted_and_no_history_be_edited(desk: Any) -> None:
    desk.queue("op")
    desk.run()
    for sql in ("DELETE FROM outbox", "DELETE FROM outbox_attempts", "UPDATE outbox_attempts SET reason = ''"):
        with pytest.raises(Exception, match=r"never deleted|append-only"):
            desk.core.write(lambda db, sql=sql: db.execute(sql))


# --- Sending --------------------------------------------------------------------------------------------------------


def test_a_message_is_sent_once_and_its_result_kept(desk: Any) -> None:
    desk.queue("op", name="Ada")
    assert desk.run() == {"delivered": 1}
    assert desk.run() == {}
    assert desk.handler.sent == [("acme", "op:1")]
    shown = desk.outbox.show("op")
    assert (shown["state"], shown["result"], shown["payload"]) == ("done", {"ok": True}, {"name": "Ada"})
    assert desk.events("op") == [("send", "leased"), ("settled", "done")]


def test_the_handler_is_called_outside_of_any_job(desk: Any, scripted: Any) -> None:
    class Writing(scripted):
        def send(self, message: Message) -> Outcome:
            desk.world.usage.track("acme", "api_requests", 5)  # inside a job this would raise
            return Delivered()

    desk.queue("op")
    assert desk.run(Writing()) == {"delivered": 1}
    assert desk.world.current("acme") == 5


def test_messages_of_a_lane_are_sent_in_the_order_of_their_queueing(desk: Any) -> None:
    operations = [f"op{n}" for n in range(12)]
    for n, operation in enumerate(operations):
        desk.queue(operation, customer=f"c{n % 3}")
    desk.handler.script = {"op1": [Retry("busy", 60)], "op2": [Unknown("reset")]}
    assert desk.run(desk.handler) == {"delivered": 4, "retried": 1, "unknown": 1}
    assert [key for key in desk.handler.seen() if key in ("op0:1", "op3:1", "op6:1", "op9:1")] == [
        "op0:1", "op3:1", "op6:1", "op9:1",
    ]  # fmt: skip
    desk.later(HOUR)
    assert desk.run() == {"delivered": 4}
    assert desk.handler.seen()[-4:] == ["op1:1", "op4:1", "op7:1", "op10:1"]
    assert desk.outbox.list()[0]["operation_id"] == "op2"
    assert {row["waits_for"] for row in desk.outbox.list()[1:]} == {desk.outbox.list()[0]["id"]}


def test_kinds_that_share_a_lane_wait_for_one_another_and_others_do_not(desk: Any) -> None:
    desk.queue("a", kind="stripe.finalize")
    desk.queue("b", kind="stripe.pay")
    desk.queue("c", kind="mail")
    desk.handler.script = {"a": [Refused("no")]}
    assert desk.run(None, "stripe.finalize", "stripe.pay", "mail") == {"dead": 1, "delivered": 1}
    assert (desk.state("b"), desk.state("c")) == ("pending", "done")


def test_a_kind_without_a_handler_is_left_alone(desk: Any) -> None:
    desk.queue("a", kind="mail.one")
    desk.queue("b", kind="mail.two")
    with desk.world.unchanged():
        assert desk.run(None, "mail.two") == {}


def test_a_message_waits_until_its_time(desk: Any) -> None:
    until = desk.world.clock.at + HOUR
    desk.core.write(lambda db: desk.outbox.enqueue(db, "mail", 0, {}, "op", not_before=until))
    assert desk.run() == {}
    desk.later(HOUR)
    assert desk.run() == {"delivered": 1}
    assert desk.handler.sent == [("", "op:1")]


def test_a_retry_keeps_its_key_and_waits_longer_each_time(desk: Any) -> None:
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
    assert set(desk.handler.seen()) == {"op:1"}
    assert desk.outbox.show("op")["reason"] == "503"


def test_what_the_receiver_refuses_is_dead_and_blocks_only_its_lane(desk: Any) -> None:
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
def test_a_person_lets_what_waits_behind_a_dead_message_go_on(desk: Any, decision: str) -> None:
    desk.queue("op1")
    desk.queue("op2")
    desk.handler.script = {"op1": [Refused("no")]}
    assert desk.run() == {"dead": 1}
    getattr(desk.outbox, decision)("op1")
    assert desk.run() == ({"delivered": 2} if decision == "retry" else {"delivered": 1})
    assert desk.state("op2") == "done"
    actions = [action for (action,) in desk.world.rows("SELECT action FROM audit WHERE action LIKE 'outbox.%'")]
    assert actions == [f"outbox.{decision}"]


def test_a_handler_that_crashes_is_unknown_until_it_is_given_up(desk: Any, asking: Any) -> None:
    poison = asking()
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


def test_a_handler_that_returns_nonsense_is_unknown(desk: Any) -> None:
    for n, nonsense in enumerate((None, "ok", NotDone("from send"), Delivered({"amount": 1.5}))):
        desk.queue(f"op{n}", customer=f"c{n}")
        desk.handler.script[f"op{n}"] = [nonsense]
    assert desk.run() == {"unknown": 4}


def test_one_message_can_be_sent_now_with_those_before_it(desk: Any) -> None:
    for operation in ("op1", "op2", "op3"):
        desk.queue(operation)
    desk.handler.script = {"op1": [Retry("busy", 3600)]}
    assert desk.worker().send_now("op2").state == "pending"
    assert desk.handler.seen() == ["op1:1"]
    assert desk.worker().send_now("op2").state == "done"
    assert desk.handler.seen() == ["op1:1", "op1:1", "op2:1"]
    assert desk.worker().send_now("op2").state == "done"
    assert desk.state("op3") == "pending"
    with desk.world.refuses(NotFound):
        desk.worker().send_now("other")


def test_sending_one_now_stops_at_what_is_dead_or_has_no_handler(desk: Any) -> None:
    desk.queue("op1")
    desk.queue("op2")
    desk.queue("else", kind="other")
    desk.handler.script = {"op1": [Refused("no")]}
    assert desk.worker().send_now("op2").state == "pending"
    assert desk.worker().send_now("op2").state == "pending"
    assert desk.worker().send_now("else").state == "pending"
    assert desk.handler.seen() == ["op1:1"]


def test_what_happened_is_applied_in_the_commit_that_settles_it(desk: Any, scripted: Any) -> None:
    class Linking(scripted):
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


@pytest.fixture
def needy(scripted: Any) -> Any:
    """A handler that lacks something."""

    class Needy(scripted):
        missing = "no server is set up"

        def blocked(self, message: Message) -> str:
            return self.missing

    return Needy()


def test_what_cannot_be_tried_waits_with_its_reason_and_without_attempts(desk: Any, needy: Any) -> None:
    desk.queue("op")
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


def test_what_was_missing_is_noticed_by_the_next_run(desk: Any, needy: Any) -> None:
    desk.queue("op")
    assert desk.run(needy) == {"held": 1}
    needy.missing = ""
    assert desk.run(needy) == {"delivered": 1}
    assert desk.outbox.show("op")["reason"] == ""
