# amaranth: UnusedElaboratable=no
"""Every receiver gets everything."""

from __future__ import annotations

import pytest

from attnsieve.hdl.lib.broadcast import Broadcast
from attnsieve.sim.unit import run_streams


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Receivers must be an integer, not '2'$"):
        Broadcast(shape=4, receivers="2", depth=1)
    with pytest.raises(ValueError, match=r"^Receivers must be at least 1, not 0$"):
        Broadcast(shape=4, receivers=0, depth=1)


@pytest.mark.parametrize("receivers", [1, 3])
@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_everyone_gets_everything(receivers, depth, stall):
    data = list(range(60))
    outputs = {f"o.{n}": len(data) for n in range(receivers)}
    result = run_streams(
        Broadcast(shape=8, receivers=receivers, depth=depth), {"i": data}, outputs, stall=stall)
    for name in outputs:
        assert result.outputs[name] == data
    if stall == 0 and depth > 1:
        assert result.cycles == len(data) + 1


def test_a_slow_receiver_holds_the_others_back_only_when_its_queue_is_full():
    dut = Broadcast(shape=8, receivers=2, depth=4)
    result = run_streams(dut, {"i": list(range(4))}, {"o.0": 4}, constants={"o.1.ready": 0})
    assert result.cycles == 5
