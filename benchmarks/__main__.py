"""`python -m benchmarks NAME ...` is `memos eval NAME ...`."""

from __future__ import annotations

import sys

from benchmarks.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
