"""Who acts, for the audit trail."""

from __future__ import annotations

import os


def actor() -> str:
    """The user of this process, as ``cli:name``."""
    try:
        import pwd

        name = pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        name = str(os.getuid())
    return f"cli:{name}"
