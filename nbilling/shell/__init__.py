"""The seed's five bash modules, as files."""
