"""The planes of K in docs/reference/memory.md against the job image."""

from pathlib import Path

import numpy as np

from attnsieve.gen.config import load
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.image import JobImage, Tensor
from attnsieve.sim.driver.plan import Placement
from attnsieve.sim.golden.job import Job
from attnsieve.sim.golden.progressive import key_limit, planes

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "docs/reference/memory.md").read_text().splitlines()
PARAMS = CoreParams(value_lanes=4, token_lanes=4, progressive=True)
ROOM, HEAD_DIM, BITS = 4, 16, 6


def table(first_column):
    begin = next(i for i, line in enumerate(LINES) if line.startswith(f"| {first_column} |"))
    rows = []
    for line in LINES[begin + 2 :]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def numbers(text):
    return [int(x) for x in text.split(",")]


FIELDS = {name: int(value, 0) for name, value in table("plane field")}


def image():
    job = Job(heads=2, kv_heads=2, queries=1, keys=ROOM, head_dim=HEAD_DIM, bits=12,
              key_bits=BITS, threshold=1, scales=((40000, 20),) * 2)  # fmt: skip
    top = key_limit(BITS)
    k = np.random.default_rng(1).integers(-top, top + 1, (2, ROOM, HEAD_DIM)).astype(np.int16)
    k[0, 1, :8] = 100, -100, 503, -8, 16, -16, 7, 8
    place = Placement(PARAMS)
    shapes = {"q": (1, 12), "v": (ROOM, 12), "o": (1, 16)}
    tensors = {n: place.tensor(2, rows, HEAD_DIM, bits) for n, (rows, bits) in shapes.items()}
    tensors["k"] = Tensor(FIELDS["k_base"], FIELDS["k_stride"], 2, ROOM, HEAD_DIM * BITS // 8)
    q, v = np.zeros((2, 1, HEAD_DIM), np.int16), np.zeros((2, ROOM, HEAD_DIM), np.int16)
    return JobImage(
        PARAMS, job, q, k, v, None, None, tensors, np.zeros(1, int), k_plane=FIELDS["k_plane"]
    )


def test_the_fields_are_aligned_and_planes_do_not_meet():
    assert all(value % PARAMS.alignment == 0 for value in FIELDS.values())
    assert FIELDS["k_plane"] >= ROOM * HEAD_DIM * BITS // 8
    assert FIELDS["k_stride"] >= FIELDS["k_plane"] + ROOM * HEAD_DIM // 2
    place = Placement(PARAMS)
    tensor, plane = place.planes(2, ROOM, HEAD_DIM, BITS)
    assert (tensor.stride, plane) == (FIELDS["k_stride"], FIELDS["k_plane"])


def test_rows():
    job = image()
    for name, first, last in table("row of a plane"):
        plane, _, head, _, row = name.split()
        tensor = {"msb": job.tensors["k"], "lsb": job.k_lsb}[plane]
        assert int(first, 0) == tensor.row(int(head), int(row))
        assert int(last, 0) == int(first, 0) + tensor.pitch - 1


def test_bytes():
    job = image()
    memory = np.zeros(0x4000, np.uint8)
    job.store_operands(memory)
    for address, text, elements, of in table("plane address"):
        at, want = int(address, 0), bytes.fromhex(text)
        assert bytes(memory[at : at + len(want)]) == want
        msb, lsb = planes(np.array(numbers(of)), BITS)
        first = at < FIELDS["k_base"] + FIELDS["k_plane"]
        assert numbers(elements) == (msb if first else lsb).tolist()
    shown = [x for row in table("plane address")[:2] for x in numbers(row[3])]
    assert shown == job.k[0, 1, :8].tolist()
    assert max(shown) == key_limit(BITS)


def test_the_configuration_of_the_guide(tmp_path):
    page = (ROOT / "docs/user/configuration.md").read_text()
    files = [text.split("```")[0] for text in page.split("```toml\n")]
    (text,) = [text for text in files if "progressive = true" in text]
    path = tmp_path / "planes.toml"
    path.write_text(text)
    config = load(str(path))
    assert config.core.progressive
    assert config.core.value_demand
    run = config.run
    assert (run.key_bits, run.value_bits, run.threshold, run.demand) == (6, 6, 0.1, True)
