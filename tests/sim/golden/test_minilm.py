"""The golden models on a real encoder: all 72 heads of MiniLM on at least 110 tokens."""

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.plan import plan
from attnsieve.sim.golden.dense import dense_float
from attnsieve.sim.golden.score import score_integer
from attnsieve.sim.golden.softmax import largest_lsb_error

minilm = pytest.importorskip("attnsieve.sim.trace.minilm")
PARAMS = CoreParams()


@pytest.fixture(scope="module")
def trace():
    return minilm.record(max_tokens=113)


def cosines(a, b):
    a, b = (x.reshape(len(x), -1).astype(float) for x in (a, b))
    return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))


@pytest.fixture(scope="module", params=[8, 12])
def layers(trace, request):
    return request.param, [plan(PARAMS, trace, layer, request.param) for layer in range(6)]


def test_every_head_is_close_to_float64(trace, layers):
    bits, plans = layers
    assert trace.q.shape == (6, 12, 113, 32)
    cosine = np.concatenate(
        [
            cosines(
                made.real_output(made.output(made.image.expected())),
                dense_float(trace.q[layer], trace.k[layer], trace.v[layer]),
            )
            for layer, made in enumerate(plans)
        ]
    )
    print(f"{bits} bits: median {np.median(cosine):.6f}, worst {cosine.min():.6f}")
    assert len(cosine) == 72
    if bits == 8:
        assert np.median(cosine) >= 0.9998
        assert cosine.min() >= 0.999
    else:
        assert cosine.min() >= 0.9999


def test_probabilities_are_within_one_bit(layers):
    _, plans = layers
    worst = 0.0
    for made in plans:
        job = made.jobs[0]
        for head in range(12):
            scores = score_integer(PARAMS, job.q[head], job.k[head])
            seen = np.ones(scores.shape, bool)
            scale = job.job.scales[head]
            c = float(made.quantised.c[head])
            worst = max(worst, largest_lsb_error(PARAMS, scores, seen, c, scale))
    assert 0.4 < worst <= 1.0


def test_padding_changes_nothing(trace):
    padded = plan(PARAMS, minilm.record(max_tokens=113, pad_to=128), 0, 8)
    plain = plan(PARAMS, trace, 0, 8)
    assert (padded.jobs[0].job.queries, padded.jobs[0].job.keys) == (113, 113)
    np.testing.assert_allclose(
        padded.jobs[0].expected.out[:, :113].astype(int), plain.jobs[0].expected.out, atol=300
    )
