"""The service's secret: made once, readable by nobody else, the same for everyone who shares it."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from memos.errors import Misconfigured
from memos.services.signing import keyring, service_secret
from memos.settings import Settings


def settings(data_dir: Path, secret: str | None = None) -> Settings:
    return Settings(data_dir=data_dir, secret=None if secret is None else SecretStr(secret))


def test_it_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "not" / "there"
    first = service_secret(settings(home))
    assert service_secret(settings(home)) == first
    assert stat.S_IMODE((home / "secret").stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["secret"]
    assert service_secret(settings(tmp_path / "elsewhere")) != first


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: service_secret(settings(tmp_path)), range(16)))) == 1


def test_a_given_secret_outranks_the_file(tmp_path: Path) -> None:
    given = keyring(settings(tmp_path, "sixteen-letters-or-more"))
    assert given == keyring(settings(tmp_path / "other", "sixteen-letters-or-more"))
    assert given.public != keyring(settings(tmp_path)).public
    assert len({given.public, given.tombstones, given.marks}) == 3


@pytest.mark.parametrize("content", ["", "short"])
def test_a_secret_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret").write_text(content)
    with pytest.raises(Misconfigured, match="holds no secret"):
        service_secret(settings(tmp_path))
    with pytest.raises(Misconfigured, match="too short"):
        service_secret(settings(tmp_path, "short"))


def test_a_folder_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="MEMOS_SECRET"):
        service_secret(settings(tmp_path / "file"))
