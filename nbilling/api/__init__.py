"""The Python API, and the one place where engine, documents and delivery are put together."""
