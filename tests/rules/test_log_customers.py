"""Whom a line of a log is billed to."""

from __future__ import annotations

import pytest

from nbilling.model.errors import BadInput
from nbilling.model.imports import ImportOptions
from nbilling.rules.access_logs import Unreadable
from nbilling.rules.log_customers import customer_choice, parse_key_map


def reason_of(options: ImportOptions, who: str) -> str:
    with pytest.raises(Unreadable) as caught:
        customer_choice(options).customer(who)
    return caught.value.reason


def test_one_customer_for_the_whole_log() -> None:
    choice = customer_choice(ImportOptions(customer="acme"))
    assert (choice.rule, choice.who, choice.customer("")) == ("customer acme", (), "acme")


@pytest.mark.parametrize(
    "options",
    [
        ImportOptions(),
        ImportOptions(customer="a", customer_from="user"),
        ImportOptions(customer_field="a", customer_from="user", format="json"),
        ImportOptions(customer="a", key_map={}, key_field="user"),
        ImportOptions(key_map={}),
        ImportOptions(key_field="user"),
        ImportOptions(customer="a", format="apache"),
        ImportOptions(customer="a", fields={"time": "ts"}),
        ImportOptions(customer=" a"),
        ImportOptions(customer="a\nb"),
        ImportOptions(customer="a", unattributed="\0"),
        ImportOptions(customer_from="referer"),
        ImportOptions(customer_from="host"),  # combined has none
        ImportOptions(customer_field="host"),
        ImportOptions(key_map={}, key_field="api_key"),
        ImportOptions(customer_field="a\nb", format="json"),
    ],
)
def test_no_choice_two_choices_or_one_that_the_format_lacks_are_refused(options: ImportOptions) -> None:
    with pytest.raises(BadInput):
        customer_choice(options)


@pytest.mark.parametrize(
    "options",
    [
        ImportOptions(format="billing", customer_field="customer_id"),
        ImportOptions(format="json", customer_field="http_x_customer_id"),
        ImportOptions(format="json", customer_field="HTTP_X_TENANT"),
        ImportOptions(format="json", customer_field="X-Tenant-ID"),
        ImportOptions(format="json", customer_field="cookie_tenant"),
        ImportOptions(format="json", customer_field="request.arg_customer"),
    ],
)
def test_what_the_client_writes_names_no_customer_unless_it_is_trusted(options: ImportOptions) -> None:
    with pytest.raises(BadInput, match="what the client sends"):
        customer_choice(options)
    assert customer_choice(options._replace(trust_header_customer=True)).customer("acme") == "acme"


def test_a_field_of_a_json_log_is_taken_by_its_own_name() -> None:
    assert customer_choice(ImportOptions(format="json", customer_field="user")).who == ("user",)
    assert customer_choice(ImportOptions(format="json", customer_from="user")).who == ("remote_user",)
    assert customer_choice(ImportOptions(format="json", customer_from="user", fields={"user": "sub"})).who == ("sub",)


@pytest.mark.parametrize(
    "who,customer",
    [
        ("shop.example", "shop.example"),
        ("Shop.Example.:443", "shop.example"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("shop.example:http", "shop.example:http"),
    ],
)
def test_a_host_is_the_same_in_capitals_and_with_its_port(who: str, customer: str) -> None:
    assert customer_choice(ImportOptions(format="vhost_combined", customer_from="host")).customer(who) == customer


def test_lines_that_name_nobody_have_a_reason_or_somebody_who_pays() -> None:
    options = ImportOptions(key_map={"k1": "acme"}, key_field="user")
    assert customer_choice(options).customer("k1") == "acme"
    assert reason_of(options, "") == "unattributed"
    assert reason_of(options, "k2") == "unknown_key"
    house = customer_choice(options._replace(unattributed="house")).customer
    assert [house(who) for who in ("k1", "", "k2")] == ["acme", "house", "house"]


@pytest.mark.parametrize("who", ["a\x1b", " a", "x" * 256, "\udcff", "\u202e"])
def test_a_name_that_cannot_be_kept_is_nobodys_even_where_somebody_pays(who: str) -> None:
    assert reason_of(ImportOptions(customer_from="user", unattributed="house"), who) == "customer"


def test_the_rule_tells_choices_apart() -> None:
    json_log = ImportOptions(format="json")
    rules = [
        customer_choice(options).rule
        for options in (
            ImportOptions(customer="user"),
            ImportOptions(customer_from="user"),
            ImportOptions(customer_from="address"),
            json_log._replace(customer_field="user"),
            json_log._replace(key_map={}, key_field="user"),
        )
    ]
    assert len(set(rules)) == len(rules)


@pytest.mark.parametrize(
    "kind,text",
    [
        ("toml", 'k1 = "acme"\n"k 2" = "globex"\n'),
        ("json", '{"k1": "acme", "k 2": "globex"}'),
        ("csv", 'k1,acme\n\n"k 2", globex\n'),
    ],
)
def test_key_maps_are_read_from_three_formats(kind: str, text: str) -> None:
    assert parse_key_map(text, kind) == {"k1": "acme", "k 2": "globex"}


@pytest.mark.parametrize(
    "kind,text",
    [
        ("yaml", ""),
        ("toml", "s3cret = "),
        ("toml", '[s3cret]\na = "b"'),
        ("toml", "s3cret = 1"),
        ("json", '["s3cret"]'),
        ("json", '{"s3cret": {"a": "b"}}'),
        ("json", '{"s3cret": "a", "s3cret": "b"}'),
        ("json", "[" * 100_000),
        ("csv", "s3cret\n"),
        ("csv", "s3cret,a,b\n"),
        ("csv", "s3cret,a\ns3cret,b\n"),
        ("csv", "s3cret,\n"),
        ("csv", ",acme\n"),
        ("csv", '"s3cret'),
    ],
)
def test_a_broken_key_map_is_refused_without_showing_a_key(kind: str, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_key_map(text, kind)
    assert "s3cret" not in str(caught.value)
