"""API keys of Stripe: where they come from, what mode they are of, and that nobody sees them.

A key comes from the environment, from a file that only its owner can read, or from standard input; never from argv.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from typing import TextIO

from nbilling.model.errors import BadInput

ENVIRONMENT = "STRIPE_SECRET_KEY"
PLACEHOLDER = "sk_test_PLACEHOLDER"
FIXTURES, TEST, LIVE = "fixtures", "test", "live"

_KEY = re.compile(r"(?:sk|rk)_(test|live)_[A-Za-z0-9_]{3,246}", re.ASCII)
# Keys of the API, of webhook endpoints, and the client secrets of payments.
_SECRET = re.compile(r"\b(?:(?:sk|rk|pk)_(?:test|live)_|whsec_)[A-Za-z0-9_*+/=]+|_secret_[A-Za-z0-9]+")
_HINT = f"set {ENVIRONMENT} to a key that begins with sk_test_, rk_test_, sk_live_ or rk_live_"


class Key:
    """A well-formed key. Its text is only in :attr:`secret`; printing, logging or pickling the key shows none of it."""

    __slots__ = ("_secret", "mode")

    def __init__(self, text: object) -> None:
        match = _KEY.fullmatch(text) if isinstance(text, str) else None
        if match is None or not isinstance(text, str):
            raise BadInput("that is not a secret API key of Stripe", hint=_HINT)
        self._secret = text
        self.mode = FIXTURES if text.startswith(PLACEHOLDER) else match[1]
        """``fixtures``, ``test`` or ``live``."""

    @property
    def secret(self) -> str:
        """The key itself, for the Authorization header."""
        return self._secret

    def __repr__(self) -> str:
        return f"<Stripe key, {self.mode}>"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a key of Stripe is not pickled")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and other._secret == self._secret

    def __hash__(self) -> int:
        return hash(self._secret)


def placeholder() -> Key:
    """The key of a fixtures ledger."""
    return Key(PLACEHOLDER)


def from_environment(environment: Mapping[str, str]) -> Key | None:
    """The key in ``STRIPE_SECRET_KEY``, or None where that is unset or empty. BadInput if it is malformed."""
    text = environment.get(ENVIRONMENT, "")
    return Key(text) if text else None


def from_file(path: str | os.PathLike[str]) -> Key:
    """The key in the first line of a file that belongs to this user and that nobody else can read."""
    name = os.fspath(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no path"
        raise BadInput(f"the key file {name!r:.200} cannot be read: {reason}", hint="check its path") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise BadInput(f"the key file {name!r:.200} is not a regular file", hint="give the path of a file")
        if found.st_mode & 0o077 or found.st_uid not in (os.geteuid(), 0):
            raise BadInput(f"others can read the key file {name!r:.200}", hint="make it your own, and chmod 600")
        return _first_line(os.read(descriptor, 1000).decode("utf-8", "replace"))
    finally:
        os.close(descriptor)


def from_stream(stream: TextIO) -> Key:
    """The key in the first line of a stream, such as standard input."""
    return _first_line(stream.readline(1000))


def _first_line(text: str) -> Key:
    lines = text.splitlines()
    return Key(lines[0].strip() if lines else "")


def masked(text: str) -> str:
    """The text without anything in it that looks like a key or a secret."""
    return _SECRET.sub("[secret]", text)
