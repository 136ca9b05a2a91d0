"""Parts that keep dying."""

from __future__ import annotations

import time

import pytest

from memos.cli import supervisor
from memos.cli.supervisor import GaveUp, Supervisor
from tests.cli.conftest import CLEAN


def test_a_part_that_keeps_dying_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.001)
    parts = Supervisor(CLEAN)
    parts.start("no-such-part")
    first = parts.pids()["no-such-part"]

    def tick_for_ever() -> None:
        while True:
            parts.tick()
            time.sleep(0.01)

    with pytest.raises(GaveUp, match=r"no-such-part.*5 times.*exit code 2"):
        tick_for_ever()
    assert parts.pids()["no-such-part"] != first
    parts.stop()
