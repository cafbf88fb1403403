"""``nbilling usage alert-…``: rows 9 and 10 of the contract, and what else there is to alerts."""

from __future__ import annotations

import email
import email.policy
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

import nbilling
from nbilling.cli.start import main

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NBILLING_NOW", "2026-01-10T12:00:00Z")
    nbilling.init()

    def call(*arguments: str, code: int = 0) -> tuple[str, str]:
        found = main(list(arguments))
        out, err = capsys.readouterr()
        assert found == code, err
        return out, err

    return call


def usage(run: Run, *arguments: str, code: int = 0) -> Any:
    out, _ = run("usage", *arguments, code=code)
    return json.loads(out) if out else None


def test_setting_is_quiet_and_checking_prints_what_fired(run: Run, tmp_path: Path) -> None:
    assert run("usage", "alert-set", "acme", "api_requests", "10", "log") == ("", "")
    assert usage(run, "alert-check", "acme") == usage(run, "alert-check", "zeta") == []
    run("usage", "track", "acme", "api_requests", "10")
    out, err = run("usage", "alert-check", "acme")
    [fired] = json.loads(out)
    assert (fired["metric"], fired["usage"], fired["delivery"]) == ("api_requests", 10, "done")
    assert json.loads(err)["data"]["summary"] == fired["summary"]
    assert usage(run, "alert-check", "acme") == []


def test_a_percentage_and_gigabytes_can_be_given(run: Run) -> None:
    run("usage", "alert-set", "acme", "storage_gb", "0.5", "log")
    run("usage", "alert-set", "acme", "api_requests", "80", "log", "--percent")
    assert [(a["metric"], a["basis"], a["threshold"]) for a in usage(run, "alert-list", "acme")] == [
        ("api_requests", "percent", 80), ("storage", "amount", 2**29),
    ]  # fmt: skip
    run("usage", "alert-remove", "acme", "api_requests", "80", "--percent")
    run("usage", "alert-remove", "acme", "storage", str(2**29))
    assert usage(run, "alert-list", "acme") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("alert-set", "acme", "nothing", "1", "log"),
        ("alert-set", "acme", "api_requests", "0", "log"),
        ("alert-set", "acme", "api_requests", "1", "fax"),
        ("alert-set", "acme", "api_requests", "101.5", "log", "--percent"),
        ("alert-set", "", "api_requests", "1", "log"),
        ("alert-set", "acme", "api_requests"),
        ("alert-check", ""),
        ("alert-check",),
    ],
)
def test_bad_input_is_exit_2_in_one_line(run: Run, arguments: tuple[str, ...]) -> None:
    out, err = run("usage", *arguments, code=2)
    assert out == ""
    assert len(err.splitlines()) == 1


def test_an_alert_by_mail_without_a_server_stays_queued_and_says_why(run: Run) -> None:
    run("usage", "alert-set", "acme", "api_requests", "1", "email")
    run("usage", "track", "acme", "api_requests", "1")
    out, err = run("usage", "alert-check", "acme")
    assert json.loads(out)[0]["delivery"] == "pending"
    assert "AUTH_SMTP_HOST" in err
    assert "AUTH_SMTP_HOST" in json.loads(run("outbox", "list", "--format", "json")[0])[0]["reason"]


def test_an_alert_by_webhook_without_a_receiver_stays_queued_and_says_why(run: Run) -> None:
    run("usage", "alert-set", "acme", "api_requests", "1", "webhook")
    run("usage", "track", "acme", "api_requests", "1")
    assert "NBILLING_WEBHOOK_URL" in run("usage", "alert-check", "acme")[1]


def in_fixtures_mode() -> None:
    with sqlite3.connect("nbilling.db") as db:
        db.execute("UPDATE ledger SET value = 'fixtures' WHERE key = 'mode'")
    db.close()


def test_in_a_fixtures_ledger_mail_is_an_eml_file(run: Run, tmp_path: Path) -> None:
    in_fixtures_mode()
    run("usage", "alert-set", "acme", "api_requests", "1", "email")
    run("usage", "track", "acme", "api_requests", "1")
    out, err = run("usage", "alert-check", "acme")
    assert "acme has no e-mail address" in err
    run("customer", "update", "acme", "--email", "ada@example.com")
    assert json.loads(run("outbox", "process", "--format", "json")[0])["delivered"] == 1
    [file] = (tmp_path / "nbilling.db-mail").iterdir()
    message: Any = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    assert str(message["To"]) == "ada@example.com"
    assert message["Subject"].startswith("Usage alert: acme has reached 1 requests on api_requests")
    assert "2026-01-01T00:00:00Z to 2026-02-01T00:00:00Z" in message.get_content()
    assert json.loads(out)[0]["operation_id"] in message["Message-ID"]


def test_a_customer_without_an_address_is_told_of_at_the_configured_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_fixtures_mode()
    monkeypatch.setenv("NBILLING_ALERT_EMAIL", "ops@example.com")
    monkeypatch.setenv("NBILLING_MAIL_DIRECTORY", str(tmp_path / "out"))
    run("usage", "alert-set", "acme", "api_requests", "1", "email")
    run("usage", "track", "acme", "api_requests", "1")
    assert usage(run, "alert-check", "acme")[0]["delivery"] == "done"
    [file] = (tmp_path / "out").iterdir()
    assert b"To: ops@example.com" in file.read_bytes()


class DyingOnce:
    """Takes every message, and drops the first connection instead of saying so."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - the name that it calls
        self.taken.append(envelope.original_content)
        if len(self.taken) == 1:
            server.transport.abort()
        return "250 OK"


class AnyPort(Controller):
    """An SMTP server on a free port of this machine."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


def test_mail_that_may_have_been_taken_is_unknown_and_sent_again_as_the_same_message(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = DyingOnce()
    server = AnyPort(box, hostname="127.0.0.1", port=0)
    server.start()
    try:
        monkeypatch.setenv("AUTH_SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("AUTH_SMTP_PORT", str(server.port))
        monkeypatch.setenv("AUTH_SMTP_SENDER", "Billing <billing@example.com>")
        run("customer", "create", "acme", "--email", "ada@example.com")
        run("usage", "alert-set", "acme", "api_requests", "1", "email")
        run("usage", "track", "acme", "api_requests", "1")
        assert usage(run, "alert-check", "acme")[0]["delivery"] == "unknown"
        monkeypatch.setenv("NBILLING_NOW", "2026-01-10T13:00:00Z")
        assert json.loads(run("outbox", "process", "--format", "json")[0])["delivered"] == 1
    finally:
        server.stop()
    assert len(box.taken) == 2
    assert box.taken[0] == box.taken[1]
    history = json.loads(run("outbox", "show", "1", "--format", "json")[0])["history"]
    assert [step["state"] for step in history] == ["leased", "unknown", "leased", "done"]


@pytest.mark.parametrize("name", ["AUTH_SMTP_PASS", "NBILLING_WEBHOOK_SECRET"])
def test_a_secret_is_not_shown(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "s3cret-value")
    out, err = run("config", "show")
    assert "s3cret-value" not in out + err
    [row] = [row for row in json.loads(out) if row["environment"] == name]
    assert row["value"] == "(set, not shown)"


@pytest.mark.parametrize("url", ["ftp://x", "token-without-a-url", "https:///path", "http://x:99999/", "https://a b/"])
def test_a_url_that_is_none_is_refused_without_being_repeated(
    run: Run, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("NBILLING_WEBHOOK_URL", url)
    _, err = run("config", "show", code=2)
    assert "NBILLING_WEBHOOK_URL" in err
    assert url not in err
