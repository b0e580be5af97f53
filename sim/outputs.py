"""Arrays of out.npz: outputs and what was kept, over the selected layers of a trace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnsieve.sim.driver.plan import LayerPlan

__all__ = ["approximate_rows", "kept_pairs", "output_arrays"]


def kept_pairs(plan: LayerPlan, keys: int, of: str) -> np.ndarray:
    """``kept_scores`` or ``kept_values`` of the golden result, bool ``[heads, queries, keys]``, by
    trace positions."""
    heads = plan.jobs[0].job.heads
    kept = np.zeros((heads, plan.queries, keys), bool)
    for job in plan.jobs:
        kept[:, job.query_rows, : job.job.keys] = getattr(job.expected, of)
    return kept


def approximate_rows(plan: LayerPlan) -> np.ndarray:
    """Rows that were computed from the first plane of K only, bool ``[heads, queries]``."""
    rows = np.zeros((plan.jobs[0].job.heads, plan.queries), bool)
    for job in plan.jobs:
        rows[:, job.query_rows] = job.expected.approximate
    return rows


def output_arrays(
    plans: Sequence[LayerPlan],
    outputs: Sequence[np.ndarray],
    keys: int,
    *,
    decode: bool = False,
    selection: Sequence[int] | None = None,
) -> dict[str, np.ndarray]:
    """All arrays of out.npz.

    Parameters
    ----------
    plans : sequence of LayerPlan
        One per layer.
    outputs : sequence of int16 arrays
        Output of each plan, as `LayerPlan.output` reads it from memory.
    keys : int
        Keys of the trace.
    decode : bool
        The trace is a decode trace: alive tokens and heads are given per step.
    selection : sequence of int or None
        Layers chosen, if not all; ``layers`` and ``heads`` are then written too.
    """
    pairs, values = (
        np.stack([kept_pairs(plan, keys, of) for plan in plans])
        for of in ("kept_scores", "kept_values")
    )
    layers, heads, queries, _ = pairs.shape
    alive = np.any(pairs, axis=1)  # [layers, queries, keys]
    living = np.zeros((layers, queries, heads), bool)
    for layer, plan in enumerate(plans):
        for job in plan.jobs:
            living[layer, job.query_rows] = job.job.alive
    arrays: dict[str, np.ndarray] = {
        "out": np.stack(
            [plan.real_output(out) for plan, out in zip(plans, outputs, strict=True)]
        ),
        "kept_tokens": alive if decode else np.any(alive, axis=1),
        "kept_heads": living if decode else np.any(living, axis=1),
        "kept_scores": pairs,
        "kept_values": values,
        "approx_rows": np.stack([approximate_rows(plan) for plan in plans]),
    }
    if selection is not None:
        arrays["layers"] = np.asarray(selection, np.int64)
        arrays["heads"] = np.asarray(plans[0].heads, np.int64)
    return arrays
