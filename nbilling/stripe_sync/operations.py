"""What the outbox sends to Stripe: one :class:`Handler` for each kind of message, all on the gateway.

A request that a caller waits for has its answer also when the answer is no: a decline or an unknown id is the message's
result (``{"refused": …}``), not a dead message that would hold up all that the customer does next. ``result_of`` raises
it again for the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from nbilling.model.clock import DAY, HOUR, MINUTE, SECOND
from nbilling.model.errors import BadInput, NbillingError
from nbilling.model.outbox import Delivered, Message, NotDone, Outcome, Retry
from nbilling.stripe_sync.failures import (
    BadRequest,
    Declined,
    Missing,
    Rejected,
    TryAgain,
    Unconfirmed,
    outcome_of,
)
from nbilling.stripe_sync.gateway import Gateway, Object, Operation, done_by
from nbilling.stripe_sync.keys import FIXTURES

if TYPE_CHECKING:
    import sqlite3

Payload = Mapping[str, Any]

KEY_LIFETIME = DAY - HOUR
"""Stripe may forget a key after 24 hours (docs.stripe.com/api/idempotent_requests)."""

PLAN = "nb_plan"
"""The metadata of a price that names the plan of ours which it is sold as."""

LEASE = 10 * MINUTE
"""The longest of these makes four requests of 30 seconds, and listing a customer's objects takes pages."""

CLOCKS_DIFFER = HOUR
"""How much earlier by Stripe's clock than by ours an object may have been made."""

SETTLES = 3 * MINUTE
"""A request that was cut off may still be at work at Stripe: until then what is not there is not taken for not done."""

Applied = Callable[["sqlite3.Connection", Message, Outcome], None]
"""What an outcome changes here, in the commit that settles its message."""


class Step(NamedTuple):
    """A message as an operation on Stripe. ``asked``: seconds. ``since``: what it made is surely not older."""

    payload: Payload
    op: Operation
    asked: int
    since: int
    attempt: int

    def again(self, name: str) -> Operation:
        """For a request that does no harm when repeated: a key of this attempt alone, so that no failure is pinned."""
        return self.op.step(f"{name}{self.attempt}")


class Kind(NamedTuple):
    """How to do it, and how to find out whether it was done: the object, or None for certainly not."""

    do: Callable[[Gateway, Step], Object]
    done: Callable[[Gateway, Step], Object | None]


