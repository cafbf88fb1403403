"""Commands of the room usage: quiet where the contract wants them quiet, and what they print."""

from __future__ import annotations

import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest


def test_tracking_is_quiet(shell: Any) -> None:
    for command in (
        "usage track-api-request acme /graphql?token=secret POST 200 0.125",
        "usage track-storage acme 1073741824",
        "usage track-bandwidth acme 524288000 egress",
        "usage track-compute acme function_execution 3600",
    ):
        assert shell(*command.split()) == (0, "", "")
    assert shell.data("usage", "get-current", "acme") == {
        "customer_id": "acme",
        "period_start": "2026-01-01T00:00:00Z",
        "period_end": "2026-02-01T00:00:00Z",
        "api_requests": 1,
        "storage_bytes": 1_073_741_824,
        "storage_gb": 1,
        "bandwidth_bytes": 524_288_000,
        "bandwidth_gb": Decimal("0.48828125"),
        "compute_seconds": 3600,
        "functions": 0,
        "database": 0,
    }
    [event] = shell.data("usage", "events", "acme", "--meter", "api_requests")
    assert event["metadata"]["endpoint"] == "/graphql"


def test_track_prints_the_id_of_the_event(shell: Any) -> None:
    given = shell("usage", "track", "acme", "api_requests", "25").out.strip()
    assert uuid.UUID(given).version == 7
    assert shell("usage", "track", "acme", "api_requests", "25", "--id", "batch 17").out == "batch 17\n"
    assert shell.data("usage", "show", "batch 17")["amount"] == 25


def test_an_id_makes_every_way_of_tracking_repeatable(shell: Any) -> None:
    commands = (
        "usage track-api-request acme / GET 200 0.1 --id a",
        "usage track-storage acme 5 --id b",
        "usage track-bandwidth acme 5 egress --id c --at 2026-01-09",
        "usage track-compute acme function 5 --id d",
        "usage track acme api_requests 5 --id e --dimension x",
        "quota enforce acme api_requests 5 --id f",
    )
    for command in commands:
        assert shell(*command.split()).code == 0
    with shell.unchanged():
        for command in commands:
            assert shell(*command.split()).code == 0


def test_values_after_two_dashes_are_values(shell: Any) -> None:
    assert shell("usage", "track", "acme", "api_requests", "--", "-25").code == 0
    assert shell("usage", "track-compute", "--", "acme", "--help", "5").code == 0
    assert shell.data("usage", "get-current", "acme")["api_requests"] == -25
    assert [event["dimension"] for event in shell.data("usage", "events", "acme", "--meter", "compute")] == ["--help"]


def test_metadata_is_kept_with_every_digit(shell: Any) -> None:
    text = '{"b": 0.10000000000000000555, "a": {"deep": [1, null, "é"]}, "big": 12345678901234567890}'
    assert shell("usage", "track", "acme", "api_requests", "--metadata", text, "--id", "m").code == 0
    [event] = shell.data("usage", "events", "acme")
    assert event["metadata"]["a"] == {"deep": [1, None, "é"]}
    assert shell("usage", "export", "acme", "json", "out.json").code == 0
    exported = json.loads(Path("out.json").read_text("utf-8"), parse_float=Decimal)[0]["metadata"]
    assert exported == json.loads(text, parse_float=Decimal)


def test_a_gauge_is_set_or_added_to(shell: Any) -> None:
    shell("usage", "track", "acme", "storage", "100", "--set")
    shell("usage", "track", "acme", "storage", "--", "-40")
    assert shell.data("usage", "get-current", "acme")["storage_bytes"] == 60


def test_history_is_a_list_of_days(shell: Any) -> None:
    shell("usage", "track", "acme", "api_requests", "1000", "--at", "2026-01-09T10:00:00Z")
    history = shell.data("usage", "get-history", "acme", "2")
    assert [(day["date"], day["api_requests"]) for day in history] == [("2026-01-09", 1000), ("2026-01-10", 0)]
    assert len(shell.data("usage", "get-history", "acme")) == 30


