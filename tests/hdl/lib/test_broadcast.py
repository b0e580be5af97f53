# amaranth: UnusedElaboratable=no
"""Every receiver gets its fields of everything."""

from __future__ import annotations

import pytest
from amaranth.lib import data

from attnsieve.hdl.lib.broadcast import Broadcast
from attnsieve.sim.unit import run_streams

SHAPE = data.StructLayout({"a": 4, "b": 8, "c": 1})
FIELDS = {"first": ("a",), "second": ("c", "a"), "third": ("b",)}


def test_parameters_are_checked():
    with pytest.raises(ValueError, match=r"^Fields must name at least one receiver, not none$"):
        Broadcast(shape=SHAPE, fields={}, depth=1)
    with pytest.raises(ValueError, match=r"^Fields of x must be of the payload, not 'd'$"):
        Broadcast(shape=SHAPE, fields={"x": ("a", "d")}, depth=1)


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("lut_ram", [False, True])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_everyone_gets_its_fields(depth, lut_ram, stall):
    data_in = [{"a": n % 16, "b": (7 * n) % 256, "c": n % 2} for n in range(60)]
    outputs = dict.fromkeys(FIELDS, len(data_in))
    dut = Broadcast(shape=SHAPE, fields=FIELDS, depth=depth, lut_ram=lut_ram)
    result = run_streams(dut, {"i": data_in}, outputs, stall=stall)
    for receiver, names in FIELDS.items():
        got = [{n: item[n] for n in names} for item in result.outputs[receiver]]
        assert got == [{n: item[n] for n in names} for item in data_in]
    if stall == 0 and depth > 1:
        assert result.cycles <= len(data_in) + 2


def test_a_slow_receiver_holds_the_others_back_only_when_its_queue_is_full():
    dut = Broadcast(shape=SHAPE, fields={"fast": ("a",), "slow": ("b",)}, depth=4)
    result = run_streams(dut, {"i": [{"a": n} for n in range(4)]}, {"fast": 4})
    assert result.cycles == 5
