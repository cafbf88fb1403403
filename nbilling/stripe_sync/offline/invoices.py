"""Invoices and their items: draft, open, paid or void."""

from __future__ import annotations

import copy
from typing import Any

from nbilling.store import stripe_offline
from nbilling.stripe_sync.offline import invoice_shapes, payments, shapes
from nbilling.stripe_sync.offline.states import store_invoice, subscription_of, use_currency
from nbilling.stripe_sync.offline.wire import ApiError, invalid
from nbilling.stripe_sync.offline.world import Object, World, metadata_of, new_id

FINALIZE_AFTER = 3600
"""Seconds after which Stripe makes a draft of its own final."""

_DAY = 86_400


def invoice_create(world: World, params: Object) -> Object:
    """POST /v1/invoices: a draft; pending items join it only if that is asked for."""
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = world.refer("customer", params["customer"], "customer")
    invoice = draft(world, customer, params.get("currency") or customer["currency"] or "usd")
    _set(world, invoice, params)
    store_invoice(world, invoice)
    if params.get("pending_invoice_items_behavior") == "include":
        take_pending(world, invoice)
    world.tell("invoice.created", store_invoice(world, invoice))
    return invoice


def draft(world: World, customer: Object, currency: str, invoice_id: str = "") -> Object:
    """An empty draft, not stored yet."""
    return invoice_shapes.invoice(invoice_id or new_id("in", 24), world.now, customer, currency.lower())


def _set(world: World, invoice: Object, params: Object) -> None:
    method = params.get("default_payment_method")
    if method:
        world.refer("payment_method", method, "default_payment_method")
    if params.get("collection_method") == "send_invoice" and not {"days_until_due", "due_date"} & params.keys():
        raise invalid(
            "If collection_method is set to `send_invoice`, you must set either `due_date` or `days_until_due`.",
            "days_until_due",
            "parameter_missing",
        )
    for name in ("description", "footer", "default_payment_method", "collection_method", "due_date", "auto_advance"):
        if name in params:
            invoice[name] = params[name] if params[name] != "" else None
    if "days_until_due" in params:
        invoice["due_date"] = world.now + params["days_until_due"] * _DAY
    if "auto_advance" in params:
        advances = params["auto_advance"] and invoice["status"] == "draft"
        invoice["automatically_finalizes_at"] = world.now + FINALIZE_AFTER if advances else None
    invoice["metadata"] = metadata_of(invoice, params)


def invoice_retrieve(world: World, params: Object, invoice_id: str) -> Object:
    """GET /v1/invoices/{id}"""
    return world.get("invoice", invoice_id, "invoice")


def invoice_update(world: World, params: Object, invoice_id: str) -> Object:
    """POST /v1/invoices/{id}: of a final one only the metadata, and whether it advances."""
    invoice = world.get("invoice", invoice_id, "invoice")
    if invoice["status"] != "draft" and params.keys() - {"metadata", "auto_advance", "default_payment_method"}:
        raise ApiError(400, "Finalized invoices can't be updated in this way", code="invoice_not_editable")
    before = copy.deepcopy(invoice)
    _set(world, invoice, params)
    return store_invoice(world, invoice, "invoice.updated", before)


def invoice_delete(world: World, params: Object, invoice_id: str) -> Object:
    """DELETE /v1/invoices/{id}: a draft; its items are pending again."""
    invoice = world.get("invoice", invoice_id, "invoice")
    if invoice["status"] != "draft" or subscription_of(invoice):
        raise ApiError(400, "You can only delete draft invoices that are not part of a subscription.")
    for item in list(world.all("invoiceitem", invoice["customer"])):
        if item["invoice"] == invoice_id:
            item["invoice"] = None
            world.save(item)
    stripe_offline.remove(world.db, invoice_id)
    world.tell("invoice.deleted", invoice)
    return {"id": invoice_id, "object": "invoice", "deleted": True}


def invoice_list(world: World, params: Object) -> Object:
    """GET /v1/invoices"""
    status, subscription = params.get("status"), params.get("subscription")
    method = params.get("collection_method")
    return world.page(
        "invoice",
        params,
        "/v1/invoices",
        lambda one: (
            status in (None, one["status"])
            and subscription in (None, subscription_of(one))
            and method in (None, one["collection_method"])
        ),
        params.get("customer", ""),
    )


