# amaranth: UnusedElaboratable=no
"""Products of all styles and widths."""

import random
import re

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Module, Signal, signed
from amaranth.lib import wiring

from attnsieve.gen.tools.yosys import run_yosys
from attnsieve.hdl.lib.multiplier import Multiplier, MultiplierStyle
from attnsieve.sim.formal import free_inputs, prove
from attnsieve.sim.unit import simulate

WIDTHS = [(12, 12, True), (12, 17, False), (8, 8, True), (2, 2, True), (3, 5, True), (5, 3, False),
          (6, 11, True), (13, 4, False), (18, 18, True)]  # fmt: skip


@pytest.mark.parametrize("style", MultiplierStyle)
@pytest.mark.parametrize("a_bits, b_bits, b_signed", WIDTHS)
def test_random_and_extreme(style, a_bits, b_bits, b_signed):
    rng = random.Random(f"{a_bits} {b_bits}")
    dut = Multiplier(a_bits=a_bits, b_bits=b_bits, b_signed=b_signed, style=style)
    a_range = range(-1 << (a_bits - 1), 1 << (a_bits - 1))
    b_range = range(-1 << (b_bits - 1), 1 << (b_bits - 1)) if b_signed else range(1 << b_bits)

    def pick(values):
        return rng.choice((values[0], values[-1], 0, 1, rng.choice(values), rng.choice(values)))

    if len(a_range) * len(b_range) > 2000:
        pairs = [(pick(a_range), pick(b_range)) for _ in range(1000)]
    else:
        pairs = [(a, b) for a in a_range for b in b_range]

    async def bench(ctx):
        assert dut.latency == (2 if style is MultiplierStyle.NATIVE else 1)
        for a, b in pairs:
            ctx.set(dut.enable, 1)
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            for _ in range(dut.latency):
                await ctx.tick("sync")
            ctx.set(dut.enable, 0)  # the product stands, whatever the operands do
            ctx.set(dut.a, pick(a_range))
            ctx.set(dut.b, pick(b_range))
            assert ctx.get(dut.o) == a * b
            if rng.random() < 0.2:
                await ctx.tick("sync")
                assert ctx.get(dut.o) == a * b

    simulate(dut, bench)


class Equal(wiring.Component):
    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        free_inputs(m, dut)
        if not dut.b_signed:
            m.d.comb += Assume(dut.b <= dut.b_most)
        stages = [dut.a * dut.b]
        for n in range(dut.latency):
            register = Signal(signed(len(dut.o)), name=f"want{n}")
            with m.If(dut.enable):
                m.d.sync += register.eq(stages[-1])
            stages.append(register)
        m.d.comb += Assert(dut.o == stages[-1])
        return m


@pytest.mark.parametrize(
    "widths", [(4, 4, True), (5, 4, False), (4, 6, True), (4, 5, False, 16), (4, 4, False, 9)]
)
def test_fabric_is_a_product(widths):
    names = ("a_bits", "b_bits", "b_signed", "b_most")
    dut = Multiplier(**dict(zip(names, widths, strict=False)), style=MultiplierStyle.FABRIC)
    prove(Equal(dut), depth=5)


def cells(dut, target, folder):
    (folder / "top.il").write_text(rtlil.convert(dut, name="top", emit_src=False))
    log = run_yosys(f"read_rtlil top.il\nsynth_{target} -top top\nstat\n", folder)
    report = log[log.rindex("Printing statistics") :]
    return {name: int(n) for n, name in re.findall(r"(\d+) +([A-Z_0-9]+)$", report, re.MULTILINE)}


@pytest.mark.parametrize("a_bits, b_bits", [(12, 12), (12, 18), (18, 18)])
def test_one_hardware_multiplier(a_bits, b_bits, tmp_path):
    found = cells(Multiplier(a_bits=a_bits, b_bits=b_bits), "ecp5", tmp_path)
    assert found.get("MULT18X18D") == 1
    assert "LUT4" not in found


@pytest.mark.parametrize(
    "b_bits, b_signed, b_most, most", [(12, True, None, 155), (17, False, 1 << 16, 205)]
)
def test_lookup_tables(b_bits, b_signed, b_most, most, tmp_path):
    """As docs/reference/blocks/multiplier.md has it; a plain product takes 421 and 525."""
    dut = Multiplier(
        a_bits=12, b_bits=b_bits, b_signed=b_signed, b_most=b_most, style=MultiplierStyle.FABRIC
    )
    assert cells(dut, "ice40", tmp_path)["SB_LUT4"] <= most


@pytest.mark.parametrize(
    "parameters, error, message",
    [
        ({"a_bits": 1, "b_bits": 4}, ValueError, r"^a_bits must be at least 2, not 1$"),
        ({"a_bits": 4, "b_bits": 4.0}, TypeError, r"^b_bits must be an integer, not 4.0$"),
        ({"a_bits": 4, "b_bits": 4, "b_most": 0}, ValueError, r"^b_most must be .* 1, not 0$"),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        Multiplier(**parameters)
