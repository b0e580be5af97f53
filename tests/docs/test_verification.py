"""docs/developer/verification.md names every block and only tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/developer/verification.md").read_text()
TABLE, REST = PAGE.split("Not in the table:")
ROWS = re.findall(r"^\| (\w+(?:/\w+)+) \|(.*)\|(.*)\|(.*)\|$", TABLE, re.MULTILINE)
STATES = ("Done", "Partly", "Waived: ", "Not yet")


def test_every_block_is_there():
    hdl = ROOT / "hdl"
    blocks = {str(path.relative_to(hdl)).removesuffix(".py") for path in hdl.rglob("*.py")}
    blocks = {block for block in blocks if not block.endswith("__init__")}
    listed = {block for block, *_ in ROWS}
    outside = set(re.findall(r"`([\w/]+)`", REST.split("##")[0]))
    assert listed | outside == blocks
    assert not listed & outside


def test_every_cell_has_a_state():
    demands = re.findall(r"^\| .* \| (.*) \| .*\|$", REST.split("one by one")[1], re.MULTILINE)
    for cell in [*(c.strip() for _, *cells in ROWS for c in cells), *demands]:
        assert cell.startswith((*STATES, "state")), cell


def test_named_files_exist():
    for name in set(re.findall(r"tests/[\w/]+\.py|tests/[\w/]+", PAGE)):
        assert (ROOT / name).exists(), name
