"""A process forks while it has a ledger open: in every state, neither side hangs, loses or doubles anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("forking.py")
STATES = re.findall(r"^    (\w+),$", SCRIPT.read_text("utf-8").split("\nSTATES = (")[1].split(")")[0], re.MULTILINE)


@pytest.mark.parametrize("state", STATES)
def test_forks(tmp_path: Path, state: str) -> None:
    # Python 3.12 and later warn of forks beside threads, which is what this is about.
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", SCRIPT, state, tmp_path / "ledger.db"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
