"""How far the cycle model is from the generated Verilog of a core with bit-serial units.

Layers of a trace, with everything kept and with thresholds; or random jobs. The command is that of
`attnsieve.sim.bench.model`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnsieve.gen.config import Configuration
from attnsieve.gen.verilog import generate_verilog
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.alone import counters_alone
from attnsieve.sim.bench.campaign import random_image
from attnsieve.sim.calibrate import calibrate
from attnsieve.sim.cycle_model import predict
from attnsieve.sim.driver.image import MemoryImage
from attnsieve.sim.driver.thresholds import Thresholds
from attnsieve.sim.errors import InputError
from attnsieve.sim.simulate import memory_timing, simulate
from attnsieve.sim.trace.trace import Trace

__all__ = ["Run", "jobs_table", "known_image", "random_runs", "trace_runs", "trace_table"]

#: Cycles that a random job takes at most, about.
_MOST_CYCLES = 3000


@dataclass(frozen=True)
class Run:
    """A job, or a layer, on both.

    Parameters
    ----------
    kept : float
        Share of its scores that are kept.
    cycles, predicted : int
        On the Verilog, and by the model.
    """

    kept: float
    cycles: int
    predicted: int

    @property
    def error(self) -> float:
        """Of the model."""
        return self.predicted / self.cycles - 1


def trace_runs(
    config: Configuration, trace: Trace, thresholds: Thresholds | None = None, **options: Any
) -> list[Run]:
    """The layers of a trace. ``options`` are those of `simulate`.

    Raises
    ------
    InputError
        The thresholds are relative, which the model does not know.
    AssertionError
        Something differs from the golden model.
    """
    if thresholds is not None and thresholds.relative:
        raise InputError("thresholds must not be relative: the cycle model does not know these")
    result = simulate(config, trace, thresholds=thresholds, baseline=False, **options)
    if result.mismatches:
        raise AssertionError(result.messages[0])
    timing = memory_timing(config)
    found = []
    for plan, layer in zip(result.plans, result.stats["layers"], strict=True):
        predicted = sum(predict(config.core, timing, job).cycles for job in plan.jobs)
        found.append(Run(layer["kept_scores"], layer["cycles"], predicted))
    return found


def known_image(core: CoreParams, seed: int, most_cycles: int) -> MemoryImage:
    """A random job that the model knows: its thresholds are not relative."""
    images = (
        random_image(core, np.random.default_rng([seed, n]), most_cycles=most_cycles)[0]
        for n in itertools.count()
    )
    return next(image for image in images if not image.jobs[0].job.relative)


def random_runs(
    config: Configuration, seeds: Sequence[int], most_cycles: int = _MOST_CYCLES
) -> list[Run]:
    """Random jobs, one per seed, each alone.

    Raises
    ------
    AssertionError
        Something differs from the golden model.
    """
    core, timing = config.core, memory_timing(config)
    images = [known_image(core, seed, most_cycles) for seed in seeds]
    found = []
    measured = counters_alone(config, generate_verilog(config), images)
    for image, counters in zip(images, measured, strict=True):
        (job,) = image.jobs
        kept = job.expected.scores / max(1, job.expected.pairs)
        found.append(Run(kept, counters["cycles"], predict(core, timing, job).cycles))
    return found


def trace_table(
    configs: Sequence[tuple[str, Configuration]],
    trace: Trace,
    keeps: Sequence[float],
    files: Sequence[str],
    **options: Any,
) -> Iterator[str]:
    """Lines of a table: for each configuration everything kept, shares of the scores by thresholds
    that are calibrated on the trace, and thresholds of files."""
    given: list[tuple[str, Thresholds | None]] = [("all", None)]
    given += [(f"{keep:g}", calibrate([trace], keep)) for keep in keeps]
    given += [(file, Thresholds.load(file)) for file in files]
    yield f"{'point':34}{'keep':>6}{'kept':>8}  cycles by layer, model's error"
    for point, config in configs:
        for name, thresholds in given:
            runs = trace_runs(config, trace, thresholds, **options)
            cycles = " ".join(f"{run.cycles:,}" for run in runs)
            errors = " ".join(f"{run.error:+.2%}" for run in runs)
            kept = np.mean([run.kept for run in runs])
            yield f"{point:34}{name:>6}{kept:8.3f}  {cycles}  {errors}"


def jobs_table(
    configs: Sequence[tuple[str, Configuration]], jobs: int, seed: int = 0
) -> Iterator[str]:
    """Lines of a table: random jobs on each configuration."""
    yield f"{'point':34}{'jobs':>6}{'mean':>9}{'mean of size':>14}{'worst':>9}{'cycles of it':>14}"
    for point, config in configs:
        runs = random_runs(config, range(seed, seed + jobs))
        errors = [run.error for run in runs]
        worst = max(runs, key=lambda run: abs(run.error))
        yield (
            f"{point:34}{len(runs):6}{np.mean(errors):+9.2%}{np.mean(np.abs(errors)):14.2%}"
            f"{worst.error:+9.2%}{worst.cycles:14,}"
        )
