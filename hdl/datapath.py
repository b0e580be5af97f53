"""The pipeline from memory to memory: everything that is reset when a job is stopped."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Member, Out, connect, flipped

from attnsieve.hdl.axi.gather_loader import GatherLoader
from attnsieve.hdl.axi.list_rows import list_read_signature, row_lanes
from attnsieve.hdl.axi.loader import Loader
from attnsieve.hdl.axi.row_addresses import RowAddresses
from attnsieve.hdl.axi.row_writer import RowWriter
from attnsieve.hdl.axi.signature import AXI4Signature
from attnsieve.hdl.axi.value_lists import ValueLists
from attnsieve.hdl.axi.value_requests import ValueRequests
from attnsieve.hdl.axi.whole_list import WholeList
from attnsieve.hdl.control.planes import PlaneSequencer
from attnsieve.hdl.control.row_list import entry_read_signature
from attnsieve.hdl.control.row_tally import RowTally, row_tally_layout
from attnsieve.hdl.control.value_tally import ValueTally, value_tally_layout
from attnsieve.hdl.control.words import byte_address
from attnsieve.hdl.layouts import (
    head_layout,
    key_mask_signature,
    line_layout,
    region_layout,
    row_layout,
    statistics_layout,
    work_members,
)
from attnsieve.hdl.lib.broadcast import Broadcast
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.reset import LocalResets
from attnsieve.hdl.lib.ring import Ring
from attnsieve.hdl.observers.head_scores import head_weight_layout
from attnsieve.hdl.observers.head_unit import HeadUnit
from attnsieve.hdl.observers.token_unit import TokenUnit
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.bit_serial_scorer import BitSerialScorer
from attnsieve.hdl.slices.exit_tally import exit_tally_layout
from attnsieve.hdl.stages.exponential import Exponential
from attnsieve.hdl.stages.normaliser import Normaliser
from attnsieve.hdl.stages.plane_scores import PLANE_FIELDS, PlaneScores
from attnsieve.hdl.stages.precision_gate import GATE_FIELDS, PrecisionGate
from attnsieve.hdl.stages.prob_v import ProbV
from attnsieve.hdl.stages.query_store import QueryStore
from attnsieve.hdl.stages.row_buffer import RowBuffer
from attnsieve.hdl.stages.scorer import ParallelScorer
from attnsieve.hdl.stages.sparse_prob_v import SparseProbV
from attnsieve.hdl.stages.value_demand import ValueDemand
from attnsieve.hdl.stages.value_select import ValueSelect

__all__ = ["Datapath"]

def _row_fields(p: CoreParams) -> dict[str, tuple[str, ...]]:
    """What each stage behind the softmax needs of a row's description."""
    return {
        **(
            {"select": ("values",), "value_tally": ("write", "last_of_job")}
            if p.value_lanes
            else {}
        ),
        **(
            {
                "importance": ("last_of_job",),
                "outputs": ("write", "last_of_head", "last_of_job"),
            }
            if p.token_lanes
            else {}
        ),
        "prob_v": ("parts", "keys", "last_of_kv", *(("demand",) if p.value_demand else ())),
        "tally": ("write", "last_of_job"),
        "writer": (
            "parts", "write", "last_of_head", "last_of_job",
            *(("query",) if p.token_lanes else ()),
        ),
    }


def _pass_fields(p: CoreParams) -> dict[str, tuple[str, ...]]:
    """What the softmax needs of a row; and, where rows can come again, who deals with that."""
    planes = {"planes": PLANE_FIELDS, "gate": GATE_FIELDS}
    return {"scale": ("last_of_head",), **(planes if p.progressive else {})}


