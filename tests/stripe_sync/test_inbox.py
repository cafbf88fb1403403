"""The inbox: each event once, in any order, from any number of processes, and the newest state wins."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from nbilling.model.errors import BadInput, Conflict
from nbilling.store import customers, stripe_events
from nbilling.stripe_sync.failures import TryAgain
from nbilling.stripe_sync.gateway import API_VERSION
from nbilling.stripe_sync.inbox import Inbox
from nbilling.stripe_sync.offline.faults import Fault, in_turn
from nbilling.stripe_sync.offline.happened import signed

SECRET = "whsec_test"


def event(number: int, created: int, status: str = "active", **more: Any) -> dict[str, Any]:
    return {
        "id": f"evt_{number}",
        "object": "event",
        "type": "customer.subscription.updated",
        "api_version": API_VERSION,
        "created": created,
        "livemode": False,
        "data": {"object": {"id": "sub_1", "object": "subscription", "status": status}},
        **more,
    }


def body_of(one: dict[str, Any]) -> bytes:
    return json.dumps(one).encode()


class Counted:
    """A gateway that answers with a state and counts how often it is asked."""

    def __init__(self, status: str = "fetched") -> None:
        self.status = status
        self.asked = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def subscription(self, object_id: str) -> dict[str, Any]:
        self.asked += 1
        answer = {"id": object_id, "object": "subscription", "status": self.status}
        self.meanwhile()
        return answer


@pytest.fixture
def make(new_offline: Any) -> Callable[..., tuple[Inbox, Any, Counted, list[str]]]:
    """An inbox with its ledger, a gateway that counts, and the states that took effect."""

    def made(mode: str = "fixtures", secrets: str = "") -> tuple[Inbox, Any, Counted, list[str]]:
        offline, gateway, effects = new_offline(mode=mode), Counted(), []

        def effect(db: sqlite3.Connection, obj: dict[str, Any]) -> None:
            effects.append(obj.get("status", "deleted"))

        inbox = Inbox(offline.core, lambda: gateway, {"subscription": effect}, secrets)  # type: ignore[arg-type, return-value]
        return inbox, offline, gateway, effects

    return made


def known(offline: Any, object_id: str = "sub_1") -> Any:
    found = stripe_events.known(offline.ledger.read(), object_id)
    return found.object["status"] if found else None


def test_an_event_takes_effect_once_however_often_it_comes(make: Any) -> None:
    inbox, offline, gateway, effects = make()
    receipts = [inbox.receive(body_of(event(1, 100))) for _ in range(3)]
    assert [(one.state, one.duplicate) for one in receipts] == [
        ("applied", False),
        ("applied", True),
        ("applied", True),
    ]
    assert (effects, gateway.asked, known(offline)) == (["active"], 0, "active")


def test_an_older_event_never_undoes_newer_state(make: Any) -> None:
    inbox, offline, gateway, effects = make()
    inbox.receive(body_of(event(2, 200, "canceled")))
    assert inbox.receive(body_of(event(1, 100, "active"))).state == "stale"
    assert (effects, known(offline), gateway.asked) == (["canceled"], "canceled", 0)


def test_two_events_of_one_second_mean_asking_again(make: Any) -> None:
    inbox, offline, gateway, effects = make()
    inbox.receive(body_of(event(1, 100, "active")))
    receipt = inbox.receive(body_of(event(2, 100, "incomplete")))
    assert (receipt.state, receipt.duplicate, gateway.asked) == ("applied", False, 1)
    assert (effects, known(offline)) == (["active", "fetched"], "fetched")


def test_an_event_of_another_version_of_the_api_means_asking(make: Any) -> None:
    inbox, offline, gateway, _ = make()
    assert inbox.receive(body_of(event(1, 100, api_version="2020-08-27"))).state == "applied"
    assert (known(offline), gateway.asked) == ("fetched", 1)


def test_what_is_of_no_concern_is_recorded_and_ignored(make: Any) -> None:
    inbox, offline, gateway, effects = make()
    others = [
        event(1, 100) | {"type": "balance.available", "data": {"object": {"object": "balance"}}},
        event(2, 100) | {"type": "some.new.thing", "data": {"object": {"id": "thing_1", "object": "some.thing"}}},
        event(3, 100) | {"data": {"object": {"id": "../x", "object": "subscription"}}},
        event(4, 100) | {"data": {"object": {"object": "subscription"}}},
        event(5, 100) | {"data": {"object": {"id": "cus_1", "object": "subscription"}}},
    ]
    assert {inbox.receive(body_of(one)).state for one in others} == {"ignored"}
    assert (effects, gateway.asked) == ([], 0)
    assert stripe_events.counts(offline.ledger.read()) == {"ignored": 5}


def test_a_fixtures_ledger_records_an_unsigned_event_without_an_id_under_a_digest(make: Any) -> None:
    inbox, _, _, effects = make()
    body = b'{"type": "invoice.payment_succeeded", "data": {"object": {"id": "in_test"}}}'
    first, second = inbox.receive(body), inbox.receive(body)
    assert (first.state, first.duplicate, second.duplicate, first.event_id[:5]) == ("ignored", False, True, "body_")
    assert effects == []


def test_elsewhere_an_event_must_be_signed_and_of_the_ledgers_mode(make: Any) -> None:
    inbox, offline, _, _ = make("test", SECRET)
    now = int(time.time())
    body, header = signed(event(1, 100), SECRET, now)
    with pytest.raises(BadInput, match="no usable"):
        inbox.receive(body)
    with pytest.raises(BadInput, match="not right"):
        inbox.receive(body, signed(event(1, 100), "whsec_other", now)[1])
    assert inbox.receive(body, header).state == "applied"
    live, live_header = signed(event(2, 300, livemode=True), SECRET, now)
    with pytest.raises(BadInput, match="live mode"):
        inbox.receive(live, live_header)
    assert stripe_events.counts(offline.ledger.read()) == {"applied": 1}


def test_without_a_secret_nothing_is_taken_outside_fixtures(make: Any) -> None:
    inbox, _, _, _ = make("live")
    with pytest.raises(BadInput, match="secret"):
        inbox.receive(body_of(event(1, 100, livemode=True)), "t=1,v1=" + "0" * 64)
    inbox, _, _, _ = make("unset", SECRET)
    with pytest.raises(Conflict):
        inbox.receive(*signed(event(1, 100), SECRET, int(time.time())))


def test_an_effect_that_fails_leaves_no_event_behind(make: Any) -> None:
    inbox, offline, _, _ = make()

    def fails(db: sqlite3.Connection, obj: dict[str, Any]) -> None:
        customers.set_fact(db, "half", "done")
        raise BadInput("no", hint="no")

    broken = Inbox(offline.core, inbox._gateway, {"subscription": fails})
    with pytest.raises(BadInput):
        broken.receive(body_of(event(1, 100)))
    assert stripe_events.find(offline.ledger.read(), "evt_1") is None
    assert customers.fact(offline.ledger.read(), "half") is None
    assert inbox.receive(body_of(event(1, 100))).state == "applied"


def test_where_stripe_cannot_be_asked_the_event_waits_and_goes_on_later(new_offline: Any) -> None:
    offline = new_offline()
    customer = offline.payer()
    subscription = offline.gateway.subscription_create(offline.op(), customer, "price_pro_monthly")
    inbox = Inbox(offline.core, lambda: offline.gateway)
    first, second = ({**event(n, 100), "data": {"object": subscription}} for n in (1, 2))
    text = [json.dumps(one, default=str).encode() for one in (first, second)]
    inbox.receive(text[0])
    offline.plan(in_turn([Fault("refused"), Fault("timeout")]))
    for _ in range(2):
        with pytest.raises(TryAgain):
            inbox.receive(text[1])
    assert stripe_events.counts(offline.ledger.read()) == {"applied": 1, "fetching": 1}
    assert (inbox.resume_all(), inbox.resume_all()) == (1, 0)
    assert stripe_events.counts(offline.ledger.read()) == {"applied": 2}


def test_an_object_that_is_gone_is_known_as_deleted(new_offline: Any) -> None:
    offline = new_offline()
    inbox = Inbox(offline.core, lambda: offline.gateway)
    inbox.receive(body_of(event(1, 100)))
    inbox.receive(body_of(event(2, 100)))
    found = stripe_events.known(offline.ledger.read(), "sub_1")
    assert found is not None
    assert found.object == {"id": "sub_1", "object": "subscription", "deleted": True}


def test_what_was_fetched_does_not_overwrite_what_came_meanwhile(make: Any) -> None:
    inbox, offline, gateway, effects = make()
    inbox.receive(body_of(event(1, 100, "active")))

    def meanwhile() -> None:
        gateway.meanwhile = lambda: None
        inbox.receive(body_of(event(3, 200, "canceled")))

    gateway.meanwhile = meanwhile
    assert inbox.receive(body_of(event(2, 100, "incomplete"))).state == "stale"
    assert (known(offline), effects) == ("canceled", ["active", "canceled"])


def test_two_that_fetch_at_once_do_not_leave_the_older_answer(make: Any) -> None:
    inbox, offline, gateway, _ = make()
    inbox.receive(body_of(event(1, 100, "active")))

    def meanwhile() -> None:
        gateway.meanwhile = lambda: None
        gateway.status = "newer"
        inbox.receive(body_of(event(3, 100, "incomplete")))

    gateway.meanwhile = meanwhile
    assert inbox.receive(body_of(event(2, 100, "incomplete"))).state == "applied"
    assert (known(offline), gateway.asked) == ("newer", 3)


@pytest.mark.parametrize("seed", range(10))
def test_shuffled_and_repeated_events_end_where_stripe_is(new_offline: Any, seed: int) -> None:
    """A busy account; its events come twice and thrice, in no order, by four threads. The end is Stripe's own state."""
    offline = new_offline(now="2026-01-01T00:00:00Z")
    g, draw = offline.gateway, random.Random(seed)
    customers_ = [offline.payer() for _ in range(2)]
    subscriptions = [g.subscription_create(offline.op(), one, "price_pro_monthly") for one in customers_]
    for step, subscription in enumerate(subscriptions * 2):
        offline.at(f"2026-01-0{step // 2 + 2}T00:00:00Z")
        item = subscription["items"]["data"][0]["id"]
        price = draw.choice(["price_pro_monthly", "price_enterprise_monthly"])
        g.subscription_change_price(offline.op(), subscription["id"], item, price, "always_invoice")
        g.customer_update(offline.op(), subscription["customer"], name=f"Name {step}")
    offline.at("2026-02-15T00:00:00Z")
    g.subscription_cancel_now(offline.op(), subscriptions[0]["id"])
    events = [json.dumps(one, default=str).encode() for one in g.events() for _ in range(draw.randint(1, 3))]
    draw.shuffle(events)
    inbox = Inbox(offline.core, lambda: offline.gateway)
    failures: list[BaseException] = []

    def deliver(part: list[bytes]) -> None:
        try:
            for one in part:
                inbox.receive(one)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    threads = [threading.Thread(target=deliver, args=(events[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    db = offline.ledger.read()
    assert set(stripe_events.counts(db)) <= {"applied", "stale", "ignored"}
    reads = {"subscription": g.subscription, "customer": g.customer, "invoice": g.invoice}
    seen = {(one["data"]["object"]["object"], one["data"]["object"]["id"]) for one in g.events()}
    compared = 0
    for kind, object_id in seen:
        if kind in reads:
            found = stripe_events.known(db, object_id)
            assert found is not None
            now = json.loads(json.dumps(reads[kind](object_id), default=str))
            # A subscription's and a customer's last event tells all of it; so does an invoice's.
            assert {**found.object, "lines": 0} == {**now, "lines": 0}, (kind, object_id)
            compared += 1
    assert compared >= 6


def _deliver(path: str, events: list[bytes]) -> None:
    """In a process of its own: its own ledger, its own offline Stripe on the same file."""
    from nbilling.engine.core import Core
    from nbilling.model.clock import FixedClock, parse_time
    from nbilling.model.config import Config
    from nbilling.store.database import open_ledger
    from nbilling.stripe_sync.gateway import Gateway
    from nbilling.stripe_sync.keys import placeholder
    from nbilling.stripe_sync.offline.server import OfflineStripe
    from nbilling.stripe_sync.offline.transport import transport

    with open_ledger(path) as ledger:
        core = Core(ledger, FixedClock(parse_time("2026-02-15T00:00:00Z")), True, lambda: Config({}), "test")
        gateway = Gateway(placeholder(), transport=transport(OfflineStripe(core)))
        inbox = Inbox(core, lambda: gateway)
        for one in events:
            inbox.receive(one)


def test_several_processes_take_the_same_events_once(new_offline: Any) -> None:
    import multiprocessing

    offline = new_offline(now="2026-02-15T00:00:00Z")
    g, draw = offline.gateway, random.Random(1)
    customer = offline.payer()
    for _ in range(4):
        g.subscription_create(offline.op(), customer, "price_pro_monthly")
    bodies = [json.dumps(one, default=str).encode() for one in g.events()]
    # Forked, not spawned: a spawned child would have to find the tests as a package, and they are none.
    fork = multiprocessing.get_context("fork")
    processes = [
        fork.Process(target=_deliver, args=(offline.ledger.path, draw.sample(bodies, len(bodies)))) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    db = offline.ledger.read()
    assert sum(stripe_events.counts(db).values()) == len(bodies)
    for subscription in g.subscriptions(customer=customer):
        found = stripe_events.known(db, subscription["id"])
        assert found is not None
        assert found.object["latest_invoice"] == subscription["latest_invoice"]
    known_customer = stripe_events.known(db, customer)
    assert known_customer is not None
    assert known_customer.object["next_invoice_sequence"] == 5
