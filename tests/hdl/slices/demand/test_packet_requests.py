# amaranth: UnusedElaboratable=no
"""Packets that ask for their units: each as often as it goes on, in one order with what is asked
for, no more of them than there is room for; proof."""

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.slices.demand.packet_requests import PacketRequests
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

from .demand_cores import CORES, Packets, demand_core, random_packet

FIELDS = ("unit", "plane", "number", "opens", "word", "place", "group", "pinned")


def plain(packet):
    return {name: packet[name] for name in FIELDS} | {"alive": list(packet["alive"])}


class Few(PacketRequests):
    """Room for a few packets only."""

    packets = 5


class Units:
    """The units: a packet that is taken goes on some cycles later, or ends."""

    def __init__(self, dut, *, turns, delay, seed):
        self.dut, self.delay, self.rng = dut, delay, random.Random(seed)
        self.left = turns  # how often each packet goes on, by its number among the new ones
        self.inside, self.most = 0, 0
        self.began, self.went = [], []  # cycles of new packets; (cycle, packet) of those that go on

    async def bench(self, ctx):
        dut, waiting, cycle, fresh, order = self.dut, [], 0, 0, []
        while True:
            ctx.set(dut.again.valid, 0)
            ctx.set(dut.ended, 0)
            ended = 0
            if waiting and waiting[0][0] <= cycle:
                _, number, packet = waiting.pop(0)
                if self.left[number]:
                    self.left[number] -= 1
                    packet = packet | {"opens": 0, "plane": packet["plane"] + 1}
                    order.append(number)
                    self.went.append((cycle, packet))
                    ctx.set(dut.again.valid, 1)
                    ctx.set(dut.again.p, packet)
                else:
                    ended = 1
                    ctx.set(dut.ended, 1)
            _, _, new, out, packet, some = await ctx.tick().sample(
                dut.seed.valid & dut.seed.ready, dut.o.valid & dut.o.ready, dut.o.p, dut.waiting
            )
            assert some == (self.inside != 0)
            if out:
                number = fresh if packet.opens else order.pop(0)
                fresh += packet.opens
                waiting.append((cycle + self.delay(self.rng), number, plain(packet)))
                waiting.sort(key=lambda entry: entry[0])
            if new:
                self.began.append(cycle)
            self.inside += new - ended
            self.most = max(self.most, self.inside)
            assert self.inside <= dut.packets
            cycle += 1


def run(block, p, seeds, turns, *, delay=lambda rng: rng.randint(1, 30), seed=0, **options):
    """Compare. Returns the units and the result."""
    dut, count = block(params=p), len(seeds) + sum(turns)
    units = Units(dut, turns=list(turns), delay=delay, seed=seed)
    result = run_streams(
        dut, {"seed": seeds}, {"o": count, "ask": count}, seed=seed,
        testbenches=[units.bench], **options,
    )  # fmt: skip
    out = [plain(packet) for packet in result.outputs["o"]]
    assert [packet for packet in out if packet["opens"]] == seeds
    assert [packet for packet in out if not packet["opens"]] == [x for _, x in units.went]
    for packet, ask in zip(out, result.outputs["ask"], strict=True):
        want = [packet["unit"] + n for n in Packets(p).needed(packet)]
        assert list(ask.unit)[: ask.count] == want
    return units, result


def random_seeds(p, seed, count=60):
    rng = random.Random(f"seeds {seed}")
    seeds = [random_packet(p, rng, opens=1, share=rng.choice([0.1, 1])) for _ in range(count)]
    return seeds, [rng.choice([0, 1, 4]) for _ in range(count)]


@pytest.mark.parametrize("stall", [0.0, 0.5, {"ask": 0.9}, {"o": 0.9}, {"seed": 0.8}])
@pytest.mark.parametrize("name", CORES)
def test_random_packets(name, stall):
    p = CORES[name]
    run(PacketRequests, p, *random_seeds(p, f"{name} {stall}"), stall=stall, seed=name)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_room_for_a_few(stall):
    """They are full most of the time, and no more come in."""
    p = CORES["many-keys"]
    units, _ = run(Few, p, *random_seeds(p, stall, 100), stall=stall)
    assert units.most == Few.packets


def test_as_many_as_stated():
    """And then one for each that ends."""
    p, rng = CORES["many-keys"], random.Random(1)
    most = PacketRequests.packets
    seeds = [random_packet(p, rng, opens=1) for _ in range(most + 20)]
    units, _ = run(PacketRequests, p, seeds, [0] * len(seeds), delay=lambda _: 400)
    assert units.began[:most] == list(range(most))
    assert units.began[most] > 400
    assert units.began[most:] == list(range(units.began[most], units.began[most] + 20))


@pytest.mark.parametrize("name", CORES)
def test_a_packet_in_every_cycle(name):
    """Its request `latency` cycles later."""
    p = CORES[name]
    seeds, _ = random_seeds(p, name, 50)
    units, result = run(PacketRequests, p, seeds, [0] * 50, delay=lambda _: 200)
    assert units.began == list(range(50))
    assert result.times["ask"] == [n + result_latency(p) for n in range(50)]


