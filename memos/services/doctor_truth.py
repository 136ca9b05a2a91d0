"""The doctor on the truth itself: revision chains, what was committed to, audit trails, and indexes that must agree.

Everything is recomputed from what is stored, tenant by tenant and cube by cube, each cube in one snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from memos.rules.versioning import GENESIS, changes_digest, revision_hash
from memos.services.findings import Finding, fail, ok, warn
from memos.store import audit, cubes, jobs, verify, verify_indexes
from memos.store.cubes import Cube
from memos.store.engine import Database
from memos.store.transaction import Transaction

_MOST_FAULTS = 5  # of one kind in one cube: the first ones say where to look
_ALL = 2**31 - 1
RESTORE = (
    "something outside the service changed the database: compare with a backup, and restore what differs; history cannot "
    "be repaired without making it a forgery"
)


@dataclass(slots=True)
class _Counts:
    tenants: int = 0
    cubes: int = 0
    revisions: int = 0
    versions: int = 0
    branches: int = 0
    acts: int = 0


def examine(database: Database, *, repair: bool) -> Iterator[Finding]:
    """One line for each fault, and one for each kind of truth that holds everywhere."""
    seen = _Counts()
    broken: set[str] = set()
    for tenant_id in jobs.tenant_ids(database):
        seen.tenants += 1
        for finding in _tenant(database, tenant_id, seen, repair=repair):
            broken.add(finding.check)
            yield finding
    for check, detail in (
        ("revision chains", f"{seen.revisions:,} revisions of {seen.cubes:,} cubes: no gaps, every hash follows"),
        ("versions", f"{seen.versions:,} versions are what was committed to"),
        ("audit", f"{seen.acts:,} acts of {seen.tenants:,} tenants: an unbroken chain"),
        (
            "indexes",
            f"{seen.branches:,} branches: vectors, postings, term counts, names and facets agree with the memories",
        ),
    ):
        if check not in broken:
            yield ok(check, detail)


def examine_history(tx: Transaction, cube: Cube) -> Iterator[Finding]:
    """What is wrong with the chain and the states of one cube; nothing when all of it holds."""
    yield from _chain(tx, cube, _Counts())
    yield from _states(tx, cube, _Counts())


def _tenant(database: Database, tenant_id: UUID, seen: _Counts, *, repair: bool) -> Iterator[Finding]:
    with database.transaction(tenant_id, read_only=True) as tx:
        acts, wrong = audit.verify(tx)
        found = cubes.list_cubes(tx, _ALL, None, None)
    seen.acts += acts
    if wrong is not None:
        yield fail("audit", f"tenant {tenant_id}: act {wrong} does not follow from the one before it", RESTORE)
    for cube in found:
        seen.cubes += 1
        with database.transaction(tenant_id, read_only=True) as tx:
            yield from _chain(tx, cube, seen)
            yield from _states(tx, cube, seen)
        yield from _indexes(database, tenant_id, cube, seen, repair=repair)


def _chain(tx: Transaction, cube: Cube, seen: _Counts) -> Iterator[Finding]:
    faults = 0
    number = 0
    for number, fault in _links(tx, cube):
        if fault is None:
            seen.revisions += 1
            continue
        faults += 1
        if faults <= _MOST_FAULTS:
            yield fail("revision chains", f"{_named(cube)}, revision {number}: {fault}", RESTORE)
    if number != cube.last_revision:
        yield fail("revision chains", f"{_named(cube)} ends at revision {number}, not at {cube.last_revision}", RESTORE)
    if faults > _MOST_FAULTS:
        yield fail("revision chains", f"{_named(cube)}: {faults - _MOST_FAULTS} more revisions", RESTORE)


def _links(tx: Transaction, cube: Cube) -> Iterator[tuple[int, str | None]]:
    """Each revision's number and what is wrong with it. Reads the chain and the versions side by side."""
    hashes: dict[int, bytes] = {}
    written = verify.changes(tx, cube.id)
    upcoming = next(written, None)
    expected = 1
    for link in verify.links(tx, cube.id):
        while upcoming is not None and upcoming[0] < link.number:
            yield upcoming[0], "versions belong to it, but the revision is not there"
            upcoming = next(written, None)
        opened, closed = ([], []) if upcoming is None or upcoming[0] != link.number else upcoming[1:]
        if upcoming is not None and upcoming[0] == link.number:
            upcoming = next(written, None)
        parent = GENESIS if link.parent is None else hashes.get(link.parent)
        hashes[link.number] = link.hash
        if link.number != expected:
            yield link.number, f"the revision before it is not {link.number - 1}: there is a gap"
        elif changes_digest(opened, closed) != link.changes:
            yield link.number, "its versions are not the ones it was written with"
        elif parent is None:
            yield link.number, f"its parent {link.parent} is not there"
        elif link.hash != revision_hash(
            parent_hash=parent,
            number=link.number,
            branch=link.branch,
            kind=link.kind,
            merged_from=link.merged_from,
            author=link.author,
            reason=link.reason,
            created_at=link.created_at,
            changes=link.changes,
        ):
            yield link.number, "its hash does not follow from its parent's and what it says of itself"
        else:
            yield link.number, None
        expected = link.number + 1


def _states(tx: Transaction, cube: Cube, seen: _Counts) -> Iterator[Finding]:
    faults = 0
    for version, text_sha256 in verify.states(tx, cube.id):
        seen.versions += 1
        if (fault := verify.fault_of(version, text_sha256)) is None:
            continue
        faults += 1
        if faults <= _MOST_FAULTS:
            where = f"{_named(cube)}, memory {version.memory_id}, version {version.version}"
            yield fail("versions", f"{where}: {fault}", RESTORE)
    if faults > _MOST_FAULTS:
        yield fail("versions", f"{_named(cube)}: {faults - _MOST_FAULTS} more versions", RESTORE)


def _indexes(database: Database, tenant_id: UUID, cube: Cube, seen: _Counts, *, repair: bool) -> Iterator[Finding]:
    with database.transaction(tenant_id, read_only=True) as tx:
        branches = cubes.list_branches(tx, cube.id, deleted=True)
        read = [(branch, verify_indexes.index_faults(tx, branch.id)) for branch in branches]
    seen.branches += len(branches)
    for branch, faults in read:
        if not faults:
            if faults.undescribed:
                what = f"{_named(cube)}, branch {branch.name!r}: {faults.undescribed:,} memories are on no list for filters yet"
                yield warn("indexes", what, "the next job 'index' of the branch lists them; any write asks for one")
            continue
        totals = ", wrong totals" if faults.totals else ""
        detail = (
            f"{_named(cube)}, branch {branch.name!r}: {faults.vectors} vectors, {faults.postings} postings, "
            f"{faults.terms} term counts, {faults.speakers} names, {faults.facets} facets differ{totals}"
        )
        if not repair:
            yield fail("indexes", detail, "run 'memos doctor --repair': it rebuilds them from the memories")
            continue
        with database.transaction(tenant_id) as tx:
            held = verify_indexes.rebuild(tx, branch)
            jobs.promise(tx, "index", cube_id=cube.id, payload={"branch": branch.name})
        yield warn("indexes", f"{detail}; rebuilt, {held:,} memories", "run 'memos doctor' again to see that it holds")


def _named(cube: Cube) -> str:
    return f"cube {cube.name!r}"
