"""Bulk import into a new file: the engine against hand-written SQL, and what an event takes on the disk."""

from __future__ import annotations

import json
import random
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path

from bench import by_hand, ledgers
from bench.harness import Options, Outcome, Result, Variant, child, cost_ratio, end, interleave, per_item, rate_ratio
from bench.stream import DESCRIPTION, Stream
from nbilling.model.events import UsageEvent

BATCH = 1_000


class _Round:
    """What the variants of one round share: the same events, prepared for each of them before the clock starts."""

    def __init__(self, options: Options, base: Path) -> None:
        self._options = options
        self.base = base
        db = sqlite3.connect(base)
        self.known = by_hand.known(db)
        db.close()

    def prepare(self, number: int) -> None:
        """New events."""
        count, customers = self._options.events, self._options.customers
        ids = random.Random(number)
        self.events = Stream(customers, "text", number).take(count)
        self.with_uuids = Stream(customers, "uuid", number).take(count)
        self.without_ids = Stream(customers, "none", number).take(count)
        self.batches = list(by_hand.batches(self.events, self.known, 1, BATCH))
        self.batches_of_uuids = list(by_hand.batches(self.with_uuids, self.known, 1, BATCH))
        self.lines = [_line(event) for event in self.events]
        uuids = [str(uuid.UUID(int=ids.getrandbits(128), version=4)) for _ in range(count)]
        self.seed_rows = by_hand.seed_rows(self.events, uuids)
        self.keyed_seed_rows = by_hand.seed_rows(self.events, uuids, keyed=True)


def _line(event: UsageEvent) -> bytes:
    fields = {"customer": event.customer, "meter": event.meter, "id": event.id, "at": event.at}
    return json.dumps({**fields, "metadata": event.metadata}).encode()


def run(options: Options) -> list[Result]:
    """Into a new file: events with ids, with UUIDs, without ids; as lines; and what others take."""
    base = ledgers.make(options.directory / "ingest-base.db", options.customers)
    shared = _Round(options, base)
    work = options.directory / "ingest.db"

    def engine(name: str, events: Callable[[], list[UsageEvent]]) -> Variant:
        def action() -> Outcome:
            ledgers.copy(base, work)
            with ledgers.opened(work) as billing:
                billing.usage.track_many(events()[:1], batch=BATCH)  # opens the write connection
                outcome = per_item(options.events, lambda: billing.usage.track_many(events()[1:], batch=BATCH))
            return _with_size(outcome, work, options.events)

        return Variant(name, action)

    def lines() -> Outcome:
        ledgers.copy(base, work)
        with ledgers.opened(work) as billing:
            billing.usage.track_many(shared.events[:1])
            outcome = per_item(options.events, lambda: billing.usage.import_events(shared.lines[1:], "ndjson"))
        return _with_size(outcome, work, options.events)

    def hand(name: str, action: Callable[[sqlite3.Connection], None], tables: str | None, statements: str) -> Variant:
        def one_round() -> Outcome:
            if tables is None:
                ledgers.copy(base, work)
            else:
                ledgers.remove(work)
            db = by_hand.connect(str(work))
            db.executescript(tables or "")
            outcome = per_item(options.events, lambda: action(db))
            db.close()
            return _with_size(outcome, work, options.events)

        return Variant(name, one_round, statements)

    def rows_of(batches: Callable[[], list[by_hand.Batch]]) -> list[by_hand.Row]:
        return [row for batch in batches() for row in batch.rows]

    contents, program, bare = "SQL, same contents", "program by hand, same contents", "bare table, two indexes"
    seed, keyed = "seed's schema", "seed's schema, unique event id"
    variants = [
        engine("track_many, text ids", lambda: shared.events),
        engine("track_many, UUIDs", lambda: shared.with_uuids),
        engine("track_many, no ids", lambda: shared.without_ids),
        Variant("import_events, NDJSON", lines),
        hand(contents, lambda db: by_hand.write_batches(db, shared.batches), None, by_hand.TRANSACTION),
        hand(
            f"{contents}, UUIDs", lambda db: by_hand.write_batches(db, shared.batches_of_uuids), None, "as above"
        ),
        hand(
            program,
            lambda db: by_hand.write_program(db, shared.events, shared.known, BATCH),
            None,
            "as above, from the same Python values as track_many",
        ),
        _bare(shared, options, work, bare, rows_of, hand),
        hand(
            seed,
            lambda db: by_hand.write_rows(db, by_hand.SEED_INSERT, shared.seed_rows, BATCH),
            by_hand.SEED_TABLE,
            by_hand.SEED_TRANSACTION,
        ),
        hand(
            keyed,
            lambda db: by_hand.write_rows(db, by_hand.KEYED_SEED_INSERT, shared.keyed_seed_rows, BATCH),
            by_hand.KEYED_SEED_TABLE,
            f"{by_hand.KEYED_SEED_TABLE}\n{by_hand.KEYED_SEED_INSERT};",
        ),
    ]  # fmt: skip
    figures = interleave(variants, options, shared.prepare)
    mine = figures["track_many, text ids"]
    ratios = [
        cost_ratio("import, to SQL with the same contents", mine, figures[contents], "at most 1.45, later 1.3"),
        cost_ratio("import, to a program by hand", mine, figures[program]),
        cost_ratio("import, to the bare table", mine, figures[bare], "at most 2.6, later 2.2"),
        cost_ratio("import of UUIDs, to SQL with the same contents", figures["track_many, UUIDs"],
                   figures[f"{contents}, UUIDs"]),
        rate_ratio("import, to the seed's schema, new file", mine, figures[seed]),
        cost_ratio("import of NDJSON lines, to track_many", figures["import_events, NDJSON"], mine),
    ]  # fmt: skip
    ratios += [
        ratio._replace(name="bytes an event, to the seed's schema with a unique id", target="at most 0.65")
        for ratio in [cost_ratio("", _bytes(mine), _bytes(figures[keyed]))]
    ]
    statements = {variant.name: variant.statements for variant in variants if variant.statements}
    statements["track_many, one batch of 1,000"] = _traced(base, work, shared.events[: 2 * BATCH])
    result = Result(
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
    )
    return [result, memory(options, base, work)]


def _bare(
    shared: _Round,
    options: Options,
    work: Path,
    name: str,
    rows_of: Callable[[Callable[[], list[by_hand.Batch]]], list[by_hand.Row]],
    hand: Callable[..., Variant],
) -> Variant:
    return hand(
        name,
        lambda db: by_hand.write_rows(db, by_hand.INSERT, rows_of(lambda: shared.batches), BATCH),
        by_hand.BARE_TABLE,
        by_hand.BARE_TRANSACTION,
    )
