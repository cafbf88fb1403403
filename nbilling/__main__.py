"""``python -m nbilling``."""

from __future__ import annotations

import sys

from nbilling.cli.start import main

if __name__ == "__main__":
    sys.exit(main())
