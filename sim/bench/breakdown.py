"""Where SpAtten's speed-up comes from, step by step, on a workload file.

As a command::

    python -m attnsieve.sim.bench.breakdown --workload FILE.csv
    python -m attnsieve.sim.bench.breakdown --workload FILE.csv --system spatten-full

By the cycle model, each job alone. The steps are those of the paper (section V-D, figure 20). Its
factors are geometric means over eight GPT-2 tasks, on its own hardware.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from attnsieve.gen.config import Configuration
from attnsieve.gen.config import load as load_config
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.cycle_model import predict
from attnsieve.sim.cycle_model.latency import Latency
from attnsieve.sim.replay import WorkloadImages
from attnsieve.sim.simulate import memory_timing, references
from attnsieve.sim.trace.workload import Workload, WorkloadJob, load_workload

__all__ = ["STEPS", "Step", "breakdown"]


@dataclass(frozen=True)
class Step:
    """A step: what is added, and how a job is then.

    Parameters
    ----------
    name : str
        What is added.
    paper : float or None
        The paper's factor over the step before; None: it has no such step.
    job : callable
        The job of that step, of the workload's and its number of heads.
    engine : str
        Top-k engine: ``dense``: there is none; ``one``: quick-select of one value per cycle;
        ``quick``: of as many as the core takes; ``core``: the core's own.
    """

    name: str
    paper: float | None
    job: Callable[[WorkloadJob, int], WorkloadJob]
    engine: str


def _static(job: WorkloadJob, heads: int) -> WorkloadJob:
    more = job.increment if job.threshold else 0
    key_bits = job.key_bits + more if job.key_bits else 0
    return replace(job, again=(False,) * len(job.heads), threshold=0.0, key_bits=key_bits)


def _heads(job: WorkloadJob, heads: int) -> WorkloadJob:
    return replace(_static(job, heads), key_bits=0, value_bits=0)


def _tokens(job: WorkloadJob, heads: int) -> WorkloadJob:
    every = tuple(range(heads))
    return _heads(replace(job, heads=every, again=(False,) * heads), heads)


def _dense(job: WorkloadJob, heads: int) -> WorkloadJob:
    return replace(_tokens(job, heads), keys=job.length, values=job.length, keep=None)


def _all(job: WorkloadJob, heads: int) -> WorkloadJob:
    return job


#: The steps, in order.
STEPS = (
    Step("dense, 12 bits", None, _dense, "dense"),
    Step("+ token and value pruning, top-k of 1 per cycle", 1.1, _tokens, "one"),
    Step("+ head pruning", 1.1, _heads, "one"),
    Step("+ parallel top-k (quick-select)", 3.0, _heads, "quick"),
    Step("+ radix select in its place", None, _heads, "core"),
    Step("+ static quantisation", 1.6, _static, "core"),
    Step("+ progressive quantisation", 1.7, _all, "core"),
)


def breakdown(
    config: Configuration,
    workload: Workload,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda step: None,
) -> list[tuple[Step, int]]:
    """Cycles of each step.

    Parameters
    ----------
    config : Configuration
        A core that prunes; the first step is the dense core of its size.
    workload : Workload
        What runs.
    seed : int
        Of what is drawn.
    progress : callable
        Gets the name of each step.
    """
    found = []
    for step in STEPS:
        progress(step.name)
        found.append((step, _cycles(config, workload, step, seed)))
    return found


def _cycles(config: Configuration, workload: Workload, step: Step, seed: int) -> int:
    params, latency = _core(config, step.engine)
    images, timing = WorkloadImages(params, workload, seed), memory_timing(config)
    known: dict[WorkloadJob, int] = {}
    total = 0
    for job in workload.jobs:
        made = step.job(job, workload.heads)
        # which rows are kept changes little: one job of each kind
        kind = replace(made, iteration=0, layer=0)
        if kind not in known:
            known[kind] = predict(params, timing, images.image(made), latency).cycles
        total += known[kind]
    return total


def _core(config: Configuration, engine: str) -> tuple[CoreParams, Latency]:
    """The core of a step, and its latencies."""
    params = config.core
    if engine == "dense":
        params = references(config, params.operand_bits)["baseline"].core
    elif engine != "core":
        params = replace(params, top_k="quick")
    latency = Latency.of(params)
    if engine == "one":
        latency = replace(latency, select_lanes=1, token_lanes=1)
    return params, latency


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m attnsieve.sim.bench.breakdown")
    parser.add_argument("--workload", required=True, metavar="FILE.csv")
    parser.add_argument("--system", action="append", help="preset or TOML file; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    workload = load_workload(given.workload)
    for name in given.system or ["spatten", "spatten-full"]:
        config = load_config(name)
        print(f"{name}: {len(workload.jobs)} jobs of {workload.name}")
        print(f"{'step':50} {'cycles':>12} {'factor':>7} {'in all':>7} {'paper':>6} {'in all':>7}")
        before = first = 0
        paper = 1.0
        for step, cycles in breakdown(config, workload, seed=given.seed):
            first, before = first or cycles, before or cycles
            paper *= step.paper or 1.0
            theirs = f"{step.paper:.1f}" if step.paper else ""
            print(
                f"{step.name:50} {cycles:12,} {before / cycles:7.2f} {first / cycles:7.2f} "
                f"{theirs:>6} {paper:7.2f}",
                flush=True,
            )
            before = cycles
    return 0


if __name__ == "__main__":
    sys.exit(main())
