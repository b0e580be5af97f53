"""Compilers, simulators, place and route, timing: each does a small job."""

import json

import pytest

from attnsieve.gen import tools
from attnsieve.gen.tools.yosys import run_yosys

ADDER = """
module adder(input clk, input [3:0] a, input [3:0] b, output reg [4:0] s);
  always @(posedge clk) s <= a + b;
endmodule
"""

BENCH = """
module bench;
  reg clk = 0; reg [3:0] a = 9, b = 8; wire [4:0] s;
  adder dut(.clk(clk), .a(a), .b(b), .s(s));
  initial begin #1 clk = 1; #1 $display("sum %0d", s); $finish; end
endmodule
"""

LIBERTY = """
library (tiny) {
  delay_model : table_lookup;
  time_unit : "1ns"; voltage_unit : "1V"; current_unit : "1mA"; capacitive_load_unit (1, pf);
  input_threshold_pct_rise : 50; input_threshold_pct_fall : 50;
  output_threshold_pct_rise : 50; output_threshold_pct_fall : 50;
  slew_lower_threshold_pct_rise : 20; slew_lower_threshold_pct_fall : 20;
  slew_upper_threshold_pct_rise : 80; slew_upper_threshold_pct_fall : 80;
  cell (BUF) {
    area : 1;
    pin (A) { direction : input; capacitance : 0.01; }
    pin (Y) {
      direction : output; function : "A";
      timing () {
        related_pin : "A"; timing_sense : positive_unate;
        cell_rise (scalar) { values ("0.25"); } cell_fall (scalar) { values ("0.25"); }
        rise_transition (scalar) { values ("0.1"); } fall_transition (scalar) { values ("0.1"); }
      }
    }
  }
}
"""


COUNTER = """
module counter(input clk, output [3:0] q);
  reg [3:0] count = 0;
  always @(posedge clk) count <= count + 1;
  assign q = count;
endmodule
"""


def need(*names):
    for name in names:
        try:
            tools.which(name)
        except tools.MissingToolError as error:
            pytest.skip(str(error))


def test_icarus(tmp_path):
    need("iverilog", "vvp")
    (tmp_path / "t.v").write_text(ADDER + BENCH)
    tools.run_iverilog(["-g2012", "-o", "t.vvp", "t.v"], tmp_path)
    assert "sum 17" in tools.run_program("vvp", ["t.vvp"], tmp_path)


def test_icarus_error_is_one_line(tmp_path):
    need("iverilog")
    (tmp_path / "t.v").write_text("module t; nosuch x(); endmodule")
    with pytest.raises(tools.ToolError, match=r"^iverilog: t.v:1: error: Unknown module type"):
        tools.run_iverilog(["-o", "t.vvp", "t.v"], tmp_path)


def test_compiler(tmp_path):
    need("g++")
    (tmp_path / "t.cc").write_text('#include <cstdio>\nint main() { std::puts("hello"); }\n')
    tools.run_compiler(["-o", "t", "t.cc"], tmp_path)
    assert tools.run([tmp_path / "t"]) == "hello\n"
    (tmp_path / "t.cc").write_text("int main() { return x; }\n")
    with pytest.raises(tools.ToolError, match=r"^g\+\+: t.cc:1:\d+: error: .x. was not declared"):
        tools.run_compiler(["-o", "t", "t.cc"], tmp_path, cached=False)


def test_verilator_lints(tmp_path):
    need("verilator")
    (tmp_path / "adder.v").write_text(ADDER)
    assert "%" not in tools.run_verilator(["--lint-only", "-Wall", "adder.v"], tmp_path)
    (tmp_path / "bad.v").write_text("module bad(output [3:0] o); assign o = nosuch; endmodule")
    with pytest.raises(tools.ToolError, match=r"^verilator: %Error: bad.v:1:40: Can't find"):
        tools.run_verilator(["--lint-only", "bad.v"], tmp_path)


def test_verilator_command_is_complete():
    need("verilator")
    argv, env = tools.verilator_command()
    assert (tools.verilator_root() / "include" / "verilated.h").exists()
    assert env["VERILATOR_ROOT"] == str(tools.verilator_root())
    assert tools.run([*argv, "--version"], env=env).startswith("Verilator 5.")


def test_opensta(tmp_path):
    need("sta")
    (tmp_path / "t.lib").write_text(LIBERTY)
    (tmp_path / "t.v").write_text("module t(input a, output y); BUF u(.A(a), .Y(y)); endmodule\n")
    log = tools.run_sta(
        "read_liberty t.lib\nread_verilog t.v\nlink_design t\n"
        "create_clock -name c -period 1\nset_input_delay 0 -clock c a\n"
        "set_output_delay 0 -clock c y\nreport_checks\n",
        tmp_path,
    )
    assert "0.75" in log


def test_opensta_errors_are_not_passed_over(tmp_path):
    need("sta")
    with pytest.raises(tools.ToolError, match=r"^sta: Error"):
        tools.run_sta("read_verilog absent.v\nputs done\n", tmp_path)


@pytest.mark.full
@pytest.mark.parametrize(
    "family, synth, options, pack",
    [
        ("ecp5", "synth_ecp5", ["--25k", "--lpf-allow-unconstrained"], "ecppack"),
        ("ice40", "synth_ice40", ["--hx1k", "--pcf-allow-unconstrained"], "icepack"),
    ],
)
def test_place_and_route(family, synth, options, pack, tmp_path):
    need(f"nextpnr-{family}", pack)
    (tmp_path / "counter.v").write_text(COUNTER)
    run_yosys(f"read_verilog counter.v; {synth} -top counter -json a.json", tmp_path)
    suffix = {"ecp5": "--textcfg", "ice40": "--asc"}[family]
    tools.run_nextpnr(
        family, [*options, "--json", "a.json", suffix, "a.txt", "--report", "r.json"], tmp_path
    )
    report = json.loads((tmp_path / "r.json").read_text())
    assert next(iter(report["fmax"].values()))["achieved"] > 50
    tools.run_program(pack, ["a.txt", "a.bin"], tmp_path)
    assert (tmp_path / "a.bin").stat().st_size > 1000
