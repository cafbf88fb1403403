"""nbilling: metering, quotas, plans, rating, invoices and Stripe in one SQLite file.

::

    import nbilling

    nbilling.init("billing.db")
    with nbilling.open("billing.db") as billing:
        billing.usage.track_api_request("acme", "/graphql", "POST", 200, "0.125")
        if billing.quota.enforce("acme", "storage", 1_048_576).allowed:
            ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbilling.api.billing import Billing, init, load_config, open
    from nbilling.model.clock import FixedClock
    from nbilling.model.config import Config
    from nbilling.model.errors import (
        BadInput,
        Conflict,
        LedgerMissing,
        NbillingError,
        NewerLedger,
        NotALedger,
        NotFound,
        OutcomeUnknown,
        Refused,
        StorageError,
        StorageFull,
        UpstreamError,
    )

__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(("Billing", "init", "load_config", "open"), "nbilling.api.billing"),
    "Config": "nbilling.model.config",
    "FixedClock": "nbilling.model.clock",
    **dict.fromkeys(
        (
            "BadInput", "Conflict", "LedgerMissing", "NbillingError", "NewerLedger", "NotALedger", "NotFound",
            "OutcomeUnknown", "Refused", "StorageError", "StorageFull", "UpstreamError",
        ),
        "nbilling.model.errors",
    ),
}  # fmt: skip

__all__ = [
    "BadInput",
    "Billing",
    "Config",
    "Conflict",
    "FixedClock",
    "LedgerMissing",
    "NbillingError",
    "NewerLedger",
    "NotALedger",
    "NotFound",
    "OutcomeUnknown",
    "Refused",
    "StorageError",
    "StorageFull",
    "UpstreamError",
    "__version__",
    "init",
    "load_config",
    "open",
]


def __getattr__(name: str) -> Any:
    """Names are loaded when they are first used (PEP 562): ``import nbilling`` costs nothing."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
