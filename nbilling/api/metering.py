"""The room ``usage``: tracking and reports of the engine, exports to files, imports of logs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, BinaryIO

from nbilling.engine.accounts import Accounts
from nbilling.engine.bulk import BulkTracking
from nbilling.engine.core import Core
from nbilling.engine.recorder import UsageRecorder
from nbilling.engine.usage import UsageTracking
from nbilling.engine.usage_events import UsageEvents
from nbilling.engine.usage_reports import UsageReports
from nbilling.model.text import choice, plain
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.store import usage

if TYPE_CHECKING:
    from nbilling.engine.buffer import UsageBuffer
    from nbilling.model.events import BadEvent
    from nbilling.model.imports import BadLine, ImportOptions, ImportReport


class Metering(UsageTracking, UsageReports, UsageEvents, BulkTracking):
    """Usage: recorded, read back, exported and imported."""

    def __init__(self, core: Core, accounts: Accounts, recorder: UsageRecorder) -> None:
        BulkTracking.__init__(self, core, accounts, recorder)

    def export(self, customer_id: str, format: str, path: str | os.PathLike[str]) -> int:
        """Writes every event of a customer to a file, ``csv`` or ``json``, whole or not at all. Returns how many."""
        from nbilling.documents.exports import FORMATS
        from nbilling.documents.files import whole_file

        choice(format, "format", FORMATS)
        valid_customer_id(customer_id)
        with whole_file(plain(os.fspath(path), "path", limit=4096)) as out:
            return self.write_export(customer_id, format, out)

    def write_export(self, customer_id: str, format: str, out: BinaryIO) -> int:
        """Writes every event of a customer to a stream. Returns how many."""
        from nbilling.documents.exports import FORMATS, write_csv, write_json

        write = write_csv if choice(format, "format", FORMATS) == "csv" else write_json
        return write(self.events(customer_id), out)

    def import_log(
        self,
        lines: BinaryIO | Iterable[bytes],
        options: ImportOptions,
        *,
        progress: Callable[[int, int], None] | None = None,
        on_bad: Callable[[BadLine], None] | None = None,
    ) -> ImportReport:
        """Imports an access log: each line is one request and its bytes, at the line's own time.

        The same log again, a copy of it, or its continuation after rotation adds only what is new. ``progress`` is
        told the bytes and lines done so far; ``on_bad`` is given each line that was not taken.
        """
        from nbilling.engine.imports import LogImport

        run = LogImport(self._core, self._recorder, self._core.clock()).run
        report = run(lines, options, progress=progress, on_bad=on_bad)
        if report.added:
            self.analyze()
        return report

    def buffered(self, on_bad: Callable[[BadEvent], None], *, limit: int = 1000, delay_seconds: int = 1) -> UsageBuffer:
        """A buffer whose ``track`` does not wait for the disk; see :class:`nbilling.engine.buffer.UsageBuffer` for what
        it can lose. ``on_bad`` is told of each event that was refused when it was written."""
        from nbilling.engine.buffer import UsageBuffer

        return UsageBuffer(self, limit=limit, delay_seconds=delay_seconds, on_bad=on_bad)

    def analyze(self) -> None:
        """Lets SQLite learn how full its indexes are: worth it after an import."""
        self._core.write(usage.analyze)
