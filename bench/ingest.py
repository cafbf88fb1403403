"""Bulk import into a new file: the engine against hand-written SQL, and what an event takes on the disk."""

from __future__ import annotations

import json
import random
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import nbilling
from bench import by_hand, ledgers
from bench.harness import (
    Options,
    Outcome,
    Result,
    Variant,
    child,
    cost_ratio,
    end,
    interleave,
    more_ratio,
    per_item,
    rate_ratio,
)
from bench.stream import DESCRIPTION, Stream
from nbilling.model.events import UsageEvent

BATCH = 1_000
BYTES = "bytes an event"


class _Inputs:
    """The events of a round, prepared for every variant before the clock starts."""

    def __init__(self, options: Options, known: by_hand.Known) -> None:
        self._options = options
        self.known = known

    def prepare(self, number: int) -> None:
        """New events for a round."""
        count, customers = self._options.events, self._options.customers
        self.events = Stream(customers, "text", number).take(count)
        self.uuids = Stream(customers, "uuid", number).take(count)
        self.without_ids = Stream(customers, "none", number).take(count)
        self.lines = [_line(event) for event in self.events]
        self.batches = list(by_hand.batches(self.events, self.known, 1, BATCH))
        self.rows = [row for batch in self.batches for row in batch.rows]
        self.batches_of_uuids = list(by_hand.batches(self.uuids, self.known, 1, BATCH))
        keys = random_uuids(count, number)
        self.seed_rows = by_hand.seed_rows(self.events, keys)
        self.keyed_seed_rows = by_hand.seed_rows(self.events, keys, keyed=True)


def random_uuids(count: int, seed: int) -> list[str]:
    """UUIDs version 4, made before the clock starts: the seed's database makes them itself."""
    bits = random.Random(seed).getrandbits
    return [str(uuid.UUID(int=bits(128), version=4)) for _ in range(count)]


def _line(event: UsageEvent) -> bytes:
    fields = {"customer": event.customer, "meter": event.meter, "id": event.id, "at": event.at}
    return json.dumps({**fields, "metadata": event.metadata}).encode()


