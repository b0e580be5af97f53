"""Traces on the generated Verilog: every layer as a job, compared with the golden model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from attnsieve.gen.config import Configuration
from attnsieve.gen.tools import ToolError, versions
from attnsieve.gen.verilog import generate_verilog
from attnsieve.sim.bench.jobs import (
    Check,
    check_jobs,
    memories,
    programs,
    queued_program,
    setup,
)
from attnsieve.sim.bench.memory import Stalls, Timing
from attnsieve.sim.bench.program import Case, Operation, Outcome, execute
from attnsieve.sim.bench.runner import run_cases
from attnsieve.sim.compiled import DEFAULT_BACKEND, Backend, CompiledMachine
from attnsieve.sim.driver.cascade import Pruning, cascade
from attnsieve.sim.driver.plan import LayerPlan
from attnsieve.sim.driver.precision import Precision, threshold_code
from attnsieve.sim.driver.thresholds import Thresholds
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.job import Pins
from attnsieve.sim.golden.progressive import LSB_BITS
from attnsieve.sim.limits import Necessary, limit_cycles
from attnsieve.sim.outputs import output_arrays
from attnsieve.sim.stats import LayerStats, layer_stats, stats_document, write_json, write_npz
from attnsieve.sim.trace.trace import Trace, load, parse_selection

__all__ = [
    "DEFAULT_SIMULATOR",
    "SIMULATORS",
    "SimulationResult",
    "memory_timing",
    "references",
    "simulate",
]

#: Simulators by name: two compiled ones, and Icarus Verilog under cocotb.
SIMULATORS: tuple[str, ...] = (*sorted(get_args(Backend)), "icarus")
DEFAULT_SIMULATOR: str = DEFAULT_BACKEND

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SimulationResult:
    """What a simulation gave.

    Parameters
    ----------
    arrays : dict
        Contents of out.npz.
    stats : dict
        Contents of stats.json.
    checks : tuple of Check
        Comparison with the golden model, one per layer.
    plans : tuple of LayerPlan
        The jobs, one plan per layer.
    integers : tuple of int16 arrays
        Outputs as they lie in memory, one array per layer.
    figures : tuple of LayerStats
        Figures of each layer.
    simulated_cycles : int
        Clock cycles that were simulated, programming included.
    """

    arrays: dict[str, np.ndarray]
    stats: dict[str, Any]
    checks: tuple[Check, ...]
    plans: tuple[LayerPlan, ...]
    integers: tuple[np.ndarray, ...]
    figures: tuple[LayerStats, ...]
    simulated_cycles: int

    @property
    def out(self) -> np.ndarray:
        """Outputs, float32 ``[layers, heads, queries, head_dim]``."""
        return self.arrays["out"]

    @property
    def mismatches(self) -> int:
        """Differences from the golden model."""
        return sum(check.total for check in self.checks)

    @property
    def messages(self) -> tuple[str, ...]:
        """What differs, in words."""
        return tuple(
            f"layer {layer}: {message}"
            for layer, check in enumerate(self.checks)
            for message in check.messages
        )

    def write(self, folder: str | Path) -> None:
        """Write out.npz and stats.json into a folder."""
        write_npz(Path(folder) / "out.npz", self.arrays)
        write_json(Path(folder) / "stats.json", self.stats)


def memory_timing(config: Configuration) -> Timing:
    """The memory that a configuration is simulated with: one beat per cycle and channel."""
    return Timing(
        latency=config.memory.latency,
        bytes_per_cycle=config.core.beat_bytes,
        granule=config.memory.granule,
        outstanding=config.memory.outstanding,
    )


def simulate(
    config: Configuration,
    trace: Trace | str | Path,
    *,
    layers: str | Sequence[int] | None = None,
    heads: str | Sequence[int] | None = None,
    bits: int | None = None,
    thresholds: Thresholds | str | Path | None = None,
    simulator: str = DEFAULT_SIMULATOR,
    memory: Timing | None = None,
    stalls: Stalls | None = None,
    queued: bool = False,
    seed: int = 0,
    baseline: bool = True,
    vcd: str | Path | None = None,
    progress: Progress = lambda done, total: None,
) -> SimulationResult:
    """Run a configuration's Verilog on a trace and compare it with the golden model.

    Every layer is a job (every step of a decode trace is one), on memories of its own whose other
    contents are random.

    Parameters
    ----------
    config : Configuration
        What to build.
    trace : Trace or path
        What to run.
    layers, heads : str or sequence of int
        Selections such as ``"0-2,5"``; all by default.
    bits : int
        Operand width; the configuration's by default.
    thresholds : Thresholds or path
        The scores that heads keep, on a core that compares them; all by default.
    simulator : str
        ``verilator`` or ``cxxrtl``, compiled; ``icarus``, under cocotb and slow.
    memory : Timing
        Of the memory; the configuration's by default, one beat per cycle and channel.
    stalls : Stalls
        Random stalls of the memory; none by default.
    queued : bool
        Start jobs of a layer ahead, as the queue takes them; counters are then read of the last
        job only, and stand for the layer.
    seed : int
        Of everything random.
    baseline : bool
        Add ``baseline`` (the dense core) and ``unpruned`` (this core, everything kept) to the
        figures; a core that prunes runs the trace on each.
    vcd : path
        Write waveforms there (compiled simulators).
    progress : callable
        Gets cycles done and cycles expected.

    Returns
    -------
    SimulationResult
        Outputs, figures, differences.

    Raises
    ------
    InputError, UserError
        The trace or an option is wrong.
    ToolError
        A tool failed, or the core did not end a job.
    """
    if simulator not in SIMULATORS:
        raise InputError(f"simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}")
    if vcd is not None and simulator == "icarus":
        raise InputError("waveforms are written by verilator and cxxrtl, not by icarus")
    recorded = trace if isinstance(trace, Trace) else load(trace)
    bits = config.run.bits if bits is None else bits
    timing = memory or memory_timing(config)
    chosen_layers = parse_selection(layers, recorded.layers, "layer")
    chosen_heads = parse_selection(heads, recorded.heads, "head")
    if isinstance(thresholds, str | Path):
        thresholds = Thresholds.load(thresholds)
    plans = _plans(config, recorded, chosen_layers, chosen_heads, bits, thresholds, seed)
    run = _Run(config, plans, timing, stalls or Stalls(), queued, progress)
    outcomes, checks = run.compared(simulator, seed, vcd)
    integers = [
        p.output(p.image.linear_from(list(outcome.memory)))
        for p, outcome in zip(plans, outcomes, strict=True)
    ]
    figures = [
        _layer_figures(layer, p, timing, check)
        for layer, p, check in zip(chosen_layers, plans, checks, strict=True)
    ]
    selected = layers is not None or heads is not None
    arrays = output_arrays(
        plans,
        integers,
        recorded.keys,
        decode=recorded.decode,
        selection=chosen_layers if selected else None,
    )
    described = {
        "simulator": simulator,
        "bits": bits,
        "memory": timing._asdict(),
        "queued": queued,
        "layers": chosen_layers,
        "heads": chosen_heads,
        "thresholds": None if thresholds is None else thresholds.layers,
        "relative": thresholds is not None and thresholds.relative,
    }
    runs = {"run": figures}
    for name, reference in references(config, bits).items() if baseline else ():
        runs[name] = figures
        if reference != config or thresholds is not None:
            other = simulate(
                reference, recorded, layers=layers, heads=heads, bits=bits, simulator=simulator,
                memory=timing, stalls=stalls, queued=queued, seed=seed, baseline=False,
                progress=progress,
            )  # fmt: skip
            runs[name] = list(other.figures)
    stats = stats_document(
        config.as_dict() | {"simulation": described}, config.core, _versions(simulator), seed, runs
    )
    return SimulationResult(
        arrays,
        stats,
        tuple(checks),
        tuple(plans),
        tuple(integers),
        tuple(figures),
        sum(outcome.cycles[-1] for outcome in outcomes),
    )


def _plans(
    config: Configuration,
    trace: Trace,
    layers: Sequence[int],
    heads: Sequence[int],
    bits: int,
    thresholds: Thresholds | None,
    seed: int,
) -> Sequence[LayerPlan]:
    """Jobs of the layers, as the configuration's ``run`` says."""
    options = config.run
    pruning = Pruning(
        tokens=options.keep_tokens, values=options.keep_values, heads=options.keep_heads,
        ranking=options.ranking,
    )  # fmt: skip
    precision = Precision(
        key_bits=options.key_bits,
        value_bits=options.value_bits,
        threshold=threshold_code(options.threshold),
        demand=options.demand,
        planar=options.planar,
    )
    rng = np.random.default_rng(seed)
    return cascade(
        config.core, trace, layers, bits, pruning, precision,
        heads=heads, thresholds=thresholds, rng=rng,
        pins=Pins(first=options.pin_first, newest=options.pin_newest, own=options.pin_self),
    )  # fmt: skip


