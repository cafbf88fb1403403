"""Commands as processes: how long from exec to exit, beside Python itself and beside a script of plain sqlite3."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import nbilling
from bench import ledgers
from bench.harness import CHECKOUT, CPU, Figure, Options, Outcome, Ratio, Result, Variant, cost_ratio, interleave

RAW = """import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute("PRAGMA synchronous=FULL")
db.execute("CREATE TABLE IF NOT EXISTS e (id INTEGER PRIMARY KEY, customer TEXT, meter TEXT, amount INTEGER)")
db.execute("BEGIN IMMEDIATE")
db.execute("INSERT INTO e (customer, meter, amount) VALUES (?, ?, ?)", ("acme", "api_requests", 1))
db.execute("COMMIT")
db.close()
"""
CLICK = f"""import click
@click.command()
@click.argument("path")
def main(path):
    {RAW.replace(chr(10), chr(10) + "    ").replace("sys.argv[1]", "path").strip()}
main()
"""
CONSOLE_SCRIPT = "import sys\nfrom nbilling.cli.start import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
COMMANDS = {
    "usage track-api-request": ("usage", "track-api-request", "acme", "/graphql", "POST", "200", "0.125"),
    "usage track-storage": ("usage", "track-storage", "acme", "1073741824"),
    "quota check": ("quota", "check", "acme", "api_requests", "1"),
    "quota enforce": ("quota", "enforce", "acme", "api_requests", "1"),
    "usage get-current": ("usage", "get-current", "acme"),
}
FAST = ("usage track-api-request", "usage track-storage", "quota check", "quota enforce")
"""The frequent commands, which have a target."""

TARGET = "at most 4, later 1.8"


def run(options: Options) -> list[Result]:
    """Every command in turn, a process each."""
    directory = options.directory
    ledger = directory / "start.db"
    ledgers.remove(ledger)
    nbilling.init(ledger)
    with nbilling.open(ledger, config=nbilling.Config()) as billing:
        billing.quota.set_limit("acme", "api_requests", 10**12, "per_month")
        billing.usage.track("acme", "api_requests")
    scripts = {"nothing": "pass\n", "raw": RAW, "click": CLICK, "nbilling": CONSOLE_SCRIPT}
    paths = {name: directory / f"start-{name}.py" for name in scripts}
    for name, text in scripts.items():
        paths[name].write_text(text, "utf-8")
    raw_file = directory / "start-raw.db"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NBILLING_", "PYTHON"))}
    # An installed package is compiled. So is this one then, by the first run of each, and not in the checkout.
    compiled = str(directory / "start-compiled")
    environment |= {"NBILLING_DB": str(ledger), "PYTHONPATH": str(CHECKOUT), "PYTHONPYCACHEPREFIX": compiled}
    counts = max(1, options.calls // 400)

    def variant(name: str, *command: str) -> Variant:
        return Variant(name, lambda: _processes(counts, command, environment, directory))

    python = sys.executable
    variants = [
        variant("python: pass", python, str(paths["nothing"])),
        variant("python: sqlite3 and one durable insert", python, str(paths["raw"]), str(raw_file)),
        variant("python: click and the same insert", python, str(paths["click"]), str(raw_file)),
    ]
    variants += [
        variant(f"nbilling {name}", python, str(paths["nbilling"]), *arguments) for name, arguments in COMMANDS.items()
    ]
    for one in variants:
        one.run()  # compiles what is imported
    figures = interleave(variants, options)
    raw = figures["python: sqlite3 and one durable insert"]
    ratios = [
        cost_ratio(f"nbilling {name} / raw script", figures[f"nbilling {name}"], raw, TARGET if name in FAST else "")
        for name in COMMANDS
    ]
    ratios += [
        Ratio(f"CPU of nbilling {name} / CPU of raw script", _cpu(figures[f"nbilling {name}"], raw)) for name in FAST
    ]
    conditions = {
        "round": f"{counts} processes of each variant, one after another; the figure is the quickest of a round",
        "raw script": "import sqlite3, open, WAL, FULL, one transaction of one insert, close",
    }
    facts = {f"modules loaded by nbilling {name}": float(_modules(COMMANDS[name], environment)) for name in FAST}
    return [
        Result(
            "start", "Commands as processes", conditions, list(figures.values()), ratios,
            {"raw script": RAW}, facts, item="process",
        )
    ]  # fmt: skip


def _cpu(of: Figure, to: Figure) -> list[float]:
    return [mine / other for mine, other in zip(of.more[CPU], to.more[CPU], strict=True)]


def _processes(count: int, command: tuple[str, ...], environment: dict[str, str], directory: Path) -> Outcome:
    """The quickest of some: another process on the machine can only make one slower."""
    waits, work = [], []
    for _ in range(count):
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment, cwd=directory, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        waits.append(time.perf_counter() - start)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f"{command} ended with {process.returncode}")
        work.append(used.ru_utime + used.ru_stime)
    return Outcome(min(waits) * 1e6, waits, {CPU: min(work) * 1e6})


def _modules(arguments: tuple[str, ...], environment: dict[str, str]) -> int:
    code = (
        "import sys\nfrom nbilling.cli.start import main\nmain(sys.argv[1:])\nprint(len(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return int(done.stderr.split()[-1])
