"""The gateway: the one place from which Stripe is called, through the official library.

Every change takes an :class:`Operation`: its key makes Stripe do it once, its id is kept there as metadata ``nb_op``,
by which it is found again. Nothing is retried here; that is the outbox's work. Answers are plain dicts. What goes
wrong is one of ``failures``, whose messages hold no secret.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from nbilling.model.errors import BadInput
from nbilling.stripe_sync.ids import stripe_id
from nbilling.stripe_sync.keys import Key
from nbilling.stripe_sync.library_errors import failure_of

if TYPE_CHECKING:
    import stripe

API_VERSION = "2026-10-28.endive"
"""The version of Stripe's API that nbilling speaks; the library is held to it too."""

TIMEOUT_SECONDS = 30
MAX_KEY = 255
PAGE = 100
OPERATION = "nb_op"
"""The metadata key that carries the operation's id."""

T = TypeVar("T")
Object = dict[str, Any]


class Operation(NamedTuple):
    """A change: its id for ever, and the idempotency key of this try."""

    id: str
    key: str

    def step(self, name: str) -> Operation:
        """The same operation's next request: another key, the same id."""
        return Operation(self.id, f"{self.key}/{name}")


class Gateway:
    """Calls Stripe with a key.

    ``base``: another address than Stripe's own (``STRIPE_API_BASE``); plain http only to this machine.
    ``transport``: a ``stripe.HTTPClient`` instead of the network, such as the offline one. ``timeout``: seconds.
    """

    def __init__(
        self, key: Key, *, base: str = "", transport: Any = None, timeout: int | float = TIMEOUT_SECONDS
    ) -> None:
        self.mode = key.mode
        self._key = key
        self._base = checked_base(base) if base else ""
        self._transport = transport
        self._timeout = timeout
        self._made: stripe.StripeClient | None = None
        self._made_by = 0

    def __repr__(self) -> str:
        return f"<Gateway to {self._base or 'Stripe'}, {self.mode}>"

    @property
    def _v1(self) -> Any:
        # A forked child makes its own: it must not share its parent's connections.
        if self._made is None or self._made_by != os.getpid():
            import stripe

            # It is the whole process's, and on by default: it writes a file and sends what machine this is.
            stripe.enable_telemetry = False
            transport = self._transport or stripe.RequestsClient(timeout=self._timeout)
            self._made = stripe.StripeClient(
                self._key.secret,
                stripe_version=API_VERSION,
                http_client=transport,
                max_network_retries=0,
                base_addresses={"api": self._base} if self._base else None,
            )
            self._made_by = os.getpid()
        return self._made.v1

    # -- the account

    def account(self) -> Object:
        """The account of the key: the cheapest call that tells whether the key is accepted."""
        return self._read(lambda v1: v1.accounts.retrieve_current())

    # -- customers

    def customer_create(self, op: Operation, **fields: Any) -> Object:
        """A new customer. ``fields`` as Stripe names them: ``email``, ``name``, ``phone``, ``description``…"""
        return self._change(op, lambda v1, more: v1.customers.create(_marked(op, fields), more))

    def customer(self, customer: str) -> Object:
        """A customer; a deleted one is ``{"id", "object", "deleted": True}``."""
        id_ = stripe_id(customer, "customer")
        return self._read(lambda v1: v1.customers.retrieve(id_))

    def customer_update(self, op: Operation, customer: str, **fields: Any) -> Object:
        """Changes some fields; ``""`` empties one."""
        id_ = stripe_id(customer, "customer")
        return self._change(op, lambda v1, more: v1.customers.update(id_, _marked(op, fields), more))

    def customer_delete(self, op: Operation, customer: str) -> Object:
        """Deletes a customer, which also cancels its subscriptions. Missing if it is deleted already."""
        id_ = stripe_id(customer, "customer")
        return self._change(op, lambda v1, more: v1.customers.delete(id_, None, more))

    def customers(self, **filters: Any) -> Iterator[Object]:
        """Customers, newest first. ``filters`` as Stripe names them: ``email``, ``created``."""
        return self._pages(lambda v1, page: v1.customers.list(page), filters)

    # -- payment methods

    def payment_method_attach(self, op: Operation, customer: str, method: str) -> Object:
        """Attaches a payment method and returns it; a test card such as ``pm_card_visa`` comes back under a new id."""
        id_ = stripe_id(method, "payment method")
        fields = {"customer": stripe_id(customer, "customer")}
        return self._change(op, lambda v1, more: v1.payment_methods.attach(id_, fields, more))

    def payment_method(self, method: str) -> Object:
        """A payment method."""
        id_ = stripe_id(method, "payment method")
        return self._read(lambda v1: v1.payment_methods.retrieve(id_))

    def payment_methods(self, customer: str) -> Iterator[Object]:
        """A customer's payment methods, newest first."""
        id_ = stripe_id(customer, "customer")
        return self._pages(lambda v1, page: v1.customers.payment_methods.list(id_, page), {})

    def default_payment_method_set(self, op: Operation, customer: str, method: str) -> Object:
        """Makes a payment method the one that the customer's invoices are paid with."""
        default = {"default_payment_method": stripe_id(method, "payment method")}
        return self.customer_update(op, customer, invoice_settings=default)

    # -- products and prices

    def product_create(self, op: Operation, **fields: Any) -> Object:
        """A new product: ``name``, and ``id`` where it shall have one of ours."""
        return self._change(op, lambda v1, more: v1.products.create(_marked(op, fields), more))

    def product(self, product: str) -> Object:
        """A product."""
        id_ = stripe_id(product, "product")
        return self._read(lambda v1: v1.products.retrieve(id_))

    def price_create(self, op: Operation, **fields: Any) -> Object:
        """A new price: ``product``, ``currency``, ``unit_amount`` in minor units, ``recurring``…"""
        return self._change(op, lambda v1, more: v1.prices.create(_marked(op, fields), more))

    def price(self, price: str) -> Object:
        """A price."""
        id_ = stripe_id(price, "price")
        return self._read(lambda v1: v1.prices.retrieve(id_))

    def prices(self, **filters: Any) -> Iterator[Object]:
        """Prices, newest first. ``filters``: ``product``, ``lookup_keys``, ``active``…"""
        return self._pages(lambda v1, page: v1.prices.list(page), filters)

    # -- subscriptions

    def subscription_create(self, op: Operation, customer: str, price: str, **fields: Any) -> Object:
        """A new subscription to one price, billed in advance by Stripe, in the flexible billing mode."""
        wanted = {
            "customer": stripe_id(customer, "customer"),
            "items": [{"price": stripe_id(price, "price")}],
            "billing_mode": {"type": "flexible"},
            **fields,
        }
        return self._change(op, lambda v1, more: v1.subscriptions.create(_marked(op, wanted), more))

    def subscription(self, subscription: str) -> Object:
        """A subscription; its periods are those of its items."""
        id_ = stripe_id(subscription, "subscription")
        return self._read(lambda v1: v1.subscriptions.retrieve(id_))

    def subscription_change_price(
        self, op: Operation, subscription: str, item: str, price: str, proration: str = "create_prorations"
    ) -> Object:
        """Moves an item of a subscription to another price."""
        id_ = stripe_id(subscription, "subscription")
        fields = {
            "items": [{"id": stripe_id(item, "subscription item"), "price": stripe_id(price, "price")}],
            "proration_behavior": proration,
        }
        return self._change(op, lambda v1, more: v1.subscriptions.update(id_, _marked(op, fields), more))

    def subscription_cancel_now(self, op: Operation, subscription: str) -> Object:
        """Ends a subscription. Missing if it has ended already."""
        id_ = stripe_id(subscription, "subscription")
        return self._change(op, lambda v1, more: v1.subscriptions.cancel(id_, None, more))

    def subscription_cancel_at_period_end(self, op: Operation, subscription: str, cancel: bool = True) -> Object:
        """Ends a subscription with its period, or takes that back."""
        id_ = stripe_id(subscription, "subscription")
        fields = {"cancel_at_period_end": cancel}
        return self._change(op, lambda v1, more: v1.subscriptions.update(id_, _marked(op, fields), more))

    def subscriptions(self, **filters: Any) -> Iterator[Object]:
        """Subscriptions, newest first. ``filters``: ``customer``, ``price``, ``status`` (``all``: ended too)."""
        return self._pages(lambda v1, page: v1.subscriptions.list(page), filters)

    # -- invoices

    def invoice_create(self, op: Operation, customer: str, **fields: Any) -> Object:
        """A draft. Pending items stay pending unless ``pending_invoice_items_behavior`` is ``include``."""
        wanted = {"customer": stripe_id(customer, "customer"), **fields}
        return self._change(op, lambda v1, more: v1.invoices.create(_marked(op, wanted), more))

    def invoice(self, invoice: str) -> Object:
        """An invoice, with its first lines."""
        id_ = stripe_id(invoice, "invoice")
        return self._read(lambda v1: v1.invoices.retrieve(id_))

    def invoices(self, **filters: Any) -> Iterator[Object]:
        """Invoices, newest first. ``filters``: ``customer``, ``subscription``, ``status``, ``created``…"""
        return self._pages(lambda v1, page: v1.invoices.list(page), filters)

    def invoice_lines(self, invoice: str) -> Iterator[Object]:
        """All lines of an invoice."""
        id_ = stripe_id(invoice, "invoice")
        return self._pages(lambda v1, page: v1.invoices.line_items.list(id_, page), {})

    def invoice_finalize(self, op: Operation, invoice: str) -> Object:
        """Makes a draft final, without paying it. Rejected if it is final already."""
        id_ = stripe_id(invoice, "invoice")
        fields = {"auto_advance": False}
        return self._change(op, lambda v1, more: v1.invoices.finalize_invoice(id_, fields, more))

    def invoice_pay(self, op: Operation, invoice: str) -> Object:
        """Charges the default payment method. Declined, or Rejected if it is paid or void already."""
        id_ = stripe_id(invoice, "invoice")
        return self._change(op, lambda v1, more: v1.invoices.pay(id_, None, more))

    def invoice_void(self, op: Operation, invoice: str) -> Object:
        """Voids an open invoice."""
        id_ = stripe_id(invoice, "invoice")
        return self._change(op, lambda v1, more: v1.invoices.void_invoice(id_, None, more))

    def invoice_item_create(
        self, op: Operation, customer: str, amount: int, currency: str, description: str, invoice: str = "", **more: Any
    ) -> Object:
        """An item in minor units of Stripe: on a draft, or pending for the customer's next invoice."""
        fields = {
            "customer": stripe_id(customer, "customer"),
            "amount": amount,
            "currency": currency.lower(),
            "description": description,
            **({"invoice": stripe_id(invoice, "invoice")} if invoice else {}),
            **more,
        }
        return self._change(op, lambda v1, options: v1.invoice_items.create(_marked(op, fields), options))

    def invoice_items(self, **filters: Any) -> Iterator[Object]:
        """Invoice items, newest first. ``filters``: ``customer``, ``invoice``, ``pending``."""
        return self._pages(lambda v1, page: v1.invoice_items.list(page), filters)

    # -- events

    def event(self, event: str) -> Object:
        """An event of the last 30 days."""
        id_ = stripe_id(event, "event")
        return self._read(lambda v1: v1.events.retrieve(id_))

    def events(self, **filters: Any) -> Iterator[Object]:
        """Events of the last 30 days, newest first. ``filters``: ``created``, ``types``, ``delivery_success``."""
        return self._pages(lambda v1, page: v1.events.list(page), filters)

    # -- inside

    def _change(self, op: Operation, call: Callable[[Any, dict[str, Any]], Any]) -> Object:
        if not (op.id and op.key and len(op.key) <= MAX_KEY and op.key.isascii() and op.key.isprintable()):
            raise BadInput("an operation needs an id and a key", hint=f"use up to {MAX_KEY} printable ASCII characters")
        return self._call(lambda v1: call(v1, {"idempotency_key": op.key}), changes=True)

    def _read(self, call: Callable[[Any], Any]) -> Object:
        return self._call(call, changes=False)

    def _call(self, call: Callable[[Any], Any], changes: bool) -> Object:
        v1 = self._v1
        try:
            answer = call(v1).to_dict()
            if not isinstance(answer.get("object"), str):
                raise ValueError("an answer that is no object of Stripe")
        except Exception as error:  # noqa: BLE001 - what is no JSON object makes the library fail in many ways
            failure = failure_of(error, changes)
        else:
            result: Object = exact(answer)
            return result
        # Outside of the handler: the library's error holds headers and bodies, and would hang on as the context.
        raise failure

    def _pages(self, call: Callable[[Any, dict[str, Any]], Any], filters: Mapping[str, Any]) -> Iterator[Object]:
        """Every object of a list, page by page, each once."""
        query = {"limit": PAGE, **filters}
        while True:
            page = self._call(lambda v1: call(v1, dict(query)), changes=False)
            found: list[Object] = page.get("data") or []
            yield from found
            if not page.get("has_more") or not found:
                return
            query["starting_after"] = found[-1]["id"]


def _marked(op: Operation, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with the operation's id among their metadata."""
    return {**fields, "metadata": {**(fields.get("metadata") or {}), OPERATION: op.id}}


def done_by(operation_id: str, found: Iterator[Object]) -> Object | None:
    """The object that an operation made, by its metadata, among some that Stripe lists."""
    return next((one for one in found if (one.get("metadata") or {}).get(OPERATION) == operation_id), None)


def exact(value: Any) -> Any:
    """The value without floats: a percentage such as 25.5 becomes the Decimal that Stripe wrote."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return value


def checked_base(base: str) -> str:
    """The address of a server to use in Stripe's place. The key goes there, so plain http only to this machine."""
    try:
        parts = urlsplit(base)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    fine = host and not (parts.username or parts.password or parts.query or parts.fragment) and base.isprintable()
    if not fine or parts.path not in ("", "/") or " " in base:
        raise BadInput("STRIPE_API_BASE is not an address", hint="write it as https://api.stripe.com")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in ("127.0.0.1", "::1", "localhost")):
        raise BadInput("STRIPE_API_BASE would send the key in the clear", hint="use https")
    return base.rstrip("/")
