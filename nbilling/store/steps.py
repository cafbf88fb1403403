"""The list of migrations: names that a start can count without loading what they do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

APPLICATION_ID = 0x6E62696C
"""``nbil``: what ``file`` and other programs know a ledger by."""


def _initial(db: sqlite3.Connection) -> None:
    from nbilling.store.schema import create

    create(db)


STEPS: tuple[tuple[str, Callable[[sqlite3.Connection], None]], ...] = (("0001_initial", _initial),)
