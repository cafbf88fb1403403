"""Errors: one line for people, one object for programs."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest

from nbilling.cli.errors import report
from nbilling.model import errors
from nbilling.model.errors import NbillingError


def kinds(kind: type[NbillingError]) -> list[type[NbillingError]]:
    """That kind and those under it, as far as they are of the one tree."""
    children = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [kind, *(found for child in children for found in kinds(child))]


@pytest.mark.parametrize("kind", kinds(NbillingError)[1:], ids=lambda kind: kind.__name__)
def test_every_error_has_its_code_in_both_forms(kind: type[NbillingError], capfd: pytest.CaptureFixture[str]) -> None:
    error = kind("this is wrong", hint="do that")
    assert report(error, []) == kind.exit_code
    assert capfd.readouterr() == ("", "Error: this is wrong; do that\n")
    assert report(error, ["--format", "json"]) == kind.exit_code
    out, err = capfd.readouterr()
    assert out == ""
    assert json.loads(err) == {"error": {"code": kind.code, "message": "this is wrong", "hint": "do that"}}


def test_exit_codes_are_those_of_the_design() -> None:
    assert {kind.code: kind.exit_code for kind in kinds(NbillingError)[1:]}["refused"] == 1
    assert {kind.exit_code for kind in kinds(NbillingError)[1:]} == {1, 2, 3, 4, 5, 6}
    assert (errors.EXIT_INTERNAL, errors.EXIT_INTERRUPTED) == (70, 130)


def test_codes_are_not_shared() -> None:
    codes = [kind.code for kind in kinds(NbillingError)]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    "error,code,exit_code",
    [
        (click.UsageError("no such thing."), "usage", 2),
        (click.ClickException("no"), "usage", 2),
        (click.Abort(), "interrupted", 130),
        (OSError(28, "No space left on device"), "storage", 5),
        (ZeroDivisionError("division by zero"), "internal", 70),
        (KeyError("x"), "internal", 70),
        (MemoryError(), "internal", 70),
        (AssertionError(), "internal", 70),
    ],
)
def test_what_others_raise_has_a_code_too(
    error: Exception, code: str, exit_code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert report(error, ["--format=json"]) == exit_code
    assert json.loads(capfd.readouterr().err)["error"]["code"] == code


@pytest.mark.parametrize(
    "message",
    ["two\nlines", "a\r\nb", "a\x1b[31mb", "a\u2028b", "a\x85b", "a\x0cb", "a\udcffb", "a\u202eb", "tab\there", "\0"],
)
@pytest.mark.parametrize("arguments", [[], ["--format", "json"]])
def test_whatever_an_error_says_is_one_printable_line(
    message: str, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    report(errors.BadInput(message, hint=message), arguments)
    err = capfd.readouterr().err
    assert err.endswith("\n")
    assert err[:-1].isprintable()
    if arguments:
        assert set(json.loads(err)["error"]) == {"code", "message", "hint"}


@pytest.mark.parametrize(
    "words,wanted",
    [
        (["quota", "list", "acme", "--format", "json"], True),
        (["quota", "list", "acme", "--format=json"], True),
        (["quota", "list", "acme", "--format", "ndjson"], True),
        (["quota", "list", "acme", "--format", "table"], False),
        (["quota", "list", "acme"], False),
        (["quota", "list", "--", "--format", "json"], False),
    ],
)
def test_json_is_written_where_json_was_asked_for(shell: Any, words: list[str], wanted: bool) -> None:
    shell.environment.setenv("NBILLING_DB", "nosuch.db")
    err = shell(*words).err
    assert err.startswith('{"error": {"code": "ledger_missing"' if wanted else "Error: ")


def test_the_environment_asks_for_json_for_every_command(shell: Any) -> None:
    shell.environment.setenv("NBILLING_FORMAT", "json")
    for words in (
        ["usage", "track-storage", "acme", "x"],
        ["nosuch"],
        [],
        ["usage"],
        ["plan", "upgrade", "acme", "nosuch"],
        ["quota", "check", "", "api_requests", "1"],
        ["usage", "track", "\udcff", "api_requests"],
    ):
        answer = shell(*words)
        assert answer.out == ""
        found = json.loads(answer.err)["error"]
        assert set(found) == {"code", "message", "hint"}
        assert all(isinstance(value, str) and value for value in found.values())
        assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize("format", ["xml", "JSON", "json ", "yaml"])
def test_a_format_in_the_environment_that_there_is_not_is_refused_before_anything_is_done(
    shell: Any, format: str
) -> None:
    shell.environment.setenv("NBILLING_FORMAT", format)
    with shell.unchanged():
        shell.fails(2, "customer", "create", "acme")
        shell.fails(2, "usage", "track", "acme", "api_requests", "1")
        shell.fails(2, "quota", "list", "acme")
