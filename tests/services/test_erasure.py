"""After an erasure not a byte is left, by whatever door; the receipt holds offline; and history still verifies."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg import sql
from sqlalchemy import make_url

from api.app import create_app
from memos.errors import ErasedContent, Frozen, NotFound
from memos.rules import receipts
from memos.rules.access import Principal
from memos.rules.header import Draft, Kind, Source, sha256
from memos.rules.receipts import BadReceipt
from memos.services import branch, doctor_truth, erase, read, recall, revise, signing, work
from memos.services.encode import encode
from memos.services.erase import Wanted
from memos.services.findings import Verdict
from memos.services.remember import utc_now
from memos.store import cubes, decisions, erasure, jobs, memories, usage
from memos.store.revision_writer import RevisionWriter
from memos.wiring import App
from tests.conftest import OWNER_KEY
from tests.services.deriving import DAY, START, Cube
from tests.services.running import fact, head, look, make_cube, run, write

# Words that occur nowhere else; stems and embeddings follow from them.
SECRET = "Zyxgrimbold keeps his quorvantium in the vermwhistle cellar"
EDITED = "Zyxgrimbold moved his quorvantium to the brondulax attic"
NEEDLES = ("zyxgrimbold", "quorvant", "vermwhistl", "brondulax", "fluxomart", "gnarlwick", "plimsmoke", "drexelthorpe")
_numbers = itertools.count(1)


@pytest.fixture
def cube(app: App, owner: Principal) -> str:
    name = f"erasing-{next(_numbers)}"
    make_cube(app, owner, name, utc_now())
    return name


@pytest.fixture(scope="module")
def client(app: App) -> Iterator[TestClient]:
    with TestClient(create_app(app), headers={"Authorization": f"Bearer {OWNER_KEY}"}) as opened:
        yield opened


def derive(app: App, owner: Principal, cube: str, text: str, sources: Sequence[UUID], **fields: Any) -> UUID:
    """A memory made of others, as the workers write them."""
    now = utc_now()
    draft = Draft(kind=Kind.FACT, text=text, created_at=now, origin="derived", **fields)
    [encoded] = encode(app.embedder, [draft])
    with app.database.transaction(owner.tenant_id) as tx:
        writer = RevisionWriter(tx, cube, "main", now=now)
        rows = memories.get_many(tx, writer.view, sources)
        cited = tuple(Source(row.memory_id, row.version) for row in rows.values())
        made = writer.add(replace(draft, sources=cited), encoded)
        writer.finish(kind="extract", author=None, reason="")
    return made


def forget(app: App, owner: Principal, cube: str, *memory_ids: UUID) -> dict[str, Any]:
    """Erase; the receipt."""
    with app.database.transaction(owner.tenant_id) as tx:
        promised = erase.request(tx, owner, cube, Wanted(memory_ids), now=utc_now())
    run(app, owner, promised.job_id)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        return erase.get_receipt(tx, owner, promised.receipt_id)


def public_keys(app: App, owner: Principal) -> dict[str, Any]:
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        return {"keys": erase.public_keys(tx, owner, signing.keyring(app.settings))}


def scan(owner_url: str, needles: Sequence[str]) -> list[tuple[str, str]]:
    """(table, needle) for everything that any row of any table still holds, large values included."""
    url = make_url(owner_url).set(drivername="postgresql").render_as_string(hide_password=False)
    found = []
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY 1"
        ).fetchall()
        assert len(tables) > 40
        for (table,) in tables:
            # A row as text spells bytes as hex and vectors as numbers, so every column takes part.
            rows = connection.execute(sql.SQL("SELECT lower(CAST(t AS text)) FROM {} t").format(sql.Identifier(table)))
            whole = "\n".join(row for (row,) in rows)
            found += [(table, needle) for needle in needles if needle.lower() in whole]
    return found


def test_not_a_byte_is_left_in_any_table(app: App, owner: Principal, owner_url: str, client: TestClient) -> None:
    name = f"bytes-{next(_numbers)}"
    base = f"/v1/cubes/{name}"
    made = client.post("/v1/cubes", json={"name": name}, headers={"Idempotency-Key": "make"}).json()
    said = {"role": "user", "name": "Gnarlwick", "content": SECRET, "external_id": "drexelthorpe-1"}
    target, other = (
        UUID(
            client.post(
                f"{base}/messages",
                json={"session_id": session, "messages": [message]},
                headers={"Idempotency-Key": f"say-{len(session)}"},
            ).json()["memories"][0]["id"]
        )
        for session, message in (("plimsmoke", said), ("s", {"role": "assistant", "content": "That is good to know."}))
    )
    client.post(f"{base}/branches", json={"name": "exp"})
    edit = {"content": EDITED, "tags": ["fluxomart"], "metadata": {"where": "Fluxomart"}, "title": "The Fluxomart"}
    for name_of_branch in ("main", "exp"):
        answer = client.patch(
            f"{base}/memories/{target}",
            json={**edit, "branch": name_of_branch},
            headers={"Idempotency-Key": f"edit-{name_of_branch}"},
        )
        assert answer.status_code == 200, answer.text
    kept = derive(app, owner, name, "The attic is cold.", [other])
    gone = derive(app, owner, name, "Zyxgrimbold has an attic named brondulax", [target])
    deeper = derive(app, owner, name, "Attics hold quorvantium", [gone, other])
    run_all(app, owner)
    for _ in range(2):
        assert str(target) in client.post(f"{base}/search", json={"query": EDITED}).text
        client.post(f"{base}/context", json={"query": "where is the quorvantium?"})
    app.recalls.flush()
    app.traces.flush()
    with app.database.transaction(owner.tenant_id) as tx:
        decision = decisions.Decision(
            memory_id=target, outcome="keep", score=1.0, inputs={"words": "quorvantium"}, reason="", policy_version="t",
            applied=True,
        )  # fmt: skip
        decisions.record(
            tx, UUID(made["id"]), [decision], kind="test", branch="main", job_id=None, revision=None, now=utc_now()
        )
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        texts = erasure.texts(tx, UUID(made["id"]), [target, gone, deeper])
        keys = erasure.dedup_keys(tx, UUID(made["id"]), [target, gone, deeper])
    needles = [
        *NEEDLES,
        *(t.sha256.hex() for t in texts),
        *(k.hex() for k in keys),
        *(str(t.embedding.to_list())[:60] for t in texts),
    ]
    before = {table for table, _ in scan(owner_url, needles)}
    assert {"contents", "memory_versions", "postings", "terms", "speakers", "idempotency", "traces", "decisions",
            "mentions", "entities"} <= before  # fmt: skip

    # A trace and a count that are still on their way when it happens.
    assert str(target) in client.post(f"{base}/search", json={"query": f"again: {EDITED}"}).text
    promised = client.post(f"{base}/forget", json={"memory_ids": [str(target)]}).json()
    assert client.get(f"/v1/receipts/{promised['receipt_id']}").status_code == 404
    run(app, owner, UUID(promised["job_id"]))
    receipt = client.get(f"/v1/receipts/{promised['receipt_id']}").json()
    app.recalls.flush()
    app.traces.flush()

    assert scan(owner_url, needles) == []
    assert receipt["reached"]["asked"] == 1
    assert receipt["reached"]["derived"] >= 2
    taken = {leaf[0] for leaf in receipt["tombstones"]["leaves"]}
    assert {str(target), str(gone), str(deeper)} <= taken
    assert not {str(other), str(kept)} & taken
    assert receipts.verify(receipt, client.get("/v1/receipts/key").json()).versions == receipt["erased"]["versions"]
    # A write that is repeated neither brings the content back nor pretends to have done nothing.
    again = client.patch(
        f"{base}/memories/{target}", json={**edit, "branch": "main"}, headers={"Idempotency-Key": "edit-main"}
    )
    assert (again.status_code, again.json()["code"]) == (410, "erased")
    assert [f for f in doctor_truth.examine(app.database, repair=False) if f.verdict is Verdict.FAIL] == []


def run_all(app: App, owner: Principal) -> None:
    """Every job that waits, due or not."""
    for _ in range(10):
        with app.database.transaction(owner.tenant_id) as tx:
            waiting = jobs.list_page(tx, "queued", None, 200, None, None)
            tx.run("UPDATE jobs SET run_after = now() WHERE tenant_id = :tenant AND state = 'queued'")
        if not waiting:
            return
        for job in waiting:
            assert work.run_job(app, owner.tenant_id, job.id) in ("succeeded", None)


def test_every_door_is_shut(app: App, owner: Principal, cube: str) -> None:
    target, other = write(app, owner, cube, [fact(SECRET, external_id="x1"), fact("the coat is blue")], utc_now())
    before = head(app, owner, cube)
    with app.database.transaction(owner.tenant_id) as tx:
        branch.create_branch(tx, owner, cube, name="exp", from_=None, base="main", now=utc_now())
    prepared = revise.prepare_change(app.database, app.embedder, owner, cube, target, {"content": EDITED}, "exp")
    with app.database.transaction(owner.tenant_id) as tx:
        revise.change(tx, owner, prepared, now=utc_now())
    receipt = forget(app, owner, cube, target)
    assert {(r["branch"], r["removed"]) for r in receipt["revisions"]} == {("main", 1), ("exp", 1)}

    for name, at in (("main", None), ("main", before), ("exp", None), ("exp", before)):
        with app.database.transaction(owner.tenant_id, read_only=True) as tx:
            with pytest.raises(NotFound):
                read.get_memory(tx, owner, cube, target, branch=name, at=at)
            listed = read.list_memories(
                tx, owner, cube, kind=None, state=None, tag=None, session_id=None, branch=name, at=at, as_of=None, limit=100,
                cursor=None,
            )  # fmt: skip
            assert [m.id for m in listed.items] == [other]
            assert [v.memory_id for v in memories.stream(tx, cubes.view(tx, cube, name, at))] == [other]
        for text in (SECRET, EDITED, "quorvantium"):
            asked = recall.SearchQuery(text, branch=name, at=at, limit=50)
            answer = recall.search_cubes(app.recall, owner, [cube], asked, clock=utc_now())
            assert {hit.memory_id for hit in answer.items} <= {other}
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        history = read.history(tx, owner, cube, target, limit=10, cursor=None).items
        changes = branch.diff(tx, owner, cube, from_=0, to=before, branch="main")
    assert [(v.content, v.external_id, v.erased) for v in history] == [(None, None, True)] * len(history)
    assert len(history) == receipt["erased"]["versions"]
    assert [m.id for m in changes.added] == [other]
    with app.database.transaction(owner.tenant_id) as tx, pytest.raises(NotFound):
        revise.restore(tx, owner, cube, target, version=9, branch="main", now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx, pytest.raises(NotFound):
        erase.request(tx, owner, cube, Wanted([target]), now=utc_now())


def test_going_back_does_not_bring_it_back(app: App, owner: Principal, cube: str) -> None:
    target, other = write(app, owner, cube, [fact(SECRET), fact("the coat is blue")], utc_now())
    number = head(app, owner, cube)
    forget(app, owner, cube, target)
    with app.database.transaction(owner.tenant_id) as tx:
        branch.rollback(tx, owner, cube, to=number, branch="main", now=utc_now())
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        shown = memories.state_at(tx, cubes.view(tx, cube))
    assert set(shown) == {other}
    assert [f for f in doctor_truth.examine(app.database, repair=False) if f.verdict is Verdict.FAIL] == []


def test_the_closure_goes_down_and_to_duplicates_but_not_up(app: App, owner: Principal, cube: str) -> None:
    source, survivor, folded, same = write(
        app,
        owner,
        cube,
        [fact("a source"), fact("a duplicate"), fact("a duplicate, folded"), fact("bystander")],
        utc_now(),
    )
    made = derive(app, owner, cube, "made of the duplicate and the source", [survivor, source])
    with app.database.transaction(owner.tenant_id) as tx:
        writer = RevisionWriter(tx, cube, "main", now=utc_now())
        row = memories.get(tx, writer.view, folded)
        assert row is not None
        writer.change(row, replace(row.draft(), state="merged", action="merge", merged_into=survivor))
        writer.finish(kind="consolidate", author=None, reason="")
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        told = erase.preview(tx, owner, cube, Wanted([folded]))
    assert {(r.memory_id, r.why) for r in told.memories} == {
        (folded, "asked"), (survivor, "duplicate"), (made, "derived"),
    }  # fmt: skip
    assert told.sources_left == [source]
    receipt = forget(app, owner, cube, folded)
    assert receipt["erased"]["memories"] == 3
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        assert set(memories.state_at(tx, cubes.view(tx, cube))) == {source, same}


def test_a_dry_run_writes_nothing_and_tells_what_would_stay(app: App, owner: Principal, cube: str) -> None:
    target = write(app, owner, cube, [fact(SECRET, external_id="one")], utc_now())[0]
    twin = write(app, owner, cube, [fact(SECRET, external_id="two")], utc_now())[0]
    before = head(app, owner, cube)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        told = erase.preview(tx, owner, cube, Wanted(filter={"external_id": {"eq": "one"}}))
    assert (told.asked, told.taken, [r.memory_id for r in told.memories], told.same_text) == (1, 1, [target], [twin])
    assert head(app, owner, cube) == before


def test_what_is_frozen_anywhere_stands_against_it(app: App, owner: Principal, cube: str) -> None:
    [target] = write(app, owner, cube, [fact(SECRET)], utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        revise.set_state(tx, owner, cube, target, to="frozen", branch="main", now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        branch.create_branch(tx, owner, cube, name="exp", from_=None, base="main", now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        revise.set_state(tx, owner, cube, target, to="generated", branch="main", now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx, pytest.raises(Frozen):
        erase.request(tx, owner, cube, Wanted([target]), now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        revise.set_state(tx, owner, cube, target, to="generated", branch="exp", now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        promised = erase.request(tx, owner, cube, Wanted([target]), now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        revise.set_state(tx, owner, cube, target, to="frozen", branch="main", now=utc_now())
    assert work.run_job(app, owner.tenant_id, promised.job_id) == "failed"
    assert (look(app, owner, promised.job_id).error or {})["code"] == "frozen"
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        with pytest.raises(NotFound):
            erase.get_receipt(tx, owner, promised.receipt_id)
        assert read.get_memory(tx, owner, cube, target, branch="main", at=None).content == SECRET


def test_a_probe_that_finds_something_undoes_everything(
    app: App, owner: Principal, cube: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let one table be forgotten: the erasure must notice, and not happen."""
    [target] = write(app, owner, cube, [fact(SECRET)], utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        usage.recalled(tx, cubes.find(tx, cube).id, {target: 1}, utc_now())
        promised = erase.request(tx, owner, cube, Wanted([target]), now=utc_now())
    monkeypatch.setattr(erasure, "WIPES", {t: s for t, s in erasure.WIPES.items() if t != "usage"})
    assert work.run_job(app, owner.tenant_id, promised.job_id) != "succeeded"
    assert (look(app, owner, promised.job_id).error or {})["code"] == "still_there"
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        assert read.get_memory(tx, owner, cube, target, branch="main", at=None).content == SECRET


def test_every_table_is_either_emptied_or_holds_no_content(owner_url: str) -> None:
    """A new table must be thought about: here, or in `erasure.WIPES`."""
    without_content = {
        "alembic_version", "api_keys", "audit", "audit_heads", "branches", "cubes", "cursors", "erasure_marks",
        "kv_budgets", "kv_deks", "kv_models", "kv_outcomes",
        "lifecycle_edges", "receipts", "revision_tags", "revisions", "tenants", "transitions",
    }  # fmt: skip
    by_the_revision = {"postings", "terms", "speakers"}
    url = make_url(owner_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        ).fetchall()
    assert {row[0] for row in rows} - without_content - by_the_revision == set(erasure.WIPES)


def test_what_was_made_of_it_meanwhile_is_refused(app: App, owner: Principal, cube: str) -> None:
    """A worker that read the text before the erasure must not save what it made of it after."""
    [target] = write(app, owner, cube, [fact(SECRET)], utc_now())
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        row = memories.get(tx, cubes.view(tx, cube), target)
    assert row is not None
    forget(app, owner, cube, target)
    now = utc_now()
    draft = Draft(Kind.FACT, "He has a cellar", now, origin="derived", sources=(Source(row.memory_id, row.version),))
    [encoded] = encode(app.embedder, [draft])
    with pytest.raises(Exception, match="has been erased"), app.database.transaction(owner.tenant_id) as tx:
        writer = RevisionWriter(tx, cube, "main", now=now)
        writer.add(draft, encoded)
        writer.finish(kind="extract", author=None, reason="")
    with pytest.raises(NotFound), app.database.transaction(owner.tenant_id) as tx:
        writer = RevisionWriter(tx, cube, "main", now=now)
        writer.restate(None, row, "rollback")
        writer.finish(kind="extract", author=None, reason="")


@pytest.mark.parametrize("refuse", [True, False])
def test_the_same_text_may_come_back_unless_the_policy_refuses(app: App, owner: Principal, refuse: bool) -> None:
    name = f"back-{next(_numbers)}"
    make_cube(app, owner, name, utc_now(), {"refuse_erased": refuse})
    [target, other] = write(app, owner, name, [fact(SECRET), fact("the coat is blue")], utc_now())
    receipt = forget(app, owner, name, target)
    assert receipt["return_refused"] is refuse
    if refuse:
        for text in (SECRET, f"  {SECRET.upper()} "):
            with pytest.raises(ErasedContent):
                write(app, owner, name, [fact("harmless"), fact(text)], utc_now())
        prepared = revise.prepare_change(app.database, app.embedder, owner, name, other, {"content": SECRET}, "main")
        with pytest.raises(ErasedContent), app.database.transaction(owner.tenant_id) as tx:
            revise.change(tx, owner, prepared, now=utc_now())
    else:
        assert write(app, owner, name, [fact(SECRET)], utc_now()) != [target]


def test_a_receipt_that_was_touched_does_not_hold(app: App, owner: Principal, cube: str) -> None:
    [first, second] = write(app, owner, cube, [fact(SECRET), fact(EDITED)], utc_now())
    receipt, another, keys = forget(app, owner, cube, first), forget(app, owner, cube, second), public_keys(app, owner)
    verified = receipts.verify(json.loads(json.dumps(receipt)), keys)
    assert (verified.memories, verified.versions, verified.cube_id) == (1, 1, receipt["cube_id"])
    assert receipts.verify(receipt, keys["keys"][0]) == verified
    for part in receipt:
        if part == "signature":
            touched = receipt | {"signature": another["signature"]}
        else:
            touched = receipt | {part: another[part] if another[part] != receipt[part] else "x"}
        with pytest.raises(BadReceipt):
            receipts.verify(touched, keys)
    with pytest.raises(BadReceipt):
        receipts.verify(receipt, {"keys": [receipts.key_json(bytes(32))]})
    with pytest.raises(BadReceipt):
        receipts.verify(receipt, {"keys": [receipts.key_json(bytes(32)) | {"key_id": receipt["key_id"]}]})


def test_the_command_checks_a_receipt_without_any_service(
    app: App, owner: Principal, cube: str, tmp_path: Path
) -> None:
    [target] = write(app, owner, cube, [fact(SECRET)], utc_now())
    receipt = forget(app, owner, cube, target)
    (tmp_path / "receipt.json").write_text(json.dumps(receipt, indent=2))
    (tmp_path / "key.json").write_text(json.dumps(public_keys(app, owner)))
    (tmp_path / "touched.json").write_text(json.dumps(receipt | {"erased_at": "2020-01-01"}))

    def verify(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "memos.cli", "verify-receipt", name, "--key", "key.json"]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    fine = verify("receipt.json")
    assert fine.returncode == 0, fine.stderr
    assert "The receipt holds" in fine.stdout
    for name, complaint in (("touched.json", "signature does not fit"), ("absent.json", "cannot be read")):
        refused = verify(name)
        assert refused.returncode == 1
        assert complaint in refused.stderr


def test_the_tombstones_are_keyed_and_speak_of_the_chain(app: App, owner: Principal, cube: str) -> None:
    [target] = write(app, owner, cube, [fact(SECRET)], utc_now())
    receipt = forget(app, owner, cube, target)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        [version] = erasure.versions(tx, UUID(receipt["cube_id"]), [target])
    keys = signing.keyring(app.settings)

    def leaf(key: bytes) -> str:
        made = receipts.tombstone(key, owner.tenant_id, version_cube, target, version.version, version.commitment)
        return made.digest.hex()

    version_cube = UUID(receipt["cube_id"])
    assert receipt["tombstones"]["leaves"] == [[str(target), 1, leaf(keys.tombstones)]]
    assert leaf(bytes(32)) != leaf(keys.tombstones)
    assert sha256(SECRET).hex() not in json.dumps(receipt)


def test_a_refused_fact_is_not_made_again_of_another_text(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner, {"refuse_erased": True})
    cube.say("I live in Porto.", "I work at Galp.", name="Ana")
    cube.extract()
    facts = {memory.content: memory.id for memory in cube.memories("fact")}
    [porto] = [text for text in facts if text and "Porto" in text]
    forget(app, owner, cube.name, facts[porto])
    cube.say("I live in Porto.", "I have a boat.", session="s2", name="Ana", at=START + DAY)
    cube.extract()
    after = {memory.content for memory in cube.memories("fact")}
    assert porto not in after
    assert any(text and "boat" in text for text in after)
    assert any(text and "Galp" in text for text in after)
