"""Golden top-k against its definition, on every small row."""

from __future__ import annotations

from itertools import product

import numpy as np

from attnsieve.sim.golden.top_k import top_k, top_k_threshold


def test_every_small_row():
    for n in range(1, 5):
        for values in product(range(4), repeat=n):
            for k in range(n + 2):
                kept = top_k(np.array(values), k)
                assert kept.sum() == min(k, n)
                for a, b in product(range(n), repeat=2):
                    if kept[a] and not kept[b]:  # a is larger, or equal and before b
                        assert (values[a], -a) > (values[b], -b)


def test_threshold():
    assert top_k_threshold(np.array([5, 1, 5, 7, 5]), 3, 4) == (5, 2)
    assert top_k_threshold(np.array([5, 1]), 0, 4) == (15, 0)
    assert top_k_threshold(np.array([5, 1]), 2, 4) == (0, 2)
