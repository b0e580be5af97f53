"""Random jobs on the generated Verilog, compared bit for bit, and a table of what was covered.

As a command::

    python -m attnsieve.sim.bench.campaign dense-tiny --cases 500 --on verilator
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from attnsieve.gen.config import Configuration
from attnsieve.gen.config import load as load_config
from attnsieve.gen.verilog import generate_verilog
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.jobs import Check, check_jobs, memories, programs, queued_program, setup
from attnsieve.sim.bench.memory import Stalls, Timing
from attnsieve.sim.bench.program import Case, execute
from attnsieve.sim.bench.runner import run_cases
from attnsieve.sim.compiled import CompiledMachine
from attnsieve.sim.driver.image import JobImage, MemoryImage, chained
from attnsieve.sim.driver.plan import Placement, memory_image, single_job
from attnsieve.sim.driver.precision import PLAIN, Precision
from attnsieve.sim.golden.job import UNPINNED, Job, Pins, Scoring
from attnsieve.sim.golden.progressive import LSB_BITS, largest_probability, row_softmax
from attnsieve.sim.golden.score import score_integer

__all__ = [
    "MASKS",
    "STALLS",
    "Coverage",
    "Failure",
    "JobCase",
    "Shape",
    "job_cases",
    "random_image",
    "run_campaign",
]

MASKS = ("none", "causal", "keys", "queries", "keys+queries", "causal+both")
STALLS = ("none", "light", "heavy")
_LENGTHS = (1, 2, 3, 17, 64, 113, 300, 1024, 4096)
_THRESHOLDS = (1, 66, 655, 3277, 6554, 20000, 32768, 65535)

_PROBABILITY = {"none": 0.0, "light": 0.15, "heavy": 0.6}

On = Literal["compiled", "cxxrtl", "verilator", "icarus"]


class Shape(NamedTuple):
    """What coverage tells apart."""

    mask: str
    keys: int
    queries: int
    head_dim: int
    group: int
    bits: int
    precision: Precision = PLAIN


@dataclass(frozen=True)
class JobCase:
    """One or more jobs in one memory, and how the memory behaves.

    Parameters
    ----------
    seed : int
        What it was made from.
    image : MemoryImage
        Memory and jobs.
    shapes : tuple of Shape
        Of each job.
    stalls : str
        How the memory stalls.
    queued : bool
        The jobs are started ahead, through the queue.
    case : Case
        What a simulator runs.
    """

    seed: int
    image: MemoryImage
    shapes: tuple[Shape, ...]
    stalls: str
    queued: bool
    case: Case

    def __str__(self) -> str:
        shapes = "; ".join(
            f"{s.queries}x{s.keys}x{s.head_dim} {s.bits} bits mask {s.mask} group {s.group} "
            f"heads {job.job.heads}{_precision_text(s.precision)}"
            for s, job in zip(self.shapes, self.image.jobs, strict=True)
        )
        return f"seed {self.seed}: {shapes}; stalls {self.stalls}{', queued' * self.queued}"


def _length(rng: np.random.Generator, limit: int) -> int:
    known = [n for n in _LENGTHS if n <= limit]
    if rng.random() < 0.6:
        return int(rng.choice(known))
    return int(rng.integers(1, min(limit, 320) + 1))


def _operand(
    rng: np.random.Generator, shape: tuple[int, ...], bits: int, planes: bool = False
) -> np.ndarray:
    """Operands: mostly all values, at times small ones, or the two extremes only. In planes, the
    first of them ``bits`` wide, the largest one has the largest msb and lsb."""
    bits += LSB_BITS if planes else 0
    low, most = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    most -= 1 << (LSB_BITS - 1) if planes else 0
    kind = rng.random()
    if kind < 0.15:
        return rng.choice(np.array([low, most], np.int16), shape)
    if kind < 0.3:
        return rng.integers(-2, 3, shape).astype(np.int16)
    return rng.integers(low, most + 1, shape).astype(np.int16)


def _scales(
    rng: np.random.Generator, heads: int, head_dim: int, bits: int
) -> tuple[tuple[int, int], ...]:
    """Mostly scales that spread the terms over their range, of operands that have ``bits``
    together; at times any."""
    middle = bits + (head_dim - 1).bit_length() // 2 + 1
    pairs = []
    for _ in range(heads):
        shift = rng.integers(0, 64) if rng.random() < 0.1 else middle + rng.integers(-5, 6)
        pairs.append((int(rng.integers(1 << 15, 1 << 16)), int(np.clip(shift, 0, 63))))
    return tuple(pairs)


def _shape(params: CoreParams, rng: np.random.Generator, most_cycles: int) -> tuple[Shape, int]:
    """A shape that the core can run in about ``most_cycles``, and its heads."""
    waits = (params.progressive or params.value_demand) and bool(rng.random() < 0.6)
    mask = str(rng.choice(MASKS))
    head_dim = int(rng.choice(np.array(params.head_dims)))
    room = params.kv_lines * params.groups // params.parts(head_dim)
    while True:
        keys = _length(rng, min(params.max_keys, room))
        queries = 1 if waits else _length(rng, params.max_queries)
        if mask.startswith("causal"):
            queries = min(queries, keys)
        if keys * queries * head_dim // params.lanes <= most_cycles:
            break
    group = int(rng.choice([1, 2, 3, 4, 6, 8] if waits else [1, 1, 2, 3, 4]))
    if waits:
        beats, parts = -(-keys // params.groups), params.parts(head_dim)
        group = min(group, params.held_beats // beats, params.held_segments // parts)
        group = min(group, params.slice_rows) if params.slice_demand else group
    kv_heads = int(rng.choice([1, 2, 3]))
    macs = keys * queries * head_dim // params.lanes + 40
    while group * kv_heads > 1 and (
        group * kv_heads > params.max_heads or group * kv_heads * macs > most_cycles
    ):
        group, kv_heads = (group, kv_heads - 1) if kv_heads > 1 else (group - 1, 1)
    bits = int(rng.choice([8, 12])) if params.operand_bits == 12 else 8
    precision = _precision(params, rng, waits)
    return Shape(mask, keys, queries, head_dim, group, bits, precision), group * kv_heads


def _precision(params: CoreParams, rng: np.random.Generator, waits: bool) -> Precision:
    """Widths, thresholds from rarely to always, and demand, as far as the core has them and rows
    may wait."""
    widths, threshold = [0, 0], 0
    if params.progressive:
        widths = [int(bits) for bits in rng.choice([0, *params.operand_widths], 2)]
        if waits and rng.random() < 0.7:
            threshold = int(rng.choice([*_THRESHOLDS, int(rng.integers(1, 1 << 16))]))
    demand = waits and params.value_demand and bool(rng.random() < 0.7)
    planar = waits and params.slice_demand and bool(rng.random() < 0.7)
    return Precision(
        key_bits=widths[0], value_bits=widths[1], threshold=threshold, demand=demand, planar=planar
    )


def _precision_text(precision: Precision) -> str:
    """What a job has beside its operand width, if anything."""
    text = ""
    for name, value in precision.of_job.items():
        text += f" {name} {value}" if value else ""
    return text


def _at_the_edge(
    params: CoreParams, rng: np.random.Generator, job: Job, q: np.ndarray, k: np.ndarray,
    key_valid: np.ndarray | None,
) -> Job:  # fmt: skip
    """The job with a threshold at which one of its rows is just computed again, or just not."""
    head = int(rng.choice(np.flatnonzero(job.alive)))
    seen = np.ones((1, job.keys), bool) if key_valid is None else key_valid[None]
    softmax = row_softmax(
        params, replace(job, threshold=1), head, q[head], k[head // job.group], seen, np.arange(1)
    )
    largest = int(largest_probability(softmax.mantissa, softmax.exponent)[0])
    return replace(job, threshold=int(np.clip(largest + rng.integers(2), 1, 65535)))


def _score_thresholds(
    params: CoreParams, rng: np.random.Generator, job: Job, q: np.ndarray, k: np.ndarray
) -> Job:
    """What heads keep: all, nothing, a share; at a score, or just over it; at times none is
    written. Or a distance from the largest of a row, at times of scores there or one less. And
    pins."""
    if rng.random() < 0.1:
        return job
    relative, end, found = bool(rng.random() < 0.5) and not job.planar, 1 << 31, []
    for head in range(job.heads):
        scores = score_integer(params, q[head], k[head // job.group])
        share = np.quantile(scores, rng.random(), method="nearest")
        some, largest = int(share) + int(rng.integers(2)), int(scores.max())
        if relative:
            row = scores[rng.integers(len(scores))]
            some = int(row.max() - rng.choice(row)) - int(rng.integers(2))
            largest = 0
        found.append(int(rng.choice([-end, end - 1, largest, some, some, some])))
    pins = UNPINNED
    if rng.random() < 0.5:
        first, newest = (int(rng.choice([0, 1, 3, job.keys, 65535])) for _ in range(2))
        pins = Pins(first=first, newest=newest, own=bool(rng.random() < 0.5))
    return replace(job, thresholds=tuple(found), relative=relative, pins=pins)


def _valid(rng: np.random.Generator, size: int) -> np.ndarray:
    """A mask: mostly some holes, at times padding at the end, or nothing left."""
    kind = rng.random()
    if kind < 0.08:
        return np.zeros(size, bool)
    if kind < 0.3:
        return np.arange(size) < rng.integers(1, size + 1)
    return rng.random(size) < rng.choice([0.1, 0.5, 0.9])


def _pruning(params: CoreParams, rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    """What the job leaves out, if the core can: nothing, little, much, nearly all."""
    if not params.value_lanes:
        return {}
    some = int(rng.integers(0, shape.keys + 2))
    chosen: dict[str, Any] = {
        "values": int(rng.choice([0, 1, some, some, shape.keys // 8, shape.keys]))
    }
    if params.token_lanes:
        keep = int(rng.choice([0, 1, some, shape.keys // 2, shape.keys]))
        chosen["scoring"] = Scoring(
            clear=bool(rng.random() < 0.5),
            keep=keep if rng.random() < 0.7 else None,
            heads=int(rng.integers(0, 5)),
            first=int(rng.choice([0, 0, 1, 4])),
            newest=int(rng.choice([0, 0, 1, 16])),
            decay=int(rng.choice([0, 0, 1, 3])),
            age=bool(rng.random() < 0.4),
            age_base=int(rng.choice([0, 0, some, shape.keys, 65535])),
        )
    return chosen


def _heads(params: CoreParams, rng: np.random.Generator, heads: int) -> dict[str, Any]:
    """Heads that are left out, and what the others' outputs count."""
    if not params.token_lanes:
        return {}
    lives = rng.random(heads) < rng.choice([0.3, 0.8, 1.0])
    lives[rng.integers(heads)] = True
    weights = rng.integers(0, 1024, heads)
    return {
        "pruned_heads": tuple(int(head) for head in np.flatnonzero(~lives)),
        "weights": tuple(int(weight) for weight in weights),
    }