def references(config: Configuration, bits: int) -> dict[str, Configuration]:
    """What a run is compared with, ``baseline`` and ``unpruned``: the dense core of the same array,
    buffers and memory, with all operands as wide as Q, and the core itself with everything kept and
    read whole, K in one plane of 4 more bits if it had two, but no more than the core has. A dense
    core is both itself.

    Parameters
    ----------
    config : Configuration
        Of the run.
    bits : int
        Width of Q.
    """
    options = config.run
    everything = {
        "keep_tokens": 1.0, "keep_values": 1.0, "keep_heads": 1.0, "threshold": 0.0,
        "demand": False, "planar": False, "pin_first": 0, "pin_newest": 0, "pin_self": False,
    }  # fmt: skip
    whole: int = options.key_bits
    if options.threshold:
        whole = min(max(config.core.operand_widths), (options.key_bits or bits) + LSB_BITS)
    dense = replace(
        config.core, value_lanes=0, token_lanes=0, progressive=False, value_demand=False,
        slice_demand=False, slice_units=0, slice_words="twos_complement",
    )
    narrow = {"key_bits": 0, "value_bits": 0}
    return {
        "baseline": config.model_copy(
            update={"core": dense, "run": options.model_copy(update=everything | narrow)}
        ),
        "unpruned": config.model_copy(
            update={"run": options.model_copy(update=everything | {"key_bits": whole})}
        ),
    }


