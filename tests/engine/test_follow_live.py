"""Imports that go on: pipes that stay open, commands that follow, and processes that are killed."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import nbilling
from nbilling.engine import log_lines
from nbilling.model.imports import ImportOptions

ACME = ImportOptions(customer="acme")


def line(number: int) -> bytes:
    """A line of its own."""
    minute, second = divmod(number, 60)
    time = f"17/May/2025:{minute // 60:02}:{minute % 60:02}:{second:02} +0000"
    return f'10.0.0.1 - - [{time}] "GET /{number} HTTP/1.1" 200 1 "-" "-"\n'.encode()


class Log:
    """A log that is written and rotated. ``written`` counts its lines."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "access.log"
        self.written = 0

    def write(self, count: int) -> None:
        with open(self.path, "ab") as file:
            for _ in range(count):
                file.write(line(self.written))
                self.written += 1

    def rotate(self, truncate: bool) -> None:
        for number in range(20, 0, -1):
            if os.path.exists(f"{self.path}.{number}"):
                os.rename(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        if truncate:
            shutil.copyfile(self.path, f"{self.path}.1")
            os.truncate(self.path, 0)
        else:
            os.rename(self.path, f"{self.path}.1")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


# --- Pipes that stay open ---------------------------------------------------------------------------------------------


@contextmanager
def until_there(seen: Callable[[], bool]) -> Iterator[None]:
    """What is done here is seen in the end. The deadline is for a test that fails."""
    yield
    deadline = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    monkeypatch.setattr(log_lines, "HELD_MILLISECONDS", 30)
    monkeypatch.setattr(log_lines, "_LOOK_MILLISECONDS", 5)
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as source, os.fdopen(writer, "wb", buffering=0) as out:
        yield source, out


@pytest.mark.parametrize("pack", [False, True])
def test_what_came_through_a_pipe_is_written_while_the_pipe_stays_open(
    tmp_path: Path, empty_ledger: Path, pipe: tuple[Any, Any], pack: bool
) -> None:
    source, out = pipe
    written = gzip.GzipFile(fileobj=out, mode="wb") if pack else out
    path = shutil.copy(empty_ledger, tmp_path / "billing.db")
    with nbilling.open(path) as billing:
        thread = threading.Thread(target=billing.usage.import_log, args=(source, ACME))
        thread.start()
        for number in range(1, 4):
            with until_there(lambda number=number: lines_in(path) == number):  # type: ignore[misc]
                written.write(line(number))
                written.flush()
        written.write(line(4)[:30])
        written.close()
        out.close()
        thread.join()
    assert lines_in(path) == 3


def test_a_trickle_without_a_pause_is_written_too(tmp_path: Path, empty_ledger: Path, pipe: tuple[Any, Any]) -> None:
    source, out = pipe
    path = shutil.copy(empty_ledger, tmp_path / "billing.db")
    with nbilling.open(path) as billing:
        thread = threading.Thread(target=billing.usage.import_log, args=(source, ACME))
        thread.start()
        number = 0
        while lines_in(path) == 0 and number < 5_000:
            out.write(line(number))
            number += 1
            time.sleep(0.005)
        assert lines_in(path) > 0
        out.close()
        thread.join()
    assert lines_in(path) == number


def test_told_to_stop_a_pipe_is_left_with_all_that_was_read_durable(imports: Any, pipe: tuple[Any, Any]) -> None:
    source, out = pipe
    out.write(line(1) + line(2) + line(3)[:20])
    looks = iter([False] * 3 + [True] * 99)
    report = imports.case.run(source, ACME, stop=lambda: next(looks))
    assert (report.added, report.unfinished) == (2, True)
    assert imports.requests() == 2


# --- Processes --------------------------------------------------------------------------------------------------------


def lines_in(path: str | Path) -> int:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found = connection.execute("SELECT sum(amount) FROM rollups WHERE grain = 0 AND meter = 1").fetchone()[0]
    finally:
        connection.close()
    return found or 0


@contextmanager
def command(ledger: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "nbilling", "--db", str(ledger), "usage", "import", *map(str, arguments)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def ledger(tmp_path: Path, empty_ledger: Path) -> Path:
    (tmp_path / "ledger").mkdir()
    return Path(shutil.copy(empty_ledger, tmp_path / "ledger" / "billing.db"))


@pytest.mark.parametrize("number,code", [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_end_it_with_everything_durable(ledger: Path, log: Log, number: int, code: int) -> None:
    log.write(10)
    with command(ledger, log.path, "--customer", "acme", "--follow") as process:
        with until_there(lambda: lines_in(ledger) == 10):
            pass
        with until_there(lambda: lines_in(ledger) == 11):
            log.write(1)
        process.send_signal(number)
        out, errors = process.communicate()
    assert (process.returncode, errors) == (code, "")
    assert json.loads(out)["added"] == 11


def test_a_pipe_is_followed_until_told(ledger: Path) -> None:
    with command(ledger, "-", "--customer", "acme", "--follow") as process:
        assert process.stdin is not None
        with until_there(lambda: lines_in(ledger) == 1):
            process.stdin.write(line(1).decode())
            process.stdin.flush()
        process.send_signal(signal.SIGTERM)
        with until_there(lambda: process.poll() is not None):
            pass
        assert process.returncode == 0


def test_killed_again_and_again_while_the_log_is_rotated_it_counts_each_line_once(ledger: Path, log: Log) -> None:
    choose = random.Random(5)
    log.write(2000)
    for step in range(8):
        with command(ledger, log.path, "--customer", "acme", "--follow") as process:
            with until_there(lambda: lines_in(ledger) > 0):
                log.write(choose.choice([1, 300]))
            if step % 3 == 2:
                log.rotate(truncate=choose.random() < 0.5)
                log.write(choose.choice([1, 2000]))
            time.sleep(choose.random() * 0.4)
            process.kill()
        log.write(choose.choice([0, 50]))
    with command(ledger, log.path, "--customer", "acme", "--follow") as process:
        with until_there(lambda: lines_in(ledger) >= log.written):
            pass
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert (process.returncode, lines_in(ledger)) == (0, log.written), errors
