"""Credit notes on the command line."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def issued(shell: Any) -> str:
    """The number of a pro month's invoice, 29.00."""
    assert shell("plan", "upgrade", "acme", "pro").code == 0
    draft = shell("invoice", "generate", "acme", "monthly").out.strip()
    return str(shell.data("invoice", "finalize", draft)["number"])


def test_lines_are_credited_by_their_numbers(shell: Any, issued: str) -> None:
    note = shell.data("credit", "create", issued, "--line", "1=5.25", "--yes")
    assert (note["total"], note["lines"]) == ("5.25", [{"line": 1, "description": "Pro plan", "amount": "5.25"}])
    assert shell.data("credit", "list", issued) == [note]
    assert shell.data("credit", "show", note["number"]) == note


@pytest.mark.parametrize("lines", [("1",), ("x=5",), ("=5",), ("-1=5",), ("1=5", "1=6"), ("1=5", "01=6"), ("2=5",)])
def test_lines_that_cannot_be_meant_are_refused(shell: Any, issued: str, lines: tuple[str, ...]) -> None:
    with shell.unchanged():
        shell.fails(2, "credit", "create", issued, *(word for line in lines for word in ("--line", line)), "--yes")


def test_a_credit_without_yes_is_refused_where_nobody_can_be_asked(shell: Any, issued: str) -> None:
    with shell.unchanged():
        assert "add --yes" in shell.fails(2, "credit", "create", issued)