def line_list(world: World, params: Object, invoice_id: str) -> Object:
    """GET /v1/invoices/{id}/lines"""
    lines = world.get("invoice", invoice_id, "invoice")["lines"]
    ids = [line["id"] for line in lines["data"]]
    start, end = 0, len(ids)
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise invalid("Invalid limit: must be from 1 to 100", "limit", "parameter_invalid_integer")
    for name in ("starting_after", "ending_before"):
        if name in params and params[name] not in ids:
            raise ApiError(400, f"No such line_item: '{params[name]}'", code="resource_missing", param=name)
    if "starting_after" in params:
        start = ids.index(params["starting_after"]) + 1
    if "ending_before" in params:
        end = ids.index(params["ending_before"])
        start = max(start, end - limit)
    shown = lines["data"][start:end][:limit]
    return shapes.listed(shown, lines["url"], len(lines["data"][start:end]) > limit)


# -- items


def item_create(world: World, params: Object) -> Object:
    """POST /v1/invoiceitems: on a draft, or pending."""
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    if "amount" not in params:
        raise invalid("Missing required param: amount.", "amount", "parameter_missing")
    customer = world.refer("customer", params["customer"], "customer")
    currency = (params.get("currency") or customer["currency"] or "usd").lower()
    invoice = None
    if "invoice" in params:
        invoice = world.refer("invoice", params["invoice"], "invoice")
        if invoice["customer"] != customer["id"]:
            raise ApiError(400, "The customer of the invoice item is not the invoice's.", param="invoice")
        if invoice["status"] != "draft":
            raise ApiError(400, "This invoice is no longer editable", code="invoice_not_editable", param="invoice")
        if invoice["currency"] != currency:
            raise ApiError(400, f"The currency of the invoice is {invoice['currency']}.", param="currency")
    item = invoice_shapes.invoice_item(
        new_id("ii", 24), world.now, customer["id"], params["amount"], currency, params.get("description")
    )
    item["metadata"] = metadata_of(item, params)
    item["period"] = {**item["period"], **params.get("period", {})}
    if "discountable" in params:
        item["discountable"] = params["discountable"]
    use_currency(world, customer, currency)
    world.add(item, "invoiceitem.created")
    if invoice is not None:
        before = copy.deepcopy(invoice)
        _put_on(world, invoice, item)
        store_invoice(world, invoice, "invoice.updated", before)
    return item


def pending_item(world: World, customer_id: str, amount: int, currency: str, description: str, **more: Any) -> Object:
    """An item of Stripe's own, such as a proration."""
    item = invoice_shapes.invoice_item(new_id("ii", 24), world.now, customer_id, amount, currency, description)
    return world.add(item | more, "invoiceitem.created")


def item_retrieve(world: World, params: Object, item_id: str) -> Object:
    """GET /v1/invoiceitems/{id}"""
    return world.get("invoiceitem", item_id, "invoiceitem")


def item_delete(world: World, params: Object, item_id: str) -> Object:
    """DELETE /v1/invoiceitems/{id}: while its invoice is a draft."""
    item = world.get("invoiceitem", item_id, "invoiceitem")
    if item["invoice"]:
        invoice = world.get("invoice", item["invoice"], "invoice")
        if invoice["status"] != "draft":
            raise ApiError(400, "This invoice is no longer editable", code="invoice_not_editable")
        before = copy.deepcopy(invoice)
        invoice["lines"]["data"] = [one for one in invoice["lines"]["data"] if one.get("_item") != item_id]
        store_invoice(world, invoice, "invoice.updated", before)
    stripe_offline.remove(world.db, item_id)
    world.tell("invoiceitem.deleted", item)
    return {"id": item_id, "object": "invoiceitem", "deleted": True}


def item_list(world: World, params: Object) -> Object:
    """GET /v1/invoiceitems"""
    invoice, pending = params.get("invoice"), params.get("pending")
    return world.page(
        "invoiceitem",
        params,
        "/v1/invoiceitems",
        lambda one: invoice in (None, one["invoice"]) and pending in (None, one["invoice"] is None),
        params.get("customer", ""),
    )


def take_pending(world: World, invoice: Object) -> None:
    """Puts the customer's pending items of its currency on a draft, oldest first."""
    for item in reversed(list(world.all("invoiceitem", invoice["customer"]))):
        if item["invoice"] is None and item["currency"] == invoice["currency"]:
            _put_on(world, invoice, item)