def result_latency(p):
    """Of a beat with as many lanes as channels: two networks of so many levels, four per cycle."""
    levels = (p.channels - 1).bit_length()
    return max(1, 2 * -(-levels // 4))


@pytest.mark.parametrize("name", CORES)
def test_packets_that_go_on_come_first(name):
    """Two cycles later, before all that have not begun."""
    p = CORES[name]
    seeds, _ = random_seeds(p, name, 50)
    units, result = run(PacketRequests, p, seeds, [1] * 50, delay=lambda _: 7)
    packets = zip(result.times["ask"], result.outputs["o"], strict=True)
    requests = [time for time, packet in packets if not packet.opens]
    assert requests == [cycle + 2 + result_latency(p) for cycle, _ in units.went]


class Contract(wiring.Component):
    """Packets that come, new or again, leave in the order in which they came, those of each kind,
    each as it came, and none stays; no more than there is room for are inside. Or: for the n-th
    that leaves the n-th request asks for the units that have a key that some row needs.

    Parameters
    ----------
    requests : bool
        Whether the claim is the latter.
    wrong : int
        Packets by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, params, *, requests=False, wrong=0):
        self.params, self.requests, self.wrong = params, requests, wrong
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = Tiny(params=self.params)
        free_inputs(m, dut)
        m.submodules += [HoldRule(dut.o), HoldRule(dut.ask)]
        moves = {name: Signal(name=f"{name}_moves") for name in ("seed", "again", "o", "ask")}
        for name, move in moves.items():
            port = getattr(dut, name)
            m.d.comb += move.eq(port.valid & port.ready)
        inside, away = Signal(range(8)), Signal(range(8))  # those of these that are with the units
        m.d.sync += [
            inside.eq(inside + moves["seed"] - dut.ended),
            away.eq(away + moves["o"] - dut.ended - moves["again"]),
        ]
        m.d.comb += [
            Assume(dut.seed.p.opens == 1),
            Assume(dut.again.p.opens == 0),
            Assume(~((dut.ended | moves["again"]) & (away == 0))),
            Assume(~(dut.ended & moves["again"])),
            *(Assume(Mux(port.valid, packet_any(port.p), 1)) for port in (dut.seed, dut.again)),
            # numbers are small, and what is only handed through is short
            *(Assume((port.p.unit < 8) & (port.p.plane < 2) & (port.p.pinned == 0))
              for port in (dut.seed, dut.again)),
        ]  # fmt: skip
        if self.requests:
            self._requests(m, dut, moves)
        else:
            m.d.comb += [
                Assert(inside <= dut.packets - self.wrong),
                Assert(dut.waiting == (inside != 0)),
                Cover(inside == dut.packets),
            ]
            self._order(m, dut, moves)
        return m

    def _order(self, m, dut, moves):
        """Watch any packet of either kind."""
        chosen = AnyConst(3)
        for name, kind in (("seed", 1), ("again", 0)):
            port, held = getattr(dut, name), Signal.like(dut.seed.p, name=f"{name}_held")
            came, left = Signal(3, name=f"{name}_came"), Signal(3, name=f"{name}_left")
            out, there = moves["o"] & (dut.o.p.opens == kind), Signal(3, name=f"{name}_there")
            m.d.sync += [came.eq(came + moves[name]), left.eq(left + out)]
            with m.If(moves[name] & (came == chosen)):
                m.d.sync += held.eq(port.p)
            with m.If(out):
                m.d.comb += [
                    Assert(came != left),
                    Assert((left != chosen) | (dut.o.p == held)),
                    Cover(left == 2),
                ]
            # one that has come is at the output soon, unless its request waits
            waits = (came != left) & ~dut.o.valid & ~(dut.ask.valid & ~dut.ask.ready)
            m.d.sync += there.eq(Mux(waits, there + 1, 0))
            m.d.comb += Assert(there < 5)

    def _requests(self, m, dut, moves):
        """The n-th request belongs to the n-th packet that leaves, whichever is first."""
        p, chosen = self.params, AnyConst(3)
        ask, packet = Signal.like(dut.ask.p), Signal.like(dut.o.p)
        asked, left, both = Signal(4), Signal(4), Signal()
        m.d.sync += [asked.eq(asked + moves["ask"]), left.eq(left + moves["o"])]
        with m.If(moves["ask"] & (asked == chosen)):
            m.d.sync += ask.eq(dut.ask.p)
        with m.If(moves["o"] & (left == chosen + self.wrong)):
            m.d.sync += packet.eq(dut.o.p)
        m.d.comb += both.eq((asked > chosen) & (left > chosen + self.wrong))
        with m.If(both):
            needs = []
            for unit in range(p.channels):
                keys = Packets(p)
                mine = [packet.alive[k] for k in range(keys.keys) if unit in keys.units([k])]
                below, need = sum(needs), any_of(mine)
                needs.append(need)
                number = (packet.unit + unit)[: len(packet.unit)]
                for lane in range(unit + 1):
                    with m.If(need & (below == lane)):
                        m.d.comb += Assert(ask.unit[lane] == number)
            m.d.comb += [Assert(ask.count == sum(needs)), Cover(ask.count == 1)]


def any_of(values):
    found = 0
    for value in values:
        found |= value != 0
    return found


def packet_any(packet):
    """Some row needs a key."""
    return any_of(packet.alive)


class Tiny(PacketRequests):
    """Room for three packets."""

    packets = 3


#: Several keys in a unit; a key of two units.
SMALL = {
    "keys": demand_core(channels=2, data_width=32, slice_rows=2, addr_width=20, max_keys=16),
    "units": demand_core(
        channels=4, max_head_dim=128, slice_bits=4, slice_rows=2, addr_width=20, max_keys=4
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_proof(name):
    prove(Contract(SMALL[name]), depth=10, name="packet requests")


@pytest.mark.parametrize("name", SMALL)
def test_requests_are_those_of_packets(name):
    prove(Contract(SMALL[name], requests=True), depth=10, name="packet requests")


def test_everything_is_reached():
    for requests in (False, True):
        proof = Contract(SMALL["keys"], requests=requests)
        prove(proof, depth=14, mode="cover", name="packet requests")


@pytest.mark.parametrize("requests", [False, True])
def test_a_wrong_claim_is_refuted(requests):
    with pytest.raises(ProofError):
        prove(Contract(SMALL["keys"], requests=requests, wrong=1), depth=9, name="packet requests")
