"""Register description and the files exported from it."""

from attnsieve.gen.registers.export import export
from attnsieve.gen.registers.page import reference_page
from attnsieve.gen.registers.rdl import system_rdl

__all__ = ["export", "reference_page", "system_rdl"]
