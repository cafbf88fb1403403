"""The offline Stripe's state within one request: objects, new ids, events. All of it in one write job of the ledger."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from nbilling.store import customers, stripe_offline
from nbilling.store.stripe_offline import NEVER
from nbilling.stripe_sync.offline import shapes
from nbilling.stripe_sync.offline.wire import ApiError, invalid, missing

if TYPE_CHECKING:
    import sqlite3

Object = dict[str, Any]

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
DEFAULT_LIMIT, MAX_LIMIT = 10, 100


@cache
def fixtures(name: str) -> Any:
    """A file of ``stripe_sync/fixtures``."""
    text = resources.files("nbilling.stripe_sync").joinpath("fixtures", f"{name}.json").read_text("utf-8")
    return json.loads(text)


def new_id(prefix: str, length: int = 14) -> str:
    """A random id as Stripe makes them."""
    return f"{prefix}_" + "".join(_LETTERS[byte % len(_LETTERS)] for byte in os.urandom(length))


class World:
    """What an endpoint works with. ``now``: seconds. ``born``: makes what an id of a pattern stands for.

    ``request``: the id and the idempotency key, for events.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        now: int,
        api_version: str,
        born: Callable[[World, str], Object | None],
        request: tuple[str | None, str | None] = (None, None),
    ) -> None:
        self.db = db
        self.now = now
        self._api_version = api_version
        self._pattern = born
        self._request = request

    # -- objects

    def find(self, kind: str, object_id: object) -> Object | None:
        """The object of that kind and id; one of the fixtures comes to life."""
        if not isinstance(object_id, str) or not object_id:
            return None
        found = stripe_offline.get(self.db, object_id)
        if found is None:
            found = self._born(object_id)
        return found if found is not None and found["object"] == kind else None

    def get(self, kind: str, object_id: object, param: str = "id", status: int = 404) -> Object:
        """The object, or "No such …". A deleted one is none, unless it is asked for by its URL."""
        found = self.find(kind, object_id)
        if found is None or found.get("deleted"):
            raise missing(kind, object_id, param, status)
        return found

    def refer(self, kind: str, object_id: object, param: str) -> Object:
        """An object that a parameter names: Stripe answers 400 where it is not there."""
        return self.get(kind, object_id, param, 400)

    def add(self, obj: Object, event: str = "", *, due: int = NEVER) -> Object:
        """A new object, and the event that tells of it."""
        stripe_offline.put(self.db, obj, owner=_owner(obj), due=due)
        if event:
            self.tell(event, obj)
        return obj

    def save(self, obj: Object, event: str = "", before: Object | None = None, *, due: int = NEVER) -> Object:
        """A changed object. ``before``: as it was, for the event's ``previous_attributes``. No change, no event."""
        previous = None if before is None else _changes(shapes.public(before), shapes.public(obj))
        listed = not obj.get("deleted") and not (obj["object"] == "payment_method" and not obj["customer"])
        stripe_offline.put(self.db, obj, owner=_owner(obj), due=due, listed=listed)
        if event and previous != {}:
            self.tell(event, obj, previous)
        return obj

    def tell(self, kind: str, obj: Object, previous: Object | None = None) -> None:
        """Records an event."""
        subject = shapes.public(obj)
        event = shapes.event(new_id("evt", 24), self.now, kind, subject, previous, self._request, self._api_version)
        stripe_offline.put(self.db, event)

    def all(self, kind: str, owner: str = "") -> Iterator[Object]:
        """Every listed object of a kind, newest first."""
        return stripe_offline.newest_first(self.db, kind, owner)

    def page(
        self, kind: str, params: Object, url: str, keep: Callable[[Object], bool] = lambda _: True, owner: str = ""
    ) -> Object:
        """A page of a list by ``limit``, ``starting_after``, ``ending_before`` and ``created``, newest first."""
        limit = params.get("limit", DEFAULT_LIMIT)
        if not 1 <= limit <= MAX_LIMIT:
            raise invalid(f"Invalid limit: must be from 1 to {MAX_LIMIT}", "limit", "parameter_invalid_integer")
        before, after = self._place(params, "starting_after"), self._place(params, "ending_before")
        found = []
        rows = stripe_offline.newest_first(self.db, kind, owner, before or NEVER, after or 0)
        for obj in rows:
            if keep(obj) and _in_range(obj.get("created", obj.get("date")), params.get("created")):
                found.append(obj)
                if len(found) > limit and after is None:
                    break
        if after is not None:
            # The page before an object ends right before it.
            return shapes.listed(found[-limit:], url, len(found) > limit)
        return shapes.listed(found[:limit], url, len(found) > limit)

    def _place(self, params: Object, name: str) -> int | None:
        if name not in params:
            return None
        place = stripe_offline.place(self.db, params[name])
        if place is None:
            raise missing("object", params[name], name, 400)
        return place

    # -- what fixtures bring

    def _born(self, object_id: str) -> Object | None:
        """An object of the catalog at its first use; one of the patterns in a fixtures ledger alone."""
        catalog = fixtures("catalog")
        for one in catalog["products"]:
            if one["id"] == object_id:
                return self.add(shapes.product(object_id, self.now, one["name"]))
        for one in catalog["prices"]:
            if one["id"] == object_id:
                self.find("product", one["product"])
                recurring = {"interval": one["interval"], "interval_count": 1}
                price = shapes.price(
                    object_id, self.now, one["product"], one["currency"], one["unit_amount"], recurring
                )
                price["metadata"] = {"nb_plan": one["plan"]}
                return self.add(price)
        return self._pattern(self, object_id) if customers.fact(self.db, "mode") == "fixtures" else None


