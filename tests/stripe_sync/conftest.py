"""An offline Stripe on a real ledger, and a gateway on the official library to it."""

from __future__ import annotations

import itertools
import threading
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
from nbilling.stripe_sync.offline.loopback import Loopback
from nbilling.stripe_sync.offline.server import OfflineStripe
from nbilling.stripe_sync.offline.transport import transport


class Offline:
    """One offline Stripe with its ledger and its clock. ``gateway`` speaks to it through the library.

    ``wire``: below the library there is our transport, or real HTTP to a server on this machine.
    """

    def __init__(
        self, path: Path, wire: str = "transport", mode: str = "fixtures", now: str = "2026-01-31T10:00:00Z"
    ) -> None:
        create_ledger(path)
        self.ledger: Ledger = open_ledger(path)
        self.clock = FixedClock(parse_time(now))
        self.core = Core(self.ledger, self.clock, True, lambda: Config({}), "test")
        self.ledger.write(lambda db: customers.set_fact(db, "mode", mode))
        self.server = OfflineStripe(self.core)
        self.wire = wire
        self.http: Loopback | None = None
        if wire == "loopback":
            self.http = Loopback(self.server)
            self._thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
            self._thread.start()
        self.gateway = self.gateway_with(placeholder())
        self._numbers = itertools.count(1)

    def plan(self, plan: Plan = no_faults) -> None:
        self.server.plan = plan

    def gateway_with(self, key: Key, timeout: float = 30) -> Gateway:
        if self.http is not None:
            return Gateway(key, base=self.http.address, timeout=timeout)
        return Gateway(key, transport=transport(self.server))

    def client(self, key: str = "sk_test_PLACEHOLDER", **how: Any) -> Any:
        """The library's own client, for what the gateway does not do."""
        import stripe

        if self.http is not None:
            client = stripe.RequestsClient(timeout=30)
            return stripe.StripeClient(key, http_client=client, base_addresses={"api": self.http.address}, **how).v1
        return stripe.StripeClient(key, http_client=transport(self.server), **how).v1

    def close(self) -> None:
        if self.http is not None:
            self.http.shutdown()
            self.http.server_close()
            self._thread.join()
        self.ledger.close()

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
        offline.close()


@pytest.fixture(params=["transport", "loopback"])
def offline(new_offline: Callable[..., Offline], request: pytest.FixtureRequest) -> Offline:
    """The same tests over our transport and over real HTTP."""
    return new_offline(wire=request.param)
