"""Commands about the ledger as a whole: init, clock, config, help, completion."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

INITS = ("init", "usage init", "quota init", "plan init", "invoice init")


@pytest.mark.parametrize("command", INITS)
def test_each_init_makes_a_ledger_for_its_owner_alone_and_again_does_nothing(shell: Any, command: str) -> None:
    shell.environment.setenv("NBILLING_DB", "new.db")
    answer = shell(*command.split())
    assert (answer.code, answer.out) == (0, "")
    assert "new.db" in answer.err
    assert stat.S_IMODE(os.stat("new.db").st_mode) == 0o600
    for again in INITS:
        assert shell(*again.split()) == (0, "", "")
    assert [plan["id"] for plan in shell.data("plan", "list")] == ["free", "pro", "enterprise"]


def test_nothing_else_makes_a_ledger(shell: Any) -> None:
    shell.environment.setenv("NBILLING_DB", "new.db")
    for command in ("usage track-storage acme 5", "quota enforce acme api_requests 1", "plan list", "clock show",
                    "customer create acme", "usage track acme api_requests"):  # fmt: skip
        shell.fails(5, *command.split())
    assert shell.files() == set()


def test_a_ledger_that_cannot_be_made_is_an_error_of_the_disk(shell: Any) -> None:
    Path("text").write_text("hello\n" * 1000)
    Path("directory").mkdir()
    for path in ("nosuch/new.db", "directory", "text", "text/new.db"):
        shell.environment.setenv("NBILLING_DB", path)
        for command in INITS:
            shell.fails(5, *command.split())
    assert Path("text").read_text() == "hello\n" * 1000


@pytest.mark.parametrize("path", ["\0", "a\0b"])
def test_a_path_with_a_nul_is_bad_input(shell: Any, path: str) -> None:
    shell.fails(2, "--db", path, "init")


def test_an_empty_path_is_bad_input_and_an_empty_variable_says_nothing(shell: Any) -> None:
    shell.fails(2, "--db", "", "usage", "get-current", "acme")
    shell.environment.setenv("NBILLING_DB", "")
    assert "nbilling.db" in shell.fails(5, "usage", "get-current", "acme")


def test_a_newer_ledger_is_a_conflict(shell: Any) -> None:
    import sqlite3

    db = sqlite3.connect(shell.ledger)
    db.execute("PRAGMA user_version = 1000")
    db.close()
    for command in ("init", "usage get-current acme", "quota check acme api_requests 1", "usage track-storage acme 5"):
        shell.fails(4, *command.split())


# --- The clock ------------------------------------------------------------------------------------------------------


def test_the_clock_is_shown_set_and_advanced(shell: Any) -> None:
    shell.environment.delenv("NBILLING_NOW")
    assert shell.data("clock", "show")["test_clock"] is False
    assert shell.data("clock", "set", "2026-01-15T12:00:00Z") == {"now": "2026-01-15T12:00:00Z", "test_clock": True}
    assert shell.data("clock", "advance", "30d")["now"] == "2026-02-14T12:00:00Z"
    shell.fails(4, "clock", "set", "2026-01-15T12:00:00Z")
    assert shell.data("usage", "get-current", "acme")["period_start"] == "2026-02-01T00:00:00Z"


def test_the_time_of_one_command(shell: Any) -> None:
    assert shell.data("clock", "show")["now"] == "2026-01-10T12:00:00Z"
    shell.environment.setenv("NBILLING_NOW", "tomorrow")
    for command in ("clock show", "usage get-current acme", "quota check acme api_requests 1"):
        assert "NBILLING_NOW" in shell.fails(2, *command.split())


# --- Settings -------------------------------------------------------------------------------------------------------


def test_every_setting_is_shown_with_its_origin(shell: Any) -> None:
    Path("nbilling.toml").write_text('currency = "EUR"\ntax_rate = 7.70\ninvoice_due_days = 30\n')
    shell.environment.setenv("BILLING_TAX_RATE", "19")
    found = {row["setting"]: (row["value"], row["origin"]) for row in shell.data("config", "show")}
    assert found["currency"] == ("EUR", "nbilling.toml")
    assert found["tax_rate"] == ("19", "environment BILLING_TAX_RATE")
    assert found["invoice_due_days"] == ("30", "nbilling.toml")
    assert found["page_size"] == ("A4", "default")


@pytest.mark.parametrize(
    "text",
    ["currency = ", "currency = 5", 'currency = "XXX"', 'curency = "EUR"', "tax_rate = 7.1234567", "tax_rate = true",
     "tax_rate = nan", "tax_rate = inf", "invoice_due_days = 1.5", "[currency]\na = 1", "invoice_due_days = -1",
     'company_name = "a\\nb"', 'company_email = "a@b.example, evil@c.example"', "\0"],
)  # fmt: skip
def test_a_file_of_settings_that_is_wrong_is_bad_input(shell: Any, text: str) -> None:
    Path("nbilling.toml").write_text(text)
    assert "nbilling.toml" in shell.fails(2, "config", "show")


def test_a_file_of_settings_that_is_no_text_is_bad_input(shell: Any) -> None:
    Path("nbilling.toml").write_bytes(b'currency = "\xff"')
    shell.fails(2, "config", "show")
    Path("nbilling.toml").unlink()
    Path("nbilling.toml").mkdir()
    shell.fails(2, "config", "show")


# --- Help -----------------------------------------------------------------------------------------------------------


def test_exit_codes_are_explained(shell: Any) -> None:
    answer = shell("help", "exit-codes")
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines()] == ["0", "1", "2", "3", "4", "5", "6", "70", "130"]


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed(shell: Any, shell_name: str) -> None:
    answer = shell("completion", shell_name)
    assert answer.code == 0
    assert "_NBILLING_COMPLETE" in answer.out


def test_a_shell_may_ask_what_a_word_could_become(shell: Any, run: Any) -> None:
    words = {"_NBILLING_COMPLETE": "bash_complete", "COMP_WORDS": "nbilling us", "COMP_CWORD": "1"}
    assert run(env=words).out == "plain,usage\n"
