# Xilinx 7 series, bare core out of context: 100 MHz.
create_clock -name clk -period 10.000 [get_ports clk]
