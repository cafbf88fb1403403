"""Price models: frozen data, checked when made, with a plain dict form for storage and for the catalogue file.

Every price and fixed amount is a ``Decimal`` in currency units (at most 12 decimals). Every quantity in a model
(``included``, ``up_to``, ``package_size``, ``free_units``) is in *priced units*: the meter's base units divided by
``per``. So storage metered in bytes and sold by the GB has ``per`` 1073741824, and its ``included`` counts GB.

Numbers may be given as decimal text, ``int`` or ``Decimal``, never as ``float``. ``rules.pricing`` rates them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar

import attrs

from nbilling.model.errors import BadInput
from nbilling.model.money import format_decimal, parse_decimal, parse_unit_price, shown

Given: TypeAlias = str | int | Decimal

_LEAST = Decimal("0.000000000001")


# Named functions, one a kind of field: the attrs plugin of mypy understands no other converters.
def _price(value: Given) -> Decimal:
    return parse_unit_price(value, what="number")


def _price_or_none(value: Given | None) -> Decimal | None:
    return None if value is None else _price(value)


def _quantity(value: Given) -> Decimal:
    return parse_decimal(value, places=12, minimum=0, what="number")


def _size(value: Given) -> Decimal:
    return parse_decimal(value, places=12, minimum=_LEAST, what="number")


def _size_or_none(value: Given | None) -> Decimal | None:
    return None if value is None else _size(value)


def _percent(value: Given) -> Decimal:
    # 100,000 % is far above any price; the cap keeps rate / 100 within the precision of Decimal.
    return parse_decimal(value, places=10, minimum=0, maximum=100_000, what="percentage")


def _count(value: Given) -> int:
    return int(parse_decimal(value, places=0, minimum=0, maximum=2**53, what="count"))


def _flag(value: bool) -> bool:
    if not isinstance(value, bool):
        raise BadInput(f"{shown(value)} is neither true nor false", hint="write true or false")
    return value


@attrs.frozen
class SpendLimits:
    """What every price may have besides: the least and the most that a period costs, whatever was used."""

    minimum: Decimal | None = attrs.field(default=None, converter=_price_or_none, kw_only=True)
    maximum: Decimal | None = attrs.field(default=None, converter=_price_or_none, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise BadInput("minimum is above maximum", hint=f"give a minimum of at most {self.maximum}")


@attrs.frozen
class Flat(SpendLimits):
    """One amount a period, whatever was used, also when nothing was."""

    amount: Decimal = attrs.field(converter=_price)


@attrs.frozen
class PerUnit(SpendLimits):
    """A price for each priced unit above ``included``. Zero usage costs nothing."""

    unit_price: Decimal = attrs.field(converter=_price)
    per: Decimal = attrs.field(default=Decimal(1), converter=_size)
    included: Decimal = attrs.field(default=Decimal(0), converter=_quantity)


@attrs.frozen
class Tier:
    """Up to ``up_to`` priced units (``None``: without end): a price a unit and an amount for entering the tier."""

    up_to: Decimal | None = attrs.field(converter=_size_or_none)
    unit_price: Decimal = attrs.field(default=Decimal(0), converter=_price)
    flat_amount: Decimal = attrs.field(default=Decimal(0), converter=_price)


@attrs.frozen
class PercentageTier:
    """Up to ``up_to`` currency units of turnover (``None``: without end): a percentage, and an amount for entering."""

    up_to: Decimal | None = attrs.field(converter=_size_or_none)
    rate: Decimal = attrs.field(default=Decimal(0), converter=_percent)
    flat_amount: Decimal = attrs.field(default=Decimal(0), converter=_price)


_AnyTier = TypeVar("_AnyTier", Tier, PercentageTier)


def _tiers(tiers: Sequence[Tier]) -> tuple[Tier, ...]:
    return _in_order(tiers, Tier)


def _percentage_tiers(tiers: Sequence[PercentageTier]) -> tuple[PercentageTier, ...]:
    return _in_order(tiers, PercentageTier)


def _in_order(tiers: object, kind: type[_AnyTier]) -> tuple[_AnyTier, ...]:
    if not isinstance(tiers, Sequence) or isinstance(tiers, str) or not tiers:
        raise BadInput("tiers must be a list of at least one tier", hint="the last tier has no up_to")
    before: Decimal | None = Decimal(0)
    for place, tier in enumerate(tiers):
        if not isinstance(tier, kind):
            raise BadInput(f"tiers[{place}] is not a {kind.__name__}", hint=f"make it with {kind.__name__}(...)")
        if before is None:
            raise BadInput(f"tiers[{place}] comes after a tier without end", hint="only the last tier has no up_to")
        if tier.up_to is not None and tier.up_to <= before:
            raise BadInput(f"tiers[{place}].up_to {tier.up_to} does not rise", hint=f"give more than {before}")
        before = tier.up_to
    if before is not None:
        raise BadInput("tiers end at a bound, but usage has no end", hint="leave up_to out of the last tier")
    return tuple(tiers)


Bounds: TypeAlias = Literal["inclusive", "exclusive"]


def _bounds(value: str) -> Bounds:
    if value == "inclusive":
        return "inclusive"
    if value == "exclusive":
        return "exclusive"
    raise BadInput(f"{shown(value)} is neither inclusive nor exclusive", hint="write inclusive or exclusive")


@attrs.frozen
class _Tiered(SpendLimits):
    """What tiered prices share.

    ``bounds``: ``inclusive`` means that usage of exactly ``up_to`` is still in that tier (the default: both engines
    whose tests we carry do so, cases ``om-volume-table`` and ``lago-graduated-3``); ``exclusive`` puts it into the
    next.

    ``flat_at_zero``: whether usage of 0 pays the first tier's ``flat_amount``. The default is yes, since the first
    tier begins at 0 and the amount then works like a base fee (cases ``lago-graduated-zero-usage-flat``,
    ``om-volume-table``). ``False`` is for prices of what was used at all (case ``kb-capacity-usage``).
    """

    bounds: Bounds = attrs.field(default="inclusive", converter=_bounds, kw_only=True)
    flat_at_zero: bool = attrs.field(default=True, converter=_flag, kw_only=True)


@attrs.frozen
class Graduated(_Tiered):
    """Each unit at the price of the tier it falls into; each tier entered adds its ``flat_amount``."""

    tiers: tuple[Tier, ...] = attrs.field(converter=_tiers)
    per: Decimal = attrs.field(default=Decimal(1), converter=_size)


@attrs.frozen
class Volume(_Tiered):
    """All units at the price of the tier that the total falls into, and that tier's ``flat_amount``."""

    tiers: tuple[Tier, ...] = attrs.field(converter=_tiers)
    per: Decimal = attrs.field(default=Decimal(1), converter=_size)


