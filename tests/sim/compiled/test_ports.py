"""Ports read from Verilog."""

import pytest

from attnsieve.sim.compiled.ports import CorePorts, Port, module_ports

VERILOG = """\
module \\core.part (clk, x);
  input clk;
  wire clk;
endmodule

module core(clk, rst, m_axi0_rdata, m_axi10_rdata, m_axi2_rdata, s_axil_awvalid, s_axil_rdata, irq);
  reg [3:0] state;
  input clk;
  wire clk;
  input rst;
  input [63:0] m_axi0_rdata;
  input [63:0] m_axi10_rdata;
  input [63:0] m_axi2_rdata;
  input s_axil_awvalid;
  output [31:0] s_axil_rdata;
  reg [31:0] s_axil_rdata;
  output irq;
endmodule
"""


def test_ports_of_a_module():
    ports = module_ports(VERILOG, "core")
    assert ports["s_axil_rdata"] == Port("s_axil_rdata", True, 32)
    assert ports["clk"] == Port("clk", False, 1)
    assert list(ports)[:2] == ["clk", "rst"]
    assert "state" not in ports


def test_masters_are_in_the_order_of_their_numbers():
    ports = CorePorts.of(VERILOG, "core")
    assert ports.prefixes == ("m_axi0_", "m_axi2_", "m_axi10_")
    assert (ports.channels, ports.data_width, ports.beat_bytes) == (3, 64, 8)


@pytest.mark.parametrize(
    "missing, message",
    [
        ("irq", r"^Core must have a port irq, and has none$"),
        ("m_axi", r"^Core must have a port m_axi_rdata or m_axi0_rdata, and has none$"),
    ],
)
def test_not_a_core(missing, message):
    with pytest.raises(ValueError, match=message):
        CorePorts.of(VERILOG.replace(missing, "other"), "core")
