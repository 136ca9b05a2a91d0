"""A cube leaves as one file and comes back the same: its answers, its revisions, its hashes, and nothing that was erased."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from memos.encoders.fake_embedder import FakeEmbedder
from memos.errors import Conflict, Forbidden
from memos.rules import packages as rules
from memos.rules import receipts
from memos.rules.access import ALL_SCOPES, Principal, Scope
from memos.rules.packages import BadPackage, Trust
from memos.services import doctor_truth, erase, package_import, signing
from memos.services.findings import Verdict
from memos.services.remember import utc_now
from memos.store import cubes, tenants
from memos.wiring import App
from tests.services.deriving import Cube
from tests.services.packaging import SECRET, answers, eventful, packed, remove, told, unpacked
from tests.services.running import fact, run


@pytest.fixture(scope="module")
def elsewhere(app: App, owner: Principal) -> Principal:
    """Somebody with every scope in another tenant."""
    with app.database.transaction(owner.tenant_id) as tx:
        made = tenants.create(tx, "elsewhere")
    return Principal(made.id, made.name, UUID(int=7), ALL_SCOPES)


@pytest.fixture(scope="module")
def lived(app: App, owner: Principal) -> tuple[Cube, UUID]:
    return eventful(app, owner)


def sound(app: App) -> None:
    faults = [f for f in doctor_truth.examine(app.database, repair=False) if f.verdict is not Verdict.OK]
    assert faults == []


def lines(package: bytes) -> list[tuple[str, dict[str, Any]]]:
    return [next(iter(json.loads(line).items())) for line in package.splitlines()]


@pytest.mark.parametrize("vectors", [True, False])
def test_a_cube_comes_back_the_same(app: App, owner: Principal, vectors: bool) -> None:
    cube, receipt_id = eventful(app, owner)
    before, found = told(app, owner, cube.name), answers(app, owner, cube.name)
    past = answers(app, owner, cube.name, at=3)
    on_branch = answers(app, owner, cube.name, branch="trial")
    package = packed(cube, vectors=vectors)
    remove(cube)
    imported = unpacked(app, owner, package)
    assert (imported.outcome, imported.revision, imported.kept_erased) == ("imported", cube.head, 0)
    assert bool(imported.embedded) is not vectors
    assert told(app, owner, cube.name) == before
    assert answers(app, owner, cube.name) == found
    assert answers(app, owner, cube.name, at=3) == past
    assert answers(app, owner, cube.name, branch="trial") == on_branch
    sound(app)
    with cube.reading() as tx:
        receipt = erase.get_receipt(tx, owner, receipt_id)
        keys = erase.public_keys(tx, owner, signing.keyring(app.settings))
    assert receipts.verify(receipt, {"keys": keys}).cube_id == str(cube.id)
    # Life goes on: history grows, and what was erased is still known as erased.
    cube.put(fact("Written after the import"))
    cube.extract()
    sound(app)


def test_importing_twice_does_nothing(
    app: App, lived: tuple[Cube, UUID], owner: Principal, elsewhere: Principal
) -> None:
    package = packed(lived[0])
    assert unpacked(app, owner, package).outcome == "known"
    before = told(app, owner, lived[0].name)
    assert [unpacked(app, elsewhere, package).outcome for _ in range(2)] == ["imported", "known"]
    assert told(app, owner, lived[0].name) == before
    # The same cube, with the same ids, in two tenants that know nothing of each other.
    assert told(app, elsewhere, lived[0].name) == before | {"readings": told(app, elsewhere, lived[0].name)["readings"]}
    assert answers(app, elsewhere, lived[0].name) == answers(app, owner, lived[0].name)


def test_a_package_holds_nothing_erased(lived: tuple[Cube, UUID]) -> None:
    package = packed(lived[0], vectors=True)
    assert SECRET.encode() not in package
    assert b"vault" not in package
    assert b"Very private" in package


def test_what_is_too_sensitive_stays_with_all_that_was_made_from_it(
    app: App, owner: Principal, elsewhere: Principal
) -> None:
    cube = Cube.make(app, owner)
    cube.put(fact("Public knowledge about tulips", sensitivity="public"))
    cube.put(
        fact("Nora Quist lives in Oslo.", sensitivity="secret"),
        fact("Nora Quist works for Hidden Ltd.", sensitivity="personal"),
    )
    cube.extract()
    package = packed(cube, max_sensitivity="normal")
    assert not any(word in package for word in (b"Nora", b"Oslo", b"Hidden", b"Quist"))
    assert dict(lines(package)[:1])["package"]["redacted"] == 2
    assert unpacked(app, elsewhere, package).outcome == "imported"
    everything = {v["text"] for v in told(app, elsewhere, cube.name)["versions"]}
    assert everything == {"Public knowledge about tulips", None}
    assert [link["hash"] for link in told(app, elsewhere, cube.name)["chain"]] == [
        link["hash"] for link in told(app, owner, cube.name)["chain"]
    ]
    sound(app)


def test_what_was_erased_here_stays_erased_whatever_an_older_package_says(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner)
    [kept] = cube.put(fact("Kept for good"))
    [target] = cube.put(fact(SECRET))
    old = packed(cube)
    assert SECRET.encode() in old
    with cube.writing() as tx:
        promised = erase.request(tx, owner, cube.name, erase.Wanted([target]), now=utc_now())
    run(app, owner, promised.job_id)
    remove(cube)
    imported = unpacked(app, owner, old)
    assert (imported.outcome, imported.kept_erased) == ("imported", 1)
    texts = {v["memory_id"]: v["text"] for v in told(app, owner, cube.name)["versions"]}
    assert texts == {kept: "Kept for good", target: None}
    sound(app)


def test_another_model_embeds_anew(app: App, lived: tuple[Cube, UUID], owner: Principal) -> None:
    with app.database.transaction(owner.tenant_id) as tx:
        third = tenants.create(tx, "third")
    who = Principal(third.id, third.name, UUID(int=8), ALL_SCOPES)
    package = packed(lived[0], vectors=True)
    head = json.loads(package.splitlines()[0])
    assert head["package"]["model"] == {
        "name": "fake:64",
        "fingerprint": FakeEmbedder(64).fingerprint,
        "dimensions": 64,
    }
    other = FakeEmbedder(64)
    other.fingerprint = "0" * 64
    imported = package_import.import_package(
        app.database,
        other,
        signing.keyring(app.settings),
        who,
        lambda: io.BytesIO(package),
        now=utc_now(),
    )
    assert imported.embedded == sum(body.get("text") is not None for name, body in lines(package) if name == "content")
    sound(app)


def test_a_package_that_was_touched_is_refused(app: App, lived: tuple[Cube, UUID], owner: Principal) -> None:
    package = packed(lived[0])
    parts = package.splitlines(keepends=True)
    for touched in (
        package.replace(b"Roses", b"Noses"),
        b"".join(parts[:-1]),
        package[:-2],
        package + b"{}\n",
        b"".join(parts[:5] + parts[6:]),
        b"".join([*parts[:-1], parts[-1].replace(b'"sha256":"', b'"sha256":"0')]),
        b"{}\n" + package,
        b"",
        b"null\n",
        b'{"package":{}}\n',
    ):
        with pytest.raises(BadPackage):
            unpacked(app, owner, touched)


def test_a_forged_history_is_refused_though_it_is_signed(
    app: App, lived: tuple[Cube, UUID], elsewhere: Principal
) -> None:
    """Whoever is trusted may still be wrong: every hash is computed anew."""
    forged = lines(packed(lived[0]))
    header, rows = forged[0][1], forged[1:-1]
    header["cube"] = {**header["cube"], "id": str(UUID(int=99)), "name": "forged"}

    def sealed(rows: list[tuple[str, dict[str, Any]]]) -> bytes:
        sealer = rules.Sealer(header)
        first = sealer.first()
        body = [sealer.line(name, json.dumps(row).encode()) for name, row in rows]
        hashes = ((r["number"], bytes.fromhex(r["hash"][2:])) for name, r in rows if name == "revision")
        last = sealer.last(rules.history_digest(hashes), Ed25519PrivateKey.generate())
        return b"".join([first, *body, last])

    anybody = Trust(anybody=True)
    assert unpacked(app, elsewhere, sealed(rows), trust=anybody).outcome == "imported"
    with app.database.transaction(elsewhere.tenant_id) as tx:
        cubes.delete(tx, UUID(int=99))
    for section, column, value in (
        ("content", "text", "another text"),
        ("version", "priority", 0.123),
        ("version", "commitment", "\\x" + "00" * 32),
        ("revision", "reason", "another reason"),
        ("revision", "hash", "\\x" + "00" * 32),
        ("version", "content_id", 10_000),
        ("version", "state", "unheard of"),
        ("branch", "head_revision", "x"),
        ("memory", "id", "no uuid"),
    ):
        place = next(i for i, (name, _) in enumerate(rows) if name == section)
        changed = [*rows[:place], (section, {**rows[place][1], column: value}), *rows[place + 1 :]]
        with pytest.raises(BadPackage):
            unpacked(app, elsewhere, sealed(changed), trust=anybody)
    assert not [f for f in doctor_truth.examine(app.database, repair=False) if f.verdict is not Verdict.OK]


def test_a_strangers_package_needs_trust(app: App, lived: tuple[Cube, UUID], elsewhere: Principal) -> None:
    package = packed(lived[0])
    stranger = signing.keys_of(b"another service's secret")
    ours = signing.keyring(app.settings)

    def taken(trust: Trust) -> str:
        return package_import.import_package(
            app.database, app.embedder, stranger, elsewhere, lambda: io.BytesIO(package), now=utc_now(),
            name="from afar", trust=trust,
        ).outcome  # fmt: skip

    with pytest.raises(BadPackage, match="not trusted"):
        taken(Trust())
    assert taken(Trust.of([ours.public])) in {"imported", "known"}
    assert taken(Trust(anybody=True)) == "known"


def test_another_history_under_the_same_id_and_a_taken_name_are_conflicts(
    app: App, owner: Principal, elsewhere: Principal
) -> None:
    cube = Cube.make(app, owner)
    cube.put(fact("One"))
    early = packed(cube)
    cube.put(fact("Two"))
    late = packed(cube)
    assert unpacked(app, owner, early).outcome == "known"  # what it says is all here
    unpacked(app, elsewhere, early)
    with pytest.raises(Conflict, match="another history"):
        unpacked(app, elsewhere, late)
    twin = replace(Cube.make(app, owner))
    twin.put(fact("Three"))
    package = packed(twin)
    remove(twin)
    with cube.writing() as tx:
        tx.run("UPDATE cubes SET name = :name WHERE tenant_id = :tenant AND id = :id", name=twin.name, id=cube.id)
    with pytest.raises(Conflict, match="exists already"):
        unpacked(app, owner, package)
    assert unpacked(app, owner, package, name=f"{twin.name} again").name == f"{twin.name} again"


def test_packing_and_unpacking_take_an_unbound_admin(app: App, lived: tuple[Cube, UUID], owner: Principal) -> None:
    package = packed(lived[0])
    for scopes in itertools.combinations(ALL_SCOPES - {Scope.ADMIN}, 4):
        with pytest.raises(Forbidden):
            packed(lived[0], replace(owner, scopes=frozenset(scopes)))
        with pytest.raises(Forbidden):
            unpacked(app, replace(owner, scopes=frozenset(scopes)), package)
    with pytest.raises(Forbidden):
        unpacked(app, replace(owner, cube_ids=frozenset({lived[0].id})), package)
