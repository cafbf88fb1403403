"""Every command with every kind of bad input: its exit code, one line that says what to do, nothing recorded."""

from __future__ import annotations

from typing import Any

import pytest

# Every command of the rooms that takes a customer. {} is the customer; after -- nothing is read as an option.
OF_A_CUSTOMER = """
usage track-api-request -- {} / GET 200 0.125
usage track-storage -- {} 5
usage track-bandwidth -- {} 5 egress
usage track-compute -- {} function 5
usage track -- {} api_requests 5
usage get-current -- {}
usage get-history -- {} 3
usage aggregate -- {} day
usage export -- {} csv out.csv
usage reset -- {} daily
usage summary -- {}
usage events -- {}
quota set-limit -- {} api_requests 5 per_day
quota check -- {} api_requests 1
quota hard-limit-check -- {} api_requests 1
quota enforce -- {} api_requests 1
quota soft-limit-check -- {} api_requests
quota calculate-overage -- {} api_requests
quota get-usage-percentage -- {} api_requests
quota reset -- {} monthly
quota list -- {}
plan get-current -- {}
plan upgrade -- {} pro
plan downgrade -- {} free now
plan create-custom -- {} Special 5 {{}}
customer create -- {}
customer show -- {}
customer update -- {}
invoice generate -- {} monthly
invoice calculate-charges -- {}
invoice calculate-tax -- {} 125.50
invoice get-history -- {} 12
""".strip().splitlines()

NO_TEXT = {
    "nothing": "",
    "blank": " ",
    "NUL": "a\0b",
    "a control": "a\x1b[31mb",
    "a line break": "a\nb",
    "CR LF": "a\r\nb",
    "U+2028": "a\u2028b",
    "a bidi override": "a\u202eb",
    "a byte that is no UTF-8": "a\udcffb",
    "a blank end": "a ",
    "256 characters": "a" * 256,
    "100 kB": "a" * 100_000,
}
HOSTILE = ("$(id)", "`id`", "'; DROP TABLE customers; --", "--help", "-1", "-", "--", "%s%n", "a[$(id)]", "😀 Ünïcode",
           "../../etc/passwd", "{}", "NULL", "=1+1", "*", "a\\nb", "x" * 255)  # fmt: skip
NO_WHOLE = {value[:12] or "nothing": value for value in (
    "", " ", "-1", "-0", "+1", "1.5", "1.0", "1e3", "1e400", "1_000", "1,000", "１２", "NaN", "nan", "Infinity", "0x10",
    "abc", "$(id)", "1 ", " 1", "1\n", "9223372036854775808", "9" * 5000)}  # fmt: skip
NO_DECIMAL = {value[:12] or "nothing": value for value in (
    "", "-1", "-0.5", "+1", "1e3", "1e400", "1_000", "1,5", "１２", "NaN", "Infinity", "abc", ".5", "5.",
    "9" * 5000)}  # fmt: skip
NO_TIME = ("", "now", "2026-13-01", "2026-01-32", "1767225600", "9999-12-31", "1969-12-31", "2026-01-01T25:00:00Z")


def words(template: str, value: str) -> list[str]:
    return [word.replace("{}", value) if word == "{}" else word.replace("{{}}", "{}") for word in template.split()]


def named(values: dict[str, str]) -> Any:
    return [pytest.param(value, id=name) for name, value in values.items()]


# --- Customers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("customer", named(NO_TEXT))
def test_a_customer_id_that_cannot_be_kept_is_bad_input_everywhere(shell: Any, customer: str) -> None:
    with shell.unchanged():
        for template in OF_A_CUSTOMER:
            shell.fails(2, *words(template, customer))


@pytest.mark.parametrize("customer", HOSTILE)
def test_a_customer_id_that_looks_dangerous_is_data_everywhere(shell: Any, customer: str) -> None:
    for template in OF_A_CUSTOMER:
        answer = shell(*words(template, customer))
        expected = 4 if template.startswith("customer create") else 0
        assert (template, answer.code, answer.err if expected == 0 else "") == (template, expected, "")
    assert [found["customer_id"] for found in shell.data("customer", "list")] == [customer]
    assert {row["customer_id"] for row in shell.data("usage", "events", "--", customer)} == {customer}


