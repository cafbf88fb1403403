"""Access logs in JSON lines and the wrapping of docker's json-file driver."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.clock import SECOND
from nbilling.model.errors import BadInput
from nbilling.rules.access_logs import MAX_BYTES, MAX_LINE, AccessLine, Unreadable, metadata
from nbilling.rules.json_logs import DockerLines, from_field, json_parser

AT = 1_431_849_932 * SECOND
NGINX: dict[str, Any] = {
    "time_iso8601": "2015-05-17T10:05:32+02:00",
    "remote_addr": "10.0.0.1",
    "remote_user": "jo",
    "host": "shop.example",
    "request_method": "GET",
    "request_uri": "/a?token=s3cret",
    "status": "200",
    "body_bytes_sent": "490",
    "bytes_sent": "700",
    "request_time": "0.120",
    "request_id": "5f2c",
}


def line(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in (NGINX | changes).items() if value is not None}).encode()


def reason_of(raw: bytes, **fields: str) -> str:
    with pytest.raises(Unreadable) as caught:
        json_parser(fields)(raw)
    return caught.value.reason


def test_nginx_field_names_need_no_map() -> None:
    assert json_parser({})(line()) == AccessLine(AT, 490, 200, "GET", "/a", "0.120", "", "")


def test_the_request_id_counts_only_where_the_operator_says_so() -> None:
    assert json_parser({})(line()).id == ""
    assert json_parser({"id": "request_id"})(line()).id == "5f2c"
    assert json_parser({"id": "request_id"})(line(request_id="-")).id == ""
    assert reason_of(line(request_id="a\x00b"), id="request_id") == "id"
    assert reason_of(line(request_id="x" * 256), id="request_id") == "id"


def test_a_map_names_other_fields_also_within_others() -> None:
    raw = json.dumps({"ts": 1431849932.5, "http": {"response": {"code": 404, "size": 7}}, "a.b": "GET /x HTTP/1.1"})
    fields = {"time": "ts", "status": "http.response.code", "bytes": "http.response.size", "request": "a.b"}
    found = json_parser(fields, ("http.response.code",))(raw.encode())
    assert found == AccessLine(AT + 500_000, 7, 404, "GET", "/x", "", "404", "")


def test_a_time_as_a_json_number_loses_no_microsecond() -> None:
    raw = line(time_iso8601=None).replace(b"{", b'{"msec": 1431849932.000001, ', 1)
    assert json_parser({})(raw).at == AT + 1


@pytest.mark.parametrize("value", ["1431849932.000", 1431849932, 1431849932000])
def test_msec_is_seconds_and_long_numbers_are_milliseconds(value: object) -> None:
    assert json_parser({})(line(time_iso8601=None, msec=value)).at == AT


def test_a_log_without_bytes_says_so_in_its_map() -> None:
    assert reason_of(line(body_bytes_sent=None, bytes_sent=None)) == "bytes"
    assert json_parser({"bytes": "-"})(line(body_bytes_sent=None, bytes_sent=None)).size == 0
    assert json_parser({"bytes": "-"})(line()).size == 0


def test_the_request_line_stands_in_for_method_and_path() -> None:
    raw = line(request_method=None, request_uri=None, request="POST /x?y HTTP/2.0")
    assert json_parser({})(raw)[3:5] == ("POST", "/x")
    assert json_parser({})(line(request_method=None, request_uri=None))[3:5] == ("", "")


@pytest.mark.parametrize(
    "changes,reason",
    [
        ({"status": None}, "status"),
        ({"status": 20}, "status"),
        ({"status": True}, "status"),
        ({"status": "abc"}, "status"),
        ({"body_bytes_sent": -1}, "bytes"),
        ({"body_bytes_sent": 1.5}, "bytes"),
        ({"body_bytes_sent": "1e3"}, "bytes"),
        ({"body_bytes_sent": MAX_BYTES + 1}, "bytes"),
        ({"body_bytes_sent": 10**400}, "bytes"),
        ({"body_bytes_sent": "１２"}, "bytes"),
        ({"body_bytes_sent": [1], "bytes_sent": None}, "bytes"),
        ({"time_iso8601": None}, "time"),
        ({"time_iso8601": "2015-05-17T10:05:32"}, "time"),
        ({"request_time": "-1"}, "duration"),
        ({"request_time": "0.1, 0.2"}, "duration"),
        ({"request_time": "1e-3"}, "duration"),
        ({"request_time": "9" * 20}, "duration"),
    ],
)
def test_a_wrong_value_says_which(changes: dict[str, Any], reason: str) -> None:
    assert reason_of(line(**changes)) == reason


@pytest.mark.parametrize(
    "raw,reason",
    [
        (b"", "empty"),
        (b"{", "json"),
        (line()[:-1], "json"),
        (b"[1]", "json"),
        (b'"text"', "json"),
        (b"[" * 60_000, "json"),
        (b'{"status": NaN}', "json"),
        (b'{"status": %s}' % (b"9" * 5000), "json"),
        (b'{"a": "\0"}', "nul"),
        (line(http_user_agent="x" * MAX_LINE), "too_long"),
        (line()[:-1] + b', "remote_user": "victim"}', "json"),  # injected through a log written with escape=none
        (b'10.0.0.1 - - [17/May/2015:08:05:32 +0000] "GET / HTTP/1.1" 200 1 "-" "-"', "json"),
    ],
)
def test_what_is_no_json_object_is_refused(raw: bytes, reason: str) -> None:
    assert reason_of(raw) == reason


def test_one_byte_that_is_no_utf8_does_not_garble_the_other_fields() -> None:
    raw = line(remote_user="josé").replace(b"jos\\u00e9", "josé".encode())[:-1] + b', "agent": "\xff", "x": "\xc3"}'
    assert json_parser({}, ("remote_user",))(raw).who == "josé"
    raw = line(request_uri="/é").replace(b"/\\u00e9", b"/\xff?q")
    assert json_parser({})(raw).endpoint == "/\\udcff"


def test_lone_surrogates_in_escapes_give_metadata_that_is_utf8() -> None:
    for changes in ({"request_uri": "/\ud800"}, {"request_uri": None, "request": "GET /\ud800 HTTP/1.1"}):
        found = json_parser({})(line(**changes))
        assert found.endpoint == "/\\ud800"
        metadata(found).encode()


@pytest.mark.parametrize("fields", [{"when": "ts"}, {"time": ""}, {"time": "a\nb"}])
def test_a_map_of_something_unknown_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        json_parser(fields)


def test_user_host_and_address_follow_the_map() -> None:
    assert from_field("host", {}) == ("host", "server_name")
    assert from_field("host", {"host": "vhost"}) == ("vhost",)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5), st.text())
def test_any_json_value_in_any_field_is_a_line_or_has_a_reason(value: object, key: str) -> None:
    for name in (*NGINX, key):
        with suppress(Unreadable):
            found = json_parser({"id": "request_id"}, ("remote_user",))(line(**{name: value}))
            json.loads(metadata(found))


# --- docker -----------------------------------------------------------------------------------------------------------


def wrapped(text: str, stream: str = "stdout") -> bytes:
    return json.dumps({"log": text, "stream": stream, "time": "2026-01-01T00:00:00.1Z"}).encode()


def test_docker_wrapping_comes_off() -> None:
    docker = DockerLines()
    assert docker.feed(wrapped('10.0.0.1 - - "é"\n')) == '10.0.0.1 - - "é"'.encode()
    assert docker.feed(wrapped("a\r\n")) == b"a"
    assert not docker.unfinished


def test_parts_of_a_long_line_are_joined_though_standard_error_comes_between() -> None:
    docker = DockerLines()
    assert docker.feed(wrapped("a" * 16_384)) is None
    assert docker.unfinished
    assert docker.feed(wrapped("an error\n", "stderr")) is None
    assert docker.feed(wrapped("b\n")) == b"a" * 16_384 + b"b"
    assert (docker.skipped, docker.unfinished) == (1, False)


def test_a_line_of_endless_parts_is_kept_only_until_it_is_too_long() -> None:
    docker = DockerLines()
    for _ in range(100):
        assert docker.feed(wrapped("a" * 16_384)) is None
    joined = docker.feed(wrapped("\n"))
    assert joined is not None
    assert MAX_LINE < len(joined) < 2 * MAX_LINE
    assert docker.feed(wrapped("next\n")) == b"next"


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b'{"log": 1}', b'{"log": "a\\n", "stream": "other"}', b"plain text", b'{"log": "a\\n"']
)
def test_what_docker_did_not_write_is_refused(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        DockerLines().feed(raw)


def test_surrogates_in_docker_lines_do_not_break_it() -> None:
    assert DockerLines().feed(b'{"log": "\\ud800\\n", "stream": "stdout"}') == b"\xed\xa0\x80"
