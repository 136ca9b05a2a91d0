"""The engine port: a language model whose KV cache can be taken out, stored, and put back.

    build(tokens, past)   prefill, and return what the cache gained           (a worker, once)
    restore(state)        a fresh handle over stored arrays                   (a request, each time)
    logits / generate     go on from a handle                                 (the same request)

Three promises, held by one contract suite for every implementation:
prefix    a cache depends on its tokens only, not on how they were cut into calls; so a chunk built after another
          engine's restart has the same bits, and restored logits equal prefilled ones bit for bit (lossless codecs).
fresh     `restore` never lets a request touch the arrays it was given: serving twice from one state serves the same.
honest    `identity` names everything the bits depend on.

Engines that keep their cache to themselves have adapters of their own: llamacpp_server (slot files) and
openai_compatible (prefix text and hints only).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from memos.encoders.kv_state import KVState
from memos.errors import Invalid, MemosError
from memos.rules.kv_address import ModelIdentity
from memos.rules.kv_layout import Group


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Token ids of a text, and for each the half-open range of characters it came from."""

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine behind HTTP answered. None stands for a count it did not report."""

    text: str
    prompt_tokens: int | None
    cached_tokens: int | None


class RestoreFailed(MemosError):
    """An engine took a stored cache but did not use it. The answer, if there is one, is right; it was not fast."""

    code = "kv_not_restored"
    title = "The engine did not use the restored cache"

    def __init__(self, detail: str, *, completion: Completion | None = None) -> None:
        super().__init__(detail)
        self.completion = completion


class Handle(Protocol):
    """A cache in use by one request. Calls advance it; it is not for sharing."""

    @property
    def n_tokens(self) -> int: ...


HandleT = TypeVar("HandleT", bound=Handle)


class Engine(Protocol[HandleT]):
    """Thread-safe as long as each handle stays with one thread."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def max_tokens(self) -> int:
        """Longest sequence the model was made for."""

    def tokenize(self, text: str, *, special: bool = False) -> Tokenized:
        """Token ids of a text, nothing added around it.

        Marks such as `<|im_start|>` are read as marks only if `special`; in remembered text they are plain
        characters, so that no memory can end the system prompt it stands in.
        """

    def detokenize(self, ids: Sequence[int]) -> str: ...

    def build(self, token_ids: Sequence[int], past: KVState | None = None) -> KVState:
        """Prefill `token_ids` after `past` and return the new tokens' keys and values, untrimmed.

        Raises:
            Invalid: no token, too many, an unknown one, or a past that does not fit the model.
        """

    def restore(self, state: KVState | None) -> HandleT:
        """A handle that continues after `state`; None is the empty prefix. Raises Invalid if it does not fit."""

    def blank(self, n_tokens: int, starts: Mapping[Group, int]) -> tuple[HandleT, KVState]:
        """A handle of `n_tokens` tokens with nothing in it yet, and arrays to fill before its first use.

        What is written into the arrays is what the handle holds, without a copy; `starts` says from which token on
        each group will be written. Raises Invalid if that leaves out something a restore needs.
        """

    def logits(self, handle: HandleT, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Feed tokens; return [tokens, vocabulary]: row i is the prediction of what follows token i."""

    def generate(self, handle: HandleT, suffix: Sequence[int], max_new_tokens: int) -> tuple[int, ...]:
        """Feed `suffix`, then decode greedily until an end mark (not returned) or the limit."""


def checked_tokens(token_ids: Sequence[int], *, after: int, max_tokens: int, vocabulary: int) -> list[int]:
    """The ids as a list, once the model can take them. Raises Invalid otherwise."""
    ids = list(token_ids)
    if not ids:
        raise Invalid("a model has to be fed at least one token")
    if after + len(ids) > max_tokens:
        raise Invalid(f"{after + len(ids)} tokens are more than the model's {max_tokens}")
    if min(ids) < 0 or max(ids) >= vocabulary:
        raise Invalid(f"token ids of this model run from 0 to {vocabulary - 1}")
    return ids
