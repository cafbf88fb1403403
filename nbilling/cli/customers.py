"""Commands about customers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from nbilling.cli.context import billing, format_option, values
from nbilling.cli.output import show

F = TypeVar("F", bound=Callable[..., Any])
_FIELDS = {
    "name": "A person's name.",
    "company": "The company, as invoices name it.",
    "email": "Where invoices go.",
    "phone": "Telephone.",
    "address-line1": "Street and number.",
    "address-line2": "Second line of the address.",
    "postal-code": "Postal code.",
    "city": "City.",
    "region": "State or region.",
    "country": "Two capitals, ISO 3166, such as DE.",
    "vat-number": "VAT number.",
    "tax-exempt": "Why this customer pays no tax, such as a certificate's number.",
    "buyer-reference": "What the buyer wants to read on invoices.",
    "currency": "ISO 4217, such as EUR.",
    "locale": "Language of documents, such as de or en_GB.",
    "zone": "IANA time zone, such as Europe/Berlin.",
}


def profile_options(command: F) -> F:
    """An option for each field of a profile."""
    for name, help in reversed(_FIELDS.items()):
        command = click.option(f"--{name}", help=help)(command)
    return command


@click.group()
def customer() -> None:
    """Customers. One also comes into being at its first usage."""


@customer.command()
@click.argument("customer_id", metavar="CUSTOMER")
@profile_options
@format_option
@click.pass_context
def create(ctx: click.Context, /, customer_id: str, format: str | None, **fields: str | None) -> None:
    """Create a customer.

    \b
    Example:
      nbilling customer create acme --company "Acme Ltd" --country GB --zone Europe/London
    """
    with billing(ctx) as ledger:
        show(ledger.customers.create(customer_id, **values(**fields)), format)


@customer.command("show")
@click.argument("customer_id", metavar="CUSTOMER")
@format_option
@click.pass_context
def show_customer(ctx: click.Context, customer_id: str, format: str | None) -> None:
    """Show a customer.

    \b
    Example:
      nbilling customer show acme
    """
    with billing(ctx) as ledger:
        show(ledger.customers.show(customer_id), format)


@customer.command()
@click.argument("customer_id", metavar="CUSTOMER")
@profile_options
@format_option
@click.pass_context
def update(ctx: click.Context, /, customer_id: str, format: str | None, **fields: str | None) -> None:
    """Change some fields of a customer; an empty value clears one.

    \b
    Example:
      nbilling customer update acme --email billing@acme.example
    """
    with billing(ctx) as ledger:
        show(ledger.customers.update(customer_id, **values(**fields)), format)


@customer.command("list")
@click.option("--limit", default="50", show_default=True, help="How many.")
@click.option("--after", default="", help="The last id of the page before.")
@format_option
@click.pass_context
def list_customers(ctx: click.Context, limit: str, after: str, format: str | None) -> None:
    """List customers by id.

    \b
    Example:
      nbilling customer list --limit 20
    """
    with billing(ctx) as ledger:
        rows = ledger.customers.list(limit=limit, after=after)
    show(rows, format, columns=("customer_id", "company", "name", "email", "country", "currency", "zone"))
