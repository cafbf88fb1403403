"""Mail: messages composed, and handed to an SMTP server with a plain word on what became of them.

A message keeps its ``Message-ID`` however often it is sent, so that a server or a reader can tell a repetition. That is
needed in one case: where the connection dies after the text was sent and before the answer, nobody knows whether it was
taken (RFC 1047). The rule of mail is then to send it again.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from datetime import UTC, datetime
from email.errors import HeaderParseError, MessageDefect
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from hashlib import blake2b
from typing import NamedTuple

from nbilling.model.clock import SECOND
from nbilling.model.outbox import Delivered, Outcome, Refused, Retry, Unknown

TIMEOUT = 30
IMPLICIT_TLS_PORT = 465

_POLICY = SMTP.clone(cte_type="7bit")
_UTF8 = SMTPUTF8.clone(cte_type="7bit")
_ATOM = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class Mail(NamedTuple):
    """One mail to one address. ``attachments``: ``(file name, media type, content)``."""

    to: str
    subject: str
    text: str
    html: str = ""
    attachments: tuple[tuple[str, str, bytes], ...] = ()


class Server(NamedTuple):
    """An SMTP server, and as whom to use it. ``sender``: an address, or ``Name <address>``."""

    host: str
    port: int = 587
    user: str = ""
    password: str = ""
    sender: str = ""

    def __repr__(self) -> str:
        return f"Server({self.host!r}, {self.port}, {self.user!r})"


def sender_parts(sender: str) -> tuple[str, str]:
    """``(name, address)`` of ``Name <address>`` or of an address alone."""
    name, bracket, rest = sender.rpartition("<")
    return (name.strip(), rest.removesuffix(">").strip()) if bracket else ("", sender.strip())


def is_sender(sender: str) -> bool:
    """Whether mail can be sent in that name."""
    name, address = sender_parts(sender)
    try:
        whole = f"{address.rpartition('@')[0]}@{_ascii_domain(address)}"
        return bool(Address(name, addr_spec=whole).domain)
    except (HeaderParseError, ValueError, IndexError, MessageDefect):
        return False


def message_id(operation_id: str, sender: str) -> str:
    """The same for the same operation for ever."""
    domain = _ascii_domain(sender_parts(sender)[1])
    local = (
        operation_id if _ATOM.fullmatch(operation_id) else blake2b(operation_id.encode(), digest_size=16).hexdigest()
    )
    return f"<{local}@{domain}>"


def compose(mail: Mail, sender: str, operation_id: str, at: int) -> EmailMessage:
    """The message, the same to the byte each time. ``at``: its date, microseconds UTC."""
    message = EmailMessage(_POLICY)
    name, address = sender_parts(sender)
    message["From"] = _address(name, address)
    message["To"] = _address("", mail.to)
    message["Subject"] = " ".join(mail.subject.split())
    message["Date"] = format_datetime(datetime.fromtimestamp(at // SECOND, UTC))
    message["Message-ID"] = message_id(operation_id, sender)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    if mail.html:
        message.add_alternative(mail.html, subtype="html")
    for file_name, media_type, content in mail.attachments:
        main, _, sub = media_type.partition("/")
        message.add_attachment(content, maintype=main, subtype=sub, filename=file_name)
    seal = blake2b(operation_id.encode(), digest_size=12).hexdigest()
    for number, part in enumerate(message.walk()):
        if part.is_multipart():
            part.set_boundary(f"=_{seal}_{number}")
    return message


def _address(name: str, address: str) -> Address:
    """From its parts: as a whole the library takes no local part outside ASCII."""
    return Address(name, address.rpartition("@")[0], _ascii_domain(address))


def _ascii_domain(address: str) -> str:
    """The domain in ASCII: names of other scripts in their ``xn--`` form."""
    domain = address.rpartition("@")[2]
    return domain if domain.isascii() else domain.encode("idna").decode()


def to_bytes(message: EmailMessage) -> bytes:
    """The message as it is sent and as an ``.eml`` file has it. All ASCII, unless an address is not."""
    addresses = message["To"].addresses[0].addr_spec + message["From"].addresses[0].addr_spec
    return message.as_bytes(policy=_POLICY if addresses.isascii() else _UTF8)


def send(server: Server, message: EmailMessage, *, tls: ssl.SSLContext | None = None) -> Outcome:
    """Hands a message over. A password is only sent over TLS, with the server's certificate checked.

    Without a password TLS is taken where it is offered, whatever the certificate, as mail servers do among themselves.
    ``tls``: how certificates are checked. Refused: the server will never take it. Retry: not now. Unknown: it had the
    whole text and did not answer.
    """
    session = _Session(server, message["To"].addresses[0].addr_spec, tls or ssl.create_default_context())
    try:
        return session.deliver(message)
    except smtplib.SMTPResponseException as error:
        return session.answered(error.smtp_code, error.smtp_error)
    except ssl.SSLError as error:
        return session.broken(f"TLS failed: {error.reason or type(error).__name__}")
    except (OSError, smtplib.SMTPException) as error:
        return session.broken(f"{type(error).__name__}: {error}")
    finally:
        session.close()


class _Session:
    """One conversation with a server, and how far it got."""

    def __init__(self, server: Server, recipient: str, tls: ssl.SSLContext) -> None:
        self._server = server
        self._recipient = recipient
        self._tls = tls
        self._smtp: smtplib.SMTP | None = None
        self._begun = False  # the server has heard of the message
        self._handed_over = False  # it may have all of it: no answer means that nobody knows

    def deliver(self, message: EmailMessage) -> Outcome:
        smtp = self._connect()
        content = to_bytes(message)
        options = []
        if not content.isascii():
            if not (smtp.has_extn("smtputf8") and smtp.has_extn("8bitmime")):
                return Refused("the server takes no addresses outside ASCII")
            options = ["SMTPUTF8", "BODY=8BITMIME"]
            smtp.command_encoding = "utf-8"
        self._begun = True
        _expect(smtp.mail(message["From"].addresses[0].addr_spec, options), (250,))
        _expect(smtp.rcpt(self._recipient), (250, 251, 252))
        _expect(smtp.docmd("DATA"), (354,))
        self._handed_over = True
        smtp.send(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
        code, text = smtp.getreply()
        if code == 250:
            return Delivered({"answer": self._shown(text)})
        self._handed_over = not 400 <= code < 600
        return self.answered(code, text)

    def _connect(self) -> smtplib.SMTP:
        host, port, user = self._server.host, self._server.port, self._server.user
        smtp: smtplib.SMTP
        if port == IMPLICIT_TLS_PORT:
            self._smtp = smtp = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT, context=self._tls)
        else:
            self._smtp = smtp = smtplib.SMTP(host, port, timeout=TIMEOUT)
            smtp.ehlo_or_helo_if_needed()
            if smtp.has_extn("starttls"):
                smtp.starttls(context=self._tls if user else _unchecked())
            elif user:
                raise smtplib.SMTPException("the server offers no TLS, and the password is not sent without")
        smtp.ehlo_or_helo_if_needed()
        if user:
            try:
                smtp.login(user, self._server.password)
            except smtplib.SMTPAuthenticationError as error:
                # A wrong password is ours to mend, and no fault of the message.
                raise smtplib.SMTPException(f"the server refused the login ({error.smtp_code})") from None
        return smtp

    def answered(self, code: int, text: bytes | str) -> Outcome:
        """An answer that is no yes: to the message itself 5xx is for good, all else is for now."""
        said = f"the server answered {code}: {self._shown(text)}"
        if self._handed_over:
            return Unknown(said)
        return Refused(said) if self._begun and 500 <= code < 600 else Retry(said)

    def broken(self, what: str) -> Outcome:
        """No answer: before the message was handed over it is certain that it was not taken."""
        if self._handed_over:
            return Unknown(f"the connection broke after the message was sent, before the answer: {self._shown(what)}")
        return Retry(f"no mail can be sent: {self._shown(what)}")

    def _shown(self, text: bytes | str) -> str:
        """A server's words, without the address and the password: the history of the outbox is kept for ever."""
        words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        words = words.replace(self._recipient, "the recipient").replace(self._server.password or "\0", "***")
        return " ".join(words.split())[:300]

    def close(self) -> None:
        """Says goodbye where that is still possible."""
        if self._smtp is None:
            return
        try:
            if self._smtp.sock is not None and not self._handed_over:
                self._smtp.quit()
        except (OSError, smtplib.SMTPException):
            pass  # the message's fate is known, and the server's manners do not change it
        self._smtp.close()


def _expect(reply: tuple[int, bytes], wanted: tuple[int, ...]) -> None:
    if reply[0] not in wanted:
        raise smtplib.SMTPResponseException(*reply)


def _unchecked() -> ssl.SSLContext:
    """TLS with whoever answers: no password is at stake, and without it the mail would go in the clear."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
