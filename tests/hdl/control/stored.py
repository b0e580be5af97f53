"""The job control with a store of jobs before it, as the register block has one."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import flipped

from attnsieve.hdl.control.job_control import JobControl
from attnsieve.hdl.layouts import request_layout


class Stored(wiring.Component):
    """`JobControl` whose ``job`` takes jobs while fewer than ``queue_depth + 1`` are unfinished."""

    def __init__(self, *, params):
        self.params, self.depth = params, params.queue_depth + 1
        self.inner = JobControl(params=params)
        members = dict(self.inner.signature.members)
        del members["started"]
        super().__init__(members)

    def _after(self, pointer):
        return Mux(pointer == self.depth - 1, 0, pointer + 1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = self.inner
        for name, member in self.signature.members.items():
            mine, other = getattr(self, name), getattr(inner, name)
            if name == "job":
                continue
            if member.is_signature:
                if member.flow is wiring.In:
                    wiring.connect(m, flipped(mine), other)
                else:
                    wiring.connect(m, other, flipped(mine))
            else:
                m.d.comb += other.eq(mine) if member.flow is wiring.In else mine.eq(other)
        slots = Signal(data.ArrayLayout(request_layout(self.params), self.depth))
        newest, following, oldest = (Signal(range(self.depth)) for _ in range(3))
        jobs, taken = Signal(range(self.depth + 1)), Signal(range(self.depth + 1))
        append = self.job.valid & self.job.ready
        given = inner.job.valid & inner.job.ready
        ends = inner.result.valid & inner.result.ready
        m.d.comb += [
            self.job.ready.eq(jobs != self.depth),
            inner.started.eq(jobs),
            inner.job.valid.eq(jobs != taken),
            inner.job.payload.eq(slots[following]),
        ]
        with m.If(append):
            m.d.sync += [slots[newest].eq(self.job.payload), newest.eq(self._after(newest))]
        with m.If(ends):
            m.d.sync += oldest.eq(self._after(oldest))
        m.d.sync += jobs.eq(jobs + append - ends)
        with m.If(inner.clear):
            m.d.sync += [taken.eq(0), following.eq(Mux(ends, self._after(oldest), oldest))]
        with m.Else():
            m.d.sync += taken.eq(taken + given - ends)
            with m.If(given):
                m.d.sync += following.eq(self._after(following))
        return m
