"""Mail against a real SMTP server: taken, refused for good, refused for now, and the cases where nobody can tell."""

from __future__ import annotations

import email
import email.policy
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from nbilling.delivery import mail as mailing
from nbilling.delivery.mail import Mail, Server, compose, is_sender, message_id, send, sender_parts, to_bytes
from nbilling.model.clock import parse_time
from nbilling.model.outbox import Delivered, Outcome, Refused, Retry, Unknown

AT = parse_time("2026-01-10T12:00:00Z")
SENDER = "Bücher & Co <billing@example.com>"
LETTER = Mail("ada@example.com", "Usage alert: 80 % – voll", "Hello\n.\n..dots\n", "<p>Hello</p>",
              (("Rechnung é.pdf", "application/pdf", b"%PDF-1.7\n\x00\xff"),))  # fmt: skip


class Mailbox:
    """What the server does at each step, and the messages that it took."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.replies: dict[str, str] = {}
        self.after_data: Callable[[Any], None] | None = None
        self.logins: list[bytes] = []

    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str, responses: Any) -> Any:  # noqa: N802
        session.host_name = hostname
        return responses

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        envelope.mail_from = address
        return self.replies.get("MAIL", "250 OK")

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        envelope.rcpt_tos.append(address)
        return self.replies.get("RCPT", "250 OK").format(address=address)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.taken.append(envelope.original_content)
        if self.after_data is not None:
            self.after_data(server)
        return self.replies.get("DATA", "250 queued as 1")


class Post(Controller):
    """The server on a free port of this machine."""

    def __init__(self, box: Mailbox, **how: Any) -> None:
        self.how = how
        super().__init__(box, hostname="127.0.0.1", port=0)

    def factory(self) -> SMTP:
        return SMTP(self.handler, enable_SMTPUTF8=True, timeout=60, **self.how)

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def box() -> Mailbox:
    return Mailbox()


@pytest.fixture
def office(box: Mailbox) -> Iterator[Callable[..., Server]]:
    """Starts a server and says how to reach it."""
    running: list[Post] = []

    def start(user: str = "", password: str = "", **how: Any) -> Server:
        post = Post(box, **how)
        post.start()
        running.append(post)
        return Server("127.0.0.1", post.port, user, password, SENDER)

    yield start
    for post in running:
        post.stop()


def deliver(server: Server, letter: Mail = LETTER, **how: Any) -> Outcome:
    return send(server, compose(letter, server.sender or SENDER, "inv_1", AT), **how)


def parsed(content: bytes) -> Any:
    return email.message_from_bytes(content, policy=email.policy.default)


# --- Composing ------------------------------------------------------------------------------------------------------


def test_a_message_has_all_its_parts_and_is_plain_ascii() -> None:
    content = to_bytes(compose(LETTER, SENDER, "inv_1", AT))
    assert content.isascii()
    message = parsed(content)
    assert str(message["To"]) == "ada@example.com"
    assert message["From"].addresses[0].display_name == "Bücher & Co"
    assert message["Subject"] == LETTER.subject
    assert message["Message-ID"] == "<inv_1@example.com>"
    assert message["Date"].datetime.isoformat() == "2026-01-10T12:00:00+00:00"
    assert message.get_body(("plain",)).get_content().splitlines() == LETTER.text.splitlines()
    assert message.get_body(("html",)).get_content().strip() == LETTER.html
    [attachment] = message.iter_attachments()
    assert (attachment.get_filename(), attachment.get_content()) == ("Rechnung é.pdf", b"%PDF-1.7\n\x00\xff")


def test_the_message_id_is_the_same_for_the_same_operation_and_no_other() -> None:
    assert message_id("alert_1", SENDER) == "<alert_1@example.com>"
    assert message_id("a:1", SENDER) == message_id("a:1", "x@example.com") != message_id("a:2", SENDER)
    assert ":" not in message_id("a:1", SENDER)
    assert message_id("op", "billing@bücher.example") == "<op@xn--bcher-kva.example>"


def test_a_subject_of_several_lines_cannot_smuggle_in_a_header() -> None:
    content = to_bytes(compose(LETTER._replace(subject="a\r\nBcc: evil@example.com"), SENDER, "op", AT))
    assert parsed(content)["Bcc"] is None
    assert parsed(content)["Subject"] == "a Bcc: evil@example.com"


def test_a_long_subject_of_any_script_arrives_whole() -> None:
    subject = "Алерт 警告 😀 " * 40
    assert parsed(to_bytes(compose(LETTER._replace(subject=subject), SENDER, "op", AT)))["Subject"] == subject.strip()


@pytest.mark.parametrize(
    "sender,parts",
    [
        ("a@b.example", ("", "a@b.example")),
        ("Ada <a@b.example>", ("Ada", "a@b.example")),
        (" Ada, Inc.  < a@b.example >", ("Ada, Inc.", "a@b.example")),
        ("nself@localhost", ("", "nself@localhost")),
    ],
)
def test_a_sender_is_an_address_with_or_without_a_name(sender: str, parts: tuple[str, str]) -> None:
    assert sender_parts(sender) == parts
    assert is_sender(sender)


@pytest.mark.parametrize(
    "sender", ["", "Ada", "a@", "@b.example", "<>", "a b@c.example", "a@b@c", "Ada <a@b", "a@b, c@d"]
)
def test_what_is_no_sender_is_noticed(sender: str) -> None:
    assert is_sender(sender) is (sender == "Ada <a@b")


# --- Sending --------------------------------------------------------------------------------------------------------


def test_a_message_is_handed_over_byte_for_byte(office: Callable[..., Server], box: Mailbox) -> None:
    outcome = deliver(office())
    assert outcome == Delivered({"answer": "queued as 1"})
    [taken] = box.taken
    assert taken == to_bytes(compose(LETTER, SENDER, "inv_1", AT))
    assert parsed(taken).get_body(("plain",)).get_content().splitlines() == ["Hello", ".", "..dots"]


def test_a_repetition_is_the_same_to_the_byte(office: Callable[..., Server], box: Mailbox) -> None:
    server = office()
    for _ in range(2):
        deliver(server)
    assert box.taken[0] == box.taken[1]


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
def test_a_refusal_for_good_is_refused_and_one_for_now_is_tried_again(
    office: Callable[..., Server], box: Mailbox, step: str
) -> None:
    server = office()
    box.replies = {step: "550 5.1.1 no such user"}
    assert deliver(server) == Refused("the server answered 550: 5.1.1 no such user")
    box.replies = {step: "451 4.7.1 greylisted"}
    assert deliver(server) == Retry("the server answered 451: 4.7.1 greylisted")
    box.replies = {}
    assert isinstance(deliver(server), Delivered)


def test_the_address_is_kept_out_of_what_the_server_said(office: Callable[..., Server], box: Mailbox) -> None:
    box.replies = {"RCPT": "550 <{address}> is unknown"}
    assert deliver(office()) == Refused("the server answered 550: <the recipient> is unknown")


def test_a_connection_that_dies_after_the_data_is_unknown(office: Callable[..., Server], box: Mailbox) -> None:
    """The server has the whole message and nobody hears of it (F29)."""
    box.after_data = lambda server: server.transport.abort()
    server = office()
    outcome = deliver(server)
    assert isinstance(outcome, Unknown)
    assert "after the message was sent" in outcome.reason
    assert len(box.taken) == 1
    box.after_data = None
    assert isinstance(deliver(server), Delivered)
    assert parsed(box.taken[0])["Message-ID"] == parsed(box.taken[1])["Message-ID"]


class Conversation:
    """A server of a few fixed lines: each is sent when a line of the client has come; None hangs up."""

    def __init__(self, *lines: str | None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.lines = lines
        self.thread = threading.Thread(target=self.talk)
        self.thread.start()

    def talk(self) -> None:
        client, _ = self.listener.accept()
        with client, client.makefile("rb") as stream:
            for line in self.lines:
                if line is None:
                    return
                client.sendall(line.encode() + b"\r\n")
                if line.startswith("354"):
                    while stream.readline() not in (b".\r\n", b""):
                        pass
                elif not stream.readline():
                    return

    def outcome(self) -> Outcome:
        found = deliver(Server("127.0.0.1", self.listener.getsockname()[1], sender=SENDER))
        self.thread.join(30)
        self.listener.close()
        return found


HELLO = ("220 here", "250 hello")
UP_TO_DATA = (*HELLO, "250 sender", "250 recipient", "354 go on")


@pytest.mark.parametrize(
    "lines,kind",
    [
        ((None,), Retry),
        (("554 no service here",), Retry),
        (("421 too busy",), Retry),
        (("nonsense",), Retry),
        (("220 here", "550 who", "550 are you"), Retry),
        ((*HELLO, None), Retry),
        ((*HELLO, "250 sender", "251 forwarded", "451 not now"), Retry),
        ((*HELLO, "250 sender", "250 recipient", "554 no"), Refused),
        ((*HELLO, "250 sender", "250 recipient", None), Retry),
        ((*UP_TO_DATA, None), Unknown),
        ((*UP_TO_DATA, "nonsense"), Unknown),
        ((*UP_TO_DATA, "354 more"), Unknown),
        ((*UP_TO_DATA, "x" * 10_000), Unknown),
        ((*UP_TO_DATA, "421 closing"), Retry),
        ((*UP_TO_DATA, "552 too big"), Refused),
        ((*UP_TO_DATA, "250 taken", None), Delivered),
    ],
)
def test_how_far_it_got_says_what_is_known(lines: tuple[str | None, ...], kind: type) -> None:
    outcome = Conversation(*lines).outcome()
    assert type(outcome) is kind, outcome


def test_a_server_that_is_not_there_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert isinstance(deliver(Server("127.0.0.1", port, sender=SENDER)), Retry)


def test_a_server_that_does_not_answer_in_time_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailing, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert isinstance(deliver(Server("127.0.0.1", silent.getsockname()[1], sender=SENDER)), Retry)


def test_an_address_outside_ascii_needs_a_server_that_knows_them(office: Callable[..., Server], box: Mailbox) -> None:
    letter = LETTER._replace(to="jörg@bücher.example")
    assert isinstance(deliver(office(), letter), Delivered)
    assert "jörg@xn--bcher-kva.example" in box.taken[0].decode()
    refused = Conversation(*HELLO, None)
    assert isinstance(
        send(Server("127.0.0.1", refused.listener.getsockname()[1], sender=SENDER), compose(letter, SENDER, "op", AT)),
        Refused,
    )
    refused.thread.join(30)
    refused.listener.close()


def test_an_address_of_another_script_behind_the_at_sign_is_written_in_ascii(
    office: Callable[..., Server], box: Mailbox
) -> None:
    assert isinstance(deliver(office(), LETTER._replace(to="ada@bücher.example")), Delivered)
    assert parsed(box.taken[0])["To"].addresses[0].domain == "xn--bcher-kva.example"


# --- TLS and login --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """``(key, certificate)`` of 127.0.0.1, made for this run."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    directory = tmp_path_factory.mktemp("tls")
    key, made = directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, made


