"""Turns a job into the memory regions of one tensor, head by head."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import job_layout, region_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["RegionSequencer"]


class RegionSequencer(wiring.Component):
    """Gives one region per head of Q, K or V, in head order.

    Takes a job when the last one's regions are out. The first region is valid two cycles after
    the job is taken, then one per cycle. Jobs follow each other with two cycles between regions.

    Parameters
    ----------
    params : CoreParams
        The core.
    tensor : str
        ``"q"``, ``"k"`` or ``"v"``.

    Members
    -------
    job : In(stream(job_layout))
        Checked jobs.
    o : Out(stream(region_layout))
        Regions.
    """

    def __init__(self, *, params: CoreParams, tensor: str) -> None:
        if tensor not in ("q", "k", "v"):
            raise ValueError(f'Tensor must be "q", "k" or "v", not {tensor!r}')
        self.params, self.tensor = params, tensor
        super().__init__(
            {
                "job": In(stream.Signature(job_layout(params))),
                "o": Out(stream.Signature(region_layout(params))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p, job, region = self.params, self.job.p, self.o.p
        left, stride = Signal(p.head_bits), Signal(p.addr_width)
        sized = Signal()
        segments = Signal(len(region.rows) + len(region.parts))
        bytes_of = segments * (p.segment // 2)  # bytes at 4 bits an element
        m.d.comb += [
            segments.eq(region.rows * region.parts),
            self.job.ready.eq(left == 0),
            self.o.valid.eq((left != 0) & sized),
        ]
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += [
                region.address.eq(job[f"{self.tensor}_base"]),
                stride.eq(job[f"{self.tensor}_stride"]),
                left.eq(job.heads if self.tensor == "q" else job.kv_heads),
                region.rows.eq(job.queries if self.tensor == "q" else job.keys),
                region.parts.eq(job.parts),
                region.wide.eq(job.wide),
                sized.eq(0),
            ]
        with m.Elif(~sized):
            m.d.sync += [
                region.lines.eq((segments + p.groups - 1) // p.groups),
                region.bytes.eq(Mux(region.wide, (bytes_of << 1) + bytes_of, bytes_of << 1)),
                sized.eq(1),
            ]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += [left.eq(left - 1), region.address.eq(region.address + stride)]
        return m
