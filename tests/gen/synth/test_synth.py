# amaranth: UnusedElaboratable=no
"""Synthesis reports on a small stand-in core, whose cells can be counted by hand."""

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from rich.console import Console

from attnsieve.gen import tools
from attnsieve.gen.config import SynthOptions
from attnsieve.gen.errors import UserError
from attnsieve.gen.synth import asic, flow, fpga, place, print_report, synth_component
from attnsieve.gen.synth.alone import block_ports, chosen_blocks
from attnsieve.gen.synth.liberty import DEFAULT, cell_areas, driving_cell
from attnsieve.gen.synth.targets import TARGETS, count
from attnsieve.gen.synth.wrapper import stub, wrapper
from attnsieve.gen.verilog import Port, ports
from attnsieve.hdl.lib.ram import Ram

OPTIONS = SynthOptions(clock_mhz=48.0)


def needs(program):
    try:
        tools.which(program)
    except tools.MissingToolError as error:
        pytest.skip(str(error))


def printed(report):
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as captured:
        print_report(report, console)
    return captured.get()


@pytest.mark.parametrize(
    "target, dsp, bram", [("ecp5", 2, 1), ("ice40", 0, 1), ("gowin", 2, 1), ("xilinx", 2, 1)]
)
def test_resources(stand_in, target, dsp, bram):
    report = synth_component(stand_in(lanes=2, width=8), "core", target, OPTIONS)
    assert report["target"] == target
    assert report["total"]["dsp"] == dsp
    assert report["total"]["bram"] == bram
    assert set(report["blocks"]) == {"store", "mac_0", "mac_1", "(top)"}
    assert report["blocks"]["store"]["bram"] == bram
    assert report["blocks"]["mac_0"] == report["blocks"]["mac_1"]
    for resource in ("ff", "bram", "dsp"):  # borders change logic, not these
        assert report["total"][resource] == sum(b[resource] for b in report["blocks"].values())
    assert report["memories"] == [
        {"name": "store.memory", "width": 16, "depth": 256, "bits": 4096, "reads": 1, "writes": 1}
    ]
    assert report["memory_bits"] == 4096
    assert report["wrapper"]["ff"] == 70  # 26 bits in, 43 out, and the reset
    text = printed(report)
    assert "mac_* (2)" in text
    assert "total, flattened" in text


@pytest.mark.parametrize("target, free", [("ecp5", 60.0), ("ice40", 40.0)])
def test_place_and_route(stand_in, target, free, tmp_path):
    needs(f"nextpnr-{target}")
    core = stand_in(lanes=1, width=6)
    report = synth_component(core, "core", target, OPTIONS, pnr=True, work=tmp_path)
    pnr = report["pnr"]
    assert pnr["fmax_mhz"] > free
    assert pnr["met"] == (pnr["fmax_mhz"] >= 48.0)
    path = pnr["critical_path"]
    assert path["delay_ns"] == pytest.approx(1000 / pnr["fmax_mhz"], abs=0.02)
    assert path["delay_ns"] == pytest.approx(path["logic_ns"] + path["routing_ns"], abs=0.002)
    assert {path["start"], path["end"]} <= {"store", "mac_0", "(top)", "(wrapper)"}
    assert path["start"] == path["through"][0]
    ram = {"ecp5": "DP16KD", "ice40": "ICESTORM_RAM"}[target]
    assert pnr["core"][ram] == report["total"]["bram"]
    if target == "ecp5":
        assert pnr["core"]["TRELLIS_FF"] == report["total"]["ff"]
    assert "critical path" in printed(report)
    assert all(own["worst_ns"] < path["delay_ns"] + 0.01 for own in pnr["late"].values())
    assert ("late ends" in printed(report)) == bool(pnr["late"])
    assert (tmp_path / "nextpnr.log").exists()


class Product(wiring.Component):
    """A product between registers, without a reset."""

    def __init__(self):
        super().__init__({"a": In(signed(18)), "b": In(signed(18)), "o": Out(signed(36))})

    def elaborate(self, platform):
        m = Module()
        a, b = (Signal(signed(18), reset_less=True, name=name) for name in "ab")
        o = Signal(signed(36), reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), o.eq(a * b)]
        m.d.comb += self.o.eq(o)
        return m


