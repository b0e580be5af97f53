"""Small cores that read slices on demand, of all shapes, and what lies in their packets."""

from __future__ import annotations

from dataclasses import dataclass

from ..front_cores import core

__all__ = ["CORES", "Packets", "demand_core", "ones", "random_packet"]


def demand_core(groups=1, **changes):
    """A core with segments of 16 lanes that reads slices on demand."""
    values = {"lanes": 16 * groups, "max_keys": 21, "addr_width": 24, "slice_rows": 4,
              "channels": 1, "value_demand": True, "slice_demand": True}  # fmt: skip
    return core(**(values | changes))


#: One key, unit and channel; packets of more keys than units; a beat of the mask smaller than a
#: packet, and larger; a key of two units, with two keys and with one in a packet; slices of a bit;
#: with 8-bit words only; heads of one key.
CORES = {
    "least": demand_core(data_width=64, slice_units=1, slice_rows=2),
    "one-unit": demand_core(data_width=256, slice_units=1),
    "many-keys": demand_core(2, channels=2, data_width=64, slice_units=3),
    "bits": demand_core(4, channels=4, slice_units=6, slice_bits=1, max_head_dim=48, max_keys=50),
    "wide-mask": demand_core(8, data_width=128, slice_units=8, slice_rows=8, max_keys=37),
    "long-keys": demand_core(2, channels=4, slice_units=3, slice_bits=4, max_head_dim=128),
    "long-key": demand_core(4, channels=2, slice_units=5, slice_bits=4, max_head_dim=128),
    "byte": demand_core(2, data_width=512, slice_units=5, operand_bits=8, slice_rows=2),
    "key": demand_core(2, data_width=256, max_keys=1, slice_units=3),
}


@dataclass
class Packets:
    """What lies in a packet of a core."""

    p: object

    def __post_init__(self):
        p, bits = self.p, self.p.max_head_dim * self.p.slice_bits
        self.pitch = min(n for n in (1, 2, 4, 8, 16, 32, 64) if 8 * n >= bits)  # bytes of a slice
        self.keys = p.channels * p.unit_bytes // self.pitch
        self.hand = max(n for n in (1, 2, 4, 8, 16) if n <= p.slice_units and n <= self.keys)
        self.most = -(-p.max_keys // self.keys)
        self.slices = -(-p.operand_bits // p.slice_bits)

    def units(self, keys):
        """Units with a byte of one of these keys of a packet, in order."""
        size = self.p.unit_bytes
        return sorted({at // size for key in keys
                       for at in range(key * self.pitch, (key + 1) * self.pitch)})  # fmt: skip

    def needed(self, packet):
        """Its units that some row needs."""
        return self.units(key for key, rows in enumerate(packet["alive"]) if rows)

    def place(self, key):
        """The unit that scores a key of a row, and how many keys of the row it had before."""
        group, unit = divmod(key, self.p.slice_units)
        return unit, group


def ones(number, size):
    """The places of the ones among so many bits."""
    return [n for n in range(size) if number >> n & 1]


def random_packet(p, rng, *, word=None, share=0.5, opens=None):
    """Any packet of any row, with a key that some row needs."""
    packets = Packets(p)
    word = rng.randrange(packets.most) if word is None else word
    there = [key for key in range(packets.keys) if word * packets.keys + key < p.max_keys]
    alive = [0] * packets.keys
    for key in there:
        if rng.random() < share:
            alive[key] = rng.randrange(1 << p.slice_rows)
    if not any(alive):
        alive[rng.choice(there)] = rng.randrange(1, 1 << p.slice_rows)
    unit, group = packets.place(word * packets.keys)
    return {
        "unit": rng.randrange(1 << 10), "plane": rng.randrange(1 << 8),
        "number": rng.randrange(packets.slices),
        "opens": rng.randrange(2) if opens is None else opens,
        "word": word, "place": unit, "group": group,
        "pinned": rng.getrandbits(packets.keys), "alive": alive,
    }  # fmt: skip
