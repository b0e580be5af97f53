"""The cycle model beside the Verilog of a core with bit-serial units: a small trace, small jobs."""

import numpy as np
import pytest

from attnsieve.gen.config import load
from attnsieve.sim.bench.model import main
from attnsieve.sim.bench.predicted import COLUMNS, Predicted, columns, trace_runs
from attnsieve.sim.bench.slice_model import KINDS, JobRun, random_job, random_runs
from attnsieve.sim.calibrate import calibrate, constant_margin
from attnsieve.sim.trace import Trace
from attnsieve.sim.trace.trace import save
from tests.system.cores import verilog

TINY = "leopard-tiny"


@pytest.fixture(autouse=True)
def one_verilog(monkeypatch):
    """All tests simulate the same core: it is generated once."""
    for module in ("bench.slice_model", "simulate"):
        monkeypatch.setattr(f"attnsieve.sim.{module}.generate_verilog", lambda _: verilog(TINY))


def a_trace(**more):
    rng = np.random.default_rng(2)
    q, k, v = (
        rng.standard_normal((2, heads, 30, 16)).astype(np.float32) for heads in (4, 2, 2)
    )
    return Trace(q=q, k=k, v=v, **more)


def test_figures_of_some_runs():
    runs = [Predicted(cycles=100, predicted=n) for n in (99, 100, 104)]
    assert [run.error for run in runs] == pytest.approx([-0.01, 0, 0.04])
    assert columns(runs).split() == ["3", "+1.00%", "1.67%", "+4.00%", "100"]
    assert len(columns(runs)) == len(COLUMNS)


@pytest.mark.parametrize("keep", [None, 0.3])
@pytest.mark.parametrize("relative", [False, True])
def test_a_trace_by_layers(keep, relative):
    trace = a_trace(causal=True)
    thresholds = None if keep is None else calibrate([trace], keep, relative=relative)
    if keep is None and relative:
        thresholds = constant_margin([trace], 1000.0)
    runs = trace_runs(load(TINY), trace, thresholds, layers="1", heads="0-1", bits=8)
    assert len(runs) == 1
    assert runs[0].kept == pytest.approx(keep or 1, abs=0.1)
    assert abs(runs[0].error) < 0.05


def test_decode_steps_are_added():
    trace = a_trace(decode=True)
    short = Trace(q=trace.q[:, :, :3], k=trace.k, v=trace.v, decode=True)
    for run in trace_runs(load(TINY), short, bits=8):
        assert run.cycles > 3 * 300
        assert abs(run.error) < 0.05


def test_random_jobs():
    for run in random_runs(load(TINY), range(3), 500):
        assert abs(run.error) < 0.05


def test_random_jobs_of_a_kind():
    core = load("leopard", settings=["slice_demand=true"]).core
    for kind, holds in KINDS.items():
        for seed in range(3):
            (image,) = random_job(core, seed, 200, kind).jobs
            assert holds(image.job)
            assert image.job.planar == (kind in ("planes", "both"))
            assert not image.job.planar or image.job.demand or kind == "planes"


def test_the_tables(capsys, tmp_path):
    trace, file = tmp_path / "t.npz", tmp_path / "t.toml"
    save(trace, a_trace())
    file.write_text(calibrate([a_trace()], 0.5).as_toml())
    given = [TINY, "--trace", str(trace), "--bits", "8", "--layers", "0", "--heads", "0-1"]
    given += ["--keep", "0.2", "--margin", "3", "--thresholds", str(file)]
    assert main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["point", "keep", "kept"]
    assert [line.split()[0] for line in lines[1:]] == ["all", "0.2", "margin", str(file)]
    assert main([TINY, "--jobs", "4", "--seed", "3", "--point", ""]) == 0
    lines = capsys.readouterr().out.splitlines()
    counts = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    assert counts.pop("all") == sum(counts.values()) == 4
    given = [TINY, "--jobs", "2", "--cycles", "500", "--kind", "relative", "--point", ""]
    assert main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["relative", "2"], ["all", "2"]]


def test_a_job_is_off_by_a_share_and_by_cycles():
    sizes = {(100, 106): False, (100, 107): True, (1000, 950): False, (1000, 949): True}
    for (cycles, predicted), off in sizes.items():
        assert JobRun(cycles=cycles, predicted=predicted, kinds=()).off is off
