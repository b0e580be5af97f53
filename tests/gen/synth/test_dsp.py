"""Packing of registers into ECP5 multipliers: what moves, what stays, and that nothing changes."""

import copy
import json
import subprocess
from pathlib import Path

import pytest

from attnsieve.gen import tools
from attnsieve.gen.synth import dsp
from attnsieve.gen.tools.yosys import run_yosys

HERE = Path(__file__).parent
NOTHING = {"outputs": 0, "inputs": 0, "flip_flops": 0, "inverters": 0}

CLOCK, ENABLE, RESET, OTHER = 2, 3, 4, 5
A_DATA, B_DATA, A, B, P, Q = (range(base, base + 36) for base in range(100, 700, 100))


def flip_flop(data, output, clock=CLOCK, **changed):
    connections = {"CLK": [clock], "DI": [data], "LSR": ["0"], "Q": [output]}
    parameters = {"CEMUX": "1 ", "CLKMUX": "CLK", "GSR": "DISABLED", "LSRMUX": "LSR"}
    parameters |= {"REGSET": "RESET", "SRMODE": "LSR_OVER_CE"}
    for name, value in changed.items():
        (parameters if name in parameters else connections)[name] = value
    return {
        "hide_name": 0,
        "type": "TRELLIS_FF",
        "parameters": parameters,
        "attributes": {},
        "port_directions": {n: "output" if n == "Q" else "input" for n in connections},
        "connections": connections,
    }


def netlist():
    """A multiplier between flip-flops: 18 bits times 18 bits."""
    inputs = {f"A{i}": [A[i]] for i in range(18)} | {f"B{i}": [B[i]] for i in range(18)}
    inputs |= dict.fromkeys(("SIGNEDA", "SIGNEDB"), ["1"])
    inputs |= dict.fromkeys(("SOURCEA", "SOURCEB"), ["0"])
    outputs = {f"P{i}": [P[i]] for i in range(36)}
    product = {
        "hide_name": 0,
        "type": "MULT18X18D",
        "parameters": {},
        "attributes": {},
        "port_directions": dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output"),
        "connections": inputs | outputs,
    }
    cells = {"x.product": product}
    cells |= {f"a{i}": flip_flop(A_DATA[i], A[i]) for i in range(18)}
    cells |= {f"b{i}": flip_flop(B_DATA[i], B[i]) for i in range(18)}
    cells |= {f"p{i}": flip_flop(P[i], Q[i]) for i in range(36)}
    names = {"clk": [CLOCK], "x.en": [ENABLE], "rst": [RESET], "other": [OTHER]}
    names |= {"a": A_DATA[:18], "b": B_DATA[:18]}
    ports = {n: {"direction": "input", "bits": list(bits)} for n, bits in names.items()}
    ports["q"] = {"direction": "output", "bits": list(Q)}
    names["q"] = Q
    nets = {n: {"hide_name": 0, "bits": list(bits), "attributes": {}} for n, bits in names.items()}
    return {"modules": {"top": {"ports": ports, "cells": cells, "netnames": nets}}}


def change(cells, group, **changed):
    """Flip-flops of one group, changed; ``group`` may be one of them."""
    for name, cell in list(cells.items()):
        if name == group or (name[0] == group and name[1:].isdigit()):
            data, output = (cell["connections"][port][0] for port in ("DI", "Q"))
            cells[name] = flip_flop(data, output, **changed)


def registers(cell):
    """Parameters of the registers in use."""
    return {
        name: value
        for name, value in cell["parameters"].items()
        if name.startswith("REG_") and value != "NONE"
    }


def test_all_registers_move():
    design = netlist()
    assert dsp.pack(design) == {"outputs": 1, "inputs": 2, "flip_flops": 72, "inverters": 0}
    cells = design["modules"]["top"]["cells"]
    assert set(cells) == {"x.product"}
    product = cells["x.product"]
    assert registers(product) == {
        f"REG_{register}_{kind}": name
        for register in ("INPUTA", "INPUTB", "OUTPUT")
        for kind, name in (("CLK", "CLK0"), ("CE", "CE3"), ("RST", "RST3"))
    }
    assert product["parameters"]["GSR"] == "DISABLED"
    wires = product["connections"]
    assert (wires["CLK0"], wires["CE3"], wires["RST3"]) == ([CLOCK], ["1"], ["0"])
    assert [wires[f"A{i}"] for i in range(18)] == [[bit] for bit in A_DATA[:18]]
    assert [wires[f"P{i}"] for i in range(36)] == [[bit] for bit in Q]
    assert product["port_directions"]["CE3"] == "input"
    assert dsp.pack(design) == NOTHING  # a multiplier with registers stays as it is


