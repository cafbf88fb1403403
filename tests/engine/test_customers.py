"""Profiles of customers: what is kept, what is refused, and when a zone or a currency is fixed."""

from __future__ import annotations

from typing import Any

import pytest

from nbilling.model.errors import BadInput, Conflict, NotFound

FULL = {
    "name": "Ada Lovelace",
    "company": "Analytical Ltd & Sons",
    "email": "ada@example.com",
    "phone": "+44 20 7946 0000",
    "address_line1": "12 St James's Square",
    "address_line2": "Floor 2",
    "postal_code": "SW1Y 4JH",
    "city": "London",
    "region": "England",
    "country": "GB",
    "vat_number": "GB123456789",
    "buyer_reference": "PO-17",
    "currency": "GBP",
    "locale": "en_GB",
    "zone": "Europe/London",
}
NO_TEXT = ("", " ", "a\0b", "a\nb", "a\u2028b", "a\u202eb", "\ud800", " a", "a" * 256, None, 5, b"a")
HOSTILE = ("'; DROP TABLE customers; --", "$(id)", "--help", "-1", "😀", "=1+1", "<script>alert(1)</script>", "../..")


def test_a_profile_is_kept_as_it_was_given(world: Any) -> None:
    times = {"created_at": "2026-01-10T12:00:00Z", "updated_at": "2026-01-10T12:00:00Z"}
    made = world.customers.create("acme", **FULL)
    assert {"customer_id": "acme", **FULL, **times}.items() <= made.items()
    with world.unchanged():
        assert world.customers.show("acme") == made


def test_a_customer_needs_nothing_but_an_id(world: Any) -> None:
    made = world.customers.create("acme")
    assert (made["locale"], made["zone"], made["currency"], made["email"]) == ("en", "UTC", "", "")


@pytest.mark.parametrize("text", HOSTILE)
def test_what_looks_dangerous_is_data(world: Any, text: str) -> None:
    world.customers.create(text, company=text)
    assert (world.customers.show(text)["customer_id"], world.customers.show(text)["company"]) == (text, text)
    assert [customer["customer_id"] for customer in world.customers.list()] == [text]


def test_an_id_that_is_there_is_a_conflict(world: Any) -> None:
    world.usage.track("acme", "api_requests", 1)
    with world.refuses(Conflict, "exists"):
        world.customers.create("acme", name="Ada")


def test_fields_are_changed_one_by_one_and_cleared_by_nothing(world: Any) -> None:
    world.customers.create("acme", **FULL)
    world.to("2026-01-11T00:00:00Z")
    changed = world.customers.update("acme", email="new@example.com", phone="")
    assert (changed["email"], changed["phone"], changed["company"]) == ("new@example.com", "", FULL["company"])
    assert (changed["created_at"], changed["updated_at"]) == ("2026-01-10T12:00:00Z", "2026-01-11T00:00:00Z")
    with world.unchanged():
        world.customers.update("acme", email="new@example.com", company=FULL["company"])
        world.customers.update("acme")


def test_a_customer_that_is_not_there_is_not_found(world: Any) -> None:
    for call in (lambda: world.customers.show("acme"), lambda: world.customers.update("acme", name="Ada")):
        with world.refuses(NotFound, "there is no customer 'acme'"):
            call()


@pytest.mark.parametrize("customer", NO_TEXT, ids=lambda value: f"{value!r:.12}")
def test_an_id_is_text_that_can_be_kept(world: Any, customer: Any) -> None:
    calls = (
        lambda: world.customers.create(customer),
        lambda: world.customers.show(customer),
        lambda: world.customers.update(customer, name="Ada"),
    )
    for call in calls:
        with world.refuses(BadInput):
            call()


@pytest.mark.parametrize(
    "field,value",
    [
        ("name", "a\nb"),
        ("name", "a\0b"),
        ("name", "x" * 501),
        ("name", " "),
        ("name", 5),
        ("name", None),
        ("company", "\ud800"),
        ("company", "a\u202eb"),
        ("email", "nobody"),
        ("email", "a@b"),
        ("email", "a@b.example, evil@c.example"),
        ("email", "a@b.example\r\nBcc: evil@c.example"),
        ("email", "Ada <a@b.example>"),
        ("country", "de"),
        ("country", "DEU"),
        ("country", "Germany"),
        ("country", "D1"),
        ("currency", "XXX"),
        ("currency", "dollar"),
        ("zone", ""),
        ("zone", "Berlin"),
        ("zone", "../../etc/passwd"),
        ("zone", "+01:00"),
        ("locale", ""),
        ("locale", "english"),
        ("locale", "EN"),
        ("locale", "en_GB.UTF-8"),
        ("nosuch", "x"),
        ("id", "x"),
        ("created_at", "x"),
        ("period", "1"),
    ],
)
def test_a_field_that_cannot_be_kept_is_refused(world: Any, field: str, value: Any) -> None:
    with world.refuses(BadInput):
        world.customers.create("acme", **{field: value})
    world.customers.create("acme")
    with world.refuses(BadInput):
        world.customers.update("acme", **{field: value})


