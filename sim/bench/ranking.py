"""What rankings of tokens cost in accuracy, on a decode of SmolLM2 that prunes tokens alone.

As a command::

    python -m attnsieve.sim.bench.ranking

All layers of a recorded trace go through the cascade of the golden model at 8 bits, no core is
simulated; operands are those of the unpruned model. Each head's outputs of all steps are compared,
by cosine, with unpruned attention in float64, in the layers that drop tokens. Every ranking keeps
as many keys, and the newest of each step. Random scores before each job are the control: what goes
on is then random.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.cascade import RANKINGS, Pruning, cascade
from attnsieve.sim.driver.plan import LayerPlan
from attnsieve.sim.driver.schedule import TOKENS_WHOLE, keep_ratios
from attnsieve.sim.driver.trace_like import TraceLike
from attnsieve.sim.golden.dense import dense_float
from attnsieve.sim.trace.smollm2 import record

__all__ = ["Kept", "main", "measure"]

_CORE = CoreParams(value_lanes=16, token_lanes=16)


@dataclass(frozen=True)
class Kept:
    """A cascade over a decode trace, beside unpruned attention.

    Parameters
    ----------
    keys : int
        Keys of all jobs in layers that drop tokens.
    share : float
        Those of the keys that the trace has for them.
    median, worst : float
        Cosine of the heads of those layers.
    """

    keys: int
    share: float
    median: float
    worst: float


def measure(
    trace: TraceLike,
    wanted: Sequence[np.ndarray],
    pruning: Pruning,
    noise: np.random.Generator | None = None,
) -> Kept:
    """A cascade over all layers of a decode trace, beside ``wanted``, the outputs of each layer.

    Parameters
    ----------
    trace : TraceLike
        Decode trace.
    wanted : sequence of float arrays, [heads, queries, head_dim]
        Unpruned attention.
    pruning : Pruning
        What is kept.
    noise : numpy Generator or None
        Draws the scores of tokens before each job but the first.
    """
    layers = range(len(trace.q))
    ratios = keep_ratios(len(layers), 0.5, TOKENS_WHOLE)  # 1 where all is kept, with any share
    plans = cascade(_CORE, trace, layers, 8, pruning, noise=noise)
    keys, seen, cosines = 0, 0, []
    for plan, want, ratio in zip(plans, wanted, ratios, strict=True):
        if ratio == 1:
            continue
        keys += sum(len(job.listed_keys) for job in plan.jobs)
        seen += sum(job.unpruned[0] for job in plan.jobs if job.unpruned)
        cosines.append(_cosines(_outputs(plan), want))
    found = np.concatenate(cosines)
    return Kept(keys, keys / seen, float(np.median(found)), float(found.min()))


def _outputs(plan: LayerPlan) -> np.ndarray:
    """What the golden model gives, all steps, ``[heads, queries, head_dim]``."""
    out = np.concatenate([job.expected.out for job in plan.jobs], axis=1)
    return plan.real_output(out)


def _cosines(out: np.ndarray, want: np.ndarray) -> np.ndarray:
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (out, want))
    return np.asarray((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


def _unpruned(trace: TraceLike) -> list[np.ndarray]:
    """A decode step is a row of a causal layer."""
    return [
        dense_float(q, k, v, causal=True) for q, k, v in zip(trace.q, trace.k, trace.v, strict=True)
    ]


def _random_row(found: Sequence[Kept]) -> str:
    parts = []
    for name in ("median", "worst"):
        values = np.array([getattr(kept, name) for kept in found])
        error = values.std(ddof=1) / np.sqrt(len(values))
        parts.append(f"{values.mean():.4f} ± {error:.4f}")
    return " | ".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="attnsieve.sim.bench.ranking", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=300, help="of the text")
    parser.add_argument("--steps", type=int, default=64, help="of them decoded one by one")
    parser.add_argument("--layers", help="some of the layers, such as 0-5; all by default")
    parser.add_argument("--seeds", type=int, default=5, help="of the random control, two at least")
    parser.add_argument("--keep", type=float, nargs="+", default=[0.7, 0.5, 0.3])
    options = parser.parse_args(arguments)
    trace = record(tokens=options.tokens, layers=options.layers, decode_steps=options.steps)
    wanted = _unpruned(trace)
    print("| keep_tokens | ranking | keys | median | worst |\n|---|---|---|---|---|")
    whole = measure(trace, wanted, Pruning())
    print(f"| 1.0 | – | {whole.share:.3f} | {whole.median:.4f} | {whole.worst:.4f} |")
    for keep in options.keep:
        counts = set()
        for ranking in RANKINGS:
            kept = measure(trace, wanted, Pruning(tokens=keep, ranking=ranking))
            counts.add(kept.keys)
            print(f"| {keep} | {ranking} | {kept.share:.3f} | {kept.median:.4f} | "
                  f"{kept.worst:.4f} |", flush=True)
        drawn = [
            measure(trace, wanted, Pruning(tokens=keep), np.random.default_rng(seed))
            for seed in range(options.seeds)
        ]
        counts |= {kept.keys for kept in drawn}
        if len(counts) != 1:
            raise AssertionError(f"rankings keep different numbers of keys: {sorted(counts)}")
        print(f"| {keep} | random, {options.seeds} seeds | {drawn[0].share:.3f} | "
              f"{_random_row(drawn)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
