"""Job registers: software's copy in a small memory, and the job that a start makes of them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.register_map import Access, Register, register_map
from attnsieve.hdl.layouts import request_layout
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
    """Keeps the job registers in one memory and reads them out word by word for each start.

    The memory also keeps, for each table bank, the tag of the job that was started with it. After
    reset all words are cleared. While words are cleared or a job is read out, ``ready`` is low and
    nothing may be accessed.

    Latency from ``start`` to ``job``: ``latency = WORDS + 2`` cycles. From reset to ``ready``:
    ``2 * WORDS`` cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    ready : Out(1)
        Accesses and starts are taken.
    word : In, data : In(32), strobe : In(4)
        A write of the bytes with a strobe; bits that are in no field stay zero.
    read_word : In, read_data : Out(32)
        Read port: data one cycle later.
    tag_bank : In, read_tag : In(1)
        Reads the tag of a bank through the same port instead.
    start : In(1), bank : In
        Makes a job of the registers, with this table bank. ``job`` must be taken before.
    job : Out(stream(request_layout))
        The job.
    """

    latency = WORDS + 2

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "ready": Out(1),
                "word": In(range(WORDS)),
                "data": In(32),
                "strobe": In(4),
                "read_word": In(range(WORDS)),
                "read_data": Out(32),
                "tag_bank": In(params.bank_bits),
                "read_tag": In(1),
                "start": In(1),
                "bank": In(params.bank_bits),
                "job": Out(stream.Signature(request_layout(params))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = Ram(shape=unsigned(32), depth=2 * WORDS, granularity=8)
        write, (read,) = words.write, words.read
        count, here, arrived = Signal(range(2 * WORDS)), Signal(range(WORDS)), Signal()
        m.d.comb += [self.read_data.eq(read.data), read.en.eq(1)]
        m.d.sync += [here.eq(count), arrived.eq(0)]
        with m.FSM():
            with m.State("CLEAR"):
                m.d.comb += [write.address.eq(count), write.en.eq(0b1111)]
                m.d.sync += count.eq(count + 1)
                with m.If(count == 2 * WORDS - 1):
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += [
                    self.ready.eq(1),
                    write.address.eq(self.word),
                    write.data.eq(self.data & self._mask(m)),
                    write.en.eq(self.strobe),
                    read.address.eq(Mux(self.read_tag, WORDS + self.tag_bank, self.read_word)),
                ]
                with m.If(self.start):
                    m.d.sync += self.job.payload.bank.eq(self.bank)
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += [
                    read.address.eq(count),
                    write.address.eq(WORDS + self.job.payload.bank),
                    write.data.eq(read.data),
                    write.en.eq((arrived & (here == self._word("JOB_TAG"))).replicate(4)),
                ]
                m.d.sync += [count.eq(count + 1), arrived.eq(count < WORDS)]
                self._assemble(m, here, arrived, read.data)
                with m.If(count == WORDS):
                    m.d.sync += [count.eq(0), self.job.valid.eq(1)]
                    m.next = "IDLE"
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += self.job.valid.eq(0)
        return m

    def _word(self, name: str) -> int:
        return register_map(self.params)[name].word - BASE // 4

    def _mask(self, m: Module) -> Value:
        """Bits of the register at ``word`` that can be written."""
        mask = Signal(32)
        by_mask: dict[int, list[int]] = {}
        for word, register in job_registers(self.params).items():
            by_mask.setdefault(register.mask(Access.RW), []).append(word)
        with m.Switch(self.word):
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
