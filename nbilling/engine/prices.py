"""Prices as stored, turned into price models."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from nbilling.store.plans import PriceRow

if TYPE_CHECKING:
    from nbilling.rules.price_models import PriceModel


def price_model(price: PriceRow | None) -> PriceModel | None:
    """The model of a stored price."""
    return None if price is None else _model(price.model)


@lru_cache(maxsize=1024)
def _model(text: str) -> PriceModel:
    from nbilling.rules.price_models import model_from_dict

    return model_from_dict(json.loads(text))


def shown_unit_price(model: PriceModel | None, currency: str) -> str:
    """The price of one unit where the model has one for all; ``0.00`` where nothing is charged, else empty."""
    from nbilling.rules.invoices import unit_price_text

    return unit_price_text(model, currency)
