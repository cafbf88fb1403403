"""Samples of nginx's status page: running totals of each server zone. Pure: a line in, totals out.

A sample is one line of JSON as ``ngx_http_status_module`` writes it ("Data" in
nginx.org/en/docs/http/ngx_http_status_module.html): ``timestamp`` is in milliseconds, ``server_zones.<zone>.requests``,
``.received`` and ``.sent`` are totals. They begin again from zero when the server is started again, which the meter
sees by their falling; where they go on over a reload of the configuration, nothing is to be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from nbilling.model.errors import BadInput
from nbilling.model.imports import SampleOptions
from nbilling.model.text import MAX_INTEGER, customer_id, plain
from nbilling.rules.access_logs import Unreadable
from nbilling.rules.json_logs import decoded

MAX_SAMPLE = 4 << 20
"""Bytes of a line: a server may have thousands of zones and upstreams."""

MILLISECOND = 1000


class Total(NamedTuple):
    """What one counter stood at. ``at`` in microseconds UTC; ``field`` as it was asked for."""

    zone: str
    customer: str
    field: str
    at: int
    total: int


class Sample(NamedTuple):
    """The totals of the zones that somebody pays for, and the names of the others. ``server``: its address."""

    at: int
    server: str
    totals: list[Total]
    others: list[str]


def sample_reader(options: SampleOptions) -> Callable[[bytes], Sample]:
    """Reads samples by the options. BadInput where these name no customer, contradict each other, or count nothing."""
    customer_of = _customers(options)
    fields = [(plain(name, "field"), tuple(name.split("."))) for name in options.meters]
    if not fields:
        raise BadInput("nothing says what is counted", hint="give --meter requests=zone_requests")
    if len(set(options.meters.values())) < len(fields):
        raise BadInput("two totals would be mixed in one meter", hint="name a meter for each")
    if "/" in options.source:
        raise BadInput("the source of samples holds a /", hint="call the server otherwise")

    def read(line: bytes) -> Sample:
        found = _object(line)
        zones = found.get("server_zones")
        if not isinstance(zones, dict):
            raise Unreadable("zones")
        at = _time(found.get("timestamp"))
        totals: list[Total] = []
        others: list[str] = []
        for zone, counters in zones.items():
            customer = customer_of(zone)
            if customer:
                totals += [Total(zone, customer, name, at, _total(counters, path)) for name, path in fields]
            else:
                others.append(zone)
        server = found.get("address")
        return Sample(at, server if isinstance(server, str) else "", totals, others)

    return read


def total_key(source: str, total: Total) -> bytes:
    """The identity of a total: its server, zone, field and time. Not its customer: a zone that has changed hands must
    not have its past billed to the new one too."""
    parts = [part.encode("utf-8", "surrogatepass") for part in (source, total.zone, total.field)]
    text = b"".join([len(part).to_bytes(4, "big") + part for part in parts])
    return blake2b(b"nbilling status sample" + text + total.at.to_bytes(8, "big"), digest_size=16).digest()


def total_id(total: Total) -> str:
    """The same for people."""
    return f"{total.zone}:{total.field}:{total.at // MILLISECOND}"[:255]


def dimension(source: str, zone: str) -> str:
    """What keeps the totals of a zone apart from all others: two servers may have zones of the same name."""
    return f"{source}/{zone}" if source else zone


def _customers(options: SampleOptions) -> Callable[[str], str]:
    if (options.zone_map is None) == (not options.customer):
        problem = "nothing says who is billed" if options.zone_map is None else "--zone-map and --customer contradict"
        raise BadInput(problem, hint="give --zone-map, or --customer with --zone")
    for zone in [options.zone, *(options.zone_map or {})]:
        plain(dimension(options.source, zone), "zone", limit=100, empty=True)
    if options.zone_map is not None:
        if options.zone:
            raise BadInput("--zone-map says already which zones are billed", hint="leave --zone out")
        known: Mapping[str, str] = {zone: customer_id(name) for zone, name in options.zone_map.items()}
        return lambda zone: known.get(zone, "")
    whole = customer_id(options.customer)
    if options.zone:
        return lambda zone: whole if zone == options.zone else ""

    def any_zone(zone: str) -> str:
        try:
            plain(dimension(options.source, zone), "zone", limit=100)
        except BadInput:
            raise Unreadable("zones", "a zone's name cannot be kept") from None
        return whole

    return any_zone


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_SAMPLE:
        raise Unreadable("too_long_sample")
    if not line.strip():
        raise Unreadable("empty")
    return decoded(line)


def _time(milliseconds: object) -> int:
    if type(milliseconds) is not int or not 10**12 <= milliseconds < 10**13:
        raise Unreadable("time", "a sample's timestamp is in milliseconds")
    return milliseconds * MILLISECOND


def _total(counters: object, path: tuple[str, ...]) -> int:
    found: Any = counters
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if type(found) is not int or not 0 <= found <= MAX_INTEGER:
        raise Unreadable("total")
    return found
