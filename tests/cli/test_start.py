"""What a command loads: scripts call some of them for every request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("click", "attr", "attrs", "cattrs", "sqlite_utils", "stripe", "weasyprint", "markdown", "jinja2", "babel",
         "requests", "tomllib", "decimal")  # fmt: skip
RUN = """
import sys
from nbilling.cli.start import main
code = main(sys.argv[2:])
print(code, *sorted(set(sys.argv[1].split(",")) & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("command", "code", "loads"),
    [
        (["usage", "track-api-request", "acme", "/x", "GET", "200", "0.125"], 0, ["decimal"]),
        (["usage", "track-api-request", "--", "acme", "/x", "GET", "200", "0.125"], 0, ["decimal"]),
        (["usage", "track-storage", "acme", "5"], 0, ["decimal"]),
        (["usage", "track-bandwidth", "acme", "5", "egress"], 0, ["decimal"]),
        (["usage", "track-compute", "acme", "fn", "0.5"], 0, ["decimal"]),
        (["quota", "check", "acme", "api_requests", "1"], 0, ["decimal"]),
        (["quota", "enforce", "acme", "api_requests", "1"], 0, ["decimal"]),
        (["quota", "enforce", "acme", "api_requests", "100000"], 1, ["decimal"]),
    ],
)
def test_frequent_commands_load_nothing_heavy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], code: int, loads: list[str]
) -> None:
    monkeypatch.setenv("NBILLING_DB", str(tmp_path / "billing.db"))
    subprocess.run([sys.executable, "-m", "nbilling", "usage", "init"], check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", RUN, ",".join(HEAVY), *command], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(code), *loads]


@pytest.mark.parametrize(
    "command",
    [
        ["usage", "track-storage", "acme", "-5"],
        ["usage", "track-storage", "--", "acme", "-5"],
        ["usage", "track-storage", "acme", "1.5"],
        ["usage", "track-api-request", "acme", "/x", "get", "200", "1"],
        ["usage", "track-bandwidth", "acme", "5", "sideways"],
        ["quota", "check", "acme", "nothing", "1"],
        ["quota", "enforce", "", "api_requests", "1"],
        ["quota", "check", "acme", "api_requests", "1e3"],
        ["quota", "hard-limit-check", "acme", "api_requests", "999999"],
        ["quota", "check", "acme", "api_requests", "1"],
    ],
)
def test_the_short_way_and_the_ordinary_one_answer_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    import nbilling
    from nbilling.cli import fast
    from nbilling.cli.start import main

    monkeypatch.setenv("NBILLING_DB", str(tmp_path / "billing.db"))
    nbilling.init()
    short = main(command), capfd.readouterr()
    monkeypatch.setattr(fast, "plain_form", lambda arguments: None)
    ordinary = main(command), capfd.readouterr()
    if "-5" in command and "--" not in command:  # click reads -5 as an option: another sentence, the same code
        assert (short[0], ordinary[0]) == (2, 2)
    else:
        assert short == ordinary
