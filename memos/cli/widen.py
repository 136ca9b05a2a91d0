"""`memos widen`: room for a wider embedding model."""

from __future__ import annotations

from memos.cli.servers import owned
from memos.errors import Misconfigured
from memos.settings import Settings
from memos.store.widening import widen as widen_vectors


def widen(settings: Settings) -> str:
    """Make the stored vectors as wide as `MEMOS_VECTOR_WIDTH`; what was done, for a person.

    Raises `Misconfigured` without a width or for one that cannot be, and `Conflict` while the service runs.
    """
    width = settings.vector_width
    if width is None:
        raise Misconfigured("set MEMOS_VECTOR_WIDTH to the dimensions of the model you want to move to")
    with owned(settings) as (_, url):
        before = widen_vectors(url, width)
    if before == width:
        return f"The vectors have {width} dimensions already."
    return (
        f"The vectors had {before} dimensions and have {width} now. Keep MEMOS_VECTOR_WIDTH={width} set and start the service; "
        "then move the cubes with 'memos reembed --model ... --activate', and set MEMOS_EMBEDDER when all have moved."
    )
