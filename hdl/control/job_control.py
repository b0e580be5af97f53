"""Everything that starts, walks and ends jobs."""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from attnsieve.hdl.control.job_store import JobStore
from attnsieve.hdl.control.sequencers import Sequencers
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.supervisor import Supervisor
from attnsieve.hdl.layouts import head_layout, region_layout, request_layout, row_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["JobControl"]


class JobControl(wiring.Component):
    """Job store, sequencers and supervisor, joined.

    Jobs are checked, walked (regions to fetch, rows to compute) and reported in order. ``clear``
    resets the sequencers here and is to reset the whole datapath; the jobs that are not finished
    are then to be given again.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    job : In(stream(request_layout))
        Jobs as software started them, one after another; all unfinished ones again after ``clear``.
    started : In
        Jobs that are started and not finished; falls as a result is taken.
    query, key, value : Out(stream(region_layout))
        Regions to fetch.
    row : Out(stream(row_layout))
        Rows to compute.
    table_bank, table_head, table_en : Out, table_data : In(head_layout)
        Head table, data one cycle after ``table_en``.
    query_bank, query_index, query_en : Out, query_valid : In(1)
        Query mask, the bit one cycle after ``query_en``.
    abort : In(1), watchdog : In(24)
        From software.
    done, idle, progress : In(1), read_error, write_error : In(2)
        From the datapath; see `Supervisor`.
    stop, clear : Out(1)
        To the datapath.
    jobs : Out
        Unfinished jobs.
    walking : Out(1)
        Rows of a job are still to be issued.
    result : Out(stream(StatusCode))
        How the oldest job ended.
    """

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        region = stream.Signature(region_layout(params))
        super().__init__(
            {
                "job": In(stream.Signature(request_layout(params))),
                "started": In(range(params.queue_depth + 2)),
                "query": Out(region),
                "key": Out(region),
                "value": Out(region),
                "row": Out(stream.Signature(row_layout(params))),
                "table_bank": Out(params.bank_bits),
                "table_head": Out(params.head_bits),
                "table_en": Out(1),
                "table_data": In(head_layout(params)),
                "query_bank": Out(params.bank_bits),
                "query_index": Out(params.query_bits),
                "query_en": Out(1),
                "query_valid": In(1),
                "abort": In(1),
                "watchdog": In(24),
                "done": In(1),
                "idle": In(1),
                "progress": In(1),
                "read_error": In(2),
                "write_error": In(2),
                "stop": Out(1),
                "clear": Out(1),
                "jobs": Out(range(params.queue_depth + 2)),
                "walking": Out(1),
                "result": Out(stream.Signature(StatusCode)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = JobStore(params=self.params)
        m.submodules.supervisor = supervisor = Supervisor(params=self.params)
        sequencers = Sequencers(params=self.params)
        m.submodules.sequencers = ResetInserter(self.clear)(sequencers)
        wiring.connect(m, flipped(self.job), store.i)
        wiring.connect(m, supervisor.result, flipped(self.result))
        for name in ("query", "key", "value", "row"):
            wiring.connect(m, getattr(sequencers, name), flipped(getattr(self, name)))
        for name in ("table_bank", "table_head", "table_en", "query_bank", "query_index",
                     "query_en", "walking"):
            m.d.comb += getattr(self, name).eq(getattr(sequencers, name))
        for name in ("done", "idle", "progress", "read_error", "write_error", "abort", "watchdog"):
            m.d.comb += getattr(supervisor, name).eq(getattr(self, name))
        m.d.comb += [
            sequencers.table_data.eq(self.table_data),
            sequencers.query_valid.eq(self.query_valid),
            store.jobs.eq(self.started),
            sequencers.waiting.eq(self.job.valid),
            sequencers.request.eq(self.job.p),
            sequencers.verdict.eq(store.verdict),
            sequencers.hold.eq(supervisor.hold),
            store.judge.eq(sequencers.judge),
            store.judgement.eq(sequencers.judgement),
            store.advance.eq(sequencers.advance),
            store.remove.eq(self.result.valid & self.result.ready),
            store.rewind.eq(supervisor.clear),
            supervisor.waiting.eq(store.waiting),
            supervisor.underway.eq(store.underway),
            supervisor.offering.eq(sequencers.offering),
            supervisor.oldest_code.eq(store.oldest_code),
            self.stop.eq(supervisor.stop),
            self.clear.eq(supervisor.clear),
            self.jobs.eq(self.started),
        ]
        return m
