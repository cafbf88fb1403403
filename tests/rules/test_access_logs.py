"""Lines of access logs: what nginx really writes, what is broken, and the whole of a real log."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.clock import LATEST, SECOND, format_time
from nbilling.rules.access_logs import (
    MAX_BYTES,
    MAX_ENDPOINT,
    MAX_LINE,
    REASONS,
    AccessLine,
    Unreadable,
    endpoint,
    line_parser,
    log_time,
    metadata,
)

REAL_LOG = Path(__file__).resolve().parents[3] / "shared/data/logs/elastic_nginx_logs_first28020.log"

AT = 1_431_849_932 * SECOND  # 17/May/2015:08:05:32 +0000
COMBINED = b'93.180.71.3 - jo [17/May/2015:08:05:32 +0000] "GET /a/b?token=s3cret HTTP/1.1" 200 490 "-" "curl/8.5"'


def combined(**changes: bytes) -> bytes:
    parts = {
        "address": b"93.180.71.3",
        "user": b"-",
        "time": b"17/May/2015:08:05:32 +0000",
        "request": b"GET /a HTTP/1.1",
        "status": b"200",
        "size": b"490",
        "agent": b"curl/8.5",
    }
    parts.update(changes)
    return b'%(address)s - %(user)s [%(time)s] "%(request)s" %(status)s %(size)s "-" "%(agent)s"' % {
        name.encode(): value for name, value in parts.items()
    }


def reason_of(line: bytes, format: str = "combined") -> str:
    with pytest.raises(Unreadable) as caught:
        line_parser(format)(line)
    return caught.value.reason


def test_a_combined_line_gives_time_bytes_status_method_and_path_without_its_query() -> None:
    assert line_parser("combined")(COMBINED) == AccessLine(AT, 490, 200, "GET", "/a/b", "", "", "")


@pytest.mark.parametrize("who,found", [("user", "jo"), ("address", "93.180.71.3")])
def test_the_parser_fetches_who_asked(who: str, found: str) -> None:
    assert line_parser("combined", who)(COMBINED).who == found


def test_a_dash_for_the_user_is_nobody() -> None:
    assert line_parser("combined", "user")(combined(user=b"-")).who == ""


@pytest.mark.parametrize(
    "address", [b"::1", b"2001:db8:85a3::8a2e:370:7334", b"fe80::1%eth0", b"unix:", b"host.example.com"]
)
def test_addresses_of_every_kind_are_read(address: bytes) -> None:
    assert line_parser("combined", "address")(combined(address=address)).who == address.decode()


@pytest.mark.parametrize(
    "user,found",
    [
        (b"a b", "a b"),
        (b"x] [y", "x] [y"),
        (b"\\xC3\\xBC", "ü"),
        (b"o\\x22x", 'o"x'),
        # No line may pass for another one: what nginx would have escaped cannot end the request early.
        (b"[17/May/2014:08:05:32 +0000] \\x22GET / HTTP/1.1\\x22", '[17/May/2014:08:05:32 +0000] "GET / HTTP/1.1"'),
    ],
)
def test_users_with_spaces_brackets_and_escapes_are_read_whole(user: bytes, found: str) -> None:
    line = line_parser("combined", "user")(combined(user=user))
    assert (line.who, line.at) == (found, AT)


@pytest.mark.parametrize(
    "request_line,method,path",
    [
        (b"GET / HTTP/1.1", "GET", "/"),
        (b"GET /", "GET", "/"),  # HTTP/0.9 and what has no protocol
        (b"PROPFIND /dav HTTP/2.0", "PROPFIND", "/dav"),
        (b"M-SEARCH * HTTP/1.1", "M-SEARCH", "*"),
        (b"GET /a b HTTP/1.1", "GET", "/a b"),
        (b"GET /a#t=secret HTTP/1.1", "GET", "/a"),
        (b"GET /?q=1?2 HTTP/1.1", "GET", "/"),
        (b"GET http://evil.example/p?q HTTP/1.1", "GET", "/p"),
        (b"GET http://evil.example HTTP/1.1", "GET", "/"),
        (b"GET http://evil.example?q HTTP/1.1", "GET", "/"),
        (b"CONNECT example.com:443 HTTP/1.1", "CONNECT", "example.com:443"),
        (b"GET /\\xD0\\xBF\\x22 HTTP/1.1", "GET", '/п"'),
        (b'GET /\\"quoted\\" HTTP/1.1', "GET", '/"quoted"'),
        (b"GET /\\x00\\x1b[31m HTTP/1.1", "GET", "/\\x00\\x1b[31m"),
        (b"GET /\\xFF HTTP/1.1", "GET", "/\\xff"),
        (b"GET /\xff HTTP/1.1", "GET", "/\\xff"),
        (b"", "", ""),
        (b"-", "", ""),
        (b"\\x16\\x03\\x01\\x02\\x00", "", ""),  # TLS on a plain port
        (b"get / HTTP/1.1", "", ""),
    ],
)
def test_requests_are_split_as_clients_send_them(request_line: bytes, method: str, path: str) -> None:
    line = line_parser("combined")(combined(request=request_line))
    assert (line.method, line.endpoint) == (method, path)


@pytest.mark.parametrize("status,number", [(b"000", 0), (b"009", 9), (b"499", 499), (b"304", 304)])
def test_every_status_of_three_digits_is_a_request(status: bytes, number: int) -> None:
    assert line_parser("combined")(combined(status=status)).status == number


@pytest.mark.parametrize("size,number", [(b"-", 0), (b"0", 0), (b"1125899906842624", MAX_BYTES)])
def test_bytes_may_be_a_dash_or_up_to_one_pebibyte(size: bytes, number: int) -> None:
    assert line_parser("combined")(combined(size=size)).size == number


@pytest.mark.parametrize(
    "line,reason",
    [
        (b"", "empty"),
        (b" \t ", "empty"),
        (combined(agent=b"x" * MAX_LINE), "too_long"),
        (b"x" * MAX_LINE, "format"),
        (b'" [' * (MAX_LINE // 3), "format"),
        (combined(agent=b"a\0b"), "nul"),
        (b"2026/01/01 00:00:00 [error] 7#7: *1 open() failed", "truncated"),
        (b"/docker-entrypoint.sh: Configuration complete; ready for start up", "format"),
        (combined(time=b"30/Feb/2015:08:05:32 +0000"), "time"),
        (combined(time=b"17/Mai/2015:08:05:32 +0000"), "time"),
        (combined(time=b"17/May/2015:24:00:00 +0000"), "time"),
        (combined(time=b"17/May/2015:08:60:32 +0000"), "time"),
        (combined(time=b"17/May/2015:08:05:60 +0000"), "time"),
        (combined(time=b"17/May/2015:08:05:32 +2400"), "time"),
        (combined(time=b"17/May/2015:08:05:32 +0199"), "time"),
        (combined(time=b"17/May/2015:08:05:32"), "time"),
        (combined(time=b"17/May/1969:08:05:32 +0000"), "time"),
        (combined(time=b"01/Jan/1970:00:05:32 +0100"), "time"),
        (combined(time=b"00/Jan/0000:00:00:00 +0000"), "time"),
        (combined(status=b"20"), "status"),
        (combined(status=b"2000"), "status"),
        (combined(status=b"abc"), "status"),
        (combined(size=b"-5"), "bytes"),
        (combined(size=b"1.5"), "bytes"),
        (combined(size=b"1e3"), "bytes"),
        (combined(size=b"1125899906842625"), "bytes"),
        (combined(size=b"9223372036854775808"), "bytes"),
        (combined(size=b"9" * 5000), "bytes"),
        (combined(size="１２".encode()), "bytes"),
        (combined() + combined(), "format"),  # two lines that a crash has run together
        (combined() + b' "-"', "format"),
    ],
)
def test_a_broken_line_says_why(line: bytes, reason: str) -> None:
    assert reason_of(line) == reason


def test_a_line_cut_anywhere_is_refused_and_never_taken_for_a_shorter_one() -> None:
    line = combined(request=b"GET /a?b HTTP/1.1", agent=b"Mozilla/5.0 (X11; Linux x86_64)")
    for length in range(1, len(line)):
        assert reason_of(line[:length]) in {"truncated", "format", "time"}, line[:length]
    line_parser("combined")(line)


def test_the_message_is_one_line_without_the_text_of_the_log() -> None:
    for reason in REASONS:
        assert "\n" not in str(Unreadable(reason))
    with pytest.raises(Unreadable, match=r"^the status is not three digits$"):
        line_parser("combined")(combined(status=b"\x1b[31m"))


def test_nselfs_main_format_has_a_forwarded_address_behind_that_nobody_is_billed_by() -> None:
    line = COMBINED + b' "10.0.0.1, 10.0.0.2"'
    assert line_parser("main", "user")(line).who == "jo"
    assert reason_of(line, "combined") == "format"
    assert reason_of(COMBINED, "main") == "format"


def test_the_vhost_format_begins_with_the_host() -> None:
    line = b"shop.example:443 " + COMBINED
    assert line_parser("vhost_combined", "host")(line).who == "shop.example:443"
    assert line_parser("vhost_combined", "user")(line).who == "jo"
    assert line_parser("vhost_combined", "address")(line).who == "93.180.71.3"
    assert line_parser("vhost_combined")(line)[:5] == (AT, 490, 200, "GET", "/a/b")


def test_the_documented_billing_format_is_read_with_its_customer() -> None:
    line = (
        b'10.0.0.1 - - [17/May/2015:08:05:32 +0000] "POST /graphql HTTP/1.1" 200 12 "app/1" '
        b"customer_id=acme inc service=api endpoint=/graphql method=POST"
    )
    assert line_parser("billing", "customer_id")(line) == AccessLine(
        AT, 12, 200, "POST", "/graphql", "", "acme inc", ""
    )
    nobody = line.replace(b"=acme inc ", b"=- ")
    assert line_parser("billing", "customer_id")(nobody).who == ""
    assert reason_of(line[:95], "billing") == "format"
    assert reason_of(line[:75], "billing") == "truncated"


def test_a_client_cannot_move_the_customer_of_a_billing_line_by_its_user_agent() -> None:
    line = (
        b'10.0.0.1 - - [17/May/2015:08:05:32 +0000] "GET / HTTP/1.1" 200 12 "x customer_id=victim service=api" '
        b"customer_id=acme service=api endpoint=/ method=GET"
    )
    assert line_parser("billing", "customer_id")(line).who == "acme"


@pytest.mark.parametrize(
    "text,at",
    [
        ("17/May/2015:08:05:32 +0000", AT),
        ("17/May/2015:10:05:32 +0200", AT),
        ("17/May/2015:13:50:32 +0545", AT),
        ("16/May/2015:18:05:32 -1400", AT),
        ("2015-05-17T08:05:32+00:00", AT),
        ("2015-05-17T08:05:32Z", AT),
        ("2015-05-17 10:05:32.5+02", AT + 500_000),
        ("2015-05-17T08:05:32.123456789Z", AT + 123_456),
        ("2015-05-17T08:05:32,000001z", AT + 1),
        ("1431849932", AT),
        ("1431849932.120", AT + 120_000),
        ("1431849932.1234567", AT + 123_456),
        ("1431849932120", AT + 120_000),
        ("1431849932120001", AT + 120_001),
        ("0", 0),
        ("29/Feb/2024:00:00:00 +0000", 1_709_164_800 * SECOND),
        (format_time(LATEST), LATEST),
    ],
)
def test_times_are_read_in_every_form_that_logs_have(text: str, at: int) -> None:
    assert log_time(text) == at


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "yesterday",
        "2015-05-17T08:05:32",  # no zone
        "2015-02-29T00:00:00Z",
        "2015-05-17T08:05:32+99:00",
        "１４３１８４９９３２",
        "-1",
        "1e9",
        "123456789012",
        "NaN",
        "9999-12-31T23:59:59Z",
        "1431849932.",
        "17/May/2015:08:05:32 +0000\n",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Unreadable) as caught:
        log_time(text)
    assert caught.value.reason == "time"


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(8999, 12, 30)),
    st.integers(min_value=-14 * 60, max_value=14 * 60),
)
def test_any_time_in_any_zone_is_the_microsecond_that_datetime_says(moment: datetime, minutes: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    exact = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert log_time(aware.isoformat()) == exact
    whole = exact // SECOND * SECOND
    assert log_time(aware.strftime("%d/%b/") + f"{moment.year:04}" + aware.strftime(":%H:%M:%S %z")) == whole


def test_metadata_is_json_with_what_was_there() -> None:
    line = line_parser("combined")(COMBINED)
    assert metadata(line) == '{"endpoint":"/a/b","method":"GET","status":200}'
    assert metadata(line._replace(duration="0.120")) == (
        '{"endpoint":"/a/b","method":"GET","status":200,"duration":0.120}'
    )
    assert metadata(line._replace(method="", endpoint="")) == '{"status":200}'


@given(st.binary(max_size=200))
def test_any_bytes_as_a_request_give_metadata_that_is_json_and_utf8(request_line: bytes) -> None:
    safe = request_line.replace(b'"', b"").replace(b"\\", b"").replace(b"\0", b"")
    found = json.loads(metadata(line_parser("combined")(combined(request=b"GET /" + safe))).encode())
    assert found["status"] == 200
    assert all(character.isprintable() or character == " " for character in found["endpoint"] if ord(character) < 160)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_line_or_have_a_reason(line: bytes) -> None:
    for format in ("combined", "main", "vhost_combined", "billing"):
        assert reason_of(line, format) in REASONS


def test_a_long_path_is_cut_visibly() -> None:
    cut = endpoint("/" + "a" * 5000)
    assert (len(cut), cut[-1]) == (MAX_ENDPOINT, "…")


def test_the_real_log_is_read_to_its_last_byte() -> None:
    if not REAL_LOG.exists():
        pytest.skip(f"{REAL_LOG} is not there")
    parse = line_parser("combined", "address")
    found = [parse(line) for line in REAL_LOG.read_bytes().split(b"\n")]
    assert len(found) == 28_021
    assert sum(line.size for line in found) == 17_540_769_234
    assert Counter(line.status for line in found) == {
        304: 7_345, 200: 2_220, 404: 18_326, 206: 101, 403: 27, 416: 2,
    }  # fmt: skip
    assert len({line.who for line in found}) == 1_716
    assert {datetime.fromtimestamp(line.at // SECOND, UTC).strftime("%Y-%m-%d") for line in found} == {
        f"2015-05-{day}" for day in range(17, 28)
    }
