"""Asks for the regions of three tensors burst by burst, one stream after the other."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.chunker import Sink
from attnsieve.hdl.axi.tagged_reader import burst_layout
from attnsieve.hdl.layouts import region_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["BurstSequencer", "tag_layout"]

#: Elements that rows are multiples of, and elements of a chunk.
STEP, CHUNK = 16, 64
#: Bytes of a whole burst: regions begin at multiples of it.
BURST = 32
_STEPS = CHUNK // STEP


def tag_layout() -> data.StructLayout:
    """What is to be known of a burst's beats."""
    return data.StructLayout(
        {
            "sink": unsigned(2),
            "wide": unsigned(1),  # operands of 12 bits, else of 8
            "end": unsigned(1),  # last burst of its chunk
        }
    )


class BurstSequencer(wiring.Component):
    """Regions of Q, K and V in, bursts out; one channel, regions of whole steps.

    A region is read in chunks of 64 elements, its last one may be shorter: two bursts of 32 bytes
    at 8 bits, three at 12. Regions and chunks begin at multiples of 32 bytes, so a burst is whole
    but for a region's last. A chunk is asked for only if its sink has room for all its lines
    beside the chunks on their way. A region is taken with its last burst; until then only the
    number of its chunks asked for is kept here.

    Streams are looked at one by one, one per cycle: Q first, then the one of K and V whose turn
    it is, then the other. One that has a region but no room is left a cycle later, so that the
    sum of what is on its way is not on the path that chooses. After a chunk of Q the search goes
    on, after one of K or V it begins anew: so queries go first, but short rows hide behind keys
    and values. K and V take turns by regions, K first. A stream whose sink has room never waits
    for one whose sink has none. While there are no regions of K and V, only Q is looked at.

    Latency: `latency` = 1 cycle from a region to its first burst if its stream is looked at, up
    to 2 more if not, and 1 more for each stream without room that is looked at before.
    Throughput: one burst per cycle, and 1 to 5 cycles between chunks.

    Parameters
    ----------
    params : CoreParams
        The core.
    max_bursts : int
        Most bursts in flight.

    Members
    -------
    region : In(stream(region_layout)) of 3
        Regions of Q, K, V (see `Sink`): whole steps of 16 elements, at a multiple of 32 bytes.
    space : In(unsigned) of 3
        Free lines of each sink. A line counts as taken at the latest one cycle after its transfer.
    returned : In(3)
        The last beat of a chunk has come and its lines were transferred to the sink.
    o : Out(stream(burst_layout))
        Bursts; the tag is a `tag_layout`.
    """

    o: stream.Interface

    latency = 1

    def __init__(self, *, params: CoreParams, max_bursts: int) -> None:
        self.params, self.max_bursts = params, max_bursts
        burst = burst_layout(
            addr_width=params.addr_width,
            max_beats=BURST // params.beat_bytes,
            tag=tag_layout(),
        )
        super().__init__(
            {
                "region": In(stream.Signature(region_layout(params))).array(3),
                "space": In(params.kv_lines.bit_length()).array(3),
                "returned": In(3),
                "o": Out(stream.Signature(burst)),
            }
        )

    @staticmethod
    def serves(params: CoreParams) -> bool:
        """Whether it can: beats are lines of 8-bit operands, bursts may have 32 bytes.

        With more than 8 lanes, bursts would be over before the next chunk is found.
        """
        beats = min(params.burst_beats, params.outstanding_beats)
        return (
            params.channels == 1
            and params.beat_bytes == params.lanes <= 8
            and beats * params.beat_bytes >= BURST
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._chosen = Signal(Sink, init=Sink.QUERY)
        region = Signal(region_layout(self.params))
        m.d.comb += region.eq(self._of_chosen([r.payload.as_value() for r in self.region]))
        wide = region.wide if self.params.operand_bits == 12 else Const(0)
        done = Signal(len(self._steps(region.lines)) - 2)  # chunks of the region asked for
        final = Signal()  # the chunk is its region's last
        rest = Signal(range(_STEPS))  # steps of the chunk, - 1
        before = Signal(len(done) + 2)
        m.d.comb += [
            before.eq(self._steps(region.lines) - 1),
            final.eq(before[2:] == done),
            rest.eq(Mux(final, before[:2], _STEPS - 1)),
        ]
        part = Signal(2)  # of the chunk
        self._burst(m, region.address, wide, done, rest, part)
        asked = Signal()  # the last burst of a chunk is taken
        m.d.comb += asked.eq(self.o.valid & self.o.ready & self.o.payload.tag.end)
        there = self._of_chosen([r.valid for r in self.region])
        full = self._sequence(m, there, self._room(m, rest, asked), asked, part)
        self._turns(m, ~there | full, asked, final)
        self._progress(m, asked, final, done)
        return m

    def _steps(self, lines: Value) -> Value:
        return lines >> ((STEP // self.params.lanes).bit_length() - 1)

    def _of_chosen(self, values: list[Value]) -> Value:
        """The value of the chosen stream."""
        chosen = self._chosen
        return Mux(chosen[1], values[2], Mux(chosen[0], values[1], values[0]))

    def _burst(
        self, m: Module, base: Value, wide: Value, done: Signal, rest: Signal, part: Signal
    ) -> None:
        """The burst at hand: the ``part``-th of the chunk ``done`` of the region."""
        burst_bits, beats = BURST.bit_length() - 1, BURST // self.params.beat_bytes
        offset = Signal(len(done) + 3)  # bursts of the region before: 2 or 3 for each chunk
        twice, once = Cat(part[1], part.any(), done), Cat(part[1], Mux(wide, done, 0))
        m.d.comb += offset.eq(twice + once)
        address = base[burst_bits:] + offset[1:]
        lengths, ends = 0, 0
        for index in range(32):
            size = ((index >> 2 & 3) + 1) * STEP * (12 if index >> 4 else 8) // 8
            left = size - BURST * (index & 3)
            lengths |= (min(left, BURST) // self.params.beat_bytes - 1) % beats << 8 * index
            ends |= (left <= BURST) << index
        index = Cat(part, rest, wide)
        payload = self.o.payload
        m.d.comb += [
            payload.address.eq(Cat(Const(0, burst_bits), address)),
            payload.len.eq(Const(lengths, 256).word_select(index, 8)),
            payload.tag.sink.eq(self._chosen),
            payload.tag.wide.eq(wide),
            payload.tag.end.eq(Const(ends, 32).bit_select(index, 1)),
        ]

    def _room(self, m: Module, rest: Signal, asked: Signal) -> Value:
        """Whether the chosen sink has room for the chunk beside those on their way."""
        bits = max(1, (self.max_bursts - 1).bit_length())
        coming = [Signal(bits, name=f"coming{s}") for s in range(3)]  # chunks
        for s, count in enumerate(coming):
            more, less = asked & (self._chosen == s), self.returned[s]
            with m.If(more ^ less):
                m.d.sync += count.eq(count + Mux(more, Const(1, bits), Const(-1, bits)))
        chunks = self._of_chosen(coming)
        free = self._steps(self._of_chosen(list(self.space)))
        return (free > Cat(rest, chunks)) & ~chunks.all()

    def _sequence(
        self, m: Module, there: Value, room: Value, asked: Signal, part: Signal
    ) -> Signal:
        """Look for a stream that can go, then ask for the bursts of its chunk.

        Tells that the chosen stream had no room in the cycle before.
        """
        asking, full = Signal(), Signal()
        m.d.comb += self.o.valid.eq(asking)
        m.d.sync += full.eq(~asking & there & ~room & ~full)
        with m.If(~asking):
            m.d.sync += asking.eq(there & room & ~full)
        with m.Elif(self.o.ready):
            m.d.sync += part.eq(part + 1)
        with m.If(asked):
            m.d.sync += [asking.eq(0), part.eq(0)]
        return full

    def _turns(self, m: Module, cannot: Value, asked: Signal, final: Signal) -> None:
        """Which stream is looked at next."""
        value_turn = Signal()  # values go before keys
        first = Mux(value_turn, Sink.VALUE, Sink.KEY)
        second = Mux(value_turn, Sink.KEY, Sink.VALUE)
        with m.If(asked | (~self.o.valid & cannot)):
            with m.If(self._chosen == Sink.QUERY):
                with m.If(self.region[Sink.KEY].valid | self.region[Sink.VALUE].valid):
                    m.d.sync += self._chosen.eq(first)
            with m.Elif(~asked & (self._chosen == first)):
                m.d.sync += self._chosen.eq(second)
            with m.Else():
                m.d.sync += self._chosen.eq(Sink.QUERY)
        with m.If(asked & final & (self._chosen != Sink.QUERY)):
            m.d.sync += value_turn.eq(self._chosen == Sink.KEY)

    def _progress(self, m: Module, asked: Signal, final: Signal, done: Signal) -> None:
        """Count the chunks of each region; take it with its last burst."""
        counts = [Signal.like(done, name=f"done{s}") for s in range(3)]
        m.d.comb += done.eq(self._of_chosen(counts))
        for s, count in enumerate(counts):
            mine = asked & (self._chosen == s)
            m.d.comb += self.region[s].ready.eq(mine & final)
            with m.If(mine):
                m.d.sync += count.eq(done + 1)
                with m.If(final):
                    m.d.sync += count.eq(0)
