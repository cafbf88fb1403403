"""What every use case shares: the ledger, the clock, the settings, and who is acting."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from nbilling.model.clock import Clock
from nbilling.model.errors import BadInput, NotFound
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.model.text import identifier
from nbilling.store import customers, usage
from nbilling.store.usage import MeterRow

if TYPE_CHECKING:
    import sqlite3

    from nbilling.model.config import Config
    from nbilling.store.database import Ledger

T = TypeVar("T")


class Core:
    """One open ledger with its clock and settings. ``clock`` None: the ledger's test clock, else the machine's."""

    def __init__(
        self, ledger: Ledger, clock: Clock, fixed: bool, config: Callable[[], Config], actor: str | Callable[[], str]
    ) -> None:
        self.ledger = ledger
        self._load_config = config
        self._config: Config | None = None
        self.actor = actor
        self._clock = clock
        self._fixed = fixed
        self._meters: dict[str, MeterRow] = {}
        self._meter_names: dict[int, MeterRow] = {}

    @property
    def config(self) -> Config:
        """The settings, read when they are first needed: tracking and checking need none."""
        if self._config is None:
            self._config = self._load_config()
        return self._config

    def now(self, db: sqlite3.Connection) -> int:
        """Microseconds UTC, read inside the job: a test clock may just have been moved by another process."""
        return self.moment(None if self._fixed else customers.fact(db, "clock"))

    def moment(self, stored: str | None) -> int:
        """The same, with the ledger's test clock read already; None where it has none."""
        return int(stored) if stored is not None and not self._fixed else self._clock.now()

    def clock(self) -> Clock:
        """The same time as :meth:`now`, for those who have no connection at hand."""
        core = self

        class Here:
            """Asks the ledger each time."""

            def now(self) -> int:
                """Microseconds UTC."""
                return core.now(core.read())

        return Here()

    def write(self, job: Callable[[sqlite3.Connection], T], *, dry_run: bool = False) -> T:
        """Runs a job in one durable commit. With a clock that was handed in, the ledger can never become live."""
        if not self._fixed:
            return self.ledger.write(job, dry_run=dry_run)

        def marked(db: sqlite3.Connection) -> T:
            self.mark_test_clock(db)
            return job(db)

        return self.ledger.write(marked, dry_run=dry_run)

    def read(self) -> sqlite3.Connection:
        """This thread's read-only connection."""
        return self.ledger.read()

    def mark_test_clock(self, db: sqlite3.Connection) -> None:
        """Notes that time is not real here; refused in a live ledger."""
        self.refuse_live(db)
        if customers.fact(db, "test_clock") is None:
            customers.set_fact(db, "test_clock", "used")

    def refuse_live(self, db: sqlite3.Connection) -> None:
        """A clock that was handed in has no place in a live ledger: a quota of another month could approve."""
        if self._fixed and customers.fact(db, "mode") == "live":
            raise BadInput("a live ledger has no test clock", hint="unset NBILLING_NOW")

    def meter(self, db: sqlite3.Connection, name: object, what: str = "resource") -> MeterRow:
        """The meter of that name. Meters never change, so what was read once holds."""
        if isinstance(name, str) and name in self._meters:
            return self._meters[name]
        row = usage.meter(db, identifier(name, what))
        if row is None:
            known = ", ".join(meter.name for meter in usage.meters(db))
            raise BadInput(f"there is no meter {name!r:.80}", hint=f"known are {known}; nbilling meter create adds one")
        self._meters[row.name] = row
        return row

    def known_meter(self, name: object) -> MeterRow | None:
        """A meter that was read before, without a look at the ledger."""
        return self._meters.get(name) if isinstance(name, str) else None

    def meter_by_id(self, db: sqlite3.Connection, number: int) -> MeterRow:
        """The meter of that number."""
        if number not in self._meter_names:
            self._meter_names = {row.id: row for row in usage.meters(db)}
        return self._meter_names[number]

    def known_customer(self, db: sqlite3.Connection, customer_id: str) -> customers.CustomerRow:
        """The customer, or NotFound."""
        row = customers.find(db, valid_customer_id(customer_id))
        if row is None:
            raise NotFound(f"there is no customer {customer_id!r:.80}", hint="nbilling customer list shows them")
        return row

    def audit(self, db: sqlite3.Connection, now: int, action: str, subject: str, detail: dict[str, Any]) -> None:
        """Notes who changed what, in the commit of the change."""
        actor = self.actor if isinstance(self.actor, str) else self.actor()
        customers.add_audit(db, now, actor, action, subject, json.dumps(detail, default=str))
