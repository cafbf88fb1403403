"""A child that renders under limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from nbilling.documents import pdf
from nbilling.documents.render import invoice_html
from nbilling.documents.worker import PdfWorker
from nbilling.model.errors import MissingLibrary, StorageError

HUGE = '<html lang="en"><body>' + "<p>x" * 500_000
ENDLESS = '<html lang="en"><table><tr><td colspan="1000000">x</td></tr></table>'


@pytest.fixture
def worker() -> Iterator[PdfWorker]:
    try:
        import weasyprint  # noqa: F401
    except OSError as error:
        pytest.skip(f"Pango is not installed: {error}")
    with PdfWorker() as worker:
        yield worker


def test_it_gives_the_bytes_that_this_process_would(invoice, worker: PdfWorker) -> None:
    html = invoice_html(invoice())
    for issued in (date(2026, 4, 1), datetime(2026, 4, 1, 12, tzinfo=UTC), None):
        assert worker.render(html, identifier="x", issued=issued) == pdf.html_to_pdf(
            html, identifier="x", issued=issued
        )


def test_one_child_serves_many_documents(invoice, worker: PdfWorker) -> None:
    html = invoice_html(invoice())
    worker.render(html, identifier="1", issued=None)
    child = worker._child
    worker.render(html, identifier="2", issued=None)
    assert worker._child is child


def test_a_document_beyond_the_deadline_ends_the_child_and_the_next_one_gets_another(
    invoice, worker: PdfWorker, monkeypatch
) -> None:
    worker.render(invoice_html(invoice()), identifier="x", issued=None)
    first = worker._child
    assert first is not None
    with monkeypatch.context() as patch:
        patch.setattr(worker, "_deadline", 1)
        with pytest.raises(StorageError, match="did not come out within 1 s") as caught:
            worker.render(ENDLESS, identifier="x", issued=None)
    assert "HTML" in caught.value.hint
    assert first.returncode is not None
    assert worker.render(invoice_html(invoice()), identifier="x", issued=None).startswith(b"%PDF")


def test_a_document_beyond_the_memory_ends_the_child(invoice) -> None:
    with PdfWorker(memory_limit=220 << 20) as worker:
        assert worker.render(invoice_html(invoice()), identifier="x", issued=None).startswith(b"%PDF")
        with pytest.raises(StorageError, match="220 MiB"):
            worker.render(HUGE, identifier="x", issued=None)


def test_a_child_that_was_killed_between_two_documents_is_replaced(invoice, worker: PdfWorker) -> None:
    html = invoice_html(invoice())
    before = worker.render(html, identifier="x", issued=None)
    assert worker._child is not None
    worker._child.kill()
    worker._child.wait()
    assert worker.render(html, identifier="x", issued=None) == before


def test_secrets_of_the_parent_do_not_reach_the_child(invoice, worker: PdfWorker, monkeypatch) -> None:
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_of_the_parent")
    worker.render(invoice_html(invoice()), identifier="x", issued=None)
    assert worker._child is not None
    environment = Path(f"/proc/{worker._child.pid}/environ")
    if not environment.exists():
        pytest.skip("no /proc on this system")
    assert b"sk_test_of_the_parent" not in environment.read_bytes()


def test_errors_of_the_child_are_errors_of_the_parent(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "weasyprint.py").write_text("raise OSError('cannot load libpango')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with PdfWorker() as worker, pytest.raises(MissingLibrary, match="libpango"):
        worker.render("<p>x", identifier="x", issued=None)


def test_closing_ends_the_child_and_twice_is_no_error(invoice, worker: PdfWorker) -> None:
    worker.render(invoice_html(invoice()), identifier="x", issued=None)
    assert worker._child is not None
    pid = worker._child.pid
    worker.close()
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
