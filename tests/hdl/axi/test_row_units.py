# amaranth: UnusedElaboratable=no
"""Rows to units: every wanted word once, in order, and no unit more than needed."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.axi.row_units import RowUnits
from attnsieve.sim.unit import run_streams

SIZES = {
    "reference": {"lanes": 4, "channels": 2, "unit_words": 8},
    "tiny": {"lanes": 1, "channels": 1, "unit_words": 1},
    "wide": {"lanes": 2, "channels": 1, "unit_words": 16},
    "many": {"lanes": 8, "channels": 16, "unit_words": 8},
}
BITS = {"index_bits": 10, "word_bits": 20, "pitch_bits": 6}


def lists(rng, pitches, count):
    """Lists of ascending rows with their base and pitch."""
    made = []
    for _ in range(count):
        density = rng.choice([0.1, 0.5, 0.9, 1])
        rows = [row for row in range(rng.randrange(1, 60)) if rng.random() < density] or [3]
        made.append((rows, 8 * rng.randrange(1 << 10), rng.choice(pitches)))
    return made


def beats_of(lanes, rows, base, pitch):
    beats = []
    for first in range(0, len(rows), lanes):
        part = rows[first : first + lanes]
        entries = [
            {"index": row, "before": row - 1 in rows, "after": row + 1 in rows} for row in part
        ]
        entries += [{"index": 1023, "before": 1, "after": 1}] * (lanes - len(part))
        last = first + lanes >= len(rows)
        beats.append(
            {"row": entries, "count": len(part), "base": base, "pitch": pitch, "last": last}
        )
    return beats


def wanted(unit_words, rows, base, pitch):
    """Words in order, and the units in the order in which they are first touched."""
    words = [base + row * pitch + n for row in rows for n in range(pitch)]
    units = []
    for row in rows:
        touched = range((base + row * pitch) // unit_words,
                        (base + row * pitch + pitch - 1) // unit_words + 1)
        shared = pitch >= unit_words and row - 1 in rows
        units += [u for u in touched if not (shared and units and units[-1] == u)]
    return words, units


def run(size, made, **options):
    sizes = SIZES[size]
    beats, count, plan = [], 0, []
    for rows, base, pitch in made:
        beats += beats_of(sizes["lanes"], rows, base, pitch)
        words, units = wanted(sizes["unit_words"], rows, base, pitch)
        n = -(-len(units) // sizes["channels"])
        plan.append((words, units, n))
        count += n
    result = run_streams(RowUnits(**sizes, **BITS), {"i": beats}, {"o": count}, **options)
    out = iter(result.outputs["o"])
    for words, units, n in plan:
        got_units, got_words = [], []
        for k in range(n):
            beat = next(out)
            assert bool(beat.last) == (k == n - 1)
            assert beat.count == sizes["channels"] or k == n - 1
            for lane in range(beat.count):
                unit, mask = beat.item[lane].unit, beat.item[lane].mask
                got_units.append(unit)
                got_words += [unit * sizes["unit_words"] + b
                              for b in range(sizes["unit_words"]) if mask >> b & 1]
        assert got_units == units
        assert got_words == words
    return result


@pytest.mark.parametrize("stall", [0.0, 0.4, {"o": 0.8}])
@pytest.mark.parametrize("size", SIZES)
def test_random_lists(size, stall):
    rng = random.Random(f"{size} {stall}")
    run(size, lists(rng, [2, 3, 4, 5, 6, 8, 12, 16, 20, 24, 32, 48], 25), stall=stall)


@pytest.mark.parametrize("pitch", [8, 16, 24, 48])
def test_whole_lists_read_each_unit_once(pitch):
    result = run("reference", [(list(range(64)), 8, pitch)])
    assert result.last("o") - result.first("o") == 64 * pitch // 16 - 1  # a beat per cycle


def test_rows_of_half_a_unit_more_share_units():
    """48-byte rows: a pair of neighbours takes three units, single ones two each."""
    result = run("reference", [(list(range(32)), 0, 12)])
    assert len(result.outputs["o"]) == 32 * 12 // 16
    result = run("reference", [(list(range(0, 32, 2)), 0, 12)])
    assert len(result.outputs["o"]) == 16


def test_random_rows_of_one_unit_keep_up():
    rng = random.Random(2)
    rows = sorted(rng.sample(range(1000), 400))
    result = run("reference", [(rows, 0, 8)])
    assert result.last("o") - result.first("o") == 400 // 2 - 1


def test_parameters_are_checked():
    with pytest.raises(ValueError, match=r"^Lanes must be in 1\.\.64, not 0$"):
        RowUnits(lanes=0, channels=1, unit_words=8, **BITS)
    with pytest.raises(ValueError, match=r"^Unit words must be a power of two"):
        RowUnits(lanes=1, channels=1, unit_words=6, **BITS)
