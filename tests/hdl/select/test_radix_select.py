# amaranth: UnusedElaboratable=no
"""Radix select: its options, its cycles; proof that candidates need not wait. What it finds:
test_top_k."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.select.leading_code import code_count
from attnsieve.hdl.select.radix_select import RadixSelect
from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.formal import ProofError, free_inputs, prove
from attnsieve.sim.golden.top_k import top_k_threshold
from tests.variants import mostly_full

from .rows import random_row, run


@pytest.mark.parametrize(
    ("fraction", "digit_bits", "rows"), [(0, 1, 2), (1, 3, 4), (3, 8, 2), (2, 10, 16)]
)
def test_options(fraction, digit_bits, rows):
    rng = random.Random(digit_bits)
    params = TopKParams(lanes=3, value_bits=10, max_values=50)
    dut = RadixSelect(params=params, fraction=fraction, digit_bits=digit_bits, rows=rows)
    run(dut, [random_row(params, rng, 50) for _ in range(25)], 0.2)


def passes_of(values, k, bits, lanes, fraction=2, digit=5):
    """Beats of each pass that a row takes until its threshold, from the definition of the digits:
    what all candidates share is known after a pass."""
    value, _ = top_k_threshold(values, k, bits)
    if k == 0 or k >= len(values):
        return []
    rest = max(0, value.bit_length() - 1 - fraction)
    beats, passes = -(-len(values) // lanes), []
    while rest:
        candidates = [v for v in values if v >> rest == value >> rest]
        passes.append(beats)
        differ = max(v ^ candidates[0] for v in candidates).bit_length()
        beats, rest = -(-len(candidates) // lanes), min(differ, max(0, rest - digit))
    return passes


@pytest.mark.parametrize(
    ("bits", "skew"),
    [(12, 1), *(pytest.param(*case, marks=pytest.mark.full) for case in ((16, 8), (32, 3)))],
)
def test_latency(bits, skew):
    """Cycles of a row that is alone, as the docstring says; candidates may come late."""
    params = TopKParams(lanes=16, value_bits=bits, max_values=256)
    rng = random.Random(bits)
    for n, k in [(256, 16), (256, 200), (100, 30), (16, 3), (7, 0), (7, 7)]:
        values = [int((1 << bits) * rng.random() ** skew) for _ in range(n)]
        dut = RadixSelect(params=params)
        fraction = 3 if bits == 32 else 2
        assert code_count(bits, fraction) == dut.first.buckets
        result = run(dut, [(values, k)])
        cycles = result.last("o") - result.last("i")
        passes = passes_of(values, k, bits, 16, fraction)
        if not passes:
            assert cycles == dut.known_latency
            continue
        least = dut.first_latency + passes[0]
        least += sum(beats + dut.pass_latency for beats in passes[1:])
        assert least <= cycles <= least + dut.late * (len(passes) - 1)
        assert cycles <= dut.worst(-(-n // 16))


OUTLIERS = (24, 19, 14, 9, 4)


@pytest.mark.parametrize(
    ("values", "passes"),
    [
        ([1 << 31] * 64, 1),
        ([(1 << 31) + (n & 1) for n in range(64)], 2),
        ([(1 << 31) + (n & 15) for n in range(64)], 2),
        ([7] + [(1 << 31) + (n & 1) for n in range(63)], 2),
        ([(1 << 31) + (1 << place) for place in OUTLIERS] + [1 << 31, (1 << 31) + 1] * 20, 6),
    ],
)
def test_bits_that_all_candidates_share_take_no_pass(values, passes):
    params = TopKParams(lanes=4, value_bits=32, max_values=64)
    dut = RadixSelect(params=params, fraction=2)
    assert dut.most_passes == 6
    result = run(dut, [(values, 30)])
    cycles = result.last("o") - result.last("i")
    beats = passes_of(values, 30, 32, 4)
    assert len(beats) == passes
    assert cycles == dut.first_latency + sum(beats) + (passes - 1) * dut.pass_latency
    assert cycles <= dut.worst(-(-len(values) // 4))


def test_equal_rows_follow_one_another():
    """A pass that only drops candidates is between the passes of other rows, and loses none."""
    params = TopKParams(lanes=2, value_bits=16, max_values=32)
    rng = random.Random(7)
    kinds = [lambda: 50_000, lambda: 50_000 + rng.randrange(2), lambda: rng.randrange(1 << 16)]
    rows = []
    for _ in range(40):
        kind, n = rng.choice(kinds), rng.choice([2, 3, 4, 9, 32])
        rows.append(([kind() for _ in range(n)], rng.randint(0, n)))
    for inside in (2, 8):
        run(RadixSelect(params=params, rows=inside), rows)
        run(RadixSelect(params=params, rows=inside), rows, {"o": 0.5})


def test_without_a_pass():
    """Where the first digit is the whole value, no row has a pass."""
    params = TopKParams(lanes=2, value_bits=4, max_values=8)
    dut = RadixSelect(params=params, fraction=3, digit_bits=1)
    assert dut.most_passes == 0
    result = run(dut, [([3, 9, 1, 9, 15], 2)])
    assert result.last("o") - result.last("i") == dut.known_latency == dut.worst(3)


@pytest.mark.parametrize("n", mostly_full([1, 5, 33, 64, 113], 5, 33))
def test_rows_follow_one_another_without_a_gap(n):
    """Initiation interval: ceil(2 n / P) + 4 cycles at most."""
    params = TopKParams(lanes=4, value_bits=12, max_values=128)
    rng = random.Random(n)
    rows = [([rng.randrange(4096) for _ in range(n)], rng.randint(0, n)) for _ in range(40)]
    times = run(RadixSelect(params=params), rows).times["o"]
    interval = (times[-1] - times[9]) / (len(times) - 10)
    assert interval <= -(-2 * n // 4) + 4


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"rows": 3}, r"^rows must be a power of two, not 3$"),
        ({"fraction": 12}, r"^Fraction must be in 0\.\.11, not 12$"),
        ({"digit_bits": 13}, r"^Digit bits must be in 1\.\.12, not 13$"),
    ],
)
def test_bad_options(kwargs, message):
    with pytest.raises(ValueError, match=message):
        RadixSelect(params=TopKParams(), **kwargs)


class Proof(wiring.Component):
    """Rows of up to four values: the packer and the queue of the candidates take what comes.

    Parameters
    ----------
    less : int
        Beats by which the claim of the queue's room is too small; 0 to prove it.
    """

    def __init__(self, *, less=0):
        params = TopKParams(lanes=2, value_bits=3, max_values=4)
        self.dut = RadixSelect(params=params, fraction=0, digit_bits=1, rows=2)
        self.less = less
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        free_inputs(m, dut)
        later = Signal()
        with m.If(dut.i.valid & dut.i.ready):
            m.d.comb += Assume(dut.i.p.last | ~later)
            m.d.sync += later.eq(~dut.i.p.last)
        packer, waiting = dut.refine.candidates.packer, dut.refine.candidates.waiting
        both = packer.o.valid & (packer.o.p.count == 2) & packer.o.p.last
        m.d.comb += [
            Assert(packer.i.ready | ~packer.i.valid),
            Assert(waiting.queue.level <= 2 * dut.params.max_beats - self.less),
            Cover(both & packer.i.valid & (packer.i.p.count == 2)),
        ]
        return m


def test_proof_that_candidates_do_not_wait():
    prove(Proof(), depth=24, name="candidates", timeout=300)


def test_candidates_follow_one_another():
    prove(Proof(), depth=30, mode="cover", name="candidates", timeout=300)


def test_less_room_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(less=3), depth=30, name="candidates", timeout=300)
