"""Checks a job before it touches memory, and derives what the units need of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.words import (
    FETCH_LATENCY,
    address_words,
    extent_layout,
    fetch_signature,
    granule_bits,
    granule_part,
    head_words,
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
#: Planes, like all that is aligned, lie at multiples of 32 bytes.
_GRANULE_BITS = 5


class JobChecker(wiring.Component):
    """Decides whether a job may run, and writes down sizes that the units need.

    After ``start`` the words of the job are read, and walks follow each other: the counts; sizes of
    Q and of K and V, which are stored; the address range of each tensor, stride by stride; heads
    divided by KV heads, which is stored; the head table. The first rule that is broken ends the
    check with its status code; the job then touches no memory.

    Where rows can wait for a second plane of K, or V for the rows, their words are looked at behind
    the counts, and what a KV head needs there behind the division.

    Latency of a good job from ``start`` to ``done``, if the memory is always granted:
    ``2 * (heads + kv_heads) + heads / kv_heads + heads + 8 * address words + 38`` cycles. Where
    rows can wait, ``heads / kv_heads + 7`` more, and one for each of their words and of those that
    tell which heads are pruned.

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
        self._receive(m, s)
        self._compare(m, s)
        with m.If(self.store.grant):
            m.d.sync += self.store.en.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [s.way.eq(0), s.asked.eq(0), s.come.eq(0)]
                m.d.sync += [s.tensor.eq(0), s.bad.eq(0)]
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
            with m.State("DIVIDE"):
                self._divide(m, s)
            with m.State("GROUP"):
                following = "HEADS" if self.params.token_lanes else "TABLE"
                following = "ROOM" if self._more else following
                self._write(m, self._words["GROUP"], s.group, following)
            if self._more:
                with m.State("ROOM"):
                    self._room(m, s)
            if self.params.token_lanes:
                with m.State("HEADS"):
                    self._heads(m, s)
            with m.State("TABLE"):
                self._table(m, s)
            with m.State("END"):
                with m.If(~self.store.en):  # the last derived word is written
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
        return m

    def _receive(self, m: Module, s: SimpleNamespace) -> None:
        """Words are registered as they come, before they are looked at."""
        m.d.sync += s.way.eq(Cat(self.fetch.en & self.fetch.grant, s.way))
        with m.If(s.way[-2]):
            m.d.sync += s.word.eq(self.fetch.data)

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
            "bad": data.StructLayout({"zero": 1, "dim": 1, "over": 1, "odd": 1, "wrap": 1}),
            # where the check is
            "asked": range(len(_COUNTS) + 1),  # words asked for
            "come": range(len(_COUNTS)),  # words that have been here
            "way": FETCH_LATENCY + 1,  # words on their way; the last bit: one is here
            "word": 32,  # which is this, and stays
            "over": 1,  # the count that is here is too large
            "few": 1,  # fewer heads than KV heads
            "short": 1,  # fewer keys than queries
            "tensor": range(len(_TENSORS)),
            "walk": 1,  # the stride has been here
            # of the tensor at hand
            "units": rows + dims,  # of a head, 16 elements each
            "left": p.head_bits + 1,  # strides to add; heads covered; entries asked for
            "end": granule_bits(p),  # last granule of a head
            "group": p.head_bits,
            "exact": 1,  # the heads of so many KV heads are all
            "past": 1,  # more than all
        }
        if p.token_lanes:
            shapes["lives"] = 1  # a head does
        if self._more:
            shapes |= {
                "threshold": 1,  # rows may need the second plane of K
                "demand": 1,  # rows of V wait
                "own": 1,  # K or V has a width of its own
                "plane": 32 - _GRANULE_BITS,  # from a head of K to its second plane, in granules
                "members": p.head_bits,  # heads of a group whose room is added up
                "beats": p.held_beats.bit_length() + 1,
                "segments": p.held_segments.bit_length() + 1,
            }
        s = SimpleNamespace(**{name: Signal(shape, name=name) for name, shape in shapes.items()})
        s.arrived = s.way[-1]
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
        return (*planes, *(("FETCH",) if self.params.value_demand else ()))

    def _finish(self, m: Module, code: StatusCode) -> None:
        m.d.sync += self.code.eq(code)
        m.next = "END"

    def _counts(self, m: Module, s: SimpleNamespace) -> None:
        """Read the counts, and compare each with zero and with what is built (`_compare`)."""
        word = s.word[:16]
        m.d.comb += [
            self.fetch.en.eq(s.asked != len(_COUNTS)),
            self.fetch.index.eq(s.asked + self._words[_COUNTS[0]]),
        ]
        with m.If(self.fetch.en & self.fetch.grant):
            m.d.sync += s.asked.eq(s.asked + 1)
        into = (
            s.heads.eq(word),
            s.kv_heads.eq(word),
            s.queries.eq(word),
            s.keys.eq(word),
            s.dim.eq(word[4:]),
            [s.wide.eq(word[0]), s.causal.eq(word[1])],
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
            self.fetch.en.eq(s.asked != len(self._more)),
            self.fetch.index.eq(indices[s.asked]),
        ]
        with m.If(self.fetch.en & self.fetch.grant):
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
                        m.d.sync += s.plane.eq(Mux(s.threshold, word[_GRANULE_BITS:], 0))
                        with m.If(s.threshold & word[:low_bits].any()):
                            m.d.comb += bad.eq(StatusCode.MISALIGNED)
                    else:
                        m.d.sync += s.demand.eq(word[0])
                        with m.If(word[0] & several):
                            m.d.comb += bad.eq(StatusCode.BAD_COUNT)
        with m.If(s.arrived):
            m.d.sync += s.come.eq(s.come + 1)
            with m.If(bad != StatusCode.OK):
                self._finish(m, bad)
            with m.Elif(s.come == len(self._more) - 1):
                m.d.sync += [s.come.eq(0), s.asked.eq(0)]
                m.d.sync += [s.members.eq(0), s.beats.eq(0), s.segments.eq(0)]
                m.next = "PRODUCT"

    def _room(self, m: Module, s: SimpleNamespace) -> None:
        """Where rows wait there must be room for those of a KV head: sums over its heads."""
        p = self.params
        beats = (s.keys + (p.groups - 1)) // p.groups
        with m.If(((s.beats > p.held_beats) & (s.threshold | s.demand))
                  | ((s.segments > p.held_segments) & s.threshold)):  # fmt: skip
            self._finish(m, StatusCode.BAD_GROUP)
        with m.Elif(s.members == s.group):
            m.next = "HEADS"
        with m.Else():
            m.d.sync += [
                s.members.eq(s.members + 1),
                s.beats.eq(s.beats + beats),
                s.segments.eq(s.segments + s.dim * (16 // p.segment)),
            ]

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
            last = Signal(33)
            m.d.comb += last.eq(end + Mux(s.tensor == _TENSORS.index("K"), s.plane, 0))
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
            m.d.sync += [s.left.eq(0), s.group.eq(-1), s.exact.eq(0), s.past.eq(0)]
            m.next = "BEGIN"
            with m.If(s.output):
                m.next = "PRODUCT"
            with m.If(s.tensor == len(_TENSORS) - 1):
                m.next = "DIVIDE"

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
            self.fetch.en.eq(s.asked != 2 * words),
            self.fetch.index.eq(index + Mux(s.asked >= words, stride, 0) + upper),
        ]
        with m.If(self.fetch.en & self.fetch.grant):
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

    def _divide(self, m: Module, s: SimpleNamespace) -> None:
        """heads / kv_heads by repeated addition; a remainder is a bad group.

        Sums are looked at a cycle later, when ``group`` is what was added before the last one.
        """
        m.d.sync += [s.exact.eq(s.left == s.heads), s.past.eq(s.left > s.heads)]
        with m.If(s.exact):
            m.d.sync += s.left.eq(s.heads)
            m.next = "GROUP"
        with m.Elif(s.past):
            self._finish(m, StatusCode.BAD_GROUP)
        with m.Else():
            m.d.sync += [s.left.eq(s.left + s.kv_heads), s.group.eq(s.group + 1)]

    def _heads(self, m: Module, s: SimpleNamespace) -> None:
        """Where heads are pruned, one at least must not be."""
        words = head_words(self.params)
        m.d.comb += [
            self.fetch.en.eq(s.asked != len(words)),
            self.fetch.index.eq(s.asked + self._words[words[0]]),
        ]
        with m.If(self.fetch.en & self.fetch.grant):
            m.d.sync += s.asked.eq(s.asked + 1)
        lives = Signal()
        for place in range(len(words)):
            first = 32 * place
            built = s.word[: self.params.max_heads - first]
            heads = [~bit & (first + n < s.heads) for n, bit in enumerate(built)]
            with m.If(s.come == place):
                m.d.comb += lives.eq(Cat(heads).any())
        with m.If(s.arrived):
            m.d.sync += [s.come.eq(s.come + 1), s.lives.eq(s.lives | lives)]
            with m.If(s.come == len(words) - 1):
                m.d.sync += [s.come.eq(0), s.lives.eq(0)]
                m.next = "TABLE"
                with m.If(~(s.lives | lives)):
                    self._finish(m, StatusCode.BAD_COUNT)

    def _table(self, m: Module, s: SimpleNamespace) -> None:
        """Every mantissa must be normalised: its top bit is set. ``left`` entries are not asked
        for yet; the last head's comes first."""
        m.d.comb += [
            self.fetch.table.eq(1),
            self.fetch.index.eq(s.left - 1),
            self.fetch.en.eq(s.left != 0),
        ]
        with m.If(self.fetch.en & self.fetch.grant):
            m.d.sync += s.left.eq(s.left - 1)
        with m.If(s.arrived & ~s.word[self.params.scale_mantissa_bits - 1]):
            self._finish(m, StatusCode.BAD_THRESHOLD)
        with m.Elif((s.left == 0) & ~s.way.any()):
            self._finish(m, StatusCode.OK)
