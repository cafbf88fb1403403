"""Following a log that grows: over rotation by renaming or by copying and truncating, absence, and a kill.

Nothing is remembered but what the registry knows. At the start the file is read from its beginning, and its known lines
are passed over; from then on only what is appended is read. What nobody had read of it when it was rotated away lies in
a rotated file, so these are completed too: at the start, and when one appears.
"""

from __future__ import annotations

import io
import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from nbilling.engine import imports
from nbilling.engine.imports import Known, LogImport, LogRun
from nbilling.engine.log_lines import RawLines, Stop
from nbilling.model.errors import BadInput, StorageError
from nbilling.model.imports import BadLine, ImportOptions, ImportReport

LINGER_SECONDS = 30
"""How long a file that was renamed is read on after its last line: nginx writes to it until it is told to reopen."""

_MARK = 64
_GZIP = b"\x1f\x8b"
_NUMBER = r"[.-]\d[\d._-]*"
_PACKED = ".gz"
_MOST_ROTATED = 16
_MOST_IN_VAIN = 2
"""So many packed files are read that turn out to be known; the older ones will be too."""

Tell = Callable[[str], None]


class LogFollower:
    """Imports a growing file. :meth:`poll` takes what has been written; it is for the caller to wait in between.

    ``tell`` is told in words when the file is absent, rotated or truncated. ``stop`` is asked between batches. Close
    it, or use it as a context manager: what it has imported is durable, its files are let go.
    """

    def __init__(
        self,
        case: LogImport,
        path: str,
        options: ImportOptions,
        *,
        on_bad: Callable[[BadLine], None] | None = None,
        tell: Tell | None = None,
        stop: Stop | None = None,
    ) -> None:
        if options.strict:
            raise BadInput("a log that grows is never whole", hint="leave --strict or --follow out")
        self._case = case
        self._path = Path(path)
        self._options = options._replace(name=path)
        self._on_bad = on_bad
        self._tell = tell or (lambda text: None)
        self._stop = stop or (lambda: False)
        self._current: _Tail | None = None
        self._renamed: list[_Tail] = []
        self._missing = False
        self._opened_at = -1
        self._done: set[int] = set()
        # When they were written to, and which: names change when the next rotation shifts them.
        self._waiting: set[tuple[int, tuple[int, int]]] = set()
        self._report = ImportReport()
        case.begin(self._options)  # options that contradict each other are refused before anything is waited for
        _check(self._path)

    def poll(self) -> None:
        """Imports all that has been written to the file and to what it was before. On return it is durable."""
        for tail in list(self._renamed):
            if not tail.read(self._stop) and tail.rests(LINGER_SECONDS):
                self._renamed.remove(tail)
                self._done.add(tail.changed_at())
                self._add(tail.finish())
        while not self._stop() and (current := self._current or self._open()) is not None:
            current.read(self._stop)
            if current.cut:
                self._tell(f"{self._path} was truncated; reading it from its beginning")
                self._add(current.close())
                self._current = None
            elif self._is_another(current):
                self._tell(f"{self._path} was rotated; reading the new one")
                current.linger()
                self._renamed.append(current)
                self._current = None
            else:
                break
        if self._opened_at >= 0 and not self._stop():
            self._complete_new()

    def report(self) -> ImportReport:
        """What came of all files so far."""
        so_far = self._report
        for tail in self._tails():
            so_far = _sum(so_far, tail.report())
        return so_far

    def close(self) -> None:
        """Lets the files go. Unfinished last lines are left for the next time."""
        for tail in self._tails():
            self._add(tail.close())
        self._renamed, self._current = [], None

    def __enter__(self) -> LogFollower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tails(self) -> list[_Tail]:
        return [*self._renamed, *([self._current] if self._current else [])]

    def _add(self, report: ImportReport) -> None:
        self._report = _sum(self._report, report)

    def _open(self) -> _Tail | None:
        """Opens the file if it is there. The first time, what was rotated away before is completed."""
        try:
            file = io.FileIO(self._path)
        except OSError as error:
            if not self._missing:
                self._tell(f"{self._path} cannot be read ({error.strerror}); waiting for it")
            self._missing = True
            return None
        if self._missing:
            self._tell(f"{self._path} is there")
        self._missing = False
        self._current = _Tail(file, self._case.begin(self._options, on_bad=self._on_bad))
        if self._opened_at < 0:
            self._opened_at = self._current.changed_at()
            self._catch_up()
        return self._current

    def _is_another(self, current: _Tail) -> bool:
        """Whether another file has taken the path. While there is none, the old one is still written to."""
        return _identity(self._path) not in (None, current.identity)

    def _catch_up(self) -> None:
        """Completes what the file was rotated to before the start, from the newest back.

        A rotated file of which nothing is known counts only if it is newer than one that is: it was written between.
        Files from before this log was first imported are left alone.
        """
        rotated = _rotated(self._path)
        self._done = {file.changed_at for file in rotated}
        unknown: list[_Rotated] = []
        in_vain = 0
        for file in rotated:
            known = self._known(file.path)
            if known is Known.NOT:
                unknown.append(file)
                continue
            found = [self._complete(one.path) for one in reversed(unknown)]
            unknown = []
            if known is Known.IN_PART:
                found.append(self._complete(file.path))
                in_vain = 0 if any(found) else in_vain + 1
            if in_vain == _MOST_IN_VAIN:
                return

    def _complete_new(self) -> None:
        """Completes rotated files that have appeared: copies before a truncation, and what was rotated twice between
        two looks. One is left alone while it is written to, and where it is older than what was followed first."""
        tails = self._tails()
        held, done = {tail.identity for tail in tails}, self._done | {tail.changed_at() for tail in tails}
        rotated = _rotated(self._path)
        waiting: set[tuple[int, tuple[int, int]]] = set()
        for file in reversed(rotated):
            state = file.changed_at, file.identity
            if file.changed_at in done or file.identity in held or file.changed_at < self._opened_at:
                continue
            if state in self._waiting:
                self._complete(file.path)
                self._done.add(file.changed_at)
            else:
                waiting.add(state)
        self._done &= {file.changed_at for file in rotated}
        self._waiting = waiting

    def _known(self, path: Path) -> Known:
        try:
            with open(path, "rb") as file:
                return self._case.known(file, self._options)
        except OSError:
            return Known.NOT

    def _complete(self, path: Path) -> bool:
        """Imports a rotated file. Whether there was anything new in it."""
        try:
            with open(path, "rb") as file:
                options = self._options._replace(name=str(path))
                report = self._case.run(file, options, on_bad=self._on_bad, stop=self._stop)
        except (OSError, BadInput) as error:
            if isinstance(error, StorageError):
                raise
            self._tell(f"{path} is left out: {error}")
            return False
        self._add(report)
        if report.added:
            self._tell(f"{path} had {report.added:,} requests that were not counted yet")
        return bool(report.added)


