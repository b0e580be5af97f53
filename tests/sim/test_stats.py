"""stats.json and atomic files."""

import json

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.memory import Timing
from attnsieve.sim.driver.plan import single_job
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.job import Job
from attnsieve.sim.stats import (
    STALL_CAUSES,
    LayerStats,
    layer_stats,
    stats_document,
    write_json,
    write_npz,
)

PARAMS = CoreParams()
FIELDS = {
    "cycles", "limit_cycles", "limit_ratio", "job_ratio", "macs_qk", "macs_pv", "dram_read_bytes",
    "dram_write_bytes", "waste_macs", "waste_bytes", "kept_tokens", "kept_heads", "kept_scores",
    "kept_values", "empty_rows", "stall_cycles", "mismatches",
}  # fmt: skip


def counters(cycles, read=10000, write=4096):
    stalls = {f"stall_{cause}": n for n, cause in enumerate(STALL_CAUSES)}
    busy = cycles - sum(stalls.values())
    return {"cycles": cycles, "busy": busy, "read_bytes": read, "write_bytes": write, **stalls}


def a_layer(layer=0, mismatches=0, key_valid=None):
    job = Job(heads=2, kv_heads=2, queries=16, keys=16, head_dim=64, bits=8,
              scales=((40000, 20),) * 2)  # fmt: skip
    rng = np.random.default_rng(layer)
    q, k, v = (rng.integers(-127, 128, (2, 16, 64)) for _ in "qkv")
    image = single_job(PARAMS, job, q, k, v, key_valid)
    return layer_stats(layer, image, Timing(), counters(1000), mismatches)


def test_a_layer_by_hand():
    record = a_layer().as_dict()
    assert record["macs_qk"] == record["macs_pv"] == 2 * 16 * 16 * 64
    assert record["limit_cycles"] == 512
    assert record["limit_ratio"] == 0.512
    assert record["job_ratio"] == (512 + 100 + 16 + 64) / 1000
    assert record["waste_macs"] == 0
    assert record["waste_bytes"] == 10000 + 4096 - (3 * 2 * 16 * 64 + 2 * 16 * 128)
    assert record["kept_scores"] == record["kept_values"] == 1.0
    assert record["stall_cycles"] == {"setup": 0, "query": 1, "key": 2, "output": 3, "tail": 4}
    assert record["rows"] == 32


def test_masked_keys_that_a_row_spans_are_waste():
    record = a_layer(key_valid=np.arange(16) != 3).as_dict()
    assert record["waste_macs"] == 2 * 2 * 16 * 64


def test_a_document_holds_what_the_contract_names():
    layers = [a_layer(0, 1), a_layer(1, 2)]
    document = stats_document(
        {"lanes": 64}, PARAMS, {"yosys": "0.70"}, 5, {"run": layers, "baseline": layers}
    )
    assert {"config", "tool_versions", "seed", "layers", "total", "baseline"} <= set(document)
    assert "unpruned" not in document
    assert document["multiplier_bits"] == 2 * 9216
    for record in (*document["layers"], document["total"], document["baseline"]["total"]):
        assert FIELDS <= set(record)
        assert record["busy_cycles"] + sum(record["stall_cycles"].values()) == record["cycles"]
    assert document["layers"][1]["layer"] == 1
    assert "layer" not in document["total"]
    assert document["total"]["cycles"] == 2000
    assert document["total"]["mismatches"] == 3
    assert document["total"]["limit_ratio"] == 0.512
    assert document["total"]["kept_scores"] == 1.0
    json.dumps(document)


def test_cycles_that_do_not_sum_are_refused():
    with pytest.raises(ValueError, match=r"^Busy and stall cycles must sum to 10, not 9$"):
        LayerStats(layer=0, cycles=10, busy_cycles=9)


def test_no_layers_are_refused():
    with pytest.raises(InputError, match=r"^layers must name at least one layer, not none$"):
        stats_document({}, PARAMS, {}, 0, {"run": []})


def test_files_are_whole_and_the_same_twice(tmp_path):
    arrays = {"out": np.arange(5, dtype=np.float32), "kept_scores": np.ones((2, 3), bool)}
    for name in "ab":
        write_npz(tmp_path / f"{name}.npz", arrays)
        write_json(tmp_path / f"{name}.json", {"x": 1})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as back:
        np.testing.assert_array_equal(back["out"], arrays["out"])
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert (tmp_path / "a.json").stat().st_mode & 0o444 == 0o444


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.npz"
    write_npz(path, {"x": np.zeros(1)})
    before = path.read_bytes()
    with pytest.raises(ValueError):
        write_npz(path, {"x": np.array([object()])})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.npz"]


def test_rows_computed_again_are_counted_and_needed():
    params = CoreParams(value_lanes=4, token_lanes=4, progressive=True)
    job = Job(heads=2, kv_heads=2, queries=1, keys=16, head_dim=64, bits=8, threshold=65535,
              scales=((40000, 60),) * 2)  # fmt: skip
    rng = np.random.default_rng(1)
    q, k, v = (rng.integers(-127, 128, (2, n, 64)) for n in (1, 16, 16))
    image = single_job(params, job, q, k, v)
    record = layer_stats(0, image, Timing(), counters(1000, image.read_bytes, 256)).as_dict()
    assert record["recomputed"] == 2
    assert record["macs_qk"] == 2 * record["macs_pv"] == 2 * 2 * 16 * 64
    assert record["dram_read_bytes"] == 2 * (64 + 16 * (64 + 32 + 64))
    assert record["waste_macs"] == record["waste_bytes"] == 0
    assert record["kept_scores"] == 1.0
