"""Cores that prune: random jobs, and whole cascades of a trace, on the generated Verilog."""

import numpy as np
import pytest

from attnsieve.gen.config import load
from attnsieve.hdl.control.register_map import register_map
from attnsieve.hdl.control.status import StatusCode
from attnsieve.sim.bench.campaign import random_image
from attnsieve.sim.bench.jobs import (
    check_jobs,
    memories,
    programs,
    read_reports,
    report,
    setup,
    start,
)
from attnsieve.sim.bench.memory import Stalls, Timing
from attnsieve.sim.bench.program import Case, Operation, execute
from attnsieve.sim.cycle_model import predict
from attnsieve.sim.simulate import simulate
from attnsieve.sim.trace import Trace
from tests.system.cores import campaign, config, machine, run_case

TINY = "spatten-tiny"


def test_random_jobs():
    campaign(TINY, 100)


@pytest.mark.parametrize(
    "name, cases", [("spatten-tiny", 3000), ("spatten-ecp5", 1000), ("spatten", 1000)]
)
@pytest.mark.full
def test_thousands_of_random_jobs(name, cases):
    campaign(name, cases, most_cycles=3000)


@pytest.mark.parametrize("on", [pytest.param("verilator", marks=pytest.mark.full), "icarus"])
def test_random_jobs_under_cocotb(on):
    campaign(TINY, 6, on=on, most_cycles=400)


def a_trace(seed=1, **options):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    layers, heads, kv_heads, queries, keys = options.pop("shape", (4, 4, 2, 24, 24))
    return Trace(
        q=draw(layers, heads, queries, 16), k=draw(layers, kv_heads, keys, 16),
        v=draw(layers, kv_heads, keys, 16), **options,
    )  # fmt: skip


def pruned(trace, ranking="importance", **keep):
    settings = [f"run.keep_{name}={share}" for name, share in keep.items()]
    settings.append(f"run.ranking={ranking}")
    result = simulate(load(TINY, settings=settings), trace, baseline=False, bits=12)
    assert result.mismatches == 0, result.messages
    return result


def assert_out_follows_from_what_is_kept(trace, result):
    """Outputs are what anyone makes of kept_scores and kept_values in float."""
    arrays = result.arrays
    group = trace.heads // trace.k.shape[1]
    k, v = (np.repeat(x, group, axis=1) for x in (trace.k, trace.v))
    scores = np.einsum("lhqd,lhkd->lhqk", trace.q, k) / np.sqrt(trace.q.shape[-1])
    e = np.where(arrays["kept_scores"], np.exp(scores), 0)
    p = e / np.maximum(e.sum(axis=-1, keepdims=True), 1e-30)
    want = np.einsum("lhqk,lhkd->lhqd", np.where(arrays["kept_values"], p, 0), v)
    assert np.abs(arrays["out"] - want).max() < 0.02
    assert not (arrays["kept_values"] & ~arrays["kept_scores"]).any()


