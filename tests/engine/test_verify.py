"""Verification: what is right passes, and every planted fault is found and named."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nbilling
from nbilling.model.verification import Finding, VerifyReport

from .verify_faults import RELATED, ROWS, Fault, changed, columns
from .verify_histories import History
from .verify_ledger import World

COLUMNS = columns()
SEED = 20260611
HISTORIES = int(os.environ.get("NBILLING_TEST_HISTORIES", "4"))
EACH = int(os.environ.get("NBILLING_TEST_FAULTS", "1"))
"""Faults a column."""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything, verified by nobody yet."""
    path = tmp_path_factory.mktemp("verify") / "billing.db"
    world = World(path)
    world.everything()
    world.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return path


@pytest.fixture
def copy(ledger: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(ledger, tmp_path / "copy.db"))


def verified(path: Path, **how: Any) -> VerifyReport:
    with nbilling.open(path, config=nbilling.Config({})) as billing:
        return billing.verify(**how)


def planting(path: Path) -> sqlite3.Connection:
    """A connection that nothing holds back: no triggers, no constraints."""
    db = sqlite3.connect(path, isolation_level=None)
    for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    db.execute("PRAGMA ignore_check_constraints = ON")
    return db


def planted(path: Path, *statements: str) -> list[Finding]:
    """What is found after some changes."""
    db = planting(path)
    for statement in statements:
        assert db.execute(statement).rowcount == 1, statement
    db.close()
    return list(verified(path).findings)


# --- What is right --------------------------------------------------------------------------------------------------


def test_a_ledger_with_everything_in_it_is_right(ledger: Path) -> None:
    report = verified(ledger)
    assert report.findings == ()
    assert report.ok
    assert min(report.counts.values()) > 0
    assert set(report.counts) == {
        "events", "rollups", "samples", "windows", "customers", "periods", "limits", "invoices", "billed usages",
    }  # fmt: skip
    db = sqlite3.connect(ledger)
    for what in (
        "invoice_lines WHERE kind = 'late_usage' AND amount_minor <> 0",
        "invoice_lines WHERE kind = 'fee_change' AND amount_minor < 0",
        "invoice_lines WHERE kind = 'fee_change' AND amount_minor > 0",
        "invoice_lines WHERE kind = 'manual'",
        "invoice_lines WHERE seats > 1",
        "invoice_lines WHERE discount_minor > 0",
        "invoice_records WHERE status = 'void'",
        "invoice_records WHERE status = 'draft'",
        "invoice_records WHERE status = 'part_paid'",
        "invoice_records WHERE applied_minor > 0",
        "credit_notes WHERE refund_minor > 0",
        "invoice_taxes WHERE inclusive = 1",
        "rollups WHERE grain = 4 AND mark > 0",
        "unique_values WHERE grain = 4",
        "event_ids",
        "periods WHERE late = 1",
    ):
        assert db.execute(f"SELECT count(*) FROM {what}").fetchone()[0] > 0, what
    db.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_months_are_right_too(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path / "billing.db", seed)
    world.everything()
    assert world.billing.verify().findings == ()
    world.close()


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_whatever_has_happened_is_right(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path / "billing.db", seed)
    world.accounts()
    history = History(world)
    for number in range(1, 121):
        history.step()
        if number % 30 == 0:
            assert world.billing.verify().findings == (), f"after step {number}"
    world.close()


def test_a_new_ledger_is_right(tmp_path: Path) -> None:
    nbilling.init(tmp_path / "billing.db")
    report = verified(tmp_path / "billing.db")
    assert report.ok
    assert report.counts == {"events": 0, "rollups": 0}


def test_verifying_changes_nothing(copy: Path) -> None:
    before = copy.read_bytes()
    assert verified(copy).ok
    assert copy.read_bytes() == before


def test_others_write_meanwhile_and_it_reads_the_state_that_it_began_with(copy: Path) -> None:
    with nbilling.open(copy, config=nbilling.Config({})) as billing, nbilling.open(copy) as other:
        written = 0

        def write_in_another_thread(_: object) -> None:
            nonlocal written
            written += 1
            thread = threading.Thread(
                target=lambda: other.usage.track("acme", "api_requests", 5, at="2026-03-01T00:00:00Z")
            )
            thread.start()
            thread.join()

        before = billing.verify().counts
        report = billing.verify(progress=write_in_another_thread)
        assert written > 5
        assert report.ok
        assert report.counts == before
        after = billing.verify()
        assert after.ok
        assert after.counts["events"] == before["events"] + written


