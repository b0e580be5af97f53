"""Checks a job before it touches memory, and derives what the units need of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.head_checker import HeadChecker
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.words import (
    LateWords,
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
from attnsieve.hdl.slices.demand.packets import packet_params
from attnsieve.hdl.slices.slice_params import slice_params, slices_skipped

__all__ = ["JobChecker"]

#: Words of the counts, in the order in which they are read.
_COUNTS = ("HEADS", "KV_HEADS", "QUERIES", "KEYS", "HEAD_DIM", "MODE")
#: The four tensors in the order in which their address ranges are walked.
_TENSORS = ("Q", "O", "K", "V")
#: Planes, like all that is aligned, lie at multiples of 32 bytes.
_GRANULE_BITS = 5


class JobChecker(wiring.Component):
    """Decides whether a job may run, and writes down sizes that the units need.

    After ``start`` the words of the job are read, and walks follow each other: the counts; sizes of
    Q and of K and V, which are stored; the address range of each tensor, stride by stride. From the
    counts on the heads are checked beside (`HeadChecker`); heads per KV head are stored. The first
    rule that is broken ends the check with its status code, those of the heads last; the job then
    touches no memory. Where rows can wait for a second plane of K, or V for the rows, their words
    are looked at behind the counts.

    Latency of a good job from ``start`` to ``done``, if the memory is always granted:
    ``2 * (heads + kv_heads) + 8 * address words + 33`` cycles; where rows can wait, one more for
    each of their words, and 3. Later where the heads take longer than the addresses: of many heads
    whose rows wait, with few KV heads.

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
        s = self._state(m)
        m.d.comb += self.store.bank.eq(self.bank)
        self._port(m, s)
        self._compare(m, s)
        with m.If(self.store.grant):
            m.d.sync += self.store.en.eq(0)
        with m.FSM() as fsm:
            m.d.comb += [s.idle.eq(fsm.ongoing("IDLE")), s.beside.go.eq(fsm.ongoing("PRODUCT"))]
            with m.State("IDLE"):
                m.d.sync += [s.asked.eq(0), s.come.eq(0), s.tensor.eq(0), s.bad.eq(0)]
                with m.If(self.start):
                    m.next = "COUNTS"
            with m.State("COUNTS"):
                self._counts(m, s)
            with m.State("RULES"):
                self._rules(m, s)
            if self._more:
                with m.State("MORE"):
                    self._further(m, s)
            with m.State("PRODUCT"):
                m.d.sync += s.units.eq(s.rows * s.dim)
                m.next = "EXTENT"
            with m.State("EXTENT"):
                self._extent(m, s)
            with m.State("SIZE"):
                self._size(m, s)
            with m.State("BEGIN"):
                self._begin(m, s)
            with m.State("ADDRESS"):
                self._address(m, s)
            with m.State("RANGE"):
                self._range(m, s)
            with m.State("HEADS"):
                self._heads(m, s)
            with m.State("END"):
                with m.If(~self.store.en):  # the last derived word is written
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
        return m

    def _port(self, m: Module, s: SimpleNamespace) -> None:
        """The read port: the heads' when it is free."""
        fetch, heads = self.fetch, s.beside.fetch
        m.d.comb += [
            fetch.bank.eq(self.bank),
            fetch.en.eq(s.ask | heads.en),
            fetch.table.eq(~s.ask & heads.table),
            fetch.index.eq(Mux(s.ask, s.index, heads.index)),
            heads.grant.eq(fetch.grant & ~s.ask),
            heads.data.eq(fetch.data),
            s.granted.eq(s.ask & fetch.grant),
            s.late.granted.eq(s.granted),
            s.late.data.eq(fetch.data),
        ]

    def _state(self, m: Module) -> SimpleNamespace:
        """Registers of the check, and what follows from them."""
        p = self.params
        idle, late, beside = Signal(), LateWords(params=p), HeadChecker(params=p)
        m.submodules.late = ResetInserter(idle)(late)
        m.submodules.heads = ResetInserter(idle)(beside)
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
            "relative": 1,
            "bad": data.StructLayout({"zero": 1, "dim": 1, "over": 1, "odd": 1, "wrap": 1}),
            # where the check is
            "asked": range(len(_COUNTS) + 1),  # words asked for
            "come": range(len(_COUNTS)),  # words that have been here
            "over": 1,  # the count that is here is too large
            "few": 1,  # fewer heads than KV heads
            "short": 1,  # fewer keys than queries
            "tensor": range(len(_TENSORS)),
            "walk": 1,  # the stride has been here
            # of the tensor at hand
            "units": rows + dims,  # of a head, 16 elements each
            "left": p.head_bits + 1,  # strides to add
            "end": granule_bits(p),  # last granule of a head
            # of the read port
            "ask": 1,
            "index": self.fetch.index.shape(),
            "granted": 1,
        }
        if self._more:
            shapes |= {
                "threshold": 1,  # rows may need the second plane of K
                "demand": 1,  # rows of V wait
                "own": 1,  # K or V has a width of its own
                "planar": 1,  # K lies in planes of slices
                "plane": 36 - _GRANULE_BITS,  # from a head of K to its last plane, in granules
            }
        s = SimpleNamespace(**{name: Signal(shape, name=name) for name, shape in shapes.items()})
        s.idle, s.late, s.beside, s.word, s.arrived = idle, late, beside, late.word, late.arrived
        m.d.comb += [beside.bank.eq(self.bank), beside.heads.eq(s.heads)]
        m.d.comb += [beside.kv_heads.eq(s.kv_heads), beside.keys.eq(s.keys), beside.dim.eq(s.dim)]
        if self._more:
            m.d.comb += [beside.threshold.eq(s.threshold), beside.demand.eq(s.demand)]
            m.d.comb += beside.planar.eq(s.planar)
        s.kv = s.tensor[1]
        s.rows = Mux(s.kv, s.keys, s.queries)
        s.tensor_heads = Mux(s.kv, s.kv_heads, s.heads)
        s.output = s.tensor == _TENSORS.index("O")
        # 8 bytes each, of a head: two or three for 16 elements, four of the output
        wide = s.wide | (s.kv & s.own) if self._more else s.wide  # at most
        s.eights = (s.units << 1) + Mux(s.output, s.units << 1, Mux(wide, s.units, 0))
        return s

    @property
    def _more(self) -> tuple[str, ...]:
        """Words that only some cores have, and that are looked at behind the counts."""
        planes = ("PRECISION", "K_PLANE") if self.params.progressive else ()
        slices = ("K_PLANE",) if self.params.slice_demand else ()
        return (*planes, *(("FETCH",) if self.params.value_demand else ()), *slices)

    def _finish(self, m: Module, code: StatusCode) -> None:
        m.d.sync += self.code.eq(code)
        m.next = "END"

    def _counts(self, m: Module, s: SimpleNamespace) -> None:
        """Read the counts, and compare each with zero and with what is built (`_compare`)."""
        word = s.word[:16]
        m.d.comb += [
            s.ask.eq(s.asked != len(_COUNTS)),
            s.index.eq(s.asked + self._words[_COUNTS[0]]),
        ]
        with m.If(s.granted):
            m.d.sync += s.asked.eq(s.asked + 1)
        into = (
            s.heads.eq(word),
            s.kv_heads.eq(word),
            s.queries.eq(word),
            s.keys.eq(word),
            s.dim.eq(word[4:]),
            [s.wide.eq(word[0]), s.causal.eq(word[1]), s.relative.eq(word[4])],
        )
        is_zero = word == 0
        with m.If(s.arrived):
            m.d.sync += s.come.eq(s.come + 1)
            with m.Switch(s.come):
                for place, capture in enumerate(into):
                    with m.Case(place):
                        m.d.sync += capture
                        if place < 4:
                            m.d.sync += s.bad.zero.eq(s.bad.zero | is_zero)
                        elif place == 4:
                            m.d.sync += s.bad.dim.eq(is_zero | word[:4].any())
            m.d.sync += s.bad.over.eq(s.bad.over | s.over)
            with m.If(s.come == len(_COUNTS) - 1):
                m.d.sync += [s.come.eq(0), s.asked.eq(0)]
                m.next = "RULES"

    def _compare(self, m: Module, s: SimpleNamespace) -> None:
        """What does not depend on the state: a count with what is built, counts with each other."""
        p, word = self.params, s.word[:16]
        limits = (p.max_heads, p.max_heads, p.max_queries, p.max_keys, p.max_head_dim)
        limit = Signal(16)
        with m.Switch(s.come):
            for place, most in enumerate(limits):
                with m.Case(place):
                    m.d.comb += limit.eq(most)
        no_wide = Const(p.operand_bits < 12)
        is_mode = s.come == _COUNTS.index("MODE")  # no count: 12 bits may not be built
        m.d.comb += s.over.eq(Mux(is_mode, word[0] & no_wide, word > limit))
        m.d.sync += [s.few.eq(s.kv_heads > s.heads), s.short.eq(s.queries > s.keys)]

    def _rules(self, m: Module, s: SimpleNamespace) -> None:
        """Rules on counts, by priority."""
        with m.If(s.bad.zero):
            self._finish(m, StatusCode.ZERO_LENGTH)
        with m.Elif(s.bad.dim):
            self._finish(m, StatusCode.BAD_HEAD_DIM)
        with m.Elif(s.bad.over):
            self._finish(m, StatusCode.SIZE_OVER_BUILD)
        with m.Elif(s.few):
            self._finish(m, StatusCode.BAD_GROUP)
        with m.Elif(s.causal & s.short):
            self._finish(m, StatusCode.BAD_COUNT)
        with m.Else():
            m.next = "MORE" if self._more else "PRODUCT"

    def _further(self, m: Module, s: SimpleNamespace) -> None:
        """Widths of K and V, and what makes rows wait: then a head has one query."""
        word, low_bits = s.word, (self.params.alignment - 1).bit_length()
        indices = Array([self._words[name] for name in self._more])
        m.d.comb += [
            s.ask.eq(s.asked != len(self._more)),
            s.index.eq(indices[s.asked]),
        ]
        with m.If(s.granted):
            m.d.sync += s.asked.eq(s.asked + 1)
        bad, several = Signal(StatusCode), s.queries != 1
        with m.Switch(s.come):
            for place, name in enumerate(self._more):
                with m.Case(place):
                    if name == "PRECISION":
                        widths = word[16:20], word[20:24]
                        legal = [w.matches(0, *self.params.operand_widths) for w in widths]
                        m.d.sync += s.threshold.eq(word[:16].any() & s.arrived)
                        m.d.sync += s.own.eq(word[16:24].any())
                        with m.If(word[:16].any() & several):
                            m.d.comb += bad.eq(StatusCode.BAD_THRESHOLD)
                        with m.If(~Cat(legal).all()):
                            m.d.comb += bad.eq(StatusCode.BAD_COUNT)
                    elif name == "K_PLANE":
                        m.d.sync += s.plane.eq(self._planes(s, word[_GRANULE_BITS:]))
                        with m.If((s.threshold | s.planar) & word[:low_bits].any()):
                            m.d.comb += bad.eq(StatusCode.MISALIGNED)
                    else:
                        planar = word[1] if self.params.slice_demand else 0
                        m.d.sync += [s.demand.eq(word[0]), s.planar.eq(planar & s.arrived)]
                        with m.If(planar & s.relative):
                            m.d.comb += bad.eq(StatusCode.BAD_THRESHOLD)
                        with m.If((word[0] | planar) & several):
                            m.d.comb += bad.eq(StatusCode.BAD_COUNT)
        with m.If(s.arrived):
            m.d.sync += s.come.eq(s.come + 1)
            with m.If(bad != StatusCode.OK):
                self._finish(m, bad)
            with m.Elif(s.come == len(self._more) - 1):
                m.d.sync += [s.come.eq(0), s.asked.eq(0)]
                m.next = "PRODUCT"

    def _planes(self, s: SimpleNamespace, plane: Value) -> Value:
        """From a head of K to its last plane."""
        p = self.params
        if not p.slice_demand:
            return Mux(s.threshold, plane, 0)
        more = slice_params(p).slices - 1
        return Mux(s.planar, plane * Mux(s.wide, more, more - slices_skipped(p)), 0)

    def _store(
        self,
        m: Module,
        s: SimpleNamespace,
        name: str,
        layout: Any,
        fields: dict,
        following: str,
    ) -> None:
        """Write a derived word of Q or of K and V, once the one before is written."""
        word = Signal(layout, name=name.lower())
        m.d.comb += [word[field].eq(value) for field, value in fields.items()]
        index = Mux(s.kv, self._words[f"KV_{name}"], self._words[f"Q_{name}"])
        self._write(m, index, word, following)

    def _write(self, m: Module, index: Any, word: Any, following: str) -> None:
        with m.If(~self.store.en):
            m.d.sync += [
                self.store.en.eq(1),
                self.store.index.eq(index),
                self.store.data.eq(word),
            ]
            m.next = following

    def _extent(self, m: Module, s: SimpleNamespace) -> None:
        """Lines of a head; those of K and V must fit their rings."""
        p = self.params
        lines = Signal(extent_layout(p)["lines"].shape)
        m.d.comb += lines.eq((s.units * (16 // p.segment) + (p.groups - 1)) // p.groups)
        with m.If(s.kv & (lines > p.kv_lines)):
            self._finish(m, StatusCode.SIZE_OVER_BUILD)
        with m.Else():
            fields = {"lines": lines, "rows": s.rows}
            self._store(m, s, "EXTENT", extent_layout(p), fields, "SIZE")

    def _size(self, m: Module, s: SimpleNamespace) -> None:
        fields = {
            "eights": s.eights,
            "wide": s.wide,
            "heads": s.tensor_heads,
            "parts": s.dim * (16 // self.params.segment),
        }
        self._store(m, s, "SIZE", size_layout(self.params), fields, "BEGIN")

    def _begin(self, m: Module, s: SimpleNamespace) -> None:
        """A tensor; its base and its stride are asked for from now on."""
        m.d.sync += [s.walk.eq(0), s.left.eq(s.tensor_heads - 1)]
        end = (s.eights - 1) >> 2  # granules of a head before its last
        if self._more:  # at most: a second plane is no larger than 12 bits
            last, is_key = Signal(33), s.tensor == _TENSORS.index("K")
            if self.params.slice_demand:
                rows = s.keys * packet_params(self.params).row_bytes
                end = Mux(is_key & s.planar, (rows - 1) >> _GRANULE_BITS, end)
            m.d.comb += last.eq(end + Mux(is_key, s.plane, 0))
            m.d.sync += s.bad.wrap.eq(last[granule_bits(self.params) :].any())
            end = last
        m.d.sync += s.end.eq(end)
        self._ask(m, s)
        m.next = "ADDRESS"

    def _address(self, m: Module, s: SimpleNamespace) -> None:
        """Walk size + base + (heads - 1) * stride for a tensor; a carry is a wrap."""
        self._ask(m, s)
        operand, base, stride, beyond, odd = self._operand(m, s)
        total, walks, adds = Signal(len(s.end) + 1), Signal(), Signal()
        m.d.comb += [
            total.eq(s.end + operand),
            walks.eq(stride | s.walk),
            adds.eq(base | (walks & (s.left != 0))),
        ]
        with m.If(adds):
            m.d.sync += s.end.eq(total)
        with m.If(walks):
            m.d.sync += [s.walk.eq(1), s.left.eq(s.left - 1)]
            with m.If(s.left == 0):
                m.next = "RANGE"
        with m.If(~s.bad.odd & ~s.bad.wrap):  # the first fault counts
            m.d.sync += [
                s.bad.odd.eq((base | stride) & odd),
                s.bad.wrap.eq(adds & (total[-1] | beyond) & ~((base | stride) & odd)),
            ]

    def _range(self, m: Module, s: SimpleNamespace) -> None:
        """What the walk has found; on to the next tensor."""
        with m.If(s.bad.odd):
            self._finish(m, StatusCode.MISALIGNED)
        with m.Elif(s.bad.wrap):
            self._finish(m, StatusCode.ADDRESS_WRAP)
        with m.Else():
            m.d.sync += [s.tensor.eq(s.tensor + 1), s.asked.eq(0)]
            m.next = "BEGIN"
            with m.If(s.output):
                m.next = "PRODUCT"
            with m.If(s.tensor == len(_TENSORS) - 1):
                m.next = "HEADS"

    def _ask(self, m: Module, s: SimpleNamespace) -> None:
        """Ask for the words of base and stride of a tensor."""
        words = len(address_words(self.params, "Q_BASE"))
        bases = [self._words[f"{tensor}_BASE"] for tensor in _TENSORS]
        stride = self._words["Q_STRIDE"] - self._words["Q_BASE"]
        index = Signal(self.fetch.index.shape())
        with m.Switch(s.tensor):
            for tensor, base in enumerate(bases):
                with m.Case(tensor):
                    m.d.comb += index.eq(base)
        upper = s.asked[0] if words > 1 else 0
        m.d.comb += [
            s.ask.eq(s.asked != 2 * words),
            s.index.eq(index + Mux(s.asked >= words, stride, 0) + upper),
        ]
        with m.If(s.granted):
            m.d.sync += s.asked.eq(s.asked + 1)

    def _operand(self, m: Module, s: SimpleNamespace) -> tuple[Value, ...]:
        """What is here of base and stride, in granules; whether it is the base, now; the stride,
        now; whether it is beyond all memory; whether it is not aligned."""
        p, words = self.params, len(address_words(self.params, "Q_BASE"))
        with m.If(s.arrived):
            m.d.sync += s.come.eq(Mux(s.come == 2 * words - 1, 0, s.come + 1))
        here = [s.arrived & (s.come == n * words - 1) for n in (1, 2)]
        low_bits = (p.alignment - 1).bit_length()
        if words == 1:
            (_, its) = granule_part(p, 0)
            return s.word[its], *here, s.word[p.addr_width :].any(), s.word[:low_bits].any()
        low = Signal(32)  # the lower word
        with m.If(s.arrived & ~s.come[0]):
            m.d.sync += low.eq(s.word)
        operand = Cat(*(half[granule_part(p, n)[1]] for n, half in enumerate((low, s.word))))
        return operand, *here, Const(0), low[:low_bits].any()

    def _heads(self, m: Module, s: SimpleNamespace) -> None:
        """What the heads' check has found."""
        with m.If(s.beside.done):
            m.d.sync += self.code.eq(s.beside.code)
            self._write(m, self._words["GROUP"], s.beside.group, "END")
