"""Requests and replies as they are on the wire: form encoding, answers, errors as Stripe words them."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

DEEPEST = 8
MOST_FIELDS = 1000
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


class Reply(NamedTuple):
    """What goes back: a status, headers, and the body's bytes."""

    status: int
    headers: dict[str, str]
    body: bytes


class ApiError(Exception):
    """An error of the API. ``kept``: it answers its idempotency key from then on. ``undo``: nothing was done."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        param: str = "",
        kind: str = "invalid_request_error",
        decline_code: str = "",
        kept: bool = True,
        undo: bool = True,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kept = kept
        self.undo = undo
        self.headers = headers or {}
        told = {"code": code, "decline_code": decline_code, "message": message, "param": param, "type": kind, **more}
        self.body: dict[str, Any] = {"error": {key: value for key, value in told.items() if value != ""}}


def invalid(message: str, param: str, code: str) -> ApiError:
    """A parameter that is not accepted: noticed before anything runs, so not kept under the key."""
    return ApiError(400, message, code=code, param=param, kept=False)


def missing(kind: str, object_id: object, param: str = "id", status: int = 404) -> ApiError:
    """No object of that id."""
    what = {"payment_method": "PaymentMethod"}.get(kind, kind)
    return ApiError(status, f"No such {what}: '{object_id}'", code="resource_missing", param=param)


def body_text(value: Any) -> str:
    """The JSON of an answer."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def split_target(target: str, body: str, method: str) -> tuple[str, dict[str, Any]]:
    """The path and the parameters: from the query of a GET or DELETE, else from the form in the body."""
    parts = urlsplit(target)
    return parts.path, decode_form(body if method == "POST" else parts.query)


def decode_form(text: str) -> dict[str, Any]:
    """``a[b][0]=c`` as nested dicts of strings; lists stay dicts of their indexes."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict")
    except (ValueError, UnicodeError):
        raise invalid("Invalid request: the form cannot be decoded", "", "") from None
    if len(pairs) > MOST_FIELDS:
        raise invalid("Invalid request: too many parameters", "", "")
    result: dict[str, Any] = {}
    for key, value in pairs:
        match = _KEY.fullmatch(key)
        if match is None:
            raise invalid(f"Invalid parameter: {key[:100]}", key[:100], "parameter_unknown")
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(path) > DEEPEST:
            raise invalid("Invalid request: parameters are nested too deeply", match[1], "")
        _place(result, path, value)
    return result


def _place(into: dict[str, Any], path: list[str], value: str) -> None:
    for name in path[:-1]:
        below = into.setdefault(name or str(len(into)), {})
        if not isinstance(below, dict):
            raise invalid(f"Invalid object: {path[0]}", path[0], "parameter_invalid")
        into = below
    into[path[-1] or str(len(into))] = value
