"""The further steps of a radix select: one digit of the value per pass over its candidates."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.bypass_queue import BypassQueue
from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.gates import reached
from attnsieve.hdl.lib.packer import Packer
from attnsieve.hdl.lib.ragged import flagged_layout
from attnsieve.hdl.lib.reduce import either
from attnsieve.hdl.lib.zero_eliminator import ZeroEliminator
from attnsieve.hdl.select.countdown import Countdown
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

    Passes of several rows follow one another, older rows first: without a gap, but for a cycle
    after a pass over candidates or one whose candidates have another. A pass tells the next
    search `latency` = 5 cycles after its last beat is taken. A row is begun only when its
    candidates have room, so passes end. Rows may end in another order.

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

    latency = 2 + Countdown.latency

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
        self.job = data.StructLayout(
            {
                "tag": unsigned(tag_bits),
                "value": unsigned(params.value_bits),
                "fixed": unsigned(params.value_bits),  # bits of it that are known
                "rest": unsigned(params.value_bits.bit_length()),  # bits open below the digit
                "less": unsigned(params.count_bits),  # k less one
                "known": unsigned(1),  # nothing to search
                "goes_on": unsigned(1),  # the candidates may have another pass
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
        """Cycles by which candidates may come later than the search for them."""
        one = 2 + self.candidates.latency  # from a beat to the first candidates
        two = one + self.candidates.waiting.queue.latency - 1  # where another beat was before them
        return max(0, two - self.latency - 1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.again = again = BypassQueue(shape=self.state, depth=self.rows)
        m.submodules.candidates = candidates = self.candidates
        there, beat, job = self._fetch(m, again.o, candidates)
        match, digits = self._match(m, job, beat)
        counted, packed, last = Signal(), Signal(), Signal()
        value, keep = Signal.like(beat.value), Signal.like(match)
        m.submodules.find = find = Countdown(
            buckets=1 << self.digit_bits, lanes=self.params.lanes, count_bits=self.params.count_bits
        )
        m.d.sync += [
            counted.eq(there & ~job.known),
            packed.eq(there & job.goes_on),
            last.eq(beat.last),
            value.eq(beat.value),
            keep.eq(match),
            find.i.p.less.eq(job.less),
        ]
        flags = zip(*(reached(digit, 1 << self.digit_bits) for digit in digits), strict=True)
        for reach, lanes in zip(find.i.p.reach, flags, strict=True):
            m.d.sync += reach.eq(match & Cat(lanes))
        m.d.comb += [
            find.i.valid.eq(counted),
            find.i.p.last.eq(last),
            candidates.i.valid.eq(packed),
            candidates.i.p.item.eq(value),
            candidates.i.p.keep.eq(keep),
            candidates.i.p.last.eq(last),
        ]
        rest = delayed(m, job.rest, 2)
        shared = self._shared(m, find.i.valid, find.i.p.last, value, keep, rest)
        self._conclude(m, again.i, find.o, delayed(m, job, 1 + Countdown.latency), shared)
        return m

    def _fetch(self, m: Module, again: Any, candidates: Any) -> tuple[Signal, Any, Any]:
        """A beat per cycle into a register, and what is asked of it: rows that go on before new
        ones. Returns whether there is one, the beat, and its job.

        A pass over candidates, and one whose candidates have another, is over only the cycle
        after its last beat: so the flag needs no more than a register behind the block RAM, and
        the packer, which may give two beats for a list's last, has the cycle that this takes.
        """
        search, running, old, ended = Signal(self.state), Signal(), Signal(), Signal()
        row, listed = self.row, candidates.o
        beat, there, job = Signal(self.beat), Signal(), Signal(self.job)
        fetch, free, goes_on, last = Signal(), Signal(), Signal(), Signal()
        wide = search.rest > self.digit_bits
        m.d.comb += [
            goes_on.eq(wide & ~search.single & ~search.known),
            row.ready.eq(running & ~old & ~ended),
            listed.ready.eq(running & old & ~ended),
            fetch.eq((row.valid & row.ready) | (listed.valid & listed.ready)),
            last.eq(Mux(old, listed.p.last, row.p.last)),
            free.eq(~running | ended | (row.valid & row.ready & row.p.last & ~goes_on)),
            again.ready.eq(free),
            self.search.ready.eq(free & ~again.valid & candidates.room),
        ]
        m.d.sync += [
            ended.eq(fetch & last & (old | goes_on)),
            there.eq(fetch),
            beat.value.eq(Mux(old, listed.p.item.as_value(), row.p.value.as_value())),
            beat.keep.eq(Mux(old, listed.p.keep, row.p.keep)),
            beat.last.eq(last),
            job.tag.eq(search.tag),
            job.value.eq(search.value),
            job.fixed.eq(Cat(search.rest <= bit for bit in range(self.params.value_bits))),
            job.rest.eq(Mux(wide, search.rest - self.digit_bits, 0)),
            job.less.eq(search.less),
            job.known.eq(search.known),
            job.goes_on.eq(goes_on),
        ]
        with m.If(free):
            m.d.sync += [
                running.eq(again.valid | (self.search.valid & candidates.room)),
                old.eq(again.valid),
                search.eq(Mux(again.valid, again.payload, self.search.payload)),
            ]
        return there, beat, job

    def _match(self, m: Module, job: Any, beat: Any) -> tuple[Signal, list[Value]]:
        """Which values have the known bits; their next digits."""
        match = Signal(self.params.lanes)
        for lane, value in enumerate(beat.value):
            differs = ((value ^ job.value) & job.fixed).any()
            m.d.comb += match[lane].eq(beat.keep[lane] & ~differs)
        return match, [(value >> job.rest)[: self.digit_bits] for value in beat.value]

    def _shared(
        self, m: Module, valid: Value, last: Value, values: Any, keep: Value, rest: Value
    ) -> Any:
        """As the bucket of a pass is found: the high bits that its candidates share, zeros below
        them; how many bits those are; and whether that is less than the digit leaves open, which
        comes with ``rest`` two cycles after the values."""
        width = self.params.value_bits
        both = []
        for name in ("ones", "zeros"):
            here, so_far = Signal(width, name=f"{name}_here"), Signal(width, name=name)
            its = [value if name == "ones" else ~value for value in values]
            m.d.sync += here.eq(
                Mux(valid, either([Mux(keep[n], v, 0) for n, v in enumerate(its)]), 0)
            )
            with m.If(delayed(m, valid & last, 2)):  # of the pass before
                m.d.sync += so_far.eq(here)
            with m.Else():
                m.d.sync += so_far.eq(so_far | here)
            both.append(so_far)
        ones, zeros = both
        shared = Signal(
            data.StructLayout({"value": width, "left": range(width + 1), "none": 1, "more": 1})
        )
        differ, ones_then, open_ = Signal(width), Signal(width), Signal(width)
        m.d.comb += differ.eq(ones & zeros)
        # bits that the digit leaves open, less the highest
        m.d.sync += open_.eq(Cat(rest > bit + 1 for bit in range(width)))
        m.d.sync += [
            ones_then.eq(Cat(ones[bit] & ~differ[bit:].any() for bit in range(width))),
            shared.left.eq(0),
            shared.none.eq(differ == 0),
            shared.more.eq(~(differ & ~open_).any()),
        ]
        for bit in range(width):  # the highest one comes last
            with m.If(differ[bit]):
                m.d.sync += shared.left.eq(bit + 1)
        m.d.comb += shared.value.eq(ones_then)
        return shared

    def _conclude(self, m: Module, again: Any, bucket: Any, job: Any, shared: Any) -> None:
        """After a pass: the threshold, or the search for the next pass. A pass whose candidates
        wait for another one has it even if they turn out to be all equal: it drops them."""
        found = self.found
        m.d.comb += [
            again.valid.eq(bucket.valid & job.goes_on),
            again.p.tag.eq(job.tag),
            again.p.value.eq(
                Mux(shared.more, shared.value, job.value | (bucket.p.bucket << job.rest))
            ),
            again.p.rest.eq(Mux(shared.more, shared.left, job.rest)),
            again.p.less.eq(bucket.p.less),
            again.p.single.eq(bucket.p.single),
            again.p.known.eq(Mux(shared.more, shared.none, job.rest == 0)),
        ]
        m.d.sync += [
            found.valid.eq(bucket.valid & again.p.known),
            found.p.tag.eq(job.tag),
            found.p.threshold.value.eq(again.p.value),
            found.p.threshold.equal.eq(bucket.p.less + 1),
        ]


class _Candidates(wiring.Component):
    """Packs the candidates of a pass and keeps them for the next one.

    There is room for the longest row beside another one, and for the beats on their way: nothing
    waits at the input, if there is a cycle between two lists.
    """

    def __init__(self, params: TopKParams) -> None:
        self.params = params
        shape = unsigned(params.value_bits)
        flagged = flagged_layout(shape=shape, lanes=params.lanes)
        super().__init__(
            {
                "i": In(stream.Signature(flagged, always_ready=True)),
                "o": Out(stream.Signature(flagged)),
                "room": Out(1),  # a whole row can come
            }
        )

        depth = 2 * params.max_beats + SLACK
        self.eliminator = ZeroEliminator(shape=shape, lanes=params.lanes)
        self.packer = Packer(shape=shape, lanes=params.lanes)
        self.waiting = BypassQueue(shape=flagged, depth=depth, lut_ram=False)

    @property
    def latency(self) -> int:
        """Cycles from a beat to the candidates that it drives out, if none wait before them."""
        return self.eliminator.latency + self.packer.latency

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.eliminator, m.submodules.packer = self.eliminator, self.packer
        m.submodules.waiting = waiting = self.waiting
        eliminator, packer = self.eliminator, self.packer
        full = packer.o.p
        m.d.comb += [
            eliminator.i.valid.eq(self.i.valid),
            eliminator.i.payload.eq(self.i.payload),
            packer.i.valid.eq(eliminator.o.valid),
            packer.i.payload.eq(eliminator.o.payload),
            eliminator.o.ready.eq(1),
            packer.o.ready.eq(1),
            waiting.i.valid.eq(packer.o.valid),
            waiting.i.p.item.eq(full.item),
            waiting.i.p.keep.eq(Cat(lane < full.count for lane in range(self.params.lanes))),
            waiting.i.p.last.eq(full.last),
        ]
        connect(m, waiting.o, self.o)
        m.d.sync += self.room.eq(waiting.queue.level <= self.params.max_beats)
        return m
