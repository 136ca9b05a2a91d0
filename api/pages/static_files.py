"""Style sheets and scripts of the pages, from the package itself: nothing is fetched from another host."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

PATH = "/admin/static/{name}"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    kind: str
    digest: str


@cache
def asset(name: str) -> Asset | None:
    """A file by name; only those that are there, and no paths."""
    found = {entry.name: entry for entry in files("api.pages").joinpath("static").iterdir()}.get(name)
    kind = next((kind for suffix, kind in _TYPES.items() if name.endswith(suffix)), None)
    if found is None or kind is None:
        return None
    content = found.read_bytes()
    return Asset(content, kind, hashlib.sha256(content).hexdigest()[:12])


def address(name: str) -> str:
    """Where a file is. Its digest is part of that, so that it may be kept for a year and yet never be stale."""
    found = asset(name)
    if found is None:
        raise LookupError(f"no static file {name!r}")
    return f"{PATH.format(name=name)}?v={found.digest}"


async def serve(request: Request) -> Response:
    """Public: the login needs them too, and they say nothing."""
    name = str(request.path_params["name"])
    # Asked for anything else, the cache must not grow.
    found = asset(name) if len(name) < 100 and name.isascii() and name in _names() else None
    if found is None:
        return Response("no such file", 404, media_type="text/plain")
    fresh = request.query_params.get("v") == found.digest
    return Response(
        found.content,
        200,
        {"Cache-Control": _YEAR if fresh else "no-cache", "X-Content-Type-Options": "nosniff"},
        media_type=found.kind,
    )


@cache
def _names() -> frozenset[str]:
    return frozenset(entry.name for entry in files("api.pages").joinpath("static").iterdir())
