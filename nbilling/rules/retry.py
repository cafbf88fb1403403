"""When a message of the outbox is tried again, when it is given up, and what each outcome makes of it.

The one thing that must never happen is that something takes effect twice. A message under whose key a worker may still
be about to send (its lease ran out and it never reported) keeps that key, also where reconciling says that nothing
happened: should the worker wake up, the receiver knows the key. Only where every try under a key was answered, or the
receiver has forgotten the key, is a new one taken: that frees the message from a failure stored under the old one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nbilling.model.clock import DAY, HOUR, LATEST, MINUTE, SECOND
from nbilling.model.outbox import RECONCILE, SEND, Delivered, NotDone, Outcome, Refused, Retry, Traits

Draw = Callable[[int], int]
"""A random whole number of ``[0, n)``."""

NEVER = LATEST + 1
"""The time of what waits for a person."""

BASE = 2 * SECOND
LONGEST_BACKOFF = HOUR
LONGEST_WAIT = DAY
"""A ``Retry-After`` beyond this is not followed."""

HOLD = 10 * MINUTE
"""How often a message that cannot even be tried is looked at."""

GIVE_UP_AFTER = 4 * DAY
"""RFC 5321 4.5.4.1: the give-up time needs to be at least 4 to 5 days. An outage of a weekend loses nothing."""

LEAST_ATTEMPTS = 10
MOST_CRASHES = 8
"""Attempts after which a handler that fails with an error of its own is not called again."""


def backoff(attempts: int, draw: Draw) -> int:
    """Microseconds to wait after so many attempts: exponential with full jitter, so that a crowd spreads out."""
    return draw(min(LONGEST_BACKOFF, BASE << min(attempts - 1, 20)) + 1)


def retry_after(value: int | str | None, now: int) -> int:
    """Microseconds that a ``Retry-After`` asks for (RFC 9110 10.2.3: seconds or a date). Nonsense asks for nothing."""
    if value is None:
        return 0
    text = str(value).strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:12]) * SECOND, LONGEST_WAIT)
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text)
        at = int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()) * SECOND
    except (TypeError, ValueError, OverflowError):
        return 0
    return min(max(at - now, 0), LONGEST_WAIT)


def gives_up(attempts: int, failing_for: int, crashed: bool = False) -> bool:
    """Whether a message that failed again is left to a person. A handler that crashes is at fault itself."""
    if crashed and attempts >= MOST_CRASHES:
        return True
    return attempts >= LEAST_ATTEMPTS and failing_for >= GIVE_UP_AFTER


class Standing(NamedTuple):
    """What the rules need of a message. ``attempts`` and ``failing_since`` count from the last time a person asked."""

    state: str
    generation: int
    attempts: int
    failing_since: int
    first_sent_at: int
    astray: bool


class Verdict(NamedTuple):
    """How a message stands after an attempt. ``released``: the same run may take it again at once."""

    state: str
    wake_at: int
    generation: int
    uncertain: bool
    astray: bool
    first_sent_at: int
    released: bool = False


def next_action(standing: Standing, now: int, traits: Traits) -> str | None:
    """``send``, ``reconcile``, or None where only a person can tell what became of it."""
    if standing.state == "pending":
        return RECONCILE if traits.reconciles and _forgotten(standing, now, traits) else SEND
    if traits.reconciles:
        return RECONCILE
    return SEND if traits.repeatable else None


def after(
    action: str, standing: Standing, outcome: Outcome, now: int, traits: Traits, draw: Draw, crashed: bool = False
) -> Verdict:
    """What an outcome makes of a message."""

    def verdict(state: str, wake_at: int, uncertain: bool) -> Verdict:
        return Verdict(state, wake_at, standing.generation, uncertain, standing.astray, standing.first_sent_at)

    if isinstance(outcome, Delivered):
        return verdict("done", NEVER, False)
    if isinstance(outcome, Refused):
        return verdict("dead", NEVER, False)
    if isinstance(outcome, NotDone):
        return _again(standing, now, traits)
    certain = action == SEND and isinstance(outcome, Retry)
    if gives_up(standing.attempts, now - standing.failing_since, crashed):
        return verdict("dead", NEVER, not certain)
    wait = backoff(standing.attempts, draw)
    if isinstance(outcome, Retry):
        wait += retry_after(outcome.after, now)
    return verdict("pending" if certain else "unknown", now + wait, not certain)


def _again(standing: Standing, now: int, traits: Traits) -> Verdict:
    """It did not happen: sent again, under a new key where that is safe."""
    if standing.astray and not _forgotten(standing, now, traits):
        return Verdict("pending", now, standing.generation, False, True, standing.first_sent_at, True)
    return Verdict("pending", now, standing.generation + 1, False, False, 0, True)


def _forgotten(standing: Standing, now: int, traits: Traits) -> bool:
    used = standing.first_sent_at
    return bool(traits.key_lifetime and used and now - used >= traits.key_lifetime)
