"""Many at once for the last ten units: exactly ten pass, and ten are recorded."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nbilling

PROCESSES, THREADS, LEFT = 24, 64, 10

RACER = """
import sys, nbilling
with nbilling.open(sys.argv[1], config=nbilling.Config()) as billing:
    print("ready", flush=True)
    sys.stdin.read()
    print(billing.quota.enforce("acme", sys.argv[2], 1).allowed, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger in which acme has ten units left of requests and of storage."""
    path = tmp_path / "billing.db"
    nbilling.init(path)
    with nbilling.open(path, config=nbilling.Config()) as billing:
        billing.usage.track("acme", "api_requests", 1000 - LEFT)
        billing.usage.track_storage("acme", 2**30 - LEFT)
    return path


def recorded(path: Path, resource: str) -> int:
    """What is on the meter, after the events have been found to say the same."""
    with nbilling.open(path, config=nbilling.Config()) as billing:
        events = billing.ledger.read().execute(
            "SELECT sum(amount) FROM events WHERE meter = (SELECT id FROM meters WHERE name = ?)", (resource,)
        )
        current = billing.usage.get_current("acme")
        found = current["api_requests"] if resource == "api_requests" else current["storage_bytes"]
        assert found == events.fetchone()[0]
        return int(found)


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """The answers of so many threads that all start at the same moment."""
    barrier = threading.Barrier(count)
    answers: list[Any] = []

    def run(number: int) -> None:
        barrier.wait()
        answers.append(call(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("resource,full", [("api_requests", 1000), ("storage", 2**30)])
def test_of_24_processes_racing_for_the_last_10_units_exactly_10_pass(path: Path, resource: str, full: int) -> None:
    command = [sys.executable, "-c", RACER, str(path), resource]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
    answers: Counter[str] = Counter()
    for racer in racers:
        assert racer.stdout is not None
        answers[racer.stdout.read()] += 1
        racer.stdout.close()
        assert racer.wait() == 0
    assert answers == {"True\n": LEFT, "False\n": PROCESSES - LEFT}
    assert recorded(path, resource) == full


@pytest.mark.parametrize("resource,full", [("api_requests", 1000), ("storage", 2**30)])
def test_of_64_threads_racing_for_the_last_10_units_exactly_10_pass(path: Path, resource: str, full: int) -> None:
    with nbilling.open(path, config=nbilling.Config()) as billing:
        answers = at_once(THREADS, lambda _: billing.quota.enforce("acme", resource, 1).allowed)
    assert Counter(answers) == {True: LEFT, False: THREADS - LEFT}
    assert recorded(path, resource) == full


def test_unequal_amounts_fill_the_limit_at_most(path: Path) -> None:
    with nbilling.open(path, config=nbilling.Config()) as billing:
        answers = at_once(
            THREADS, lambda number: (number % 4, billing.quota.enforce("acme", "api_requests", number % 4))
        )
    passed = sum(amount for amount, answer in answers if answer.allowed)
    assert passed <= LEFT
    assert recorded(path, "api_requests") == 1000 - LEFT + passed
    assert all(amount > LEFT - passed for amount, answer in answers if not answer.allowed)


def test_the_same_call_made_by_many_at_once_is_counted_once(path: Path) -> None:
    with nbilling.open(path, config=nbilling.Config()) as billing:
        answers = at_once(THREADS, lambda _: billing.quota.enforce("acme", "api_requests", LEFT, id="order-17").allowed)
    assert answers == [True] * THREADS
    assert recorded(path, "api_requests") == 1000


def test_a_new_customer_comes_into_being_once(path: Path) -> None:
    with nbilling.open(path, config=nbilling.Config()) as billing:
        answers = at_once(THREADS, lambda _: billing.quota.enforce("initech", "api_requests", 1).allowed)
        assert answers == [True] * THREADS
        assert billing.usage.get_current("initech")["api_requests"] == THREADS
        assert [customer["customer_id"] for customer in billing.customers.list()] == ["acme", "initech"]


def test_of_two_changes_of_plan_at_once_one_follows_the_other(path: Path) -> None:
    with nbilling.open(path, config=nbilling.Config()) as billing:
        at_once(16, lambda number: _upgrade(billing, "pro" if number else "enterprise"))
        assert billing.plans.get_current("acme")["id"] == "enterprise"
        found = billing.ledger.read().execute("SELECT count(*) FROM subscription_records WHERE is_default = 0")
        assert found.fetchone() == (1,)


def _upgrade(billing: nbilling.Billing, plan: str) -> None:
    """Pro is refused as the lower plan once enterprise was first."""
    try:
        billing.plans.upgrade("acme", plan)
    except nbilling.Conflict:
        if plan != "pro":
            raise
