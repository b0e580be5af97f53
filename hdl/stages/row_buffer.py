"""Holds a row of scores until its maximum is known."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import row_beat_layout, score_beat_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.credit import Credit
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["RowBuffer", "RowMaximum", "SerialRowMaximum"]


def maximum_latency(params: CoreParams) -> int:
    """Cycles from a row's last beat to its maximum."""
    return (params.groups - 1).bit_length() + 1


class RowMaximum(wiring.Component):
    """Largest valid score of each row, in a pipeline that never stands.

    A level of the tree over the lanes takes a cycle, the maximum over the beats one more.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream.Signature(score_beat_layout(params), always_ready=True))
        Beats.
    o : Out(stream.Signature(signed(score_bits), always_ready=True))
        Maxima, `latency` cycles after the last beat of the row. Of a row without a valid score:
        anything.
    beat : Out(1)
        A beat is counted in: it was sent `latency` cycles before.
    """

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(score_beat_layout(params), always_ready=True)),
                "o": Out(stream.Signature(signed(params.score_bits), always_ready=True)),
                "beat": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a row's last beat to its maximum."""
        return maximum_latency(self.params)

    def elaborate(self, platform):
        m = Module()
        lanes = [(self.i.p.score[n], self.i.p.valid[n]) for n in range(self.params.groups)]
        beat, last, level = self.i.valid, self.i.p.last, 0
        while len(lanes) > 1:
            lanes = [
                self._register(m, self._larger(*lanes[n : n + 2]), f"level{level}_{n}")
                for n in range(0, len(lanes), 2)
            ]
            next_beat, next_last = Signal(name=f"beat{level}"), Signal(name=f"last{level}")
            m.d.sync += [next_beat.eq(beat), next_last.eq(last)]
            beat, last, level = next_beat, next_last, level + 1
        known = Signal()  # a score of this row was valid
        score, valid = lanes[0]
        m.d.sync += [self.beat.eq(beat), self.o.valid.eq(beat & last)]
        with m.If(beat):
            m.d.sync += known.eq(valid | (known & ~self.o.valid))
            with m.If(valid & (self.o.valid | ~known | (score > self.o.p))):
                m.d.sync += self.o.p.eq(score)
        with m.Elif(self.o.valid):
            m.d.sync += known.eq(0)
        return m

    @staticmethod
    def _larger(a, b):
        """The larger of two scores with valid bits."""
        (x, x_valid), (y, y_valid) = a, b
        take_y = y_valid & (~x_valid | (y > x))
        return Mux(take_y, y, x), x_valid | y_valid

    def _register(self, m, pair, name):
        value = Signal(signed(self.params.score_bits), name=name, reset_less=True)
        valid = Signal(name=f"{name}_valid", reset_less=True)
        m.d.sync += [value.eq(pair[0]), valid.eq(pair[1])]
        return value, valid


