# amaranth: UnusedElaboratable=no
"""Strict connections: direction by argument, layouts compared by name."""

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.sim.unit import run_streams

LAYOUT = data.StructLayout({"x": signed(3), "last": 1})


class Chain(wiring.Component):
    def __init__(self):
        super().__init__({"i": In(stream.Signature(LAYOUT)), "o": Out(stream.Signature(LAYOUT))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.first = first = Queue(shape=LAYOUT, depth=2)
        m.submodules.second = second = Queue(shape=LAYOUT, depth=3)
        connect(m, self.i, first.i)
        connect(m, first.o, second.i)
        connect(m, second.o, self.o)
        return m


def test_chain():
    items = [{"x": k - 4, "last": k % 2} for k in range(8)]
    got = run_streams(Chain(), {"i": items}, {"o": 8}, stall=0.3).outputs["o"]
    assert [{"x": p.x, "last": p.last} for p in got] == items


def test_pass_through_of_own_ports():
    class Wire(Chain):
        def elaborate(self, platform):
            m = Module()
            connect(m, self.i, self.o)
            return m

    assert len(run_streams(Wire(), {"i": [{"x": 1, "last": 0}]}, {"o": 1}).outputs["o"]) == 1


@pytest.mark.parametrize(
    "other",
    [
        data.StructLayout({"x": signed(3), "first": 1}),
        data.StructLayout({"x": 3, "last": 1}),
        data.StructLayout({"last": 1, "x": signed(3)}),
        data.ArrayLayout(1, 4),
        4,
    ],
)
def test_same_width_other_layout(other):
    a, b = Queue(shape=LAYOUT, depth=1), Queue(shape=other, depth=1)
    with pytest.raises(TypeError, match=r"^The payloads must be the same, not \{x: signed\(3\)"):
        connect(Module(), a.o, b.i)


def test_equal_layouts_made_twice():
    again = data.StructLayout({"x": signed(3), "last": 1})
    connect(Module(), Queue(shape=LAYOUT, depth=1).o, Queue(shape=again, depth=1).i)


def test_not_a_stream():
    with pytest.raises(TypeError, match=r"^The sink must be a stream, not \(sig s\)$"):
        connect(Module(), Queue(shape=4, depth=1).o, Signal(name="s"))


def test_ties():
    never = stream.Signature(4, always_ready=True).create()
    some = stream.Signature(4).create()
    always = stream.Signature(4, always_valid=True).create()
    with pytest.raises(ValueError, match=r"^The sink must be always ready"):
        connect(Module(), never, some)
    with pytest.raises(ValueError, match=r"^The source must be always valid"):
        connect(Module(), some, always)
    connect(Module(), some, never)
    connect(Module(), always, some)
