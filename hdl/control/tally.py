"""Counts of a job, or of a row, at a place in the pipeline, kept until they are asked for."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue

__all__ = ["Tally"]


class Tally(wiring.Component):
    """Adds up events of one job and hands the sums over at its end.

    Jobs overlap in the pipeline: a place may see the next job's events before the last job is
    reported. So the sums are taken where the last event of a job passes, and wait in a queue. It
    has one place less than there are jobs: the last job's sums may stay where they were added up,
    since no other job's events come then.

    Latency: 2 cycles from the last event to ``o``; 2 from a transfer at ``o`` to the next sums.

    Parameters
    ----------
    widths : dict of str to tuple of int
        For each count: bits of the amount per cycle, bits of the sum.
    jobs : int
        Most jobs at a time, from their first event to their transfer at ``o``; at least 2.
    lut_ram : bool
        See `Queue`.

    Members
    -------
    amount : In(StructLayout)
        What an event adds.
    event : In(1)
        There is one in this cycle.
    end : In(1)
        The job ends with this cycle.
    o : Out(stream(StructLayout))
        Sums of a job.
    """

    def __init__(
        self, *, widths: dict[str, tuple[int, int]], jobs: int, lut_ram: bool = False
    ) -> None:
        self.widths, self.jobs, self.lut_ram = dict(widths), jobs, lut_ram
        self.sums = data.StructLayout({name: total for name, (_, total) in widths.items()})
        super().__init__(
            {
                "amount": In(data.StructLayout({n: step for n, (step, _) in widths.items()})),
                "event": In(1),
                "end": In(1),
                "o": Out(stream.Signature(self.sums)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(
            shape=self.sums, depth=self.jobs - 1, lut_ram=self.lut_ram
        )
        running, ended = Signal(self.sums), Signal()
        restart = Signal()  # the sums leave: this cycle's event is the next job's
        m.d.comb += [
            queue.i.valid.eq(ended),
            queue.i.p.eq(running),
            restart.eq(ended & queue.i.ready),
        ]
        connect(m, queue.o, self.o)
        with m.If(restart | self.end):
            m.d.sync += ended.eq(self.end)
        for name in self.widths:
            total = running[name] + self.amount[name]
            with m.If(self.event):
                m.d.sync += running[name].eq(total)
            with m.If(restart):
                m.d.sync += running[name].eq(Mux(self.event, self.amount[name], 0))
        return m
