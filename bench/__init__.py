"""What nbilling costs, as ratios to what people would write or use instead: ``python -m bench --help``."""