def test_enables_and_resets_of_operands():
    design = netlist()
    cells = design["modules"]["top"]["cells"]
    change(cells, "a", CEMUX="CE", CE=[ENABLE], LSR=[RESET])
    change(cells, "b", CEMUX="INV", CE=[ENABLE])
    assert dsp.pack(design) == {"outputs": 1, "inputs": 2, "flip_flops": 72, "inverters": 1}
    product = cells["x.product"]
    assert registers(product) | {"REG_INPUTA_CE": "CE0", "REG_INPUTA_RST": "RST0"} == registers(
        product
    )
    assert product["parameters"]["REG_INPUTB_CE"] == "CE1"
    assert product["parameters"]["REG_INPUTB_RST"] == "RST3"
    assert product["connections"]["CE0"] == [ENABLE]
    assert product["connections"]["RST0"] == [RESET]
    inverter = cells["x.en_inverse"]
    assert inverter["connections"]["A"] == [ENABLE]
    assert product["connections"]["CE1"] == inverter["connections"]["Z"]
    assert int(inverter["parameters"]["INIT"], 2) == 0x5555


def test_products_with_an_enable_move_only_when_asked():
    for gated, outputs in ((False, 0), (True, 1)):
        design = netlist()
        cells = design["modules"]["top"]["cells"]
        change(cells, "p", CEMUX="INV", CE=[ENABLE])
        found = dsp.pack(design, gated_products=gated)
        assert (found["outputs"], found["inputs"]) == (outputs, 2)
        assert found["inverters"] == outputs
        if gated:
            assert cells["x.product"]["parameters"]["REG_OUTPUT_CE"] == "CE3"


def test_flip_flops_with_other_loads_stay():
    design = netlist()
    top = design["modules"]["top"]
    top["ports"]["also"] = {"direction": "output", "bits": [A[0]]}
    assert dsp.pack(design)["flip_flops"] == 71
    assert set(top["cells"]) == {"x.product", "a0"}
    assert top["cells"]["x.product"]["connections"]["A0"] == [A_DATA[0]]


def test_bits_used_often_and_constants():
    design = netlist()
    cells = design["modules"]["top"]["cells"]
    for index in range(8, 18):
        del cells[f"a{index}"]
        cells["x.product"]["connections"][f"A{index}"] = [A[7]]
        del cells[f"b{index}"]
        cells["x.product"]["connections"][f"B{index}"] = ["01x"[index % 3]]
    assert dsp.pack(design)["inputs"] == 2
    assert set(cells) == {"x.product"}
    wires = cells["x.product"]["connections"]
    assert [wires[f"A{i}"][0] for i in range(7, 18)] == [A_DATA[7]] * 11
    assert [wires[f"B{i}"][0] for i in (9, 10, 11)] == ["0", "1", "x"]


def test_unused_bits_of_a_product():
    design = netlist()
    cells = design["modules"]["top"]["cells"]
    for index in range(20, 36):
        del cells[f"p{index}"]
    assert dsp.pack(design)["outputs"] == 1
    assert cells["x.product"]["connections"]["P20"] == [P[20]]


def test_a_register_between_two_multipliers_moves_once():
    design = netlist()
    cells = design["modules"]["top"]["cells"]
    second = copy.deepcopy(cells["x.product"])
    for index in range(18):
        second["connections"] |= {f"A{index}": [Q[index]], f"B{index}": [B[index]]}
    for index in range(36):
        second["connections"][f"P{index}"] = [800 + index]
    cells["second"] = second
    assert dsp.pack(design) == {"outputs": 1, "inputs": 2, "flip_flops": 54, "inverters": 0}
    # the flip-flops are the first one's product; b has a load left
    assert [second["connections"][f"A{i}"] for i in range(18)] == [[Q[i]] for i in range(18)]
    assert registers(second) == {}
    assert "b0" in cells