class _Tail:
    """One open file and its import."""

    def __init__(self, file: io.FileIO, run: LogRun) -> None:
        self._file = _GrowingFile(file)
        self._run = run
        self._raw = RawLines(self._file, growing=True)
        self._lists = self._raw.lists(imports.BATCH_LINES)
        self._quiet_since = time.monotonic_ns()
        self.identity = self._file.identity

    def changed_at(self) -> int:
        """When the file was last written to, as the file system says, in nanoseconds."""
        return self._file.changed_at()

    @property
    def cut(self) -> bool:
        """Whether the file was truncated: what was read of it is no longer there."""
        return self._file.cut

    def read(self, stop: Stop) -> bool:
        """Imports what has been appended; says whether there was anything. On return it is durable."""
        before = self._raw.consumed
        for lines in self._lists:
            self._run.feed(lines, self._raw.consumed)
            if not lines:
                self._run.settle()
                break
            if stop():
                self._run.feed([], self._raw.consumed)
                break
        if self._raw.consumed > before:
            self._quiet_since = time.monotonic_ns()
        return self._raw.consumed > before

    def linger(self) -> None:
        """The file was renamed: from now on it is to be read until it rests."""
        self._quiet_since = time.monotonic_ns()

    def rests(self, seconds: int) -> bool:
        """Whether nothing has come for so long."""
        return time.monotonic_ns() - self._quiet_since >= seconds * 1_000_000_000

    def report(self) -> ImportReport:
        """What came of it so far."""
        return self._run.report()._replace(unfinished=bool(self._raw.rest))

    def finish(self) -> ImportReport:
        """Nothing more will come: what stands behind the last line break is taken if it is a line."""
        self._file.close()
        return self._run.finish(self._raw.rest, self._raw.consumed)

    def close(self) -> ImportReport:
        """More may come, but not to this import."""
        self._file.close()
        return self.report()


