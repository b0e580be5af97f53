"""The page of the register block tells the latencies that the blocks have."""

from pathlib import Path

import pytest

from attnsieve.hdl.axi.row_writer import RowWriter
from attnsieve.hdl.axi.writer import BurstWriter
from attnsieve.hdl.control.counters import Counters
from attnsieve.hdl.control.job_memory import JobMemory
from attnsieve.hdl.control.tables import MaskTable
from attnsieve.hdl.params import CoreParams

PAGES = Path(__file__).parents[3] / "docs" / "reference" / "blocks"


@pytest.mark.parametrize(
    "page, row, latency",
    [
        ("registers", "(`JobMemory.latency`)", JobMemory(params=CoreParams()).latency),
        ("registers", "(`Counters.latency`)", Counters.latency),
        ("registers", "mask read (`latency`)", MaskTable.latency),
        ("writer", "first elements → `awvalid` (`latency`)", RowWriter.latency),
        ("writer", "request → `awvalid` (`latency`)", BurstWriter.latency),
        ("writer", "(`data_latency`)", BurstWriter.data_latency),
    ],
)
def test_latency(page, row, latency):
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if row in line)
    assert line.split("|")[2].split()[0] == str(latency)
