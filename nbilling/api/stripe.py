"""The room ``stripe``: what is asked of Stripe, through the outbox, and what Stripe tells.

A call writes its change down, sends it at once, and has Stripe's answer. Where Stripe cannot be reached the change
stays in the outbox (UpstreamError); the same call again goes on with it and makes no second one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from nbilling.api.stripe_people import People
from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.model.errors import BadInput, Conflict, UpstreamError
from nbilling.model.identity import new_id
from nbilling.model.money import currency as currency_of
from nbilling.model.money import from_stripe, to_stripe
from nbilling.model.text import choice, email, plain, whole
from nbilling.store import customers, stripe_links
from nbilling.store.stripe_links import INVOICE, SUBSCRIPTION
from nbilling.stripe_sync import keys
from nbilling.stripe_sync.effects import Effects
from nbilling.stripe_sync.gateway import Gateway
from nbilling.stripe_sync.ids import stripe_id
from nbilling.stripe_sync.inbox import Inbox
from nbilling.stripe_sync.operations import handlers, result_of

if TYPE_CHECKING:
    import sqlite3

    from nbilling.api.outbox import Deliveries
    from nbilling.model.outbox import Handler

WHEN = ("now", "at_period_end")
FIELDS = ("email", "name", "phone", "description", "tax_exempt")
TAX_EXEMPT = ("none", "exempt", "reverse")
MOST_MINOR = 99_999_999
"""Stripe takes eight digits (docs.stripe.com/currencies)."""

SECRETS, BASE = "STRIPE_WEBHOOK_SECRET", "STRIPE_API_BASE"


class Stripe:
    """Customers, payment methods, subscriptions and invoices at Stripe. A customer is named by Stripe's id or by ours.

    Every call: Conflict before ``init``, BadInput for what cannot be an id, NotFound for what Stripe does not know,
    Conflict for what the object's state does not allow, Refused for a declined payment.
    """

    def __init__(self, core: Core, accounts: Accounts, outbox: Callable[[], Deliveries]) -> None:
        self._core = core
        self._outbox = outbox
        self._effects = Effects(core, accounts)
        self._people = People(core, self._effects)
        self._made: tuple[tuple[str, str], Gateway] | None = None

    # -- key and mode

    def init(self, key: keys.Key | str | None = None) -> str:
        """Checks the key (by default ``STRIPE_SECRET_KEY``) and fixes the ledger's mode, which it returns.

        Conflict where the ledger is of another mode, or would become live after a test clock was used in it;
        UpstreamError where Stripe rejects the key or cannot be reached. Again: nothing.
        """
        if not isinstance(key, keys.Key):
            key = keys.Key(key) if key is not None else key_from(None)
        mode = key.mode
        self._check_mode(self._core.read(), mode)
        if mode != keys.FIXTURES:
            Gateway(key, base=os.environ.get(BASE, "")).account()

        def job(db: sqlite3.Connection) -> None:
            self._check_mode(db, mode)
            if customers.fact(db, "mode") != mode:
                customers.set_fact(db, "mode", mode)
                self._core.audit(db, self._core.now(db), "stripe.init", "ledger", {"mode": mode})

        self._core.write(job)
        return mode

    def init_fixtures(self) -> str:
        """Makes the ledger a fixtures ledger, as a placeholder key does."""
        return self.init(keys.placeholder())

    @staticmethod
    def _check_mode(db: sqlite3.Connection, mode: str) -> None:
        present = customers.fact(db, "mode") or "unset"
        if present not in ("unset", mode):
            raise Conflict(
                f"this ledger is of mode {present}, the key of mode {mode}", hint="use another ledger, or another key"
            )
        if mode == keys.LIVE and customers.fact(db, "test_clock") is not None:
            raise Conflict("this ledger has had a test clock and can never be live", hint="make a new ledger")

    def mode(self) -> str:
        """``unset``, ``fixtures``, ``test`` or ``live``."""
        return customers.fact(self._core.read(), "mode") or "unset"

    def gateway(self) -> Gateway:
        """The gateway that the ledger's mode asks for: the offline Stripe in a fixtures ledger."""
        mode, base = self.mode(), os.environ.get(BASE, "")
        if mode == "unset":
            raise Conflict("this ledger has not been used with Stripe", hint="run nbilling stripe init first")
        key = keys.from_environment(os.environ)
        if key is None:
            key = keys.placeholder() if mode == keys.FIXTURES else key_from(None)
        if key.mode != mode:
            raise Conflict(
                f"this ledger is of mode {mode}, the key in {keys.ENVIRONMENT} of mode {key.mode}",
                hint=f"use another ledger, or another {keys.ENVIRONMENT}",
            )
        if self._made is None or self._made[0] != (key.secret, base):
            self._made = (key.secret, base), self._gateway_with(key, base)
        return self._made[1]

    def _gateway_with(self, key: keys.Key, base: str) -> Gateway:
        if key.mode != keys.FIXTURES or base:
            return Gateway(key, base=base)
        from nbilling.stripe_sync.offline.server import OfflineStripe
        from nbilling.stripe_sync.offline.transport import transport

        return Gateway(key, transport=transport(OfflineStripe(self._core)))

    def handlers(self) -> Mapping[str, Handler]:
        """What sends this room's messages, for the outbox."""
        return handlers(self.gateway, self._effects.of_messages())

    # -- customers

    def customer_create(self, address: str, name: str, *, customer_id: str = "") -> str:
        """A new customer at Stripe; returns its id. ``customer_id``: ours that it stands for, else one is made.

        Conflict where ours has one at Stripe already.
        """
        fields = {"email": email(address), "name": plain(name, "name", limit=256)}
        payload: dict[str, Any] = {"fields": fields}
        if customer_id:
            payload["local"] = plain(customer_id, "customer id")

        def place(db: sqlite3.Connection) -> tuple[int, dict[str, Any]]:
            return self._people.to_be_linked(db, customer_id) if customer_id else 0, payload

        return str(self._do("stripe.customer_create", place)["id"])

    def customer_get(self, customer: str) -> dict[str, Any]:
        """The customer as Stripe shows it; a deleted one has ``deleted``."""
        gateway = self.gateway()
        return gateway.customer(self._people.at_stripe(customer))

    def customer_update(self, customer: str, field: str, value: str) -> None:
        """Sets one of ``email, name, phone, description, tax_exempt`` or ``metadata.KEY``; empty text clears it."""
        fields = _field(field, value)
        self._of_customer("stripe.customer_update", customer, {"fields": fields})

    def customer_delete(self, customer: str) -> None:
        """Deletes the customer at Stripe, which ends its subscriptions there and here. Deleted already: nothing."""
        self._of_customer("stripe.customer_delete", customer, {})

    # -- payment methods

    def payment_method_attach(self, customer: str, method: str) -> str:
        """Attaches a payment method, the default where there was none; returns its id. Refused where it is declined."""
        payload = {"method": stripe_id(method, "payment method")}
        return str(self._of_customer("stripe.payment_method_attach", customer, payload)["id"])

    def payment_methods_list(self, customer: str) -> list[dict[str, Any]]:
        """The customer's payment methods, newest first."""
        gateway = self.gateway()
        return list(gateway.payment_methods(self._people.at_stripe(customer)))

    # -- subscriptions

    def subscription_create(self, customer: str, price: str) -> str:
        """Subscribes a customer and returns the id; the plan that the price's metadata ``nb_plan`` names follows."""
        payload = {"price": stripe_id(price, "price")}
        return str(self._of_customer("stripe.subscription_create", customer, payload)["id"])

    def subscription_get(self, subscription: str) -> dict[str, Any]:
        """The subscription as Stripe shows it."""
        return self.gateway().subscription(subscription)

    def subscription_update(self, subscription: str, price: str) -> dict[str, Any]:
        """Moves a subscription to another price; the plan here follows. The same price: nothing."""
        payload = {"subscription": stripe_id(subscription, "subscription"), "price": stripe_id(price, "price")}
        return dict(self._of_object("stripe.subscription_update", subscription, SUBSCRIPTION, payload))

    def subscription_cancel(self, subscription: str, when: str = "at_period_end") -> dict[str, Any]:
        """Ends a subscription ``now`` or ``at_period_end``, there and here. Ended already: nothing."""
        payload = {"subscription": stripe_id(subscription, "subscription"), "when": choice(when, "when", WHEN)}
        return dict(self._of_object("stripe.subscription_cancel", subscription, SUBSCRIPTION, payload))

    # -- invoices

    def invoice_create(self, customer: str) -> str:
        """A draft with the items that wait for it; returns its id."""
        return str(self._of_customer("stripe.invoice_create", customer, {})["id"])

    def invoice_item_add(self, customer: str, amount: int | str, description: str) -> str:
        """An item in minor units, below 0 for a credit: on the customer's draft, else for its next invoice."""
        minor = whole(amount, "amount", minimum=-MOST_MINOR, maximum=MOST_MINOR)
        if not minor:
            raise BadInput("an item of 0 charges nothing", hint="give the amount in minor units, such as 1000")
        text = plain(description, "description", limit=500)

        def payload(db: sqlite3.Connection, number: int) -> dict[str, Any]:
            code = (customers.profile(db, number)["currency"] if number else "") or self._core.config.currency
            return {"amount": _stripe_amount(minor, code), "currency": code, "description": text, "join": True}

        return str(self._of_customer("stripe.invoice_item_add", customer, payload)["id"])

    def invoice_finalize(self, invoice: str) -> dict[str, Any]:
        """Makes a draft final. Final already: the same. Conflict for a void one."""
        payload = {"invoice": stripe_id(invoice, "invoice")}
        return dict(self._of_object("stripe.invoice_finalize", invoice, INVOICE, payload))

    def payment_process(self, invoice: str) -> dict[str, Any]:
        """Charges the default payment method. Paid already: the same, and no second charge. Refused where declined.

        Returns ``{id, status, amount_paid, currency, …}``, amounts in Stripe's minor units.
        """
        payload = {"invoice": stripe_id(invoice, "invoice")}
        result = self._of_object("stripe.invoice_pay", invoice, INVOICE, payload)
        names = ("id", "status", "amount_paid", "amount_due", "total", "currency", "number", "customer")
        return {name: result[name] for name in names if name in result}

    # -- webhooks

    def webhook_handle(self, payload: bytes | str, signature: str = "") -> dict[str, Any]:
        """Takes a webhook's body as it came; see :meth:`nbilling.stripe_sync.inbox.Inbox.receive`.

        Returns ``{id, type, state, reason, duplicate}``.
        """
        body = payload.encode("utf-8", "surrogateescape") if isinstance(payload, str) else payload
        receipt = self.inbox().receive(body, signature)
        return {
            "id": receipt.event_id,
            "type": receipt.type,
            "state": receipt.state,
            "reason": receipt.reason,
            "duplicate": receipt.duplicate,
        }

    def inbox(self) -> Inbox:
        """What takes webhooks, for a server of one's own (``stripe_sync.web.application``)."""
        return Inbox(self._core, self.gateway, self._effects.of_events(), os.environ.get(SECRETS, ""))

    # -- inside

    def _of_customer(
        self,
        kind: str,
        customer: str,
        payload: dict[str, Any] | Callable[[sqlite3.Connection, int], dict[str, Any]],
    ) -> Mapping[str, Any]:
        def place(db: sqlite3.Connection) -> tuple[int, dict[str, Any]]:
            at_stripe, number = self._people.resolved(db, customer)
            more = payload(db, number) if callable(payload) else payload
            return number, {"customer": at_stripe, **more}

        return self._do(kind, place)

    def _of_object(self, kind: str, object_id: str, what: str, payload: dict[str, Any]) -> Mapping[str, Any]:
        return self._do(kind, lambda db: (stripe_links.owner(db, object_id, what), payload))

    def _do(self, kind: str, place: Callable[[sqlite3.Connection], tuple[int, dict[str, Any]]]) -> Mapping[str, Any]:
        """Queues a message in the order of its customer, or finds the one that is on its way; sends it; its answer."""
        self.gateway()
        outbox = self._outbox()

        def job(db: sqlite3.Connection) -> str:
            number, payload = place(db)
            waiting = outbox.unfinished(db, kind, number, payload)
            if waiting is not None:
                return waiting.operation_id
            return outbox.enqueue(db, kind, number, payload, new_id("op", self._core.now(db))).operation_id

        sent = outbox.send_now(self._core.write(job))
        if sent["state"] == "done":
            return result_of(sent["result"])
        reason = sent["reason"] or (f"message {sent['waits_for']} is before it" if sent["waits_for"] else sent["state"])
        raise UpstreamError(
            f"not done at Stripe yet: {reason}",
            hint=f"it stays in the outbox as message {sent['id']}; nbilling outbox process goes on with it",
        )


