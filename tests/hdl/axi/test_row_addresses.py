# amaranth: UnusedElaboratable=no
"""Addresses of output rows."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Module
from amaranth.lib import wiring

from attnsieve.gen import config
from attnsieve.hdl.axi.row_addresses import RowAddresses
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import HoldRule, prove
from attnsieve.sim.unit import run_streams

TINY = config.load("dense-tiny").core
CORES = {"tiny": TINY, "dense": CoreParams(), "wide": CoreParams(addr_width=40)}


def test_params_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 3$"):
        RowAddresses(params=3)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_rows_of_heads(core, stall):
    params, rng = CORES[core], random.Random(core)
    heads, rows, want = [], [], []
    for _ in range(20):
        head_dim, count = rng.choice(params.head_dims), rng.choice([1, 1, 2, 5])
        base = rng.randrange(1 << params.addr_width - 6) << 5
        heads.append(base)
        for number in range(count):
            row = {"parts": params.parts(head_dim), "write": rng.getrandbits(1),
                   "last_of_job": rng.getrandbits(1)}
            rows.append(row | {"last_of_head": int(number == count - 1)})
            want.append(row | {"o_address": base + number * head_dim * 2})
    dut = RowAddresses(params=params)
    result = run_streams(dut, {"head": heads, "row": rows}, {"o": len(want)}, stall=stall)
    assert [{name: got[name] for name in want[0]} for got in result.outputs["o"]] == want
    if stall == 0:  # one cycle for the first head, none between rows and heads
        assert result.cycles == len(want) + 1 + dut.latency
        assert dut.latency == int(params.lut_ram)


class Environment(wiring.Component):
    """Any heads and rows that keep the rules of streams."""

    def __init__(self):
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = RowAddresses(params=TINY)
        for port in (dut.head, dut.row):
            m.d.comb += [port.valid.eq(AnySeq(1)), port.p.eq(AnySeq(len(port.p.as_value())
                         if port is dut.row else len(port.p)))]
            m.submodules += HoldRule(port, assume=True)
        m.d.comb += dut.o.ready.eq(AnySeq(1))
        m.submodules += HoldRule(dut.o)
        return m


def test_hold_rule():
    prove(Environment(), depth=10, name="row addresses", timeout=100)
    prove(Environment(), depth=3, mode="induction", name="row addresses", timeout=100)
