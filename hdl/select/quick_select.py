"""Top-k engine of SpAtten: quick-select with a random pivot."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, Value, unsigned
from amaranth.lib import stream, wiring

from attnsieve.hdl.lib.gates import count_flags
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.ragged import flagged_layout
from attnsieve.hdl.select.partition import Partition
from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["QuickSelect"]

#: Taps of the 16-bit linear feedback shift register, and its first state.
TAPS, SEED = (15, 14, 12, 3), 0xACE1
SIDES = ("left", "right")


class QuickSelect(wiring.Component):
    """Finds the k-th largest value of a row as in the paper (section IV-B, algorithm 3).

    A row is taken into the left list, then lists are split at a pivot, round after round: the right
    list has what is greater, the left what is less. If k values are no more than the right list,
    the search goes on there, and the left one is flushed; if they are more than the right list and
    those equal to the pivot, in the left. Otherwise the pivot is the k-th largest. Unlike in the
    paper it stops at equality, and rows with k = 0 or k no less than the values have no round.

    The pivot of a round is the first value of a beat of its list, one that a linear feedback shift
    register chooses. The threshold does not depend on it, and the cycles repeat from reset.

    Latency from the last beat: 2 cycles without a round, else ``2 + sum(beats + idle)`` over the
    rounds, with `idle` cycles from a round's last beat to the next one's first, less one, and up to
    `wait` more in each. A round takes its pivot out of the list, so a row of n values has n rounds
    at most, and no more than there are values of ``value_bits`` bits; `worst` is the sum over
    these. Throughput: one row at a time; its beats one per cycle.

    Parameters
    ----------
    params : TopKParams

    Members
    -------
    i, o
        See `TopKParams.members`.
    """

    i: stream.Interface
    o: stream.Interface

    #: Cycles without a beat between two rounds, if the list of the second has many beats; up to
    #: `wait` more if it has few, which are on their way.
    idle = Partition.latency + 1

    def __init__(self, *, params: TopKParams) -> None:
        self.params = params
        self.partition = Partition(params=params)
        self.list = flagged_layout(shape=unsigned(params.value_bits), lanes=params.lanes)
        depth = params.max_beats + 2  # while a list is read, its own left part comes in
        self._queues = [Queue(shape=self.list, depth=depth, lut_ram=False) for _ in range(2)]
        super().__init__(params.members())

    @property
    def wait(self) -> int:
        """Most cycles that a list comes after the decision to work on it."""
        return self.partition.list_latency + self._queues[0].latency - self.idle

    def worst(self, beats: int) -> int:
        """Most cycles from the last beat of a row of ``beats`` beats to its threshold, if the one
        before it was taken."""
        lanes = self.params.lanes
        rounds = min(beats * lanes, 1 << self.params.value_bits)
        read = sum(-(-(beats * lanes - gone) // lanes) for gone in range(rounds))
        return 2 + read + rounds * (self.idle + self.wait)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.partition = partition = self.partition
        fill, flush = Signal(), [Signal(name=f"flush_{name}") for name in SIDES]
        random = Signal(16, init=SEED)
        m.d.sync += random.eq(Cat(Cat(random[tap] for tap in TAPS).xor(), random))
        lists, pivots = [], []
        for side, part in enumerate((partition.below, partition.above)):
            queue = ResetInserter(flush[side])(self._queues[side])
            m.submodules[SIDES[side]] = queue
            row = fill if side == 0 else Const(0)
            fed = partition.i.valid & partition.i.ready & partition.i.p.last
            self._into(m, queue.i, part, row, self._dropped(m, part, fed, flush[side]))
            pivots.append(self._pivot(m, queue.i, random, flush[side]))
            lists.append(queue.o)
        self._control(m, fill, lists, pivots, flush)
        return m

    def _dropped(self, m: Module, part: Any, fed: Value, flush: Signal) -> Value:
        """Whether what comes belongs to a list that was flushed: those on their way then do."""
        owed, dropped = Signal(2), Signal(2)
        ends = part.valid & part.p.last  # ready is always one
        m.d.sync += owed.eq(owed + fed - ends)
        with m.If(flush):
            m.d.sync += dropped.eq(owed + fed - ends)
        with m.Elif(ends & (dropped != 0)):
            m.d.sync += dropped.eq(dropped - 1)
        return (dropped != 0) | flush

    def _into(self, m: Module, queue: Any, part: Any, row: Value, dropped: Value) -> None:
        """What goes into a list: a row, or a part."""
        filled = Cat(lane < part.p.count for lane in range(self.params.lanes))
        m.d.comb += [
            part.ready.eq(1),
            queue.valid.eq(Mux(row, self.i.valid, part.valid & ~dropped)),
            queue.p.item.eq(Mux(row, self.i.p.value.as_value(), part.p.item.as_value())),
            queue.p.keep.eq(Mux(row, self.i.p.keep, filled)),
            queue.p.last.eq(Mux(row, self.i.p.last, part.p.last)),
        ]

    def _pivot(self, m: Module, queue: Any, random: Signal, flush: Signal) -> Signal:
        """A value of the list that comes in: of its first beat, and in place of it that of the
        n-th one with a probability of about 1 / n."""
        pivot, have = Signal(self.params.value_bits), Signal()
        beats, begins = Signal(range(self.params.max_beats + 1)), Signal(init=1)
        spread = beats
        for step in (1, 2, 4, 8):
            spread = spread | (spread >> step)
        comes = queue.valid & queue.ready
        chosen = ~have | begins | ((random & spread) == 0)
        with m.If(comes):
            m.d.sync += [begins.eq(queue.p.last), beats.eq(Mux(begins, 1, beats + 1))]
            with m.If(begins):
                m.d.sync += have.eq(queue.p.keep.any())
            with m.If(queue.p.keep.any() & chosen):
                m.d.sync += have.eq(1)
                for lane in reversed(range(self.params.lanes)):
                    with m.If(queue.p.keep[lane]):
                        m.d.sync += pivot.eq(queue.p.item[lane])
        with m.If(flush):
            m.d.sync += begins.eq(1)
        return pivot

    def _control(self, m: Module, fill: Signal, lists: Any, pivots: Any, flush: Any) -> None:
        """Fill, check, and rounds: start, run, decide."""
        p, i, o, split = self.params, self.i, self.o, self.partition
        k, total, side = Signal(p.count_bits), Signal(p.count_bits), Signal()
        counts = split.counts.p
        reaching = counts.above + counts.equal
        with m.If(o.ready):
            m.d.sync += o.valid.eq(0)
        moves = Signal()
        there = self._fetch(m, lists, side, moves)
        with m.FSM():
            with m.State("FILL"):
                m.d.comb += [fill.eq(1), i.ready.eq(1)]
                with m.If(i.valid):
                    m.d.sync += [total.eq(total + count_flags(list(i.p.keep))), k.eq(i.p.k)]
                    with m.If(i.p.last):
                        m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += side.eq(0)
                with m.If(~o.valid | o.ready):
                    m.d.sync += total.eq(0)
                    m.next = "START"
                    with m.If((k == 0) | (k >= total)):
                        none = Const((1 << p.value_bits) - 1)
                        self._tell(m, Mux(k == 0, none, 0), Mux(k == 0, 0, total))
                        m.d.comb += flush[0].eq(1)
                        m.next = "FILL"
            with m.State("START"):  # the first beat comes into the register
                m.d.comb += moves.eq(1)
                with m.If(there):
                    m.d.sync += split.pivot.eq(Mux(side, pivots[1], pivots[0]))
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += moves.eq(1)
                with m.If(split.i.valid & split.i.ready & split.i.p.last):
                    m.next = "DECIDE"
            with m.State("DECIDE"), m.If(split.counts.valid):
                m.next = "START"
                with m.If(k <= counts.above):
                    m.d.sync += side.eq(1)
                    m.d.comb += flush[0].eq(1)
                with m.Elif(k > reaching):
                    m.d.sync += [side.eq(0), k.eq(k - reaching)]
                    m.d.comb += flush[1].eq(1)
                with m.Else():
                    self._tell(m, split.pivot, k - counts.above)
                    m.d.comb += [f.eq(1) for f in flush]
                    m.next = "FILL"

    def _fetch(self, m: Module, lists: Any, side: Signal, moves: Signal) -> Value:
        """While it moves, the list of a side into a register behind the block RAM, up to its last
        beat, and from there to the partition. Returns whether the list has a beat."""
        held, beat, into = Signal(), Signal(self.list), self.partition.i
        there, free = Mux(side, lists[1].valid, lists[0].valid), Signal()
        m.d.comb += [
            free.eq(moves & (~held | (into.ready & ~beat.last))),
            lists[0].ready.eq(free & ~side),
            lists[1].ready.eq(free & side),
            into.valid.eq(held),
            into.payload.eq(beat),
        ]
        with m.If(free):
            payloads = (part.payload.as_value() for part in lists)
            m.d.sync += [held.eq(there), beat.as_value().eq(Mux(~side, *payloads))]
        with m.Elif(into.ready):
            m.d.sync += held.eq(0)
        return there

    def _tell(self, m: Module, value: Value, equal: Value) -> None:
        m.d.sync += [self.o.valid.eq(1), self.o.p.value.eq(value), self.o.p.equal.eq(equal)]
