"""Export: a cube as one signed file, from one snapshot, in bounded memory.

What is erased has no content to give; what is too sensitive for the receiver leaves in the same form, and takes with it
whatever was made from it, as an erasure would.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.encoders.embedder import Embedder
from memos.rules import packages as rules
from memos.rules.access import LABELS, Principal, Scope
from memos.rules.header import Sensitivity, instant
from memos.rules.packages import Model, Profile, Sealer
from memos.services.signing import Keyring
from memos.store import audit, cubes, erasure, packages, spaces
from memos.store.engine import Database
from memos.store.package_sections import SECTIONS
from memos.store.packages import Selection
from memos.store.transaction import Transaction


def export(
    database: Database,
    embedder: Embedder,
    keys: Keyring,
    who: Principal,
    reference: str,
    profile: Profile,
    *,
    now: datetime,
) -> Iterator[bytes]:
    """The lines of the package. What is wrong with the request raises before the first of them.

    It holds every revision with its author, and the salts of the commitments: hence the scope `admin`.
    """
    who.require(Scope.ADMIN)
    profile = _within(profile, who)
    with database.transaction(who.tenant_id) as tx:
        cube = cubes.find(tx, reference)
        who.reach(cube.id)
        audit.record(tx, who.key_id, "cube.export", now, cube_id=cube.id,
                     detail={"revision": cube.last_revision, "max_sensitivity": profile.max_sensitivity})  # fmt: skip
    return _lines(database, embedder, keys, who, cube.id, profile, now)


def _within(profile: Profile, who: Principal) -> Profile:
    """A package holds no more than its caller may read."""
    asked = LABELS.index(Sensitivity(profile.max_sensitivity))
    return replace(profile, max_sensitivity=LABELS[who.clearance]) if who.clearance < asked else profile


def _lines(
    database: Database,
    embedder: Embedder,
    keys: Keyring,
    who: Principal,
    cube_id: UUID,
    profile: Profile,
    now: datetime,
) -> Iterator[bytes]:
    with database.transaction(who.tenant_id, read_only=True) as tx:
        tx.run(f"SET LOCAL statement_timeout = '{packages.WRITE_TIMEOUT_S}s'")
        packages.see_everything(tx)
        cube = packages.header(tx, cube_id)
        selection = _selection(tx, cube_id, profile, now)
        sealer = Sealer(
            rules.header(
                who.tenant_id, cube, _model(tx, cube_id, embedder), profile, str(instant(now)), len(selection.gone)
            )
        )
        yield sealer.first()
        gone, moment = set(selection.gone), str(instant(now))
        there = packages.tables(tx)
        for section in SECTIONS:
            if section.table not in there:
                continue
            for owner, body in packages.rows(tx, cube_id, section, selection):
                if owner is not None and owner in gone:
                    body = _emptied(section.name, json.loads(body), moment)  # noqa: PLW2901 - the same row, without content
                yield sealer.line(section.name, body.encode())
        history = rules.history_digest(packages.revision_hashes(tx, cube_id, int(cube["last_revision"])))
        yield sealer.last(history, keys.signer)


def _selection(tx: Transaction, cube_id: UUID, profile: Profile, now: datetime) -> Selection:
    gone: list[UUID] = []
    entities: list[UUID] = []
    if labels := profile.too_sensitive():
        gone = sorted(erasure.closure(tx, cube_id, packages.sensitive(tx, cube_id, labels)))
        entities = erasure.named_only_by(tx, cube_id, packages.content_ids(tx, cube_id, gone)) if gone else []
    return Selection(profile.vectors, profile.usage, profile.decisions, gone, entities, now)


def _model(tx: Transaction, cube_id: UUID, embedder: Embedder) -> Model:
    active = spaces.active(tx, cube_id)
    if active is not None:
        return Model(active.model, active.fingerprint, active.dimensions)
    return Model(embedder.name, embedder.fingerprint, embedder.dimensions)


def _emptied(section: str, body: dict[str, Any], erased_at: str) -> str:
    emptied = rules.erased_version if section == "version" else rules.erased_content
    return json.dumps(emptied(body, erased_at), ensure_ascii=False, separators=(",", ":"))
