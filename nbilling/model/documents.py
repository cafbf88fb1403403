"""What a document shows: an invoice, a credit note, a statement of account. Values only, nothing is computed here.

Amounts are integers in the minor unit of ``currency``; ``currency_exponent`` says how many decimals that unit has
(2 for USD, 0 for JPY, 3 for KWD). Quantities and unit prices are exact decimals; a ``str`` is read as one, a float
is refused. Periods are half-open as everywhere: ``period_end`` is the first day after, and what is printed is the
day before it.

Texts are plain text unless the name says ``markdown``. Whoever renders them escapes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from attrs import Attribute, field, frozen

from nbilling.model.errors import BadInput

DocumentKind = Literal["invoice", "credit_note"]
DocumentStatus = Literal["draft", "open", "part_paid", "paid", "overdue", "void", "uncollectible"]
EntryKind = Literal["invoice", "credit_note", "payment", "refund", "adjustment"]
ReferenceKind = Literal["credited_invoice", "purchase_order", "contract", "project"]
TaxReason = Literal["", "reverse_charge", "exempt", "export", "outside_scope"]
PageSize = Literal["A4", "Letter"]

DOCUMENT_KINDS = ("invoice", "credit_note")
STATUSES = ("draft", "open", "part_paid", "paid", "overdue", "void", "uncollectible")
ENTRY_KINDS = ("invoice", "credit_note", "payment", "refund", "adjustment")
REFERENCE_KINDS = ("credited_invoice", "purchase_order", "contract", "project")
TAX_REASONS = ("", "reverse_charge", "exempt", "export", "outside_scope")
PAGE_SIZES = ("A4", "Letter")

DEFAULT_ACCENT = "#1f4b6e"
LOGO_LIMIT = 1_000_000  # bytes; a logo is drawn on every document, and a larger one is a mistake

_MAX_DIGITS = 60  # far beyond any quantity or price; Decimal("1e999999") would be printed as a million digits
_COLOR = re.compile(r"#[0-9a-fA-F]{6}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_LOCALE = re.compile(r"[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8})*", re.ASCII)


def _exact(value: object) -> Decimal:
    """A ``Decimal`` from a ``Decimal``, an ``int`` or a text; never from a float."""
    if isinstance(value, (Decimal, int, str)) and not isinstance(value, bool):
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = Decimal("NaN")
        if number.is_finite() and abs(number.adjusted()) < _MAX_DIGITS and len(number.as_tuple().digits) < _MAX_DIGITS:
            return number
    raise BadInput(f"{value!r:.60} is not an exact number", hint="give a Decimal, an int or a text such as '0.0001'")


def _exact_or_none(value: object) -> Decimal | None:
    return None if value is None else _exact(value)


def _texts(value: Iterable[str]) -> tuple[str, ...]:
    # A text is an iterable of its characters, and would be printed one below the other.
    return (value,) if isinstance(value, str) else tuple(value)


def _points(value: Iterable[tuple[date, object]]) -> tuple[tuple[date, Decimal], ...]:
    return tuple((day, _exact(amount)) for day, amount in value)


def _minor(_: object, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInput(f"{attribute.name} must be an int of minor units", hint=f"it was {value!r:.60}")


def _one_of(allowed: tuple[str, ...]) -> Callable[[object, Attribute[Any], object], None]:
    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if value not in allowed:
            names = ", ".join(name or "''" for name in allowed)
            raise BadInput(f"{attribute.name} {value!r:.60} is not known", hint=f"use one of {names}")

    return check


def _matches(pattern: re.Pattern[str], example: str) -> Callable[[object, Attribute[Any], object], None]:
    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            raise BadInput(f"{attribute.name} {value!r:.60} is not valid", hint=f"write it as {example}")

    return check


def _exponent(_: object, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 4:
        raise BadInput(f"{attribute.name} must be 0 to 4", hint=f"it was {value!r:.60}")


def _day(_: object, attribute: Attribute[Any], value: object) -> None:
    # A datetime is a date to isinstance, and would be printed without its time.
    if value is not None and (not isinstance(value, date) or isinstance(value, datetime)):
        raise BadInput(f"{attribute.name} must be a date", hint=f"it was {value!r:.60}")


def _period(start: date | None, end: date | None) -> None:
    if (start is None) != (end is None):
        raise BadInput("a period has a start and an end", hint="give both or neither")
    if start is not None and end is not None and not start < end:
        raise BadInput(f"the period {start} to {end} is empty", hint="the end is the first day after the period")


def _logo(_: object, __: Attribute[Any], value: bytes | None) -> None:
    if value is not None and len(value) > LOGO_LIMIT:
        raise BadInput(f"the logo has {len(value):,} bytes", hint=f"at most {LOGO_LIMIT:,} are drawn")


@frozen
class Party:
    """Seller or buyer. ``lines``: the address without the country. ``tax_ids``: pairs of label and number.

    ``country``: an ISO 3166 code, printed as a name in the document's language, or a name.
    """

    name: str
    lines: tuple[str, ...] = field(default=(), converter=_texts)
    email: str = ""
    phone: str = ""
    tax_ids: tuple[tuple[str, str], ...] = field(default=(), converter=tuple[tuple[str, str], ...])
    country: str = ""


@frozen(kw_only=True)
class DocumentLine:
    """One line. ``detail`` is the small second line. ``group`` puts lines that follow one another under one heading.

    A period is printed when it differs from the document's.
    """

    description: str
    amount_minor: int = field(validator=_minor)
    detail: str = ""
    quantity: Decimal | None = field(default=None, converter=_exact_or_none)
    unit: str = ""
    unit_price: Decimal | None = field(default=None, converter=_exact_or_none)
    period_start: date | None = field(default=None, validator=_day)
    period_end: date | None = field(default=None, validator=_day)
    group: str | None = None

    def __attrs_post_init__(self) -> None:
        _period(self.period_start, self.period_end)


@frozen
class DiscountLine:
    """What is taken off: ``amount_minor`` is positive and printed with a minus."""

    label: str
    amount_minor: int = field(validator=_minor)


@frozen(kw_only=True)
class TaxLine:
    """One rate. ``rate_percent`` None prints no rate. ``reason`` adds the sentence that the law asks for, in the
    document's language; ``note`` is a text of one's own.
    """

    label: str
    taxable_minor: int = field(validator=_minor)
    tax_minor: int = field(validator=_minor)
    rate_percent: Decimal | None = field(default=None, converter=_exact_or_none)
    reason: TaxReason = field(default="", validator=_one_of(TAX_REASONS))
    note: str = ""


@frozen(kw_only=True)
class Reference:
    """Another document that this one names: the credited invoice, the buyer's order, a contract, a project."""

    kind: ReferenceKind = field(validator=_one_of(REFERENCE_KINDS))
    number: str
    issued: date | None = field(default=None, validator=_day)


