"""Q·K by bit-serial units: the scores of each row that reach its threshold."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import key_mask_signature, line_layout, row_beat_layout, row_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.demand.kv_rows import plane_head_layout
from attnsieve.hdl.slices.demand.packet_hands import unit_word_layout
from attnsieve.hdl.slices.demand.packet_requests import unit_request_layout
from attnsieve.hdl.slices.demand.plane_reader import PlaneReader
from attnsieve.hdl.slices.exit_tally import ExitTally, exit_tally_layout
from attnsieve.hdl.slices.key_cutter import KeyCutter, key_head_layout
from attnsieve.hdl.slices.key_dealer import KeyDealer
from attnsieve.hdl.slices.key_turns import KeyTurns
from attnsieve.hdl.slices.place_balance import PlaceBalance
from attnsieve.hdl.slices.relative_bounds import RelativeBounds
from attnsieve.hdl.slices.row_bounds import RowBounds
from attnsieve.hdl.slices.row_count import RowCount
from attnsieve.hdl.slices.row_parts import RowParts
from attnsieve.hdl.slices.slice_params import slice_params
from attnsieve.hdl.slices.slice_store import SliceStore
from attnsieve.hdl.slices.survivor_rows import SurvivorRows
from attnsieve.hdl.slices.survivors import Survivors
from attnsieve.hdl.slices.unit_circle import UnitCircle
from attnsieve.hdl.stages.query_store import query_read_signature

__all__ = ["BitSerialScorer"]


class BitSerialScorer(wiring.Component):
    """Computes the scores of each row's keys slice by slice, drops what is known to be below the
    threshold of its head, and gives the others, exact, in the order of rows and keys.

    Keys are cut into slices as they come (`KeyCutter`, `SliceStore`) and stay for all rows of their
    KV head. Rows begin in order (`RowBounds`), their keys go to whichever unit is free (`RowParts`,
    `KeyTurns`, `KeyDealer`, `UnitCircle`, `PlaceBalance`), those of the next rows too; what is kept
    is collected (`Survivors`) and brought into order again (`SurvivorRows`). Bounds of rows that
    compare with their maximum follow it (`RelativeBounds`). A row yields ``ceil(keys / groups)``
    beats, one at least. The row itself is passed on at ``o_row`` before its first beat.

    Where K lies in planes, its slices come one by one as they are needed (`PlaneReader`), and stay
    for the rows of their KV head only until these have seen them.

    Throughput: ``units`` slices per cycle, but at most one score that is kept per cycle of each
    parity of keys (of all, with one lane group), and a row in `RowBounds.interval` cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    row : In(stream(row_layout)), o_row : Out(stream(row_layout))
        Rows; each is passed on before it is taken, and before its first beat.
    threshold : In(stream(signed(score_bits)))
        Of each head; of a relative job the margin below a row's maximum.
    o : Out(stream(row_beat_layout))
    tally : Out(stream(exit_tally_layout))
        Counts of each job, after its last beat has been sent for.
    head : In(stream(key_head_layout))
        KV heads, in the order of their lines.
    key : In(stream(line_layout, always ready)), key_space : Out
        Lines of keys, and for how many more there is room.
    plane_head : In(stream(plane_head_layout))
        Instead of these, KV heads whose keys lie in planes. Only with slice_demand, like
    ask : Out(stream(unit_request_layout)), word : In(stream(unit_word_layout))
        the units of memory that are read for them.
    query : Out(query_read_signature)
        Read side of the query store.
    mask : Out(key_mask_signature)
    busy : Out(1)
        A slice was read in the cycle before.
    wait_row, wait_output, wait_query, wait_key : Out(1)
        Why none was: there is no row, there are scores that nobody takes, the query or the keys are
        not there. Exactly one of these and ``busy`` is set.
    """

    row: stream.Interface
    o_row: stream.Interface
    threshold: stream.Interface
    o: stream.Interface
    tally: stream.Interface
    head: stream.Interface
    key: stream.Interface
    key_space: Signal
    query: Any
    mask: Any
    busy: Signal
    wait_row: Signal
    wait_output: Signal
    wait_query: Signal
    wait_key: Signal

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices = p, s = params, slice_params(params)
        row = stream.Signature(row_layout(p))
        super().__init__(
            {
                "row": In(row),
                "o_row": Out(row),
                "threshold": In(stream.Signature(signed(s.score_bits))),
                "o": Out(stream.Signature(row_beat_layout(p))),
                "tally": Out(stream.Signature(exit_tally_layout(p))),
                "head": In(stream.Signature(key_head_layout(p))),
                "key": In(stream.Signature(line_layout(p), always_ready=True)),
                "key_space": Out(range(self.lines + 1)),
                "query": Out(query_read_signature(p)),
                "mask": Out(key_mask_signature(p)),
                "busy": Out(1),
                "wait_row": Out(1, init=1),
                "wait_output": Out(1),
                "wait_query": Out(1),
                "wait_key": Out(1),
                **(self._planar() if p.slice_demand else {}),
            }
        )

    def _planar(self) -> dict[str, Any]:
        """What K in planes needs."""
        p = self.params
        return {
            "plane_head": In(stream.Signature(plane_head_layout(p))),
            "ask": Out(stream.Signature(unit_request_layout(p))),
            "word": In(stream.Signature(unit_word_layout(p))),
        }

    @property
    def lines(self) -> int:
        """Lines that wait to be cut: four times as many as memory may have on the way, so that
        it never waits for room on its way back; but no more than the loader can count."""
        p = self.params
        way = p.channels * p.outstanding_beats * p.beat_bytes
        return min(p.kv_lines, 1 << (max(16, 4 * way // p.lanes) - 1).bit_length())

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, s = self.params, self.slices
        m.submodules.bounds = bounds = RowBounds(params=p)
        m.submodules.parts = parts = RowParts(params=p)
        m.submodules.turns = turns = KeyTurns(params=p)
        m.submodules.begun = begun = Queue(shape=parts.row.p.shape(), depth=2)
        m.submodules.dealer = dealer = KeyDealer(params=p)
        m.submodules.circle = circle = UnitCircle(params=s)
        m.submodules.count = count = RowCount(params=p)
        m.submodules.rows = rows = SurvivorRows(params=p)
        m.submodules.tally = tally = ExitTally(params=p)
        self._fetching = Signal()  # slices are on their way from memory
        store = self._keys(m, rows)
        self._rows(m, bounds)
        connect(m, bounds.query, circle.query)
        self._bounds(m, bounds, circle, rows, count, parts)
        self._deal(m, bounds, rows)
        if p.slice_demand:
            self._on_demand(m, bounds, begun, dealer, circle, count)
        else:
            connect(m, bounds.o, begun.i)
            connect(m, dealer.dealt, count.dealt)
            self._mask(m, dealer)
        connect(m, begun.o, parts.row)  # whether one is taken is known late
        connect(m, parts.o, turns.part)
        connect(m, turns.o, dealer.turn)
        for n in range(s.units):
            connect(m, dealer.o[n], circle.start[n])
            wiring.connect(m, circle.read[n], store.read[n])
            for counts in (count, tally):
                m.d.comb += [
                    counts.ended[n].valid.eq(circle.ended[n].valid),
                    counts.ended[n].p.eq(circle.ended[n].p),
                ]
        if s.units > 1 and not s.static:
            self._balance(m, dealer, circle)
        self._collect(m, circle, rows, count)
        connect(m, rows.o, self.o)
        connect(m, tally.o, self.tally)
        m.d.comb += [
            tally.row.valid.eq(bounds.o.valid),
            tally.row.p.row.eq(bounds.o.p.row),
            tally.row.p.job.eq(bounds.o.p.job),
            tally.row.p.wide.eq(bounds.o.p.number == 0),
            tally.end.eq(rows.end),
            bounds.end.eq(rows.end),
            parts.append.eq(store.append),
            dealer.arrived.eq(parts.arrived),
            dealer.mask.data.eq(self.mask.data),
            count.free.eq(rows.free),
            count.freed.eq(rows.freed),
            rows.complete.eq(count.complete),
            bounds.free.eq(rows.free),
        ]
        self._activity(m, bounds, parts, dealer, circle)
        return m

    def _keys(self, m: Module, rows: SurvivorRows) -> SliceStore:
        """Lines to slices."""
        p = self.params
        m.submodules.lines = lines = Queue(shape=line_layout(p), depth=self.lines, lut_ram=False)
        m.submodules.next_lines = next_lines = Queue(shape=line_layout(p), depth=2)
        m.submodules.cutter = cutter = KeyCutter(params=p)
        m.submodules.store = store = SliceStore(params=p)
        m.d.comb += [
            lines.i.valid.eq(self.key.valid),
            lines.i.p.eq(self.key.p),
            self.key_space.eq(self.lines - lines.level),
        ]
        m.d.sync += store.release.eq(rows.release)  # which is known late
        connect(m, self.head, cutter.head)
        connect(m, lines.o, next_lines.i)  # from the end of a key to the memory is far
        connect(m, next_lines.o, cutter.i)
        connect(m, cutter.o, store.i)
        return store

    def _rows(self, m: Module, bounds: RowBounds) -> None:
        """Rows begin as they are passed on: who needs them has them before their scores."""
        row = self.row
        connect(m, self.threshold, bounds.threshold)
        wiring.connect(m, bounds.read, wiring.flipped(self.query))
        m.d.comb += [
            bounds.row.valid.eq(row.valid),
            *(bounds.row.p[n].eq(row.p[n]) for n, _ in bounds.row.p.shape()),
            row.ready.eq(bounds.row.ready),
            self.o_row.valid.eq(bounds.begins),
            self.o_row.p.eq(row.p),
            bounds.hold.eq(~self.o_row.ready),
        ]

    def _bounds(
        self, m: Module, bounds: RowBounds, circle: UnitCircle, rows: SurvivorRows, count: RowCount,
        parts: RowParts,
    ) -> None:  # fmt: skip
        """Bounds to the units: first of all those of rows that begin."""
        m.submodules.relative = relative = RelativeBounds(params=self.params)
        connect(m, bounds.margin, relative.row)
        wiring.connect(m, relative.maximum, rows.maximum)
        m.d.comb += [
            circle.bound.valid.eq(bounds.bound.valid | relative.bound.valid),
            circle.bound.p.eq(Mux(bounds.bound.valid, bounds.bound.p, relative.bound.p)),
            relative.bound.ready.eq(~bounds.bound.valid),
            relative.quiet.eq(count.quiet),
        ]
        for user in (count, parts):
            m.d.comb += [
                user.renewed.eq(relative.renewed),
                user.renewed_row.eq(relative.renewed_row),
            ]

    def _deal(self, m: Module, bounds: RowBounds, rows: SurvivorRows) -> None:
        """Of rows that are dealt waits what is needed later."""
        m.submodules.dealt = dealt = Queue(shape=rows.row.p.shape(), depth=self.slices.rows)
        row = bounds.o
        connect(m, dealt.o, rows.row)
        m.d.comb += [
            dealt.i.valid.eq(row.valid & row.ready),
            *(dealt.i.p[name].eq(row.p[name]) for name, _ in dealt.i.p.shape()),
        ]
        if self.params.slice_demand:  # no key of these is in the store
            m.d.comb += dealt.i.p.last_of_kv.eq(row.p.last_of_kv & ~row.p.planar)

    def _mask(self, m: Module, user: KeyDealer | PlaneReader) -> None:
        """The key mask to one of those who read it."""
        m.d.comb += [
            getattr(self.mask, name).eq(getattr(user.mask, name))
            for name in ("en", "bank", "beat", "used")
        ]

    def _on_demand(
        self, m: Module, bounds: RowBounds, begun: Queue, dealer: KeyDealer,
        circle: UnitCircle, count: RowCount,
    ) -> None:  # fmt: skip
        """Rows go where their keys come from; the dealer comes first at what both use."""
        m.submodules.planes = planes = PlaneReader(params=self.params)
        row, planar = bounds.o, bounds.o.p.planar
        connect(m, self.plane_head, planes.head)
        connect(m, planes.ask, self.ask)
        connect(m, self.word, planes.word)
        for entry, verdict, own, its in zip(
            planes.entry, planes.verdict, circle.entry, circle.verdict, strict=True
        ):
            connect(m, entry, own)
            connect(m, its, verdict)
        for port, mine in ((begun.i, ~planar), (planes.row, planar)):
            m.d.comb += [port.valid.eq(row.valid & mine), port.p.eq(row.p)]
        m.d.comb += [
            row.ready.eq(Mux(planar, planes.row.ready, begun.i.ready)),
            planes.hold.eq(dealer.mask.en),
            planes.mask.data.eq(self.mask.data),
            count.dealt.valid.eq(dealer.dealt.valid | planes.dealt.valid),
            count.dealt.p.eq(Mux(dealer.dealt.valid, dealer.dealt.p, planes.dealt.p)),
            self._fetching.eq(planes.waiting),
        ]
        self._mask(m, planes)
        with m.If(dealer.mask.en):
            self._mask(m, dealer)

    def _balance(self, m: Module, dealer: KeyDealer, circle: UnitCircle) -> None:
        """Places to the units where most keys wait."""
        units = self.slices.units
        m.submodules.balance = balance = PlaceBalance(
            units=units, turn=units * circle.latency, depth=dealer.depth
        )
        m.d.comb += [
            *(balance.waiting[n].eq(dealer.waiting[n]) for n in range(units)),
            balance.begins.eq(Cat(start.valid & start.ready for start in circle.start)),
            circle.passes.eq(balance.passes),
        ]

    def _collect(
        self, m: Module, circle: UnitCircle, rows: SurvivorRows, count: RowCount
    ) -> None:
        """What is kept, by the parity of its key where there are two ways."""
        ways = len(rows.i)
        for way in range(ways):
            survivors = Survivors(params=self.slices)
            m.submodules[f"survivors{way}"] = survivors
            connect(m, survivors.o, rows.i[way])
            m.d.comb += count.stored_row[way].eq(rows.i[way].p.row)
            for n, kept in enumerate(circle.o):
                mine = kept.p.key[:1] == way if ways > 1 else Const(1)
                m.d.comb += [
                    survivors.i[n].valid.eq(kept.valid & mine),
                    survivors.i[n].p.eq(kept.p),
                ]
                with m.If(mine):
                    m.d.comb += kept.ready.eq(survivors.i[n].ready)
        m.d.comb += count.stored.eq(rows.stored)

    def _activity(
        self, m: Module, bounds: RowBounds, parts: RowParts, dealer: KeyDealer, circle: UnitCircle
    ) -> None:
        """What keeps the units from reading: where the next keys are held up."""
        names = ("busy", "wait_key", "wait_output", "wait_query", "wait_row")
        m.d.sync += [getattr(self, name).eq(0) for name in names]
        with m.If(Cat(port.en for port in circle.read).any()):
            m.d.sync += self.busy.eq(1)
        with m.Elif(dealer.wait_key | parts.wait_key | self._fetching):
            m.d.sync += self.wait_key.eq(1)
        with m.Elif(~dealer.wait_turn | bounds.wait_free | (bounds.begins & bounds.hold)):
            m.d.sync += self.wait_output.eq(1)
        with m.Elif(bounds.wait_query):
            m.d.sync += self.wait_query.eq(1)
        with m.Else():
            m.d.sync += self.wait_row.eq(1)
