"""What a usage event may say: checks and exact conversions of the values that come in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from nbilling.model.clock import FUTURE_TOLERANCE, LATEST, format_time
from nbilling.model.errors import BadInput
from nbilling.model.money import parse_decimal, shown
from nbilling.model.text import MAX_INTEGER, plain, whole

METHODS = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY",
    "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH",
)  # fmt: skip
"""RFC 9110, PATCH (RFC 5789), QUERY, and WebDAV (RFC 4918, 3253, 5323)."""

DIRECTIONS = ("egress", "ingress")
MAX_METADATA = 16_384
REPORT_WORDS = frozenset(("customer_id", "period_start", "period_end", "date"))
"""What reports say beside the meters."""
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def base_amount(value: object, scale: int, what: str, *, signed: bool = False) -> int:
    """An amount in a meter's unit as an integer of its base unit (``10**-scale``). Exact, or BadInput."""
    if scale == 0:
        return whole(value, what, minimum=-MAX_INTEGER if signed else 0)
    number = parse_decimal(value, places=scale, what=what) if signed else _positive(value, scale, what)
    amount = int(number.scaleb(scale))
    if abs(amount) > MAX_INTEGER:
        raise BadInput(f"{what} {shown(value)} is too large", hint=f"at most {unit_amount(MAX_INTEGER, scale)}")
    return amount


def _positive(value: object, places: int, what: str, maximum: int | None = None) -> Decimal:
    """A decimal of 0 or more. ``-0`` is what ``whole`` refuses, so it is refused here."""
    number = parse_decimal(value, places=places, minimum=0, maximum=maximum, what=what)
    if isinstance(value, str) and value.startswith("-"):
        raise BadInput(f"{what} {shown(value)} has a sign", hint="write 0")
    return number


def check_amount(kind: str, aggregation: str, amount: int, set_level: bool, dimension: str) -> None:
    """What a meter does not take: a level where there is none, less than nothing, different values by dimension."""
    if set_level and kind != "gauge":
        raise BadInput("this meter is no gauge", hint="only a gauge has a level to set")
    corrects = (kind == "event" and aggregation == "sum") or (kind == "gauge" and not set_level)
    if amount < 0 and not corrects:
        raise BadInput("this meter takes no negative amount", hint="only what is summed up can be corrected by one")
    if aggregation == "unique" and dimension:
        raise BadInput("a unique meter has no dimension", hint="make a meter for each, or put it into the value")


def merged(aggregation: str, amounts: Sequence[int]) -> int:
    """Amounts of spans that follow one another as one, oldest first. Different values cannot be merged by number."""
    if aggregation == "max":
        return max(amounts)
    return amounts[-1] if aggregation == "last" else sum(amounts)


def unit_amount(amount: int, scale: int) -> int | Decimal:
    """The reverse: an int where it is whole, else an exact Decimal without trailing zeros."""
    if scale == 0 or amount % 10**scale == 0:
        return int(amount // 10**scale)
    return Decimal(amount).scaleb(-scale).normalize()


def report_keys(name: str, unit: str) -> list[str]:
    """Under which names reports show a meter: bytes and seconds carry their unit, as the seed writes them."""
    if unit == "bytes":
        return [f"{name}_bytes", f"{name}_gb"]
    return [f"{name}_seconds" if unit == "seconds" else name]


def api_request_metadata(endpoint: object, method: object, status: object, duration: object) -> str:
    """Checked metadata of an API request as JSON. The query string is cut off: it is where secrets travel."""
    path = plain(endpoint, "endpoint", limit=8192).partition("?")[0].partition("#")[0]
    if method not in METHODS:
        raise BadInput(f"method {shown(method)} is not an HTTP method", hint="write it in capitals, such as GET")
    code = whole(status, "status", minimum=100, maximum=599)
    seconds = _positive(duration, 9, "duration", maximum=10**9)
    text = f"{seconds.normalize():f}"
    return (
        f'{{"endpoint":{json.dumps(path, ensure_ascii=False)},"method":"{method}","status":{code},"duration":{text}}}'
    )


def metadata_text(metadata: Mapping[str, Any] | None) -> str | None:
    """Metadata as canonical JSON: keys sorted, no spaces. None and empty are the same."""
    if not metadata:
        return None
    if not isinstance(metadata, Mapping):
        raise BadInput("metadata must be an object", hint='write it as {"key": "value"}')
    try:
        try:
            text = _ENCODER.encode(metadata)
        except TypeError:
            text = _json(metadata)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"metadata cannot be kept as JSON: {error!s:.80}", hint="use text, numbers and lists") from None
    if len(text) > MAX_METADATA:
        raise BadInput(f"metadata has {len(text):,} characters", hint=f"at most {MAX_METADATA:,} are kept")
    return text


def _json(value: object) -> str:
    """The same for metadata with a Decimal in it, which is a number with its own digits."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_ENCODER.encode(str(key))}:{_json(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_json(item) for item in value) + "]"
    if isinstance(value, Decimal):
        if not value.is_finite() or abs(value.adjusted()) > MAX_METADATA:
            raise ValueError(f"{shown(value)} is no number of a length to keep")
        return f"{value:f}"
    return _ENCODER.encode(value)


def event_time(at: int, now: int) -> int:
    """The event's time, refused where it lies ahead of now by more than clocks differ."""
    if at > now + FUTURE_TOLERANCE:
        when = format_time(at) if at <= LATEST else "the time of this event"
        raise BadInput(f"{when} lies in the future", hint="usage is recorded when it has happened")
    return at
