"""The C driver of a core with thresholds: random jobs, written down in C, on the RTL."""

import ctypes

import numpy as np
import pytest

from attnsieve.hdl.control.status import StatusCode
from attnsieve.sim.bench.campaign import random_image
from attnsieve.sim.bench.jobs import memories
from attnsieve.sim.driver.registers import mask_words
from tests.gen.package.test_pruning_driver import compiled, fresh_core, table
from tests.system.cores import config

TINY = "leopard-tiny"
#: Of the core: K and V are read whole; slices of K and rows of V on demand.
CORES = [(), ("value_demand=true", "slice_demand=true", "data_width=64")]

RUN = """
int run_job(const struct attnsieve_bus *bus, unsigned number, struct attnsieve_counters *counters)
{
    struct attnsieve core = { *bus };
    int status = attnsieve_start(&core, &jobs[number]);

    if (!status)
        status = attnsieve_wait(&core, 100000);
    attnsieve_read_counters(&core, counters);
    return status;
}
"""


def c_job(image):
    """The job as C writes it."""
    job = image.job
    entries = [f"{{ {mantissa}, {shift} }}" for mantissa, shift in job.scales]
    fields = {"scales": table(entries, "struct attnsieve_scale"), "causal": int(job.causal)}
    if job.thresholds:
        least = -(1 << 31)  # no constant of C
        words = ["-2147483647 - 1" if limit == least else limit for limit in job.thresholds]
        fields["thresholds"] = table(words, "int32_t")
    fields |= {"relative": int(job.relative), "pin_self": int(job.pins.own)}
    fields |= {"pin_first": job.pins.first, "pin_newest": job.pins.newest}
    if image.params.value_demand:
        fields["demand"] = int(job.demand)
    if image.params.slice_demand:
        fields |= {"planar": int(job.planar), "k_plane": image.k_plane}
    for name in ("heads", "kv_heads", "queries", "keys", "head_dim"):
        fields[name] = getattr(job, name)
    for name, mask in (("key_mask", image.key_valid), ("query_mask", image.query_valid)):
        if mask is not None:
            fields[name] = table([f"{word}u" for word in mask_words(mask)])
    for name, tensor in image.tensors.items():
        fields[name] = f"{{ {tensor.base}, {tensor.stride} }}"
    return "{ " + ", ".join(f".{name} = {value}" for name, value in fields.items()) + " }"


@pytest.fixture(scope="module", params=CORES, ids=["whole", "on demand"])
def settings(request):
    return request.param


@pytest.fixture(scope="module")
def images(settings):
    params = config(TINY, *settings).core
    return [
        random_image(params, np.random.default_rng(seed), jobs=3, most_cycles=800)[0]
        for seed in range(8)
    ]


@pytest.fixture(scope="module")
def library(settings, images, tmp_path_factory):
    """The driver, with a table of the jobs."""
    folder = tmp_path_factory.mktemp("driver")
    jobs = [c_job(job) for image in images for job in image.jobs]
    text = '#include "attnsieve.h"\n\nstatic const struct attnsieve_job jobs[] = {\n'
    (folder / "jobs.c").write_text(text + ",\n".join(jobs) + "\n};\n" + RUN)
    arguments = ["-shared", "-fPIC", "-Wno-conversion", "-o", "driver.so"]
    files = ["attnsieve.c", "example.c", "jobs.c"]
    compiled(folder, config(TINY, *settings).core, files, arguments)
    return ctypes.CDLL(str(folder / "driver.so"))


@pytest.fixture
def core(settings):
    """The machine after a reset, and its registers as callbacks for C."""
    return fresh_core(TINY, *settings)


def test_jobs_written_in_c(library, images, core):
    """Memory to the last byte is the golden model's; jobs keep all, some and nothing."""
    m, bus = core
    counters = (ctypes.c_uint64 * 32)()
    for first, image in enumerate(images):
        m.set_memory(memories(image).copy())
        for number in range(len(image.jobs)):
            at = len(image.jobs) * first + number
            assert library.run_job(ctypes.byref(bus), at, counters) == StatusCode.OK.value
        got = image.linear_from(list(m.memory))
        np.testing.assert_array_equal(got, image.expected(), str(first))
    assert m.violations is None
    jobs = [job for image in images for job in image.jobs]
    assert any(not job.job.thresholds for job in jobs)
    assert any(0 < job.expected.scores < job.expected.pairs for job in jobs)
    assert any(job.expected.empty_rows for job in jobs)
    if images[0].params.slice_demand:
        kinds = {(job.job.planar, job.job.demand) for job in jobs}
        assert kinds > {(True, True), (False, False)}


def test_the_example(library, core):
    class Memory(ctypes.Structure):
        _fields_ = [("channel", ctypes.c_void_p * 1), ("base", ctypes.c_uint64)]

    m, bus = core
    m.set_memory(np.zeros((1, 8192), np.uint8))
    memory = Memory((ctypes.c_void_p * 1)(m.memory[0].ctypes.data), 4096)
    counters = (ctypes.c_uint64 * 32)()
    arguments = (ctypes.byref(bus), ctypes.byref(memory), ctypes.byref(counters))
    assert library.example_run(*arguments) == StatusCode.OK.value
