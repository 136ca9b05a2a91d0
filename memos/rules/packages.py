"""Packages: a cube in one file that anyone can check, line by line, and that a forger cannot make.

    {"package": {...}}      first line: format, cube, model of the vectors, what was left out
    {"<section>": {...}}    one line a row, sections in the order in which they must be read
    {"manifest": {...}}     last line: counts, SHA-256 of every byte before it, digest of the history, signature

A file that was cut off has no manifest, so half a package is none. The revisions inside are a hash chain of their own (see
versioning.py), which the receiver recomputes: the signature says who made the package, the chain that its history is whole.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Final, Self
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from memos.errors import Invalid
from memos.rules.header import Sensitivity, canonical
from memos.rules.receipts import key_id, public_bytes

FORMAT: Final = "memos.cube-package/1"
_DOMAIN: Final = FORMAT.encode() + b"\n"
_LABELS: Final = tuple(Sensitivity)
# A line holds one text with its header; beyond this it is no line of ours.
MOST_LINE_BYTES: Final = 64 * 2**20


class BadPackage(Invalid):
    """The package is damaged, was changed, or was signed by nobody who is trusted here."""

    code = "bad_package"
    title = "The package does not hold"


@dataclass(frozen=True, slots=True)
class Profile:
    """What a package holds of a cube. Memories more sensitive than `max_sensitivity` leave only their commitments, and so
    does all that was made from them."""

    max_sensitivity: str = Sensitivity.SECRET
    vectors: bool = False
    usage: bool = True
    decisions: bool = True

    def too_sensitive(self) -> list[str]:
        """The labels that may not leave."""
        return [str(label) for label in _LABELS[_LABELS.index(Sensitivity(self.max_sensitivity)) + 1 :]]


@dataclass(frozen=True, slots=True)
class Model:
    """Which model made the vectors."""

    name: str
    fingerprint: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a package that holds says of itself. `public` is the key that signed it."""

    header: dict[str, Any]
    counts: dict[str, int]
    history: str
    sha256: str
    public: bytes

    @property
    def model(self) -> Model:
        return Model(**self.header["model"])

    @property
    def profile(self) -> Profile:
        return Profile(**self.header["profile"])


class Sealer:
    """Writes a package: lines in, bytes out, the manifest last. Holds a few hashes and nothing else."""

    def __init__(self, header: Mapping[str, Any]) -> None:
        self._header = {"format": FORMAT, **header}
        self._digest = hashlib.sha256()
        self._counts: Counter[str] = Counter()

    def first(self) -> bytes:
        return self._sealed(b'{"package":' + _compact(self._header) + b"}\n")

    def line(self, section: str, body: bytes) -> bytes:
        """A row of a section; `body` is a JSON object."""
        self._counts[section] += 1
        return self._sealed(b'{"' + section.encode() + b'":' + body + b"}\n")

    def last(self, history: bytes, key: Ed25519PrivateKey) -> bytes:
        public = public_bytes(key.public_key())
        body = {
            "format": FORMAT,
            "counts": dict(sorted(self._counts.items())),
            "history": history.hex(),
            "sha256": self._digest.hexdigest(),
            "key_id": key_id(public),
            "public_key": base64.b64encode(public).decode(),
        }
        signature = base64.b64encode(key.sign(_DOMAIN + canonical(body))).decode()
        return b'{"manifest":' + _compact({**body, "signature": signature}) + b"}\n"

    def _sealed(self, line: bytes) -> bytes:
        self._digest.update(line)
        return line


