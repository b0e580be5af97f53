# amaranth: UnusedElaboratable=no
"""Scores of keys that lie in planes: as those of others, with no unit of memory read in vain."""

import random
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.variants import mostly_full

from .test_bit_serial_scorer import Work, add_head, core, run

#: One unit of memory per packet and two; packets of more keys than units, and of one; a key of
#: several units; one row at a time; slices of a bit; 8-bit words; a beat of the mask larger than a
#: packet, and smaller.
CORES = {
    "four": core(4, slice_units=6, max_head_dim=64, channels=2, data_width=256),
    "many-keys": core(1, slice_units=2, channels=2, data_width=256),
    "one-unit": core(slice_units=1, data_width=256),
    "bits": core(2, slice_units=3, slice_bits=1, max_head_dim=48, channels=4, slice_rows=4),
    "one-key": core(4, slice_units=5, max_head_dim=128, max_keys=20, channels=1, data_width=256),
    "long-key": core(2, slice_units=3, slice_bits=4, max_head_dim=128, max_keys=20, channels=4),
    "8-bit": core(2, slice_units=5, operand_bits=8, data_width=512),
    "static": core(4, slice_units=6, slice_dealing="static", channels=2, slice_rows=2),
}
CORES = {
    name: type(p)(**(p.as_dict() | {"slice_demand": True, "value_demand": True}))
    for name, p in CORES.items()
}


