"""Which of Stripe's objects belong to which customer of ours."""

from __future__ import annotations

import sqlite3

CUSTOMER, SUBSCRIPTION, INVOICE = "customer", "subscription", "invoice"

SCHEMA: tuple[str, ...] = (
    """CREATE TABLE stripe_links (
  -- customers, subscriptions and invoices at Stripe, and the customer of ours that each belongs to
  object_id TEXT PRIMARY KEY, -- Stripe's
  kind TEXT NOT NULL CHECK (kind IN ('customer', 'subscription', 'invoice', 'former')), -- former: deleted there
  customer INTEGER NOT NULL REFERENCES customers (id),
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    "CREATE UNIQUE INDEX stripe_links_customer ON stripe_links (customer) WHERE kind = 'customer'",
)


def link(db: sqlite3.Connection, object_id: str, kind: str, customer: int, now: int) -> bool:
    """Notes whose an object is; False where it is known already, or the customer has another one at Stripe."""
    added = db.execute(
        """INSERT INTO stripe_links (object_id, kind, customer, created_at) VALUES (?, ?, ?, ?)
        ON CONFLICT DO NOTHING""",
        (object_id, kind, customer, now),
    )
    return added.rowcount == 1


def owner(db: sqlite3.Connection, object_id: str, kind: str) -> int:
    """The internal number of the customer that an object belongs to; 0 where none is known."""
    row = db.execute("SELECT customer FROM stripe_links WHERE object_id = ? AND kind = ?", (object_id, kind)).fetchone()
    return row[0] if row else 0


def is_known(db: sqlite3.Connection, object_id: str) -> bool:
    """Whether it is known whose an object is, or was before it was deleted."""
    return db.execute("SELECT 1 FROM stripe_links WHERE object_id = ?", (object_id,)).fetchone() is not None


def retire(db: sqlite3.Connection, object_id: str) -> None:
    """A customer was deleted at Stripe: ours may have another one there."""
    db.execute("UPDATE stripe_links SET kind = 'former' WHERE object_id = ?", (object_id,))


def customer_at_stripe(db: sqlite3.Connection, customer: int) -> str:
    """The id that a customer has at Stripe; empty where it has none."""
    row = db.execute(
        "SELECT object_id FROM stripe_links WHERE customer = ? AND kind = 'customer'", (customer,)
    ).fetchone()
    return row[0] if row else ""


def followed(db: sqlite3.Connection, subscription: int) -> str:
    """The subscription at Stripe that one of ours follows; empty where it follows none."""
    row = db.execute("SELECT stripe_subscription_id FROM subscription_records WHERE id = ?", (subscription,)).fetchone()
    found: str = row[0]
    return found


def follow(db: sqlite3.Connection, subscription: int, stripe_id: str) -> None:
    """Lets a subscription of ours follow one at Stripe."""
    db.execute("UPDATE subscription_records SET stripe_subscription_id = ? WHERE id = ?", (stripe_id, subscription))


def latest_named(db: sqlite3.Connection, prefix: str) -> str:
    """The id of the customer made last among those whose id begins so; empty where there is none."""
    row = db.execute(
        "SELECT customer_id FROM customers WHERE substr(customer_id, 1, ?) = ? ORDER BY id DESC LIMIT 1",
        (len(prefix), prefix),
    ).fetchone()
    return row[0] if row else ""


def end_is_on_its_way(db: sqlite3.Connection, customer: int) -> bool:
    """Whether a cancellation of the customer's is still in the outbox."""
    row = db.execute(
        """SELECT EXISTS (SELECT 1 FROM outbox WHERE customer = ? AND lane = 'stripe'
        AND kind = 'stripe.subscription_cancel' AND state NOT IN ('done', 'dropped'))""",
        (customer,),
    ).fetchone()
    return bool(row[0])
