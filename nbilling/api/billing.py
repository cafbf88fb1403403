"""The Python API: ``open(path)`` gives a :class:`Billing`, the one place where everything is put together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.engine.recorder import UsageRecorder
from nbilling.model.clock import Clock, FixedClock, SystemClock, parse_time
from nbilling.model.errors import BadInput

if TYPE_CHECKING:
    from sqlite3 import Connection
    from types import TracebackType

    from nbilling.api.invoicing import Invoicing
    from nbilling.api.metering import Metering
    from nbilling.api.outbox import Deliveries
    from nbilling.api.stripe import Stripe
    from nbilling.engine.alerts import Alerts
    from nbilling.engine.catalogue import Catalogue
    from nbilling.engine.clock import ClockControl
    from nbilling.engine.credits import Credits
    from nbilling.engine.customers import Customers
    from nbilling.engine.discounts import Discounts
    from nbilling.engine.plans import Plans
    from nbilling.engine.quota import Quota
    from nbilling.engine.subscriptions import Subscriptions
    from nbilling.engine.taxes import Taxes
    from nbilling.engine.usage import UsageTracking
    from nbilling.model.config import Config
    from nbilling.model.outbox import Handler
    from nbilling.model.verification import VerifyProgress, VerifyReport
    from nbilling.store.customers import CustomerRow
    from nbilling.store.database import Ledger

__all__ = ["Billing", "init", "ledger_path", "load_config", "open", "read_catalogue", "read_key_map"]

R = TypeVar("R")
DEFAULT_PATH = "nbilling.db"
CONFIG_FILE = "nbilling.toml"


def load_config(environment: Mapping[str, str] | None = None, directory: str | os.PathLike[str] = ".") -> Config:
    """Settings from an environment (the process's own if None) and from ``nbilling.toml`` in a directory."""
    from decimal import Decimal
    from pathlib import Path

    from nbilling.model.config import Config

    path = Path(directory) / CONFIG_FILE
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Config(os.environ if environment is None else environment)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error!s:.100}", hint="mend or remove it") from None
    import tomllib

    try:
        table = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise BadInput(f"{path} is not TOML: {error!s:.100}", hint="mend or remove it") from None
    return Config(os.environ if environment is None else environment, table, str(path))


def ledger_path(path: str | os.PathLike[str] | None = None) -> str:
    """The ledger's file: the one given, else ``NBILLING_DB``, else ``./nbilling.db``."""
    return os.fspath(path) if path is not None else os.environ.get("NBILLING_DB") or DEFAULT_PATH


def init(path: str | os.PathLike[str] | None = None) -> bool:
    """Creates the ledger with the seed's meters, plans and default limits, or migrates it. True if it is new.

    StorageError where it cannot be written, NewerLedger where a newer nbilling made it.
    """
    from nbilling.store.database import create_ledger

    return create_ledger(ledger_path(path))


def open(
    path: str | os.PathLike[str] | None = None,
    *,
    config: Config | None = None,
    clock: Clock | None = None,
    actor: str | Callable[[], str] = "api",
) -> Billing:
    """Opens a ledger that :func:`init` has made.

    ``config`` defaults to the environment and ``nbilling.toml``; ``clock`` to ``NBILLING_NOW``, else the ledger's test
    clock, else the machine's. ``actor`` is who the audit trail names, or what says it. LedgerMissing, NotALedger or
    NewerLedger where the file is not one of ours.
    """
    from nbilling.store.database import open_ledger

    fixed = clock is not None
    if clock is None and os.environ.get("NBILLING_NOW"):
        clock, fixed = FixedClock(parse_time(os.environ["NBILLING_NOW"], "NBILLING_NOW")), True
    ledger = open_ledger(ledger_path(path))
    load = load_config if config is None else lambda: config
    core = Core(ledger, clock or SystemClock(), fixed, load, actor)
    try:
        core.refuse_live(core.read())
    except BaseException:
        ledger.close()
        raise
    return Billing(ledger, core)


