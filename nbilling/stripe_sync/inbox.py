"""The inbox: Stripe's events, each taken once, in whatever order, by any number of processes.

What counts is an object's newest state, not the order of arrival. An event that is older than what is known changes
nothing. One of the same second as what is known does not say which came first, so the object is asked for again: the
event is recorded, the request is made outside of any job, and the effect and the event's fate commit together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from nbilling.engine.core import Core
from nbilling.model.clock import SECOND, SystemClock
from nbilling.model.errors import BadInput, Conflict, NotFound
from nbilling.store import customers, stripe_events
from nbilling.store.stripe_events import EventRow
from nbilling.stripe_sync.gateway import API_VERSION, Gateway
from nbilling.stripe_sync.ids import looks_like
from nbilling.stripe_sync.keys import FIXTURES, LIVE
from nbilling.stripe_sync.signatures import Event, parse, verify

if TYPE_CHECKING:
    import sqlite3

Object = dict[str, Any]

Effect = Callable[["sqlite3.Connection", Object], None]
"""What a newer state of an object changes here; in the commit that takes its event. It may be called again for the same
state, and ``{"id", "object", "deleted": True}`` stands for an object that is gone."""

FETCHED: dict[str, tuple[str, Callable[[Gateway, str], Object]]] = {
    "customer": ("customer", lambda gateway, id_: gateway.customer(id_)),
    "invoice": ("invoice", lambda gateway, id_: gateway.invoice(id_)),
    "payment_method": ("payment method", lambda gateway, id_: gateway.payment_method(id_)),
    "price": ("price", lambda gateway, id_: gateway.price(id_)),
    "product": ("product", lambda gateway, id_: gateway.product(id_)),
    "subscription": ("subscription", lambda gateway, id_: gateway.subscription(id_)),
}
"""The kinds of objects whose state is kept, and how each is asked for."""

MOST_ATTEMPTS = 5
"""How often an object is asked for when its state changes each time in between."""


class Receipt(NamedTuple):
    """What came of an event. ``state``: applied, stale, ignored or fetching; ``duplicate``: it was taken before."""

    event_id: str
    type: str
    state: str
    reason: str
    duplicate: bool


class Inbox:
    """Takes events. ``effects``: by kind of object, what a newer state does here.

    ``gateway`` is called for it when it is first needed. ``secrets``: of the endpoint, with spaces between.
    """

    def __init__(
        self, core: Core, gateway: Callable[[], Gateway], effects: Mapping[str, Effect] | None = None, secrets: str = ""
    ) -> None:
        self._core = core
        self._gateway = gateway
        self._effects = dict(effects or {})
        self._secrets = secrets

    def receive(self, body: bytes, signature: str = "") -> Receipt:
        """Takes a webhook. BadInput for one that is forged, too old, malformed, too large, or of the other mode.

        Conflict in a ledger of no mode yet. Only in a fixtures ledger does an unsigned one pass. Raises TryAgain where
        Stripe must be asked and cannot be reached; the event is recorded then, and goes on with :meth:`resume` or when
        it comes again.
        """
        mode = customers.fact(self._core.read(), "mode") or "unset"
        if mode == "unset":
            raise Conflict("this ledger has not been used with Stripe", hint="run nbilling stripe init first")
        now = SystemClock().now() // SECOND
        signed = mode != FIXTURES or (bool(self._secrets) and bool(signature))
        if signed:
            if not self._secrets:
                raise BadInput("no secret of the webhook endpoint is set", hint="set STRIPE_WEBHOOK_SECRET")
            verify(body, signature, self._secrets, now)
        event = parse(body, strict=mode != FIXTURES, now=now)
        if event.whole and event.livemode != (mode == LIVE):
            raise BadInput(
                f"the webhook is of {'live' if event.livemode else 'test'} mode, the ledger is of mode {mode}",
                hint="check which endpoint sends here",
            )
        return self.take(event)

    def take(self, event: Event) -> Receipt:
        """Takes an event that is trusted, such as one that Stripe listed."""

        def job(db: sqlite3.Connection) -> Receipt:
            state, reason = self._fate(db, event)
            row = EventRow(
                event.id, event.type, event.api_version, event.created, event.kind, event.object_id, state, reason,
                event.body,
            )  # fmt: skip
            if not stripe_events.add(db, row, self._core.now(db)):
                found = stripe_events.find(db, event.id)
                assert found is not None  # it was in the way
                return Receipt(found.event_id, found.type, found.state, found.reason, True)
            if state == "applied":
                self._apply(db, event.kind, event.object_id, event.created, event.id, event.object)
            return Receipt(event.id, event.type, state, reason, False)

        receipt = self._core.write(job)
        return self.resume(event.id, receipt.duplicate) if receipt.state == "fetching" else receipt

    def resume(self, event_id: str, duplicate: bool = True) -> Receipt:
        """Goes on with an event whose object is to be asked for. One that is settled stays as it is."""
        row = stripe_events.find(self._core.read(), event_id)
        if row is None:
            raise NotFound(f"there is no event {event_id!r:.80}", hint="nbilling stripe events shows them")
        for _ in range(MOST_ATTEMPTS):
            if row.state != "fetching":
                break
            known = stripe_events.known(self._core.read(), row.object_id)
            fetched = self._fetch(row.kind, row.object_id)
            row = self._settle(row, known.version if known else 0, fetched)
        return Receipt(row.event_id, row.type, row.state, row.reason, duplicate)

    def resume_all(self, limit: int = 1000) -> int:
        """Goes on with all events that wait for Stripe; returns how many were settled."""
        waiting = stripe_events.fetching(self._core.read(), limit)
        return sum(self.resume(event_id).state != "fetching" for event_id in waiting)

    # -- inside

    def _fate(self, db: sqlite3.Connection, event: Event) -> tuple[str, str]:
        """What becomes of an event, and why."""
        if not event.whole:
            return "ignored", "not a whole event of Stripe"
        if event.kind not in FETCHED:
            return "ignored", f"nothing is kept of {event.kind or 'such an object'}"
        if not looks_like(event.object_id, FETCHED[event.kind][0]):
            return "ignored", "its object has no usable id"
        known = stripe_events.known(db, event.object_id)
        if known is not None and event.created < known.as_of:
            return "stale", "newer state was known"
        if known is not None and event.created == known.as_of:
            return "fetching", "of the same second as what is known"
        if event.api_version != API_VERSION:
            return "fetching", f"of version {event.api_version or 'unknown'} of the API"
        return "applied", ""

    def _apply(self, db: sqlite3.Connection, kind: str, object_id: str, as_of: int, event_id: str, obj: Object) -> None:
        stripe_events.remember(db, object_id, kind, as_of, event_id, obj)
        effect = self._effects.get(kind)
        if effect is not None:
            effect(db, obj)

    def _fetch(self, kind: str, object_id: str) -> Object:
        """The object as it is now. Raises TryAgain where Stripe cannot be reached."""
        try:
            return FETCHED[kind][1](self._gateway(), object_id)
        except NotFound:
            return {"id": object_id, "object": kind, "deleted": True}

    def _settle(self, row: EventRow, version: int, fetched: Object) -> EventRow:
        """Applies what was fetched, unless the object's state changed meanwhile: then it is to be fetched again."""

        def job(db: sqlite3.Connection) -> EventRow:
            present = stripe_events.find(db, row.event_id)
            assert present is not None  # events are never deleted
            if present.state != "fetching":
                return present
            now, known = self._core.now(db), stripe_events.known(db, row.object_id)
            if known is not None and row.created < known.as_of:
                stripe_events.settle(db, row.event_id, "stale", "newer state was known", now)
            elif (known.version if known else 0) == version:
                self._apply(db, row.kind, row.object_id, row.created, row.event_id, fetched)
                stripe_events.settle(db, row.event_id, "applied", row.reason, now)
            settled = stripe_events.find(db, row.event_id)
            assert settled is not None
            return settled

        return self._core.write(job)
