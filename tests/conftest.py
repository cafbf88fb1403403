"""Fixtures for every room: a clean environment, no network, and the data that lies beside the checkout."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import settings

import nbilling

CHECKOUT = Path(__file__).resolve().parent.parent

# What a test starts must find the same nbilling as the test itself, installed or not.
HOME_OF_NBILLING = str(Path(nbilling.__file__).resolve().parent.parent)

# Settings that a person's shell may hold and that would change what nbilling does.
OURS = ("NBILLING_", "STRIPE_", "BILLING_", "INVOICE_", "AUTH_SMTP_", "QUOTA_")

# No timed assertions: the machine may be busy. CI tries the same examples each time.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them; children find this nbilling."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", HOME_OF_NBILLING)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything works offline: a connection that would leave this machine fails the test."""
    connect = socket.socket.connect

    def only_here(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = address[0] if isinstance(address, tuple) else address
            if host not in ("127.0.0.1", "::1", "localhost"):
                pytest.fail(f"the test tried to reach {host}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", only_here)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The directory with setup.cfg in it."""
    return CHECKOUT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real logs and Stripe fixtures beside the checkout, which are not part of it: without them the test skips."""
    data = CHECKOUT.parent / "shared" / "data"
    if not data.is_dir():
        pytest.skip(f"no data at {data}")
    return data