@frozen
class UsageSeries:
    """Usage by day, drawn as one small bar chart. ``sum``: the days add up and their total is told; ``level``: they
    do not (stored bytes), and only the highest is.
    """

    title: str
    unit: str
    points: tuple[tuple[date, Decimal], ...] = field(converter=_points)
    aggregate: Literal["sum", "level"] = field(default="sum", validator=_one_of(("sum", "level")))


@frozen(kw_only=True)
class Document:
    """What an invoice and a statement have in common.

    ``locale``: of the customer, such as ``de`` or ``en_GB``. ``logo``: PNG, JPEG or SVG. ``footer``: the small print
    at the foot of every page.
    """

    seller: Party
    buyer: Party
    currency: str = field(validator=_matches(_CURRENCY, "EUR"))
    currency_exponent: int = field(validator=_exponent)
    payment_means_markdown: str = ""
    notes_markdown: str = ""
    locale: str = field(default="en", validator=_matches(_LOCALE, "de or en_GB"))
    page_size: PageSize = field(default="A4", validator=_one_of(PAGE_SIZES))
    accent_color: str = field(default=DEFAULT_ACCENT, validator=_matches(_COLOR, "#1f4b6e"))
    logo: bytes | None = field(default=None, validator=_logo)
    footer: str = ""


@frozen(kw_only=True)
class InvoiceDocument(Document):
    """An invoice or a credit note.

    ``number`` is None while it is a draft. ``discounts`` come off ``subtotal_minor``; ``taxes`` is what the totals
    list, ``tax_minor`` their sum; with ``prices_include_tax`` the taxes are told as contained in the total.
    ``credit_applied_minor`` and ``paid_minor`` are positive and come off ``total_minor``; ``balance_minor`` is what
    is left. ``title`` replaces the heading ("Tax invoice").
    """

    kind: DocumentKind = field(default="invoice", validator=_one_of(DOCUMENT_KINDS))
    status: DocumentStatus = field(validator=_one_of(STATUSES))
    number: str | None
    title: str = ""
    issue_date: date | None = field(default=None, validator=_day)
    due_date: date | None = field(default=None, validator=_day)
    period_start: date | None = field(default=None, validator=_day)
    period_end: date | None = field(default=None, validator=_day)
    paid_on: date | None = field(default=None, validator=_day)
    lines: tuple[DocumentLine, ...] = field(converter=tuple[DocumentLine, ...])
    discounts: tuple[DiscountLine, ...] = field(default=(), converter=tuple[DiscountLine, ...])
    subtotal_minor: int = field(validator=_minor)
    taxes: tuple[TaxLine, ...] = field(default=(), converter=tuple[TaxLine, ...])
    tax_minor: int = field(default=0, validator=_minor)
    prices_include_tax: bool = False
    total_minor: int = field(validator=_minor)
    credit_applied_minor: int = field(default=0, validator=_minor)
    paid_minor: int = field(default=0, validator=_minor)
    balance_minor: int = field(validator=_minor)
    buyer_reference: str = ""
    references: tuple[Reference, ...] = field(default=(), converter=tuple[Reference, ...])
    payment_terms: str = ""
    usage: tuple[UsageSeries, ...] = field(default=(), converter=tuple[UsageSeries, ...])

    def __attrs_post_init__(self) -> None:
        _period(self.period_start, self.period_end)


@frozen(kw_only=True)
class StatementEntry:
    """One line of a statement. ``amount_minor`` is positive when the customer owes more by it, negative when less."""

    day: date = field(validator=_day)
    kind: EntryKind = field(validator=_one_of(ENTRY_KINDS))
    amount_minor: int = field(validator=_minor)
    reference: str = ""
    description: str = ""
    due_date: date | None = field(default=None, validator=_day)


@frozen(kw_only=True)
class StatementDocument(Document):
    """A statement of account: documents and payments of a period, with the running balance."""

    number: str | None = None
    issue_date: date = field(validator=_day)
    period_start: date = field(validator=_day)
    period_end: date = field(validator=_day)
    opening_balance_minor: int = field(default=0, validator=_minor)
    entries: tuple[StatementEntry, ...] = field(converter=tuple[StatementEntry, ...])
    overdue_minor: int = field(default=0, validator=_minor)

    def __attrs_post_init__(self) -> None:
        _period(self.period_start, self.period_end)

    @property
    def closing_balance_minor(self) -> int:
        """What the customer owes after the last entry; negative is a balance in its favour."""
        return self.opening_balance_minor + sum(entry.amount_minor for entry in self.entries)