def _owner(obj: Object) -> str:
    """Whose it is: its customer's; a payment is its invoice's."""
    return obj.get("_owner") or obj.get("customer") or ""


def metadata_of(obj: Object, params: Object) -> Object:
    """The metadata after an update: keys are merged, ``""`` removes one, or all."""
    given = params.get("metadata", {})
    if given == "":
        return {}
    merged = {**obj.get("metadata", {}), **given}
    return {key: value for key, value in merged.items() if value != ""}


def expanded(world: World, obj: Any, paths: list[str]) -> Any:
    """The answer with the ids at some paths (``latest_invoice``, ``data.customer``) replaced by their objects."""
    for path in paths:
        _expand(world, obj, path.split("."), path)
    return obj


def _expand(world: World, obj: Any, names: list[str], path: str) -> None:
    if isinstance(obj, list):
        for one in obj:
            _expand(world, one, names, path)
        return
    if len(names) > 4:
        raise ApiError(400, "You cannot expand more than 4 levels of a property", param="expand", kept=False)
    if not isinstance(obj, dict) or names[0] not in obj:
        raise ApiError(400, f"This property cannot be expanded ({path}).", param="expand", kept=False)
    value = obj[names[0]]
    if isinstance(value, str):
        found = stripe_offline.get(world.db, value)
        if found is None:
            raise ApiError(400, f"This property cannot be expanded ({path}).", param="expand", kept=False)
        obj[names[0]] = found
    if len(names) > 1 and obj[names[0]] is not None:
        _expand(world, obj[names[0]], names[1:], path)


def _changes(before: Object, after: Object) -> Object:
    """The old values of what changed at the top; of objects only the parts that did."""
    changes: Object = {}
    for key, old in before.items():
        new = after.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and key not in ("items", "lines"):
            changes[key] = _changes(old, new)
        else:
            changes[key] = old
    for key in after.keys() - before.keys():
        changes[key] = None
    return changes


def _in_range(created: Any, wanted: Any) -> bool:
    if wanted is None or wanted == "":
        return True
    if isinstance(wanted, int):
        return bool(created == wanted)
    return bool(
        created > wanted.get("gt", -1)
        and created >= wanted.get("gte", 0)
        and created < wanted.get("lt", NEVER)
        and created <= wanted.get("lte", NEVER)
    )