@attrs.frozen
class Package(SpendLimits):
    """Whole packages, the begun one too, above ``free_units``. Zero usage costs nothing (case ``om-package``)."""

    package_size: Decimal = attrs.field(converter=_size)
    package_price: Decimal = attrs.field(converter=_price)
    free_units: Decimal = attrs.field(default=Decimal(0), converter=_quantity)
    per: Decimal = attrs.field(default=Decimal(1), converter=_size)


@attrs.frozen
class Percentage(SpendLimits):
    """A percentage of turnover, plus a fixed amount a transaction. Priced units are currency units of turnover.

    The first ``free_events`` transactions are free, and the first ``free_amount`` of turnover; whichever is used up
    first ends the free part (case ``lago-percentage-both-free-events-first``). 0 means no such allowance; both 0:
    nothing is free. The transaction that crosses ``free_amount`` pays the rate on what is beyond it, and the whole
    fixed amount. Then each paid transaction is raised to ``per_transaction_min`` and lowered to
    ``per_transaction_max``.
    """

    rate: Decimal = attrs.field(converter=_percent)
    fixed: Decimal = attrs.field(default=Decimal(0), converter=_price)
    free_events: int = attrs.field(default=0, converter=_count)
    free_amount: Decimal = attrs.field(default=Decimal(0), converter=_quantity)
    per_transaction_min: Decimal | None = attrs.field(default=None, converter=_price_or_none)
    per_transaction_max: Decimal | None = attrs.field(default=None, converter=_price_or_none)
    per: Decimal = attrs.field(default=Decimal(1), converter=_size)

    def __attrs_post_init__(self) -> None:
        SpendLimits.__attrs_post_init__(self)
        least, most = self.per_transaction_min, self.per_transaction_max
        if least is not None and most is not None and least > most:
            raise BadInput("per_transaction_min is above per_transaction_max", hint=f"give at most {most}")

    @property
    def needs_transactions(self) -> bool:
        """Whether the turnover alone is not enough to rate it."""
        limits = (self.per_transaction_min, self.per_transaction_max)
        return bool(self.fixed or self.free_events) or any(limit is not None for limit in limits)


@attrs.frozen
class GraduatedPercentage(_Tiered):
    """Each currency unit of turnover at the percentage of its tier; each tier entered adds its ``flat_amount``."""

    tiers: tuple[PercentageTier, ...] = attrs.field(converter=_percentage_tiers)
    per: Decimal = attrs.field(default=Decimal(1), converter=_size)


def _named_prices(prices: Mapping[str, PriceModel]) -> Mapping[str, PriceModel]:
    if not prices or "" in prices:
        raise BadInput("prices must name at least one value of the dimension", hint='for example {"egress": …}')
    return MappingProxyType(dict(prices))


PriceModel: TypeAlias = Flat | PerUnit | Graduated | Volume | Package | Percentage | GraduatedPercentage


@attrs.frozen
class ByDimension:
    """A price for each value of a meter's dimension: for bandwidth by direction, ``egress`` costs and ``ingress``
    does not.

    Usage of every value that ``prices`` does not name is rated together by ``otherwise``, so none is left without a
    price.
    """

    prices: Mapping[str, PriceModel] = attrs.field(converter=_named_prices, hash=False)
    otherwise: PriceModel


