"""The command as a process of its own: streams, signals, terminals, files that are no ledger, bytes without text."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import nbilling


def fill(shell: Any, events: int) -> None:
    with nbilling.open(shell.ledger, config=nbilling.Config()) as billing:
        billing.usage.track_many({"customer": "acme", "meter": "api_requests"} for _ in range(events))


# --- Exit codes -----------------------------------------------------------------------------------------------------


def test_each_exit_code_by_a_real_process(shell: Any, run: Any, error_of: Any) -> None:
    assert run("quota", "check", "acme", "api_requests", "1") == (0, "", "")
    refused = run("quota", "hard-limit-check", "acme", "api_requests", "999999")
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (1, "", 1)
    error_of(run("quota", "check", "acme", "api_requests", "x"), 2)
    error_of(run("plan", "get-details", "nosuch"), 3)
    error_of(run("plan", "downgrade", "acme", "pro", "now"), 4)
    error_of(run("--db", "nosuch.db", "quota", "check", "acme", "api_requests", "1"), 5)


def test_without_arguments_it_asks_for_a_command(run: Any, error_of: Any) -> None:
    assert "nbilling --help" in error_of(run(), 2)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["usage", "--help"], ["usage", "track", "-h"], ["--version"]])
def test_help_is_data(shell: Any, words: list[str]) -> None:
    answer = shell(*words)
    assert (answer.code, answer.err) == (0, "")
    assert "nbilling" in answer.out


# --- The ledger -----------------------------------------------------------------------------------------------------


def not_a_ledger(tmp_path: Path) -> dict[str, Path]:
    """Paths at which there is none, by what is there instead."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "text").write_text("hello\n" * 1000)
    (other / "empty").touch()
    make = "import sqlite3; sqlite3.connect('other/database').execute('CREATE TABLE t (a)')"
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path, check=True)
    return {name: other / name for name in ("nothing", "nosuch/billing.db", "text", "empty", "database", ".", "text/x")}


@pytest.mark.parametrize(
    "words", ["usage get-current acme", "quota check acme api_requests 1", "usage track-storage acme 5"]
)
def test_what_is_no_ledger_is_an_error_of_the_ledger_and_never_an_approval(
    shell: Any, tmp_path: Path, words: str, error_of: Any
) -> None:
    for path in not_a_ledger(tmp_path).values():
        before = sorted(os.listdir(tmp_path / "other"))
        shell.environment.setenv("NBILLING_DB", str(path))
        error_of(shell(*words.split()), 5)
        assert sorted(os.listdir(tmp_path / "other")) == before


def test_by_a_real_process_too(run: Any, tmp_path: Path, error_of: Any) -> None:
    for path in not_a_ledger(tmp_path).values():
        error_of(run("quota", "check", "acme", "api_requests", "1", env={"NBILLING_DB": str(path)}), 5)


def test_an_option_names_the_ledger_before_the_environment_does(shell: Any, tmp_path: Path) -> None:
    other = str(tmp_path / "other.db")
    assert shell("--db", other, "init").code == 0
    assert shell("--db", other, "usage", "track", "acme", "api_requests", "7").code == 0
    assert shell.data("--db", other, "usage", "get-current", "acme")["api_requests"] == 7
    assert shell.data("usage", "get-current", "acme")["api_requests"] == 0


def test_without_either_it_is_in_the_directory(shell: Any) -> None:
    shell.environment.delenv("NBILLING_DB")
    assert "nbilling.db" in shell("usage", "get-current", "acme").err
    assert shell("init").code == 0
    assert os.path.exists("nbilling.db")
    assert shell.data("usage", "get-current", "acme")["api_requests"] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_ledger_that_cannot_be_written_is_read_and_not_written(shell: Any, error_of: Any) -> None:
    shell.ledger.chmod(0o400)
    assert shell("usage", "get-current", "acme").code == 0
    error_of(shell("usage", "track-storage", "acme", "5"), 5)


# --- Bytes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["$(touch pwned)", "`touch pwned`", "'; DROP TABLE events; --", "a\\nb", "😀",
                                   "--help", "-", "*", "%s", "x" * 255])  # fmt: skip
def test_values_arrive_byte_for_byte(shell: Any, run: Any, value: str) -> None:
    assert run("usage", "track-bandwidth", "--", value, "5", "egress", env={"LC_ALL": "C"}) == (0, "", "")
    answer = run("customer", "list", env={"LC_ALL": "C"})
    assert json.loads(answer.out)[0]["customer_id"] == value
    assert shell.files() == set()


