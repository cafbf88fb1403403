"""Import of access logs: what is recorded, for whom, what is refused, and that nothing is recorded twice."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbilling.engine import imports as use_case
from nbilling.model.clock import format_time, parse_time
from nbilling.model.errors import BadInput, Conflict
from nbilling.model.imports import BadLine, ImportOptions

REAL_LOG = Path(__file__).resolve().parents[3] / "shared/data/logs/elastic_nginx_logs_first28020.log"
CHECKOUT = Path(__file__).resolve().parents[2]


def line(second: int, *, user: str = "-", size: object = 10, path: str = "/a", status: object = 200) -> bytes:
    hour, minute = divmod(second // 60, 60)
    time = f"17/May/2025:{hour:02}:{minute:02}:{second % 60:02} +0000"
    return f'10.0.0.1 - {user} [{time}] "GET {path} HTTP/1.1" {status} {size} "-" "curl"'.encode()


def as_json(second: int, **fields: Any) -> bytes:
    at = format_time(parse_time("2025-05-17T00:00:00Z") + second * 1_000_000)
    return json.dumps(
        {"time_iso8601": at, "status": 200, "body_bytes_sent": 10, "request": "GET / H"} | fields
    ).encode()


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_case, "BATCH_LINES", 10)


# --- What is recorded -------------------------------------------------------------------------------------------------


def test_a_line_becomes_a_request_and_its_bytes_at_the_logs_own_time(imports: Any) -> None:
    report = imports.run([b'::1 - - [17/May/2025:08:05:32 +0200] "GET /p?q=1 HTTP/1.1" 206 490 "-" "-"'])
    assert (report.lines, report.requests, report.bytes, report.added) == (1, 1, 490, 1)
    assert (report.duplicates, report.bad, report.rule) == (0, 0, "new")
    assert imports.ledger.connection.execute(
        "SELECT customer_id, resource_type, amount, metadata, created_at, dimension FROM usage_events ORDER BY seq"
    ).fetchall() == [
        ("acme", "api_requests", "1", '{"endpoint":"/p","method":"GET","status":206}', "2025-05-17T06:05:32Z", ""),
        ("acme", "bandwidth", "490", "{}", "2025-05-17T06:05:32Z", "egress"),
    ]


def test_no_bytes_make_no_bandwidth_event(imports: Any) -> None:
    imports.run([line(1, size=0), line(2, size="-"), line(3)])
    assert imports.ledger.connection.execute("SELECT count(*) FROM events").fetchone() == (4,)
    assert imports.totals() == {"acme": (3, 10)}


def test_equal_lines_of_one_log_are_requests_of_their_own(imports: Any) -> None:
    lines = [line(1)] * 7 + [line(2)] + [line(1)] * 3
    assert imports.run(lines).added == 11
    assert imports.run(lines).added == 0
    assert imports.totals() == {"acme": (11, 110)}


def test_each_line_is_billed_to_whom_it_names(imports: Any) -> None:
    lines = [line(n, user=user) for n, user in enumerate(["a", "b", "a", "-", "b", "a"])]
    report = imports.run(lines, customer="", customer_from="user")
    assert (report.requests, report.bad, report.unattributed) == (5, 1, 1)
    assert imports.totals() == {"a": (3, 30), "b": (2, 20)}


def test_json_lines_with_ids_are_the_same_requests_in_any_log(imports: Any) -> None:
    options = ImportOptions(format="json", customer="acme", fields={"id": "request_id"})
    imports.run([as_json(n, request_id=f"r{n}") for n in range(5)], options)
    report = imports.run([as_json(n, request_id=f"r{n}", via="another file") for n in (9, 4, 8, 3)], options)
    assert (report.added, report.duplicates, report.rule) == (2, 2, "new")
    assert imports.totals() == {"acme": (7, 70)}
    ids = imports.ledger.connection.execute("SELECT id FROM usage_events ORDER BY seq LIMIT 6").fetchall()
    assert ids == [("r0",), ("r1",), ("r2",), ("r3",), ("r4",), ("r0:bandwidth",)]


def test_an_id_that_comes_again_with_other_content_is_a_conflict_and_not_lost_silently(imports: Any) -> None:
    options = ImportOptions(format="json", customer="acme", fields={"id": "request_id"})
    bad: list[BadLine] = []
    report = imports.run(
        [as_json(1, request_id="r"), as_json(2, request_id="s"), as_json(1, request_id="r", status=500)],
        options,
        on_bad=bad.append,
    )
    assert (report.added, report.conflicts, report.bad) == (2, 1, 1)
    assert [(entry.number, entry.reason) for entry in bad] == [(3, "conflict")]


def test_docker_wrapping_hides_nothing_and_is_the_same_log(imports: Any) -> None:
    lines = [line(n) for n in range(5)]
    wrapped = [json.dumps({"log": text.decode() + "\n", "stream": "stdout"}).encode() for text in lines]
    wrapped.insert(2, json.dumps({"log": "an error\n", "stream": "stderr"}).encode())
    report = imports.run(wrapped, docker=True)
    assert (report.lines, report.added, report.skipped, report.bad) == (6, 5, 1, 0)
    assert imports.run(lines).added == 0


def test_a_line_that_docker_has_cut_waits_for_its_end(imports: Any) -> None:
    text = line(1).decode()
    wrapped = [json.dumps({"log": part, "stream": "stdout"}).encode() for part in (text[:20], text[20:] + "\n")]
    report = imports.run(wrapped[:1], docker=True)
    assert (report.requests, report.bad, report.unfinished) == (0, 0, True)
    assert imports.run(wrapped, docker=True).added == 1


# --- What is refused --------------------------------------------------------------------------------------------------


def test_bad_lines_are_counted_named_by_number_and_kept(imports: Any, small_batches: None) -> None:
    lines = [line(n) for n in range(25)]
    lines[3], lines[11], lines[24] = b"garbage", line(3, size=-1), b""
    bad: list[BadLine] = []
    report = imports.run(lines, on_bad=bad.append)
    assert (report.lines, report.added, report.bad) == (25, 22, 3)
    assert [(entry.number, entry.reason, entry.raw) for entry in bad] == [
        (4, "format", b"garbage"), (12, "bytes", line(3, size=-1)), (25, "empty", b""),
    ]  # fmt: skip


def test_a_line_of_the_future_is_refused_until_its_time_has_come(imports: Any) -> None:
    imports.clock.at = parse_time("2025-05-17T00:00:30Z")
    lines = [line(10), line(3631), line(3629)]
    bad: list[BadLine] = []
    assert imports.run(lines, on_bad=bad.append).added == 2
    assert [(entry.number, entry.reason) for entry in bad] == [(2, "future")]
    imports.clock.at = parse_time("2025-05-17T02:00:00Z")
    report = imports.run(lines)
    assert (report.added, report.duplicates) == (1, 2)


def test_a_name_that_cannot_be_a_customer_is_a_bad_line(imports: Any) -> None:
    report = imports.run([line(1, user="\\x1B[2J"), line(2, user="b")], customer="", customer_from="user")
    assert (report.added, report.bad, report.unattributed) == (1, 1, 0)


@pytest.mark.parametrize("as_stream", [True, False])
def test_strict_stops_at_the_first_bad_line_with_nothing_imported(
    imports: Any, small_batches: None, as_stream: bool
) -> None:
    lines = [line(n) for n in range(100)]
    lines[70] = lines[80] = b"garbage"
    bad: list[BadLine] = []
    source = io.BytesIO(b"\n".join(lines) + b"\n") if as_stream else iter(lines)
    with pytest.raises(BadInput, match="line 71: the line is not in this format"):
        imports.run(source, strict=True, on_bad=bad.append)
    assert [entry.number for entry in bad] == [71]
    assert (imports.totals(), imports.ledger.jobs) == ({}, 0)


def test_strict_refuses_lines_without_a_customer_too(imports: Any) -> None:
    options = ImportOptions(customer_from="user", strict=True)
    for stream in (io.BytesIO(line(1) + b"\n"), io.BytesIO(line(1))):
        with pytest.raises(BadInput, match="line 1: the line names no customer"):
            imports.run(stream, options)
    assert imports.run(io.BytesIO(line(1)), options._replace(unattributed="house")).added == 1


def test_strict_imports_a_good_log_from_file_pipe_and_iterable_alike(imports: Any, tmp_path: Path) -> None:
    lines = [line(n) for n in range(50)]
    data = b"".join(text + b"\n" for text in lines)
    (tmp_path / "log").write_bytes(b"skipped\n" + data + line(51)[:40])
    with open(tmp_path / "log", "rb") as stream:
        stream.readline()
        report = imports.run(stream, strict=True)
    assert (report.added, report.unfinished) == (50, True)
    with subprocess.Popen(["cat", tmp_path / "log"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert imports.run(process.stdout, strict=True).added == 0
    assert imports.run(iter(lines), strict=True).added == 0
    assert imports.run(io.BytesIO(gzip.compress(data)), strict=True).added == 0


def test_options_that_cannot_be_meant_are_refused_before_anything_is_read(imports: Any) -> None:
    def lines() -> Iterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    for how in ({"customer": ""}, {"customer_from": "user"}, {"source": "a\n"}, {"format": "x"}):
        with pytest.raises(BadInput):
            imports.run(lines(), **how)


def test_an_unfinished_last_line_is_left_for_the_next_import(imports: Any) -> None:
    data = b"\n".join(line(n) for n in range(3))
    report = imports.run(io.BytesIO(data[:-20]))
    assert (report.lines, report.added, report.bad, report.unfinished) == (2, 2, 0, True)
    report = imports.run(io.BytesIO(data))
    assert (report.lines, report.added, report.unfinished) == (3, 1, False)
    assert imports.run(io.BytesIO(data + b"\r\n" + line(4))).added == 1


def test_a_last_line_that_reads_is_taken_and_if_it_grows_it_was_another_one(imports: Any) -> None:
    text = line(1).rsplit(b" ", 1)[0] + b" customer_id=c service=api endpoint=/ method=GET"
    options = ImportOptions(format="billing", customer="acme")
    assert [imports.run(io.BytesIO(data), options).added for data in (text[:-1], text, text + b"\n")] == [1, 1, 0]


def test_a_log_may_be_called_anything(imports: Any) -> None:
    assert imports.run([line(1)], name="a\udcff\n\0" + "x" * 5000).added == 1


def test_progress_is_told_after_each_batch_and_in_the_end(imports: Any, small_batches: None) -> None:
    data = b"".join(line(n) + b"\n" for n in range(25))
    told: list[tuple[int, int]] = []
    imports.run(io.BytesIO(data), progress=lambda done, lines: told.append((done, lines)))
    assert [lines for _, lines in told] == [10, 20, 25]
    assert told[-1][0] == len(data)


# --- For whom ---------------------------------------------------------------------------------------------------------


def test_the_same_log_for_another_customer_would_be_billed_twice_and_is_a_conflict(imports: Any) -> None:
    lines = [line(n) for n in range(5)]
    imports.run(lines)
    for how in ({"customer": "globex"}, {"customer": "", "customer_from": "address"}):
        with pytest.raises(Conflict, match="this log was imported with its customers by 'customer acme'"):
            imports.run(lines, **how)
    assert imports.totals() == {"acme": (5, 50)}
    assert imports.run(lines, customer="globex", source="again").added == 5
    assert imports.totals() == {"acme": (5, 50), "globex": (5, 50)}


def test_lines_that_named_nobody_are_billed_when_somebody_is_found(imports: Any) -> None:
    lines = [line(n, user=user) for n, user in enumerate(["k1", "k2", "-", "k1", "k2"])]
    keyed = ImportOptions(key_map={"k1": "a"}, key_field="user")
    report = imports.run(lines, keyed)
    assert (report.added, report.unattributed, report.bad) == (2, 3, 3)
    report = imports.run(lines, keyed._replace(key_map={"k1": "a", "k2": "b"}))
    assert (report.added, report.duplicates, report.unattributed) == (2, 2, 1)
    report = imports.run(lines, keyed._replace(key_map={"k1": "a", "k2": "b"}, unattributed="house"))
    assert (report.added, report.duplicates, report.bad) == (1, 4, 0)
    assert imports.run(lines, keyed._replace(key_map={"k1": "a", "k2": "b"}, unattributed="house")).added == 0
    assert imports.totals() == {"a": (2, 20), "b": (2, 20), "house": (1, 10)}


@pytest.mark.parametrize("ids", [True, False])
def test_a_key_that_changed_hands_does_not_bill_old_lines_to_the_new_owner(imports: Any, ids: bool) -> None:
    fields = {"id": "request_id"} if ids else {}
    old = ImportOptions(format="json", key_map={"k": "a"}, key_field="key", fields=fields)
    new = old._replace(key_map={"k": "b"})
    lines = [as_json(n, key="k", request_id=f"r{n}") for n in range(4)]
    imports.run(lines[:3], old)
    report = imports.run(lines, new)
    assert (report.added, report.conflicts, report.duplicates) == (1, 3, 0)
    assert imports.run(lines, new).added == 0
    assert imports.totals() == {"a": (3, 30), "b": (1, 10)}


def test_the_same_holds_for_lines_in_another_order(imports: Any) -> None:
    lines = [line(n, user="k") for n in range(6)]
    keyed = ImportOptions(key_map={"k": "a"}, key_field="user")
    imports.run(lines, keyed)
    report = imports.run(lines[::-1], keyed._replace(key_map={"k": "b"}))
    assert (report.rule, report.added, report.conflicts) == ("known_lines", 0, 6)


def test_lines_that_are_read_otherwise_now_are_compared_again(imports: Any) -> None:
    lines = [as_json(n, size=n + 1) for n in range(4)]
    options = ImportOptions(format="json", customer="acme")
    imports.run(lines, options)
    report = imports.run(lines, options._replace(fields={"bytes": "size"}))
    assert (report.added, report.conflicts) == (0, 4)
    assert imports.run(lines, options._replace(fields={"request": "request"})).duplicates == 4
    assert imports.totals() == {"acme": (4, 40)}


# --- Once, whatever happens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [True, False])
def test_an_import_that_is_killed_and_run_again_gives_the_same_totals(
    new_imports: Callable[[], Any], killed: type[BaseException], small_batches: None, durable: bool
) -> None:
    lines = [line(n // 3) for n in range(95)]
    for job in range(1, 11):
        imports = new_imports()
        imports.ledger.kill_at, imports.ledger.kill_after = job, durable
        with pytest.raises(killed):
            imports.run(lines)
        report = imports.run(lines)
        assert report.added + (job if durable else job - 1) * 10 == (95 if job < 10 or not durable else 100)
        assert imports.totals() == {"acme": (95, 950)}


def test_two_imports_of_one_log_at_once_take_turns_and_count_once(imports: Any, small_batches: None) -> None:
    lines = [line(n // 2) for n in range(200)]
    for meet in (1, 10, 45, 199):

        def meeting(meet: int = meet) -> Iterator[bytes]:
            for number, text in enumerate(lines):
                if number == meet:
                    imports.run(lines[: meet + 60], source=f"{meet}")
                yield text

        imports.run(meeting(), source=f"{meet}")
    assert imports.requests() == 4 * 200


PROGRAM = """
import sys
import nbilling
from nbilling.model.imports import ImportOptions
with nbilling.open(sys.argv[1]) as ledger, open(sys.argv[2], "rb") as log:
    print("ready", flush=True)
    ledger.usage.import_log(log, ImportOptions(customer="acme"), progress=lambda *done: print(*done, flush=True))
