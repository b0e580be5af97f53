"""The further steps of a radix select: one digit of the value per pass over its candidates."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.bypass_queue import BypassQueue
from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.packer import Packer
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.ragged import flagged_layout, ragged_layout
from attnsieve.hdl.lib.reduce import either
from attnsieve.hdl.lib.zero_eliminator import ZeroEliminator
from attnsieve.hdl.select.bucket_find import BucketFind
from attnsieve.hdl.select.histogram import Histogram
from attnsieve.hdl.select.search import found_layout, search_layout
from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["Refine"]

#: Cycles from a beat to its candidates in their queue.
SLACK = 16


class Refine(wiring.Component):
    """Rows with a search each in; passes over their candidates, until the threshold is known.

    A pass reads a row's beats. Values with the known high bits are its candidates: their next
    ``digit_bits`` bits are counted, and they are packed in a queue of their own for the next pass.
    So the first pass reads the whole row, later ones only ceil(candidates / lanes) beats. Bits that
    all candidates of a pass share are known after it, whatever its digit. A pass is the last if no
    bits are left: as with one candidate, or equal ones, which another pass only drops.

    Passes of several rows follow one another without a gap; older rows go first. A pass over b
    beats tells the next search `latency` = 5 cycles after its last beat. A row is begun
    only when its candidates have room, so passes end. Rows may end in another order.

    Parameters
    ----------
    params : TopKParams
    digit_bits : int
        Bits of a pass.
    rows : int
        Most rows inside, a power of two.

    Members
    -------
    search : In(stream(search_layout))
        One per row, in the order of the rows.
    row : In(stream({value[lanes], keep, last}))
    found : Out(stream(found_layout, always ready))
    """

    search: stream.Interface
    row: stream.Interface
    found: stream.Interface

    latency = 1 + Histogram.latency + BucketFind.latency

    def __init__(self, *, params: TopKParams, digit_bits: int, rows: int) -> None:
        check_int("Digit bits", digit_bits, 1, params.value_bits)
        self.params, self.digit_bits, self.rows = params, digit_bits, rows
        tag_bits = (rows - 1).bit_length()
        self.state = search_layout(params, tag_bits)
        self.beat = data.StructLayout(
            {
                "value": data.ArrayLayout(unsigned(params.value_bits), params.lanes),
                "keep": unsigned(params.lanes),
                "last": unsigned(1),
            }
        )
        self.candidates = _Candidates(params)
        found = found_layout(params, tag_bits)
        super().__init__(
            {
                "search": In(stream.Signature(self.state)),
                "row": In(stream.Signature(self.beat)),
                "found": Out(stream.Signature(found, always_ready=True)),
            }
        )

    @property
    def late(self) -> int:
        """Cycles by which candidates come later than the search for them."""
        return max(0, self.candidates.latency - self.latency - 1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.again = again = BypassQueue(shape=self.state, depth=self.rows)
        m.submodules.candidates = candidates = self.candidates
        search, beat, there, take = self._passes(m, again.o, candidates)
        match, digits, shift = self._match(m, search, beat)
        goes_on = (shift != 0) & ~search.single & ~search.known
        m.d.comb += [
            take.eq(there & (candidates.i.ready | ~goes_on)),
            candidates.i.valid.eq(there & goes_on),
            candidates.i.p.item.eq(beat.value),
            candidates.i.p.keep.eq(match),
            candidates.i.p.last.eq(beat.last),
        ]
        m.submodules.histogram = histogram = Histogram(
            buckets=1 << self.digit_bits, lanes=self.params.lanes, count_bits=self.params.count_bits
        )
        m.d.sync += [
            histogram.i.valid.eq(take & ~search.known),
            histogram.i.p.keep.eq(match),
            histogram.i.p.last.eq(beat.last),
            *(code.eq(digit) for code, digit in zip(histogram.i.p.code, digits, strict=True)),
        ]
        common, left = self._common(m, take, beat, match)
        self._conclude(m, again.i, histogram.o, search, shift, goes_on, common, left)
        return m

    def _passes(
        self, m: Module, again: Any, candidates: Any
    ) -> tuple[Any, Any, Signal, Signal]:
        """The search and the beat at hand, and whether it is there: rows that go on before new
        ones. The last one, whether the beat is taken, is for the caller to tell."""
        search, running, old = Signal(self.state), Signal(), Signal()
        beat, there, take = Signal(self.beat), Signal(), Signal()
        free = Signal()
        filled = Cat(lane < candidates.o.p.count for lane in range(self.params.lanes))
        m.d.comb += [
            beat.value.eq(
                Mux(old, candidates.o.p.item.as_value(), self.row.p.value.as_value())
            ),
            beat.keep.eq(Mux(old, filled, self.row.p.keep)),
            beat.last.eq(Mux(old, candidates.o.p.last, self.row.p.last)),
            there.eq(running & Mux(old, candidates.o.valid, self.row.valid)),
            candidates.o.ready.eq(take & old),
            self.row.ready.eq(take & ~old),
            free.eq(~running | (take & beat.last)),
            again.ready.eq(free),
            self.search.ready.eq(free & ~again.valid & candidates.room),
        ]
        with m.If(free):
            m.d.sync += [
                running.eq(again.valid | (self.search.valid & candidates.room)),
                old.eq(again.valid),
                search.eq(Mux(again.valid, again.payload, self.search.payload)),
            ]
        return search, beat, there, take

    def _match(self, m: Module, search: Any, beat: Any) -> tuple[Signal, list[Value], Signal]:
        """Which values have the known bits; their next digits; the bits left open below those."""
        bits, width = self.params.value_bits, self.digit_bits
        shift, known = Signal.like(search.rest), Signal(bits)
        m.d.comb += [
            shift.eq(Mux(search.rest > width, search.rest - width, 0)),
            known.eq(Const((1 << bits) - 1, bits) << search.rest),
        ]
        match = Signal(self.params.lanes)
        for lane, value in enumerate(beat.value):
            differs = ((value ^ search.value) & known).any()
            m.d.comb += match[lane].eq(beat.keep[lane] & ~differs)
        return match, [(value >> shift)[:width] for value in beat.value], shift

    def _common(self, m: Module, take: Value, beat: Any, match: Value) -> tuple[Value, Value]:
        """As the bucket of a pass is found: the high bits that its candidates share, zeros below
        them, and how many bits those are."""
        width = self.params.value_bits
        both = []
        for name in ("ones", "zeros"):
            here, so_far = Signal(width, name=f"{name}_here"), Signal(width, name=name)
            values = [value if name == "ones" else ~value for value in beat.value]
            m.d.sync += here.eq(
                Mux(take, either([Mux(match[n], v, 0) for n, v in enumerate(values)]), 0)
            )
            with m.If(delayed(m, take & beat.last, 2)):  # of the pass before
                m.d.sync += so_far.eq(here)
            with m.Else():
                m.d.sync += so_far.eq(so_far | here)
            both.append(so_far)
        ones, zeros = both
        differ, common = Signal(width), Signal(width)
        left, left_then = (Signal(range(width + 1), name=name) for name in ("left", "left_then"))
        m.d.sync += [differ.eq(ones & zeros), left.eq(0), left_then.eq(left)]
        for bit in range(width):  # the highest one comes last
            with m.If(differ[bit]):
                m.d.sync += left.eq(bit + 1)
        m.d.sync += common.eq(delayed(m, ones, 2) & (Const((1 << width) - 1, width) << left))
        return delayed(m, common, self.latency - 5), delayed(m, left_then, self.latency - 5)

    def _conclude(
        self, m: Module, again: Any, counts: Any, search: Any, shift: Value, goes_on: Value,
        common: Value, left: Value,
    ) -> None:  # fmt: skip
        """After a pass: the threshold, or the search for the next pass. A pass whose candidates
        wait for another one has it even if they turn out to be all equal: it drops them."""
        p, found = self.params, self.found
        m.submodules.find = find = BucketFind(
            buckets=1 << self.digit_bits, count_bits=p.count_bits
        )
        k = delayed(m, search.k, 1 + Histogram.latency)
        m.d.comb += [find.i.valid.eq(counts.valid), find.i.p.count.eq(counts.p), find.i.p.k.eq(k)]
        k = delayed(m, k, BucketFind.latency)
        tag, value, rest, packed = (
            delayed(m, each, self.latency) for each in (search.tag, search.value, shift, goes_on)
        )
        bucket = find.o.p
        m.d.comb += [
            again.valid.eq(find.o.valid & packed),
            again.p.tag.eq(tag),
            again.p.value.eq(value | (bucket.bucket << rest)),
            again.p.rest.eq(rest),
            again.p.k.eq(k - bucket.above),
            again.p.single.eq(bucket.reaching - bucket.above == 1),
            again.p.known.eq(again.p.rest == 0),
        ]
        with m.If(left < rest):  # they share more than the digit
            m.d.comb += [again.p.value.eq(common), again.p.rest.eq(left)]
        m.d.sync += [
            found.valid.eq(find.o.valid & again.p.known),
            found.p.tag.eq(tag),
            found.p.threshold.value.eq(again.p.value),
            found.p.threshold.equal.eq(again.p.k),
        ]


class _Candidates(wiring.Component):
    """Packs the candidates of a pass and keeps them for the next one.

    There is room for the longest row beside another one, and for the beats on their way.
    """

    def __init__(self, params: TopKParams) -> None:
        self.params = params
        self.shape = unsigned(params.value_bits)
        layout = ragged_layout(shape=self.shape, lanes=params.lanes)
        flagged = flagged_layout(shape=self.shape, lanes=params.lanes)
        super().__init__(
            {
                "i": In(stream.Signature(flagged)),
                "o": Out(stream.Signature(layout)),
                "room": Out(1),  # a whole row can come
            }
        )

        depth = 2 * params.max_beats + SLACK
        self.eliminator = ZeroEliminator(shape=self.shape, lanes=params.lanes)
        self.packer = Packer(shape=self.shape, lanes=params.lanes)
        self.queue = Queue(shape=layout, depth=depth, lut_ram=False)
        self.near = Queue(shape=layout, depth=2)  # a register behind the block RAM

    @property
    def latency(self) -> int:
        """Cycles from a beat to the candidates that it drives out."""
        blocks = (self.eliminator, self.packer, self.queue, self.near)
        return sum(block.latency for block in blocks)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.eliminator, m.submodules.packer = self.eliminator, self.packer
        m.submodules.queue, m.submodules.near = self.queue, self.near
        connect(m, self.i, self.eliminator.i)
        connect(m, self.eliminator.o, self.packer.i)
        connect(m, self.packer.o, self.queue.i)
        connect(m, self.queue.o, self.near.i)
        connect(m, self.near.o, self.o)
        m.d.sync += self.room.eq(self.queue.level <= self.params.max_beats)
        return m