def _put_on(world: World, invoice: Object, item: Object) -> None:
    item["invoice"] = invoice["id"]
    world.save(item)
    line = invoice_shapes.line(
        new_id("il", 24), invoice["id"], item["amount"], item["currency"], item["description"], item["period"]
    )
    proration_of = (item["parent"] or {}).get("subscription_details") or {}
    line["parent"] = {
        "invoice_item_details": {
            "invoice_item": item["id"],
            "proration": item["proration"],
            "proration_details": {"credited_items": None},
            "subscription": proration_of.get("subscription"),
        },
        "subscription_item_details": None,
        "type": "invoice_item_details",
    }
    line |= {"metadata": item["metadata"], "discountable": item["discountable"], "_item": item["id"]}
    invoice["lines"]["data"].append(line)


# -- from draft to paid


def invoice_finalize(world: World, params: Object, invoice_id: str) -> Object:
    """POST /v1/invoices/{id}/finalize"""
    invoice = world.get("invoice", invoice_id, "invoice")
    if invoice["status"] != "draft":
        raise ApiError(400, "This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    if "auto_advance" in params:
        invoice["auto_advance"] = params["auto_advance"]
    return finalize(world, invoice)


def finalize(world: World, invoice: Object) -> Object:
    """Gives a draft its number. The customer's balance is set off; what leaves nothing to pay is paid."""
    customer = world.get("customer", invoice["customer"], "customer")
    before = copy.deepcopy(invoice)
    remaining = invoice["total"] + customer["balance"]
    token = new_id("test", 20)
    invoice |= {
        "status": "open",
        "number": f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}",
        "effective_at": world.now,
        "automatically_finalizes_at": None,
        "starting_balance": customer["balance"],
        "ending_balance": min(remaining, 0),
        "amount_due": max(remaining, 0),
        "amount_remaining": max(remaining, 0),
        "hosted_invoice_url": f"https://invoice.stripe.com/i/{shapes.ACCOUNT}/{token}",
        "invoice_pdf": f"https://pay.stripe.com/invoice/{shapes.ACCOUNT}/{token}/pdf",
    }
    invoice["status_transitions"]["finalized_at"] = world.now
    customer_before = copy.deepcopy(customer)
    customer["next_invoice_sequence"] += 1
    customer["balance"] = min(remaining, 0)
    world.save(customer, "customer.updated", customer_before)
    store_invoice(world, invoice, "invoice.finalized", before)
    if invoice["amount_due"] > 0:
        payments.open_intent(world, invoice)
    else:
        payments.mark_paid(world, invoice, copy.deepcopy(invoice))
    return invoice


def invoice_pay(world: World, params: Object, invoice_id: str) -> Object:
    """POST /v1/invoices/{id}/pay: a draft is finalised first."""
    invoice = world.get("invoice", invoice_id, "invoice")
    if invoice["status"] == "paid":
        raise ApiError(400, "Invoice is already paid")
    if invoice["status"] not in ("draft", "open"):
        raise ApiError(400, f"Invoices with status {invoice['status']} can't be paid")
    outside = params.get("paid_out_of_band", False)
    method = None if outside else payments.method_for(world, invoice, params.get("payment_method"))
    if invoice["status"] == "draft":
        if not outside and method is None and invoice["total"] > 0:
            raise payments.no_method()
        finalize(world, invoice)
        if invoice["status"] == "paid":
            return invoice
    if outside:
        payments.mark_paid(world, invoice, copy.deepcopy(invoice))
        return invoice
    if method is None:
        raise payments.no_method()
    error = payments.charge(world, invoice, method)
    if error is not None:
        raise error
    return invoice


def invoice_void(world: World, params: Object, invoice_id: str) -> Object:
    """POST /v1/invoices/{id}/void: an open one."""
    invoice = world.get("invoice", invoice_id, "invoice")
    if invoice["status"] not in ("open", "uncollectible"):
        raise ApiError(400, f"You can only pass in open invoices. This invoice isn't open ({invoice['status']}).")
    before = copy.deepcopy(invoice)
    invoice |= {"status": "void", "amount_remaining": 0, "auto_advance": False}
    invoice["status_transitions"]["voided_at"] = world.now
    return store_invoice(world, invoice, "invoice.voided", before)
