"""Following a log that grows: over rotation by renaming or by copying and truncating, absence, and a kill.

Nothing is remembered but what the registry knows. The file is read from its beginning once, at the start, and its known
lines are passed over; from then on only what is appended is read. What was written to it before it was rotated away, and
had not been read then, lies in the rotated file, so these are completed first (:meth:`LogFollower.catch_up`).
"""

from __future__ import annotations

import io
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nbilling.engine import imports
from nbilling.engine.imports import LogImport, LogRun
from nbilling.engine.log_lines import RawLines, Stop
from nbilling.model.errors import BadInput
from nbilling.model.imports import BadLine, ImportOptions, ImportReport

LINGER_SECONDS = 30
"""How long a file that was renamed is read on after its last line: nginx writes to it until it is told to reopen."""

_MARK = 64
_GZIP = b"\x1f\x8b"
_ROTATED = re.compile(r"[.-]\d[\d._-]*(?:\.gz)?", re.ASCII)
_MOST_ROTATED = 16
Tell = Callable[[str], None]


class LogFollower:
    """Imports a growing file. :meth:`poll` takes what has been written; it is for the caller to wait in between.

    ``tell`` is told in words when the file is absent, rotated or truncated. ``stop`` is asked between batches.
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
        self._report = ImportReport()
        case.begin(self._options)  # options that contradict each other are refused before anything is waited for
        self._check()

    def poll(self) -> None:
        """Imports all that has been written to the file and to what it was before. On return it is durable."""
        for tail in list(self._renamed):
            if not tail.read(self._stop) and tail.rests(LINGER_SECONDS):
                self._renamed.remove(tail)
                self._close(tail, whole=True)
        if self._current is None and not self._open():
            return
        assert self._current is not None
        self._current.read(self._stop)
        if self._current.cut:
            self._tell(f"{self._path} was truncated; reading it from its beginning")
            self._close(self._current, whole=False)
            self._current = None
            self.catch_up()
        elif self._is_another():
            self._tell(f"{self._path} was rotated; reading the new one")
            self._renamed.append(self._current)
            self._current = None
        else:
            return
        if self._open():
            self.poll()

    def catch_up(self) -> None:
        """Completes the files that this one was rotated to, from the newest back to the first that is known.

        A rotated file of which nothing is known counts only if it is newer than one that is: it was written between.
        Files from before this log was first imported are left alone.
        """
        unknown: list[Path] = []
        for path in self._rotated():
            if self._stop():
                return
            if not self._knows(path):
                unknown.append(path)
                continue
            complete = not self._complete(path)
            for between in reversed(unknown):
                complete = not self._complete(between) and complete
            unknown = []
            if complete:
                return

    def close(self) -> ImportReport:
        """Lets the files go and says what came of all of them. Unfinished last lines are left for the next time."""
        for tail in [*self._renamed, *([self._current] if self._current else [])]:
            self._close(tail, whole=False)
        self._renamed, self._current = [], None
        return self._report

    def _check(self) -> None:
        """BadInput for what can never be followed. A file that is not there yet can."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            if not self._path.parent.is_dir():
                raise BadInput(f"there is no directory {str(self._path.parent)!r:.200}", hint="check the path") from None
            return
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a file name"
            raise BadInput(f"{str(self._path)!r:.200} cannot be read: {reason}", hint="check the path") from None
        if not stat.S_ISREG(found.st_mode):
            raise BadInput(f"{str(self._path)!r:.200} is not a file", hint="pipe it: nbilling usage import - < PATH")
        try:
            with open(self._path, "rb") as file:
                packed = file.read(len(_GZIP)) == _GZIP
        except OSError as error:
            raise BadInput(
                f"{str(self._path)!r:.200} cannot be read: {error.strerror}", hint="check the permissions"
            ) from None
        if packed:
            raise BadInput(f"{str(self._path)!r:.200} is compressed and does not grow", hint="leave --follow out")

    def _open(self) -> bool:
        """Opens the file if it is there. The first time, what was rotated away before is completed."""
        try:
            file = io.FileIO(self._path)
        except OSError as error:
            if not self._missing:
                self._tell(f"{self._path} cannot be read ({error.strerror}); waiting for it")
            self._missing = True
            return False
        if self._missing:
            self._tell(f"{self._path} is there")
        self._missing = False
        if not self._report.parts and not self._renamed:
            self.catch_up()
        self._current = _Tail(file, self._case.begin(self._options, on_bad=self._on_bad))
        return True

    def _is_another(self) -> bool:
        """Whether another file has taken the path."""
        assert self._current is not None
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) != self._current.identity

    def _close(self, tail: _Tail, *, whole: bool) -> None:
        self._add(tail.close(whole=whole))

    def _add(self, report: ImportReport) -> None:
        so_far = self._report
        sums = (a + b for a, b in zip(so_far[:9], report[:9], strict=True))
        self._report = ImportReport(*sums, so_far.unfinished or report.unfinished, so_far.parts + report.parts)

    def _rotated(self) -> Iterator[Path]:
        """What the file was rotated to, the newest first: ``access.log.1``, ``access.log-20260517.gz``,
        ``access-20260517.log``."""
        stem, suffix = re.escape(self._path.stem), re.escape(self._path.suffix)
        pattern = re.compile(f"(?:{stem}{suffix}{_ROTATED.pattern}|{stem}{_ROTATED.pattern}{suffix})", re.ASCII)
        found: list[tuple[int, Path]] = []
        for path in self._path.parent.iterdir():
            if pattern.fullmatch(path.name) and path.is_file():
                found.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(found, reverse=True)[:_MOST_ROTATED]:
            yield path

    def _knows(self, path: Path) -> bool:
        try:
            with open(path, "rb") as file:
                return self._case.knows(file, self._options)
        except OSError:
            return False

    def _complete(self, path: Path) -> bool:
        """Imports a rotated file. Whether it held anything new; one that is just being compressed holds nothing."""
        try:
            with open(path, "rb") as file:
                options = self._options._replace(name=str(path))
                report = self._case.run(file, options, on_bad=self._on_bad, stop=self._stop)
        except (OSError, BadInput) as error:
            self._tell(f"{path} is left out: {error}")
            return True
        self._add(report)
        if report.added:
            self._tell(f"{path} had {report.added:,} requests that were not counted yet")
        return bool(report.added)


class _Tail:
    """One open file and its import. ``cut``: what was read is no longer there: it was truncated, and may have grown."""

    def __init__(self, file: io.FileIO, run: LogRun) -> None:
        self._file = file
        self._run = run
        self._mark = b""
        self._raw = RawLines(self, growing=True)  # type: ignore[arg-type]
        self._lists = self._raw.lists(imports.BATCH_LINES)
        self._quiet_since = time.monotonic_ns()
        self.cut = False
        found = os.fstat(file.fileno())
        self.identity = found.st_dev, found.st_ino

    def read(self, stop: Stop | None = None, size: int = -1) -> bool:
        raise NotImplementedError
