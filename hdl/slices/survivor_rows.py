"""Scores of keys that are kept, put back into the order of their rows."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import row_beat_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.credit import Credit
from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.lib.reduce import either
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.bit_serial_dot import survivor_layout
from attnsieve.hdl.slices.row_maxima import RowMaxima, maximum_signature
from attnsieve.hdl.slices.slice_params import slice_params, survivor_ways

__all__ = ["SurvivorRows", "stored_row_layout"]


def stored_row_layout(p: CoreParams) -> data.StructLayout:
    """What must be known of a row to give its scores back."""
    return data.StructLayout(
        {
            "keys": unsigned(p.key_bits),
            "margin": unsigned(slice_params(p).score_bits),
            "last_of_kv": unsigned(1),
            "last_of_job": unsigned(1),
        }
    )


class SurvivorRows(wiring.Component):
    """Stores the scores of `slice_rows` rows as they come, and gives those of the oldest row, once
    it is complete, beat by beat with its maximum: those that are no more than its margin below
    that, and pinned ones.

    Scores lie at the places of their keys, with a bit that tells that there is one; reading clears
    it behind itself. Up to four rows have a memory each; of eight, two share one, and a score of
    one of them waits while the other is read. After reset all bits are cleared: no score is stored,
    and no row read, for as many cycles as a memory has beats.

    Throughput: a score per way and cycle in, way w for keys with ``key mod ways = w``; one beat per
    cycle out, from row to row too. Latency:
    `latency` cycles from a row's being complete to its first beat.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(survivor_layout)).array(ways)
    row : In(stream(stored_row_layout))
        Rows in order, before they are complete.
    complete : In(slice_rows)
        Rows whose scores are all stored.
    stored : Out(ways)
        A score is stored; of the row at ``i`` of this way.
    free : Out(1), freed : Out(range(slice_rows))
        A row has been read.
    end : Out(1)
        With it its job.
    release : Out(range(max_keys + 1))
        Keys that are not needed any more: those of a KV head, with its last row.
    maximum : In(maximum_signature)
        The largest score so far of any row inside.
    o : Out(stream(row_beat_layout))
    """

    i: Any
    row: stream.Interface
    complete: Signal
    stored: Signal
    free: Signal
    freed: Signal
    end: Signal
    release: Signal
    maximum: Any
    o: stream.Interface

    #: Cycles from a row's being complete to its first beat.
    latency = 4
    #: Beats on their way from the memory.
    _BEATS = 8
    #: Memories of each lane, at most.
    BANKS = 4

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices = p, s = params, slice_params(params)
        super().__init__(
            {
                "i": In(stream.Signature(survivor_layout(s))).array(survivor_ways(p)),
                "row": In(stream.Signature(stored_row_layout(p))),
                "complete": In(s.rows),
                "stored": Out(survivor_ways(p)),
                "free": Out(1),
                "freed": Out(range(s.rows)),
                "end": Out(1),
                "release": Out(range(p.max_keys + 1)),
                "maximum": In(maximum_signature(p)),
                "o": Out(stream.Signature(row_beat_layout(p))),
            }
        )

    @property
    def _beat_bits(self) -> int:
        return (self.params.max_beats - 1).bit_length()

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        m.submodules.credit = credit = Credit(count=self._BEATS)
        m.submodules.beats = beats = Queue(shape=row_beat_layout(p), depth=self._BEATS)
        beat, read, last = Signal(self._beat_bits), Signal(), Signal()
        sweep = Signal(init=1)  # bits are being cleared
        shift = (p.groups - 1).bit_length()
        final = (self.row.p.keys - 1) >> shift
        m.d.comb += [
            read.eq(
                self.row.valid & self.complete.bit_select(self.freed, 1) & credit.some & ~sweep
            ),
            last.eq((self.row.p.keys == 0) | (beat == final)),
            credit.take.eq(read),
            credit.give.eq(self.o.valid & self.o.ready),
            self.free.eq(read & last),
            self.end.eq(self.free & self.row.p.last_of_job),
            self.row.ready.eq(self.free),
            self.release.eq(Mux(self.free & self.row.p.last_of_kv, self.row.p.keys, 0)),
        ]
        with m.If(read):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))
        with m.If(self.free):
            m.d.sync += self.freed.eq(self.freed + 1)
        words = self._memory(m, read, beat, sweep)
        connect(m, beats.o, self.o)
        self._pass_on(m, beats, delayed(m, read, 1), delayed(m, last, 1), words)
        return m

    def _pass_on(
        self, m: Module, beats: Queue, valid: Value, last: Value, words: list[Any]
    ) -> None:
        """What was read a cycle ago, two cycles later: without what is too far below the maximum,
        which is known by now."""
        maximum, out = self._maximum(m), beats.i
        margin, floor = Signal.like(self.row.p.margin), Signal(signed(self.slices.score_bits + 2))
        m.d.sync += [margin.eq(self.row.p.margin), floor.eq(maximum - margin)]
        largest, words = delayed(m, maximum, 1), [delayed(m, word, 1) for word in words]
        near = Cat(w.valid & (w.pinned | (w.score >= floor)) for w in words)
        m.d.sync += [
            out.valid.eq(delayed(m, valid, 1)),
            out.p.last.eq(delayed(m, last, 1)),
            out.p.maximum.eq(largest),
            *(out.p.score[n].eq(word.score) for n, word in enumerate(words)),
            out.p.valid.eq(near),
        ]

    def _maximum(self, m: Module) -> Value:
        """The largest score of the row that was read a cycle ago."""
        m.submodules.maxima = maxima = RowMaxima(params=self.params)
        for way, port in enumerate(self.i):
            m.d.comb += [
                maxima.i[way].valid.eq(self.stored[way]),
                maxima.i[way].p.eq(port.p),
            ]
        own, other = maxima.read
        m.d.comb += [
            maxima.free.eq(self.free),
            maxima.freed.eq(self.freed),
            own.row.eq(self.freed),
        ]
        wiring.connect(m, wiring.flipped(self.maximum), other)
        return own.score

    def _memory(self, m: Module, read: Value, beat: Value, sweep: Signal) -> list[Any]:
        """A memory per row, or for two, and lane. Returns what was read a cycle ago."""
        p, s = self.params, self.slices
        word = data.StructLayout({"valid": 1, "pinned": 1, "score": signed(p.score_bits)})
        banks, shift = min(s.rows, self.BANKS), (p.groups - 1).bit_length()
        split = (banks - 1).bit_length()
        here, count = Cat(beat, self.freed[split:]), Signal(self._beat_bits + s.rows // 8)
        clear, cleared, bank = Signal(), Signal.like(here), Signal(range(banks))
        with m.If(sweep):
            m.d.sync += [count.eq(count + 1), sweep.eq(~count.all())]
        m.d.sync += [clear.eq(read), cleared.eq(here), bank.eq(self.freed)]
        for port, stored in zip(self.i, self.stored, strict=True):
            m.d.comb += [
                port.ready.eq(~sweep & ~(clear & (bank == port.p.row[:split]))),
                stored.eq(port.valid & port.ready),
            ]
        lanes = []
        for lane in range(p.groups):
            way = lane % len(self.stored)
            port = self.i[way].p
            place = Cat((port.key >> shift)[: self._beat_bits], port.row[split:])
            mine = self.stored[way] & ((port.key[:shift] == lane) if shift else 1)
            shown, found = Signal(word, name=f"lane{lane}"), []
            for n in range(banks):
                m.submodules[f"memory{n}_{lane}"] = ram = Ram(shape=word, depth=1 << len(here))
                wipe = clear & (bank == n)
                m.d.comb += [
                    ram.write.en.eq(sweep | wipe | (mine & (port.row[:split] == n))),
                    ram.write.address.eq(Mux(sweep, count, Mux(wipe, cleared, place))),
                    ram.write.data.valid.eq(~sweep & ~wipe),
                    ram.write.data.pinned.eq(port.pinned),
                    ram.write.data.score.eq(port.score),
                    ram.read[0].address.eq(here),
                    ram.read[0].en.eq(1),
                ]
                found.append(Mux(bank == n, Value.cast(ram.read[0].data), 0))
            m.d.comb += Value.cast(shown).eq(either(found))
            lanes.append(shown)
        return lanes
