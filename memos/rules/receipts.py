"""Receipts: what an erasure leaves behind, and how anyone can check it without asking us.

    tombstone  = HMAC(key, tenant, cube, memory, version, commitment)       one for each erased version
    root       = Merkle root over the tombstones, as RFC 6962 (certificate transparency) builds it
    signature  = Ed25519 over the whole receipt in its one spelling

The commitment of a version stays in the cube's revision chain when its content is gone (see versioning.py), so a receipt
and the chain speak of the same versions. The key of the tombstones stays with us: without it nobody can tell from a
tombstone what stood there, not even by guessing. This module also is the verifier: it needs the receipt and the public
keys, no database and no network.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from memos.errors import Invalid
from memos.rules.header import canonical, normalised

KIND: Final = "memos.erasure-receipt/1"
ALGORITHM: Final = "Ed25519"
_DOMAIN: Final = KIND.encode() + b"\n"
# RFC 6962, section 2.1: leaves and nodes are hashed apart, so that no node can pass for a leaf.
_LEAF, _NODE = b"\0", b"\1"

PROVES: Final = (
    (
        "The named memories, all that was derived from them, and every version of both on every branch were emptied in the live "
        "database in one transaction, of which the listed revisions are part."
    ),
    "In that transaction, before it was committed, every probe named here looked for them and found nothing.",
    "The revision chain of the cube still verifies: of each erased version it keeps a commitment that reveals nothing.",
)
NOT_PROVEN: Final = (
    (
        "Backups, replicas, write-ahead logs, and files that the database has not yet vacuumed may hold the content until they "
        "are overwritten or expire."
    ),
    (
        "Copies that left the service before the erasure (answers, exports, prompts, the memory of running processes, logs of "
        "other systems) are beyond its reach."
    ),
    (
        "Other memories that say the same without being derived from these are other memories; so are reasons and names of "
        "cubes, branches and tags that somebody typed."
    ),
)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is said of one erased version."""

    memory_id: UUID
    version: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """What a receipt that holds says."""

    receipt_id: str
    cube_id: str
    key_id: str
    erased_at: str
    memories: int
    versions: int
    revisions: list[dict[str, Any]]


class BadReceipt(Invalid):
    """The receipt is not what was signed, or was not signed by this key."""

    code = "bad_receipt"
    title = "The receipt does not hold"


def tombstone(
    key: bytes, tenant_id: UUID, cube_id: UUID, memory_id: UUID, version: int, commitment: bytes
) -> Tombstone:
    """The mark of one erased version: worthless to whoever lacks `key`."""
    said = tenant_id.bytes + cube_id.bytes + memory_id.bytes + version.to_bytes(4) + commitment
    return Tombstone(memory_id, version, hmac.digest(key, said, "sha256"))


