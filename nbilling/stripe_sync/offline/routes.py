"""Which endpoint answers which request, and which of its parameters the offline Stripe acts on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from nbilling.stripe_sync.offline import catalog, deletion, happened, invoices, payments, people, subscriptions
from nbilling.stripe_sync.offline.wire import ApiError, invalid
from nbilling.stripe_sync.offline.world import Object

_PAGE = "limit starting_after ending_before"
_CUSTOMER = "address description email invoice_settings metadata name phone preferred_locales shipping tax_exempt"
_INVOICE = "auto_advance collection_method days_until_due default_payment_method description due_date footer metadata"
_SUBSCRIPTION = (
    "cancel_at_period_end collection_method days_until_due default_payment_method description items metadata "
    "payment_behavior proration_behavior"
)


class Route(NamedTuple):
    """An endpoint: its parameters are those of a TypedDict of the library; it acts on some of them."""

    method: str
    pattern: re.Pattern[str]
    params: str
    endpoint: Callable[..., Object]
    acts_on: frozenset[str]


def _route(request: str, params: str, endpoint: Callable[..., Object], acts_on: str = "") -> Route:
    method, path = request.split(" ")
    pattern = re.compile("/v1" + path.replace("{}", "([^/]+)"), re.ASCII)
    return Route(method, pattern, params, endpoint, frozenset(["expand", *acts_on.split()]))


ROUTES = (
    _route("GET /account", "AccountRetrieveCurrentParams", catalog.account_retrieve),
    _route("POST /customers", "CustomerCreateParams", people.customer_create, _CUSTOMER),
    _route("GET /customers", "CustomerListParams", people.customer_list, f"{_PAGE} created email"),
    _route("GET /customers/{}", "CustomerRetrieveParams", people.customer_retrieve),
    _route("POST /customers/{}", "CustomerUpdateParams", people.customer_update, _CUSTOMER),
    _route("DELETE /customers/{}", "CustomerDeleteParams", deletion.customer_delete),
    _route("GET /customers/{}/payment_methods", "CustomerPaymentMethodListParams", people.methods_of_customer,
           f"{_PAGE} type"),
    _route("GET /payment_methods", "PaymentMethodListParams", people.method_list, f"{_PAGE} customer type"),
    _route("GET /payment_methods/{}", "PaymentMethodRetrieveParams", people.method_retrieve),
    _route("POST /payment_methods/{}/attach", "PaymentMethodAttachParams", people.method_attach, "customer"),
    _route("POST /payment_methods/{}/detach", "PaymentMethodDetachParams", people.method_detach),
    _route("POST /products", "ProductCreateParams", catalog.product_create,
           "active description id metadata name unit_label url"),
    _route("GET /products", "ProductListParams", catalog.product_list, f"{_PAGE} active created ids"),
    _route("GET /products/{}", "ProductRetrieveParams", catalog.product_retrieve),
    _route("POST /products/{}", "ProductUpdateParams", catalog.product_update,
           "active description metadata name unit_label url"),
    _route("POST /prices", "PriceCreateParams", catalog.price_create,
           "active currency lookup_key metadata nickname product product_data recurring tax_behavior unit_amount"),
    _route("GET /prices", "PriceListParams", catalog.price_list,
           f"{_PAGE} active created currency lookup_keys product type"),
    _route("GET /prices/{}", "PriceRetrieveParams", catalog.price_retrieve),
    _route("POST /prices/{}", "PriceUpdateParams", catalog.price_update,
           "active lookup_key metadata nickname tax_behavior"),
    _route("POST /subscriptions", "SubscriptionCreateParams", subscriptions.subscription_create,
           f"{_SUBSCRIPTION} customer billing_mode"),
    _route("GET /subscriptions", "SubscriptionListParams", subscriptions.subscription_list,
           f"{_PAGE} created customer price status"),
    _route("GET /subscriptions/{}", "SubscriptionRetrieveParams", subscriptions.subscription_retrieve),
    _route("POST /subscriptions/{}", "SubscriptionUpdateParams", subscriptions.subscription_update, _SUBSCRIPTION),
    _route("DELETE /subscriptions/{}", "SubscriptionCancelParams", subscriptions.subscription_cancel),
    _route("POST /invoices", "InvoiceCreateParams", invoices.invoice_create,
           f"{_INVOICE} currency customer pending_invoice_items_behavior"),
    _route("GET /invoices", "InvoiceListParams", invoices.invoice_list,
           f"{_PAGE} collection_method created customer status subscription"),
    _route("GET /invoices/{}", "InvoiceRetrieveParams", invoices.invoice_retrieve),
    _route("POST /invoices/{}", "InvoiceUpdateParams", invoices.invoice_update, _INVOICE),
    _route("DELETE /invoices/{}", "InvoiceDeleteParams", invoices.invoice_delete),
    _route("GET /invoices/{}/lines", "InvoiceLineItemListParams", invoices.line_list, _PAGE),
    _route("POST /invoices/{}/finalize", "InvoiceFinalizeInvoiceParams", invoices.invoice_finalize, "auto_advance"),
    _route("POST /invoices/{}/pay", "InvoicePayParams", invoices.invoice_pay, "paid_out_of_band payment_method"),
    _route("POST /invoices/{}/void", "InvoiceVoidInvoiceParams", invoices.invoice_void),
    _route("POST /invoiceitems", "InvoiceItemCreateParams", invoices.item_create,
           "amount currency customer description discountable invoice metadata period"),
    _route("GET /invoiceitems", "InvoiceItemListParams", invoices.item_list,
           f"{_PAGE} created customer invoice pending"),
    _route("GET /invoiceitems/{}", "InvoiceItemRetrieveParams", invoices.item_retrieve),
    _route("DELETE /invoiceitems/{}", "InvoiceItemDeleteParams", invoices.item_delete),
    _route("GET /invoice_payments", "InvoicePaymentListParams", payments.payment_list,
           f"{_PAGE} created invoice status"),
    _route("GET /payment_intents/{}", "PaymentIntentRetrieveParams", payments.intent_retrieve),
    _route("GET /events", "EventListParams", happened.event_list,
           f"{_PAGE} created delivery_success type types"),
    _route("GET /events/{}", "EventRetrieveParams", happened.event_retrieve),
)  # fmt: skip


def route(method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    """The endpoint of a request, and the ids in its path."""
    for one in ROUTES:
        if one.method == method and (match := one.pattern.fullmatch(path)):
            return one, match.groups()
    raise ApiError(404, f"Unrecognized request URL ({method}: {path[:200]}).", kept=False)


def acted_on(one: Route, params: dict[str, Any]) -> None:
    """A parameter that Stripe knows and the offline Stripe would pass over is an error, not ignored."""
    for name in params:
        if name not in one.acts_on:
            raise invalid(
                f"The offline Stripe does not support the parameter {name} here.", name, "parameter_unsupported"
            )
