"""Predictions from shapes: the jobs of the models, and figures of small ones."""

from collections import Counter
from dataclasses import replace

import pytest

from attnsieve.gen.config import load
from attnsieve.sim.bench.sizes import MODELS, figures, main, model_workload

BY_NAME = {model.name: model for model in MODELS}
SMALL = replace(
    BY_NAME["gpt2-small, K 6+4, V 6"], heads=2, tokens=64, steps=3, keys=(1.0, 0.5), alive=(2, 1),
    again=(1.0, 0.0),
)  # fmt: skip
ENCODER = replace(BY_NAME["bert-base, 128 tokens"], heads=2, tokens=32, keys=(1.0, 0.5),
                  alive=(2, 1))  # fmt: skip


def test_a_decoder_keeps_what_the_release_keeps():
    workload = model_workload(BY_NAME["gpt2-small, K 6+4, V 6"])
    assert len(workload.jobs) == 32 * 12
    first, later = workload.jobs[:12], workload.jobs[12:24]
    assert {(j.length, j.keys, j.values) for j in first} == {(993, 993, 204)}
    assert [j.keys for j in later] == [921, 716, *(204,) * 4, *(102,) * 6]
    assert [j.values for j in later] == [184, 143, *(40,) * 4, *(20,) * 6]
    assert workload.jobs[-1].length == 1024
    share = sum(sum(j.again) for j in workload.jobs) / (32 * 12 * 12)
    assert share == pytest.approx(0.07, abs=0.01)
    medium = model_workload(BY_NAME["gpt2-medium, K 12, V 8"])
    assert [j.keys for j in medium.jobs[24:32]] == [994, 994, 921, 819, 819, 614, 614, 614]
    assert Counter(len(j.heads) for j in medium.jobs[24:48]) == {16: 16, 13: 6, 10: 2}


def test_an_encoder_loses_queries_with_its_keys():
    (first, second) = model_workload(ENCODER).jobs
    assert (first.queries, first.keys, second.keys, len(second.heads)) == (32, 32, 16, 1)
    found = figures(load("spatten"), ENCODER)
    assert found.fp32 == 4 * found.bytes8 == 2 * 4 * 4 * 32 * 64 * 2
    # bytes of the living: Q, K, V of 8 bits, O of 16
    assert found.moved == 64 * 5 * (2 * 32 + 16)
    assert found.dense_cycles > found.cycles > 2 * 32 * 32 + 16 * 16


def test_a_decoder_moves_less_than_the_dense_core():
    found = figures(load("spatten"), SMALL)
    assert found.moved < found.bytes8 < found.fp32
    wide = figures(load("spatten"), replace(SMALL, key_bits=8, value_bits=8))
    assert found.moved < wide.moved
    assert found.gflops == pytest.approx(4 * 64 * 2 * 2 * (62 + 63 + 64) / found.cycles, rel=1e-3)


def test_the_table(capsys):
    with pytest.raises(SystemExit):
        main(["--model", "gpt7"])
    assert "gpt2-small" in capsys.readouterr().err
