"""Job registers and head tables in one memory, and the jobs that starts make of them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.register_map import Access, Register, register_map
from attnsieve.hdl.layouts import head_layout, request_layout
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.params import CoreParams

__all__ = ["WORDS", "ShadowJob"]

#: Words of the job registers.
WORDS = 32
#: Offset of the first job register.
BASE = 0x080


def job_registers(params: CoreParams) -> dict[int, Register]:
    """Job registers by their word in the shadow memory."""
    found = register_map(params).registers
    return {r.word - BASE // 4: r for r in found if BASE <= r.offset < BASE + 4 * WORDS}


class ShadowJob(wiring.Component):
    """Keeps the job registers, a copy of them for each job, and the head tables in one memory.

    A start copies the registers to the place of its table bank. The next job to be offered is read
    from its place, word by word, into the one job that is in flip-flops; if no other job waits,
    it is taken from the registers as they are copied. After reset all words are cleared.
    While words are cleared, copied or read, ``ready`` is low and nothing may be accessed, but the
    head table can always be read: that goes before everything else.

    Latency from ``start`` to ``job`` when no job waits, and from ``next_valid`` otherwise:
    ``latency = WORDS + 2`` cycles, and one more for each read of the head table meanwhile. From
    reset to ``ready``: ``WORDS * (banks + 1)`` cycles.

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
    to_table : In(1)
        The write is to the head table of ``bank`` instead.
    head_bank, head : In, head_en : In(1), head_data : Out(head_layout)
        Read port of the head tables; data in the cycle after ``head_en`` only.
    read_word : In, read_data : Out(32)
        Read port: data one cycle later.
    tag_bank : In, read_tag : In(1)
        Reads the tag of the job of a bank through the same port instead.
    start : In(1), bank : In
        Makes a job of the registers, with this table bank.
    next_bank : In, next_valid : In(1)
        The job to offer when none is.
    rewind : In(1)
        Withdraws the job that is offered; ``next_bank`` may be another one from the next cycle on.
    job : Out(stream(request_layout))
        The job.
    """

    latency = WORDS + 2

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "ready": Out(1),
                "read_ready": Out(1),
                "word": In(8),
                "to_table": In(1),
                "head_bank": In(params.bank_bits),
                "head": In(params.head_bits),
                "head_en": In(1),
                "head_data": Out(head_layout(params)),
                "data": In(32),
                "strobe": In(4),
                "read_word": In(range(WORDS)),
                "read_data": Out(32),
                "tag_bank": In(params.bank_bits),
                "read_tag": In(1),
                "start": In(1),
                "bank": In(params.bank_bits),
                "next_bank": In(params.bank_bits),
                "next_valid": In(1),
                "rewind": In(1),
                "job": Out(stream.Signature(request_layout(params))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.params
        cleared = WORDS * (p.banks + 1)  # the registers, then a copy for each bank
        depth = self._table(p.banks)
        m.submodules.words = words = Ram(shape=unsigned(32), depth=depth, granularity=8)
        write, (read,) = words.write, words.read
        count, here, arrived = Signal(range(cleared)), Signal(range(WORDS)), Signal()
        copying, offering = Signal(), Signal()  # what the words that are read are for
        bank = Signal(p.bank_bits)
        m.d.comb += [
            self.read_data.eq(read.data),
            self.head_data.eq(read.data[: len(self.head_data.as_value())]),
            read.en.eq(1),
        ]
        m.d.sync += [here.eq(count), arrived.eq(0)]
        with m.FSM():
            with m.State("CLEAR"):
                m.d.comb += [write.address.eq(count), write.en.eq(0b1111)]
                m.d.sync += count.eq(count + 1)
                with m.If(count == cleared - 1):
                    m.d.sync += count.eq(0)
                    m.next = "IDLE"
            with m.State("IDLE"):
                self._access(m, write, read)
                with m.If(self.start | (self.next_valid & ~self.job.valid)):
                    alone = self.start ^ self.next_valid
                    m.d.sync += [
                        copying.eq(self.start),
                        offering.eq(alone & ~self.job.valid & ~self.rewind),
                        bank.eq(Mux(self.start, self.bank, self.next_bank)),
                    ]
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += [
                    read.address.eq(count + Mux(copying, 0, self._place(bank))),
                    write.address.eq(here + self._place(bank)),
                    write.data.eq(read.data),
                    write.en.eq((arrived & copying).replicate(4)),
                ]
                with m.If(~self.head_en):
                    m.d.sync += [count.eq(count + 1), arrived.eq(count < WORDS)]
                self._assemble(m, here, arrived & offering, read.data)
                with m.If(self.rewind):
                    m.d.sync += offering.eq(0)
                with m.If(count == WORDS):
                    m.d.sync += count.eq(0)
                    with m.If(offering):
                        m.d.sync += [self.job.valid.eq(1), self.job.payload.bank.eq(bank)]
                    m.next = "IDLE"
        with m.If(self.head_en):
            m.d.comb += read.address.eq(self._table(self.head_bank) + self.head)
        with m.If((self.job.valid & self.job.ready) | self.rewind):
            m.d.sync += self.job.valid.eq(0)
        return m

    def _table(self, bank):
        """Address of the head table of a bank; it is behind the copies."""
        size = 1 << (self.params.max_heads - 1).bit_length()
        first = -(-WORDS * (self.params.banks + 1) // size)
        return (bank + first) * size

    @staticmethod
    def _place(bank: Value) -> Value:
        """Address of the copy for a bank."""
        return (bank + 1) * WORDS

    def _access(self, m: Module, write, read) -> None:
        """Software's reads and writes."""
        tag = self._word("JOB_TAG") + self._place(self.tag_bank)
        fits = ~self.to_table | (self.word < self.params.max_heads)
        m.d.comb += [
            self.ready.eq(1),
            self.read_ready.eq(~self.head_en),
            write.address.eq(
                Mux(self.to_table, self._table(self.bank) + self.word, self.word[:5])
            ),
            write.data.eq(self.data & (self._mask(m) | self.to_table.replicate(32))),
            write.en.eq(Mux(fits, self.strobe, 0)),
            read.address.eq(Mux(self.read_tag, tag, self.read_word)),
        ]

    def _word(self, name: str) -> int:
        return register_map(self.params)[name].word - BASE // 4

    def _mask(self, m: Module) -> Value:
        """Bits of the register at ``word`` that can be written."""
        mask = Signal(32)
        by_mask: dict[int, list[int]] = {}
        for word, register in job_registers(self.params).items():
            by_mask.setdefault(register.mask(Access.RW), []).append(word)
        with m.Switch(self.word[:5]):
            for value, where in by_mask.items():
                with m.Case(*where):
                    m.d.comb += mask.eq(value)
        return mask

    def _assemble(self, m: Module, here: Signal, arrived: Signal, word: Value) -> None:
        """Puts a word that has been read into its place in the job."""
        p, job = self.params, self.job.payload
        places: dict[str, Value] = {
            name.upper(): job[name]
            for name in ("heads", "kv_heads", "queries", "keys", "head_dim")
        }
        places["MODE"] = Cat(job.wide, job.causal, job.key_mask, job.query_mask)
        for tensor in "qkvo":
            for kind in ("base", "stride"):
                name, address = f"{tensor}_{kind}", job[f"{tensor}_{kind}"]
                places[name.upper()] = address[:32]
                if p.addr_width > 32:
                    places[f"{name.upper()}_HI"] = address[32:]
        for name, place in places.items():
            with m.If(arrived & (here == self._word(name))):
                m.d.sync += place.eq(word)
