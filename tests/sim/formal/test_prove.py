# amaranth: UnusedElaboratable=no
"""The proof runner: true claims pass, planted bugs are found."""

import pytest
from amaranth.hdl import Assert, Cover, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove


class Slice(wiring.Component):
    """A one-deep register slice, with a choice of bugs."""

    def __init__(self, *, bug=None):
        self.bug = bug
        super().__init__(
            {"i": In(stream.Signature(4)), "o": Out(stream.Signature(4)), "flush": In(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(1 if self.bug == "payload" else self.i.ready):
            m.d.sync += self.o.payload.eq(self.i.payload)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
        if self.bug == "valid":
            with m.If(self.flush):
                m.d.sync += self.o.valid.eq(0)
        return m


class Rules(wiring.Component):
    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        free_inputs(m, self.dut)
        m.submodules.hold = HoldRule(self.dut.o)
        return m


class Counter(wiring.Component):
    """Counts to ``top`` and stays; claims never to pass ``claim``."""

    def __init__(self, *, top, claim=None, reach=None):
        self.top, self.claim, self.reach = top, claim, reach
        super().__init__({"en": In(1)})

    def elaborate(self, platform):
        m = Module()
        count = Signal(8)
        with m.If(self.en & (count < self.top)):
            m.d.sync += count.eq(count + 1)
        if self.claim is not None:
            m.d.comb += Assert(count <= self.claim)
        if self.reach is not None:
            m.d.comb += Cover(count == self.reach)
        return m


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("mode", ["bmc", "induction"])
def test_hold_rule_of_a_right_slice_passes(mode, unroll):
    prove(Rules(Slice()), depth=6, mode=mode, unroll=unroll)


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("bug", ["payload", "valid"])
def test_planted_bug_fails_with_a_counterexample(bug, unroll):
    with pytest.raises(ProofError, match=r"^slice \(bmc, depth 6\) failed(.|\n)*state 1"):
        prove(Rules(Slice(bug=bug)), depth=6, name="slice", unroll=unroll)


def test_bmc_sees_only_its_depth():
    prove(Counter(top=9, claim=8), depth=8)
    with pytest.raises(ProofError):
        prove(Counter(top=9, claim=8), depth=12)


def test_induction_sees_further():
    prove(Counter(top=9, claim=9), depth=2, mode="induction")
    with pytest.raises(ProofError, match=r"\(induction, depth 3\)"):
        prove(Counter(top=9, claim=8), depth=3, mode="induction")


def test_cover():
    prove(Counter(top=9, reach=5), depth=8, mode="cover")
    with pytest.raises(ProofError, match="cover"):
        prove(Counter(top=4, reach=5), depth=8, mode="cover")


def test_unknown_mode():
    with pytest.raises(ValueError, match=r"^Mode must be bmc, induction or cover, not 'live'$"):
        prove(Counter(top=4), depth=8, mode="live")
