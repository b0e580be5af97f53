"""The case that SpAtten's released RTL was run on: cycles per query in the steady state.

As a command::

    python -m attnsieve.sim.bench.release

1,024 keys of 64 elements of 8 bits, 64 multipliers per array, two channels of 256 bits with a
latency of 10 cycles. Two jobs of different length run; what the longer one takes more counts. All
outputs and counters are compared with the golden model.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import UnusedElaboratable

from attnsieve.gen.config import load as load_config
from attnsieve.sim.simulate import memory_timing, simulate
from attnsieve.sim.trace import Trace

__all__ = ["CASES", "ReleaseCase", "cycles_per_query"]

KEYS, HEAD_DIM, VALUES = 1024, 64, 128


@dataclass(frozen=True)
class ReleaseCase:
    """A way to work on the queries.

    Parameters
    ----------
    name : str
        What is done.
    group : int
        Queries that share the keys of a head; 0: all, as queries of one head.
    settings : tuple of str
        Of the configuration.
    limit : int
        Cycles of a query that the arrays or the memory need.
    release : int or None
        What the release takes.
    """

    name: str
    group: int
    settings: tuple[str, ...]
    limit: int
    release: int | None


_SOME = f"run.keep_values={VALUES / KEYS}"
CASES = (
    ReleaseCase("K resident, all values", 0, (), 1024, 1905),
    ReleaseCase("K resident, 128 values", 0, (_SOME,), 1024, 1655),
    ReleaseCase(
        "every query recomputed, 128 values", 2,
        (_SOME, "run.threshold=1.0", "run.demand=true"), 2048, 2055,
    ),
    ReleaseCase("K streamed per query, 128 values", 1, (_SOME, "run.demand=true"), 1152, None),
)  # fmt: skip


def _trace(queries: int, group: int) -> Trace:
    rng = np.random.default_rng(1)
    heads = 1 if group == 0 else queries
    kv_heads = heads // max(1, group)
    rows = queries if group == 0 else 1

    def draw(count: int, size: int) -> np.ndarray:
        return rng.standard_normal((1, count, size, HEAD_DIM)).astype(np.float32)

    return Trace(q=draw(heads, rows), k=draw(kv_heads, KEYS), v=draw(kv_heads, KEYS))


def cycles_per_query(system: str, case: ReleaseCase, *, few: int = 8, more: int = 24) -> float:
    """Cycles that a query more takes.

    Raises
    ------
    AssertionError
        Something differs from the golden model.
    """
    config = load_config(system, settings=case.settings)
    timing = memory_timing(config)._replace(latency=10)
    cycles = []
    for queries in (few, more):
        result = simulate(
            config, _trace(queries, case.group), bits=8, memory=timing, baseline=False
        )
        if result.mismatches:
            raise AssertionError(f"{case.name}: {result.messages[0]}")
        cycles.append(result.stats["total"]["cycles"])
    return (cycles[1] - cycles[0]) / (more - few)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m attnsieve.sim.bench.release")
    parser.add_argument("system", nargs="?", default="spatten", help="preset or TOML file")
    given = parser.parse_args(argv)
    warnings.simplefilter("ignore", UnusedElaboratable)  # limits make blocks for their members
    print(f"{'case':36}{'cycles per query':>18}{'limit':>8}{'release':>9}")
    for case in CASES:
        found = cycles_per_query(given.system, case)
        release = "" if case.release is None else str(case.release)
        print(f"{case.name:36}{found:18.1f}{case.limit:8}{release:>9}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
