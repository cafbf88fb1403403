"""Files written whole or not at all, handed on from the documents."""

from __future__ import annotations

from nbilling.documents.files import whole_file

__all__ = ["whole_file"]
