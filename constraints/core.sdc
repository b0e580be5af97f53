# Any flow, bare core: 100 MHz. The reset is synchronous to clk; delays of the ports are the system's.
create_clock -name clk -period 10.000 [get_ports clk]
