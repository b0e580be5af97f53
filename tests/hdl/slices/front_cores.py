"""Small cores with bit-serial units, of all shapes, and their keys."""

from __future__ import annotations

from attnsieve.hdl.params import CoreParams

__all__ = ["CORES", "core", "keys_at_once", "segments_of"]


def core(**changes):
    """Two units, one lane group, and room for as many keys as a head may have, or few more."""
    values = {"lanes": 16, "max_head_dim": 32, "max_keys": 20, "max_queries": 8, "output_lanes": 1,
              "slice_units": 2, "slice_rows": 8} | changes  # fmt: skip
    lines = -(-values["max_keys"] * values["max_head_dim"] // (2 * values["lanes"]))
    least = -(-values["max_head_dim"] // values["lanes"])
    return CoreParams(**({"buffer_elements": max(lines, least) * values["lanes"]} | values))


#: The smallest; one unit; four lanes; fewer units than slices, which are bits; more units; as many;
#: with 8-bit words only; heads of one key; words of signs and magnitudes.
CORES = {
    "least": core(lanes=1, max_head_dim=16, max_keys=1, slice_units=1, operand_bits=8),
    "one": core(slice_units=1, max_head_dim=48),
    "narrow": core(lanes=4, slice_bits=4),
    "bits": core(lanes=32, max_head_dim=48, slice_units=3, slice_bits=1),
    "more": core(lanes=64, max_head_dim=128, slice_units=8, slice_bits=4),
    "same": core(lanes=128, max_head_dim=48, slice_units=6, slice_rows=4),
    "byte": core(lanes=64, max_head_dim=80, slice_units=5, operand_bits=8, slice_rows=2),
    "key": core(lanes=32, max_head_dim=16, max_keys=1),
    "signs": core(lanes=32, max_head_dim=48, slice_units=3, slice_words="sign_magnitude"),
}


def keys_at_once(p):
    """Keys of a turn: no more than units, or than lane groups; a power of two."""
    return max(n for n in (1, 2, 4, 8, 16) if n <= p.slice_units and n <= p.groups)


def segments_of(p, row):
    """A row's segments, each as it lies in a line."""
    mask = (1 << p.operand_bits) - 1
    return [
        sum((int(x) & mask) << n * p.operand_bits for n, x in enumerate(row[at : at + p.segment]))
        for at in range(0, len(row), p.segment)
    ]
