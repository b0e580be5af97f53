# amaranth: UnusedElaboratable=no
"""Memory: words come back, data stays, and synthesis adds no registers around it."""

import random
import re

import pytest
from amaranth.back import rtlil

from attnsieve.gen.tools.yosys import run_yosys
from attnsieve.hdl.lib.ram import Ram
from attnsieve.sim.unit import simulate


@pytest.mark.parametrize("depth", [1, 5, 16])
@pytest.mark.parametrize("distributed", [False, True])
def test_random(depth, distributed):
    rng = random.Random(depth)
    dut = Ram(shape=8, depth=depth, reads=2, distributed=distributed)
    words = {}

    async def bench(ctx):
        want = [None, None]
        for _ in range(300):
            address, value, en = rng.randrange(depth), rng.randrange(256), rng.random() < 0.5
            ctx.set(dut.write.address, address)
            ctx.set(dut.write.data, value)
            ctx.set(dut.write.en, en)
            for number, port in enumerate(dut.read):
                where = rng.randrange(depth)
                read = where in words and rng.random() < 0.6
                ctx.set(port.address, where)
                ctx.set(port.en, read)
                if read:
                    want[number] = words[where]
            if en:
                words[address] = value
            await ctx.tick("sync")
            for number, port in enumerate(dut.read):
                if want[number] is not None:
                    assert ctx.get(port.data) == want[number]

    simulate(dut, bench)


def test_bytes_are_written_alone():
    dut = Ram(shape=24, depth=5, granularity=8)
    rng, model = random.Random(4), [0] * 5

    async def bench(ctx):
        for step in range(80):
            address, value = rng.randrange(5), rng.getrandbits(24)
            enable = 7 if step < 5 else rng.getrandbits(3)
            address = step if step < 5 else address
            ctx.set(dut.write.address, address)
            ctx.set(dut.write.data, value)
            ctx.set(dut.write.en, enable)
            bits = sum(255 << 8 * i for i in range(3) if enable >> i & 1)
            model[address] = model[address] & ~bits | value & bits
            await ctx.tick()
            ctx.set(dut.write.en, 0)
            ctx.set(dut.read[0].address, address)
            ctx.set(dut.read[0].en, 1)
            await ctx.tick()
            assert ctx.get(dut.read[0].data) == model[address]

    simulate(dut, bench)


@pytest.mark.parametrize("target, block", [("ecp5", "DP16KD"), ("ice40", "SB_RAM40_4K")])
def test_block_ram_without_registers(target, block, tmp_path):
    text = rtlil.convert(Ram(shape=16, depth=256), name="top", emit_src=False)
    (tmp_path / "top.il").write_text(text)
    log = run_yosys(f"read_rtlil top.il\nsynth_{target} -top top\nstat\n", tmp_path)
    report = log[log.rindex("Printing statistics") :]
    assert re.search(rf"\b1 .*{block}", report)
    assert not re.search(r"TRELLIS_FF|SB_DFF", report)


@pytest.mark.parametrize(
    "parameters, error, message",
    [
        ({"depth": 0}, ValueError, r"^Depth must be at least 1, not 0$"),
        ({"depth": 3, "reads": None}, TypeError, r"^Reads must be an integer, not None$"),
        ({"depth": 3, "granularity": 3}, ValueError, r"^Granularity must be a divisor of 8"),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        Ram(shape=8, **parameters)
