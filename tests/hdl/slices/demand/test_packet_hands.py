# amaranth: UnusedElaboratable=no
"""Keys of packets to their units: each with its own slice to the one that has its place; proof."""

import random

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Const, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring

from attnsieve.hdl.slices.demand.packet_hands import PacketHands
from attnsieve.hdl.slices.demand.slice_feed import SliceFeed
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams, simulate

from .demand_cores import CORES, Packets, demand_core, random_packet
from .test_packet_requests import any_of, plain


def random_work(p, seed, count=40):
    """Packets, the units that were read for them, and what each bit-serial unit gets."""
    rng, packets = random.Random(f"hands {seed}"), Packets(p)
    given, words, hands = [], [], []
    entries = [[] for _ in range(p.slice_units)]
    for _ in range(count):
        packet = random_packet(p, rng, share=rng.choice([0.1, 0.5, 1]))
        image = rng.randbytes(p.channels * p.unit_bytes)
        lanes = [image[n * p.unit_bytes : (n + 1) * p.unit_bytes] for n in packets.needed(packet)]
        lanes += [rng.randbytes(p.unit_bytes) for _ in range(p.channels - len(lanes))]
        given.append(packet)
        words.append({"unit": [int.from_bytes(lane, "little") for lane in lanes]})
        for number in range(packets.keys // packets.hand):
            keys = range(number * packets.hand, (number + 1) * packets.hand)
            some = [packet["alive"][key] != 0 for key in keys]
            first = packet["word"] * packets.keys
            hands.append(
                {"number": number, "some": sum(bit << n for n, bit in enumerate(some)),
                 "place": packets.place(first + keys[0])[0], "packet": packet}
            )  # fmt: skip
            for key, alive in zip(keys, some, strict=True):
                if alive:
                    unit, group = packets.place(first + key)
                    at = key * packets.pitch
                    value = int.from_bytes(image[at : at + packets.pitch], "little")
                    entries[unit].append(
                        {"key": first + key, "group": group, "number": packet["number"],
                         "opens": packet["opens"], "pinned": packet["pinned"] >> key & 1,
                         "rows": packet["alive"][key],
                         "slice": value % (1 << p.max_head_dim * p.slice_bits)}
                    )  # fmt: skip
    return given, words, hands, entries


class Units:
    """Bit-serial units, which give their room back some cycles later."""

    def __init__(self, dut, *, delay, seed):
        self.dut, self.delay, self.rng = dut, delay, random.Random(seed)
        self.got = [[] for _ in dut.entry]
        self.times = [[] for _ in dut.entry]

    async def bench(self, ctx):
        dut, cycle = self.dut, 0
        inside = [[] for _ in dut.entry]
        valid = [entry.valid for entry in dut.entry]
        while True:
            taken = 0
            for n, waiting in enumerate(inside):
                if waiting and waiting[0] <= cycle:
                    waiting.pop(0)
                    taken |= 1 << n
            ctx.set(dut.taken, taken)
            _, _, *come = await ctx.tick().sample(*valid, *(entry.p for entry in dut.entry))
            for n, entry in enumerate(come[len(valid) :]):
                if come[n]:
                    self.got[n].append(
                        {name: entry[name] for name in
                         ("key", "group", "number", "opens", "pinned", "rows")}
                        | {"slice": entry["slice"].as_bits()}
                    )  # fmt: skip
                    self.times[n].append(cycle)
                    inside[n].append(cycle + self.delay(self.rng))
                    assert len(inside[n]) <= SliceFeed.depth
            cycle += 1


def run(p, given, words, hands, entries, *, delay=lambda rng: rng.randint(1, 12), seed=0,
        **options):  # fmt: skip
    """Compare. Returns the units and the result."""
    dut = PacketHands(params=p)
    units = Units(dut, delay=delay, seed=seed)
    result = run_streams(
        dut, {"packet": given, "word": words}, {"o": len(hands)}, seed=seed,
        testbenches=[units.bench], **options,
    )  # fmt: skip
    found = [{name: o[name] for name in ("number", "some", "place")} | {"packet": plain(o.packet)}
             for o in result.outputs["o"]]  # fmt: skip
    assert found == hands
    assert units.got == entries
    return units, result


@pytest.mark.parametrize("stall", [0.0, 0.5, {"o": 0.9}, {"packet": 0.8}, {"word": 0.8}])
@pytest.mark.parametrize("name", CORES)
def test_random_packets(name, stall):
    run(CORES[name], *random_work(CORES[name], f"{name} {stall}"), stall=stall, seed=name)


@pytest.mark.parametrize("name", CORES)
def test_units_are_slow(name):
    """They wait for room, and none has more than there is room for."""
    p = CORES[name]
    run(p, *random_work(p, name), delay=lambda rng: rng.randint(100, 300), max_cycles=100000)


@pytest.mark.parametrize("name", CORES)
def test_a_hand_in_every_cycle(name):
    """From packet to packet too; it and its keys are there a cycle later. A packet and its units
    leave with its last hand."""
    p = CORES[name]
    given, words, hands, entries = random_work(p, name)
    units, result = run(p, given, words, hands, entries, delay=lambda _: 1)
    each = Packets(p).keys // Packets(p).hand
    assert result.times["o"] == list(range(1, len(hands) + 1))
    assert result.times["packet"] == list(range(each - 1, len(hands), each))
    assert result.times["word"] == result.times["packet"]
    assert set().union(*map(set, units.times)) <= set(result.times["o"])


def test_a_unit_that_stands():
    """It gets as many keys as it has room for; then one for each that it gives back."""
    p = demand_core(slice_units=1, data_width=64)
    dut, times = PacketHands(params=p), []

    async def bench(ctx):
        ctx.set(dut.packet.p, {"alive": [1]})
        for port in (dut.packet.valid, dut.word.valid, dut.o.ready):
            ctx.set(port, 1)
        for cycle in range(120):
            ctx.set(dut.taken, cycle in (100, 101))
            _, _, valid = await ctx.tick().sample(dut.entry[0].valid)
            if valid:
                times.append(cycle)

    simulate(dut, bench)
    assert times == [*range(1, SliceFeed.depth + 1), 102, 103]


class Contract(wiring.Component):
    """Any packets and units: with each hand every key of it that some row needs goes to its unit,
    with its own slice, and no unit gets anything else; hands come in order, of the packet that is
    there.

    Parameters
    ----------
    wrong : int
        Units by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, params, *, wrong=0):
        self.params, self.wrong = params, wrong
        super().__init__({})

    def elaborate(self, platform):
        m, sizes = Module(), Packets(self.params)
        m.submodules.dut = dut = PacketHands(params=self.params)
        free_inputs(m, dut)
        o, hands = dut.o, sizes.keys // sizes.hand
        m.submodules += HoldRule(o)
        packet, word = Signal.like(dut.packet.p), Signal.like(dut.word.p)  # a cycle ago
        left, fresh, number = Signal(), Signal(), Signal(range(hands + 1))
        free, there = Signal(), Signal()
        first = Value.cast(dut.packet.p.word) * sizes.keys
        places = Array(Const(n % self.params.slice_units) for n in range(2 * self.params.max_keys))
        groups = Array(Const(n // self.params.slice_units) for n in range(2 * self.params.max_keys))
        m.d.comb += [
            fresh.eq(o.valid & free),
            Assume(first < self.params.max_keys),
            Assume(dut.packet.p.place == places[first]),
            Assume(dut.packet.p.group == groups[first]),
            Assert((dut.packet.valid & dut.packet.ready) == (dut.word.valid & dut.word.ready)),
        ]
        m.d.sync += [
            packet.eq(dut.packet.p), word.eq(dut.word.p), free.eq(~o.valid | o.ready),
            left.eq(dut.packet.valid & dut.packet.ready),
            there.eq(dut.packet.valid & dut.word.valid),
        ]  # fmt: skip
        with m.If(fresh):
            m.d.sync += number.eq(Mux(number == hands - 1, 0, number + 1))
            m.d.comb += [
                Assert(there & (o.p.packet == packet) & (o.p.number == number)),
                Assert(left == (number == hands - 1)),
                Cover((number == hands - 1) & (o.p.some == 1)),
            ]
        with m.Else():
            m.d.comb += Assert(~left)
        self._entries(m, dut, fresh, packet, word, (places, groups))
        return m

    def _entries(self, m, dut, fresh, packet, word, tables):
        p, sizes, (places, groups) = self.params, Packets(self.params), tables
        gets = [Signal(name=f"gets{n}") for n in range(p.slice_units)]
        shown = self._slices(packet, word)
        with m.Switch(dut.o.p.number):
            for number in range(sizes.keys // sizes.hand):
                with m.Case(number):
                    self._hand(m, dut, fresh, packet, gets, shown, number, places, groups)
        for entry, got in zip(dut.entry, gets, strict=True):
            m.d.comb += Assert(entry.valid == got)

    def _hand(self, m, dut, fresh, packet, gets, shown, number, places, groups):
        sizes = Packets(self.params)
        first = packet.word * sizes.keys
        m.d.comb += Assert(~fresh | (dut.o.p.place == places[first + number * sizes.hand]))
        for lane in range(sizes.hand):
            key = number * sizes.hand + lane
            some = packet.alive[key] != 0
            m.d.comb += Assert(~fresh | (dut.o.p.some[lane] == some))
            for n, entry in enumerate(dut.entry):
                its = entry.p
                with m.If(fresh & some & (places[first + key + self.wrong] == n)):
                    m.d.comb += [
                        gets[n].eq(1),
                        Assert(its.key == (first + key)[: len(its.key)]),
                        Assert(its.group == groups[first + key][: len(its.group)]),
                        Assert((its.number == packet.number) & (its.opens == packet.opens)),
                        Assert(its.pinned == packet.pinned[key]),
                        Assert(its.rows == packet.alive[key]),
                        Assert(Value.cast(its.slice) == shown[key]),
                    ]  # fmt: skip

    def _slices(self, packet, word):
        """Of each key its bits, found among the units that were read."""
        p, sizes = self.params, Packets(self.params)
        needs = [any_of(packet.alive[k] for k in range(sizes.keys) if unit in sizes.units([k]))
                 for unit in range(p.channels)]  # fmt: skip
        units = [Array(word.unit)[sum(needs[:unit])] for unit in range(p.channels)]
        bits, found = p.max_head_dim * p.slice_bits, []
        for key in range(sizes.keys):
            begin, parts = 8 * key * sizes.pitch, []
            while bits > sum(map(len, parts)):
                unit, at = divmod(begin + sum(map(len, parts)), 8 * p.unit_bytes)
                parts.append(Value.cast(units[unit])[at : at + bits - sum(map(len, parts))])
            found.append(Cat(parts))
        return found


#: Several keys in a unit, with more units than keys in a hand; a key of two units.
SMALL = {
    "keys": demand_core(channels=2, data_width=32, max_head_dim=64, slice_units=3, max_keys=9,
                        slice_rows=2, addr_width=20),
    "units": demand_core(channels=4, max_head_dim=128, slice_bits=4, slice_units=2, max_keys=5,
                         slice_rows=2, addr_width=20),
}  # fmt: skip


@pytest.mark.parametrize(("name", "depth"), [("keys", 5), ("units", 3)])
def test_proof(name, depth):
    prove(Contract(SMALL[name]), depth=depth, name="packet hands")


def test_everything_is_reached():
    prove(Contract(SMALL["keys"]), depth=5, mode="cover", name="packet hands")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Contract(SMALL["keys"], wrong=1), depth=5, name="packet hands")
