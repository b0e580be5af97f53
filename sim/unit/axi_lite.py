"""An AXI4-Lite master for Amaranth's simulator, with random stalls and protocol checks."""

from __future__ import annotations

import random
from typing import Any

from attnsieve.sim.unit.axi_memory import ProtocolError

__all__ = ["AXILiteMaster"]


class AXILiteMaster:
    """Reads and writes registers from a testbench.

    Responses are checked to stay until they are taken, and not to come without a request.

    Parameters
    ----------
    bus : interface
        An ``AXI4LiteSignature``, as the slave has it.
    stall : float
        Probability that a channel pauses in a cycle.
    seed : int
        Of the stalls.
    max_cycles : int
        Cycles after which a missing response is an error.
    """

    def __init__(
        self, bus: Any, *, stall: float = 0.0, seed: int = 0, max_cycles: int = 1000
    ) -> None:
        self.bus, self.stall, self.max_cycles = bus, stall, max_cycles
        self.random = random.Random(f"{seed} axi lite")

    def _go(self) -> bool:
        return self.random.random() >= self.stall

    async def write(self, ctx: Any, address: int, value: int, strobe: int = 15) -> int:
        """Write a word; returns BRESP."""
        bus = self.bus
        sent = {"aw": False, "w": False}
        offered = {"aw": False, "w": False}
        ready, waited = False, 0
        while True:
            for name in ("aw", "w"):
                offered[name] = not sent[name] and (offered[name] or self._go())
            ctx.set(bus.awvalid, offered["aw"])
            ctx.set(bus.awaddr, address if offered["aw"] else self.random.getrandbits(12))
            ctx.set(bus.wvalid, offered["w"])
            ctx.set(bus.wdata, value if offered["w"] else self.random.getrandbits(32))
            ctx.set(bus.wstrb, strobe if offered["w"] else self.random.getrandbits(4))
            ready = self._go()
            ctx.set(bus.bready, ready)
            _, _, awready, wready, bvalid, bresp = await ctx.tick().sample(
                bus.awready, bus.wready, bus.bvalid, bus.bresp
            )
            if bvalid and not (sent["aw"] and sent["w"]):
                raise ProtocolError("response before its write")
            if waited and not bvalid:
                raise ProtocolError("response was withdrawn")
            sent["aw"] |= bool(offered["aw"] and awready)
            sent["w"] |= bool(offered["w"] and wready)
            if bvalid and ready:
                ctx.set(bus.bready, 0)
                return bresp
            waited = bvalid
            self._count()

    async def read(self, ctx: Any, address: int) -> int:
        """Read a word; the response must be OKAY."""
        bus = self.bus
        sent = offered = False
        held: int | None = None
        while True:
            offered = not sent and (offered or self._go())
            ctx.set(bus.arvalid, offered)
            ctx.set(bus.araddr, address if offered else self.random.getrandbits(12))
            ready = self._go()
            ctx.set(bus.rready, ready)
            _, _, arready, rvalid, rdata, rresp = await ctx.tick().sample(
                bus.arready, bus.rvalid, bus.rdata, bus.rresp
            )
            if rvalid and not sent:
                raise ProtocolError("data before their request")
            if held is not None and not (rvalid and rdata == held):
                raise ProtocolError("data changed before they were taken")
            sent |= bool(offered and arready)
            if rvalid and ready:
                ctx.set(bus.rready, 0)
                if rresp:
                    raise ProtocolError(f"response {rresp}")
                return rdata
            held = rdata if rvalid else None
            self._count()

    def _count(self) -> None:
        self.max_cycles -= 1
        if self.max_cycles < 0:
            raise ProtocolError("the slave does not answer")
