"""cocotb benches of the generated Verilog."""
