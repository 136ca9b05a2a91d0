"""Texts into what the indexes hold. The only place that calls the embedder for writes; never inside a transaction."""

from __future__ import annotations

from collections.abc import Sequence

from memos.encoders.embedder import Embedder
from memos.rules import lexical
from memos.rules.embedding_text import Described, own_text
from memos.rules.header import Draft
from memos.store.revision_writer import Encoded


def describe(draft: Draft) -> Described:
    return Described(draft.text, draft.speaker, draft.created_at, draft.title)


def encode(embedder: Embedder, drafts: Sequence[Draft]) -> list[Encoded]:
    """One batch through the embedder."""
    vectors = embedder.embed([own_text(describe(draft)) for draft in drafts])
    return [
        Encoded(
            embedding=vector,
            terms=lexical.frequencies(_worded(draft)),
            tokens=embedder.count_tokens(draft.text),
            space=embedder.fingerprint,
        )
        for draft, vector in zip(drafts, vectors, strict=True)
    ]


def _worded(draft: Draft) -> str:
    """What the lexical channel reads: the text, and a document's title, which its passages rarely repeat."""
    return f"{draft.title}\n{draft.text}" if draft.title else draft.text
