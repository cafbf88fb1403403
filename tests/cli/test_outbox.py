"""``nbilling outbox`` as a person and as a service runs it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nbilling
from nbilling.cli.start import main
from nbilling.model.config import Config

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NBILLING_ALERT_LOG", str(tmp_path / "alerts.log"))
    path = tmp_path / "nbilling.db"
    nbilling.init(path)
    return path


@pytest.fixture
def run(ledger: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str, code: int = 0) -> tuple[int, str, str]:
        found = main(["outbox", *arguments])
        out, err = capsys.readouterr()
        assert found == code, err
        return found, out, err

    return call


@pytest.fixture
def queue(ledger: Path) -> Callable[..., None]:
    def put(*operations: str, kind: str = "alert_log") -> None:
        with nbilling.open(ledger, config=Config({})) as billing:

            def job(db: sqlite3.Connection) -> None:
                row = billing._accounts.ensure(db, "acme", billing._core.now(db))
                for operation in operations:
                    billing.outbox.enqueue(db, kind, row.id, {"summary": operation}, operation)

            billing._core.write(job)

    return put


def printed(run: Run, *arguments: str, **how: Any) -> Any:
    return json.loads(run(*arguments, "--format", "json", **how)[1])


def test_what_waits_is_listed_shown_and_sent(run: Run, queue: Callable[..., None], tmp_path: Path) -> None:
    queue("op1", "op2")
    assert [(row["id"], row["state"], row["waits_for"]) for row in printed(run, "list")] == [
        (1, "pending", None), (2, "pending", 1),
    ]  # fmt: skip
    assert printed(run, "process", "--once")["delivered"] == 2
    assert printed(run, "list") == []
    assert [row["state"] for row in printed(run, "list", "--state", "all")] == ["done", "done"]
    assert [step["event"] for step in printed(run, "show", "op1")["history"]] == ["send", "settled"]
    assert [json.loads(line)["id"] for line in (tmp_path / "alerts.log").read_text().splitlines()] == ["op1", "op2"]
    assert printed(run, "status")["done"] == 2


def test_a_dead_message_says_how_to_go_on(
    run: Run, queue: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBILLING_WEBHOOK_URL", "http://127.0.0.1:1/")
    monkeypatch.setenv("NBILLING_WEBHOOK_SECRET", "s3cret")
    queue("op1", "op2", kind="alert_webhook")
    _, out, _ = run("process")
    assert json.loads(out)["retried"] == 1
    with sqlite3.connect("nbilling.db") as db:
        db.execute("UPDATE outbox SET state = 'dead', wake_at = 253402300800000000 WHERE id = 1")
    db.close()
    _, out, err = run("show", "1", "--format", "table")
    assert "cannot be reached" in out
    assert "nbilling outbox retry 1" in err
    assert "waits for message 1" in run("show", "2", "--format", "table")[2]
    assert printed(run, "retry", "1")[0]["state"] == "pending"
    run("drop", "1", "--reason", "gone", "--yes")
    assert printed(run, "show", "1")["state"] == "dropped"


def test_dropping_asks_and_without_a_terminal_needs_yes(run: Run, queue: Callable[..., None]) -> None:
    queue("op")
    assert "--yes" in run("drop", "op", code=2)[2]
    assert printed(run, "show", "op")["state"] == "pending"


def test_what_may_have_happened_and_nobody_can_find_out_needs_a_word(run: Run, queue: Callable[..., None]) -> None:
    queue("op", kind="stripe.pay")
    with sqlite3.connect("nbilling.db") as db:
        db.execute("UPDATE outbox SET state = 'unknown', uncertain = 1")
    db.close()
    assert "--not-done" in run("retry", "op", code=4)[2]
    assert printed(run, "retry", "op", "--not-done")[0]["state"] == "pending"
    assert printed(run, "show", "op")["generation"] == 2


def test_a_pause_holds_everything_back_and_says_so(run: Run, queue: Callable[..., None]) -> None:
    queue("op")
    run("pause", "--reason", "moving")
    _, out, err = run("process", "--format", "json")
    assert not any(json.loads(out).values())
    assert "moving" in err
    assert printed(run, "status")["paused"][0]["name"] == "everything"
    run("resume")
    assert printed(run, "process")["delivered"] == 1


@pytest.mark.parametrize(
    "arguments,code",
    [
        (("show", "7"), 3),
        (("show", "no such thing"), 2),
        (("retry",), 2),
        (("retry", "7"), 3),
        (("drop", "7", "--yes"), 3),
        (("list", "--state", "lost"), 2),
        (("list", "--limit", "0"), 2),
        (("list", "--customer", "nobody"), 3),
        (("pause", "No Kind"), 2),
        (("process", "--watch", "--once"), 2),
        (("process", "--limit", "0"), 2),
        (("process", "--poll", "x", "--watch"), 2),
    ],
)
def test_bad_input_has_its_exit_code(run: Run, arguments: tuple[str, ...], code: int) -> None:
    run(*arguments, code=code)


def test_unknown_and_dead_are_exit_6(run: Run, queue: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    import socket
    import threading

    monkeypatch.setenv("NBILLING_WEBHOOK_SECRET", "s3cret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("NBILLING_WEBHOOK_URL", f"http://127.0.0.1:{server.getsockname()[1]}/")

        def hang_up() -> None:
            client, _ = server.accept()
            client.recv(65_536)
            client.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        queue("op", kind="alert_webhook")
        assert printed(run, "process", code=6)["unknown"] == 1
        thread.join(30)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_watching_sends_what_comes_and_ends_when_it_is_told_to(
    ledger: Path, queue: Callable[..., None], how: signal.Signals
) -> None:
    """The log is its stderr: reading a line from it waits until the message was sent."""
    watcher = subprocess.Popen(
        [sys.executable, "-m", "nbilling", "--db", str(ledger), "outbox", "process", "--watch", "--poll", "1"],
        env={**os.environ, "NBILLING_ALERT_LOG": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        queue("op1")
        assert watcher.stderr is not None
        assert json.loads(watcher.stderr.readline())["id"] == "op1"
        queue("op2")
        assert json.loads(watcher.stderr.readline())["id"] == "op2"
        watcher.send_signal(how)
        out, err = watcher.communicate(timeout=60)
    finally:
        watcher.kill()
    assert (watcher.returncode, err) == (0, "")
    assert json.loads(out)["delivered"] == 2
    with nbilling.open(ledger, config=Config({})) as billing:
        assert billing.outbox.status()["done"] == 2