def list_members(p: CoreParams) -> dict[str, Member]:
    """Read port of the lists, whether they are there, and how long they are; the importance of
    tokens and heads as the core sees it; what a job says of the second plane of K."""
    return {
        "tokens": Out(_outer(TokenUnit(params=p), ("i", "statistics", "row"))),
        "heads": Out(_outer(HeadUnit(params=p), ("i", "beat", "row", "head"))),
        "list": Out(list_read_signature(p)),
        "listed": In(1),
        "listed_queries": In(p.query_bits),
        "listed_keys": In(p.key_bits),
        **({"threshold": In(16), "plane": In(32)} if p.progressive else {}),
        **(
            {"value_entry": Out(entry_read_signature(p, p.max_keys, p.groups))}
            if p.value_demand
            else {}
        ),
    }


def _outer(unit: Any, inner: tuple[str, ...]) -> wiring.Signature:
    """The members of a unit that are not connected inside the datapath."""
    members = unit.signature.members.items()
    return wiring.Signature({n: m for n, m in members if n not in inner})


def _check_slices(p: CoreParams) -> None:
    """Raise unless bit-serial units can be built with what else the core has."""
    if not p.slice_units:
        if p.slice_words != "twos_complement":
            raise ValueError(
                f"slice_units must not be 0 on a core with slice_words = {p.slice_words!r}"
            )
        return
    for name in ("value_lanes", "token_lanes"):
        if getattr(p, name):
            raise ValueError(f"{name} must be 0 on a core with slice_units, not {getattr(p, name)}")
    least = -(-p.max_keys * p.max_head_dim // 2)
    if p.buffer_elements < least:
        raise ValueError(
            f"buffer_elements must be at least max_keys * max_head_dim / 2 ({least}) on a core "
            f"with slice_units, not {p.buffer_elements}"
        )


class Datapath(wiring.Component):
    """Loader, rings, scorer, softmax, prob·V, normaliser and row writer, joined.

    Regions, scales and rows of a job come in, in the same order; outputs go to memory. The rows of
    the next job may follow at once.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    query, key, value, output, scale, row : In(stream)
        The work of each job; see `work_members`.
    mask : Out(key_mask_signature)
    read, write : Out(AXI4Signature) of channels
        Read and write channels of the memory.
    stop : In(1)
        Stop reading and writing, from the next cycle on.
    clear : In(1)
        A register: make everything as new. What it resets is ready `LocalResets.after` cycles after
        it falls, and takes no notice of anything before.
    idle : Out(1)
        It is under ``stop``, and nothing was outstanding in the cycle before.
    read_error, write_error : Out(2)
        First error response, 0 for none.
    done : Out(1)
        All writes of a job have been answered.
    tally : Out(stream(row_tally_layout))
        Counts of each job.
    value_tally : Out(stream(value_tally_layout))
        More of them, where values are selected.
    exit_tally : Out(stream(exit_tally_layout))
        And where keys are scored bit by bit.
    read_units, written_granules : Out
        Memory traffic of this cycle, in units and in 32 bytes.
    busy, wait_query, wait_key, wait_output : Out(1)
        What the Q·K array did in the cycle before.
    progress : Out(1)
        Something moved in the cycle before.
    (lists) : see `list_members`
    """

    #: What decides which values of a row are kept.
    value_select = ValueSelect

    def __init__(self, *, params: CoreParams) -> None:
        self.params = p = params
        self.loader = (GatherLoader if p.gathers else Loader)(params=p)
        self.writer = RowWriter(params=p)
        self.queries = QueryStore(params=p)
        if self.queries.capacity < self.loader.granule_lines:
            raise ValueError(
                f"Memory must deliver at most {self.queries.capacity} lines at once (lanes "
                f"{p.lanes}), not {self.loader.granule_lines}: use fewer or narrower channels"
            )
        if self.queries.capacity > (1 << p.kv_lines.bit_length()) - 1:  # the loader counts so far
            raise ValueError(
                f"buffer_elements must be at least {self.queries.capacity * p.lanes // 2}, so that "
                f"K has as many lines as the query store, not {p.buffer_elements}"
            )
        _check_slices(p)
        read = AXI4Signature(addr_width=p.addr_width, data_width=p.data_width, write=False)
        write = AXI4Signature(addr_width=p.addr_width, data_width=p.data_width, read=False)
        super().__init__(
            {
                **{name: member.flip() for name, member in work_members(p).items()},
                "mask": Out(key_mask_signature(p)),
                "read": Out(read).array(p.channels),
                "write": Out(write).array(p.channels),
                "stop": In(1),
                "clear": In(1),
                "idle": Out(1),
                "read_error": Out(2),
                "write_error": Out(2),
                "done": Out(1),
                "tally": Out(stream.Signature(row_tally_layout(p))),
                **(
                    {"value_tally": Out(stream.Signature(value_tally_layout(p)))}
                    if p.value_lanes
                    else {}
                ),
                **(
                    {"exit_tally": Out(stream.Signature(exit_tally_layout(p)))}
                    if p.slice_units
                    else {}
                ),
                "read_units": Out(len(self.loader.read_units)),
                "written_granules": Out(len(self.writer.granules)),
                "busy": Out(1),
                "wait_query": Out(1),
                "wait_key": Out(1),
                "wait_output": Out(1),
                "progress": Out(1),
                **(list_members(p) if p.token_lanes else {}),
            }
        )

    @property
    def row_depth(self) -> int:
        """Rows that may be between the scorer and the softmax; and the writer, unless they wait."""
        return 16 if self.params.lut_ram else 4

    @property
    def held_depth(self) -> int:
        """Rows that may be between the scorer and the writer."""
        p = self.params
        waiting = max(p.progressive * p.held_segments, p.value_demand * p.max_heads)
        return max(self.row_depth, waiting)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._resets: list[Signal] = []
        self._place(m, "loader", self.loader)
        if self.params.gathers:
            self._lists(m)
        self._place(m, "writer", self.writer)
        scorer = self._front(m)
        passes, rows = self._rows(m, scorer)
        self._back(m, scorer, passes, rows)
        self._outside(m, scorer)
        if self._resets:
            m.submodules.resets = resets = LocalResets(count=len(self._resets))
            m.d.comb += [resets.i.eq(self.clear), Cat(self._resets).eq(resets.o)]
        return m

    def _place(self, m: Module, name: str, block: Any) -> Any:
        """A block with its reset: one of its own where it is not small. Returns the block."""
        reset = self.clear
        if self.params.lut_ram:
            reset = Signal(name=f"reset_{name}")
            self._resets.append(reset)
        m.submodules[name] = ResetInserter(reset)(block)
        return block

    def _lists(self, m: Module) -> None:
        """Lists for the loader: those of the job, or of all rows; and those of the values that
        rows keep."""
        p, loader = self.params, self.loader.list
        if not p.value_demand:
            connect(m, loader, flipped(self.list))
            return
        self._value_lists = lists = self._place(m, "value_lists", ValueLists(params=p))
        value, inner = Signal(), lists.list
        if p.token_lanes:
            outer = self.list
            connect(m, lists.entry, flipped(self.value_entry))
            m.d.comb += outer.query.eq(loader.query)
        else:
            outer = self._whole(m, "rows", max(p.max_keys, p.max_queries), row_lanes(p))
            connect(m, lists.entry, self._whole(m, "keys", p.max_keys, p.groups))
        with m.If(loader.en):
            m.d.sync += value.eq(loader.value)
        m.d.comb += [
            outer.line.eq(loader.line),
            outer.en.eq(loader.en & ~loader.value),
            inner.half.eq(loader.half),
            inner.line.eq(loader.line),
            inner.en.eq(loader.en & loader.value),
            loader.data.eq(Mux(value, inner.data.as_value(), outer.data.as_value())),
        ]

    def _whole(self, m: Module, name: str, rows: int, lanes: int) -> Any:
        """Read port of a list of all rows."""
        whole = WholeList(params=self.params, rows=rows, lanes=lanes)
        return self._place(m, f"all_{name}", whole).read

    def _ring(self) -> Ring:
        """For K or V: the loader sends no line for which there is no room."""
        p = self.params
        return Ring(shape=line_layout(p), depth=p.kv_lines, split=p.groups, always_ready=True)

    def _front(self, m: Module) -> ParallelScorer | BitSerialScorer:
        """Memory to scores: query store, and a scorer with its keys."""
        p, loader = self.params, self.loader
        queries = self._place(m, "query_store", self.queries)
        scorer: ParallelScorer | BitSerialScorer
        if p.slice_units:
            scorer = self._bit_serial(m)
        else:
            scorer = self._parallel(m)
        self._heads(m, queries)
        connect(m, loader.q_line, queries.i)
        connect(m, scorer.query, queries.read)
        connect(m, flipped(self.mask), scorer.mask)
        m.d.comb += loader.q_space.eq(queries.space)
        return scorer

    def _parallel(self, m: Module) -> ParallelScorer:
        """A scorer that multiplies whole keys, and the ring with their lines."""
        k_ring = self._place(m, "k_ring", self._ring())
        scorer = self._place(m, "scorer", ParallelScorer(params=self.params))
        self._keys(m)
        connect(m, self.loader.k_line, k_ring.i)
        connect(m, scorer.key, k_ring.read[0])
        m.d.comb += [
            self.loader.k_space.eq(k_ring.space),
            scorer.key_end.eq(k_ring.end),
            scorer.key_append.eq(k_ring.append),
            k_ring.release.eq(scorer.key_release),
        ]
        return scorer

    def _bit_serial(self, m: Module) -> BitSerialScorer:
        """A scorer that cuts keys into slices; it must know each KV head's shape."""
        p, loader = self.params, self.loader
        scorer = self._place(m, "scorer", BitSerialScorer(params=p))
        planes = ("address", "planar", "plane") if p.slice_demand else ()
        fields = {
            "loader": [name for name, _ in region_layout(p)],
            "scorer": ("parts", "rows", "wide", *planes),
        }
        heads = self._place(
            m, "key_heads", Broadcast(shape=region_layout(p), fields=fields, depth=2)
        )
        connect(m, flipped(self.key), heads.i)
        connect(m, heads.loader, loader.key)
        connect(m, loader.k_line, scorer.key)
        connect(m, scorer.tally, flipped(self.exit_tally))
        m.d.comb += [
            loader.k_space.eq(scorer.key_space),
            scorer.head.valid.eq(heads.scorer.valid),
            heads.scorer.ready.eq(scorer.head.ready),
            scorer.head.p.parts.eq(heads.scorer.p.parts),
            scorer.head.p.keys.eq(heads.scorer.p.rows),
            scorer.head.p.wide.eq(heads.scorer.p.wide),
        ]
        if p.slice_demand:
            self._planar(m, heads, scorer)
        return scorer

    def _planar(self, m: Module, heads: Broadcast, scorer: BitSerialScorer) -> None:
        """Keys that lie in planes: the scorer asks for them; for the loader the head has none."""
        loader, head = self.loader, heads.scorer.p
        low = self.params.unit_bytes.bit_length() - 1
        connect(m, scorer.ask, loader.ask)
        connect(m, loader.word, scorer.word)
        m.d.comb += [
            scorer.plane_head.valid.eq(heads.scorer.valid & head.planar),
            scorer.plane_head.p.unit.eq(head.address >> low),
            scorer.plane_head.p.plane.eq(byte_address(head.plane) >> low),
        ]
        with m.If(head.planar):
            m.d.comb += [
                scorer.head.valid.eq(0),
                heads.scorer.ready.eq(scorer.plane_head.ready),
            ]
        with m.If(heads.loader.p.planar):
            m.d.comb += loader.key.p.rows.eq(0)

    def _keys(self, m: Module) -> None:
        """Regions of K; where rows come again, all their work in its order."""
        p, keys = self.params, self._region(m, "key")
        if not p.progressive:
            connect(m, keys, self.loader.key)
            return
        self._planes = planes = self._place(m, "planes", PlaneSequencer(params=p))
        connect(m, keys, planes.region)
        connect(m, planes.o_region, self.loader.key)
        connect(m, flipped(self.row), planes.row)
        connect(m, flipped(self.scale), planes.scale)
        m.d.comb += [
            planes.progressive.eq(self.threshold != 0),
            planes.plane.eq(self.plane),
            self.queries.release.eq(planes.segments),
        ]

    def _heads(self, m: Module, queries: QueryStore) -> None:
        """The query store must know each head's shape, but for a store of one lane group."""
        p = self.params
        if p.groups == 1:
            connect(m, self._region(m, "query"), self.loader.query)
            return
        heads = self._place(
            m,
            "heads",
            Broadcast(
                shape=region_layout(p),
                fields={
                    "loader": [name for name, _ in region_layout(p)],
                    "store": ("parts", "rows"),
                },
                depth=2,
                lut_ram=p.lut_ram,
            ),
        )
        connect(m, self._region(m, "query"), heads.i)
        connect(m, heads.loader, self.loader.query)
        m.d.comb += [
            queries.head.valid.eq(heads.store.valid),
            queries.head.p.parts.eq(heads.store.p.parts),
            queries.head.p.queries.eq(heads.store.p.rows),
            heads.store.ready.eq(queries.head.ready),
        ]

    def _region(self, m: Module, name: str) -> Any:
        """Heads of a tensor; with lists as many rows as are listed, once that is known."""
        region = getattr(self, name)
        if not self.params.token_lanes:
            return flipped(region)
        listed = stream.Signature(region_layout(self.params)).create(path=(f"listed_{name}",))
        rows = self.listed_queries if name == "query" else self.listed_keys
        m.d.comb += [
            listed.valid.eq(region.valid & self.listed),
            region.ready.eq(listed.ready & self.listed),
            listed.p.eq(region.p),
            listed.p.rows.eq(rows),
        ]
        return listed

    def _rows(self, m: Module, scorer: Any) -> tuple[Broadcast, Broadcast]:
        """Rows wait in front of the scorer; behind it each receiver has what it needs of them.
        Returns who has each row as often as it comes, and who has it once."""
        p = self.params
        row_queue = self._place(
            m,
            "row_queue",
            Queue(shape=row_layout(p), depth=8 if p.lut_ram else 1, lut_ram=p.lut_ram),
        )
        once, each = _row_fields(p), _pass_fields(p)
        rows = self._place(
            m,
            "rows",
            Broadcast(
                shape=row_layout(p),
                fields=once if p.progressive else each | once,
                depth=self.held_depth,
                lut_ram=p.lut_ram,
            ),
        )
        connect(m, row_queue.o, scorer.row)
        if not p.progressive:
            connect(m, flipped(self.row), row_queue.i)
            connect(m, scorer.o_row, rows.i)
            return rows, rows
        passes = self._place(
            m, "passes", Broadcast(shape=row_layout(p), fields=each, depth=self.row_depth)
        )
        row, known = scorer.o_row, rows.i.ready | scorer.o_row.p.again
        connect(m, self._planes.o_row, row_queue.i)
        m.d.comb += [
            row.ready.eq(passes.i.ready & known),
            passes.i.valid.eq(row.valid & known),
            passes.i.p.eq(row.p),
            rows.i.valid.eq(row.valid & passes.i.ready & ~row.p.again),
            rows.i.p.eq(row.p),
        ]
        return passes, rows

    def _receive(self, m: Module, source: Any, sink: Any) -> None:
        """Hand some fields of a row to a stage that takes rows."""
        m.d.comb += [sink.valid.eq(source.valid), source.ready.eq(sink.ready)]
        m.d.comb += [sink.p[name].eq(source.p[name]) for name, _ in source.p.shape()]

    def _back(self, m: Module, scorer: Any, passes: Broadcast, rows: Broadcast) -> None:
        """Scores to memory: softmax, prob·V, normaliser, writer."""
        p = self.params
        exponential = self._place(m, "exponential", Exponential(params=p))
        v_ring = self._place(m, "v_ring", self._ring())
        sparse = p.prunes or p.slice_units
        prob_v = self._place(m, "prob_v", (SparseProbV if sparse else ProbV)(params=p))
        normaliser = self._place(m, "normaliser", Normaliser(params=p))
        tally = self._place(m, "tally", RowTally(params=p, rows=self.held_depth))
        scores, terms, statistics = scorer.o, exponential.o, exponential.statistics
        counts: Value = Const(1)  # of scores that pass, that they are new ones
        if p.progressive:
            scores, counts = self._weigh(m, scorer, passes)
            terms, statistics = self._hold(m, exponential, passes)
        if not p.slice_units:  # whose rows are stored already
            row_buffer = self._place(m, "row_buffer", RowBuffer(params=p))
            connect(m, scores, row_buffer.i)
            scores = row_buffer.o
        connect(m, scores, exponential.i)
        self._statistics(m, statistics, normaliser)
        if p.value_lanes:
            terms = self._select(m, terms, rows)
        if p.value_demand:
            terms, prob_v_row = self._demand(m, terms, rows)
            connect(m, prob_v_row, prob_v.row)
        else:
            self._receive(m, rows.prob_v, prob_v.row)
            connect(m, self._region(m, "value"), self.loader.value)
        connect(m, terms, prob_v.i)
        connect(m, self.loader.v_line, v_ring.i)
        connect(m, prob_v.value, v_ring.read[0])
        connect(m, prob_v.o, normaliser.i)
        connect(m, normaliser.o, self.writer.i)
        self._receive(m, rows.tally, tally.row)
        self._scales(m, exponential, passes, scorer)
        if p.token_lanes:
            self._importance(m, rows, normaliser)
        self._addresses(m, rows)
        connect(m, tally.o, flipped(self.tally))
        m.d.comb += [
            self.loader.v_space.eq(v_ring.space),
            prob_v.value_append.eq(v_ring.append),
            v_ring.release.eq(prob_v.value_release),
            tally.valid.eq(scorer.o.p.valid),
            tally.last.eq(scorer.o.p.last),
            tally.beat.eq(scorer.o.valid & scorer.o.ready & counts),
            tally.counted.eq(statistics.valid & statistics.ready),
            tally.empty.eq(statistics.p.empty),
        ]
        moving = (self.loader.q_line, self.loader.k_line, self.loader.v_line, self.writer.i)
        moved = Cat(port.valid & port.ready for port in moving)
        m.d.sync += self.progress.eq(self.busy | prob_v.busy | moved.any())

    def _weigh(
        self, m: Module, scorer: ParallelScorer, passes: Broadcast
    ) -> tuple[stream.Interface, Value]:
        """Scores of what the planes of K give; and whether they are of rows that come first."""
        scores = self._place(m, "plane_scores", PlaneScores(params=self.params))
        connect(m, scorer.o, scores.i)
        connect(m, passes.planes, scores.row)
        return scores.o, ~scores.again

    def _hold(
        self, m: Module, exponential: Exponential, passes: Broadcast
    ) -> tuple[stream.Interface, stream.Interface]:
        """Terms and statistics of rows that do not come again, in order."""
        self._gate = gate = self._place(m, "gate", PrecisionGate(params=self.params))
        connect(m, exponential.o, gate.i)
        connect(m, exponential.statistics, gate.statistics)
        connect(m, passes.gate, gate.row)
        connect(m, gate.verdict, self._planes.verdict)
        m.d.comb += [
            gate.threshold.eq(self.threshold),
            self._planes.release.eq(gate.release),
        ]
        return gate.o, gate.o_statistics

    def _select(self, m: Module, terms: Any, rows: Broadcast) -> Any:
        """Of each row's terms the largest."""
        self._values = select = self._place(
            m, "value_select", self.value_select(params=self.params)
        )
        tally = self._place(m, "value_tally", ValueTally(params=self.params))
        connect(m, terms, select.i)
        self._receive(m, rows.select, select.row)
        self._receive(m, rows.value_tally, tally.row)
        m.d.comb += [
            tally.kept.eq(Cat(term.mantissa != 0 for term in select.o.p.term)),
            tally.beat.eq(select.o.valid & select.o.ready),
            tally.last.eq(select.o.p.last),
            *([tally.again.eq(self._gate.again)] if self.params.progressive else []),
            self.value_tally.payload.eq(tally.o.payload),
            self.value_tally.valid.eq(tally.o.valid),
            tally.o.ready.eq(self.value_tally.ready),
        ]
        return select.o

    def _demand(
        self, m: Module, terms: Any, rows: Broadcast
    ) -> tuple[stream.Interface, stream.Interface]:
        """Rows of a KV head wait until all know what they keep; then their V is asked for."""
        wait = self._place(m, "value_demand", ValueDemand(params=self.params))
        requests = self._place(m, "value_requests", ValueRequests(params=self.params))
        lists, read = self._value_lists, self.loader.list
        connect(m, terms, wait.i)
        self._receive(m, rows.prob_v, wait.row)
        connect(m, wait.flags, lists.flags)
        connect(m, self._region(m, "value"), requests.i)
        connect(m, lists.o, requests.count)
        connect(m, requests.o, self.loader.value)
        m.d.comb += [
            requests.end.eq(read.en & read.value & read.end),
            lists.free.eq(requests.free),
        ]
        return wait.o, wait.o_row

    def _statistics(
        self, m: Module, statistics: stream.Interface, normaliser: Normaliser
    ) -> None:
        """Statistics of rows to the normaliser, in front of which they may wait, and to who
        observes them."""
        p = self.params
        if not p.gathers:
            connect(m, statistics, normaliser.statistics)
            return
        fields = [name for name, _ in statistics_layout(p)]
        names = ("normaliser", *(("observer",) if p.token_lanes else ()))
        depth = max(16, p.value_demand * p.max_heads)  # rows of a KV head wait behind
        self._sums = sums = self._place(
            m,
            "statistics",
            Broadcast(shape=statistics_layout(p), fields=dict.fromkeys(names, fields), depth=depth),
        )
        connect(m, statistics, sums.i)
        connect(m, sums.normaliser, normaliser.statistics)

    def _importance(self, m: Module, rows: Broadcast, normaliser: Normaliser) -> None:
        """Tokens gather the probabilities of all rows, heads the magnitudes of their outputs."""
        tokens = self._place(m, "token_unit", TokenUnit(params=self.params))
        heads = self._place(m, "head_unit", HeadUnit(params=self.params))
        connect(m, self._values.seen, tokens.i)
        connect(m, self._sums.observer, tokens.statistics)
        connect(m, rows.importance, tokens.row)
        self._receive(m, rows.outputs, heads.row)
        connect(m, self._weights.o, heads.head)
        m.d.comb += [
            heads.i.eq(normaliser.o.p),
            heads.beat.eq(normaliser.o.valid & normaliser.o.ready),
        ]
        for unit, outer in ((tokens, self.tokens), (heads, self.heads)):
            for name, member in outer.signature.members.items():
                its, own = getattr(unit, name), getattr(outer, name)
                if member.is_signature:
                    connect(m, its, flipped(own))
                else:
                    m.d.comb += own.eq(its) if member.flow is Out else its.eq(own)

    def _scales(
        self, m: Module, exponential: Exponential, rows: Broadcast, scorer: Any
    ) -> None:
        """The scale of a head stays for all its rows."""
        p = self.params
        scales = self._place(
            m,
            "scales",
            Queue(
                shape=head_layout(p), depth=self.row_depth if p.lut_ram else 2, lut_ram=p.lut_ram
            ),
        )
        if p.threshold_bits:
            self._threshold(m, scales, scorer)
        else:
            self._scale(m, scales)
        m.d.comb += [
            exponential.scale.valid.eq(scales.o.valid & rows.scale.valid),
            exponential.scale.p.eq(scales.o.p),
            rows.scale.ready.eq(exponential.scale.ready),
            scales.o.ready.eq(exponential.scale.ready & rows.scale.p.last_of_head),
        ]

    def _threshold(self, m: Module, scales: Queue, scorer: BitSerialScorer) -> None:
        """The scale of each head; its threshold waits for the rows that the scorer begins."""
        p, scale = self.params, self.scale
        thresholds = self._place(
            m, "thresholds", Queue(shape=signed(p.threshold_bits), depth=self.row_depth)
        )
        connect(m, thresholds.o, scorer.threshold)
        m.d.comb += [
            scale.ready.eq(scales.i.ready & thresholds.i.ready),
            scales.i.valid.eq(scale.valid & thresholds.i.ready),
            scales.i.p.eq(scale.p),
            thresholds.i.valid.eq(scale.valid & scales.i.ready),
            thresholds.i.p.eq(scale.p.threshold),
        ]

    def _scale(self, m: Module, scales: Queue) -> None:
        """The scale of each head; its weight in the importance of heads waits elsewhere."""
        p = self.params
        if not p.token_lanes:
            connect(m, flipped(self.scale), scales.i)
            return
        self._weights = weights = self._place(
            m, "weights", Queue(shape=head_weight_layout(p), depth=self.held_depth)
        )
        scale = self._planes.o_scale if p.progressive else self.scale
        first = ~self._planes.again if p.progressive else Const(1)
        # rows that come again bring no weight: they go on where those that wait fill the queue
        both = scales.i.ready & (weights.i.ready | ~first)
        m.d.comb += [
            scale.ready.eq(both),
            scales.i.valid.eq(scale.valid & both),
            scales.i.p.eq(scale.p),
            weights.i.valid.eq(scale.valid & both & first),
            weights.i.p.head.eq(scale.p.head),
            weights.i.p.weight.eq(scale.p.weight),
        ]

    def _addresses(self, m: Module, rows: Broadcast) -> None:
        """Each output row gets its address on the way to the writer."""
        addresses = self._place(m, "addresses", RowAddresses(params=self.params))
        m.d.comb += [
            addresses.head.valid.eq(self.output.valid),
            addresses.head.p.eq(self.output.p.address),
            self.output.ready.eq(addresses.head.ready),
        ]
        self._receive(m, rows.writer, addresses.row)
        connect(m, addresses.o, self.writer.row)

    def _outside(self, m: Module, scorer: Any) -> None:
        loader, writer = self.loader, self.writer
        for read, write, r, w in zip(self.read, self.write, loader.bus, writer.bus, strict=True):
            connect(m, r, flipped(read))
            connect(m, w, flipped(write))
        stop = Signal()  # a register: from the supervisor to what stops is far
        m.d.sync += stop.eq(self.stop)
        m.d.comb += [
            loader.stop.eq(stop),
            writer.stop.eq(stop),
            self.read_error.eq(loader.error),
            self.write_error.eq(writer.error),
            self.done.eq(writer.done),
            self.read_units.eq(loader.read_units),
            self.written_granules.eq(writer.granules),
        ]
        # registers: who looks at these is far away
        names = ("busy", "wait_query", "wait_key", "wait_output")
        m.d.sync += [getattr(self, name).eq(getattr(scorer, name)) for name in names]
        idle = Signal(2)
        m.d.sync += [idle[0].eq(stop & loader.idle), idle[1].eq(stop & writer.idle)]
        m.d.comb += self.idle.eq(idle.all())
