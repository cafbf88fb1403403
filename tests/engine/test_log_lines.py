"""Lines from files, pipes and iterables."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.engine import log_lines
from nbilling.engine.log_lines import RawLines
from nbilling.model.errors import BadInput
from nbilling.rules.access_logs import MAX_LINE

LOG = b"one\r\n\ntwo\nthree"


def all_of(raw: RawLines, size: int = 2) -> list[bytes]:
    lists = list(raw.lists(size))
    assert all(len(lines) == size for lines in lists[:-1])
    return [line for lines in lists for line in lines]


def test_lines_come_without_their_breaks_and_the_unfinished_one_apart() -> None:
    raw = RawLines(io.BytesIO(LOG))
    assert (all_of(raw), raw.rest, raw.consumed) == ([b"one", b"", b"two"], b"three", len(LOG))


def test_an_empty_stream_has_no_lines() -> None:
    for stream in (io.BytesIO(b""), io.BytesIO(gzip.compress(b""))):
        raw = RawLines(stream)
        assert (all_of(raw), raw.rest) == ([], b"")


@given(st.binary(max_size=300).map(lambda data: data.replace(b"\x1f", b"")), st.integers(1, 9), st.integers(1, 30))
def test_blocks_may_end_anywhere(data: bytes, size: int, block: int) -> None:
    class Trickle(io.BytesIO):
        def read1(self, _: int | None = -1) -> bytes:
            return self.read(block)

    raw = RawLines(Trickle(data))
    expected = data.split(b"\n")
    rest = expected.pop()
    assert all_of(raw, size) == [line.removesuffix(b"\r") for line in expected]
    assert raw.rest == rest


def test_an_iterable_gives_whole_lines_with_or_without_breaks() -> None:
    raw = RawLines(iter([b"one\n", b"two\r\n", b"three"]))
    assert (all_of(raw), raw.rest) == ([b"one", b"two", b"three"], b"")


@pytest.mark.parametrize("lines", [io.StringIO("text"), ["text"]])
def test_text_is_refused_with_a_hint(lines: object) -> None:
    with pytest.raises(BadInput, match="binary mode"):
        all_of(RawLines(lines))  # type: ignore[arg-type]


def test_a_compressed_log_is_unpacked_also_in_several_parts() -> None:
    for packed in (gzip.compress(LOG), gzip.compress(LOG[:7]) + gzip.compress(LOG[7:]) + b"\0" * 512):
        raw = RawLines(io.BytesIO(packed))
        assert (all_of(raw), raw.rest, raw.consumed) == ([b"one", b"", b"two"], b"three", len(packed))


def test_a_compressed_log_larger_than_a_block_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "_BLOCK", 100)
    lines = [os.urandom(20).hex().encode() for _ in range(300)] + [b"a" * 5000]
    for size in (*range(90, 111), 10_000):
        data = b"\n".join(lines)[:size] + b"\n"
        assert b"\n".join(all_of(RawLines(io.BytesIO(gzip.compress(data))), 7)) + b"\n" == data


@pytest.mark.parametrize(
    "damage", [lambda packed: packed[:-9], lambda packed: packed[:40] + b"\xff" * 40 + packed[80:]]
)
def test_a_damaged_compressed_log_is_an_error(damage: object) -> None:
    packed = gzip.compress(os.urandom(500).hex().encode())
    with pytest.raises(BadInput, match="compressed log"):
        all_of(RawLines(io.BytesIO(damage(packed))))  # type: ignore[operator]


def test_of_an_endless_line_only_the_beginning_is_kept() -> None:
    class Endless(io.RawIOBase):
        left = 200

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            return b"x" * (1 << 16) if self.left > 0 else b"\nnext\n"[: 6 * (self.left == 0)]

    found = all_of(RawLines(Endless()))
    assert len(found[0]) > MAX_LINE
    assert len(found[0]) < MAX_LINE + (1 << 17)
    assert found[1:] == [b"next"]


def test_no_more_is_read_than_the_limit() -> None:
    stream = io.BytesIO(LOG)
    raw = RawLines(stream, 9)
    assert (all_of(raw), raw.rest, stream.tell()) == ([b"one", b""], b"two", 9)


def test_a_pipe_is_read_while_it_is_written() -> None:
    reader, writer = os.pipe()
    seen: list[list[bytes]] = []

    def write() -> None:
        with os.fdopen(writer, "wb") as out:
            for number in range(1000):
                out.write(b"line %d\n" % number)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reader, "rb") as stream:
        seen.extend(RawLines(stream).lists(10))
    thread.join()
    assert [line for lines in seen for line in lines] == [b"line %d" % number for number in range(1000)]


def test_a_log_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(BadInput, match="Is a directory"):
            all_of(RawLines(_Descriptor(descriptor)))
    finally:
        os.close(descriptor)


class _Descriptor(io.RawIOBase):
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def read(self, size: int = -1) -> bytes:
        return os.read(self.descriptor, size)


def test_an_iterable_is_not_read_ahead_of_what_is_asked_for() -> None:
    taken: list[int] = []

    def lines() -> Iterator[bytes]:
        for number in range(100):
            taken.append(number)
            yield b"x"

    next(RawLines(lines()).lists(10))
    assert len(taken) == 10
