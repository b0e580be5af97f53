"""Counts of each job at which slice its keys ended."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.gates import count_flags
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.bit_serial_dot import ended_layout
from attnsieve.hdl.slices.slice_params import slice_params, slices_skipped

__all__ = ["ExitTally", "exit_tally_layout", "tally_row_layout"]


def exit_tally_layout(p: CoreParams) -> data.StructLayout:
    """Keys by how many slices of them were read; turns in which units held what nobody took."""
    bits = (p.max_heads * p.max_queries * p.max_keys).bit_length()
    numbers = range(1, slice_params(p).slices + 1)
    return data.StructLayout(
        {**{f"exits_{n}": unsigned(bits) for n in numbers}, "queue_stalls": unsigned(32)}
    )


def tally_row_layout(p: CoreParams) -> data.StructLayout:
    """A row that begins: of which of two jobs it is, and whether keys have all slices."""
    return data.StructLayout(
        {"row": range(p.slice_rows), "job": unsigned(1), "wide": unsigned(1)}
    )


class ExitTally(wiring.Component):
    """Adds up what units report of the keys of two jobs, those of one job and of the next.

    Latency: 1 cycle from a job's end to `o`. It ends at the earliest 2 cycles after its last key.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    row : In(stream(tally_row_layout, always ready))
        A row begins, before its first key ends.
    ended : In(stream(ended_layout, always ready)).array(units)
    end : In(1)
        The older job has ended.
    o : Out(stream(exit_tally_layout))
        Counts of a job.
    """

    row: stream.Interface
    ended: Any
    end: Signal
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices = p, s = params, slice_params(params)
        ended = stream.Signature(ended_layout(s), always_ready=True)
        super().__init__(
            {
                "row": In(stream.Signature(tally_row_layout(p), always_ready=True)),
                "ended": In(ended).array(s.units),
                "end": In(1),
                "o": Out(stream.Signature(exit_tally_layout(p))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, s, older = self.params, self.slices, Signal()
        m.submodules.queue = queue = Queue(shape=exit_tally_layout(p), depth=p.queue_depth + 1)
        connect(m, queue.o, self.o)
        jobs, wide = Signal(s.rows), Signal(2)  # of each row its job; of each job its width
        with m.If(self.row.valid):
            m.d.sync += [
                jobs.bit_select(self.row.p.row, 1).eq(self.row.p.job),
                wide.bit_select(self.row.p.job, 1).eq(self.row.p.wide),
            ]
        counts = [self._counts(m, job, jobs, self.end & (older == job)) for job in range(2)]
        with m.If(self.end):
            m.d.sync += older.eq(~older)
        m.d.comb += queue.i.valid.eq(self.end)
        skipped = slices_skipped(p)
        for n in range(s.slices):
            narrow = [c[n + skipped] if n + skipped < s.slices else 0 for c in counts]
            chosen = [Mux(wide[job], counts[job][n], narrow[job]) for job in range(2)]
            m.d.comb += queue.i.p[f"exits_{n + 1}"].eq(Mux(older, chosen[1], chosen[0]))
        m.d.comb += queue.i.p.queue_stalls.eq(Mux(older, counts[1][-1], counts[0][-1]))
        return m

    def _counts(self, m: Module, job: int, jobs: Signal, clear: Any) -> list[Signal]:
        """Keys of a job by the number of their last slice, and turns in which they waited."""
        layout = exit_tally_layout(self.params)
        mine = [e.valid & (jobs.bit_select(e.p.row, 1) == job) for e in self.ended]
        found = []
        for n, (name, field) in enumerate(layout):
            waits = name == "queue_stalls"
            flags = [
                one & (e.p.waits if waits else ~e.p.waits & (e.p.number == n))
                for one, e in zip(mine, self.ended, strict=True)
            ]
            more = Signal(range(len(flags) + 1), name=f"more{job}_{n}")
            total = Signal(field.shape, name=f"total{job}_{n}")
            m.d.sync += [more.eq(count_flags(flags)), total.eq(total + more)]
            with m.If(clear):
                m.d.sync += total.eq(0)
            found.append(total)
        return found
