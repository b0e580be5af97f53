# amaranth: UnusedElaboratable=no
"""Rows of a KV head come together: which they are, which are scored, what the last one says."""

import random

import pytest
from amaranth.hdl import Assert, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.slices.demand.kv_rows import KvRows
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

from .demand_cores import CORES, Packets, demand_core

SAME = ("keys", "key_mask", "bank", "number", "pin_first", "own")


def random_rows(p, seed, heads=20):
    """Rows of so many KV heads, their planes, and what must come of them."""
    rng, first = random.Random(f"rows {seed}"), 0
    rows, planes, want = [], [], []
    for _ in range(heads):
        group, all_rows, written = rng.choice([1, p.slice_rows, rng.randint(1, p.slice_rows)]), 0, 0
        planes.append({"unit": rng.randrange(1 << 12), "plane": rng.randrange(1 << 9)})
        for member in range(group):
            row = {
                "row": first % p.slice_rows, "write": rng.random() < 0.7,
                "keys": rng.randint(0, p.max_keys), "key_mask": rng.randrange(2),
                "bank": rng.randrange(p.banks), "number": rng.randrange(Packets(p).slices),
                "pin_first": rng.randint(0, p.max_keys), "pin_newest": rng.randint(0, p.max_keys),
                "own": rng.randrange(1 << p.key_bits), "last_of_kv": member == group - 1,
            }  # fmt: skip
            rows.append(row)
            all_rows |= 1 << row["row"]
            written |= row["write"] << row["row"]
            first += 1
        want.append(
            {name: row[name] for name in SAME} | planes[-1]
            | {"rows": all_rows, "written": written,
               "pin_from": max(0, row["keys"] - row["pin_newest"])}
        )  # fmt: skip
    return rows, planes, want


def run(p, rows, planes, want, **options):
    """Compare. Returns the cycles of all ports."""
    result = run_streams(
        KvRows(params=p), {"row": rows, "head": planes}, {"o": len(want)}, **options
    )
    assert [{name: o[name] for name in want[0]} for o in result.outputs["o"]] == want
    return result.times


@pytest.mark.parametrize("stall", [0.0, 0.5, {"o": 0.9}, {"row": 0.8}, {"head": 0.8}])
@pytest.mark.parametrize("name", CORES)
def test_random_rows(name, stall):
    run(CORES[name], *random_rows(CORES[name], f"{name} {stall}"), stall=stall)


@pytest.mark.parametrize("name", CORES)
def test_a_row_in_every_cycle(name):
    """The KV head a cycle after its last row."""
    rows, planes, want = random_rows(CORES[name], name)
    times = run(CORES[name], rows, planes, want)
    last = [n for n, row in enumerate(rows) if row["last_of_kv"]]
    assert times["row"] == list(range(len(rows)))
    assert times["head"] == last
    assert times["o"] == [n + 1 for n in last]


class Contract(wiring.Component):
    """Any rows: of the KV head that leaves exactly those since the one before are set, and what the
    last one says holds.

    Parameters
    ----------
    wrong : int
        1: the claim is that all rows are scored; 0 to prove what is true.
    """

    def __init__(self, *, wrong=0):
        self.wrong = wrong
        super().__init__({})

    def elaborate(self, platform):
        m, p = Module(), demand_core(slice_rows=2, max_keys=3, data_width=64)
        m.submodules.dut = dut = KvRows(params=p)
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        row, o = dut.row.p, dut.o.p
        taken, ends = dut.row.valid & dut.row.ready, Signal()
        seen, scored = Signal(2), Signal(2)  # of the KV head that comes
        rows, written = Signal(2), Signal(2)  # of the one that leaves
        last, planes = Signal.like(row), Signal.like(dut.head.p)
        now = [seen | (1 << row.row), scored | Mux(row.write | self.wrong, 1 << row.row, 0)]
        m.d.comb += [
            ends.eq(taken & row.last_of_kv),
            Assert(ends == (dut.head.valid & dut.head.ready)),
        ]
        with m.If(taken):
            m.d.sync += [seen.eq(Mux(ends, 0, now[0])), scored.eq(Mux(ends, 0, now[1]))]
        came = Signal()
        m.d.sync += came.eq(ends)
        with m.If(ends):
            m.d.sync += [
                rows.eq(now[0]), written.eq(now[1]), last.eq(row), planes.eq(dut.head.p),
            ]  # fmt: skip
            m.d.comb += Assert(~dut.o.valid | dut.o.ready)
        with m.If(came):
            m.d.comb += Assert(dut.o.valid)
        with m.If(dut.o.valid):
            newest = Mux(last.pin_newest > last.keys, last.keys, last.pin_newest)
            m.d.comb += [
                Assert((o.rows == rows) & (o.written == written)),
                Assert((o.unit == planes.unit) & (o.plane == planes.plane)),
                Assert(o.pin_from == last.keys - newest),
                *(Assert(o[name] == last[name]) for name in SAME),
                Cover(written == 2), Cover(rows == 3),
            ]  # fmt: skip
        return m


def test_proof():
    prove(Contract(), depth=8, name="rows of a KV head")


def test_everything_is_reached():
    prove(Contract(), depth=8, mode="cover", name="rows of a KV head")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Contract(wrong=1), depth=8, name="rows of a KV head")
