# amaranth: UnusedElaboratable=no
"""Keys as slices in banks: each where it belongs, until it is released; room; latencies; proof."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.slice_store import SliceStore
from attnsieve.sim.formal import ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

from .front_cores import CORES as ALL
from .front_cores import core, segments_of

CORES = ALL | {"static": core(lanes=32, max_head_dim=32, slice_units=3, slice_dealing="static")}


def slices_of(p, word, wide):
    """Most significant first, each a number."""
    bits = p.operand_bits if wide else 8
    if p.slice_words == "sign_magnitude":
        top = 1 << bits - 1
        word = min(abs(word), top - 1) + (top if word < 0 else 0)
    count = bits // p.slice_bits
    return [
        (word >> bits - (n + 1) * p.slice_bits) % (1 << p.slice_bits) for n in range(count)
    ]


def capacity(p):
    """Keys for which there is room: a whole number for each unit."""
    keys = 2 * p.buffer_elements // p.max_head_dim
    return -(-keys // p.slice_units) * p.slice_units


def turns(p):
    """Cycles that a piece takes."""
    if p.slice_dealing == "static":
        return p.operand_bits // p.slice_bits
    return -(-p.operand_bits // (p.slice_bits * p.slice_units))


def bank_of(p, key, number):
    """Where a slice lies."""
    return (key if p.slice_dealing == "static" else key + number) % p.slice_units


def random_key(p, rng, head_dim, wide=True):
    top = 1 << (p.operand_bits if wide else 8) - 1
    return [rng.choice([rng.randrange(-top, top), rng.randrange(-9, 9)]) for _ in range(head_dim)]


def pieces_of(p, rng, key, wide, cuts):
    """A key in pieces, cut at random places; what is not written is anything."""
    segments = segments_of(p, key)
    inner = sorted(rng.sample(range(1, len(segments)), min(cuts, len(segments) - 1)))
    ends = [0, *inner, len(segments)]
    anything = [rng.randrange(1 << p.segment * p.operand_bits) for _ in range(p.max_parts)]
    return [
        {
            "segments": [
                segments[n] if begin <= n < end else anything[n] for n in range(p.max_parts)
            ],
            "write": sum(1 << n for n in range(begin, end)),
            "end": end == len(segments),
            "wide": wide,
        }
        for begin, end in zip(ends, ends[1:], strict=False)
    ]


class Reader:
    """Reads slices of the keys that are there, from all banks at once, and releases the oldest.

    Parameters
    ----------
    dut : SliceStore
    keys : list
        (words, wide) of each key.
    keep : int
        Keys to hold back while more are to come.
    release : float
        How often some are released.
    newest : float
        How often the newest key is read.
    """

    def __init__(self, dut, keys, *, seed=0, keep=0, release=0.3, newest=0.5):
        self.dut, self.keys = dut, keys
        self.rng = random.Random(seed)
        self.keep, self.rate, self.newest = keep, release, newest
        self.append_cycles, self.released, self.most = [], 0, 0
        self.reads, self.fresh = 0, 0  # that were compared; of a key that was just appended

    async def bench(self, ctx):
        dut, p, rng = self.dut, self.dut.params, self.rng
        i, cycle, came, asked = dut.i, 0, 0, []
        while True:
            there = len(self.append_cycles)
            want = [self.ask(ctx, bank, there) for bank in range(p.slice_units)]
            asked.append(want)
            if self.append_cycles and self.append_cycles[-1] == cycle - 1:
                self.fresh += sum(bits is not None for bits in want)
            count = 0
            if rng.random() < self.rate:
                free = max(0, there - self.released - self.keep)
                count = rng.randint(0, min(free, p.max_keys))
            ctx.set(dut.release, count)
            _, _, end, append = await ctx.tick().sample(
                i.valid & i.ready & i.p.end, dut.append
            )
            came += end
            self.most = max(self.most, came - self.released)
            self.released += count
            if append:
                self.append_cycles.append(cycle)
            assert len(self.append_cycles) <= came
            cycle += 1
            if len(asked) == dut.read_latency:
                self.compare(ctx, asked.pop(0))

    def ask(self, ctx, bank, there):
        """Address a slice in a bank, if there is one. Returns its bits."""
        p, rng, read = self.dut.params, self.rng, self.dut.read[bank]
        count = p.operand_bits // p.slice_bits
        if there == self.released:
            return None
        key = there - 1 if rng.random() < self.newest else rng.randrange(self.released, there)
        words, wide = self.keys[key]
        numbers = [n for n in range(count) if bank_of(p, key, n) == bank
                   and n < (p.operand_bits if wide else 8) // p.slice_bits]  # fmt: skip
        if not numbers:
            return None
        number = rng.choice(numbers)
        group = key // p.slice_units % (capacity(p) // p.slice_units)
        ctx.set(read.address, group * count + number)
        return [slices_of(p, word, wide)[number] for word in words]

    def compare(self, ctx, wanted):
        for read, want in zip(self.dut.read, wanted, strict=True):
            if want is not None:
                assert [ctx.get(bits) for bits in read.data][: len(want)] == want
                self.reads += 1


def run(p, keys, *, cuts=0, stall=0.0, seed=0, settle=60, **options):
    rng = random.Random(f"{seed} pieces")
    pieces = [piece for words, wide in keys for piece in pieces_of(p, rng, words, wide, cuts)]
    dut = SliceStore(params=p)
    reader = Reader(dut, keys, seed=seed, **options)
    result = run_streams(
        dut, {"i": pieces}, {}, stall=stall, seed=seed, testbenches=[reader.bench], settle=settle
    )
    ends = [t for t, piece in zip(result.times["i"], pieces, strict=True) if piece["end"]]
    assert reader.append_cycles == [t + SliceStore.latency for t in ends]
    assert reader.most <= capacity(p)
    assert reader.reads
    return reader, result


@pytest.mark.parametrize(
    ("cuts", "stall"), [(0, 0.0), (1, 0.6), pytest.param(99, 0.2, marks=pytest.mark.full)]
)
@pytest.mark.parametrize("name", CORES)
def test_random_keys(name, cuts, stall):
    """Twice as many as there is room for, and some, of all head dimensions."""
    p = CORES[name]
    rng, keys = random.Random(f"{name} {stall} {cuts}"), []
    for _ in range(2 * capacity(p) + 5):
        wide = p.operand_bits == 8 or rng.random() < 0.6
        keys.append((random_key(p, rng, rng.choice(p.head_dims), wide), wide))
    run(p, keys, cuts=cuts, stall=stall)


@pytest.mark.parametrize("name", CORES)
def test_largest_words(name):
    p = CORES[name]
    keys = []
    for wide in {True, p.operand_bits == 8}:
        top = 1 << (p.operand_bits if wide else 8) - 1
        keys += [([x] * p.max_head_dim, wide) for x in (-top, top - 1, 0, -1, 1)]
    run(p, keys, newest=1, release=1)


@pytest.mark.parametrize("name", CORES)
def test_pieces_are_taken_as_fast_as_stated(name):
    p, rng = CORES[name], random.Random(1)
    keys = [(random_key(p, rng, p.max_head_dim), True) for _ in range(capacity(p))]
    reader, result = run(p, keys, cuts=1)
    first = turns(p) - 1
    assert result.times["i"] == list(range(first, (len(result.times["i"])) * turns(p), turns(p)))
    assert (turns(p) == 1) == (
        p.slice_units >= p.operand_bits // p.slice_bits and p.slice_dealing == "dynamic"
    )
    assert reader.append_cycles[0] == min(2, p.max_parts) * turns(p) - 1 + SliceStore.latency


def test_the_stated_latencies():
    assert (SliceStore.latency, SliceStore.read_latency) == (3, 2)


@pytest.mark.parametrize("name", CORES)
def test_a_key_is_read_in_the_cycle_after_append(name):
    p, rng = CORES[name], random.Random(2)
    keys = [(random_key(p, rng, 16), True) for _ in range(capacity(p) + 3)]
    reader, _ = run(p, keys, newest=1, release=1)
    slices = range(p.operand_bits // p.slice_bits)
    banks = len({bank_of(p, 0, n) for n in slices})  # with slices of one key
    assert reader.fresh == banks * len(keys)


@pytest.mark.parametrize("more", [1, 3])
@pytest.mark.parametrize("name", CORES)
def test_room(name, more):
    """As many keys enter as stated, and one for each that is released."""
    p, rng = CORES[name], random.Random(3)
    more = min(more, p.max_keys)
    count = capacity(p) + more
    pieces = [
        piece for _ in range(count)
        for piece in pieces_of(p, rng, random_key(p, rng, p.max_head_dim), True, 0)
    ]  # fmt: skip
    full = capacity(p) * turns(p) + 20  # when some are released
    dut = SliceStore(params=p)

    async def release(ctx):
        for cycle in range(full + 2):
            ctx.set(dut.release, more if cycle == full else 0)
            await ctx.tick()

    result = run_streams(dut, {"i": pieces}, {}, testbenches=[release])
    taken = [turns(p) * (n + 1) - 1 for n in range(capacity(p))]
    taken += [full + turns(p) * (n + 1) for n in range(more)]
    assert result.times["i"] == taken


class Contract(wiring.Component):
    """Of any keys, watch an element of any one: while it is held, and from the cycle after
    ``append`` on, each of its slices reads back from its bank. So no two slices ever share a place.
    There is never more inside than there is room for.

    Parameters
    ----------
    taken : bool
        Claim that a key can be read as soon as it is taken, which is wrong.
    """

    def __init__(self, params, *, taken=False):
        self.params, self.taken = params, taken
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p, units, room = self.params, self.params.slice_units, capacity(self.params)
        slices = p.operand_bits // p.slice_bits
        dut = m.submodules.dut = SliceStore(params=p)
        free_inputs(m, dut, but=("read",))
        came, there, gone = Signal(4), Signal(4), Signal(4)  # keys: taken, appended, released
        push = dut.i.valid & dut.i.ready
        m.d.sync += [
            came.eq(came + (push & dut.i.p.end)),
            there.eq(there + dut.append),
            gone.eq(gone + dut.release),
        ]
        m.d.comb += [
            Assume(came != 15),
            Assume(dut.release <= there - gone),
            Assert(there <= came),
            Assert(came - gone <= room),
        ]
        if turns(p) == 1:
            m.d.comb += Assert(dut.i.ready == (dut.i.valid & (came - gone < room)))
        chosen, part, number = AnyConst(4), AnyConst(range(p.max_parts)), AnyConst(range(slices))
        m.d.comb += [Assume(part < p.max_parts), Assume(number < slices)]
        element, known = Signal(p.operand_bits), Signal()
        with m.If(push & (came == chosen) & dut.i.p.write.bit_select(part, 1)):
            segment = dut.i.p.segments[part]
            m.d.sync += [element.eq(segment[: p.operand_bits]), known.eq(1)]
        address = (chosen // units) % (room // units) * slices + number
        word = self._signed(element) if p.slice_words == "sign_magnitude" else element
        for bank, port in enumerate(dut.read):
            mine = (chosen + number) % units == bank
            with m.If(mine):
                m.d.comb += port.address.eq(address)
            with m.Else():
                m.d.comb += port.address.eq(AnySeq(len(port.address)))
            hit = mine & known & ((came if self.taken else there) > chosen) & (gone <= chosen)
            for n in range(dut.read_latency):
                later = Signal(name=f"hit{bank}_{n}")
                m.d.sync += later.eq(hit)
                hit = later
            want = Array(
                word[(slices - 1 - n) * p.slice_bits :][: p.slice_bits] for n in range(slices)
            )[number]
            with m.If(hit):
                m.d.comb += [
                    Assert(Array(port.data)[part * p.segment] == want),
                    Cover(chosen == room),
                ]
        return m


    def _signed(self, element):
        """A word's magnitude and its sign above; the least word has none and counts as the next."""
        bits = self.params.operand_bits
        magnitude = Mux(element[-1], -element.as_signed(), element)
        return Cat(Mux(magnitude == 1 << bits - 1, -1, magnitude)[: bits - 1], element[-1])


def small(units, slice_bits=4, words="twos_complement"):
    """Keys of two segments; room for two of them, or one for each unit."""
    return CoreParams(
        lanes=8, max_head_dim=16, max_keys=2, operand_bits=8, output_lanes=1, buffer_elements=16,
        slice_units=units, slice_bits=slice_bits, slice_words=words,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("units", "slice_bits", "depth"), [(1, 4, 14), (2, 4, 13), (3, 4, 13), (3, 2, 14)]
)
def test_proof(units, slice_bits, depth):
    prove(Contract(small(units, slice_bits)), depth=depth, name="slice store")


@pytest.mark.parametrize("slice_bits, depth", [(4, 13), (1, 12)])
def test_proof_with_signs(slice_bits, depth):
    prove(Contract(small(2, slice_bits, "sign_magnitude")), depth=depth, name="slice store")


def test_everything_is_reached():
    prove(Contract(small(2)), depth=14, mode="cover", name="slice store")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Contract(small(2), taken=True), depth=10, name="slice store")