def header(
    tenant_id: UUID, cube: Mapping[str, Any], model: Model, profile: Profile, exported_at: str, redacted: int
) -> dict[str, Any]:
    """The first line of a package."""
    return {
        "tenant_id": str(tenant_id),
        "cube": dict(cube),
        "model": asdict(model),
        "profile": asdict(profile),
        "exported_at": exported_at,
        "redacted": redacted,
    }


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a section, and where it stands in the file."""

    number: int
    section: str
    body: dict[str, Any]


class Reader:
    """Reads a package once, from its beginning. After the last row `manifest` is what was signed, checked."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._counts: Counter[str] = Counter()
        self.number = 0
        self.manifest: Manifest | None = None
        name, self.header = self._parsed(self._next())
        if name != "package" or self.header.get("format") != FORMAT:
            raise BadPackage(f"this is no package of the format {FORMAT}")
        self._check_header()

    def rows(self) -> Iterator[Row]:
        """Every row in order. Raises `BadPackage` as soon as something does not hold; nothing may be kept before the end."""
        while True:
            before = self._digest.copy()
            name, body = self._parsed(self._next())
            if name == "manifest":
                self.manifest = self._checked(body, before.hexdigest())
                if self._file.read(1):
                    raise BadPackage("something follows the manifest")
                return
            self._counts[name] += 1
            yield Row(self.number, name, body)

    def _next(self) -> bytes:
        line = self._file.readline(MOST_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise BadPackage(
                "the package ends without its manifest: it was cut off"
                if len(line) < MOST_LINE_BYTES
                else f"line {self.number + 1} is too long"
            )
        self.number += 1
        self._digest.update(line)
        return line

    def _parsed(self, line: bytes) -> tuple[str, dict[str, Any]]:
        try:
            parsed = json.loads(line)
            [(name, body)] = parsed.items()
        except (ValueError, AttributeError, RecursionError):
            raise BadPackage(f"line {self.number} is no line of a package") from None
        if not isinstance(body, dict):
            raise BadPackage(f"line {self.number} holds no object")
        return name, body

    def _check_header(self) -> None:
        try:
            Model(**self.header["model"])
            Profile(**self.header["profile"]).too_sensitive()
            valid = isinstance(self.header["cube"]["name"], str) and isinstance(self.header["cube"]["id"], str)
        except (KeyError, TypeError, ValueError):
            valid = False
        if not valid:
            raise BadPackage("the first line lacks a part")

    def _checked(self, body: dict[str, Any], digest: str) -> Manifest:
        public = _checked_signature(body)
        if body.get("sha256") != digest:
            raise BadPackage("the package was changed after it was signed: its SHA-256 is not the one in the manifest")
        if body.get("counts") != dict(sorted(self._counts.items())):
            raise BadPackage("the manifest does not count what the package holds")
        return Manifest(self.header, dict(self._counts), str(body.get("history")), digest, public)


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose packages are taken: those of these public keys, or anybody's."""

    keys: frozenset[bytes] = frozenset()
    anybody: bool = False

    @classmethod
    def of(cls, keys: Collection[bytes]) -> Self:
        return cls(frozenset(keys))

    def require(self, public: bytes) -> None:
        """Raise `BadPackage` for a stranger's."""
        if not self.anybody and public not in self.keys:
            raise BadPackage(
                f"the package was signed by key {key_id(public)} ({public.hex()}), which is not trusted here; name that key if "
                "you trust who made it"
            )


def history_digest(hashes: Iterator[tuple[int, bytes]]) -> bytes:
    """32 bytes over (number, hash) of all revisions of a cube, oldest first: equal exactly for equal histories."""
    digest = hashlib.sha256(_DOMAIN)
    for number, link in hashes:
        digest.update(number.to_bytes(4) + link)
    return digest.digest()


# What an erasure leaves of a version, and so what is left of one that may not leave; see the trigger of migration 0002.
_ERASED_HEADER: Final = (
    "dedup_key", "external_id", "session_id", "ordinal", "role", "name", "title", "source", "valid_from", "valid_to",
    "expires_at", "merged_into", "fingerprint", "salt",
)  # fmt: skip


def erased_version(body: Mapping[str, Any], erased_at: str) -> dict[str, Any]:
    """A version without its content: number, revision range, state and commitment, so that the chain still verifies."""
    if body.get("erased_at") is not None:
        return dict(body)
    emptied = dict.fromkeys(_ERASED_HEADER)
    return {
        **body, **emptied, "created_at": body["recorded_at"], "tags": [], "metadata": {}, "erased_at": erased_at,
    }  # fmt: skip


def erased_content(body: Mapping[str, Any], erased_at: str) -> dict[str, Any]:
    """A text without the text, and without all that is computed from it."""
    if body.get("erased_at") is not None:
        return dict(body)
    return {"id": body["id"], "memory_id": body["memory_id"], "erased_at": erased_at}


def _checked_signature(body: dict[str, Any]) -> bytes:
    try:
        public = base64.b64decode(str(body.get("public_key")), validate=True)
        signature = base64.b64decode(str(body.get("signature")), validate=True)
        signed = {name: part for name, part in body.items() if name != "signature"}
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _DOMAIN + canonical(signed))
    except (InvalidSignature, binascii.Error, ValueError, TypeError, RecursionError):
        raise BadPackage("the manifest's signature does not fit") from None
    if body.get("key_id") != key_id(public):
        raise BadPackage("the manifest's key is not the one its name says")
    return public


def _compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
