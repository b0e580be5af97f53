"""Everything that starts, walks and ends jobs."""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from attnsieve.hdl.control.job_store import JobStore
from attnsieve.hdl.control.sequencers import Sequencers
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.supervisor import Supervisor
from attnsieve.hdl.control.walk import forward_walk, walk_members
from attnsieve.hdl.control.words import fetch_signature, store_signature
from attnsieve.hdl.layouts import work_members
from attnsieve.hdl.params import CoreParams

__all__ = ["JobControl"]


class JobControl(wiring.Component):
    """Job store, sequencers and supervisor, joined.

    Jobs are checked, walked (regions to fetch and to write, rows to compute) and reported in order.
    ``clear`` resets the sequencers here and is to reset the whole datapath; the jobs that are not
    finished are then walked again.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    jobs : In
        Jobs that are started and not finished; falls as a result is taken.
    fetch : Out(fetch_signature), store : Out(store_signature)
        Ports of the job memory.
    query, key, value, output, scale, row : Out(stream)
        The work of each job; see `work_members`.
    (masks, lists) : see `walk_members`
    abort : In(1), watchdog : In(24)
        From software.
    done, idle, progress : In(1), read_error, write_error : In(2)
        From the datapath; see `Supervisor`.
    stop, clear : Out(1)
        To the datapath.
    begun : Out(1)
        With lists: a job is under way and its lists are there.
    result : Out(stream(StatusCode))
        How the oldest job ended.
    """

    #: What stands between the store of jobs and the datapath.
    units = Sequencers

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "jobs": In(range(params.queue_depth + 2)),
                "fetch": Out(fetch_signature(params)),
                "store": Out(store_signature(params)),
                **work_members(params),
                **walk_members(params),
                "abort": In(1),
                "watchdog": In(24),
                "done": In(1),
                "idle": In(1),
                "progress": In(1),
                "read_error": In(2),
                "write_error": In(2),
                "stop": Out(1),
                "clear": Out(1),
                **({"begun": Out(1)} if params.token_lanes else {}),
                "result": Out(stream.Signature(StatusCode)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = JobStore(params=self.params)
        m.submodules.supervisor = supervisor = Supervisor(params=self.params)
        sequencers = self.units(params=self.params)
        m.submodules.sequencers = ResetInserter(self.clear)(sequencers)
        wiring.connect(m, supervisor.result, flipped(self.result))
        for name in ("fetch", "store", *work_members(self.params)):
            wiring.connect(m, getattr(sequencers, name), flipped(getattr(self, name)))
        forward_walk(m, sequencers, self)
        # a job's lists stay until it is finished
        alone = (store.underway != 0) if self.params.token_lanes else 0
        if self.params.token_lanes:  # a refused job changes nothing
            under = sequencers.offering | (alone & (store.oldest_code == StatusCode.OK))
            m.d.comb += self.begun.eq(sequencers.listed & under)
        for name in ("done", "idle", "progress", "read_error", "write_error", "abort", "watchdog"):
            m.d.comb += getattr(supervisor, name).eq(getattr(self, name))
        m.d.comb += [
            sequencers.waiting.eq(store.waiting),
            sequencers.bank.eq(store.bank),
            sequencers.verdict.eq(store.verdict),
            sequencers.hold.eq(supervisor.hold | alone),
            store.jobs.eq(self.jobs),
            store.judge.eq(sequencers.judge),
            store.code.eq(sequencers.code),
            store.advance.eq(sequencers.advance),
            store.remove.eq(self.result.valid & self.result.ready),
            store.rewind.eq(supervisor.clear),
            supervisor.waiting.eq(store.waiting),
            supervisor.underway.eq(store.underway),
            supervisor.offering.eq(sequencers.offering),
            supervisor.oldest_code.eq(store.oldest_code),
            self.stop.eq(supervisor.stop),
            self.clear.eq(supervisor.clear),
        ]
        return m