"""


def start(ledger: Path, log: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, ledger, log], stdout=subprocess.PIPE, env=environment)


def sums(path: Path) -> tuple[int, int]:
    import nbilling

    with nbilling.open(path) as ledger:
        current = dict(
            ledger.ledger.read()
            .execute(
                "SELECT m.name, sum(r.amount) FROM rollups r JOIN meters m ON m.id = r.meter WHERE grain = 0 GROUP BY 1"
            )
            .fetchall()
        )
    return current["api_requests"], current["bandwidth"]


@pytest.fixture
def long_log(tmp_path: Path) -> Path:
    path = tmp_path / "access.log"
    path.write_bytes(b"".join(line(n // 7, path=f"/{n // 2}") + b"\n" for n in range(20_000)))
    return path


def test_processes_that_are_killed_at_any_moment_leave_every_line_counted_once(tmp_path: Path, long_log: Path) -> None:
    import nbilling

    ledger = tmp_path / "ledger.db"
    nbilling.init(ledger)
    choose = random.Random(2)
    for _ in range(4):
        with start(ledger, long_log) as process:
            assert process.stdout is not None
            for _ in range(choose.randint(1, 5)):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
    with start(ledger, long_log) as process:
        process.communicate()
    assert process.returncode == 0
    assert sums(ledger) == (20_000, 200_000)


def test_processes_that_import_one_log_at_once_count_it_once(tmp_path: Path, long_log: Path) -> None:
    import nbilling

    ledger = tmp_path / "ledger.db"
    nbilling.init(ledger)
    processes = [start(ledger, long_log) for _ in range(3)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert sums(ledger) == (20_000, 200_000)


# --- The real log -----------------------------------------------------------------------------------------------------


@pytest.fixture
def real_log() -> bytes:
    if not REAL_LOG.exists():
        pytest.skip(f"{REAL_LOG} is not there")
    return REAL_LOG.read_bytes()


def test_the_real_log_is_imported_once_as_file_copy_gzip_and_pieces(imports: Any, real_log: bytes) -> None:
    report = imports.run(io.BytesIO(real_log), name="access.log")
    assert (report.lines, report.requests, report.bytes) == (28_021, 28_021, 17_540_769_234)
    assert (report.added, report.bad, report.rule) == (28_021, 0, "new")
    lines = real_log.split(b"\n")
    pieces = [
        gzip.compress(real_log),
        real_log + b"\n",
        real_log.replace(b"\n", b"\r\n"),
        *(b"\n".join(lines[-count:]) for count in (2, 63, 64, 65, 1023, 1024, 1025, 5000, 28_020)),
        *(b"\n".join(lines[:count]) for count in (1, 2, 63, 64, 65, 2500, 28_020)),
        b"\n".join(lines[10_000:10_500]),
        b"\n".join(sorted(lines)),
        b"\n".join(text for text in lines if b" 404 " in text),
    ]
    for piece in pieces:
        assert imports.run(io.BytesIO(piece)).added == 0, piece[:200]
    assert imports.totals() == {"acme": (28_021, 17_540_769_234)}


def test_the_real_log_rotated_anywhere_is_imported_once(new_imports: Callable[[], Any], real_log: bytes) -> None:
    lines = real_log.split(b"\n")
    choose = random.Random(1)
    for split in choose.sample(range(1, 1500), 25):
        imports = new_imports()
        begin = choose.randrange(len(lines) - 1500)
        part = lines[begin : begin + 1500]
        assert imports.run(part[:split]).added == split
        assert imports.run(part[split:]).added == 1500 - split
        assert imports.run(part).added == 0
        assert imports.run(part[split - min(split, 40) :]).added == 0
