"""Fast simulation of the generated Verilog through compiled C++."""
