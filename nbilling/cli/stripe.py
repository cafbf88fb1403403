"""Commands of the room ``stripe``."""

from __future__ import annotations

import sys
from typing import Any

import click

from nbilling.cli.context import billing, format_option
from nbilling.cli.ledger import make
from nbilling.cli.output import chosen_format, note, show, write

_MOST_PAYLOAD = 1_048_576
"""More is not even read; what is taken is bounded further down."""


@click.group()
def stripe() -> None:
    """Stripe: customers, cards, subscriptions, invoices, webhooks. Changes go through the outbox.

    CUSTOMER is an id of Stripe, or of a customer here that is linked to one.
    """


@stripe.command()
@click.argument("source", metavar="[-]", nargs=-1)
@click.option("--key-file", metavar="FILE", help="A file with the key that only you can read.")
@click.pass_context
def init(ctx: click.Context, source: tuple[str, ...], key_file: str | None) -> None:
    """Create or migrate the ledger, check the key, and fix the ledger's mode: fixtures, test or live.

    The key comes from STRIPE_SECRET_KEY, from --key-file, or with - from standard input, never from the command line.

    \b
    Example:
      export STRIPE_SECRET_KEY=sk_test_PLACEHOLDER
      nbilling stripe init
    """
    from nbilling.api.stripe import key_from
    from nbilling.model.errors import BadInput

    if source not in ((), ("-",)) or (source and key_file):
        raise BadInput("a key is not given on the command line", hint="set STRIPE_SECRET_KEY, or give - or --key-file")
    key = key_from(sys.stdin if source else key_file)
    make(ctx)
    with billing(ctx) as ledger:
        before, mode = ledger.stripe.mode(), ledger.stripe.init(key)
    if mode != before:
        note(f"from now on this ledger is of mode {mode}")


@stripe.command("customer-create")
@click.argument("email")
@click.argument("name")
@click.option("--customer", default="", help="The customer here that it stands for. Default: a new one.")
@click.pass_context
def customer_create(ctx: click.Context, email: str, name: str, customer: str) -> None:
    """Create a customer at Stripe, and print its id.

    \b
    Example:
      nbilling stripe customer-create ann@example.com "Ann Example" --customer acme
    """
    with billing(ctx) as ledger:
        write(ledger.stripe.customer_create(email, name, customer_id=customer))


@stripe.command("customer-get")
@click.argument("customer")
@format_option
@click.pass_context
def customer_get(ctx: click.Context, customer: str, format: str | None) -> None:
    """Show a customer as Stripe has it.

    \b
    Example:
      nbilling stripe customer-get acme
    """
    with billing(ctx) as ledger:
        show(ledger.stripe.customer_get(customer), chosen_format(format, "json"))


@stripe.command("customer-update")
@click.argument("customer")
@click.argument("field")
@click.argument("value")
@click.pass_context
def customer_update(ctx: click.Context, customer: str, field: str, value: str) -> None:
    """Set email, name, phone, description, tax_exempt or metadata.KEY of a customer. Empty text clears it.

    \b
    Example:
      nbilling stripe customer-update acme name "Ann Example"
    """
    with billing(ctx) as ledger:
        ledger.stripe.customer_update(customer, field, value)


@stripe.command("customer-delete")
@click.argument("customer")
@click.pass_context
def customer_delete(ctx: click.Context, customer: str) -> None:
    """Delete a customer at Stripe; its subscriptions end. Deleted already: nothing.

    \b
    Example:
      nbilling stripe customer-delete cus_test_1
    """
    with billing(ctx) as ledger:
        ledger.stripe.customer_delete(customer)


@stripe.command("payment-method-attach")
@click.argument("customer")
@click.argument("method", metavar="PAYMENT_METHOD")
@click.pass_context
def payment_method_attach(ctx: click.Context, customer: str, method: str) -> None:
    """Attach a payment method, and print its id. It becomes the default where there is none.

    \b
    Example:
      nbilling stripe payment-method-attach cus_test_1 pm_card_visa
    """
    with billing(ctx) as ledger:
        write(ledger.stripe.payment_method_attach(customer, method))


@stripe.command("payment-methods-list")
@click.argument("customer")
@format_option
@click.pass_context
def payment_methods_list(ctx: click.Context, customer: str, format: str | None) -> None:
    """List a customer's payment methods.

    \b
    Example:
      nbilling stripe payment-methods-list cus_test_1
    """
    with billing(ctx) as ledger:
        found = ledger.stripe.payment_methods_list(customer)
    show(found, chosen_format(format, "json"), columns=("id", "type", "customer", "created"))


@stripe.command("subscription-create")
@click.argument("customer")
@click.argument("price")
@click.pass_context
def subscription_create(ctx: click.Context, customer: str, price: str) -> None:
    """Subscribe a customer to a price, and print the subscription's id. The plan here follows.

    The plan is the one that the price's metadata nb_plan names.

    \b
    Example:
      nbilling stripe subscription-create cus_test_1 price_pro_monthly
    """
    with billing(ctx) as ledger:
        write(ledger.stripe.subscription_create(customer, price))