class Handler:
    """Sends messages of one kind. ``gateway`` is called for each."""

    key_lifetime = KEY_LIFETIME
    lease = LEASE

    def __init__(self, gateway: Callable[[], Gateway], kind: Kind, applied: Applied | None = None) -> None:
        self._gateway = gateway
        self._kind = kind
        self.applied = applied

    def blocked(self, message: Message) -> str:
        """Why there is no gateway to Stripe: no key, or one of another mode."""
        try:
            self._gateway()
        except NbillingError as missing:
            return missing.message
        return ""

    def send(self, message: Message) -> Outcome:
        """Does it."""
        gateway = self._gateway()
        return _outcome(lambda: self._kind.do(gateway, _step(message)))

    def reconcile(self, message: Message) -> Outcome:
        """Finds out whether it was done; changes nothing."""
        gateway = self._gateway()
        outcome = _outcome(lambda: self._kind.done(gateway, _step(message)))
        asked_at = message.lease_until - self.lease
        settled = message.first_sent_at + (0 if gateway.mode == FIXTURES else SETTLES)
        if isinstance(outcome, NotDone) and asked_at < settled:
            return Retry("it is too early to tell", -(-(settled - asked_at) // SECOND))
        return outcome


def _step(message: Message) -> Step:
    op = Operation(message.operation_id, message.idempotency_key)
    asked, since = message.created_at // SECOND, (message.created_at - CLOCKS_DIFFER) // SECOND
    return Step(message.payload, op, asked, since, message.attempt)


def _outcome(call: Callable[[], Object | None]) -> Outcome:
    try:
        obj = call()
    except (Declined, Missing, Rejected, BadRequest) as no:
        refused = {"code": no.code, "message": no.message, "stripe_code": getattr(no, "stripe_code", "")}
        return Delivered({"refused": refused})
    except BadInput as no:
        return Delivered({"refused": {"code": no.code, "message": no.message, "stripe_code": ""}})
    except NbillingError as failure:
        return outcome_of(failure)
    return NotDone("Stripe does not have it") if obj is None else Delivered(_short(obj))


def _short(obj: Object) -> dict[str, Any]:
    """What is kept of the answer: ids, states and amounts."""
    names = ("id", "object", "status", "customer", "currency", "total", "amount_due", "amount_paid", "number",
             "cancel_at_period_end", "latest_invoice", "deleted")  # fmt: skip
    kept = {name: obj[name] for name in names if isinstance(obj.get(name), (str, int))}
    return kept | price_of(obj) if obj.get("object") == "subscription" else kept


def price_of(subscription: Object) -> dict[str, str]:
    """``{price, plan}`` of a subscription with one price; ``plan`` is what the price's metadata ``nb_plan`` says."""
    items = _part(subscription.get("items"), "data")
    if not isinstance(items, list) or len(items) != 1:
        return {}
    price = _part(items[0], "price")
    price_id, plan = _part(price, "id"), _part(_part(price, "metadata"), PLAN)
    return {"price": price_id if isinstance(price_id, str) else "", "plan": plan if isinstance(plan, str) else ""}


def _part(value: object, name: str) -> object:
    """A part of what came from outside and may have any shape."""
    return value.get(name) if isinstance(value, dict) else None


_REFUSALS: dict[str, type[NbillingError]] = {
    one.code: one for one in (Declined, Missing, Rejected, BadRequest, BadInput)
}


def result_of(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result of a message that is done. Raises what Stripe refused: Declined, Missing, Rejected or BadRequest."""
    refused = result.get("refused")
    if refused is None:
        return result
    kind = _REFUSALS.get(refused["code"], Rejected)
    if issubclass(kind, (Declined, Rejected, BadRequest)):
        raise kind(refused["message"], stripe_code=refused["stripe_code"])
    raise kind(refused["message"])


# -- customers


def _customer_create(gateway: Gateway, step: Step) -> Object:
    return gateway.customer_create(step.op, **step.payload["fields"])


def _customer_made(gateway: Gateway, step: Step) -> Object | None:
    return done_by(step.op.id, gateway.customers(created={"gte": step.since}))


def _customer_update(gateway: Gateway, step: Step) -> Object:
    return gateway.customer_update(step.again("update"), step.payload["customer"], **step.payload["fields"])


def _customer_updated(gateway: Gateway, step: Step) -> Object | None:
    """None is always safe: to set the same fields again changes nothing."""
    return done_by(step.op.id, iter([gateway.customer(step.payload["customer"])]))


def _customer_delete(gateway: Gateway, step: Step) -> Object:
    return _customer_deleted(gateway, step) or gateway.customer_delete(step.op, step.payload["customer"])


def _customer_deleted(gateway: Gateway, step: Step) -> Object | None:
    found = gateway.customer(step.payload["customer"])
    return found if found.get("deleted") else None


# -- payment methods


def _attach(gateway: Gateway, step: Step) -> Object:
    customer, wanted = step.payload["customer"], step.payload["method"]
    try:
        method = gateway.payment_method_attach(step.op, customer, wanted)
    except Rejected as error:
        method = _attached_as_it_is(gateway, customer, wanted, error)
    try:
        if not _default_of(gateway, customer):
            gateway.default_payment_method_set(step.again("default"), customer, method["id"])
    except Unconfirmed as error:
        # The method is attached, and its key says so again; to set a default twice does no harm.
        raise TryAgain(error.message) from None
    return method


def _attached_as_it_is(gateway: Gateway, customer: str, wanted: str, error: Rejected) -> Object:
    if error.stripe_code == "payment_method_unexpected_state":
        found = gateway.payment_method(wanted)
        if found.get("customer") == customer:
            return found
    raise error


def _default_of(gateway: Gateway, customer: str) -> Any:
    return (gateway.customer(customer).get("invoice_settings") or {}).get("default_payment_method")


def _attached(gateway: Gateway, step: Step) -> Object | None:
    """A test card (``pm_card_…``) comes back under a new id, and attaching takes no metadata: its time tells."""
    customer, wanted = step.payload["customer"], step.payload["method"]
    if not wanted.startswith("pm_card_"):
        found: Object | None = gateway.payment_method(wanted)
    else:
        found = next((one for one in gateway.payment_methods(customer) if one["created"] >= step.asked), None)
    if found is None or found.get("customer") != customer or not _default_of(gateway, customer):
        return None
    return found


# -- subscriptions


def _subscribe(gateway: Gateway, step: Step) -> Object:
    return gateway.subscription_create(step.op, step.payload["customer"], step.payload["price"])


def _subscribed(gateway: Gateway, step: Step) -> Object | None:
    found = gateway.subscriptions(customer=step.payload["customer"], status="all", created={"gte": step.since})
    return done_by(step.op.id, found)


def _change_price(gateway: Gateway, step: Step) -> Object:
    subscription = gateway.subscription(step.payload["subscription"])
    if subscription["status"] in ("canceled", "incomplete_expired"):
        raise Rejected("the subscription has ended", stripe_code="subscription_ended")
    items = subscription["items"]["data"]
    if len(items) != 1:
        raise Rejected(f"the subscription has {len(items)} prices", stripe_code="subscription_items")
    if items[0]["price"]["id"] == step.payload["price"]:
        return subscription
    return gateway.subscription_change_price(step.op, subscription["id"], items[0]["id"], step.payload["price"])


def _price_changed(gateway: Gateway, step: Step) -> Object | None:
    subscription = gateway.subscription(step.payload["subscription"])
    prices = [item["price"]["id"] for item in subscription["items"]["data"]]
    return subscription if prices == [step.payload["price"]] else None


def _cancel(gateway: Gateway, step: Step) -> Object:
    found = _canceled(gateway, step)
    if found is not None:
        return found
    subscription = step.payload["subscription"]
    if step.payload["when"] == "now":
        return gateway.subscription_cancel_now(step.op, subscription)
    return gateway.subscription_cancel_at_period_end(step.again("cancel"), subscription)


def _canceled(gateway: Gateway, step: Step) -> Object | None:
    found = gateway.subscription(step.payload["subscription"])
    ended = found["status"] in ("canceled", "incomplete_expired")
    asked = step.payload["when"] != "now" and found["cancel_at_period_end"]
    return found if ended or asked else None


# -- invoices


def _invoice_create(gateway: Gateway, step: Step) -> Object:
    return gateway.invoice_create(step.op, step.payload["customer"], pending_invoice_items_behavior="include")


def _invoice_made(gateway: Gateway, step: Step) -> Object | None:
    found = gateway.invoices(customer=step.payload["customer"], created={"gte": step.since})
    return done_by(step.op.id, found)


def _item_create(gateway: Gateway, step: Step) -> Object:
    """An item joins the invoice that the payload names, or with ``join`` the newest draft; else it is pending."""
    given = step.payload
    invoice = given.get("invoice", "")
    if given.get("join"):
        drafts = gateway.invoices(customer=given["customer"], status="draft")
        invoice = next((one["id"] for one in drafts if one["currency"] == given["currency"].lower()), "")
    try:
        return gateway.invoice_item_create(
            step.op, given["customer"], given["amount"], given["currency"], given["description"], invoice
        )
    except BadRequest as error:
        if error.stripe_code == "idempotency_error":
            # An earlier try of the same key named another draft: whether it made the item has to be looked up.
            raise Unconfirmed("the customer's draft has changed since the first try") from None
        raise


def _item_made(gateway: Gateway, step: Step) -> Object | None:
    found = gateway.invoice_items(customer=step.payload["customer"], created={"gte": step.since})
    return done_by(step.op.id, found)


def _finalize(gateway: Gateway, step: Step) -> Object:
    return _finalized(gateway, step) or gateway.invoice_finalize(step.op, step.payload["invoice"])


def _finalized(gateway: Gateway, step: Step) -> Object | None:
    found = gateway.invoice(step.payload["invoice"])
    if found["status"] == "void":
        raise Rejected("the invoice is void", stripe_code="invoice_void")
    return None if found["status"] == "draft" else found


def _pay(gateway: Gateway, step: Step) -> Object:
    return _paid(gateway, step) or gateway.invoice_pay(step.op, step.payload["invoice"])


def _paid(gateway: Gateway, step: Step) -> Object | None:
    found = gateway.invoice(step.payload["invoice"])
    if found["status"] in ("void", "uncollectible"):
        raise Rejected(f"the invoice is {found['status']}", stripe_code=f"invoice_{found['status']}")
    return found if found["status"] == "paid" else None


KINDS: dict[str, Kind] = {
    "stripe.customer_create": Kind(_customer_create, _customer_made),
    "stripe.customer_update": Kind(_customer_update, _customer_updated),
    "stripe.customer_delete": Kind(_customer_delete, _customer_deleted),
    "stripe.payment_method_attach": Kind(_attach, _attached),
    "stripe.subscription_create": Kind(_subscribe, _subscribed),
    "stripe.subscription_update": Kind(_change_price, _price_changed),
    "stripe.subscription_cancel": Kind(_cancel, _canceled),
    "stripe.invoice_create": Kind(_invoice_create, _invoice_made),
    "stripe.invoice_item_add": Kind(_item_create, _item_made),
    "stripe.invoice_finalize": Kind(_finalize, _finalized),
    "stripe.invoice_pay": Kind(_pay, _paid),
}
"""The kinds of messages, and their payloads: ``fields`` as Stripe names them, else ids, ``when``, ``amount``…"""


def handlers(gateway: Callable[[], Gateway], applied: Mapping[str, Applied] | None = None) -> dict[str, Handler]:
    """A handler for each of :data:`KINDS`, for the outbox's worker. ``applied``: by kind, what its outcome changes."""
    effects = applied or {}
    return {name: Handler(gateway, kind, effects.get(name)) for name, kind in KINDS.items()}
