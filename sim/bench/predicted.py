"""What the cycle model says beside what the generated Verilog takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnsieve.gen.config import Configuration
from attnsieve.sim.cycle_model import predict
from attnsieve.sim.driver.thresholds import Thresholds
from attnsieve.sim.simulate import memory_timing, simulate
from attnsieve.sim.trace.trace import Trace

__all__ = ["COLUMNS", "LayerRun", "Predicted", "columns", "trace_columns", "trace_runs"]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """A job, or a layer, on both.

    Parameters
    ----------
    cycles, predicted : int
        On the Verilog, and by the model.
    """

    cycles: int
    predicted: int

    @property
    def error(self) -> float:
        """Of the model."""
        return self.predicted / self.cycles - 1


@dataclass(frozen=True, kw_only=True)
class LayerRun(Predicted):
    """A layer of a trace.

    Parameters
    ----------
    kept : float
        Share of its scores that are kept.
    """

    kept: float


def trace_runs(
    config: Configuration, trace: Trace, thresholds: Thresholds | None = None, **options: Any
) -> list[LayerRun]:
    """The layers of a trace. ``options`` are those of `simulate`.

    Raises
    ------
    AssertionError
        Something differs from the golden model.
    """
    result = simulate(config, trace, thresholds=thresholds, baseline=False, **options)
    if result.mismatches:
        raise AssertionError(result.messages[0])
    timing = memory_timing(config)
    found = []
    for plan, layer in zip(result.plans, result.stats["layers"], strict=True):
        predicted = sum(predict(config.core, timing, job).cycles for job in plan.jobs)
        found.append(
            LayerRun(cycles=layer["cycles"], predicted=predicted, kept=layer["kept_scores"])
        )
    return found


def trace_columns(runs: Sequence[Predicted]) -> str:
    """Cycles by layer, and the model's errors."""
    cycles = " ".join(f"{run.cycles:,}" for run in runs)
    return f"{cycles}  {' '.join(f'{run.error:+.2%}' for run in runs)}"


#: Head of `columns`.
COLUMNS = f"{'jobs':>6}{'mean':>9}{'mean of size':>14}{'worst':>9}{'cycles of it':>14}"


def columns(runs: Sequence[Predicted]) -> str:
    """How far the model is off over some jobs."""
    errors = [run.error for run in runs]
    worst = max(runs, key=lambda run: abs(run.error))
    return (
        f"{len(runs):6}{np.mean(errors):+9.2%}{np.mean(np.abs(errors)):14.2%}"
        f"{worst.error:+9.2%}{worst.cycles:14,}"
    )
