"""Moving house: backup while it serves, restore elsewhere, export and import, each compared with what it came from."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from memos.embedded import dump_tools
from memos.embedded.failure import EmbeddedError
from tests.cli.conftest import Serving, eventually, memos
from tests.servers import start_postgres

Json = dict[str, Any]
ASKED = {"query": "Where does Ana live?", "now": "2027-01-01T00:00:00Z", "explain": True}


def done(*arguments: str | Path, **environment: str) -> str:
    finished = memos(*map(str, arguments), **environment)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout + finished.stderr


def told(serving: Serving, cube: str) -> Json:
    """What must be the same wherever the service stands. How often something was recalled changes by asking."""
    memories = serving.call("GET", f"/v1/cubes/{cube}/memories")["items"]
    return {
        "memories": [{k: v for k, v in m.items() if k not in {"recalls", "last_recalled_at"}} for m in memories],
        "items": serving.call("POST", f"/v1/cubes/{cube}/search", ASKED)["items"],
        "revisions": serving.call("GET", f"/v1/cubes/{cube}/revisions")["items"],
        "receipts": serving.call("GET", "/v1/receipts/key"),
    }


def lived_in(serving: Serving) -> None:
    """A service with some past: turns, facts, an edit, an archived memory, an erased one, and jobs that have ended."""
    serving.call("POST", "/v1/cubes", {"name": "house"})
    said = {"role": "user", "name": "Ana", "content": "I live in Lisbon.", "created_at": "2026-03-01T09:30:00Z"}
    serving.call("POST", "/v1/cubes/house/messages", {"session_id": "s", "messages": [said]})
    items = [
        {"kind": "fact", "content": text} for text in ("Ana has a cat.", "Ana is a nurse.", "It is Zwetschgenkern.")
    ]
    written = serving.call("POST", "/v1/cubes/house/memories", {"items": items})
    ids = [memory["id"] for memory in written["memories"]]
    serving.call("PATCH", f"/v1/cubes/house/memories/{ids[0]}", {"content": "Ana has two cats."})
    serving.call("DELETE", f"/v1/cubes/house/memories/{ids[1]}")
    promised = serving.call("POST", "/v1/cubes/house/forget", {"memory_ids": [ids[2]]})
    eventually(lambda: serving.call("GET", f"/v1/receipts/{promised['receipt_id']}"), "the erasure never happened")

    def idle() -> bool:
        return not any(serving.call("GET", f"/v1/jobs?state={state}")["items"] for state in ("queued", "running"))

    eventually(idle, "the workers never came to rest")
    found = {hit["memory_id"] for hit in serving.call("POST", "/v1/cubes/house/search", ASKED)["items"]}

    def recalled() -> bool:
        memories = serving.call("GET", "/v1/cubes/house/memories?state=activated")["items"]
        return found <= {memory["id"] for memory in memories}

    eventually(recalled, "the first recall was never noted")


def test_a_service_moves_house(root: Path, serve: Callable[..., Serving]) -> None:
    serving = serve()
    serving.wait_until_ready()
    lived_in(serving)
    before = told(serving, "house")
    data, backup, package, lines = serving.data_dir, root / "all.tar", root / "house.memos.gz", root / "house.jsonl"
    said = done("backup", backup, "--with-keys", "--data-dir", data)
    assert "with the keys" in said
    assert backup.stat().st_mode & 0o077 == 0
    assert "exists" in memos("backup", str(backup), "--data-dir", str(data)).stderr
    done("export", "house", "-o", package, "--vectors", "--data-dir", data)
    done("export", "house", "-o", lines, "--lines", "--data-dir", data)
    assert b"Zwetschgenkern" not in gzip.decompress(package.read_bytes())
    assert "already" in memos("restore", str(backup), "--data-dir", str(data)).stderr
    assert "was here already" in done("import", package, "--data-dir", data)
    assert serving.stop() == 0

    assert "every revision is as it was" in done("restore", backup, "--data-dir", root / "elsewhere")
    assert json.loads(done("doctor", "--json", "--data-dir", root / "elsewhere"))["ok"]
    elsewhere = serve("elsewhere")
    elsewhere.wait_until_ready()
    assert elsewhere.key == serving.key
    assert told(elsewhere, "house") == before
    assert elsewhere.call("POST", "/v1/cubes/house/memories", {"items": [{"kind": "fact", "content": "Life goes on."}]})

    # To a service with another secret the package is a stranger's: it must be told whom to trust.
    other = {"MEMOS_SECRET": "another service's secret"}
    refused = memos("import", str(package), "--data-dir", str(elsewhere.data_dir), **other)
    assert (refused.returncode, "not trusted" in refused.stderr) == (1, True)
    (root / "trusted.json").write_text(json.dumps(before["receipts"]))
    checked = done(
        "import", package, "--check", "--key", root / "trusted.json", "--data-dir", elsewhere.data_dir, **other
    )
    assert "The package holds" in checked

    assert "configured model, fake:64" in done("reembed", "house", "--data-dir", elsewhere.data_dir)
    moved = done("reembed", "house", "--model", "fake:48", "--activate", "--data-dir", elsewhere.data_dir)
    if "changed over" not in moved:  # a worker of the service was quicker than the console
        assert "a worker has it" in moved
        eventually(
            lambda: "active   fake:48" in done("reembed", "house", "--data-dir", elsewhere.data_dir), "never moved"
        )
    assert elsewhere.call("POST", "/v1/cubes/house/search", ASKED)["items"][0]["content"] == "I live in Lisbon."

    assert "added" in done("import", lines, "--cube", "copy", "--data-dir", elsewhere.data_dir)
    store = root / "store.json"
    store.write_text(json.dumps([{"namespace": ["u"], "key": "k", "value": {"text": "Plays chess"}}, {"key": "x"}]))
    half = memos("import", str(store), "--from", "langgraph", "--cube", "copy", "--data-dir", str(elsewhere.data_dir))
    assert (half.returncode, half.stdout.strip()) == (1, "1 added, 1 error")
    assert "has no 'namespace' and 'key'" in half.stderr
    kept = elsewhere.call("GET", "/v1/cubes/copy/memories")["items"]
    assert {"I live in Lisbon.", "Ana has two cats.", "Plays chess"} <= {memory["content"] for memory in kept}
    assert elsewhere.stop() == 0


def test_a_service_on_an_external_database_moves_to_another_one(root: Path, serve: Callable[..., Serving]) -> None:
    """As with compose: the database and its keys are named by the environment, and KV blobs lie where that says."""
    external = start_postgres(root / "external")
    try:
        with psycopg.connect(external.url().replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("CREATE DATABASE later")
        kept, blob = root / "kv", "blobs/ab/abcdef"
        (kept / blob).parent.mkdir(parents=True)
        (kept / blob).write_bytes(b"a cache")
        named = {
            "MEMOS_SECRET": "a secret of the environment, long enough", "MEMOS_OWNER_KEY": "mk_" + "k" * 43,
            "MEMOS_MASTER_KEY": "another secret of the environment",
        }  # fmt: skip
        before_url = {"DATABASE_URL": external.url(), "MEMOS_KV_DIR": str(kept)}
        later_url = {
            "DATABASE_URL": make_url(external.url()).set(database="later").render_as_string(hide_password=False),
            "MEMOS_KV_DIR": str(root / "kv-later"),
        }
        serving = serve("before", **named, **before_url)
        serving.wait_until_ready()
        serving.key = named["MEMOS_OWNER_KEY"]
        lived_in(serving)
        before = told(serving, "house")
        file = root / "external.tar"
        said = done("backup", file, "--with-keys", "--data-dir", root / "console", **named, **before_url)
        assert "1 KV blobs" in said
        assert "holds none" in said
        assert serving.stop() == 0

        again = memos("restore", str(file), "--data-dir", str(root / "console"), **named, **before_url)
        assert again.returncode == 1
        assert "already" in again.stderr, again.stderr
        said = done("restore", file, "--data-dir", root / "console", **named, **later_url)
        assert "every revision is as it was" in said
        assert "secret is not in the backup" not in said
        assert not (root / "console").exists()
        assert (root / "kv-later" / blob).read_bytes() == b"a cache"
        later = serve("later", **named, **later_url)
        later.wait_until_ready()
        later.key = named["MEMOS_OWNER_KEY"]
        assert told(later, "house") == before
        assert later.call("POST", "/v1/cubes/house/memories", {"items": [{"kind": "fact", "content": "Life goes on."}]})
        assert later.stop() == 0
    finally:
        external.stop()


def a_program(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "pg_dump").write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n")
    (folder / "pg_dump").chmod(0o755)
    return folder / "pg_dump"


def test_the_nearest_program_that_knows_the_server_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, or with older ones only, the error says which to install."""
    monkeypatch.setattr(dump_tools, "_DEBIAN", tmp_path / "debian")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    own, version = dump_tools.choose("pg_dump", "17.6 (Debian 17.6-1.pgdg12+1)")
    assert dump_tools.major(version) >= 17
    near = a_program(tmp_path / "debian" / "16" / "bin", "16.3")
    assert dump_tools.choose("pg_dump", "15.7") == (near, "16.3")
    assert dump_tools.choose("pg_dump", "15.7", version) == (own, version)
    with pytest.raises(EmbeddedError, match=r"must be of version 99 or newer.*postgresql-client-99"):
        dump_tools.choose("pg_dump", "99.1")
    monkeypatch.setattr(dump_tools, "wheel_folder", lambda *_: tmp_path / "no wheel")
    broken = a_program(tmp_path / "path", "14.1")
    assert dump_tools.choose("pg_dump", "14.0") == (broken, "14.1")
    with pytest.raises(EmbeddedError, match="must be of version 17"):
        dump_tools.choose("pg_dump", "17.0")
    for program in (near, broken):
        program.unlink()
    with pytest.raises(EmbeddedError, match=r"neither in the wheel.*nor on the PATH"):
        dump_tools.choose("pg_dump", "17.0")


@pytest.mark.parametrize("content", [b"", b"nothing like a tar file"])
def test_what_is_no_backup_is_refused_before_anything_is_touched(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "no.tar"
    file.write_bytes(content)
    refused = memos("restore", str(file), "--data-dir", str(tmp_path / "data"))
    assert refused.returncode == 1
    assert "no backup" in refused.stderr
    assert not (tmp_path / "data").exists()


def test_a_backup_with_strange_parts_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "strange.tar"
    with tarfile.open(file, "w") as tar:
        (tmp_path / "x").write_text("x")
        tar.add(tmp_path / "x", "../outside")
    assert "no part of a backup" in memos("restore", str(file), "--data-dir", str(tmp_path / "data")).stderr


def test_commands_say_what_they_lack(tmp_path: Path) -> None:
    assert "memos serve" in memos("backup", str(tmp_path / "b.tar"), "--data-dir", str(tmp_path / "none")).stderr
    assert "cannot be read" in memos("import", str(tmp_path / "none"), "--cube", "c").stderr
    (tmp_path / "items.jsonl").write_text("{}\n")
    assert "--cube" in memos("import", str(tmp_path / "items.jsonl")).stderr
