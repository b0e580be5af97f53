"""Checks a job before it touches memory, and derives what the units need of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.words import (
    address_words,
    extent_layout,
    fetch_signature,
    granule_bits,
    granule_part,
    job_words,
    size_layout,
    store_signature,
)
from attnsieve.hdl.params import CoreParams

__all__ = ["JobChecker"]

#: Words of the counts, in the order in which they are read.
_COUNTS = ("HEADS", "KV_HEADS", "QUERIES", "KEYS", "HEAD_DIM", "MODE")
#: The four tensors in the order in which their address ranges are walked.
_TENSORS = ("Q", "O", "K", "V")


class JobChecker(wiring.Component):
    """Decides whether a job may run, and writes down sizes that the units need.

    After ``start`` the words of the job are read, and walks follow each other: the counts; sizes of
    Q and of K and V, which are stored; the address range of each tensor, stride by stride; heads
    divided by KV heads, which is stored; the head table. The first rule that is broken ends the
    check with its status code; the job then touches no memory.

    Latency from ``start`` to ``done``, if the memory is always granted: at most
    ``2 * (heads + kv_heads) * address words + heads / kv_heads + heads + 33`` cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    start : In(1), bank : In(bank_bits)
        Begins a check of the job in this bank, which is held until ``done``.
    done : Out(1)
        High for one cycle at the end, with ``code``.
    code : Out(StatusCode)
        Result.
    fetch : Out(fetch_signature)
        Read port of the job memory.
    store : Out(store_signature)
        Write port of the job memory.
    """

    start: Signal
    bank: Signal
    done: Signal
    code: Signal
    fetch: Any
    store: Any

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "bank": In(params.bank_bits),
                "done": Out(1),
                "code": Out(StatusCode),
                "fetch": Out(fetch_signature(params)),
                "store": Out(store_signature(params)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._words = job_words(self.params)
        s = self._state()
        m.d.comb += [self.fetch.bank.eq(self.bank), self.store.bank.eq(self.bank)]
        m.d.sync += s.arrived.eq(self.fetch.en & self.fetch.grant)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [s.asked.eq(0), s.tensor.eq(0), s.bad.eq(0)]
                m.d.sync += [s.base.eq(1), s.upper.eq(0)]
                with m.If(self.start):
                    m.next = "COUNTS"
            with m.State("COUNTS"):
                self._counts(m, s)
            with m.State("RULES"):
                self._rules(m, s)
            with m.State("PRODUCT"):
                m.d.sync += s.units.eq(s.rows * s.dim)
                m.next = "EXTENT"
            with m.State("EXTENT"):
                self._extent(m, s)
            with m.State("SIZE"):
                self._size(m, s)
            with m.State("ADDRESS"):
                self._address(m, s)
            with m.State("DIVIDE"):
                self._divide(m, s)
            with m.State("TABLE"):
                self._table(m, s)
        return m

    def _state(self) -> SimpleNamespace:
        """Registers of the check, and what follows from them."""
        p = self.params
        rows, dims = max(p.key_bits, p.query_bits), (p.max_head_dim // 16).bit_length()
        shapes: dict[str, Any] = {
            # counts of the job
            "heads": p.head_bits,
            "kv_heads": p.head_bits,
            "queries": p.query_bits,
            "keys": p.key_bits,
            "dim": dims,  # 16 elements each
            "wide": 1,
            "causal": 1,
            "bad": data.StructLayout({"zero": 1, "dim": 1, "over": 1}),
            # where the check is
            "asked": range(len(_COUNTS) + 1),  # counts asked for
            "arrived": 1,  # what was asked for is here
            "tensor": range(len(_TENSORS)),
            "base": 1,  # a base is asked for, not a stride
            "upper": 1,  # the upper word of it
            "first": 1,  # a base is here
            # of the tensor at hand
            "units": rows + dims,  # of a head, 16 elements each
            "left": p.head_bits + 1,  # strides to add; heads covered; entries asked for
            "end": granule_bits(p),  # last granule of a head
            "group": p.head_bits,
        }
        s = SimpleNamespace(**{name: Signal(shape, name=name) for name, shape in shapes.items()})
        s.kv = s.tensor[1]
        s.rows = Mux(s.kv, s.keys, s.queries)
        s.tensor_heads = Mux(s.kv, s.kv_heads, s.heads)
        s.output = s.tensor == _TENSORS.index("O")
        # 8 bytes each, of a head: two or three for 16 elements, four of the output
        s.eights = (s.units << 1) + Mux(s.output, s.units << 1, Mux(s.wide, s.units, 0))
        return s

    def _finish(self, m: Module, code: StatusCode) -> None:
        m.d.comb += [self.done.eq(1), self.code.eq(code)]
        m.next = "IDLE"

    def _counts(self, m: Module, s: SimpleNamespace) -> None:
        """Read the counts, and compare each with zero and with what is built."""
        p, word = self.params, self.fetch.data[:16]
        m.d.comb += [
            self.fetch.en.eq(s.asked != len(_COUNTS)),
            self.fetch.index.eq(s.asked + self._words[_COUNTS[0]]),
        ]
        with m.If(self.fetch.en & self.fetch.grant):
            m.d.sync += s.asked.eq(s.asked + 1)
        into = (
            (s.heads.eq(word), p.max_heads),
            (s.kv_heads.eq(word), p.max_heads),
            (s.queries.eq(word), p.max_queries),
            (s.keys.eq(word), p.max_keys),
            (s.dim.eq(word[4:]), p.max_head_dim),
            ([s.wide.eq(word[0]), s.causal.eq(word[1])], None),
        )
        limit, is_zero, over = Signal(16), Signal(), Signal()
        m.d.comb += [is_zero.eq(word == 0), over.eq(word > limit)]
        with m.If(s.arrived):
            with m.Switch(s.asked):  # one more than has come
                for place, (capture, most) in enumerate(into):
                    with m.Case(place + 1):
                        if most is None:  # no count: 12 bits may not be built
                            m.d.comb += over.eq(word[0] & Const(p.operand_bits < 12))
                        else:
                            m.d.comb += limit.eq(most)
                        m.d.sync += capture
                        if place < 4:
                            m.d.sync += s.bad.zero.eq(s.bad.zero | is_zero)
                        elif place == 4:
                            m.d.sync += s.bad.dim.eq(is_zero | word[:4].any())
            m.d.sync += s.bad.over.eq(s.bad.over | over)
            with m.If(s.asked == len(_COUNTS)):
                m.next = "RULES"

    def _rules(self, m: Module, s: SimpleNamespace) -> None:
        """Rules on counts, by priority."""
        with m.If(s.bad.zero):
            self._finish(m, StatusCode.ZERO_LENGTH)
        with m.Elif(s.bad.dim):
            self._finish(m, StatusCode.BAD_HEAD_DIM)
        with m.Elif(s.bad.over):
            self._finish(m, StatusCode.SIZE_OVER_BUILD)
        with m.Elif(s.kv_heads > s.heads):
            self._finish(m, StatusCode.BAD_GROUP)
        with m.Elif(s.causal & (s.queries > s.keys)):
            self._finish(m, StatusCode.BAD_COUNT)
        with m.Else():
            m.next = "PRODUCT"

    def _store(self, m: Module, s: SimpleNamespace, name: str, layout: Any, fields: dict) -> None:
        """Write a derived word of Q or of K and V."""
        word = Signal(layout, name=name.lower())
        m.d.comb += [word[field].eq(value) for field, value in fields.items()]
        m.d.comb += [
            self.store.en.eq(1),
            self.store.index.eq(
                Mux(s.kv, self._words[f"KV_{name}"], self._words[f"Q_{name}"])
            ),
            self.store.data.eq(word),
        ]

    def _extent(self, m: Module, s: SimpleNamespace) -> None:
        """Lines of a head; those of K and V must fit their rings."""
        p = self.params
        lines = Signal(extent_layout(p)["lines"].shape)
        m.d.comb += lines.eq((s.units * (16 // p.segment) + (p.groups - 1)) // p.groups)
        with m.If(s.kv & (lines > p.kv_lines)):
            self._finish(m, StatusCode.SIZE_OVER_BUILD)
        with m.Else():
            self._store(m, s, "EXTENT", extent_layout(p), {"lines": lines, "rows": s.rows})
            with m.If(self.store.grant):
                m.next = "SIZE"

    def _size(self, m: Module, s: SimpleNamespace) -> None:
        fields = {
            "eights": s.eights,
            "wide": s.wide,
            "heads": s.tensor_heads,
            "parts": s.dim * (16 // self.params.segment),
        }
        self._store(m, s, "SIZE", size_layout(self.params), fields)
        with m.If(self.store.grant):
            m.next = "ADDRESS"

    def _address(self, m: Module, s: SimpleNamespace) -> None:
        """Walk base + (heads - 1) * stride + size for a tensor; a carry is a wrap."""
        operand, here, beyond, odd = self._operand(m, s)
        total = Signal(len(s.end) + 1)
        done, adds = Signal(), Signal()
        with m.If(s.base):  # granules of a head before its last
            m.d.sync += s.end.eq((s.eights - 1) >> 2)
        m.d.comb += [
            total.eq(s.end + operand),
            adds.eq(s.first | (s.left != 0)),
            done.eq(here & ~s.first & (s.left[1:] == 0)),
        ]
        with m.If(here):
            with m.If(odd):
                self._finish(m, StatusCode.MISALIGNED)
            with m.Elif(adds & (total[-1] | beyond)):
                self._finish(m, StatusCode.ADDRESS_WRAP)
            with m.Elif(done):
                m.d.sync += [
                    s.tensor.eq(s.tensor + 1),
                    s.base.eq(1),
                    s.upper.eq(0),
                    s.arrived.eq(0),
                ]
                with m.If(s.output):
                    m.next = "PRODUCT"
                with m.If(s.tensor == len(_TENSORS) - 1):
                    m.d.sync += [s.left.eq(0), s.group.eq(0)]
                    m.next = "DIVIDE"
            with m.Else():
                m.d.sync += [
                    s.end.eq(total),
                    s.left.eq(Mux(s.first, s.tensor_heads, s.left) - 1),
                ]

    def _operand(self, m: Module, s: SimpleNamespace) -> tuple[Value, Value, Value, Value]:
        """Ask for bases and strides. Returns the one that is here, in granules; whether one is;
        whether it is beyond all memory; whether it is not aligned."""
        p, word = self.params, self.fetch.data
        bases = [self._words[f"{tensor}_BASE"] for tensor in _TENSORS]
        stride = self._words["Q_STRIDE"] - self._words["Q_BASE"]
        index = Signal(self.fetch.index.shape())
        with m.Switch(s.tensor):
            for tensor, base in enumerate(bases):
                with m.Case(tensor):
                    m.d.comb += index.eq(base)
        m.d.comb += [self.fetch.en.eq(1), self.fetch.index.eq(index + Mux(s.base, 0, stride))]
        low_bits = (p.alignment - 1).bit_length()
        if len(address_words(p, "Q_BASE")) == 1:
            m.d.sync += s.first.eq(s.base)
            with m.If(self.fetch.grant):
                m.d.sync += s.base.eq(0)
            (_, its) = granule_part(p, 0)
            return word[its], s.arrived, word[p.addr_width :].any(), word[:low_bits].any()
        came, low = Signal(), Signal(32)  # an upper word is here; the lower one
        m.d.sync += came.eq(s.upper)
        with m.If(self.fetch.grant):
            m.d.sync += s.upper.eq(~s.upper)
            with m.If(s.upper):
                m.d.sync += s.base.eq(0)
        m.d.comb += self.fetch.index.eq(index + Mux(s.base, 0, stride) + s.upper)
        with m.If(s.arrived & ~came):
            m.d.sync += [low.eq(word), s.first.eq(s.base)]
        operand = Cat(*(half[granule_part(p, n)[1]] for n, half in enumerate((low, word))))
        return operand, s.arrived & came, Const(0), low[:low_bits].any()

    def _divide(self, m: Module, s: SimpleNamespace) -> None:
        """heads / kv_heads by repeated addition; a remainder is a bad group."""
        with m.If(s.left == s.heads):
            m.d.comb += [
                self.store.en.eq(1),
                self.store.index.eq(self._words["GROUP"]),
                self.store.data.eq(s.group),
            ]
            with m.If(self.store.grant):
                m.d.sync += s.left.eq(0)
                m.next = "TABLE"
        with m.Elif(s.left > s.heads):
            self._finish(m, StatusCode.BAD_GROUP)
        with m.Else():
            m.d.sync += [s.left.eq(s.left + s.kv_heads), s.group.eq(s.group + 1)]

    def _table(self, m: Module, s: SimpleNamespace) -> None:
        """Every mantissa must be normalised: its top bit is set."""
        m.d.comb += [
            self.fetch.table.eq(1),
            self.fetch.index.eq(s.left),
            self.fetch.en.eq(s.left != s.heads),
        ]
        with m.If(self.fetch.en & self.fetch.grant):
            m.d.sync += s.left.eq(s.left + 1)
        with m.If(s.arrived & ~self.fetch.data[self.params.scale_mantissa_bits - 1]):
            self._finish(m, StatusCode.BAD_THRESHOLD)
        with m.Elif(s.arrived & (s.left == s.heads)):
            self._finish(m, StatusCode.OK)
