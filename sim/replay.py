"""Workload files on the cycle model, or on the generated Verilog with operands of their shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attnsieve.gen.config import Configuration
from attnsieve.gen.tools import ToolError, versions
from attnsieve.gen.verilog import generate_verilog
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.jobs import Check, check_jobs, memories, programs, setup
from attnsieve.sim.bench.memory import Timing
from attnsieve.sim.bench.program import execute
from attnsieve.sim.compiled import BACKENDS, CompiledMachine
from attnsieve.sim.cycle_model import predict
from attnsieve.sim.driver.counted import CountedJob, counted_job
from attnsieve.sim.driver.image import JobImage
from attnsieve.sim.driver.plan import Placement, memory_image, single_job
from attnsieve.sim.driver.precision import threshold_code
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.job import WIDTHS, Job, Scoring
from attnsieve.sim.golden.progressive import LSB_BITS, row_softmax
from attnsieve.sim.golden.quantise import scale_pair
from attnsieve.sim.simulate import memory_timing, references
from attnsieve.sim.stats import LayerStats, layer_stats, stats_document, write_json
from attnsieve.sim.trace.trace import parse_selection
from attnsieve.sim.trace.workload import Workload, WorkloadJob, load_workload

__all__ = ["PLACES", "Place", "ReplayResult", "WorkloadImages", "operands", "replay"]

Place = Literal["model", "rtl"]
#: What a workload can run on.
PLACES: tuple[Place, ...] = ("model", "rtl")

Progress = Callable[[int, int], None]

#: Spreads of a row's scores that make it flat, or sharp, in the order in which they are tried.
_FLAT = (0.5, 0.25, 0.1, 0.02)
_SHARP = (2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)


class WorkloadImages:
    """Jobs of a workload on a core.

    Which tokens live is drawn: a token that lives in a layer lives in all that keep as many or
    more, and the newest always. Which rows of V a row keeps is drawn for each row.

    Parameters
    ----------
    params : CoreParams
        The core.
    workload : Workload
        What it is to run.
    seed : int
        Of what is drawn.
    """

    def __init__(self, params: CoreParams, workload: Workload, seed: int = 0) -> None:
        self.params, self.workload, self.seed = params, workload, seed
        self.order = np.random.default_rng(seed).permutation(workload.length)

    def image(self, job: WorkloadJob) -> CountedJob:
        """The job, by its counts."""
        params = self.params
        if params.slice_units:
            raise InputError("workloads need a core that reads K whole (slice_units 0)")
        none = not (params.token_lanes and params.value_lanes)
        if none and (job.keys < job.length or job.values < job.keys):
            raise InputError("the workload drops keys or values: name a core that prunes")
        if job.threshold and job.increment != LSB_BITS:
            raise InputError(
                f"auto_requant_incre must be {LSB_BITS} on this core, not {job.increment}"
            )
        for name, bits in (("quant_key_bit", job.key_bits), ("quant_value_bit", job.value_bits)):
            if bits not in WIDTHS:
                known = ", ".join(map(str, WIDTHS[1:]))
                raise InputError(f"{name} must be one of {known}, or -1, not {bits}")
        heads = self.workload.heads
        dropped = tuple(h for h in range(heads) if h not in job.heads)
        drops_values = job.values < job.keys
        shape = Job(
            heads=heads, kv_heads=heads, queries=job.queries, keys=job.length,
            head_dim=job.head_dim, bits=self._bits(job), scales=((1 << 15, 20),) * heads,
            values=job.values if drops_values else 0,
            scoring=Scoring(keep=job.keep, newest=1) if params.token_lanes else Scoring(),
            pruned_heads=dropped, key_bits=job.key_bits, value_bits=job.value_bits,
            threshold=threshold_code(job.threshold),
            demand=drops_values and params.value_demand and job.queries == 1,
        )  # fmt: skip
        again = dict(zip(job.heads, job.again, strict=True))
        living = self._living(job)
        return counted_job(
            params, shape, living, [again.get(h, False) for h in range(heads)],
            query_valid=living if job.self_attention else None,
            seed=hash((self.seed, job.iteration, job.layer)) & 0xFFFFFFFF,
        )  # fmt: skip

    def whole(self, job: WorkloadJob, key_bits: int, value_bits: int) -> CountedJob:
        """The same job with everything kept and read whole."""
        heads = self.workload.heads
        return self.image(
            replace(
                job, heads=tuple(range(heads)), again=(False,) * heads, keys=job.length,
                values=job.length, threshold=0.0, key_bits=key_bits, value_bits=value_bits,
                keep=None,
            )
        )  # fmt: skip

    def _bits(self, job: WorkloadJob) -> int:
        """Of Q: the core's widest, unless 8 are enough."""
        return 8 if 0 < job.query_bits <= 8 else self.params.operand_bits

    def _living(self, job: WorkloadJob) -> np.ndarray | None:
        if job.keys == job.length:
            return None
        living = np.zeros(job.length, bool)
        order = self.order[self.order < job.length - 1]
        living[order[: job.keys - 1]] = True
        living[-1] = True
        return living


