"""The room ``stripe`` of the Python API: what a caller sees, what stays in the outbox, and what changes here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nbilling
from nbilling.model.clock import FixedClock, parse_time
from nbilling.model.errors import BadInput, Conflict, NotFound, UpstreamError
from nbilling.store import customers, stripe_links
from nbilling.stripe_sync import keys
from nbilling.stripe_sync.failures import Declined
from nbilling.stripe_sync.gateway import Gateway
from nbilling.stripe_sync.offline.faults import Fault, in_turn, no_faults
from nbilling.stripe_sync.offline.server import OfflineStripe
from nbilling.stripe_sync.offline.transport import transport


class Room:
    """A ledger at noon of 10 January 2026, and the offline Stripe of its room, whose faults a test can plan."""

    def __init__(self, path: Path, fixtures: bool = True) -> None:
        nbilling.init(path)
        self.clock = FixedClock(parse_time("2026-01-10T12:00:00Z"))
        self.billing = nbilling.open(path, config=nbilling.Config({}), clock=self.clock)
        self.stripe = self.billing.stripe
        if fixtures:
            self.stripe.init_fixtures()
        self.server = OfflineStripe(self.billing.parts()[0])
        self.stripe._gateway_with = lambda key, base: Gateway(key, transport=transport(self.server))  # type: ignore[method-assign]

    def faults(self, *kinds: str) -> None:
        self.server.plan = in_turn([Fault(kind) for kind in kinds]) if kinds else no_faults

    def plan(self, customer_id: str) -> Any:
        found = self.billing.plans.get_current(customer_id)
        return found["id"], found["subscription"]["pending_plan"]

    def count(self, kind: str) -> int:
        return len(self.billing.outbox.list(state="all", kind=f"stripe.{kind}"))


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Callable[..., Room]]:
    made: list[Room] = []

    def make(**how: Any) -> Room:
        made.append(Room(tmp_path / f"{len(made)}.db", **how))
        return made[-1]

    yield make
    for room in made:
        room.billing.close()


@pytest.fixture
def room(rooms: Callable[..., Room]) -> Room:
    return rooms()


def webhook(number: int, obj: dict[str, Any], created: int) -> str:
    from nbilling.stripe_sync.gateway import API_VERSION

    event = {"id": f"evt_{number}", "object": "event", "type": f"customer.{obj['object']}.updated", "livemode": False,
             "api_version": API_VERSION, "created": created, "data": {"object": obj}}  # fmt: skip
    return json.dumps(event, default=str)


# --- Modes ----------------------------------------------------------------------------------------------------------


def test_a_ledger_is_of_one_mode_for_ever(room: Room) -> None:
    assert room.stripe.init("sk_test_PLACEHOLDER") == room.stripe.mode() == "fixtures"
    for key in ("sk_test_other", "sk_live_other", "rk_live_other"):
        with pytest.raises(Conflict, match="mode fixtures"):
            room.stripe.init(key)
    with pytest.raises(BadInput):
        room.stripe.init("pk_test_x")


def test_a_ledger_that_had_a_test_clock_is_never_live(rooms: Any) -> None:
    room = rooms(fixtures=False)
    room.billing.customers.create("acme")
    with pytest.raises(Conflict, match="test clock"):
        room.stripe.init("sk_live_x1234")
    assert room.stripe.mode() == "unset"


def test_before_init_nothing_is_queued(rooms: Any) -> None:
    room = rooms(fixtures=False)
    with pytest.raises(Conflict, match="has not been used"):
        room.stripe.customer_create("a@example.com", "A")
    with pytest.raises(Conflict):
        room.stripe.webhook_handle(webhook(1, {"id": "cus_1", "object": "customer"}, 5))
    assert room.billing.outbox.list(state="all") == []


def test_a_key_of_another_mode_in_the_environment_is_refused(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_live_abcdef")
    with pytest.raises(Conflict) as caught:
        room.stripe.customer_create("a@example.com", "A")
    assert "abcdef" not in str(caught.value)


def test_outside_fixtures_nothing_comes_to_life(rooms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    room = rooms(fixtures=False)
    room.billing.parts()[0].write(lambda db: customers.set_fact(db, "mode", "test"))
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_real1")
    for call in (
        lambda: room.stripe.customer_get("cus_test_1"),
        lambda: room.stripe.subscription_cancel("sub_test_1", "now"),
        lambda: room.stripe.payment_process("inv_test_1"),
        lambda: room.billing.invoices.apply_discount("inv_test_1", "SAVE20"),
        lambda: room.billing.invoices.mark_paid("inv_test_1", "cash"),
    ):
        with pytest.raises(NotFound):
            call()
    assert room.billing.discounts.list() == []


# --- Once -----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_sent_stays_and_the_same_call_goes_on_with_it(room: Room) -> None:
    room.faults("refused")
    with pytest.raises(UpstreamError, match="stays in the outbox"):
        room.stripe.customer_create("a@example.com", "A")
    room.faults()
    made = room.stripe.customer_create("a@example.com", "A")
    assert room.count("customer_create") == 1
    assert room.stripe.customer_get(made)["email"] == "a@example.com"
    assert room.stripe.customer_create("a@example.com", "A") != made, "what is finished is not resumed"


@pytest.mark.parametrize("kind", ["timeout", "reset", "truncated", "error"])
def test_an_item_whose_answer_was_lost_is_not_added_twice(room: Room, kind: str) -> None:
    room.stripe.payment_method_attach("cus_test_1", "pm_card_visa")
    lost = iter([None, Fault(kind, after=True)])  # the list of drafts, then the item
    room.server.plan = lambda method, path: next(lost, None)
    with pytest.raises(UpstreamError):
        room.stripe.invoice_item_add("cus_test_1", 1000, "Overage")
    room.stripe.invoice_item_add("cus_test_1", 1000, "Overage")
    items = list(room.stripe.gateway().invoice_items(customer="cus_test_1"))
    assert [item["amount"] for item in items] == [1000]


def test_a_decline_is_an_answer_and_the_outbox_goes_on(room: Room) -> None:
    with pytest.raises(Declined):
        room.stripe.payment_method_attach("cus_test_1", "pm_card_visa_chargeDeclined")
    assert room.stripe.payment_method_attach("cus_test_1", "pm_card_visa").startswith("pm_")
    assert room.billing.outbox.list() == []


def test_a_payment_is_taken_once(room: Room) -> None:
    first = room.stripe.payment_process("inv_test_1")
    assert (first["status"], first["amount_paid"], first["currency"]) == ("paid", 1000, "usd")
    assert room.stripe.payment_process("inv_test_1") == first
    assert room.stripe.invoice_finalize("inv_test_1")["status"] == "paid"


# --- Customers ------------------------------------------------------------------------------------------------------


def test_a_customer_of_ours_is_linked_and_its_name_follows(room: Room) -> None:
    room.billing.customers.create("acme", name="Acme")
    at_stripe = room.stripe.customer_create("ann@example.com", "Ann", customer_id="acme")
    room.stripe.customer_update("acme", "email", "new@example.com")
    assert room.stripe.customer_get("acme")["id"] == at_stripe
    shown = room.billing.customers.show("acme")
    assert (shown["name"], shown["email"]) == ("Acme", "new@example.com")
    with pytest.raises(Conflict, match=at_stripe):
        room.stripe.customer_create("ann@example.com", "Ann", customer_id="acme")
    with pytest.raises(NotFound):
        room.stripe.customer_create("ann@example.com", "Ann", customer_id="nobody")


def test_a_customer_that_is_not_linked_is_not_found(room: Room) -> None:
    room.billing.customers.create("acme")
    for name in ("acme", "nobody"):
        with pytest.raises(NotFound):
            room.stripe.customer_get(name)
    with pytest.raises(NotFound):
        room.stripe.customer_get("cus_unknown")


@pytest.mark.parametrize(
    ("field", "value"),
    [("balance", "5"), ("email", "a@b, c@d"), ("metadata.nb_op", "x"), ("metadata.", "x"), ("name", "a\nb"), ("", "x"),
     ("tax_exempt", "maybe"), ("metadata", "x")],
)  # fmt: skip
def test_other_fields_and_values_are_refused(room: Room, field: str, value: str) -> None:
    with pytest.raises(BadInput):
        room.stripe.customer_update("cus_test_1", field, value)
    assert room.count("customer_update") == 0


def test_metadata_is_set_and_cleared(room: Room) -> None:
    room.stripe.customer_update("cus_test_1", "metadata.project", "x1")
    assert room.stripe.customer_get("cus_test_1")["metadata"]["project"] == "x1"
    room.stripe.customer_update("cus_test_1", "metadata.project", "")
    assert "project" not in room.stripe.customer_get("cus_test_1")["metadata"]


@pytest.mark.parametrize("amount", ["0", "1.5", "1e3", "", "100000000", "-0", "$(id)"])
def test_an_item_is_a_whole_amount_that_is_not_0(room: Room, amount: str) -> None:
    with pytest.raises(BadInput):
        room.stripe.invoice_item_add("cus_test_1", amount, "x")


def test_an_item_joins_the_draft_else_waits_for_the_next(room: Room) -> None:
    room.stripe.invoice_item_add("cus_test_1", 100, "before")
    draft = room.stripe.invoice_create("cus_test_1")
    room.stripe.invoice_item_add("cus_test_1", "250", "after")
    assert room.stripe.invoice_finalize(draft)["total"] == 350


# --- Plans follow ---------------------------------------------------------------------------------------------------


def test_the_plan_follows_the_subscription_at_stripe(room: Room) -> None:
    room.stripe.payment_method_attach("cus_test_1", "pm_card_visa")
    subscription = room.stripe.subscription_create("cus_test_1", "price_pro_monthly")
    assert room.plan("cus_test_1") == ("pro", None)
    room.stripe.subscription_update(subscription, "price_enterprise_monthly")
    assert room.plan("cus_test_1") == ("enterprise", None)
    for _ in range(2):
        room.stripe.subscription_cancel(subscription, "at_period_end")
        assert room.plan("cus_test_1") == ("enterprise", "free")
    for _ in range(2):
        room.stripe.subscription_cancel(subscription, "now")
        assert room.plan("cus_test_1") == ("free", None)
    with pytest.raises(Conflict):
        room.stripe.subscription_update(subscription, "price_pro_monthly")
    assert room.billing.verify().ok


def test_without_a_card_nothing_is_subscribed_and_the_plan_stays(room: Room) -> None:
    with pytest.raises(Conflict):
        room.stripe.subscription_create("cus_test_1", "price_pro_monthly")
    with pytest.raises(NotFound, match="No such price"):
        room.stripe.subscription_create("cus_test_1", "price_unknown")
    assert room.plan("cus_test_1") == ("free", None)


def test_an_older_subscription_that_ends_leaves_the_newer_ones_plan(room: Room) -> None:
    room.stripe.payment_method_attach("cus_test_1", "pm_card_visa")
    first = room.stripe.subscription_create("cus_test_1", "price_pro_monthly")
    room.stripe.subscription_create("cus_test_1", "price_enterprise_monthly")
    room.stripe.subscription_cancel(first, "now")
    assert room.plan("cus_test_1") == ("enterprise", None)


def test_a_deleted_customers_plan_ends(room: Room) -> None:
    room.stripe.payment_method_attach("cus_test_1", "pm_card_visa")
    room.stripe.subscription_create("cus_test_1", "price_pro_monthly")
    for _ in range(2):
        room.stripe.customer_delete("cus_test_1")
    assert room.plan("cus_test_1") == ("free", None)
    assert room.stripe.customer_get("cus_test_1")["deleted"] is True


def test_ours_may_have_another_customer_at_stripe_after_one_was_deleted(room: Room) -> None:
    room.billing.customers.create("acme")
    first = room.stripe.customer_create("ann@example.com", "Ann", customer_id="acme")
    room.stripe.customer_delete("acme")
    room.stripe.customer_delete(first)
    with pytest.raises(NotFound):
        room.stripe.customer_update("acme", "name", "Ann")
    second = room.stripe.customer_create("ann@example.com", "Ann", customer_id="acme")
    assert room.stripe.customer_get("acme")["id"] == second != first


@pytest.mark.parametrize("items", ["x", [], {"data": "x"}, {"data": [1]}, {"data": [{"price": {"metadata": []}}]}])
def test_an_event_of_another_shape_moves_nothing(room: Room, items: Any) -> None:
    room.stripe.payment_method_attach("cus_test_1", "pm_card_visa")
    subscription = room.stripe.subscription_create("cus_test_1", "price_pro_monthly")
    strange = {"id": subscription, "object": "subscription", "status": "active", "items": items}
    assert room.stripe.webhook_handle(webhook(1, strange, 2_000_000_000))["state"] == "applied"
    assert room.plan("cus_test_1") == ("pro", None)


def test_leaving_for_the_free_plan_ends_the_subscription_at_stripe(room: Room) -> None:
    room.stripe.payment_method_attach("cus_test_1", "pm_card_visa")
    subscription = room.stripe.subscription_create("cus_test_1", "price_pro_monthly")
    room.faults("refused")
    room.billing.plans.downgrade("cus_test_1", "free")
    assert room.plan("cus_test_1") == ("pro", "free")
    assert room.stripe.subscription_get(subscription)["cancel_at_period_end"] is False
    room.clock.at = parse_time("2026-01-11T12:00:00Z")
    room.billing.outbox.process()
    assert room.stripe.subscription_get(subscription)["cancel_at_period_end"] is True
    room.billing.plans.downgrade("cus_test_1", "free")
    assert room.count("subscription_cancel") == 1


def test_events_move_the_plan_of_a_linked_subscription_and_of_no_other(room: Room) -> None:
    room.stripe.payment_method_attach("cus_test_1", "pm_card_visa")
    subscription = room.stripe.subscription_create("cus_test_1", "price_pro_monthly")
    obj = room.stripe.subscription_get(subscription)
    price = room.stripe.gateway().price("price_enterprise_monthly")
    obj["items"]["data"][0]["price"] = price
    assert room.stripe.webhook_handle(webhook(1, obj, 2_000_000_000))["state"] == "applied"
    assert room.plan("cus_test_1") == ("enterprise", None)
    other = {**obj, "id": "sub_other", "status": "canceled"}
    room.stripe.webhook_handle(webhook(2, other, 2_000_000_001))
    assert room.plan("cus_test_1") == ("enterprise", None)
    gone = {**obj, "status": "canceled"}
    room.stripe.webhook_handle(webhook(3, gone, 2_000_000_002))
    assert room.plan("cus_test_1") == ("free", None)
    late = room.stripe.webhook_handle(webhook(4, obj, 1_999_999_999))
    assert (late["state"], room.plan("cus_test_1")) == ("stale", ("free", None))


def test_an_event_without_an_id_is_recorded_under_a_digest(room: Room) -> None:
    body = '{"type": "invoice.payment_succeeded", "data": {"object": {"id": "in_test"}}}'
    first, again = room.stripe.webhook_handle(body), room.stripe.webhook_handle(body)
    assert (first["state"], first["duplicate"], again["duplicate"]) == ("ignored", False, True)


# --- Fixtures -------------------------------------------------------------------------------------------------------


def test_fixtures_of_subscriptions_and_invoices_change_nothing_here(room: Room) -> None:
    room.stripe.subscription_update("sub_test_1", "price_enterprise_monthly")
    room.stripe.subscription_cancel("sub_test_1", "now")
    room.stripe.payment_process("inv_test_1")
    assert room.billing.customers.list() == []
    assert room.billing.invoices.list() == []


def test_a_local_invoice_belongs_to_the_customer_with_its_suffix_else_to_the_latest(room: Room) -> None:
    for name in ("cus_test_7", "cus_test_8", "zeta"):
        room.billing.customers.create(name)
    invoices = room.billing.invoices
    assert invoices.show("inv_test_7")["customer_id"] == "cus_test_7"
    assert invoices.show("inv_test_9")["customer_id"] == "cus_test_8"
    shown = invoices.apply_discount("inv_test_7", "save20")
    assert (shown["subtotal"], shown["total"], shown["status"]) == ("10.00", "8.00", "draft")
    assert invoices.mark_paid("inv_test_7", "cash")["status"] == "paid"
    with pytest.raises(Conflict):
        invoices.apply_discount("inv_test_7", "SAVE20")
    with pytest.raises(NotFound):
        invoices.show("inv_other")
    assert room.billing.verify().ok


def test_a_fixture_keeps_the_address_that_the_customer_has(room: Room) -> None:
    room.billing.customers.create("cus_test_1", email="mine@example.com")
    room.stripe.customer_get("cus_test_1")
    room.stripe.customer_get("cus_test_2")
    shown = [room.billing.customers.show(f"cus_test_{n}")["email"] for n in (1, 2)]
    assert shown == ["mine@example.com", "cus_test_2@example.com"]
    db = room.billing.ledger.read()
    assert stripe_links.owner(db, "cus_test_2", "customer") > 0


def test_a_placeholder_key_shows_nowhere_in_the_ledger(room: Room) -> None:
    room.stripe.customer_create("a@example.com", "A")
    db = room.billing.ledger.read()
    assert keys.PLACEHOLDER.encode() not in Path(room.billing.ledger.path).read_bytes()
    assert keys.PLACEHOLDER not in "\n".join(db.iterdump())
