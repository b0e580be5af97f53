"""Ends jobs: done, refused, failed, aborted or stuck. Every wait of the core ends here."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.params import CoreParams

__all__ = ["Supervisor"]


class Supervisor(wiring.Component):
    """Watches the job under way and decides how it ends.

    A job ends in order: refused ones at their turn, good ones when their last write has been
    answered. On an AXI error, an abort or the watchdog, ``stop`` is held until nothing is
    outstanding on any bus; then ``clear`` resets the datapath. An error that comes
    while the next job is already loading may be either's: the datapath is cleared and the older
    job runs again alone (``isolate``), so that each error is reported for the job that caused it.
    An abort ends every job that was started.

    The watchdog fires when no progress was made for ``watchdog`` cycles (0: never). A new value
    counts from the next progress on, or at once if it was 0. If the bus does not answer at all,
    the core stays busy, with ``stuck`` set, until it is reset.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    underway, waiting : In
        Jobs in the store.
    offering : In(1)
        A job is on its way to the units, not yet counted as under way.
    oldest_code : In(StatusCode)
        Verdict of the oldest job under way.
    done : In(1)
        The oldest job's last write has been answered.
    read_error, write_error : In(2)
        First AXI error response since the last clear (2 SLVERR, 3 DECERR, 0 none).
    idle : In(1)
        Nothing is outstanding on any bus.
    progress : In(1)
        Something moved in this cycle.
    abort : In(1)
        Abort, from software.
    watchdog : In(24)
        Cycles without progress that end a job.
    stop, clear : Out(1)
        To the datapath.
    hold : Out(1)
        No job may be dispatched now.
    result : Out(stream(StatusCode))
        How the oldest job ended; it leaves the store with the transfer.
    stuck : Out(1)
        The watchdog has fired and the bus has not answered yet.
    """

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        count = range(params.queue_depth + 2)
        super().__init__(
            {
                "underway": In(count),
                "waiting": In(count),
                "offering": In(1),
                "oldest_code": In(StatusCode),
                "done": In(1),
                "read_error": In(2),
                "write_error": In(2),
                "idle": In(1),
                "progress": In(1),
                "abort": In(1),
                "watchdog": In(24),
                "stop": Out(1),
                "clear": Out(1),
                "hold": Out(1),
                "result": Out(stream.Signature(StatusCode)),
                "stuck": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        cause, flush, isolate = Signal(StatusCode), Signal(), Signal()
        finished = Signal(range(self.params.queue_depth + 2))  # done, not yet reported
        busy, stopped = Signal(), Signal()
        done, rested = Signal(), Signal()  # a cycle later: they come from far away
        aborted = Signal()  # there are jobs to abort; a cycle later
        refused, verdict = Signal(), Signal(StatusCode)  # of the oldest job, a cycle later
        m.d.comb += [
            busy.eq((self.underway != 0) | self.offering),
            self.hold.eq(isolate & busy),
            self.result.p.eq(cause),
        ]
        late = self._watch(m, busy)
        m.d.sync += [
            done.eq(self.done),
            rested.eq(self.stop & self.idle),
            finished.eq(finished + done),
            refused.eq((self.underway != 0) & (self.oldest_code != StatusCode.OK)),
            verdict.eq(self.oldest_code),
            aborted.eq(self.abort & (busy | (self.waiting != 0))),
        ]
        with m.FSM() as fsm:
            stopping = fsm.ongoing("STOP")
            m.d.comb += [
                self.stop.eq(stopping | fsm.ongoing("CLEAR")),
                self.stuck.eq(stopping & (cause == StatusCode.WATCHDOG)),
                self.clear.eq(stopped),  # a register: it resets thousands of others
            ]
            with m.State("RUN"):
                with m.If(aborted):
                    m.d.sync += [cause.eq(StatusCode.ABORTED), flush.eq(1), isolate.eq(0)]
                    m.next = "STOP"
                with m.Elif(refused):
                    m.d.sync += cause.eq(verdict)
                    m.next = "REPORT"
                with m.Elif(self.write_error.any()):
                    self._fail(m, self.write_error, "WRITE", cause, isolate)
                with m.Elif(finished != 0):
                    m.d.sync += [cause.eq(StatusCode.OK), isolate.eq(0)]
                    m.d.sync += finished.eq(finished + done - 1)
                    m.next = "REPORT"
                with m.Elif(self.read_error.any()):
                    self._fail(m, self.read_error, "READ", cause, isolate)
                with m.Elif(late):
                    m.d.sync += [cause.eq(StatusCode.WATCHDOG), isolate.eq(0)]
                    m.next = "STOP"
            with m.State("STOP"):
                m.d.sync += finished.eq(0)
                with m.If(rested):
                    m.d.sync += stopped.eq(1)
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.sync += finished.eq(0)
                m.next = "END"
            with m.State("END"):  # cleared; a job that is to run again is not reported
                m.d.sync += finished.eq(0)
                with m.If(isolate | (self.waiting == 0)):
                    m.d.sync += [stopped.eq(0), flush.eq(0)]
                    m.next = "RUN"
                with m.Else():
                    m.next = "REPORT"
            with m.State("REPORT"):
                m.d.comb += self.result.valid.eq(1)
                with m.If(self.result.ready):
                    m.d.sync += stopped.eq(flush)
                    m.next = "NEXT"
                    with m.If(flush):
                        m.next = "END"
            with m.State("NEXT"):  # the verdict of the next job comes a cycle later
                m.next = "RUN"
        return m

    def _watch(self, m, busy):
        """Counts down while a job is under way without progress; ``late`` is one below 0.

        A watchdog of 0 is below 0 at once, and so is loaded again and again.
        """
        left, less = Signal(24), Signal(25)
        still, load, loaded = Signal(), Signal(), Signal(init=1)
        never, late = Signal(), Signal()
        below = ~less[-1]
        m.d.sync += still.eq(~(self.progress | ~busy | self.stop))
        m.d.comb += [
            load.eq(~still | never),
            # Minus one unless it loads: what is added is no constant, so that on an iCE40 the LUT
            # of a bit takes in the choice between its sum and its load.
            less.eq(left + (~load).replicate(24)),
        ]
        m.d.sync += [
            left.eq(Mux(load, self.watchdog, less)),
            loaded.eq(load),
            never.eq(~load & loaded & below),
        ]
        with m.If(~still):
            m.d.sync += late.eq(0)
        with m.Elif(~load & ~loaded & below):
            m.d.sync += late.eq(1)
        return late

    def _fail(self, m, error, side, cause, isolate) -> None:
        """An AXI error: of the job under way, if no other can have caused it."""
        slave, decode = StatusCode[f"{side}_SLVERR"], StatusCode[f"{side}_DECERR"]
        m.next = "STOP"
        with m.If(self.underway + self.offering > 1):  # it may be the younger job's
            m.d.sync += isolate.eq(1)
        with m.Else():
            m.d.sync += [isolate.eq(0), cause.eq(Mux(error[0], decode, slave))]
