"""The pages of control and of the writers tell the latencies that the blocks have."""

from pathlib import Path

import pytest

from attnsieve.hdl.axi.granule_writer import GranuleWriter
from attnsieve.hdl.axi.row_writer import RowWriter
from attnsieve.hdl.axi.writer import BurstWriter
from attnsieve.hdl.control.counters import Counters
from attnsieve.hdl.control.job_memory import JobMemory
from attnsieve.hdl.control.rows import RowSequencer
from attnsieve.hdl.control.tables import MaskTable
from attnsieve.hdl.params import CoreParams

LUT = CoreParams(lut_ram=True)
PLAIN = CoreParams(lut_ram=False)
PAGES = Path(__file__).parents[3] / "docs" / "reference" / "blocks"


@pytest.mark.parametrize(
    "page, row, latency",
    [
        ("registers", "(`JobMemory.latency`)", JobMemory(params=CoreParams()).latency),
        ("registers", "(`Counters.latency`)", Counters(params=LUT).latency),
        ("registers", "mask read (`latency`)", MaskTable.latency),
        ("writer#Row writer", "with LUT RAM (`latency`)", RowWriter(params=LUT).latency),
        ("writer#Row writer", "without LUT RAM (`latency`)", RowWriter(params=PLAIN).latency),
        ("writer#Burst writer", "`awvalid` (`latency`)", BurstWriter.latency),
        ("writer#Burst writer", "(`data_latency`)", BurstWriter.data_latency),
        ("writer#Granule writer", "`awvalid` (`latency`)", GranuleWriter.latency),
        ("writer#Granule writer", "(`data_latency`)", GranuleWriter.data_latency),
        ("control", "(`job_cycles`)", RowSequencer(params=LUT).job_cycles),
    ],
)
def test_latency(page, row, latency):
    page, _, section = page.partition("#")
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    if section:
        text = text.split(f"## {section}\n")[1].split("\n## ")[0]
    (line,) = (line for line in text.splitlines() if row in line)
    assert line.split("|")[2].split()[0] == str(latency)
