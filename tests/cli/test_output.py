"""Output: every digit in JSON, the same values in every format, nothing that a spreadsheet runs."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.cli.output import to_json

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_json_holds_every_digit(value: Any) -> None:
    text = to_json(value)
    assert len(text.splitlines()) == 1 or "\\n" not in text
    assert json.loads(text, parse_float=Decimal) == value


@pytest.mark.parametrize(
    "value,text",
    [
        (Decimal("0.1"), "0.1"),
        (Decimal("1E+2"), "100"),
        (Decimal("1E-7"), "0.0000001"),
        (Decimal("17179869183.99999999813735485076904296875"), "17179869183.99999999813735485076904296875"),
        (2**64, "18446744073709551616"),
        ({"a": None, "b": True, "ü": "é\n"}, '{"a": null, "b": true, "\\u00fc": "é\\n"}'),
        ([], "[]"),
        ((1, "a"), '[1, "a"]'),
    ],
)
def test_json_by_hand(value: Any, text: str) -> None:
    assert to_json(value) == text


def test_reports_hold_exact_numbers(shell: Any) -> None:
    shell("usage", "track-compute", "acme", "function", "0.000001")
    shell("usage", "track-bandwidth", "acme", "1", "egress")
    found = shell.data("usage", "get-current", "acme")
    assert found["compute_seconds"] == Decimal("0.000001")
    assert found["bandwidth_gb"] * 2**30 == 1
    assert '"compute_seconds": 0.000001,' in shell("usage", "get-current", "acme").out


def test_each_format_shows_the_same_customers(shell: Any) -> None:
    shell("customer", "create", "acme", "--company", "=Acme", "--name", 'a "b", c')
    shell("customer", "create", "initech", "--country", "DE")
    rows = shell.data("customer", "list", "--format", "json")
    assert [json.loads(line) for line in shell("customer", "list", "--format", "ndjson").out.splitlines()] == rows
    listed = list(csv.DictReader(io.StringIO(shell("customer", "list", "--format", "csv").out, newline="")))
    assert [row["customer_id"] for row in listed] == ["acme", "initech"]
    assert listed[0]["company"] == "'=Acme"
    assert listed[0]["name"] == 'a "b", c'
    table = shell("customer", "list", "--format", "table").out.splitlines()
    assert len(table) == 4
    assert "=Acme" in table[2]


def test_one_thing_is_an_object_a_line_a_row_or_pairs(shell: Any) -> None:
    shell("customer", "create", "acme", "--company", "Acme Ltd")
    found = shell.data("customer", "show", "acme")
    assert json.loads(shell("customer", "show", "acme", "--format", "ndjson").out) == found
    [row] = csv.DictReader(io.StringIO(shell("customer", "show", "acme", "--format", "csv").out, newline=""))
    assert row == found
    pairs = shell("customer", "show", "acme", "--format", "table").out.splitlines()
    assert any(line.split() == ["company", "Acme", "Ltd"] for line in pairs)


@pytest.mark.parametrize("format,out", [("json", "[]\n"), ("ndjson", ""), ("csv", ""), ("table", "")])
def test_nothing_is_nothing_in_every_format(shell: Any, format: str, out: str) -> None:
    answer = shell("customer", "list", "--format", format)
    assert (answer.code, answer.out) == (0, out)


def test_an_option_comes_before_the_environment_and_that_before_the_commands_own_choice(shell: Any) -> None:
    assert shell("quota", "list", "acme").out.startswith("[{")
    shell.environment.setenv("NBILLING_FORMAT", "csv")
    assert shell("quota", "list", "acme").out.startswith("resource,period")
    assert shell("usage", "get-current", "acme").out.startswith("customer_id,period_start")
    assert shell("quota", "list", "acme", "--format", "ndjson").out.startswith("{")
    shell.environment.setenv("NBILLING_FORMAT", "")
    assert shell("quota", "list", "acme").out.startswith("[{")


def test_numbers_in_tables_are_grouped_and_unlimited_is_a_dash(shell: Any) -> None:
    shell("quota", "set-limit", "acme", "api_requests", "1234567", "per_month")
    shell("quota", "set-limit", "acme", "compute", "unlimited", "per_month")
    shown = shell("quota", "list", "acme", "--format", "table").out
    assert "1,234,567" in shown
    assert " - " in next(line for line in shown.splitlines() if line.startswith("compute"))
