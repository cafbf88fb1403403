"""Identities: of an event, which says when two are the same, and ids for what the ledger makes itself (RFC 9562)."""

from __future__ import annotations

import os
import re
from hashlib import blake2b

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def uuid7(now: int) -> bytes:
    """16 bytes of a new UUID version 7 for a time in microseconds: milliseconds first, then 74 random bits."""
    raw = bytearray((now // 1000).to_bytes(6, "big") + os.urandom(10))
    raw[6] = 0x70 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return bytes(raw)


def uuid7_time(key: bytes) -> int | None:
    """Microseconds of a version 7 UUID (to the millisecond); None for other versions."""
    return int.from_bytes(key[:6], "big") * 1000 if key[6] >> 4 == 7 and key[8] >> 6 == 2 else None


def event_key(customer: str, event_id: str) -> tuple[bytes, str | None]:
    """``(key, text)`` of an event id as sent.

    Sixteen bytes in UUID form are their own key and need no text beside them, so an export that is read back finds its
    events. Any
    other id is hashed with its customer, length-prefixed, for two sources that number from 1 must not collide.
    """
    if len(event_id) == 36 and _UUID.fullmatch(event_id):
        return bytes.fromhex(event_id.replace("-", "")), None
    name = customer.encode()
    return blake2b(len(name).to_bytes(4, "big") + name + event_id.encode(), digest_size=16).digest(), event_id


def key_text(key: bytes) -> str:
    """A key as people see it: in UUID form."""
    text = key.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_id(prefix: str, now: int) -> str:
    """A new id such as ``inv_01jd…``: a UUID version 7 in 26 characters that sort by time."""
    number = int.from_bytes(uuid7(now), "big")
    digits = []
    for _ in range(26):
        number, rest = divmod(number, 32)
        digits.append(_CROCKFORD[rest])
    return f"{prefix}_{''.join(reversed(digits))}"
