"""When a message is tried again, given up, reconciled; and under which key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.clock import DAY, HOUR, LATEST, SECOND, parse_time
from nbilling.model.outbox import Delivered, NotDone, Refused, Retry, Traits, Unknown
from nbilling.rules.retry import (
    GIVE_UP_AFTER,
    LEAST_ATTEMPTS,
    LONGEST_BACKOFF,
    LONGEST_WAIT,
    MOST_CRASHES,
    NEVER,
    Standing,
    after,
    backoff,
    gives_up,
    next_action,
    retry_after,
)

NOW = parse_time("2026-01-10T12:00:00Z")
PLAIN, ASKS, REPEATS = Traits(), Traits(reconciles=True), Traits(repeatable=True)
FORGETS = Traits(reconciles=True, key_lifetime=DAY)


def most(n: int) -> int:
    return n - 1


def least(n: int) -> int:
    return 0


def standing(state: str = "leased", attempts: int = 1, **values: int) -> Standing:
    return Standing(state, 1, attempts, NOW, NOW, False)._replace(**values)


@given(st.integers(1, 10_000), st.randoms(use_true_random=False))
def test_backoff_doubles_up_to_an_hour_with_full_jitter(attempts: int, random: object) -> None:
    longest = min(LONGEST_BACKOFF, 2 * SECOND * 2 ** (attempts - 1))
    assert backoff(attempts, least) == 0
    assert backoff(attempts, most) == longest
    assert 0 <= backoff(attempts, random.randrange) <= longest  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "value,seconds",
    [
        (None, 0),
        (30, 30),
        ("120", 120),
        (" 5 ", 5),
        ("99999999999999999999", LONGEST_WAIT // SECOND),
        ("Sat, 10 Jan 2026 12:01:40 GMT", 100),
        ("Sat, 10 Jan 2026 12:01:40 -0000", 100),
        ("Sat, 10 Jan 2026 11:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT // SECOND),
        ("soon", 0),
        ("", 0),
        ("-5", 0),
        ("１２", 0),
        ("Sat, 99 Foo 2026", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_nonsense_asks_for_nothing(value: int | str | None, seconds: int) -> None:
    assert retry_after(value, NOW) == seconds * SECOND


def test_a_retry_after_is_added_to_the_backoff() -> None:
    verdict = after("send", standing(), Retry("busy", "60"), NOW, PLAIN, most)
    assert verdict.wake_at == NOW + 62 * SECOND


def test_only_what_has_failed_often_and_for_days_is_given_up() -> None:
    assert not gives_up(LEAST_ATTEMPTS - 1, GIVE_UP_AFTER)
    assert not gives_up(10**6, GIVE_UP_AFTER - 1)
    assert gives_up(LEAST_ATTEMPTS, GIVE_UP_AFTER)


def test_an_outage_of_three_days_gives_nothing_up() -> None:
    """With the shortest waits and with the longest."""
    for draw in (least, most):
        now, attempts = NOW, 0
        while now < NOW + 3 * DAY:
            attempts += 1
            verdict = after("send", standing(attempts=attempts), Retry("down"), now, PLAIN, draw)
            assert verdict.state == "pending"
            now = max(verdict.wake_at, now + 10 * 60 * SECOND)


def test_a_handler_that_crashes_is_not_called_for_ever() -> None:
    assert (
        after("send", standing(attempts=MOST_CRASHES - 1), Unknown("KeyError"), NOW, ASKS, least, True).state
        == "unknown"
    )
    assert after("send", standing(attempts=MOST_CRASHES), Unknown("KeyError"), NOW, ASKS, least, True) == (
        "dead", NEVER, 1, True, False, NOW, False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "action,outcome,state,uncertain",
    [
        ("send", Delivered({}), "done", False),
        ("send", Refused("no"), "dead", False),
        ("send", Retry("busy"), "pending", False),
        ("send", Unknown("reset"), "unknown", True),
        ("reconcile", Delivered({}), "done", False),
        ("reconcile", Refused("no"), "dead", False),
        ("reconcile", Retry("busy"), "unknown", True),
        ("reconcile", Unknown("still"), "unknown", True),
        ("reconcile", NotDone(), "pending", False),
    ],
)
def test_each_outcome_leads_to_its_state(action: str, outcome: object, state: str, uncertain: bool) -> None:
    verdict = after(action, standing(), outcome, NOW, ASKS, least)  # type: ignore[arg-type]
    assert (verdict.state, verdict.uncertain) == (state, uncertain)


def test_given_up_while_unknown_it_stays_uncertain() -> None:
    old = standing(attempts=LEAST_ATTEMPTS, failing_since=NOW - GIVE_UP_AFTER)
    assert after("reconcile", old, Retry("down"), NOW, ASKS, least)[:4] == ("dead", NEVER, 1, True)
    assert after("send", old, Retry("down"), NOW, ASKS, least)[:4] == ("dead", NEVER, 1, False)


def test_what_was_found_not_to_have_happened_gets_a_new_key() -> None:
    verdict = after("reconcile", standing(), NotDone(), NOW, ASKS, most)
    assert (verdict.state, verdict.generation, verdict.first_sent_at, verdict.wake_at) == ("pending", 2, 0, NOW)
    assert verdict.released


def test_while_a_worker_with_the_key_may_wake_up_the_key_stays() -> None:
    verdict = after("reconcile", standing(astray=True), NotDone(), NOW, FORGETS, least)
    assert (verdict.state, verdict.generation, verdict.astray, verdict.first_sent_at) == ("pending", 1, True, NOW)


def test_a_key_that_the_receiver_has_forgotten_protects_nobody_and_is_replaced() -> None:
    verdict = after("reconcile", standing(astray=True, first_sent_at=NOW - DAY), NotDone(), NOW, FORGETS, least)
    assert (verdict.generation, verdict.astray, verdict.first_sent_at) == (2, False, 0)


@pytest.mark.parametrize(
    "state,age,traits,action",
    [
        ("pending", 0, PLAIN, "send"),
        ("pending", DAY, FORGETS, "reconcile"),
        ("pending", DAY - 1, FORGETS, "send"),
        ("pending", 100 * DAY, ASKS, "send"),
        ("pending", 100 * DAY, Traits(key_lifetime=HOUR), "send"),
        ("unknown", 0, ASKS, "reconcile"),
        ("unknown", 0, Traits(reconciles=True, repeatable=True), "reconcile"),
        ("unknown", 0, REPEATS, "send"),
        ("unknown", 0, PLAIN, None),
    ],
)
def test_what_may_have_happened_is_reconciled_first(state: str, age: int, traits: Traits, action: str | None) -> None:
    assert next_action(standing(state, first_sent_at=NOW - age), NOW, traits) == action


def test_what_was_never_sent_has_no_key_to_be_forgotten() -> None:
    assert next_action(standing("pending", first_sent_at=0), LATEST, FORGETS) == "send"
