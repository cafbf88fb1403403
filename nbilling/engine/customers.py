"""Customers: who they are, as invoices name them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.model.clock import format_time
from nbilling.model.errors import BadInput, Conflict
from nbilling.model.money import currency
from nbilling.model.periods import zone_info
from nbilling.model.text import country, email, plain, whole
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.store import customers, usage
from nbilling.store.customers import FIELDS

if TYPE_CHECKING:
    import sqlite3

_LOCALE = re.compile(r"[a-z]{2,3}(_[A-Z][a-z]{3})?(_[A-Z]{2})?", re.ASCII)


class Customers:
    """Profiles. A customer also comes into being at its first usage, with nothing but its id."""

    def __init__(self, core: Core, accounts: Accounts) -> None:
        self._core = core
        self._accounts = accounts

    def create(self, customer_id: str, **fields: str) -> dict[str, Any]:
        """A new customer with some of ``name, company, email, phone, address_line1, address_line2, postal_code, city,
        region, country, vat_number, tax_exempt, buyer_reference, currency, locale, zone``. An id that exists is a
        Conflict."""
        valid_customer_id(customer_id)
        values = _checked(fields)

        def job(db: sqlite3.Connection) -> dict[str, Any]:
            now = self._core.now(db)
            if customers.find(db, customer_id) is not None:
                raise Conflict(f"customer {customer_id!r:.80} exists", hint="nbilling customer update changes it")
            number = customers.insert_with(db, customer_id, values, now)
            self._accounts.open(db, number, now)
            self._core.audit(db, now, "customer.create", customer_id, {"fields": sorted(values)})
            return _shown(customers.profile(db, number))

        return self._core.write(job)

    def show(self, customer_id: str) -> dict[str, Any]:
        """The profile, or NotFound."""
        db = self._core.read()
        return _shown(customers.profile(db, self._core.known_customer(db, valid_customer_id(customer_id)).id))

    def update(self, customer_id: str, **fields: str) -> dict[str, Any]:
        """Sets some fields; empty text clears one. Zone and currency stay once usage or an invoice rests on them."""
        valid_customer_id(customer_id)
        values = _checked(fields)

        def job(db: sqlite3.Connection) -> dict[str, Any]:
            now = self._core.now(db)
            row = self._core.known_customer(db, customer_id)
            profile = customers.profile(db, row.id)
            changed = {field: value for field, value in values.items() if profile[field] != value}
            if "zone" in changed and (usage.has_events(db, row.id) or customers.is_bound(db, row.id)):
                raise Conflict(
                    f"{customer_id!r:.80} has usage or a subscription by days of {profile['zone']}",
                    hint="set the zone when the customer is created",
                )
            if "currency" in changed and customers.is_bound(db, row.id):
                raise Conflict(f"{customer_id!r:.80} is billed in {profile['currency']}", hint="a customer keeps it")
            if changed:
                customers.update(db, row.id, changed, now)
                if "zone" in changed:
                    self._accounts.reopen(db, row.id, now)
                self._core.audit(db, now, "customer.update", customer_id, {"fields": sorted(changed)})
            return _shown(customers.profile(db, row.id))

        return self._core.write(job)

    def list(self, *, limit: int | str = 50, after: str = "") -> list[dict[str, Any]]:
        """Profiles in the order of their ids; ``after`` is the last id of the page before."""
        count = whole(limit, "limit", minimum=1, maximum=10_000)
        plain(after, "after", empty=True)
        return [_shown(profile) for profile in customers.page(self._core.read(), count, after)]


def _checked(fields: dict[str, str]) -> dict[str, str]:
    values = {}
    for field, value in fields.items():
        if field not in FIELDS:
            raise BadInput(f"a customer has no field {field!r:.60}", hint=f"there are {', '.join(FIELDS)}")
        text = plain(value, field.replace("_", " "), limit=500, empty=True)
        if text or field in ("zone", "locale"):
            text = _field(field, text)
        values[field] = text
    return values


def _field(field: str, text: str) -> str:
    if field == "email":
        return email(text)
    if field == "currency":
        return currency(text).code
    if field == "zone":
        zone_info(plain(text, "zone"))
    if field == "country":
        return country(text)
    if field == "locale":
        text = text.replace("-", "_")
        if _LOCALE.fullmatch(text) is None:
            raise BadInput(f"locale {text!r:.20} is not a locale", hint="write it as de or en_GB")
    return text


def _shown(profile: dict[str, Any]) -> dict[str, Any]:
    times = {key: format_time(profile[key]) for key in ("created_at", "updated_at")}
    return {**profile, **times}
