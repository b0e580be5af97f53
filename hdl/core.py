"""The core that a user instantiates."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Member, Out, connect

from attnsieve.hdl.axi.signature import AXI4LiteSignature, AXI4Signature, flat_members, forward
from attnsieve.hdl.control.counters import Activity
from attnsieve.hdl.control.job_control import JobControl
from attnsieve.hdl.control.register_map import ADDRESS_BITS
from attnsieve.hdl.control.registers import Registers
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.datapath import Datapath
from attnsieve.hdl.layouts import work_members
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["Core", "master_prefixes"]


def master_prefixes(params: CoreParams) -> tuple[str, ...]:
    """Prefixes of the AXI4 masters' ports: ``m_axi``, or ``m_axi0`` and on."""
    if params.channels == 1:
        return ("m_axi",)
    return tuple(f"m_axi{channel}" for channel in range(params.channels))


class Core(wiring.Component):
    """Attention accelerator with AXI4 masters, AXI4-Lite registers and an interrupt.

    One clock ``clk``, one synchronous reset ``rst``. Software writes a job to the registers and
    starts it; see docs/reference/registers.md and docs/reference/memory.md.

    Parameters
    ----------
    params : CoreParams
        Build-time parameters.

    Members
    -------
    m_axi_* (one channel) or m_axi0_*, m_axi1_*, … : Out
        AXI4 masters; memory interleaves over them.
    s_axil_* : In
        AXI4-Lite slave, 32 data bits.
    irq : Out(1)
        Level interrupt.
    """

    #: What stands between the control of jobs and the memory.
    datapath = Datapath

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        self._master = AXI4Signature(addr_width=params.addr_width, data_width=params.data_width)
        self._slave = AXI4LiteSignature(addr_width=ADDRESS_BITS)
        members: dict[str, Member] = {"irq": Out(1)}
        for prefix in master_prefixes(params):
            members |= flat_members(prefix, self._master)
        members |= flat_members("s_axil", self._slave.flip())
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        m.submodules.registers = registers = Registers(params=p)
        m.submodules.control = control = JobControl(params=p)
        m.submodules.datapath = datapath = self.datapath(params=p)
        connect(m, control.fetch, registers.fetch)
        connect(m, control.store, registers.store)
        m.d.comb += control.jobs.eq(registers.jobs)
        for name in work_members(p):
            connect(m, getattr(control, name), getattr(datapath, name))
        self._ports(m, registers, datapath)
        self._tables(m, registers, control, datapath)
        self._supervise(m, registers, control, datapath)
        self._result(m, registers, control, datapath)
        self._activity(m, registers, control, datapath)
        return m

    def _ports(self, m: Module, registers: Registers, datapath: Datapath) -> None:
        for channel, prefix in enumerate(master_prefixes(self.params)):
            for bus in (datapath.read[channel], datapath.write[channel]):
                forward(m, bus, self, prefix=prefix)
        forward(m, registers.bus, self, prefix="s_axil")
        m.d.comb += self.irq.eq(registers.irq)

    def _tables(self, m, registers, control, datapath) -> None:
        m.d.comb += [
            registers.query_bank.eq(control.query_bank),
            registers.query.eq(control.query_index),
            registers.query_masked.eq(control.query_masked),
            registers.query_en.eq(control.query_en),
            control.query_valid.eq(registers.query_valid),
        ]
        if self.params.token_lanes:
            connect(m, datapath.list, control.list)
            self._tokens(m, registers, control, datapath)
            m.d.comb += [
                registers.key_bank.eq(control.key_bank),
                registers.key_beat.eq(control.key_beat),
                registers.key_masked.eq(control.key_masked),
                registers.key_en.eq(control.key_en),
                control.key_valid.eq(registers.key_valid),
                datapath.mask.data.eq(-1),  # what is listed is valid
                datapath.listed.eq(control.listed),
                datapath.listed_queries.eq(control.listed_queries),
                datapath.listed_keys.eq(control.listed_keys),
            ]
            if self.params.value_demand:
                connect(m, datapath.value_entry, control.value_entry)
            if self.params.progressive:
                m.d.comb += [
                    datapath.threshold.eq(control.selection.threshold),
                    datapath.plane.eq(control.selection.plane),
                ]
            return
        m.d.comb += [
            registers.key_bank.eq(datapath.mask.bank),
            registers.key_beat.eq(datapath.mask.beat),
            registers.key_masked.eq(datapath.mask.used),
            registers.key_en.eq(datapath.mask.en),
            datapath.mask.data.eq(registers.key_valid),
        ]

    def _supervise(self, m, registers, control, datapath) -> None:
        m.d.comb += [
            control.abort.eq(registers.abort),
            control.watchdog.eq(registers.watchdog),
            control.done.eq(self._done(m, control, datapath)),
            control.idle.eq(datapath.idle),
            control.progress.eq(datapath.progress),
            control.read_error.eq(datapath.read_error),
            control.write_error.eq(datapath.write_error),
            datapath.stop.eq(control.stop),
            datapath.clear.eq(control.clear),
        ]

    def _tokens(self, m, registers, control, datapath) -> None:
        """Importance of tokens and heads: their job, candidates, and software's way to them."""
        tokens, begun = datapath.tokens, Signal()
        m.d.sync += begun.eq(control.begun)
        connect(m, tokens.entry, control.key_beat_entry)
        m.d.comb += [
            tokens.begin.eq(control.begun & ~begun),
            tokens.selection.eq(control.selection),
            registers.candidate_bank.eq(control.key_bank),
            registers.candidate_beat.eq(tokens.beat),
            registers.candidate_en.eq(tokens.en),
            tokens.candidate.eq(registers.candidate),
            tokens.word.eq(registers.next_word),
            registers.next_data.eq(tokens.next),
            tokens.access.eq(registers.score_access),
            tokens.token.eq(registers.score_token),
            tokens.write.eq(registers.score_write),
            tokens.data.eq(registers.score_data),
            registers.score.eq(tokens.score),
            registers.score_ready.eq(tokens.ready),
        ]
        heads, selection = datapath.heads, control.selection
        m.d.comb += [
            heads.begin.eq(tokens.begin),
            heads.clear.eq(selection.clear),
            heads.select.eq(selection.select),
            heads.keep.eq(selection.heads),
            heads.alive.eq(control.alive),
            heads.half.eq(registers.score_half),
            heads.write.eq(registers.head_write),
            heads.data.eq(registers.score_data),
            registers.head_score.eq(heads.score),
            registers.next_heads.eq(heads.next),
        ]

    def _done(self, m, control, datapath) -> Any:
        """A job is done when it is written and, with lists, its tokens and heads are too."""
        if not self.params.token_lanes:
            return datapath.done
        written, done = Signal(), Signal()
        finished = datapath.tokens.finished & datapath.heads.finished
        m.d.comb += done.eq((written | datapath.done) & finished)
        m.d.sync += written.eq((written | datapath.done) & ~done & ~control.clear)
        return done

    def _result(self, m, registers, control, datapath) -> None:
        """A good job's counts come from the tally; for another job the counters take none.

        Bytes count until the result is taken, so a job's bytes include what the next one has
        loaded by then.
        """
        p, result = self.params, registers.result
        tallies = [datapath.tally, *([datapath.value_tally] if p.value_lanes else [])]
        read, written, good, taken = Signal(32), Signal(32), Signal(), Signal()
        unit, granule = p.unit_bytes.bit_length() - 1, 5
        m.d.comb += [
            good.eq(control.result.p == StatusCode.OK),
            taken.eq(result.ready),  # low but in the cycle of the transfer
            result.valid.eq(control.result.valid),
            control.result.ready.eq(result.ready),
            result.p.code.eq(control.result.p),
            *(tally.ready.eq(taken & good) for tally in tallies),
            result.p.read_bytes.eq(read),
            result.p.write_bytes.eq(written),
        ]
        if p.slice_units:
            m.d.comb += [
                datapath.exit_tally.ready.eq(taken & good),
                registers.exits.eq(datapath.exit_tally.p),
            ]
        for tally in tallies:
            m.d.comb += [result.p[name].eq(tally.p[name]) for name, _ in tally.p.shape()]
        for total, count, size in (
            (read, datapath.read_units, unit),
            (written, datapath.written_granules, granule),
        ):
            before = Signal.like(count)  # of the cycle before: the sum is no part of a long path
            m.d.sync += [before.eq(count), total.eq(total + (before << size))]
            with m.If(taken):
                m.d.sync += total.eq(before << size)

    def _activity(self, m, registers, control, datapath) -> None:
        """What this cycle is counted as: why the Q·K array worked or not in the one before."""
        seen = Signal()  # a line was issued since the oldest job's turn
        with m.If(datapath.busy):
            m.d.sync += seen.eq(1)
        with m.If(control.result.valid | (registers.jobs == 0)):
            m.d.sync += seen.eq(0)
        kind = registers.activity
        with m.If(registers.jobs == 0):
            m.d.comb += kind.eq(Activity.NONE)
        with m.Elif(datapath.busy):
            m.d.comb += kind.eq(Activity.BUSY)
        with m.Elif(datapath.wait_query):
            m.d.comb += kind.eq(Activity.STALL_QUERY)
        with m.Elif(datapath.wait_key):
            m.d.comb += kind.eq(Activity.STALL_KEY)
        with m.Elif(datapath.wait_output):
            m.d.comb += kind.eq(Activity.STALL_OUTPUT)
        with m.Elif(seen):
            m.d.comb += kind.eq(Activity.STALL_TAIL)
        with m.Else():
            m.d.comb += kind.eq(Activity.STALL_SETUP)
