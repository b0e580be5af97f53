"""The register block: what software sees of a core."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.signature import AXI4LiteSignature
from attnsieve.hdl.control.axi_lite import AXILiteSlave
from attnsieve.hdl.control.counters import Activity, Counters, result_layout
from attnsieve.hdl.control.register_map import ADDRESS_BITS, Access, RegisterMap, register_map
from attnsieve.hdl.control.shadow import BASE, WORDS, ShadowJob
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.tables import MaskTable
from attnsieve.hdl.layouts import head_layout, request_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["Registers"]


class Registers(wiring.Component):
    """AXI4-Lite slave with the registers of `attnsieve.hdl.control.register_map`.

    A start makes a job of the job registers. Jobs come out of ``job`` in the order of their starts,
    the first one ``ShadowJob.latency`` cycles after the start. A start while ``queue_depth + 1``
    jobs are started and not finished, or while an abort is being carried out, is refused. Every job
    has the table bank that software was writing when it was started; the next bank is written from
    then on. Every started job must end by one transfer on ``result``, in the order of the starts;
    its bank is free from then on. After ``rewind``, ``job`` gives all jobs that have not ended once
    more.

    A result is taken, and made visible with its counters, RESULT, STATUS and the interrupt, about
    ``Counters.latency`` cycles after it is offered. ``abort`` stays high until all jobs that were
    started have ended.

    Reads of unmapped words give 0, writes to them do nothing, all with response OKAY. Job
    registers can be read and written in 1 cycle except while a job is copied or read
    (``ShadowJob.latency`` cycles, in which the bus waits), and after reset until the job registers
    have been cleared.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    bus : In(AXI4LiteSignature)
        Registers: 12 address bits, 32 data bits.
    irq : Out(1)
        Level interrupt.
    job : Out(stream(request_layout))
        Jobs as software started them.
    rewind : In(1)
        Give the jobs again, from the oldest that has not ended; withdraws the one that is offered.
        A result may be transferred in the same cycle.
    result : In(stream(result_layout))
        How the oldest job ended, and its counts.
    jobs : Out
        Jobs that are started and not finished; falls as a result is transferred.
    abort : Out(1)
        All jobs that were started shall end.
    watchdog : Out(24)
        Cycles without progress that end a job; 0: never.
    activity : In(Activity)
        What this cycle is counted as, for the oldest job that has not been reported.
    head_bank, head : In, head_en : In(1), head_data : Out(head_layout)
        Read port of the head table: data in the cycle after ``head_en`` only.
    key_bank, key_beat : In, key_masked, key_en : In(1), key_valid : Out(groups)
        Read port of the key mask, a beat of ``groups`` keys; all ones if not ``key_masked``.
    query_bank, query : In, query_masked, query_en : In(1), query_valid : Out(1)
        Read port of the query mask; one if not ``query_masked``.
    """

    def __init__(self, *, params: CoreParams) -> None:
        if not isinstance(params, CoreParams):
            raise TypeError(f"Parameters must be CoreParams, not {params!r}")
        self.params = params
        bank = params.bank_bits
        super().__init__(
            {
                "bus": In(AXI4LiteSignature(addr_width=ADDRESS_BITS, data_width=32)),
                "irq": Out(1),
                "job": Out(stream.Signature(request_layout(params))),
                "rewind": In(1),
                "result": In(stream.Signature(result_layout(params))),
                "jobs": Out(range(params.queue_depth + 2)),
                "abort": Out(1),
                "watchdog": Out(24),
                "activity": In(Activity),
                "head_bank": In(bank),
                "head": In(params.head_bits),
                "head_en": In(1),
                "head_data": Out(head_layout(params)),
                "key_bank": In(bank),
                "key_beat": In(range(params.max_beats)),
                "key_masked": In(1),
                "key_en": In(1),
                "key_valid": Out(params.groups),
                "query_bank": In(bank),
                "query": In(params.query_bits),
                "query_masked": In(1),
                "query_en": In(1),
                "query_valid": Out(1),
            }
        )

    @property
    def map(self) -> RegisterMap:
        """The register map of this core."""
        return register_map(self.params)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.slave = slave = AXILiteSlave(addr_width=ADDRESS_BITS)
        m.submodules.shadow = shadow = ShadowJob(params=self.params)
        m.submodules.counters = counters = Counters(params=self.params)
        wiring.connect(m, wiring.flipped(self.bus), slave.bus)
        wiring.connect(m, wiring.flipped(self.job), shadow.job)
        wiring.connect(m, wiring.flipped(self.result), counters.result)
        write = slave.write
        bank = Signal(self.params.bank_bits)  # that software writes
        written = self._written(m, slave, shadow)
        self._tables(m, write, shadow, bank)
        state = self._jobs(m, written, shadow, counters, bank)
        self._flags(m, written, state)
        self._read(m, slave, shadow, counters, state)
        return m

    def _written(self, m: Module, slave: AXILiteSlave, shadow: ShadowJob) -> dict[str, Value]:
        """For each register in flip-flops the bits that are written with 1, and with anything."""
        write = slave.write
        done, word = write.valid & write.ready, write.payload.word
        strobe = Cat(bit.replicate(8) for bit in write.payload.strobe)
        found: dict[str, Value] = {}
        for name in ("CTRL", "STATUS", "IRQ_ENABLE", "IRQ_STATUS", "WATCHDOG"):
            here = Signal(name=f"write_{name.lower()}")
            m.d.comb += here.eq(done & (word == self.map[name].word))
            found[f"{name}_strobe"] = strobe & here.replicate(32)
            found[name] = write.payload.data & found[f"{name}_strobe"]
        in_shadow = (word >> 5) == BASE // 4 // WORDS
        m.d.comb += [
            shadow.word.eq(word),
            shadow.data.eq(write.payload.data),
            shadow.strobe.eq(Mux(done & (in_shadow | shadow.to_table), write.payload.strobe, 0)),
        ]
        return found

    def _bit(self, value: Value, register: str, field: str) -> Value:
        return value[self.map[register].field(field).lsb]

    def _tables(self, m: Module, write, shadow: ShadowJob, bank: Signal) -> None:
        p, word = self.params, write.payload.word
        m.submodules.keys = keys = MaskTable(params=p, bits=p.max_keys, lanes=p.groups)
        m.submodules.queries = queries = MaskTable(params=p, bits=p.max_queries, lanes=1)
        waits: Value = Const(0, 1)  # a write to a mask takes more than this cycle
        for name, table in {"KEY_MASK": keys, "QUERY_MASK": queries}.items():
            here = Signal(name=f"write_{name.lower()}")
            m.d.comb += [
                here.eq(write.valid & (word[8:] == self.map.window(name).offset >> 10)),
                table.write_bank.eq(bank),
                table.write_word.eq(word),
                table.write_data.eq(write.payload.data),
                table.write_strobe.eq(write.payload.strobe),
                table.write_en.eq(here & shadow.ready),
            ]
            waits = waits | (here & ~table.written)
        m.d.comb += [
            write.ready.eq(shadow.ready & ~waits),
            shadow.to_table.eq(word[8:] == self.map.window("HEAD_TABLE").offset >> 10),
            shadow.head_bank.eq(self.head_bank),
            shadow.head.eq(self.head),
            shadow.head_en.eq(self.head_en),
            self.head_data.eq(shadow.head_data),
            keys.bank.eq(self.key_bank),
            keys.beat.eq(self.key_beat),
            keys.masked.eq(self.key_masked),
            keys.en.eq(self.key_en),
            self.key_valid.eq(keys.data),
            queries.bank.eq(self.query_bank),
            queries.beat.eq(self.query),
            queries.masked.eq(self.query_masked),
            queries.en.eq(self.query_en),
            self.query_valid.eq(queries.data),
        ]

    def _jobs(self, m: Module, written, shadow, counters, bank: Signal) -> dict[str, Signal]:
        """Starts, results, aborts; what software sees of them."""
        p = self.params
        state = {
            "jobs": self.jobs,
            "taken": Signal(range(p.queue_depth + 2)),  # of these, from ``job``
            "full": Signal(),
            "started": Signal(),
            "refused": Signal(),
            "published": Signal(),
            "status": Signal(4),
            "tag_bank": Signal(p.bank_bits, init=p.banks - 1),  # of the job that finished last
            "next_bank": Signal(p.bank_bits),  # of the job that is offered next
            "finished": Signal(16),
        }
        start = self._bit(written["CTRL"], "CTRL", "start")
        abort = self._bit(written["CTRL"], "CTRL", "abort")
        m.d.comb += [
            state["full"].eq((state["jobs"] == p.queue_depth + 1) | self.abort),
            state["started"].eq(start & ~abort & ~state["full"]),
            state["refused"].eq(start & ~abort & state["full"]),
            state["published"].eq(self.result.valid & self.result.ready),
            shadow.start.eq(state["started"]),
            shadow.bank.eq(bank),
            counters.activity.eq(self.activity),
        ]
        m.d.sync += state["jobs"].eq(state["jobs"] + state["started"] - state["published"])
        with m.If(state["started"]):
            m.d.sync += bank.eq(self._after(bank))
        with m.If(state["published"]):
            m.d.sync += [
                state["status"].eq(self.result.payload.code),
                state["tag_bank"].eq(self._after(state["tag_bank"])),
                state["finished"].eq(state["finished"] + 1),
            ]
        with m.If(state["jobs"] == 0):
            m.d.sync += self.abort.eq(0)
        with m.Elif(abort):
            m.d.sync += self.abort.eq(1)
        self._offer(m, shadow, state)
        return state

    def _after(self, bank: Value) -> Value:
        return Mux(bank == self.params.banks - 1, 0, bank + 1)

    def _offer(self, m: Module, shadow, state) -> None:
        """Which job ``job`` gives next, and how many it has given."""
        given, published = self.job.valid & self.job.ready, state["published"]
        oldest = self._after(state["tag_bank"])
        m.d.comb += [
            shadow.rewind.eq(self.rewind),
            shadow.next_bank.eq(state["next_bank"]),
            shadow.next_valid.eq(state["jobs"] != state["taken"]),
        ]
        with m.If(self.rewind):
            m.d.sync += [
                state["taken"].eq(0),
                state["next_bank"].eq(Mux(published, self._after(oldest), oldest)),
            ]
        with m.Else():
            m.d.sync += state["taken"].eq(state["taken"] + given - published)
            with m.If(given):
                m.d.sync += state["next_bank"].eq(self._after(state["next_bank"]))

    def _flags(self, m: Module, written, state) -> None:
        """Sticky bits (setting wins over clearing), interrupt, watchdog."""
        failed = state["published"] & (self.result.payload.code != StatusCode.OK)
        flags = (
            ("STATUS", "done", state["published"]),
            ("STATUS", "start_while_busy", state["refused"]),
            ("IRQ_STATUS", "done", state["published"]),
            ("IRQ_STATUS", "error", failed | state["refused"]),
        )
        for register, field, setting in flags:
            flag = state[f"{register}.{field}"] = Signal(name=f"{register}_{field}".lower())
            cleared = self._bit(written[register], register, field)
            m.d.sync += flag.eq((flag & ~cleared) | setting)
        enable = state["enable"] = Signal(2)
        for signal, register in ((enable, "IRQ_ENABLE"), (self.watchdog, "WATCHDOG")):
            for byte in range(0, len(signal), 8):
                with m.If(written[f"{register}_strobe"][byte]):
                    m.d.sync += signal[byte : byte + 8].eq(written[register][byte:])
        waiting = Cat(state["IRQ_STATUS.done"], state["IRQ_STATUS.error"])
        m.d.sync += self.irq.eq((waiting & enable).any())

    def _values(self, state) -> dict[str, dict[str, Value]]:
        """Fields of the registers that are kept in flip-flops."""
        return {
            "STATUS": {
                "busy": state["jobs"] != 0,
                "queue_full": state["full"],
                "aborting": self.abort,
                "done": state["STATUS.done"],
                "start_while_busy": state["STATUS.start_while_busy"],
                "jobs": state["jobs"],
            },
            "IRQ_ENABLE": {"done": state["enable"][0], "error": state["enable"][1]},
            "IRQ_STATUS": {
                "done": state["IRQ_STATUS.done"],
                "error": state["IRQ_STATUS.error"],
            },
            "WATCHDOG": {"value": self.watchdog},
            "FINISHED": {"value": state["finished"]},
        }

    def _read(self, m: Module, slave, shadow, counters, state) -> None:
        """Memories are addressed as a read is taken; the answer is chosen one cycle later.

        CYCLES takes a cycle more, in which its upper half is fetched and held.
        """
        address = slave.read.payload
        asked, upper_asked, upper = Signal(), Signal(), Signal(16)
        counter = address[4:] == self.map["CYCLES"].word >> 4
        cycles = address == self.map["CYCLES"].word
        fetch_upper = slave.read.valid & cycles & ~upper_asked & ~state["published"]
        m.d.comb += [
            slave.read.ready.eq(Mux(cycles, upper_asked, shadow.read_ready & ~state["published"])),
            shadow.read_word.eq(address),
            shadow.read_tag.eq(address == self.map["RESULT"].word),
            shadow.tag_bank.eq(state["tag_bank"]),
            counters.word.eq(Mux(fetch_upper, 1, address)),
            counters.en.eq((slave.read.valid & slave.read.ready & counter) | fetch_upper),
            slave.data_valid.eq(asked),
        ]
        m.d.sync += [asked.eq(slave.read.valid & slave.read.ready), upper_asked.eq(fetch_upper)]
        with m.If(upper_asked):
            m.d.sync += upper.eq(counters.data)
        memories = {
            "RESULT": Cat(state["status"], Const(0, 12), shadow.read_data[:16]),
            "CYCLES_HI": upper,
        }
        values = self._values(state)
        with m.Switch(address):
            for register in self.map.registers:
                name, word = register.name, register.word
                with m.Case(word):
                    if name in memories:
                        m.d.comb += slave.data.eq(memories[name])
                    elif name in values:
                        for field, value in values[name].items():
                            f = register.field(field)
                            m.d.comb += slave.data[f.lsb : f.lsb + f.width].eq(value)
                    elif word >> 5 == BASE // 4 // WORDS:
                        m.d.comb += slave.data.eq(shadow.read_data)
                    elif word >> 4 == self.map["CYCLES"].word >> 4:
                        m.d.comb += slave.data.eq(counters.data)
                    else:
                        m.d.comb += slave.data.eq(register.reset & register.mask(Access.RO))
