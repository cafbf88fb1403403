"""Parameters, checked against the TypedDicts that the library ships: what the version does not know is refused.

Stripe checks names, whole numbers, booleans and enumerations before anything runs; so does this.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Any

from nbilling.stripe_sync.offline.wire import invalid

_CLASS = re.compile(r"\b[A-Z]\w*Params\w*")
_LITERAL = re.compile(r"Literal\[([^\]]*)\]")
_WORD = re.compile(r"'([^']*)'")
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_OPTIONS = frozenset(
    ("api_key", "stripe_version", "stripe_account", "stripe_context", "idempotency_key", "headers", "content_type",
     "max_network_retries")
)  # fmt: skip


def checked(params: dict[str, Any], class_name: str) -> dict[str, Any]:
    """The parameters with numbers, booleans and lists in their types, or an error as Stripe words it."""
    import stripe.params

    return _checked(params, [getattr(stripe.params, class_name)], "")


def _checked(params: dict[str, Any], classes: list[Any], prefix: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    annotations: dict[str, str] = {}
    for one in classes:
        annotations |= _annotations(one)
    for name, value in params.items():
        param = f"{prefix}[{name}]" if prefix else name
        if name not in annotations:
            raise invalid(f"Received unknown parameter: {param}", param, "parameter_unknown")
        result[name] = _value(value, annotations[name], classes, param)
    required = frozenset.intersection(*(_required(one) for one in classes))
    for name in sorted(required - set(params)):
        param = f"{prefix}[{name}]" if prefix else name
        raise invalid(f"Missing required param: {param}.", param, "parameter_missing")
    return result


def _value(value: Any, annotation: str, classes: list[Any], param: str) -> Any:
    below = _below(annotation, classes)
    if isinstance(value, dict):
        if "List[" in annotation and all(key.isdigit() for key in value):
            items = [value[key] for key in sorted(value, key=int)]
            return [
                _checked(item, below, f"{param}[{n}]") if isinstance(item, dict) and below else _leaf(item, "", param)
                for n, item in enumerate(items)
            ]
        if "Dict[" in annotation:
            return {
                key: _checked(item, below, f"{param}[{key}]")
                if below and isinstance(item, dict)
                else _leaf(item, "", f"{param}[{key}]")
                for key, item in value.items()
            }
        if below:
            return _checked(value, below, param)
        raise invalid(f"Invalid string: {param}", param, "parameter_invalid_string")
    if value == "" and ("Literal['']" in annotation or "Dict[" in annotation):
        return ""
    if below and "int" not in annotation and "str" not in re.sub(r"Dict\[[^\]]*\]", "", annotation):
        raise invalid(f"Invalid object: {param}", param, "parameter_invalid_empty" if value == "" else "")
    return _leaf(value, annotation, param)


def _leaf(value: Any, annotation: str, param: str) -> Any:
    if isinstance(value, dict):
        raise invalid(f"Invalid string: {param}", param, "parameter_invalid_string")
    words = {word for literal in _LITERAL.findall(annotation) for word in _WORD.findall(literal)} - {""}
    types = _LITERAL.sub("", annotation)
    takes_int = re.search(r"\bint\b", types) is not None
    if value in words:
        return value
    if takes_int and _INTEGER.fullmatch(value):
        return int(value)
    if re.search(r"\bbool\b", types):
        if value in ("true", "false"):
            return value == "true"
        raise invalid(f"Invalid boolean: {value[:100]}", param, "parameter_invalid_boolean")
    if takes_int:
        raise invalid(f"Invalid integer: {value[:100]}", param, "parameter_invalid_integer")
    if words:
        known = ", ".join(sorted(words))
        raise invalid(f"Invalid {param}: must be one of {known}", param, "parameter_invalid_enum")
    return value


@cache
def _annotations(typed_dict: Any) -> dict[str, str]:
    """The parameters of a TypedDict and their annotations as text. Request options are no parameters."""
    # Only its own: the base class holds the options of a request, which are headers.
    found = {name: str(note).replace("\\'", "'") for name, note in typed_dict.__annotations__.items()}
    return {name: note for name, note in found.items() if name not in _OPTIONS}


@cache
def _required(typed_dict: Any) -> frozenset[str]:
    return frozenset(typed_dict.__required_keys__) - _OPTIONS


def _below(annotation: str, classes: list[Any]) -> list[Any]:
    """The TypedDicts that an annotation names."""
    found = []
    for name in _CLASS.findall(annotation):
        for one in classes:
            target = getattr(sys.modules[one.__module__], name, None)
            if target is not None and target not in found:
                found.append(target)
    return found
