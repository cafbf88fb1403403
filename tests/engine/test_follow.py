"""Following a log: growth, rotation of both kinds, absence, kills, several followers."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nbilling.engine import imports as use_case
from nbilling.engine import log_follow
from nbilling.engine.log_follow import LogFollower
from nbilling.model.errors import BadInput, Conflict
from nbilling.model.imports import BadLine, ImportOptions

ACME = ImportOptions(customer="acme")


def line(number: int) -> bytes:
    """A line of its own, two of them a second."""
    minute, second = divmod(number // 2, 60)
    time = f"17/May/2026:{minute // 60:02}:{minute % 60:02}:{second:02} +0000"
    return f'10.0.0.1 - - [{time}] "GET /{number} HTTP/1.1" 200 1 "-" "-"\n'.encode()


class Log:
    """A log that is written, and rotated as logrotate does it. ``written`` counts its lines."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "access.log"
        self.written = 0
        self._tick = 1_000_000_000

    def write(self, count: int = 1, to: Path | None = None) -> None:
        target = to or self.path
        with open(target, "ab") as file:
            for _ in range(count):
                file.write(line(self.written))
                self.written += 1
        # A second apart: the clock of the file system is coarse.
        self._tick += 1
        os.utime(target, (self._tick, self._tick))

    def shift(self) -> Path:
        """Makes room for a new .1; returns it."""
        for number in range(20, 0, -1):
            for packed in ("", ".gz"):
                with suppress(FileNotFoundError):
                    os.rename(f"{self.path}.{number}{packed}", f"{self.path}.{number + 1}{packed}")
        return Path(f"{self.path}.1")

    def rename(self) -> Path:
        return self.path.rename(self.shift())

    def copy_and_truncate(self) -> Path:
        copy = Path(shutil.copy2(self.path, self.shift()))
        os.truncate(self.path, 0)
        return copy


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renamed file is read on for ever, unless the test says otherwise."""
    monkeypatch.setattr(log_follow, "LINGER_SECONDS", 10**6)


def follower(imports: Any, log: Log, options: ImportOptions = ACME, **how: Any) -> LogFollower:
    return LogFollower(imports.case, str(log.path), options, **how)


# --- Growth -----------------------------------------------------------------------------------------------------------


def test_each_look_takes_what_was_appended(imports: Any, log: Log) -> None:
    with follower(imports, log) as follow:
        for count in (1, 0, 1, 3, 0, 0, 2600, 1):
            log.write(count)
            follow.poll()
            assert imports.requests() == log.written
        report = follow.report()
    assert (report.lines, report.added, report.duplicates, report.bad) == (2606, 2606, 0, 0)
    assert [part.rule for part in report.parts] == ["new"]


def test_equal_lines_are_requests_of_their_own_whenever_they_come(imports: Any, log: Log) -> None:
    with follower(imports, log) as follow:
        for number in range(7):
            with open(log.path, "ab") as file:
                file.write(line(1))
            follow.poll()
            assert imports.requests() == number + 1


def test_a_line_is_taken_when_it_is_whole_and_not_before(imports: Any, log: Log) -> None:
    text = line(1)
    with open(log.path, "ab", buffering=0) as file, follower(imports, log) as follow:
        for at in range(0, len(text), 9):
            follow.poll()
            assert imports.requests() == 0
            file.write(text[at : at + 9])
        follow.poll()
        assert imports.requests() == 1
        file.write(line(2)[:40])
        follow.poll()
        assert (follow.report().unfinished, follow.report().bad) == (True, 0)


def test_a_line_that_docker_has_cut_is_joined_over_two_looks(imports: Any, log: Log) -> None:
    text = line(1).decode()
    with open(log.path, "ab", buffering=0) as file, follower(imports, log, ACME._replace(docker=True)) as follow:
        for part, count in ((text[:30], 0), (text[30:], 1)):
            file.write(json.dumps({"log": part, "stream": "stdout"}).encode() + b"\n")
            follow.poll()
            assert imports.requests() == count


def test_bad_lines_are_told_by_number_at_each_look(imports: Any, log: Log) -> None:
    bad: list[BadLine] = []
    with follower(imports, log, on_bad=bad.append) as follow:
        for number in range(3):
            log.write(2)
            with open(log.path, "ab") as file:
                file.write(b"garbage\n")
            follow.poll()
            assert [entry.number for entry in bad] == [3, 6, 9][: number + 1]


def test_nothing_is_written_while_nothing_comes(imports: Any, log: Log) -> None:
    log.write(3)
    with follower(imports, log) as follow:
        follow.poll()
        jobs = imports.ledger.jobs
        for _ in range(5):
            follow.poll()
        assert imports.ledger.jobs == jobs


# --- Rotation ---------------------------------------------------------------------------------------------------------


def test_a_renamed_file_is_read_to_its_end_and_the_new_one_from_its_start(imports: Any, log: Log) -> None:
    with follower(imports, log) as follow:
        log.write(3)
        follow.poll()
        log.write(2)
        old = log.rename()
        log.write(1, to=old)
        follow.poll()
        assert imports.requests() == 6
        log.write(1)
        log.write(1, to=old)  # nginx has not been told to reopen yet
        follow.poll()
        assert imports.requests() == 8
        log.write(1, to=old)
        log.write(1)
        follow.poll()
        assert imports.requests() == log.written == 10
        assert follow.report().duplicates == 0


def test_a_renamed_file_that_rests_is_let_go(imports: Any, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    with follower(imports, log) as follow:
        log.write(1)
        follow.poll()
        old = log.rename()
        with open(old, "ab") as file:
            file.write(line(90).rstrip(b"\n"))  # nothing more will come, so this was all of it
        log.write(1)
        follow.poll()
        assert imports.requests() == 2
        monkeypatch.setattr(log_follow, "LINGER_SECONDS", 0)
        follow.poll()
        assert imports.requests() == 3
        log.write(1, to=old)
        follow.poll()
        assert imports.requests() == 3


def test_two_rotations_between_two_looks_lose_nothing(imports: Any, log: Log) -> None:
    with follower(imports, log) as follow:
        log.write(3)
        follow.poll()
        for _ in range(3):
            log.write(2)
            log.rename()
            log.write(1)
        follow.poll()
        follow.poll()
        assert imports.requests() == log.written


@pytest.mark.parametrize("written_after", [0, 1, 2, 3, 40])
def test_a_file_that_is_copied_and_truncated_is_completed_from_its_copy(
    imports: Any, log: Log, written_after: int
) -> None:
    with follower(imports, log) as follow:
        log.write(3)
        follow.poll()
        log.write(2)
        log.copy_and_truncate()
        log.write(written_after)  # as long as before, or longer: the size alone would tell nothing
        follow.poll()
        follow.poll()  # the copy is read when it has stopped growing
        assert imports.requests() == log.written
        log.write(1)
        follow.poll()
        assert imports.requests() == log.written


def test_a_file_that_is_emptied_begins_again(imports: Any, log: Log) -> None:
    with follower(imports, log) as follow:
        log.write(5)
        follow.poll()
        os.truncate(log.path, 0)
        follow.poll()
        log.write(2)
        follow.poll()
        assert imports.requests() == 7


def test_a_file_may_be_absent_at_first_and_for_a_while(imports: Any, log: Log) -> None:
    told: list[str] = []
    with follower(imports, log, tell=told.append) as follow:
        for _ in range(3):
            follow.poll()
        log.write(2)
        follow.poll()
        old = log.rename()
        for _ in range(3):
            log.write(1, to=old)
            follow.poll()
        assert imports.requests() == 5
        log.write(1)
        follow.poll()
        assert imports.requests() == 6
    assert [text.split(" ", 1)[1][:14] for text in told] == ["cannot be read", "is there", "was rotated; r"]


# --- Started again ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [False, True])
def test_what_was_rotated_away_while_nobody_looked_is_completed(imports: Any, log: Log, pack: bool) -> None:
    log.write(4)
    log.rename()
    log.write(70)
    with follower(imports, log) as follow:
        follow.poll()
    assert imports.requests() == 70  # what lies before the first look is left alone
    log.write(5)
    for count in (3, 80, 2):
        old = log.rename()
        if pack:
            packed = Path(f"{old}.gz")
            packed.write_bytes(gzip.compress(old.read_bytes()))
            shutil.copystat(old, packed)
            old.unlink()
        log.write(count)
    with follower(imports, log) as follow:
        follow.poll()
        assert imports.requests() == log.written - 4
        log.write(1)
        follow.poll()
    assert imports.requests() == log.written - 4


def test_a_file_that_is_just_being_compressed_stands_in_nobodys_way(imports: Any, log: Log) -> None:
    log.write(50)
    with follower(imports, log) as follow:
        follow.poll()
    log.write(50)
    old = log.rename()
    packed = gzip.compress(old.read_bytes())
    half = Path(f"{old}.gz")
    half.write_bytes(packed[: len(packed) // 2])
    log.write(1)
    told: list[str] = []
    with follower(imports, log, tell=told.append) as follow:
        follow.poll()
        assert imports.requests() == log.written
        half.write_bytes(packed)
        shutil.copystat(old, half)
        old.unlink()
        for _ in range(3):
            follow.poll()
        assert follow.report().lines == 101  # not read once more
    assert not any("left out" in text for text in told)


def test_a_damaged_file_is_left_out_and_said_so_once(imports: Any, log: Log) -> None:
    log.write(50)
    told: list[str] = []
    with follower(imports, log, tell=told.append) as follow:
        follow.poll()
        log.rename()
        log.write(1)
        follow.poll()
        damaged = log.shift().with_name("access.log.1.gz")
        damaged.write_bytes(gzip.compress(line(5))[:20])
        for _ in range(4):
            follow.poll()
    assert imports.requests() == 51
    assert ["is left out: the compressed log ends too early" in text for text in told] == [False, True]


def test_archives_that_are_put_back_are_not_new(imports: Any, log: Log) -> None:
    log.write(5)
    log._tick -= 100
    log.write(5, to=log.path.parent / "kept")
    with follower(imports, log) as follow:
        follow.poll()
        (log.path.parent / "kept").rename(f"{log.path}.7")
        for _ in range(3):
            follow.poll()
    assert imports.requests() == 5


def test_files_of_other_names_and_of_other_customers_are_left_alone(imports: Any, log: Log) -> None:
    log.write(3)
    with follower(imports, log) as follow:
        follow.poll()
    for name in ("access.log.bak", "access.log.1.swp", "access_admin.log.1", "other.log.1"):
        log.write(5, to=log.path.parent / name)
    log.written -= 20
    with follower(imports, log) as follow:
        follow.poll()
    assert imports.requests() == 3
    with pytest.raises(Conflict), follower(imports, log, ACME._replace(customer="globex")) as follow:
        follow.poll()
    log.rename()
    log.write(2)
    with follower(imports, log, ACME._replace(customer="globex")) as follow:
        follow.poll()
    assert imports.totals() == {"acme": (3, 3), "globex": (2, 2)}


@pytest.mark.parametrize(
    "name", ["access.log-20260517", "access.log.2026-05-17", "access-20260517.log", "access.1.log"]
)
def test_rotated_files_are_known_by_the_names_that_are_in_use(imports: Any, log: Log, name: str) -> None:
    log.write(3)
    with follower(imports, log) as follow:
        follow.poll()
    log.write(2)
    log.path.rename(log.path.parent / name)
    log.write(1)
    with follower(imports, log) as follow:
        follow.poll()
    assert imports.requests() == 6


class Story:
    """Random doings of a writer, a rotator and a follower that is killed. Every line must count once in the end."""

    def __init__(self, imports: Any, directory: Path, killed: type[BaseException], seed: int) -> None:
        self.imports, self.killed = imports, killed
        self.log = Log(directory)
        self.choose = random.Random(seed)
        self.log.write(self.choose.choice([1, 2, 70]))
        self.follow: LogFollower | None = follower(self.imports, self.log)
        self.follow.poll()

    def poll(self) -> None:
        ledger = self.imports.ledger
        ledger.kill_at = ledger.jobs + self.choose.randint(1, 4) if self.choose.random() < 0.3 else 0
        ledger.kill_after = self.choose.random() < 0.5
        try:
            if self.follow is None:
                self.follow = follower(self.imports, self.log)
            self.follow.poll()
        except self.killed:
            self.kill()

    def kill(self) -> None:
        if self.follow is not None:
            self.follow.close()
            self.follow = None

    def rotate(self) -> None:
        if self.log.path.exists():
            old = self.choose.choice([self.log.rename, self.log.copy_and_truncate])()
            if self.choose.random() < 0.3:
                self.log.write(1, to=old)
        self.log.write(self.choose.choice([0, 1, 2, 20]))

    def run(self) -> None:
        for _ in range(self.choose.randint(5, 40)):
            self.choose.choices(
                [lambda: self.log.write(self.choose.choice([1, 1, 2, 9, 200])), self.poll, self.kill, self.rotate],
                [5, 6, 1, 2],
            )[0]()
        self.imports.ledger.kill_at = 0
        self.follow = self.follow or follower(self.imports, self.log)
        for _ in range(3):
            self.follow.poll()
        self.follow.close()
        assert self.imports.requests() == self.log.written


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_every_line_counts_once(
    new_imports: Callable[[], Any],
    killed: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    monkeypatch.setattr(use_case, "BATCH_LINES", random.Random(seed).choice([3, 50, 2500]))
    monkeypatch.setattr(log_follow, "LINGER_SECONDS", seed % 2 * 10**6)
    Story(new_imports(), tmp_path, killed, seed).run()


# --- Several, and what cannot be followed -----------------------------------------------------------------------------


def test_two_followers_of_one_log_count_each_line_once(imports: Any, log: Log) -> None:
    choose = random.Random(3)
    with follower(imports, log) as one, follower(imports, log) as other:
        for step in range(60):
            log.write(choose.choice([0, 1, 1, 5]))
            if step % 20 == 19:
                log.rename()
                log.write(1)
            for follow in choose.choice([[one], [other], [one, other], [other, one]]):
                follow.poll()
        one.poll()
        other.poll()
        assert imports.requests() == log.written
        assert one.report().added + other.report().added == log.written


def test_an_import_may_run_beside_a_follower(imports: Any, log: Log) -> None:
    with follower(imports, log) as follow:
        for _ in range(5):
            log.write(3)
            follow.poll()
            log.write(2)
            with open(log.path, "rb") as file:
                imports.run(file)
        follow.poll()
        assert imports.requests() == log.written


def test_lines_that_two_servers_share_are_kept_apart_by_source(imports: Any, tmp_path: Path) -> None:
    logs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        logs.append(Log(tmp_path / name))
    with follower(imports, logs[0]) as one, follower(imports, logs[1], ACME._replace(source="b")) as other:
        for _ in range(4):
            for log, follow in zip(logs, (one, other), strict=True):
                log.write(1)
                follow.poll()
    assert imports.requests() == 8


def test_what_cannot_be_followed_is_refused_at_once(imports: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "log.gz").write_bytes(gzip.compress(line(1)))
    (tmp_path / "log").write_bytes(line(1))
    for name, match in (
        ("fifo", "is not a file"), ("", "is not a file"), ("log.gz", "is compressed"), ("no/log", "the directory of"),
        ("log/log", "Not a directory"), ("a\0b", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=match):
            LogFollower(imports.case, str(tmp_path / name), ACME)
    for options in (ACME._replace(strict=True), ACME._replace(customer=""), ACME._replace(customer_from="user")):
        with pytest.raises(BadInput):
            LogFollower(imports.case, str(tmp_path / "log"), options)


def test_told_to_stop_it_ends_after_a_batch_and_all_it_has_read_is_durable(
    imports: Any, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use_case, "BATCH_LINES", 10)
    log.write(95)
    asked = iter([False] * 5 + [True] * 99)
    with follower(imports, log, stop=lambda: next(asked)) as follow:
        follow.poll()
        report = follow.report()
    assert 0 < report.lines < 95
    assert imports.requests() == report.lines
    with follower(imports, log) as follow:
        follow.poll()
    assert imports.requests() == 95