# --- Numbers, times, words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", named(NO_WHOLE))
def test_what_is_no_whole_number_is_bad_input_everywhere(shell: Any, number: str) -> None:
    with shell.unchanged():
        for template in (
            "usage track-storage -- acme {}",
            "usage track-bandwidth -- acme {} egress",
            "usage get-history -- acme {}",
            "usage summary -- acme {}",
            "usage track-api-request -- acme / GET {} 0.1",
            "quota set-limit -- acme api_requests {} per_month",
            "quota check -- acme api_requests {}",
            "quota hard-limit-check -- acme api_requests {}",
            "quota enforce -- acme api_requests {}",
            "invoice get-history -- acme {}",
        ):
            shell.fails(2, *words(template, number))
        for command in (["customer", "list"], ["usage", "events", "acme"], ["invoice", "list"]):
            shell.fails(2, *command, f"--limit={number}")
        shell.fails(2, "meter", "create", "tokens", f"--scale={number}")


@pytest.mark.parametrize("number", named({key: value for key, value in NO_WHOLE.items() if value not in ("-1", "-0")}))
def test_an_amount_that_may_be_a_correction_is_whole_too(shell: Any, number: str) -> None:
    with shell.unchanged():
        shell.fails(2, "usage", "track", "--", "acme", "api_requests", number)


@pytest.mark.parametrize("number", named(NO_DECIMAL))
def test_what_is_no_decimal_is_bad_input_everywhere(shell: Any, number: str) -> None:
    with shell.unchanged():
        for template in (
            "usage track-compute -- acme function {}",
            "usage track-api-request -- acme / GET 200 {}",
            "quota set-limit -- acme compute {} per_month",
            "quota check -- acme compute {}",
            "quota enforce -- acme compute {}",
            "plan create-custom -- acme Special {} {{}}",
        ):
            shell.fails(2, *words(template, number))


@pytest.mark.parametrize("number", ["0", "-1", "3661", "1000000000"])
def test_history_has_a_day_at_least_and_ten_years_at_most(shell: Any, number: str) -> None:
    with shell.unchanged():
        shell.fails(2, "usage", "get-history", "--", "acme", number)


@pytest.mark.parametrize("time", NO_TIME)
def test_what_is_no_time_is_bad_input_everywhere(shell: Any, time: str) -> None:
    with shell.unchanged():
        for command in (
            ["usage", "track", "acme", "api_requests", "--at", time],
            ["usage", "track-storage", "acme", "5", "--at", time],
            ["usage", "aggregate", "acme", "day", "--since", time],
            ["usage", "aggregate", "acme", "day", "--until", time],
            ["clock", "set", time],
        ):
            shell.fails(2, *command)


@pytest.mark.parametrize(
    "command",
    [
        "usage track-bandwidth acme 5 out",
        "usage track-bandwidth acme 5 EGRESS",
        "usage track-api-request acme / get 200 0.1",
        "usage track-api-request acme / GETS 200 0.1",
        "usage track-api-request acme / GET 99 0.1",
        "usage track-api-request acme / GET 600 0.1",
        "usage track acme nosuch 5",
        "usage track acme API_REQUESTS 5",
        "usage track acme api_requests 5 --set",
        "usage track acme storage --set -- -5",
        "usage track acme storage -- -5",
        "usage track acme api_requests 1 --at 2026-01-10T14:00:00Z",
        "usage track acme api_requests 1 --metadata x",
        "usage track acme api_requests 1 --metadata []",
        'usage track acme api_requests 1 --metadata {"a":NaN}',
        'usage track acme api_requests 1 --metadata {"a":1,"a":2}',
        "usage aggregate acme week",
        "usage aggregate acme Day",
        "usage aggregate acme day --since 2026-01-02 --until 2026-01-01",
        "usage export acme xml out",
        "usage export acme CSV out",
        "usage reset acme yearly",
        "usage events acme --fate lost",
        "usage events acme --meter nosuch",
        "quota set-limit acme api_requests 5 weekly",
        "quota set-limit acme api_requests Unlimited per_month",
        "quota set-limit acme nosuch 5 per_month",
        "quota check acme nosuch 1",
        "quota hard-limit-check acme nosuch 1",
        "quota enforce acme nosuch 1",
        "quota soft-limit-check acme nosuch",
        "quota calculate-overage acme nosuch",
        "quota get-usage-percentage acme nosuch",
        "quota reset acme weekly",
        "plan downgrade acme free later",
        "plan create-custom acme Special 29 []",
        "plan create-custom acme Special 29 x",
        'plan create-custom acme Special 29 {"api_requests":1.5}',
        'plan create-custom acme Special 29 {"nosuch":1}',
        "plan create-custom acme Special 1e99 {}",
        "plan create-custom acme Special 29.001 {}",
        "meter create Tokens",
        "meter create date",
        "meter create tokens --kind level",
        "meter create tokens --aggregation average",
        "meter create tokens --kind gauge --aggregation sum",
        "meter create tokens --scale 10",
        "customer create acme --email nobody",
        "customer create acme --email a@b.example,evil@c.example",
        "customer create acme --country Germany",
        "customer create acme --currency XXX",
        "customer create acme --zone Berlin",
        "customer create acme --locale english",
        "clock advance 1",
        "clock advance 1y",
        "invoice generate acme fortnightly",
        "invoice generate acme monthly --on 2026-02-30",
        "invoice generate acme monthly --on now",
        "invoice list --status lost",
    ],
)
def test_a_value_that_can_never_be_right_is_bad_input(shell: Any, command: str) -> None:
    with shell.unchanged():
        shell.fails(2, *command.split(" "))


