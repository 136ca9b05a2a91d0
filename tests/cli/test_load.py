"""Settings from the environment and from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from memos.cli.load import load_settings
from memos.errors import Misconfigured


def test_secrets_come_from_files_and_the_environment_goes_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memos_secret").write_text("from-a-file-long-enough\n")
    (tmp_path / "database_url").write_text("postgresql://owner:word@db/memos\n")
    (tmp_path / "memos_owner_key").write_text("mk_from-a-file")
    for name in ("DATABASE_URL", "MEMOS_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MEMOS_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("MEMOS_OWNER_KEY", "mk_from-the-environment")
    found = load_settings()
    assert found.secret is not None
    assert found.database_url is not None
    assert found.owner_key is not None
    assert found.secret.get_secret_value() == "from-a-file-long-enough"
    assert found.database_url.get_secret_value() == "postgresql://owner:word@db/memos"
    assert found.owner_key.get_secret_value() == "mk_from-the-environment"


def test_a_folder_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEMOS_SECRETS_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(Misconfigured, match="MEMOS_SECRETS_DIR"):
        load_settings()
