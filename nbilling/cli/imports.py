"""``nbilling usage import``: access logs from files and from stdin."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import click

from nbilling.cli.context import billing
from nbilling.cli.output import note, show
from nbilling.model.errors import BadInput, Conflict
from nbilling.model.events import BadEvent
from nbilling.model.imports import CUSTOMER_FROM, FORMATS, BadLine, ImportOptions, ImportReport

EVENT_FORMATS = ("ndjson", "csv")
ALL_FORMATS = (*FORMATS, *EVENT_FORMATS)
NAMED = 10
"""So many bad lines are named on stderr; ``--errors`` keeps them all."""


@click.command("import")
@click.argument("file")
@click.option("--format", "log_format", type=click.Choice(ALL_FORMATS), default="combined", show_default=True)
@click.option("--docker", is_flag=True, help="Each line is wrapped by docker's json-file driver.")
@click.option("--customer", default="", help="One customer for the whole log.")
@click.option("--customer-from", type=click.Choice(CUSTOMER_FROM), help="Who a line is billed to.")
@click.option("--customer-field", default="", help="The field of a line that names the customer.")
@click.option("--key-map", type=click.Path(), help="File of API keys and customers: TOML, JSON or CSV.")
@click.option("--key-field", default="", help="The field of a line that holds the API key.")
@click.option("--trust-header-customer", is_flag=True, help="Believe a customer that the client itself has sent.")
@click.option("--unattributed", default="", help="Who pays for lines that name nobody. Default: they are bad lines.")
@click.option("--map", "fields", multiple=True, metavar="OURS=THEIRS", help="Field names of a JSON log; repeatable.")
@click.option("--source", default="", help="Keeps logs apart that must not be compared, such as two servers'.")
@click.option("--strict", is_flag=True, help="Stop at the first bad line, with nothing imported.")
@click.option("--errors", metavar="FILE", help="Write the lines that were not taken to this file.")
@click.option("--output", "output_format", type=click.Choice(["table", "json"]), help="Default: table on a terminal.")
@click.pass_context
def import_log(
    ctx: click.Context,
    /,
    file: str,
    log_format: str,
    docker: bool,
    customer: str,
    customer_from: str | None,
    customer_field: str,
    key_map: str | None,
    key_field: str,
    trust_header_customer: bool,
    unattributed: str,
    fields: tuple[str, ...],
    source: str,
    strict: bool,
    errors: str | None,
    output_format: str | None,
) -> None:
    """Import an access log, or usage events; FILE may be - for stdin, and a log may be gzip.

    Each line of a log is one API request and the bytes it sent, at its own time. The same file again, a copy of it,
    or its continuation after rotation adds only what is new. With --format ndjson or csv each line is an event with
    customer, meter, amount, id, at, dimension and metadata; an id makes the import repeatable.

    \b
    Example:
      nbilling usage import access.log --customer acme
      docker logs proxy | nbilling usage import - --customer-from user
      nbilling usage import api.json --format json --key-map keys.toml --key-field api_key
      nbilling usage import events.ndjson --format ndjson
    """
    if log_format in EVENT_FORMATS:
        _import_events(ctx, file, log_format, customer, strict, errors, output_format)
        return
    options = ImportOptions(
        format=log_format,
        docker=docker,
        source=source,
        customer=customer,
        customer_field=customer_field,
        customer_from=customer_from or "",
        key_map=_key_map(key_map),
        key_field=key_field,
        trust_header_customer=trust_header_customer,
        unattributed=unattributed,
        fields=_fields(fields),
        strict=strict,
        name="" if file == "-" else file,
    )
    with billing(ctx) as ledger, _input(file) as stream, _bad_lines(errors) as on_bad, _progress(stream) as progress:
        report = ledger.usage.import_log(stream, options, progress=progress, on_bad=on_bad)
    _say(report, output_format)
    if report.conflicts:
        raise Conflict(
            f"{report.conflicts:,} lines were imported before for another customer", hint="--source bills a log again"
        )
    if report.lines and report.bad == report.lines:
        raise BadInput(f"none of {report.lines:,} lines could be taken", hint="check --format and the customer option")


def _import_events(
    ctx: click.Context,
    file: str,
    event_format: str,
    customer: str,
    strict: bool,
    errors: str | None,
    output_format: str | None,
) -> None:
    """Events, a thousand a commit. Bad ones are named by their number among the events."""

    def refused(event: BadEvent) -> None:
        tell(BadLine(event.number, event.code, event.message, f"{event.number}\t{event.message}".encode()))

    with billing(ctx) as ledger, _input(file) as stream, _bad_lines(errors) as tell:
        on_bad = None if strict else refused
        report = ledger.usage.import_events(stream, event_format, customer=customer, on_bad=on_bad)
        if report.added:
            ledger.usage.analyze()
    if report.bad > NAMED:
        note(f"and {report.bad - NAMED:,} more events were not taken; --errors FILE keeps them")
    show(report._asdict(), output_format)
    if report.events and report.bad == report.events:
        raise BadInput(f"none of {report.events:,} events could be taken", hint="check --format and the fields")


def _say(report: ImportReport, output_format: str | None) -> None:
    result = {
        "lines": report.lines,
        "requests": report.requests,
        "bytes": report.bytes,
        "added": report.added,
        "duplicates": report.duplicates,
        "bad": report.bad,
        "unattributed": report.unattributed,
        "conflicts": report.conflicts,
    }
    if report.unfinished:
        note("the last line is not finished; it is left for the next import")
    if report.bad > NAMED:
        note(f"and {report.bad - NAMED:,} more lines were not taken; --errors FILE keeps them")
    show(result, output_format)


@contextmanager
def _input(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = open(file, "rb")  # noqa: SIM115 - closed below, with an error of its own for opening
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise BadInput(f"{file!r:.200} cannot be read: {reason}", hint="check the path") from None
    with stream:
        yield stream


@contextmanager
def _bad_lines(path: str | None) -> Iterator[Callable[[BadLine], None]]:
    """Names the first bad lines on stderr, and keeps all of them where that was asked for."""
    named = 0
    kept = None
    if path is not None:
        try:
            kept = open(path, "wb")  # noqa: SIM115 - closed in the finally below
        except OSError as error:
            raise BadInput(f"{path!r:.200} cannot be written: {error.strerror}", hint="check --errors") from None

    def tell(line: BadLine) -> None:
        nonlocal named
        named += 1
        if named <= NAMED:
            note(f"line {line.number}: {line.message}")
        if kept is not None:
            kept.write(line.raw + b"\n")

    try:
        yield tell
    finally:
        if kept is not None:
            kept.close()


@contextmanager
def _progress(stream: BinaryIO) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr, on a terminal only. A pipe has no length, so there it counts lines."""
    if not sys.stderr.isatty():
        yield None
        return
    length = _length(stream)
    bar: Any = click.progressbar(length=length, label="importing", file=sys.stderr, width=30, show_pos=length is None)
    with bar:
        done = 0

        def tell(size: int, lines: int) -> None:
            nonlocal done
            bar.update((size if length is not None else lines) - done)
            done = size if length is not None else lines

        yield tell


def _length(stream: BinaryIO) -> int | None:
    try:
        here = stream.tell()
        end = stream.seek(0, 2)
        stream.seek(here)
    except (OSError, ValueError):
        return None
    return end - here


def _fields(pairs: tuple[str, ...]) -> dict[str, str]:
    fields = {}
    for pair in pairs:
        ours, sign, theirs = pair.partition("=")
        if not (ours and sign and theirs):
            raise BadInput(f"--map {pair!r:.60} is not a pair", hint="write it as time=ts")
        fields[ours] = theirs
    return fields


def _key_map(path: str | None) -> dict[str, str] | None:
    if path is None:
        return None
    from nbilling.api.billing import read_key_map

    return read_key_map(path)
