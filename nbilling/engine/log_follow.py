"""Following a log that grows: over rotation by renaming or by copying and truncating, absence, and a kill.

Nothing is remembered but what the registry knows. At the start the file is read from its beginning, and its known lines
are passed over; from then on only what is appended is read. What nobody had read of it when it was rotated away lies in
the rotated file, so that one is completed first (:meth:`LogFollower.catch_up`).
"""

from __future__ import annotations

import io
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from nbilling.engine import imports
from nbilling.engine.imports import LogImport, LogRun
from nbilling.engine.log_lines import RawLines, Stop
from nbilling.model.errors import BadInput, StorageError
from nbilling.model.imports import BadLine, ImportOptions, ImportReport

LINGER_SECONDS = 30
"""How long a file that was renamed is read on after its last line: nginx writes to it until it is told to reopen."""

_MARK = 64
_GZIP = b"\x1f\x8b"
_NUMBER = r"[.-]\d[\d._-]*"
_PACKED = r"(?:\.gz)?"
_MOST_ROTATED = 16
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
        self._opened = False
        self._missing = False
        self._report = ImportReport()
        case.begin(self._options)  # options that contradict each other are refused before anything is waited for
        _check(self._path)

    def poll(self) -> None:
        """Imports all that has been written to the file and to what it was before. On return it is durable."""
        for tail in list(self._renamed):
            if not tail.read(self._stop) and tail.rests(LINGER_SECONDS):
                self._renamed.remove(tail)
                self._add(tail.finish())
        while not self._stop() and (current := self._current or self._open()) is not None:
            current.read(self._stop)
            if current.cut:
                self._tell(f"{self._path} was truncated; reading it from its beginning")
                self._add(current.close())
                self._current = None
                # What was written to it after the last poll is in the copy that was made of it.
                self.catch_up()
            elif self._is_another(current):
                self._tell(f"{self._path} was rotated; reading the new one")
                current.linger()
                self._renamed.append(current)
                self._current = None
            else:
                return

    def catch_up(self) -> None:
        """Completes what the file was rotated to, from the newest back to the first one that is known.

        A rotated file of which nothing is known counts only if it is newer than one that is: it was written between.
        Files from before this log was first imported are left alone.
        """
        unknown: list[Path] = []
        for path in _rotated(self._path):
            if not self._knows(path):
                unknown.append(path)
            elif self._complete(path):
                for between in reversed(unknown):
                    self._complete(between)
                return

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
        """Opens the file if it is there. The first time, what was rotated away before is completed first."""
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
        if not self._opened:
            self._opened = True
            self.catch_up()
        return self._current

    def _is_another(self, current: _Tail) -> bool:
        """Whether another file has taken the path. While there is none, the old one is still written to."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) != current.identity

    def _knows(self, path: Path) -> bool:
        try:
            with open(path, "rb") as file:
                return self._case.knows(file, self._options)
        except OSError:
            return False

    def _complete(self, path: Path) -> bool:
        """Imports a rotated file. False where it cannot be read to its end: it is just being compressed."""
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
        return True


class _Tail:
    """One open file and its import."""

    def __init__(self, file: io.FileIO, run: LogRun) -> None:
        self._file = _GrowingFile(file)
        self._run = run
        self._raw = RawLines(self._file, growing=True)
        self._lists = self._raw.lists(imports.BATCH_LINES)
        self._quiet_since = time.monotonic_ns()
        self.identity = self._file.identity

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

    def close(self) -> None:
        """Lets it go."""
        self._file.close()


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


def _rotated(path: Path) -> list[Path]:
    """What the file was rotated to, the newest first: ``access.log.1``, ``access.log-20260517.gz``,
    ``access-20260517.log``. Neither renaming nor compressing changes the time of the last line."""
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    names = re.compile(f"{stem}(?:{suffix}{_NUMBER}{_PACKED}|{_NUMBER}{suffix}{_PACKED})", re.ASCII)
    found: list[tuple[int, Path]] = []
    for other in path.parent.iterdir():
        if names.fullmatch(other.name):
            try:
                details = other.stat()
            except OSError:
                continue
            if stat.S_ISREG(details.st_mode):
                found.append((details.st_mtime_ns, other))
    return [other for _, other in sorted(found, reverse=True)[:_MOST_ROTATED]]
