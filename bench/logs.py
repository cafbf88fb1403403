"""Import of an access log: lines a second, beside a script that reads the same lines into the bare event table."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from bench import by_hand, ledgers
from bench.harness import Options, Outcome, Result, Variant, cost_ratio, interleave, per_item
from bench.stream import START, STEP
from nbilling.model.clock import HOUR
from nbilling.model.identity import uuid7
from nbilling.model.imports import ImportOptions

BATCH_LINES = 2_500
LINE = re.compile(rb'(\S+) \S+ \S+ \[([^\]]+)\] "(\S+) (\S+) [^"]*" (\d+) (\d+)')
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def run(options: Options) -> list[Result]:
    """A log of nginx's combined format with one address for each customer; a line is two events, request and bytes."""
    base = ledgers.make(options.directory / "logs-base.db", options.customers)
    work = options.directory / "logs.db"
    count = options.events // 2
    lines: list[bytes] = []

    def prepare(number: int) -> None:
        lines[:] = _log(count, options.customers, number)

    def engine() -> Outcome:
        ledgers.copy(base, work)
        wanted = ImportOptions(customer_from="address")
        with ledgers.opened(work) as billing:
            outcome = per_item(count, lambda: billing.usage.import_log(lines, wanted))
            recorded = billing.ledger.read().execute("SELECT count(*) FROM events").fetchone()[0]
        if recorded != 2 * count:
            raise RuntimeError(f"{recorded} events of {count} lines")
        return outcome

    def script() -> Outcome:
        ledgers.remove(work)
        db = by_hand.connect(str(work))
        db.executescript(by_hand.BARE_TABLE)

        def write() -> None:
            numbers: dict[bytes, int] = {}
            for start in range(0, count, BATCH_LINES):
                rows = _parsed(lines[start : start + BATCH_LINES], numbers, 2 * start + 1)
                by_hand.write_rows(db, by_hand.INSERT, rows, 2 * BATCH_LINES)

        outcome = per_item(count, write)
        db.close()
        return outcome

    mine, other = "import_log", "script: regex into the bare event table"
    figures = interleave([Variant(mine, engine), Variant(other, script, by_hand.BARE_TRANSACTION)], options, prepare)
    return [
        Result(
            "logs",
            "Import of access logs",
            ledgers.conditions(
                batch=f"{BATCH_LINES:,} lines a transaction",
                data=f"{count:,} lines of the combined format, {options.customers:,} addresses drawn evenly, 20 lines "
                "a second; a line is two events",
                script="it identifies no line, so it would import the log twice; it sums nothing up",
            ),
            list(figures.values()),
            [cost_ratio("import_log / script into the bare event table", figures[mine], figures[other])],
            {other: by_hand.BARE_TRANSACTION},
            item="line",
        )
    ]


def _log(count: int, customers: int, seed: int) -> list[bytes]:
    draw = random.Random(seed).randrange
    found = []
    for number in range(count):
        moment = _EPOCH + timedelta(microseconds=START + number * STEP)
        one = draw(customers)
        found.append(
            f"10.{one >> 16}.{one >> 8 & 255}.{one & 255} - - [{moment:%d/%b/%Y:%H:%M:%S} +0000] "
            f'"POST /graphql?page={draw(100)} HTTP/1.1" 200 {1 + draw(100_000)} "-" "curl/8.5.0"\n'.encode()
        )
    return found


def _parsed(lines: Sequence[bytes], numbers: dict[bytes, int], seq: int) -> list[by_hand.Row]:
    rows: list[by_hand.Row] = []
    for line in lines:
        match = LINE.match(line)
        assert match is not None
        address, when, method, path, status, size = match.groups()
        number = numbers.setdefault(address, len(numbers) + 1)
        moment = datetime.strptime(when.decode(), "%d/%b/%Y:%H:%M:%S %z")
        at = (moment - _EPOCH) // timedelta(microseconds=1)
        words = f'{{"endpoint":"{path.decode()}","method":"{method.decode()}","status":{int(status)}}}'
        rows.append((seq, at // HOUR, at, number, 1, 0, 1, 0, uuid7(at), None, words))
        rows.append((seq + 1, at // HOUR, at, number, 3, 1, int(size), 0, uuid7(at), None, None))
        seq += 2
    return rows
