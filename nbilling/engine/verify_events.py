"""Verifies events by themselves, and the series of gauges and counters against them."""

from __future__ import annotations

from nbilling.engine.verify_context import NO_ROW, Context, hour, moment
from nbilling.model.clock import HOUR
from nbilling.model.identity import event_key, key_text
from nbilling.rules.status_samples import Total, total_key
from nbilling.rules.verify import counter_delta, id_hash, id_prefix, level_after
from nbilling.store import verify as store
from nbilling.store import verify_billing as billing_store
from nbilling.store.verify import SentId, Series

_STEP = 200_000
"""Rows between two reports of progress."""
_UUID_LENGTH = 36


def check_events(context: Context) -> None:
    """Numbers without a gap, hours that fit times, keys that fit ids, ids that lead to their events."""
    for seq, missing in store.breaks(context.db, "events"):
        context.wrong("events", f"number {seq}", f"event {seq - 1} before it", f"{missing} missing")
    for event in store.odd_events(context.db, context.since_h, context.gauges):
        key = f"{context.customer(event.customer)}, number {event.seq}"
        context.equal("events", f"{key}, hour", event.at // HOUR, event.h)
        if event.at < 0:
            context.wrong("events", f"{key}, at", "a time after 1970", event.at)
        if len(event.key) != 16:
            context.wrong("events", f"{key}, key", "16 bytes", f"{len(event.key)} bytes")
        if event.op not in (0, 1) or event.h == event.at // HOUR:
            context.wrong("events", f"{key}, op", "0, or 1 on a gauge", event.op)
    _check_ids(context)
    for customer, h, identity in store.lost_ids(context.db, context.since_h):
        key = f"{context.customer(customer)}, key {identity.hex()}"
        context.wrong("event_ids", key, f"an event in {hour(h)}", "none")


def _check_ids(context: Context) -> None:
    """The key of an event is that of its customer and id, or of an imported total."""
    prefixes: dict[int, bytes] = {}
    for done, event in enumerate(store.sent_ids(context.db, context.since_h)):
        if done % _STEP == 0:
            context.tell("identities", done)
            prefixes.clear()  # there may be as many as there are customers
        seq, customer, _, _, _, key, text = event
        prefix = prefixes.get(customer)
        if prefix is None:
            prefix = prefixes[customer] = id_prefix(context.customer(customer))
        if id_hash(prefix, text) == key and len(text) != _UUID_LENGTH:
            continue
        name = context.customer(customer)
        right, kept = event_key(name, text)
        if (right != key or kept is None) and not _is_sample(context, event):
            shown = f"{name}, number {seq}, id {text!r:.80}"
            context.wrong("events", shown, f"key {key_text(right)}", f"key {key.hex()}")


def _is_sample(context: Context, event: SentId) -> bool:
    """Whether the key is that of an imported total of a counter: of its source, zone, field and time."""
    _, _, meter, where, at, key, text = event
    if meter not in context.counters:
        return False
    if len(text) == 255:  # cut off: it does not tell
        return True
    zone, _, field = text.rpartition(":")[0].rpartition(":")
    dimension = billing_store.dimension(context.db, where) if where else ""
    total = Total(zone, "", field, at, 0)
    sources = {"", dimension.removesuffix(zone).removesuffix("/")}
    return any(total_key(source, total) == key for source in sources)


def check_gauges(context: Context) -> None:
    """Every level follows from the samples before it, every sample is its event, every event has its sample."""
    series: Series | None = None
    level = 0
    for number, row in enumerate(store.gauge_rows(context.db)):
        if number % _STEP == 0:
            context.tell("gauges", number)
        context.counted("samples")
        if row.series != series:
            series, level = row.series, 0
        key = f"{context.series(*row.series)}, {moment(row.at)}, event {row.seq}"
        if row.series[1] not in context.gauges:
            context.wrong("gauge_levels", key, "a gauge", "a meter of another kind")
        if row.at >= context.since:
            _same_event(context, "gauge_levels", key, row.event, (*row.series, row.at, row.op, row.amount))
        level = level_after(level, row.op, row.amount)
        if level != row.level:
            context.wrong("gauge_levels", key, f"level {level}", f"level {row.level}")
            level = row.level
    _missing(context, "gauge_levels", context.gauges)


def check_counters(context: Context) -> None:
    """Every delta follows from the total before it, every sample is its event, every event has its sample."""
    series: Series | None = None
    before: int | None = None
    for number, row in enumerate(store.counter_rows(context.db)):
        if number % _STEP == 0:
            context.tell("counters", number)
        context.counted("samples")
        if row.series != series:
            series, before = row.series, None
        key = f"{context.series(*row.series)}, {moment(row.at)}, event {row.seq}"
        if row.series[1] not in context.counters:
            context.wrong("counter_samples", key, "a counter", "a meter of another kind")
        if row.at >= context.since:
            _same_event(context, "counter_samples", key, row.event, (*row.series, row.at, row.total))
        delta = counter_delta(before, row.total)
        if delta != row.delta:
            context.wrong("counter_samples", key, f"delta {delta}", f"delta {row.delta}")
        before = row.total
    _missing(context, "counter_samples", context.counters)


def _same_event(context: Context, table: str, key: str, event: tuple[int, ...] | None, sample: tuple[int, ...]) -> None:
    if event is None:
        context.wrong(table, key, "the event that it came with", NO_ROW)
    elif event != sample:
        context.wrong(table, key, f"as its event: {_shown(context, event)}", _shown(context, sample))


def _shown(context: Context, sample: tuple[int, ...]) -> str:
    customer, meter, dimension, at, *amounts = sample
    return f"{context.series(customer, meter, dimension)}, {moment(at)}, {' '.join(map(str, amounts))}"


def _missing(context: Context, table: str, meters: frozenset[int]) -> None:
    for seq, customer, meter, dimension, at in store.missing_samples(context.db, table, meters, context.since_h):
        key = f"{context.series(customer, meter, dimension)}, {moment(at)}, event {seq}"
        context.wrong(table, key, "a row", NO_ROW)
