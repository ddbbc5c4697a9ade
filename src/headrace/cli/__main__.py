"""`python -m headrace.cli`, the same as `headrace`."""

from __future__ import annotations

import sys

from headrace.cli import main

if __name__ == "__main__":
    sys.exit(main())