@pytest.mark.parametrize(
    "group, changed",
    [
        ("p", {"LSR": [RESET]}),
        ("p", {"CEMUX": "CE", "CE": [ENABLE]}),
        ("p", {"CEMUX": "INV", "CE": [ENABLE]}),
        ("p", {"CEMUX": "0 "}),
        ("p", {"REGSET": "SET"}),
        ("p", {"CLKMUX": "INV"}),
        ("p", {"GSR": "ENABLED"}),
        ("p", {"M": [OTHER]}),
        ("p0", {"REGSET": "SET"}),
        ("p0", {"clock": OTHER}),
        ("p0", {"CEMUX": "CE", "CE": [ENABLE]}),
    ],
)
def test_products_that_stay(group, changed):
    design = netlist()
    cells = design["modules"]["top"]["cells"]
    change(cells, group, **changed)
    assert dsp.pack(design) == {"outputs": 0, "inputs": 2, "flip_flops": 36, "inverters": 0}
    assert "p0" in cells
    assert cells["x.product"]["connections"]["P0"] == [P[0]]


@pytest.mark.parametrize("load", ["port", "cell", "flip-flop"])
def test_products_used_elsewhere_stay(load):
    design = netlist()
    top = design["modules"]["top"]
    if load == "port":
        top["ports"]["p"] = {"direction": "output", "bits": [P[3]]}
    elif load == "cell":
        del top["cells"]["p3"]
        top["cells"]["lut"] = {
            "type": "LUT4",
            "parameters": {},
            "attributes": {},
            "port_directions": {"A": "input", "Z": "output"},
            "connections": {"A": [P[3]], "Z": [900]},
        }
    else:
        top["cells"]["second"] = flip_flop(P[3], 900)
    assert dsp.pack(design)["outputs"] == 0


@pytest.mark.parametrize(
    "group, changed",
    [
        ("a", {"LSR": [RESET], "SRMODE": "ASYNC"}),
        ("a", {"LSR": [RESET], "LSRMUX": "INV"}),
        ("a", {"REGSET": "SET"}),
        ("b", {"CEMUX": "0 "}),
        ("b", {"clock": OTHER}),
        ("b0", {"LSR": [RESET]}),
        ("b0", {"CEMUX": "CE", "CE": [ENABLE]}),
        ("b0", {"clock": OTHER}),
    ],
)
def test_operands_that_stay(group, changed):
    """Both do, though one alone could move: place and route has no times for that."""
    design = netlist()
    change(design["modules"]["top"]["cells"], group, **changed)
    assert dsp.pack(design) == {"outputs": 1, "inputs": 0, "flip_flops": 36, "inverters": 0}


@pytest.mark.parametrize("port, bit", [("A4", A_DATA[4]), ("SIGNEDB", OTHER), ("SOURCEA", "1")])
def test_operands_not_from_registers_stay(port, bit):
    design = netlist()
    design["modules"]["top"]["cells"]["x.product"]["connections"][port] = [bit]
    assert dsp.pack(design)["inputs"] == 0


def test_constant_ones_in_both_operands():
    """The product is not zero from the start; with registers it would be."""
    design = netlist()
    wires = design["modules"]["top"]["cells"]["x.product"]["connections"]
    wires |= {"A17": ["1"], "B0": ["1"]}
    assert dsp.pack(design)["inputs"] == 0


def test_a_constant_one_waits_for_no_other_enable():
    """Until the operand's register is clocked it would be zero."""
    for bit, inputs in (("0", 2), ("1", 0)):
        design = netlist()
        cells = design["modules"]["top"]["cells"]
        change(cells, "a", CEMUX="CE", CE=[ENABLE])
        cells["x.product"]["connections"]["A17"] = [bit]
        assert dsp.pack(design)["inputs"] == inputs


def test_kept_flip_flops_stay():
    design = netlist()
    design["modules"]["top"]["cells"]["a5"]["attributes"]["keep"] = "1"
    assert dsp.pack(design)["inputs"] == 0


def test_another_output_in_use():
    design = netlist()
    top = design["modules"]["top"]
    top["cells"]["x.product"]["connections"]["ROA3"] = [900]
    top["cells"]["x.product"]["port_directions"]["ROA3"] = "output"
    top["ports"]["roa"] = {"direction": "output", "bits": [900]}
    assert dsp.pack(design) == NOTHING