@pytest.mark.parametrize("period,start", [("hour", "2026-01-09T10:00:00Z"), ("day", "2026-01-09T00:00:00Z"),
                                          ("month", "2026-01-01T00:00:00Z")])  # fmt: skip
def test_rollups_are_printed_unless_quiet(shell: Any, period: str, start: str) -> None:
    shell("usage", "track", "acme", "api_requests", "5", "--at", "2026-01-09T10:30:00Z")
    expected = [{"period_start": start, "resource_type": "api_requests", "amount": 5, "events": 1}]
    assert shell.data("usage", "aggregate", "acme", period) == expected
    assert shell("usage", "aggregate", "acme", period, "--quiet") == (0, "", "")


@pytest.mark.parametrize("format", ["csv", "json"])
def test_an_export_is_quiet_and_whole(shell: Any, format: str) -> None:
    shell("usage", "track", "acme", "api_requests", "5")
    Path("out").write_text("x" * 10_000)
    assert shell("usage", "export", "acme", format, "out") == (0, "", "")
    assert "api_requests" in Path("out").read_text("utf-8")
    assert "xxx" not in Path("out").read_text("utf-8")
    assert shell.files() == {"out"}


def test_an_export_that_cannot_be_written_is_an_error_of_the_disk(shell: Any) -> None:
    for path in (".", "nosuch/out", "x" * 300):
        with shell.unchanged():
            shell.fails(5, "usage", "export", "acme", "csv", path)


def test_a_reset_is_quiet(shell: Any) -> None:
    shell("usage", "track", "acme", "api_requests", "5")
    assert shell("usage", "reset", "acme", "daily") == (0, "", "")
    assert shell.data("usage", "get-current", "acme")["api_requests"] == 5
    assert shell("usage", "reset", "acme", "monthly") == (0, "", "")
    assert shell.data("usage", "get-current", "acme")["api_requests"] == 0


def test_a_summary_is_for_people(shell: Any) -> None:
    shell("usage", "track", "acme", "api_requests", "1234")
    out = shell("usage", "summary", "acme", "3").out
    assert out.startswith("acme  2026-01-01 to 2026-02-01\n")
    assert "1,234" in out


def test_the_first_six_checks_and_more_of_the_sixty_in_their_order(shell: Any) -> None:
    customer = "cus_test_43200"
    for command in (
        "usage init",
        "usage track-api-request {} /graphql POST 200 0.125",
        "usage track-storage {} 1073741824",
        "usage track-bandwidth {} 524288000 egress",
        "usage track-compute {} function_execution 3600",
        "> usage get-current {}",
        "usage aggregate {} hour",
        "usage aggregate {} day",
        "usage aggregate {} month",
        "usage export {} csv usage.csv",
        "usage export {} json usage.json",
        "> usage get-history {} 30",
        "usage reset {} monthly",
        "quota init",
        "quota set-limit {} api_requests 10000 per_month",
        "quota set-limit {} storage 10737418240 absolute",
        "quota set-limit {} bandwidth 107374182400 per_month",
        "quota check {} api_requests 1",
        "quota enforce {} api_requests 1",
        "quota enforce {} storage 1048576",
        "> quota soft-limit-check {} api_requests",
        "1 quota hard-limit-check {} api_requests 999999",
        "> quota calculate-overage {} api_requests",
        "> quota get-usage-percentage {} storage",
        "quota reset {} monthly",
        "invoice init",
        "> invoice generate {} monthly",
        "> invoice calculate-charges {}",
        "> invoice calculate-tax {} 125.50",
        "> invoice get-history {} 12",
        "plan init",
        "> plan list",
        "> plan get-details pro",
        "plan upgrade {} pro",
        "plan downgrade {} free at_period_end",
        '> plan create-custom {} enterprise_custom 299 {"api_requests":100000}',
        "> plan compare free pro",
        "> plan get-current {}",
    ):
        expected, words = 0, [word.replace("{}", customer) for word in command.split()]
        prints = words[0] == ">"
        if words[0] in (">", "1"):
            expected = int(words[0] == "1")
            words = words[1:]
        answer = shell(*words)
        assert (command, answer.code) == (command, expected)
        assert bool(answer.out.strip()) or not prints
