"""`memos verify-receipt`: check the receipt of an erasure, offline, with nothing but two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from memos.errors import Invalid
from memos.rules.receipts import NOT_PROVEN, Verified, verify

# A receipt lists a line for each erased version; beyond this somebody has named another file.
_MOST_BYTES = 256 * 2**20


def verify_receipt(receipt: Path, key: Path) -> Verified:
    """What the receipt says. Raises `BadReceipt` when it does not hold, `Invalid` when a file cannot be read."""
    return verify(_read(receipt), _read(key))


def told(found: Verified) -> str:
    """The answer for a person: what holds, and what it does not show."""
    revisions = ", ".join(f"{r['branch']} {r['revision']} ({r['hash'][:12]}…)" for r in found.revisions)
    lines = [
        f"The receipt holds. Signed by key {found.key_id}.",
        f"  receipt    {found.receipt_id}",
        f"  cube       {found.cube_id}",
        f"  erased     {found.memories} memories, {found.versions} versions, at {found.erased_at}",
        f"  revisions  {revisions}",
        "It does not prove anything about:",
        *(f"  - {sentence}" for sentence in NOT_PROVEN),
    ]
    return "\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise Invalid(f"{path} is too large for a receipt or a key")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise Invalid(f"{path} is not JSON") from None
    if not isinstance(content, dict):
        raise Invalid(f"{path} holds no JSON object")
    return content