class SerialRowMaximum(wiring.Component):
    """Largest valid score of each row, for one lane group and few logic cells.

    The maximum of a row stays until it is taken, and no beat enters before. It is kept inverted:
    then a sum is enough to compare it, or to subtract a score from it.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream.Signature(score_beat_layout(params)))
        Beats. Ready depends on registers only.
    o : Out(stream.Signature(signed(score_bits)))
        Maxima, inverted, in the cycle after the last beat of their row. Of a row without a valid
        score: anything.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(score_beat_layout(params))),
                "o": Out(stream.Signature(signed(params.score_bits))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        done = Signal()
        lowest = ~(-1 << self.params.score_bits - 1)  # inverted
        inverted = Signal(signed(self.params.score_bits), init=lowest)
        m.d.comb += [self.i.ready.eq(~done), self.o.valid.eq(done), self.o.payload.eq(inverted)]
        score = self.i.p.score[0]
        with m.If(done):
            with m.If(self.o.ready):
                m.d.sync += [done.eq(0), inverted.eq(lowest)]
        with m.Elif(self.i.valid):
            m.d.sync += done.eq(self.i.p.last)
            with m.If(self.i.p.valid[0] & (inverted + score >= 0)):
                m.d.sync += inverted.eq(~score)
        return m


class RowBuffer(wiring.Component):
    """Stores the beats of a row, and delivers them when the row and its maximum are complete.

    The memory holds two of the longest rows: a row enters while the one before leaves. Some more
    short ones may be inside, see `rows`. Throughput is a beat per cycle, from row to row too. With
    one lane group and no LUT RAM ``rows`` is 2: while one leaves and one is complete, none enters;
    such a scorer takes several cycles for a beat. Latency, from a row's last beat to its first beat
    at the output, is `latency` cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream.Signature(score_beat_layout(params)))
        Scores. Ready depends on registers only.
    o : Out(stream.Signature(row_beat_layout(params)))
        The same beats, with the maximum of their row. In a row without a valid score the maximum
        is anything.
    """

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(score_beat_layout(params))),
                "o": Out(stream.Signature(row_beat_layout(params))),
            }
        )

    @property
    def depth(self) -> int:
        """Beats in the memory: two of the longest rows or more, a power of two of 16 or more."""
        return 1 << (max(16, 2 * self.params.max_beats) - 1).bit_length()

    @property
    def rows(self) -> int:
        """Rows that may be inside if they are short, those without their last beat not counted."""
        if self.params.lut_ram:
            return 17
        return 2 if self.params.groups == 1 else 32  # one score at a time: rows are never short

    @property
    def latency(self) -> int:
        """Cycles from a row's last beat to the first at the output."""
        if self.rows == 2:
            return 2
        return maximum_latency(self.params) + (3 if self.params.lut_ram else 2)

    def elaborate(self, platform):
        m = Module()
        if self.rows == 2:
            self._two_rows(m)
        else:
            self._many_rows(m)
        return m

    def _two_rows(self, m) -> None:
        """The oldest complete row's maximum is held, the next one's is where it is found.

        Rows have ``max_beats`` beats at most, so the memory has always room. It may be read
        before the row is complete: its output then waits for the maximum.
        """
        m.submodules.maximum = maximum = SerialRowMaximum(params=self.params)
        m.submodules.held = held = Queue(shape=maximum.o.p.shape(), depth=1, lut_ram=False)
        connect(m, self.i, maximum.i)
        connect(m, maximum.o, held.i)
        accept, read = Signal(), Signal()
        head, tail = Signal(range(self.depth)), Signal(range(self.depth))
        m.d.comb += [
            accept.eq(self.i.valid & self.i.ready),
            held.o.ready.eq(self.o.valid & self.o.ready & self.o.p.last),
            self.o.p.maximum.eq(~held.o.payload),
        ]
        with m.If(read):
            m.d.sync += head.eq(head + 1)
        self._read(m, accept, tail, head, head != tail, read, held.o.valid)

    def _many_rows(self, m) -> None:
        m.submodules.maximum = maximum = RowMaximum(params=self.params)
        m.submodules.maxima = maxima = Queue(
            shape=signed(self.params.score_bits), depth=self.rows, lut_ram=self.params.lut_ram
        )
        accept, read, row_done = Signal(), Signal(), Signal()
        m.d.comb += [
            accept.eq(self.i.valid & self.i.ready),
            maximum.i.valid.eq(accept),
            maximum.i.payload.eq(self.i.payload),
            maxima.i.valid.eq(maximum.o.valid),
            maxima.i.payload.eq(maximum.o.payload),
            row_done.eq(self.o.valid & self.o.ready & self.o.p.last),
            maxima.o.ready.eq(row_done),
            self.o.p.maximum.eq(maxima.o.payload),
        ]
        m.submodules.space = space = Credit(count=self.depth)
        m.submodules.room = room = Credit(count=self.rows)
        m.d.comb += [
            space.take.eq(accept),
            space.give.eq(read),
            room.take.eq(accept & self.i.p.last),
            room.give.eq(row_done),
            self.i.ready.eq(space.some & room.some),
        ]
        head = Signal(range(self.depth))
        tail = Signal(range(self.depth))
        readable = self._commit(m, maximum, head, read)
        self._read(m, accept, tail, head, readable, read, Const(1))

    def _commit(self, m, maximum, head, read) -> Value:
        """Whether the beat at ``head`` is one of a complete row."""
        bits = (self.depth - 1).bit_length() + 1
        seen, end, start = (Signal(bits, name=name) for name in ("seen", "end", "start"))
        with m.If(maximum.beat):
            m.d.sync += seen.eq(seen + 1)
        with m.If(maximum.o.valid):
            m.d.sync += end.eq(seen + 1)
        with m.If(read):
            m.d.sync += start.eq(start + 1)
        m.d.comb += head.eq(start)
        return start != end

    def _read(self, m, accept, tail, head, readable, read, known) -> None:
        """The memory, and the output behind it once the row's maximum is known."""
        p = self.params
        m.submodules.memory = ram = Ram(shape=score_beat_layout(p), depth=self.depth)
        with m.If(accept):
            m.d.sync += tail.eq(tail + 1)
        fetched = Signal()  # the memory's output holds a beat
        move = Signal()  # it leaves
        m.d.comb += [
            ram.write.address.eq(tail),
            ram.write.data.eq(self.i.payload),
            ram.write.en.eq(accept),
            ram.read[0].address.eq(head),
            ram.read[0].en.eq(read),
            read.eq(readable & (~fetched | move)),
        ]
        with m.If(~fetched | move):
            m.d.sync += fetched.eq(read)
        beat = ram.read[0].data
        if p.lut_ram:  # block RAM answers late in the cycle: a register behind it
            shown = Signal.like(beat, reset_less=True)
            m.d.comb += move.eq(~self.o.valid | self.o.ready)
            with m.If(move):
                m.d.sync += [self.o.valid.eq(fetched), shown.eq(beat)]
            beat = shown
        else:
            m.d.comb += [self.o.valid.eq(fetched & known), move.eq(self.o.ready & known)]
        m.d.comb += [getattr(self.o.p, name).eq(beat[name]) for name in ("score", "valid", "last")]
