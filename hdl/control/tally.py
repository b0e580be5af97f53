"""Counts of a job at a place in the pipeline, kept until the job is reported."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue

__all__ = ["Tally"]


class Tally(wiring.Component):
    """Adds up events of one job and hands the sums over at its end.

    Jobs overlap in the pipeline: a place may see the next job's events before the last job is
    reported. So the sums are taken where the last event of a job passes, and wait in a queue. The
    sums include the events of the cycle in which ``end`` is high.

    Parameters
    ----------
    widths : dict of str to tuple of int
        For each count: bits of the amount per cycle, bits of the sum.
    jobs : int
        Most jobs whose sums wait.

    Members
    -------
    amount : In(StructLayout)
        What to add in this cycle.
    end : In(1)
        The job's last event is in this cycle.
    o : Out(stream(StructLayout))
        Sums of a job.
    """

    def __init__(self, *, widths: dict[str, tuple[int, int]], jobs: int) -> None:
        self.widths, self.jobs = dict(widths), jobs
        self.sums = data.StructLayout({name: total for name, (_, total) in widths.items()})
        super().__init__(
            {
                "amount": In(data.StructLayout({n: step for n, (step, _) in widths.items()})),
                "end": In(1),
                "o": Out(stream.Signature(self.sums)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(shape=self.sums, depth=self.jobs, lut_ram=False)
        running, ended = Signal(self.sums), Signal()
        m.d.sync += ended.eq(self.end)
        m.d.comb += [queue.i.valid.eq(ended), queue.i.p.eq(running)]
        connect(m, queue.o, self.o)
        for name in self.widths:
            with m.If(ended):
                m.d.sync += running[name].eq(self.amount[name])
            with m.Else():
                m.d.sync += running[name].eq(running[name] + self.amount[name])
        return m
