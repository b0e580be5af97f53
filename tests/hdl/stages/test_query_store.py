# amaranth: UnusedElaboratable=no
"""The query store: rows by parts, head ends, space, and no part lost or mixed up (proof)."""

import random

import pytest
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.query_store import LineStore, QueryCutter, QueryStore
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams, simulate

from .plane_rows import CORES, core


def small(groups, **changes):
    return CoreParams(lanes=16 * groups, output_lanes=1, **changes)


CONFIGS = {
    "tiny": CoreParams(lanes=4, max_head_dim=32, output_lanes=1, lut_ram=False),
    "one lane": CoreParams(lanes=1, max_head_dim=16, output_lanes=1, lut_ram=False),
    "one group": small(1),
    "two groups": small(2, max_head_dim=48, lut_ram=False),
    "four groups": small(4),
    "eight groups": small(8, max_head_dim=80),
}


def lines(p, rows):
    flat = [x for row in rows for x in row]
    flat += [-1] * (-len(flat) % p.lanes)
    return [flat[n : n + p.lanes] for n in range(0, len(flat), p.lanes)]


class Reader:
    """Reads every part of every row in every lane group, and compares."""

    def __init__(self, dut, heads, seed=0, stall=0.0, use=1):
        self.dut, self.heads, self.stall, self.use = dut, heads, stall, use
        self.rng = random.Random(seed)
        self.times = []  # of the first read of each row
        self.done = False

    async def bench(self, ctx):
        p, read = self.dut.params, self.dut.read
        pipe = [None] * self.dut.latency
        cycle = 0

        async def step(parts, **wires):
            nonlocal pipe, cycle
            for name, value in wires.items():
                ctx.set(getattr(read, name), value)
            enable = self.rng.random() >= self.stall
            ctx.set(read.enable, enable)
            await ctx.tick("sync")
            cycle += 1
            if enable:
                pipe = [*pipe[1:], parts]
                if pipe[0] is not None:
                    got = [int(x) for x in ctx.get(read.data)]
                    assert got == [x for part in pipe[0] for x in part]
            return enable

        for rows in self.heads:
            parts = len(rows[0]) // p.segment
            ctx.set(read.parts, parts)
            for row in rows:
                while not ctx.get(read.valid):
                    await step(None, next=0)
                self.times.append(cycle)
                cut = [row[n : n + p.segment] for n in range(0, len(row), p.segment)]
                for number in range(self.use * parts):
                    which = [(number + 3 * g) % parts for g in range(p.groups)]
                    last = number == self.use * parts - 1
                    while not await step([cut[w] for w in which], part=which, next=last):
                        pass
        for _ in range(20):
            await step(None, next=0)
        self.done = True


def random_heads(p, rng, count=6, most=7):
    top = 1 << (p.operand_bits - 1)
    return [
        [[rng.randrange(-top, top) for _ in range(head_dim)] for _ in range(rng.randint(1, most))]
        for head_dim in (rng.choice(p.head_dims) for _ in range(count))
    ]


def run(p, heads, *, stall=0.0, seed=0, use=1, streams=0.0):
    dut = QueryStore(params=p)
    reader = Reader(dut, heads, seed, stall, use)
    inputs = {
        "i": [line for rows in heads for line in lines(p, rows)],
        "head": [{"parts": len(r[0]) // p.segment, "queries": len(r)} for r in heads],
    }
    result = run_streams(
        dut, inputs, {}, testbenches=[reader.bench], stall=streams, seed=seed, settle=3000
    )
    assert reader.done
    assert len(reader.times) == sum(len(rows) for rows in heads)
    return reader, result


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.4])
def test_random_heads(name, stall):
    p = CONFIGS[name]
    heads = random_heads(p, random.Random(f"{name} {stall}"))
    run(p, heads, stall=stall, streams=stall, seed=1)


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_are_ready_in_time(name):
    """Rows in use for `parts` cycles each follow without a gap, once the first has come."""
    p = CONFIGS[name]
    head_dim = p.head_dims[-1]
    parts = p.parts(head_dim)
    rng = random.Random(2)
    rows = [[rng.randrange(-99, 99) for _ in range(head_dim)] for _ in range(9)]
    reader, _ = run(p, [rows])
    assert [b - a for a, b in zip(reader.times, reader.times[1:], strict=False)] == [parts] * 8


@pytest.mark.parametrize("name", CONFIGS)
def test_capacity(name):
    """Without a head to cut for, lines enter until space is 0."""
    p = CONFIGS[name]
    dut = QueryStore(params=p)
    free = []

    async def watch(ctx):
        async for _, _, space in ctx.tick("sync").sample(dut.space):
            free.append(space)

    run_streams(dut, {"i": [[1] * p.lanes] * dut.capacity}, {}, testbenches=[watch], settle=9)
    assert free[0] == dut.capacity
    assert free[-1] == 0
    assert dut.capacity >= 16
    assert dut.depth >= 4 * p.max_parts


