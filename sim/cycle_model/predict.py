"""Cycles of jobs, by what they are spent on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from attnsieve.hdl.axi.loader import is_compact
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.bit_serial_scorer import BitSerialScorer
from attnsieve.sim.bench.memory import Timing
from attnsieve.sim.cycle_model.compact_loader import CompactLoaderModel
from attnsieve.sim.cycle_model.gather import GatherLoaderModel, ListedRegion
from attnsieve.sim.cycle_model.latency import Latency
from attnsieve.sim.cycle_model.lines import LineTimes, paced
from attnsieve.sim.cycle_model.loader import LoaderModel, Region
from attnsieve.sim.cycle_model.rows import Pipeline, Row
from attnsieve.sim.cycle_model.shared import SharedLoaderModel
from attnsieve.sim.cycle_model.slices import DemandedSlicePipeline, SlicePipeline
from attnsieve.sim.cycle_model.sparse import SparsePipeline, list_cycles, select_cycles
from attnsieve.sim.cycle_model.waiting import WaitingPipeline
from attnsieve.sim.driver.image import JobImage

__all__ = ["Prediction", "predict"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the counters of a job will be.

    Parameters
    ----------
    cycles : int
        Of the job: the sum of all others.
    busy : int
        The Q·K array works.
    setup, query, key, output, tail : int
        It does not, by cause; see docs/user/figures.md.
    """

    cycles: int
    busy: int
    setup: int
    query: int
    key: int
    output: int
    tail: int

    def counters(self) -> dict[str, int]:
        """The same by the names of the register map."""
        stalls = {f"stall_{c}": getattr(self, c) for c in ("setup", "query", "key", "output")}
        return {"cycles": self.cycles, "busy": self.busy, **stalls, "stall_tail": self.tail}


def predict(
    params: CoreParams, timing: Timing, image: JobImage, latency: Latency | None = None
) -> Prediction:
    """Counters of one job that runs alone.

    Parameters
    ----------
    params : CoreParams
        The core.
    timing : Timing
        Of the memory.
    image : JobImage
        The job. Contents of tensors do not matter; shape, masks and addresses do, and on a core
        that prunes what `JobImage.expected` says that rows keep and compute again.
    latency : Latency
        Of the core's blocks; those of its parameters by default.
    """
    latency = latency or Latency.of(params)
    checked = latency.start + _check_cycles(image)
    lists = params.token_lanes != 0
    listed = latency.start + list_cycles(image) if lists else 0
    start = max(listed + 4, checked + latency.rows + 4 * _address_words(params))
    rows = _rows(image, start, latency.scales_ahead)
    regions = _regions(params, image, checked + latency.region, latency.heads_delay, listed)
    segments = LineTimes(_query_segments(params), rows[-1].segments)
    lines = [LineTimes(_depth(params, name), _lines_of(image, name)) for name in "kv"]
    cut = params.groups > 1  # lines of one segment go straight into the store
    queries = LineTimes(16, sum(r.lines for r in regions[0])) if cut else segments
    lines.insert(0, queries)
    model: Any = CompactLoaderModel if is_compact(params) else LoaderModel
    if params.gathers:
        model = SharedLoaderModel if image.job.planar else GatherLoaderModel
    loader = model(params, timing, latency, regions, lines)
    stages = (image, params, latency, rows, segments, lines[1], lines[2], loader.writes)
    pipeline: Pipeline
    waits: Any = DemandedSlicePipeline if params.slice_units else WaitingPipeline
    if image.job.progressive or image.job.demand:
        pipeline = waits(partial(_listed_region, image), loader, *stages)
    elif params.slice_units:
        pipeline = SlicePipeline(loader, *stages)
    else:
        pipeline = SparsePipeline(*stages) if lists else Pipeline(*stages[1:])
    cutter = _Cutter(params, latency, image, lines[0], segments, loader.queries_cut)
    if cut and isinstance(loader, SharedLoaderModel):
        loader.cut = cutter.advance
    _run(loader, pipeline, cutter if cut else None, len(rows))
    written = pipeline.done[: len(rows)][[row.write for row in rows]]
    answered = int(written.max(initial=0)) + timing.latency + latency.finish
    end = max(answered, int(pipeline.done[len(rows) - 1]) + latency.dropped)
    if isinstance(pipeline, SparsePipeline):
        end = max(end, pipeline.passed + 8 + select_cycles(image, latency.token_lanes))
    return _counters(pipeline, end)


