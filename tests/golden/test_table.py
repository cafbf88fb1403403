"""docs/golden.md lists every case once, and what it says is tested is tested."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TABLE = HERE.parents[1] / "docs" / "golden.md"
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| (\w[\w ]*) \| (.*) \|$", re.MULTILINE)
TESTED = re.compile(r"^@of\((.*?)\)$", re.MULTILINE | re.DOTALL)


def rows() -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = ROW.findall(TABLE.read_text("utf-8"))
    return found


def names_in_tests() -> set[str]:
    sources = "\n".join(path.read_text("utf-8") for path in HERE.glob("test_*_cases.py"))
    return {name for names in TESTED.findall(sources) for name in re.findall(r'"([^"]+)"', names)}


def test_each_case_has_one_row_with_a_known_verdict_and_a_reason_where_it_does_not_simply_apply() -> None:
    names = [name for name, _, _ in rows()]
    assert len(names) == len(set(names)) > 80
    for name, verdict, why in rows():
        assert verdict in ("applies", "in part", "engine", "no"), name
        assert why or verdict == "applies", name


def test_what_applies_is_tested_by_name_and_nothing_else_is() -> None:
    assert names_in_tests() == {name for name, verdict, _ in rows() if verdict in ("applies", "in part")}


def test_the_table_lists_every_case_that_there_is(golden_cases: dict[str, dict[str, Any]]) -> None:
    assert {name for name, _, _ in rows()} == set(golden_cases)
