"""The arithmetic of receipts: the Merkle tree of RFC 6962, keyed marks, and signatures over one spelling."""

from __future__ import annotations

import hashlib
import json
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.receipts import (
    BadReceipt,
    Tombstone,
    key_json,
    mark,
    merkle_root,
    public_bytes,
    sign,
    tombstone,
    tombstones_json,
    verify,
)

CUBE, TENANT, MEMORY = UUID(int=1), UUID(int=2), UUID(int=3)
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = key_json(public_bytes(SIGNER.public_key()))


def by_the_letter(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written: split at the largest power of two below the number of leaves."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\1" + by_the_letter(leaves[:split]) + by_the_letter(leaves[split:])).digest()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=8), max_size=40))
def test_the_root_is_that_of_rfc_6962(leaves: list[bytes]) -> None:
    assert merkle_root(leaves) == by_the_letter(leaves)


def test_any_other_list_has_another_root() -> None:
    leaves = [bytes([n]) * 32 for n in range(5)]
    others = [leaves[:-1], leaves[::-1], [*leaves, leaves[-1]], [b"x" * 32, *leaves[1:]]]
    assert merkle_root(leaves) not in {merkle_root(other) for other in others}


def test_a_tombstone_depends_on_everything_it_is_about() -> None:
    made = {
        tombstone(key, tenant, cube, memory, version, commitment).digest
        for key in (bytes(32), b"k" * 32)
        for tenant in (TENANT, UUID(int=9))
        for cube in (CUBE, UUID(int=8))
        for memory in (MEMORY, UUID(int=7))
        for version in (1, 2)
        for commitment in (bytes(32), b"c" * 32)
    }
    assert len(made) == 2**6


def test_the_order_of_tombstones_does_not_matter() -> None:
    stones = [Tombstone(UUID(int=n % 3), n, bytes([n]) * 32) for n in range(6)]
    assert tombstones_json(stones) == tombstones_json(stones[::-1])


def test_a_mark_sees_through_spaces_and_case_only() -> None:
    key = b"k" * 32
    assert mark(key, CUBE, "The  Safe\n") == mark(key, CUBE, "the safe")
    assert len({mark(k, c, t) for k in (key, bytes(32)) for c in (CUBE, TENANT) for t in ("the safe", "a safe")}) == 8


def receipt() -> dict[str, object]:
    stones = [Tombstone(MEMORY, n, bytes([n]) * 32) for n in (1, 2)]
    return sign(
        {
            "id": "r",
            "cube_id": "c",
            "erased_at": "now",
            "erased": {"memories": 1, "versions": 2},
            "tombstones": tombstones_json(stones),
            "probes": {"id": {"asked": 1, "found": 0}},
            "revisions": [{"branch": "main", "revision": 7, "hash": "00"}],
        },
        SIGNER,
    )


def test_a_receipt_survives_any_respelling_of_its_json() -> None:
    respelt = json.loads(json.dumps(receipt(), indent=3, sort_keys=True))
    assert verify(respelt, KEY) == verify(receipt(), {"keys": [KEY]})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"erased": {"memories": 1, "versions": 3}}, "tombstones are listed"),
        ({"erased": {"memories": 2, "versions": 2}}, "number of memories"),
        ({"probes": {"id": {"asked": 1, "found": 1}}}, "still found"),
        ({"tombstones": {"root": "00", "leaves": []}}, "Merkle root"),
        ({"tombstones": {}}, "lacks a part"),
        ({"erased": None}, "lacks a part"),
    ],
)
def test_a_signed_receipt_must_also_agree_with_itself(change: dict[str, object], complaint: str) -> None:
    whole = {name: part for name, part in receipt().items() if name not in ("signature", "kind", "key_id")}
    with pytest.raises(BadReceipt, match=complaint):
        verify(sign(whole | change, SIGNER), KEY)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"kind": "memos.erasure-receipt/2"},
        {"signature": "not base64"},
        {"signature": ""},
        {"key_id": "0" * 16},
        {"erased_at": "then"},
        {"extra": 1},
    ],
)
def test_what_was_not_signed_like_this_does_not_hold(broken: dict[str, object]) -> None:
    with pytest.raises(BadReceipt):
        verify(receipt() | broken if broken else {}, KEY)


@pytest.mark.parametrize(
    "keys", [{}, {"keys": None}, {"keys": [1]}, {"keys": [KEY | {"public_key": "AAAA"}]}, KEY | {"algorithm": "RSA"}]
)
def test_a_key_file_that_is_none_is_no_key(keys: dict[str, object]) -> None:
    with pytest.raises(BadReceipt):
        verify(receipt(), keys)
