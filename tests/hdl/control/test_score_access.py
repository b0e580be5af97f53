# amaranth: UnusedElaboratable=no
"""Software's accesses to scores on the token unit itself: a read and a write at once are one after
the other, whatever cycle each comes in."""

from __future__ import annotations

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from attnsieve.gen import config
from attnsieve.hdl.control.registers import Registers
from attnsieve.hdl.control.words import word_count
from attnsieve.hdl.observers.token_unit import TokenUnit
from attnsieve.sim.unit import simulate

TINY = config.load("spatten-tiny").core
#: Cycles after which an access would wait for ever.
MOST = 200


class Joined(wiring.Component):
    """The registers and the unit that has the scores."""

    def __init__(self):
        self.registers, self.unit = Registers(params=TINY), TokenUnit(params=TINY)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers, m.submodules.unit = own, unit = self.registers, self.unit
        m.d.comb += [
            unit.access.eq(own.score_access),
            unit.token.eq(own.score_token),
            unit.write.eq(own.score_write),
            unit.data.eq(own.score_data),
            own.score.eq(unit.score),
            own.score_ready.eq(unit.ready),
        ]
        return m


async def both(ctx, bus, read, write, delay):
    """Reads the address ``read``, and writes ``write``, an address and what goes there, ``delay``
    cycles later; either may be None. Returns what was read."""
    answer, cycle = None, 0
    reads, writes, answers = read is not None, write is not None, read is not None
    ctx.set(bus.araddr, read or 0)
    ctx.set(bus.awaddr, write[0] if writes else 0)
    ctx.set(bus.wdata, write[1] if writes else 0)
    for signal, value in ((bus.wstrb, 15), (bus.rready, 1), (bus.bready, 1)):
        ctx.set(signal, value)
    while reads or writes or answers:
        ctx.set(bus.arvalid, reads and cycle >= -delay)
        now = writes and cycle >= delay
        ctx.set(bus.awvalid, now)
        ctx.set(bus.wvalid, now)
        _, _, asked, written, there, found = await ctx.tick().sample(
            bus.arready & bus.arvalid, bus.awready, bus.rvalid, bus.rdata)
        reads, writes = reads and not asked, writes and not (now and written)
        answer, answers = (found, False) if there else (answer, answers)
        cycle += 1
        assert cycle < MOST
    for signal in (bus.arvalid, bus.awvalid, bus.wvalid):
        ctx.set(signal, 0)
    await ctx.tick().repeat(3)
    return answer


@pytest.mark.parametrize("delay", range(-4, 6))
@pytest.mark.parametrize("register", ["SCORE", "SCORE_TOKEN"])
def test_a_read_of_a_score_and_a_write_at_once(register, delay):
    top = Joined()
    bus, places = top.registers.bus, top.registers.map
    score, token = places["SCORE"].offset, places["SCORE_TOKEN"].offset
    value = {"SCORE": 0xABCDEF01, "SCORE_TOKEN": 25}[register]

    async def bench(ctx):
        await ctx.tick().repeat(word_count(TINY) * (TINY.banks + 1) + 1)
        some = range(18, 27)
        await both(ctx, bus, None, (token, some[0]), 0)
        for number in some:
            await both(ctx, bus, None, (score, 1000 + number), 0)
        await both(ctx, bus, None, (token, 20), 0)
        read = await both(ctx, bus, score, (places[register].offset, value), delay)
        index = await both(ctx, bus, token, None, 0)
        await both(ctx, bus, None, (token, some[0]), 0)
        found = [await both(ctx, bus, score, None, 0) for _ in some]
        want = [1000 + number for number in some]
        if register == "SCORE":
            assert read in (1020, 1021)
            want[some.index(20 if read == 1021 else 21)] = value
            assert index == 22
        else:
            assert (read, index) in ((1020, 25), (1025, 26))
        assert found == want

    simulate(top, bench)
