"""Random initial contents: only what hardware leaves undefined changes."""

from attnsieve.sim.bench.noise import random_contents

VERILOG = """\
module m(clk);
  reg \\$auto$verilog_backend.cc:1:dump_module$1 ;
  initial \\$auto$verilog_backend.cc:1:dump_module$1  = 0;
  reg [7:0] state = 8'h00;
  reg one = 1'h1;
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


def test_memories_and_registers_change_and_tables_stay():
    changed = [random_contents(VERILOG, seed) for seed in range(20)]
    assert len(set(changed)) == 20
    assert random_contents(VERILOG, 3) == changed[3]
    for text in changed:
        assert text.splitlines()[1:3] == VERILOG.splitlines()[1:3]
        assert text.endswith(VERILOG[VERILOG.index("  reg [7:0] b") :])
    assert {text.splitlines()[4] for text in changed} == {
        "  reg one = 1'h0;",
        "  reg one = 1'h1;",
    }
    assert len({text.splitlines()[3] for text in changed}) > 15
    assert len({text.splitlines()[7] for text in changed}) > 15


def test_registers_may_stay():
    text = random_contents(VERILOG, 1, registers=False)
    assert "reg [7:0] state = 8'h00;" in text
    assert text != VERILOG