def _run(loader: Any, pipeline: Pipeline, cutter: _Cutter | None, rows: int) -> None:
    """Let everything take its steps until all rows are through."""
    waiting = pipeline if isinstance(pipeline, WaitingPipeline) else None
    while pipeline.summed < rows:
        before = pipeline.summed, pipeline.softened
        while waiting and waiting.order():
            pipeline.advance()
        moved = loader.step()
        while cutter and cutter.advance():
            pipeline.advance()
            moved = True
        pipeline.advance()
        moved = moved or (pipeline.summed, pipeline.softened) != before
        if not (moved or pipeline.force() or loader.force()):
            raise RuntimeError("the model of the core is stuck; this is a bug in it")


def _depth(params: CoreParams, name: str) -> int:
    """Lines of K, or of V, for which there is room."""
    if name == "k" and params.slice_units:  # they wait to be cut
        return BitSerialScorer(params=params).lines
    return params.kv_lines


def _lines_of(image: JobImage, name: str) -> int:
    """Lines of K, or of V, that come on chip."""
    job, params = image.job, image.params
    if name == "k" and job.planar:
        return 0
    heads = [h for h in range(job.kv_heads) if job.alive_kv[h]]
    if name == "v":
        listed = [len(image.demanded_keys(head)) for head in heads]
    else:
        again = int(image.recomputed_kv.sum())
        listed = [len(image.fetched_keys)] * (len(heads) + again)
    return sum(params.row_lines(n, job.head_dim) for n in listed)


def _counters(pipeline: Pipeline, end: int) -> Prediction:
    """Gaps for want of a row count as setup before the first line, as tail behind it."""
    total = pipeline.waits
    setup = pipeline.setup + pipeline.counted
    if not pipeline.busy:  # nothing is behind the first line
        setup = end - sum(total.values()) + total["row"]
    return Prediction(
        cycles=end,
        busy=pipeline.busy,
        setup=setup,
        query=total["query"],
        key=total["key"],
        output=total["output"],
        tail=end - sum(total.values()) - pipeline.busy + total["row"] - setup,
    )


