"""Initial contents of memories, shortened."""

from attnsieve.sim.compiled.initial import compact_zeros, without_zeros

VERILOG = """\
module m(clk);
  reg [7:0] a [1:0];
  initial begin
    a[0] = 8'h00;
    a[1] = 8'h00;
  end
  reg [7:0] b [1:0];
  initial begin
    b[0] = 8'h00;
    b[1] = 8'h01;
  end
endmodule
"""


def test_zeros_become_a_loop_and_tables_stay():
    short = compact_zeros(VERILOG)
    assert "a[0]" not in short
    assert "for (word = 0; word < 2; word = word + 1) a[word] = 0;" in short
    assert short.endswith(VERILOG[VERILOG.index("  reg [7:0] b") :])


def test_zeros_left_out():
    without = without_zeros(VERILOG)
    assert "a[0]" not in without
    assert "  reg [7:0] a [1:0];\n  reg [7:0] b" in without
    assert without.endswith(VERILOG[VERILOG.index("  reg [7:0] b") :])