@pytest.mark.parametrize("options", [{}, {"causal": True}], ids=["encoder", "causal"])
def test_a_cascade_over_layers(options):
    trace = a_trace(**options)
    result = pruned(trace, tokens=0.5, values=0.5, heads=0.6)
    assert_out_follows_from_what_is_kept(trace, result)
    tokens, heads = result.arrays["kept_tokens"], result.arrays["kept_heads"]
    for before, after in zip(tokens, tokens[1:], strict=False):
        assert not (after & ~before).any()  # what is pruned never comes back
    assert tokens[0].all()
    assert heads[0].all()
    assert tokens[-1].sum() == int(24 * 0.25)
    assert heads[-1].sum() == 1
    pinned = -1 if options else 0
    assert tokens[:, pinned].all()
    rows = result.arrays["kept_scores"].sum(axis=-1)
    kept = result.arrays["kept_values"].sum(axis=-1)
    limit = np.maximum(1, tokens.sum(axis=1) // 2)[:, None, None]
    assert (kept == np.minimum(rows, limit)).all()
    assert result.stats["total"]["waste_macs"] == result.stats["total"]["waste_bytes"] == 0


def test_a_cascade_over_steps():
    trace = a_trace(shape=(3, 4, 2, 6, 30), decode=True)
    result = pruned(trace, tokens=0.5, values=0.4, heads=0.8)
    assert_out_follows_from_what_is_kept(trace, result)
    tokens = result.arrays["kept_tokens"]  # [layers, steps, keys]
    for step in range(1, 6):
        newest = 24 + step
        for layer in range(3):
            lived = tokens[layer, step - 1] | (np.arange(30) == newest)
            assert not (tokens[layer, step] & ~lived).any()
            assert tokens[layer, step, newest]


@pytest.mark.parametrize("options", [
    {"causal": True}, {"shape": (3, 4, 2, 6, 30), "decode": True},
], ids=["causal", "decode"])  # fmt: skip
def test_rankings(options):
    """The core keeps others by each of them, but as many; static keeps the first and the newest."""
    trace = a_trace(**options)
    kept = [
        pruned(trace, ranking, tokens=0.5).arrays["kept_tokens"]
        for ranking in ("importance", "age", "static")
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        np.testing.assert_array_equal(kept[one].sum(axis=-1), kept[other].sum(axis=-1))
        assert (kept[one] != kept[other]).any()
    last = kept[2].reshape(-1, kept[2].shape[-1])[-1]
    assert last.tolist() == [n < 4 or n >= len(last) - last.sum() + 4 for n in range(len(last))]


def test_nothing_pruned_is_dense():
    trace = a_trace()
    result = pruned(trace)
    dense = simulate(config("dense-tiny"), trace, baseline=False, bits=12)
    np.testing.assert_array_equal(result.out, dense.out)


def test_predicted_cycles():
    """Within 5 % on traces; the memory is as the model has it."""
    decode = {"shape": (3, 4, 2, 4, 50), "decode": True}
    for ranking, options in (
        ("importance", {}), ("importance", {"causal": True}), ("importance", decode),
        ("age", {"causal": True}), ("age", decode),
    ):  # fmt: skip
        result = pruned(a_trace(**options), ranking, tokens=0.6, values=0.5, heads=0.8)
        core = config(TINY).core
        timing = Timing(latency=50, bytes_per_cycle=core.beat_bytes)
        predicted = sum(predict(core, timing, job).cycles for p in result.plans for job in p.jobs)
        assert predicted == pytest.approx(result.stats["total"]["cycles"], rel=0.05)


def test_a_job_without_a_living_head_is_refused():
    params = config(TINY).core
    image, _ = random_image(params, np.random.default_rng(3), jobs=1, most_cycles=300)
    registers = register_map(params)
    *writes, go = start(image.jobs[0], 1)
    heads = (1 << image.jobs[0].job.heads) - 1
    writes.append(Operation("write", registers["PRUNED_HEADS"].offset, heads))
    operations = [*setup(params), *writes, go, Operation("irq", 60_000), *report(params)]
    timing = Timing(latency=20, bytes_per_cycle=params.beat_bytes)
    outcome = run_case(TINY, Case(memories(image), operations, timing, Stalls()))
    assert outcome.error is None
    assert read_reports(params, outcome.reads)[0].status is StatusCode.BAD_COUNT
    assert all((m.read_bursts, m.write_bursts) == (0, 0) for m in outcome.counters)
    again = [operation for program in programs(image) for operation in program]
    outcome = execute(machine(TINY), again)
    check = check_jobs(image, outcome)
    assert check.messages == ["job 0: 2 jobs finished, not 1"]  # with the one that was refused


def test_baseline_is_the_dense_core_and_unpruned_keeps_everything():
    trace = a_trace(1)
    config = load(TINY, settings=["run.keep_tokens=0.5", "run.keep_values=0.5"])
    stats = simulate(config, trace, bits=12).stats
    kept = load(TINY, settings=["run.keep_tokens=1.0", "run.keep_values=1.0"])
    off = ("value_lanes=0", "token_lanes=0", "progressive=false", "value_demand=false")
    dense = load(TINY, settings=[f"core.{setting}" for setting in off])
    for name, other in (("baseline", dense), ("unpruned", kept)):
        alone = simulate(other, trace, bits=12, baseline=False).stats
        assert stats[name]["total"] == alone["total"]
        assert stats["total"]["cycles"] < stats[name]["total"]["cycles"]
        assert stats[name]["total"]["mismatches"] == 0


def precise(trace, *settings, key_bits=6, value_bits=6, threshold=0.0, demand=False):
    chosen = load(TINY, settings=[
        *settings, f"run.key_bits={key_bits}", f"run.value_bits={value_bits}",
        f"run.threshold={threshold}", f"run.demand={str(demand).lower()}",
    ])  # fmt: skip
    result = simulate(chosen, trace, baseline=False, bits=12)
    assert result.mismatches == 0, result.messages
    total = result.stats["total"]
    assert total["waste_macs"] == 0
    return result


@pytest.mark.parametrize("key_bits", [4, 6, 8, 10, 12])
def test_planes_of_keys(key_bits):
    """Rows that are computed again have all bits; of others the largest probability is enough."""
    trace = a_trace(shape=(1, 4, 2, 4, 30), decode=True)
    again = precise(trace, key_bits=key_bits, value_bits=12, threshold=0.2, demand=True)
    never = precise(trace, key_bits=key_bits, value_bits=12)
    recomputed = again.stats["total"]["recomputed"]
    rows = 4 * 4
    assert 0 < recomputed < rows
    approximate = again.arrays["approx_rows"]
    assert approximate.sum() == rows - recomputed
    kept = again.arrays["kept_scores"]
    e = np.exp(np.einsum("lhqd,lhkd->lhqk", trace.q, np.repeat(trace.k, 2, axis=1)) / 4)
    p = np.where(kept, e, 0) / np.where(kept, e, 0).sum(axis=-1, keepdims=True)
    want = np.einsum("lhqk,lhkd->lhqd", p, np.repeat(trace.v, 2, axis=1))
    assert np.abs(again.out - want)[~approximate].max() < (0.1 if key_bits == 4 else 0.02)
    if key_bits > 4:  # of 4 bits the largest probability is far from the exact one
        assert p.max(axis=-1)[approximate].min() > 0.15
    read = again.stats["total"]["dram_read_bytes"]
    assert read > never.stats["total"]["dram_read_bytes"]  # a second plane is no gift


def test_values_on_demand_save_bytes():
    trace = a_trace(shape=(2, 4, 2, 4, 40), decode=True)
    keep = ("run.keep_values=0.2",)
    saved = precise(trace, *keep, demand=True).stats["total"]
    whole = precise(trace, *keep).stats["total"]
    assert saved["kept_values"] == whole["kept_values"]
    assert saved["dram_read_bytes"] < 0.8 * whole["dram_read_bytes"]


def test_everything_at_once_over_steps():
    trace = a_trace(shape=(3, 4, 2, 6, 30), decode=True)
    settings = ("run.keep_tokens=0.5", "run.keep_values=0.4", "run.keep_heads=0.8")
    precise(trace, *settings, threshold=0.25, demand=True)


@pytest.mark.parametrize(
    "progressive", ["false", pytest.param("true", marks=pytest.mark.full)]
)
def test_as_many_rows_wait_for_v_as_a_core_has_heads(progressive):
    """All those of one KV head."""
    settings = (
        "core.max_heads=40", f"core.progressive={progressive}", "run.keep_values=0.4"
    )  # fmt: skip
    rng = np.random.default_rng(40)
    q = rng.standard_normal((1, 40, 1, 16)).astype(np.float32)
    k, v = (rng.standard_normal((1, 1, 3, 16)).astype(np.float32) for _ in range(2))
    precise(Trace(q=q, k=k, v=v), *settings, key_bits=0, value_bits=0, demand=True)


@pytest.mark.parametrize("heads", [pytest.param(1, marks=pytest.mark.full), 16])
def test_all_rows_come_again_where_as_many_wait_as_can(heads):
    """Sixteen flat heads of a few keys each fill every place where rows wait."""
    settings = ("core.lanes=16", "core.data_width=128", "core.channels=1", "core.output_lanes=4")
    rng = np.random.default_rng(heads)
    flat = 0.01 * rng.standard_normal((1, heads, 1, 16)).astype(np.float32)
    k, v = (rng.standard_normal((1, heads, 5, 16)).astype(np.float32) for _ in range(2))
    result = precise(Trace(q=flat, k=k, v=v), *settings, threshold=0.9, demand=heads > 1)
    assert result.stats["total"]["recomputed"] == heads
