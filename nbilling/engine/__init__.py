"""Use cases: load, decide by a rule, save, in one write job each."""
