"""Charts for the terminal, handed on from the documents."""

from __future__ import annotations

from nbilling.documents.charts import spark

__all__ = ["spark"]
