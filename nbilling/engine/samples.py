"""Import of counter samples: running totals become events of counter meters, each once, in any order of arrival."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from nbilling.engine.core import Core
from nbilling.engine.log_lines import Lines, RawLines, Stop, rereadable
from nbilling.engine.recorder import UsageRecorder
from nbilling.model.clock import FUTURE_TOLERANCE, HOUR
from nbilling.model.errors import BadInput
from nbilling.model.imports import BadLine, SampleOptions, SampleReport
from nbilling.model.text import plain
from nbilling.rules.access_logs import REASONS, Unreadable
from nbilling.rules.status_samples import MAX_SAMPLE, Sample, Total, dimension, sample_reader, total_id, total_key
from nbilling.store import imports
from nbilling.store.usage import MeterRow, Recorded, UsageRow

if TYPE_CHECKING:
    import sqlite3

BATCH_SAMPLES = 100
BATCH_TOTALS = 2000
_MOST_OTHERS = 1000
OnBad = Callable[[BadLine], None]


class SampleImport:
    """The use case, for one input. BadInput where the options contradict each other."""

    def __init__(self, core: Core, recorder: UsageRecorder, options: SampleOptions) -> None:
        self._core = core
        self._recorder = recorder
        self._options = options
        self._source = plain(options.source, "source", empty=True)
        self._read = sample_reader(options)
        self._meters: Mapping[str, MeterRow] = {}
        self._server = ""
        self._seen: set[str] = set()
        self._others: set[str] = set()
        self._report = SampleReport()

    def run(
        self,
        lines: Lines,
        meters: Mapping[str, MeterRow],
        *,
        on_bad: OnBad | None = None,
        stop: Stop | None = None,
    ) -> SampleReport:
        """Imports all samples, up to a hundred a commit; what was read of a pipe is written within about a second.

        ``meters``: the counter meter of each field. ``on_bad`` is given each line that was not taken. With ``strict``
        the first bad one raises BadInput, and nothing is imported. A last line without its line break is taken if it
        can be read.
        """
        self._meters = meters
        tell = on_bad or (lambda line: None)
        if not self._options.strict:
            return self._over(RawLines(lines, stop=stop, longest=MAX_SAMPLE), tell)
        with rereadable(lines) as stream:
            start = stream.tell()
            self._check(RawLines(stream, stop=stop, longest=MAX_SAMPLE), tell)
            stream.seek(start)
            return self._over(RawLines(stream, stop=stop, longest=MAX_SAMPLE), tell)

    def _over(self, raw: RawLines, tell: OnBad) -> SampleReport:
        for lines in raw.lists(BATCH_SAMPLES):
            self._take(lines, tell)
        if raw.rest and not raw.stopped:
            self._take([raw.rest], tell)
        named = self._options.zone_map or ([self._options.zone] if self._options.zone else [])
        return self._report._replace(
            others=tuple(sorted(self._others)) if self._options.zone_map is not None else (),
            missing=tuple(sorted(zone for zone in named if zone not in self._seen)),
        )

    def _check(self, raw: RawLines, tell: OnBad) -> None:
        """Reads all samples and records nothing."""
        number = 0

        def refuse(line: BadLine) -> None:
            tell(line)
            raise BadInput(
                f"line {line.number:,}: {line.message}", hint="nothing was imported; correct it, or leave --strict out"
            )

        for lines in raw.lists(BATCH_SAMPLES):
            self._samples(lines, number, refuse)
            number += len(lines)
        if raw.rest and not raw.stopped:
            self._samples([raw.rest], number, refuse)

    def _take(self, lines: list[bytes], tell: OnBad) -> None:
        if not lines:
            return
        bad: list[BadLine] = []
        samples = self._samples(lines, self._report.samples, bad.append)
        totals = [(number, total) for number, sample in samples for total in sample.totals]
        added = known = 0
        conflicts: list[tuple[int, Total]] = []
        for start in range(0, len(totals), BATCH_TOTALS):
            some = totals[start : start + BATCH_TOTALS]
            done = self._core.write(partial(self._record, totals=[total for _, total in some]))
            added, known = added + done.added, known + done.duplicates
            conflicts += [some[at] for at in done.conflicts]
        for number, total in conflicts:
            where = f"{REASONS['conflict']}: {total_id(total)}"
            bad.append(BadLine(number, "conflict", where, lines[number - self._report.samples - 1]))
        for line in sorted(bad):
            tell(line)
        so_far = self._report
        self._report = so_far._replace(
            samples=so_far.samples + len(lines),
            totals=so_far.totals + len(totals),
            added=so_far.added + added,
            duplicates=so_far.duplicates + known,
            conflicts=so_far.conflicts + len(conflicts),
            bad=so_far.bad + len(bad) - len(conflicts),
        )

    def _samples(self, lines: list[bytes], before: int, bad: OnBad) -> list[tuple[int, Sample]]:
        """The readable samples with their line numbers."""
        latest = self._core.now(self._core.read()) + FUTURE_TOLERANCE
        found = []
        for number, line in enumerate(lines, before + 1):
            try:
                sample = self._read(line)
                if sample.at > latest:
                    raise Unreadable("future")
                self._server = self._server or sample.server
                if sample.server not in ("", self._server):
                    raise Unreadable("server", "import each with its own --source")
            except Unreadable as error:
                bad(BadLine(number, error.reason, error.message, line))
                continue
            self._seen.update(total.zone for total in sample.totals)
            if len(self._others) < _MOST_OTHERS:
                self._others.update(sample.others)
            found.append((number, sample))
        return found

    def _record(self, db: sqlite3.Connection, totals: list[Total]) -> Recorded:
        """One job: totals of one commit. Conflicts are their indexes."""
        customers = {name: self._recorder.customer_id(db, name) for name in sorted({one.customer for one in totals})}
        dimensions = {
            zone: self._recorder.dimension_id(db, dimension(self._source, zone))
            for zone in sorted({one.zone for one in totals})
        }
        rows: list[UsageRow] = []
        places: list[int] = []
        conflicts: list[int] = []
        for at, one in enumerate(totals):
            key, customer = total_key(self._source, one), customers[one.customer]
            if imports.billed_to_another(db, one.at // HOUR, key, customer):
                conflicts.append(at)
                continue
            meter, where = self._meters[one.field].id, dimensions[one.zone]
            rows.append(UsageRow(customer, meter, where, one.at, one.total, key, total_id(one), 0, None))
            places.append(at)
        recorded = self._recorder.record(db, rows)
        return recorded._replace(conflicts=sorted([*conflicts, *(places[at] for at in recorded.conflicts)]))
