"""Packages: Verilog with everything around it that a project needs."""

from attnsieve.gen.package.build import write_package
from attnsieve.gen.package.texts import driver_texts

__all__ = ["driver_texts", "write_package"]
