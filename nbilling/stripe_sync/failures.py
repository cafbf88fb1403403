"""What can come of a request to Stripe other than an answer, and what each means for the outbox."""

from __future__ import annotations

from nbilling.model.errors import BadInput, Conflict, NbillingError, NotFound, UpstreamError
from nbilling.model.errors import Refused as RefusedError
from nbilling.model.outbox import Outcome, Refused, Retry, Unknown


class TryAgain(UpstreamError):
    """It did not happen, or the same key makes it happen once: Stripe was not reached, is busy, or limits the rate.

    ``after``: what its ``Retry-After`` header said, if it did.
    """

    code = "stripe_unavailable"

    def __init__(self, message: str, *, after: str | None = None, hint: str = "try again later") -> None:
        super().__init__(message, hint=hint)
        self.after = after


class KeyRejected(TryAgain):
    """Stripe does not accept the key, or not for this. Nothing happened."""

    code = "stripe_key_rejected"


class Unconfirmed(UpstreamError):
    """It may have happened: sent, and no answer that could be read."""

    code = "stripe_outcome_unknown"


class Declined(RefusedError):
    """The payment was declined, or needs its owner. ``stripe_code`` says why: ``card_declined``, ``expired_card``…"""

    code = "declined"

    def __init__(self, message: str, *, stripe_code: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stripe_code = stripe_code


class Missing(NotFound):
    """Stripe has no object of that id, or it was deleted."""


class Rejected(Conflict):
    """Stripe understood and refused: the object's state does not allow it. Nothing happened."""

    code = "stripe_rejected"

    def __init__(self, message: str, *, stripe_code: str = "", param: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stripe_code = stripe_code
        self.param = param


class BadRequest(BadInput):
    """A parameter that Stripe does not know or take, or a key used again for something else. Nothing happened."""

    code = "stripe_bad_request"

    def __init__(self, message: str, *, stripe_code: str = "", param: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stripe_code = stripe_code
        self.param = param


def outcome_of(failure: NbillingError) -> Outcome:
    """What a handler of the outbox returns for a failure."""
    if isinstance(failure, TryAgain):
        return Retry(failure.message, failure.after)
    if isinstance(failure, Unconfirmed):
        return Unknown(failure.message)
    return Refused(failure.message)