def test_bad_params():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 'dense'$"):
        QueryStore(params="dense")


@pytest.mark.parametrize("rate", [0.3, 1.0])
@pytest.mark.parametrize("name", ["two groups", "four groups"])
def test_lines_wait(name, rate):
    """As many as there are places; any segment of the oldest can be read."""
    p, rng = CONFIGS[name], random.Random(4)
    dut = LineStore(params=p, depth=4)
    sent = [[rng.randrange(-99, 99) for _ in range(p.lanes)] for _ in range(40)]
    top = 1 << p.operand_bits

    async def bench(ctx):
        waiting, entered, asked = list(sent), [], []
        while waiting or entered or asked:
            valid = bool(waiting) and rng.random() < 0.9
            take, place = rng.random() < rate, rng.randrange(p.groups)
            ctx.set(dut.i.valid, valid)
            ctx.set(dut.i.payload, waiting[0] if waiting else [0] * p.lanes)
            ctx.set(dut.line.ready, take)
            ctx.set(dut.place, place)
            assert ctx.get(dut.space) == 4 - len(entered)
            assert ctx.get(dut.line.valid) == bool(entered)
            assert ctx.get(dut.i.ready) == (len(entered) < 4)
            moved = valid and len(entered) < 4
            begin = place * p.segment
            asked.append(entered[0][begin : begin + p.segment] if entered else None)
            await ctx.tick("sync")
            if entered and take:
                entered.pop(0)
            if moved:
                entered.append(waiting.pop(0))
            if len(asked) == dut.latency:
                want = asked.pop(0)
                if want is not None:
                    value = sum(x % top << p.operand_bits * n for n, x in enumerate(want))
                    assert ctx.get(dut.segment) == value
            if not waiting and not entered and all(a is None for a in asked):
                break

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("depth", "error", "message"),
    [
        (12, ValueError, r"^Depth must be a power of two, not 12$"),
        ("4", TypeError, r"^Depth must be an integer, not '4'$"),
    ],
)
def test_bad_depth_of_lines(depth, error, message):
    with pytest.raises(error, match=message):
        LineStore(params=CONFIGS["two groups"], depth=depth)


class CutterContract(wiring.Component):
    """Segments come in order; what follows a head's last segment in its line is dropped."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        p = dut.params
        free_inputs(m, dut)
        m.submodules.hold = HoldRule(dut.o)
        given = dut.head.p
        m.d.comb += Assume((given.parts >= 1) & (given.parts <= 3))
        m.d.comb += Assume((given.queries >= 1) & (given.queries <= 3))
        head, known = Signal.like(given), Signal()  # the head that has been taken
        taken, done = Signal(8), Signal(8)  # segments of this head, of this line
        m.d.comb += Assert(dut.o.valid == (dut.line.valid & known))
        end = taken + 1 == head.parts[:2] * head.queries[:2]
        with m.If(dut.o.valid):
            m.d.comb += Assert(dut.o.payload == done)
            m.d.comb += Assert(done < p.groups)
        moved = dut.o.valid & dut.o.ready
        m.d.comb += [
            Assert(dut.head.ready == (~known | (moved & end))),
            Assert(dut.line.ready == (moved & (end | (done == p.groups - 1)))),
        ]
        with m.If(dut.head.ready):
            m.d.sync += [head.eq(given), known.eq(dut.head.valid)]
        with m.If(moved):
            m.d.sync += [taken.eq(taken + 1), done.eq(done + 1)]
            with m.If(end):
                m.d.sync += taken.eq(0)
            with m.If(dut.line.ready):
                m.d.sync += done.eq(0)
        return m


class Thin(CoreParams):
    """Four segments of one lane, to keep the proof small."""

    segment = 1


def test_cutter_proof():
    p = Thin(lanes=4, max_head_dim=16, max_queries=3, operand_bits=8, output_lanes=1)
    prove(CutterContract(QueryCutter(params=p)), depth=12)


class LineContract(wiring.Component):
    """Any one line is there after those before it, and its segments are what was sent."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        p = dut.params
        free_inputs(m, dut)
        m.submodules.hold = HoldRule(dut.line)
        chosen, pushed, popped = AnyConst(4), Signal(5), Signal(5)
        line = Signal(len(dut.i.payload.as_value()))
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += pushed.eq(pushed + 1)
            with m.If(pushed == chosen):
                m.d.sync += line.eq(dut.i.payload)
        with m.If(dut.line.valid & dut.line.ready):
            m.d.sync += popped.eq(popped + 1)
        level = (pushed - popped)[:5]
        m.d.comb += [
            Assert(dut.line.valid == (level != 0)),
            Assert(dut.i.ready == (level != dut.depth)),
            Assert(dut.space == dut.depth - level),
        ]
        asked, place = dut.line.valid & (popped == chosen), dut.place
        for n in range(dut.latency):
            was_asked, was_place = Signal(name=f"asked{n}"), Signal.like(place, name=f"place{n}")
            m.d.sync += [was_asked.eq(asked), was_place.eq(place)]
            asked, place = was_asked, was_place
        with m.If(asked):
            m.d.comb += Assert(dut.segment == line.word_select(place, p.operand_bits))
        return m


