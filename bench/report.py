"""Results as JSON, and as the Markdown of ``docs/performance.md``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.harness import Figure, Ratio, Result, quartiles

BEGIN = "<!-- Written by python -m bench --page. Run it again instead of editing. -->"
END = "<!-- End of what bench wrote. -->"


def as_json(machine: dict[str, str], results: Sequence[Result]) -> dict[str, Any]:
    """Everything, every round of it: what a later run is compared with."""
    return {
        "machine": machine,
        "subjects": [
            {
                **result._asdict(),
                "figures": [{**figure._asdict(), "median": figure.median} for figure in result.figures],
                "ratios": [{**ratio._asdict(), "median": ratio.median} for ratio in result.ratios],
            }
            for result in results
        ],
    }


def as_markdown(machine: dict[str, str], results: Sequence[Result]) -> str:
    """The tables, each with its conditions, and the statements at the end."""
    parts = ["\n".join(f"- {name}: {value}" for name, value in machine.items())]
    parts += [_subject(result) for result in results]
    printed = [f"### Statements of {result.name}\n\n{_statements(result)}" for result in results if result.statements]
    if printed:
        parts += ["## Statements\n\nWhat each row executes, as written or as traced.", *printed]
    return "\n\n".join(parts) + "\n"


def _subject(result: Result) -> str:
    parts = [f"## {result.title}"]
    if result.conditions:
        parts.append("\n".join(f"- {name}: {value}" for name, value in result.conditions.items()))
    if result.ratios:
        rows = [_ratio(ratio) for ratio in result.ratios]
        parts.append(_table(("ratio", "median", "quartiles", "target"), rows))
    if result.figures:
        parts.append(_figures(result))
    if result.facts:
        parts.append(_table(("further", "figure"), [(name, number(value)) for name, value in result.facts.items()]))
    parts += [f"Not measured: {why}." for why in result.skipped]
    return "\n\n".join(parts)


def _ratio(ratio: Ratio) -> tuple[str, ...]:
    lower, upper = quartiles(ratio.rounds)
    return ratio.name, f"**{ratio.median:.2f}**", f"{lower:.2f}–{upper:.2f}", ratio.target


def _figures(result: Result) -> str:
    more = list(dict.fromkeys(key for figure in result.figures for key in figure.more))
    waits = any(figure.waits for figure in result.figures)
    head = ["variant", f"µs for one {result.item}", "quartiles", "a second"]
    head += ["p50 µs", "p99 µs", "longest µs"] if waits else []
    rows = []
    for figure in result.figures:
        lower, upper = quartiles(figure.rounds)
        row = [figure.name, number(figure.median), f"{number(lower)}–{number(upper)}", number(1e6 / figure.median)]
        if waits:
            row += [number(figure.waits[key]) if figure.waits else "" for key in ("p50", "p99", "max")]
        row += [number(_middle(figure, key)) if key in figure.more else "" for key in more]
        rows.append(tuple(row))
    return _table((*head, *more), rows)


def _middle(figure: Figure, key: str) -> float:
    return figure._replace(rounds=figure.more[key]).median


def number(value: float) -> str:
    """Three digits are enough: what is measured moves by more."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _statements(result: Result) -> str:
    return "\n\n".join(f"{name}:\n\n```text\n{text.rstrip()}\n```" for name, text in result.statements.items())


def write_json(path: Path, found: dict[str, Any]) -> None:
    """Stores a run."""
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


def write_page(path: Path, text: str) -> None:
    """Puts the tables into a page, between its two marks; what stands around them is written by people."""
    page = path.read_text("utf-8") if path.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    before, rest = page.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", "utf-8")
