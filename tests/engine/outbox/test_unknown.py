"""What may have happened is found out before anything is sent again; one lease at a time can settle a message."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from nbilling.model.clock import DAY, HOUR, MINUTE
from nbilling.model.errors import Conflict
from nbilling.model.outbox import Delivered, Message, NotDone, Outcome, Refused, Retry, Unknown

# --- Unknown outcomes -----------------------------------------------------------------------------------------------


def test_what_is_unknown_is_reconciled_before_anything_is_sent_again(desk: Any, asking: Any) -> None:
    handler = asking(happened=Delivered({"id": "x"}), refused=Refused("card declined"))
    for operation in ("happened", "not", "refused"):
        desk.queue(operation, customer=operation)
        handler.script[operation] = [Unknown("reset")]
    assert desk.run(handler) == {"unknown": 3}
    desk.later(MINUTE)
    assert desk.run(handler) == {"delivered": 2, "not_done": 1, "dead": 1}
    assert handler.asked == ["happened:1", "not:1", "refused:1"]
    assert handler.seen() == ["happened:1", "not:1", "refused:1", "not:2"]
    assert desk.outbox.show("happened")["result"] == {"id": "x"}


def test_what_nobody_can_find_out_waits_for_a_person(desk: Any) -> None:
    desk.queue("op")
    desk.handler.script = {"op": [Unknown("reset")]}
    assert desk.run() == {"unknown": 1}
    desk.later(30 * DAY)
    with desk.world.unchanged():
        assert desk.run() == {}
    desk.outbox.retry("op", not_done=True)
    assert desk.run() == {"delivered": 1}
    assert desk.handler.seen() == ["op:1", "op:2"]


def test_what_may_be_repeated_is_sent_again_under_the_same_key(desk: Any) -> None:
    desk.handler.repeatable = True
    desk.queue("op")
    desk.handler.script = {"op": [Unknown("no answer after DATA")]}
    assert desk.run() == {"unknown": 1}
    desk.later(MINUTE)
    assert desk.run() == {"delivered": 1}
    assert desk.handler.seen() == ["op:1", "op:1"]
    assert ("settled", "unknown") in desk.events("op")


def test_a_key_older_than_the_receiver_remembers_is_reconciled_first(desk: Any, asking: Any) -> None:
    handler = asking(op=Delivered({"id": "x"}))
    handler.key_lifetime = DAY
    desk.queue("op")
    handler.script = {"op": [Retry("500", 3600)]}
    assert desk.run(handler) == {"retried": 1}
    desk.later(25 * HOUR)
    assert desk.run(handler) == {"delivered": 1}
    assert (handler.seen(), handler.asked) == (["op:1"], ["op:1"])


def test_retrying_what_is_dead_and_uncertain_reconciles_first(desk: Any, asking: Any) -> None:
    handler = asking(op=Delivered())
    desk.queue("op")
    handler.script = {"op": [Unknown("reset")]}
    handler.answers = {"op": Retry("down")}
    for _ in range(200):
        desk.run(handler)
        desk.later(HOUR)
    assert desk.state("op") == "dead"
    assert handler.seen() == ["op:1"]
    handler.answers = {"op": Delivered()}
    assert desk.outbox.retry("op")["state"] == "unknown"
    assert desk.run(handler) == {"delivered": 1}
    assert handler.seen() == ["op:1"]


# --- Leases ---------------------------------------------------------------------------------------------------------


def test_a_stalled_worker_that_wakes_up_is_refused_and_the_effect_is_one(desk: Any, asking: Any) -> None:
    """The first worker stops between its lease and its sending; the second takes over under the same key."""
    effects: dict[str, int] = {}
    stalled, go_on = threading.Event(), threading.Event()

    class Receiver(asking):
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
    assert handler.seen() == ["op:1", "op:1"]
    assert [event for event, _ in desk.events("op")] == [
        "send", "lease_ran_out", "reconcile", "settled", "send", "settled", "late",
    ]  # fmt: skip


def test_settling_without_the_present_lease_is_a_conflict_and_changes_nothing_but_the_history(
    desk: Any, asking: Any
) -> None:
    desk.queue("op")
    first, second = desk.worker(asking()), desk.worker(asking())
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


def test_of_two_workers_that_read_the_same_message_one_gets_it(desk: Any) -> None:
    desk.queue("op")
    first, second = desk.worker(), desk.worker()
    row = first._next(2**63 - 1, False)
    assert row is not None
    lease = first.claim(row)
    assert lease is not None
    assert second.claim(row) is None
    first.settle(lease, Retry("busy"))
    assert second.claim(row) is None, "it was tried meanwhile and has to wait"


def test_a_lease_that_ran_out_is_unknown_not_pending(desk: Any) -> None:
    desk.queue("op")
    desk.lease(desk.worker(), "op")
    desk.later(6 * MINUTE)
    assert desk.run() == {}
    assert (desk.state("op"), desk.outbox.show("op")["uncertain"]) == ("unknown", True)


def test_who_reports_late_and_before_anybody_noticed_is_heard(desk: Any) -> None:
    desk.queue("op")
    worker = desk.worker()
    lease = desk.lease(worker, "op")
    desk.later(HOUR)
    assert worker.settle(lease, Delivered()) == "delivered"
    assert desk.state("op") == "done"


def test_nothing_is_sent_once_the_lease_has_run_out(desk: Any) -> None:
    desk.queue("op")
    worker = desk.worker()
    claim = worker.claim

    def slow(*args: Any, **kwargs: Any) -> Any:
        lease = claim(*args, **kwargs)
        desk.later(HOUR)
        return lease

    worker.claim = slow
    assert worker.run()["retried"] == 1
    assert desk.handler.sent == []
    assert desk.outbox.show("op")["uncertain"] is False


def test_an_interrupt_leaves_an_unknown_message_and_no_lease(desk: Any, scripted: Any) -> None:
    class Interrupted(scripted):
        def send(self, message: Message) -> Outcome:
            raise KeyboardInterrupt

    desk.queue("op")
    with pytest.raises(KeyboardInterrupt):
        desk.run(Interrupted())
    assert desk.state("op") == "unknown"


def test_many_workers_at_once_send_each_message_once_and_in_order(desk: Any) -> None:
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
