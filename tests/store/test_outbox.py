"""The tables of outbox and alerts: what they refuse, and that every question is answered by an index."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nbilling.store import alerts, outbox
from nbilling.store.steps import STEPS


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for _, step in STEPS:
        step(connection)
    yield connection
    connection.close()


def add(db: sqlite3.Connection, operation: str, customer: int = 0, lane: str = "mail") -> outbox.OutboxRow:
    assert outbox.insert(db, operation, lane, lane, customer, "{}", 1, 1)
    row = outbox.find(db, operation)
    assert row is not None
    return row


def heads(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT operation_id FROM outbox WHERE head = 1 ORDER BY id").fetchall()]


def test_the_first_open_message_of_each_lane_is_its_head(db: sqlite3.Connection) -> None:
    first = add(db, "a1", 1)
    second = add(db, "a2", 1)
    for operation, customer, lane in (("b1", 2, "mail"), ("c1", 1, "hook"), ("a3", 1, "mail")):
        add(db, operation, customer, lane)
    assert heads(db) == ["a1", "b1", "c1"]
    outbox.close(db, second, 2, state="dropped")
    assert heads(db) == ["a1", "b1", "c1"]
    outbox.close(db, first, 2, state="done")
    assert heads(db) == ["b1", "c1", "a3"]
    outbox.close(db, outbox.find(db, "a3"), 2, state="done")  # type: ignore[arg-type]
    add(db, "a4", 1)
    assert heads(db) == ["b1", "c1", "a4"]


def test_an_operation_is_queued_once(db: sqlite3.Connection) -> None:
    add(db, "a")
    assert not outbox.insert(db, "a", "hook", "hook", 5, '{"other":1}', 9, 9)
    assert db.execute("SELECT count(*) FROM outbox").fetchone() == (1,)


def test_tokens_rise_and_are_never_given_again(db: sqlite3.Connection) -> None:
    row = add(db, "a")
    tokens = []
    for _ in range(3):
        tokens.append(outbox.note_lease(db, row.id, 1, "send", 1, "w"))
        outbox.note(db, row.id, 1, "settled", "pending", 1, tokens[-1], "w")
    assert tokens == sorted(set(tokens))
    assert outbox.last_token(db) > tokens[-1]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM outbox",
        "DELETE FROM outbox_attempts",
        "UPDATE outbox_attempts SET state = 'done'",
        "UPDATE outbox SET state = 'lost'",
        "UPDATE outbox SET state = 'done'",
        "UPDATE outbox SET head = 2",
        "UPDATE outbox SET operation_id = 'b' WHERE id = 1",
        "INSERT INTO outbox_attempts VALUES (NULL, 99, 1, 'send', 'leased', 1, 1, 'w', '')",
        "INSERT INTO outbox_attempts VALUES (NULL, 1, 1, 'guessed', 'leased', 1, 1, 'w', '')",
        "INSERT INTO alert_firings VALUES (1, 1, 1, 1, 1, 99)",
    ],
)
def test_what_would_break_the_order_or_the_history_is_refused(db: sqlite3.Connection, sql: str) -> None:
    db.execute("PRAGMA foreign_keys=ON")
    row = add(db, "a")
    add(db, "b", 7)
    outbox.note_lease(db, row.id, 1, "send", 1, "w")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(sql)


def test_only_known_columns_are_set(db: sqlite3.Connection) -> None:
    row = add(db, "a")
    with pytest.raises(LookupError):
        outbox.change(db, row.id, 1, payload="{}")


def test_a_firing_is_one_a_period(db: sqlite3.Connection) -> None:
    row = add(db, "a")
    db.execute("INSERT INTO customers (id, customer_id, created_at, updated_at) VALUES (1, 'acme', 1, 1)")
    number = alerts.put(db, 1, 1, "amount", 10, "log", 1)
    assert alerts.put(db, 1, 1, "amount", 10, "email", 2) == number
    [armed] = alerts.armed(db, 1, 0)
    assert armed == alerts.AlertRow(number, 1, "amount", 10, "email")
    alerts.fire(db, number, 0, 5, 10, 0, row.id)
    assert alerts.armed(db, 1, 0) == []
    assert alerts.armed(db, 1, 100) == [armed]
    with pytest.raises(sqlite3.IntegrityError):
        alerts.fire(db, number, 0, 6, 11, 0, row.id)


@pytest.mark.parametrize(
    "ask,index",
    [
        (lambda db: outbox.due(db, 5, ["mail"], ["mail"]), "outbox_due (wake_at<?)"),
        (lambda db: outbox.expired(db, 5), "outbox_leased (wake_at<?)"),
        (lambda db: outbox.lane_head(db, 1, "mail"), "outbox_lane (customer=? AND lane=?)"),
        (lambda db: outbox.unfinished(db, "mail", "mail", 1, "{}"), "outbox_lane (customer=? AND lane=?)"),
        (lambda db: outbox.insert(db, "x", "mail", "mail", 1, "{}", 1, 1), "outbox_lane (customer=? AND lane=?)"),
        (lambda db: outbox.page(db, ["pending", "dead"], "", -1, 0, 5), "outbox_lane"),
        (lambda db: outbox.wake_held(db, 5), "outbox_held"),
        (lambda db: outbox.history(db, 1), "outbox_attempts_message (message=?)"),
        (lambda db: alerts.armed(db, 1, 0), "sqlite_autoindex_alerts_1 (customer=?)"),
    ],
)
def test_every_question_of_a_worker_is_answered_by_an_index(
    db: sqlite3.Connection, ask: Callable[[Any], Any], index: str
) -> None:
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    ask(db)
    db.set_trace_callback(None)
    steps = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {asked[0]}").fetchall()]
    assert any(index in step for step in steps), steps
    assert "SCAN o" not in steps
    assert "SCAN outbox" not in steps
