"""The PDF: what is on its pages, that it is the same each time, and that it fetches nothing."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pypdfium2
import pytest

from nbilling.documents import pdf
from nbilling.documents.render import invoice_html, statement_html
from nbilling.model.documents import DocumentLine, Party, UsageSeries
from nbilling.model.errors import MissingLibrary

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"><path fill="#ff00ff" d="M0 0h90v90H0z"/></svg>'


@pytest.fixture(autouse=True)
def pango() -> None:
    try:
        import weasyprint  # noqa: F401
    except OSError as error:
        pytest.skip(f"Pango is not installed: {error}")


def pages_of(content: bytes) -> list[str]:
    """The text of each page as PDFium reads it, one space between words."""
    document = pypdfium2.PdfDocument(content)
    try:
        return [" ".join(page.get_textpage().get_text_bounded().split()) for page in document]
    finally:
        document.close()


def size_of(content: bytes) -> tuple[int, int]:
    """Width and height of the first page in points."""
    document = pypdfium2.PdfDocument(content)
    try:
        width, height = document[0].get_size()
        return round(width), round(height)
    finally:
        document.close()


def has_magenta(content: bytes) -> bool:
    """Whether the first page shows the colour of ``SVG``."""
    document = pypdfium2.PdfDocument(content)
    try:
        picture = document[0].render(scale=0.5).to_pil().convert("RGB")
        return any(color == (255, 0, 255) for _, color in picture.getcolors(1 << 24))
    finally:
        document.close()


def inside(content: bytes) -> bytes:
    """The PDF with its compressed streams opened."""
    import zlib

    opened = [content]
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
        try:
            opened.append(zlib.decompress(stream))
        except zlib.error:
            opened.append(stream)
    return b"\n".join(opened)


def many_lines(count: int) -> list[DocumentLine]:
    return [
        DocumentLine(description=f"Line {n:05}", quantity=n, unit="requests", unit_price="0.0001", amount_minor=n)
        for n in range(count)
    ]


def test_an_invoice_of_one_line_is_one_page_that_says_it_all(invoice) -> None:
    (page,) = pages_of(pdf.invoice_pdf(invoice(footer="HRB 123456")))
    for part in ("Invoice INV-2026-000042", "Marlow & Finch Ltd", "€34.51", "29.00", "HRB 123456", "Page 1 of 1"):
        assert part in page


def test_sixty_lines_run_over_pages_with_the_head_repeated_and_every_line_once(invoice) -> None:
    pages = pages_of(pdf.invoice_pdf(invoice(lines=many_lines(60))))
    assert len(pages) > 1
    for number, page in enumerate(pages, 1):
        assert f"Page {number} of {len(pages)}" in page
        assert "Description Quantity Unit Unit price Amount (EUR)" in page
        assert "Invoice INV-2026-000042" in page
    assert re.findall(r"Line (\d{5})", " ".join(pages)) == [f"{n:05}" for n in range(60)]


@pytest.mark.parametrize("count", range(18, 30))
def test_the_totals_stay_together_and_never_stand_alone_on_a_page(invoice, count: int) -> None:
    pages = pages_of(pdf.invoice_pdf(invoice(lines=many_lines(count))))
    (page,) = [page for page in pages if "Subtotal" in page]
    assert "Total €34.51" in page
    assert "Line 000" in page


@pytest.mark.parametrize(("page_size", "size"), [("A4", (595, 842)), ("Letter", (612, 792))])
def test_the_paper_is_the_one_asked_for(invoice, page_size: str, size: tuple[int, int]) -> None:
    assert size_of(pdf.invoice_pdf(invoice(page_size=page_size))) == size


def test_page_numbers_and_words_are_in_the_language_of_the_customer(invoice) -> None:
    (page,) = pages_of(pdf.invoice_pdf(invoice(locale="de")))
    assert "Seite 1 von 1" in page
    assert "Gesamtbetrag 34,51 €" in page


def test_a_draft_carries_its_watermark_on_every_page(invoice) -> None:
    document = invoice(status="draft", number=None, issue_date=None, due_date=None, lines=many_lines(60))
    pages = pages_of(pdf.invoice_pdf(document))
    assert len(pages) > 1
    assert all("DRAFT" in page for page in pages)


def test_zeros_that_only_align_are_not_in_the_text(invoice) -> None:
    lines = [
        DocumentLine(description="a", quantity=1, unit_price=price, amount_minor=1) for price in ("29", "0.000001")
    ]
    (page,) = pages_of(pdf.invoice_pdf(invoice(lines=lines)))
    assert "29.00 0.01" in page
    assert "29.000000" not in page


def test_scripts_and_directions_of_all_kinds_come_out(invoice) -> None:
    name = '<script>alert("1")</script> 🚀 \u202eevil\u202c שירות شركة 東京 \0' + "W" * 500
    pages = pages_of(pdf.invoice_pdf(invoice(buyer=Party(name, (name,)))))
    assert '<script>alert("1")</script>' in pages[0]
    assert "€34.51" in " ".join(pages)


def test_a_statement_comes_out_too(statement) -> None:
    (page,) = pages_of(pdf.statement_pdf(statement()))
    assert "Closing balance 1,000.00" in page


def test_pdftotext_reads_the_same_numbers(invoice, tmp_path: Path) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed (poppler-utils)")
    file = tmp_path / "invoice.pdf"
    file.write_bytes(pdf.invoice_pdf(invoice(locale="fr", lines=many_lines(3))))
    text = subprocess.run(["pdftotext", "-layout", file, "-"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"Line 00002 +2 +requests +0,0001 +0,02", text)
    assert re.search(r"Total +34,51\s€", text)


def test_the_same_document_gives_the_same_bytes_in_any_process(invoice, tmp_path: Path) -> None:
    day = date(2026, 3, 1)
    usage = [UsageSeries("API", "requests", [(day + timedelta(days), days) for days in range(31)])]
    html = invoice_html(invoice(usage=usage, logo=SVG, notes_markdown="*note* with 東京 🚀"))
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    program = (
        "import sys, datetime, pathlib, nbilling.documents.pdf as pdf\n"
        "html = pathlib.Path('page.html').read_text('utf-8')\n"
        "made = pdf.html_to_pdf(html, identifier='x', issued=datetime.date(2026, 4, 1))\n"
        "pathlib.Path(sys.argv[1]).write_bytes(made)\n"
    )
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": f"UTC-{seed}"}
        subprocess.run([sys.executable, "-c", program, seed], check=True, cwd=tmp_path, env=environment)
    here = pdf.html_to_pdf(html, identifier="x", issued=date(2026, 4, 1))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes() == here


def test_fonts_cut_without_harfbuzz_are_dated_by_the_document(invoice, monkeypatch) -> None:
    from weasyprint.pdf import fonts

    monkeypatch.setattr(fonts, "harfbuzz_subset", None)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    first, second = (pdf.invoice_pdf(invoice()) for _ in range(2))
    assert first == second
    assert first != pdf.invoice_pdf(invoice(issue_date=date(2026, 4, 2)))
    assert "SOURCE_DATE_EPOCH" not in os.environ


def test_identifier_and_date_are_in_the_file_and_change_it(invoice) -> None:
    html = invoice_html(invoice())
    at = datetime(2026, 4, 1, 12, 30, tzinfo=UTC)
    one = pdf.html_to_pdf(html, identifier="a", issued=at)
    assert one != pdf.html_to_pdf(html, identifier="b", issued=at)
    assert b"D:20260401123000Z" in inside(one)
    assert pdf.html_to_pdf(html, identifier="a", issued=at.astimezone(tz=None)) == one
    assert b"CreationDate" not in inside(pdf.html_to_pdf(html, identifier="a", issued=None))


def test_it_is_tagged_embeds_its_fonts_and_names_its_archival_profile(invoice) -> None:
    opened = inside(pdf.invoice_pdf(invoice(logo=SVG)))
    for part in (b"/StructTreeRoot", b"/Marked true", b"/Lang (en)", b"/OutputIntents", b"/Alt (Northbeam Cloud GmbH)"):
        assert part in opened
    assert b'pdfaid:part="3"' in opened
    assert b'pdfaid:conformance="B"' in opened
    assert opened.count(b"/FontFile2") == len(set(re.findall(rb"/BaseFont /([^/\s]+)", opened)))
    for absent in (b"/JavaScript", b"/EmbeddedFiles", b"/Encrypt", b"/Launch"):
        assert absent not in opened


def test_nothing_is_fetched_from_the_network_or_from_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the-secret", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        there = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        html = (
            f'<html lang="en"><head><title>t</title><link rel="stylesheet" href="{there}"><link rel="attachment" '
            f'href="{secret.as_uri()}"><base href="{there}"><style>@import "{there}"; @font-face{{font-family:F;'
            f"src:url({there})}} p{{background:url({there});font-family:F;list-style-image:url({secret.as_uri()})}}"
            f'</style></head><body><p>text</p><img src="{there}" alt="a"><img src="{secret.as_uri()}" alt="b">'
            f'<object data="{there}"></object><svg xmlns="http://www.w3.org/2000/svg"><image href="{there}"/>'
            f'<use href="{secret.as_uri()}#x"/></svg></body></html>'
        )
        made = pdf.html_to_pdf(html, identifier="x", issued=None)
        with pytest.raises(TimeoutError):
            server.accept()
    assert b"the-secret" not in inside(made)
    assert "text" in pages_of(made)[0]


def test_an_svg_logo_reaches_for_nothing_either(invoice, tmp_path: Path) -> None:
    (tmp_path / "secret.svg").write_bytes(SVG)
    logo = (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"><image width="90" height="90" href="'
        + (tmp_path / "secret.svg").as_uri().encode()
        + b'"/></svg>'
    )
    assert has_magenta(pdf.invoice_pdf(invoice(logo=SVG)))
    assert not has_magenta(pdf.invoice_pdf(invoice(logo=logo)))


def test_without_pango_the_error_names_the_packages_and_the_html_still_comes(tmp_path: Path) -> None:
    (tmp_path / "weasyprint.py").write_text(
        "raise OSError(\"cannot load library 'libgobject-2.0-0'\")\n", encoding="utf-8"
    )
    program = (
        "import nbilling.documents.pdf as pdf\n"
        "from nbilling.model.errors import MissingLibrary\n"
        "try:\n"
        "    pdf.html_to_pdf('<p>x', identifier='x', issued=None)\n"
        "except MissingLibrary as error:\n"
        "    print(error.exit_code, error, repr(error.__cause__))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])}
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    ).stdout
    assert told.startswith("5 ")
    for package in ("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0", "fonts-dejavu-core", "libgobject"):
        assert package in told


def test_a_missing_weasyprint_is_told_the_same_way(monkeypatch) -> None:
    monkeypatch.setattr(pdf, "_engine", None)
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(MissingLibrary, match="WeasyPrint and Pango"):
        pdf.html_to_pdf("<p>x", identifier="x", issued=None)


def test_threads_that_render_at_once_get_each_its_own_document(invoice) -> None:
    documents = [invoice(number=f"INV-{n}") for n in range(8)]
    alone = [pdf.invoice_pdf(document) for document in documents]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(pdf.invoice_pdf, documents)) == alone


def test_a_forked_child_renders_and_leaves_its_parents_fonts_alone(invoice, tmp_path: Path) -> None:
    # In a process of its own: a test runner has threads, and forking with threads is warned about.
    (tmp_path / "page.html").write_text(invoice_html(invoice()), encoding="utf-8")
    program = (
        "import os, pathlib, sys, nbilling.documents.pdf as pdf\n"
        "html = pathlib.Path('page.html').read_text('utf-8')\n"
        "expected = pdf.html_to_pdf(html, identifier='x', issued=None)\n"
        "child = os.fork()\n"
        "same = pdf.html_to_pdf(html, identifier='x', issued=None) == expected\n"
        "if child == 0: sys.exit(0 if same else 2)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "assert same and pathlib.Path(pdf._engine.fonts._folder).is_dir()\n"
        "assert pdf.html_to_pdf(html, identifier='x', issued=None) == expected\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


def test_a_process_that_rendered_ends_well(invoice, tmp_path: Path) -> None:
    # Pango's objects, freed by the interpreter's last moments, used to end it with a segmentation fault.
    (tmp_path / "page.html").write_text(invoice_html(invoice(lines=many_lines(40))), encoding="utf-8")
    program = (
        "import pathlib, nbilling.documents.pdf as pdf\n"
        "html = pathlib.Path('page.html').read_text('utf-8')\n"
        "for n in range(3): pdf.html_to_pdf(html.replace('>Line', f'>{n}'), identifier='x', issued=None)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False).returncode == 0


def test_the_shared_sheet_is_parsed_once_and_gives_the_same_as_within_the_page(statement) -> None:
    html = statement_html(statement())
    # A blank more and the block is no longer recognised: the page's own copy is used.
    assert pages_of(pdf.html_to_pdf(html, identifier="x", issued=None)) == pages_of(
        pdf.html_to_pdf(html.replace("<style>", "<style> ", 1), identifier="x", issued=None)
    )


def test_rendering_holds_no_lock_after_a_failure(invoice, monkeypatch) -> None:
    pdf.invoice_pdf(invoice())
    assert pdf._engine is not None

    def broken(**_: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(pdf._engine, "html", broken)
        with pytest.raises(RuntimeError):
            pdf.invoice_pdf(invoice())
    assert isinstance(pdf._rendering, type(threading.Lock()))
    assert pdf.invoice_pdf(invoice()).startswith(b"%PDF-1.7")
