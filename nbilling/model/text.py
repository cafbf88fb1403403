"""Checks of what comes from outside as text: identifiers, names, whole numbers. What cannot be kept is refused."""

from __future__ import annotations

import json
import re
import unicodedata
from decimal import Decimal
from typing import Any

from nbilling.model.errors import BadInput
from nbilling.model.money import shown

MAX_INTEGER = 2**63 - 1
_WHOLE = re.compile(r"(?!-0+$)-?[0-9]+", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
_FORBIDDEN = {"Cc", "Cs", "Zl", "Zp"}  # controls, lone surrogates, line and paragraph separators
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def plain(value: object, what: str, *, limit: int = 255, empty: bool = False) -> str:
    """One line of text, kept exactly as sent. No controls, no bidirectional overrides, no blank ends."""
    if not isinstance(value, str):
        raise BadInput(f"{what} must be text", hint=f"it was {type(value).__name__}")
    if not value and empty:
        return value
    if not value.strip():
        raise BadInput(f"{what} is empty", hint="give a value")
    if len(value) > limit:
        raise BadInput(f"{what} has {len(value):,} characters", hint=f"at most {limit:,} are kept")
    if value.isascii():
        bad = not value.isprintable()
    else:
        bad = any(unicodedata.category(c) in _FORBIDDEN or c in _BIDI for c in value)
    if bad:
        raise BadInput(f"{what} holds a control character", hint="send printable text on one line")
    if value != value.strip():
        raise BadInput(f"{what} begins or ends with a space", hint="remove it")
    return value


def customer_id(value: object) -> str:
    """A customer's id: 1 to 255 printable characters, kept exactly."""
    return plain(value, "customer id")


def identifier(value: object, what: str) -> str:
    """A name of ours (a meter, a plan): lower-case letters, digits and underscores, a letter first."""
    text = plain(value, what)
    if _NAME.fullmatch(text) is None:
        raise BadInput(
            f"{what} {text!r:.80} is not a name",
            hint="use lower-case letters, digits and _, a letter first, at most 63",
        )
    return text


def whole(value: object, what: str, *, minimum: int = 0, maximum: int = MAX_INTEGER) -> int:
    """A whole number in range from an int or from ASCII digits. No floats, no ``1e3``, ``1_000``, ``-0``."""
    number = _digits(value)
    if number is None:
        raise BadInput(f"{what} {shown(value)} is not a whole number", hint="write digits only, such as 1000")
    if number < minimum:
        raise BadInput(f"{what} {shown(value)} is below {minimum}", hint=f"it must be {minimum} or more")
    if number > maximum:
        raise BadInput(f"{what} {shown(value)} is too large", hint=f"at most {maximum}")
    return number


def _digits(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        if len(value) > 40:  # int() takes its time over thousands of digits, and refuses more than 4,300
            return -MAX_INTEGER - 1 if value[0] == "-" else MAX_INTEGER + 1
        return int(value)
    return None


def choice(value: object, what: str, allowed: tuple[str, ...]) -> str:
    """One of the allowed words, exactly."""
    if isinstance(value, str) and value in allowed:
        return value
    raise BadInput(f"{what} {shown(value)} is not known", hint=f"use {', '.join(allowed[:-1])} or {allowed[-1]}")


def email(value: object) -> str:
    """One mail address. Several addresses, display names and line breaks are refused (``a@b, evil@c`` is two)."""
    text = plain(value, "e-mail address", limit=254)
    local, at, domain = text.rpartition("@")
    if (
        not at
        or not re.fullmatch(r"[^\s@,;:<>()\[\]\\\"]{1,64}", local)
        or not re.fullmatch(r"[^\W_]([\w-]*[^\W_])?(\.[^\W_]([\w-]*[^\W_])?)+", domain)
        or ".." in f".{local}."
    ):
        raise BadInput(f"{text!r:.80} is not one e-mail address", hint="write it as name@example.com")
    return text


def json_object(text: object, what: str, *, hint: str, limit: int = 65_536) -> dict[str, Any]:
    """A JSON object, its numbers exact (``int`` or ``Decimal``). BadInput for a key that comes twice, NaN, what
    is too deep, too long or no object."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise BadInput(f"{what} names a key twice", hint=hint)
        return found

    def refuse(constant: str) -> None:
        raise BadInput(f"{what} holds {constant}, which is not a number", hint=hint)

    if not isinstance(text, str) or len(text) > limit:
        raise BadInput(f"{what} is no JSON text of at most {limit:,} characters", hint=hint)
    try:
        found = json.loads(text, parse_float=Decimal, parse_constant=refuse, object_pairs_hook=unique)
    except BadInput:
        raise
    except (ValueError, RecursionError):  # a number of more than 4,300 digits is a ValueError too
        raise BadInput(f"{what} {shown(text)} is not JSON", hint=hint) from None
    if not isinstance(found, dict):
        raise BadInput(f"{what} is not an object", hint=hint)
    return found


def country(value: str, what: str = "country") -> str:
    """A country's code of ISO 3166-1, two capitals, or empty where it is not known."""
    if value and not (len(value) == 2 and value.isascii() and value.isalpha() and value.isupper()):
        raise BadInput(f"{what} {value!r:.20} is not a country code", hint="write two capitals, such as DE")
    return value
