"""What people decide about messages: retry, drop, pause; and an old copy that is put back."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from nbilling.engine.outbox_worker import Worker
from nbilling.model.clock import DAY, MINUTE, format_time
from nbilling.model.errors import BadInput, Conflict, NotFound
from nbilling.model.outbox import Delivered, Refused

# --- People ---------------------------------------------------------------------------------------------------------


def test_a_message_that_is_being_sent_is_nobody_elses_to_decide(desk: Any) -> None:
    desk.queue("op")
    desk.lease(desk.worker(), "op")
    until = format_time(desk.world.clock.at + 5 * MINUTE)
    for decide in (desk.outbox.retry, desk.outbox.drop):
        with desk.world.refuses(Conflict, f"being sent.*{until}"):
            decide("op")
    desk.later(5 * MINUTE)
    assert desk.outbox.drop("op")["state"] == "dropped"
    assert [event for event, _ in desk.events("op")] == ["send", "lease_ran_out", "drop"]


def test_what_is_done_or_dropped_cannot_be_retried(desk: Any) -> None:
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
def test_an_unknown_message_is_not_found(desk: Any, message: int | str) -> None:
    for decide in (desk.outbox.retry, desk.outbox.drop, desk.outbox.show):
        with desk.world.refuses(NotFound):
            decide(message)


def test_a_dropped_message_in_the_middle_lets_the_order_stand(desk: Any) -> None:
    for operation in ("op1", "op2", "op3"):
        desk.queue(operation)
    desk.outbox.drop("op2")
    assert desk.run() == {"delivered": 2}
    assert desk.handler.seen() == ["op1:1", "op3:1"]


@pytest.mark.parametrize("name", ["", "mail", "mail.one"])
def test_a_pause_stops_sending_and_nothing_else(desk: Any, name: str) -> None:
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


def test_the_list_shows_what_is_open_and_pages(desk: Any) -> None:
    for n in range(5):
        desk.queue(f"op{n}", customer="acme" if n % 2 else "zeta")
    desk.handler.script = {"op0": [Refused("no")]}
    desk.run()
    assert [row["operation_id"] for row in desk.outbox.list()] == ["op0", "op2", "op4"]
    assert [row["operation_id"] for row in desk.outbox.list(state="all", customer_id="acme")] == ["op1", "op3"]
    assert [row["operation_id"] for row in desk.outbox.list(state="dead", kind="mail")] == ["op0"]
    page = desk.outbox.list(state="all", limit=2)
    assert [row["operation_id"] for row in desk.outbox.list(state="all", limit="2", after=page[-1]["id"])] == [
        "op2",
        "op3",
    ]
    status = desk.outbox.status()
    assert (status["dead"], status["pending"], status["done"]) == (1, 2, 2)
    assert status["oldest_open"] == "2026-01-10T12:00:00Z"
    for wrong in ({"state": "lost"}, {"limit": 0}, {"limit": "x"}, {"after": -1}, {"kind": "No"}, {"customer_id": ""}):
        with desk.world.refuses(BadInput):
            desk.outbox.list(**wrong)
    with desk.world.refuses(NotFound):
        desk.outbox.list(customer_id="nobody")


# --- An old copy put back -------------------------------------------------------------------------------------------


def test_a_restored_copy_sends_nothing_before_it_was_reconciled(desk: Any, asking: Any, scripted: Any) -> None:
    """The copy was made before the message was sent: it must find out, not send again (F30)."""
    desk.queue("sent_since")
    desk.queue("never_sent", customer="zeta")
    desk.queue("mail", customer="zeta", kind="letter")
    path = desk.world.path.with_name("copy.db")
    target = sqlite3.connect(path)
    desk.world.billing.ledger.read().backup(target)
    target.close()
    restored = type(desk.world)(path)
    copy = type(desk)(restored)

    effects = {"sent_since": Delivered({"id": "x"})}
    assert desk.run() == {"delivered": 2}
    letters = scripted()
    letters.repeatable = True
    handler = asking(**effects)
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
    assert handler.seen() == ["never_sent:1"]
    assert copy.state("mail") == "unknown", "whether a letter went out only a person can say"
    copy.outbox.retry("mail", not_done=True)
    assert worker.run()["delivered"] == 1
    restored.billing.close()
