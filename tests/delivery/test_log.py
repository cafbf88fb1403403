"""Alerts as lines of a log."""

from __future__ import annotations

import json
import os
import stat
from decimal import Decimal
from pathlib import Path

import pytest

from nbilling.delivery.log import Log, append
from nbilling.model.outbox import Delivered, Message, Retry

MESSAGE = Message(1, "alert_log", "acme", {"summary": "80 %\nvoll é", "n": Decimal("1.5")}, "alert_1", 1, 1, 1, 0, 0, 0)


def test_an_event_is_one_line_of_json_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "alerts.log"
    log = Log(str(path), "usage.alert")
    for _ in range(2):
        assert log.send(MESSAGE) == Delivered({"file": str(path)})
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) == 2
    assert json.loads(lines[0], parse_float=Decimal) == {
        "at": "1970-01-01T00:00:00Z",
        "type": "usage.alert",
        "id": "alert_1",
        "data": {"summary": "80 %\nvoll é", "n": Decimal("1.5")},
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_a_file_the_line_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    assert Log("", "usage.alert").send(MESSAGE) == Delivered({"file": "stderr"})
    out, err = capfd.readouterr()
    assert out == ""
    assert json.loads(err)["id"] == "alert_1"


def test_a_log_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    outcome = Log(str(tmp_path / "no" / "alerts.log"), "usage.alert").send(MESSAGE)
    assert isinstance(outcome, Retry)
    assert "No such file" in outcome.reason
    assert isinstance(Log(str(tmp_path), "usage.alert").send(MESSAGE), Retry)


def test_a_line_that_broke_off_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "alerts.log"
    append(str(path), b"one\n")
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, line: write(handle, line[:2]))
    assert isinstance(Log(str(path), "usage.alert").send(MESSAGE), Retry)
    monkeypatch.undo()
    append(str(path), b"three\n")
    assert path.read_bytes().splitlines() == [b"one", b'{"', b"three"]