def _check_cycles(image: JobImage) -> int:
    """Walks of the job checker: counts, sizes, addresses; and, beside the addresses, division of
    heads, room for their rows, head table."""
    job, words = image.job, _address_words(image.params)
    strides = sum(tensor.heads for tensor in image.tensors.values())
    more = _more_words(image.params)
    counts = 13 + (more + 3 if more else 0)
    pruned = 3 + -(-image.params.max_heads // 32) if image.params.token_lanes else 0
    room = job.group + 2 if more else 0  # a sum over a KV head
    heads = 9 + pruned + room + job.group + job.heads
    return counts + 8 * words + max(21 + strides, heads)


def _more_words(params: CoreParams) -> int:
    """Words of a job that only cores have whose rows can wait."""
    return 2 * params.progressive + params.value_demand + params.slice_demand


def _address_words(params: CoreParams) -> int:
    """Words of an address in the job memory."""
    return 1 if params.addr_width <= 32 else 2


def _rows(image: JobImage, start: int, scales: int) -> list[Row]:
    """Rows in order; masked queries span no key, but for the last row of a KV head."""
    job, params = image.job, image.params
    parts = params.parts(job.head_dim)
    if params.token_lanes:
        return _listed_rows(image, start, scales)
    valid = np.ones(job.queries, bool) if image.query_valid is None else image.query_valid
    rows = []
    for head in range(job.heads):
        for query in range(job.queries):
            last = query == job.queries - 1 and head % job.group == job.group - 1
            keys = job.visible(query) if valid[query] or last or job.demand else 0
            segments = (head * job.queries + query + 1) * parts
            waits = query == 0 and head >= scales  # the first row of a head brings its scale
            scale = (head - scales + 1) * job.queries - 1 if waits else None
            rows.append(Row(keys, parts, last, segments, bool(valid[query]), start, scale))
    return rows


def _listed_rows(image: JobImage, start: int, scales: int) -> list[Row]:
    """Rows of listed queries, which see listed keys."""
    job, parts = image.job, image.params.parts(image.job.head_dim)
    queries, keys = image.listed_queries, image.listed_keys
    rows: list[Row] = []
    living = np.flatnonzero(job.alive)
    for head, number in enumerate(living):
        following = living[head + 1] // job.group if head + 1 < len(living) else -1
        for rank, query in enumerate(queries):
            final = rank == len(queries) - 1
            seen = int((keys < job.visible(int(query))).sum()) if len(image.written) else 0
            segments = (head * len(queries) + rank + 1) * parts
            waits = rank == 0 and head >= scales
            scale = (head - scales + 1) * len(queries) - 1 if waits else None
            last = final and following != number // job.group
            write = bool(len(image.written))
            at = start + (2 + job.causal) * rank if head == 0 else start
            rows.append(Row(seen, parts, last, segments, write, at, scale))
    return rows


def _regions(
    params: CoreParams, image: JobImage, start: int, delay: int, listed: int
) -> list[list[Region]]:
    """Regions of Q, K and V; each sequencer reads its words in turn, then gives one per cycle, but
    none before the lists are there."""
    words = 2 * _address_words(params) + 2
    of_rows = 6 + 3 * (params.token_lanes != 0)  # they are read before those of V
    job = image.job
    later = "k" * (job.progressive or job.planar) + "v" * job.demand  # as rows ask for them
    return [
        [
            _region(params, image, name, head, max(at + head, listed + 2 * head))
            for head in range(heads)
            if _lives(image, name, head) and name not in later
        ]
        for name, heads, at in (
            ("q", image.job.heads, start + words + delay),
            ("k", image.job.kv_heads, start + 2 * words),
            ("v", image.job.kv_heads, start + 2 * words + of_rows + words),
        )
    ]


def _lives(image: JobImage, name: str, head: int) -> bool:
    """Whether a head of a tensor is not pruned."""
    return image.job.alive[head] if name == "q" else image.job.alive_kv[head]


def _region(params: CoreParams, image: JobImage, name: str, head: int, start: int) -> Region:
    if params.gathers:
        return _listed_region(image, name, head, start)
    tensor = image.tensors[name]
    units = -(-tensor.rows * tensor.pitch // params.unit_bytes)
    lines = params.row_lines(tensor.rows, image.job.head_dim)
    beat = tensor.row(head, 0) // params.channels // params.beat_bytes
    return Region(lines, units, beat, image.job.bits, start)


def _listed_region(image: JobImage, name: str, head: int, start: int) -> ListedRegion:
    params, job = image.params, image.job
    numbers, counts = image.unit_numbers(name, head)
    return ListedRegion(
        lines=params.row_lines(len(counts), job.head_dim),
        units=len(numbers),
        beat=0,
        bits=job.bits,
        start=start,
        parts=params.parts(job.head_dim),
        channel=numbers % params.channels,
        ends=np.append(0, np.cumsum(counts)),
        second=name == "k_lsb",
    )


def _query_segments(params: CoreParams) -> int:
    """Segments of the query store."""
    if params.progressive:
        return params.held_segments
    return max(16, 1 << (4 * params.max_parts - 1).bit_length())


class _Cutter:
    """Cuts lines of queries into segments, one per cycle, while there is room for them."""

    def __init__(
        self,
        params: CoreParams,
        latency: Latency,
        image: JobImage,
        lines: LineTimes,
        segments: LineTimes,
        heads: list[int],
    ) -> None:
        self.params, self.latency, self.heads = params, latency, heads
        self.lines, self.segments = lines, segments
        job = image.job
        self.of_head = len(image.fetched_queries) * params.parts(job.head_dim)
        self.time = -1
        self.place = 0  # segments of the line that are cut

    def advance(self) -> bool:
        """Cut what can be cut of the next line; False if that is nothing, as far as is known."""
        lines, segments = self.lines, self.segments
        line = lines.freed
        if line == lines.arrived:
            return False
        groups = self.params.groups
        per_head = -(-self.of_head // groups)
        number = line % per_head
        count = min(groups, self.of_head - number * groups)  # segments of the line
        first = segments.arrived
        room = segments.depth + segments.freed - first
        cut = min(count - self.place, room)
        if cut <= 0:
            return False
        held = np.arange(first, first + cut) - segments.depth
        bounds = np.where(held >= 0, segments.free[np.maximum(held, 0)] + 2, 0)
        bounds[0] = max(int(bounds[0]), int(lines.arrive[line]), self.time + 1)
        times = paced(bounds)
        self.time = int(times[-1])
        self.place += cut
        segments.put(times + self.latency.query)
        if self.place == count:
            self.place = 0
            lines.take(times[-1:])
            if number == per_head - 1:
                self.heads.append(self.time)
        return True
