"""Prints the reference page of the registers: ``python -m attnsieve.gen.registers``."""

from attnsieve.gen.registers.page import reference_page
from attnsieve.hdl.params import CoreParams

if __name__ == "__main__":
    print(reference_page(CoreParams()), end="")