def _job(
    params: CoreParams, rng: np.random.Generator, place: Placement, most_cycles: int
) -> tuple[JobImage, Shape]:
    shape, heads = _shape(params, rng, most_cycles)
    job = Job(
        heads=heads,
        kv_heads=heads // shape.group,
        queries=shape.queries,
        keys=shape.keys,
        head_dim=shape.head_dim,
        bits=shape.bits,
        causal=shape.mask.startswith("causal"),
        scales=_scales(rng, heads, shape.head_dim, shape.bits + _key_bits(shape)),
        **shape.precision.of_job,
        **_pruning(params, rng, shape),
        **_heads(params, rng, heads),
    )
    q = _operand(rng, (heads, job.queries, job.head_dim), job.bits)
    rows = (job.kv_heads, job.keys, job.head_dim)
    k = _operand(rng, rows, job.key_width, job.progressive)
    v = _operand(rng, rows, job.value_width)
    both = shape.mask in ("keys+queries", "causal+both")
    key_valid = _valid(rng, job.keys) if both or shape.mask == "keys" else None
    query_valid = _valid(rng, job.queries) if both or shape.mask == "queries" else None
    if params.threshold_bits:
        job = _score_thresholds(params, rng, job, q, k)
    if job.progressive and rng.random() < 0.4:
        job = _at_the_edge(params, rng, job, q, k, key_valid)
    image = single_job(params, job, q, k, v, key_valid, query_valid, place=place)
    if params.token_lanes and rng.random() < 0.5:
        image = replace(image, candidates=_valid(rng, job.keys))
    return image, shape


