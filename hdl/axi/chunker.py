"""Cuts the regions of three tensors into chunks that fit their sinks, in a fair order."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.interleave import share_of_channel
from attnsieve.hdl.axi.reader import request_layout
from attnsieve.hdl.layouts import region_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["ChunkSizes", "Chunker", "Sink", "chunk_entry_layout", "issue_layout"]


class Sink(enum.IntEnum, shape=2):
    """Where the lines of a chunk go."""

    QUERY = 0
    KEY = 1
    VALUE = 2


@dataclass(frozen=True)
class ChunkSizes:
    """Sizes of chunks in one operand mode.

    A granule is the least that is both whole words and whole lines; a chunk is a number of
    granules, or the rest of a region.

    Parameters
    ----------
    lines, words : int
        Of a granule. Lines are a power of two; words are one, or three times one.
    most : int
        Most granules of a chunk.
    """

    lines: int
    words: int
    most: int

    @classmethod
    def of(cls, params: CoreParams, bits: int) -> ChunkSizes:
        """Sizes for ``bits``-bit operands: about a burst per channel."""
        line, word = params.lanes * bits, params.wide_bytes * 8
        lines, words = 1, 1
        while lines * line != words * word:  # both grow to the least common multiple
            if lines * line < words * word:
                lines += 1
            else:
                words += 1
        beats = max(8, params.burst_beats)  # shorter chunks would cost throughput
        burst_words = max(1, beats * params.beat_bytes // params.unit_bytes)
        return cls(lines, words, max(1, burst_words // words))

    @property
    def most_lines(self) -> int:
        """Lines of the longest chunk."""
        return self.most * self.lines

    @property
    def most_words(self) -> int:
        """Words of the longest chunk."""
        return self.most * self.words


def _most(params: CoreParams) -> tuple[int, int]:
    """Lines and units of the longest chunk in any mode."""
    modes = [ChunkSizes.of(params, bits) for bits in (8, 12) if bits <= params.operand_bits]
    return max(s.most_lines for s in modes), max(s.most_words for s in modes) * params.channels


def chunk_entry_layout(params: CoreParams) -> data.StructLayout:
    """What collects a chunk's units and cuts its lines must know of it."""
    lines, units = _most(params)
    channel_bits = params.channels.bit_length() - 1
    return data.StructLayout(
        {
            "words": unsigned((units // params.channels - 1).bit_length()),  # words - 1
            "tail": unsigned(channel_bits),  # units of the last word, - 1
            "rotation": unsigned(channel_bits),  # channel of the first unit
            "lines": unsigned((lines - 1).bit_length()),  # lines - 1
            "wide": unsigned(1),
            "sink": unsigned(2),
        }
    )


def issue_layout(params: CoreParams) -> data.StructLayout:
    """A chunk and its requests, one per channel; no units: none of that channel."""
    _, units = _most(params)
    request = request_layout(addr_width=params.addr_width, max_units=units // params.channels)
    return data.StructLayout(
        {
            "chunk": chunk_entry_layout(params),
            "request": data.ArrayLayout(request, params.channels),
            "units": unsigned(units.bit_length()),  # of all channels
            "waste": unsigned(params.unit_bytes.bit_length()),  # bytes beyond the region
        }
    )


class Chunker(wiring.Component):
    """Regions of Q, K and V in; chunks with a request per channel out.

    A chunk is the rest of a region if that is short, or else a whole number of granules (see
    `ChunkSizes`): at most about a burst per channel, and never more lines than its sink has
    free beside the lines already on their way. Units: the unit j of a chunk is on
    channel (first + j) mod C; only units that hold wanted bytes are asked for.

    Queries go first, but two chunks of them in a row only if nothing else can go: so that short
    rows hide behind keys and values. Keys of head g go before values of head g, these before keys
    of head g + 1. But a stream whose sink has room for a granule never waits for one whose sink
    has none.

    Latency: `latency` cycles from a region to its first chunk. Throughput: a chunk in `period`
    cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    region : In(stream(region_layout)) of 3
        Regions of Q, K, V (see `Sink`): at least one line; bytes are a multiple of 8.
    space : In(unsigned) of 3
        Free lines of each sink. A line counts as taken at the latest one cycle after its transfer.
    delivered : In(3)
        A line was transferred to the sink.
    o : Out(stream(issue_layout))
        Chunks.
    """

    latency = 5
    #: Cycles from chunk to chunk.
    period = 5

    def __init__(self, *, params: CoreParams) -> None:
        if params.lanes < 2:
            raise ValueError(f"Lanes must be at least 2 to load lines, not {params.lanes!r}")
        self.params = params
        super().__init__(
            {
                "region": In(stream.Signature(region_layout(params))).array(3),
                "space": In(params.kv_lines.bit_length()).array(3),
                "delivered": In(3),
                "o": Out(stream.Signature(issue_layout(params))),
            }
        )

    def sizes(self, bits: int) -> ChunkSizes:
        """Chunk sizes of a mode."""
        return ChunkSizes.of(self.params, bits)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.params
        self._unit_bits = p.unit_bytes.bit_length() - 1
        self._channel_bits = p.channels.bit_length() - 1
        self._wide_bits = self._unit_bits + self._channel_bits
        layout = region_layout(p)
        state = data.StructLayout(
            {
                "rotation": unsigned(self._channel_bits),
                "word": unsigned(p.addr_width - self._wide_bits),
                "lines": layout["lines"].shape,
                "units": unsigned((_units_of_region(p)).bit_length()),
                "pad": unsigned(max(0, self._unit_bits - 3)),
                "wide": unsigned(1),
            }
        )
        self._state = [Signal(state, name=f"state{s}") for s in range(3)]
        self._active = [Signal(name=f"active{s}") for s in range(3)]
        self._free = [Signal(len(self.space[s]), name=f"free{s}") for s in range(3)]
        self._chosen = Signal(2, init=Sink.VALUE)
        most = max(self.sizes(bits).most for bits in (8, 12))
        plan = data.StructLayout(
            {
                "eligible": unsigned(1),
                "last": unsigned(1),  # a chunk would be the rest of the region,
                "granules": unsigned(most.bit_length()),  # or so many granules
            }
        )
        self._plan = [Signal(plan, name=f"plan{s}") for s in range(3)]
        lines, units = _most(p)
        self._size = Signal(
            data.StructLayout(
                {
                    "lines": unsigned(lines.bit_length()),
                    "units": unsigned(units.bit_length()),
                    "last": unsigned(1),
                }
            )
        )
        self._now = Signal(state)  # of the chosen stream
        self._regions(m)
        self._plans(m)
        cut = self._sequence(m)
        self._room(m, cut)
        self._size_of(m)
        self._cut(m, cut)
        return m

    def _regions(self, m: Module) -> None:
        """Take a region whenever the last one is used up."""
        unit = self.params.unit_bytes
        for region, state, active in zip(self.region, self._state, self._active, strict=True):
            r = region.payload
            m.d.comb += region.ready.eq(~active)
            with m.If(~active):
                m.d.sync += [
                    active.eq(region.valid),
                    state.rotation.eq(r.address[self._unit_bits : self._wide_bits]),
                    state.word.eq(r.address[self._wide_bits :]),
                    state.lines.eq(r.lines),
                    state.units.eq((r.bytes + (unit - 1)) >> self._unit_bits),
                    state.pad.eq((0 - r.bytes[3 : self._unit_bits]) if unit > 8 else 0),
                    state.wide.eq(r.wide),
                ]

    def _by_mode(self, wide: Value, of: object) -> Value:
        """``of(sizes)`` for the operand mode."""
        if self.params.operand_bits == 8:
            return Value.cast(of(self.sizes(8)))  # type: ignore[operator]
        return Mux(wide, of(self.sizes(12)), of(self.sizes(8)))  # type: ignore[operator]

    def _plans(self, m: Module) -> None:
        """What each stream could ask for, a cycle after its state and what is free."""
        for s in range(3):
            state, free, plan = self._state[s], self._free[s], self._plan[s]
            fits = Signal(name=f"fits{s}")  # the rest of the region
            wide = state.wide
            m.d.comb += fits.eq(state.lines <= free)
            granule = self._by_mode(wide, lambda sizes, f=free: f >= sizes.lines)
            short = self._by_mode(wide, lambda sizes, n=state.lines: n <= sizes.most_lines)
            m.d.sync += [
                plan.eligible.eq(self._active[s] & (granule | fits)),
                plan.last.eq(fits & short),
                plan.granules.eq(self._by_mode(wide, lambda sizes, f=free: _granules(sizes, f))),
            ]

    def _sequence(self, m: Module) -> Value:
        """Cycle 0: choose; 1: size; 2: cut, once the chunk before is taken; 3, 4: plan anew.

        Returns whether a chunk is cut.
        """
        eligible = Cat(plan.eligible for plan in self._plan)
        ahead = Signal(self.params.head_bits + 1)  # heads of K done less those of V, signed
        key_first = ahead[-1] | (ahead == 0)
        cut = Signal()
        with m.FSM():
            with m.State("CHOOSE"):
                chosen = (
                    Mux(
                        eligible[Sink.QUERY]
                        & ((self._chosen != Sink.QUERY) | ~eligible[Sink.KEY :].any()),
                        Sink.QUERY,
                        Mux(
                            eligible[Sink.KEY] & (key_first | ~eligible[Sink.VALUE]),
                            Sink.KEY,
                            Sink.VALUE,
                        ),
                    )
                )
                with m.If(eligible.any()):
                    m.d.sync += self._chosen.eq(chosen)
                    m.next = "SIZE"
            with m.State("SIZE"):
                m.next = "CUT"
            with m.State("CUT"):
                m.d.comb += cut.eq(~self.o.valid)
                with m.If(~self.o.valid):
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.next = "PLAN"
            with m.State("PLAN"):
                m.next = "CHOOSE"
        with m.If(cut):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(cut & self._size.last):
            with m.If(self._chosen == Sink.KEY):
                m.d.sync += ahead.eq(ahead + 1)
            with m.If(self._chosen == Sink.VALUE):
                m.d.sync += ahead.eq(ahead - 1)
        return cut

    def _room(self, m: Module, cut: Value) -> None:
        """Lines that each sink has free beside those that are on their way."""
        lines = self._size.lines
        for s in range(3):
            coming = Signal(len(self.space[s]), name=f"coming{s}")
            delivered = self.delivered[s]
            change = Signal(signed(len(lines) + 1), name=f"change{s}")
            m.d.comb += change.eq(Mux(delivered, -1, 0))
            with m.If(cut & (self._chosen == s)):
                m.d.comb += change.eq(Mux(delivered, lines - 1, lines))
            m.d.sync += [
                coming.eq(coming + change),
                self._free[s].eq(self.space[s] - coming),
            ]

    def _of_chosen(self, values: list[Value]) -> Value:
        """The value of the chosen stream."""
        return Mux(self._chosen[1], values[2], Mux(self._chosen[0], values[1], values[0]))

    def _size_of(self, m: Module) -> None:
        """Size of the chunk: the rest of the region, or as many granules as there is room for."""
        state, plan = Signal(self._state[0].shape()), Signal(self._plan[0].shape())
        size = self._size
        m.d.comb += [
            state.eq(self._of_chosen([s.as_value() for s in self._state])),
            plan.eq(self._of_chosen([p.as_value() for p in self._plan])),
        ]
        counts = {}
        for bits in (8, 12):
            sizes, number = self.sizes(bits), plan.granules
            shift = sizes.lines.bit_length() - 1
            counts[bits] = (number << shift, _times(number, sizes.words) << self._channel_bits)
        lines, units = counts[8]
        if self.params.operand_bits == 12:
            lines = Mux(state.wide, counts[12][0], lines)
            units = Mux(state.wide, counts[12][1], units)
        m.d.sync += [
            self._now.eq(state),
            size.last.eq(plan.last),
            size.lines.eq(Mux(plan.last, state.lines, lines)),
            size.units.eq(Mux(plan.last, state.units, units)),
        ]

    def _cut(self, m: Module, cut: Value) -> None:
        """The chunk and its requests; and what is left of its region."""
        p, now, size = self.params, self._now, self._size
        chunk, channel_bits = self.o.payload.chunk, self._channel_bits
        following = Signal.like(now.word)
        m.d.comb += following.eq(now.word + 1)
        with m.If(~self.o.valid):
            m.d.sync += [
                Cat(chunk.tail, chunk.words).eq(size.units - 1),
                chunk.rotation.eq(now.rotation),
                chunk.lines.eq(size.lines - 1),
                chunk.wide.eq(now.wide),
                chunk.sink.eq(self._chosen),
                self.o.payload.units.eq(size.units),
                self.o.payload.waste.eq(Mux(size.last, Cat(Const(0, 3), now.pad), 0)),
            ]
            for c in range(p.channels):
                request = self.o.payload.request[c]
                word, units = share_of_channel(
                    c, first=now.rotation, index=now.word, following=following, units=size.units
                )
                m.d.sync += [
                    request.address.eq(Cat(Const(0, self._unit_bits), word)),
                    request.units.eq(units),
                ]
        with m.If(cut):
            for s in range(3):
                with m.If(self._chosen == s):
                    state = self._state[s]
                    m.d.sync += [
                        state.word.eq(now.word + (size.units >> channel_bits)),
                        state.lines.eq(now.lines - size.lines),
                        state.units.eq(now.units - size.units),
                        self._active[s].eq(~size.last),
                    ]


def _granules(sizes: ChunkSizes, free: Value) -> Value:
    """Granules of a chunk that is not its region's last."""
    room = free >> (sizes.lines.bit_length() - 1)
    return Mux(room > sizes.most, sizes.most, room[: sizes.most.bit_length()])


def _times(number: Value, words: int) -> Value:
    """``number * words`` for words that are a power of two or three times one."""
    if words % 3:
        return number << (words.bit_length() - 1)
    return ((number << 1) + number) << ((words // 3).bit_length() - 1)


def _units_of_region(p: CoreParams) -> int:
    """Units of the longest region: the rows of a head."""
    rows = max(p.max_keys, p.max_queries)
    return -(-rows * p.max_head_dim * p.operand_bits // 8 // p.unit_bytes)
