"""Turns a job into the regions of one tensor: where each head lies in memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value
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
        Regions. Of O nothing but the address counts.
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
        self.words = (*self._base, *self._stride, f"{rows}_EXTENT", f"{rows}_SIZE")
        super().__init__(
            {
                "job": In(stream.Signature(params.bank_bits)),
                "fetch": Out(fetch_signature(params)),
                "o": Out(stream.Signature(region_layout(params))),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the offer of a job to its first region."""
        return len(self.words) + 2

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, region = self.params, self.o.payload
        m.submodules.reader = reader = WordReader(params=p, words=self.words)
        connect(m, reader.fetch, wiring.flipped(self.fetch))
        left = Signal(p.head_bits)  # regions
        m.d.comb += [
            reader.job.valid.eq(self.job.valid & ~self.o.valid),
            reader.job.payload.eq(self.job.payload),
            self.job.ready.eq(reader.job.ready),
        ]
        extent = data.View(extent_layout(p), self.fetch.data[: extent_layout(p).size])
        size = data.View(size_layout(p), self.fetch.data[: size_layout(p).size])
        arrive = dict(zip(self.words, reader.arrive, strict=True))
        address = self._address(m, arrive, self.o.valid & self.o.ready)
        m.d.comb += region.address.eq(byte_address(address))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [left.eq(left - 1), self.o.valid.eq(left != 1)]
        with m.If(arrive[self.words[-2]]):
            m.d.sync += [region.lines.eq(extent.lines), region.rows.eq(extent.rows)]
        with m.If(arrive[self.words[-1]]):
            m.d.sync += [
                left.eq(size.heads),
                self.o.valid.eq(1),
                region.bytes.eq(size.eights << 3),
                region.wide.eq(size.wide),
                region.parts.eq(size.parts),
            ]
        return m

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