def _key_bits(shape: Shape) -> int:
    """Bits of K, of both planes if it has two."""
    precision = shape.precision
    return (precision.key_bits or shape.bits) + (LSB_BITS if precision.threshold else 0)


def random_image(
    params: CoreParams, rng: np.random.Generator, *, jobs: int = 1, most_cycles: int = 3000
) -> tuple[MemoryImage, tuple[Shape, ...]]:
    """Random jobs placed in one noisy memory, and their shapes.

    Parameters
    ----------
    params : CoreParams
        The core.
    rng : numpy Generator
        Of everything.
    jobs : int
        How many.
    most_cycles : int
        Bound of the array cycles of one job.
    """
    place = Placement(params, rng=rng)
    made = [_job(params, rng, place, most_cycles) for _ in range(jobs)]
    first, shape = made[0]  # what scores were before is not known
    scoring = replace(first.job.scoring, clear=True)
    made[0] = (replace(first, job=replace(first.job, scoring=scoring)), shape)
    image = memory_image(params, chained([job for job, _ in made]), place, rng)
    return image, tuple(shape for _, shape in made)


def job_cases(
    params: CoreParams,
    count: int,
    *,
    first_seed: int = 0,
    most_cycles: int = 3000,
    latency: int | None = None,
) -> Iterator[JobCase]:
    """Random cases; case n depends on ``first_seed + n`` and the core alone.

    Parameters
    ----------
    params : CoreParams
        The core.
    count : int
        Cases.
    first_seed : int
        Seed of the first.
    most_cycles : int
        Bound of the array cycles of one job.
    latency : int
        Of the memory; random by default.
    """
    for seed in range(first_seed, first_seed + count):
        rng = np.random.default_rng(seed)
        jobs = int(rng.choice([1, 1, 2, 3, params.queue_depth + 3]))
        image, shapes = random_image(params, rng, jobs=jobs, most_cycles=most_cycles // jobs)
        level = STALLS[seed % len(STALLS)]
        queued = jobs > 1 and bool(rng.integers(2))
        timing = Timing(
            latency=latency or int(rng.choice([1, 5, 50, 50, 131])),
            bytes_per_cycle=params.beat_bytes,
            outstanding=int(rng.choice([4, 64])),
        )
        stalls = Stalls.everywhere(_PROBABILITY[level], seed, hold=int(rng.integers(0, 5)))
        limit = 400_000 + 200 * most_cycles
        operations = setup(params)
        if queued:
            operations += queued_program(image, limit=limit)
        else:
            for program in programs(image, limit=limit):
                operations += program
        case = Case(memories(image), operations, timing, stalls)
        yield JobCase(seed, image, shapes, level, queued, case)


@dataclass
class Coverage:
    """How many jobs of each mask, length, head_dim and kind of stalls were run."""

    counts: Counter[tuple[str, str, int, str]] = field(default_factory=Counter)
    cases: int = 0
    jobs: int = 0
    queued: int = 0
    cycles: int = 0
    bits: Counter[int] = field(default_factory=Counter)
    groups: Counter[int] = field(default_factory=Counter)
    key_bits: Counter[str] = field(default_factory=Counter)
    value_bits: Counter[int] = field(default_factory=Counter)
    demand: int = 0
    planar: int = 0
    progressive_rows: int = 0
    recomputed_rows: int = 0

    @staticmethod
    def length_class(keys: int) -> str:
        """Name of the range that a number of keys is in."""
        for low, high in ((1, 1), (2, 3), (4, 17), (18, 64), (65, 300), (301, 1024)):
            if low <= keys <= high:
                return f"{low}" if low == high else f"{low}-{high}"
        return ">1024"

    def add(self, case: JobCase, cycles: int) -> None:
        """Count a case."""
        self.cases += 1
        self.queued += case.queued
        self.cycles += cycles
        for job in case.image.jobs:
            self._add_precision(job)
        for shape in case.shapes:
            self.jobs += 1
            self.bits[shape.bits] += 1
            self.groups[shape.group] += 1
            length = self.length_class(shape.keys)
            self.counts[shape.mask, length, shape.head_dim, case.stalls] += 1

    def _add_precision(self, image: JobImage) -> None:
        job, result = image.job, image.expected
        planes = f"{job.key_width:2}{f'+{LSB_BITS}' if job.progressive else ''}"
        self.key_bits[planes] += 1
        self.value_bits[job.value_width] += 1
        self.demand += job.demand
        self.planar += job.planar
        self.progressive_rows += int(result.approximate.sum() + result.recomputed.sum())
        self.recomputed_rows += int(result.recomputed.sum())

    def table(self) -> str:
        """Jobs by mask and length (rows) and head_dim (columns): none/light/heavy stalls."""
        dims = sorted({key[2] for key in self.counts})
        order = ["1", "2-3", "4-17", "18-64", "65-300", "301-1024", ">1024"]
        found = {key[1] for key in self.counts}
        lengths = [name for name in order if name in found]
        lines = [f"{'mask':<13}{'keys':<9}" + "".join(f"{f'd={d}':>11}" for d in dims)]
        for mask in MASKS:
            for length in lengths:
                cells = "".join(
                    f"{'/'.join(str(self.counts[mask, length, d, s]) for s in STALLS):>11}"
                    for d in dims
                )
                lines.append(f"{mask:<13}{length:<9}{cells}")
        lines.append(
            f"{self.cases} cases, {self.jobs} jobs ({self.queued} cases through the queue), "
            f"{self.cycles} cycles; operand bits {_told(self.bits)}; groups {_told(self.groups)}"
        )
        if len(self.key_bits) > 2 or self.demand:
            lines.append(
                f"bits of K {_told(self.key_bits)}; of V {_told(self.value_bits)}; "
                f"{self.recomputed_rows} of {self.progressive_rows} progressive rows computed "
                f"again; {self.demand} jobs with values on demand, {self.planar} with slices of K"
            )
        return "\n".join(lines)


def _told(counter: Counter[Any]) -> str:
    return ", ".join(f"{key}: {counter[key]}" for key in sorted(counter))


class Failure(NamedTuple):
    """A case that differs from the golden model."""

    case: JobCase
    check: Check

    def __str__(self) -> str:
        return "\n  ".join([str(self.case), *self.check.messages])


def run_campaign(
    config: Configuration,
    cases: Iterable[JobCase],
    *,
    on: On = "compiled",
    memory: Literal["reference", "library"] = "reference",
    verilog: str | None = None,
    stop_after: int = 5,
    progress: Callable[[str], None] | None = None,
) -> tuple[Coverage, list[Failure]]:
    """Run cases and compare each with the golden model.

    Parameters
    ----------
    config : Configuration
        The core.
    cases : iterable of JobCase
        What to run.
    on : str
        ``compiled`` (Verilator's C++) or ``cxxrtl``; ``verilator`` or ``icarus`` under cocotb.
    memory : str
        Under cocotb: the reference memory, or cocotbext-axi's.
    verilog : str
        Verilog to run in place of the configuration's.
    stop_after : int
        Failures after which it ends.
    progress : callable
        Gets a line at times.
    """
    verilog = verilog or generate_verilog(config)
    coverage, failures = Coverage(), []
    if on in ("compiled", "cxxrtl"):
        outcomes = _compiled(config, verilog, cases, "cxxrtl" if on == "cxxrtl" else "verilator")
    else:
        outcomes = _cocotb(config, verilog, list(cases), on, memory)
    for case, outcome in outcomes:
        coverage.add(case, outcome.cycles[-1] if outcome.cycles else 0)
        check = check_jobs(case.image, outcome, queued=case.queued)
        if check.total:
            failures.append(Failure(case, check))
            if len(failures) >= stop_after:
                break
        if progress is not None and coverage.cases % 100 == 0:
            progress(f"{coverage.cases} cases, {len(failures)} failures")
    return coverage, failures


def _compiled(
    config: Configuration, verilog: str, cases: Iterable[JobCase], backend: Any
) -> Iterator[tuple[JobCase, Any]]:
    machine = CompiledMachine(verilog, config.top, memory_bytes=4096, backend=backend)
    with machine:
        for case in cases:
            machine.set_memory(case.case.memory.copy())
            machine.set_timing(case.case.timing or Timing())
            machine.set_stalls(case.case.stalls)
            machine.clear()
            outcome = execute(machine, case.case.operations)
            yield case, outcome
            if outcome.error is not None:
                return


_BATCH = 50


def _cocotb(
    config: Configuration, verilog: str, cases: Sequence[JobCase], simulator: Any, memory: Any
) -> Iterator[tuple[JobCase, Any]]:
    size = max(case.case.memory.shape[1] for case in cases)
    for case in cases:
        short = size - case.case.memory.shape[1]
        case.case.memory = np.pad(case.case.memory, ((0, 0), (0, short)))
    for first in range(0, len(cases), _BATCH):
        batch = cases[first : first + _BATCH]
        outcomes = run_cases(
            verilog, config.top, [c.case for c in batch], simulator=simulator, memory=memory
        )
        yield from zip(batch, outcomes, strict=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign from a command line; 1 if anything differs."""
    parser = argparse.ArgumentParser(prog="python -m attnsieve.sim.bench.campaign")
    parser.add_argument("system", help="preset or TOML file")
    parser.add_argument("--cases", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first case")
    parser.add_argument("--cycles", type=int, default=3000, help="array cycles of a case at most")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--on", choices=["compiled", "cxxrtl", "verilator", "icarus"], default="compiled",
        help="compiled C++ (the default), or cocotb on Verilator or Icarus",
    )  # fmt: skip
    parser.add_argument(
        "--memory", choices=["reference", "library"], default="reference",
        help="under cocotb: the reference memory, or cocotbext-axi's",
    )  # fmt: skip
    given = parser.parse_args(argv)
    config = load_config(given.system, settings=given.set)
    cases = job_cases(config.core, given.cases, first_seed=given.seed, most_cycles=given.cycles)
    coverage, failures = run_campaign(
        config, cases, on=given.on, memory=given.memory, progress=print
    )
    print(coverage.table())
    for failure in failures:
        print(failure)
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
