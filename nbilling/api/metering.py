"""The room ``usage``: tracking and reports of the engine, exports to files, imports of logs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, BinaryIO

from nbilling.api.alerts import MakeAlerts, UsageAlerts
from nbilling.engine.accounts import Accounts
from nbilling.engine.bulk import BulkTracking
from nbilling.engine.core import Core
from nbilling.engine.recorder import UsageRecorder
from nbilling.engine.usage import UsageTracking
from nbilling.engine.usage_events import UsageEvents
from nbilling.engine.usage_reports import UsageReports
from nbilling.model.errors import BadInput
from nbilling.model.text import choice, plain
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.store import usage

if TYPE_CHECKING:
    from nbilling.engine.buffer import UsageBuffer
    from nbilling.engine.imports import LogImport
    from nbilling.model.events import BadEvent
    from nbilling.model.imports import BadLine, ImportOptions, ImportReport, SampleOptions, SampleReport
    from nbilling.store.usage import MeterRow


class Metering(UsageTracking, UsageReports, UsageEvents, BulkTracking, UsageAlerts):
    """Usage: recorded, read back, exported and imported."""

    def __init__(self, core: Core, accounts: Accounts, recorder: UsageRecorder, make_alerts: MakeAlerts) -> None:
        BulkTracking.__init__(self, core, accounts, recorder)
        UsageAlerts.__init__(self, make_alerts)

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
        stop: Callable[[], bool] | None = None,
    ) -> ImportReport:
        """Imports an access log: each line is one request and its bytes, at the line's own time.

        The same log again, a copy of it, or its continuation after rotation adds only what is new. A pipe may stay
        open: what was read of it is durable within about a second. ``progress`` is told the bytes and lines done so
        far; ``on_bad`` is given each line that was not taken; ``stop`` is asked now and then whether to end.
        """
        report = self._log_import().run(lines, options, progress=progress, on_bad=on_bad, stop=stop)
        if report.added:
            self.analyze()
        return report

    def follow_log(
        self,
        path: str | os.PathLike[str],
        options: ImportOptions,
        *,
        stop: Callable[[], bool],
        sleep: Callable[[int], object] = time.sleep,
        poll_seconds: int = 1,
        on_bad: Callable[[BadLine], None] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> ImportReport:
        """Imports an access log and then what is appended to it, until ``stop`` says so; returns the sums.

        It looks every ``poll_seconds`` and is done with what is there before it waits again. It goes on over rotation
        (a file that was renamed is read to its end, the new one from its start), over truncation after copying, and
        while the file is not there. Killed at any moment and started again, it counts each line once. With a
        ``threading.Event`` give its ``is_set`` and ``wait`` as ``stop`` and ``sleep``. ``tell`` is told in words of
        rotation and absence. BadInput for what is no file that can grow.
        """
        from nbilling.engine.log_follow import LogFollower

        analyzed = False
        with LogFollower(self._log_import(), os.fspath(path), options, on_bad=on_bad, tell=tell, stop=stop) as follower:
            while not stop():
                follower.poll()
                if not analyzed and follower.report().added:
                    self.analyze()
                    analyzed = True
                if not stop():
                    sleep(poll_seconds)
            return follower.report()

    def import_samples(
        self,
        lines: BinaryIO | Iterable[bytes],
        options: SampleOptions,
        *,
        create_meters: bool = False,
        on_bad: Callable[[BadLine], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> SampleReport:
        """Imports samples of nginx's status, one line of JSON each: running totals for meters of kind ``counter``.

        Each total counts once, in any order of arrival. ``create_meters`` makes the meters that are not there;
        otherwise BadInput says which are missing.
        """
        from nbilling.engine.samples import SampleImport

        samples = SampleImport(self._core, self._recorder, options)
        meters = {field: self._counter(name, field, create_meters) for field, name in options.meters.items()}
        report = samples.run(lines, meters, on_bad=on_bad, stop=stop)
        if report.added:
            self.analyze()
        return report

    def _counter(self, name: str, field: str, create: bool) -> MeterRow:
        known = {meter["name"] for meter in self.meters()}
        if name not in known and create:
            unit = "bytes" if field in ("sent", "received") else "requests"
            self.create_meter(name, kind="counter", unit=unit, dimension="zone")
        elif name not in known:
            hint = "--create-meters makes it, or nbilling meter create NAME --kind counter"
            raise BadInput(f"there is no meter {name!r:.80}", hint=hint)
        row = self._core.meter(self._core.read(), name, "meter")
        if row.kind != "counter" or row.scale:
            raise BadInput(f"meter {name} does not take running totals", hint="name one of kind counter, without scale")
        return row

    def _log_import(self) -> LogImport:
        from nbilling.engine.imports import LogImport

        return LogImport(self._core, self._recorder, self._core.clock())

    def buffered(self, on_bad: Callable[[BadEvent], None], *, limit: int = 1000, delay_seconds: int = 1) -> UsageBuffer:
        """A buffer whose ``track`` does not wait for the disk; see :class:`nbilling.engine.buffer.UsageBuffer` for what
        it can lose. ``on_bad`` is told of each event that was refused when it was written."""
        from nbilling.engine.buffer import UsageBuffer

        return UsageBuffer(self, limit=limit, delay_seconds=delay_seconds, on_bad=on_bad)

    def analyze(self) -> None:
        """Lets SQLite learn how full its indexes are: worth it after an import."""
        self._core.write(usage.analyze)
