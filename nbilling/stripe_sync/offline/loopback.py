"""The offline Stripe as an HTTP server on this machine, so that any client of Stripe can be pointed at it.

It listens on 127.0.0.1 alone. What goes wrong on purpose goes wrong on the wire: a reset, half a body, no answer.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from nbilling.model.errors import BadInput
from nbilling.stripe_sync.offline.faults import Broken
from nbilling.stripe_sync.offline.server import OfflineStripe
from nbilling.stripe_sync.offline.wire import ApiError, Reply, body_text

HOST = "127.0.0.1"
LARGEST_BODY = 1 << 20
IDLE_SECONDS = 60
"""A connection on which nothing comes is closed after so long."""


class Loopback(ThreadingHTTPServer):
    """Serves an offline Stripe. ``port`` 0: any that is free; :attr:`address` says which."""

    daemon_threads = True
    # A second server on the port of the first would get some of its requests.
    allow_reuse_port = False

    def __init__(self, stripe: OfflineStripe, port: int = 0) -> None:
        self.stripe = stripe
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "no such port"
            raise BadInput(f"port {port} cannot be used: {reason}", hint="give another, or 0 for any") from None

    @property
    def address(self) -> str:
        """For ``STRIPE_API_BASE``: ``http://127.0.0.1:12111``."""
        return f"http://{HOST}:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "nbilling-offline-stripe"
    sys_version = ""
    timeout = IDLE_SECONDS
    server: Loopback

    def do_GET(self) -> None:
        self._serve("")

    def do_DELETE(self) -> None:
        self._serve("")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length[:12]) > LARGEST_BODY:
            self.close_connection = True
            self._send(_refusal(400, "The body needs a Content-Length, and may not be that large."))
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return
        try:
            self._serve(body.decode("utf-8"))
        except UnicodeDecodeError:
            self._send(_refusal(400, "The body is not UTF-8."))

    def _serve(self, body: str) -> None:
        # A web page must not reach this server by a name of its own that points to this machine.
        if self.headers.get("Host", "").rpartition(":")[0] not in (HOST, "localhost"):
            self._send(_refusal(403, "This server answers to 127.0.0.1 and localhost only."))
            return
        try:
            reply = self.server.stripe.handle(self.command, self.path, dict(self.headers.items()), body)
        except Broken as broken:
            self._break(broken.kind)
            return
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        cut = reply.headers.get("X-Fault") == "truncated"
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        # Half a body: more is announced than comes.
        self.send_header("Content-Length", str(len(reply.body) * (2 if cut else 1)))
        self.end_headers()
        self.wfile.write(reply.body)
        if cut:
            self.close_connection = True

    def _break(self, kind: str) -> None:
        self.close_connection = True
        if kind == "timeout":
            with contextlib.suppress(OSError):
                while self.connection.recv(1024):
                    pass
            return
        # Without lingering a close is a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: they carry keys and customers."""


def _refusal(status: int, message: str) -> Reply:
    return Reply(status, {}, body_text(ApiError(status, message).body).encode())
