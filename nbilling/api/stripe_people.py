"""Which customer is meant: one of Stripe's, one of ours that is linked, or in a fixtures ledger one that is born."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nbilling.engine.core import Core
from nbilling.model.errors import Conflict, NotFound
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.store import customers, stripe_links
from nbilling.store.customers import CustomerRow
from nbilling.store.stripe_links import CUSTOMER
from nbilling.stripe_sync.effects import Effects
from nbilling.stripe_sync.ids import looks_like
from nbilling.stripe_sync.keys import FIXTURES

if TYPE_CHECKING:
    import sqlite3

_FIXTURE = re.compile(r"cus_test_[A-Za-z0-9_]{1,200}", re.ASCII)


class People:
    """Finds the id at Stripe and the customer of ours."""

    def __init__(self, core: Core, effects: Effects) -> None:
        self._core = core
        self._effects = effects

    def at_stripe(self, customer: str) -> str:
        """The id at Stripe, for a call that only reads there."""
        db = self._core.read()
        if self._to_be_born(db, customer):
            return self._core.write(lambda job: self.resolved(job, customer)[0])
        return self.resolved(db, customer)[0]

    def resolved(self, db: sqlite3.Connection, customer: str) -> tuple[str, int]:
        """The id at Stripe, and the number of ours or 0 where none is known. Writes only where one is born."""
        name = valid_customer_id(customer)
        number = stripe_links.owner(db, name, CUSTOMER)
        if number:
            return name, number
        if self._to_be_born(db, name):
            return name, self._born(db, name).id
        ours = customers.find(db, name)
        linked = stripe_links.customer_at_stripe(db, ours.id) if ours else ""
        if ours and linked:
            return linked, ours.id
        if looks_like(name, "customer"):
            return name, 0
        if ours is None:
            raise NotFound(f"there is no customer {name!r:.80}", hint="nbilling customer list shows them")
        raise NotFound(
            f"{name!r:.80} is no customer of Stripe",
            hint="nbilling stripe customer-create EMAIL NAME --customer makes one",
        )

    def to_be_linked(self, db: sqlite3.Connection, customer_id: str) -> int:
        """The number of a customer of ours that has none at Stripe yet."""
        row = self._core.known_customer(db, customer_id)
        present = stripe_links.customer_at_stripe(db, row.id)
        if present:
            raise Conflict(f"{customer_id!r:.80} is {present} at Stripe", hint="a customer has one there")
        return row.id

    def _to_be_born(self, db: sqlite3.Connection, customer: str) -> bool:
        return (
            customers.fact(db, "mode") == FIXTURES
            and isinstance(customer, str)
            and _FIXTURE.fullmatch(customer) is not None
            and not stripe_links.is_known(db, customer)
        )

    def _born(self, db: sqlite3.Connection, customer_id: str) -> CustomerRow:
        """A fixture at Stripe comes to life when it is asked for; ours is linked to it, and gets its address."""
        row, now = self._effects.linked(db, customer_id), self._core.now(db)
        if not customers.profile(db, row.id)["email"]:
            customers.update(db, row.id, {"email": f"{customer_id[:64]}@example.com"}, now)
            self._core.audit(db, now, "customer.update", customer_id, {"fields": ["email"], "by": "fixture"})
        return row
