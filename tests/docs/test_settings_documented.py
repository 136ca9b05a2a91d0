"""Every setting stands in docs/operations.md, and nothing stands there that is not a setting."""

from __future__ import annotations

import re
from pathlib import Path

from memos.settings import Settings

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
ELSEWHERE = {"MEMOS_OWNER_KEY", "MEMOS_PORT", "MEMOS_APP_PASSWORD", "MEMOS_URL", "MEMOS_KEY"}


def names() -> set[str]:
    renamed = {"database_url": "DATABASE_URL", "redis_url": "REDIS_URL"}
    return {renamed.get(field, f"MEMOS_{field.upper()}") for field in Settings.model_fields}


def test_every_setting_is_documented() -> None:
    missing = {name for name in names() if f"`{name}`" not in OPERATIONS}
    assert not missing


def test_every_documented_variable_exists() -> None:
    documented = set(re.findall(r"`(MEMOS_[A-Z_]+|DATABASE_URL|REDIS_URL)`", OPERATIONS))
    assert documented <= names() | ELSEWHERE
