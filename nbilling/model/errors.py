"""One tree of errors. Each knows its stable ``code``, the exit code of the command line, and a hint.

::

    NbillingError
    ├── BadInput              2   bad_input
    ├── Refused               1   refused           (over quota, declined)
    ├── NotFound              3   not_found
    ├── Conflict              4   conflict
    │   └── NewerLedger       4   newer_ledger
    ├── StorageError          5   storage
    │   ├── LedgerMissing     5   ledger_missing
    │   ├── NotALedger        5   not_a_ledger
    │   ├── LedgerReadOnly    5   ledger_read_only
    │   ├── LedgerBusy        5   ledger_busy
    │   ├── LedgerMoved       5   ledger_moved
    │   ├── StorageFull       5   storage_full
    │   ├── OutcomeUnknown    5   outcome_unknown
    │   └── MissingLibrary    5   missing_library
    └── UpstreamError         6   upstream          (Stripe, mail)
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_REFUSED = 1
EXIT_BAD_INPUT = 2
EXIT_NOT_FOUND = 3
EXIT_CONFLICT = 4
EXIT_STORAGE = 5
EXIT_UPSTREAM = 6
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130


class NbillingError(Exception):
    """What nbilling raises on purpose. ``message`` is one line: what is wrong. ``hint``: what to do next."""

    code = "error"
    exit_code = EXIT_INTERNAL

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class BadInput(NbillingError, ValueError):
    """A value that can never be right, whatever the ledger holds."""

    code = "bad_input"
    exit_code = EXIT_BAD_INPUT


class Refused(NbillingError):
    """The answer is no: over quota, declined, a check that failed."""

    code = "refused"
    exit_code = EXIT_REFUSED


class NotFound(NbillingError, LookupError):
    """Nothing has that id."""

    code = "not_found"
    exit_code = EXIT_NOT_FOUND


class Conflict(NbillingError):
    """The request contradicts the present state, or an earlier request with the same identity."""

    code = "conflict"
    exit_code = EXIT_CONFLICT


class NewerLedger(Conflict):
    """The file was written by a newer nbilling."""

    code = "newer_ledger"


class StorageError(NbillingError, OSError):
    """The ledger file, the disk or a library of the system failed."""

    code = "storage"
    exit_code = EXIT_STORAGE


class LedgerMissing(StorageError):
    """There is no file at that path. Only ``init`` makes one."""

    code = "ledger_missing"


class NotALedger(StorageError):
    """The file is there and is something else, or it is damaged."""

    code = "not_a_ledger"


class LedgerReadOnly(StorageError):
    """The file or its directory cannot be written."""

    code = "ledger_read_only"


class LedgerBusy(StorageError):
    """Another process held the file for longer than the deadline."""

    code = "ledger_busy"


class LedgerMoved(StorageError):
    """The file was renamed, replaced or deleted while it was open."""

    code = "ledger_moved"


class StorageFull(StorageError):
    """No space left, or a file size limit. What was acknowledged before is safe."""

    code = "storage_full"


class OutcomeUnknown(StorageError):
    """A commit failed and could not be undone for certain. The handle refuses writes until reopened."""

    code = "outcome_unknown"


class MissingLibrary(StorageError):
    """A library of the operating system is not installed (Pango for PDF)."""

    code = "missing_library"


class UpstreamError(NbillingError):
    """Stripe or the mail server failed, refused, or left the outcome unknown."""

    code = "upstream"
    exit_code = EXIT_UPSTREAM
