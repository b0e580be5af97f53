"""The reference page of the registers is what the map says."""

from pathlib import Path

from attnsieve.gen.registers import reference_page
from attnsieve.hdl.params import CoreParams

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "registers.md"


def test_page_is_up_to_date():
    text = PAGE.read_text(encoding="utf-8")
    assert text == reference_page(CoreParams()), "run: python -m attnsieve.gen.registers"


def test_page_has_every_field():
    text = reference_page(CoreParams(addr_width=64))
    for name in ("`Q_BASE_HI` | 31:0", "`CTRL` | 0 | `start`", "| 15 | WATCHDOG |"):
        assert name in text
