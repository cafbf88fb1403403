"""All the SQL and everything that touches the ledger file."""