def operands(image: CountedJob, rng: np.random.Generator) -> JobImage:
    """The job with random operands. The scale of each head makes its row flat enough to be
    computed again, or sharp enough not to be, as the counts say."""
    job = image.job

    def draw(heads: int, rows: int, bits: int) -> np.ndarray:
        most = (1 << bits - 1) - 1
        return rng.integers(-most, most + 1, (heads, rows, job.head_dim)).astype(np.int16)

    q = draw(job.heads, 1, job.bits)
    k = draw(job.kv_heads, job.keys, job.key_width + LSB_BITS * job.progressive)
    if job.progressive:  # no more than the first plane can round
        k = np.clip(k, -((1 << 3 + job.key_width) - 8), (1 << 3 + job.key_width) - 9)
    v = draw(job.kv_heads, job.keys, job.value_width)
    valid = np.ones((1, job.keys), bool) if image.key_valid is None else image.key_valid[None]
    scales = list(job.scales)
    for head in np.flatnonzero(job.alive):
        spread = float(np.std(q[head, 0].astype(float) @ k[head // job.group].T.astype(float)))
        again = bool(image.expected.recomputed[head, 0])
        for target in _FLAT if again else _SHARP:
            scales[head] = scale_pair(target / max(spread, 1.0))
            tried = replace(job, scales=tuple(scales))
            found = row_softmax(
                image.params, tried, int(head), q[head], k[head // job.group], valid, np.arange(1)
            )
            if bool(found.again[0]) == again:
                break
        else:
            what = "flat" if again else "sharp"
            raise InputError(
                f"if_requant of head {head}: no row of {int(valid.sum())} keys is so {what}"
            )
    job = replace(job, scales=tuple(scales))
    return single_job(
        image.params, job, q, k, v, image.key_valid, place=Placement(image.params)
    )


@dataclass(frozen=True)
class _Traffic:
    """Rows and bytes of K and V, and the dense work that they stand for."""

    jobs: int = 0
    cycles: int = 0
    k_rows: int = 0
    v_rows: int = 0
    dense_rows: int = 0  # of K, and as many of V
    dense_pairs: int = 0  # of query and key
    head_dim: int = 0
    kv_read_bytes: int = 0
    kv_wanted_bits: int = 0

    def __add__(self, other: _Traffic) -> _Traffic:
        summed = {n: getattr(self, n) + getattr(other, n) for n in vars(self)}
        return _Traffic(**summed | {"head_dim": max(self.head_dim, other.head_dim)})

    @classmethod
    def of(cls, image: JobImage, job: WorkloadJob, heads: int, cycles: int) -> _Traffic:
        """Of a job."""
        shape, unit = image.job, image.params.unit_bytes
        living = [h for h in range(shape.kv_heads) if shape.alive_kv[h]]
        keys = len(image.fetched_keys)
        values = sum(len(image.demanded_keys(h)) for h in living)
        again = int(image.recomputed_kv.sum())
        bits = shape.head_dim * (
            len(living) * keys * shape.key_width
            + again * keys * LSB_BITS
            + values * shape.value_width
        )
        return cls(
            jobs=1,
            cycles=cycles,
            k_rows=len(living) * keys,
            v_rows=values,
            dense_rows=heads * job.length,
            dense_pairs=heads * job.length * job.queries,
            head_dim=shape.head_dim,
            kv_read_bytes=unit
            * sum(image.listed_units(name, h) for name in ("k", "k_lsb", "v") for h in living),
            kv_wanted_bits=bits,
        )

    @property
    def record(self) -> dict[str, Any]:
        """As it stands in stats.json."""
        elements = 2 * self.dense_rows * self.head_dim
        operations = 4 * self.dense_pairs * self.head_dim
        seconds = max(1, self.cycles) * 1e-9
        dense = {bits: elements * bits // 8 for bits in (32, 12, 8)}
        return {
            "jobs": self.jobs,
            "k_rows": self.k_rows,
            "v_rows": self.v_rows,
            "k_rows_less": round(self.dense_rows / max(1, self.k_rows), 4),
            "v_rows_less": round(self.dense_rows / max(1, self.v_rows), 4),
            "kv_read_bytes": self.kv_read_bytes,
            "kv_wanted_bytes": self.kv_wanted_bits // 8,
            "kv_bytes_fp32_dense": dense[32],
            **{
                f"kv_bytes_less_than_{name}_dense": round(
                    dense[bits] / max(1, self.kv_read_bytes), 4
                )
                for name, bits in (("fp32", 32), ("12_bit", 12), ("8_bit", 8))
            },
            "gflops_dense_equivalent": round(operations / seconds / 1e9, 3),
        }


@dataclass(frozen=True)
class ReplayResult:
    """What a replay gave.

    Parameters
    ----------
    stats : dict
        Contents of stats.json.
    checks : tuple of Check
        Comparison of the Verilog with the golden model, one per job; none on the cycle model.
    predicted : tuple of int
        Cycles of each job by the cycle model.
    cycles : tuple of int
        Cycles of each job.
    """

    stats: dict[str, Any]
    checks: tuple[Check, ...]
    predicted: tuple[int, ...]
    cycles: tuple[int, ...]

    @property
    def mismatches(self) -> int:
        """Differences from the golden model."""
        return sum(check.total for check in self.checks)

    @property
    def messages(self) -> tuple[str, ...]:
        """What differs, in words."""
        return tuple(f"job {n}: {m}" for n, c in enumerate(self.checks) for m in c.messages)

    def write(self, folder: str | Path) -> None:
        """Write stats.json into a folder."""
        write_json(Path(folder) / "stats.json", self.stats)


def replay(
    config: Configuration,
    workload: Workload | str | Path,
    *,
    on: Place = "model",
    layers: str | Sequence[int] | None = None,
    iterations: str | Sequence[int] | None = None,
    simulator: str = "verilator",
    seed: int = 0,
    baseline: bool = True,
    progress: Progress = lambda done, total: None,
) -> ReplayResult:
    """Run the jobs of a workload file, each alone.

    Parameters
    ----------
    config : Configuration
        What to build. Of ``run`` only ``key_bits`` and ``value_bits`` count, if they are not 0:
        they stand for those of the file. Thresholds and what is kept are the file's.
    workload : Workload or path
        What to run.
    on : str
        ``model``, the cycle model; or ``rtl``, the Verilog with random operands, compared with the
        golden model bit for bit.
    layers, iterations : str or sequence of int
        Selections such as ``"0-2,5"``; all by default.
    simulator : str
        ``verilator`` or ``cxxrtl``.
    seed : int
        Of everything random.
    baseline : bool
        Add ``baseline`` and ``unpruned`` to the figures, both by the cycle model.
    progress : callable
        Gets jobs done and all jobs.

    Raises
    ------
    InputError
        The file or an option is wrong, or the core cannot run it.
    ToolError
        A tool failed, or the core did not end a job.
    """
    if on not in PLACES:
        raise InputError(f"on must be one of {', '.join(PLACES)}, not {on!r}")
    if simulator not in BACKENDS:
        raise InputError(f"simulator must be one of {', '.join(BACKENDS)}, not {simulator!r}")
    given = workload if isinstance(workload, Workload) else load_workload(workload)
    given = _requantised(given, config.run.key_bits, config.run.value_bits)
    run = _Replay(config, given, seed, layers, iterations, progress)
    checks: list[Check] = []
    images: list[JobImage] = [run.images.image(job) for job in run.jobs]
    if on == "rtl":
        images, checks = run.simulate(images, simulator)
        counters = [dict(check.reports[0].counters) for check in checks]
    predicted = []
    for image in images:
        predicted.append(run.predict(image))
        if on == "model":
            run.step()
    if on == "model":
        counters = predicted
    stats = run.document(images, counters, checks, on, simulator if on == "rtl" else None)
    if baseline:
        run.references(stats)
    ahead = tuple(c["cycles"] for c in predicted)
    cycles = tuple(c["cycles"] for c in counters)
    stats["workload"]["model_error"] = round(sum(ahead) / max(1, sum(cycles)) - 1, 6)
    return ReplayResult(stats, tuple(checks), ahead, cycles)


def _requantised(workload: Workload, key_bits: int, value_bits: int) -> Workload:
    """The workload with other widths of K, of its first plane if it has two, and of V; 0: its
    own."""
    bits = {"key_bits": key_bits, "value_bits": value_bits}
    changes: Any = {name: value for name, value in bits.items() if value}
    return replace(workload, jobs=tuple(replace(job, **changes) for job in workload.jobs))


class _Replay:
    """A workload on a configuration."""

    def __init__(
        self,
        config: Configuration,
        workload: Workload,
        seed: int,
        layers: str | Sequence[int] | None,
        iterations: str | Sequence[int] | None,
        progress: Progress,
    ) -> None:
        self.config, self.workload, self.seed, self.progress = config, workload, seed, progress
        self.timing: Timing = memory_timing(config)
        chosen = set(parse_selection(layers, workload.layers, "layer"))
        last = 1 + max(job.iteration for job in workload.jobs)
        steps = set(parse_selection(iterations, last, "iteration"))
        self.jobs = [j for j in workload.jobs if j.layer in chosen and j.iteration in steps]
        if not self.jobs:
            raise InputError("layers and iterations must leave a job of the workload")
        self.images = WorkloadImages(config.core, workload, seed)
        self.done = 0
        progress(0, len(self.jobs))

    def step(self) -> None:
        """One more job is done."""
        self.done += 1
        self.progress(self.done, len(self.jobs))

    def predict(self, image: JobImage) -> dict[str, int]:
        """Counters by the cycle model."""
        moved = {"read_bytes": image.read_bytes, "write_bytes": image.write_bytes}
        return {**predict(image.params, self.timing, image).counters(), **moved}

    def simulate(
        self, counted: Sequence[JobImage], simulator: str
    ) -> tuple[list[JobImage], list[Check]]:
        """The jobs with operands on the Verilog, and what came of each."""
        images: list[JobImage] = []
        checks = []
        size = max(max(t.end for t in i.tensors.values()) + i.k_plane for i in counted)
        core = self.config.core
        with CompiledMachine(
            generate_verilog(self.config), self.config.top, backend=simulator,  # type: ignore[arg-type]
            memory_bytes=2 * size // core.channels, timing=self.timing, seed=self.seed,
        ) as machine:  # fmt: skip
            for number, one in enumerate(counted):
                assert isinstance(one, CountedJob)
                image = operands(one, np.random.default_rng([self.seed, number]))
                memory = memory_image(core, [image], Placement(core, base=size))
                machine.clear()
                machine.set_memory(memories(memory))
                (job,) = programs(memory)
                outcome = execute(machine, [*setup(core), *job])
                check = check_jobs(memory, outcome)
                if not check.reports:
                    raise ToolError(f"{simulator}: {outcome.error}")
                images.append(image)
                checks.append(check)
                self.step()
        return images, checks

    def document(
        self,
        images: Sequence[JobImage],
        counters: Sequence[dict[str, int]],
        checks: Sequence[Check],
        on: Place,
        simulator: str | None,
    ) -> dict[str, Any]:
        """Contents of stats.json."""
        figures: dict[int, LayerStats] = {}
        traffic: dict[int, _Traffic] = {}
        for number, (job, image, found) in enumerate(
            zip(self.jobs, images, counters, strict=True)
        ):
            layer, wrong = job.layer, checks[number].total if checks else 0
            pairs = job.length * job.queries * self.workload.heads
            image = replace(image, unpruned=(job.length, pairs))
            one = layer_stats(layer, image, self.timing, found, wrong)
            figures[layer] = figures.get(layer, LayerStats(layer=layer)) + one
            moved = _Traffic.of(image, job, self.workload.heads, found["cycles"])
            traffic[layer] = traffic.get(layer, _Traffic()) + moved
        described = {
            **self.config.as_dict(),
            "simulation": {
                "workload": self.workload.name,
                "on": on,
                "simulator": simulator,
                "memory": self.timing._asdict(),
                "layers": sorted(figures),
            },
        }
        tools = versions(["python", "attnsieve", "amaranth", "numpy"])
        runs = {"run": list(figures.values())}
        stats = stats_document(described, self.config.core, tools, self.seed, runs)
        total = _Traffic()
        for moved in traffic.values():
            total = total + moved
        stats["workload"] = {
            "name": self.workload.name,
            "path": self.workload.trailer,
            "on": on,
            "layers": [{"layer": n, **moved.record} for n, moved in traffic.items()],
            "total": total.record,
        }
        return stats

    def references(self, stats: dict[str, Any]) -> None:
        """Add the dense core, and this core with everything kept, to the figures."""
        for name, cycles in zip(("baseline", "unpruned"), self._whole(), strict=True):
            stats["workload"][f"{name}_cycles"] = cycles
            stats["workload"][f"faster_than_{name}"] = round(
                cycles / max(1, stats["total"]["cycles"]), 4
            )

    def _whole(self) -> Iterator[int]:
        """Cycles of each reference."""
        dense = references(self.config, self.config.core.operand_bits)["baseline"].core
        for params, wide in ((dense, True), (self.config.core, False)):
            images = WorkloadImages(params, self.workload, self.seed)
            known: dict[tuple[int, ...], int] = {}
            total = 0
            for job in self.jobs:
                key_bits, value_bits = (0, 0) if wide else self._widths(job)
                shape = (job.length, job.queries, job.head_dim, key_bits, value_bits)
                if shape not in known:
                    image = images.whole(job, key_bits, value_bits)
                    known[shape] = predict(params, self.timing, image).cycles
                total += known[shape]
            yield total

    def _widths(self, job: WorkloadJob) -> tuple[int, int]:
        """Of K, in one plane, and of V."""
        if not job.threshold:
            return job.key_bits, job.value_bits
        most = max(self.config.core.operand_widths)
        return min(most, job.key_bits + job.increment), job.value_bits
