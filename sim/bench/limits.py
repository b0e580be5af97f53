"""How near the generated Verilog comes to its limit: one table of cases, real models and shapes.

As a command::

    python -m attnsieve.sim.bench.limits dense
    python -m attnsieve.sim.bench.limits spatten --set keep_tokens=0.5 --set keep_values=0.3
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import numpy as np

from attnsieve.gen.config import Configuration
from attnsieve.gen.config import load as load_config
from attnsieve.sim.cycle_model import predict
from attnsieve.sim.simulate import memory_timing, simulate
from attnsieve.sim.trace import Trace, minilm, smollm2

__all__ = ["cases"]

_COLUMNS = "{:34} {:>4} {:>9} {:>9} {:>7} {:>7} {:>6} {:>6} {:>5}  {}"


def _random(heads: int, kv_heads: int, queries: int, keys: int, head_dim: int) -> Trace:
    rng = np.random.default_rng(1)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    return Trace(
        q=draw(1, heads, queries, head_dim),
        k=draw(1, kv_heads, keys, head_dim),
        v=draw(1, kv_heads, keys, head_dim),
    )


def cases() -> Iterator[tuple[str, Trace, tuple[int, ...]]]:
    """Name, trace, operand widths."""
    text = minilm.record()
    yield f"MiniLM, {text.keys} tokens, 6 x 12 heads", text, (8, 12)
    causal = smollm2.record(tokens=300, layers="0,15,29")
    yield "SmolLM2, 300 causal, 3 layers", causal, (8, 12)
    yield "SmolLM2, 1 query on 300 keys", smollm2.record(
        tokens=300, layers="0,15,29", decode_steps=1
    ), (8, 12)
    for head_dim in (48, 96):
        yield f"random, 12 heads, 128 keys, d {head_dim}", _random(
            12, 12, 128, 128, head_dim
        ), (8, 12)


def _row(config: Configuration, name: str, trace: Trace, bits: int) -> bool:
    began = time.monotonic()
    result = simulate(config, trace, bits=bits, baseline=False)
    seconds = time.monotonic() - began
    total = result.stats["total"]
    timing = memory_timing(config)
    predicted = sum(
        predict(config.core, timing, job).cycles for plan in result.plans for job in plan.jobs
    )
    ratios = [layer["limit_ratio"] for layer in result.stats["layers"]]
    jobs = [layer["job_ratio"] for layer in result.stats["layers"]]
    stalls = ", ".join(f"{k} {v}" for k, v in total["stall_cycles"].items() if v)
    summed = total["busy_cycles"] + sum(total["stall_cycles"].values()) == total["cycles"]
    print(
        _COLUMNS.format(
            name, bits, total["cycles"], total["limit_cycles"], f"{min(ratios):.4f}",
            f"{min(jobs):.4f}", f"{100 * (predicted / total['cycles'] - 1):+.2f}%",
            result.mismatches, f"{seconds:.0f}", stalls + ("" if summed else " DO NOT SUM"),
        ),
        flush=True,
    )  # fmt: skip
    return result.mismatches == 0 and summed


def main() -> int:
    """Print the table; 1 if anything differs from the golden model or stalls do not sum."""
    parser = argparse.ArgumentParser(prog="python -m attnsieve.sim.bench.limits")
    parser.add_argument("system", nargs="?", default="dense", help="preset or TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    config = load_config(given.system, settings=given.set)
    print(
        _COLUMNS.format(
            "case", "bits", "cycles", "limit", "limit_r", "job_r", "model", "wrong", "s", "stalls"
        )
    )
    good = [
        _row(config, name, trace, bits) for name, trace, widths in cases() for bits in widths
    ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
