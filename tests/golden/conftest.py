"""Cases gathered from the tests and documents of public billing engines, each by its id.

They lie beside the checkout and are not part of it; without them these tests skip. ``docs/golden.md`` says of every
case whether it applies. ``test_figures.py`` carries figures of our own choice that need no file.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).resolve().parents[3] / "shared" / "golden" / "cases.json"


@cache
def _cases() -> dict[str, dict[str, Any]]:
    return {case["id"]: case for case in json.loads(CASES.read_text("utf-8"), parse_float=str)["cases"]}


@pytest.fixture(scope="session")
def golden_cases() -> dict[str, dict[str, Any]]:
    """All cases by id. Numbers with a point are text: no float comes in here either."""
    if not CASES.is_file():
        pytest.skip(f"no cases at {CASES}")
    return _cases()


@pytest.fixture
def case(request: pytest.FixtureRequest, golden_cases: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The case that ``parametrize("case", [ids], indirect=True)`` names."""
    return golden_cases[request.param]
