"""How far the cycle model is from the generated Verilog of a core with bit-serial units.

Layers of a trace, with everything kept and with thresholds; or random jobs. The command is that of
`attnsieve.sim.bench.model`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnsieve.gen.config import Configuration
from attnsieve.gen.verilog import generate_verilog
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.alone import counters_alone
from attnsieve.sim.bench.campaign import random_image
from attnsieve.sim.bench.predicted import COLUMNS, Predicted, columns, trace_columns, trace_runs
from attnsieve.sim.calibrate import calibrate, constant_margin
from attnsieve.sim.cycle_model import predict
from attnsieve.sim.driver.image import MemoryImage
from attnsieve.sim.driver.thresholds import Thresholds
from attnsieve.sim.golden.job import Job
from attnsieve.sim.simulate import memory_timing
from attnsieve.sim.trace.trace import Trace

__all__ = ["KINDS", "JobRun", "jobs_table", "random_job", "random_runs", "trace_table"]

#: Cycles that a random job takes at most, about.
_MOST_CYCLES = 3000

#: Kinds of jobs by name: what their thresholds refer to; whether slices of K are read on demand, or
#: these and rows of V. A job may be of several.
KINDS: dict[str, Callable[[Job], bool]] = {
    "absolute": lambda job: not (job.relative or job.planar),
    "relative": lambda job: job.relative,
    "planes": lambda job: job.planar,
    "both": lambda job: job.planar and job.demand,
}


@dataclass(frozen=True, kw_only=True)
class JobRun(Predicted):
    """A job alone.

    Parameters
    ----------
    kinds : tuple of str
        Of `KINDS`.
    """

    kinds: tuple[str, ...]

    @property
    def off(self) -> bool:
        """The model is off by more than 5 %, and by more than 6 cycles."""
        return abs(self.predicted - self.cycles) > max(6, 0.05 * self.cycles)


def random_job(
    core: CoreParams, seed: int, most_cycles: int = _MOST_CYCLES, kind: str | None = None
) -> MemoryImage:
    """A random job of a kind, or of any."""
    images = (
        random_image(core, np.random.default_rng([seed, n]), most_cycles=most_cycles)[0]
        for n in itertools.count()
    )
    return next(image for image in images if kind is None or KINDS[kind](image.jobs[0].job))


def random_runs(
    config: Configuration,
    seeds: Sequence[int],
    most_cycles: int = _MOST_CYCLES,
    kind: str | None = None,
) -> list[JobRun]:
    """Random jobs, one per seed, each alone.

    Raises
    ------
    AssertionError
        Something differs from the golden model.
    """
    core, timing = config.core, memory_timing(config)
    images = [random_job(core, seed, most_cycles, kind) for seed in seeds]
    found = []
    measured = counters_alone(config, generate_verilog(config), images)
    for image, counters in zip(images, measured, strict=True):
        (job,) = image.jobs
        predicted = predict(core, timing, job).cycles
        kinds = tuple(name for name, holds in KINDS.items() if holds(job.job))
        found.append(JobRun(cycles=counters["cycles"], predicted=predicted, kinds=kinds))
    return found


def trace_table(
    configs: Sequence[tuple[str, Configuration]],
    trace: Trace,
    keeps: Sequence[float],
    margins: Sequence[float],
    files: Sequence[str],
    **options: Any,
) -> Iterator[str]:
    """Lines of a table: for each configuration everything kept, shares of the scores by thresholds
    that are calibrated on the trace, margins below the largest of a row, and thresholds of
    files."""
    given: list[tuple[str, Thresholds | None]] = [("all", None)]
    given += [(f"{keep:g}", calibrate([trace], keep)) for keep in keeps]
    given += [(f"margin {margin:g}", constant_margin([trace], margin)) for margin in margins]
    given += [(file, Thresholds.load(file)) for file in files]
    yield f"{'point':40}{'keep':>10}{'kept':>8}  cycles by layer, model's error"
    for point, config in configs:
        for name, thresholds in given:
            runs = trace_runs(config, trace, thresholds, **options)
            kept = np.mean([run.kept for run in runs])
            yield f"{point:40}{name:>10}{kept:8.3f}  {trace_columns(runs)}"


def jobs_table(
    configs: Sequence[tuple[str, Configuration]],
    jobs: int,
    seed: int = 0,
    most_cycles: int = _MOST_CYCLES,
    kind: str | None = None,
) -> Iterator[str]:
    """Lines of a table: random jobs of a kind, or of any, on each configuration, by their kinds."""
    yield f"{'point':40}{'kind':>10}{COLUMNS}{'off':>6}"
    for point, config in configs:
        runs = random_runs(config, range(seed, seed + jobs), most_cycles, kind)
        for name in [*KINDS, "all"]:
            some = [run for run in runs if name in (*run.kinds, "all")]
            if some:
                off = sum(run.off for run in some)
                yield f"{point:40}{name:>10}{columns(some)}{off:6}"
