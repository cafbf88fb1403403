"""Kill -9 at random moments. ``NBILLING_TEST_KILLS=1000`` for more of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from nbilling.store.database import create_ledger, open_ledger
from nbilling.store.migrations import Step

KILLS = int(os.environ.get("NBILLING_TEST_KILLS", "200"))
SEED = int(os.environ.get("NBILLING_TEST_SEED", "1"))


def _tables(connection: object) -> None:
    raise AssertionError("the driver made them")


def test_what_was_acknowledged_survives_kill_9_once_and_what_was_refused_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    driver = Path(__file__).with_name("killing.py")
    ran = subprocess.run(
        [sys.executable, driver, path, str(KILLS), str(SEED)], check=True, capture_output=True, text=True
    )
    result = json.loads(ran.stdout)
    acknowledged = result["acknowledged"]
    assert ran.stderr == ""  # no thread of a writer ended with an error
    assert result["kills"] >= KILLS
    assert len(acknowledged) == len(set(acknowledged)) > KILLS
    steps: tuple[Step, ...] = (("0001_initial", _tables),)
    assert not create_ledger(path, steps=steps)
    with open_ledger(path, steps=steps) as ledger:
        found = {key for (key,) in ledger.read().execute("SELECT k FROM events")}
        assert set(acknowledged) <= found
        assert not [key for key in found if key.startswith("refused")]
        # Not acknowledged but there: at most what each thread of a killed process was waiting for.
        assert len(found - set(acknowledged)) <= 3 * result["kills"]
        sums = "SELECT (SELECT sum(n) FROM events), (SELECT sum(n) FROM totals)"
        events, totals = ledger.read().execute(sums).fetchone()
        assert events == totals
        ledger.write(lambda connection: connection.execute("INSERT INTO events VALUES ('after', 0)").close())
        assert ledger.read().execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert ledger.read().execute("PRAGMA foreign_key_check").fetchall() == []
