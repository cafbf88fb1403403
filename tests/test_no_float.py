"""No float touches money or a quantity, from argv to PDF: the source itself is read for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent

# A float may say how long to wait; it is never an amount or a quantity. Names that say so:
WAITING = re.compile(r"timeout|deadline|patience|delay|backoff|jitter|poll|sleep|heartbeat", re.IGNORECASE)

# REAL as the type of a column or of a cast, not as a word in a sentence.
REAL_COLUMN = re.compile(
    r"(?:^|[\w\"'\])])\s+REAL\s*(?:[,)\n]|--|$|NOT\b|NULL\b|CHECK\b|DEFAULT\b|PRIMARY\b|UNIQUE\b|REFERENCES\b)"
)

# file -> why a float is right in it.
FLOAT_ALLOWED: dict[str, str] = {
    "nbilling/store/database.py": "moments of the monotonic clock: when the file is looked at again",
    "nbilling/store/lock.py": "moments of the monotonic clock: how long a lock is waited for",
    "nbilling/store/session.py": "moments of the monotonic clock: when a checkpoint is due",
}


def floats_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and kind of each float: a call, an annotation, a literal, REAL in SQL. Waiting times are let by."""

    def of(node: ast.AST, label: str) -> Iterator[tuple[int, str]]:
        """``label`` holds the names that the value at ``node`` is bound to."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
            if not WAITING.search(label):
                yield node.lineno, "float()"
        elif isinstance(node, ast.Constant) and not WAITING.search(label):
            if isinstance(node.value, float):
                yield node.lineno, f"the literal {node.value}"
            elif isinstance(node.value, str) and REAL_COLUMN.search(node.value):
                yield node.lineno, "REAL in SQL"

        if isinstance(node, ast.arg | ast.AnnAssign | ast.FunctionDef | ast.AsyncFunctionDef):
            annotation = node.returns if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else node.annotation
            bound = node.arg if isinstance(node, ast.arg) else getattr(node, "name", "")
            if isinstance(node, ast.AnnAssign):
                bound = ast.unparse(node.target)
            if annotation is not None and not WAITING.search(bound):
                for part in ast.walk(annotation):
                    if isinstance(part, ast.Name) and part.id == "float":
                        yield part.lineno, f"the annotation of {bound}"

        if isinstance(node, ast.Assign):
            label = " ".join(ast.unparse(target) for target in node.targets)
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            label = ast.unparse(node.target)
        elif isinstance(node, ast.keyword):
            label = node.arg or label
        elif isinstance(node, ast.Call | ast.Compare):
            label = f"{label} {ast.unparse(node)}"
        elif isinstance(node, ast.arguments):
            yield from of_arguments(node)
            return
        elif isinstance(node, ast.stmt):
            label = ""
        for child in ast.iter_child_nodes(node):
            yield from of(child, label)

    def of_arguments(node: ast.arguments) -> Iterator[tuple[int, str]]:
        """Each default belongs to its own parameter."""
        positional = [*node.posonlyargs, *node.args]
        pairs = list(zip(positional[len(positional) - len(node.defaults) :], node.defaults, strict=True))
        pairs += [(arg, default) for arg, default in zip(node.kwonlyargs, node.kw_defaults, strict=True) if default]
        for arg, default in pairs:
            yield from of(default, arg.arg)
        for arg in [*positional, *node.kwonlyargs, *filter(None, [node.vararg, node.kwarg])]:
            yield from of(arg, arg.arg)

    yield from of(tree, "")


def test_no_float_comes_near_an_amount_or_a_quantity() -> None:
    wrong = [
        f"{path}:{line}: {kind}"
        for file in sorted((CHECKOUT / "nbilling").rglob("*.py"))
        if (path := file.relative_to(CHECKOUT).as_posix()) not in FLOAT_ALLOWED
        for line, kind in floats_in(ast.parse(file.read_text("utf-8")))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "code",
    [
        "price = float(text)",
        "RATE = 0.2",
        "def f(amount: float) -> None: ...",
        "def f(amount: int) -> float | None: ...",
        "def f(timeout: int, amount=1.5) -> None: ...",
        "class Line:\n    quantity: float = 1",
        "SQL = 'CREATE TABLE t (amount REAL) STRICT'",
        "SQL = f'{name} REAL NOT NULL, '",
        "SQL = 'SELECT CAST(amount AS REAL) FROM t'",
        "total = sum(x * 1.1 for x in lines)",
    ],
)
def test_a_float_is_noticed(code: str) -> None:
    assert list(floats_in(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "def f(timeout: float = 5.0) -> None: ...",
        "POLL = 0.05",
        "lock.acquire(timeout=0.5)",
        "if isinstance(value, float): raise TypeError",
        "deadline: float = monotonic() + 1.5",
        "TEXT = 'the REAL THING'",
    ],
)
def test_a_waiting_time_and_a_refusal_of_floats_are_let_by(code: str) -> None:
    assert not list(floats_in(ast.parse(code)))


def test_every_exception_is_still_needed_and_has_its_reason() -> None:
    for path, reason in FLOAT_ALLOWED.items():
        assert reason
        assert list(floats_in(ast.parse((CHECKOUT / path).read_text("utf-8")))), f"{path} uses no float"
