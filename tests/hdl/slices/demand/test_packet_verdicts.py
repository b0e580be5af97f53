# amaranth: UnusedElaboratable=no
"""Verdicts on the keys of packets: a packet goes on for exactly the rows that need it; proof."""

import random

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Const, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring

from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.slices.demand.packet_verdicts import PacketVerdicts
from attnsieve.hdl.slices.demand.packets import hand_layout
from attnsieve.sim.formal import ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

from .demand_cores import CORES, Packets, demand_core, random_packet
from .test_packet_requests import plain


def random_work(p, seed, count=40, ends=0.3):
    """Hands of packets, verdicts of each unit, and the packets that go on or None."""
    rng, packets = random.Random(f"verdicts {seed}"), Packets(p)
    hands, want, verdicts = [], [], [[] for _ in range(p.slice_units)]
    for _ in range(count):
        packet = random_packet(p, rng, share=rng.choice([0.1, 0.5, 1]))
        packet["number"] = rng.randrange(max(1, packets.slices - 1))
        share = 0 if rng.random() < ends else rng.choice([0.3, 1])
        alive = [rows and rng.randrange(1 << p.slice_rows) & rows * (rng.random() < share)
                 for rows in packet["alive"]]  # fmt: skip
        for number in range(packets.keys // packets.hand):
            keys = range(number * packets.hand, (number + 1) * packets.hand)
            first = packet["word"] * packets.keys + keys[0]
            some = [packet["alive"][key] != 0 for key in keys]
            hands.append(
                {"packet": packet, "place": packets.place(first)[0], "number": number,
                 "some": sum(bit << n for n, bit in enumerate(some))}
            )  # fmt: skip
            for n, key in enumerate(keys):
                if some[n]:
                    unit, _ = packets.place(first + n)
                    verdicts[unit].append({"rows": alive[key]})
        on = packet | {"unit": packet["unit"] + packet["plane"], "opens": 0, "alive": alive,
                       "number": packet["number"] + 1}  # fmt: skip
        want.append(on if any(alive) else None)
    return hands, verdicts, want


class Watch:
    """When packets go on, and when they end."""

    def __init__(self, dut):
        self.dut, self.ended, self.again = dut, [], []

    async def bench(self, ctx):
        cycle = 0
        while True:
            _, _, ended, again = await ctx.tick().sample(self.dut.ended, self.dut.again.valid)
            assert not (ended and again)
            if ended:
                self.ended.append(cycle)
            if again:
                self.again.append(cycle)
            cycle += 1


def run(p, hands, verdicts, want, **options):
    """Compare. Returns in which cycle each packet is decided, and the result."""
    dut = PacketVerdicts(params=p)
    watch, on = Watch(dut), [packet for packet in want if packet]
    result = run_streams(
        dut, {"hand": hands, **{f"verdict.{n}": each for n, each in enumerate(verdicts)}},
        {"again": len(on)}, testbenches=[watch.bench], **options,
    )  # fmt: skip
    assert [plain(packet) for packet in result.outputs["again"]] == on
    decided = sorted([*watch.ended, *watch.again])
    assert [cycle in watch.again for cycle in decided] == [packet is not None for packet in want]
    return decided, result


@pytest.mark.parametrize("stall", [0.0, 0.5, {"hand": 0.8}, {"verdict.0": 0.9}])
@pytest.mark.parametrize("name", CORES)
def test_random_packets(name, stall):
    run(CORES[name], *random_work(CORES[name], f"{name} {stall}"), stall=stall, seed=name)


@pytest.mark.parametrize("ends", [0.0, 1.0])
@pytest.mark.parametrize("name", CORES)
def test_none_and_all_go_on(name, ends):
    p = CORES[name]
    hands, verdicts, want = random_work(p, f"{name} {ends}", 20, ends)
    if not ends:
        for unit in verdicts:
            for verdict in unit:
                verdict["rows"] = (1 << p.slice_rows) - 1
        for n in range(len(want)):
            given = hands[n * len(hands) // len(want)]["packet"]
            want[n] = given | {"unit": given["unit"] + given["plane"], "opens": 0,
                               "number": given["number"] + 1,
                               "alive": [rows and (1 << p.slice_rows) - 1
                                         for rows in given["alive"]]}  # fmt: skip
    run(p, hands, verdicts, want)


@pytest.mark.parametrize("name", CORES)
def test_a_hand_in_every_cycle(name):
    """Its packet is decided two cycles after the last one, if the verdicts are there."""
    p = CORES[name]
    hands, verdicts, want = random_work(p, name)
    decided, result = run(p, hands, verdicts, want)
    each = len(hands) // len(want)
    assert result.times["hand"] == list(range(len(hands)))
    assert decided == [n * each + each - 1 + 2 for n in range(len(want))]


def test_hands_whose_verdicts_are_late():
    """As many wait as stated."""
    p = CORES["one-unit"]
    hands, verdicts, want = random_work(p, 1)
    _, result = run(p, hands, verdicts, want, stall={"verdict.0": 0.97})
    taken, told = result.times["hand"], result.times["verdict.0"]
    behind = max(
        sum(t <= cycle for t in taken) - needed(hands, sum(t <= cycle for t in told))
        for cycle in range(taken[-1])
    )
    assert behind == PacketVerdicts.depth


def needed(hands, verdicts):
    """Hands that are over after so many verdicts of the only unit."""
    over = 0
    for hand in hands:
        verdicts -= hand["some"]
        if verdicts < 0:
            break
        over += 1
    return over


class Contract(wiring.Component):
    """Any packets, hand by hand, and any verdicts, at any time: each hand takes those of its keys'
    units as they all are there, and no others; a packet goes on with exactly the rows of these, or
    it ends.

    Parameters
    ----------
    wrong : int
        Units by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, params, *, wrong=0):
        self.params, self.wrong = params, wrong
        super().__init__({})

    def elaborate(self, platform):
        m, p, sizes = Module(), self.params, Packets(self.params)
        m.submodules.dut = dut = Few(params=p)
        free_inputs(m, dut)
        m.submodules.hands = hands = Queue(shape=hand_layout(p), depth=Few.depth)
        given, hand, go = dut.hand, hands.o.p, Signal()
        number, packet = Signal(range(sizes.keys)), Signal.like(dut.hand.p.packet)
        count = sizes.keys // sizes.hand
        with m.If(given.valid & given.ready):
            m.d.sync += [number.eq(Mux(number == count - 1, 0, number + 1)),
                         packet.eq(given.p.packet)]  # fmt: skip
        m.d.comb += [
            Assume((given.p.packet.unit < 8) & (given.p.packet.plane < 8)),  # small numbers
            Assume(given.p.number == number), Assume(given.p.place < p.slice_units),
            Assume((number == 0) | (given.p.packet == packet)),
            hands.i.valid.eq(given.valid), hands.i.p.eq(given.p), hands.o.ready.eq(go),
            Assert(given.ready == hands.i.ready),
        ]  # fmt: skip
        rows = self._take(m, dut, hands.o.valid, hand, go)
        self._decide(m, dut, hand, go, rows)
        return m

    def _take(self, m, dut, valid, hand, go):
        """The rows of each lane; a hand goes as all verdicts that it needs are there."""
        p, lanes = self.params, range(Packets(self.params).hand)
        unit = Array(Const(n % p.slice_units) for n in range(3 * p.slice_units))
        wants = [
            Cat(hand.some[lane] & (unit[hand.place + lane + self.wrong] == n) for lane in lanes)
            for n in range(p.slice_units)
        ]
        ports = dut.verdict
        m.d.comb += [
            go.eq(valid & Cat(~want.any() | port.valid
                              for want, port in zip(wants, ports, strict=True)).all()),
            *(Assert(port.ready == (go & want.any()))
              for want, port in zip(wants, ports, strict=True)),
        ]  # fmt: skip
        every = Array(port.p.rows for port in ports)
        return [Mux(hand.some[lane], every[unit[hand.place + lane]], 0) for lane in lanes]

    def _decide(self, m, dut, hand, go, rows):
        """Behind the last hand of a packet, a cycle later."""
        sizes, its = Packets(self.params), hand.packet
        alive = [Signal(self.params.slice_rows, name=f"alive{n}") for n in range(sizes.keys)]
        before, last = Signal.like(its), Signal()
        m.d.sync += last.eq(go & (hand.number == sizes.keys // sizes.hand - 1))
        with m.If(go):
            m.d.sync += before.eq(its)
            with m.Switch(hand.number):
                for number in range(sizes.keys // sizes.hand):
                    with m.Case(number):
                        for lane, found in enumerate(rows):
                            m.d.sync += alive[number * sizes.hand + lane].eq(found)
        some, again = Cat(alive).any(), dut.again.p
        m.d.comb += [Assert(dut.again.valid == (last & some)), Assert(dut.ended == (last & ~some))]
        with m.If(dut.again.valid):
            m.d.comb += [
                Assert(Value.cast(again.alive) == Cat(alive)), Assert(again.opens == 0),
                Assert(again.unit == (before.unit + before.plane)[: len(again.unit)]),
                Assert(again.number == (before.number + 1)[: len(again.number)]),
                *(Assert(again[name] == before[name])
                  for name in ("plane", "word", "place", "group", "pinned")),
                Cover((alive[0] == 0) & (alive[-1] != 0)),
            ]  # fmt: skip
        m.d.comb += Cover(dut.ended)


class Few(PacketVerdicts):
    """Room for a few hands."""

    depth = 4


#: More units than keys of a hand; one unit.
SMALL = {
    "keys": demand_core(data_width=256, slice_units=3, max_keys=8, slice_rows=2, addr_width=20),
    "unit": demand_core(data_width=128, slice_units=1, max_keys=8, slice_rows=2, addr_width=20),
}


@pytest.mark.parametrize("name", SMALL)
def test_proof(name):
    prove(Contract(SMALL[name]), depth=9, name="packet verdicts")


def test_everything_is_reached():
    prove(Contract(SMALL["keys"]), depth=10, mode="cover", name="packet verdicts")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Contract(SMALL["keys"], wrong=1), depth=8, name="packet verdicts")
