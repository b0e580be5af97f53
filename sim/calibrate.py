"""Thresholds from recorded scores, without training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnsieve.sim.driver.thresholds import Thresholds
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.score import score_float
from attnsieve.sim.trace.trace import Trace

__all__ = ["GRANULARITIES", "calibrate", "constant_margin"]

#: What may have a threshold of its own: LeOPArd has one per layer.
GRANULARITIES = ("layer", "head")


def calibrate(
    traces: Sequence[Trace], keep: float, granularity: str = "layer", relative: bool = False
) -> Thresholds:
    """The thresholds that keep a share of all unmasked scores of the traces.

    Parameters
    ----------
    traces : sequence of Trace
        Of one model: as many layers and heads each.
    keep : float
        Share of the scores, over 0 and at most 1.
    granularity : str
        One threshold per ``layer``, for all its heads, or one per ``head``.
    relative : bool
        Distances from the largest score of each row instead.

    Raises
    ------
    InputError
        The traces are not of one model, or an option is wrong.
    """
    if not 0 < keep <= 1:
        raise InputError(f"keep must be over 0 and at most 1, not {keep!r}")
    if granularity not in GRANULARITIES:
        raise InputError(f"granularity must be layer or head, not {granularity!r}")
    layers, heads = _shape(traces)
    found = []
    for layer in range(layers):
        scores = [
            np.concatenate([_scores(trace, layer, head, relative) for trace in traces])
            for head in range(heads)
        ]
        if granularity == "layer":
            scores = [np.concatenate(scores)]
        values = [_quantile(of_head, keep) for of_head in scores]
        found.append(tuple((-x if relative else x) + 0.0 for x in values) * (heads // len(values)))
    what = ", below the largest of each row" if relative else ""
    source = f"keeps {keep:g} of the scores of {_set(traces)}, per {granularity}{what}"
    return Thresholds(tuple(found), source, relative)


def constant_margin(traces: Sequence[Trace], margin: float) -> Thresholds:
    """One distance from the largest score of each row for all heads of the traces' model.

    Parameters
    ----------
    traces : sequence of Trace
        Of one model.
    margin : float
        The distance, in units of q·k/√head_dim; not negative.
    """
    if not 0 <= margin < np.inf:
        raise InputError(f"margin must be a number from 0 on, not {margin!r}")
    layers, heads = _shape(traces)
    margin = abs(float(margin))  # -0.0 is 0
    source = f"at most {margin:g} below the largest of each row"
    return Thresholds(((margin,) * heads,) * layers, source, True)


def _shape(traces: Sequence[Trace]) -> tuple[int, int]:
    """Layers and heads of all traces."""
    if not traces:
        raise InputError("calibrate needs a trace")
    shapes = {trace.q.shape[:2] for trace in traces}
    if len(shapes) > 1:
        raise InputError("traces must be of one model: as many layers and heads each")
    layers, heads = traces[0].q.shape[:2]
    return layers, heads


def _set(traces: Sequence[Trace]) -> str:
    tokens = sum(int(trace.key_valid.sum()) for trace in traces)
    return f"{len(traces)} traces with {tokens} keys"


def _scores(trace: Trace, layer: int, head: int, relative: bool) -> np.ndarray:
    """Unmasked scores of a head, or how far they are above the largest of their row."""
    scores = score_float(trace.q[layer, head], trace.k[layer, head // trace.group])
    seen = trace.pair_mask()
    if relative:
        scores = scores - np.where(seen, scores, -np.inf).max(axis=1, keepdims=True)
    return scores[seen]


def _quantile(scores: np.ndarray, keep: float) -> float:
    """The largest threshold that so large a share of the scores reaches."""
    if not len(scores):
        return 0.0
    count = max(1, round(keep * len(scores)))
    return float(np.partition(scores, len(scores) - count)[len(scores) - count])
