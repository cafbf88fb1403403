"""The five bash modules as an install has them, calling the nbilling of this checkout."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nbilling.cli.start import main

Bash = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A directory with the modules in it."""
    directory = tmp_path / "billing"
    assert main(["shell", "install", str(directory)]) == 0
    return directory


@pytest.fixture
def functions(modules: Path) -> list[str]:
    """The names of all their functions."""
    found: list[str] = []
    for module in sorted(modules.glob("*.sh")):
        found += re.findall(r"^([a-z]\w*)\(\) \{", module.read_text(), re.MULTILINE)
    return found


@pytest.fixture
def executable(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a program."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return write


@pytest.fixture
def bash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: Callable[[str, str], Path]) -> Bash:
    """Runs a bash script in a directory of its own, with the ledger ``billing.db`` there."""
    program = executable("nbilling", f'#!/bin/sh\nexec "{sys.executable}" -m nbilling "$@"\n')
    monkeypatch.setenv("NBILLING_BIN", str(program))
    monkeypatch.setenv("NBILLING_DB", str(tmp_path / "billing.db"))
    monkeypatch.chdir(tmp_path)

    def run(*words: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", *options, *words], capture_output=True, text=True, env=dict(os.environ), check=False
        )  # fmt: skip

    return run
