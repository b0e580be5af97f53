"""Where each output row goes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.granule_writer import GRANULE
from attnsieve.hdl.layouts import output_row_layout, row_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["RowAddresses", "headed_row_layout"]

_GRANULE_BITS = GRANULE.bit_length() - 1  # rows begin at multiples of a granule


def headed_row_layout(p: CoreParams) -> data.StructLayout:
    """A row without its address, but with the end of its head."""
    row = row_layout(p)
    listed = ("query",) if p.token_lanes else ()
    fields = ("parts", "write", "last_of_head", "last_of_job", *listed)
    return data.StructLayout({name: row[name].shape for name in fields})


class RowAddresses(wiring.Component):
    """Gives each row its address: the first of a head that of the head, the others a row further,
    or with lists that of its query.

    Rows of a head lie back to back, int16 each element. Combinational from ``row`` to ``o``, but
    where stages are fast (with LUT RAM) a queue of two rows cuts the path between them, for
    `latency` = 1 cycle. A row per cycle, no gap between heads if the next one waits.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    head : In(stream(unsigned(addr_width)))
        Address of each head, a multiple of 32 bytes.
    row : In(stream(headed_row_layout))
        Rows.
    o : Out(stream(output_row_layout))
        The same rows with their addresses.
    """

    head: stream.Interface
    row: stream.Interface
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        super().__init__(
            {
                "head": In(stream.Signature(unsigned(params.addr_width))),
                "row": In(stream.Signature(headed_row_layout(params))),
                "o": Out(stream.Signature(output_row_layout(params))),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a row to the row with its address."""
        return int(self.params.lut_ram)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        out = self.o
        if self.latency:
            m.submodules.rows = rows = Queue(shape=output_row_layout(self.params), depth=2)
            connect(m, rows.o, self.o)
            out = rows.i
        row, placed = self.row.payload, out.payload
        known, address = Signal(), Signal(self.params.addr_width - _GRANULE_BITS)
        moved = out.valid & out.ready
        granules = row.parts >> (16 // self.params.segment - 1).bit_length()  # of a row
        listed = self.params.token_lanes != 0
        offset = row.query * granules if listed else 0
        m.d.comb += [
            out.valid.eq(self.row.valid & known),
            self.row.ready.eq(out.ready & known),
            self.head.ready.eq(~known | (moved & row.last_of_head)),
            placed.o_address.eq(Cat(Const(0, _GRANULE_BITS), address + offset)),
            placed.parts.eq(row.parts),
            placed.write.eq(row.write),
            placed.last_of_job.eq(row.last_of_job),
        ]
        with m.If(self.head.ready):
            m.d.sync += [known.eq(self.head.valid), address.eq(self.head.payload[_GRANULE_BITS:])]
        with m.Elif(moved & (not listed)):
            m.d.sync += address.eq(address + granules)
        return m
