"""What Stripe's answers and events change here: whose an object is, a customer's address, and the plan it is on.

Subscriptions follow the one at Stripe that they were made by. Nothing here sends anything; all of it runs in the write
job that settles a message or takes an event, and may run again for the same state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import DEFAULT_PLAN, Accounts
from nbilling.engine.core import Core
from nbilling.model.errors import BadInput, Conflict
from nbilling.model.outbox import Delivered, Message, Outcome
from nbilling.model.periods import local_day
from nbilling.model.text import email, plain
from nbilling.store import customers, plans, stripe_links, subscriptions
from nbilling.store.customers import CustomerRow
from nbilling.store.stripe_links import CUSTOMER, INVOICE, SUBSCRIPTION
from nbilling.store.subscriptions import SubscriptionRow
from nbilling.stripe_sync.inbox import Effect
from nbilling.stripe_sync.operations import Applied, price_of

if TYPE_CHECKING:
    import sqlite3

Values = Mapping[str, Any]

RUNNING = ("active", "trialing", "past_due")
ENDED = ("canceled", "incomplete_expired", "unpaid")
PROFILE = ("email", "name", "phone")
"""What a customer is called alike here and at Stripe."""


class Effects:
    """Handed to the outbox (:meth:`of_messages`) and to the inbox (:meth:`of_events`)."""

    def __init__(self, core: Core, accounts: Accounts) -> None:
        self._core = core
        self._accounts = accounts

    def of_messages(self) -> dict[str, Applied]:
        """By kind of message, what its outcome changes. A refusal changes nothing."""

        def after(effect: Any) -> Applied:
            def applied(db: sqlite3.Connection, message: Message, outcome: Outcome) -> None:
                if isinstance(outcome, Delivered) and "refused" not in outcome.result:
                    effect(db, message.payload, outcome.result)

            return applied

        return {
            "stripe.customer_create": after(self._customer_made),
            "stripe.customer_update": after(self._customer_updated),
            "stripe.customer_delete": after(self._customer_deleted),
            "stripe.subscription_create": after(self._subscribed),
            "stripe.subscription_update": after(self._subscription_changed),
            "stripe.subscription_cancel": after(self._subscription_changed),
            "stripe.invoice_create": after(self._invoice_made),
        }

    def of_events(self) -> dict[str, Effect]:
        """By kind of object, what a newer state of it changes."""
        return {"customer": self._customer_seen, "subscription": self._subscription_seen}

    # -- customers

    def linked(self, db: sqlite3.Connection, stripe_id: str, local: str = "") -> CustomerRow:
        """The customer of ours that a customer of Stripe is: the linked one, else ``local``, else a new one."""
        now = self._core.now(db)
        number = stripe_links.owner(db, stripe_id, CUSTOMER)
        if number:
            return self._accounts.ensure(db, customers.get(db, number).customer_id, now)
        row = self._accounts.ensure(db, local or stripe_id, now)
        if stripe_links.link(db, stripe_id, CUSTOMER, row.id, now):
            self._core.audit(db, now, "stripe.link", row.customer_id, {"stripe_customer": stripe_id})
        return row

    def _customer_made(self, db: sqlite3.Connection, asked: Values, made: Values) -> None:
        row = self.linked(db, made["id"], asked.get("local", ""))
        self._fill(db, row, asked["fields"], keep=True)

    def _customer_updated(self, db: sqlite3.Connection, asked: Values, made: Values) -> None:
        number = stripe_links.owner(db, made["id"], CUSTOMER)
        if number:
            self._fill(db, customers.get(db, number), asked["fields"])

    def _customer_deleted(self, db: sqlite3.Connection, asked: Values, made: Values) -> None:
        self._gone(db, asked["customer"])

    def _customer_seen(self, db: sqlite3.Connection, found: Values) -> None:
        number = stripe_links.owner(db, found["id"], CUSTOMER)
        if found.get("deleted"):
            self._gone(db, found["id"])
        elif number:
            self._fill(db, customers.get(db, number), found)

    def _fill(self, db: sqlite3.Connection, row: CustomerRow, fields: Values, *, keep: bool = False) -> None:
        """Takes address, name and telephone over, where they can stand here. ``keep``: what is there already stays."""
        before, changed = customers.profile(db, row.id), {}
        for name in PROFILE:
            value = fields.get(name)
            if isinstance(value, str) and value != before[name] and not (keep and before[name]) and _fits(name, value):
                changed[name] = value
        if changed:
            now = self._core.now(db)
            customers.update(db, row.id, changed, now)
            self._core.audit(db, now, "customer.update", row.customer_id, {"fields": sorted(changed), "by": "stripe"})

    def _gone(self, db: sqlite3.Connection, stripe_id: str) -> None:
        """Stripe ends the subscriptions of a customer that is deleted; ours may have another one there."""
        number = stripe_links.owner(db, stripe_id, CUSTOMER)
        if not number:
            return
        stripe_links.retire(db, stripe_id)
        row = self._accounts.ensure(db, customers.get(db, number).customer_id, self._core.now(db))
        held = subscriptions.get(db, row.subscription)
        if not held.is_default and stripe_links.followed(db, held.id):
            self._cancel(db, row, held)

    # -- invoices

    def _invoice_made(self, db: sqlite3.Connection, asked: Values, made: Values) -> None:
        number = stripe_links.owner(db, asked["customer"], CUSTOMER)
        if number:
            stripe_links.link(db, made["id"], INVOICE, number, self._core.now(db))

    # -- subscriptions

    def _subscribed(self, db: sqlite3.Connection, asked: Values, made: Values) -> None:
        row = self.linked(db, asked["customer"])
        stripe_links.link(db, made["id"], SUBSCRIPTION, row.id, self._core.now(db))
        self._follow(db, row, made, begun=True)

    def _subscription_changed(self, db: sqlite3.Connection, asked: Values, made: Values) -> None:
        self._follow_known(db, made)

    def _subscription_seen(self, db: sqlite3.Connection, found: Values) -> None:
        if found.get("deleted"):
            self._follow_known(db, {"id": found["id"], "status": "canceled"})
        else:
            self._follow_known(db, {**found, **price_of(dict(found))})

    def _follow_known(self, db: sqlite3.Connection, state: Values) -> None:
        """Only what was made through here, or is linked, changes anything here."""
        number = stripe_links.owner(db, state["id"], SUBSCRIPTION)
        if number:
            customer_id = customers.get(db, number).customer_id
            self._follow(db, self._accounts.ensure(db, customer_id, self._core.now(db)), state)

    def _follow(self, db: sqlite3.Connection, row: CustomerRow, state: Values, *, begun: bool = False) -> None:
        """Puts the customer on the plan that the subscription's price is sold as, or ends what it had."""
        held = subscriptions.get(db, row.subscription)
        # An older subscription that ends late must not take the newer one with it.
        follows = stripe_links.followed(db, held.id)
        if not begun and follows and follows != state["id"]:
            return
        if state.get("status") in ENDED:
            if not held.is_default and follows == state["id"]:
                self._cancel(db, row, held)
            return
        if state.get("status") not in RUNNING:
            return
        if not begun and not follows and not held.is_default:
            return  # what was bought here in other ways is no business of Stripe's
        held = self._moved(db, row, held, state)
        if not held.is_default:
            stripe_links.follow(db, held.id, state["id"])
            self._end_with_period(db, held, bool(state.get("cancel_at_period_end")))

    def _moved(self, db: sqlite3.Connection, row: CustomerRow, held: SubscriptionRow, state: Values) -> SubscriptionRow:
        """The present subscription, after the customer was put on the plan of the price."""
        now = self._core.now(db)
        current = plans.version(db, held.bought_plan)
        plan = plans.newest(db, state.get("plan") or "", row.id)
        if plan is None or plan.plan_id == current.plan_id:
            return held
        if current.price_minor and plan.price_minor and current.currency != plan.currency:
            self._core.audit(db, now, "stripe.not_followed", row.customer_id, {"plan": plan.plan_id, "why": "currency"})
            return held
        self._accounts.change_plan(db, row, held, plan, local_day(row.zone, now), now, f"Stripe: {state['id']}")
        detail = {"from": current.plan_id, "to": plan.plan_id, "when": "now", "stripe": state["id"]}
        self._core.audit(db, now, "plan.stripe", row.customer_id, detail)
        return subscriptions.get(db, customers.get(db, row.id).subscription)

    def _end_with_period(self, db: sqlite3.Connection, held: SubscriptionRow, ends: bool) -> None:
        pending = plans.version(db, held.pending_plan).plan_id if held.pending_plan else ""
        now = self._core.now(db)
        if ends and pending != DEFAULT_PLAN:
            row = customers.get(db, held.customer)
            end = subscriptions.period(db, row.period).end_day
            subscriptions.set_pending(db, held.id, self._accounts.plan_of(db, None).id, end, now)
            self._accounts.note(db, row, held, "cancel_at_period_end", held.status, now, "cancelled at Stripe", end)
        elif not ends and pending == DEFAULT_PLAN and not self._asked_here(db, held):
            subscriptions.set_pending(db, held.id, 0, 0, now)

    def _asked_here(self, db: sqlite3.Connection, held: SubscriptionRow) -> bool:
        """Whether the end was asked for here and Stripe has not heard of it yet."""
        return stripe_links.end_is_on_its_way(db, held.customer)

    def _cancel(self, db: sqlite3.Connection, row: CustomerRow, held: SubscriptionRow) -> None:
        now = self._core.now(db)
        default, day = self._accounts.plan_of(db, None), local_day(row.zone, now)
        try:
            self._accounts.change_plan(db, row, held, default, day, now, "cancelled at Stripe")
        except Conflict as refused:
            self._core.audit(db, now, "stripe.not_followed", row.customer_id, {"why": refused.message})


def _fits(name: str, value: str) -> bool:
    """Stripe takes names and addresses that an invoice of ours could not show."""
    if not value:
        return True
    try:
        email(value) if name == "email" else plain(value, name, limit=500)
    except BadInput:
        return False
    return True
