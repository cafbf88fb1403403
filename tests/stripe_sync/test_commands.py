"""``nbilling stripe``: where the key comes from, exit codes, what is printed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from nbilling.cli.start import main

SECRET = "sk_live_abcdefgh12345678"


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NBILLING_DB", str(tmp_path / "billing.db"))

    def answer(*words: str, stdin: bytes = b"") -> Answer:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfd.readouterr()
        return Answer(main(["stripe", *words]), *capfd.readouterr())

    return answer


def test_the_key_comes_from_the_environment_a_private_file_or_standard_input(
    call: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "key"
    private.write_text("sk_test_PLACEHOLDER_file\n")
    private.chmod(0o600)
    assert call("init", "--key-file", str(private)).code == 0
    assert call("init", "-", stdin=b"sk_test_PLACEHOLDER_stdin\n").code == 0
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_PLACEHOLDER")
    assert call("init").code == 0
    private.chmod(0o644)
    assert call("init", "--key-file", str(private)).code == 2


def test_a_key_on_the_command_line_is_refused_and_never_repeated(call: Callable[..., Answer], tmp_path: Path) -> None:
    for words in ((SECRET,), ("-", SECRET), ("--", SECRET), (SECRET, "x")):
        answer = call("init", *words)
        assert (answer.code, answer.out) == (2, "")
        assert SECRET not in answer.err
    assert not (tmp_path / "billing.db").exists()


@pytest.mark.parametrize("key", ["", "pk_test_x", "sk_test_", "hello", "sk_test_a b"])
def test_what_is_no_key_is_bad_input_and_makes_no_ledger(
    call: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("STRIPE_SECRET_KEY", key)
    assert call("init").code == 2
    assert not (tmp_path / "billing.db").exists()


def test_a_key_that_cannot_be_checked_fixes_no_mode(
    call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIPE_API_BASE", "http://127.0.0.1:1")
    monkeypatch.setenv("STRIPE_SECRET_KEY", SECRET)
    answer = call("init")
    assert answer.code == 6
    assert SECRET not in answer.err
    monkeypatch.delenv("STRIPE_API_BASE")
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_PLACEHOLDER")
    assert call("init").code == 0
    monkeypatch.setenv("STRIPE_SECRET_KEY", SECRET)
    assert call("init").code == 4


def test_each_exit_code(call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("customer-get", "cus_test_1").code == 5, "there is no ledger"
    assert main(["init"]) == 0
    assert call("customer-get", "cus_test_1").code == 4, "it has no mode"
    assert main(["init", "--fixtures"]) == 0
    assert call("customer-get", "cus_test_1").code == 0
    assert call("customer-get", "cus_unknown").code == 3
    assert call("payment-method-attach", "cus_test_1", "../x").code == 2
    assert call("payment-method-attach", "cus_test_1", "pm_card_visa_chargeDeclined").code == 1
    assert call("payment-method-attach", "cus_test_1", "pm_card_visa").code == 0
    assert call("subscription-create", "cus_test_1", "price_nosuch").code == 3
    subscription = call("subscription-create", "cus_test_1", "price_pro_monthly").out.strip()
    assert call("subscription-cancel", subscription, "now") == (0, "", "")
    assert call("subscription-update", subscription, "price_pro_monthly").code == 4
    assert call("webhook-handle", "not json").code == 2
    assert call("webhook-handle", "-", stdin=b"x" * 300_000).code == 2
    assert call("webhook-handle", stdin=b'{"type": "invoice.paid"}').code == 0
    monkeypatch.setenv("STRIPE_API_BASE", "http://127.0.0.1:1")
    away = call("customer-update", "cus_test_1", "name", "Ann")
    assert (away.code, away.out) == (6, "")
    assert "stays in the outbox as message" in away.err
    monkeypatch.delenv("STRIPE_API_BASE")
    assert call("customer-update", "cus_test_1", "name", "Ann") == (0, "", "")
    assert '"name": "Ann"' in call("customer-get", "cus_test_1").out


def test_the_mock_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nbilling", "stripe", "mock", str(tmp_path / "mock.db"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)) as mock:
        assert mock.stdout is not None
        address = mock.stdout.readline().decode().strip()
        made = subprocess.run(
            [sys.executable, "-c", "import nbilling.cli.start as s; "
             "print(s.main(['init', '--fixtures']), s.main(['stripe', 'customer-create', 'a@example.com', 'A']))"],
            env={**os.environ, "NBILLING_DB": str(tmp_path / "billing.db"), "STRIPE_API_BASE": address},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        mock.send_signal(signal.SIGINT)
        assert mock.wait(30) == 130
    assert "0 0" in made.stdout, made.stderr
    from nbilling.store import stripe_offline
    from nbilling.store.database import open_ledger

    with open_ledger(tmp_path / "mock.db") as ledger:
        assert stripe_offline.count(ledger.read(), "customer") == 1
