"""The C driver of a core that prunes: random jobs, written down in C, on the RTL."""

import ctypes

import numpy as np
import pytest

from attnsieve.gen import tools
from attnsieve.gen.package import driver_texts
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.campaign import random_image
from attnsieve.sim.bench.jobs import memories
from attnsieve.sim.bench.memory import Stalls, Timing
from attnsieve.sim.driver.registers import mask_words
from tests.system.cores import config, machine

TINY = "spatten-tiny"
SEEDS = range(12)
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]

#: What each job is run with, and what the core says behind it.
RUN = """
int run_job(const struct attnsieve_bus *bus, unsigned number, uint32_t *next_keys,
            uint64_t *next_heads, uint32_t *scores, uint64_t *head_scores)
{
    const struct attnsieve_job *job = &jobs[number];
    struct attnsieve core = { *bus };
    int status = attnsieve_start(&core, job);

    if (!status)
        status = attnsieve_wait(&core, 100000);
    attnsieve_read_next_keys(&core, job->keys, next_keys);
    *next_heads = attnsieve_next_heads(&core);
    attnsieve_read_scores(&core, 0, job->keys, scores);
    attnsieve_read_head_scores(&core, job->heads, head_scores);
    return status;
}
"""


def table(words, kind="uint32_t"):
    return f"(const {kind}[]){{ {', '.join(map(str, words))} }}"


def c_job(image, tag):
    """The job as C writes it: only what is not zero."""
    job = image.job
    scales = zip(job.scales, job.weights or (1023,) * job.heads, strict=True)
    entries = [f"{{ {m}, {s}, {w} }}" for (m, s), w in scales]
    fields = {
        "scales": table(entries, "struct attnsieve_scale"), "tag": tag, "wide": job.bits == 12,
        "select": job.scoring.keep is not None, "clear_scores": job.scoring.clear,
        "pruned_heads": f"{sum(1 << head for head in job.pruned_heads)}u",
        "keep_values": job.values, "keep_tokens": job.scoring.keep or 0,
        "keep_heads": min(job.scoring.heads, job.heads), "pin_first": job.scoring.first,
        "pin_newest": job.scoring.newest, "k_plane": image.k_plane,
    }  # fmt: skip
    for name in ("heads", "kv_heads", "queries", "keys", "head_dim", "causal", "threshold",
                 "key_bits", "value_bits", "demand"):  # fmt: skip
        fields[name] = getattr(job, name)
    for name in ("decay", "age", "age_base"):
        fields[name] = getattr(job.scoring, name)
    masks = {
        "key_mask": image.key_valid, "query_mask": image.query_valid,
        "candidates": image.candidates,
    }  # fmt: skip
    for name, mask in masks.items():
        if mask is not None:
            fields[name] = table([f"{word}u" for word in mask_words(mask)])
    for name, tensor in image.tensors.items():
        fields[name] = f"{{ {tensor.base}, {tensor.stride} }}"
    lines = (
        f".{name} = {int(value) if isinstance(value, bool) else value}"
        for name, value in fields.items()
        if value
    )
    return "{ " + ", ".join(lines) + " }"


def compiled(folder, params, sources, arguments):
    for name, text in driver_texts(params, "attnsieve_x").items():
        (folder / name).write_text(text)
    tools.run_program("gcc", [*STRICT, *arguments, "-x", "c", *sources], folder)


@pytest.fixture(scope="module")
def images():
    params = config(TINY).core
    return [
        random_image(params, np.random.default_rng(seed), jobs=3, most_cycles=800)[0]
        for seed in SEEDS
    ]


@pytest.fixture(scope="module")
def library(images, tmp_path_factory):
    """The driver, with a table of the jobs."""
    folder = tmp_path_factory.mktemp("driver")
    jobs = [c_job(job, n) for image in images for n, job in enumerate(image.jobs, 1)]
    text = '#include "attnsieve.h"\n\nstatic const struct attnsieve_job jobs[] = {\n'
    (folder / "jobs.c").write_text(text + ",\n".join(jobs) + "\n};\n" + RUN)
    arguments = ["-shared", "-fPIC", "-Wno-conversion", "-o", "driver.so"]
    sources = ["attnsieve.c", "example.c", "jobs.c"]
    compiled(folder, config(TINY).core, sources, arguments)
    return ctypes.CDLL(str(folder / "driver.so"))


READ = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)
WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)


class Bus(ctypes.Structure):
    _fields_ = [("read", READ), ("write", WRITE), ("context", ctypes.c_void_p)]


def fresh_core(name, *settings):
    """The machine of a preset after a reset, and its registers as callbacks for C."""
    m = machine(name, *settings)

    def write(context, offset, value):
        m.write(offset, value)

    m.set_timing(Timing(latency=20, bytes_per_cycle=4))
    m.set_stalls(Stalls())
    m.clear()
    m.reset(4)
    return m, Bus(READ(lambda context, offset: m.read(offset)), WRITE(write), None)


@pytest.fixture
def core():
    return fresh_core(TINY)


def run_job(library, bus, number, job):
    """Status, next keys, next heads, scores of tokens and heads."""
    keys, heads = job.job.keys, job.job.heads
    words, scores = (ctypes.c_uint32 * 32)(), (ctypes.c_uint32 * keys)()
    head_scores, next_heads = (ctypes.c_uint64 * heads)(), ctypes.c_uint64()
    status = library.run_job(
        ctypes.byref(bus), number, words, ctypes.byref(next_heads), scores, head_scores
    )
    mask = np.unpackbits(np.array(words, "<u4").view(np.uint8), bitorder="little")[:keys]
    return status, mask.astype(bool), next_heads.value, np.array(scores), np.array(head_scores)


