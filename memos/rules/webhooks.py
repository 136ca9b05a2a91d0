"""Webhooks: what may be called, how a message is signed, and when one is sent again.

Signatures follow the Standard Webhooks specification (https://www.standardwebhooks.com, 1.0.0): HMAC-SHA256 over
`id.timestamp.body`, so that a receiver can use any library that knows it, refuse what is too old, and drop what it has
seen. An endpoint's secret follows from the service's by its id and generation, and is stored nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from memos.errors import Invalid

KINDS = (
    "cube.created",
    "cube.deleted",
    "erasure.signed",
    "job.cancelled",
    "job.failed",
    "job.succeeded",
    "memory.quarantined",
    "revision.committed",
    "webhook.ping",
)
"""Everything an event can be."""
SECRET_PREFIX = "whsec_"  # noqa: S105 - no secret, but how one begins
OVERLAP = timedelta(hours=24)
"""After a rotation both secrets sign for this long, so that a receiver can change over without losing a message."""
WAITS_S = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0)
"""Waits after the first, second ... failure. With the first try that makes ten, over about sixteen hours."""
MOST_TRIES = len(WAITS_S) + 1
GONE = 410
"""The endpoint says that it wants no more."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_MOST_URL = 2_000


def secret_of(root: bytes, tenant_id: UUID, webhook_id: UUID, generation: int) -> str:
    """The secret of an endpoint: `whsec_` and 32 bytes in base64."""
    message = b"/".join((str(tenant_id).encode(), str(webhook_id).encode(), str(generation).encode()))
    return SECRET_PREFIX + base64.b64encode(hmac.new(root, message, hashlib.sha256).digest()).decode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the signature in base64. `timestamp` is in seconds since 1970."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def verify(
    secret: str, message_id: str, timestamp: str, signatures: str, body: bytes, *, now: float, tolerance_s: float = 300
) -> bool:
    """What a receiver does: whether one of the `signatures` (separated by spaces) is ours, and young enough."""
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(now - int(timestamp)) > tolerance_s:
        return False
    wanted = sign(secret, message_id, int(timestamp), body).encode()
    return any(hmac.compare_digest(wanted, given.encode()) for given in signatures.split(" "))


def retry_in_s(tries: int, jitter: float) -> float | None:
    """Seconds to wait after failure number `tries` (from 1), or None to give up. `jitter` in [0, 1] adds up to a tenth."""
    return None if tries >= MOST_TRIES else WAITS_S[tries - 1] * (1 + 0.1 * jitter)


def pause_s(failures: int) -> float:
    """How long an endpoint is left alone after so many failures in a row: at most ten minutes, so that an endpoint that
    is back gets what waits for it soon."""
    return 0.0 if failures < 3 else min(600.0, 10.0 * 2.0 ** min(failures - 3, 10))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not private, loopback, link-local, multicast or reserved, also
    when it is wrapped in an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is None and parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def check_url(url: str, *, private: bool) -> None:
    """Raise `Invalid` for what may not be called. Names are resolved and checked again whenever something is sent.

    With `private` plain HTTP and addresses of one's own network are allowed.
    """
    parts = _parts(url)
    host = parts.hostname or ""
    if parts.scheme not in ({"http", "https"} if private else {"https"}):
        raise _refused("must begin with https://" + (" or http://" if private else ""))
    if not host or parts.username is not None or parts.password is not None or parts.fragment:
        raise _refused("must name a host, and neither user, password nor fragment")
    if not private and (host == "localhost" or host.endswith((".localhost", ".local", ".internal"))):
        raise _refused("must not name a host of a private network")
    if not private and _looks_numeric(host) and not is_public(host):
        raise _refused("must not name a private, loopback or otherwise reserved address")


def _parts(url: str) -> SplitResult:
    if len(url) > _MOST_URL or not url.isascii() or any(c.isspace() or ord(c) < 0x20 for c in url):
        raise _refused("must be ASCII without spaces, and not too long")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise _refused("is not a URL") from None
    return parts


def _looks_numeric(host: str) -> bool:
    """An address in any spelling that some resolver takes for one: dotted, hexadecimal, octal, one number."""
    return ":" in host or host.rpartition(".")[2][:1].isdigit()


def check_kinds(kinds: Sequence[str]) -> None:
    """Raise `Invalid` for a kind that no event has."""
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise Invalid(f"{len(unknown)} of the kinds are none; known: {', '.join(KINDS)}", where=["body", "kinds"])


def _refused(why: str) -> Invalid:
    return Invalid(f"the URL {why}", where=["body", "url"])