def _field(field: str, value: str) -> dict[str, Any]:
    """The parameters that set one field of a customer."""
    name, dot, key = plain(field, "field", limit=60).partition(".")
    if name == "metadata" and dot:
        if not (0 < len(key) <= 40 and key.isascii() and key.replace("_", "").replace("-", "").isalnum()):
            raise BadInput(f"{key!r:.60} is not a key of metadata", hint="use up to 40 letters, digits, _ and -")
        if key.startswith("nb_"):
            raise BadInput(f"metadata {key} is nbilling's own", hint="choose a key that does not begin with nb_")
        return {"metadata": {key: plain(value, field, limit=500, empty=True)}}
    if field not in FIELDS:
        raise BadInput(f"{field!r:.60} is not a field to set", hint=f"use {', '.join(FIELDS)} or metadata.KEY")
    if field == "tax_exempt":
        return {field: choice(value, field, TAX_EXEMPT)}
    text = plain(value, field, limit=20 if field == "phone" else 350, empty=True)
    return {field: email(text) if field == "email" and text else text}


def _stripe_amount(minor: int, code: str) -> int:
    amount = to_stripe(minor, code)
    if from_stripe(amount, code) != minor:
        raise BadInput(f"{minor} is too fine for Stripe in {currency_of(code).code}", hint="give a rounder amount")
    return amount


def serve_mock(path: str, port: int, ready: Callable[[str], None]) -> None:
    """An offline Stripe over HTTP on this machine, with a ledger of its own at ``path``; until it is interrupted."""
    from nbilling.stripe_sync.mock import serve

    serve(path, port, ready=ready)


def key_from(source: str | TextIO | None) -> keys.Key:
    """A key from a file's path, from an open stream such as standard input, or (None) from the environment."""
    if isinstance(source, str):
        return keys.from_file(source)
    key = keys.from_environment(os.environ) if source is None else keys.from_stream(source)
    if key is None:
        raise BadInput(f"no key of Stripe is set: {keys.ENVIRONMENT} is empty", hint=f"set {keys.ENVIRONMENT}")
    return key
