"""Texts into what the indexes hold. The only place that calls the embedder for writes; never inside a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from memos.encoders.embedder import Embedder
from memos.rules import lexical
from memos.rules.embedding_text import Described, own_text
from memos.rules.header import Draft
from memos.store.revision_writer import Encoded


def describe(draft: Draft) -> Described:
    return Described(draft.text, draft.speaker, draft.created_at, draft.title)


class Encoding:
    """A batch on its way through the embedder: begun when this is made, waited for by `result`.

    A model leaves the interpreter alone while it computes, so whoever prepares a batch can do meanwhile what needs no vectors.
    """

    def __init__(self, embedder: Embedder, drafts: Sequence[Draft]) -> None:
        self._embedder, self._drafts = embedder, drafts
        aside = ThreadPoolExecutor(1, thread_name_prefix="encoding")
        self._vectors = aside.submit(embedder.embed, [own_text(describe(draft)) for draft in drafts])
        aside.shutdown(wait=False)

    def result(self) -> list[Encoded]:
        worded = [(lexical.frequencies(_worded(d)), self._embedder.count_tokens(d.text)) for d in self._drafts]
        return [
            Encoded(embedding=vector, terms=terms, tokens=tokens, space=self._embedder.fingerprint)
            for (terms, tokens), vector in zip(worded, self._vectors.result(), strict=True)
        ]


def encode(embedder: Embedder, drafts: Sequence[Draft]) -> list[Encoded]:
    """One batch through the embedder."""
    return Encoding(embedder, drafts).result()


def _worded(draft: Draft) -> str:
    """What the lexical channel reads: the text, and a document's title, which its passages rarely repeat."""
    return f"{draft.title}\n{draft.text}" if draft.title else draft.text
