"""One round of the crash drill (`memos eval crash` runs ten): kill -9 of everything under four writers."""

from __future__ import annotations

import pytest

from benchmarks.crash import drill


def test_nothing_acknowledged_is_lost_when_everything_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMOS_EMBEDDER", "fake:64")
    [only] = drill(rounds=1, seconds=1.5)
    assert only.acknowledged > 0
    assert (only.lost, only.torn, only.gaps, only.doctor) == (0, 0, 0, 0)