def _versions(simulator: str) -> dict[str, str]:
    tools = ["python", "attnsieve", "amaranth", "numpy", "yosys"]
    tools += {"verilator": ["verilator", "g++"], "cxxrtl": ["g++"]}.get(
        simulator, ["iverilog", "cocotb"]
    )
    return versions(tools)


class _Run:
    """The jobs of some layers on a simulator."""

    def __init__(
        self,
        config: Configuration,
        plans: Sequence[LayerPlan],
        timing: Timing,
        stalls: Stalls,
        queued: bool,
        progress: Progress,
    ) -> None:
        self.config = config
        self.plans = plans
        self.timing = timing
        self.stalls = stalls
        self.queued = queued
        self.progress = progress
        self.verilog = generate_verilog(config)
        self.expected = [self._estimate(p) for p in plans]
        self.total = sum(self.expected)
        progress(0, self.total)

    def _estimate(self, p: LayerPlan) -> int:
        """Cycles that a layer takes at least, for the progress bar."""
        cycles = 0
        for image in p.jobs:
            job = image.job
            macs = sum(job.visible(q) for q in range(job.queries)) * job.heads * job.head_dim
            granules = (image.read_bytes + image.write_bytes) // 32
            work = Necessary(macs_qk=macs, macs_pv=macs, granules=granules)
            cycles += limit_cycles(self.config.core, self.timing, work)
        return max(1, cycles)

    def compared(
        self, simulator: str, seed: int, vcd: str | Path | None
    ) -> tuple[list[Outcome], list[Check]]:
        """Outcome of each layer, and what of it differs from the golden model."""
        if simulator == "icarus":
            outcomes = self.interpreted(seed)
        else:
            outcomes = self.compiled(simulator, seed, vcd)
        checks = []
        for p, outcome in zip(self.plans, outcomes, strict=True):
            check = check_jobs(p.image, outcome, queued=self.queued)
            if not check.reports:
                raise ToolError(f"{simulator}: {outcome.error}")
            checks.append(check)
        return outcomes, checks

    def _operations(self, p: LayerPlan, limit: int) -> Iterator[list[Operation]]:
        if self.queued:
            yield queued_program(p.image, limit=limit)
        else:
            yield from programs(p.image, limit=limit)

    def compiled(self, backend: Any, seed: int, vcd: str | Path | None) -> list[Outcome]:
        """Outcome of each layer in a compiled simulation."""
        outcomes = []
        done = 0
        machine = CompiledMachine(
            self.verilog,
            self.config.top,
            memory_bytes=max(len(p.image.linear) for p in self.plans) // self.config.core.channels,
            backend=backend,
            timing=self.timing,
            stalls=self.stalls,
            seed=seed,
            vcd=vcd,
        )
        with machine:
            for p, expected in zip(self.plans, self.expected, strict=True):
                passed = [0]

                def count(
                    cycles: int, passed: list[int] = passed, done: int = done, most: int = expected
                ) -> None:
                    passed[0] += cycles
                    self.progress(done + min(passed[0], most), self.total)

                machine.clear()
                machine.set_memory(memories(p.image))
                operations = [*setup(self.config.core)]
                for more in self._operations(p, self._limit(expected)):
                    operations += more
                outcomes.append(execute(machine, operations, progress=count))
                done += expected
                self.progress(done, self.total)
        return outcomes

    def _limit(self, expected: int) -> int:
        """Cycles after which a job counts as hanging."""
        free = 1 - max(self.stalls.probability.values(), default=0.0)
        return int(20 * expected / free**2) + 1_000_000

    def interpreted(self, seed: int) -> list[Outcome]:
        """Outcome of each layer in Icarus Verilog, one simulation per layer."""
        outcomes = []
        done = 0
        for p, expected in zip(self.plans, self.expected, strict=True):
            operations = [*setup(self.config.core)]
            for more in self._operations(p, self._limit(expected)):
                operations += more
            case = Case(memories(p.image), operations, self.timing, self.stalls)
            outcomes += run_cases(
                self.verilog, self.config.top, [case], simulator="icarus", seed=seed + 1
            )
            done += expected
            self.progress(done, self.total)
        return outcomes


def _layer_figures(layer: int, p: LayerPlan, timing: Timing, check: Check) -> LayerStats:
    """Figures of a layer: of its jobs added up, or of its last job when they were queued."""
    reports = check.reports
    jobs = p.jobs[-len(reports) :]
    total = LayerStats(layer=layer)
    for number, (image, found) in enumerate(zip(jobs, reports, strict=True)):
        mismatches = check.mismatches[len(p.jobs) - len(reports) + number]
        if number == 0:
            mismatches += check.total - sum(check.mismatches)
        total = total + layer_stats(layer, image, timing, found.counters, mismatches)
    return total
