"""``python -m bench``: measures, prints, stores, compares."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from bench import compare, machine, report
from bench.harness import Options, Result, one_core_busy

SUBJECTS = {
    "ingest": "bulk import into a new file",
    "growth": "bulk import into files of millions of events",
    "logs": "import of access logs",
    "track": "durable tracking from threads",
    "processes": "durable tracking from processes",
    "quota": "checks and enforcements",
    "peers": "checks and enforcements against Redis and PostgreSQL",
    "start": "commands as processes",
}
"""By name: what each module of that name measures with its ``run``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what is asked for and prints it as Markdown. Nothing passes or fails here."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if unknown := set(given.subjects) - SUBJECTS.keys():
        parser.error(f"no subject {min(unknown)}; there are {', '.join(SUBJECTS)}")
    with tempfile.TemporaryDirectory(prefix="nbilling-bench-", dir=given.temporary) as temporary:
        directory = given.keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        options = Options(
            directory,
            given.rounds,
            given.events,
            given.calls,
            given.customers,
            (0, 1_000_000, 5_000_000, *([20_000_000] if given.big else [])) if given.sizes is None else given.sizes,
            given.busy,
            given.seed,
            (lambda text: print(text, file=sys.stderr)) if given.verbose else (lambda text: None),
        )
        described = machine.description(directory)
        if given.busy:
            described["busy"] = "one core kept at work"
        results = []
        with one_core_busy(given.busy):
            for name in given.subjects or SUBJECTS:
                results += _runner(name)(options)
                if given.out:  # after each, so that a failure of the next one loses nothing
                    report.write_json(given.out, report.as_json(described, results))
    text = report.as_markdown(described, results)
    print(text)
    if given.page:
        report.write_page(given.page, text)
    if given.compare:
        print(compare.with_stored(given.compare, report.as_json(described, results)))
    return 0


def _runner(name: str) -> Callable[[Options], list[Result]]:
    run: Callable[[Options], list[Result]] = import_module(f"bench.{name}").run
    return run


def _parser() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:<10} {what}" for name, what in SUBJECTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures nbilling against what people would write or use instead.",
        epilog=f"subjects (all, if none is named):\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT")
    parser.add_argument("--rounds", type=int, default=7, help="how often each variant runs (7)")
    parser.add_argument("--events", type=int, default=100_000, help="events of a round of imports (100000)")
    parser.add_argument("--calls", type=int, default=2_000, help="calls of a round of single calls (2000)")
    parser.add_argument("--customers", type=int, default=1_000, help="customers in the data (1000)")
    parser.add_argument("--sizes", type=_sizes, help="events in the files of `growth`, such as 0,1000000")
    parser.add_argument("--big", action="store_true", help="`growth` with 20 million events too")
    parser.add_argument("--busy", action="store_true", help="keep one core at work meanwhile")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the variants (1)")
    parser.add_argument("--keep", type=Path, help="a directory for the files, to be used again by the next run")
    parser.add_argument("--temporary", type=Path, help="where to make a temporary directory instead")
    parser.add_argument("--out", type=Path, help="store the run as JSON")
    parser.add_argument("--page", type=Path, help="write the tables into this Markdown page")
    parser.add_argument("--compare", type=Path, help="a stored run: say what became slower or quicker")
    parser.add_argument("--verbose", action="store_true", help="say on stderr what is running")
    return parser


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
