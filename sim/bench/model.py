"""How far the cycle model is from the generated Verilog.

As a command::

    python -m attnsieve.sim.bench.model
    python -m attnsieve.sim.bench.model spatten --trace decode.npz
    python -m attnsieve.sim.bench.model leopard --trace any.npz --keep 0.5 0.3 --margin 8
    python -m attnsieve.sim.bench.model leopard --point slice_units=8 --point slice_bits=1

Random jobs of one query whose rows come again, or ask for their V; or the steps of a decode trace.
On a core with bit-serial units random jobs of any kind, or layers of a trace with thresholds. All
outputs and counters are compared with the golden model too. An error is how much more cycles the
model says.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import UnusedElaboratable

from attnsieve.gen.config import Configuration
from attnsieve.gen.config import load as load_config
from attnsieve.gen.verilog import generate_verilog
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.alone import counters_alone
from attnsieve.sim.bench.bit_serial import point_settings
from attnsieve.sim.bench.predicted import COLUMNS, Predicted, columns, trace_columns, trace_runs
from attnsieve.sim.bench.slice_model import KINDS as SLICE_KINDS
from attnsieve.sim.bench.slice_model import jobs_table, trace_table
from attnsieve.sim.cycle_model import predict
from attnsieve.sim.driver.counted import CountedJob, counted_job
from attnsieve.sim.driver.image import JobImage
from attnsieve.sim.driver.plan import Placement, memory_image
from attnsieve.sim.driver.precision import threshold_code
from attnsieve.sim.golden.job import Job
from attnsieve.sim.replay import operands
from attnsieve.sim.simulate import memory_timing
from attnsieve.sim.trace.trace import load

__all__ = [
    "KINDS",
    "TRACE_RUNS",
    "Kind",
    "Measured",
    "measure",
    "measured_jobs",
    "one_query_job",
]

#: Tokens of a job, as shares of 1,024 keys.
_LISTED = (102, 204, 300, 1024)
_HEADS = ((12, 12), (9, 3))
#: Rows whose largest probability is less come again; of few keys it is twice their mean.
_THRESHOLD = 0.1
_KEPT = 4  # one value of so many is kept


@dataclass(frozen=True)
class Kind:
    """A kind of job.

    Parameters
    ----------
    name : str
        What it does.
    demand : bool
        V is read as rows ask for it.
    again : str or None
        Whether ``no``, ``some`` or ``all`` rows come again with both planes of K; None: K has one.
    """

    name: str
    demand: bool
    again: str | None = None


#: The kinds, of which jobs are drawn in turn.
KINDS = tuple(
    Kind(name + (", demand" if demand else ""), demand, again)
    for again, name in (
        (None, "K in one plane"),
        ("no", "two planes, no row again"),
        ("some", "two planes, some rows again"),
        ("all", "two planes, all rows again"),
    )
    for demand in (False, True)
)

#: Settings of `run` for a trace: key_bits, value_bits, threshold, demand, keep_tokens, keep_values.
TRACE_RUNS: tuple[dict[str, Any], ...] = tuple(
    dict(
        zip(
            ("key_bits", "value_bits", "threshold", "demand", "keep_tokens", "keep_values"),
            values,
            strict=True,
        )
    )
    for values in (
        (8, 8, 0.1, True, 1.0, 0.3),
        (6, 6, 0.1, True, 0.5, 0.3),
        (8, 8, 0.1, False, 0.5, 0.3),
        (8, 6, 0.0, True, 0.5, 0.3),
    )
)


def one_query_job(
    params: CoreParams,
    *,
    heads: int = 6,
    kv_heads: int = 6,
    keys: int = 64,
    listed: int = 64,
    head_dim: int = 32,
    again: int = 0,
    seed: int | None = None,
    **shape: Any,
) -> CountedJob:
    """A job of one query that keeps a fourth of its values; the rows of ``again`` heads come again.
    Which keys are listed is drawn, but the last one is."""
    job = Job(
        heads=heads, kv_heads=kv_heads, queries=1, keys=keys, head_dim=head_dim,
        bits=params.operand_bits, scales=((1 << 15, 20),) * heads,
        values=max(1, listed // _KEPT), **shape,
    )  # fmt: skip
    rng = np.random.default_rng(listed if seed is None else seed)
    valid = np.zeros(keys, bool)
    valid[rng.choice(keys - 1, listed - 1, replace=False)] = True
    valid[-1] = True
    flags = [head < again for head in range(heads)]
    return counted_job(params, job, None if valid.all() else valid, flags)


def _random_job(params: CoreParams, kind: Kind, seed: int) -> JobImage:
    """A job of a kind; on a small core of as many heads, keys and elements as it takes."""
    rng = np.random.default_rng(seed)
    heads, kv_heads = _HEADS[int(rng.integers(len(_HEADS)))]
    keys = min(1024, params.max_keys)
    listed = max(1, _LISTED[int(rng.integers(len(_LISTED)))] * keys // 1024)
    again = {None: 0, "no": 0, "some": int(rng.integers(1, heads)), "all": heads}[kind.again]
    planes = kind.again is not None
    image = one_query_job(
        params, heads=heads, kv_heads=kv_heads, keys=keys, listed=listed,
        head_dim=min(64, params.max_head_dim), again=again, seed=seed, demand=kind.demand,
        key_bits=int(rng.choice([6, 8] if planes else [6, 8, 10, 12])),
        value_bits=int(rng.choice([6, 8, 10, 12])),
        threshold=threshold_code(max(_THRESHOLD, 2 / listed)) if planes else 0,
    )  # fmt: skip
    return operands(image, rng)


def measure(config: Configuration, images: Sequence[JobImage]) -> Iterator[dict[str, int]]:
    """Counters of each job, which runs alone on the compiled Verilog.

    Raises
    ------
    AssertionError
        Something differs from the golden model.
    """
    core = config.core
    each = [memory_image(core, [image], Placement(core, base=_end(image))) for image in images]
    return counters_alone(config, generate_verilog(config), each)


def _end(image: JobImage) -> int:
    return max(tensor.end for tensor in image.tensors.values()) + image.k_plane


@dataclass(frozen=True, kw_only=True)
class Measured(Predicted):
    """A job on both.

    Parameters
    ----------
    kind : Kind
        Of what kind.
    image : JobImage
        The job.
    """

    kind: Kind
    image: JobImage


def measured_jobs(
    config: Configuration,
    jobs: int,
    *,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Measured]:
    """Random jobs of all kinds in turn.

    Parameters
    ----------
    config : Configuration
        A core with planes and values on demand.
    jobs : int
        How many.
    seed : int
        Of everything.
    progress : callable
        Gets jobs done.
    """
    params, timing = config.core, memory_timing(config)
    kinds = [KINDS[number % len(KINDS)] for number in range(jobs)]
    images = [_random_job(params, kind, seed + n) for n, kind in enumerate(kinds)]
    found = []
    for kind, image, counters in zip(kinds, images, measure(config, images), strict=True):
        predicted = predict(params, timing, image).cycles
        found.append(
            Measured(kind=kind, image=image, cycles=counters["cycles"], predicted=predicted)
        )
        progress(len(found))
    return found


def _jobs_table(found: Sequence[Measured]) -> Iterator[str]:
    yield f"{'kind':36}{COLUMNS}"
    rows = [(kind.name, [m for m in found if m.kind == kind]) for kind in KINDS]
    for listed in sorted({len(m.image.listed_keys) for m in found}):
        some = [m for m in found if len(m.image.listed_keys) == listed]
        rows.append((f"{listed} keys", some))
    rows.append(("all", list(found)))
    for name, some in rows:
        if some:
            yield f"{name:36}{columns(some)}"
    ordered = sorted(abs(m.error) for m in found)
    shares = [f"{share:.0%} {ordered[int(share * (len(ordered) - 1))]:.2%}" for share in (0.5, 0.9)]
    yield f"of the jobs within: {', '.join(shares)}"


def _trace_table(name: str, bits: int, path: str) -> Iterator[str]:
    trace = load(path)
    yield "  ".join([*(f"{key:>11}" for key in TRACE_RUNS[0]), "cycles by layer, model's error"])
    for run in TRACE_RUNS:
        given = [f"run.{key}={str(value).lower()}" for key, value in run.items()]
        config = load_config(name, settings=[f"run.bits={bits}", *given])
        values = "  ".join(f"{value!s:>11}" for value in run.values())
        yield f"{values}  {trace_columns(trace_runs(config, trace))}"


def _slice_table(given: argparse.Namespace) -> Iterator[str]:
    """Of a core with bit-serial units, at points beside its own settings."""
    configs = [
        (point, load_config(given.system, settings=point_settings(point)))
        for point in given.point or [""]
    ]
    if not given.trace:
        return jobs_table(configs, given.jobs, given.seed, given.cycles, given.kind)
    part = {"layers": given.layers, "heads": given.heads, "bits": given.bits}
    return trace_table(
        configs, load(given.trace), given.keep, given.margin, given.thresholds, **part
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m attnsieve.sim.bench.model")
    parser.add_argument("system", nargs="?", default="spatten", help="preset or TOML file")
    parser.add_argument("--jobs", type=int, default=80, help="random jobs (default 80)")
    parser.add_argument("--seed", type=int, default=0, help="of the first job")
    parser.add_argument("--trace", metavar="F.npz", help="a trace, in place of random jobs")
    parser.add_argument("--bits", type=int, default=12, help="of Q in the trace (default 12)")
    slices = parser.add_argument_group("of a core with bit-serial units")
    slices.add_argument("--keep", type=float, nargs="+", default=[], help="shares of the scores")
    slices.add_argument(
        "--margin", type=float, nargs="+", default=[], help="margins below the largest of a row"
    )
    slices.add_argument("--thresholds", nargs="+", default=[], metavar="F.toml")
    slices.add_argument("--kind", choices=SLICE_KINDS, help="of random jobs (default any)")
    slices.add_argument(
        "--cycles", type=int, default=3000, help="of a random job, about, at most (default 3000)"
    )
    slices.add_argument("--layers", help="part of the trace")
    slices.add_argument("--heads", help="part of the trace")
    slices.add_argument(
        "--point", action="append", metavar="K=V,K=V",
        help="other settings, of the core unless a section is named; repeatable",
    )
    given = parser.parse_args(argv)
    warnings.simplefilter("ignore", UnusedElaboratable)  # the model makes blocks for their latency
    if given.jobs < 1:
        parser.error("--jobs must be 1 or more")
    config = load_config(given.system)
    if config.core.slice_units:
        lines = _slice_table(given)
    elif given.trace:
        lines = _trace_table(given.system, given.bits, given.trace)
    else:
        if not (config.core.progressive and config.core.value_demand):
            parser.error(f"{given.system} has no planes of K or no values on demand")
        lines = _jobs_table(measured_jobs(config, given.jobs, seed=given.seed))
    for line in lines:
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
