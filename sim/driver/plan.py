"""From a trace to jobs: quantise a layer, trim padding, lay tensors out in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.image import JobImage, MemoryImage, Tensor
from attnsieve.sim.driver.packing import row_bytes
from attnsieve.sim.driver.precision import PLAIN, Precision
from attnsieve.sim.driver.slice_planes import plane_count, plane_pitch
from attnsieve.sim.driver.thresholds import Thresholds, threshold_codes
from attnsieve.sim.driver.trace_like import TraceLike
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.job import UNPINNED, Job, Pins
from attnsieve.sim.golden.progressive import LSB_BITS
from attnsieve.sim.golden.quantise import Quantised, dequantise_output, quantise_layer
from attnsieve.sim.golden.score import visibility

__all__ = ["LayerPlan", "LayerWork", "Placement", "memory_image", "plan", "single_job"]

_BASE = 4096


class Placement:
    """Hands out places in linear memory, one behind the other.

    Parameters
    ----------
    params : CoreParams
        The core: bases and strides are aligned for it.
    base : int
        First address to hand out, rounded up.
    rng : numpy Generator or None
        If given, tensors get gaps of random size before them and between their heads.
    """

    def __init__(
        self, params: CoreParams, base: int = _BASE, rng: np.random.Generator | None = None
    ) -> None:
        self.params = params
        self.rng = rng
        self.next = self._aligned(base)

    def _aligned(self, address: int) -> int:
        return -(-address // self.params.alignment) * self.params.alignment

    def _gap(self) -> int:
        if self.rng is None:
            return 0
        return int(self.rng.integers(0, 5)) * self.params.alignment

    def tensor(
        self, heads: int, rows: int, head_dim: int, bits: int, capacity: int | None = None
    ) -> Tensor:
        """Place a tensor; ``capacity`` rows are left for each head if it is to grow."""
        pitch = row_bytes(head_dim, bits)
        return self._place(heads, rows, pitch, self._aligned((capacity or rows) * pitch))

    def planes(
        self, heads: int, rows: int, head_dim: int, bits: int, capacity: int | None = None
    ) -> tuple[Tensor, int]:
        """Place K in two planes, the first ``bits`` wide: it, and the bytes to the second."""
        pitch, second = row_bytes(head_dim, bits), row_bytes(head_dim, LSB_BITS)
        offset = self._aligned((capacity or rows) * pitch) + self._gap()
        size = offset + self._aligned((capacity or rows) * second)
        return self._place(heads, rows, pitch, size), offset

    def slice_planes(
        self, heads: int, rows: int, bits: int, capacity: int | None = None
    ) -> tuple[Tensor, int]:
        """Place K in planes of slices: the first one, and the bytes from plane to plane."""
        pitch = plane_pitch(self.params)
        size = self._aligned((capacity or rows) * pitch)
        offset = size + self._gap()
        whole = offset * (plane_count(self.params, bits) - 1) + size
        return self._place(heads, rows, pitch, whole), offset

    def _place(self, heads: int, rows: int, pitch: int, size: int) -> Tensor:
        stride = size + self._gap()
        base = self.next + self._gap()
        self.next = base + heads * stride
        if self.next > 1 << self.params.addr_width:
            raise InputError(
                f"tensors must fit {self.params.addr_width} address bits, not {self.next} bytes"
            )
        return Tensor(base, stride, heads, rows, pitch)


@dataclass(frozen=True)
class LayerPlan:
    """One layer of a trace as jobs in memory.

    Parameters
    ----------
    image : MemoryImage
        Memory and jobs: one job, or one per decode step.
    quantised : Quantised
        Integers and scales of the whole layer.
    heads : tuple of int
        Query heads of the trace that take part.
    queries : int
        Queries of the trace.
    """

    image: MemoryImage
    quantised: Quantised
    heads: tuple[int, ...]
    queries: int

    @property
    def jobs(self) -> tuple[JobImage, ...]:
        """The jobs, in the order in which they run."""
        return self.image.jobs

    def output(self, memory: np.ndarray) -> np.ndarray:
        """Output int16 ``[heads, queries, head_dim]`` of all jobs; zeros where none wrote."""
        first = self.jobs[0].job
        out = np.zeros((first.heads, self.queries, first.head_dim), np.int16)
        for job in self.jobs:
            out[:, job.query_rows[job.written]] = job.read_output(memory)[:, job.written]
        return out

    def real_output(self, out: np.ndarray) -> np.ndarray:
        """float32 output from the integers of `output`."""
        return dequantise_output(out, self.quantised.s_v, self.quantised.value_bits)


class LayerWork:
    """One layer of a trace, quantised and with its place in memory; jobs are made of it.

    Parameters
    ----------
    params : CoreParams
        The core.
    trace : TraceLike
        The trace.
    layer, bits : int
        Which layer, operand width.
    precision : Precision
        What the jobs have beside that width.
    heads : sequence of int
        Query heads that take part; all by default.
    thresholds : Thresholds
        The scores that heads keep, of the whole trace; all by default.
    pins : Pins
        Keys that each row keeps beside them.
    rng : numpy Generator
        Spreads tensors over memory and fills the rest of it with noise.
    """

    def __init__(
        self,
        params: CoreParams,
        trace: TraceLike,
        layer: int,
        bits: int,
        precision: Precision = PLAIN,
        *,
        heads: Sequence[int] | None = None,
        thresholds: Thresholds | None = None,
        pins: Pins = UNPINNED,
        rng: np.random.Generator | None = None,
    ) -> None:
        precision.check(trace)
        if thresholds is not None:
            thresholds.check(len(trace.q), trace.q.shape[1])
        q, k, v = (np.asarray(x[layer]) for x in (trace.q, trace.k, trace.v))
        self.heads = tuple(range(len(q))) if heads is None else tuple(heads)
        q, k, v = _select(q, k, v, self.heads)
        self.key_valid = _mask(trace.key_valid, k.shape[1])
        self.query_valid = _mask(trace.query_valid, q.shape[1])
        if not self.query_valid.any():
            raise InputError("query_valid must hold a valid query, not only invalid ones")
        if trace.decode and len(self.query_valid) > len(self.key_valid):
            raise InputError(
                f"queries of a decode trace must be at most keys ({len(self.key_valid)}), "
                f"not {len(self.query_valid)}"
            )
        self.params, self.rng, self.causal = params, rng, bool(trace.causal)
        self.precision = precision
        self.quantised = quantise_layer(
            q, k, v, bits, self.key_valid, self.query_valid,
            key_bits=precision.key_bits, value_bits=precision.value_bits,
            planes=precision.threshold > 0,
        )  # fmt: skip
        self.thresholds: tuple[int, ...] = ()
        if thresholds is not None:
            own = np.array(thresholds.layers[layer])[list(self.heads)]
            self.thresholds = threshold_codes(self.quantised, own, thresholds.relative)
        self.relative, self.pins = thresholds is not None and thresholds.relative, pins
        self.place = Placement(params, rng=rng)
        self._cache: tuple[Tensor, int, Tensor] | None = None

    def plan(self, jobs: Sequence[JobImage]) -> LayerPlan:
        """The plan that has these jobs, which were made here."""
        image = memory_image(self.params, jobs, self.place, self.rng)
        return LayerPlan(image, self.quantised, self.heads, len(self.query_valid))

    def whole(self, keys_alive: np.ndarray, queries_alive: np.ndarray) -> JobImage:
        """All queries in one job.

        Trailing padding is cut off (of a causal layer as much from the keys as from the queries, so
        that the diagonal stays); holes inside become masks.
        """
        queries = _end(queries_alive)
        if self.causal:
            if len(queries_alive) > len(keys_alive):
                raise InputError(
                    f"queries of a causal trace must be at most keys ({len(keys_alive)}), "
                    f"not {len(queries_alive)}"
                )
            keys = len(keys_alive) - (len(queries_alive) - queries)
        else:
            keys = _end(keys_alive)
        quantised = self.quantised
        return single_job(
            self.params,
            self._job(queries, keys, self.causal),
            quantised.q[:, :queries],
            quantised.k[:, :keys],
            quantised.v[:, :keys],
            _holes(keys_alive[:keys]),
            _holes(queries_alive[:queries]),
            place=self.place,
        )

    @property
    def unpruned(self) -> tuple[int, int]:
        """Valid tokens, and pairs over all heads, of `whole` if nothing is pruned."""
        rows = np.flatnonzero(self.query_valid)
        seen = visibility(
            rows, len(self.query_valid), len(self.key_valid), self.causal, self.key_valid
        )
        return int(self.key_valid.sum()), len(self.heads) * int(seen.sum())

    def seen(self, step: int) -> np.ndarray:
        """Valid keys of a decode step."""
        steps, capacity = len(self.query_valid), len(self.key_valid)
        return self.key_valid[: step + 1 + capacity - steps].copy()

    def step(self, step: int, keys_alive: np.ndarray) -> JobImage:
        """A decode step; K and V have room for all steps, Q and O a place per step."""
        keys = _end(keys_alive)
        # the query of a step is the newest token, whatever its number in the job
        newest = max(self.pins.newest, int(self.pins.own))
        job = replace(self._job(1, keys, False), pins=Pins(first=self.pins.first, newest=newest))
        job.check(self.params)
        if self._cache is None:
            self._cache = _keys_and_values(self.place, job, len(self.key_valid))
        k_place, k_plane, v_place = self._cache
        tensors = {
            "q": self.place.tensor(job.heads, 1, job.head_dim, job.bits),
            "k": replace(k_place, rows=keys),
            "v": replace(v_place, rows=keys),
            "o": self.place.tensor(job.heads, 1, job.head_dim, 16),
        }
        k, v = self.quantised.k[:, :keys], self.quantised.v[:, :keys]
        q = self.quantised.q[:, step : step + 1]
        holes, rows = _holes(keys_alive[:keys]), np.array([step])
        return JobImage(
            self.params, job, q, k, v, holes, None, tensors, rows, k_plane=k_plane
        )

    def _job(self, queries: int, keys: int, causal: bool) -> Job:
        quantised = self.quantised
        return Job(
            heads=len(quantised.q),
            kv_heads=len(quantised.k),
            queries=queries,
            keys=keys,
            head_dim=quantised.q.shape[-1],
            bits=quantised.bits,
            causal=causal,
            scales=quantised.scales,
            thresholds=self.thresholds,
            relative=self.relative,
            pins=self.pins,
            **self.precision.of_job,
        )


def plan(
    params: CoreParams,
    trace: TraceLike,
    layer: int,
    bits: int,
    precision: Precision = PLAIN,
    *,
    heads: Sequence[int] | None = None,
    rng: np.random.Generator | None = None,
) -> LayerPlan:
    """Jobs of one layer of a trace, without pruning; see `LayerWork`."""
    work = LayerWork(params, trace, layer, bits, precision, heads=heads, rng=rng)
    if not trace.decode:
        return work.plan((work.whole(work.key_valid, work.query_valid),))
    steps = np.flatnonzero(work.query_valid)
    return work.plan([work.step(int(step), work.seen(int(step))) for step in steps])


def single_job(
    params: CoreParams,
    job: Job,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    key_valid: np.ndarray | None = None,
    query_valid: np.ndarray | None = None,
    *,
    place: Placement | None = None,
) -> JobImage:
    """A job on integers, placed in memory: what tests and random campaigns build."""
    job.check(params)
    place = place or Placement(params)
    q_place = place.tensor(job.heads, job.queries, job.head_dim, job.bits)
    k_place, k_plane, v_place = _keys_and_values(place, job, job.keys)
    o_place = place.tensor(job.heads, job.queries, job.head_dim, 16)
    tensors = {"q": q_place, "k": k_place, "v": v_place, "o": o_place}
    rows = np.arange(job.queries)
    return JobImage(
        params, job, q, k, v, key_valid, query_valid, tensors, rows, k_plane=k_plane
    )


def memory_image(
    params: CoreParams,
    jobs: Sequence[JobImage],
    place: Placement,
    rng: np.random.Generator | None = None,
) -> MemoryImage:
    """Memory with the operands of jobs that ``place`` has placed; outputs are zero.

    With ``rng`` everything else is noise.
    """
    size = -(-place.next // params.wide_bytes) * params.wide_bytes
    linear = np.zeros(size, np.uint8)
    if rng is not None:
        linear[:] = rng.integers(0, 256, size, np.uint8)
    for job in jobs:
        job.store_operands(linear)
        job.tensors["o"].view(linear)[...] = 0
    return MemoryImage(params, linear, tuple(jobs))


def _select(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, chosen: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The chosen query heads and their KV heads, shared if whole groups of one size remain."""
    if not chosen or any(not 0 <= h < len(q) for h in chosen):
        raise InputError(f"heads must be in 0..{len(q) - 1}, not {list(chosen)}")
    kv = [h * len(k) // len(q) for h in chosen]
    distinct = list(dict.fromkeys(kv))
    group = len(chosen) // len(distinct)
    if kv != [d for d in distinct for _ in range(group)]:
        distinct = kv
    return q[list(chosen)], k[distinct], v[distinct]


def _mask(valid: np.ndarray | None, size: int) -> np.ndarray:
    return np.ones(size, bool) if valid is None else np.asarray(valid, bool)


def _end(valid: np.ndarray) -> int:
    """Positions up to the last valid one, at least one."""
    where = np.flatnonzero(valid)
    return int(where[-1]) + 1 if len(where) else 1


def _holes(valid: np.ndarray) -> np.ndarray | None:
    return None if valid.all() else valid


def _keys_and_values(place: Placement, job: Job, capacity: int) -> tuple[Tensor, int, Tensor]:
    """Places of K and V with room for ``capacity`` rows, between them the bytes from K to its
    second plane, or from plane to plane."""
    shape, plane = (job.kv_heads, job.keys, job.head_dim), 0
    if job.progressive:
        k, plane = place.planes(*shape, job.key_width, capacity)
    elif job.planar:
        k, plane = place.slice_planes(*shape[:2], job.bits, capacity)
    else:
        k = place.tensor(*shape, job.key_width, capacity)
    return k, plane, place.tensor(*shape, job.value_width, capacity)
