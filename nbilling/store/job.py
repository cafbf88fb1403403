"""A job: what one caller asked the writer for, and the answer it waits for."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

Call = Callable[[sqlite3.Connection], Any]


class Job:
    """In the queue, then in a group, then answered: ``done``, with a value or an error."""

    __slots__ = ("call", "done", "dry_run", "error", "value", "version", "wake")

    def __init__(self, call: Call, version: int, dry_run: bool) -> None:
        self.call = call
        self.version = version
        self.dry_run = dry_run
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False
        # Locked while the job waits. Releasing it wakes the waiter: it is answered, or it is to lead.
        self.wake = threading.Lock()
        self.wake.acquire()

    def rouse(self) -> None:
        """Wake the caller. Only under the writer's mutex (in the queue) or turn (in a group): one at a time."""
        if self.wake.locked():
            self.wake.release()
