"""Slices on demand, from the rows of a KV head to the units that score its keys."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import key_mask_signature
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.demand.kv_rows import KvRows, plane_head_layout
from attnsieve.hdl.slices.demand.packet_hands import PacketHands, unit_word_layout
from attnsieve.hdl.slices.demand.packet_requests import PacketRequests, unit_request_layout
from attnsieve.hdl.slices.demand.packet_seeds import PacketSeeds
from attnsieve.hdl.slices.demand.packet_verdicts import PacketVerdicts
from attnsieve.hdl.slices.demand.slice_feed import slice_entry_layout, verdict_layout
from attnsieve.hdl.slices.row_count import dealt_layout
from attnsieve.hdl.slices.row_parts import dealt_row_layout
from attnsieve.hdl.slices.slice_params import slice_params

__all__ = ["PlaneReader"]


class PlaneReader(wiring.Component):
    """Reads each slice of a key from memory once for all rows of its KV head, and only while one of
    them needs it: the first slices of all keys (`KvRows`, `PacketSeeds`), and of those that some
    row is not through with the next (`PacketVerdicts`). `PacketRequests` asks for what
    `PacketHands` gives to the units.

    Units of memory are asked for only if a key in them is needed. What is read, and in how many
    slices a key ends, depends on the operands alone.

    Throughput: a packet per cycle, and ``units`` slices of a key and row.

    Parameters
    ----------
    params : CoreParams
        With slice_demand.

    Members
    -------
    row : In(stream(dealt_row_layout))
        Rows whose keys lie in planes; of a KV head one per query head.
    head : In(stream(plane_head_layout))
        Its planes.
    ask : Out(stream(unit_request_layout)), word : In(stream(unit_word_layout))
        Units of memory.
    entry : Out(stream(slice_entry_layout, always ready)).array(units)
    verdict : In(stream(verdict_layout)).array(units)
        To and from the units.
    dealt : Out(stream(dealt_layout, always ready))
        Keys that rows will come to.
    mask : Out(key_mask_signature), hold : In(1)
        See `PacketSeeds`.
    waiting : Out(1)
        Packets are on their way.
    """

    row: stream.Interface
    head: stream.Interface
    ask: stream.Interface
    word: stream.Interface
    entry: Any
    verdict: Any
    dealt: stream.Interface
    mask: Any
    hold: Signal
    waiting: Signal

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, s, p = params, slice_params(params), params
        entry = stream.Signature(slice_entry_layout(s), always_ready=True)
        super().__init__(
            {
                "row": In(stream.Signature(dealt_row_layout(p))),
                "head": In(stream.Signature(plane_head_layout(p))),
                "ask": Out(stream.Signature(unit_request_layout(p))),
                "word": In(stream.Signature(unit_word_layout(p))),
                "entry": Out(entry).array(s.units),
                "verdict": In(stream.Signature(verdict_layout(s))).array(s.units),
                "dealt": Out(stream.Signature(dealt_layout(p), always_ready=True)),
                "mask": Out(key_mask_signature(p)),
                "hold": In(1),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        m.submodules.rows = rows = KvRows(params=p)
        m.submodules.seeds = seeds = PacketSeeds(params=p)
        m.submodules.requests = requests = PacketRequests(params=p)
        m.submodules.hands = hands = PacketHands(params=p)
        m.submodules.verdicts = verdicts = PacketVerdicts(params=p)
        connect(m, self.row, rows.row)
        connect(m, self.head, rows.head)
        connect(m, rows.o, seeds.i)
        wiring.connect(m, wiring.flipped(self.mask), seeds.mask)
        connect(m, seeds.o, requests.seed)
        connect(m, seeds.dealt, self.dealt)
        connect(m, requests.ask, self.ask)
        connect(m, requests.o, hands.packet)
        connect(m, self.word, hands.word)
        connect(m, hands.o, verdicts.hand)
        connect(m, verdicts.again, requests.again)
        for n, (verdict, inner) in enumerate(zip(self.verdict, verdicts.verdict, strict=True)):
            connect(m, verdict, inner)
            connect(m, hands.entry[n], self.entry[n])
        m.d.comb += [
            requests.ended.eq(verdicts.ended),
            hands.taken.eq(Cat(port.valid & port.ready for port in verdicts.verdict)),
            seeds.hold.eq(self.hold),
            self.waiting.eq(requests.waiting),
        ]
        return m
