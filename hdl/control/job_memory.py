"""Job registers, a copy of them for each started job, and head tables, in one memory."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.register_map import Access, register_map
from attnsieve.hdl.control.words import (
    fetch_signature,
    job_word,
    job_words,
    store_signature,
    word_count,
)
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.params import CoreParams

__all__ = ["JobMemory"]


class JobMemory(wiring.Component):
    """Keeps the job registers, a copy of them for each job, and the head tables in one memory.

    A start copies the registers to the place of its bank; there the units that walk the job read
    them, and the checker adds words of its own. Until the copy is there they read the registers
    themselves, so a job can be read at once. After reset all words are cleared. While
    words are cleared or copied, ``ready`` and ``read_ready`` are low and software has no access;
    ``fetch`` always has, and goes before everything else; then ``store``.

    From ``start`` to ``ready``: `latency` cycles, and one more for each read at ``fetch`` and for
    each write at ``store`` meanwhile. From reset: ``word_count * (banks + 1)`` cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    ready, read_ready : Out(1)
        Writes and starts are taken; reads are.
    word : In, data : In(32), strobe : In(4)
        A write of the bytes with a strobe; bits that are in no field stay zero.
    writing : In(1)
        A write may come in this cycle.
    to_table : In(1)
        The write is to the head table of ``bank`` instead.
    read_word : In, read_data : Out(32)
        Read port: data one cycle later.
    tag_bank : In, read_tag : In(1)
        Reads the tag of the job of a bank through the same port instead.
    start : In(1), bank : In
        Makes a job of the registers, in this bank; it can be read from the next cycle on.
    fetch : In(fetch_signature)
        Read port for jobs and head tables; always granted.
    store : In(store_signature)
        Write port for words of a job that are derived from its registers.
    """

    ready: Signal
    read_ready: Signal
    word: Signal
    writing: Signal
    to_table: Signal
    data: Signal
    strobe: Signal
    read_word: Signal
    read_data: Signal
    tag_bank: Signal
    read_tag: Signal
    start: Signal
    bank: Signal
    fetch: Any
    store: Any

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        self.words = word_count(params)
        super().__init__(
            {
                "ready": Out(1),
                "read_ready": Out(1),
                "word": In(8),
                "writing": In(1),
                "to_table": In(1),
                "data": In(32),
                "strobe": In(4),
                "read_word": In(range(word_count(params))),
                "read_data": Out(32),
                "tag_bank": In(params.bank_bits),
                "read_tag": In(1),
                "start": In(1),
                "bank": In(params.bank_bits),
                "fetch": In(fetch_signature(params)),
                "store": In(store_signature(params)),
            }
        )

    @property
    def registers(self) -> dict[str, int]:
        """Words of the job registers by name, ascending."""
        names = {r.name for r in register_map(self.params).registers}
        return {name: word for name, word in job_words(self.params).items() if name in names}

    @property
    def latency(self) -> int:
        """Cycles from a start until software has access again."""
        return len(self.registers) + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.params
        depth = (p.banks + self._first_table) << self._table_bits
        m.submodules.words = words = Ram(shape=unsigned(32), depth=depth, granularity=8)
        write, (read,) = words.write, words.read
        cleared = self.words * (p.banks + 1)  # the registers, then a copy for each bank
        count, here, arrived = Signal(range(cleared)), Signal(range(self.words)), Signal()
        bank, copying = Signal(p.bank_bits), Signal()  # that is copied to
        m.d.comb += [self.read_data.eq(read.data), read.en.eq(1)]
        m.d.sync += [here.eq(count), arrived.eq(0)]
        self._store(m, write)
        with m.FSM():
            with m.State("CLEAR"):
                m.d.comb += [write.address.eq(count), write.en.eq(0b1111)]
                m.d.sync += count.eq(count + 1)
                with m.If(count == cleared - 1):
                    m.d.sync += count.eq(0)
                    m.next = "IDLE"
            with m.State("IDLE"):
                self._access(m, write, read)
                m.d.sync += bank.eq(self.bank)
                m.d.sync += copying.eq(self.start)
                with m.If(self.start):
                    m.next = "COPY"
            with m.State("COPY"):
                m.d.comb += read.address.eq(count)
                self._copy(m, write, read, bank, here, arrived)
                with m.If(~self.fetch.en & ~self.store.en):
                    following, end = self._following(count)
                    m.d.sync += [count.eq(following), arrived.eq(~end)]
                    with m.If(end):
                        m.d.sync += [count.eq(0), copying.eq(0)]
                        m.next = "IDLE"
        with m.If(self.fetch.en):
            early = copying & (self.fetch.bank == bank) & self._is_register(m)
            place = self._place(self.fetch.bank, self.fetch.index, registers=early)
            table = self._table(self.fetch.bank, self.fetch.index)
            m.d.comb += read.address.eq(Mux(self.fetch.table, table, place))
        m.d.comb += [self.fetch.data.eq(read.data), self.fetch.grant.eq(1)]
        return m

    @property
    def _table_bits(self) -> int:
        return (self.params.max_heads - 1).bit_length() + bool(self.params.threshold_bits)

    @property
    def _first_table(self) -> int:
        """Head tables are behind the copies, each at a multiple of its size."""
        return -(-self.words * (self.params.banks + 1) >> self._table_bits)

    def _table(self, bank: Value, head: Value) -> Value:
        """Address of an entry of the head table of a bank: scales, and thresholds behind them."""
        if not self.params.threshold_bits:
            return Cat(head[: self._table_bits], bank + self._first_table)
        return Cat(head[: self._table_bits - 1], head[7], bank + self._first_table)

    def _place(self, bank: Value, word: Any, *, registers: Any = 0) -> Value:
        """Address of a word in the copy for a bank, or of the register itself."""
        return Cat(Value.cast(word)[: self.words.bit_length() - 1], Mux(registers, 0, bank + 1))

    def _is_register(self, m: Module) -> Value:
        """Whether the word that is fetched is a register; the checker adds the others."""
        found = Signal()
        with m.Switch(self.fetch.index):
            with m.Case(*self.registers.values()):
                m.d.comb += found.eq(1)
        return found

    def _following(self, count: Signal) -> tuple[Value, Value]:
        """The next word that is a register, and whether there is none: the words are dense up
        to the tag, and every one or every second one is a register from the first address on;
        those of the second page may lie anywhere."""
        words = sorted(self.registers.values())
        dense, first = self.registers["JOB_TAG"], self.registers["Q_BASE"]
        last = max(word for word in words if word < 32)
        step = self.registers["K_BASE"] - first >> (self.params.addr_width > 32)
        more = [word for word in words if word >= 32]
        assert words == [*range(dense + 1), *range(first, last + 1, step), *more]
        following = Mux(count == dense, first, count + Mux(count[4], step, 1))
        if not more:
            return following, count == last + step
        following = Mux(count[5], count + 1, Mux(count == last, more[0], following))
        for word, after in pairwise(more):
            if after != word + 1:
                following = Mux(count == word, after, following)
        return following, count == words[-1] + 1

    def _store(self, m: Module, write: Any) -> None:
        """Derived words; they wait for software and for a copy."""
        m.d.comb += [
            write.address.eq(self._place(self.store.bank, self.store.index)),
            write.data.eq(self.store.data),
            write.en.eq(self.store.en.replicate(4)),
            self.store.grant.eq(1),
        ]

    def _copy(
        self, m: Module, write: Any, read: Any, bank: Signal, here: Signal, arrived: Signal
    ) -> None:
        """A word that has been read, to its place in the copy."""
        with m.If(arrived):
            m.d.comb += [
                write.address.eq(self._place(bank, here)),
                write.data.eq(read.data),
                write.en.eq(0b1111),
                self.store.grant.eq(0),
            ]

    def _access(self, m: Module, write: Any, read: Any) -> None:
        """Software's reads and writes."""
        tag = self._place(self.tag_bank, Const(self.registers["JOB_TAG"], 6))
        head = self.word[:7] if self.params.threshold_bits else self.word
        fits = ~self.to_table | (head < self.params.max_heads)
        m.d.comb += [
            self.ready.eq(1),
            self.read_ready.eq(~self.fetch.en),
            read.address.eq(Mux(self.read_tag, tag, self.read_word)),
        ]
        with m.If(self.writing):
            m.d.comb += [
                self.store.grant.eq(0),
                write.address.eq(
                    Mux(
                        self.to_table,
                        self._table(self.bank, self.word),
                        job_word(self.params, self.word),
                    )
                ),
                write.data.eq(self.data & (self._mask(m) | self.to_table.replicate(32))),
                write.en.eq(Mux(fits, self.strobe, 0)),
            ]

    def _mask(self, m: Module) -> Value:
        """Bits of the register at ``word`` that can be written."""
        mask = Signal(32)
        by_mask: dict[int, list[int]] = {}
        for name, word in self.registers.items():
            bits = register_map(self.params)[name].mask(Access.RW)
            by_mask.setdefault(bits, []).append(word)
        with m.Switch(job_word(self.params, self.word)):
            for value, where in by_mask.items():
                with m.Case(*where):
                    m.d.comb += mask.eq(value)
        return mask
