"""Thresholds from traces: the share that they keep, by layer and by head."""

import numpy as np
import pytest

from attnsieve.sim.calibrate import calibrate, constant_margin
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.score import score_float
from attnsieve.sim.trace import Trace


def a_trace(seed=1, heads=4, **options):
    rng = np.random.default_rng(seed)
    q, k = (rng.standard_normal((2, h, 20, 16)).astype(np.float32) for h in (heads, 2))
    return Trace(q=q * (1 + np.arange(heads)[None, :, None, None]).astype(np.float32), k=k, v=k,
                 **options)  # fmt: skip


def kept(trace, thresholds, layer, head):
    """Scores of a head that stay, and all unmasked ones."""
    scores = score_float(trace.q[layer, head], trace.k[layer, head // trace.group])
    scores = scores[trace.pair_mask()]
    return int((scores >= thresholds.layers[layer][head]).sum()), len(scores)


@pytest.mark.parametrize("keep", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"key_valid": np.arange(20) % 3 > 0}],
                         ids=["all", "causal", "masked"])  # fmt: skip
def test_so_many_scores_of_a_layer_stay(options, keep):
    traces = [a_trace(1, **options), a_trace(2, **options)]
    found = calibrate(traces, keep)
    for layer in range(2):
        assert len(set(found.layers[layer])) == 1
        counts = [kept(trace, found, layer, head) for trace in traces for head in range(4)]
        stay, every = (sum(column) for column in zip(*counts, strict=True))
        assert stay == max(1, round(keep * every))


def test_so_many_scores_of_a_head_stay():
    trace = a_trace()
    found = calibrate([trace], 0.25, "head")
    for layer in range(2):
        assert len(set(found.layers[layer])) == 4
        for head in range(4):
            stay, every = kept(trace, found, layer, head)
            assert stay == round(0.25 * every)


@pytest.mark.parametrize("options", [{}, {"causal": True}], ids=["all", "causal"])
def test_distances_from_the_largest_of_a_row(options):
    trace = a_trace(**options)
    found = calibrate([trace], 0.25, "head", relative=True)
    assert found.relative
    for layer in range(2):
        for head in range(4):
            scores = score_float(trace.q[layer, head], trace.k[layer, head // trace.group])
            seen = trace.pair_mask()
            largest = np.array([row[mask].max() for row, mask in zip(scores, seen, strict=True)])
            stay = scores >= largest[:, None] - found.layers[layer][head] - 1e-12
            assert abs((stay & seen).sum() - round(0.25 * seen.sum())) <= 1


def test_one_margin_for_all():
    found = constant_margin([a_trace()], 4)
    assert found.layers == ((4.0,) * 4,) * 2
    assert found.relative
    for margin in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"margin must be a number from 0 on, not"):
            constant_margin([a_trace()], margin)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([a_trace()], 0.0), r"keep must be over 0 and at most 1, not 0\.0"),
        (([a_trace()], 1.5), r"keep must be over 0 and at most 1, not 1\.5"),
        (([a_trace()], 0.5, "row"), r"granularity must be layer or head, not 'row'"),
        (([], 0.5), r"calibrate needs a trace"),
        (([a_trace(), a_trace(heads=2)], 0.5), r"traces must be of one model"),
    ],
)
def test_wrong_input(arguments, message):
    with pytest.raises(InputError, match=message):
        calibrate(*arguments)
