"""Amounts, numbers and dates as a customer writes them. Babel knows the locale; how many decimals is ours to say.

Babel works in the decimal context of the caller and would cut a number of more than 28 digits without a word, so
every call happens in a context that is wider than any number a document may hold.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING

from nbilling.model.errors import BadInput

if TYPE_CHECKING:
    from babel import Locale

NO_BREAK = "\u00a0"  # a space at which no line ends

_WIDE = Context(prec=200)
_DAY = "yMMMd"  # CLDR skeleton: 31 Mar 2026, 31. März 2026, Mar 31, 2026
_SHORT_DAY = "MMMd"


@contextmanager
def _exactly() -> Iterator[None]:
    with localcontext(_WIDE):
        yield


@lru_cache(maxsize=64)
def _locale(name: str) -> Locale:
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError) as error:
        raise BadInput(f"unknown locale {name!r:.40}", hint="give one such as en, de, de_AT or en_GB") from error


class Formatter:
    """How one customer reads numbers and dates: a locale, a currency and the decimals of its minor unit."""

    def __init__(self, locale: str, currency: str, exponent: int, *, speaks: str | None = None) -> None:
        """``speaks``: the locale for words (months, countries), if another. ``BadInput`` for an unknown locale."""
        from babel.numbers import get_currency_symbol

        self._babel = _locale(locale)
        self._speaks = _locale(speaks) if speaks else self._babel
        self._exponent = exponent
        self._currency = currency
        self._symbol = get_currency_symbol(currency, self._babel)
        self._money_pattern = self._pattern_of_money()

    def _pattern_of_money(self) -> str:
        """The locale's pattern with our number of decimals in place of CLDR's."""
        decimals = "." + "0" * self._exponent if self._exponent else ""
        pattern = re.sub(r"0(\.0+)?", "0" + decimals, str(self._babel.currency_formats["standard"].pattern))
        # CLDR: a symbol that ends in a letter keeps a space from the digits (KWD 1.000, but CA$1.00).
        if self._symbol[-1:].isalpha():
            pattern = re.sub(r"¤(?=[#0])", "¤" + NO_BREAK, pattern)
        return pattern

    def units(self, minor: int) -> Decimal:
        """Minor units in currency units: 2900 is 29.00 with two decimals."""
        with _exactly():
            return Decimal(minor).scaleb(-self._exponent)

    def money(self, minor: int) -> str:
        """With the currency: ``€1,234.50``, ``1.234,50 €``, ``¥1,235``."""
        from babel.numbers import format_currency

        with _exactly():
            return format_currency(
                self.units(minor), self._currency, self._money_pattern, locale=self._babel, currency_digits=False
            )

    def amount(self, minor: int) -> str:
        """Without the currency, for a column that names it: ``1,234.50``."""
        return self._decimal(self.units(minor), self._exponent)

    def number(self, value: Decimal) -> str:
        """Every digit that counts and no other: ``18,021``, ``0.5``."""
        return self._decimal(value, 0)

    def unit_price(self, value: Decimal) -> str:
        """Exact, and at least as many decimals as the currency has: ``29.00``, ``0.0001``."""
        return self._decimal(value, self._exponent)

    def percent(self, value: Decimal) -> str:
        """A rate given in percent: ``19%``, ``5,5 %``."""
        from babel.numbers import format_percent

        with _exactly():
            return format_percent(value.normalize().scaleb(-2), locale=self._babel, decimal_quantization=False)

    def _decimal(self, value: Decimal, least_decimals: int) -> str:
        from babel.numbers import format_decimal

        with _exactly():
            whole = str(self._babel.decimal_formats[None].pattern).partition(".")[0]
            pattern = f"{whole}.{'0' * least_decimals}" if least_decimals else whole
            return format_decimal(value.normalize(), pattern, locale=self._babel, decimal_quantization=False)

    def decimal_mark(self) -> str:
        """What stands between whole and parts."""
        from babel.numbers import get_decimal_symbol

        return get_decimal_symbol(self._babel)

    def day(self, day: date) -> str:
        """``31 Mar 2026`` in the order of the locale."""
        from babel.dates import format_skeleton

        return format_skeleton(_DAY, day, locale=self._speaks)

    def short_day(self, day: date) -> str:
        """Without the year: ``31 Mar``."""
        from babel.dates import format_skeleton

        return format_skeleton(_SHORT_DAY, day, locale=self._speaks)

    def period(self, start: date, end: date) -> str:
        """``1–31 Mar 2026`` for the half-open period from 1 March to 1 April."""
        from babel.dates import format_interval

        return format_interval(start, end - timedelta(days=1), _DAY, locale=self._speaks)

    def last_day(self, end: date) -> str:
        """The last day of a half-open period."""
        return self.day(end - timedelta(days=1))

    def country(self, country: str) -> str:
        """The name of an ISO 3166 code in the language of the locale; anything else as it is."""
        return str(self._speaks.territories.get(country.upper(), country)) if len(country) == 2 else country


def width(text: str) -> Decimal:
    """About how wide a number is set, in em: digits are tabular, marks and spaces narrow, the rest wide."""
    total = Decimal(0)
    for character in text:
        if character.isdigit():
            total += Decimal("0.65")
        elif unicodedata.category(character) in {"Po", "Zs", "Pd", "Cf"}:
            total += Decimal("0.4")
        else:
            total += Decimal("0.7")
    return total


def _characters_to_replace() -> dict[int, str | None]:
    table: dict[int, str | None] = {}
    for code in (*range(0x20), *range(0x7F, 0xA0)):  # C0, DEL and C1 controls, NUL among them
        table[code] = None
    for keep in "\t\n":
        del table[ord(keep)]
    table[0x0D] = "\n"
    table[0x2028] = table[0x2029] = "\n"
    # Overrides, embeddings and isolates reorder what follows them: an amount could be made to read backwards.
    for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A)):
        table[code] = None
    for code in range(0xD800, 0xE000):  # lone surrogates cannot be written as UTF-8
        table[code] = "\ufffd"
    for plane in range(17):
        table[plane * 0x10000 + 0xFFFE] = table[plane * 0x10000 + 0xFFFF] = "\ufffd"
    for code in range(0xFDD0, 0xFDF0):  # noncharacters
        table[code] = "\ufffd"
    return table


_REPLACED = _characters_to_replace()


def printable(text: str) -> str:
    """The text without what cannot be printed or would reorder its surroundings."""
    return text.translate(_REPLACED)
