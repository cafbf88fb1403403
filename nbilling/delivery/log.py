"""Events as lines of JSON, to a file or to stderr."""

from __future__ import annotations

import os
import sys

from nbilling.model.clock import format_time
from nbilling.model.outbox import Delivered, Message, Outcome, Retry, json_text


def event_line(message: Message, type: str) -> bytes:
    """``{"at", "data", "id", "type"}`` and a line break."""
    line = {"at": format_time(message.created_at), "type": type, "id": message.operation_id, "data": message.payload}
    return json_text(line).encode() + b"\n"


class Log:
    """Appends events to a file, durably; to stderr where the path is empty. A repeated line has the same id."""

    repeatable = True

    def __init__(self, path: str, type: str) -> None:
        self._path = path
        self._type = type

    def send(self, message: Message) -> Outcome:
        """Appends one line."""
        line = event_line(message, self._type)
        try:
            if self._path:
                append(self._path, line)
                return Delivered({"file": self._path})
            sys.stderr.write(line.decode())
            sys.stderr.flush()
            return Delivered({"file": "stderr"})
        except OSError as error:
            return Retry(f"the log cannot be written: {error.strerror or error}")


def append(path: str, line: bytes) -> None:
    """Appends a whole line and waits until it is on the disk. A new file is readable by its owner alone."""
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line  # a line that broke off, for want of space, spoils no other
        if os.write(handle, line) != len(line):
            raise OSError("no room for a whole line")
        os.fsync(handle)
    finally:
        os.close(handle)
