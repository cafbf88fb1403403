"""Lines of a log from a file, a pipe or any iterable, in bounded memory however long the file or a line of it is."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, TypeGuard

from nbilling.model.errors import BadInput
from nbilling.rules.access_logs import MAX_LINE

_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b\x08"
_KEPT = MAX_LINE + 2
"""Of a longer line just enough is kept to see that it is too long."""


def is_stream(lines: object) -> TypeGuard[BinaryIO]:
    """Whether this is a file or pipe, to be read in blocks; else it is an iterable of lines."""
    return hasattr(lines, "read")


class RawLines:
    """Complete lines without their breaks, in lists. ``limit``: how many bytes of the stream to read, all if None.

    A stream that begins as gzip does is unpacked. ``consumed`` counts the bytes of the stream as they lie there.
    ``rest`` holds, in the end, a last line that has no line break: it may still be being written.
    """

    def __init__(self, lines: BinaryIO | Iterable[bytes], limit: int | None = None) -> None:
        self._lines = lines
        self._limit = limit
        self.consumed = 0
        self.rest = b""

    def lists(self, size: int) -> Iterator[list[bytes]]:
        """Lists of exactly ``size`` lines, the last one shorter."""
        waiting: list[bytes] = []
        for some in self._some():
            waiting += some
            for start in range(0, len(waiting) - size + 1, size):
                yield waiting[start : start + size]
            del waiting[: len(waiting) // size * size]
        if waiting:
            yield waiting

    def _some(self) -> Iterator[list[bytes]]:
        if is_stream(self._lines):
            yield from self._split(_unpacked(self._blocks(self._lines)))
            return
        for line in self._lines:
            if not isinstance(line, bytes):
                raise BadInput("a line of a log must be bytes", hint="open the file in binary mode")
            self.consumed += len(line)
            yield [line.removesuffix(b"\n").removesuffix(b"\r")]

    def _blocks(self, stream: BinaryIO) -> Iterator[bytes]:
        # read1 returns what a pipe holds now; read would wait until the block is full.
        read = getattr(stream, "read1", stream.read)
        while size := min(_BLOCK, self._limit - self.consumed) if self._limit is not None else _BLOCK:
            try:
                block = read(size)
            except OSError as error:
                raise BadInput(f"the log cannot be read: {error.strerror or error!s:.100}", hint="check it") from error
            if not isinstance(block, bytes):
                raise BadInput("the log was opened as text", hint="open the file in binary mode")
            if not block:
                return
            self.consumed += len(block)
            yield block

    def _split(self, blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
        rest = b""
        for block in blocks:
            lines = block.split(b"\n")
            with_returns = b"\r" in block or rest.endswith(b"\r")
            lines[0] = rest + lines[0]
            rest = lines.pop()[:_KEPT]
            if lines:
                yield [line.removesuffix(b"\r") for line in lines] if with_returns else lines
        self.rest = rest


def _unpacked(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks, unpacked if they begin as gzip does; several gzip files may stand one behind the other."""
    stream = iter(blocks)
    first = b""
    while len(first) < len(_GZIP) and (block := next(stream, b"")):
        first += block
    if not first.startswith(_GZIP):
        if first:
            yield first
        yield from stream
        return
    unpacker = None
    packed = first
    try:
        while packed or (packed := next(stream, b"")):
            if unpacker is None:
                unpacker = zlib.decompressobj(wbits=31)
            yield unpacker.decompress(packed, _BLOCK)
            packed = unpacker.unconsumed_tail
            if unpacker.eof:
                packed, unpacker = unpacker.unused_data.lstrip(b"\0"), None
    except zlib.error:
        raise BadInput("the compressed log is damaged", hint="get a whole copy of it") from None
    if unpacker is not None:
        yield unpacker.flush()
        if not unpacker.eof:
            raise BadInput("the compressed log ends too early", hint="import it again when it is whole")
