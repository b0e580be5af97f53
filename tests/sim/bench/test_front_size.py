"""The size of a front end, whose units are mapped once."""

import re

import pytest

from attnsieve.gen import tools
from attnsieve.gen.config import load
from attnsieve.gen.synth.alone import block_ports
from attnsieve.gen.synth.liberty import DEFAULT
from attnsieve.gen.verilog import component, to_rtlil
from attnsieve.sim.bench.front_size import Size, front_size, main, one_unit

SMALL = [
    "core.max_head_dim=16", "core.max_keys=16", "core.buffer_elements=128", "core.slice_rows=2",
]  # fmt: skip


def small(**core):
    return load("leopard-tiny", settings=[*SMALL, *(f"core.{k}={v}" for k, v in core.items())])


def needs_cells():
    try:
        tools.which("yosys")
    except tools.MissingToolError as error:
        pytest.skip(str(error))
    if not DEFAULT.exists():
        pytest.skip("no Liberty file: sudo apt-get install qflow-tech-osu018")


def test_units_are_one_module():
    config = small(slice_units=12)
    text = to_rtlil(component(config), config.top)
    unit = f"{config.top}.datapath.scorer.circle.unit"
    ports = [{(p.name, p.width) for p in block_ports(text, f"{unit}{n}")} for n in range(12)]
    assert all(own == ports[0] for own in ports)  # the module that stands for all fits all
    one = one_unit(text)
    assert re.findall(r"module \\(\S+circle\.unit\S*)", one) == [
        f"{unit}0{within}" for within in ("", ".queries", ".bounds")
    ]
    assert one.count(f"cell \\{unit}0 ") == 12
    assert one.count("keep_hierarchy") == 1


def test_a_front_end():
    """Its memories are too small for block RAM, and slices take no multiplier."""
    needs_cells()
    found = front_size(small())
    assert (found.dsp, found.bram) == (0, 0)
    assert min(found[:4]) > 0
    assert found.area == (found.cells + found.memories) / 1e6
    assert min(found.cells, found.memories) > 1e5


def test_a_dense_front_end_is_three_blocks(monkeypatch):
    modules = []

    def one_block(config, folder, module):
        modules.append(module)
        return Size(lut=len(modules), cells=0.5)

    monkeypatch.setattr("attnsieve.sim.bench.front_size._size", one_block)
    assert front_size(load("dense-tiny")) == Size(lut=6, cells=1.5)
    inside = ("scorer", "k_ring", "row_buffer")
    assert modules == [f"attnsieve_dense_tiny.datapath.{name}" for name in inside]


def test_the_table_has_a_line_for_each_point(monkeypatch, capsys):
    monkeypatch.setattr(
        "attnsieve.sim.bench.front_size.front_size", lambda config: Size(config.core.slice_units)
    )
    assert main(["leopard-tiny", "--point", "", "--point", "slice_units=5"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert len(head) == len(first) == len(second)
    assert (first.split()[0], second.split()[:2]) == ("2", ["slice_units=5", "5"])


def test_the_table_of_blocks(monkeypatch, capsys):
    monkeypatch.setattr(
        "attnsieve.sim.bench.front_size._size", lambda config, folder, module: Size(len(module))
    )
    assert main(["leopard-tiny", "--blocks"]) == 0
    head, *blocks = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in blocks]
    assert {"scorer.circle", "scorer.store", "scorer.dealer", "scorer.rows"} < set(names)
    assert len(names) == len(set(names)) < 25
    assert not [name for name in names if "attnsieve" in name]
    top = len("attnsieve_leopard_tiny.datapath.")
    assert all(len(line) == len(head) for line in blocks)
    assert [int(line.split()[1]) for line in blocks] == [top + len(name) for name in names]
