"""The room ``outbox``: the engine's outbox, and the handlers that send what is in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from nbilling.engine.accounts import Accounts
from nbilling.engine.alerts import KINDS
from nbilling.engine.core import Core
from nbilling.engine.outbox import Outbox
from nbilling.engine.outbox_worker import Worker
from nbilling.model.clock import SystemClock
from nbilling.model.errors import Conflict, StorageError
from nbilling.model.outbox import Delivered, Handler, Message, Outcome, Retry, traits_of
from nbilling.store import customers

ALERT = "usage.alert"
"""The type of an alert's event, in webhooks and in the log."""

ALERT_TEXT = """{summary}.

Billing period: {period_start} to {period_end}
Noticed:        {fired_at}

This alert is sent once in a billing period.
"""


class Deliveries(Outbox):
    """What waits to be sent, and sending it. ``more``: handlers of other rooms, by kind."""

    def __init__(self, core: Core, accounts: Accounts, more: Callable[[], Mapping[str, Handler]] = dict) -> None:
        super().__init__(core)
        self._more = more

    def handlers(self) -> dict[str, Handler]:
        """Everything that can be sent, by kind."""
        from nbilling.delivery.log import Log
        from nbilling.delivery.webhooks import Webhook

        config = self._core.config
        return {
            KINDS["email"]: AlertMail(self._core),
            # A receiver compares the time with its own clock, so it is the real one, whatever a test clock says.
            KINDS["webhook"]: Webhook(config.webhook_url, config.webhook_secret, ALERT, SystemClock().now),
            KINDS["log"]: Log(config.alert_log, ALERT),
            **self._more(),
        }

    def worker(self) -> Worker:
        """A worker with these handlers."""
        return Worker(self._core, self.handlers())

    def process(self, *, reconcile_only: bool = False, limit: int | None = None) -> dict[str, int]:
        """Sends what is due, each message once; see :meth:`Worker.run`. Returns counts of what came of it."""
        return self.worker().run(reconcile_only=reconcile_only, limit=limit)

    def watch(self, stop: Callable[[], bool], wait: Callable[[], None]) -> dict[str, int]:
        """Sends what is due until ``stop()``; ``wait()`` is called whenever nothing is."""
        return self.worker().watch(stop, wait)

    def send_now(self, operation_id: str) -> dict[str, Any]:
        """Sends one message now, and what stands before it in its lane; returns it as :meth:`show` does."""
        self.worker().send_now(operation_id)
        return self.show(operation_id)

    def retry(self, message: int | str, *, not_done: bool = False) -> dict[str, Any]:
        """Makes a message due at once; see :meth:`Outbox.retry`. What nobody can find out is a Conflict."""
        found = self.show(message)
        handler = self.handlers().get(found["kind"])
        traits = traits_of(handler) if handler is not None else None
        can_tell = traits is not None and (traits.reconciles or traits.repeatable)
        if found["uncertain"] and not not_done and not can_tell:
            raise Conflict(
                f"message {found['id']} may have happened, and nbilling cannot find out",
                hint="look there yourself; then retry with --not-done, or drop it",
            )
        return super().retry(message, not_done=not_done)


class MailTransport:
    """Where mail goes: to the SMTP server, or in a fixtures ledger to a file."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def missing(self) -> str:
        """Why no mail can be sent, or empty."""
        if self._in_fixtures():
            return ""
        from nbilling.delivery.mail import is_sender

        config = self._core.config
        if not config.smtp_host:
            return "no SMTP server is set up: set AUTH_SMTP_HOST"
        if not is_sender(config.smtp_sender):
            return "mail has no sender: set AUTH_SMTP_SENDER to an address"
        return ""

    def send(self, mail: Any, operation_id: str, at: int) -> Outcome:
        """Sends a :class:`nbilling.delivery.mail.Mail`, dated ``at``, under the operation's ``Message-ID``."""
        from nbilling.delivery.mail import Server, compose, is_sender, send

        config = self._core.config
        sender = config.smtp_sender
        if self._in_fixtures():
            message = compose(mail, sender if is_sender(sender) else "billing@example.com", operation_id, at)
            return self._to_file(message, operation_id)
        server = Server(config.smtp_host, config.smtp_port, config.smtp_user, config.smtp_password, sender)
        return send(server, compose(mail, sender, operation_id, at))

    def _in_fixtures(self) -> bool:
        return customers.fact(self._core.read(), "mode") == "fixtures"

    def _to_file(self, message: Any, operation_id: str) -> Outcome:
        from nbilling.delivery.mail import to_bytes
        from nbilling.documents.files import whole_file

        directory = self._core.config.mail_directory or f"{self._core.ledger.path}-mail"
        path = os.path.join(directory, f"{operation_id.replace(':', '_')}.eml")
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            with whole_file(path) as out:
                out.write(to_bytes(message))
        except StorageError as error:
            return Retry(error.message)
        except OSError as error:
            return Retry(f"{directory} cannot be made: {error.strerror or error}")
        return Delivered({"file": path})


class AlertMail:
    """Mails an alert to the customer's address, else to the one that is configured for alerts."""

    repeatable = True  # the Message-ID stays the same: RFC 1047 leaves nothing better

    def __init__(self, core: Core) -> None:
        self._core = core
        self._transport = MailTransport(core)

    def blocked(self, message: Message) -> str:
        """What is missing: a server, a sender, an address."""
        if missing := self._transport.missing():
            return missing
        if not self._recipient(message):
            return f"{message.customer_id} has no e-mail address: set one, or NBILLING_ALERT_EMAIL"
        return ""

    def send(self, message: Message) -> Outcome:
        """Composes and sends it."""
        from nbilling.delivery.mail import Mail

        mail = Mail(
            to=self._recipient(message),
            subject=f"Usage alert: {message.payload['summary']}",
            text=ALERT_TEXT.format_map(message.payload),
        )
        return self._transport.send(mail, message.operation_id, message.created_at)

    def _recipient(self, message: Message) -> str:
        db = self._core.read()
        row = customers.find(db, message.customer_id)
        address: str = customers.profile(db, row.id)["email"] if row else ""
        return address or self._core.config.alert_email
