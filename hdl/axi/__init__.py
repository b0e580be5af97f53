"""AXI4 masters and the AXI4-Lite slave."""
