"""``nbilling usage import``: access logs, events and counter samples, from files and from stdin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from nbilling.cli.context import billing
from nbilling.cli.import_streams import NAMED, bad_lines, input_stream, progress_of, until_told
from nbilling.cli.output import note, show
from nbilling.model.errors import BadInput, Conflict
from nbilling.model.events import BadEvent
from nbilling.model.imports import CUSTOMER_FROM, FORMATS, ZONE_METERS, BadLine, ImportOptions, SampleOptions

EVENT_FORMATS = ("ndjson", "csv")
SAMPLES = "nginx-plus"
ALL_FORMATS = (*FORMATS, *EVENT_FORMATS, SAMPLES)

# Parameter: the formats that it is for. The others are for all.
_ONLY_LOGS = (
    "docker", "customer_from", "customer_field", "key_map", "key_field", "trust_header_customer", "unattributed",
    "fields",
)  # fmt: skip
_ONLY_FOR = dict.fromkeys(_ONLY_LOGS, FORMATS) | {
    "source": (*FORMATS, SAMPLES),
    "zone_map": (SAMPLES,),
    "zone": (SAMPLES,),
    "meters": (SAMPLES,),
    "create_meters": (SAMPLES,),
}


@click.command("import")
@click.argument("file")
@click.option("--format", "log_format", type=click.Choice(ALL_FORMATS), default="combined", show_default=True)
@click.option("--follow", is_flag=True, help="Go on with what is appended, over rotation, until stopped.")
@click.option("--poll", default=1, type=click.IntRange(1, 3600), help="Seconds between looks at a file.  [default: 1]")
@click.option("--docker", is_flag=True, help="Each line is wrapped by docker's json-file driver.")
@click.option("--customer", default="", help="One customer for all of it.")
@click.option("--customer-from", type=click.Choice(CUSTOMER_FROM), help="Who a line is billed to.")
@click.option("--customer-field", default="", help="The field of a line that names the customer.")
@click.option("--key-map", type=click.Path(), help="File of API keys and customers: TOML, JSON or CSV.")
@click.option("--key-field", default="", help="The field of a line that holds the API key.")
@click.option("--trust-header-customer", is_flag=True, help="Believe a customer that the client itself has sent.")
@click.option("--unattributed", default="", help="Who pays for lines that name nobody. Default: they are bad lines.")
@click.option("--map", "fields", multiple=True, metavar="OURS=THEIRS", help="Field names of a JSON log; repeatable.")
@click.option("--zone-map", type=click.Path(), help="File of server zones and customers: TOML, JSON or CSV.")
@click.option("--zone", default="", help="The one server zone of --customer. Default: all are.")
@click.option("--meter", "meters", multiple=True, metavar="TOTAL=METER", help="What a zone's total feeds; repeatable.")
@click.option("--create-meters", is_flag=True, help="Make the counter meters that are not there.")
@click.option("--source", default="", help="Keeps apart what must not be compared, such as two servers.")
@click.option("--strict", is_flag=True, help="Stop at the first bad line, with nothing imported.")
@click.option("--errors", metavar="FILE", help="Write the lines that were not taken to this file.")
@click.option("--output", "output_format", type=click.Choice(["table", "json"]), help="Default: table on a terminal.")
@click.pass_context
def import_log(ctx: click.Context, /, file: str, log_format: str, **given: Any) -> None:
    """Import an access log, usage events, or counter samples. FILE may be - for stdin, and may be gzip.

    Each line of a log is one API request and the bytes it sent, at its own time. The same file again, a copy of it,
    or its continuation after rotation adds only what is new. With --format ndjson or csv each line is an event with
    customer, meter, amount, id, at, dimension and metadata; an id makes the import repeatable. With --format nginx-plus
    each line is a sample of nginx's status, whose totals feed the counter meters zone_requests, zone_sent and
    zone_received. What comes through a pipe is written within about a second, though the pipe stays open.

    \b
    Example:
      nbilling usage import access.log --customer acme
      nbilling usage import access.log --customer-from user --follow
      docker logs -f proxy | nbilling usage import - --customer-from user --follow
      nbilling usage import api.json --format json --key-map keys.toml --key-field api_key
      nbilling usage import events.ndjson --format ndjson
      nbilling usage import status.ndjson --format nginx-plus --zone-map zones.toml --create-meters
    """
    _check(ctx, file, log_format, given)
    if log_format in EVENT_FORMATS:
        _import_events(ctx, file, log_format, given)
    elif log_format == SAMPLES:
        _import_samples(ctx, file, given)
    else:
        _import_log(ctx, file, log_format, given)


def _check(ctx: click.Context, file: str, log_format: str, given: Mapping[str, Any]) -> None:
    """BadInput for options that would be left out silently, and for what never ends but is to be read twice."""

    def said(name: str) -> bool:
        return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE

    for name, formats in _ONLY_FOR.items():
        if log_format not in formats and said(name):
            flag = next(option.opts[0] for option in ctx.command.params if option.name == name)
            raise BadInput(f"{flag} is not for --format {log_format}", hint=f"it is for {', '.join(formats)}")
    if said("poll") and not given["follow"]:
        raise BadInput("--poll is for --follow", hint="give both, or leave it out")
    if given["follow"] and given["strict"]:
        raise BadInput("what is followed is never whole", hint="leave --strict or --follow out")
    if given["follow"] and file != "-" and log_format not in FORMATS:
        hint = f"tail -n +1 -F FILE | nbilling usage import - --format {log_format}"
        raise BadInput("--follow of a file is for access logs", hint=hint)


def _import_log(ctx: click.Context, file: str, log_format: str, given: Mapping[str, Any]) -> None:
    options = ImportOptions(
        format=log_format,
        docker=given["docker"],
        source=given["source"],
        customer=given["customer"],
        customer_field=given["customer_field"],
        customer_from=given["customer_from"] or "",
        key_map=_key_map(given["key_map"]),
        key_field=given["key_field"],
        trust_header_customer=given["trust_header_customer"],
        unattributed=given["unattributed"],
        fields=_pairs("--map", given["fields"], "time=ts"),
        strict=given["strict"],
        name="" if file == "-" else file,
    )
    follow = given["follow"]
    with billing(ctx) as ledger, until_told(follow) as signals:
        with bad_lines(given["errors"]) as on_bad:
            if signals is not None and file != "-":
                report = ledger.usage.follow_log(
                    file,
                    options,
                    stop=signals.asked,
                    sleep=signals.wait,
                    poll_seconds=given["poll"],
                    on_bad=on_bad,
                    tell=note,
                )
            else:
                with input_stream(file) as stream, progress_of(stream) as progress:
                    stop = signals.asked if signals is not None else None
                    report = ledger.usage.import_log(stream, options, progress=progress, on_bad=on_bad, stop=stop)
        if report.unfinished:
            note("the last line is not finished; it is left for the next import")
        # The parts are for programs: they say which log each stretch of lines belongs to.
        counts = {name: value for name, value in report._asdict().items() if name not in ("unfinished", "parts")}
        show(counts, given["output_format"])
    if follow:
        return
    if report.conflicts:
        raise Conflict(
            f"{report.conflicts:,} lines were imported before for another customer", hint="--source bills a log again"
        )
    if report.lines and report.bad == report.lines:
        raise BadInput(f"none of {report.lines:,} lines could be taken", hint="check --format and the customer option")


def _import_events(ctx: click.Context, file: str, event_format: str, given: Mapping[str, Any]) -> None:
    """Events, a thousand a commit. Bad ones are named by their number among the events."""
    strict = given["strict"]
    with billing(ctx) as ledger, until_told(given["follow"]) as signals:
        with input_stream(file) as stream, bad_lines(given["errors"], "events") as tell:

            def refused(event: BadEvent) -> None:
                tell(BadLine(event.number, event.code, event.message, f"{event.number}\t{event.message}".encode()))

            report = ledger.usage.import_events(
                stream,
                event_format,
                customer=given["customer"],
                strict=strict,
                on_bad=None if strict else refused,
                stop=signals.asked if signals is not None else None,
            )
            if report.added:
                ledger.usage.analyze()
        show(report._asdict(), given["output_format"])
    if report.events and report.bad == report.events and not given["follow"]:
        raise BadInput(f"none of {report.events:,} events could be taken", hint="check --format and the fields")


def _import_samples(ctx: click.Context, file: str, given: Mapping[str, Any]) -> None:
    options = SampleOptions(
        zone_map=_key_map(given["zone_map"]),
        customer=given["customer"],
        zone=given["zone"],
        meters=_pairs("--meter", given["meters"], "requests=zone_requests") or ZONE_METERS,
        source=given["source"],
        strict=given["strict"],
    )
    with billing(ctx) as ledger, until_told(given["follow"]) as signals:
        with input_stream(file) as stream, bad_lines(given["errors"], "samples") as on_bad:
            report = ledger.usage.import_samples(
                stream,
                options,
                create_meters=given["create_meters"],
                on_bad=on_bad,
                stop=signals.asked if signals is not None else None,
            )
        for zone in report.others[:NAMED]:
            note(f"zone {zone!r:.120} is in no map: nobody is billed for it")
        for zone in report.missing[:NAMED]:
            note(f"zone {zone!r:.120} is in no sample")
        counts = {name: value for name, value in report._asdict().items() if isinstance(value, int)}
        show(counts, given["output_format"])
    if given["follow"]:
        return
    if report.conflicts:
        raise Conflict(
            f"{report.conflicts:,} totals were imported before with other content or for another customer",
            hint="--source keeps servers apart",
        )
    if report.samples and not report.totals:
        raise BadInput(f"none of {report.samples:,} samples could be counted", hint="check --format and the zones")


def _pairs(flag: str, pairs: tuple[str, ...], example: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        one, sign, other = pair.partition("=")
        if not (one and sign and other):
            raise BadInput(f"{flag} {pair!r:.60} is not a pair", hint=f"write it as {example}")
        if one in found:
            raise BadInput(f"{flag} names {one!r:.60} twice", hint="leave one of them out")
        found[one] = other
    return found


def _key_map(path: str | None) -> dict[str, str] | None:
    if path is None:
        return None
    from nbilling.api.billing import read_key_map

    return read_key_map(path)