def run(options: Options) -> list[Result]:
    """Events with text ids, with UUIDs, without ids, as lines; the same by hand; and the seed's schema."""
    base = ledgers.make(options.directory / "ingest-base.db", options.customers)
    work = options.directory / "ingest.db"
    db = sqlite3.connect(base)
    inputs = _Inputs(options, by_hand.known(db))
    db.close()

    def engine(name: str, feed: Callable[[nbilling.Billing], object]) -> Variant:
        def one_round() -> Outcome:
            ledgers.copy(base, work)
            with ledgers.opened(work) as billing:
                billing.ledger.write(lambda db: None)  # opens the write connection
                outcome = per_item(options.events, lambda: feed(billing))
            return _with_size(outcome)

        return Variant(name, one_round)

    def hand(name: str, tables: str, write: Callable[[sqlite3.Connection], object], statements: str) -> Variant:
        def one_round() -> Outcome:
            if tables:
                ledgers.remove(work)
            else:
                ledgers.copy(base, work)
            db = by_hand.connect(str(work))
            db.executescript(tables)
            outcome = per_item(options.events, lambda: write(db))
            db.close()
            return _with_size(outcome)

        return Variant(name, one_round, statements)

    def _with_size(outcome: Outcome) -> Outcome:
        return outcome._replace(more={**outcome.more, BYTES: ledgers.checkpointed_size(work) / options.events})

    variants = [
        engine("track_many, text ids", lambda billing: billing.usage.track_many(inputs.events)),
        engine("track_many, UUIDs", lambda billing: billing.usage.track_many(inputs.uuids)),
        engine("track_many, no ids", lambda billing: billing.usage.track_many(inputs.without_ids)),
        engine("import_events, NDJSON", lambda billing: billing.usage.import_events(inputs.lines, "ndjson")),
        hand(
            "SQL of the same contents", "",
            lambda db: by_hand.write_batches(db, inputs.batches), by_hand.TRANSACTION,
        ),
        hand(
            "rows ready, sums made by hand", "",
            lambda db: by_hand.write_summing(db, inputs.batches, inputs.known), "As above.",
        ),
        hand(
            "SQL of the same contents, UUIDs", "",
            lambda db: by_hand.write_batches(db, inputs.batches_of_uuids), "As above; a UUID is its own key.",
        ),
        hand(
            "program of the same contents", "",
            lambda db: by_hand.write_program(db, inputs.events, inputs.known, BATCH),
            "As above, with everything computed from the values that track_many is given.",
        ),
        hand(
            "bare event table", by_hand.BARE_TABLE,
            lambda db: by_hand.write_rows(db, by_hand.INSERT, inputs.rows, BATCH), by_hand.BARE_TRANSACTION,
        ),
        hand(
            "seed's schema", by_hand.SEED_TABLE,
            lambda db: by_hand.write_rows(db, by_hand.SEED_INSERT, inputs.seed_rows, BATCH), by_hand.SEED_TRANSACTION,
        ),
        hand(
            "seed's schema, unique event id", by_hand.KEYED_SEED_TABLE,
            lambda db: by_hand.write_rows(db, by_hand.KEYED_SEED_INSERT, inputs.keyed_seed_rows, BATCH),
            f"{by_hand.KEYED_SEED_TABLE}\n{by_hand.KEYED_SEED_INSERT};",
        ),
    ]  # fmt: skip
    figures = interleave(variants, options, inputs.prepare)
    mine = figures["track_many, text ids"]
    contents, uuids = figures["SQL of the same contents"], figures["SQL of the same contents, UUIDs"]
    ratios = [
        cost_ratio("import / SQL of the same contents", mine, contents, "at most 1.45, later 1.3"),
        cost_ratio("import of UUIDs / SQL of the same contents", figures["track_many, UUIDs"], uuids),
        cost_ratio("import / rows ready, sums made by hand", mine, figures["rows ready, sums made by hand"]),
        cost_ratio("import / program of the same contents", mine, figures["program of the same contents"]),
        cost_ratio("import / bare event table", mine, figures["bare event table"], "at most 2.6, later 2.2"),
        rate_ratio("rate of import / rate of the seed's schema", mine, figures["seed's schema"]),
        cost_ratio("import of NDJSON / import", figures["import_events, NDJSON"], mine),
        more_ratio("bytes an event / seed's with unique id", BYTES, mine, figures["seed's schema, unique event id"],
                   "at most 0.65"),
    ]  # fmt: skip
    statements = {variant.name: variant.statements for variant in variants if variant.statements}
    ledgers.copy(base, work)
    with ledgers.opened(work) as billing:
        some = [inputs.events[:BATCH], inputs.events[BATCH : 2 * BATCH]]
        statements["track_many, one batch"] = ledgers.engine_statements(
            billing, lambda: billing.usage.track_many(some.pop())
        )
    return [
        Result(
            "ingest",
            "Bulk import into a new file",
            ledgers.conditions(
                batch=f"{BATCH:,} events a transaction",
                data=DESCRIPTION.format(customers=options.customers),
                round=f"{options.events:,} events",
            ),
            list(figures.values()),
            ratios,
            statements,
            _memory(options, (0, options.events, 4 * options.events)),
        )
    ]


def _memory(options: Options, counts: Sequence[int]) -> dict[str, float]:
    path = options.directory / "memory.db"
    return {
        f"MiB at most, of a process that imports {count:,} events": peak_memory(
            ledgers.make(path, options.customers), count, options.customers
        )
        for count in counts
    }


def peak_memory(path: Path, count: int, customers: int, first: int = 0) -> float:
    """MiB that a process held at most while it imported so many events from a generator into a ledger of ``first``."""
    process = child("-m", "bench.worker", "memory", str(path), str(count), str(customers), str(first))
    try:
        output, _ = process.communicate()
    finally:
        end(process)
    return int(output) / 2**20
