"""What a verification of a ledger found, and how far it is."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is not as it should be. ``key`` names the row in readable terms: customer, meter, day, invoice."""

    table: str
    key: str
    expected: str
    found: str


class VerifyProgress(NamedTuple):
    """``done`` of ``total`` of a step; both 0 where the step cannot tell."""

    step: str
    done: int
    total: int


class VerifyReport(NamedTuple):
    """``findings``: the first of them, ``more`` is how many were left out. ``counts``: rows looked at, by what they
    are. ``checked`` and ``not_checked`` are sentences for people."""

    ok: bool
    counts: dict[str, int]
    checked: tuple[str, ...]
    not_checked: tuple[str, ...]
    findings: tuple[Finding, ...]
    more: int
    seconds: Decimal
