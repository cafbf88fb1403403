"""What an import of a log is asked to do, and what it says came of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

_NONE: Mapping[str, str] = MappingProxyType({})

FORMATS = ("combined", "main", "vhost_combined", "billing", "json", "hasura")
"""The formats of an access log; ``docker`` wrapping may lie round any of them."""

CUSTOMER_FROM = ("user", "host", "address")
"""What of a request may name the customer without a field being named."""


PAGE_LINES = 1024
"""Lines of a page of the registry of imported logs."""

PREFIX = 8
"""Bytes that the registry keeps of a line's hash. It compares runs of lines, so chance matches do no harm."""


class ImportOptions(NamedTuple):
    """How to read a log and whom to bill for its lines. Exactly one way to the customer must be chosen.

    ``customer``: one for the whole log. ``customer_field``: a field of the line. ``key_map`` (key to customer) with
    ``key_field``. ``customer_from``: one of :data:`CUSTOMER_FROM`. A field that the client writes itself counts only
    with ``trust_header_customer``. Mind that ``host`` is what the client asked for, and ``user`` what it called itself,
    unless the server turns away other hosts and wrong passwords. ``unattributed``: who pays for lines that name nobody;
    without it they are bad.

    ``source`` keeps apart logs that must not be compared: two servers, or one log that is billed twice on purpose.
    ``fields`` maps our names to those of a JSON log. ``strict``: nothing is imported where one line is bad.
    ``name``: what the file was called, for people.
    """

    format: str = "combined"
    docker: bool = False
    source: str = ""
    customer: str = ""
    customer_field: str = ""
    customer_from: str = ""
    key_map: Mapping[str, str] | None = None
    key_field: str = ""
    trust_header_customer: bool = False
    unattributed: str = ""
    fields: Mapping[str, str] = _NONE
    strict: bool = False
    name: str = ""


ZONE_METERS: Mapping[str, str] = MappingProxyType(
    {"requests": "zone_requests", "sent": "zone_sent", "received": "zone_received"}
)
"""The totals of a server zone, and the counter meters that they feed unless others are named."""


class SampleOptions(NamedTuple):
    """Whom to bill for which server zones of nginx's status, and what to count.

    ``zone_map`` (zone to customer), or ``customer`` with the one ``zone`` that is theirs; without ``zone`` all are.
    ``meters``: a zone total (``requests``, ``responses.2xx``) to the counter meter that it feeds. ``source``: the
    server, where there are several: their totals must not be mixed. ``strict``: nothing is imported where one sample is
    bad.
    """

    zone_map: Mapping[str, str] | None = None
    customer: str = ""
    zone: str = ""
    meters: Mapping[str, str] = ZONE_METERS
    source: str = ""
    strict: bool = False


class BadLine(NamedTuple):
    """A line that was not taken. ``number`` counts from 1; ``raw`` is without its line break and may be shortened."""

    number: int
    reason: str
    message: str
    raw: bytes


class LogPart(NamedTuple):
    """A stretch of the input and the known or new log that it belongs to.

    ``rule`` says what decided: ``new``; ``head``: it begins like that log; ``overlap``: it begins within that log;
    ``known_lines``: that log holds its first lines, in another order or with others between them.
    """

    log: int
    rule: str
    lines: int


class ImportReport(NamedTuple):
    """What came of an import. All but ``bytes`` count lines.

    ``requests`` and ``bytes`` are what the lines hold that have a customer, new or not: ``requests`` is ``added`` plus
    ``duplicates``. ``bad`` includes ``unattributed`` and ``conflicts`` (imported before with other content or for
    another customer). ``skipped``: standard error in a docker log, and what is no ``http-log`` in Hasura's.

    ``unfinished``: the last line has no line break yet and cannot be read; it is left for the next import. One that can
    be read is taken, so if it was only the beginning of a line, the whole line will be another request. nginx writes
    whole lines; of the formats only ``billing`` can be cut so that it still reads.
    """

    lines: int = 0
    requests: int = 0
    bytes: int = 0
    added: int = 0
    duplicates: int = 0
    bad: int = 0
    unattributed: int = 0
    conflicts: int = 0
    skipped: int = 0
    unfinished: bool = False
    parts: tuple[LogPart, ...] = ()

    @property
    def log(self) -> int:
        """The log that the input begins with; 0 where no line could be read."""
        return self.parts[0].log if self.parts else 0

    @property
    def rule(self) -> str:
        """What decided which log that is."""
        return self.parts[0].rule if self.parts else ""


class SampleReport(NamedTuple):
    """What came of an import of samples.

    ``samples``: lines read. ``totals``: what they hold that has a customer: ``added``, ``duplicates`` and ``conflicts``
    (recorded before with other content or for another customer). ``bad``: samples that were not taken. ``others``:
    zones that nobody is billed for. ``missing``: zones that were named and are in no sample.
    """

    samples: int = 0
    totals: int = 0
    added: int = 0
    duplicates: int = 0
    conflicts: int = 0
    bad: int = 0
    others: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
