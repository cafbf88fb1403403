"""PDF under limits: a child process that renders one document after another and dies of what takes too much.

The layout of a document is the one place where a few kilobytes of someone else's text can ask for minutes and
gigabytes. The child has an address space limit, no secrets in its environment and no open file but its two pipes;
the parent ends it at a deadline. It costs its caller no import of WeasyPrint, and several workers, one a thread,
render in parallel.

Protocol, both ways: an 8-byte length and that many bytes. To the child: JSON. From it: ``+`` and the PDF, or ``-``
and JSON of the error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from datetime import date, datetime
from types import TracebackType
from typing import IO, Any

from nbilling.model.errors import BadInput, MissingLibrary, NbillingError, StorageError

DEADLINE = 120  # seconds a document may take; 5,000 lines take 30
MEMORY_LIMIT = 3 << 30  # bytes of address space; 5,000 lines take 1.2 GiB of it

_LENGTH = 8
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "FONTCONFIG_FILE", "FONTCONFIG_PATH", "LD_LIBRARY_PATH")
_ERRORS: dict[str, type[NbillingError]] = {error.code: error for error in (BadInput, MissingLibrary)}


class PdfWorker:
    """One child, started with the first document and again after it had to be ended. Use it in a ``with``."""

    def __init__(self, *, deadline: int = DEADLINE, memory_limit: int = MEMORY_LIMIT) -> None:
        """``deadline`` in seconds a document, ``memory_limit`` in bytes of address space."""
        self._deadline = deadline
        self._memory_limit = memory_limit
        self._child: subprocess.Popen[bytes] | None = None
        self._told: IO[bytes] | None = None  # what the child says on stderr
        self._in_use = threading.Lock()

    def render(self, html: str, *, identifier: str, issued: datetime | date | None) -> bytes:
        """As ``pdf.html_to_pdf``; ``StorageError`` when the document does not come out within the limits."""
        request = json.dumps({"html": html, "identifier": identifier, "issued": issued and issued.isoformat()}).encode()
        with self._in_use:
            if self._child is None or self._child.poll() is not None:
                self._end()
                self._child = self._started()
            reply = self._answer(self._child, request)
            if reply is None:
                raise self._failure()
        if reply[:1] == b"+":
            return reply[1:]
        error = json.loads(reply[1:])
        raise _ERRORS.get(error["code"], StorageError)(error["message"], hint=error["hint"])

    def close(self) -> None:
        """End the child. A later ``render`` would start another."""
        with self._in_use:
            self._end()

    def __enter__(self) -> PdfWorker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        self._told = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the child
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        return subprocess.Popen(
            [sys.executable, "-m", "nbilling.documents.worker", str(self._memory_limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._told,
            env=environment,
        )

    def _answer(self, child: subprocess.Popen[bytes], request: bytes) -> bytes | None:
        """The child's reply, None when it ended without one. Killing it ends a wait for either pipe."""
        assert child.stdin is not None
        assert child.stdout is not None
        timer = threading.Timer(self._deadline, child.kill)
        timer.start()
        try:
            _write(child.stdin, request)
            return _read(child.stdout)
        except BrokenPipeError:
            return None
        except BaseException:
            # Interrupted in mid-answer: the rest of it must not be taken for the answer to the next document.
            self._end()
            raise
        finally:
            timer.cancel()
            timer.join()

    def _end(self) -> str:
        """No child from here on. What it said last on stderr."""
        said = b""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None
        if self._told is not None:
            self._told.seek(0)
            said = self._told.read()
            self._told.close()
            self._told = None
        lines = said.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _failure(self) -> StorageError:
        said = self._end()
        last_words = f"; its last words: {said:.200}" if said else ""
        return StorageError(
            f"the PDF did not come out within {self._deadline} s and {self._memory_limit >> 20} MiB",
            hint=f"the HTML can still be written; look for very long or deeply nested texts in it{last_words}",
        )


def _write(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(len(message).to_bytes(_LENGTH, "big") + message)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes | None:
    length = pipe.read(_LENGTH)
    if len(length) < _LENGTH:
        return None
    message = pipe.read(int.from_bytes(length, "big"))
    return message if len(message) == int.from_bytes(length, "big") else None


def _reply(request: dict[str, Any]) -> bytes:
    from nbilling.documents.pdf import html_to_pdf

    issued = request["issued"]
    try:
        pdf = html_to_pdf(
            request["html"],
            identifier=request["identifier"],
            issued=issued and (datetime.fromisoformat(issued) if "T" in issued else date.fromisoformat(issued)),
        )
    except NbillingError as error:
        return b"-" + json.dumps({"code": error.code, "message": error.message, "hint": error.hint}).encode()
    return b"+" + pdf


def main() -> None:
    """The child: answers until its input ends. A document that breaks it ends it, and the parent says so."""
    import resource

    memory_limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (request := _read(sys.stdin.buffer)) is not None:
        try:
            reply = _reply(json.loads(request))
        except (MemoryError, RecursionError):
            os._exit(1)  # nothing is left to speak with; the parent says what happened
        _write(sys.stdout.buffer, reply)


if __name__ == "__main__":
    main()
