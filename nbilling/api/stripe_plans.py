"""Plans, and what leaving one means at Stripe: the free plan has no price there, so the subscription ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nbilling.engine.accounts import DEFAULT_PLAN, Accounts
from nbilling.engine.core import Core
from nbilling.engine.plans import Plans
from nbilling.model.identity import new_id
from nbilling.store import customers, stripe_links, subscriptions
from nbilling.store.plans import PlanRow

if TYPE_CHECKING:
    import sqlite3

    from nbilling.api.outbox import Deliveries

KIND = "stripe.subscription_cancel"


class FollowedPlans(Plans):
    """A downgrade to the free plan also ends the subscription at Stripe that the one here follows."""

    def __init__(self, core: Core, accounts: Accounts, outbox: Callable[[], Deliveries]) -> None:
        super().__init__(core, accounts)
        self._outbox = outbox

    def downgrade(self, customer_id: str, plan_id: str, when: str = "at_period_end") -> None:
        """See :meth:`Plans.downgrade`. Where Stripe cannot be reached, what it is to be told stays in the outbox."""
        super().downgrade(customer_id, plan_id, when)
        if plan_id == DEFAULT_PLAN:
            outbox = self._outbox()
            for message in outbox.list(state="pending", kind=KIND, customer_id=customer_id):
                outbox.send_now(message["operation_id"])

    def _note(
        self, db: sqlite3.Connection, now: int, customer_id: str, action: str, old: PlanRow, new: PlanRow, when: str
    ) -> None:
        super()._note(db, now, customer_id, action, old, new, when)
        row = customers.find(db, customer_id)
        left = subscriptions.last_bought(db, row.id) if row is not None and new.plan_id == DEFAULT_PLAN else None
        followed = stripe_links.followed(db, left.id) if left is not None else ""
        if row is None or not followed:
            return
        outbox, payload = self._outbox(), {"subscription": followed, "when": when}
        if outbox.unfinished(db, KIND, row.id, payload) is None:
            outbox.enqueue(db, KIND, row.id, payload, new_id("op", now))
