"""Attention as a step that a model pauses at, and exact attention in float."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Attend", "AttentionStep", "Run", "float_attention"]

Float = NDArray[np.float32]
T = TypeVar("T")


class Attend(Protocol):
    """Attention of one layer: context ``[heads, queries, head_dim]`` from Q, K and V."""

    def __call__(
        self, layer: int, q: Float, k: Float, v: Float, key_valid: NDArray[np.bool_]
    ) -> Float: ...


@dataclass(frozen=True, eq=False)
class AttentionStep:
    """What a layer hands to its attention.

    Parameters
    ----------
    layer : int
        Which layer.
    q : float32 array, [heads, queries, head_dim]
        Queries, not scaled by 1/√head_dim.
    k, v : float32 array, [kv_heads, keys, head_dim]
        Keys and values.
    key_valid : bool array, [keys]
        Keys that are no padding.
    """

    layer: int
    q: Float
    k: Float
    v: Float
    key_valid: NDArray[np.bool_]


class Run(Generic[T]):
    """A model on its way through one input, paused at the attention of a layer.

    While `step` is not None, compute that attention by any means and give it to `advance`; then
    `result` holds what the model gives. The model's own matrices are computed inside `advance`.

    Parameters
    ----------
    steps : generator
        Yields `AttentionStep`, takes contexts, returns the result.
    """

    def __init__(self, steps: Generator[AttentionStep, Float, T]) -> None:
        self._steps = steps
        self._result: T | None = None
        self.step: AttentionStep | None = next(steps)

    def advance(self, context: Float) -> None:
        """Go on with the attention output of the current layer, ``[heads, queries, head_dim]``."""
        if self.step is None:
            raise ValueError("Run must have a layer left to advance, but it is done")
        context = np.asarray(context, np.float32)
        if context.shape != self.step.q.shape:
            raise ValueError(
                f"Context must have shape {self.step.q.shape}, not {context.shape}"
            )
        try:
            self.step = self._steps.send(context)
        except StopIteration as stop:
            self.step = None
            self._result = stop.value

    @property
    def result(self) -> T:
        """What the model gives once every layer is done."""
        if self.step is not None:
            raise ValueError(f"Run must be done to have a result, not at layer {self.step.layer}")
        return self._result  # type: ignore[return-value]

    def finish(self, attend: Attend) -> T:
        """Take all layers left with the same attention and return the result."""
        while (step := self.step) is not None:
            self.advance(attend(step.layer, step.q, step.k, step.v, step.key_valid))
        return self.result


def float_attention(
    layer: int,
    q: Float,
    k: Float,
    v: Float,
    key_valid: NDArray[np.bool_],
    *,
    causal: bool = False,
) -> Float:
    """Exact attention in float32: softmax(q · kᵀ / √head_dim) · v.

    A query that sees no key gets zeros. With ``causal``, query i sees keys 0 … i + keys − queries.
    """
    del layer
    heads, queries, head_dim = q.shape
    kv_heads, keys, _ = k.shape
    grouped = q.reshape(kv_heads, heads // kv_heads * queries, head_dim)
    scores = (grouped @ k.transpose(0, 2, 1)).reshape(heads, queries, keys)
    scores *= np.float32(1 / np.sqrt(head_dim))
    mask = np.broadcast_to(key_valid, (queries, keys))
    if causal:
        mask = mask & np.tri(queries, keys, keys - queries, dtype=bool)
    scores[:, ~mask] = -np.inf
    peak = scores.max(axis=-1, keepdims=True)
    terms = np.exp(scores - np.where(np.isfinite(peak), peak, 0))
    total = terms.sum(axis=-1, keepdims=True)
    p = (terms / np.where(total > 0, total, 1)).reshape(kv_heads, -1, keys)
    return (p @ v).reshape(heads, queries, head_dim)
