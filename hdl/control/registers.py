"""The register block: what software sees of a core."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Member, Out

from attnsieve.hdl.axi.signature import AXI4LiteSignature
from attnsieve.hdl.control.axi_lite import AXILiteSlave
from attnsieve.hdl.control.counters import Activity, Counters, result_layout
from attnsieve.hdl.control.job_memory import JobMemory
from attnsieve.hdl.control.register_map import ADDRESS_BITS, Access, RegisterMap, register_map
from attnsieve.hdl.control.row_list import mask_lanes
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.tables import MaskTable
from attnsieve.hdl.control.words import (
    fetch_signature,
    is_job_word,
    job_word,
    job_words,
    store_signature,
)
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.exit_tally import exit_tally_layout

__all__ = ["Registers"]


def _token_members(p: CoreParams) -> dict[str, Member]:
    return {
        "candidate_bank": In(p.bank_bits),
        "candidate_beat": In(range(-(-p.max_keys // p.token_lanes))),
        "candidate_en": In(1),
        "candidate": Out(p.token_lanes),
        "next_word": Out(range(-(-p.max_keys // 32))),
        "next_data": In(32),
        "score_access": Out(1),
        "score_token": Out((p.max_keys - 1).bit_length() or 1),
        "score_write": Out(1),
        "score_data": Out(32),
        "score": In(32),
        "score_ready": In(1),
        "score_half": Out(range(2 * p.max_heads)),
        "head_write": Out(1),
        "head_score": In(32),
        "next_heads": In(p.max_heads),
    }


class Registers(wiring.Component):
    """AXI4-Lite slave with the registers of `attnsieve.hdl.control.register_map`.

    A start makes a job of the job registers, which can be read through ``fetch`` from the next
    cycle on. A start while ``queue_depth + 1`` jobs are started and not finished, or while an abort
    is being carried out, is refused. Every job has the bank that software was writing when it was
    started; the next bank is written from then on. Every started job must end by one transfer on
    ``result``, in the order of the starts; its bank is free from then on.

    A result is taken, and made visible with its counters, RESULT, STATUS and the interrupt, about
    ``Counters.latency`` cycles after it is offered. ``abort`` stays high until all jobs that were
    started have ended.

    Reads of unmapped words give 0, writes to them do nothing, all with response OKAY. Job
    registers can be read and written at once except while a job is copied (``JobMemory.latency``
    cycles, in which the bus waits), and after reset until the job registers have been cleared.

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
    fetch : In(fetch_signature), store : In(store_signature)
        Ports of the job memory, which holds the head tables too.
    result : In(stream(result_layout))
        How the oldest job ended, and its counts.
    jobs : Out
        Jobs that are started and not finished; falls as a result is transferred.
    abort : Out(1)
        All jobs that were started shall end.
    watchdog : Out(24)
        Cycles without progress that end a job; 0: never.
    exits : In(exit_tally_layout)
        With ``result``, of a core with bit-serial units: their counts.
    activity : In(Activity)
        What this cycle is counted as, for the oldest job that has not been reported.
    key_bank, key_beat : In, key_masked, key_en : In(1), key_valid : Out(groups)
        Read port of the key mask, a beat of ``groups`` keys; all ones if not ``key_masked``.
    query_bank, query : In, query_masked, query_en : In(1), query_valid : Out(1)
        Read port of the query mask; one if not ``query_masked``. With lists beats of both masks
        have `mask_lanes` bits.
    candidate_bank, candidate_beat : In, candidate_en : In(1), candidate : Out(token_lanes)
        Read port of the candidates for the next list of keys.
    next_word : Out, next_data : In(32)
        Read port of the words of that list, one cycle.
    score_access, score_write : Out(1), score_token, score_data : Out, score : In(32)
    score_ready : In(1)
        Software's access to a token's score, in a cycle with ``score_ready``.
    score_half, head_write : Out, head_score : In(32)
        Its access to half of a head's score, in any cycle; data are those of tokens.
    next_heads : In(max_heads)
        The heads that the job that finished last has selected.
    """

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        bank = params.bank_bits
        lists = params.token_lanes != 0
        self.key_lanes = mask_lanes(params) if lists else params.groups
        self.query_lanes = mask_lanes(params) if lists else 1
        super().__init__(
            {
                "bus": In(AXI4LiteSignature(addr_width=ADDRESS_BITS, data_width=32)),
                "irq": Out(1),
                "fetch": In(fetch_signature(params)),
                "store": In(store_signature(params)),
                "result": In(stream.Signature(result_layout(params))),
                "jobs": Out(range(params.queue_depth + 2)),
                "abort": Out(1),
                "watchdog": Out(24),
                "activity": In(Activity),
                "key_bank": In(bank),
                "key_beat": In(range(-(-params.max_keys // self.key_lanes))),
                "key_masked": In(1),
                "key_en": In(1),
                "key_valid": Out(self.key_lanes),
                "query_bank": In(bank),
                "query": In(range(-(-params.max_queries // self.query_lanes) + 1)),
                "query_masked": In(1),
                "query_en": In(1),
                "query_valid": Out(self.query_lanes),
                **(_token_members(params) if lists else {}),
                **({"exits": In(exit_tally_layout(params))} if params.slice_units else {}),
            }
        )

    @property
    def map(self) -> RegisterMap:
        """The register map of this core."""
        return register_map(self.params)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._score_index = Signal(16)  # of a token, or from 0x8000 on of half a head's score
        self._of_head = self._score_index[15]
        m.submodules.slave = slave = AXILiteSlave(addr_width=ADDRESS_BITS)
        m.submodules.memory = memory = JobMemory(params=self.params)
        m.submodules.counters = counters = Counters(params=self.params)
        wiring.connect(m, wiring.flipped(self.bus), slave.bus)
        wiring.connect(m, wiring.flipped(self.fetch), memory.fetch)
        wiring.connect(m, wiring.flipped(self.store), memory.store)
        wiring.connect(m, wiring.flipped(self.result), counters.result)
        write = slave.write
        # A write is carried out one cycle after it comes, when it is known where it goes. The
        # memory, once ready, stays so till then.
        known = Signal()
        m.d.sync += known.eq(write.valid & ~write.ready & memory.ready)
        m.d.comb += memory.writing.eq(known)
        bank = Signal(self.params.bank_bits)  # that software writes
        written = self._written(m, slave, memory)
        self._tables(m, write, known, memory, bank)
        state = self._jobs(m, written, memory, counters, bank)
        self._flags(m, written, state)
        self._read(m, slave, memory, counters, state, written)
        return m

    def _written(self, m: Module, slave: AXILiteSlave, memory: JobMemory) -> dict[str, Value]:
        """For each register in flip-flops the bits that are written with 1, and with anything."""
        write = slave.write
        done, word = write.ready, write.payload.word  # valid then, too
        strobe = Cat(bit.replicate(8) for bit in write.payload.strobe)
        found: dict[str, Value] = {}
        kept = ["CTRL", "STATUS", "IRQ_ENABLE", "IRQ_STATUS", "WATCHDOG"]
        for name in [*kept, *(["SCORE_TOKEN"] if self.params.token_lanes else [])]:
            here = Signal(name=f"write_{name.lower()}")
            m.d.sync += here.eq(word == self.map[name].word)
            found[f"{name}_strobe"] = strobe & (done & here).replicate(32)
            found[name] = write.payload.data & found[f"{name}_strobe"]
        in_memory, table = Signal(), word[8:] == self.map.window("HEAD_TABLE").offset >> 10
        m.d.sync += [
            in_memory.eq(is_job_word(self.params, word) | table),
            memory.to_table.eq(table),
        ]
        m.d.comb += [
            memory.word.eq(word),
            memory.data.eq(write.payload.data),
            memory.strobe.eq(Mux(done & in_memory, write.payload.strobe, 0)),
        ]
        return found

    def _bit(self, value: Value, register: str, field: str) -> Value:
        return value[self.map[register].field(field).lsb]

    def _tables(self, m: Module, write, known: Signal, memory: JobMemory, bank: Signal) -> None:
        p, word = self.params, write.payload.word
        m.submodules.keys = keys = MaskTable(params=p, bits=p.max_keys, lanes=self.key_lanes)
        m.submodules.queries = queries = MaskTable(
            params=p, bits=p.max_queries, lanes=self.query_lanes
        )
        waits: Value = Const(0, 1)  # a write to a mask takes more than this cycle
        for name, table in {"KEY_MASK": keys, "QUERY_MASK": queries}.items():
            here = Signal(name=f"write_{name.lower()}")
            m.d.sync += here.eq(word[8:] == self.map.window(name).offset >> 10)
            m.d.comb += [
                table.write_bank.eq(bank),
                table.write_word.eq(word),
                table.write_data.eq(write.payload.data),
                table.write_strobe.eq(write.payload.strobe),
                table.write_en.eq(known & here),
            ]
            waits = waits | (here & ~table.written)
        if self.params.token_lanes:
            waits = waits | self._candidates(m, write, known, bank)
        m.d.comb += [
            write.ready.eq(known & ~waits),
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

    def _candidates(self, m: Module, write, known: Signal, bank: Signal) -> Value:
        """Candidates, and the score that software writes. Returns whether a write waits."""
        p, word = self.params, write.payload.word
        m.submodules.candidates = table = MaskTable(
            params=p, bits=p.max_keys, lanes=p.token_lanes
        )
        here, score = Signal(), Signal()
        m.d.sync += [
            here.eq(word[7:] == self.map.window("CANDIDATES").offset >> 9),
            # a score is written whole or not at all
            score.eq((word == self.map["SCORE"].word) & write.payload.strobe.all()),
        ]
        m.d.comb += [
            table.write_bank.eq(bank),
            table.write_word.eq(word[:7]),
            table.write_data.eq(write.payload.data),
            table.write_strobe.eq(write.payload.strobe),
            table.write_en.eq(known & here),
            table.bank.eq(self.candidate_bank),
            table.beat.eq(self.candidate_beat),
            table.masked.eq(1),
            table.en.eq(self.candidate_en),
            self.candidate.eq(table.data),
            self.score_write.eq(known & score & ~self._of_head),
            self.head_write.eq(known & score & self._of_head),
            self.score_data.eq(write.payload.data),
        ]
        waits = score & ~self._of_head & ~self.score_ready
        return (here & ~table.written) | waits

    def _score(self, m: Module, slave, valid: Signal, written) -> tuple[Value, Value]:
        """A score that software reads: the read waits for it. Returns whether it may go on, and
        the score a cycle later."""
        reads, held, index, of_head = Signal(), Signal(32), self._score_index, self._of_head
        m.d.sync += reads.eq(slave.read.payload == self.map["SCORE"].word)
        there = of_head | self.score_ready
        asked = valid & reads
        writes = self.score_write | self.head_write
        m.d.comb += [
            self.score_token.eq(index),
            self.score_half.eq(index),
            self.score_access.eq((asked & ~of_head) | self.score_write),
        ]
        with m.If((asked | writes) & there):
            m.d.sync += index.eq(index + 1)
            m.d.sync += held.eq(Mux(of_head, self.head_score, self.score))
        for byte in range(0, len(index), 8):
            with m.If(written["SCORE_TOKEN_strobe"][byte]):
                m.d.sync += index[byte : byte + 8].eq(written["SCORE_TOKEN"][byte:])
        return ~reads | (there & ~writes), held

    def _jobs(self, m: Module, written, memory, counters, bank: Signal) -> dict[str, Signal]:
        """Starts, results, aborts; what software sees of them."""
        p = self.params
        state = {
            "jobs": self.jobs,
            "full": Signal(),
            "started": Signal(),
            "refused": Signal(),
            "published": Signal(),
            "status": Signal(4),
            "tag_bank": Signal(p.bank_bits, init=p.banks - 1),  # of the job that finished last
            "finished": Signal(16),
        }
        start = self._bit(written["CTRL"], "CTRL", "start")
        abort = self._bit(written["CTRL"], "CTRL", "abort")
        m.d.comb += [
            state["full"].eq((state["jobs"] == p.queue_depth + 1) | self.abort),
            state["started"].eq(start & ~abort & ~state["full"]),
            state["refused"].eq(start & ~abort & state["full"]),
            state["published"].eq(self.result.ready),  # valid then, too
            memory.start.eq(state["started"]),
            memory.bank.eq(bank),
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
        if p.slice_units:
            state["exits"] = self._exits(m, state["published"])
        with m.If(state["jobs"] == 0):
            m.d.sync += self.abort.eq(0)
        with m.Elif(abort):
            m.d.sync += self.abort.eq(1)
        return state

    def _exits(self, m: Module, published: Value) -> dict[str, Signal]:
        """What bit-serial units counted, of the job that finished last if it ended well."""
        good, held = self.result.p.code == StatusCode.OK, {}
        for name, field in exit_tally_layout(self.params):
            held[name] = Signal(field.shape, name=name)
            with m.If(published):
                m.d.sync += held[name].eq(Mux(good, self.exits[name], 0))
        return held

    def _after(self, bank: Value) -> Value:
        return Mux(bank == self.params.banks - 1, 0, bank + 1)

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
            **(
                {name.upper(): {"value": count} for name, count in state["exits"].items()}
                if self.params.slice_units
                else {}
            ),
        }

    def _read(self, m: Module, slave, memory, counters, state, written) -> None:
        """A read is taken one cycle after it comes, when it is known where it goes: memories are
        addressed. The answer is chosen one cycle later.

        CYCLES takes a cycle more, in which its upper half is fetched and held.
        """
        address, valid = slave.read.payload, Signal()
        asked, upper_asked, upper = Signal(), Signal(), Signal(16)
        known, counter, cycles = Signal(), Signal(), Signal()
        m.d.sync += [
            known.eq(slave.read.valid & ~slave.read.ready),
            counter.eq(address[4:] == self.map["CYCLES"].word >> 4),
            cycles.eq(address == self.map["CYCLES"].word),
            memory.read_tag.eq(address == self.map["RESULT"].word),
        ]
        m.d.comb += valid.eq(slave.read.valid & known)
        lists = self.params.token_lanes != 0
        gate = known
        if lists:
            free = memory.read_ready & ~state["published"]  # the read waits for nothing else
            there, score = self._score(m, slave, valid & free, written)
            gate = known & there
        fetch_upper = valid & cycles & ~upper_asked & ~state["published"]
        m.d.comb += [
            slave.read.ready.eq(
                gate
                & Mux(cycles, upper_asked, (memory.read_ready | counter) & ~state["published"])
            ),
            memory.read_word.eq(job_word(self.params, address)),
            memory.tag_bank.eq(state["tag_bank"]),
            counters.word.eq(Mux(cycles & ~upper_asked, 1, address)),
            counters.en.eq(valid & counter),
            slave.data_valid.eq(asked),
        ]
        m.d.sync += [asked.eq(slave.read.valid & slave.read.ready), upper_asked.eq(fetch_upper)]
        with m.If(upper_asked):
            m.d.sync += upper.eq(counters.data)
        memories: dict[str, Any] = {}
        if lists:
            memories = {"SCORE": score, "SCORE_TOKEN": self._score_index}
            memories["NEXT_HEADS"] = self.next_heads[:32]
            memories["NEXT_HEADS_HI"] = self.next_heads[32:]
        memories |= {
            "RESULT": Cat(state["status"], Const(0, 12), memory.read_data[:16]),
            "CYCLES_HI": upper,
        }
        values, jobs = self._values(state), job_words(self.params)
        if lists:
            m.d.comb += self.next_word.eq(address)
            window = self.map.window("NEXT_KEYS")
            here = (address[7:] == window.offset >> 9) & (address[:7] < window.words)
            with m.If(here):
                m.d.comb += slave.data.eq(self.next_data)
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
                    elif name in jobs:
                        m.d.comb += slave.data.eq(memory.read_data)
                    elif word >> 4 == self.map["CYCLES"].word >> 4:
                        m.d.comb += slave.data.eq(counters.data)
                    else:
                        m.d.comb += slave.data.eq(register.reset & register.mask(Access.RO))
