"""Migrations: the steps that make a ledger, or bring an older one up to date.

``user_version`` is the number of steps applied, so that every start can compare two integers; the names and times are
in sqlite-utils' table ``_sqlite_migrations``. sqlite-utils is imported only when there is something to apply.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from nbilling.model.errors import NotALedger, StorageError
from nbilling.store.connection import newer

Step = tuple[str, Callable[[sqlite3.Connection], None]]
"""A name, and a function that executes its statements one by one (never ``executescript``, which commits)."""

SET = "nbilling"


def default_steps() -> Sequence[Step]:
    """The steps of this version."""
    from nbilling.store.steps import STEPS

    return STEPS


def application_id() -> int:
    """The number in the header that makes a SQLite file a ledger."""
    from nbilling.store.steps import APPLICATION_ID

    return APPLICATION_ID


def version_of(connection: sqlite3.Connection) -> int:
    """How many steps were applied to this file."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def is_ledger(connection: sqlite3.Connection) -> bool:
    """Whether the file says that it is a ledger."""
    found: int = connection.execute("PRAGMA application_id").fetchone()[0]
    return found == application_id()


def is_blank(connection: sqlite3.Connection) -> bool:
    """Whether there is nothing in the file at all."""
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None


def names_applied(connection: sqlite3.Connection) -> list[str]:
    """The names of the steps applied to this ledger, in their order."""
    rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY id", (SET,))
    return [name for (name,) in rows.fetchall()]


def migrate(connection: sqlite3.Connection, steps: Sequence[Step], path: str) -> bool:
    """Apply what is missing, in one transaction. True if this made a blank file a ledger.

    The caller holds the file lock. Foreign keys are off meanwhile, so that a step can rebuild a table without deleting
    what refers to it, and are checked before the commit. Raises NewerLedger, NotALedger, or what a step raised; then
    the file is as it was.
    """
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read here, not before: another process may have migrated in the meantime.
        found = version_of(connection)
        blank = found == 0 and is_blank(connection)
        if not blank and not is_ledger(connection):
            raise NotALedger(f"{path} is a SQLite file of another program", hint="choose another path")
        if found > len(steps):
            raise newer(path, found, len(steps))
        if found < len(steps):
            _apply(connection, steps, found, path)
            connection.execute(f"PRAGMA application_id={application_id()}")
            connection.execute(f"PRAGMA user_version={len(steps)}")
            _check_foreign_keys(connection, path)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return blank


def _apply(connection: sqlite3.Connection, steps: Sequence[Step], found: int, path: str) -> None:
    from sqlite_utils import Database, Migrations

    migrations = Migrations(SET)
    for name, step in steps:
        migrations(name=name)(_step_for_sqlite_utils(step))
    # Neither plugins nor a setting of sqlite-utils' own: the connection is ours.
    database = Database(connection, recursive_triggers=False, execute_plugins=False)
    applied = [migration.name for migration in migrations.applied(database)]
    if applied != [name for name, _ in steps[:found]]:
        raise NotALedger(
            f"{path} has the migrations {', '.join(applied) or 'none'}, which this nbilling does not know",
            hint="open it with the nbilling that made it",
        )
    migrations.apply(database)
    if not connection.in_transaction:
        raise StorageError("a migration ended its transaction", hint="report this")


def _step_for_sqlite_utils(step: Callable[[sqlite3.Connection], None]) -> Callable[..., None]:
    def apply(database: object) -> None:
        step(database.conn)  # type: ignore[attr-defined]

    return apply


def _check_foreign_keys(connection: sqlite3.Connection, path: str) -> None:
    broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    if broken is not None:
        raise StorageError(f"migrating {path} would leave a row of {broken[0]} without its parent", hint="report this")
