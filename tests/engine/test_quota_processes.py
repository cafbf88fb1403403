"""Eight processes with eight threads each on one customer: exactly the limit passes, ten runs in a row."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbilling

LIMIT, ROUNDS, PROCESSES = 100, 10, 8

CHILD = """
import sys
from concurrent.futures import ThreadPoolExecutor
import nbilling
with nbilling.open(sys.argv[1]) as billing, ThreadPoolExecutor(8) as pool:
    print("ready", flush=True)
    for line in sys.stdin:
        customer = line.strip()
        found = pool.map(lambda _: billing.quota.enforce(customer, "api_requests", 1).allowed, range(24))
        print(sum(found), flush=True)
"""


def test_exactly_the_limit_passes(tmp_path: Path) -> None:
    path = tmp_path / "billing.db"
    nbilling.init(path)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(PROCESSES)
    ]
    try:
        assert [child.stdout.readline() for child in children if child.stdout] == ["ready\n"] * PROCESSES
        with nbilling.open(path) as billing:
            for number in range(ROUNDS):
                customer = f"customer-{number}"
                billing.quota.set_limit(customer, "api_requests", LIMIT, "per_month")
                for child in children:
                    assert child.stdin is not None
                    child.stdin.write(f"{customer}\n")
                    child.stdin.flush()
                passed = sum(int(child.stdout.readline()) for child in children if child.stdout)
                assert passed == LIMIT
                assert billing.usage.get_current(customer)["api_requests"] == LIMIT
    finally:
        for child in children:
            child.communicate()
    assert [child.returncode for child in children] == [0] * PROCESSES
