"""Workloads on the cycle model and on the Verilog."""

import json
import os
from pathlib import Path

import pytest

from attnsieve.gen import config
from attnsieve.gen.errors import UserError
from attnsieve.sim.bench.breakdown import STEPS, breakdown
from attnsieve.sim.errors import InputError
from attnsieve.sim.replay import replay
from attnsieve.sim.trace.workload import COLUMNS, load_workload

TINY = config.load("spatten-tiny")


def synthetic(folder, iterations=2):
    """Two layers of two heads: the first keeps all keys, and one of its rows comes again."""
    lines = [",".join(COLUMNS)]
    for step in range(iterations):
        length = 40 + step
        for layer, keys, values in ((0, length, 8), (1, 12, 3)):
            for head in range(2):
                again = layer == 0 and head == 0
                keep = "True,12" if (layer, head) == (0, 1) else "False,-1"
                lines.append(
                    f"{step},{layer},{head},32.0,{length},{keys},6,16,0.1,{again},4,{values},6,"
                    f"True,False,{keep}"
                )
    path = folder / "synthetic.csv"
    path.write_text("\n".join([*lines, "configs/a.yml" + "," * 16]) + "\n")
    return path


def test_counts_on_the_model(tmp_path):
    result = replay(TINY, synthetic(tmp_path))
    total, workload = result.stats["total"], result.stats["workload"]
    assert total["jobs"] == 4
    assert total["cycles"] == sum(result.cycles) == sum(result.predicted)
    assert (total["recomputed"], total["rows"], total["mismatches"]) == (2, 8, 0)
    assert total["cycles"] == total["busy_cycles"] + sum(total["stall_cycles"].values())
    moved = workload["total"]
    assert (moved["k_rows"], moved["v_rows"]) == (2 * (40 + 41 + 2 * 12), 2 * 2 * (8 + 3))
    again = 40 + 41  # rows of the second plane
    bits = 32 * (6 * moved["k_rows"] + 4 * again + 6 * moved["v_rows"])
    assert moved["kv_wanted_bytes"] == bits // 8 <= moved["kv_read_bytes"]
    dense = 2 * 2 * 2 * (40 + 41) * 32  # elements of K and V, two layers, two heads
    assert moved["kv_bytes_fp32_dense"] == 4 * dense
    assert moved["kv_bytes_less_than_8_bit_dense"] == pytest.approx(
        dense / moved["kv_read_bytes"], rel=1e-3
    )
    assert moved["gflops_dense_equivalent"] == pytest.approx(
        2 * dense / total["cycles"], rel=1e-3
    )
    assert workload["faster_than_baseline"] > 1
    assert [layer["layer"] for layer in workload["layers"]] == [0, 1]
    assert workload["path"] == "configs/a.yml"


def test_other_widths_than_those_of_the_file(tmp_path):
    path = synthetic(tmp_path)
    own = replay(TINY, path, baseline=False).stats["workload"]["total"]
    settings = ["run.key_bits=8", "run.value_bits=12"]
    wide = replay(config.load("spatten-tiny", settings=settings), path, baseline=False)
    moved = wide.stats["workload"]["total"]
    more = 32 * (2 * moved["k_rows"] + 6 * moved["v_rows"]) // 8
    assert moved["kv_wanted_bytes"] == own["kv_wanted_bytes"] + more
    assert wide.stats["total"]["recomputed"] == 2  # with four more bits, as before


def test_selections(tmp_path):
    path = synthetic(tmp_path)
    result = replay(TINY, path, layers="1", iterations="1", baseline=False)
    assert result.stats["total"]["jobs"] == 1
    assert "faster_than_baseline" not in result.stats["workload"]
    with pytest.raises(UserError, match="iteration must be in 0..1, not 7"):
        replay(TINY, path, iterations="7")


def test_the_verilog_with_operands_of_those_shapes(tmp_path):
    result = replay(TINY, synthetic(tmp_path, 1), on="rtl", baseline=False)
    assert result.mismatches == 0, result.messages
    assert result.stats["total"]["recomputed"] == 1
    assert result.stats["workload"]["total"]["v_rows"] == 2 * (8 + 3)
    assert abs(result.stats["workload"]["model_error"]) < 0.05
    result.write(tmp_path)
    assert json.loads((tmp_path / "stats.json").read_text())["workload"]["on"] == "rtl"


def test_what_a_core_cannot_run(tmp_path):
    path = synthetic(tmp_path)
    with pytest.raises(InputError, match="name a core that prunes"):
        replay(config.load("dense-tiny"), path)
    path.write_text(path.read_text().replace(",4,8,6,", ",2,8,6,"))
    with pytest.raises(InputError, match="auto_requant_incre must be 4 on this core, not 2"):
        replay(TINY, path)
    text = path.read_text().replace(",2,8,6,", ",4,8,6,")
    path.write_text(text.replace(",41,6,16,", ",41,5,16,"))
    with pytest.raises(InputError, match="quant_key_bit must be one of 4, 6, 8, 10, 12, or -1"):
        replay(TINY, path)
    with pytest.raises(InputError, match="on must be one of model, rtl, not 'fpga'"):
        replay(TINY, path, on="fpga")
    with pytest.raises(InputError, match="simulator must be one of verilator, cxxrtl, not 'icar'"):
        replay(TINY, path, on="rtl", simulator="icar")


def test_each_step_of_the_breakdown(tmp_path):
    found = breakdown(TINY, load_workload(synthetic(tmp_path)))
    assert [step for step, _ in found] == list(STEPS)
    cycles = [n for _, n in found]
    assert cycles[2] == cycles[1]  # no head is pruned
    assert cycles[3] < cycles[2]
    assert cycles[-1] < cycles[0]


@pytest.mark.full
@pytest.mark.skipif(
    "ATTNSIEVE_WORKLOAD" not in os.environ,
    reason="ATTNSIEVE_WORKLOAD names no workload of GPT-2-small",
)
def test_gpt2_small_reads_the_rows_that_its_authors_counted():
    path = Path(os.environ["ATTNSIEVE_WORKLOAD"])
    result = replay(config.load("spatten"), path, baseline=False)
    total = result.stats["workload"]["total"]
    assert (total["jobs"], result.stats["total"]["recomputed"]) == (384, 323)
    assert total["k_rows_less"] == pytest.approx(3.62, abs=0.01)
    assert total["v_rows_less"] == pytest.approx(18.2, abs=0.05)
    assert total["kv_bytes_fp32_dense"] / total["kv_wanted_bytes"] == pytest.approx(28.9, abs=0.1)
