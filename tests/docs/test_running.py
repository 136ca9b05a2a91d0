"""What the guides say exists: files, settings, commands, routes, kinds of events."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi import FastAPI
from typer.main import get_command

from api import openapi
from api.app import create_app
from memos.cli.commands import cli
from memos.rules.webhooks import KINDS, sign
from memos.settings import Settings
from memos.wiring import App

ROOT = Path(__file__).parents[2]
GUIDES = {name: (ROOT / "docs" / name).read_text() for name in ("running.md", "events.md")}


def test_files_that_are_named_are_there() -> None:
    for name, text in GUIDES.items():
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (ROOT / "docs" / target).exists(), (name, target)
        for path in re.findall(r"`(deploy/[\w./-]+)`", text):
            assert (ROOT / path).exists(), (name, path)


def test_settings_that_are_named_exist() -> None:
    known = {f"MEMOS_{field.upper()}" for field in Settings.model_fields}
    known |= {"MEMOS_BIND", "MEMOS_SECRETS_DIR"}
    for name, text in GUIDES.items():
        assert set(re.findall(r"\bMEMOS_[A-Z_]+[A-Z]\b", text)) <= known, name


def test_commands_that_are_named_exist() -> None:
    commands = set(get_command(cli).commands)  # type: ignore[attr-defined]
    for name, text in GUIDES.items():
        assert set(re.findall(r"`memos ([a-z]+)", text)) <= commands, name


def test_kinds_of_events_are_all_explained() -> None:
    assert [kind for kind in KINDS if f"`{kind}`" not in GUIDES["events.md"]] == []


def test_routes_that_are_named_exist(app: App) -> None:
    api: FastAPI = create_app(app)
    known = {re.sub(r"\{[^}]+\}", "*", path) for path in openapi.document(api)["paths"]}
    for name, text in GUIDES.items():
        for path in re.findall(r"(?:GET|POST|PATCH) (/(?:v1|admin/v1)/[\w{}/_-]+)", text):
            assert re.sub(r"\{[^}]+\}", "*", path) in known, (name, path)


def test_the_receiver_of_the_guide_verifies_what_we_send() -> None:
    import time

    [code] = re.findall(r"```python\n(.*?)```", GUIDES["events.md"], re.DOTALL)
    space: dict[str, object] = {}
    exec(code, space)
    genuine = space["genuine"]
    secret, body, moment = "whsec_" + "QUJD" * 8, b'{"a":1}', int(time.time())
    headers = {
        "webhook-id": "m1", "webhook-timestamp": str(moment),
        "webhook-signature": "v1,AAAA " + sign(secret, "m1", moment, body),
    }  # fmt: skip
    assert callable(genuine)
    assert genuine(secret, headers, body)
    assert not genuine(secret, headers, body + b" ")
    assert not genuine(secret, headers | {"webhook-timestamp": str(moment - 1_000)}, body)
