"""Small real transformers for tests: random weights, real attention, a byte tokenizer; built in milliseconds."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM

from memos.encoders.transformers_engine import TransformersEngine

VOCABULARY = 258
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 257,
    "attn_implementation": "sdpa",
}


def byte_tokenizer() -> str:
    """tokenizer.json of one token per UTF-8 byte, with two marks."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = [AddedToken(mark, special=True, normalized=False) for mark in ("<|start|>", "<|end|>")]
    tokenizer.add_special_tokens(marks)
    text: str = tokenizer.to_str()
    return text


def tiny_llama(*, seed: int = 0, dtype: torch.dtype = torch.float32, **identity: str) -> TransformersEngine:
    torch.manual_seed(seed)
    model: Any = LlamaForCausalLM(LlamaConfig(num_hidden_layers=3, **SHAPE))
    return _engine(model.to(dtype), seed, identity)


def tiny_gemma(*, seed: int = 0, window: int = 300) -> TransformersEngine:
    """Two sliding layers, one full, two sliding: caches of both groups, rotary parameters per group."""
    torch.manual_seed(seed)
    kinds = ["sliding_attention", "sliding_attention", "full_attention"] + ["sliding_attention"] * 2
    config = Gemma3TextConfig(num_hidden_layers=5, layer_types=kinds, sliding_window=window, **SHAPE)
    return _engine(Gemma3ForCausalLM(config), seed, {})


def _engine(model: Any, seed: int, identity: dict[str, str]) -> TransformersEngine:
    torch.set_num_threads(1)
    # Untrained weights are so small that every token would look alike; larger ones give attention something to choose.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(5)
    weights = hashlib.sha256(f"{type(model).__name__} {seed}".encode()).hexdigest()
    return TransformersEngine(model, byte_tokenizer(), weights_sha256=weights, **{"template": "", **identity})
