"""What tests of packages share: a cube with a past worth packing, and what must be the same wherever it is unpacked."""

from __future__ import annotations

import io
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from memos.rules.access import Principal
from memos.rules.packages import Profile, Trust
from memos.services import branch, erase, package_export, package_import, recall, revise, signing
from memos.services.erase import Wanted
from memos.services.package_import import Imported
from memos.services.remember import utc_now
from memos.store import cubes, usage, verify
from memos.wiring import App
from tests.services.deriving import DAY, START, Cube
from tests.services.running import fact, run

SECRET = "The vault code is seven two nine"
QUESTIONS = ("Where does Anna live?", "Who works at Acme Corp?", "What grows in the garden?", "train to Porto")


def eventful(app: App, owner: Principal) -> tuple[Cube, UUID]:
    """A cube with turns, facts read from them, a tag, a branch that was merged, a rollback, a frozen and an erased memory;
    and the receipt of the erasure."""
    cube = Cube.make(app, owner)
    cube.say(
        "Anna Berg lives in Lisbon.", "Anna works for Acme Corp.", "The train to Porto leaves at nine.", name="Rex Holm"
    )
    ids = cube.learn("Roses grow in the garden", "Beans grow in the garden", "The cellar is dry", tags=["house"],
                     metadata={"n": 1.5, "deep": [{"x": 1e22}]})  # fmt: skip
    cube.extract()
    with cube.writing() as tx:
        branch.create_tag(tx, owner, cube.name, name="before", revision=1, now=START)
        branch.create_branch(tx, owner, cube.name, name="trial", from_=None, base="main", now=START)
    change(cube, ids[0], {"content": "Roses and tulips grow in the garden"}, "trial")
    change(cube, ids[2], {"priority": 0.9}, "main")
    with cube.writing() as tx:
        branch.merge(tx, owner, cube.name, source="trial", target="main", strategy="fail", dry_run=False, now=START)
    cube.put(fact("A mistake to be undone"))
    cube.rollback(cube.head - 1)
    cube.put(fact("Very private", sensitivity="secret", external_id="p1"))
    [secret] = cube.put(fact(SECRET))
    with cube.writing() as tx:
        revise.set_state(tx, owner, cube.name, ids[1], to="frozen", reason="keep", branch="main", now=START)
        usage.recalled(tx, cube.id, {ids[0]: 3}, START + DAY)
        promised = erase.request(tx, owner, cube.name, Wanted([secret]), now=utc_now())
    run(app, owner, promised.job_id)
    return cube, promised.receipt_id


def change(cube: Cube, memory_id: UUID, changes: dict[str, Any], name: str) -> None:
    prepared = revise.prepare_change(
        cube.app.database, cube.app.embedder, cube.who, cube.name, memory_id, changes, name
    )
    with cube.writing() as tx:
        revise.change(tx, cube.who, prepared, now=START)


def packed(cube: Cube, who: Principal | None = None, **profile: Any) -> bytes:
    keys = signing.keyring(cube.app.settings)
    return b"".join(
        package_export.export(
            cube.app.database, cube.app.embedder, keys, who or cube.who, cube.name, Profile(**profile), now=utc_now()
        )
    )


def unpacked(app: App, who: Principal, package: bytes, name: str | None = None, trust: Trust | None = None) -> Imported:
    return package_import.import_package(
        app.database, app.embedder, signing.keyring(app.settings), who, lambda: io.BytesIO(package), now=utc_now(),
        name=name, trust=trust,
    )  # fmt: skip


def remove(cube: Cube) -> None:
    """All of it, frozen or not; receipts stay, as they do."""
    with cube.writing() as tx:
        cubes.delete(tx, cube.id)


def answers(app: App, who: Principal, name: str, **asked: Any) -> list[list[tuple[Any, ...]]]:
    """Every question's hits with their scores, now and in the past."""
    wanted: dict[str, Any] = {"now": START + timedelta(days=30), "limit": 20} | asked
    found = []
    for question in QUESTIONS:
        answer = recall.search_cubes(app.recall, who, [name], recall.SearchQuery(question, **wanted), clock=START)
        found.append([(h.memory_id, h.version, h.content, h.score, h.state, tuple(h.sources)) for h in answer.items])
    return found


def told(app: App, who: Principal, name: str) -> dict[str, Any]:
    """What a cube says of itself: revisions with hashes, every version of every memory, tags, the graph, usage."""
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        cube = cubes.find(tx, name)
        versions = [
            {k: v for k, v in asdict_version(version).items() if k not in {"id", "branch_id", "content_id"}}
            for version, _ in sorted(verify.states(tx, cube.id), key=lambda s: (s[0].memory_id, s[0].version))
        ]
        branches = [(b.name, b.fork_revision, b.head_revision, b.live_count, b.term_total) for b in
                    cubes.list_branches(tx, cube.id, deleted=True)]  # fmt: skip
        by_table = {
            table: [tuple(row.values()) for row in tx.rows(f"SELECT {columns} FROM {table} WHERE tenant_id = :tenant "
                                                           f"AND cube_id = :cube ORDER BY {columns}", cube=cube.id)]
            for table, columns in {
                "revision_tags": "name, revision, created_at",
                "memory_sources": "memory_id, version, source_memory_id, source_version, relation",
                "links": "memory_id, version, other_id, relation",
                "entities": "id, key, name, split_off, created_at",
                "mentions": "entity_id, name, type, confidence",
                "claims": "subject_key, attribute_key, subject_id, object_id, confidence, body::text",
                "readings": "reader, read_at",
                "usage": "memory_id, recalls, repeats, last_recalled_at, stability_days, recent, weighted_recalls",
                "transitions": "memory_id, version, revision, from_state, to_state, action, at",
                "decisions": "id, kind, memory_id, outcome, inputs::text, decided_at",
                "receipts": "id, signed_at, body::text",
                "contents": "memory_id, text, sha256, terms, counts, length, tokens, erased_at, embedding::text",
            }.items()
        }  # fmt: skip
        return {
            "chain": [asdict(link) for link in verify.links(tx, cube.id)], "versions": versions, "branches": branches, **by_table,
        }  # fmt: skip


def asdict_version(version: Any) -> dict[str, Any]:
    return {name: getattr(version, name) for name in version.__dataclass_fields__}
