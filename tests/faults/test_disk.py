"""The disk fails or is full. What was acknowledged is there afterwards, what failed is not, and writing resumes."""

from __future__ import annotations

import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from nbilling.model.errors import StorageFull
from nbilling.store.database import Ledger, create_ledger, open_ledger
from nbilling.store.migrations import Step

SCRIPT = Path(__file__).with_name("failing_disk.py")


def _tables(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB) STRICT")


STEPS: tuple[Step, ...] = (("0001_initial", _tables),)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    create_ledger(path, steps=STEPS)
    return path


@pytest.fixture(scope="module")
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run([found, "-e", "trace=none", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")
    return found


def outcomes(output: str) -> dict[str, set[str]]:
    """The keys by outcome."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in output.splitlines():
        outcome, key = line.split()
        found[outcome].add(key)
    return found


def check(path: Path, told: dict[str, set[str]]) -> None:
    """The ledger after a recovery, against what its callers were told."""
    with open_ledger(path, steps=STEPS) as ledger:
        keys = {key for (key,) in ledger.read().execute("SELECT k FROM t")}
        assert told["ok"] <= keys
        assert keys <= told["ok"] | told["unknown"]
        assert ledger.read().execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ledger.write(lambda connection: connection.execute("INSERT INTO t (k) VALUES ('after')").close())


def run_under_strace(strace: str, inject: str, path: Path, threads: int, writes: int) -> dict[str, set[str]]:
    """The script, with every call of fdatasync or fsync that ``inject`` names failing."""
    calls = "fdatasync,fsync"
    command = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{inject}"]
    ran = subprocess.run(
        [*command, sys.executable, SCRIPT, path, str(threads), str(writes)], capture_output=True, text=True
    )
    told = outcomes(ran.stdout)
    assert sum(map(len, told.values())) == threads * writes, ran.stderr
    return told


@pytest.mark.parametrize("threads", [1, 4])
def test_no_ghost_of_a_failed_fsync_comes_back(strace: str, path: Path, threads: int) -> None:
    told = run_under_strace(strace, "error=EIO:when=3+4", path, threads, 60)
    assert len(told["ok"]) > 20
    assert told["failed:storage"]
    assert not told["unknown"]
    check(path, told)


def test_a_disk_that_fails_for_good_leaves_an_unknown_outcome_and_no_more(strace: str, path: Path) -> None:
    told = run_under_strace(strace, "error=EIO:when=20+", path, 1, 40)
    assert told["ok"]
    # The transaction that hit it, and everything after it: the handle refuses to write.
    assert told["unknown"]
    assert not told["failed:storage"]
    check(path, told)


def test_every_acknowledgement_comes_after_an_fsync_of_its_own(strace: str, path: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [strace, "-f", "-qq", "-y", "-o", str(log), "-e", "trace=fdatasync,fsync,write"]
    subprocess.run([*command, sys.executable, SCRIPT, path, "1", "30"], capture_output=True)
    synced = acknowledged = 0
    for line in log.read_text("utf-8", "replace").splitlines():
        if re.search(r"f(data)?sync\(\d+<[^>]*ledger\.db-wal>\) += 0", line):
            synced += 1
        elif re.search(r'write\(1<[^>]*>, "ok ', line):
            acknowledged += 1
            assert synced > 0
            synced = 0
    assert acknowledged == 30


def fill(ledger: Ledger) -> int:
    """Write until the storage is full; how many were acknowledged."""
    for written in range(1000):
        try:
            ledger.write(big)
        except StorageFull:
            return written
    raise AssertionError("it never got full")


def big(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO t VALUES (hex(randomblob(8)), zeroblob(9000))")


def rows(ledger: Ledger) -> int:
    number: int = ledger.read().execute("SELECT count(*) FROM t").fetchone()[0]
    return number


def limited(path: Path) -> None:
    """In a child of its own: a file size limit is met, lifted, and met again while several write."""
    with open_ledger(path, steps=STEPS) as ledger:
        rows(ledger)
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
        written = fill(ledger)
        if not 0 < written == rows(ledger):
            sys.exit(f"{written} written, {rows(ledger)} found")
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        ledger.write(lambda connection: connection.execute("INSERT INTO t (k) VALUES ('resumed')").close())
        if rows(ledger) != written + 1:
            sys.exit("it did not resume")


def on_a_small_disk(path: Path) -> None:
    """In a mount of its own: the disk is filled up, freed, and written to again."""
    with open_ledger(path, steps=STEPS) as ledger:
        ballast = path.with_name("ballast")
        ballast.write_bytes(b"\0" * 300_000)
        written = fill(ledger)
        if not 0 < written == rows(ledger):
            sys.exit(f"{written} written, {rows(ledger)} found")
        if fill(ledger):
            sys.exit("it was not full")
        ballast.unlink()
        ledger.write(lambda connection: connection.execute("INSERT INTO t (k) VALUES ('resumed')").close())
        if rows(ledger) != written + 1:
            sys.exit("it did not resume")


def child(function: str, path: Path) -> list[str]:
    """The command that runs one of the functions above in a process of its own."""
    code = (
        f"import importlib.util, pathlib; s = importlib.util.spec_from_file_location('t', {__file__!r});"
        f"m = importlib.util.module_from_spec(s); s.loader.exec_module(m); m.{function}(pathlib.Path({str(path)!r}))"
    )
    return [sys.executable, "-c", code]


def test_a_file_size_limit_is_a_full_disk_and_writing_resumes(path: Path) -> None:
    ran = subprocess.run(child("limited", path), capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    with open_ledger(path, steps=STEPS) as ledger:
        assert ledger.read().execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="only root can mount a small disk")
def test_a_full_disk_is_said_to_be_full_and_writing_resumes_when_it_is_freed(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    make = f"from nbilling.store.database import create_ledger; m.create_ledger({str(disk / 'x.db')!r}, steps=m.STEPS)"
    use = child("on_a_small_disk", disk / "x.db")
    use[2] = use[2].replace("m.on_a_small_disk", f"{make}; m.on_a_small_disk")
    script = f'mount -t tmpfs -o size=900k tmpfs "{disk}" || exit 77; exec "$@"'
    ran = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", *use], capture_output=True, text=True)
    if ran.returncode == 77 or "unshare failed" in ran.stderr:
        pytest.skip(f"no mount here: {ran.stderr.strip()}")
    assert (ran.returncode, ran.stderr) == (0, "")
