"""Usage events as NDJSON and CSV: what is understood, and that what is wrong becomes an error of its own line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.clock import parse_time
from nbilling.model.errors import BadInput
from nbilling.rules.access_logs import MAX_LINE
from nbilling.rules.event_lines import QUIET, csv_events, ndjson_events

EVENT = {"customer": "acme", "meter": "api_requests", "amount": 3, "id": "r-1", "at": "2026-01-09T10:00:00Z"}
AT = parse_time("2026-01-09T10:00:00Z")


def as_json(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in (EVENT | changes).items() if value is not ...}).encode() + b"\n"


def one(raw: bytes, customer: str = "") -> Any:
    [event] = ndjson_events([raw], customer)
    return event


def in_csv(text: str, customer: str = "") -> list[Any]:
    return list(csv_events(text.encode().splitlines(keepends=True), customer))


def error_of(event: Any) -> str:
    assert isinstance(event, BadInput), event
    assert event.hint
    assert len(str(event).splitlines()) == 1
    return event.message


# --- NDJSON -----------------------------------------------------------------------------------------------------------


def test_a_line_is_an_event_under_its_own_names_and_under_the_seeds() -> None:
    assert one(as_json()) == EVENT
    names = {"customer": "customer_id", "meter": "resource_type", "amount": "quantity", "id": "id", "at": "time"}
    assert one(json.dumps({names[name]: value for name, value in EVENT.items()}).encode()) == EVENT
    assert one(b"\xef\xbb\xbf" + as_json(customer="\xe9t\xe9")) == EVENT | {"customer": "\xe9t\xe9"}
    assert one(b'{" Customer": "acme", "METER ": "m"}') == {"customer": "acme", "meter": "m"}


def test_empty_lines_are_left_out_and_silence_is_handed_on() -> None:
    assert list(ndjson_events([b"\n", b"  \r\n", as_json(), QUIET, b""])) == [EVENT, QUIET]
    assert list(csv_events([QUIET, b"\n", b"customer,meter\n", QUIET, b"\r\n", b"a,m\n"])) == [
        QUIET,
        QUIET,
        {"customer": "a", "meter": "m"},
    ]


def test_a_customer_that_is_given_stands_in_where_a_line_names_none() -> None:
    assert one(as_json(customer=...), "house")["customer"] == "house"
    assert one(as_json(customer=None), "house")["customer"] == "house"
    assert one(as_json(), "house")["customer"] == "acme"
    assert one(as_json(customer=""), "house")["customer"] == ""  # says something, and it is wrong


def test_numbers_keep_all_their_digits() -> None:
    found = one(b'{"customer": "a", "meter": "m", "amount": 0.1000000000000000055, "metadata": {"x": 1.10}}')
    assert (found["amount"], found["metadata"]) == (Decimal("0.1000000000000000055"), {"x": Decimal("1.10")})


@pytest.mark.parametrize(
    "written",
    [
        AT // 1_000_000, AT // 1_000, AT, f"{AT // 1_000_000}", f"{AT // 1_000}", f"{AT // 1_000_000}.000",
        f"{AT // 1_000_000}.0000004",
    ],
)  # fmt: skip
def test_a_number_as_time_is_seconds_milliseconds_or_microseconds_by_its_digits(written: object) -> None:
    assert one(as_json(at=written))["at"] == AT
    assert in_csv(f"customer,meter,at\na,m,{written}\n")[0]["at"] == AT


def test_a_fraction_of_a_second_is_exact() -> None:
    raw = as_json(at="@").replace(b'"@"', b"1767952800.123456")
    assert one(raw)["at"] == AT + 123_456


@pytest.mark.parametrize("written", [2026, 20260109, -5, 10**11, 10**14, 10**17, "1e9", 1.5, "1767952800,5"])
def test_a_number_of_another_length_is_no_time(written: object) -> None:
    found = one(as_json(at=written))
    if isinstance(written, str):
        assert found["at"] == written  # whoever records it refuses it
    else:
        assert "is not a time" in error_of(found)


@pytest.mark.parametrize(
    "raw,message",
    [
        (b"{", "the line is not JSON"),
        (as_json()[:-5], "the line is not JSON"),
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"[" * 60_000, "the line is not JSON"),
        (b'{"amount": %s}' % (b"9" * 5000), "the line is not JSON"),
        (b'{"amount": NaN}', "NaN is not a number"),
        (b'{"amount": -Infinity}', "-Infinity is not a number"),
        (b'{"id": "a", "id": "b"}', "names a key twice"),
        (b'{"metadata": {"a": 1, "a": 2}}', "names a key twice"),
        (b'{"amount": 1, "quantity": 2}', "two fields for amount"),
        (b'{"Amount": 1, "amount": 2}', "two fields for amount"),
        (b'{"at": "2026-01-01", "created_at": "2026-01-02"}', "two fields for at"),
        (b'{"customer": "a", "price": 1}', "an event has no field 'price'"),
        (b'{"customer": "\xff"}', "the line is not UTF-8"),
        (as_json(metadata={"x": "y" * MAX_LINE}), "longer than 65,536 bytes"),
        (b'{"service": "bandwidth", "quantity": 2}', "service bandwidth is counted in GB"),
        (b'{"service": "compute", "quantity": 2}', "service compute is counted in CPU-hours"),
    ],
)
def test_what_is_wrong_with_a_line_is_an_error_and_the_next_line_is_read(raw: bytes, message: str) -> None:
    wrong, right = ndjson_events([raw, as_json()])
    assert message in error_of(wrong)
    assert right == EVENT


def test_nselfs_service_api_is_the_meter_of_requests() -> None:
    assert one(b'{"service": "api", "customer": "a"}')["meter"] == "api_requests"
    assert one(b'{"resource_type": "bandwidth", "customer": "a"}')["meter"] == "bandwidth"


# --- CSV --------------------------------------------------------------------------------------------------------------


def test_nselfs_documented_csv_is_read_as_it_stands() -> None:
    text = 'timestamp,service,quantity,metadata\n2026-01-29T10:00:00Z,api,1000,{"endpoint":"/api/test","n":1.10}\n'
    assert in_csv(text, "acme") == [
        {
            "customer": "acme",
            "meter": "api_requests",
            "amount": "1000",
            "at": "2026-01-29T10:00:00Z",
            "metadata": {"endpoint": "/api/test", "n": Decimal("1.10")},
        }
    ]


def test_quoted_cells_empty_cells_and_line_ends_are_as_in_rfc_4180() -> None:
    text = '\ufeffCustomer,meter,amount,id,metadata,set\r\n"a, b",m,"1",,"{""x"":""\u00e9""}",\r\nc,m,2,i,,TRUE\r\n'
    assert in_csv(text) == [
        {"customer": "a, b", "meter": "m", "amount": "1", "metadata": {"x": "\u00e9"}},
        {"customer": "c", "meter": "m", "amount": "2", "id": "i", "set": True},
    ]


def test_cells_that_an_export_has_defused_are_what_they_were() -> None:
    found = in_csv("id,customer,meter,amount\n'=r1,'@home,m,-5\n'plain,'a,m,1\n")
    assert [(event["id"], event["customer"], event["amount"]) for event in found] == [
        ("=r1", "@home", "-5"),
        ("'plain", "'a", "1"),
    ]


@pytest.mark.parametrize(
    "header,message",
    [
        ("customer,amount", "no column for the meter"),
        ("meter,amount", "no column for the customer"),
        ("customer,meter,price", "the header of the CSV: an event has no field 'price'"),
        ("customer,meter,", "the header of the CSV: an event has no field ''"),
        ("customer,customer_id,meter", "two fields for customer"),
        ("customer,meter,amount,quantity", "two fields for amount"),
        ('customer,"meter', "not CSV"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused_at_once(header: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        in_csv(f"{header}\na,b,c\n")


def test_a_header_in_another_encoding_is_refused() -> None:
    with pytest.raises(BadInput, match="not UTF-8"):
        list(csv_events(["customer,m\xe9ter\n".encode("latin-1")]))


@pytest.mark.parametrize(
    "row,message",
    [
        ("a,m,1", "the line has 3 cells, the header 5"),
        ("a,m,1,,{},x,y", "metadata is not a JSON object"),
        ('a,m,1,"i', "not CSV"),
        ('a,m,1,"i"x,', "not CSV"),
        ("a,m,1,i,[1]", "metadata is not a JSON object"),
        ("a,m,1,i,{", "metadata is not a JSON object"),
        ('a,m,1,i,{"x": NaN}', "metadata is not a JSON object"),
        ('a,m,1,i,{"x": %s}' % ("9" * 5000), "metadata is not a JSON object"),
        ('a,m,1,i,{"x":1,"x":2}', "metadata is not a JSON object"),
    ],
)
def test_what_is_wrong_with_a_row_is_an_error_and_the_next_row_is_read(row: str, message: str) -> None:
    wrong, right = in_csv(f"customer,meter,amount,id,metadata\n{row}\na,m,1,i,\n")
    assert message in error_of(wrong)
    assert right == {"customer": "a", "meter": "m", "amount": "1", "id": "i"}


def test_bytes_that_are_no_text_are_refused_also_beside_bare_metadata() -> None:
    for row in (b"caf\xe9,m,{}\n", b'"caf\xe9",m,{}\n'):
        [found] = csv_events([b"customer,meter,metadata\n", row])
        assert "not UTF-8" in error_of(found)


def test_set_is_said_in_a_word_that_is_known() -> None:
    words = {"1": True, "yes": True, "True": True, "0": False, "no": False, "FALSE": False}
    found = in_csv("customer,meter,set\n" + "".join(f"a,m,{word}\n" for word in [*words, "on"]))
    assert [event["set"] for event in found[:-1]] == list(words.values())
    assert "neither true nor false" in error_of(found[-1])


# --- Both -------------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).map(str.strip).filter(bool)
events = st.fixed_dictionaries(
    {"customer": texts, "meter": st.sampled_from(["m", "tokens"]), "amount": st.integers(-(2**63), 2**63)},
    optional={
        "id": texts,
        "metadata": st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts, max_size=3),
    },
)


def write_ndjson(listed: list[dict[str, Any]]) -> Iterator[bytes]:
    for event in listed:
        yield json.dumps(event, ensure_ascii=False).encode() + b"\n"


def write_csv(listed: list[dict[str, Any]]) -> Iterator[bytes]:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["customer", "meter", "amount", "id", "metadata"], lineterminator="\n")
    writer.writeheader()
    for event in listed:
        writer.writerow(event | ({"metadata": json.dumps(event["metadata"])} if "metadata" in event else {}))
    return iter([line + b"\n" for line in out.getvalue().encode().split(b"\n")[:-1]])


@pytest.mark.parametrize("write,read", [(write_ndjson, ndjson_events), (write_csv, csv_events)], ids=["ndjson", "csv"])
@given(listed=st.lists(events, max_size=5))
def test_what_is_written_is_read_back(write: Callable[..., Any], read: Callable[..., Any], listed: Any) -> None:
    found = list(read(write(listed)))
    assert [event | {"amount": int(event["amount"])} for event in found] == [
        {name: undefused(value) if read is csv_events else value for name, value in event.items()} for event in listed
    ]


def undefused(value: Any) -> Any:
    """A cell such as '=x is taken for one that was defused."""
    return value[1:] if isinstance(value, str) and value[:1] == "'" and value[1:2] in ("=", "+", "-", "@") else value


@given(st.lists(st.binary(max_size=60)), st.booleans())
def test_any_bytes_are_events_or_errors(lines: list[bytes], as_csv: bool) -> None:
    raw = [line.replace(b"\n", b"") for line in lines]
    read = csv_events([b"customer,meter,amount,metadata\n", *raw]) if as_csv else ndjson_events(raw)
    for event in read:
        assert isinstance(event, dict) or error_of(event)
