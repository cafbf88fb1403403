"""Migrations: a new file, an older one, a newer one, a failing step."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nbilling.model.errors import NewerLedger, NotALedger, StorageError
from nbilling.store import migrations
from nbilling.store.database import create_ledger, open_ledger
from nbilling.store.migrations import Step


def table(name: str) -> Step:
    """A step that makes one table."""

    def step(connection: sqlite3.Connection) -> None:
        connection.execute(f"CREATE TABLE {name} (x INTEGER PRIMARY KEY) STRICT")

    return f"make_{name}", step


ONE, TWO, THREE = table("one"), table("two"), table("three")


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    connection.close()
    return {name for name in found if not name.startswith(("sqlite_", "_sqlite"))}


def header(path: Path) -> tuple[int, int]:
    connection = sqlite3.connect(path)
    found = tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    connection.close()
    return found  # type: ignore[return-value]


def test_a_new_ledger_has_all_steps_their_names_and_its_number(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    assert create_ledger(path, steps=(ONE, TWO))
    assert header(path) == (migrations.application_id(), 2)
    assert tables(path) == {"one", "two"}
    with open_ledger(path, steps=(ONE, TWO)) as ledger:
        assert migrations.names_applied(ledger.read()) == ["make_one", "make_two"]


@pytest.mark.parametrize("bring_up", [create_ledger, lambda path, steps: open_ledger(path, steps=steps).close()])
def test_an_older_ledger_gets_what_it_lacks_and_keeps_what_it_has(
    tmp_path: Path, bring_up: Callable[..., object]
) -> None:
    path = tmp_path / "x.db"
    create_ledger(path, steps=(ONE,))
    with open_ledger(path, steps=(ONE,)) as old:
        old.write(lambda connection: connection.execute("INSERT INTO one VALUES (7)").close())
    assert not bring_up(path, steps=(ONE, TWO, THREE))
    assert header(path) == (migrations.application_id(), 3)
    with open_ledger(path, steps=(ONE, TWO, THREE)) as new:
        assert new.read().execute("SELECT x FROM one").fetchall() == [(7,)]
        assert migrations.names_applied(new.read()) == ["make_one", "make_two", "make_three"]


def test_a_newer_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    create_ledger(path, steps=(ONE, TWO))
    for refused in (open_ledger, create_ledger):
        with pytest.raises(NewerLedger, match="schema 2, this one knows 1") as caught:
            refused(path, steps=(ONE,))
        assert caught.value.hint == "upgrade nbilling"
    assert header(path)[1] == 2


def test_a_ledger_with_other_migrations_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    create_ledger(path, steps=(THREE,))
    with pytest.raises(NotALedger, match="make_three"):
        open_ledger(path, steps=(ONE, TWO))
    assert tables(path) == {"three"}


def fail(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE half (x)")
    raise ZeroDivisionError


def test_a_failing_step_leaves_no_new_file(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with pytest.raises(ZeroDivisionError):
        create_ledger(path, steps=(ONE, ("fail", fail)))
    assert not path.exists()
    assert create_ledger(path, steps=(ONE,))


def test_a_failing_step_leaves_an_older_ledger_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    create_ledger(path, steps=(ONE,))
    with pytest.raises(ZeroDivisionError):
        open_ledger(path, steps=(ONE, TWO, ("fail", fail)))
    assert header(path)[1] == 1
    assert tables(path) == {"one"}
    open_ledger(path, steps=(ONE, TWO)).close()
    assert tables(path) == {"one", "two"}


def test_a_step_that_commits_is_found_out(tmp_path: Path) -> None:
    def careless(connection: sqlite3.Connection) -> None:
        connection.executescript("CREATE TABLE careless (x)")

    with pytest.raises((StorageError, sqlite3.OperationalError)):
        create_ledger(tmp_path / "x.db", steps=(("careless", careless),))


def test_a_step_may_rebuild_a_table_that_others_refer_to(tmp_path: Path) -> None:
    path = tmp_path / "x.db"

    def first(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE p (id INTEGER PRIMARY KEY) STRICT")
        connection.execute("CREATE TABLE c (p INTEGER REFERENCES p ON DELETE CASCADE) STRICT")
        connection.execute("INSERT INTO p VALUES (1)")
        connection.execute("INSERT INTO c VALUES (1)")

    def rebuild(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE p2 (id INTEGER PRIMARY KEY, more TEXT) STRICT")
        connection.execute("INSERT INTO p2 (id) SELECT id FROM p")
        connection.execute("DROP TABLE p")
        connection.execute("ALTER TABLE p2 RENAME TO p")

    create_ledger(path, steps=(("first", first),))
    with open_ledger(path, steps=(("first", first), ("rebuild", rebuild))) as ledger:
        assert ledger.read().execute("SELECT * FROM c").fetchall() == [(1,)]
        with pytest.raises(sqlite3.IntegrityError):  # and foreign keys are on again
            ledger.write(lambda connection: connection.execute("INSERT INTO c VALUES (2)").close())


def test_a_step_must_not_leave_a_child_without_its_parent(tmp_path: Path) -> None:
    def orphan(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE p (id INTEGER PRIMARY KEY) STRICT")
        connection.execute("CREATE TABLE c (p INTEGER REFERENCES p) STRICT")
        connection.execute("INSERT INTO c VALUES (1)")

    path = tmp_path / "x.db"
    with pytest.raises(StorageError, match="without its parent"):
        create_ledger(path, steps=(("orphan", orphan),))
    assert not path.exists()


def test_the_schema_of_this_version_can_be_made(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    assert create_ledger(path)
    assert header(path) == (migrations.application_id(), len(migrations.default_steps()))
    with open_ledger(path) as ledger:
        assert ledger.read().execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert migrations.names_applied(ledger.read()) == [name for name, _ in migrations.default_steps()]


def test_sqlite_utils_is_imported_only_when_there_is_something_to_apply(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    create_ledger(path)
    script = (
        "import sys; from nbilling.store.database import create_ledger, open_ledger;"
        "create_ledger(sys.argv[1]); ledger = open_ledger(sys.argv[1]);"
        "ledger.write(lambda c: c.execute('SELECT 1').fetchall()); ledger.read(); ledger.close();"
        "sys.exit('sqlite_utils' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True)