# --- What is wrong --------------------------------------------------------------------------------------------------


def test_a_finding_names_the_row_in_readable_terms_with_what_is_right_and_what_is_there(copy: Path) -> None:
    db = planting(copy)
    amount, events = db.execute(
        "SELECT sum(amount), count(*) FROM events WHERE meter = 4 AND customer = 1 AND h = (SELECT bucket FROM rollups"
        " WHERE grain = 1 AND customer = 1 AND meter = 4 ORDER BY bucket LIMIT 1)"
    ).fetchone()
    [(h,)] = db.execute(
        "UPDATE rollups SET amount = amount + 1 WHERE (grain, bucket, customer, meter) = (1, (SELECT min(bucket)"
        " FROM rollups WHERE grain = 1 AND customer = 1 AND meter = 4), 1, 4) RETURNING bucket"
    ).fetchall()
    db.close()
    hour = sqlite3.connect(":memory:").execute(
        "SELECT strftime('%Y-%m-%dT%H:%M:%SZ', ? * 3600, 'unixepoch')", (h,)
    ).fetchone()[0]  # fmt: skip
    assert verified(copy).findings == (
        Finding(
            "rollups",
            f"acme, compute, worker, hour {hour}",
            f"{amount} ({events} event{'s' if events > 1 else ''})",
            f"{amount + 1} ({events} event{'s' if events > 1 else ''})",
        ),
    )


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_value_is_found_and_named(ledger: Path, tmp_path: Path, column: str) -> None:
    chance = random.Random(f"{SEED} {column}")
    for number in range(EACH):
        path = Path(shutil.copy(ledger, tmp_path / f"{number}.db"))
        db = planting(path)
        fault = changed(db, column, chance)
        db.close()
        check_named(fault, verified(path))
        path.unlink()


@pytest.mark.parametrize("table", ROWS)
def test_a_row_that_is_gone_is_found_and_named(copy: Path, table: str) -> None:
    db = planting(copy)
    fault = changed(db, table, random.Random(f"{SEED} {table}"), gone=True)
    db.close()
    check_named(fault, verified(copy))


def check_named(fault: Fault, report: VerifyReport) -> None:
    """The list has an entry of the table, or of one that must agree with it, that names whose row it is."""
    assert not report.ok, f"{fault} was not found"
    there = [finding for finding in report.findings if finding.table in RELATED.get(fault.table, {fault.table})]
    assert there, f"{fault} was found elsewhere: {report.findings[:3]}"
    said = [" ".join(finding) for finding in there]
    assert any(name in text for text in said for name in fault.names), f"{fault} has no name in {said[:3]}"


def test_two_hundred_faults_are_planted() -> None:
    assert len(COLUMNS) * EACH + len(ROWS) >= 200


def test_an_event_that_was_added_behind_the_ledgers_back_is_found(copy: Path) -> None:
    findings = planted(
        copy,
        "INSERT INTO events SELECT seq + 1, h, at, 1, 1, 0, 500, 0, randomblob(16), NULL, NULL FROM events"
        " ORDER BY seq DESC LIMIT 1",
    )
    assert {finding.table for finding in findings} >= {"rollups"}
    assert all("acme, api_requests" in finding.key for finding in findings if finding.table == "rollups")


def test_numbers_of_invoices_that_were_changed_together_leave_a_gap(copy: Path) -> None:
    findings = planted(copy, "UPDATE number_series SET last = last + 1 WHERE series = 'INV'")
    assert [finding.table for finding in findings] == ["invoice_records"]
    assert findings[0].key == "INV-2026"
    assert findings[0].found == "none"


def test_a_cent_moved_from_tax_to_the_price_is_found(copy: Path) -> None:
    findings = planted(
        copy,
        "UPDATE invoice_records SET subtotal_minor = subtotal_minor + 1, tax_minor = tax_minor - 1 WHERE id = 2",
    )
    assert {finding.key.rsplit(", ", 1)[1] for finding in findings} == {"subtotal_minor", "tax_minor"}


