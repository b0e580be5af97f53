"""Rows for top-k engines: payloads, what should come out, and running them."""

from __future__ import annotations

import random

from attnsieve.sim.golden.top_k import top_k_threshold
from attnsieve.sim.unit import run_streams

__all__ = ["ADVERSARIAL", "beats_of", "random_row", "run"]


def beats_of(params, values, k, rng=None):
    """Beats of a row; with ``rng``, lanes that do not take part lie between the values."""
    waiting = list(values)
    beats = []
    while waiting or not beats:
        value, keep = [], 0
        for lane in range(params.lanes):
            gap = rng is not None and rng.random() < 0.3
            if waiting and not gap:
                keep |= 1 << lane
                value.append(waiting.pop(0))
            else:
                value.append(0 if rng is None else rng.randrange(1 << params.value_bits))
        beats.append({"value": value, "keep": keep, "k": k, "last": 0})
    beats[-1]["last"] = 1
    return beats


def run(dut, rows, stall=0.0, gaps=None, **options):
    """Run an engine on rows of (values, k) and compare its thresholds with the golden model."""
    params = dut.params
    beats = [beat for values, k in rows for beat in beats_of(params, values, k, gaps)]
    result = run_streams(dut, {"i": beats}, {"o": len(rows)}, stall=stall, **options)
    want = [top_k_threshold(values, k, params.value_bits) for values, k in rows]
    assert [(t.value, t.equal) for t in result.outputs["o"]] == want
    return result


def random_row(params, rng, longest):
    """A row of any length and spread, and a k that often lies at an end."""
    n = rng.choice([1, params.lanes, longest, rng.randint(1, longest)])
    top = 1 << rng.randint(1, params.value_bits)
    skew = rng.choice([1, 1, 4, 12])
    values = [int(top * rng.random() ** skew) for _ in range(n)]
    return values, rng.choice([0, 1, n - 1, n, n + 1, rng.randint(0, n), rng.randint(0, n)])


def _two(n, top):
    return [top - 1 - (i * 7 % 3 == 0) for i in range(n)]


#: Values by kind, from their number and the least value that is too large.
ADVERSARIAL = {
    "all equal": lambda n, top: [top * 5 // 7] * n,
    "all zero": lambda n, top: [0] * n,
    "all ones": lambda n, top: [top - 1] * n,
    "sorted": lambda n, top: sorted(random.Random(n).randrange(top) for _ in range(n)),
    "reversed": lambda n, top: sorted(
        (random.Random(n).randrange(top) for _ in range(n)), reverse=True
    ),
    "two values": _two,
    "one is larger": lambda n, top: [1] * (n - 1) + [top - 1],
    "differ in the last bit": lambda n, top: [top // 2 + (i & 1) for i in range(n)],
}
