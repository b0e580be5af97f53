# amaranth: UnusedElaboratable=no
"""The core that is told which values to keep, beside which the top-k is measured."""

import random

import pytest

from attnsieve.gen import config
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.top_k.forced import ForcedSelect, forced_flags, measure, random_job
from attnsieve.sim.unit import run_streams

FOUR = CoreParams(
    lanes=64, value_lanes=16, token_lanes=16, max_keys=130, max_queries=16, buffer_elements=1 << 14
)


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_terms_are_kept_as_told(stall):
    rng = random.Random(5)
    rows = [rng.randrange(1, 34) for _ in range(20)]
    beats = [
        {"term": [{"mantissa": rng.randrange(1, 1 << 16), "exponent_class": rng.randrange(3)}
                  for _ in range(4)], "last": n == size - 1}
        for size in rows for n in range(size)
    ]  # fmt: skip
    flags = [rng.randrange(16) for _ in beats]
    result = run_streams(
        ForcedSelect(params=FOUR, flags=flags),
        {"i": beats, "row": [{"values": 1}] * len(rows)},
        {"o": len(beats), "seen": len(beats)},
        stall=stall,
    )
    came = result.outputs
    for beat, keep, out, seen in zip(beats, flags, came["o"], came["seen"], strict=True):
        want = [t["mantissa"] if keep >> n & 1 else 0 for n, t in enumerate(beat["term"])]
        assert [term.mantissa for term in out.term] == want
        assert [term.mantissa for term in seen.term] == [t["mantissa"] for t in beat["term"]]
        assert out.last == seen.last == beat["last"]


def test_flags_are_those_of_the_golden_model():
    image = random_job(FOUR, 33, 16, 3)
    flags = forced_flags(image)
    kept = image.jobs[0].expected.kept_values[0]
    assert len(flags) == 3 * 9
    assert sum(flag.bit_count() for flag in flags) == kept.sum() == 3 * 8
    assert [flags[9 + n // 4] >> n % 4 & 1 for n in range(33)] == kept[1].tolist()


@pytest.mark.full
def test_the_top_k_costs_little():
    built = config.load("spatten-tiny")
    ((own, forced),) = measure(built, [(33, 16)], 24)
    assert forced < own < 1.02 * forced
