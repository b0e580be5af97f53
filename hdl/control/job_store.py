"""Holds the jobs that have been started and not finished, and how they were judged."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.layouts import request_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["JobStore", "verdict_layout"]


def verdict_layout(p: CoreParams) -> data.StructLayout:
    """What the checker found out about a job."""
    return data.StructLayout(
        {"checked": 1, "code": StatusCode, "group": p.head_bits}
    )


class JobStore(wiring.Component):
    """A queue of jobs with two heads: the next to dispatch and, behind it, the next to finish.

    A job is appended in one cycle while fewer than ``queue_depth + 1`` are held. ``advance`` moves
    the next job to those that are under way, ``remove`` drops the oldest, ``rewind`` makes all jobs
    wait again; their verdicts stay. Requests lie in a small LUT RAM or in flip-flops and are read
    without latency.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(request_layout))
        Jobs as software starts them.
    waiting, underway : Out
        Jobs not yet dispatched, and dispatched ones.
    request : Out(request_layout), verdict : Out(verdict_layout)
        The next job to dispatch.
    judge : In(1), judgement : In(verdict_layout)
        Writes its verdict.
    advance, remove, rewind : In(1)
        As above; ``rewind`` wins.
    oldest_code : Out(StatusCode)
        Verdict of the oldest job under way.
    """

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        self.depth = params.queue_depth + 1
        count, verdict = range(self.depth + 1), verdict_layout(params)
        super().__init__(
            {
                "i": In(stream.Signature(request_layout(params))),
                "waiting": Out(count),
                "underway": Out(count),
                "request": Out(request_layout(params)),
                "verdict": Out(verdict),
                "judge": In(1),
                "judgement": In(verdict),
                "advance": In(1),
                "remove": In(1),
                "rewind": In(1),
                "oldest_code": Out(StatusCode),
            }
        )

    def _after(self, pointer):
        return Mux(pointer == self.depth - 1, 0, pointer + 1)

    def elaborate(self, platform):
        m = Module()
        newest, following, oldest = (
            Signal(range(self.depth), name=name) for name in ("newest", "following", "oldest")
        )
        append = Signal()
        style = {"ram_style": "distributed"} if self.params.lut_ram else {}
        m.submodules.requests = requests = memory.Memory(
            shape=request_layout(self.params), depth=self.depth, init=[], attrs=style
        )
        write, read = requests.write_port(), requests.read_port(domain="comb")
        m.d.comb += [
            self.i.ready.eq(self.waiting + self.underway != self.depth),
            append.eq(self.i.valid & self.i.ready),
            write.addr.eq(newest),
            write.data.eq(self.i.p),
            write.en.eq(append),
            read.addr.eq(following),
            self.request.eq(read.data),
        ]
        self._judge(m, append, newest, following, oldest)
        with m.If(append):
            m.d.sync += newest.eq(self._after(newest))
        with m.If(self.remove):
            m.d.sync += oldest.eq(self._after(oldest))
        with m.If(self.rewind):
            m.d.sync += [
                following.eq(Mux(self.remove, self._after(oldest), oldest)),
                self.waiting.eq(self.waiting + self.underway + append - self.remove),
                self.underway.eq(0),
            ]
        with m.Else():
            m.d.sync += [
                following.eq(Mux(self.advance, self._after(following), following)),
                self.waiting.eq(self.waiting + append - self.advance),
                self.underway.eq(self.underway + self.advance - self.remove),
            ]
        return m

    def _judge(self, m, append, newest, following, oldest) -> None:
        """Verdicts are registers of their own: read at two places, cleared as a job arrives."""
        verdicts = Signal(data.ArrayLayout(verdict_layout(self.params), self.depth))
        m.d.comb += [
            self.verdict.eq(verdicts[following]),
            self.oldest_code.eq(verdicts[oldest].code),
        ]
        with m.If(self.judge):
            m.d.sync += verdicts[following].eq(self.judgement)
        with m.If(append):
            m.d.sync += verdicts[newest].checked.eq(0)
