"""The reference engine: a Hugging Face causal model on the CPU, its cache taken out and put back through numpy.

Prefill always proceeds in pieces that end at multiples of 256 tokens, whoever asks and wherever it starts. A token's
keys then come out of the same matrix shapes every time, so a chunk has the same bits whether it was computed in one
go or after a restore. (Measured on SmolLM2: no slower than one shot, and identical to it as well.)

A handle has buffers of its own with room to grow: `restore` copies into them, so a request can never touch the stored
arrays, and `blank` lets a decoder write into them directly, which saves that copy.
All layers are kept untrimmed. Given a config, transformers would make sliding layers that drop what has left the
window, and chunks could no longer be cut out of them. Trimmed tokens of a stored cache come back as zeros: the mask
gives them a weight of exactly zero, so the logits equal those of the whole cache bit for bit.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, DynamicCache
from transformers import __version__ as transformers_version
from transformers.utils import logging as transformers_logging

from memos.encoders.causal_lm import Tokenized, checked_tokens
from memos.encoders.growing_layer import ROOM, GrowingLayer
from memos.encoders.kv_state import Array, GroupKV, KVState, checked, empty_group, storage_dtype
from memos.errors import Invalid, Misconfigured
from memos.rules.kv_address import ModelIdentity, canonical_json
from memos.rules.kv_layout import CHUNK_TOKENS, Group, KVDtype, KVSpec

_DTYPES = {torch.float32: KVDtype.F32, torch.float16: KVDtype.F16, torch.bfloat16: KVDtype.BF16}


@dataclass(slots=True)
class TransformersHandle:
    """One request's cache."""

    cache: Any
    n_tokens: int


class TransformersEngine:
    """For models on the CPU. `tokenizer_json` is the text of a tokenizer.json; `weights_sha256` the digest of the file
    the model was loaded from."""

    def __init__(
        self,
        model: Any,
        tokenizer_json: str,
        *,
        weights_sha256: str,
        template: str = "",
        adapter_sha256: str | None = None,
    ) -> None:
        config = model.config.get_text_config(decoder=True)
        if model.device.type != "cpu":
            raise Invalid("caches are taken out of and put into models on the CPU only")
        self._model = model.eval()
        # Two tokenizers, because whether marks are read is a switch on the object and engines are shared by threads.
        self._plain, self._special = Tokenizer.from_str(tokenizer_json), Tokenizer.from_str(tokenizer_json)
        self._plain.encode_special_tokens = True
        self._vocabulary = int(config.vocab_size)
        self._ends = _end_ids(model)
        self.max_tokens = int(config.max_position_embeddings)
        spec = _spec(config, model.dtype)
        self.identity = ModelIdentity(
            weights_sha256=weights_sha256,
            spec=spec,
            positions=canonical_json(config.rope_parameters),
            tokenizer_sha256=_sha256(tokenizer_json),
            template_sha256=_sha256(template),
            engine=f"transformers-{transformers_version.partition('.')[0]}",
            numerics=_numerics(config._attn_implementation),
            adapter_sha256=adapter_sha256,
        )

    def tokenize(self, text: str, *, special: bool = False) -> Tokenized:
        encoding = (self._special if special else self._plain).encode(text, add_special_tokens=False)
        return Tokenized(tuple(encoding.ids), tuple(encoding.offsets))

    def detokenize(self, ids: Sequence[int]) -> str:
        return str(self._special.decode(list(ids), skip_special_tokens=False))

    def build(self, token_ids: Sequence[int], past: KVState | None = None) -> KVState:
        handle = self.restore(past)
        start = handle.n_tokens
        for _ in self._forward(handle, token_ids, keep=1):
            pass
        return self._state(handle.cache, start, handle.n_tokens)

    def restore(self, state: KVState | None) -> TransformersHandle:
        if state is None:
            cache: Any = DynamicCache()
            cache.layer_class_to_replicate = GrowingLayer
            return TransformersHandle(cache, 0)
        checked(state, self.identity.spec)
        starts = {group: kv.start for group, kv in state.groups.items()}
        handle, own = self.blank(state.end, starts)
        for group, kv in state.groups.items():
            own.groups[group].k[...], own.groups[group].v[...] = kv.k, kv.v
        return handle

    def blank(self, n_tokens: int, starts: Mapping[Group, int]) -> tuple[TransformersHandle, KVState]:
        spec = self.identity.spec
        cache: Any = DynamicCache()
        layers: list[Any] = [None] * spec.n_layers
        groups: dict[Group, GroupKV] = {}
        new_layer: Any = GrowingLayer  # transformers annotates its classes in part only
        for group, shape in spec.groups():
            start = starts[group]
            # One allocation for all layers of a group: the system hands out large ones in large pages.
            buffers = empty_group(shape, spec.dtype, 0, n_tokens + ROOM)
            buffers.k[:, :, :start], buffers.v[:, :, :start] = 0, 0
            for row, index in enumerate(shape.layers):
                layers[index] = new_layer()
                layers[index].adopt(_tensor(buffers.k[row], spec.dtype), _tensor(buffers.v[row], spec.dtype), n_tokens)
            groups[group] = buffers.tokens(start, n_tokens)
        cache.layers = layers
        return TransformersHandle(cache, n_tokens), checked(KVState(groups), spec)

    def logits(self, handle: TransformersHandle, token_ids: Sequence[int]) -> NDArray[np.float32]:
        parts = [part.float().numpy() for part in self._forward(handle, token_ids, keep=0)]
        return np.concatenate(parts)

    def generate(self, handle: TransformersHandle, suffix: Sequence[int], max_new_tokens: int) -> tuple[int, ...]:
        scores = self._last_scores(handle, suffix)
        out: list[int] = []
        while len(out) < max_new_tokens:
            token = int(scores.argmax())
            if token in self._ends:
                break
            out.append(token)
            if len(out) == max_new_tokens or handle.n_tokens == self.max_tokens:
                break
            scores = self._last_scores(handle, [token])
        return tuple(out)

    def _last_scores(self, handle: TransformersHandle, token_ids: Sequence[int]) -> torch.Tensor:
        *_, scores = self._forward(handle, token_ids, keep=1)
        return scores[-1]

    def _forward(self, handle: TransformersHandle, token_ids: Sequence[int], *, keep: int) -> Iterator[torch.Tensor]:
        """Feed tokens in aligned pieces; yield each piece's logits [last `keep` tokens or all if 0, vocabulary]."""
        ids = checked_tokens(token_ids, after=handle.n_tokens, max_tokens=self.max_tokens, vocabulary=self._vocabulary)
        at = 0
        while at < len(ids):
            step = min(CHUNK_TOKENS - handle.n_tokens % CHUNK_TOKENS, len(ids) - at)
            with torch.inference_mode():
                result = self._model(
                    input_ids=torch.tensor([ids[at : at + step]]),
                    past_key_values=handle.cache,
                    use_cache=True,
                    logits_to_keep=keep,
                )
            handle.n_tokens += step
            at += step
            yield result.logits[0]

    def _state(self, cache: Any, start: int, end: int) -> KVState:
        spec = self.identity.spec
        groups = {}
        for group, shape in spec.groups():
            layers = [cache.layers[index] for index in shape.layers]
            groups[group] = GroupKV(
                np.stack([_array(layer.keys[0, :, start:end]) for layer in layers]),
                np.stack([_array(layer.values[0, :, start:end]) for layer in layers]),
                start,
            )
        return checked(KVState(groups), spec, restorable=False)


