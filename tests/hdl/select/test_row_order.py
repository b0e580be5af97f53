# amaranth: UnusedElaboratable=no
"""Row order: thresholds in the order of their rows, whatever order they are found in; proof."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.select.row_order import RowOrder
from attnsieve.hdl.select.search import found_layout
from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams, simulate

PARAMS = TopKParams(lanes=1, value_bits=4, max_values=3)


def make(rows=4, sources=2):
    found = found_layout(PARAMS, (rows - 1).bit_length())
    return RowOrder(found=found, rows=rows, sources=sources)


def test_order():
    """Rows are found in any order within a window of four."""
    rng = random.Random(1)
    count, window = 60, 4
    taken: list[int] = []

    async def find(ctx):
        waiting, following = [], 0
        for _ in range(20 * count):
            while following < count and following < len(taken) + window:
                waiting.append(following)
                following += 1
            for source in dut.i:
                found = waiting and rng.random() < 0.2
                ctx.set(source.valid, bool(found))
                if found:
                    row = waiting.pop(rng.randrange(len(waiting)))
                    ctx.set(source.p.tag, row % window)
                    ctx.set(source.p.threshold, {"value": row % 16, "equal": row % 3})
            ready = rng.random() < 0.6
            ctx.set(dut.o.ready, ready)
            _, _, valid, value = await ctx.tick().sample(dut.o.valid, dut.o.p.value)
            if valid and ready:
                taken.append(value)

    dut = make()
    simulate(dut, find)
    assert taken == [row % 16 for row in range(count)]


def test_latency_and_throughput():
    found = [{"tag": n % 4, "threshold": {"value": n % 16, "equal": 1}} for n in range(20)]
    result = run_streams(make(), {"i.1": found}, {"o": 20})
    assert result.times["o"] == [t + RowOrder.latency for t in result.times["i.1"]]


def test_bad_parameters():
    with pytest.raises(ValueError, match=r"^Rows must be a power of two, not 3$"):
        RowOrder(found=found_layout(PARAMS, 2), rows=3, sources=1)


class Proof(wiring.Component):
    """The threshold of any row comes out in its turn.

    Parameters
    ----------
    shift : int
        Rows by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, shift=0):
        self.shift = shift
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = make(rows=2)
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        left, row, value = Signal(4), AnyConst(3), Signal(4)
        there = Signal(2)  # rows of the window that are found
        m.d.comb += Assume(
            ~(dut.i[0].valid & dut.i[1].valid) | (dut.i[0].p.tag != dut.i[1].p.tag)
        )
        goes = dut.o.valid & dut.o.ready
        m.d.sync += left.eq(left + goes)
        for tag in range(2):
            comes = Signal(name=f"comes{tag}")
            for source in dut.i:
                this = source.valid & (source.p.tag == tag)
                m.d.comb += Assume(~this | ~there[tag])
                with m.If(this):
                    m.d.comb += comes.eq(1)
                    # the row that has the tag: the oldest one inside or the one after it
                    of_row = left + (tag != left[0])
                    with m.If(of_row == row + self.shift):
                        m.d.sync += value.eq(source.p.threshold.value)
            with m.If(comes):
                m.d.sync += there[tag].eq(1)
            with m.Elif(goes & (left[0] == tag)):
                m.d.sync += there[tag].eq(0)
        m.d.comb += Assert(dut.o.valid == there.bit_select(left[0], 1))
        with m.If(dut.o.valid & (left == row)):
            m.d.comb += [Assert(dut.o.p.value == value), Cover(left == 3)]
        return m


def test_proof():
    prove(Proof(), depth=12, name="row order")


def test_everything_is_reached():
    prove(Proof(), depth=12, mode="cover", name="row order")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(shift=1), depth=12, name="row order")