def flip_flops(design):
    return sum(
        cell["type"] == "TRELLIS_FF"
        for module in design["modules"].values()
        for cell in module["cells"].values()
    )


BENCH = """
module bench;
  reg clk = 0, reset = 0;
  reg [3:0] en = 0;
  reg signed [17:0] a = 0, b = 0;
  reg [11:0] n = 0;
  wire [WIDTH-1:0] o [0:2];
  products golden(.clk(clk), .reset(reset), .en(en), .a(a), .b(b), .n(n), OUTPUTS0);
  mapped plain(.clk(clk), .reset(reset), .en(en), .a(a), .b(b), .n(n), OUTPUTS1);
  packed_ tight(.clk(clk), .reset(reset), .en(en), .a(a), .b(b), .n(n), OUTPUTS2);
  integer cycle, seed = SEED, moved = 0;
  initial begin
    for (cycle = 0; cycle < 4000; cycle = cycle + 1) begin
      #1;
      if (o[1] !== o[0] || o[2] !== o[0]) begin
        $display("cycle %0d: %h %h %h", cycle, o[0], o[1], o[2]);
        $fatal(1);
      end
      moved = moved + (o[0] != 0);
      clk = 1;
      #1 clk = 0;
      a = $random(seed); b = $random(seed); n = $random(seed);
      // at first rarely, so that power-up shows
      en = cycle < 40 ? $random(seed) & $random(seed) & $random(seed) : $random(seed);
      reset = ($random(seed) & 7) == 0;
    end
    $display("equal %0d", moved);
  end
endmodule
"""


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Netlist of products.v, as yosys maps it."""
    folder = tmp_path_factory.mktemp("mapped")
    run_yosys(
        f"read_verilog {HERE / 'products.v'}\nsynth_ecp5 -top products\nrename products mapped\n"
        "delete t:$scopeinfo\nwrite_json mapped.json\n",
        folder,
    )
    netlist = json.loads((folder / "mapped.json").read_text())
    return {"modules": {"mapped": netlist["modules"]["mapped"]}}  # without yosys' library


@pytest.mark.parametrize("gated", [False, True])
def test_packing_changes_nothing(mapped, gated, tmp_path):
    """Source, netlist, and packed netlist agree in every cycle from power-up on."""
    design = copy.deepcopy(mapped)
    before = flip_flops(design)
    found = dsp.pack(design, gated_products=gated)
    assert before - flip_flops(design) == found["flip_flops"]
    assert found["outputs"] == (8 if gated else 6)
    assert found["inputs"] == 12
    design["modules"] = {"packed_": design["modules"]["mapped"]}
    for name, modules in (("mapped", mapped), ("packed_", design)):
        (tmp_path / f"{name}.json").write_text(json.dumps(modules))
        run_yosys(
            f"read_json {name}.json\nread_verilog -DNO_INCLUDES +/ecp5/cells_sim.v\n"
            f"hierarchy -top {name}\nproc\nflatten -wb\nopt_clean\nselect {name}\n"
            f"write_verilog -noattr -selected {name}.v\n",
            tmp_path,
        )
    base, outputs = 0, {}
    for name, port in mapped["modules"]["mapped"]["ports"].items():
        if port["direction"] == "output":
            outputs[name] = f"[{base + len(port['bits']) - 1}:{base}]"
            base += len(port["bits"])
    bench = BENCH.replace("SEED", "7" if gated else "8").replace("WIDTH", str(base))
    for index in range(3):
        pins = (f".{name}(o[{index}]{part})" for name, part in outputs.items())
        bench = bench.replace(f"OUTPUTS{index}", ", ".join(pins))
    (tmp_path / "bench.v").write_text(bench)
    subprocess.run(
        [tools.which("iverilog"), "-g2012", "-s", "bench", "-o", "bench.vvp",
         "bench.v", "mapped.v", "packed_.v", HERE / "products.v", HERE / "mult18x18d.v"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    log = subprocess.run(
        [tools.which("vvp"), "-n", "bench.vvp"], cwd=tmp_path, capture_output=True, text=True
    )
    assert log.returncode == 0, log.stdout
    assert int(log.stdout.split("equal")[1]) > 3900
