"""``nbilling demo``: the main job, offline, with the very commands that its user would type."""

from __future__ import annotations

import os
import random
import shlex
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from nbilling.cli.output import write
from nbilling.model.errors import Conflict, MissingLibrary, NbillingError, StorageError

DIRECTORY = "nbilling-demo"
SEED = 20260601
MONTH = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = 30
SETTINGS = """\
# Settings of the demo. Yours may stand in a file like this one or in the environment: nbilling config show
company_name = "Northwind Cloud GmbH"
company_address = "Hafenstrasse 12\\n20457 Hamburg"
company_country = "DE"
company_email = "billing@northwind.example"
company_vat_number = "DE136695976"
tax_rate = "19"
tax_label = "VAT"
invoice_due_days = 14
payment_instructions = "Please transfer the amount to **IBAN DE02 1203 0000 0000 2020 51**, quoting the invoice number."
invoice_notes = "Questions? Write to *billing@northwind.example*."
"""
# customer, plan, requests a day, company and where it is. initech stays on the free plan and meets its limit.
CUSTOMERS = (
    ("acme", "pro", 1100, ("--company", "Acme Ltd", "--city", "Berlin", "--postal-code", "10115", "--country", "DE")),
    ("globex", "enterprise", 500, ("--company", "Globex SAS", "--city", "Lyon", "--country", "FR",
                                   "--vat-number", "FR40303265045", "--locale", "fr")),
    ("initech", "", 33, ("--company", "Initech GmbH", "--city", "Leipzig", "--country", "DE", "--locale", "de")),
)  # fmt: skip
PATHS = ("/graphql", "/v1/auth/token", "/v1/storage/files", "/v1/functions/render", "/healthz", "/v1/users/me")
AGENTS = ("okhttp/4.12.0", "python-requests/2.32.3", "Mozilla/5.0 (X11; Linux x86_64)", "curl/8.5.0")


@click.command()
@click.argument("directory", default=DIRECTORY)
def demo(directory: str) -> None:
    """Make a month of traffic, import it, stop a customer at its quota, bill everybody, write the PDFs.

    Everything happens in DIRECTORY, without a network, and is the same each time.

    \b
    Example:
      nbilling demo
    """
    started = time.monotonic()
    place = _prepare(Path(directory))
    back = os.getcwd()
    environment = dict(os.environ)
    try:
        os.chdir(place)
        for name in [name for name in os.environ if name.startswith(("NBILLING_", "BILLING_", "INVOICE_", "QUOTA_"))]:
            del os.environ[name]
        os.environ |= {"NBILLING_DB": "billing.db", "NBILLING_FORMAT": "table"}
        _run_all()
    finally:
        os.chdir(back)
        os.environ.clear()
        os.environ |= environment
    _end(directory, f"{time.monotonic() - started:.1f}")


def _prepare(place: Path) -> Path:
    """An empty directory. One that an earlier demo made is emptied of that demo's files, any other is left alone."""
    marker = place / ".nbilling-demo"
    if place.exists() and not marker.exists() and (not place.is_dir() or any(place.iterdir())):
        raise Conflict(f"{place} is there and is not a demo's", hint="name another directory: nbilling demo DIRECTORY")
    try:
        place.mkdir(parents=True, exist_ok=True)
        for pattern in ("billing.db*", "access.log", "nbilling.toml", "INV-*.pdf", "INV-*.html", "usage-*.csv"):
            for file in place.glob(pattern):
                file.unlink()
        marker.write_text("made by nbilling demo\n")
        (place / "nbilling.toml").write_text(SETTINGS, "utf-8")
        with (place / "access.log").open("w", encoding="ascii") as log:
            log.writelines(traffic())
    except OSError as error:
        raise StorageError(f"{place} cannot be written: {error.strerror}", hint="name another directory") from None
    return place


