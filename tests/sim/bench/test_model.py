"""The table of the cycle model's errors: small jobs and a small trace on the compiled core."""

import numpy as np
import pytest

from attnsieve.gen.config import load
from attnsieve.sim.bench.model import KINDS, TRACE_RUNS, main, measured_jobs
from attnsieve.sim.bench.predicted import trace_runs
from attnsieve.sim.trace import Trace
from tests.system.cores import verilog

TINY = "spatten-tiny"


@pytest.fixture(autouse=True)
def one_verilog(monkeypatch):
    """All tests simulate the same core: it is generated once."""
    for module in ("bench.model", "simulate"):
        monkeypatch.setattr(f"attnsieve.sim.{module}.generate_verilog", lambda _: verilog(TINY))


def test_a_job_of_each_kind():
    done = []
    found = measured_jobs(load(TINY), len(KINDS), seed=8, progress=done.append)
    assert [m.kind for m in found] == list(KINDS)
    assert done[-1] == len(KINDS)
    for m in found:
        rows = m.image.expected.recomputed.sum()
        assert m.image.job.demand == m.kind.demand
        assert m.image.job.progressive == (m.kind.again is not None)
        low, high = {"some": (1, m.image.job.heads - 1), "all": (m.image.job.heads,) * 2}.get(
            m.kind.again, (0, 0)
        )
        assert low <= rows <= high
        assert abs(m.error) < 0.05, m


def test_the_table_of_jobs(capsys):
    assert main([TINY, "--jobs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["kind", "jobs"]
    assert [line[:36].strip() for line in lines[1:3]] == [kind.name for kind in KINDS[:2]]
    everything = next(line for line in lines if line.startswith("all "))
    assert everything.split()[1] == "2"
    assert lines[-1].startswith("of the jobs within")


def test_a_trace_by_layers():
    rng = np.random.default_rng(2)
    q, k, v = (
        rng.standard_normal((2, heads, rows, 16)).astype(np.float32)
        for heads, rows in ((4, 2), (2, 30), (2, 30))
    )
    trace = Trace(q=q, k=k, v=v, decode=True)
    settings = [f"run.{key}={str(value).lower()}" for key, value in TRACE_RUNS[1].items()]
    found = trace_runs(load(TINY, settings=["run.bits=12", *settings]), trace)
    assert len(found) == 2
    for run in found:
        assert run.cycles > 500
        assert abs(run.error) < 0.1


def test_cores_that_cannot_and_options_that_are_wrong(capsys):
    for arguments in (["dense-tiny"], [TINY, "--jobs", "0"]):
        with pytest.raises(SystemExit):
            main(arguments)
    assert "--jobs must be 1 or more" in capsys.readouterr().err
