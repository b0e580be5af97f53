"""Cycles of the top-k engines, beside the model of the quick-select engine in SpAtten's release.

As a command::

    python -m attnsieve.sim.bench.top_k

Rows of 1,024 values, 16 of them per beat; mean cycles from the last value's transfer to the
threshold, each row alone. Every threshold is compared with the golden model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np

from attnsieve.hdl.select.quick_select import QuickSelect
from attnsieve.hdl.select.radix_select import RadixSelect
from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.golden.top_k import top_k_threshold
from attnsieve.sim.unit import run_streams

__all__ = ["KINDS", "cycles", "model_cycles"]

N, LANES = 1024, 16
KS = (16, 64, 128, 512, 1000)

#: Bits of the values and how they are made, by kind.
KINDS: dict[str, tuple[int, Callable[[np.random.Generator, int], np.ndarray]]] = {
    "uniform, 12 bits": (12, lambda rng, n: rng.integers(0, 1 << 12, n)),
    "exponential of normal, 16 bits": (
        16,
        lambda rng, n: (65535 * np.exp(-np.abs(rng.normal(0, 4, n)))).astype(np.int64),
    ),
    "gamma, 32 bits": (32, lambda rng, n: (2e8 * rng.gamma(1, 1, n)).astype(np.int64)),
}


def cycles(engine: RadixSelect | QuickSelect, values: np.ndarray, k: int) -> int:
    """Cycles of an engine from the last value to the threshold, which must be right."""
    params = engine.params
    beats = [
        {"value": [int(v) for v in part], "keep": (1 << len(part)) - 1, "k": k, "last": 0}
        for part in np.split(values, range(params.lanes, len(values), params.lanes))
    ]
    beats[-1]["last"] = 1
    result = run_streams(engine, {"i": beats}, {"o": 1})
    (found,) = result.outputs["o"]
    want = top_k_threshold(values, k, params.value_bits)
    if (found.value, found.equal) != want:
        raise AssertionError(f"threshold {found} is not {want}")
    return result.last("o") - result.last("i")


def model_cycles(rng: np.random.Generator, values: np.ndarray, k: int, lanes: int) -> int:
    """Cycles of quick-select with a random pivot: ceil(n / lanes) + 3 for a round of n values."""
    rest, total = np.asarray(values), 0
    while True:
        pivot = rng.choice(rest)
        total += -(-len(rest) // lanes) + 3
        larger, smaller = rest[rest > pivot], rest[rest < pivot]
        if k <= len(larger):
            rest = larger
        elif k <= len(rest) - len(smaller):
            return total
        else:
            k -= len(rest) - len(smaller)
            rest = smaller


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Cycles of the top-k engines.")
    parser.add_argument("--rows", type=int, default=5, help="rows of each kind and k")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(argv)
    print(f"{'values':32}{'k':>6}{'radix select':>14}{'quick-select':>14}{'its model':>12}")
    for kind, (bits, make) in KINDS.items():
        params = TopKParams(lanes=LANES, value_bits=bits, max_values=N)
        for k in KS:
            rng = np.random.default_rng([arguments.seed, bits, k])
            rows = [make(rng, N) for _ in range(arguments.rows)]
            radix = np.mean([cycles(RadixSelect(params=params), row, k) for row in rows])
            quick = np.mean([cycles(QuickSelect(params=params), row, k) for row in rows])
            model = np.mean([model_cycles(rng, row, k, LANES) for row in rows * 40])
            print(f"{kind:32}{k:6}{radix:14.1f}{quick:14.1f}{model:12.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
