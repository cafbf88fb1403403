"""The stand-in: the thread that leads for a writer while another process has the file lock.

The lock is a queue in the kernel: to wait in it without a deadline takes a thread, while the callers wait for their
answers, each with its own deadline. It is started when it is first needed and then stays.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from nbilling.model.errors import StorageError
from nbilling.store.lock import FileLock

if TYPE_CHECKING:
    from nbilling.store.writer import Writer


class StandIn:
    """One of a writer. ``called`` is set while it is to wait for the lock and lead."""

    def __init__(self, writer: Writer, lock: FileLock) -> None:
        self.called = threading.Event()
        self._writer = writer
        self._lock = FileLock(lock.ledger)
        self.thread = threading.Thread(target=self._work, name="nbilling-writer", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while True:
            self.called.wait()
            try:
                self._lock.wait()
                if self._writer.lead_with(self._lock):
                    continue
            except StorageError as error:
                self._writer.refuse_all(error)
            except BaseException as error:  # noqa: BLE001 - nobody may be left waiting
                self._writer.refuse_all(StorageError(f"the writer failed: {error!r}", hint="report this"))
            if self._writer.stand_down():
                self._lock.close()
                return
