"""The test clock of a ledger: set, then only moved forward; never in a live ledger."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nbilling.engine.core import Core
from nbilling.model.clock import DAY, HOUR, LATEST, MINUTE, SECOND, format_time, parse_time
from nbilling.model.errors import BadInput, Conflict
from nbilling.store import customers

if TYPE_CHECKING:
    import sqlite3

_STEP = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}


class ClockControl:
    """Shows and moves the ledger's clock."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def show(self) -> dict[str, Any]:
        """``{now, test_clock}``: the time that the next call will see, and whether it is a test clock's."""
        db = self._core.read()
        return {"now": format_time(self._core.now(db)), "test_clock": customers.fact(db, "clock") is not None}

    def set(self, time: str) -> dict[str, Any]:
        """Sets the test clock, which then stands still. Conflict if that is backwards or the ledger is live."""
        at = parse_time(time)
        self._core.write(lambda db: self._move(db, at))
        return self.show()

    def advance(self, step: str) -> dict[str, Any]:
        """Moves the clock forward by ``90s``, ``15m``, ``12h``, ``30d`` or ``2w``."""
        match = _STEP.fullmatch(step) if isinstance(step, str) else None
        if match is None:
            raise BadInput(f"{step!r:.40} is not a step of time", hint="write it as 90s, 15m, 12h, 30d or 2w")
        by = int(match[1]) * _UNITS[match[2]]
        self._core.write(lambda db: self._move(db, self._core.now(db) + by))
        return self.show()

    def _move(self, db: sqlite3.Connection, at: int) -> None:
        if at > LATEST:
            raise BadInput("that is after the year 9999", hint="check the step")
        if customers.fact(db, "mode") == "live":
            raise Conflict("a live ledger has no test clock", hint="use a fixtures or test ledger")
        stored = customers.fact(db, "clock")
        if stored is not None and at < int(stored):
            raise Conflict(
                f"the clock stands at {format_time(int(stored))} and only moves forward", hint="give a later time"
            )
        self._core.mark_test_clock(db)
        customers.set_fact(db, "clock", str(at))
        self._core.audit(db, at, "clock.set", "ledger", {"at": format_time(at)})
