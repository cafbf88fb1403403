"""The command line, called in this process or as a process of its own, and what an error must look like."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import nbilling
from nbilling.cli.start import main

NOW = "2026-01-10T12:00:00Z"


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its JSON, with every digit."""
        assert self.code == 0, self
        return json.loads(self.out, parse_float=Decimal)


class Shell:
    """A directory with a ledger in it, at noon of 10 January 2026."""

    def __init__(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ledger: Path) -> None:
        self._capfd = capfd
        self.environment = monkeypatch
        self.ledger = ledger

    def __call__(self, *words: str) -> Answer:
        """Calls the command in this process."""
        self._capfd.readouterr()
        code = main(words)
        return Answer(code, *self._capfd.readouterr())

    def data(self, *words: str) -> Any:
        return self(*words).data

    def contents(self) -> dict[str, list[Any]]:
        """Every row of every table."""
        with nbilling.open(self.ledger, config=nbilling.Config()) as billing:
            db = billing.ledger.read()
            names = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
            return {name: db.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names}

    def fails(self, code: int, *words: str) -> str:
        """The command's one line of error, when it has failed with that exit code and printed nothing."""
        return error_line(self(*words), code)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """What is done here leaves every table and the directory as they were."""
        before = self.contents(), self.files()
        yield
        assert (self.contents(), self.files()) == before

    def files(self) -> set[str]:
        """What lies beside the ledger and what belongs to it."""
        return {name for name in os.listdir(self.ledger.parent) if not name.startswith(self.ledger.name)}


def error_line(answer: Answer, code: int) -> str:
    """The one line on stderr of a command that failed with that exit code and printed nothing."""
    assert answer.code == code, answer
    assert answer.out == ""
    assert answer.err.startswith("Error: ")
    assert answer.err.endswith("\n")
    line = answer.err[:-1]
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert "; " in line, "an error says what to do next"
    assert len(line) < 1000
    return line


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "billing.db"
    nbilling.init(path)
    return path


@pytest.fixture
def shell(
    tmp_path: Path, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Shell:
    ledger = tmp_path / "billing.db"
    shutil.copy(empty_ledger, ledger)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NBILLING_DB", str(ledger))
    monkeypatch.setenv("NBILLING_NOW", NOW)
    return Shell(capfd, monkeypatch, ledger)


@pytest.fixture
def process(shell: Shell) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts the command as a process of its own, with pipes, in the directory of ``shell``."""

    def start(*words: str | bytes, **how: Any) -> subprocess.Popen[bytes]:
        streams = {name: subprocess.PIPE for name in ("stdout", "stderr") if name not in how}
        environment = {**os.environ, **how.pop("env", {})}
        return subprocess.Popen([sys.executable, "-m", "nbilling", *words], env=environment, **streams, **how)

    return start


@pytest.fixture
def run(process: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., Answer]:
    """Runs the command as a process of its own to its end."""

    def to_its_end(*words: str | bytes, **how: Any) -> Answer:
        running = process(*words, **how)
        out, err = running.communicate()
        return Answer(running.returncode, (out or b"").decode(), (err or b"").decode())

    return to_its_end


@pytest.fixture
def error_of() -> Callable[[Answer, int], str]:
    return error_line