class _GrowingFile:
    """A file that is read as it grows. ``cut`` once the bytes before the place of reading are no longer what they were.

    Size alone would not tell: a file that was truncated may have grown beyond that place since.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._offset = 0
        self._mark = b""
        self.cut = False
        found = os.fstat(file.fileno())
        self.identity = found.st_dev, found.st_ino

    def read(self, size: int) -> bytes:
        """What is there, at most ``size`` bytes; none at the end, and after a cut."""
        block = b"" if self.cut else self._file.read(size)
        # Looked at after the read, so that what was written after a truncation cannot be taken for more of the same.
        if os.pread(self._file.fileno(), len(self._mark), self._offset - len(self._mark)) != self._mark:
            self.cut = True
            return b""
        self._offset += len(block)
        self._mark = (self._mark + block[-_MARK:])[-_MARK:]
        return block

    def changed_at(self) -> int:
        """When it was last written to, in nanoseconds."""
        return os.fstat(self._file.fileno()).st_mtime_ns

    def close(self) -> None:
        """Lets it go."""
        self._file.close()


class _Rotated(NamedTuple):
    """A file that a log was rotated to. Neither renaming nor compressing changes the time of its last line."""

    changed_at: int
    path: Path
    identity: tuple[int, int]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sum(one: ImportReport, other: ImportReport) -> ImportReport:
    """Counts and parts of both. ``unfinished``: of either."""
    counts = [a + b for a, b in zip(one[:9], other[:9], strict=True)]
    return ImportReport._make([*counts, one.unfinished or other.unfinished, one.parts + other.parts])


def _check(path: Path) -> None:
    """BadInput for what can never be followed. A file that is not there yet can."""
    shown = repr(str(path))[:200]
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadInput(f"{shown} is not a file", hint="read a pipe with: nbilling usage import -")
        with open(path, "rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise BadInput(f"the directory of {shown} is not there", hint="check the path") from None
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        reason = getattr(error, "strerror", None) or "it is not a file name"
        raise BadInput(f"{shown} cannot be read: {reason}", hint="check the path and its permissions") from None
    else:
        if packed:
            raise BadInput(f"{shown} is compressed and does not grow", hint="leave --follow out")


def _rotated(path: Path) -> list[_Rotated]:
    """What the file was rotated to, the newest first: ``access.log.1``, ``access.log-20260517.gz``,
    ``access-20260517.log``. Not what is just being compressed."""
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    names = re.compile(f"{stem}(?:{suffix}{_NUMBER}|{_NUMBER}{suffix})(?:{re.escape(_PACKED)})?", re.ASCII)
    found: list[_Rotated] = []
    with suppress(FileNotFoundError):
        listed = set(os.listdir(path.parent))
        for name in filter(names.fullmatch, listed):
            if name.endswith(_PACKED) and name.removesuffix(_PACKED) in listed:
                continue
            with suppress(OSError):
                details = os.stat(path.parent / name)
                if stat.S_ISREG(details.st_mode):
                    found.append(_Rotated(details.st_mtime_ns, path.parent / name, (details.st_dev, details.st_ino)))
    return sorted(found, reverse=True)[:_MOST_ROTATED]
