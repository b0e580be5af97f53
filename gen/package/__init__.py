"""Packages of a generated core: Verilog, FuseSoC core, manifest, documentation."""
