"""Key maps: which API key belongs to which customer."""

from __future__ import annotations

from nbilling.rules.log_customers import parse_key_map


def key_map(text: str, kind: str) -> dict[str, str]:
    """Customers by key from the text of a ``toml``, ``json`` or ``csv`` file; BadInput where it is not one."""
    return parse_key_map(text, kind)