def test_registers_of_multipliers(tmp_path):
    needs("nextpnr-ecp5")
    report = synth_component(Product(), "core", "ecp5", OPTIONS, pnr=True, work=tmp_path)
    assert report["dsp_registers"] == {
        "outputs": 1, "inputs": 2, "flip_flops": 72, "inverters": 0,
    }  # fmt: skip
    assert report["total"]["ff"] == report["pnr"]["core"]["TRELLIS_FF"] == 0
    assert report["cells"]["TRELLIS_FF"] == 0
    assert report["blocks"]["(top)"]["ff"] == 0
    assert report["pnr"]["fmax_mhz"] > 200  # a multiplier without registers takes 4 ns alone
    assert "2 operands, 1 products, for 72 flip-flops" in printed(report)


def test_blocks_by_themselves(stand_in):
    """As in the whole core, and with the clock of each between registers."""
    needs("nextpnr-ecp5")
    core = stand_in(lanes=2, width=8)
    whole = synth_component(core, "core", "ecp5", OPTIONS)
    alone = synth_component(
        stand_in(lanes=2, width=8), "core", "ecp5", OPTIONS, alone=["mac_1", "st*"], pnr=True
    )
    assert list(alone["blocks"]) == ["mac_1", "store"]
    for name, found in alone["blocks"].items():
        assert {k: found[k] for k in ("ff", "dsp", "bram")} == {
            k: whole["blocks"][name][k] for k in ("ff", "dsp", "bram")
        }
        assert found["pnr"]["fmax_mhz"] > 48
    text = printed(alone)
    assert "MHz" in text
    assert f"{alone['blocks']['mac_1']['pnr']['fmax_mhz']}" in text
    with pytest.raises(UserError, match=r"--block mac: no such block; there are mac_0, mac_1, st"):
        synth_component(core, "core", "ecp5", OPTIONS, alone=["mac"])


NESTED = ["control", "datapath.scorer", "datapath.scorer.dealer", "datapath.scorer.dealer.queue0"]


@pytest.mark.parametrize(
    "pattern, chosen",
    [
        ("*", NESTED[:2]),
        ("datapath.*", NESTED[1:2]),
        ("scorer", NESTED[1:2]),
        ("scorer.*", NESTED[2:3]),
        ("*.deal*", NESTED[2:3]),
        ("datapath.scorer.dealer", NESTED[2:3]),
        ("scorer.dealer.queue?", NESTED[3:]),
    ],
)
def test_patterns_match_part_by_part(pattern, chosen):
    assert chosen_blocks(NESTED, [pattern]) == chosen
    assert chosen_blocks(NESTED, [pattern, pattern]) == chosen


def test_a_wrong_pattern_names_what_is_there():
    with pytest.raises(UserError, match=r"^--block x: no such block; there are control, scorer$"):
        chosen_blocks(NESTED, ["x"])
    with pytest.raises(UserError, match=r"^--block scorer.x: .* there are scorer.dealer$"):
        chosen_blocks(NESTED, ["scorer.x"])
    with pytest.raises(UserError, match=r"^--block x.y: no such block; nor one to hold it$"):
        chosen_blocks(NESTED, ["x.y"])


def test_ports_of_a_block():
    wires = r"  wire width 3 input 0  signed \x", r"  wire output 1  \end", r"  wire \y"
    text = "\n".join(["", r"module \a.b", *wires, "end", ""])
    assert block_ports(text, "a.b") == [Port("x", False, 3), Port("end", True, 1)]


def test_a_core_too_large_for_the_device(stand_in):
    needs("nextpnr-ice40")
    options = SynthOptions(ice40_device="HX1K")
    report = synth_component(
        stand_in(lanes=1, width=4, depth=32768), "core", "ice40", options, pnr=True
    )
    assert report["total"]["bram"] == 32
    assert "error" in report["pnr"]
    assert "place and route failed" in printed(report)


def test_standard_cells(stand_in):
    needs("sta")
    if not DEFAULT.exists():
        pytest.skip("no Liberty file: sudo apt-get install qflow-tech-osu018")
    report = synth_component(
        stand_in(lanes=1, width=4), "core", "asic", SynthOptions(clock_mhz=100)
    )
    assert report["liberty"] == "osu018_stdcells.lib"
    # the memory is not in the area: 256 words of 4 bits would be over 90,000
    assert 5000 < report["total"]["area"] < 50000
    assert sum(b["area"] for b in report["blocks"].values()) == pytest.approx(
        report["total"]["area"], rel=0.15
    )
    best = report["best"]
    assert best["worst_slack_ns"] >= 0
    assert 1 < best["period_ns"] < 10
    assert best["power_w"] > 0
    assert all(
        run["period_ns"] >= best["period_ns"] or run["worst_slack_ns"] < 0 for run in report["runs"]
    )
    assert best["critical_path"]["end"] in {*report["blocks"], "(top)"}
    assert report["memory_area"]["register_bits"] == 1024
    assert asic.SRAM_SOURCE in printed(report)