def test_jobs_written_in_c(library, images, core):
    """Memory to the last byte, scores and selections are the golden model's."""
    m, bus = core
    for first, image in enumerate(images):
        m.set_memory(memories(image).copy())
        for number, job in enumerate(image.jobs):
            found = run_job(library, bus, len(image.jobs) * first + number, job)
            status, next_keys, next_heads, scores, head_scores = found
            where = (SEEDS[first], number)
            assert status == StatusCode.OK.value, where
            np.testing.assert_array_equal(scores, job.scores_after[: job.job.keys])
            np.testing.assert_array_equal(head_scores, job.head_scores[: job.job.heads])
            if job.job.scoring.keep is not None:
                np.testing.assert_array_equal(next_keys, job.next_keys)
                assert next_heads == sum(1 << int(n) for n in np.flatnonzero(job.next_heads))
        got = image.linear_from(list(m.memory))
        np.testing.assert_array_equal(got, image.expected(), str(SEEDS[first]))
    assert m.violations is None


def test_the_jobs_use_everything(images):
    jobs = [job for image in images for job in image.jobs]
    for used in (
        "demand", "threshold", "key_bits", "value_bits", "values", "pruned_heads", "weights",
    ):  # fmt: skip
        assert any(getattr(job.job, used) for job in jobs), used
    for used in ("keep", "first", "newest", "decay", "age", "age_base"):
        assert any(getattr(job.job.scoring, used) for job in jobs), used
    for used in ("candidates", "key_valid", "query_valid"):
        assert any(getattr(job, used) is not None for job in jobs), used


def test_scores_are_saved_and_restored(library, core):
    _, bus = core
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 1 << 32, 30, dtype=np.uint32)
    heads = rng.integers(0, 1 << 36, 16, dtype=np.uint64)
    c_core = ctypes.byref(bus)  # its bus is all that a struct attnsieve holds
    for name, first, values in (("scores", (7,), tokens), ("head_scores", (), heads)):
        read = np.zeros_like(values)
        for way, array in (("write", values), ("read", read)):
            call = getattr(library, f"attnsieve_{way}_{name}")
            call(c_core, *first, len(values), array.ctypes.data_as(ctypes.c_void_p))
        np.testing.assert_array_equal(read, values)


def test_the_example(library, core):
    class Memory(ctypes.Structure):
        _fields_ = [("channel", ctypes.c_void_p * 1), ("base", ctypes.c_uint64)]

    m, bus = core
    m.set_memory(np.zeros((1, 8192), np.uint8))
    memory = Memory((ctypes.c_void_p * 1)(m.memory[0].ctypes.data), 4096)
    counters = (ctypes.c_uint64 * 16)()
    arguments = (ctypes.byref(bus), ctypes.byref(memory), ctypes.byref(counters))
    assert library.example_run(*arguments) == StatusCode.OK.value


TRY = """#include "attnsieve.h"

int try_job(struct attnsieve *core);

int try_job(struct attnsieve *core)
{
    struct attnsieve_job job = { .heads = 1, OTHERS };

    return attnsieve_start(core, &job);
}
"""


@pytest.mark.parametrize("field", [
    ".decay = 32", ".key_bits = 16", ".value_bits = 20",
    ".scales = (const struct attnsieve_scale[]){ { 40000, 64, 0 } }",
    ".scales = (const struct attnsieve_scale[]){ { 40000, 0, 1024 } }",
])  # fmt: skip
def test_numbers_that_their_fields_cannot_hold(field, core, tmp_path):
    m, bus = core
    one = "(const struct attnsieve_scale[]){ { 40000, 0, 0 } }"
    others = field if "scales" in field else f".scales = {one}, {field}"
    (tmp_path / "try.c").write_text(TRY.replace("OTHERS", others))
    arguments = ["-shared", "-fPIC", "-o", "try.so"]
    compiled(tmp_path, config(TINY).core, ["attnsieve.c", "try.c"], arguments)
    assert ctypes.CDLL(str(tmp_path / "try.so")).try_job(ctypes.byref(bus)) == -3


TOKENS = {"value_lanes": 16, "token_lanes": 16}


@pytest.mark.parametrize("params", [
    config("spatten").core,
    config("spatten-ecp5").core,
    config(TINY).core,
    CoreParams(value_lanes=16),
    CoreParams(**TOKENS),
    CoreParams(**TOKENS, progressive=True),
    CoreParams(**TOKENS, value_demand=True, addr_width=64),
], ids=["spatten", "ecp5", "tiny", "values", "tokens", "planes", "demand"])  # fmt: skip
def test_drivers_compile_without_warnings(params, tmp_path):
    compiled(tmp_path, params, ["attnsieve.c"], ["-ffreestanding", "-fsyntax-only"])
    tools.run_program(
        "gcc", [*STRICT[:3], "-Werror", "-x", "c", "-fsyntax-only", "example.c"], tmp_path
    )
    text = (tmp_path / "attnsieve.h").read_text().split("struct attnsieve_job {")[1]
    fields = text.split("\n};")[0]
    for name, there in (
        ("keep_values", params.value_lanes), ("keep_tokens", params.token_lanes),
        ("age_base", params.token_lanes), ("threshold", params.progressive),
        ("k_plane", params.progressive), ("demand", params.value_demand),
    ):  # fmt: skip
        assert (f" {name}" in fields) == bool(there), name
