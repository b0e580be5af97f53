"""The words of a job, and how the units that walk it read them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.register_map import register_map
from attnsieve.hdl.layouts import region_layout
from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.params import CoreParams

__all__ = [
    "FETCH_LATENCY",
    "FetchArbiter",
    "LateWords",
    "WordReader",
    "address_words",
    "byte_address",
    "extent_layout",
    "fetch_signature",
    "granule_bits",
    "granule_part",
    "head_words",
    "is_job_word",
    "job_word",
    "job_words",
    "saturated",
    "size_layout",
    "store_signature",
    "table_words",
    "threshold_index",
    "word_count",
]

#: Words of a page of job registers: what a page lacks, the checker adds.
_PAGE = 32
#: Offsets of the pages; the second one is that of cores that prune.
_PAGES = (0x080, 0x180)
#: Cycles from a granted read of the job memory to its data.
FETCH_LATENCY = 2
#: What the checker adds, in words that are no registers.
_DERIVED = {"Q_EXTENT": 10, "Q_SIZE": 11, "KV_EXTENT": 12, "KV_SIZE": 13, "GROUP": 14}
#: Bases, strides and rows of O are at multiples of a granule: 32 bytes.
_GRANULE_BITS = 5


def job_words(params: CoreParams) -> dict[str, int]:
    """Words by name: the job registers, and those that the checker derives from them.

    ``Q_EXTENT`` and ``KV_EXTENT`` hold an `extent_layout`, ``Q_SIZE`` and ``KV_SIZE`` a
    `size_layout`, ``GROUP`` the query heads of a KV head.
    """
    found = register_map(params).registers
    registers = {
        r.name: page * _PAGE + (r.offset - base) // 4
        for page, base in enumerate(_PAGES)
        for r in found
        if base <= r.offset < base + 4 * _PAGE
    }
    return registers | _DERIVED


def word_count(params: CoreParams) -> int:
    """Words of a job: the job registers, and what the checker adds."""
    return _PAGE * (1 + params.prunes)


def is_job_word(params: CoreParams, word: Value) -> Value:
    """Whether a register's word address is one of the job registers'."""
    pages = [(word >> 5) == base // 4 // _PAGE for base in _PAGES[: 1 + params.prunes]]
    return Cat(pages).any()


def job_word(params: CoreParams, word: Value) -> Value:
    """The word of a job that a register of a job is, from its word address."""
    return Cat(word[:5], word[6]) if params.prunes else word[:5]


def extent_layout(params: CoreParams) -> data.StructLayout:
    """Rows of a head of Q or of K and V, and the lines that they fill on chip."""
    region = region_layout(params)
    return data.StructLayout({"lines": region["lines"].shape, "rows": region["rows"].shape})


def size_layout(params: CoreParams) -> data.StructLayout:
    """Heads of Q or of K and V, and their size in 8 bytes."""
    region = region_layout(params)
    return data.StructLayout(
        {
            "eights": unsigned(region["bytes"].width - 3),
            "wide": unsigned(1),
            "heads": unsigned(params.head_bits),
            "parts": region["parts"].shape,
        }
    )


def head_words(params: CoreParams) -> tuple[str, ...]:
    """The words that tell which heads are pruned, the lower ones first."""
    return ("PRUNED_HEADS", "PRUNED_HEADS_HI")[: -(-params.max_heads // 32)]


def saturated(word: Value, bits: int) -> Value:
    """A 16-bit count in ``bits``: the largest number where it does not fit."""
    return Mux(word[bits:16].any(), (1 << bits) - 1, word[:bits])


def address_words(params: CoreParams, name: str) -> tuple[str, ...]:
    """The words of a base or a stride, the lower one first."""
    return (name,) if params.addr_width <= 32 else (name, f"{name}_HI")


def granule_part(params: CoreParams, place: int) -> tuple[slice, slice]:
    """Which bits of an address in granules the word at a place gives, and its bits."""
    first, end = 32 * place, min(params.addr_width, 32 * (place + 1))
    low = max(first, _GRANULE_BITS)
    return slice(low - _GRANULE_BITS, end - _GRANULE_BITS), slice(low - first, end - first)


def granule_bits(params: CoreParams) -> int:
    """Bits of an address in granules."""
    return params.addr_width - _GRANULE_BITS


def byte_address(granules: Value) -> Value:
    """The address in bytes of an address in granules."""
    return Cat(Const(0, _GRANULE_BITS), granules)


def threshold_index(head: Value) -> Value:
    """Of the threshold of a head in the head table of a bank; its scale is at its own number."""
    return Cat(head[:7], Const(0, 7 - len(head[:7])), Const(1, 1))


def table_words(params: CoreParams) -> int:
    """Words that the indices of a head table need."""
    return 256 if params.threshold_bits else params.max_heads


def fetch_signature(params: CoreParams) -> wiring.Signature:
    """Read port of the job memory, as the reader sees it.

    Members
    -------
    bank : Out(bank_bits)
        Bank of the job.
    table : Out(1)
        Read the head table of that bank instead of its words.
    index : Out
        Word, or head, or `threshold_index` of a head.
    en : Out(1), grant : In(1)
        Read; in this cycle.
    data : In(32)
        `FETCH_LATENCY` cycles after a read was granted, and only then; at the memory, which
        grants every read and is behind a `FetchArbiter`, one cycle after it.
    """
    return wiring.Signature(
        {
            "bank": Out(params.bank_bits),
            "table": Out(1),
            "index": Out(range(max(word_count(params), table_words(params)))),
            "en": Out(1),
            "grant": In(1),
            "data": In(32),
        }
    )


def store_signature(params: CoreParams) -> wiring.Signature:
    """Write port of the job memory for words that are derived from a job's registers.

    Members
    -------
    bank : Out(bank_bits), index : Out(range(word_count)), data : Out(32)
        The word.
    en : Out(1), grant : In(1)
        Write; in this cycle.
    """
    return wiring.Signature(
        {
            "bank": Out(params.bank_bits),
            "index": Out(range(word_count(params))),
            "data": Out(32),
            "en": Out(1),
            "grant": In(1),
        }
    )


class WordReader(wiring.Component):
    """Reads some words of each job, one after another.

    A word arrives per cycle in which the memory is granted, the first one two cycles after ``job``
    is valid. The job is taken as the last word arrives: ``len(words) + 1`` cycles after it is
    valid, if the memory is always granted.

    Parameters
    ----------
    params : CoreParams
        The core.
    words : sequence of str
        Names of the words, see `job_words`.

    Members
    -------
    job : In(stream(bank_bits))
        Bank of the job.
    fetch : Out(fetch_signature)
        Read port of the job memory.
    arrive : Out(len(words))
        Bit i: the word i is ``fetch.data`` in this cycle.
    """

    job: stream.Interface
    fetch: Any
    arrive: Signal

    def __init__(self, *, params: CoreParams, words: tuple[str, ...]) -> None:
        known = job_words(params)
        for name in words:
            if name not in known:
                raise ValueError(f"Words must be of {', '.join(known)}, not {name!r}")
        self.params, self.words = params, tuple(words)
        super().__init__(
            {
                "job": In(stream.Signature(params.bank_bits)),
                "fetch": Out(fetch_signature(params)),
                "arrive": Out(len(words)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        known, asked = job_words(self.params), Signal(range(len(self.words)))
        more = Signal(init=1)  # words to ask for
        m.d.comb += [
            self.fetch.bank.eq(self.job.payload),
            self.fetch.en.eq(self.job.valid & more),
            self.job.ready.eq(self.arrive[-1]),
        ]
        with m.Switch(asked):
            for place, name in enumerate(self.words):
                with m.Case(place):
                    m.d.comb += self.fetch.index.eq(known[name])
        granted = self.fetch.en & self.fetch.grant
        read, coming = Signal(), Signal.like(asked)  # the read of the cycle before
        m.d.sync += [read.eq(granted), coming.eq(asked)]
        m.d.sync += [bit.eq(read & (coming == place)) for place, bit in enumerate(self.arrive)]
        with m.If(self.job.ready):
            m.d.sync += [asked.eq(0), more.eq(1)]
        with m.Elif(granted):
            m.d.sync += [asked.eq(asked + 1), more.eq(asked != len(self.words) - 1)]
        return m


class LateWords(wiring.Component):
    """Words in a register as they come, before they are looked at; a reset forgets those that are
    on their way.

    Latency: `FETCH_LATENCY` + 1 cycles from a granted read.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    granted : In(1), data : In(32)
        A read is granted in this cycle; the port's data.
    word : Out(32), arrived : Out(1)
        The last word, which stays; it is new in this cycle.
    coming : Out(1)
        A word has arrived, or is on its way.
    """

    granted: Signal
    data: Signal
    word: Signal
    arrived: Signal
    coming: Signal

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "granted": In(1),
                "data": In(32),
                "word": Out(32),
                "arrived": Out(1),
                "coming": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        way = Signal(FETCH_LATENCY + 1)
        m.d.comb += [self.arrived.eq(way[-1]), self.coming.eq(way.any())]
        m.d.sync += way.eq(Cat(self.granted, way))
        with m.If(way[-2]):
            m.d.sync += self.word.eq(self.data)
        return m


class FetchArbiter(wiring.Component):
    """Several readers on one read port of the job memory; the first of those that ask is served.

    Grants are combinational; reads reach the port, which must always be granted, a cycle later.

    Parameters
    ----------
    params : CoreParams
        The core.
    readers : int
        How many.

    Members
    -------
    reader : In(fetch_signature).array(readers)
        Readers, the most urgent first.
    o : Out(fetch_signature)
        The port.
    """

    reader: Any
    o: Any

    def __init__(self, *, params: CoreParams, readers: int) -> None:
        check_int("Readers", readers, 1)
        port = fetch_signature(params)
        super().__init__({"reader": In(port).array(readers), "o": Out(port)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        taken: Value = Const(0, 1)
        for reader in self.reader:
            m.d.comb += [reader.grant.eq(~taken), reader.data.eq(self.o.data)]
            taken = taken | reader.en
        m.d.sync += self.o.en.eq(taken)
        for reader in reversed(list(self.reader)):
            with m.If(reader.en):
                m.d.sync += [
                    self.o.bank.eq(reader.bank),
                    self.o.table.eq(reader.table),
                    self.o.index.eq(reader.index),
                ]
        return m
