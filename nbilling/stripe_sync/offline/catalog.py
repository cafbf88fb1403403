"""The account, products and prices."""

from __future__ import annotations

import copy

from nbilling.stripe_sync.offline import shapes
from nbilling.stripe_sync.offline.wire import ApiError, invalid
from nbilling.stripe_sync.offline.world import Object, World, fixtures, metadata_of, new_id


def account_retrieve(world: World, params: Object) -> Object:
    """GET /v1/account"""
    return shapes.account(world.now)


def product_create(world: World, params: Object) -> Object:
    """POST /v1/products"""
    given = params.get("id")
    if given is not None and world.find("product", given) is not None:
        raise ApiError(400, f"Product already exists: {given}", code="resource_already_exists", param="id")
    product = shapes.product(given or new_id("prod"), world.now, params["name"])
    _set(product, params)
    return world.add(product, "product.created")


def product_retrieve(world: World, params: Object, product_id: str) -> Object:
    """GET /v1/products/{id}"""
    return world.get("product", product_id)


def product_update(world: World, params: Object, product_id: str) -> Object:
    """POST /v1/products/{id}"""
    product = world.get("product", product_id)
    before = copy.deepcopy(product)
    _set(product, params)
    if product != before:
        product["updated"] = world.now
    return world.save(product, "product.updated", before)


def product_list(world: World, params: Object) -> Object:
    """GET /v1/products"""
    _catalog(world)
    active, ids = params.get("active"), params.get("ids")
    return world.page(
        "product", params, "/v1/products",
        lambda one: active in (None, one["active"]) and (not ids or one["id"] in ids),
    )  # fmt: skip


def _set(product: Object, params: Object) -> None:
    for name in ("active", "name", "description", "unit_label", "url"):
        if name in params:
            product[name] = params[name] if params[name] != "" else None
    product["metadata"] = metadata_of(product, params)


def price_create(world: World, params: Object) -> Object:
    """POST /v1/prices: per unit, in whole minor units."""
    if "unit_amount" not in params:
        raise invalid("Missing required param: unit_amount.", "unit_amount", "parameter_missing")
    if params["unit_amount"] < 0:
        raise invalid("Invalid non-negative integer", "unit_amount", "parameter_invalid_integer")
    if ("product" in params) == ("product_data" in params):
        raise invalid("You must specify either `product` or `product_data` when creating a price.", "product", "")
    lookup = params.get("lookup_key")
    if lookup and any(one["lookup_key"] == lookup for one in world.all("price")):
        raise ApiError(
            400,
            f"A price (`{lookup}`) already uses that lookup key.",
            code="resource_already_exists",
            param="lookup_key",
        )
    if "product" in params:
        product = world.refer("product", params["product"], "product")
    else:
        product = product_create(world, params["product_data"])
    recurring = params.get("recurring")
    if recurring is not None:
        recurring = {"interval": recurring["interval"], "interval_count": recurring.get("interval_count", 1)}
    price = shapes.price(
        new_id("price", 24), world.now, product["id"], params["currency"].lower(), params["unit_amount"], recurring
    )
    _set_price(price, params)
    return world.add(price, "price.created")


def price_retrieve(world: World, params: Object, price_id: str) -> Object:
    """GET /v1/prices/{id}"""
    return world.get("price", price_id, "price")


def price_update(world: World, params: Object, price_id: str) -> Object:
    """POST /v1/prices/{id}: an amount is never changed."""
    price = world.get("price", price_id, "price")
    before = copy.deepcopy(price)
    _set_price(price, params)
    return world.save(price, "price.updated", before)


def _set_price(price: Object, params: Object) -> None:
    for name in ("active", "nickname", "lookup_key", "tax_behavior"):
        if name in params:
            price[name] = params[name] if params[name] != "" else None
    price["metadata"] = metadata_of(price, params)


def price_list(world: World, params: Object) -> Object:
    """GET /v1/prices"""
    _catalog(world)
    active, product, kind = params.get("active"), params.get("product"), params.get("type")
    keys, currency = params.get("lookup_keys"), params.get("currency")

    def keep(one: Object) -> bool:
        return (
            active in (None, one["active"])
            and product in (None, one["product"])
            and kind in (None, one["type"])
            and currency in (None, one["currency"])
            and (not keys or one["lookup_key"] in keys)
        )

    return world.page("price", params, "/v1/prices", keep)


def _catalog(world: World) -> None:
    """What the fixtures bring is there before it is listed."""
    for price in fixtures("catalog")["prices"]:
        world.find("price", price["id"])