@pytest.mark.parametrize("given,kept", [("de", "de"), ("de-AT", "de_AT"), ("zh_Hant_TW", "zh_Hant_TW"), ("fil", "fil")])
def test_a_locale_is_a_language_with_or_without_a_place(world: Any, given: str, kept: str) -> None:
    assert world.customers.create("acme", locale=given)["locale"] == kept


def test_a_currency_is_kept_in_capitals(world: Any) -> None:
    assert world.customers.create("acme", currency="eur")["currency"] == "EUR"


# --- The zone -------------------------------------------------------------------------------------------------------


def test_the_zone_of_a_customer_without_usage_can_be_changed_and_moves_its_period(world: Any) -> None:
    world.customers.create("acme")
    assert world.usage.get_current("acme")["period_start"] == "2026-01-01T00:00:00Z"
    world.customers.update("acme", zone="Asia/Kathmandu")
    assert world.usage.get_current("acme")["period_start"] == "2025-12-31T18:15:00Z"
    world.customers.update("acme", zone="America/New_York")
    assert world.usage.get_current("acme")["period_start"] == "2026-01-01T05:00:00Z"
    assert len(world.rows("SELECT 1 FROM periods")) == 1


@pytest.mark.parametrize("what", ["usage", "level", "subscription", "invoice"])
def test_once_something_rests_on_its_days_the_zone_stays(world: Any, what: str) -> None:
    if what == "usage":
        world.usage.track("acme", "api_requests", 0)
    elif what == "level":
        world.usage.track_storage("acme", 0)
    elif what == "subscription":
        world.plans.upgrade("acme", "pro")
    else:
        world.billing.invoices.generate("acme", "monthly")
    with world.refuses(Conflict, "days of UTC"):
        world.customers.update("acme", zone="Europe/Berlin")
    with world.unchanged():
        world.customers.update("acme", zone="UTC")
    assert world.customers.update("acme", company="Acme")["company"] == "Acme"


def test_a_limit_or_a_reset_does_not_fix_the_zone(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 5, "per_day")
    world.usage.reset("acme", "monthly")
    world.customers.update("acme", zone="Asia/Kathmandu")
    world.usage.track("acme", "api_requests", 1)
    assert world.current("acme") == 1
    assert world.quota.check("acme", "api_requests", 4).allowed


def test_once_there_is_an_invoice_or_a_subscription_the_currency_stays(world: Any) -> None:
    world.customers.create("acme", currency="EUR")
    world.customers.update("acme", currency="USD")
    world.plans.upgrade("acme", "pro")
    with world.refuses(Conflict, "billed in USD"):
        world.customers.update("acme", currency="EUR")


# --- Lists ----------------------------------------------------------------------------------------------------------


def test_customers_are_listed_by_id_page_by_page(world: Any) -> None:
    for name in ("delta", "alpha", "Charlie", "bravo"):
        world.customers.create(name)
    ids = [customer["customer_id"] for customer in world.customers.list()]
    assert ids == ["Charlie", "alpha", "bravo", "delta"]
    assert [customer["customer_id"] for customer in world.customers.list(limit="2")] == ids[:2]
    assert [customer["customer_id"] for customer in world.customers.list(limit=2, after="alpha")] == ids[2:]
    assert world.customers.list(after="delta") == []


@pytest.mark.parametrize(
    "limit", [0, -1, 10_001, "", "abc", "1.5", "１", None, True, 1.0], ids=lambda value: f"{value!r}"
)
def test_a_page_has_a_size(world: Any, limit: Any) -> None:
    with world.refuses(BadInput):
        world.customers.list(limit=limit)


@pytest.mark.parametrize("after", ["\ud800", "a\nb", 5, None])
def test_a_page_begins_after_an_id(world: Any, after: Any) -> None:
    with world.refuses(BadInput):
        world.customers.list(after=after)


def test_who_was_made_and_changed_is_noted_without_what_it_says(world: Any) -> None:
    world.customers.create("acme", email="ada@example.com")
    world.customers.update("acme", email="new@example.com", name="Ada")
    assert world.rows("SELECT action, subject, detail FROM audit") == [
        ("customer.create", "acme", '{"fields": ["email"]}'),
        ("customer.update", "acme", '{"fields": ["email", "name"]}'),
    ]
