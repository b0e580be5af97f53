"""cocotb's own runner finds the simulators once the tools are activated."""

import os

import pytest

from attnsieve.gen import tools

COUNTER = """
module counter(input clk, output reg [7:0] count);
  initial count = 0;
  always @(posedge clk) count <= count + 1;
endmodule
"""

BENCH = """
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

@cocotb.test()
async def counts(dut):
    Clock(dut.clk, 10, unit="ns").start()
    await ClockCycles(dut.clk, 5)
    await FallingEdge(dut.clk)
    assert dut.count.value.to_unsigned() == 5
"""


@pytest.mark.parametrize(
    "simulator, program",
    [("icarus", "iverilog"), pytest.param("verilator", "verilator", marks=pytest.mark.full)],
)
def test_runner(simulator, program, tmp_path, monkeypatch):
    runner = pytest.importorskip("cocotb_tools.runner", reason="cocotb is not installed")
    try:
        tools.which(program)
        tools.which("g++")
    except tools.MissingToolError as error:
        pytest.skip(str(error))
    for name, value in tools.tool_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path)]))
    (tmp_path / "counter.v").write_text(COUNTER)
    (tmp_path / "bench_counter.py").write_text(BENCH)
    run = runner.get_runner(simulator)
    run.build(
        sources=[tmp_path / "counter.v"],
        hdl_toplevel="counter",
        build_dir=tmp_path / "build",
        timescale=("1ns", "1ps"),
        always=True,
    )
    run.test(
        hdl_toplevel="counter",
        test_module="bench_counter",
        build_dir=tmp_path / "build",
        test_dir=tmp_path,
        seed=1,
    )