@pytest.mark.parametrize(
    "command",
    [
        "customer show nobody",
        "customer update nobody --name Ada",
        "plan list --customer nobody",
        "plan get-details nosuch",
        "plan compare free nosuch",
        "plan compare nosuch free",
        "plan upgrade acme nosuch",
        "plan downgrade acme nosuch now",
        "usage show nosuch",
        "invoice list --customer nobody",
        "invoice show nosuch",
        "invoice finalize nosuch",
        "invoice mark-paid nosuch cash",
        "invoice html nosuch",
        "invoice generate-pdf nosuch out.pdf",
    ],
)
def test_what_does_not_exist_is_not_found(shell: Any, command: str) -> None:
    with shell.unchanged():
        shell.fails(3, *command.split(" "))


def test_what_contradicts_the_present_state_is_a_conflict(shell: Any) -> None:
    for command in (
        "customer create acme --zone Europe/Berlin",
        "usage track acme api_requests 1 --id r-1",
        "plan upgrade acme pro",
        "plan create-custom acme Special 5 {}",
        "meter create tokens",
    ):
        assert shell(*command.split(" ")).code == 0
    with shell.unchanged():
        for command in (
            "customer create acme",
            "customer update acme --zone UTC",
            "customer update acme --currency EUR",
            "usage track acme api_requests 2 --id r-1",
            "quota enforce acme api_requests 2 --id r-1",
            "plan upgrade acme free",
            "plan downgrade acme enterprise now",
            "plan create-custom acme Special 6 {}",
            "meter create tokens --unit words",
            "invoice generate acme weekly",
        ):
            shell.fails(4, *command.split(" "))


# --- The shape of commands ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "",
        "frobnicate",
        "usage",
        "usage frobnicate",
        "usage get-current",
        "usage get-current acme extra",
        "usage get-current --frobnicate acme",
        "usage get-current acme --format yaml",
        "usage track-storage acme",
        "usage track-storage acme -1",
        "usage track-api-request acme / GET 200",
        "quota",
        "quota check",
        "quota check acme",
        "quota enforce acme api_requests 1 extra",
        "quota enforce acme api_requests -1",
        "plan compare free",
        "customer create",
        "meter create",
        "meter create tokens --kind level",
        "invoice mark-paid x",
        "clock set",
        "clock",
        "config",
        "help nosuch",
        "completion nosuch",
        "--frobnicate",
        "--db",
        "-x",
        "-1",
        "--",
        "-- usage",
    ],
)
def test_a_command_that_is_not_one_is_bad_input(shell: Any, command: str) -> None:
    with shell.unchanged():
        assert "--help" in shell.fails(2, *command.split())


def test_a_command_that_is_nearly_right_is_answered_with_the_one_that_is(shell: Any) -> None:
    assert "did you mean 'usage'" in shell.fails(2, "usge")
    assert "track-storage" in shell.fails(2, "usage", "track-storag")


@pytest.mark.parametrize(
    "word", named({**NO_TEXT, "an escape": "\x1b]0;title\x07", "100 kB of options": "--" + "x" * 100_000})
)
def test_a_command_that_cannot_be_is_refused_in_one_short_line(shell: Any, word: str) -> None:
    for command in ([word], ["usage", word], ["--db", word, "clock", "show"], ["quota", "check", "acme", word, "1"],
                    ["quota", "set-limit", "acme", "api_requests", "5", word], ["plan", "get-details", "--", word],
                    ["clock", "advance", "--", word], ["customer", "create", "acme", f"--zone={word}"]):  # fmt: skip
        answer = shell(*command)
        assert answer.code in (2, 3, 5)
        assert answer.out == ""
        assert len(answer.err.splitlines()) == 1
        assert len(answer.err) < 700 or word in answer.err
        assert answer.err[:-1].isprintable()
