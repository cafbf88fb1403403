"""Invoices by mail: queued in the commit that finalises, sent over real SMTP, once."""

from __future__ import annotations

import email
import email.policy
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiosmtpd.controller import Controller

import nbilling
from nbilling.model.errors import BadInput, Conflict, NotFound, UpstreamError

from .conftest import SELLER

Open = Callable[..., nbilling.Billing]


class Inbox:
    """A server that keeps what it gets, or refuses it."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.answer = "250 taken"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.answer.startswith("2"):
            self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return self.answer


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, dict[str, str]]]:
    kept = Inbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(kept, hostname="127.0.0.1", port=port)
    controller.start()
    yield (
        kept,
        {
            "AUTH_SMTP_HOST": "127.0.0.1",
            "AUTH_SMTP_PORT": str(port),
            "AUTH_SMTP_SENDER": "Northwind <billing@northwind.example>",
        },
    )
    controller.stop()


def draft(billing: nbilling.Billing, address: str = "jane@acme.example") -> str:
    billing.customers.create("acme", company="Acme Ltd", email=address)
    billing.plans.upgrade("acme", "pro")
    return billing.invoices.generate("acme", "monthly")


def test_a_draft_is_finalised_and_mailed_with_its_pdf(open_billing: Open, inbox: tuple[Inbox, dict[str, str]]) -> None:
    kept, settings = inbox
    billing = open_billing(**SELLER, **settings)
    invoice = draft(billing)
    assert billing.invoices.email_send(invoice, "acme")["state"] == "done"
    (mail,) = kept.mails
    assert mail["To"] == "jane@acme.example"
    assert mail["Subject"] == "Invoice INV-2026-000001 from Northwind Cloud GmbH"
    assert "34.51 USD" in mail.get_body(("plain",)).get_content()
    assert "<strong>INV-2026-000001</strong>" in mail.get_body(("html",)).get_content()
    (pdf,) = mail.iter_attachments()
    assert (pdf.get_filename(), pdf.get_content()[:5]) == ("INV-2026-000001.pdf", b"%PDF-")
    assert billing.invoices.show(invoice)["status"] == "open"


def test_a_server_that_is_away_leaves_the_mail_in_the_outbox_and_asking_again_adds_none(
    open_billing: Open, inbox: tuple[Inbox, dict[str, str]]
) -> None:
    kept, settings = inbox
    billing = open_billing(**settings)
    invoice = draft(billing)
    kept.answer = "451 come back later"
    first = billing.invoices.email_send(invoice, "acme")
    assert first["state"] == "pending"
    assert billing.invoices.email_send(invoice, "acme")["id"] == first["id"]
    kept.answer = "250 taken"
    assert billing.invoices.email_send(invoice, "acme")["state"] == "done"
    assert len(kept.mails) == 1
    assert billing.invoices.email_send(invoice, "acme")["id"] != first["id"]  # it had arrived: asked for once more
    assert len(kept.mails) == 2


def test_a_refusal_is_an_error_of_the_server(open_billing: Open, inbox: tuple[Inbox, dict[str, str]]) -> None:
    kept, settings = inbox
    billing = open_billing(**settings)
    kept.answer = "550 no such user"
    with pytest.raises(UpstreamError, match="550"):
        billing.invoices.email_send(draft(billing), "acme")


def test_what_cannot_be_mailed_is_refused_and_stays_a_draft(
    open_billing: Open, inbox: tuple[Inbox, dict[str, str]]
) -> None:
    _, settings = inbox
    billing = open_billing(**settings)
    invoice = draft(billing, "")
    with pytest.raises(BadInput, match="no e-mail address"):
        billing.invoices.email_send(invoice, "acme")
    with pytest.raises(Conflict):
        billing.invoices.email_send(invoice, "somebody")
    with pytest.raises(NotFound):
        billing.invoices.email_send("inv_nothing", "acme")
    with pytest.raises(BadInput, match="no SMTP server"):
        open_billing().invoices.email_send(invoice, "acme")
    assert billing.invoices.show(invoice)["status"] == "draft"
    assert billing.outbox.list() == []
