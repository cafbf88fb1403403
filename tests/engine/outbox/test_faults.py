"""Faults before and after the effect, kill -9 after the send, several processes: effects counted at a real server."""

from __future__ import annotations

import importlib.util
import json
import random
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nbilling.engine.outbox import Outbox
from nbilling.engine.outbox_worker import Worker
from nbilling.model.clock import HOUR, MINUTE, format_time

CHILD = Path(__file__).with_name("worker_process.py")
FAULTS = (
    "close", "500", "429", "409",  # before the effect
    "effect close", "effect 500", "effect truncated", "effect html", "effect null",  # after it
    "pin",  # no effect, and a failure stored under the key
)  # fmt: skip
KINDS = ("stripe.make", "mail")


class Receiver(ThreadingHTTPServer):
    """Takes effect once for an idempotency key, and fails as it is told. Counts what took effect, in its order."""

    daemon_threads = True

    def __init__(self, seed: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.guard = threading.Lock()
        self.random = random.Random(seed)
        self.fault_percent = 0
        self.injected: Counter[str] = Counter()
        self.effects: list[tuple[str, str, int]] = []
        self.keys: dict[str, bool] = {}
        self.meeting: threading.Barrier | None = None  # so many requests must be here at once before any is answered
        self.arrived = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def fault(self, method: str) -> str:
        if self.random.randrange(100) >= self.fault_percent:
            return ""
        kind = self.random.choice(FAULTS if method == "POST" else FAULTS[:4])
        self.injected[kind] += 1
        return kind

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""


class Answers(BaseHTTPRequestHandler):
    """One request."""

    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key, operation = self.headers["Idempotency-Key"], self.path[1:]
        with self.server.guard:
            self.server.arrived += 1
            meeting = self.server.meeting if self.server.arrived <= 2 else None
        if meeting is not None:
            meeting.wait(60)
        with self.server.guard:
            fault = self.server.fault("POST")
            if not fault or fault.startswith("effect") or fault == "pin":
                if key not in self.server.keys:
                    self.server.keys[key] = fault != "pin"
                    if fault != "pin":
                        self.server.effects.append((operation, body["customer"], body["n"]))
                if not self.server.keys[key]:
                    fault = "500"
        self.answer(fault.removeprefix("effect "), operation)

    def do_GET(self) -> None:
        with self.server.guard:
            fault = self.server.fault("GET")
            known = any(operation == self.path[1:] for operation, _, _ in self.server.effects)
        self.answer(fault or ("" if known else "404"), self.path[1:])

    def answer(self, how: str, operation: str) -> None:
        if how == "close":
            # A reset: whether the request was taken cannot be told from it.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        text = {"html": "<html>", "null": "null"}.get(how, json.dumps({"id": operation}))
        self.send_response(int(how) if how.isdigit() else 200)
        self.send_header("Content-Length", str(len(text) + (5 if how == "truncated" else 0)))
        if how == "429":
            self.send_header("Retry-After", "3")
        self.end_headers()
        self.wfile.write(text.encode())

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            pass  # it was closed on purpose

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver(seed=7)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join(30)
    server.server_close()


@pytest.fixture(scope="module")
def child() -> ModuleType:
    spec = importlib.util.spec_from_file_location("worker_process", CHILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def queue(world: Any, count: int, customers: int) -> None:
    outbox = Outbox(world.billing._core)

    def job(db: Any) -> None:
        for n in range(count):
            row = world.billing._accounts.ensure(db, f"c{n % customers}", world.clock.at)
            outbox.enqueue(db, KINDS[n // customers % 2], row.id, {"n": n}, f"op{n}")

    world.billing._core.write(job)


def open_messages(world: Any) -> int:
    number: int = world.rows("SELECT count(*) FROM outbox WHERE state NOT IN ('done', 'dropped')")[0][0]
    return number


def assert_each_once_and_in_order(world: Any, receiver: Receiver, count: int, customers: int) -> None:
    assert sorted(n for _, _, n in receiver.effects) == list(range(count)), "twice, or lost"
    assert world.rows("SELECT count(*) FROM outbox WHERE state = 'done'") == [(count,)]
    for c in range(customers):
        for lane in (0, 1):
            order = [n for _, who, n in receiver.effects if who == f"c{c}" and n // customers % 2 == lane]
            assert order == sorted(order)
    failed = world.rows("SELECT count(*) FROM outbox_attempts WHERE state = 'dead'")
    assert failed == [(0,)], "nothing that happened was called failed"


def test_a_thousand_faults_leave_each_effect_once_and_in_order(
    world: Any, receiver: Receiver, child: ModuleType
) -> None:
    receiver.fault_percent = 75
    queue(world, 250, 25)
    handler = child.HttpPost(receiver.address)
    workers = [Worker(world.billing._core, dict.fromkeys(KINDS, handler)) for _ in range(2)]
    for _ in range(500):
        if not open_messages(world):
            break
        threads = [threading.Thread(target=worker.run) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        world.clock.at += HOUR + MINUTE
    assert receiver.injected.total() >= 1000
    assert all(receiver.injected[kind] >= 10 for kind in FAULTS)
    assert_each_once_and_in_order(world, receiver, 250, 25)


def run_child(world: Any, receiver: Receiver, lives_for: int) -> subprocess.Popen[bytes]:
    arguments = [str(world.path), receiver.address, format_time(world.clock.at), str(lives_for)]
    return subprocess.Popen([sys.executable, str(CHILD), *arguments])


def test_a_worker_killed_after_the_send_leaves_one_effect(world: Any, receiver: Receiver) -> None:
    queue(world, 30, 5)
    killed = 0
    for _ in range(100):
        if not open_messages(world):
            break
        killed += run_child(world, receiver, lives_for=2).wait(60) == -9
        world.clock.at += 6 * MINUTE
    assert killed >= 10
    assert world.rows("SELECT count(*) FROM outbox_attempts WHERE event = 'lease_ran_out'")[0][0] == killed
    assert_each_once_and_in_order(world, receiver, 30, 5)


def test_a_killed_worker_and_a_forgotten_key_leave_one_effect(world: Any, receiver: Receiver) -> None:
    """The receiver forgets its keys before anybody looks: only reconciling can tell."""
    queue(world, 4, 4)
    assert run_child(world, receiver, lives_for=1).wait(60) == -9
    receiver.keys.clear()
    world.clock.at += 25 * HOUR
    assert run_child(world, receiver, lives_for=0).wait(60) == 0
    assert_each_once_and_in_order(world, receiver, 4, 4)


def test_several_processes_at_once_send_each_message_once_and_in_order(world: Any, receiver: Receiver) -> None:
    """The first two requests wait for one another, so at least two processes are at it."""
    receiver.meeting = threading.Barrier(2)
    queue(world, 120, 12)
    children = [run_child(world, receiver, lives_for=0) for _ in range(3)]
    assert [one.wait(120) for one in children] == [0, 0, 0]
    assert_each_once_and_in_order(world, receiver, 120, 12)
    workers = world.rows("SELECT count(DISTINCT actor) FROM outbox_attempts")
    assert workers[0][0] >= 2
