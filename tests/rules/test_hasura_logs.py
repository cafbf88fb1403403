"""Requests in Hasura's log, as its documentation and its source show the lines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.clock import parse_time
from nbilling.model.errors import BadInput
from nbilling.model.imports import ImportOptions
from nbilling.rules.access_logs import MAX_LINE, AccessLine, Unreadable, metadata
from nbilling.rules.hasura_logs import hasura_parser
from nbilling.rules.log_customers import customer_choice

USER = ("user_vars.x-hasura-user-id",)
AT = parse_time("2026-05-30T23:40:24.654+05:30")


def line(operation: dict[str, Any] | None = None, http_info: dict[str, Any] | None = None, **outside: Any) -> bytes:
    """A line of a query that succeeded; a value of None leaves its field out."""
    whole = {
        "timestamp": "2026-05-30T23:40:24.654+0530",
        "level": "info",
        "type": "http-log",
        "detail": {
            "request_id": "072b3617-6653-4fd5-b5ee-580e9d098c3d",
            "operation": with_changes(
                {
                    "query_execution_time": 0.009240042,
                    "user_vars": {"x-hasura-role": "user", "x-hasura-user-id": "17", "x-hasura-org-id": "acme"},
                    "error": None,
                    "request_id": "072b3617-6653-4fd5-b5ee-580e9d098c3d",
                    "response_size": 105,
                    "request_mode": "single",
                    "query": None,
                },
                operation,
            ),
            "http_info": with_changes(
                {"status": 200, "http_version": "HTTP/1.1", "url": "/v1/graphql", "ip": "10.0.0.1", "method": "POST"},
                http_info,
            ),
        },
    }
    return json.dumps(with_changes(whole, outside)).encode()


def with_changes(fields: dict[str, Any], changes: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (fields | (changes or {})).items() if value is not None}


def reason_of(raw: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        hasura_parser({}, USER)(raw)
    return caught.value.reason


def read(raw: bytes, fields: dict[str, str] | None = None, who: tuple[str, ...] = USER) -> AccessLine:
    found = hasura_parser(fields or {}, who)(raw)
    assert found is not None
    return found


def test_a_query_is_a_request_with_its_user_and_its_bytes() -> None:
    assert read(line()) == AccessLine(AT, 105, 200, "POST", "/v1/graphql", "0.009240042", "17", "")


def test_the_error_line_of_the_documentation_is_a_request_too() -> None:
    failed = {
        "error": {"path": "$.selectionSet", "error": "field 'x' not found", "code": "validation-failed"},
        "response_size": 142,
        "query": {"variables": {"limit": 10}, "operationName": "getProfile", "query": "query getProfile { x }"},
    }
    assert read(line(failed, level="error"))[1:3] == (142, 200)


def test_lines_of_other_types_are_about_something_else() -> None:
    for kind in ("startup", "websocket-log", "query-log", "webhook-log", "jwk-refresh-log", "health-check-log"):
        assert hasura_parser({})(json.dumps({"type": kind, "detail": [1], "level": "info"}).encode()) is None


def test_any_session_variable_can_name_the_customer() -> None:
    assert read(line(), who=("user_vars.x-hasura-org-id",)).who == "acme"
    assert read(line({"user_vars": {"x-hasura-role": "admin"}})).who == ""
    assert read(line({"user_vars": None})).who == ""


def test_the_request_id_counts_only_where_it_is_asked_for_because_clients_may_send_it() -> None:
    assert read(line()).id == ""
    assert read(line(), {"id": "request_id"}).id == "072b3617-6653-4fd5-b5ee-580e9d098c3d"


def test_bytes_can_be_left_to_the_log_of_the_server_in_front() -> None:
    assert read(line(), {"bytes": "-"}).size == 0


@pytest.mark.parametrize(
    "seconds,kept",
    [
        ("2.253e-05", "0.00002253"), ("1.2e-2", "0.012"), ("0.1234567891234", "0.123456789"), ("3", "3"),
        ("1e-12", "0"), ("120.5", "120.5"), ("0.0", "0"),
    ],
)  # fmt: skip
def test_the_duration_is_kept_digit_for_digit_to_the_nanosecond(seconds: str, kept: str) -> None:
    raw = line({"query_execution_time": 12345}).replace(b"12345", seconds.encode())
    found = read(raw)
    assert found.duration == kept
    assert json.loads(metadata(found))["duration"] == json.loads(kept)


def test_a_request_without_a_duration_has_none() -> None:
    assert read(line({"query_execution_time": None})).duration == ""


@pytest.mark.parametrize(
    "raw,reason",
    [
        (line(type=None), "format"),
        (line(type=""), "format"),
        (line(detail=None), "format"),
        (line(detail="text"), "format"),
        (b'{"type": "http-log", "detail": {"status": 200, "url": "/v1/graphql"}}', "format"),  # before version 1
        (line(timestamp=None), "time"),
        (line(timestamp="2026-05-30T23:40:24"), "time"),
        (line(http_info={"status": None}), "status"),
        (line({"response_size": None}), "bytes"),
        (line({"response_size": -1}), "bytes"),
        (line({"query_execution_time": -1}), "duration"),
        (line({"query_execution_time": "soon"}), "duration"),
        (line()[:-1], "json"),
        (b"not json", "json"),
        (b"[1]", "json"),
        (b"", "empty"),
        (line({"raw_query": "x" * MAX_LINE}), "too_long"),
    ],
)
def test_what_cannot_be_read_says_why(raw: bytes, reason: str) -> None:
    assert reason_of(raw) == reason


def test_what_a_client_writes_into_its_query_changes_nothing_else() -> None:
    query = {"status": 500, "user_vars": {"x-hasura-user-id": "victim"}, "http_info": {"status": 1}, "timestamp": 1}
    assert read(line({"query": query, "timestamp": 1, "status": 500})) == read(line())


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_any_value_in_any_field_is_a_line_or_has_a_reason(value: object) -> None:
    names = ("query_execution_time", "user_vars", "response_size", "request_id")
    raws = [line({name: value}) for name in names]
    raws += [line(http_info={name: value}) for name in ("status", "url", "method", "ip")]
    raws += [line(**{name: value}) for name in ("type", "timestamp", "detail")]
    for raw in raws:
        try:
            found = hasura_parser({"id": "request_id"}, USER)(raw)
        except Unreadable:
            continue
        if found is not None:
            json.loads(metadata(found)).keys()


def test_the_customer_is_what_hasura_found_out_and_not_what_the_client_says() -> None:
    hasura = ImportOptions(format="hasura")
    assert customer_choice(hasura._replace(customer_from="user")).who == USER
    assert customer_choice(hasura._replace(customer_from="address")).who == ("ip",)
    assert customer_choice(hasura._replace(customer_field="user_vars.x-hasura-org-id")).who == (
        "user_vars.x-hasura-org-id",
    )
    assert customer_choice(hasura._replace(customer_from="user", fields={"user": "user_vars.sub"})).who == (
        "user_vars.sub",
    )
    for field in ("request_id", "query.variables.customer", "raw_query", "url"):
        with pytest.raises(BadInput, match="what the client sends"):
            customer_choice(hasura._replace(customer_field=field))
    with pytest.raises(BadInput, match="has no host"):
        customer_choice(hasura._replace(customer_from="host"))
