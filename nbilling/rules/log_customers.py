"""Who is billed for a line of a log: by the operator's choice, never silently by something that the client writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from nbilling.model.errors import BadInput
from nbilling.model.imports import CUSTOMER_FROM, FORMATS, ImportOptions
from nbilling.model.text import choice, customer_id, plain
from nbilling.rules import hasura_logs, json_logs
from nbilling.rules.access_logs import FIELDS, Unreadable
from nbilling.rules.json_logs import check_fields

# What nginx calls the client's own headers, cookies and arguments, and what the documented billing format makes of one.
_CLIENT_WRITTEN = re.compile(r"(?:.*\.)?(?:http_|cookie_|arg_).*|x[-_].*", re.IGNORECASE)

_CLIENT_WRITTEN_IN = {
    "billing": re.compile("customer_id"),
    # The session variables are Hasura's own finding; these are the client's words.
    "hasura": re.compile(r"(?:request_id|query|raw_query|url|parameterized_query_hash)(?:\..*)?", re.IGNORECASE),
}
_DEFAULTS = {"json": json_logs.DEFAULT_FIELDS, "hasura": hasura_logs.DEFAULT_FIELDS}
"""The formats that have fields to be named, and which these are by default."""

KEY_MAPS = ("toml", "json", "csv")
"""How a key map may be written."""


class CustomerChoice(NamedTuple):
    """How the customer of a line is found.

    ``rule``: the choice in words, kept with the log, for a log is billed by one choice alone. ``who``: the fields to
    fetch, the first that is there counts. ``customer`` makes a customer id of what was fetched, or raises Unreadable.
    """

    rule: str
    who: tuple[str, ...]
    customer: Callable[[str], str]


def customer_choice(options: ImportOptions) -> CustomerChoice:
    """The one choice that the options make. BadInput where they make none, several, or one that the format lacks."""
    choice(options.format, "format", FORMATS)
    if options.fields and options.format not in _DEFAULTS:
        raise BadInput("a field map is for JSON logs", hint="leave --map out, or use --format json")
    check_fields(options.fields)
    if options.unattributed:
        customer_id(options.unattributed)
    made = {
        "--customer": options.customer,
        "--customer-field": options.customer_field,
        "--customer-from": options.customer_from,
        "--key-map": "given" if options.key_map is not None or options.key_field else "",
    }
    chosen = [flag for flag, value in made.items() if value]
    if len(chosen) != 1:
        problem = f"{' and '.join(chosen)} contradict each other" if chosen else "nothing says who is billed"
        raise BadInput(problem, hint="choose one of --customer, --customer-field, --key-map or --customer-from")
    if options.customer:
        whole = customer_id(options.customer)
        return CustomerChoice(f"customer {whole}", (), lambda _: whole)
    if options.customer_from:
        choice(options.customer_from, "--customer-from", CUSTOMER_FROM)
        reader = _host if options.customer_from == "host" else _any
        named = options.customer_from
        who = _known_field(options, named) if options.format in _DEFAULTS else _fields(options, named)
        return CustomerChoice(named, who, _named(options, reader))
    if options.customer_field:
        _distrust(options)
        field = plain(options.customer_field, "customer field")
        return CustomerChoice(f"field {field}", _fields(options, field), _named(options, _any))
    if options.key_map is None or not options.key_field:
        raise BadInput("a key map needs the field that holds the key", hint="give both --key-map and --key-field")
    field = plain(options.key_field, "key field")
    return CustomerChoice(f"key {field}", _fields(options, field), _named(options, _mapped(options.key_map)))


def _known_field(options: ImportOptions, named: str) -> tuple[str, ...]:
    """The fields of a JSON log that hold the ``user``, ``address`` or ``host``, by the map or by default."""
    known = json_logs.from_field(named, options.fields, _DEFAULTS[options.format])
    if not known:
        raise BadInput(f"a line of format {options.format} has no {named}", hint="choose another field for it")
    return known


def _fields(options: ImportOptions, field: str) -> tuple[str, ...]:
    if options.format not in _DEFAULTS and field not in FIELDS[options.format]:
        has = ", ".join(FIELDS[options.format])
        raise BadInput(f"a line of format {options.format} has no {field!r:.80}", hint=f"it has {has}")
    return (field,)


def _distrust(options: ImportOptions) -> None:
    field = options.customer_field
    theirs = (_CLIENT_WRITTEN_IN.get(options.format) or _CLIENT_WRITTEN).fullmatch(field)
    if theirs and not options.trust_header_customer:
        raise BadInput(
            f"{field!r:.80} is what the client sends, so any client could bill another one",
            hint="use --key-map, or --trust-header-customer if your proxy overwrites that header",
        )


def _named(options: ImportOptions, reader: Callable[[str], str]) -> Callable[[str], str]:
    def customer(who: str) -> str:
        try:
            if not who:
                raise Unreadable("unattributed")
            return customer_id(reader(who))
        except Unreadable:
            if options.unattributed:
                return options.unattributed
            raise
        except BadInput:
            raise Unreadable("customer") from None

    return customer


def _any(who: str) -> str:
    return who


def _host(who: str) -> str:
    """A host name means the same in capitals, with its port, and with a dot at its end."""
    name, _, port = who.rpartition(":")
    bare = name if port.isdecimal() and (":" not in name or name.endswith("]")) else who
    return bare.rstrip(".").lower()


def _mapped(keys: Mapping[str, str]) -> Callable[[str], str]:
    def customer(key: str) -> str:
        known = keys.get(key)
        if known is None:
            raise Unreadable("unknown_key")
        return known

    return customer


def parse_key_map(text: str, kind: str) -> dict[str, str]:
    """API keys and their customers from ``toml`` or ``json`` (one flat table) or ``csv`` (key, customer; no header).

    Messages never show a key.
    """
    choice(kind, "key map", KEY_MAPS)
    pairs = _csv_pairs(text) if kind == "csv" else _table_pairs(text, kind)
    found: dict[str, str] = {}
    for number, (key, customer) in enumerate(pairs, 1):
        if not isinstance(key, str) or not key or not isinstance(customer, str):
            raise BadInput(f"entry {number} of the key map is not a key and a customer", hint="both must be text")
        if found.setdefault(key, customer_id(customer)) != customer:
            raise BadInput(f"entry {number} of the key map gives a key to a second customer", hint="remove one of them")
    return found


def _table_pairs(text: str, kind: str) -> list[tuple[object, object]]:
    import json
    import tomllib

    try:
        if kind == "toml":
            return list(tomllib.loads(text).items())
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        raise BadInput(f"the key map is not valid {kind.upper()}", hint='one table: key = "customer"') from None
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise BadInput("the key map is not one flat table", hint='write {"key": "customer"}')
    return pairs


def _csv_pairs(text: str) -> list[tuple[object, object]]:
    import csv

    try:
        rows = [row for row in csv.reader(text.splitlines(), strict=True) if row]
    except csv.Error:
        raise BadInput("the key map is not valid CSV", hint="two columns: key, customer") from None
    if any(len(row) != 2 for row in rows):
        raise BadInput("the key map does not have two columns", hint="one line a key: key,customer")
    return [(key.strip(), customer.strip()) for key, customer in rows]
