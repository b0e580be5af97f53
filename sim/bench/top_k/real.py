"""Rows of a real model: softmax terms and importances of SmolLM2, by the golden model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attnsieve.hdl.observers.token_scores import SCORE_BITS
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.value_select import rank_step, value_top_k
from attnsieve.sim.bench.top_k.latency import Source
from attnsieve.sim.bench.top_k.rows import Ints
from attnsieve.sim.golden.importance import token_shares
from attnsieve.sim.golden.quantise import quantise_layer
from attnsieve.sim.golden.score import score_integer
from attnsieve.sim.golden.softmax import Terms, reciprocal, row_sum, terms
from attnsieve.sim.trace import smollm2
from attnsieve.sim.trace.trace import Trace

__all__ = ["real_sources", "real_text"]


def real_text() -> str:
    """Prose of more than 1,024 tokens that every CPython has: its reference on statements."""
    from pydoc_data.topics import topics

    return topics["compound"]


def ranks(params: CoreParams, row_terms: Terms) -> Ints:
    """What the value select ranks terms by."""
    rank = row_terms.mantissa + (params.max_class - row_terms.exponent_class) * rank_step(params)
    return np.where(row_terms.mantissa > 0, rank, 0)


def _rows_of(params: CoreParams, trace: Trace) -> Iterator[tuple[Ints, Ints]]:
    """Of each layer the ranks of its last query, a row per head, and the shares of all queries."""
    _, heads, tokens, _ = trace.q.shape
    group = heads // trace.k.shape[1]
    seen = np.tril(np.ones((tokens, tokens), bool))
    for q, k, v in zip(trace.q, trace.k, trace.v, strict=True):
        made = quantise_layer(q, k, v, 12)
        last, shares = [], np.zeros(tokens, np.int64)
        for head in range(heads):
            scores = score_integer(params, made.q[head], made.k[head // group])
            row_terms = terms(params, scores, seen, made.scales[head])
            share = reciprocal(params, row_sum(params, row_terms))
            shares += token_shares(params, row_terms, *share)
            end = Terms(row_terms.mantissa[-1:], row_terms.exponent_class[-1:])
            last.append(ranks(params, end)[0])
        yield np.stack(last), shares


def real_sources(n: int, layers: str, text: str) -> Iterator[Source]:
    """Ranks of the terms of the last of n tokens, of each head and layer, and the importance of
    the n tokens after each layer: 12-bit operands, causal, all layers up to it added up."""
    params = CoreParams(lanes=64, max_keys=n, value_lanes=16, token_lanes=16)
    trace = smollm2.record(text, tokens=n, layers=layers)
    found = list(_rows_of(params, trace))
    last = [row for rows, _ in found for row in rows]
    yield Source("softmax terms", value_top_k(params).value_bits, last)
    total = np.cumsum([shares for _, shares in found], axis=0)
    yield Source("importances", SCORE_BITS, list(total))
