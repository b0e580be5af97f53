# amaranth: UnusedElaboratable=no
"""The stream drivers deliver, stall, and find broken rules."""

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.sim.unit import StreamError, run_streams

LAYOUT = data.StructLayout({"value": signed(5), "last": 1})


class Pass(wiring.Component):
    """A register slice that adds ``offset``, with a choice of faults."""

    def __init__(self, *, shape=LAYOUT, fault=None):
        self.fault = fault
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "side": Out(stream.Signature(1)),
                "offset": In(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.side.valid.eq(self.fault == "extra")
        m.d.comb += self.i.ready.eq((~self.o.valid | self.o.ready) & (self.fault != "stuck"))
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
            m.d.sync += self.o.payload.eq(self.i.payload)
            if hasattr(self.i.payload, "value"):
                m.d.sync += self.o.p.value.eq(self.i.p.value + self.offset)
        if self.fault in ("payload", "valid"):
            age = Signal(4)
            m.d.sync += age.eq(age + 1)
            with m.If(age == 15):
                target = self.o.valid if self.fault == "valid" else self.o.p.last
                m.d.sync += target.eq(~target)
        return m


ITEMS = [{"value": k % 15 - 8, "last": k % 3 == 0} for k in range(50)]


@pytest.mark.parametrize("stall", [0, 0.5, {"o": 0.9}, {"i": 0.7, "o": 0.2}])
def test_everything_arrives_in_order(stall):
    r = run_streams(Pass(), {"i": ITEMS}, {"o": 50}, stall=stall, constants={"offset": 1})
    got = [{"value": p.value, "last": bool(p.last)} for p in r.outputs["o"]]
    assert got == [{"value": x["value"] + 1, "last": x["last"]} for x in ITEMS]
    assert r.cycles == r.last("o") + 1


def test_cycles_without_stalls():
    r = run_streams(Pass(), {"i": ITEMS}, {"o": None, "side": None})
    assert r.times["i"] == list(range(50))
    r = run_streams(Pass(), {"i": ITEMS}, {"o": 50})
    assert (r.first("o"), r.last("o"), r.cycles) == (1, 50, 51)


def test_stalls_depend_on_the_seed():
    times = {tuple(run_streams(Pass(), {"i": ITEMS}, {"o": 50}, stall=0.5, seed=s).times["o"])
             for s in (1, 1, 2)}  # fmt: skip
    assert len(times) == 2


@pytest.mark.parametrize("shape, items", [(4, [3, 15, 0]), (signed(4), [-8, 7, -1])])
def test_plain_shapes_are_integers(shape, items):
    assert run_streams(Pass(shape=shape), {"i": items}, {"o": 3}).outputs["o"] == items


def test_reset_drops_what_is_inside():
    r = run_streams(Pass(shape=8), {"i": list(range(9))}, {"o": 8}, reset=[4])
    assert r.outputs["o"] == [0, 1, 2, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    "fault, message",
    [
        ("payload", r"^o: payload changed in cycle \d+ before the transfer$"),
        ("valid", r"^o: valid fell in cycle \d+ before the transfer$"),
        ("extra", r"^side: transfer 1 in cycle 0, only 0 expected$"),
        ("stuck", r"^no end after 99 cycles: i: 0 of 50 taken; o: 0 delivered of 50; side: 0 "),
    ],
)
def test_faults_are_found(fault, message):
    with pytest.raises(StreamError, match=message):
        run_streams(
            Pass(fault=fault),
            {"i": ITEMS},
            {"o": 50, "side": 0},
            stall={"o": 0.8},
            max_cycles=99 if fault == "stuck" else None,
        )


def test_stall_is_checked():
    with pytest.raises(ValueError, match=r"^Stall of i must be in 0..1 \(1 excluded\), not 1$"):
        run_streams(Pass(), {"i": ITEMS}, {"o": 50}, stall=1)