Price: TypeAlias = PriceModel | ByDimension

_MODELS: dict[str, type[Any]] = {
    "flat": Flat,
    "per_unit": PerUnit,
    "graduated": Graduated,
    "volume": Volume,
    "package": Package,
    "percentage": Percentage,
    "graduated_percentage": GraduatedPercentage,
}
_NAMES = {kind: name for name, kind in _MODELS.items()}
_TIER_KINDS: dict[type[Any], type[Any]] = {Graduated: Tier, Volume: Tier, GraduatedPercentage: PercentageTier}


def model_from_dict(given: object, path: str = "price") -> PriceModel:
    """A price model from ``{"model": "per_unit", "unit_price": "0.0001", …}``.

    ``BadInput`` names the path of what is wrong, for example ``price.tiers[1].up_to``.
    """
    if not isinstance(given, Mapping):
        raise BadInput(f"{path} {shown(given)} is not a table of fields", hint='for example {"model": "flat", …}')
    name = given.get("model")
    kind = _MODELS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise BadInput(f"{path}.model {shown(name)} is not known", hint=f"one of {', '.join(_MODELS)}")
    values = {key: value for key, value in given.items() if key != "model"}
    tiers = values.get("tiers")
    if kind in _TIER_KINDS and isinstance(tiers, Sequence) and not isinstance(tiers, str):
        values["tiers"] = [
            _build(_TIER_KINDS[kind], {"up_to": None, **_fields(tier, where)}, where)
            for where, tier in ((f"{path}.tiers[{place}]", tier) for place, tier in enumerate(tiers))
        ]
    model: PriceModel = _build(kind, values, path)
    return model


def model_to_dict(model: PriceModel) -> dict[str, Any]:
    """The dict that ``model_from_dict`` reads back to an equal model: text, whole numbers, booleans and lists."""
    return {"model": _NAMES[type(model)], **_plain(model)}


def price_from_dict(given: object, path: str = "price") -> Price:
    """As ``model_from_dict``, and ``{"model": "by_dimension", "prices": {"egress": {…}}, "otherwise": {…}}``."""
    if not isinstance(given, Mapping) or given.get("model") != "by_dimension":
        return model_from_dict(given, path)
    unknown = next((key for key in given if key not in ("model", "prices", "otherwise")), None)
    if unknown is not None:
        raise BadInput(f"{path} has no field {shown(unknown)}", hint="its fields are prices, otherwise")
    listed = _fields(given.get("prices"), f"{path}.prices")
    prices = {value: model_from_dict(model, f"{path}.prices.{value}") for value, model in listed.items()}
    otherwise = model_from_dict(given.get("otherwise"), f"{path}.otherwise")
    try:
        return ByDimension(prices, otherwise)
    except BadInput as error:
        raise BadInput(f"{path}: {error.message}", hint=error.hint) from None


def price_to_dict(price: Price) -> dict[str, Any]:
    """The dict that ``price_from_dict`` reads back to an equal price."""
    if not isinstance(price, ByDimension):
        return model_to_dict(price)
    prices = {value: model_to_dict(model) for value, model in price.prices.items()}
    return {"model": "by_dimension", "prices": prices, "otherwise": model_to_dict(price.otherwise)}


def _fields(given: object, path: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise BadInput(f"{path} {shown(given)} is not a table of fields", hint='for example {"up_to": "5", …}')
    return given


def _build(kind: type[Any], values: Mapping[str, Any], path: str) -> Any:
    known = {field.name: field for field in attrs.fields(kind)}
    for key in values:
        if key not in known:
            raise BadInput(f"{path} has no field {shown(key)}", hint=f"its fields are {', '.join(known)}")
    converted = {}
    for name, field in known.items():
        if name in values:
            converted[name] = _convert(field, values[name], f"{path}.{name}")
        elif field.default is attrs.NOTHING:
            raise BadInput(f"{path}.{name} is missing", hint="add it")
    try:
        return kind(**converted)
    except BadInput as error:
        raise BadInput(f"{path}: {error.message}", hint=error.hint) from None


def _convert(field: attrs.Attribute[Any], value: Any, path: str) -> Any:
    """Ahead of the class itself, which does the same but cannot say where in the dict the value stands."""
    converter: Any = field.converter
    if converter is None or field.name == "tiers":
        return value
    try:
        return converter(value)
    except BadInput as error:
        raise BadInput(f"{path}: {error.message}", hint=error.hint) from None


def _plain(value: Any) -> dict[str, Any]:
    """The fields that differ from their default."""
    plain: dict[str, Any] = {}
    for field in attrs.fields(type(value)):
        content = getattr(value, field.name)
        if isinstance(content, tuple):
            plain[field.name] = [_plain(tier) for tier in content]
        elif content != field.default:
            plain[field.name] = format_decimal(content) if isinstance(content, Decimal) else content
    return plain
