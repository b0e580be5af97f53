"""Turns a job into the regions of one tensor: where each head lies in memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from attnsieve.hdl.control.words import (
    WordReader,
    address_words,
    byte_address,
    extent_layout,
    fetch_signature,
    granule_bits,
    granule_part,
    head_words,
    size_layout,
)
from attnsieve.hdl.layouts import region_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["RegionSequencer"]


class RegionSequencer(wiring.Component):
    """Gives one region per head of Q, K, V or O, in head order.

    Takes a job when the last one's regions are out: reads its words, then gives a region per
    cycle, the first one `latency` cycles after the job is offered if the memory is always granted.
    Addresses step by strides, never by products.

    Where heads are pruned (``token_lanes``) only those have regions that live, and of K and V those
    of which a query head lives; a cycle goes by for every query head.

    Parameters
    ----------
    params : CoreParams
        The core.
    tensor : str
        ``"q"``, ``"k"``, ``"v"`` or ``"o"``.

    Members
    -------
    job : In(stream(bank_bits))
        Banks of checked jobs.
    fetch : Out(fetch_signature)
        Read port of the job memory.
    o : Out(stream(region_layout))
        Regions. Of O nothing but the address counts; those of V have the job's ``demand``,
        and those of K tell whether, and where, slices lie in planes.
    """

    job: stream.Interface
    fetch: Any
    o: stream.Interface

    def __init__(self, *, params: CoreParams, tensor: str) -> None:
        if tensor not in ("q", "k", "v", "o"):
            raise ValueError(f'Tensor must be "q", "k", "v" or "o", not {tensor!r}')
        self.params, self.tensor = params, tensor
        rows = "KV" if tensor in "kv" else "Q"
        self._base, self._stride = (
            address_words(params, f"{tensor.upper()}_{kind}") for kind in ("BASE", "STRIDE")
        )
        mask = head_words(params) if params.token_lanes else ()
        group = ("GROUP",) if mask and tensor in "kv" else ()
        self._widths = ("PRECISION",) if params.progressive and tensor in "kv" else ()
        self._fetch = ("FETCH",) if params.value_demand and tensor == "v" else ()
        self._planes = ("FETCH", "K_PLANE") if params.slice_demand and tensor == "k" else ()
        self.words = (
            *self._base, *self._stride, *mask, *group, *self._widths, *self._fetch,
            *self._planes,
            f"{rows}_EXTENT", f"{rows}_SIZE",
        )  # fmt: skip
        super().__init__(
            {
                "job": In(stream.Signature(params.bank_bits)),
                "fetch": Out(fetch_signature(params)),
                "o": Out(stream.Signature(region_layout(params))),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the offer of a job to its first region; where heads are pruned, from there
        to the first query head's turn."""
        return len(self.words) + 2

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, region = self.params, self.o.payload
        m.submodules.reader = reader = WordReader(params=p, words=self.words)
        connect(m, reader.fetch, wiring.flipped(self.fetch))
        left = Signal(p.head_bits)  # regions
        busy, move = self.o.valid, self.o.valid & self.o.ready
        if p.token_lanes:
            busy, move = self._living(m, reader, left)
        m.d.comb += [
            reader.job.valid.eq(self.job.valid & ~busy),
            reader.job.payload.eq(self.job.payload),
            self.job.ready.eq(reader.job.ready),
        ]
        extent = data.View(extent_layout(p), self.fetch.data[: extent_layout(p).size])
        size = data.View(size_layout(p), self.fetch.data[: size_layout(p).size])
        arrive = dict(zip(self.words, reader.arrive, strict=True))
        address = self._address(m, arrive, move)
        m.d.comb += region.address.eq(byte_address(address))
        with m.If(move):
            m.d.sync += left.eq(left - 1)
            if not p.token_lanes:
                m.d.sync += self.o.valid.eq(left != 1)
        if p.progressive:
            self._width(m, arrive)
        for name in self._fetch:
            with m.If(arrive[name]):
                m.d.sync += region.demand.eq(self.fetch.data[0])
        if self._planes:
            with m.If(arrive["FETCH"]):
                m.d.sync += region.planar.eq(self.fetch.data[1])
            with m.If(arrive["K_PLANE"]):
                m.d.sync += region.plane.eq(self.fetch.data[5:])
        with m.If(arrive[self.words[-2]]):
            m.d.sync += [region.lines.eq(extent.lines), region.rows.eq(extent.rows)]
        with m.If(arrive[self.words[-1]]):
            m.d.sync += [
                left.eq(size.heads),
                self.o.valid.eq(0 if p.token_lanes else 1),
                region.bytes.eq(size.eights << 3),
                region.wide.eq(size.wide),
                region.parts.eq(size.parts),
            ]
        return m

    def _width(self, m: Module, arrive: dict[str, Value]) -> None:
        """Of the operands: that of Q, or one of their own."""
        own, region = Signal(4), self.o.payload
        for name in self._widths:
            first = 16 if self.tensor == "k" else 20
            with m.If(arrive[name]):
                m.d.sync += own.eq(self.fetch.data[first : first + 4])
        m.d.comb += region.width.eq(Mux(own == 0, Mux(region.wide, 4, 2), (own >> 1) - 2))

    def _living(self, m: Module, reader: WordReader, left: Signal) -> tuple[Value, Value]:
        """Query heads one by one; a head of the tensor lives if one of its group does. Returns
        whether any are left, and whether one has been dealt with."""
        p, word = self.params, self.fetch.data
        alive, walking, any_lives = Signal(p.max_heads), Signal(), Signal()
        member, last_member = Signal(p.head_bits), Signal(p.head_bits)
        skip, lives = Signal(), any_lives | alive[0]
        end = member == last_member
        turn = walking & ~self.o.valid
        m.d.comb += skip.eq(turn & end & ~lives)
        with m.If(turn):
            m.d.sync += [
                alive.eq(alive >> 1),
                member.eq(Mux(end, 0, member + 1)),
                any_lives.eq(lives & ~end),
                self.o.valid.eq(end & lives),
            ]
        move = (self.o.valid & self.o.ready) | skip
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(move & (left == 1)):
            m.d.sync += walking.eq(0)
        for place, name in enumerate(self.words):
            with m.If(reader.arrive[place]):
                if name in head_words(p):
                    first = 32 * head_words(p).index(name)
                    m.d.sync += alive[first : first + 32].eq(~word)
                elif name == "GROUP":
                    m.d.sync += last_member.eq(word - 1)
                elif place == len(self.words) - 1:
                    m.d.sync += [walking.eq(1), member.eq(0), any_lives.eq(0)]
        return walking, move

    def _address(self, m: Module, arrive: dict[str, Value], move: Value) -> Signal:
        """Address of a head in granules: starts at zero, the base is its first step."""
        address, step = (
            Signal(granule_bits(self.params), name=name) for name in ("address", "step")
        )
        for words in (self._base, self._stride):
            for place, word in enumerate(words):
                mine, its = granule_part(self.params, place)
                with m.If(arrive[word]):
                    m.d.sync += step[mine].eq(self.fetch.data[its])
        with m.If(arrive[self._base[0]]):
            m.d.sync += address.eq(0)
        with m.Elif(arrive[self._stride[0]] | move):
            m.d.sync += address.eq(address + step)
        return address
