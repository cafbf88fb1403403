"""Commands that scripts call for every request, answered before click and attrs are loaded.

Only the plain form is answered here: the values of the contract and nothing else. Any option, a missing or a further
value, ``--help``: the ordinary command decides. Both call the same methods, so checks, errors and effects are one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nbilling.model.errors import EXIT_OK, EXIT_REFUSED

if TYPE_CHECKING:
    from nbilling.api.billing import Billing


def _api_request(ledger: Billing, values: Sequence[str]) -> int:
    customer, endpoint, method, status, duration = values
    ledger.tracking.track_api_request(customer, endpoint, method, status, duration)
    return EXIT_OK


def _storage(ledger: Billing, values: Sequence[str]) -> int:
    ledger.tracking.track_storage(*values)
    return EXIT_OK


def _bandwidth(ledger: Billing, values: Sequence[str]) -> int:
    ledger.tracking.track_bandwidth(*values)
    return EXIT_OK


def _compute(ledger: Billing, values: Sequence[str]) -> int:
    ledger.tracking.track_compute(*values)
    return EXIT_OK


def _check(ledger: Billing, values: Sequence[str]) -> int:
    return _answer(*_decision(ledger.quota.check(*values, warn=False)))


def _enforce(ledger: Billing, values: Sequence[str]) -> int:
    return _answer(*_decision(ledger.quota.enforce(*values, warn=False)))


def _decision(decision: tuple[object, ...]) -> tuple[bool, str]:
    return bool(decision[0]), str(decision[-1])


def _answer(allowed: bool, reason: str) -> int:
    if allowed:
        return EXIT_OK
    print(f"Refused: {reason}", file=sys.stderr)
    return EXIT_REFUSED


Handler = Callable[["Billing", Sequence[str]], int]
HANDLERS: dict[tuple[str, str], tuple[int, Handler]] = {
    ("usage", "track-api-request"): (5, _api_request),
    ("usage", "track-storage"): (2, _storage),
    ("usage", "track-bandwidth"): (3, _bandwidth),
    ("usage", "track-compute"): (3, _compute),
    ("quota", "check"): (3, _check),
    ("quota", "hard-limit-check"): (3, _check),
    ("quota", "enforce"): (3, _enforce),
}
"""By command: how many values its plain form has, and what answers it."""


def plain_form(arguments: Sequence[str]) -> tuple[Handler, list[str]] | None:
    """The handler and the values, if this is a plain form; values may stand after ``--``."""
    if len(arguments) < 3 or "_NBILLING_COMPLETE" in os.environ:
        return None
    found = HANDLERS.get((arguments[0], arguments[1]))
    if found is None:
        return None
    count, handler = found
    values = list(arguments[2:])
    if values[0] == "--":
        values = values[1:]
    elif any(value.startswith("-") for value in values):
        return None
    return (handler, values) if len(values) == count else None


def run(arguments: Sequence[str]) -> int | None:
    """Answers a plain form; None where the ordinary command line has to."""
    form = plain_form(arguments)
    if form is None:
        return None
    from nbilling.api.billing import open
    from nbilling.cli.actor import actor

    handler, values = form
    with open(actor=actor) as ledger:
        return handler(ledger, values)