def test_areas_of_blocks_in_standard_cells(stand_in):
    """As in the whole report, and each with its memories; what is not chosen is the rest."""
    needs("sta")
    if not DEFAULT.exists():
        pytest.skip("no Liberty file: sudo apt-get install qflow-tech-osu018")
    every, one = (
        synth_component(stand_in(lanes=2, width=4), "core", "asic", OPTIONS, alone=chosen)
        for chosen in (["*"], ["store"])
    )
    assert set(every["blocks"]) == {"store", "mac_0", "mac_1", "(top)"}
    assert set(one["blocks"]) == {"store", "(top)"}
    assert one["blocks"]["store"] == every["blocks"]["store"]
    assert one["blocks"]["store"]["memory_bits"] == one["memory_bits"] == 2048
    assert one["blocks"]["store"]["memory_area"] > 10000
    assert every["blocks"]["mac_0"]["memory_area"] == 0
    for key in ("area", "memory_area"):
        assert sum(b[key] for b in every["blocks"].values()) == pytest.approx(
            sum(b[key] for b in one["blocks"].values()), rel=0.1
        )
    text = printed(every)
    assert "share %" in text


class Holder(wiring.Component):
    """A core within a core."""

    def __init__(self, inner):
        self.inner = inner
        super().__init__(dict(inner.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self.inner
        wiring.connect(m, wiring.flipped(self), self.inner)
        return m


def test_areas_of_blocks_within_blocks(stand_in):
    """A block within one is taken out of it."""
    needs("sta")
    if not DEFAULT.exists():
        pytest.skip("no Liberty file: sudo apt-get install qflow-tech-osu018")
    whole, apart = (
        synth_component(
            Holder(stand_in(lanes=2, width=4)), "core", "asic", OPTIONS, alone=chosen
        )["blocks"]
        for chosen in (["inner"], ["inner", "inner.store"])
    )  # fmt: skip
    assert set(apart) == {"inner", "inner.store", "(top)"}
    for key in ("area", "memory_area", "memory_bits"):
        parts = apart["inner"][key] + apart["inner.store"][key]
        assert parts == pytest.approx(whole["inner"][key], rel=0.1)
    assert (apart["inner"]["memory_bits"], apart["inner.store"]["memory_bits"]) == (0, 2048)
    assert apart["inner"]["area"] > apart["inner.store"]["area"] > 0
    assert apart["(top)"]["area"] == whole["(top)"]["area"] == 0


class Bytes(wiring.Component):
    """Words whose bytes are written apart."""

    address: In(6)
    en: In(4)
    go: In(1)
    word: In(32)
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = Ram(shape=32, depth=64, granularity=8)
        m.d.comb += [
            ram.write.address.eq(self.address),
            ram.write.data.eq(self.word),
            ram.write.en.eq(self.en & self.go.replicate(4)),
            ram.read[0].address.eq(self.address),
            ram.read[0].en.eq(1),
            self.o.eq(ram.read[0].data),
        ]
        return m


def test_standard_cells_around_a_memory_with_byte_enables():
    """Its enables are joined to several pieces of a port."""
    needs("sta")
    if not DEFAULT.exists():
        pytest.skip("no Liberty file: sudo apt-get install qflow-tech-osu018")
    report = synth_component(Bytes(), "core", "asic", SynthOptions(clock_mhz=100))
    assert report["best"]["worst_slack_ns"] >= 0
    assert report["memory_area"]["sram_bits"] == 32 * 64


def test_another_library(stand_in, tmp_path):
    if not DEFAULT.exists():
        pytest.skip("no Liberty file: sudo apt-get install qflow-tech-osu018")
    assert driving_cell(DEFAULT).startswith("INVX")
    assert cell_areas(DEFAULT)["INVX1"] == 16
    (tmp_path / "no.lib").write_text("library (x) { }")
    with pytest.raises(UserError, match=r"^.*no\.lib: not a Liberty file: it has no cells$"):
        flow.check("asic", OPTIONS, False, tmp_path / "no.lib")


def test_cells_are_counted_once():
    cells = {
        "LUT4": 3,
        "CCU2C": 2,
        "TRELLIS_FF": 5,
        "MULT18X18D": 1,
        "DP16KD": 1,
        "PFUMX": 1,
        "VLO": 9,
    }
    assert count(TARGETS["ecp5"], cells) == {
        "lut": 3, "carry": 2, "ff": 5, "mux": 1, "lutram": 0, "dsp": 1, "bram": 1,
    }  # fmt: skip


def test_names_of_elements_lose_their_brackets():
    text = "wire width 4 \\a[3]\nconnect \\a[3] [1] \\b [0]\nwire \\a.3\ncell \\x[0].y[1] \\a[3]\n"
    assert fpga.plain_names(text) == (
        "wire width 4 \\a.3_\nconnect \\a.3_ [1] \\b [0]\nwire \\a.3\ncell \\x.0.y.1 \\a.3_\n"
    )


class Elements(wiring.Component):
    """Arrays whose elements have names with brackets, beside wires of the array's name."""

    def __init__(self):
        layout = data.ArrayLayout(5, 3)
        super().__init__({"i": In(layout), "o": Out(layout)})

    def elaborate(self, platform):
        m = Module()
        kept = Signal(data.ArrayLayout(5, 3))
        for index in range(3):
            m.d.sync += kept[index].eq(self.i[index] + self.i[index - 1])
            m.d.comb += self.o[index].eq(kept[index] ^ 1)
        return m


@pytest.mark.parametrize("target", ["ecp5", "ice40"])
def test_arrays_of_elements(target):
    report = synth_component(Elements(), "core", target, OPTIONS)
    assert report["total"]["ff"] == 15


def test_blocks_in_containers():
    text = "module \\t\nmodule \\t.a\nmodule \\t.a.b\nmodule \\t.datapath\nmodule \\t.datapath.c\n"
    assert fpga.block_names(text, "t") == {"a": "t.a", "datapath.c": "t.datapath.c"}


@pytest.mark.parametrize(
    "name, block",
    [
        ("core.mac_1.acc_TRELLIS_FF_Q_3", "mac_1"),
        ("core.mac_10.acc", "mac_10"),
        ("core.mac_1_o_LUT4_Z", "mac_1"),
        ("core.datapath.loader.x[3]", "datapath.loader"),
        ("core.fsm_state", "(top)"),
        ("given[3]", "(wrapper)"),
    ],
)
def test_block_of_a_cell(name, block):
    assert place.block_of(name, ["mac_1", "mac_10", "datapath.loader"], "core.") == block


def test_critical_path_of_a_report():
    steps = [
        ("clk-to-q", "core.a.x", "core.a.x", 0.5, None),
        ("routing", "core.a.x", "core.b.y", 1.5, "core.a.x[0]"),
        ("logic", "core.b.y", "core.b.y", 0.25, None),
        ("routing", "core.b.y", "core.z", 1.0, "core.b.n"),
        ("setup", "core.z", "core.z", 0.0, None),
    ]
    path = [
        {"type": t, "from": {"cell": a}, "to": {"cell": b}, "delay": d} | ({"net": n} if n else {})
        for t, a, b, d, n in steps
    ]
    clock = {"from": "posedge clk", "to": "posedge clk", "path": path}
    other = {"from": "<async>", "to": "posedge clk", "path": path * 2}
    found = place.critical_path({"critical_paths": [other, clock]}, ["a", "b"])
    assert found["delay_ns"] == 3.25
    assert (found["logic_ns"], found["routing_ns"]) == (0.75, 2.5)
    assert (found["start"], found["end"], found["through"]) == ("a", "(top)", ["a", "b", "(top)"])
    assert place.critical_path({"critical_paths": [other]}, []) is None


def test_late_ends_of_a_report():
    def end(cell, delay, event="posedge clk"):
        return {"cell": cell, "delay": [0.1, delay], "event": event, "port": "DI"}

    nets = [
        {"event": "posedge clk", "endpoints": [end("core.a.x", 10.5), end("core.b.y", 10.0)]},
        {"event": "posedge clk", "endpoints": [end("core.a.z", 12.25), end("core.c", 11.0)]},
        {"event": "<async>", "endpoints": [end("core.b.y", 20.0)]},
    ]
    assert place.late_ends({"detailed_net_timings": nets}, ["a", "b"], 10.0) == {
        "a": {"ends": 2, "worst_ns": 12.25, "to": "core.a.z"},
        "(top)": {"ends": 1, "worst_ns": 11.0, "to": "core.c"},
    }


def test_wrapper_uses_every_bit(stand_in):
    text = wrapper(
        "core",
        [Port("clk", False, 1), Port("rst", False, 1), Port("a", False, 3), Port("b", True, 2)],
    )
    assert "reg [2:0] given;" in text
    assert "wire [1:0] result;" in text
    assert ".clk(clk)" in text
    assert ".rst(reset)" in text
    assert r".\a (given[2:0])" in text
    assert r".\b (result[1:0])" in text
    for port in ports(stand_in(lanes=2)):
        assert f"[{port.width - 1}:0] \\{port.name} " in stub("core", ports(stand_in(lanes=2)))