@pytest.mark.parametrize("value", [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"a\nb", b"", b"x" * 100_000])
def test_bytes_that_are_no_text_on_one_line_are_bad_input(shell: Any, run: Any, error_of: Any, value: bytes) -> None:
    with shell.unchanged():
        error_of(run("usage", "track-storage", value, "5"), 2)
        error_of(run("usage", "track", "--id", value, "acme", "api_requests"), 2)


# --- Streams --------------------------------------------------------------------------------------------------------


def test_a_pipe_that_is_closed_is_no_error(shell: Any, process: Any) -> None:
    fill(shell, 2000)
    running = process("usage", "events", "acme", "--limit", "2000")
    assert running.stdout.read(1) == b"["
    running.stdout.close()
    assert running.stderr.read() == b""
    running.stderr.close()
    assert running.wait() == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("events", [1, 2000])
def test_output_that_cannot_be_written_is_an_error_not_a_refusal(
    shell: Any, run: Any, error_of: Any, events: int
) -> None:
    fill(shell, events)
    with open("/dev/full", "wb") as full:
        error_of(run("usage", "events", "acme", "--limit", "2000", stdout=full), 5)


def test_closed_streams_change_no_answer(shell: Any) -> None:
    command = f"{sys.executable} -m nbilling quota check acme api_requests"
    assert subprocess.run(f"{command} 1 >&- 2>&-", shell=True, check=False).returncode == 0
    assert subprocess.run(f"{command} 999999 >&- 2>&-", shell=True, check=False).returncode == 1
    assert subprocess.run(f"{command} x >&- 2>&-", shell=True, check=False).returncode == 2
    assert subprocess.run(f"{sys.executable} -m nbilling quota list acme >&-", shell=True, check=False).returncode == 0


def test_ctrl_c_is_130_and_quiet(shell: Any, process: Any) -> None:
    os.mkfifo("events")
    running = process("usage", "import", "events", "--customer", "acme", "--format", "combined")
    with open("events", "wb") as events:  # returns when the command has opened it too, and waits for its first line
        running.send_signal(signal.SIGINT)
        out, err = running.communicate()
        events.close()
    assert running.returncode == 130
    assert out == b""
    assert len(err.splitlines()) <= 1
    assert b"Traceback" not in err


# --- Terminals ------------------------------------------------------------------------------------------------------


def on_a_terminal(*words: str) -> str:
    """What the command shows on a terminal."""
    leader, follower = pty.openpty()
    running = subprocess.Popen([sys.executable, "-m", "nbilling", *words], stdout=follower, stdin=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # Linux says so when nobody has the other end open any more
            break
        if not part:
            break
        shown += part
    os.close(leader)
    assert running.wait() == 0
    return shown.decode()


def test_a_terminal_shows_a_table_and_a_pipe_holds_json(shell: Any, run: Any) -> None:
    shell("customer", "create", "acme", "--company", "Acme Ltd")
    shown = on_a_terminal("customer", "list").splitlines()
    assert [word for word in shown[0].split() if word in ("customer", "company")] == ["customer", "company"]
    assert set(shown[1]) <= {"-", " "}
    assert "Acme Ltd" in shown[2]
    assert json.loads(run("customer", "list").out)[0]["company"] == "Acme Ltd"


def test_there_is_no_colour_where_none_is_wanted(shell: Any) -> None:
    assert "\x1b" not in on_a_terminal("plan", "list")


def test_a_format_that_is_named_holds_on_a_terminal_too(shell: Any) -> None:
    assert json.loads(on_a_terminal("customer", "list", "--format", "json")) == []


def test_reports_of_the_contract_are_json_on_a_terminal_too(shell: Any) -> None:
    assert json.loads(on_a_terminal("usage", "get-current", "acme"), parse_float=Decimal)["customer_id"] == "acme"


# --- Faults ---------------------------------------------------------------------------------------------------------


def test_a_fault_of_our_own_is_70_and_one_line_and_a_traceback_only_when_asked(
    shell: Any, error_of: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    shell.environment.setattr("nbilling.engine.usage_reports.UsageReports.get_current", broken)
    line = error_of(shell("usage", "get-current", "acme"), 70)
    assert "ZeroDivisionError" in line
    assert "Traceback" not in line
    answer = shell("--debug", "usage", "get-current", "acme")
    assert answer.code == 70
    assert "Traceback" in answer.err


def test_running_out_of_memory_is_never_a_refusal(shell: Any, error_of: Any) -> None:
    def broken(*_: object) -> None:
        raise MemoryError

    shell.environment.setattr("nbilling.engine.quota.Quota.check", broken)
    error_of(shell("quota", "check", "acme", "api_requests", "1"), 70)