@stripe.command("subscription-get")
@click.argument("subscription")
@format_option
@click.pass_context
def subscription_get(ctx: click.Context, subscription: str, format: str | None) -> None:
    """Show a subscription as Stripe has it.

    \b
    Example:
      nbilling stripe subscription-get sub_test_1
    """
    with billing(ctx) as ledger:
        show(ledger.stripe.subscription_get(subscription), chosen_format(format, "json"))


@stripe.command("subscription-update")
@click.argument("subscription")
@click.argument("price")
@click.pass_context
def subscription_update(ctx: click.Context, subscription: str, price: str) -> None:
    """Move a subscription to another price. The same price: nothing.

    \b
    Example:
      nbilling stripe subscription-update sub_test_1 price_enterprise_monthly
    """
    with billing(ctx) as ledger:
        ledger.stripe.subscription_update(subscription, price)


@stripe.command("subscription-cancel")
@click.argument("subscription")
@click.argument("when", default="at_period_end")
@click.pass_context
def subscription_cancel(ctx: click.Context, subscription: str, when: str) -> None:
    """End a subscription, now or at_period_end. Ended already: nothing.

    \b
    Example:
      nbilling stripe subscription-cancel sub_test_1 at_period_end
    """
    with billing(ctx) as ledger:
        ledger.stripe.subscription_cancel(subscription, when)


@stripe.command("invoice-create")
@click.argument("customer")
@click.pass_context
def invoice_create(ctx: click.Context, customer: str) -> None:
    """Create a draft with the items that wait for it, and print its id.

    \b
    Example:
      nbilling stripe invoice-create cus_test_1
    """
    with billing(ctx) as ledger:
        write(ledger.stripe.invoice_create(customer))


@stripe.command("invoice-item-add")
@click.argument("customer")
@click.argument("amount", metavar="CENTS")
@click.argument("text")
@click.pass_context
def invoice_item_add(ctx: click.Context, customer: str, amount: str, text: str) -> None:
    """Add an item in minor units to the customer's draft, else to its next invoice.

    \b
    Example:
      nbilling stripe invoice-item-add cus_test_1 1000 "Overage charges"
    """
    with billing(ctx) as ledger:
        write(ledger.stripe.invoice_item_add(customer, amount, text))


@stripe.command("invoice-finalize")
@click.argument("invoice")
@format_option
@click.pass_context
def invoice_finalize(ctx: click.Context, invoice: str, format: str | None) -> None:
    """Make a draft final. Final already: the same.

    \b
    Example:
      nbilling stripe invoice-finalize inv_test_1
    """
    with billing(ctx) as ledger:
        show(ledger.stripe.invoice_finalize(invoice), chosen_format(format, "json"))


@stripe.command("payment-process")
@click.argument("invoice")
@format_option
@click.pass_context
def payment_process(ctx: click.Context, invoice: str, format: str | None) -> None:
    """Charge an invoice, once. Exit 1 where the payment is declined.

    \b
    Example:
      nbilling stripe payment-process inv_test_1
    """
    with billing(ctx) as ledger:
        show(ledger.stripe.payment_process(invoice), chosen_format(format, "json"))


@stripe.command("webhook-handle")
@click.argument("payload", default="-")
@click.argument("signature", envvar="STRIPE_SIGNATURE", default="")
@format_option
@click.pass_context
def webhook_handle(ctx: click.Context, payload: str, signature: str, format: str | None) -> None:
    """Take a webhook: PAYLOAD is its body as it came, - reads it from standard input.

    Outside a fixtures ledger the signature is needed, and STRIPE_WEBHOOK_SECRET.

    \b
    Example:
      nbilling stripe webhook-handle - "$SIGNATURE" < body.json
    """
    body: Any = sys.stdin.buffer.read(_MOST_PAYLOAD) if payload == "-" else payload
    with billing(ctx) as ledger:
        show(ledger.stripe.webhook_handle(body, signature), chosen_format(format, "json"))


@stripe.command()
@click.argument("file", metavar="FILE")
@click.option("--port", default="12111", show_default=True, help="On 127.0.0.1; 0 takes any that is free.")
def mock(file: str, port: str) -> None:
    """Serve an offline Stripe over HTTP on this machine, with a ledger of its own in FILE, until Ctrl-C.

    \b
    Example:
      nbilling stripe mock mock.db --port 12111
    """
    from nbilling.api.stripe import serve_mock
    from nbilling.model.text import whole

    serve_mock(file, whole(port, "port", maximum=65_535), write_now)


def write_now(address: str) -> None:
    """Prints where the mock listens, before it serves."""
    write(address)
    sys.stdout.flush()
