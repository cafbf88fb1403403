"""Exports of usage events: CSV that a spreadsheet opens without harm, and JSON with exact numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import BinaryIO

FORMATS = ("csv", "json")
COLUMNS = ("id", "customer_id", "resource_type", "amount", "metadata", "created_at")
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0")
Row = tuple[str, str, str, str, str, str]


def defused(cell: str) -> str:
    """A text cell that no spreadsheet takes for a formula (OWASP: CSV injection)."""
    return f"'{cell}" if cell.startswith(_DANGEROUS) else cell


def write_csv(rows: Iterable[Row], out: BinaryIO) -> int:
    """Writes rows as CSV with a header (RFC 4180); returns how many. Amounts stay numbers."""
    text = io.TextIOWrapper(out, "utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        count = 0
        for id, customer, resource, amount, metadata, at in rows:
            writer.writerow((defused(id), defused(customer), resource, amount, defused(metadata), at))
            count += 1
        return count
    finally:
        text.detach()


def write_json(rows: Iterable[Row], out: BinaryIO) -> int:
    """Writes rows as one JSON array, an event a line; returns how many. Amounts are exact numbers."""
    out.write(b"[")
    count = 0
    for id, customer, resource, amount, metadata, at in rows:
        count += 1
        fields = (
            f'"id":{json.dumps(id)},"customer_id":{json.dumps(customer)},"resource_type":{json.dumps(resource)},'
            f'"amount":{amount},"metadata":{metadata},"created_at":{json.dumps(at)}'
        )
        out.write(f"{',' if count > 1 else ''}\n{{{fields}}}".encode())
    out.write(b"\n]\n" if count else b"]\n")
    return count
