"""Traces on the generated Verilog of the smallest core, through the Python API."""

import functools
import json

import numpy as np
import pytest

from attnsieve.gen.api import simulate as api_simulate
from attnsieve.gen.config import load
from attnsieve.sim.bench.memory import Stalls, Timing
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.dense import dense_float
from attnsieve.sim.simulate import SIMULATORS, references, simulate
from attnsieve.sim.trace.trace import Trace

TINY = load("dense-tiny")


def trace(layers=2, heads=4, kv_heads=2, queries=9, keys=9, dim=32, **options):
    rng = np.random.default_rng(1)
    q = rng.standard_normal((layers, heads, queries, dim)).astype(np.float32)
    k, v = (rng.standard_normal((layers, kv_heads, keys, dim)).astype(np.float32) for _ in "kv")
    return Trace(q=q, k=k, v=v, **options)


@functools.cache
def causal():
    return simulate(TINY, trace(causal=True), bits=12)


def test_outputs_are_attention():
    result, recorded = causal(), trace(causal=True)
    assert result.mismatches == 0
    assert result.messages == ()
    assert result.out.shape == (2, 4, 9, 32)
    for layer in range(2):
        want = dense_float(
            recorded.q[layer], recorded.k[layer], recorded.v[layer], causal=True
        )
        np.testing.assert_allclose(result.out[layer], want, atol=0.01)


def test_figures():
    stats = causal().stats
    assert [row["layer"] for row in stats["layers"]] == [0, 1]
    total = stats["total"]
    assert total["mismatches"] == 0
    assert total["cycles"] == total["busy_cycles"] + sum(total["stall_cycles"].values())
    assert total["macs_qk"] == 2 * 4 * 45 * 32
    assert total["jobs"] == 2
    assert stats["baseline"]["total"] == stats["unpruned"]["total"] == total
    assert stats["config"]["simulation"]["bits"] == 12
    assert stats["config"]["simulation"]["memory"]["bytes_per_cycle"] == 4
    assert stats["tool_versions"]["verilator"]
    assert causal().simulated_cycles > total["cycles"]


def test_files(tmp_path):
    causal().write(tmp_path)
    assert json.loads((tmp_path / "stats.json").read_text()) == causal().stats
    with np.load(tmp_path / "out.npz") as arrays:
        np.testing.assert_array_equal(arrays["out"], causal().out)
        assert arrays["kept_scores"].sum() == 2 * 4 * 45


def test_selection_and_masks():
    valid = np.arange(9) < 7
    valid[3] = False
    recorded = trace(key_valid=valid, query_valid=valid)
    result = simulate(TINY, recorded, layers="1", heads="0,3", baseline=False)
    assert result.mismatches == 0
    assert result.out.shape == (1, 2, 9, 32)
    assert list(result.arrays["layers"]) == [1]
    assert list(result.arrays["heads"]) == [0, 3]
    assert not result.out[:, :, ~valid].any()
    assert "baseline" not in result.stats


@pytest.mark.parametrize("queued", [False, True])
def test_decode_is_a_job_per_step(queued):
    result = simulate(TINY, trace(layers=1, queries=3, decode=True), queued=queued)
    assert result.mismatches == 0
    assert len(result.plans[0].jobs) == 3
    assert result.stats["total"]["jobs"] == (1 if queued else 3)
    assert result.arrays["kept_scores"].sum() == 4 * (7 + 8 + 9)


def test_simulators_agree():
    recorded = trace(layers=1, heads=1, kv_heads=1, queries=3, keys=4, dim=16)
    stalls = Stalls.everywhere(0.2, 4)
    results = [simulate(TINY, recorded, simulator=name, stalls=stalls) for name in SIMULATORS]
    assert len(results) == 3
    for result in results:
        assert result.mismatches == 0
        np.testing.assert_array_equal(result.out, results[0].out)
        assert result.stats["layers"] == results[0].stats["layers"]
        assert result.simulated_cycles == results[0].simulated_cycles


