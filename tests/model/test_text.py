"""Text and whole numbers from outside: kept exactly, or refused."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.errors import BadInput
from nbilling.model.text import MAX_INTEGER, choice, customer_id, email, identifier, plain, whole

HOSTILE = (
    "'; DROP TABLE events; --",
    "$(id)",
    "`id`",
    "a[$(id)]",
    "--help",
    "-1",
    "%s%n",
    "../../etc/passwd",
    "😀",
    "é",
    "日本語",
    "a b",
    '"',
    "\\",
    "<script>",
    "{{7*7}}",
    "NULL",
    "=1+1",
)
REFUSED = ("", " ", "\t", "a\0b", "a\nb", "a\rb", "a\r\nb", "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b", "a\u2029b",
           "a\u202eb", "a\u2066b", "a\u200fb", "a\ud800b", "\udcff", " a", "a ", "\u3000a", "a\n")  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_text_that_looks_dangerous_is_kept_as_it_is(text: str) -> None:
    assert plain(text, "name") is text


@pytest.mark.parametrize("text", REFUSED)
def test_text_that_cannot_be_shown_on_one_line_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        plain(text, "name")
    assert len(str(caught.value).splitlines()) == 1


@given(st.text(max_size=300))
def test_what_is_kept_is_printable_text_that_utf_8_can_hold(text: str) -> None:
    try:
        assert plain(text, "name") == text
    except BadInput:
        return
    assert text.encode().decode() == text
    assert 0 < len(text) <= 255
    assert len(text.splitlines()) == 1
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)
    assert not any(unicodedata.bidirectional(c) in ("LRO", "RLO", "LRE", "RLE", "PDF", "LRI", "RLI", "PDI")
                   for c in text)  # fmt: skip


@pytest.mark.parametrize("value", [None, 5, 1.5, True, b"acme", ["acme"], object()])
def test_only_text_is_text(value: object) -> None:
    with pytest.raises(BadInput, match="must be text"):
        plain(value, "name")


def test_text_has_a_limit_in_characters() -> None:
    assert plain("😀" * 255, "name") == "😀" * 255
    for size in (256, 100_000):
        with pytest.raises(BadInput, match="characters"):
            plain("x" * size, "name")
    assert plain("x" * 300, "name", limit=300)


def test_empty_text_is_kept_only_where_it_may_be() -> None:
    assert plain("", "name", empty=True) == ""
    with pytest.raises(BadInput):
        plain(" ", "name", empty=True)


def test_a_customer_may_be_called_anything_printable() -> None:
    assert customer_id("Ünïcode & Søns (💶)") == "Ünïcode & Søns (💶)"
    with pytest.raises(BadInput, match="customer id"):
        customer_id("")


@pytest.mark.parametrize("name", ["a", "api_requests", "gpu2", "x" * 63])
def test_a_name_of_ours_is_small_letters_digits_and_underscores(name: str) -> None:
    assert identifier(name, "meter") == name


@pytest.mark.parametrize("name", ["", "A", "1a", "_a", "a-b", "a b", "a.b", "é", "x" * 64, "a\n", "ａ", 5, None])
def test_another_name_is_refused(name: object) -> None:
    with pytest.raises(BadInput):
        identifier(name, "meter")


# --- Whole numbers --------------------------------------------------------------------------------------------------


@given(st.integers(0, MAX_INTEGER))
def test_a_whole_number_is_read_from_digits_or_taken_as_it_is(number: int) -> None:
    assert whole(str(number), "bytes") == whole(number, "bytes") == number


@given(st.integers(-MAX_INTEGER, MAX_INTEGER))
def test_below_zero_where_that_is_allowed(number: int) -> None:
    assert whole(str(number), "amount", minimum=-MAX_INTEGER) == number


@pytest.mark.parametrize(
    "value",
    ["", " ", "1 ", " 1", "1\n", "+1", "-0", "-00", "1.0", "1.", ".5", "1e3", "1E3", "1_000", "1,000", "0x10", "0b1",
     "NaN", "nan", "Infinity", "inf", "-inf", "1e400", "１２", "٣", "²", "½", "one", "$(id)", "a[$(id)]", "1;2", "--1",
     "1" * 19 + "x", None, True, False, 1.0, 1.5, float("nan"), float("inf"), b"1", [1], object()],
)  # fmt: skip
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(BadInput, match="not a whole number"):
        whole(value, "bytes", minimum=-MAX_INTEGER)


@pytest.mark.parametrize(
    "value",
    [2**63, str(2**63), 10**60, "9" * 41, -1, "-1", pytest.param(10**5000, id="an int of 5,001 digits"),
     pytest.param("9" * 5000, id="5,000 digits"), pytest.param(-(10**5000), id="a negative int of 5,001 digits"),
     pytest.param("-" + "9" * 5000, id="5,000 digits below zero"), pytest.param("1" * 100_000, id="100 kB")],
)  # fmt: skip
def test_a_number_out_of_range_is_refused_however_long_it_is(value: object) -> None:
    with pytest.raises(BadInput) as caught:
        whole(value, "bytes")
    assert len(str(caught.value)) < 200


def test_a_very_long_negative_number_is_not_taken_for_a_small_one() -> None:
    for value in ("-" + "9" * 50, "-" + "9" * 5000, -(10**50)):
        with pytest.raises(BadInput, match="below"):
            whole(value, "amount", minimum=-MAX_INTEGER)


def test_bounds_are_inclusive() -> None:
    assert whole("100", "status", minimum=100, maximum=599) == 100
    assert whole("599", "status", minimum=100, maximum=599) == 599
    for value in ("99", "600"):
        with pytest.raises(BadInput):
            whole(value, "status", minimum=100, maximum=599)
    assert whole(2**63 - 1, "bytes") == 2**63 - 1


# --- Words and addresses --------------------------------------------------------------------------------------------


def test_a_choice_is_one_of_the_words_exactly() -> None:
    assert choice("daily", "period", ("daily", "monthly")) == "daily"
    for value in ("", "Daily", "daily ", "hourly", None, 5, ["daily"], 10**5000, "x" * 100_000):
        with pytest.raises(BadInput) as caught:
            choice(value, "period", ("daily", "monthly"))
        assert "use daily or monthly" in str(caught.value)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text",
    ["a@b.example", "first.last+tag@sub.domain.example", "o'neil@b.example", "x@xn--bcher-kva.example",
     "kö@bücher.example", "a_b-c@b-c.example", "1@2.example", "!#$%&'*/=?^`{|}~@b.example"],
)  # fmt: skip
def test_one_address_is_kept(text: str) -> None:
    assert email(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "a", "a@", "@b.example", "a@b", "a@b, evil@c", "a@b.example,evil@c.example", "a@b.example;c@d.example",
     "a@b.example evil@c.example", "a@b@c.example", "A <a@b.example>", "<a@b.example>", '"a"@b.example',
     "a@b.example\r\nBcc: evil@c.example", "a@b.example\n", "a\0@b.example", "a..b@c.example", ".a@b.example",
     "a.@b.example", "a@.example", "a@b..example", "a@b.example.", "a@-b.example", "a@b-.example", "a@[127.0.0.1]",
     "a@b_c.example.", "a(comment)@b.example", "a\\@b.example", "a@b.exam ple", "a@b.ex\u202eample",
     "x" * 65 + "@b.example", "a@" + "b" * 250 + ".example", "a:b@c.example", None, 5, b"a@b.example", ["a@b.example"]],
)  # fmt: skip
def test_what_is_not_one_address_is_refused(text: object) -> None:
    with pytest.raises(BadInput):
        email(text)
