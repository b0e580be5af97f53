# amaranth: UnusedElaboratable=no
"""First slices of keys: each key that is not hidden in one packet, at its place; proof."""

import random

import pytest
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import (
    Array,
    Assert,
    Assume,
    Cat,
    Const,
    Cover,
    Module,
    Mux,
    Signal,
    Value,
    signed,
)
from amaranth.lib import wiring

from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.slices.demand.packet_seeds import PacketSeeds
from attnsieve.hdl.slices.demand.packets import kv_rows_layout, packet_layout
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

from .demand_cores import CORES, Packets, demand_core


def step_keys(p):
    """Keys whose mask is read at once."""
    return min(Packets(p).keys, p.groups)


def random_head(p, rng, **changes):
    """The rows of a KV head."""
    rows = rng.randrange(1, 1 << p.slice_rows)
    keys = rng.choice([0, 1, p.max_keys, rng.randint(1, p.max_keys)])
    return {
        "rows": rows, "written": rng.choice([rows, rows, rows & rng.getrandbits(8)]), "keys": keys,
        "key_mask": rng.randrange(2), "bank": rng.randrange(p.banks),
        "number": rng.randrange(Packets(p).slices),
        "pin_first": rng.choice([0, 1, p.max_keys]), "pin_from": rng.randint(0, keys),
        "own": rng.choice([rng.randint(0, keys), (1 << p.key_bits) - 1]),
        "unit": rng.randrange(1 << 10), "plane": rng.randrange(1 << 9),
    } | changes  # fmt: skip


def masks_of(p, seed=0):
    rng, share = random.Random(seed), [0.6, 0.1, 0, 1]
    return [
        [rng.random() < share[bank % 4] for _ in range(p.max_keys)] for bank in range(p.banks)
    ]


