"""Bulk import into files that hold millions of events already: does it stay as fast?"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from bench import by_hand, ledgers
from bench.harness import Figure, Options, Outcome, Ratio, Result, Variant, cost_ratio, interleave, per_item, rate_ratio
from bench.ingest import BATCH, peak_memory, random_uuids
from bench.stream import DESCRIPTION, Stream

BUILD_BATCH = 50_000
HAND_UP_TO = 5_000_000
"""Above that only the engine is measured: each variant needs a file of its own."""


def run(options: Options) -> list[Result]:
    """Rounds of events behind those that are there, in time order as they come in life."""
    figures: dict[str, Figure] = {}
    variants: list[Variant] = []
    feeds: list[_Feed] = []
    facts: dict[str, float] = {}
    for size in options.sizes:
        path = _ledger(options, size)
        if size:
            facts[f"bytes an event at {label(size)}"] = path.stat().st_size / size
        feed = _Feed(options, path, size)
        feeds.append(feed)
        variants.append(feed.engine())
        if size <= HAND_UP_TO:
            variants += [feed.by_hand(), feed.bare()]
        if 0 < size <= HAND_UP_TO and size == max(one for one in options.sizes if one <= HAND_UP_TO):
            variants.append(feed.seed())

    def prepare(number: int) -> None:
        for feed in feeds:
            feed.prepare(number)

    figures = interleave(variants, options, prepare)
    for feed in feeds:
        feed.close()
    for size in options.sizes:
        copy = ledgers.copy(_ledger(options, size), options.directory / "growth-memory.db")
        peak = peak_memory(copy, options.events, options.customers, size)
        facts[f"MiB at most, of a process that imports {options.events:,} events at {label(size)}"] = peak
        ledgers.remove(copy)
    result = Result(
        "growth",
        "Bulk import as the file grows",
        ledgers.conditions(
            batch=f"{BATCH:,} events a transaction",
            data=DESCRIPTION.format(customers=options.customers) + ", text ids",
            round=f"{options.events:,} events into each file, which stays open from round to round",
        ),
        list(figures.values()),
        _ratios(figures, options.sizes),
        {"import": "The statements are those of the subject `ingest`."},
        facts,
    )
    return [result]


def label(size: int) -> str:
    """1 M, 5 M, 20 M."""
    return f"{size // 1_000_000} M" if size >= 1_000_000 else f"{size:,}"


def _ratios(figures: dict[str, Figure], sizes: tuple[int, ...]) -> list[Ratio]:
    found = []
    for size in sizes:
        mine = figures[f"track_many at {label(size)}"]
        for kind, target in (("SQL of the same contents", "at most 1.45, later 1.3"),
                             ("bare event table", "at most 2.6, later 2.2")):  # fmt: skip
            other = figures.get(f"{kind} at {label(size)}")
            if other:
                found.append(cost_ratio(f"import / {kind}, at {label(size)}", mine, other, target))
        seed = figures.get(f"seed's schema at {label(size)}")
        if seed:
            name = f"rate of import / rate of the seed's schema, at {label(size)}"
            found.append(rate_ratio(name, mine, seed, "at least 4.5 at 5 M"))
    held = [size for size in sizes if size]
    for size in held[1:]:
        of, to = figures[f"track_many at {label(size)}"], figures[f"track_many at {label(held[0])}"]
        found.append(rate_ratio(f"rate at {label(size)} / rate at {label(held[0])}", of, to, "at least 0.9"))
    return found


class _Feed:
    """The files of one size, one for each variant, and the events that come next."""

    def __init__(self, options: Options, ledger: Path, size: int) -> None:
        self._options = options
        self._ledger = ledger
        self._size = size
        self._stream = Stream(options.customers, "text", 1_000 + size, size)
        self._first = size + 1
        self._close: list[Callable[[], object]] = []
        db = sqlite3.connect(ledger)
        self._known = by_hand.known(db)
        db.close()

    def prepare(self, number: int) -> None:
        """The events of a round, the same for all variants."""
        self._events = self._stream.take(self._options.events)
        self._batches = list(by_hand.batches(self._events, self._known, self._first, BATCH))
        self._first += self._options.events
        self._seed_rows = by_hand.seed_rows(self._events, random_uuids(self._options.events, number))

    def engine(self) -> Variant:
        """``track_many``."""
        billing = ledgers.opened(ledgers.copy(self._ledger, self._path("engine")))
        self._close.append(billing.close)
        count = self._options.events
        return Variant(
            f"track_many at {label(self._size)}",
            lambda: per_item(count, lambda: billing.usage.track_many(self._events)),
        )

    def by_hand(self) -> Variant:
        """The SQL alone, into a copy of the same file."""
        db = self._connect(ledgers.copy(self._ledger, self._path("hand")))
        return self._variant("SQL of the same contents", lambda: by_hand.write_batches(db, self._batches))

    def bare(self) -> Variant:
        """The event table alone, filled with the same events."""
        path = self._path("bare")
        _build(path, self._size, lambda db: _fill_bare(db, self._ledger))
        db = self._connect(path)

        def write() -> None:
            by_hand.write_rows(db, by_hand.INSERT, [row for batch in self._batches for row in batch.rows], BATCH)

        return self._variant("bare event table", write)

    def seed(self) -> Variant:
        """The seed's table, filled with as many."""
        path = self._path("seed")
        _build(path, self._size, lambda db: _fill_seed(db, self._size, self._options.customers))
        db = self._connect(path)
        return self._variant(
            "seed's schema", lambda: by_hand.write_rows(db, by_hand.SEED_INSERT, self._seed_rows, BATCH)
        )

    def close(self) -> None:
        """Closes every file and deletes the copies."""
        for close in self._close:
            close()
        for kind in ("engine", "hand", "bare", "seed"):
            ledgers.remove(self._path(kind))

    def _connect(self, path: Path) -> sqlite3.Connection:
        db = by_hand.connect(str(path))
        self._close.append(db.close)
        return db

    def _path(self, kind: str) -> Path:
        return self._options.directory / f"growth-{self._size}-{kind}.db"

    def _variant(self, name: str, action: Callable[[], object]) -> Variant:
        def run() -> Outcome:
            return per_item(self._options.events, action)

        return Variant(f"{name} at {label(self._size)}", run)


