"""Processes and threads that do the same thing at the same moment."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from nbilling.store.database import create_ledger, open_ledger

SCRIPT = Path(__file__).with_name("racing.py")


@pytest.fixture(scope="module")
def racing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("racing", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def race(what: str, path: Path, processes: int) -> list[str]:
    ran = subprocess.run(
        [sys.executable, SCRIPT, what, path, str(processes)], capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.split()


@pytest.mark.parametrize("already", ["nothing", "an empty file"])
def test_twelve_processes_make_one_ledger(tmp_path: Path, racing: ModuleType, already: str) -> None:
    for round_number in range(3):
        path = tmp_path / f"{round_number}.db"
        if already == "an empty file":
            path.touch()
        assert sorted(race("create", path, 12)) == ["found"] * 11 + ["made"]
        with open_ledger(path, steps=racing.STEPS) as ledger:
            assert ledger.read().execute("SELECT count(*) FROM t").fetchone() == (12,)
            assert ledger.read().execute("SELECT once FROM made").fetchall() == [("first",), ("second",)]


def test_twelve_processes_upgrade_a_ledger_once(tmp_path: Path, racing: ModuleType) -> None:
    for round_number in range(3):
        path = tmp_path / f"{round_number}.db"
        create_ledger(path, steps=racing.OLD)
        assert race("upgrade", path, 12) == ["opened"] * 12
        with open_ledger(path, steps=racing.STEPS) as ledger:
            assert ledger.read().execute("SELECT count(*) FROM t").fetchone() == (12,)


def test_twelve_threads_make_one_ledger(tmp_path: Path, racing: ModuleType) -> None:
    path = tmp_path / "x.db"
    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(lambda _: create_ledger(path, steps=racing.STEPS), range(12)))
    assert sorted(made) == [False] * 11 + [True]


def test_processes_and_threads_that_write_at_once_lose_and_double_nothing(tmp_path: Path, racing: ModuleType) -> None:
    path = tmp_path / "x.db"
    create_ledger(path, steps=racing.STEPS)
    acknowledged = race("write", path, 4)
    assert acknowledged == [str(racing.THREADS * racing.WRITES)] * 4
    with open_ledger(path, steps=racing.STEPS) as ledger:
        assert ledger.read().execute("SELECT count(*) FROM t").fetchone() == (4 * racing.THREADS * racing.WRITES,)
        assert ledger.read().execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_no_file_of_the_ledger_is_ever_opened_beside_sqlite(tmp_path: Path) -> None:
    """To close a second descriptor of the ledger, its -wal or its -shm would drop the locks of SQLite in this process:
    then acknowledged rows can be lost. Making the file is the one exception: nobody can have it open yet."""
    code = """
import os, sys
opened = []
path = sys.argv[1]
def watch(event, arguments):
    if event == "open" and str(arguments[0]).startswith(path) and not str(arguments[0]).endswith("-lock"):
        opened.append(arguments)
sys.addaudithook(watch)
from nbilling.store.database import create_ledger, open_ledger
create_ledger(path)
create_ledger(path)
for _ in range(2):
    with open_ledger(path) as ledger:
        ledger.write(lambda c: c.execute("CREATE TABLE more (x)").close()) if not _ else None
        ledger.read().execute("SELECT count(*) FROM more").fetchone()
flags = [flags for _, _, flags in opened]
assert len(flags) == 1 and flags[0] & os.O_EXCL, opened
"""
    ran = subprocess.run([sys.executable, "-c", code, tmp_path / "x.db"], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
