# amaranth: UnusedElaboratable=no
"""A compiled block with streams: payloads, stalls, what it does wrong."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.gen.verilog import to_verilog
from attnsieve.sim.compiled import BACKENDS, CompiledBlock
from attnsieve.sim.compiled.build import build_block
from attnsieve.sim.compiled.payload import pack, payload_words, unpack

WIDE = data.StructLayout({"value": data.ArrayLayout(40, 5), "last": 1})
NARROW = data.StructLayout({"value": 7})
BOTH = data.StructLayout({**WIDE.members, "narrow": 8})


class Join(wiring.Component):
    """Takes a payload of two streams at once and gives both out, the narrow one plus one.

    Parameters
    ----------
    bug : str
        ``drop``: the third payload is lost. ``twice``: the second comes twice. ``fickle``: what is
        offered changes while it waits.
    """

    def __init__(self, bug=None):
        self.bug = bug
        super().__init__(
            {
                "wide": In(stream.Signature(WIDE)),
                "narrow": In(stream.Signature(NARROW)),
                "o": Out(stream.Signature(BOTH)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        count, again, time = Signal(8), Signal(), Signal(8)
        o = self.o
        valid = self.wide.valid & self.narrow.valid
        take = valid & ~again & (o.ready | (~o.valid if self.bug == "drop" else 0))
        lost = (count == 2) if self.bug == "drop" else 0
        m.d.comb += [
            o.valid.eq(valid & ~lost),
            o.p.value.eq(self.wide.p.value),
            o.p.last.eq(self.wide.p.last),
            o.p.narrow.eq(self.narrow.p.value + 1 + (time if self.bug == "fickle" else 0)),
            self.wide.ready.eq(take & self.narrow.valid),
            self.narrow.ready.eq(take & self.wide.valid),
        ]
        m.d.sync += [count.eq(count + take), time.eq(time + 1)]
        if self.bug == "twice":
            m.d.sync += again.eq(valid & o.ready & (count == 0) & ~again)
        return m


def payloads(count, seed=1):
    rng = np.random.default_rng(seed)
    wide = {"value": rng.integers(0, 1 << 40, (count, 5)), "last": rng.integers(0, 2, count)}
    return {"wide": wide, "narrow": {"value": rng.integers(0, 128, count)}}


@functools.cache
def join(bug=None, backend="verilator"):
    return CompiledBlock(Join(bug), "join", backend=backend)


@pytest.mark.parametrize("layout", [WIDE, NARROW])
@pytest.mark.parametrize("count", [0, 1, 5000])
def test_words_and_back(layout, count):
    fields = payloads(count)["wide" if layout is WIDE else "narrow"]
    words = pack(layout, fields)
    assert words.shape == (count, payload_words(layout))
    found = unpack(layout, words)
    assert list(found) == list(layout.members)
    for name, values in found.items():
        np.testing.assert_array_equal(values, fields[name])


def test_words_are_those_of_the_layout():
    fields = {"value": [[1, 2, 3, 4, 5]], "last": [1]}
    (words,) = pack(WIDE, fields)
    whole = sum(int(word) << 32 * n for n, word in enumerate(words))
    assert whole == WIDE.const({"value": [1, 2, 3, 4, 5], "last": 1}).as_bits()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stall", [{}, {"wide": 0.5, "o": 0.5}, {"narrow": 0.9}, {"o": 0.9}])
def test_transfers(backend, stall):
    given = payloads(300)
    run = join(backend=backend).run(given, {"o": 300}, stall=stall)
    assert run.complete
    assert run.held
    np.testing.assert_array_equal(run.outputs["o"]["value"], given["wide"]["value"])
    np.testing.assert_array_equal(run.outputs["o"]["last"], given["wide"]["last"])
    np.testing.assert_array_equal(run.outputs["o"]["narrow"], given["narrow"]["value"] + 1)
    for name in ("wide", "narrow"):
        np.testing.assert_array_equal(run.times[name], run.times["o"])
    if stall:
        assert run.times["o"][-1] > 300 * 0.8 / (1 - max(stall.values()))
    else:
        np.testing.assert_array_equal(run.times["o"], np.arange(300))


def test_stalls_repeat_with_their_seed():
    runs = [join().run(payloads(50), {"o": 50}, stall={"o": 0.5}, seed=n) for n in (3, 3, 4)]
    first, second, other = (run.times["o"].tolist() for run in runs)
    assert first == second != other


@pytest.mark.parametrize("bug", ["drop", "twice"])
def test_one_too_few_or_too_many(bug):
    run = join(bug).run(payloads(10), {"o": 10}, patience=50)
    assert not run.complete


def test_what_changes_while_it_waits():
    assert not join("fickle").run(payloads(10), {"o": 10}, stall={"o": 0.5}).held


def test_a_run_that_hangs_ends():
    run = join().run(payloads(10), {"o": 11}, patience=50)
    assert not run.complete


def test_unknown_back_end():
    verilog = to_verilog(Join(), "join")
    with pytest.raises(ValueError, match=r"^Back end must be one of verilator, cxxrtl, not 'x'$"):
        build_block(verilog, "join", ["wide", "narrow"], ["o"], backend="x")