def test_slow_memory_takes_longer():
    slow = simulate(TINY, trace(causal=True), bits=12, memory=Timing(300, 4))
    assert slow.mismatches == 0
    assert slow.stats["total"]["cycles"] > causal().stats["total"]["cycles"] + 2 * 2 * 200


def test_progress_and_waveforms(tmp_path):
    told = []
    path = tmp_path / "wave.vcd"
    api_simulate(
        "dense-tiny",
        trace(layers=1, heads=1, kv_heads=1, queries=1, keys=1, dim=16),
        vcd=path,
        progress=lambda done, total: told.append((done, total)),
    )
    assert path.stat().st_size > 10_000
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1]
    assert all(a <= b for (a, _), (b, _) in zip(told, told[1:], strict=False))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"simulator": "vcs"}, r"^simulator must be one of cxxrtl, verilator, icarus, not 'vcs'$"),
        (
            {"simulator": "icarus", "vcd": "x"},
            r"^waveforms are written by verilator and cxxrtl, not by icarus$",
        ),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        simulate(TINY, trace(), **options)


def test_a_trace_that_is_too_large():
    with pytest.raises(InputError, match=r"^keys must be at most 64 on this core, not 65$"):
        simulate(TINY, trace(keys=65))


@pytest.mark.parametrize("key_bits, bits, whole", [
    (0, 8, 12), (0, 12, 12), (4, 8, 8), (6, 8, 10), (8, 12, 12), (10, 8, 12), (12, 8, 12),
])  # fmt: skip
def test_references_of_a_progressive_run_read_k_in_one_plane(key_bits, bits, whole):
    settings = ["core.progressive=true", "core.value_demand=true", f"key_bits={key_bits}",
                "value_bits=6", "threshold=0.1", "demand=true", "keep_values=0.3"]  # fmt: skip
    config = load("spatten-tiny", settings=settings)
    found = references(config, bits)
    run = found["unpruned"].run
    assert found["unpruned"].core == config.core
    assert (run.key_bits, run.value_bits, run.threshold, run.demand) == (whole, 6, 0.0, False)
    assert (run.keep_tokens, run.keep_values, run.keep_heads) == (1.0, 1.0, 1.0)
    run, core = found["baseline"].run, found["baseline"].core
    assert (run.key_bits, run.value_bits, run.threshold, run.demand) == (0, 0, 0.0, False)
    assert (core.token_lanes, core.value_lanes) == (0, 0)
    assert (core.progressive, core.value_demand) == (False, False)


def test_references_of_other_runs():
    dense = load("dense-tiny")
    assert references(dense, 8) == {"baseline": dense, "unpruned": dense}
    static = load("spatten-tiny", settings=["core.progressive=true", "key_bits=6"])
    assert references(static, 8)["unpruned"] == static


@pytest.mark.parametrize("setting", ["threshold=0.1", "demand=true"])
def test_rows_that_wait_need_a_decode_trace(setting):
    name = setting.partition("=")[0]
    message = rf"^{name} needs jobs of one query: a decode trace, not one with 9 queries in a job$"
    core = ["core.progressive=true", "core.value_demand=true"]
    with pytest.raises(InputError, match=message):
        simulate(load("spatten-tiny", settings=[*core, setting]), trace())


@pytest.mark.parametrize("setting, message", [
    ("key_bits=6", r"^key_bits must be 0 on a core without progressive, not 6$"),
    ("threshold=0.1", r"^threshold must be 0 on a core without progressive, not 6554$"),
    ("demand=true", r"^demand must be false on a core without value_demand$"),
])  # fmt: skip
def test_a_core_without_them_refuses(setting, message):
    decode = trace(queries=4, decode=True)
    plain = ["core.progressive=false", "core.value_demand=false"]
    with pytest.raises(InputError, match=message):
        simulate(load("spatten-tiny", settings=[*plain, setting]), decode)