def load_engine(folder: Path, *, dtype: torch.dtype = torch.float32, threads: int = 1) -> TransformersEngine:
    """The model in a folder that holds config.json, tokenizer.json and model.safetensors. Nothing is downloaded.

    `threads` is set for the whole process, because torch knows no other way: two threads on two busy cores wait for
    each other most of the time.

    Raises:
        Misconfigured: the folder does not hold such a model.
    """
    try:
        with (folder / "model.safetensors").open("rb") as file:
            weights_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        tokenizer_json = (folder / "tokenizer.json").read_text(encoding="utf-8")
        template = folder / "chat_template.jinja"
        silence_progress_bars()
        torch.set_num_threads(threads)
        # On the CPU, torch attends with shared key heads directly and to the same bits; without this, transformers
        # copies each of them once per query head whenever there is a mask: a third of the time after 4,096 tokens.
        os.environ.setdefault("TRANSFORMERS_SDPA_FORCE_GQA", "1")
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa", local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise Misconfigured(f"no causal language model can be loaded from {folder}: {error}") from error
    return TransformersEngine(
        model,
        tokenizer_json,
        weights_sha256=weights_sha256,
        template=template.read_text(encoding="utf-8") if template.exists() else "",
    )


def silence_progress_bars() -> None:
    """transformers draws them on standard error, where a worker's log goes."""
    disable: Any = transformers_logging.disable_progress_bar
    disable()


def _spec(config: Any, dtype: torch.dtype) -> KVSpec:
    n_layers, heads = int(config.num_hidden_layers), int(config.num_attention_heads)
    window: Any = getattr(config, "sliding_window", None)
    kinds: Any = getattr(config, "layer_types", None)
    if kinds is None:
        kinds = ["sliding_attention" if window else "full_attention"] * n_layers
    unknown = set(kinds) - {"full_attention", "sliding_attention"}
    shares_layers: Any = getattr(config, "num_kv_shared_layers", None)
    if unknown or dtype not in _DTYPES or shares_layers:
        raise Invalid(f"caches of {config.model_type} ({sorted(unknown) or dtype}) cannot be stored")
    kv_heads: Any = getattr(config, "num_key_value_heads", None)
    head_dim: Any = getattr(config, "head_dim", None)
    return KVSpec.of_layers(
        [int(window) if kind == "sliding_attention" else None for kind in kinds],
        kv_heads=int(kv_heads or heads),
        head_dim=int(head_dim or config.hidden_size // heads),
        dtype=_DTYPES[dtype],
    )


def _numerics(attention: str) -> str:
    """The class inside which equal inputs give equal bits: another instruction set sums in another order."""
    return f"torch {torch.__version__} {attention} cpu {torch.backends.cpu.get_cpu_capability()}"


def _end_ids(model: Any) -> frozenset[int]:
    ends = model.generation_config.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)


def _tensor(array: Array, dtype: KVDtype) -> torch.Tensor:
    """[1, heads, tokens, size] sharing memory with `array` [heads, tokens, size]."""
    tensor = torch.from_numpy(array)[None]
    return tensor.view(torch.bfloat16) if dtype is KVDtype.BF16 else tensor


def _array(tensor: torch.Tensor) -> Array:
    if tensor.dtype is torch.bfloat16:
        return tensor.contiguous().view(torch.uint16).numpy().astype(storage_dtype(KVDtype.BF16), copy=False)
    array: Array = tensor.numpy()
    return array


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
