"""The KV benchmark's HTTP part, small: a real service, the fake model, every figure it promises."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from benchmarks import kv_http, kv_service
from benchmarks.report import Report
from memos.encoders.fake_lm import FakeEngine

TEXT = " ".join(f"Box {i} stands in room {i % 7} and holds {i * 13} pens." for i in range(200))


def test_every_http_figure_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MEMOS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MEMOS_EMBEDDER", "fake:64")
    monkeypatch.setattr(kv_service, "FACT_CHARS", 100)
    monkeypatch.setattr(kv_service, "ROOM_TOKENS", 150)
    monkeypatch.setattr(kv_http, "CODECS", ("int8",))
    for name, value in {"SERVED_MIN": 1, "LOOKUPS": 5, "ROWS": 100}.items():
        monkeypatch.setattr(kv_http, name, value)
    report = Report("kv", settings={}, out_dir=tmp_path)
    arguments = argparse.Namespace(lengths=[256], rounds=1, models=tmp_path / "models", blobs="filesystem")
    kv_http.run(report, FakeEngine(), TEXT, arguments, model="fake")
    measured = report.figures["http.256.int8"]
    assert measured["same_first_token"]
    assert measured["bytes"] > 0
    assert report.figures["serving.int8"]["gb_per_s"]
    assert report.figures["lookup.by plan"]["rows"] == 100
    exact = report.figures["http.lossless"]
    assert exact["tokens"] > 0
    assert exact["max_dlogit"] == 0
    assert {goal.name.partition(" @")[0] for goal in report.goals} >= {"HTTP restore int8", "raw over HTTP"}
