"""The offline Stripe itself: one request in, one answer out, as Stripe's rules have it. No network, no library.

A request is one write job of the ledger: its effect, its events and the answer kept under its key commit together.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbilling.engine.core import Core
from nbilling.model.clock import SECOND
from nbilling.model.errors import BadInput
from nbilling.store import stripe_offline
from nbilling.stripe_sync.gateway import API_VERSION
from nbilling.stripe_sync.keys import LIVE, Key
from nbilling.stripe_sync.offline import faults as faulty
from nbilling.stripe_sync.offline.births import born
from nbilling.stripe_sync.offline.faults import Fault, Plan, no_faults
from nbilling.stripe_sync.offline.parameters import checked
from nbilling.stripe_sync.offline.passing_time import catch_up
from nbilling.stripe_sync.offline.routes import Route, acted_on, route
from nbilling.stripe_sync.offline.shapes import public
from nbilling.stripe_sync.offline.wire import ApiError, Reply, body_text, split_target
from nbilling.stripe_sync.offline.world import World, expanded, new_id

if TYPE_CHECKING:
    import sqlite3

KEY_LIFETIME = 24 * 3600
"""Seconds after which Stripe may forget an idempotency key."""

LONGEST_KEY = 255


class OfflineStripe:
    """Stripe's rules over a ledger. Safe to use from several threads and processes at once.

    ``plan`` says which faults come. Its time is the ledger's: a test clock moves it, and subscriptions renew.
    """

    def __init__(self, core: Core, plan: Plan = no_faults) -> None:
        self._core = core
        self.plan = plan
        self._in_flight: set[str] = set()
        self._guard = threading.Lock()

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: str) -> Reply:
        """Answers a request: ``target`` is the path with its query, ``body`` a form. Raises Broken for such a fault."""
        lower = {name.lower(): value for name, value in headers.items()}
        path = target.partition("?")[0]
        fault = self.plan(method, path)
        request_id = new_id("req")
        if fault is not None and not fault.after:
            if fault.kind in faulty.KEPT and lower.get("idempotency-key"):
                try:
                    self._keep_fault(fault, lower["idempotency-key"], method, target, body)
                except ApiError as error:
                    return self._sent(_error_reply(error), request_id)
            return self._sent(faulty.spoiled(fault, None), request_id)
        reply = self._sent(self._answer(method, target, lower, body, request_id, fault), request_id)
        if fault is not None:
            return self._sent(faulty.spoiled(fault, reply), request_id)
        return reply

    def catch_up(self) -> int:
        """Lets what is due by now happen, without a request; returns the number of steps."""
        return self._core.write(lambda db: catch_up(db, self._now(db), API_VERSION))

    def _answer(
        self, method: str, target: str, headers: dict[str, str], body: str, request_id: str, fault: Fault | None
    ) -> Reply:
        try:
            _authenticated(headers)
            path, given = split_target(target, body, method)
            one, ids = route(method, path)
            params = checked(given, one.params)
            acted_on(one, params)
            key = headers.get("idempotency-key", "") if method == "POST" else ""
            if len(key) > LONGEST_KEY:
                raise ApiError(400, f"Keys for idempotent requests can only be up to {LONGEST_KEY} characters long.",
                               kind="idempotency_error", kept=False)  # fmt: skip
            if not key:
                return self._run(one, ids, params, request_id, "", "", fault)
            self._enter(key)
            try:
                return self._run(one, ids, params, request_id, key, _digest(method, path, given), fault)
            finally:
                self._leave(key)
        except ApiError as error:
            return _error_reply(error)

    def _run(
        self,
        one: Route,
        ids: tuple[str, ...],
        params: dict[str, Any],
        request_id: str,
        key: str,
        digest: str,
        fault: Fault | None,
    ) -> Reply:
        wanted = params.get("expand", [])
        rest = {name: value for name, value in params.items() if name != "expand"}

        def job(db: sqlite3.Connection) -> Reply:
            now = self._now(db)
            if key and (kept := _kept(db, key, digest, now)):
                return kept
            catch_up(db, now, API_VERSION)
            world = World(db, now, API_VERSION, born, (request_id, key or None))
            try:
                done = one.endpoint(world, rest, *ids)
                reply = Reply(200, {}, body_text(public(expanded(world, done, wanted))).encode())
            except ApiError as error:
                if error.undo:
                    raise
                reply = _error_reply(error)
            if key:
                _keep(db, key, digest, reply, now, fault)
            return reply

        try:
            return self._core.write(job)
        except ApiError as error:
            if key and error.kept:
                reply = _error_reply(error)
                self._core.write(lambda db: _keep(db, key, digest, reply, self._now(db), fault))
            raise

    def _keep_fault(self, fault: Fault, key: str, method: str, target: str, body: str) -> None:
        """A failure that is the answer to its key from now on, though nothing was done."""
        path, given = split_target(target, body, method)
        reply = faulty.spoiled(fault, None)
        digest = _digest(method, path, given)

        self._core.write(lambda db: _keep(db, key, digest, reply, self._now(db), None))

    def _enter(self, key: str) -> None:
        with self._guard:
            if key in self._in_flight:
                error = faulty.answered(Fault("conflict"))
                error.kept = False
                raise error
            self._in_flight.add(key)

    def _leave(self, key: str) -> None:
        with self._guard:
            self._in_flight.discard(key)

    def _now(self, db: sqlite3.Connection) -> int:
        return self._core.now(db) // SECOND

    def _sent(self, reply: Reply, request_id: str) -> Reply:
        return reply._replace(
            headers={
                "Content-Type": "application/json",
                "Request-Id": request_id,
                "Stripe-Version": API_VERSION,
                **reply.headers,
            }
        )


def _authenticated(headers: Mapping[str, str]) -> None:
    scheme, _, text = headers.get("authorization", "").partition(" ")
    try:
        key = Key(text.strip())
    except BadInput:
        key = None
    if scheme.lower() != "bearer" or key is None or key.mode == LIVE:
        raise ApiError(401, "Invalid API Key provided", kept=False)
    version = headers.get("stripe-version", API_VERSION)
    if version != API_VERSION:
        raise ApiError(400, f"Invalid Stripe API version: {version[:40]}", kept=False)


def _digest(method: str, path: str, params: Any) -> str:
    text = json.dumps([method, path, params], sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _kept(db: sqlite3.Connection, key: str, digest: str, now: int) -> Reply | None:
    """The answer that the key already has. Other parameters under it are an error."""
    stripe_offline.forget_answers(db, now - KEY_LIFETIME)
    kept = stripe_offline.kept_answer(db, key)
    if kept is None:
        return None
    if kept.request != digest:
        raise ApiError(
            400,
            "Keys for idempotent requests can only be used with the same parameters they were first used with. "
            "Try using a key other than the one used before if you meant to execute a different request.",
            kind="idempotency_error",
            kept=False,
        )
    return Reply(kept.status, {"Idempotent-Replayed": "true"}, kept.body.encode())


def _keep(db: sqlite3.Connection, key: str, digest: str, reply: Reply, now: int, fault: Fault | None) -> None:
    if fault is not None and fault.kind in faulty.KEPT:
        reply = faulty.spoiled(fault, reply)
    stripe_offline.keep_answer(db, key, digest, reply.status, reply.body.decode(), now)


def _error_reply(error: ApiError) -> Reply:
    return Reply(error.status, dict(error.headers), body_text(error.body).encode())
