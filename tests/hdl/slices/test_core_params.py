"""Blocks of the bit-serial front end take a core that has units, and nothing else."""

import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.demand.kv_rows import KvRows
from attnsieve.hdl.slices.demand.packet_hands import PacketHands
from attnsieve.hdl.slices.demand.packet_requests import PacketRequests
from attnsieve.hdl.slices.demand.packet_seeds import PacketSeeds
from attnsieve.hdl.slices.demand.packet_verdicts import PacketVerdicts
from attnsieve.hdl.slices.demand.plane_reader import PlaneReader
from attnsieve.hdl.slices.exit_tally import ExitTally
from attnsieve.hdl.slices.key_dealer import KeyDealer
from attnsieve.hdl.slices.key_turns import KeyTurns
from attnsieve.hdl.slices.relative_bounds import RelativeBounds
from attnsieve.hdl.slices.row_bounds import RowBounds
from attnsieve.hdl.slices.row_count import RowCount
from attnsieve.hdl.slices.row_maxima import RowMaxima
from attnsieve.hdl.slices.row_parts import RowParts
from attnsieve.hdl.slices.slice_store import SliceStore
from attnsieve.hdl.slices.survivor_rows import SurvivorRows

BLOCKS = [
    ExitTally, KeyDealer, KeyTurns, KvRows, PacketHands, PacketRequests, PacketSeeds,
    PacketVerdicts, PlaneReader, RelativeBounds, RowBounds, RowCount, RowMaxima, RowParts,
    SliceStore, SurvivorRows,
]  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS)
def test_bad_params(block):
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 'dense'$"):
        block(params="dense")
    with pytest.raises(ValueError, match=r"^units must be in 1\.\.16, not 0$"):
        block(params=CoreParams())
