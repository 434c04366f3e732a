"""``python -m prevail_py``: the same as the console script ``prevail-py``."""

from __future__ import annotations

import sys

from prevail_py.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