def test_line_store_proof():
    p = Thin(lanes=2, max_head_dim=16, max_queries=3, operand_bits=8, output_lanes=1)
    prove(LineContract(LineStore(params=p, depth=2)), depth=10)


class StoreContract(wiring.Component):
    """With one lane group: any segment reads back from its row until the row's last read."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        free_inputs(m, dut, but=("read.parts",))
        read, parts = dut.read, 2
        m.d.comb += read.parts.eq(parts)
        m.d.comb += Assume(read.part[0] < parts)
        m.d.comb += Assume(read.valid | ~read.next)
        chosen, value = AnyConst(5), Signal(len(dut.i.payload.as_value()))
        came, first = Signal(5), Signal(5)
        m.d.comb += Assume(came != 31)
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += came.eq(came + 1)
            with m.If(came == chosen):
                m.d.sync += value.eq(dut.i.payload)
        with m.If(read.enable & read.next):
            m.d.sync += first.eq(first + parts)
        m.d.comb += Assert(read.valid == (came >= first + parts))
        m.d.comb += Assert((came - first)[:5] <= dut.depth)
        hit = read.valid & (first + read.part[0] == chosen)
        for stage in range(dut.latency):
            later = Signal(name=f"hit{stage}")
            with m.If(read.enable):
                m.d.sync += later.eq(hit)
            hit = later
        with m.If(hit):
            m.d.comb += Assert(read.data.as_value() == value)
        return m


@pytest.mark.parametrize("lut_ram", [False, True])
def test_store_proof(lut_ram):
    p = CoreParams(lanes=1, max_head_dim=16, operand_bits=8, output_lanes=1, lut_ram=lut_ram)
    prove(StoreContract(Shallow(params=p)), depth=11)


class Shallow(QueryStore):
    """A ring of four segments, to keep the proof small."""

    @property
    def depth(self):
        return 4


class HeldContract(wiring.Component):
    """Rows of one segment that are all held: any of them reads back, when it comes first and again,
    until it is released.

    Parameters
    ----------
    later : int
        Places by which the claim about room is wrong; 0 to prove it.
    """

    def __init__(self, dut, later=0):
        self.dut, self.later = dut, later
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut, read = self.dut, self.dut.read
        m.submodules.dut = dut
        free_inputs(m, dut, but=("read.parts", "read.hold", "read.enable", "read.part"))
        m.d.comb += [read.parts.eq(1), read.hold.eq(1), read.enable.eq(1)]
        m.d.comb += Assume(dut.i.payload.as_value() < 4)  # else it takes minutes
        came, first, released = Signal(5), Signal(5), Signal(5)
        again = AnySeq(5)  # a row that is held
        end = read.next & ~read.again  # a row comes first
        m.d.comb += [
            Assume(came != 31),
            Assume(read.valid | read.again | ~read.next),
            Assume(~read.again | ((again >= released) & (again < first))),
            Assume(read.segment == Mux(read.again, again, first)[:2]),
            Assume((dut.release == 0) | ((dut.release == 1) & (released != first))),
        ]
        chosen, value = AnyConst(5), Signal(len(dut.i.payload.as_value()))
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += came.eq(came + 1)
            with m.If(came == chosen):
                m.d.sync += value.eq(dut.i.payload)
        m.d.sync += [first.eq(first + end), released.eq(released + dut.release)]
        m.d.comb += [
            Assert(read.valid == (came > first)),
            Assert((came - released)[:5] + self.later <= dut.depth),
        ]
        hit = (read.again & (again == chosen)) | (read.valid & ~read.again & (first == chosen))
        for stage in range(dut.latency):
            # a row is released only after its last read has been made
            m.d.comb += Assume(~hit | (dut.release == 0) | (released != chosen))
            after = Signal(name=f"hit{stage}")
            m.d.sync += after.eq(hit)
            hit = after
        with m.If(hit):
            m.d.comb += Assert(read.data.as_value() == value)
            m.d.comb += Cover((released == 3) & (chosen == 4))
        return m


def held():
    return Shallow(params=core(lanes=1, max_head_dim=16, value_lanes=1, token_lanes=1))


def test_held_proof():
    prove(HeldContract(held()), depth=9)


def test_held_rows_are_reached():
    prove(HeldContract(held()), depth=14, mode="cover")


def test_less_room_for_held_rows_is_refuted():
    with pytest.raises(ProofError):
        prove(HeldContract(held(), later=1), depth=9)


def test_progressive_stores_hold_eight_rows():
    for p in CORES.values():
        assert QueryStore(params=p).depth == p.held_segments >= 8 * p.max_parts
