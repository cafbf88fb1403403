"""Names of the room ``quota`` for those who call it."""

from __future__ import annotations

from nbilling.engine.quota import QuotaDecision

__all__ = ["QuotaDecision"]
