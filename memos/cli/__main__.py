"""`python -m memos.cli`, which is how `memos serve` starts its parts: no script has to be on the path."""

from __future__ import annotations

from memos.cli import main

if __name__ == "__main__":
    main()
