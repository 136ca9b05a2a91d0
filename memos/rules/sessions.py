"""Sessions of the admin pages: a signed note that says which key signed in, and when. Nothing of it is stored.

The note is no permission: whoever presents it is looked up anew on every request, so a revoked or expired key ends all
its sessions at once. The signature only makes sure that a visitor cannot write such a note themselves.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

LASTS = timedelta(hours=12)
"""A working day. Then the key is asked for again."""
NONCE_BYTES = 8
# Format, tenant, key, seconds since 1970, nonce.
_NOTE = struct.Struct(f">B16s16sQ{NONCE_BYTES}s")
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Session:
    """Who signed in, and when. The `nonce` tells two sessions of one key apart."""

    tenant_id: UUID
    key_id: UUID
    begun_at: datetime
    nonce: bytes


def sealed(secret: bytes, session: Session) -> str:
    """The session as a cookie's value."""
    note = _note(session)
    return f"{_text(note)}.{_text(_mac(secret, b'session', note))}"


def opened(secret: bytes, value: str, now: datetime) -> Session | None:
    """The session of a cookie's value; None for one that is not ours, is malformed, or has lasted too long."""
    head, _, seal = value.partition(".")
    note = _bytes(head)
    if len(note) != _NOTE.size or not hmac.compare_digest(_bytes(seal), _mac(secret, b"session", note)):
        return None
    version, tenant, key, begun_s, nonce = _NOTE.unpack(note)
    begun_at = datetime.fromtimestamp(begun_s, UTC)
    if version != _FORMAT or not begun_at - timedelta(minutes=1) <= now <= begun_at + LASTS:
        return None
    return Session(UUID(bytes=tenant), UUID(bytes=key), begun_at, nonce)


def form_token(secret: bytes, session: Session) -> str:
    """What every form of a session carries, so that no other site can send one on the visitor's behalf."""
    return _text(_mac(secret, b"form", _note(session)))


def is_form_token(secret: bytes, session: Session, given: str) -> bool:
    return hmac.compare_digest(form_token(secret, session).encode(), given.encode("utf-8", "replace"))


def _note(session: Session) -> bytes:
    begun_s = int(session.begun_at.timestamp())
    return _NOTE.pack(_FORMAT, session.tenant_id.bytes, session.key_id.bytes, begun_s, session.nonce)


def _mac(secret: bytes, purpose: bytes, note: bytes) -> bytes:
    return hmac.digest(secret, purpose + b"\0" + note, hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    """Empty for what is no base64."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