def traffic() -> Iterator[str]:
    """The month's log in nginx's combined format, in order; the user of a line is the customer."""
    chance = random.Random(SEED)
    for day in range(DAYS):
        lines = []
        for customer, _, each_day, _ in CUSTOMERS:
            weekend = (MONTH + timedelta(days=day)).weekday() > 4
            count = each_day if customer == "initech" else chance.randint(each_day * 7 // 10, each_day * 13 // 10)
            for _ in range(count // 3 if weekend and customer == "acme" else count):
                lines.append((chance.randrange(86_400), _line(chance, customer)))
        for second, (head, tail) in sorted(lines):
            moment = MONTH + timedelta(days=day, seconds=second)
            yield f"{head} [{moment:%d/%b/%Y:%H:%M:%S} +0000] {tail}\n"


def _line(chance: random.Random, customer: str) -> tuple[str, str]:
    path, agent = chance.choice(PATHS), chance.choice(AGENTS)
    method = "POST" if path == "/graphql" else "GET"
    size = chance.randrange(2_000_000, 9_000_000) if path == "/v1/storage/files" else chance.randrange(200, 90_000)
    address = f"192.0.2.{chance.randrange(1, 255)}"
    status = chance.choices((200, 304, 404, 500), (92, 4, 3, 1))[0]
    return f"{address} - {customer}", f'"{method} {path} HTTP/1.1" {status} {size} "-" "{agent}"'


def _run_all() -> None:
    _heading("A ledger, three customers, two paid plans. The clock stands at the month's first day.")
    _command("init")
    _command("clock", "set", f"{MONTH:%Y-%m-%dT%H:%M:%SZ}", quiet=True)
    for customer, plan, _, profile in CUSTOMERS:
        _command("customer", "create", customer, *profile, quiet=True)
        if plan:
            _command("plan", "upgrade", customer, plan)
    _command("usage", "track-storage", "acme", str(14 * 2**30))
    _heading("A month passes. Its access log comes in; a second import adds nothing.")
    _command("clock", "advance", f"{DAYS - 1}d", quiet=True)
    _command("clock", "advance", "23h", quiet=True)
    _command("usage", "import", "access.log", "--customer-from", "user")
    _command("usage", "import", "access.log", "--customer-from", "user", quiet=True)
    _command("usage", "summary", "acme", str(DAYS))
    _heading("initech is on the free plan: 1,000 requests a month. One more than that is refused.")
    _command("quota", "soft-limit-check", "initech", "api_requests")
    _command("quota", "enforce", "initech", "api_requests", "10")
    _command("quota", "enforce", "initech", "api_requests", "1", expected=1)
    _heading("The month is over: invoices, numbered in order, and their PDFs.")
    _command("clock", "advance", "1h", quiet=True)
    for customer, *_ in CUSTOMERS:
        found = _command("invoice", "generate", customer, "monthly", "--on", f"{MONTH:%Y-%m-%d}", keep=True)
        _command("invoice", "finalize", found, quiet=True)
        try:
            _command("invoice", "generate-pdf", found)
        except MissingLibrary as error:
            write(f"  no PDF: {error.message}; {error.hint}")
    _command("invoice", "list")
    _command("invoice", "show", f"INV-{MONTH + timedelta(days=DAYS):%Y}-000001")


def _heading(text: str) -> None:
    write(f"\n{click.style(text, bold=True) if _colour() else text}")


def _colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _command(*words: str, quiet: bool = False, keep: bool = False, expected: int = 0) -> str:
    """Runs a command as the shell would and shows it. ``keep`` returns what it printed instead of showing it."""
    import io

    from nbilling.cli.main import cli

    sys.stdout.flush()
    write(f"$ nbilling {shlex.join(words)}")
    sys.stdout.flush()
    kept = io.TextIOWrapper(io.BytesIO(), "utf-8")
    out = sys.stdout
    try:
        if quiet or keep:
            sys.stdout = kept
        code = cli.main(args=list(words), prog_name="nbilling", standalone_mode=False)
    finally:
        sys.stdout = out
    if (code if isinstance(code, int) else 0) != expected:
        raise NbillingError(f"the demo's step {words[0]} {words[1]} ended with {code}", hint="report it")
    kept.seek(0)
    return kept.read().strip()


def _end(directory: str, seconds: str) -> None:
    made = sorted(Path(directory).glob("INV-*"))
    write(f"\nDone in {seconds} s. In {directory}/ there are:")
    for path in (Path(directory) / "billing.db", Path(directory) / "access.log", *made):
        write(f"  {path.name:24} {path.stat().st_size:>12,} bytes")
    write("\nTry next:")
    write(f"  cd {shlex.quote(directory)} && export NBILLING_DB=billing.db")
    write("  nbilling invoice show INV-2026-000001")
    write("  nbilling usage get-history acme 30 --format table")
    write("  nbilling plan compare pro enterprise --format table")
    write("  nbilling --help")
