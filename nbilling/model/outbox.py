"""What travels through the outbox: messages, what came of sending them, and who sends them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from nbilling.model.clock import MINUTE
from nbilling.model.errors import BadInput

STATES = ("pending", "leased", "unknown", "done", "dead", "dropped")
"""``dead``: it cannot work, or was given up. ``dropped``: a person decided that it shall not be sent."""

SEND, RECONCILE = "send", "reconcile"

LEASE = 5 * MINUTE
"""How long a worker has a message for itself: longer than a handler may take, with its timeouts."""

MAX_PAYLOAD = 262_144
MAX_REASON = 500

_OPERATION = re.compile(r"[A-Za-z0-9_:-]{1,200}", re.ASCII)
_KIND = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?", re.ASCII)


class Message(NamedTuple):
    """One message as its handler sees it. Times in microseconds UTC.

    ``operation_id`` names the operation for ever; ``generation`` counts the times that it was known not to have
    happened and is tried under a new key. ``customer_id`` is the host's own id, empty where it concerns none.
    ``lease_until``: past it another worker may take over. ``first_sent_at``: when the present key was first used; 0
    before. ``attempt`` counts from 1.
    """

    id: int
    kind: str
    customer_id: str
    payload: dict[str, Any]
    operation_id: str
    generation: int
    attempt: int
    token: int
    lease_until: int
    created_at: int
    first_sent_at: int

    @property
    def idempotency_key(self) -> str:
        """The same for every try until it is certain that nothing happened; at most 255 characters."""
        return f"{self.operation_id}:{self.generation}"


class Delivered(NamedTuple):
    """It happened. ``result`` is kept as JSON: ids, not secrets, and no floats."""

    result: Mapping[str, Any] = {}


class Retry(NamedTuple):
    """It can be tried again under the same key. ``after``: a ``Retry-After`` header as it came, or whole seconds."""

    reason: str
    after: int | str | None = None


class Refused(NamedTuple):
    """It did not happen and never will as it stands: a person has to look."""

    reason: str


class Unknown(NamedTuple):
    """It may have happened. Nothing is sent again before that is found out."""

    reason: str


class NotDone(NamedTuple):
    """What only ``reconcile`` may say: it is certain that it did not happen."""

    reason: str = ""


Outcome = Delivered | Retry | Refused | Unknown | NotDone


class Handler(Protocol):
    """Sends messages of one kind. It is called outside of any write job, by any thread; ``send`` is all it must have.

    A handler may also have:

    - ``reconcile(message) -> Outcome``: finds out what became of an unknown one, and changes nothing. Delivered and
      Refused settle it, NotDone lets it be sent again, Retry and Unknown leave it for later.
    - ``repeatable = True``: the receiver recognises a repetition, or it does no harm. An unknown one is sent again.
    - ``blocked(message) -> str``: why it cannot even be tried now (no server set up), or empty. It then waits without
      an attempt. Asked before each attempt.
    - ``applied(db, message, outcome)``: for Delivered and Refused, in the commit that settles the message.
    - ``key_lifetime``: microseconds after which the receiver forgets an idempotency key. An older one is reconciled.
    - ``lease``: microseconds that sending can take at most; :data:`LEASE` if not given.

    What it raises is taken as Unknown. Neither outcomes nor errors may hold a secret: they are kept and shown.
    """

    def send(self, message: Message) -> Outcome:
        """Sends the message with its idempotency key."""


class Traits(NamedTuple):
    """What the rules need to know of a handler."""

    reconciles: bool = False
    repeatable: bool = False
    key_lifetime: int = 0
    lease: int = LEASE


def traits_of(handler: Handler) -> Traits:
    """The optional parts of a handler; ``key_lifetime`` 0 is for ever."""
    return Traits(
        getattr(handler, "reconcile", None) is not None,
        bool(getattr(handler, "repeatable", False)),
        int(getattr(handler, "key_lifetime", 0)),
        int(getattr(handler, "lease", LEASE)),
    )


def lane_of(kind: str) -> str:
    """What is kept in order for a customer: the kind up to its dot. ``stripe.pay`` follows ``stripe.finalize``."""
    return kind.partition(".")[0]


def valid_kind(kind: object) -> str:
    """A name such as ``invoice_mail``, or ``stripe.customer`` where several kinds share a lane."""
    if isinstance(kind, str) and len(kind) <= 80 and _KIND.fullmatch(kind):
        return kind
    raise BadInput(f"{kind!r:.80} is not a kind of message", hint="use lower-case letters, digits, _ and one dot")


def valid_operation(operation_id: object) -> str:
    """An operation's id: 1 to 200 letters, digits, ``_``, ``-`` and ``:``, so that it fits into keys and headers."""
    if isinstance(operation_id, str) and _OPERATION.fullmatch(operation_id):
        return operation_id
    raise BadInput(f"{operation_id!r:.80} is not an operation's id", hint="use up to 200 letters, digits, _, - and :")


def json_text(value: Any) -> str:
    """Canonical JSON: keys sorted, no spaces, decimals with all their digits. Floats are refused."""
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}"
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise BadInput("a key of a message is not text", hint="use text as keys")
        return "{" + ",".join(f"{json_text(key)}:{json_text(item)}" for key, item in sorted(value.items())) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(json_text(item) for item in value) + "]"
    if value is None or isinstance(value, (str, int)):
        return json.dumps(value, ensure_ascii=False)
    raise BadInput(f"a message cannot hold a {type(value).__name__}", hint="use text, whole numbers and Decimal")


def payload_text(payload: Mapping[str, Any]) -> str:
    """The payload as it is kept; two payloads are the same if their texts are."""
    text = json_text(payload)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise BadInput("a message holds text that is not valid", hint="send UTF-8") from None
    if size > MAX_PAYLOAD:
        raise BadInput(f"a message has {size:,} bytes", hint=f"at most {MAX_PAYLOAD:,}; refer to what is in the ledger")
    return text


def payload_of(text: str) -> dict[str, Any]:
    """The reverse. Decimals come back as Decimal."""
    found: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return found


def one_line(reason: object) -> str:
    """A reason as it is kept: one line of printable text, at most :data:`MAX_REASON` characters."""
    text = "".join(character if character.isprintable() else " " for character in str(reason)[: 4 * MAX_REASON])
    return " ".join(text.split())[:MAX_REASON]
