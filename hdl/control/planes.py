"""Rows that come again with the second plane of K: their order, and room where they wait."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import head_layout, region_layout, row_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["PlaneSequencer"]

#: What a row brings that differs within a job, or that only those behind the gate need.
_ROW = ("parts", "keys", "write", "last_of_kv", "last_of_job", "values", "query")


class PlaneSequencer(wiring.Component):
    """Puts KV heads in order: each one's rows with its first plane, and those that need it again
    with the second.

    Without ``progressive`` regions, scales and rows pass; rows get their ``segment``. With it, all
    rows of a KV head (a query of each of its heads) are gathered. They start together, once there
    is room for all of them where rows wait (``held_beats``, ``held_segments``): their region of K
    goes to the loader, and they follow with their scales. When the verdict on each of them is
    known, those that are to come again do: the region of the second plane, then the rows, again
    with their scales. KV heads whose rows come again go before those that come first. So regions
    and rows are in the same order, as the K ring needs it, and nothing that a row waits for is
    behind it.

    Latency of a KV head: `latency` cycles from its last row to its region. Throughput: a row per
    cycle, two cycles between KV heads.

    Parameters
    ----------
    params : CoreParams
        The core; with ``progressive``.

    Members
    -------
    progressive : In(1), plane : In(32)
        Of the job: rows may come again; bytes from a head of K to its second plane.
    region, scale, row : In(stream)
        Of the KV heads, of the query heads, of their queries.
    o_region, o_scale, o_row : Out(stream)
        The same, with those that come again; the scale of each row in front of it.
    again : Out(1)
        The scale at ``o_scale`` is of a row that comes again.
    verdict : In(stream(1)), always ready
        Of each row, in order: it must come again.
    release : In(1)
        The oldest row waits no more.
    segments : Out(part_bits)
        Segments of its query, in that cycle.
    """

    progressive: Signal
    plane: Signal
    region: stream.Interface
    scale: stream.Interface
    row: stream.Interface
    o_region: stream.Interface
    o_scale: stream.Interface
    o_row: stream.Interface
    again: Signal
    verdict: stream.Interface
    release: Signal
    segments: Signal

    #: Cycles from the last row of a KV head to its region.
    latency = 4

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        if not params.progressive:
            raise ValueError("Params must be of a core with progressive")
        self.params = p = params
        self.fields = (*_ROW, *(("demand",) if p.value_demand else ()))
        region, scale, row = (
            stream.Signature(layout(p)) for layout in (region_layout, head_layout, row_layout)
        )
        super().__init__(
            {
                "progressive": In(1),
                "plane": In(32),
                "region": In(region),
                "scale": In(scale),
                "row": In(row),
                "o_region": Out(region),
                "o_scale": Out(scale),
                "o_row": Out(row),
                "again": Out(1),
                "verdict": In(stream.Signature(1, always_ready=True)),
                "release": In(1),
                "segments": Out(p.part_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self._state(m)
        self._gather(m, s)
        self._judge(m, s)
        self._room(m, s)
        with m.If(~self.progressive):
            self._pass(m, s)
        with m.Else(), m.FSM():
            with m.State("CHOOSE"):
                with m.If(s.repeats.o.valid):
                    m.next = "REGION AGAIN"
                with m.Elif(s.fits):
                    m.d.comb += s.start.eq(1)
                    m.next = "REGION"
            with m.State("REGION"):
                self._region(m, s)
                with m.If(s.regions.i.valid & s.regions.i.ready):
                    m.next = "ROWS"
            with m.State("ROWS"):
                self._row(m, s)
                with m.If(s.move & s.gathered.o.p.last_of_kv):
                    m.next = "CHOOSE"
            with m.State("REGION AGAIN"):
                self._region_again(m, s)
                with m.If(s.regions.i.ready):
                    m.next = "ROWS AGAIN"
            with m.State("ROWS AGAIN"):
                self._row_again(m, s)
                with m.If(s.move & self.o_row.p.last_of_kv):
                    m.next = "CHOOSE"
        return m

    def _state(self, m: Module) -> SimpleNamespace:
        """Queues, and registers of what is the same for all rows of a job."""
        p, row = self.params, row_layout(self.params)
        held = p.held_segments
        scale = head_layout(p)
        need = data.StructLayout({"beats": range(p.held_beats + 1), "segments": range(held + 1)})
        record = data.StructLayout(
            {"place": row["place"].shape, "segment": row["segment"].shape, "scale": scale}
        )
        s = SimpleNamespace(
            rows=Queue(shape=row, depth=2),
            regions=Queue(shape=region_layout(p), depth=4),
            scales=Queue(shape=scale, depth=2),
            gathered=Queue(
                shape=data.StructLayout({n: row[n].shape for n in self.fields} | {"scale": scale}),
                depth=p.max_heads,
            ),
            needs=Queue(shape=need, depth=4),
            # first passes that are not decided, those that are to be repeated, KV heads of both
            undecided=Queue(
                shape=data.StructLayout({**dict(record.members), "last_of_kv": 1}), depth=held
            ),
            again=Queue(shape=record, depth=held),
            heads=Queue(shape=p.addr_width, depth=held),
            repeats=Queue(
                shape=data.StructLayout({"address": p.addr_width, "rows": range(held + 1)}),
                depth=held,
            ),
        )
        for name, queue in vars(s).items():
            setattr(m.submodules, name, queue)
        s.place, s.segment = Signal(range(p.held_beats)), Signal(range(held))
        s.keys, s.parts = Signal(p.key_bits), Signal(p.part_bits)
        s.region, s.row_number = Signal(region_layout(p)), Signal(range(held + 1))
        s.fits, s.start, s.move = Signal(), Signal(), Signal()
        connect(m, s.regions.o, self.o_region)
        connect(m, self.scale, s.scales.i)
        connect(m, self.row, s.rows.i)
        return s

    def _pass(self, m: Module, s: SimpleNamespace) -> None:
        """Everything as it comes; but each row knows where its query is."""
        m.d.comb += [
            s.regions.i.valid.eq(self.region.valid),
            self.region.ready.eq(s.regions.i.ready),
            s.regions.i.p.eq(self.region.p),
            self.o_scale.valid.eq(s.scales.o.valid),
            s.scales.o.ready.eq(self.o_scale.ready),
            self.o_scale.p.eq(s.scales.o.p),
            self.o_row.valid.eq(s.rows.o.valid),
            s.rows.o.ready.eq(self.o_row.ready),
            self.o_row.p.eq(s.rows.o.p),
            self.o_row.p.segment.eq(s.segment),
        ]
        with m.If(s.rows.o.valid & s.rows.o.ready):
            m.d.sync += s.segment.eq(s.segment + s.rows.o.p.parts)

    def _gather(self, m: Module, s: SimpleNamespace) -> None:
        """Rows of a KV head, each with its scale, and the room that all of them need."""
        row, rows = s.rows.o, s.gathered.i
        last, come, room = row.p.last_of_kv, Signal(), Signal()
        need, after = Signal.like(s.needs.i.p), Signal.like(s.needs.i.p)
        m.d.comb += [
            room.eq(rows.ready & s.needs.i.ready & self.progressive),
            come.eq(row.valid & s.scales.o.valid & room),
            rows.valid.eq(come),
            *(rows.p[name].eq(row.p[name]) for name in self.fields),
            rows.p.scale.eq(s.scales.o.p),
            after.beats.eq(need.beats + self._beats(row.p.keys)),
            after.segments.eq(need.segments + row.p.parts),
            s.needs.i.valid.eq(come & last),
            s.needs.i.p.eq(after),
        ]
        with m.If(self.progressive):
            m.d.comb += [row.ready.eq(come), s.scales.o.ready.eq(come)]
        with m.If(come):
            m.d.sync += need.eq(Mux(last, 0, after.as_value()))
            m.d.sync += [s.keys.eq(row.p.keys), s.parts.eq(row.p.parts)]

    def _beats(self, keys: Value) -> Value:
        """Beats of a row: one at least."""
        groups = self.params.groups
        return Mux(keys == 0, 1, (keys + (groups - 1)) // groups)

    def _room(self, m: Module, s: SimpleNamespace) -> None:
        """What rows that wait leave free."""
        p, need, beats = self.params, s.needs.o.p, self._beats(s.keys)
        most = {"beats": p.held_beats, "segments": p.held_segments}
        free = Signal(s.needs.o.p.shape(), init=most)
        m.d.comb += [
            s.fits.eq(
                s.needs.o.valid & (need.beats <= free.beats) & (need.segments <= free.segments)
            ),
            s.needs.o.ready.eq(s.start),
            self.segments.eq(Mux(self.release, s.parts, 0)),
        ]
        for name, freed in (("beats", beats), ("segments", s.parts)):
            taken = Mux(s.start, need[name], 0)
            m.d.sync += free[name].eq(free[name] - taken + Mux(self.release, freed, 0))

    def _region(self, m: Module, s: SimpleNamespace) -> None:
        """The first plane of a KV head."""
        m.d.comb += [
            s.regions.i.valid.eq(self.region.valid & s.heads.i.ready),
            self.region.ready.eq(s.regions.i.ready & s.heads.i.ready),
            s.regions.i.p.eq(self.region.p),
            s.heads.i.valid.eq(self.region.valid & self.region.ready),
            s.heads.i.payload.eq(self.region.p.address),
        ]
        m.d.sync += s.region.eq(self.region.p)

    def _region_again(self, m: Module, s: SimpleNamespace) -> None:
        """The second one, of the KV head whose rows come again."""
        m.d.comb += [
            s.regions.i.valid.eq(1),
            s.regions.i.p.eq(s.region),
            s.regions.i.p.address.eq(s.repeats.o.p.address + self.plane),
            s.regions.i.p.width.eq(0),
            s.regions.i.p.second.eq(1),
        ]
        m.d.sync += s.row_number.eq(1)

    def _row(self, m: Module, s: SimpleNamespace) -> None:
        """A row for the first time."""
        rows, p, undecided = s.gathered.o, self.params, s.undecided.i
        self._send(m, s, rows.valid & undecided.ready, rows.p.scale)
        m.d.comb += [
            rows.ready.eq(s.move),
            *(self.o_row.p[name].eq(rows.p[name]) for name in self.fields),
            self.o_row.p.place.eq(s.place),
            self.o_row.p.segment.eq(s.segment),
            undecided.valid.eq(s.move),
            undecided.p.place.eq(s.place),
            undecided.p.segment.eq(s.segment),
            undecided.p.scale.eq(rows.p.scale),
            undecided.p.last_of_kv.eq(rows.p.last_of_kv),
        ]
        after = s.place + self._beats(rows.p.keys)
        with m.If(s.move):
            m.d.sync += s.segment.eq(s.segment + rows.p.parts)
            m.d.sync += s.place.eq(Mux(after >= p.held_beats, after - p.held_beats, after))

    def _row_again(self, m: Module, s: SimpleNamespace) -> None:
        """A row once more."""
        record = s.again.o
        self._send(m, s, record.valid, record.p.scale)
        last = s.row_number == s.repeats.o.p.rows
        m.d.comb += [
            record.ready.eq(s.move),
            s.repeats.o.ready.eq(s.move & last),
            self.o_row.p.keys.eq(s.keys),
            self.o_row.p.parts.eq(s.parts),
            self.o_row.p.again.eq(1),
            self.o_row.p.last_of_kv.eq(last),
            self.o_row.p.place.eq(record.p.place),
            self.o_row.p.segment.eq(record.p.segment),
            self.again.eq(1),
        ]
        with m.If(s.move):
            m.d.sync += s.row_number.eq(s.row_number + 1)

    def _send(self, m: Module, s: SimpleNamespace, ready: Value, scale: Any) -> None:
        """A row and its scale go together."""
        m.d.comb += [
            s.move.eq(ready & self.o_row.ready & self.o_scale.ready),
            self.o_row.valid.eq(s.move),
            self.o_scale.valid.eq(s.move),
            self.o_scale.p.eq(scale),
            self.o_row.p.progressive.eq(1),
            self.o_row.p.last_of_head.eq(1),
        ]

    def _judge(self, m: Module, s: SimpleNamespace) -> None:
        """Verdicts: what is to come again, and of which KV heads all are known."""
        verdict, record = self.verdict, s.undecided.o
        rows, after, again = Signal.like(s.row_number), Signal.like(s.row_number), Signal()
        m.d.comb += [
            again.eq(verdict.valid & verdict.payload),
            after.eq(rows + again),
            record.ready.eq(verdict.valid),
            s.again.i.valid.eq(again),
            *(s.again.i.p[name].eq(record.p[name]) for name, _ in s.again.shape),
            s.heads.o.ready.eq(verdict.valid & record.p.last_of_kv),
            s.repeats.i.valid.eq(s.heads.o.ready & (after != 0)),
            s.repeats.i.p.address.eq(s.heads.o.payload),
            s.repeats.i.p.rows.eq(after),
        ]
        with m.If(verdict.valid):
            m.d.sync += rows.eq(Mux(record.p.last_of_kv, 0, after))
