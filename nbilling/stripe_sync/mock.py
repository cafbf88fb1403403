"""``nbilling stripe mock``: an offline Stripe with a ledger of its own, over HTTP on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from nbilling.engine.core import Core
from nbilling.model.clock import SystemClock
from nbilling.model.config import Config
from nbilling.model.errors import Conflict
from nbilling.store import customers
from nbilling.store.database import create_ledger, open_ledger
from nbilling.stripe_sync.keys import FIXTURES
from nbilling.stripe_sync.offline.faults import Plan, no_faults
from nbilling.stripe_sync.offline.loopback import Loopback
from nbilling.stripe_sync.offline.server import OfflineStripe

if TYPE_CHECKING:
    import sqlite3


POLL_SECONDS = 0.2


def serve(path: str | os.PathLike[str], port: int = 0, *, ready: Callable[[str], None], plan: Plan = no_faults) -> None:
    """Serves until it is interrupted. ``path``: where its state is kept, made if it is not there; not a ledger in use.

    ``ready`` is called with the address once it listens. Conflict if the file is a ledger of another mode.
    """
    create_ledger(path)
    with open_ledger(path) as ledger:

        def claim(db: sqlite3.Connection) -> None:
            mode = customers.fact(db, "mode")
            if mode not in ("unset", FIXTURES):
                raise Conflict(f"the ledger is of mode {mode}", hint="give the mock a file of its own")
            customers.set_fact(db, "mode", FIXTURES)

        ledger.write(claim)
        stripe = OfflineStripe(Core(ledger, SystemClock(), False, lambda: Config({}), "mock"), plan)
        server = Loopback(stripe, port)
        try:
            ready(server.address)
            server.serve_forever(POLL_SECONDS)
        finally:
            server.server_close()
