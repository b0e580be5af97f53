# amaranth: UnusedElaboratable=no
"""Burst writer: AXI4 rules, strobes, burst lengths, stop, against any slave."""

from __future__ import annotations

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.axi.granule_writer import GranuleWriter
from attnsieve.hdl.axi.writer import BurstWriter
from attnsieve.sim.formal import ProofError, free_inputs, prove

#: Cycles from a stop to idle: two bursts of at most 6 beats, a beat and an address every second
#: cycle, responses 2 cycles after their last beat.
DRAIN = 34


class Proof(wiring.Component):
    """Any requests and units, any slave that answers only what is complete.

    Parameters
    ----------
    compact : bool
        Of a granule writer, whose beats do not change under stop.
    drain : int
        Also: the slave takes something at least every second cycle and answers in 2 cycles; then
        a stop ends within so many cycles.
    """

    def __init__(self, *, compact=False, drain=None):
        self.drain, self.compact = drain, compact
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        if self.compact:
            dut = GranuleWriter(addr_width=13, data_width=128, max_units=4, max_outstanding=2)
        else:
            dut = BurstWriter(
                addr_width=13, data_width=32, unit_bytes=8, max_units=3, max_outstanding=2
            )
        m.submodules.dut = dut
        unit = len(dut.i.payload.strobe)
        free_inputs(m, dut, but=("stop", "i.payload"))
        bus, stopped = dut.bus, Signal()
        m.d.comb += [
            dut.stop.eq(AnySeq(1)),
            Assume(dut.stop | ~stopped),  # a stop is held
            dut.i.payload.data.eq(AnySeq(8 * unit)),
            dut.i.payload.strobe.eq(-1),
            self._request(dut.request.payload),
        ]
        m.d.sync += stopped.eq(dut.stop)
        held = Signal()  # the stream rule for i, whose strobes are not free
        before = Signal(8 * unit)
        m.d.sync += [held.eq(dut.i.valid & ~dut.i.ready), before.eq(dut.i.payload.data)]
        m.d.comb += Assume(~held | (dut.i.valid & (dut.i.payload.data == before)))
        if self.compact:
            m.d.comb += Assume(~stopped | (dut.i.payload.data == before))
        self._hold(m, bus)
        whole = self._bursts(m, dut)
        self._stop(m, dut, stopped)
        if self.drain is not None:
            self._progress(m, dut, whole)
        return m

    def _request(self, request):
        if self.compact:
            return Assume(
                ((request.units == 2) | (request.units == 4)) & (request.address[:5] == 0)
            )
        return Assume((request.units != 0) & (request.units <= 3) & (request.address[:3] == 0))

    def _hold(self, m, bus):
        for name, payload in {"aw": ("awaddr", "awlen"), "w": ("wdata", "wstrb", "wlast")}.items():
            valid, ready = getattr(bus, f"{name}valid"), getattr(bus, f"{name}ready")
            signals = Cat(getattr(bus, p) for p in payload)
            held, was = Signal(name=f"{name}_held"), Signal(len(signals), name=f"{name}_was")
            m.d.sync += [held.eq(valid & ~ready), was.eq(signals)]
            with m.If(held):
                m.d.comb += Assert(valid & (signals == was))

    def _bursts(self, m, dut):
        """Beats and their last ones agree with the addresses that were asserted before them."""
        bus = dut.bus
        offered = Signal()
        new = bus.awvalid & ~offered
        m.d.sync += offered.eq(bus.awvalid & ~bus.awready)
        lengths = [Signal(4, name=f"length{k}") for k in range(3)]  # of bursts not yet complete
        count, beat = Signal(2), Signal(4)
        moved = bus.wvalid & bus.wready
        ended = moved & bus.wlast
        m.d.sync += count.eq(count + new - ended)
        place = count - ended
        for k, length in enumerate(lengths):
            following = lengths[k + 1] if k < 2 else 0
            m.d.sync += length.eq(
                Mux(new & (place == k), bus.awlen, Mux(ended, following, length))
            )
        m.d.sync += beat.eq(Mux(ended, 0, beat + moved))
        size = len(bus.wstrb)
        end = bus.awaddr[:12] + (bus.awlen + 1) * size - 1
        now = Mux(count == 0, bus.awlen, lengths[0])
        longest = 1 if self.compact else 5
        m.d.comb += [
            Assert(count <= 2),
            Assert(~bus.wvalid | (count != 0) | new),
            Assert(~bus.wvalid | (bus.wlast == (beat == now))),
            Assert(~bus.awvalid | (bus.awlen <= longest)),
            Assert(~bus.awvalid | (bus.awaddr % size == 0)),
            Assert(~bus.awvalid | (end < 4096)),
            Cover(ended & (lengths[0] == longest)),
            Cover(bus.awvalid & (end == 4095) & (bus.awlen == min(3, longest))),
        ]
        return self._responses(m, dut, new, ended)

    def _responses(self, m, dut, new, ended):
        """A response comes for a burst whose address and data have been taken."""
        bus = dut.bus
        addresses, complete, open_ = Signal(3), Signal(3), Signal(3)
        answered = bus.bvalid & bus.bready
        m.d.sync += [
            addresses.eq(addresses + (bus.awvalid & bus.awready) - answered),
            complete.eq(complete + ended - answered),
            open_.eq(open_ + new - answered),
        ]
        m.d.comb += [
            Assume(~bus.bvalid | ((addresses != 0) & (complete != 0))),
            Assert(open_ <= 4),
            Assert(dut.idle == ((open_ == 0) & ~bus.awvalid)),
            Assert(bus.bready),
        ]
        return (addresses != 0) & (complete != 0)

    def _stop(self, m, dut, stopped):
        """After a stop: no address, and no strobes but those of a beat that was asserted."""
        bus = dut.bus
        awvalid, waiting = Signal(), Signal()
        m.d.sync += [awvalid.eq(bus.awvalid & ~bus.awready), waiting.eq(bus.wvalid & ~bus.wready)]
        written = bus.wvalid & bus.wready
        late = Signal()  # a beat was asserted or taken under stop: none with strobes may be new
        with m.If(dut.stop & (~bus.wvalid | written)):
            m.d.sync += late.eq(1)
        m.d.comb += [
            Assert(~stopped | ~bus.awvalid | awvalid),
            Assert(~late | (bus.wstrb == 0)),
            Assert(stopped | late | ~bus.wvalid | bus.wstrb.all()),
            Cover(late & written),
        ]

    def _progress(self, m, dut, whole):
        bus = dut.bus
        aw, w, b = Signal(), Signal(), Signal(2)
        m.d.sync += [aw.eq(~bus.awready), w.eq(~bus.wready), b.eq(b + 1)]
        with m.If(bus.bvalid | ~whole):
            m.d.sync += b.eq(0)
        since = Signal(8)
        with m.If(dut.stop & ~dut.idle):
            m.d.sync += since.eq(since + 1)
        m.d.comb += [
            Assume(bus.awready | ~aw),
            Assume(bus.wready | ~w),
            Assume(bus.bvalid | (b != 2)),
            Assert(since <= self.drain),
        ]


@pytest.mark.parametrize("compact", [False, True])
def test_rules(compact):
    prove(Proof(compact=compact), depth=13, name="burst writer")


@pytest.mark.full
@pytest.mark.parametrize("compact", [False, True])
def test_rules_deep(compact):
    prove(Proof(compact=compact), depth=30, name="burst writer", timeout=3000)


@pytest.mark.parametrize("compact", [False, True])
def test_everything_is_reached(compact):
    prove(Proof(compact=compact), depth=16, mode="cover", name="burst writer")


@pytest.mark.parametrize("compact", [False, True])
def test_stop_ends(compact):
    prove(Proof(compact=compact, drain=DRAIN), depth=14, name="burst writer")


@pytest.mark.full
def test_stop_ends_deep():
    prove(Proof(drain=DRAIN), depth=DRAIN + 12, name="burst writer", timeout=3000)


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(drain=3), depth=14, name="burst writer")
