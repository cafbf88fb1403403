"""Buffered tracking: calls that do not wait for the disk, for those who can bear to lose the last moments."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from nbilling.engine.bulk import BATCH, BulkTracking
from nbilling.model.events import BadEvent, BulkReport, UsageEvent


class UsageBuffer:
    """Collects events and records them in batches. Safe for threads; one lock, no thread of its own.

    What :meth:`track` was given is lost when the process is killed before the next flush: at most ``limit`` events,
    and at most those of the last ``delay_seconds`` while calls keep coming. :meth:`flush` and :meth:`close` return
    when all is durable. A full buffer makes the caller write it out and wait: it never grows beyond its bound. In a forked child
    the buffer starts empty; its parent writes what it held.
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
        self._limit = limit
        self._delay = delay_seconds
        self._on_bad = on_bad
        self._fresh()

    def _fresh(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._events: list[UsageEvent | Mapping[str, Any]] = []
        self._since = time.monotonic()
        self._report = BulkReport()

    def track(self, event: UsageEvent | Mapping[str, Any]) -> None:
        """Takes an event. It is checked when it is written: what is wrong then goes to ``on_bad``."""
        if os.getpid() != self._pid:
            self._fresh()
        with self._lock:
            self._events.append(event)
            due = len(self._events) >= self._limit or time.monotonic() - self._since >= self._delay
            if due:
                self._write()

    def flush(self) -> BulkReport:
        """Writes what is held and returns, durable, with the counts of all that went through this buffer."""
        with self._lock:
            self._write()
            return self._report

    def _write(self) -> None:
        held = self._events
        if held:
            report = self._tracking.track_many(held, on_bad=self._on_bad)
            self._events = []
            self._report = BulkReport(*(a + b for a, b in zip(self._report, report, strict=True)))
        self._since = time.monotonic()

    def close(self) -> BulkReport:
        """The last flush."""
        return self.flush()

    def __enter__(self) -> UsageBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
