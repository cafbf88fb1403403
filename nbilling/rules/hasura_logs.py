"""Requests in the log of Hasura's GraphQL engine, version 1 and 2: lines of JSON whose ``type`` is ``http-log``.

Sources: "http-log structure" in hasura.io/docs/latest/deployment/logging for the fields, their units and their meaning;
``server/src-lib/Hasura/Server/Logging.hs`` of github.com/hasura/graphql-engine (``HttpInfoLog``, ``OperationLog``) for
which are always there. What follows from them:

- ``user_vars`` are the session variables that Hasura itself worked out, from a token or a webhook. Only a server
  without an admin secret takes them from headers that anybody may send, and then nobody is billed rightly.
- ``request_id`` is what the client sent as ``X-Request-Id`` if it sent one, so it is no identity unless it is mapped.
- On ``/v1/graphql`` the status is 200 whether or not the query failed. A query that failed was a request.
- ``response_size`` is the length before compression.
- What goes over a WebSocket (subscriptions above all) is in ``websocket-log``, which has no sizes and is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Any

from nbilling.rules.access_logs import AccessLine, Unreadable
from nbilling.rules.json_logs import json_object, request_reader

DEFAULT_FIELDS: dict[str, tuple[str, ...]] = {
    "time": ("timestamp",),
    "bytes": ("response_size",),
    "status": ("status",),
    "request": (),
    "method": ("method",),
    "path": ("url",),
    "duration": ("query_execution_time",),
    "id": (),
    "user": ("user_vars.x-hasura-user-id",),
    "address": ("ip",),
    "host": (),
}
"""As in ``json_logs``; the fields of ``http_info`` and of ``operation`` are named without these."""

_TYPE = "http-log"
_NANOSECOND = Decimal("1e-9")
_LONGEST = Decimal(10**9)


def hasura_parser(fields: Mapping[str, str], who: tuple[str, ...] = ()) -> Callable[[bytes], AccessLine | None]:
    """Reads Hasura's log, whose lines of other types are None. Parameters as for ``json_parser``."""
    request = request_reader(DEFAULT_FIELDS, fields, who)

    def parse(line: bytes) -> AccessLine | None:
        found = json_object(line)
        kind, detail = found.get("type"), found.get("detail")
        if kind != _TYPE:
            if isinstance(kind, str) and kind:
                return None
            raise Unreadable("format", "it has no type")
        about = detail if isinstance(detail, dict) else {}
        http_info, operation = about.get("http_info"), about.get("operation")
        if not isinstance(http_info, dict) or not isinstance(operation, dict):
            raise Unreadable("format", "it has no http_info and operation")
        return request({**operation, **http_info, "timestamp": found.get("timestamp")} | _duration(operation))

    return parse


def _duration(operation: dict[str, Any]) -> dict[str, str]:
    """The seconds as plain decimals: Hasura writes 2.253e-05. Digits below the nanosecond are cut off."""
    try:
        seconds = Decimal(str(operation.get("query_execution_time")))
        if not 0 <= seconds < _LONGEST:
            return {}
        return {"query_execution_time": f"{seconds.quantize(_NANOSECOND, ROUND_DOWN).normalize():f}"}
    except InvalidOperation:
        return {}
