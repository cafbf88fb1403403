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


def shown_unit_price(model: PriceModel | None) -> str:
    """The price of one unit where the model has one for all, ``0`` where nothing is charged."""
    from nbilling.model.money import format_decimal
    from nbilling.rules.price_models import PerUnit

    if isinstance(model, PerUnit):
        return format_decimal(model.unit_price)
    return "0" if model is None else ""