def read_catalogue(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tables of a catalogue file, for ``Billing.catalogue.apply``. BadInput where it is no TOML."""
    import tomllib
    from decimal import Decimal
    from pathlib import Path

    try:
        return tomllib.loads(Path(path).read_text("utf-8"), parse_float=Decimal)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"it is not TOML: {error!s:.100}"
        raise BadInput(f"{str(path)!r:.200} cannot be read: {reason}", hint="check the file") from None


def read_key_map(path: str | os.PathLike[str]) -> dict[str, str]:
    """API keys and their customers from a TOML, JSON or CSV file, told apart by its ending."""
    from pathlib import Path

    from nbilling.engine.key_maps import key_map

    target = Path(path)
    try:
        return key_map(target.read_text("utf-8"), target.suffix.removeprefix(".").lower())
    except (OSError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BadInput(f"{str(path)!r:.200} cannot be read: {reason}", hint="check --key-map") from None


class Billing:
    """One open ledger. Its rooms: ``usage``, ``quota``, ``plans``, ``invoices``, ``customers``, ``clock``.

    Safe to share between threads, and to use in a forked child. Close it, or use it as a context manager.
    """

    def __init__(self, ledger: Ledger, core: Core) -> None:
        self.ledger = ledger
        self._core = core
        self._rooms: dict[Any, Any] = {}
        self._accounts = Accounts(core)
        self._recorder = UsageRecorder(core, self._accounts, self._watch)

    @property
    def config(self) -> Config:
        """The settings."""
        return self._core.config

    @property
    def clock(self) -> ClockControl:
        """The test clock."""
        from nbilling.engine.clock import ClockControl

        return ClockControl(self._core)

    @property
    def quota(self) -> Quota:
        """Limits: set, checked, enforced."""
        from nbilling.engine.quota import Quota

        return self._room(Quota, self._recorder)

    @property
    def tracking(self) -> UsageTracking:
        """The part of ``usage`` that records single events, for a start that loads no more than that."""
        from nbilling.engine.usage import UsageTracking

        return self._room(UsageTracking, self._recorder)

    @property
    def usage(self) -> Metering:
        """Tracking, reports, imports, exports, meters."""
        from nbilling.api.metering import Metering

        return self._room(Metering, self._recorder, self._make_alerts)

    @property
    def outbox(self) -> Deliveries:
        """What waits to be sent outside."""
        from nbilling.api.outbox import Deliveries

        return self._room(Deliveries, self._more_handlers)

    def _more_handlers(self) -> Mapping[str, Handler]:
        from nbilling.api.invoice_mail import InvoiceMailer
        from nbilling.engine.invoice_mail import KIND

        return {KIND: InvoiceMailer(self._core, self.invoices), **self.stripe.handlers()}

    def _watch(self, db: Connection, row: CustomerRow, now: int) -> object:
        return self._make_alerts()[0].check_in(db, row, now)

    def _make_alerts(self) -> tuple[Alerts, Deliveries]:
        from nbilling.engine.alerts import Alerts

        return Alerts(self._core, self._accounts, self.outbox, self.quota.usages), self.outbox

    @property
    def plans(self) -> Plans:
        """Plans and subscriptions."""
        from nbilling.api.stripe_plans import FollowedPlans

        return self._room(FollowedPlans, lambda: self.outbox)

    @property
    def catalogue(self) -> Catalogue:
        """Plans as a file: applied, exported."""
        from nbilling.engine.catalogue import Catalogue

        return self._room(Catalogue)

    @property
    def subscriptions(self) -> Subscriptions:
        """Subscriptions: cancelled, brought back, paused, their seats."""
        from nbilling.engine.subscriptions import Subscriptions

        return self._room(Subscriptions)

    @property
    def customers(self) -> Customers:
        """Profiles of customers."""
        from nbilling.engine.customers import Customers

        return self._room(Customers)

    @property
    def taxes(self) -> Taxes:
        """Tax rates."""
        from nbilling.engine.taxes import Taxes

        return Taxes(self._core)

    @property
    def credits(self) -> Credits:
        """Credit notes and balances."""
        from nbilling.engine.credits import Credits

        return Credits(self._core)

    @property
    def discounts(self) -> Discounts:
        """Discount codes."""
        from nbilling.engine.discounts import Discounts

        return Discounts(self._core)

    @property
    def invoices(self) -> Invoicing:
        """Invoices and their documents."""
        from nbilling.api.invoicing import Invoicing

        return self._room(Invoicing, lambda: self.outbox)

    @property
    def stripe(self) -> Stripe:
        """Stripe: customers, payment methods, subscriptions, invoices, webhooks."""
        from nbilling.api.stripe import Stripe

        return self._room(Stripe, lambda: self.outbox)

    def run(self, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
        """Due work: rolls periods, applies what was pending, bills, marks what is overdue, fires alerts.

        Safe to run twice, at once, months late, or never. ``dry_run`` shows the invoices that it would make; nothing
        is written. Returns ``{rolled, invoices, totals, made, standing_changed, alerts_fired}``.
        """
        from nbilling.api.due_work import run

        return run(self, dry_run=dry_run, progress=progress)

    def parts(self) -> tuple[Core, Accounts]:
        """What the rooms are made of, for those that the API puts together elsewhere."""
        return self._core, self._accounts

    def verify(
        self, *, since: str | None = None, progress: Callable[[VerifyProgress], None] | None = None
    ) -> VerifyReport:
        """Recomputes the ledger from its events, plans and payments, and compares. Read-only; a finding is no error.

        ``since``: a date from which on usage, and finalised invoices, are read again.
        """
        from nbilling.engine.verify import Verification

        return Verification(self._core).run(since=since, progress=progress)

    def _room(self, kind: Callable[..., R], *more: Any) -> R:
        """A room is made when it is first entered: a check of a quota need not load what invoices need."""
        if kind not in self._rooms:
            self._rooms[kind] = kind(self._core, self._accounts, *more)
        room: R = self._rooms[kind]
        return room

    def close(self) -> None:
        """Closes the ledger. A second time: nothing."""
        self.ledger.close()

    def __enter__(self) -> Billing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