def mark(key: bytes, cube_id: UUID, text: str) -> bytes:
    """32 bytes by which a text is known again, spaces and case aside, without being kept."""
    return hmac.digest(key, cube_id.bytes + normalised(text).encode(), "sha256")


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """32 bytes over the leaves in their order; the hash of nothing for none."""
    if not leaves:
        return hashlib.sha256().digest()
    level = [hashlib.sha256(_LEAF + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        # An odd one out rises as it is: RFC 6962 splits at the largest power of two, which comes to the same.
        paired = [hashlib.sha256(_NODE + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
        level = paired + level[len(level) - len(level) % 2 :]
    return level[0]


def tombstones_json(tombstones: Sequence[Tombstone]) -> dict[str, Any]:
    """The part of a receipt that lists them, in the order their root is built in."""
    ordered = sorted(tombstones, key=lambda t: (t.memory_id, t.version))
    return {
        "algorithm": "HMAC-SHA256 leaves, RFC 6962 root",
        "root": merkle_root([t.digest for t in ordered]).hex(),
        "leaves": [[str(t.memory_id), t.version, t.digest.hex()] for t in ordered],
    }


# ---------------------------------------------------------------- keys and signatures


def public_bytes(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_id(public: bytes) -> str:
    """16 hex digits that name a public key."""
    return hashlib.sha256(public).hexdigest()[:16]


def key_json(public: bytes) -> dict[str, str]:
    return {"algorithm": ALGORITHM, "key_id": key_id(public), "public_key": base64.b64encode(public).decode()}


def sign(body: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """The receipt: `body` with what it is, the name of the key, and the signature."""
    whole = {"kind": KIND, **body, "key_id": key_id(public_bytes(key.public_key()))}
    return whole | {"signature": base64.b64encode(key.sign(_signed(whole))).decode()}


def verify(receipt: Mapping[str, Any], keys: Mapping[str, Any]) -> Verified:
    """Check a receipt against what `GET /v1/receipts/key` returned. Raises `BadReceipt`, saying what does not hold."""
    if receipt.get("kind") != KIND:
        raise BadReceipt(f"this is no receipt of the kind {KIND}")
    public = _public_key(keys, receipt.get("key_id"))
    try:
        signature = base64.b64decode(str(receipt.get("signature", "")), validate=True)
        public.verify(signature, _signed({name: part for name, part in receipt.items() if name != "signature"}))
    except (InvalidSignature, binascii.Error, ValueError, TypeError, RecursionError):
        raise BadReceipt("the signature does not fit: the receipt was changed, or another key signed it") from None
    try:
        return _contents(receipt)
    except (KeyError, TypeError, ValueError):
        raise BadReceipt("the receipt was signed but lacks a part") from None


def _contents(receipt: Mapping[str, Any]) -> Verified:
    """Signed or not, the parts must agree."""
    leaves = receipt["tombstones"]["leaves"]
    if merkle_root([bytes.fromhex(digest) for _, _, digest in leaves]).hex() != receipt["tombstones"]["root"]:
        raise BadReceipt("the Merkle root is not that of the listed tombstones")
    counts = receipt["erased"]
    if counts["versions"] != len(leaves):
        raise BadReceipt(
            f"{counts['versions']} versions are said to be erased, but {len(leaves)} tombstones are listed"
        )
    if counts["memories"] != len({memory_id for memory_id, _, _ in leaves}):
        raise BadReceipt("the number of memories is not that of the listed tombstones")
    found = {door: probe["found"] for door, probe in receipt["probes"].items() if probe["found"]}
    if found:
        raise BadReceipt(f"the receipt itself says that something was still found: {', '.join(sorted(found))}")
    return Verified(
        receipt_id=str(receipt["id"]),
        cube_id=str(receipt["cube_id"]),
        key_id=str(receipt["key_id"]),
        erased_at=str(receipt["erased_at"]),
        memories=counts["memories"],
        versions=counts["versions"],
        revisions=list(receipt["revisions"]),
    )


def _signed(receipt: Mapping[str, Any]) -> bytes:
    return _DOMAIN + canonical(receipt)


def _public_key(keys: Mapping[str, Any], wanted: object) -> Ed25519PublicKey:
    """The key a receipt names: `keys` is one key, or a list of several under `keys` (they change with the secret)."""
    offered = keys.get("keys", [keys])
    for offer in offered if isinstance(offered, list) else []:
        if isinstance(offer, Mapping) and offer.get("key_id") == wanted and offer.get("algorithm") == ALGORITHM:
            try:
                public = base64.b64decode(str(offer.get("public_key", "")), validate=True)
                loaded = Ed25519PublicKey.from_public_bytes(public)
            except (binascii.Error, ValueError):
                raise BadReceipt("the key file holds no Ed25519 public key") from None
            if key_id(public) != wanted:
                raise BadReceipt("the key is not the one its name says")
            return loaded
    raise BadReceipt(f"the receipt was signed by key {str(wanted)[:64]!r}, which is not in the key file")