def packets_of(p, head, masks):
    """Of a KV head."""
    packets, found = Packets(p), []
    for word in range(-(-head["keys"] // packets.keys)):
        keys = range(word * packets.keys, (word + 1) * packets.keys)
        alive = [head["written"] if shown(head, masks, key) else 0 for key in keys]
        if any(alive):
            unit, group = packets.place(keys[0])
            pinned = [key < head["pin_first"] or key >= head["pin_from"] or key == head["own"]
                      for key in keys]  # fmt: skip
            found.append(
                {"unit": head["unit"] + word * p.channels, "plane": head["plane"],
                 "number": head["number"], "opens": 1, "word": word, "place": unit,
                 "group": group, "alive": alive,
                 "pinned": [pin if rows else None for pin, rows in zip(pinned, alive, strict=True)]}
            )  # fmt: skip
    return found


def shown(head, masks, key):
    """Whether a key is there and no mask hides it."""
    return key < head["keys"] and (not head["key_mask"] or masks[head["bank"]][key])


def dealt_of(p, head, masks):
    """Keys that the rows of a KV head will come to, step by step; then its end."""
    step = step_keys(p)
    starts = range(0, max(1, head["keys"]), step)
    counts = [sum(shown(head, masks, key) for key in range(k, k + step)) for k in starts]
    ends = {"keys": 0, "rows": head["rows"], "end_of_part": 1, "end_of_row": 1}
    return [*(ends | {"keys": n, "rows": head["written"], "end_of_part": 0, "end_of_row": 0}
              for n in counts), ends]  # fmt: skip


def decode(o):
    """A packet; of keys that no row needs it does not count whether they are pinned."""
    alive = list(o.alive)
    names = ("unit", "plane", "number", "opens", "word", "place", "group")
    return {name: o[name] for name in names} | {
        "alive": alive,
        "pinned": [bool(o.pinned >> n & 1) if rows else None for n, rows in enumerate(alive)],
    }


class Around:
    """The key mask; now and then another one reads it."""

    def __init__(self, dut, masks, *, hold, seed):
        self.dut, self.masks, self.hold, self.rng = dut, masks, hold, random.Random(seed)
        self.reads = []

    async def bench(self, ctx):
        dut, groups, cycle = self.dut, self.dut.params.groups, 0
        while True:
            hold = self.rng.random() < self.hold
            ctx.set(dut.hold, hold)
            _, _, en, used, bank, beat, closes = await ctx.tick().sample(
                dut.mask.en, dut.mask.used, dut.mask.bank, dut.mask.beat, dut.i.valid & dut.i.ready
            )
            data = self.rng.randrange(1 << groups)  # it does not count unless it was asked for
            assert not ((en or closes) and hold)
            if en:
                self.reads.append(cycle)
                mask = [1] * groups
                if used:
                    mask = self.masks[bank][beat * groups : (beat + 1) * groups]
                data = sum(bit << n for n, bit in enumerate(mask))
            ctx.set(dut.mask.data, data)
            cycle += 1


def run(p, heads, masks, *, hold=0.0, seed=0, **options):
    """Compare. Returns the cycles in which the mask is read, and the result."""
    dut = PacketSeeds(params=p)
    around = Around(dut, masks, hold=hold, seed=seed)
    want = [packet for head in heads for packet in packets_of(p, head, masks)]
    dealt = [each for head in heads for each in dealt_of(p, head, masks)]
    result = run_streams(
        dut, {"i": heads}, {"o": len(want), "dealt": len(dealt)}, seed=seed,
        testbenches=[around.bench], **options,
    )  # fmt: skip
    assert [decode(o) for o in result.outputs["o"]] == want
    assert [{name: o[name] for name in dealt[0]} for o in result.outputs["dealt"]] == dealt
    assert result.times["dealt"] == sorted(t + 2 for t in (*around.reads, *result.times["i"]))
    return around.reads, result


@pytest.mark.parametrize(("stall", "hold"), [(0.0, 0.0), (0.5, 0.3), ({"o": 0.9}, 0.0), (0.3, 0.8)])
@pytest.mark.parametrize("name", CORES)
def test_random_heads(name, stall, hold):
    p, rng = CORES[name], random.Random(f"{name} {stall} {hold}")
    heads = [random_head(p, rng) for _ in range(12)]
    run(p, heads, masks_of(p, name), stall=stall, hold=hold, seed=f"{name} {stall}")


@pytest.mark.parametrize("name", CORES)
def test_every_length(name):
    """With all keys shown; and the last keys of a packet hidden behind a longer head."""
    p, rng = CORES[name], random.Random(name)
    heads = [random_head(p, rng, keys=keys, key_mask=0, written=rng.randrange(1, 4))
             for n in range(p.max_keys + 1) for keys in (n, p.max_keys)]  # fmt: skip
    run(p, heads, masks_of(p))


@pytest.mark.parametrize("name", CORES)
def test_all_is_hidden_or_not_scored(name):
    """Nothing comes out, but the ends of the rows are told; the next head's packets are found."""
    p, rng, masks = CORES[name], random.Random(name), masks_of(CORES[name])
    masks[0] = [False] * p.max_keys
    hidden = [random_head(p, rng, key_mask=1, bank=0), random_head(p, rng, written=0)] * 3
    assert not any(packets_of(p, head, masks) for head in hidden)
    run(p, [*hidden, random_head(p, rng, keys=p.max_keys, key_mask=0, written=1)], masks)


@pytest.mark.parametrize("name", CORES)
def test_packets_wait(name):
    """Nobody takes them most of the time, and none is lost."""
    p, rng = CORES[name], random.Random(name)
    heads = [random_head(p, rng, keys=p.max_keys, key_mask=0, written=1) for _ in range(20)]
    run(p, heads, masks_of(p), stall={"o": 0.9})


@pytest.mark.parametrize("name", CORES)
def test_pace(name):
    """Some keys in every cycle, and a cycle per KV head; `latency` cycles from the last ones of a
    packet it is there."""
    p, rng = CORES[name], random.Random(name)
    heads = [random_head(p, rng, keys=rng.choice([p.max_keys, 1 + p.max_keys // 2]), key_mask=0,
                         written=1) for _ in range(10)]  # fmt: skip
    reads, result = run(p, heads, masks_of(p))
    assert sorted([*reads, *result.times["i"]]) == list(range(len(reads) + len(heads)))
    ends, reads, step = [], iter(reads), step_keys(p)
    for head in heads:
        for key in range(0, head["keys"], step):
            cycle = next(reads)
            if (key + step) % Packets(p).keys == 0 or key + step >= head["keys"]:
                ends.append(cycle)
    assert result.times["o"] == [cycle + PacketSeeds.latency for cycle in ends]


class Contract(wiring.Component):
    """Two KV heads in turn, any two, with any mask: the packets that leave are those that have a
    key that is there and not hidden, one after the other, each with exactly these keys, for exactly
    the rows that are scored, at its place; and none is still on its way `latency` cycles later.

    Parameters
    ----------
    wrong : int
        Keys by which the claim is wrong; 0 to prove it.
    late : int
        Cycles by which it is.
    """

    def __init__(self, params, *, wrong=0, late=0):
        self.params, self.wrong, self.late = params, wrong, late
        super().__init__({})

    def elaborate(self, platform):
        m, p = Module(), self.params
        m.submodules.dut = dut = PacketSeeds(params=p)
        free_inputs(m, dut, but=("i.payload", "mask.data"))
        m.submodules += HoldRule(dut.o)
        heads = [Signal(kv_rows_layout(p), name=f"head{n}") for n in range(2)]
        masks = [AnyConst(p.max_beats * p.groups) for _ in heads]
        turn = Signal()  # which one is at the input
        now = Array(heads)[turn]
        for head in heads:
            m.d.comb += [
                Value.cast(head).eq(AnyConst(len(Value.cast(head)))),
                Assume(head.keys <= p.max_keys),
                Assume((head.unit < 8) & (head.plane < 2)),  # what is only handed through is short
            ]
        m.d.comb += dut.i.p.eq(now)
        m.d.sync += turn.eq(turn ^ (dut.i.valid & dut.i.ready))
        self._mask(m, dut, now, Array(masks)[turn])
        slots = [self._packets(m, head, mask) for head, mask in zip(heads, masks, strict=True)]
        self._order(m, dut, slots)
        self._counted(m, dut, heads, slots, turn)
        return m

    def _mask(self, m, dut, now, mask):
        """What was asked for is there a cycle later."""
        asked, groups = Signal(self.params.groups), self.params.groups
        m.d.comb += [
            Assert(~dut.mask.en | (dut.i.valid & ~dut.hold)),
            Assert(~dut.i.ready | ~dut.hold),
            Assert((dut.mask.bank == now.bank) & (dut.mask.used == now.key_mask)),
        ]
        m.d.sync += asked.eq(Mux(dut.mask.used, mask.word_select(dut.mask.beat, groups), -1))
        was = Signal()
        m.d.sync += was.eq(dut.mask.en)
        m.d.comb += dut.mask.data.eq(Mux(was, asked, AnySeq(groups)))

    def _packets(self, m, head, mask):
        """(whether it comes, the packet) for each packet that a KV head can have."""
        p, packets, found = self.params, Packets(self.params), []
        for word in range(packets.most):
            packet = Signal(packet_layout(p), name=f"packet{word}")
            here = []
            for n, rows in enumerate(packet.alive):
                key = word * packets.keys + n
                if key < p.max_keys:
                    there = (head.keys > key + self.wrong) & (~head.key_mask | mask[key])
                    here.append(there)
                    m.d.comb += rows.eq(Mux(there, head.written, 0))
            unit, group = packets.place(word * packets.keys)
            m.d.comb += [
                packet.unit.eq(head.unit + word * p.channels), packet.plane.eq(head.plane),
                packet.number.eq(head.number), packet.opens.eq(1), packet.word.eq(word),
                packet.place.eq(unit), packet.group.eq(group),
                packet.pinned.eq(Cat(
                    (head.pin_first > key) | (head.pin_from <= key) | (head.own == key)
                    for key in range(word * packets.keys, (word + 1) * packets.keys)
                )),
            ]  # fmt: skip
            found.append((Cat(here).any() & head.written.any(), packet, Cat(here)))
        return found

    def _order(self, m, dut, slots):
        """What leaves is the next packet that comes, of the heads in turn."""
        every, o = [slot for head in slots for slot in head], dut.o
        at, want, some = Signal(range(len(every))), Signal.like(o.p), 0
        place = Signal.like(at)  # of the next packet
        for n, (comes, packet, _) in reversed(list(enumerate(every * 2))):
            some |= comes
            with m.If(comes & (at <= n)):  # the last one that fits is the first to come
                m.d.comb += [want.eq(packet), place.eq(n % len(every))]
        with m.If(o.valid & o.ready):
            m.d.sync += at.eq(Mux(place == len(every) - 1, 0, place + 1))
        with m.If(o.valid):
            fields = ("unit", "plane", "number", "opens", "word", "place", "group")
            m.d.comb += [
                Assert(some), Cover(place == len(every) - 1),
                *(Assert(o.p[name] == want[name]) for name in fields),
                *(Assert(rows == want.alive[n]) for n, rows in enumerate(o.p.alive)),
                *(Assert((rows == 0) | (o.p.pinned[n] == want.pinned[n]))
                  for n, rows in enumerate(want.alive)),
            ]  # fmt: skip

    def _counted(self, m, dut, heads, slots, turn):
        """All packets of a KV head that is over have left, or wait at the output; and its keys have
        been counted."""
        due, closed = Signal(signed(7)), Signal(3)
        packets = Array(sum(comes for comes, _, _ in head) + Const(0) for head in slots)[turn]
        m.d.comb += closed.eq(Mux(dut.i.valid & dut.i.ready, packets, 0))
        m.d.sync += due.eq(
            due + delayed(m, closed, dut.latency - 2 - self.late) - (dut.o.valid & dut.o.ready)
        )
        m.d.comb += Assert((due <= 0) | dut.o.valid)
        dealt, keys, which = dut.dealt, Signal(6), Signal()
        shown = [sum(bit for _, _, here in head for bit in here) + Const(0) for head in slots]
        with m.If(dealt.valid):
            end, head = dealt.p.end_of_row, Array(heads)[which]
            m.d.sync += [keys.eq(Mux(end, 0, keys + dealt.p.keys)), which.eq(which ^ end)]
            m.d.comb += [
                Assert(dealt.p.end_of_part == end),
                Assert(dealt.p.rows == Mux(end, head.rows, head.written)),
                Assert(~end | ((keys == Array(shown)[which]) & (dealt.p.keys == 0))),
            ]


#: As many keys in a packet as in a beat of the mask; more; fewer.
SMALL = {
    "same": demand_core(2, data_width=128, max_keys=3, slice_rows=2),
    "more": demand_core(2, data_width=256, max_keys=6, slice_rows=2, slice_units=3),
    "fewer": demand_core(4, data_width=128, max_keys=5, slice_rows=2, slice_units=1),
}


@pytest.mark.parametrize(("name", "depth"), [("same", 10), ("more", 10), ("fewer", 9)])
def test_proof(name, depth):
    prove(Contract(SMALL[name]), depth=depth, name="packet seeds")


def test_everything_is_reached():
    prove(Contract(SMALL["same"]), depth=14, mode="cover", name="packet seeds")


@pytest.mark.parametrize("wrong", [{"wrong": 1}, {"late": 1}], ids=["wrong", "late"])
def test_a_wrong_claim_is_refuted(wrong):
    with pytest.raises(ProofError):
        prove(Contract(SMALL["same"], **wrong), depth=10, name="packet seeds")