def test_an_invoice_made_cheaper_in_all_places_at_once_is_still_found(copy: Path) -> None:
    db = planting(copy)
    [(invoice,)] = db.execute(
        """SELECT id FROM invoice_records i
        WHERE status = 'open' AND discount_minor + credited_minor + applied_minor = 0
        AND EXISTS (SELECT 1 FROM invoice_lines WHERE invoice = i.id AND position = 1 AND kind = 'fee'
          AND amount_minor > 1000)
        AND EXISTS (SELECT 1 FROM invoice_taxes WHERE invoice = i.id AND rate = '19') LIMIT 1"""
    ).fetchall()
    for statement in (
        "UPDATE invoice_lines SET amount_minor = amount_minor - 100 WHERE invoice = ? AND position = 1",
        "UPDATE invoice_taxes SET taxable_minor = taxable_minor - 100, tax_minor = tax_minor - 19 WHERE invoice = ?",
        "UPDATE invoice_records SET subtotal_minor = subtotal_minor - 100, tax_minor = tax_minor - 19,"
        " total_minor = total_minor - 119 WHERE id = ?",
        "UPDATE audit SET detail = json_set(detail, '$.total_minor', detail ->> 'total_minor' - 119)"
        " WHERE action = 'invoice.finalize' AND subject = (SELECT invoice_id FROM invoice_records WHERE id = ?)",
    ):
        assert db.execute(statement, (invoice,)).rowcount == 1
    db.close()
    findings = verified(copy).findings
    assert {finding.key.rsplit(", ", 1)[1] for finding in findings} == {"amount_minor"}


def test_a_damaged_page_is_a_finding_or_a_typed_error(ledger: Path, tmp_path: Path) -> None:
    chance, size = random.Random(SEED), ledger.stat().st_size
    found = 0
    for number in range(12):
        path = Path(shutil.copy(ledger, tmp_path / f"{number}.db"))
        with path.open("r+b") as file:
            file.seek(chance.randrange(2, size // 4096) * 4096)
            file.write(chance.randbytes(4096))
        try:
            found += not verified(path).ok
        except nbilling.StorageError:
            found += 1
    assert found >= 11  # a page may be free


# --- From a date on -------------------------------------------------------------------------------------------------


def test_since_a_date_older_usage_is_not_read_again_and_it_says_so(copy: Path) -> None:
    db = planting(copy)
    change = """UPDATE rollups SET amount = amount + 1 WHERE (grain, bucket, customer, meter, dimension) = (
      SELECT grain, bucket, customer, meter, dimension FROM rollups WHERE grain = 1 AND meter = 4
      ORDER BY bucket {} LIMIT 1)"""
    db.execute(change.format("ASC"))
    db.close()
    report = verified(copy, since="2026-02-15")
    assert [finding.key.rsplit(", ", 1)[1] for finding in report.findings] == ["lifetime from hours"]
    assert any(line.startswith("usage before 2026-02-15T00:00:00Z") for line in report.not_checked)
    db = planting(copy)
    db.execute(change.format("DESC"))
    db.close()
    report = verified(copy, since="2026-02-15")
    assert any("hour 2026-0" in finding.key for finding in report.findings)


@pytest.mark.parametrize("since", ["2026-01-10", "2026-02-01", "2026-03-04", "2026-12-31"])
def test_a_right_ledger_is_right_since_any_date(ledger: Path, since: str) -> None:
    assert verified(ledger, since=since).findings == ()


def test_since_what_is_no_date_is_refused(ledger: Path) -> None:
    with pytest.raises(nbilling.BadInput):
        verified(ledger, since="yesterday")


# --- The command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, str, str]]:
    from nbilling.cli.start import main

    def run(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


def test_the_command_ends_with_0_and_a_summary_where_all_is_right(
    ledger: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = command("--db", str(ledger), "verify", "--format", "table")
    assert (code, err) == (0, "")
    assert out.startswith("verified ")
    assert out.endswith("\nnothing is wrong\n")
    code, out, _ = command("--db", str(ledger), "verify", "--format", "json")
    assert code == 0
    summary = json.loads(out)
    assert summary["ok"] is True
    assert summary["counts"]["events"] > 500
    assert len(summary["checked"]) >= 5
    assert len(summary["not_checked"]) >= 3


def test_the_command_ends_with_1_and_the_list_where_something_is_wrong(
    copy: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    db = planting(copy)
    db.execute("UPDATE payments SET amount_minor = amount_minor + 1 WHERE id = 1")
    db.close()
    code, out, err = command("--db", str(copy), "verify", "--format", "json")
    assert (code, err) == (1, "")
    found = json.loads(out)["findings"]
    assert {"table", "key", "expected", "found"} == set(found[0])
    assert all("acme, invoice INV-2026-" in row["key"] for row in found)
    code, out, _ = command("--db", str(copy), "verify", "--format", "ndjson")
    assert code == 1
    assert [json.loads(line) for line in out.splitlines()] == found
    code, out, _ = command("--db", str(copy), "verify", "--format", "table")
    assert code == 1
    assert "findings" in out
    assert "paid_minor" in out
