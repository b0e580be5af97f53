"""What the value top-k costs a core: against one that is told which values to keep."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Module, Mux, Signal, UnusedElaboratable
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.gen.config import Configuration
from attnsieve.gen.verilog import generate_verilog, to_verilog
from attnsieve.hdl.core import Core
from attnsieve.hdl.datapath import Datapath
from attnsieve.hdl.layouts import term_beat_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.value_select import value_row_layout
from attnsieve.sim.bench.alone import counters_alone
from attnsieve.sim.driver.image import MemoryImage
from attnsieve.sim.driver.plan import Placement, memory_image, single_job
from attnsieve.sim.golden.job import Job

__all__ = ["KEYS", "ForcedSelect", "forced_flags", "forced_lines", "measure", "random_job"]

#: Keys of a row.
KEYS = (33, 113, 300, 1024)
#: Elements of a row of K: a line of the reference array, and a fourth of it.
HEAD_DIMS = (64, 16)
#: Share of the values that is kept.
KEEP = 4


class ForcedSelect(wiring.Component):
    """Ports of `ValueSelect`; which terms are kept is in a memory, beat by beat.

    Latency: that of its queue, which holds as much as that of `ValueSelect`. Throughput: a beat per
    cycle.

    Parameters
    ----------
    params : CoreParams
        The core.
    flags : sequence of int
        For each beat that will come, which of its terms are kept.
    """

    i: stream.Interface
    row: stream.Interface
    o: stream.Interface
    seen: stream.Interface

    def __init__(self, *, params: CoreParams, flags: Sequence[int]) -> None:
        self.params, self.flags = params, flags
        beat = stream.Signature(term_beat_layout(params))
        super().__init__(
            {
                "i": In(beat),
                "row": In(stream.Signature(value_row_layout(params))),
                "o": Out(beat),
                "seen": Out(beat),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        beat, depth = term_beat_layout(self.params), self.params.max_beats
        m.submodules.store = store = Queue(
            shape=beat, depth=depth + max(depth, 128), lut_ram=False
        )
        m.submodules.seen = seen = Queue(shape=beat, depth=4)
        m.submodules.flags = rom = memory.Memory(
            shape=self.params.groups, depth=len(self.flags), init=self.flags
        )
        flags = rom.read_port(domain="comb")
        number = Signal(range(len(self.flags) + 1), reset_less=True)
        last = ~self.i.p.last | self.row.valid
        connect(m, seen.o, self.seen)
        m.d.comb += [
            store.i.valid.eq(self.i.valid & last),
            store.i.p.eq(self.i.p),
            self.i.ready.eq(store.i.ready & last),
            self.row.ready.eq(self.i.valid & self.i.ready & self.i.p.last),
            self.o.valid.eq(store.o.valid & seen.i.ready),
            self.o.p.eq(store.o.p),
            store.o.ready.eq(self.o.ready & seen.i.ready),
            seen.i.valid.eq(store.o.valid & self.o.ready),
            seen.i.p.eq(store.o.p),
            flags.addr.eq(number),
        ]
        for bit, term, out in zip(flags.data, store.o.p.term, self.o.p.term, strict=True):
            m.d.comb += out.mantissa.eq(Mux(bit, term.mantissa, 0))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += number.eq(number + 1)
        return m


def forced_flags(image: MemoryImage) -> list[int]:
    """Beats of flags of all rows of an image, in the order in which they pass."""
    groups = image.params.groups
    beats = []
    for job in image.jobs:
        for row in job.expected.kept_values.reshape(-1, job.job.keys):
            padded = np.zeros(-(-len(row) // groups) * groups, bool)
            padded[: len(row)] = row
            beats += [int("".join("01"[bit] for bit in beat[::-1]), 2)
                      for beat in padded.reshape(-1, groups).astype(int)]  # fmt: skip
    return beats


def _forced_verilog(config: Configuration, flags: Sequence[int]) -> str:
    """The core of a configuration that is told what to keep."""

    class _Select(ForcedSelect):
        def __init__(self, *, params: CoreParams) -> None:
            super().__init__(params=params, flags=flags)

    class _Datapath(Datapath):
        value_select = _Select

    class _Core(Core):
        datapath = _Datapath

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        return to_verilog(_Core(params=config.core), config.top)


def random_job(params: CoreParams, keys: int, head_dim: int, queries: int) -> MemoryImage:
    """A job of one head that keeps a `KEEP`th of the values of each row."""
    job = Job(
        heads=1, kv_heads=1, queries=queries, keys=keys, head_dim=head_dim, bits=8,
        scales=((1 << 15, 20),), values=keys // KEEP,
    )  # fmt: skip
    rng = np.random.default_rng(keys)
    q = rng.integers(-127, 128, (1, queries, head_dim), np.int16)
    k, v = (rng.integers(-127, 128, (1, keys, head_dim), np.int16) for _ in "kv")
    place = Placement(params)
    return memory_image(params, [single_job(params, job, q, k, v, place=place)], place)


def measure(
    config: Configuration, cases: Sequence[tuple[int, int]], queries: int
) -> Iterator[tuple[int, int]]:
    """Cycles of jobs of (keys, head_dim), each with the core's own select and with a forced one.

    Raises
    ------
    AssertionError
        An output or a counter differs from the golden model.
    """
    images = [random_job(config.core, keys, head_dim, queries) for keys, head_dim in cases]
    own = counters_alone(config, generate_verilog(config), images)
    flags = [beat for image in images for beat in forced_flags(image)]
    forced = counters_alone(config, _forced_verilog(config, flags), images)
    for both in zip(own, forced, strict=True):
        yield both[0]["cycles"], both[1]["cycles"]


def forced_lines(config: Configuration, queries: int) -> Iterator[str]:
    """A table of `measure`."""
    params = config.core
    keys = [n for n in KEYS if n <= params.max_keys]
    dims = [d for d in HEAD_DIMS if d <= params.max_head_dim]
    cases = [(n, d) for d in dims for n in keys]
    yield f"{config.name}, {queries} queries, a value in {KEEP} kept"
    yield f"{'keys':>6}{'head_dim':>10}{'a row takes':>14}{'selected':>10}{'forced':>10}{'more':>9}"
    for (n, d), (own, forced) in zip(cases, measure(config, cases, queries), strict=True):
        lines = params.row_lines(n, d)
        yield f"{n:6}{d:10}{lines:14}{own:10}{forced:10}{own / forced - 1:9.2%}"
