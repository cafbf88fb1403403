"""Ids of Stripe, checked before they become part of a URL: ``retrieve('..')`` would ask for something else."""

from __future__ import annotations

import re

from nbilling.model.errors import BadInput
from nbilling.model.money import shown
from nbilling.stripe_sync.keys import masked

_ID = re.compile(r"[a-z]+_[A-Za-z0-9_]{1,250}", re.ASCII)

PREFIXES = {
    "customer": ("cus_",),
    "payment method": ("pm_", "card_", "src_"),
    "subscription": ("sub_",),
    "subscription item": ("si_",),
    "invoice": ("in_", "inv_test_"),
    "invoice item": ("ii_",),
    "price": ("price_", "plan_"),
    "product": ("prod_",),
    "event": ("evt_",),
}


def stripe_id(value: object, kind: str) -> str:
    """An id of that kind (a key of :data:`PREFIXES`). BadInput for anything else, before anything is sent."""
    prefixes = PREFIXES[kind]
    if isinstance(value, str) and _ID.fullmatch(value) and value.startswith(prefixes):
        return value
    raise BadInput(
        f"{masked(shown(value))} is not the id of a Stripe {kind}",
        hint=f"such an id begins with {' or '.join(prefixes)}",
    )


def looks_like(value: object, kind: str) -> bool:
    """Whether a value has the form of such an id."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None and value.startswith(PREFIXES[kind])
