"""The cycle model beside the Verilog of a core with bit-serial units: a small trace, small jobs."""

import numpy as np
import pytest

from attnsieve.gen.config import load
from attnsieve.sim.bench.model import main
from attnsieve.sim.bench.slice_model import random_runs, trace_runs
from attnsieve.sim.calibrate import calibrate
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


@pytest.mark.parametrize("keep", [None, 0.3])
def test_a_trace_by_layers(keep):
    trace = a_trace(causal=True)
    thresholds = None if keep is None else calibrate([trace], keep)
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


def test_the_tables(capsys, tmp_path):
    trace, file = tmp_path / "t.npz", tmp_path / "t.toml"
    save(trace, a_trace())
    file.write_text(calibrate([a_trace()], 0.5).as_toml())
    given = [TINY, "--trace", str(trace), "--bits", "8", "--layers", "0", "--heads", "0-1"]
    assert main([*given, "--keep", "0.2", "--thresholds", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["point", "keep", "kept"]
    assert [line.split()[0] for line in lines[1:]] == ["all", "0.2", str(file)]
    assert main([TINY, "--jobs", "2", "--seed", "3", "--point", ""]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[0] == "2"
