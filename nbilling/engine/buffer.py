"""Buffered tracking: calls that do not wait for the disk, for those who can bear to lose the last moments."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from nbilling.engine.bulk import BATCH, BulkTracking
from nbilling.model.events import BadEvent, BulkReport, UsageEvent
from nbilling.model.text import whole

_SECOND = 1_000_000_000


class UsageBuffer:
    """Collects events and records them in batches. Safe for threads; one lock, no thread of its own.

    What :meth:`track` was given is lost when the process dies before the next flush, and when it ends without
    :meth:`close`: at most ``limit`` events, and while calls keep coming at most those of the last ``delay_seconds``.
    Nothing is written while no calls come. :meth:`flush` and :meth:`close` return when all is durable.

    A call that finds the buffer full, or the delay over, first writes what is held, so the buffer never grows beyond
    its bound; where that write fails the call raises, its own event is not taken, and what was held stays. An event
    without an id gets one, and its time, when it is taken: writing it again after a failure counts it once. In a forked
    child the buffer starts empty; its parent writes what it held. Not for signal handlers.
    """

    def __init__(
        self,
        tracking: BulkTracking,
        *,
        limit: int = BATCH,
        delay_seconds: int = 1,
        on_bad: Callable[[BadEvent], None],
    ) -> None:
        self._tracking = tracking
        self._limit = whole(limit, "limit", minimum=1)
        self._delay = whole(delay_seconds, "delay_seconds") * _SECOND
        self._on_bad = on_bad
        self._fresh()
        _BUFFERS.add(self)

    def _fresh(self) -> None:
        self._lock = threading.Lock()
        self._events: list[UsageEvent] = []
        self._since = time.monotonic_ns()
        self._report = BulkReport()

    def track(self, event: UsageEvent | Mapping[str, Any]) -> None:
        """Takes an event. Its values are checked when it is written: what is wrong then goes to ``on_bad``.

        BadInput for a mapping that cannot be an event. What :meth:`flush` raises, if it is time for one.
        """
        stamped = self._tracking.stamped(event)
        bad: list[BadEvent] = []
        try:
            with self._lock:
                if len(self._events) >= self._limit or time.monotonic_ns() - self._since >= self._delay:
                    self._write(bad)
                self._events.append(stamped)
        finally:
            self._tell(bad)

    def flush(self) -> BulkReport:
        """Writes what is held and returns, durable, with the counts of all that went through this buffer."""
        bad: list[BadEvent] = []
        try:
            with self._lock:
                self._write(bad)
                return self._report
        finally:
            self._tell(bad)

    def close(self) -> BulkReport:
        """The last flush."""
        return self.flush()

    def _write(self, bad: list[BadEvent]) -> None:
        """Writes what is held, a commit at a time: what is durable is held no longer."""
        while self._events:
            part = self._events[:BATCH]
            refused: list[BadEvent] = []
            report = self._tracking.track_many(part, on_bad=refused.append)
            del self._events[: len(part)]
            before = self._report.events
            bad += [one._replace(number=before + one.number) for one in refused]
            self._report = BulkReport(*(a + b for a, b in zip(self._report, report, strict=True)))
        self._since = time.monotonic_ns()

    def _tell(self, bad: list[BadEvent]) -> None:
        """Outside of the lock: who is told may track."""
        for event in bad:
            self._on_bad(event)

    def __enter__(self) -> UsageBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_BUFFERS: weakref.WeakSet[UsageBuffer] = weakref.WeakSet()


def _forked() -> None:
    """In the child: what the buffers hold is their parent's to write, and a thread of it may have held the lock."""
    for buffer in list(_BUFFERS):
        buffer._fresh()


os.register_at_fork(after_in_child=_forked)
