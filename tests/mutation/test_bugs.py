"""Every planted bug is caught, by a test of its block that passes without it."""

from __future__ import annotations

from collections import Counter

import pytest

from .axi_bugs import AXI_BUGS
from .control_bugs import CONTROL_BUGS
from .demand_bugs import DEMAND_BUGS
from .gather_bugs import GATHER_BUGS
from .head_bugs import HEAD_BUGS
from .hunt import ROOT, PlantError, plant
from .lib_bugs import LIB_BUGS
from .list_bugs import LIST_BUGS
from .plane_bugs import PLANE_BUGS
from .select_bugs import SELECT_BUGS
from .slice_back_bugs import SLICE_BACK_BUGS
from .slice_bugs import SLICE_BUGS
from .slice_demand_bugs import SLICE_DEMAND_BUGS
from .slice_front_bugs import SLICE_FRONT_BUGS
from .slice_part_bugs import SLICE_PART_BUGS
from .stage_bugs import STAGE_BUGS
from .token_bugs import TOKEN_BUGS

BUGS = [
    *LIB_BUGS, *AXI_BUGS, *GATHER_BUGS, *CONTROL_BUGS, *LIST_BUGS, *SELECT_BUGS, *STAGE_BUGS,
    *TOKEN_BUGS, *HEAD_BUGS, *DEMAND_BUGS, *PLANE_BUGS, *SLICE_BUGS,
    *SLICE_BACK_BUGS, *SLICE_FRONT_BUGS, *SLICE_PART_BUGS, *SLICE_DEMAND_BUGS,
]  # fmt: skip

#: Files of hdl/ in which no bugs are planted, and why.
WITHOUT_BUGS = {
    "params": "no hardware: checked parameters and derived widths",
    "layouts": "no hardware: names and widths of payloads",
    "lib/checks": "no hardware: messages about parameters",
    "lib/ragged": "no hardware: names and widths of payloads",
    "lib/delay": "registers in a row, planted in the blocks that use them",
    "lib/reduce": "or and sum as trees, planted in the blocks that use them",
    "select/top_k": "no hardware: checked sizes and layouts",
    "select/engines": "no hardware: picks a block",
    "select/search": "no hardware: names and widths of payloads",
    "slices/slice_params": "no hardware: checked sizes and layouts",
    "slices/demand/plane_reader": "wires between blocks, planted in the blocks",
    "axi/signature": "no hardware: names of wires",
    "control/register_map": "no hardware: a table, which the tests of registers go through",
    "control/status": "no hardware: numbers of status codes",
    "lib/pointer": "one expression, planted through queue and ring",
    "lib/connect": "no hardware but wires",
    "core": "wires between blocks: tests/system runs whole jobs",
    "datapath": "wires between blocks: tests/system runs whole jobs",
    "control/job_control": "wires between blocks, planted in the blocks",
    "control/walk": "wires between blocks, planted in the blocks",
    "control/sequencers": "wires between blocks, planted in the blocks",
    "stages/prob_v_steps": "wires between blocks, planted in the blocks",
    "stages/prob_v": "wires and delays between blocks, planted in the blocks",
    "stages/scorer": "wires and delays between blocks, planted in the blocks",
}

#: Least bugs per block.
LEAST = 3


def test_every_block_has_bugs():
    blocks = {str(path.relative_to(ROOT / "hdl")).removesuffix(".py")
              for path in (ROOT / "hdl").rglob("*.py") if path.name != "__init__.py"}
    planted = Counter(bug.block for bug in BUGS)
    few = {block: planted[block] for block in blocks - set(WITHOUT_BUGS) if planted[block] < LEAST}
    assert not few
    assert set(WITHOUT_BUGS) <= blocks
    assert {bug.block for bug in BUGS if bug.quick} == blocks - set(WITHOUT_BUGS)


def test_every_bug_can_be_planted():
    problems = []
    for bug in BUGS:
        try:
            plant((ROOT / "hdl" / bug.file).read_text(), bug)
        except (PlantError, SyntaxError) as error:
            problems.append(str(error))
    assert not problems, "\n".join(problems)
    assert len({str(bug) for bug in BUGS}) == len(BUGS)


@pytest.mark.parametrize(
    "bug",
    [pytest.param(b, id=str(b), marks=[] if b.quick else pytest.mark.full) for b in BUGS],
)
def test_bug_is_caught(bug, hunter, record_property):
    record_property("block", bug.block)
    verdict = hunter.hunt(bug)
    assert verdict.caught, f"{bug} is not caught by {bug.tests}: {verdict.text}"
