"""Lines of a log from a file, a pipe or any iterable, in bounded memory however long the file or a line of it is."""

from __future__ import annotations

import io
import os
import select
import stat
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol, TypeGuard, cast

from nbilling.model.errors import BadInput
from nbilling.rules.access_logs import MAX_LINE

HELD_MILLISECONDS = 1000
"""What was read of a pipe is written after so long at the latest, where nothing more is there to be read at once."""

_LOOK_MILLISECONDS = 200
"""How often a wait looks whether it is to stop."""

_BLOCK = 1 << 20
_SPOOLED = 8 << 20
_GZIP = b"\x1f\x8b\x08"
Lines = BinaryIO | Iterable[bytes]
Stop = Callable[[], bool]


class Readable(Protocol):
    """What can be read in blocks."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


def is_stream(lines: object) -> TypeGuard[BinaryIO]:
    """Whether this is a file or pipe, to be read in blocks; else it is an iterable of lines."""
    return hasattr(lines, "read")


class RawLines:
    """Complete lines without their breaks, in lists. An empty list says that nothing more is there for the moment.

    A stream that begins as gzip does is unpacked. ``limit``: how many bytes of the stream to read, all if None.
    ``stop`` is asked between blocks and while a pipe is silent; ``stopped`` says that it ended the lines. ``growing``:
    the end of the stream is not the end: it is told as silence, and asking for the next list reads on from there.
    ``longest``: of a longer line just enough is kept to see that.

    ``consumed`` counts the bytes of the stream as they lie there. ``rest`` is what stands behind the last line break:
    it may still be being written.
    """

    def __init__(
        self,
        lines: Lines | Readable,
        limit: int | None = None,
        *,
        stop: Stop | None = None,
        growing: bool = False,
        longest: int = MAX_LINE,
    ) -> None:
        self._lines = lines
        self._limit = limit
        self._stop = stop
        self._growing = growing
        self._kept = longest + 2
        self.consumed = 0
        self.rest = b""
        self.stopped = False

    def lists(self, size: int) -> Iterator[list[bytes]]:
        """Lists of exactly ``size`` lines; shorter ones in the end and before silence, which is an empty list."""
        waiting: list[bytes] = []
        for some in self._some():
            waiting += some
            for start in range(0, len(waiting) - size + 1, size):
                yield waiting[start : start + size]
            del waiting[: len(waiting) // size * size]
            if not some:
                if waiting:
                    yield waiting
                    waiting = []
                yield []
        if waiting:
            yield waiting

    def _some(self) -> Iterator[list[bytes]]:
        if is_stream(self._lines):
            yield from self._split(self._unpacked(self._blocks(self._lines)))
            return
        for line in cast("Iterable[bytes]", self._lines):
            if not isinstance(line, bytes):
                raise BadInput("a line of a log must be bytes", hint="open the file in binary mode")
            if self._asked_to_stop():
                return
            self.consumed += len(line)
            yield [line.removesuffix(b"\n").removesuffix(b"\r")]

    def _blocks(self, stream: BinaryIO) -> Iterator[bytes]:
        """Blocks as they come; an empty one for silence."""
        # read1 returns what a pipe holds now; read would wait until the block is full.
        read = getattr(stream, "read1", stream.read)
        pipe = _Pipe.of(stream)
        held_since = 0
        while size := min(_BLOCK, self._limit - self.consumed) if self._limit is not None else _BLOCK:
            if pipe is not None and held_since and not pipe.ready(held_since + HELD_MILLISECONDS - _milliseconds()):
                held_since = 0
                yield b""
            if self._asked_to_stop(pipe):
                return
            try:
                block = read(size)
            except OSError as error:
                raise BadInput(f"the log cannot be read: {error.strerror or error!s:.100}", hint="check it") from error
            if not isinstance(block, bytes):
                raise BadInput("the log was opened as text", hint="open the file in binary mode")
            if not block and not self._growing:
                return
            self.consumed += len(block)
            held_since = held_since or _milliseconds()
            yield block

    def _asked_to_stop(self, pipe: _Pipe | None = None) -> bool:
        """Whether to stop. Where there is somebody to ask, a read of a pipe must not wait for ever."""
        if self._stop is None:
            return False
        while not (asked := self._stop()) and pipe is not None:
            if pipe.ready(_LOOK_MILLISECONDS):
                break
        self.stopped = asked
        return asked

    def _split(self, blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
        for block in blocks:
            if not block:
                yield []
                continue
            lines = block.split(b"\n")
            with_returns = b"\r" in block or self.rest.endswith(b"\r")
            lines[0] = self.rest + lines[0]
            self.rest = lines.pop()[: self._kept]
            if lines:
                yield [line.removesuffix(b"\r") for line in lines] if with_returns else lines

    def _unpacked(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The blocks, unpacked if they begin as gzip does; several gzip files may stand one behind the other."""
        stream = iter(blocks)
        first = b""
        for block in stream:
            first += block
            if len(first) >= len(_GZIP):
                break
            if not block:
                yield b""
        if not first.startswith(_GZIP):
            if first:
                yield first
            yield from stream
            return
        unpacker = None
        packed = first
        try:
            while True:
                while packed:
                    if unpacker is None:
                        unpacker = zlib.decompressobj(wbits=31)
                    if unpacked := unpacker.decompress(packed, _BLOCK):
                        yield unpacked
                    packed = unpacker.unconsumed_tail
                    if unpacker.eof:
                        packed, unpacker = unpacker.unused_data.lstrip(b"\0"), None
                following = next(stream, None)
                if following is None:
                    break
                if not following:
                    yield b""
                packed = following
            if unpacker is not None and (unpacked := unpacker.flush()):
                yield unpacked
        except zlib.error:
            raise BadInput("the compressed log is damaged", hint="get a whole copy of it") from None
        if unpacker is not None and not unpacker.eof and not self.stopped:
            raise BadInput("the compressed log ends too early", hint="import it again when it is whole")


class _Pipe:
    """A pipe, socket or terminal: something that can be silent without having ended."""

    def __init__(self, descriptor: int) -> None:
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    @classmethod
    def of(cls, stream: BinaryIO) -> _Pipe | None:
        """None for what is always ready, and for streams that may hold bytes back where nobody can see them."""
        raw = getattr(stream, "raw", stream)
        if not isinstance(stream, (io.BufferedReader, io.FileIO)) or not isinstance(raw, io.FileIO):
            return None
        return None if stat.S_ISREG(os.fstat(raw.fileno()).st_mode) else cls(raw.fileno())

    def ready(self, milliseconds: int) -> bool:
        """Whether a read will not wait: there is something to read, or the end. Waits for it as long as that."""
        return bool(self._poll.poll(max(milliseconds, 0)))


def _milliseconds() -> int:
    return time.monotonic_ns() // 1_000_000


@contextmanager
def rereadable(lines: Lines) -> Iterator[BinaryIO]:
    """The input as a stream that can be read twice: itself if it is a file, else a copy in a temporary file."""
    if is_stream(lines) and lines.seekable():
        yield lines
        return
    with tempfile.SpooledTemporaryFile(_SPOOLED) as copy:
        if is_stream(lines):
            while block := lines.read(1 << 20):
                copy.write(block)
        else:
            for some in RawLines(lines).lists(1000):
                copy.writelines(line + b"\n" for line in some)
        copy.seek(0)
        yield copy  # type: ignore[misc]