@dataclass
class Planes:
    """Memory with planes of slices, unit by unit, and how often each must be read."""

    p: object
    rng: random.Random
    unit: dict = field(default_factory=dict)
    due: Counter = field(default_factory=Counter)
    next: int = 3
    heads: list = field(default_factory=list)

    @property
    def pitch(self):
        """Bytes from key to key in a plane."""
        bits = self.p.max_head_dim * self.p.slice_bits
        return next(n for n in (1, 2, 4, 8, 16, 32, 64) if 8 * n >= bits)

    def place(self, k, bits):
        """Write the planes of a head. What is behind its elements is anything."""
        p, keys = self.p, len(k)
        count = -(-bits // p.slice_bits)
        words = k.astype(np.int64) << count * p.slice_bits - bits
        plane = -(-keys * self.pitch // p.unit_bytes) + self.rng.randrange(3)
        for number in range(count):
            parts = words >> (count - 1 - number) * p.slice_bits & (1 << p.slice_bits) - 1
            image = bytearray(self.rng.randbytes(plane * p.unit_bytes))
            for key, row in enumerate(parts):
                value = sum(int(x) << n * p.slice_bits for n, x in enumerate(row))
                have = len(row) * p.slice_bits
                value |= self.rng.getrandbits(8 * self.pitch) >> have << have
                begin = key * self.pitch
                image[begin : begin + self.pitch] = (
                    value % (1 << 8 * self.pitch)
                ).to_bytes(self.pitch, "little")
            for unit in range(plane):
                place = self.next + number * plane + unit
                self.unit[place] = image[unit * p.unit_bytes : (unit + 1) * p.unit_bytes]
        self.heads.append((self.next, plane))
        self.next += plane * count
        return {"unit": self.heads[-1][0], "plane": plane}

    def needs(self, slices):
        """So many slices of each key of the head that was placed last."""
        base, plane = self.heads[-1]
        for number in range(slices.max(initial=0)):
            keys = np.flatnonzero(slices > number)
            begin = keys * self.pitch // self.p.unit_bytes
            end = ((keys + 1) * self.pitch - 1) // self.p.unit_bytes
            units = {unit for a, b in zip(begin, end, strict=True) for unit in range(a, b + 1)}
            self.due.update(int(base + number * plane + unit) for unit in units)

    def serve(self, latency=20, stall=0.0):
        """The memory: answers in order, some cycles later."""

        async def bench(dut, ctx):
            cycle, waiting, answer = 0, [], None
            self.read = read = Counter()
            while True:
                ready = self.rng.random() >= stall
                if answer is None and waiting and waiting[0][0] <= cycle:
                    if self.rng.random() >= stall:
                        answer = waiting.pop(0)[1]
                        for lane, unit in enumerate(dut.word.p.unit):
                            ctx.set(unit, self._data(answer, lane))
                ctx.set(dut.word.valid, answer is not None)
                ctx.set(dut.ask.ready, ready)
                _, _, asked, taken, ask = await ctx.tick().sample(
                    dut.ask.valid, dut.word.ready, dut.ask.p
                )
                if asked and ready:
                    units = [int(ask.unit[lane]) for lane in range(ask.count)]
                    assert units
                    read.update(units)
                    waiting.append((cycle + latency, units))
                if taken:
                    answer = None
                cycle += 1

        return bench

    def _data(self, units, lane):
        """What a lane brings: anything where no unit was asked for."""
        if lane >= len(units):
            return self.rng.getrandbits(8 * self.p.unit_bytes)
        return int.from_bytes(self.unit[units[lane]], "little")


def planar_work(p, seed, *, heads=5, mask=None, share=1.0, **options):
    """Decode: one query per head. That share of the heads lies in planes, the others in lines, as
    in every other core."""
    rng, work = np.random.default_rng(seed), Work()
    planes = Planes(p, random.Random(seed))
    for _ in range(heads):
        bits = 12 if p.operand_bits == 12 and rng.random() < 0.7 else 8
        work.planes = planes if share == 1 or rng.random() < share else None
        keys = int(rng.choice((1, 2, p.max_keys, rng.integers(1, p.max_keys + 1))))
        keys = min(keys, 2 * p.buffer_elements // p.max_head_dim)
        add_head(
            work, p, rng, keys=keys, queries=1, head_dim=int(rng.choice(p.head_dims)),
            group=int(rng.integers(1, p.slice_rows + 1)), bits=bits,
            mask=mask if rng.random() < 0.5 else None, hide=[0] if rng.random() < 0.2 else [],
            pins=(int(rng.choice((0, 0, 1, 4))), int(rng.choice((0, 0, 1, 4))),
                  int(rng.choice((-1, keys // 2)))),
            **({"keep": rng.choice((0.0, 0.1, 0.5, 1.0))} | options),
        )  # fmt: skip
    return work, planes


@pytest.mark.parametrize(
    "stall, seed", [pytest.param(0.0, 1, marks=pytest.mark.full), (0.4, 2)]
)
@pytest.mark.parametrize("name", CORES)
def test_random_heads(name, stall, seed):
    p = CORES[name]
    mask = [random.Random(key).random() < 0.6 for key in range(p.max_keys)]
    work, planes = planar_work(p, seed, mask=mask)
    run(p, work, mask, testbenches=[planes.serve(stall=stall)], stall=stall)
    assert planes.read == planes.due


@pytest.mark.parametrize("name", mostly_full(["many-keys", "bits", "static"], "bits"))
def test_heads_in_planes_and_in_lines(name):
    """In turn, so that keys of both are with the units; several rows of each."""
    p = CORES[name]
    mask = [random.Random(key).random() < 0.6 for key in range(p.max_keys)]
    work, planes = planar_work(p, 3, heads=12, mask=mask, share=0.5)
    assert 3 < len(planes.heads) < 9
    run(p, work, mask, testbenches=[planes.serve()])
    assert planes.read == planes.due


def test_keys_in_planes_come_as_others_are_dealt():
    """Both read the mask, in one cycle one of them; and the store keeps the keys of later heads."""
    p, rng, work = CORES["many-keys"], np.random.default_rng(4), Work()
    mask = [random.Random(key).random() < 0.6 for key in range(p.max_keys)]
    planes = Planes(p, random.Random(4))
    for head in range(8):
        work.planes = None if head % 2 else planes
        add_head(
            work, p, rng, keys=p.max_keys, queries=1, head_dim=p.max_head_dim, mask=mask,
            group=4 if head % 2 else 1, bits=12, keep=1.0,
        )  # fmt: skip
    run(p, work, mask, testbenches=[planes.serve()], max_cycles=12000)
    assert planes.read == planes.due
