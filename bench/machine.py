"""The machine and the versions that a run was made with, and how long its disk takes to be sure."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import time
from pathlib import Path

import nbilling


def description(directory: Path) -> dict[str, str]:
    """For the head of a report. ``directory`` is where the files are measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    low, middle, high = _sync_times(directory)
    return {
        "machine": f"{os.cpu_count()} cores, {_processor()}, {memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load": f"{os.getloadavg()[0]:.2f} when the run began",
        "disk": f"4 KiB written and synced in {low:.0f} / {middle:.0f} / {high:.0f} µs (quartiles)",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "nbilling": nbilling.__version__,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _sync_times(directory: Path, count: int = 200) -> list[float]:
    """Quartiles, in microseconds."""
    path = directory / "sync"
    waits = []
    with open(path, "wb", buffering=0) as file:
        for _ in range(count):
            start = time.perf_counter()
            file.write(b"\1" * 4096)
            os.fsync(file.fileno())
            waits.append((time.perf_counter() - start) * 1e6)
    path.unlink()
    return statistics.quantiles(waits, n=4)
