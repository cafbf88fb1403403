"""Exports: what a spreadsheet opens without harm, exact numbers, and files that are whole or not there."""

from __future__ import annotations

import csv
import io
import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from nbilling.documents.exports import COLUMNS, defused, write_csv, write_json
from nbilling.documents.files import whole_file
from nbilling.model.errors import StorageError

ROW = ("id-1", "acme", "compute", "0.100000000000000001", '{"a":1.10}', "2026-01-01T00:00:00Z")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "\0x"])
def test_cells_that_a_spreadsheet_would_run_are_defused(cell: str) -> None:
    assert defused(cell) == f"'{cell}"
    out = io.BytesIO()
    write_csv([(cell, cell, "compute", "-1", "{}", "t")], out)
    row = list(csv.reader(io.StringIO(out.getvalue().decode(), newline="")))[1]
    assert row[:2] == [f"'{cell}", f"'{cell}"]
    assert row[3] == "-1"  # an amount stays a number


def test_csv_has_a_head_and_a_line_an_event() -> None:
    out = io.BytesIO()
    assert write_csv([ROW, ROW], out) == 2
    rows = list(csv.reader(io.StringIO(out.getvalue().decode(), newline="")))
    assert rows == [list(COLUMNS), list(ROW), list(ROW)]


def test_json_keeps_every_digit() -> None:
    out = io.BytesIO()
    assert write_json([ROW], out) == 1
    (event,) = json.loads(out.getvalue(), parse_float=Decimal)
    assert event["amount"] == Decimal("0.100000000000000001")
    assert event["metadata"] == {"a": Decimal("1.10")}
    empty = io.BytesIO()
    assert write_json([], empty) == 0
    assert json.loads(empty.getvalue()) == []


def test_a_file_appears_whole_and_replaces_what_was_there_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    path.chmod(0o640)
    with whole_file(str(path)) as out:
        out.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    with whole_file(str(tmp_path / "fresh")) as out:
        out.write(b"x")
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o600


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")

    def fail() -> None:
        with whole_file(str(path)) as out:
            out.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with whole_file(str(tmp_path / "link")) as out:
        out.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize("place", ["", "missing/x", "x" * 300])
def test_places_that_cannot_be_written_are_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(StorageError), whole_file(str(tmp_path / place)):
        pass
    assert os.listdir(tmp_path) == []
