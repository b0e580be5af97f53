"""Top-k engine: a streaming radix select whose first digit is taken as the values arrive."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring

from attnsieve.hdl.lib.bypass_queue import BypassQueue
from attnsieve.hdl.lib.checks import check_power_of_two
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.select.first_digit import WIDE, FirstDigit
from attnsieve.hdl.select.refine import Refine
from attnsieve.hdl.select.row_order import RowOrder
from attnsieve.hdl.select.search import found_layout
from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["RadixSelect"]


class RadixSelect(wiring.Component):
    """Finds the k-th largest value of each row, for rows that follow one another.

    The first digit is a code of the leading one (`leading_code`), so it splits skewed values too;
    its histogram is complete with the row's last beat. Then passes over what is left take
    ``digit_bits`` bits each (`Refine`), and the bits that all candidates share: the first reads the
    row from its queue, later ones its packed candidates. Up to ``rows`` rows are inside at once, so
    that no latency is lost.

    Latency, cycles from a row's last beat to its threshold, alone inside, with b beats and c_j
    candidate beats in pass j, with w = 1 from `WIDE` bits on and else 0:

    * `known_latency` = 7 + w where the first digit decides: k = 0, k no less than the values, or a
      code of one value;
    * else `first_latency` + b + sum over the further passes of (c_j + `pass_latency`), these two
      13 + w and 5, and in each further pass up to `late` cycles more if its candidates are few.

    Passes: at most `most_passes` = p = ceil((value_bits - fraction - 1) / digit_bits); usually 2.
    So no row that is alone takes more than `worst` = 13 + w + b + (p - 1) * (b + 5 + late). That
    many passes, with most values in all of them, take values that are equal but for their last
    bits, and one outlier in each digit above. Throughput: one beat per cycle; a row takes the
    larger of b and the beats of its passes, with one that drops equal candidates, and a cycle for
    each of these if they are two or more.

    Parameters
    ----------
    params : TopKParams
    fraction : int
        Bits of the first digit after the leading one; it has
        (value_bits - fraction + 1) * 2**fraction buckets. By default 2, and 3 from `WIDE` bits on.
    digit_bits : int
        Bits of the further digits; they have 2**digit_bits buckets.
    rows : int
        Most rows inside, a power of two.

    Members
    -------
    i, o
        See `TopKParams.members`.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(
        self, *, params: TopKParams, fraction: int | None = None, digit_bits: int = 5, rows: int = 8
    ) -> None:
        check_power_of_two("rows", rows, 2)
        if fraction is None:
            fraction = 2 if params.value_bits < WIDE else 3
        self.params, self.rows = params, rows
        self.first = FirstDigit(params=params, fraction=fraction, rows=rows)
        self.refine = Refine(params=params, digit_bits=digit_bits, rows=rows)
        super().__init__(params.members())

    @property
    def known_latency(self) -> int:
        """Cycles from a row's last beat to its threshold if the first digit decides."""
        return self.first.latency + RowOrder.latency

    @property
    def first_latency(self) -> int:
        """The same after one pass, without its beats."""
        return self.first.latency + self.pass_latency + 1 + RowOrder.latency

    @property
    def pass_latency(self) -> int:
        """Cycles from a pass's last beat to the next pass's first, less one."""
        return Refine.latency

    @property
    def late(self) -> int:
        """Cycles by which the first candidates of a pass may come after its search."""
        return self.refine.late

    @property
    def most_passes(self) -> int:
        """Passes of a row at most."""
        rest = self.params.value_bits - self.first.fraction - 1
        return -(-rest // self.refine.digit_bits)

    def worst(self, beats: int) -> int:
        """Most cycles from the last beat of a row of ``beats`` beats to its threshold, if it is
        alone inside and the threshold is taken at once."""
        if not self.most_passes:
            return self.known_latency
        again = beats + self.pass_latency + self.late
        return self.first_latency + beats + (self.most_passes - 1) * again

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, first, refine = self.params, self.first, self.refine
        m.submodules.first, m.submodules.refine = first, refine
        m.submodules.values = values = Queue(
            shape=refine.beat, depth=2 * p.max_beats, lut_ram=False
        )
        m.submodules.near = near = Queue(shape=refine.beat, depth=2)  # behind the block RAM
        m.submodules.searches = searches = BypassQueue(shape=refine.state, depth=self.rows)
        found = found_layout(p, first.tag_bits)
        m.submodules.order = order = RowOrder(found=found, rows=self.rows, sources=2)
        begun = searches.o.valid & searches.o.ready
        self._admit(m, values.i, begun)
        connect(m, values.o, near.i)
        connect(m, near.o, refine.row)
        m.d.comb += [searches.i.valid.eq(first.o.valid), searches.i.payload.eq(first.o.payload)]
        connect(m, searches.o, refine.search)
        connect(m, first.found, order.i[0])
        connect(m, refine.found, order.i[1])
        connect(m, order.o, self.o)
        return m

    def _admit(self, m: Module, values: Any, begun: Value) -> None:
        """Beats go into the queue and the first digit at once; rows only while there are tags for
        them, and places for their searches: a known row may be out before it is dropped."""
        ended, first = Signal(), self.first.i
        places = Signal(init=1)
        taken = self.o.valid & self.o.ready
        for name, leaves in {"inside": taken, "waiting": begun}.items():
            count = Signal(range(self.rows + 1), name=name)
            m.d.sync += count.eq(count + ended - leaves)
            with m.If(count == self.rows):
                m.d.comb += places.eq(0)
        take = self.i.valid & self.i.ready
        m.d.comb += [
            ended.eq(take & self.i.p.last),
            self.i.ready.eq(values.ready & places),
            first.valid.eq(take),
            first.payload.eq(self.i.payload),
            values.valid.eq(take),
            values.p.value.eq(self.i.p.value),
            values.p.keep.eq(self.i.p.keep),
            values.p.last.eq(self.i.p.last),
        ]