@pytest.fixture
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    return context


@pytest.fixture
def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[1]))


def accounts(box: Mailbox) -> Callable[..., AuthResult]:
    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        box.logins.append(data.password)
        return AuthResult(success=data.password == b"s3cret", handled=False)

    return check


def test_it_logs_in_over_tls_whose_certificate_is_checked(
    office: Callable[..., Server], box: Mailbox, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    server = office("ada", "s3cret", tls_context=server_tls, authenticator=accounts(box), auth_required=True)
    assert isinstance(deliver(server, tls=trusting), Delivered)
    assert box.logins == [b"s3cret"]


def test_a_password_is_not_given_to_who_cannot_show_a_certificate(
    office: Callable[..., Server], box: Mailbox, server_tls: ssl.SSLContext
) -> None:
    server = office("ada", "s3cret", tls_context=server_tls, authenticator=accounts(box))
    outcome = deliver(server)
    assert isinstance(outcome, Retry)
    assert "TLS failed" in outcome.reason
    assert box.logins == box.taken == []


def test_a_password_is_not_sent_in_the_clear(office: Callable[..., Server], box: Mailbox) -> None:
    server = office("ada", "s3cret", authenticator=accounts(box), auth_require_tls=False)
    outcome = deliver(server)
    assert isinstance(outcome, Retry)
    assert "offers no TLS" in outcome.reason
    assert box.logins == []


def test_a_wrong_password_is_ours_to_mend_and_gives_no_mail_up(
    office: Callable[..., Server], box: Mailbox, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    server = office("ada", "wr0ng", tls_context=server_tls, authenticator=accounts(box))
    outcome = deliver(server, tls=trusting)
    assert isinstance(outcome, Retry)
    assert "refused the login (535)" in outcome.reason
    assert "wr0ng" not in repr(outcome) + repr(server)


def test_without_a_password_tls_is_taken_from_whoever_offers_it(
    office: Callable[..., Server], box: Mailbox, server_tls: ssl.SSLContext
) -> None:
    assert isinstance(deliver(office(tls_context=server_tls, require_starttls=True)), Delivered)
    assert len(box.taken) == 1