def _ledger(options: Options, size: int) -> Path:
    """A ledger with so many events, made by hand, without waiting for the disk. It is kept for the next run."""
    path = options.directory / f"growth-{size}-{options.customers}.db"
    if not path.exists():
        options.tell(f"making a ledger of {size:,} events")
        made = ledgers.make(options.directory / "growth-making.db", options.customers)
        _build(made, size, lambda db: _fill_ledger(db, size, options.customers), new=False)
        made.rename(path)
        ledgers.remove(made)
    return path


def _build(path: Path, size: int, fill: Callable[[sqlite3.Connection], None], *, new: bool = True) -> None:
    if new:
        ledgers.remove(path)
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=OFF" if new else "journal_mode=MEMORY", "synchronous=OFF", "cache_size=-4000000"):
        db.execute(f"PRAGMA {pragma}").fetchone()
    fill(db)
    db.execute("PRAGMA journal_mode=WAL").fetchone()
    db.close()


def _fill_ledger(db: sqlite3.Connection, size: int, customers: int) -> None:
    stream, known = Stream(customers, "text", size), by_hand.known(db)
    for start in range(0, size, BUILD_BATCH):
        events = stream.take(min(BUILD_BATCH, size - start))
        by_hand.write_batches(db, by_hand.batches(events, known, start + 1, BUILD_BATCH))


def _fill_bare(db: sqlite3.Connection, ledger: Path) -> None:
    db.executescript(by_hand.BARE_TABLE)
    db.execute("ATTACH ? AS other", (str(ledger),))
    db.execute("INSERT INTO events SELECT * FROM other.events ORDER BY seq")
    db.execute("DETACH other")


def _fill_seed(db: sqlite3.Connection, size: int, customers: int) -> None:
    """Rows of the same shape, made within SQLite: random ids in order of arrival, as the seed's database makes them."""
    db.executescript(by_hand.SEED_TABLE)
    db.execute(
        """WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
        INSERT INTO usage_events SELECT
          lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-a' ||
            substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))),
          printf('customer-%06d', abs(random() % ?2)), 'api_requests', 1,
          '{"duration":0,"endpoint":"/graphql","method":"POST","status":200}',
          strftime('%Y-%m-%dT%H:%M:%f', 1767830400 + i / 20, 'unixepoch') || '+00:00' FROM n""",
        (size, customers),
    )
