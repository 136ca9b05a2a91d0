"""A transformers cache layer that writes new tokens behind the old ones instead of copying them all.

`DynamicLayer` concatenates, so each generated token copies the whole cache: 190 MB a token after 4,096 tokens of a
135M-parameter model. Here keys and values lie at the front of buffers, and the model is given views of them.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from transformers.cache_utils import DynamicLayer

ROOM: Final = 128
"""Tokens a cache can grow by before it is copied once: a question and a short answer."""


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's keys and values [1, heads, tokens, size] at the front of buffers that double when they are full."""

    def adopt(self, key_buffer: torch.Tensor, value_buffer: torch.Tensor, n_tokens: int) -> None:
        """Take buffers [1, heads, room, size] whose first `n_tokens` tokens are, or are about to be, filled in."""
        self.lazy_initialization(key_buffer, value_buffer)
        self._buffers = key_buffer, value_buffer
        self.keys, self.values = key_buffer[:, :, :n_tokens], value_buffer[:, :, :n_tokens]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append tokens; return all keys and values so far, as views."""
        start = self.get_seq_length()
        end = start + key_states.shape[2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers = _empty_like(key_states, end + ROOM)
        elif end > self._buffers[0].shape[2]:
            keys, values = self._buffers
            self._buffers = _empty_like(key_states, 2 * end)
            self._write(keys[:, :, :start], values[:, :, :start], 0, start)
        return self._write(key_states, value_states, start, end)

    def _write(
        self, keys: torch.Tensor, values: torch.Tensor, start: int, end: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        key_buffer, value_buffer = self._buffers
        key_buffer[:, :, start:end], value_buffer[:, :, start:end] = keys, values
        views = key_buffer[:, :, :end], value_buffer[:, :, :end]
        self.keys, self.values = views
        return views


def _empty_like(tensor: torch.Tensor, n_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (*tensor.shape[:2], n_tokens, tensor.shape[3])
    return torch.empty(shape, dtype=tensor.dtype), torch.empty(shape, dtype=tensor.dtype)
