"""An offline Stripe on a real ledger, and a gateway on the official library to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbilling.engine.core import Core
from nbilling.model.clock import FixedClock, parse_time
from nbilling.model.config import Config
from nbilling.store import customers, stripe_offline
from nbilling.store.database import Ledger, create_ledger, open_ledger
from nbilling.stripe_sync.gateway import Gateway, Operation
from nbilling.stripe_sync.keys import Key, placeholder
from nbilling.stripe_sync.offline.faults import Plan, no_faults
from nbilling.stripe_sync.offline.server import OfflineStripe
from nbilling.stripe_sync.offline.transport import transport


class Offline:
    """One offline Stripe with its ledger and its clock. ``gateway`` speaks to it through the library."""

    def __init__(self, path: Path, mode: str = "fixtures", now: str = "2026-01-31T10:00:00Z") -> None:
        create_ledger(path)
        self.ledger: Ledger = open_ledger(path)
        self.clock = FixedClock(parse_time(now))
        self.core = Core(self.ledger, self.clock, True, lambda: Config({}), "test")
        self.ledger.write(lambda db: customers.set_fact(db, "mode", mode))
        self.server = OfflineStripe(self.core)
        self.gateway = Gateway(placeholder(), transport=transport(self.server))
        self._numbers = itertools.count(1)

    def plan(self, plan: Plan = no_faults) -> None:
        self.server.plan = plan

    def client(self, key: Key | None = None, **how: Any) -> Any:
        """The library's own client, for what the gateway does not do."""
        import stripe

        secret = (key or placeholder()).secret
        return stripe.StripeClient(secret, http_client=transport(self.server), **how).v1

    def op(self, name: str = "op") -> Operation:
        """A new operation."""
        number = next(self._numbers)
        return Operation(f"{name}-{number}", f"{name}-{number}:0")

    def at(self, when: str) -> None:
        self.clock.at = parse_time(when)

    def count(self, kind: str) -> int:
        return stripe_offline.count(self.ledger.read(), kind)

    def events(self) -> list[str]:
        """Types of all events, oldest first."""
        return [event["type"] for event in self.gateway.events()][::-1]

    def payer(self, card: str = "pm_card_visa") -> str:
        """A customer whose invoices are paid with a card."""
        customer: str = self.gateway.customer_create(self.op(), email="payer@example.com", name="Payer")["id"]
        method = self.gateway.payment_method_attach(self.op(), customer, card)
        self.gateway.default_payment_method_set(self.op(), customer, method["id"])
        return customer


@pytest.fixture
def new_offline(tmp_path: Path) -> Iterator[Callable[..., Offline]]:
    made: list[Offline] = []

    def make(**how: Any) -> Offline:
        made.append(Offline(tmp_path / f"stripe{len(made)}.db", **how))
        return made[-1]

    yield make
    for offline in made:
        offline.ledger.close()


@pytest.fixture
def offline(new_offline: Callable[..., Offline]) -> Offline:
    return new_offline()
