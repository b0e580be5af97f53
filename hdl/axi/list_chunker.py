"""Cuts the listed rows of three tensors into chunks that fit their sinks, in a fair order."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.chunker import Sink
from attnsieve.hdl.axi.row_units import WORD_BYTES
from attnsieve.hdl.layouts import region_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["ListChunker", "list_chunk_layout", "rank_bits"]

#: Most granules of a chunk, a power of two; a granule is ``groups`` rows, which fill whole lines.
MOST = 8


def rank_bits(p: CoreParams) -> int:
    """Bits of a number of rows, and of a place in a list."""
    return max(p.key_bits, p.query_bits)


def width_bits(p: CoreParams) -> int:
    """Bits of a place in ``operand_widths``."""
    return (len(p.operand_widths) - 1).bit_length()


def pitch_words(p: CoreParams) -> int:
    """Words of the longest row."""
    return p.max_head_dim * p.operand_bits // 8 // WORD_BYTES


def list_chunk_layout(p: CoreParams) -> data.StructLayout:
    """Rows of one head of one tensor, from place ``first`` of its list on: with ``demand`` a list
    of values, and ``final`` where it ends."""
    return data.StructLayout(
        {
            "sink": 2,
            "first": rank_bits(p),
            "rows": range(MOST * p.groups + 1),
            "lines": range(MOST * p.max_parts + 1),  # that they fill
            "base": p.addr_width - (WORD_BYTES.bit_length() - 1),  # of row 0 of the head, in words
            "pitch": range(pitch_words(p) + 1),
            "width": width_bits(p),  # of the operands: their place in ``operand_widths``
            **(dict.fromkeys(("demand", "half", "final"), 1) if p.value_demand else {}),
        }
    )


class ListChunker(wiring.Component):
    """Heads of Q, K and V in; chunks of rows out.

    A chunk is up to `MOST` granules of ``groups`` rows, as many as its sink has room for beside
    the lines that are on their way; only the last chunk of a head may be no whole granule.

    Queries go first, but two chunks of them in a row only if nothing else can go. Keys of head g go
    before values of head g, these before keys of head g + 1; a second plane of keys, for which
    rows wait, before both. But a stream whose sink has room for a granule never waits for one whose
    sink has none.

    Latency: `latency` cycles from a head to its first chunk. Throughput: a chunk in `period`
    cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    region : In(stream(region_layout)).array(3)
        Heads of Q, K, V (see `Sink`); ``rows`` is that of the list.
    space : In(unsigned).array(3)
        Free lines of each sink. A line counts as taken at the latest one cycle after its transfer.
    delivered : In(3)
        A line was transferred to the sink.
    o : Out(stream(list_chunk_layout))
    """

    region: Any
    space: Any
    delivered: Signal
    o: stream.Interface

    latency = 4
    #: Cycles from chunk to chunk.
    period = 4

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "region": In(stream.Signature(region_layout(params))).array(3),
                "space": In(params.kv_lines.bit_length()).array(3),
                "delivered": In(3),
                "o": Out(stream.Signature(list_chunk_layout(params))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        head = data.StructLayout(
            {
                "base": list_chunk_layout(p)["base"].shape,
                "first": rank_bits(p),
                "left": rank_bits(p),  # rows
                "parts": p.part_bits,
                "width": width_bits(p),
                **({"second": 1} if p.progressive else {}),
                **(dict.fromkeys(("demand", "half"), 1) if p.value_demand else {}),
            }
        )
        plan = data.StructLayout({"eligible": 1, "size": range(MOST.bit_length())})
        self._heads = [Signal(head, name=f"head{s}") for s in range(3)]
        self._active = Signal(3)
        self._plans = [Signal(plan, name=f"plan{s}") for s in range(3)]
        self._coming = [Signal(len(space), name=f"coming{s}") for s, space in enumerate(self.space)]
        cut, chosen, last = Signal(), Signal(2, init=Sink.VALUE), Signal()
        size = self._sequence(m, cut, chosen, last)
        for s in range(3):
            self._take(m, s)
            self._plan(m, s)
        self._cut(m, cut, chosen, size, last)
        return m

    def _take(self, m: Module, s: int) -> None:
        """Take a head whenever the last one is used up; one without rows is done at once."""
        region, head = self.region[s], self._heads[s]
        m.d.comb += region.ready.eq(~self._active[s])
        with m.If(~self._active[s]):
            m.d.sync += [
                self._active[s].eq(region.valid & (region.p.rows != 0)),
                head.base.eq(region.p.address >> (WORD_BYTES.bit_length() - 1)),
                head.first.eq(0),
                head.left.eq(region.p.rows),
                head.parts.eq(region.p.parts),
                head.width.eq(region.p.width if self.params.progressive else region.p.wide),
                *([head.second.eq(region.p.second)] if self.params.progressive else []),
                *self._demand(head, region.p),
            ]

    def _demand(self, to: Any, source: Any) -> list[Any]:
        """Which list of values a head's rows are in."""
        names = ("demand", "half") if self.params.value_demand else ()
        return [to[name].eq(source[name]) for name in names]

    def _plan(self, m: Module, s: int) -> None:
        """Granules that the stream could ask for, a power of two: there is room, and use."""
        p, head, plan = self.params, self._heads[s], self._plans[s]
        free = Signal(len(self.space[s]), name=f"free{s}")
        m.d.sync += free.eq(self.space[s] - self._coming[s])
        size: Value = Const(0)
        for log in range(1, MOST.bit_length()):
            fits = free >= (head.parts << log)
            size = Mux(fits & (head.left > (p.groups << log - 1)), log, size)
        m.d.sync += [
            plan.eligible.eq(self._active[s] & (free >= head.parts)),
            plan.size.eq(size),
        ]

    def _sequence(self, m: Module, cut: Signal, chosen: Signal, last: Signal) -> Value:
        """Choose a stream; cut its chunk, which may be its head's ``last``; let what is planned
        catch up. Returns its size."""
        eligible = Cat(plan.eligible for plan in self._plans)
        ahead = Signal(self.params.head_bits + 1)  # heads of K done less those of V, signed
        key_first = ahead[-1] | (ahead == 0) | self._second
        size = Signal(self._plans[0].shape()["size"].shape)
        with m.FSM():
            with m.State("CHOOSE"):
                query = eligible[Sink.QUERY] & (
                    (chosen != Sink.QUERY) | ~eligible[Sink.KEY :].any()
                )
                key = eligible[Sink.KEY] & (key_first | ~eligible[Sink.VALUE])
                choice = Mux(query, Sink.QUERY, Mux(key, Sink.KEY, Sink.VALUE))
                with m.If(eligible.any()):
                    m.d.sync += chosen.eq(choice)
                    m.d.sync += size.eq(self._of(choice, [plan.size for plan in self._plans]))
                    m.d.sync += last.eq(self._of(choice, [self._last(s) for s in range(3)]))
                    m.next = "CUT"
            with m.State("CUT"):
                m.d.comb += cut.eq(~self.o.valid | self.o.ready)
                with m.If(cut):
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.next = "PLAN"
            with m.State("PLAN"):
                m.next = "CHOOSE"
        done = Signal(3)
        m.d.comb += done.eq(Cat(cut & (chosen == s) & last for s in range(3)))
        keys = (done[Sink.KEY] & ~self._second) | self._none(Sink.KEY)
        m.d.sync += ahead.eq(ahead + keys - (done[Sink.VALUE] | self._none(Sink.VALUE)))
        with m.If(done.any()):
            m.d.sync += self._active.eq(self._active & ~done)
        return size

    def _none(self, s: int) -> Value:
        """Whether a head without rows is taken, which is done with that; no second plane counts."""
        region = self.region[s]
        none = region.valid & ~self._active[s] & (region.p.rows == 0)
        return none & ~region.p.second if self.params.progressive else none

    @property
    def _second(self) -> Value:
        """The keys at hand are those of a second plane."""
        return self._heads[Sink.KEY].second if self.params.progressive else Const(0)

    def _of(self, choice: Value, values: list[Any]) -> Value:
        return Mux(choice == 2, values[2], Mux(choice == 1, values[1], values[0]))

    def _last(self, s: int) -> Value:
        """Whether the chunk that is planned takes all rows that are left."""
        return self._heads[s].left <= (self.params.groups << self._plans[s].size)

    def _cut(self, m: Module, cut: Signal, chosen: Signal, size: Value, last: Signal) -> None:
        """The chunk, what is left of its head, and the lines that are on their way."""
        p, chunk = self.params, self.o.p
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(cut):
            m.d.sync += [self.o.valid.eq(1), chunk.sink.eq(chosen)]
        for s, head in enumerate(self._heads):
            mine = cut & (chosen == s)
            rows, lines = Signal(chunk.rows.shape()), Signal(chunk.lines.shape())
            rest = Signal(chunk.lines.shape(), name=f"rest{s}")  # lines of all that is left, if few
            pitch = Signal(chunk.pitch.shape(), name=f"pitch{s}")
            shift = p.groups.bit_length() - 1
            m.d.sync += [
                rest.eq((head.left * head.parts + (p.groups - 1)) >> shift),
                pitch.eq(self._pitch(head)),
            ]
            m.d.comb += [
                rows.eq(Mux(last, head.left, p.groups << size)),
                lines.eq(Mux(last, rest, head.parts << size)),
            ]
            with m.If(mine):
                m.d.sync += [
                    chunk.first.eq(head.first),
                    chunk.rows.eq(rows),
                    chunk.lines.eq(lines),
                    chunk.base.eq(head.base),
                    chunk.pitch.eq(pitch),
                    chunk.width.eq(head.width),
                    *self._demand(chunk, head),
                    *([chunk.final.eq(last)] if p.value_demand else []),
                    head.first.eq(head.first + rows),
                    head.left.eq(head.left - rows),
                ]
            coming = self._coming[s]
            m.d.sync += coming.eq(coming + Mux(mine, lines, 0) - self.delivered[s])

    def _pitch(self, head: Any) -> Value:
        """Words of a row: half a word for 16 elements and every bit of their width."""
        p = self.params
        sixteens = head.parts >> (16 // p.segment).bit_length() - 1
        halves = [width // 2 for width in p.operand_widths]
        return sixteens * (Array(halves)[head.width] if len(halves) > 1 else halves[0])
