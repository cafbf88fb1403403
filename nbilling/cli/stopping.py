"""Stopping a command that runs until it is told to: SIGTERM and Ctrl-C end it after what it is just doing."""

from __future__ import annotations

import select
import signal
import socket
from types import FrameType, TracebackType
from typing import Any


class Stop:
    """Within it the first SIGTERM or SIGINT only asks to stop; the second is taken as always. Main thread only."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}
        # A signal wakes a wait by a byte: an Event could be struck while it holds its own lock.
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._wakeup = -1

    def asked(self) -> bool:
        """Whether to stop."""
        return self._asked

    def wait(self, timeout: int) -> None:
        """Waits so many seconds, or until a signal."""
        if not self._asked:
            select.select([self._read], [], [], timeout)

    def __enter__(self) -> Stop:
        self._wakeup = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        signal.set_wakeup_fd(self._wakeup)
        self._read.close()
        self._write.close()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
