"""Configurations, generation of Verilog and packages, synthesis, and the command line."""
