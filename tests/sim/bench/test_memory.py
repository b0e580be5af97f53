"""The reference memory in Python, without a simulator, and random stalls."""

import numpy as np
import pytest

from attnsieve.sim.bench.memory import ChannelMemory, ChannelOutputs, Fault, Stalls, Timing


def memory(size=256, beat=4, stalls=None, faults=(), **timing):
    data = np.arange(size).astype(np.uint8)
    timing = Timing(**{"latency": 5, "bytes_per_cycle": beat, **timing})
    return ChannelMemory(
        data, channel=0, beat_bytes=beat, timing=timing, stalls=stalls or Stalls(), faults=faults
    )


def read(m, address, beats, limit=500):
    """Read one burst; the cycle of the handshake, and cycle, data, response of each beat."""
    asked, got, taken = True, [], None
    for cycle in range(limit):
        shown = dict(m.inputs)
        if asked and shown["arready"]:
            taken, now = cycle, ChannelOutputs(arvalid=1, araddr=address, arlen=beats - 1, rready=1)
            asked = False
        else:
            now = ChannelOutputs(rready=1)
        if shown["rvalid"]:
            got.append((cycle, shown["rdata"], shown["rresp"], shown["rlast"]))
        m.edge(now, cycle)
        if len(got) == beats:
            return taken, got
    raise AssertionError("not answered")


def test_first_beat_after_the_latency_then_one_per_cycle():
    m = memory()
    taken, got = read(m, 8, 3)
    assert [cycle - taken for cycle, *_ in got] == [5, 6, 7]
    assert [d for _, d, *_ in got] == [0x0B0A0908, 0x0F0E0D0C, 0x13121110]
    assert [last for *_, last in got] == [0, 0, 1]
    assert m.counters.read_granules == 1


def test_wide_beats_take_several_cycles():
    taken, got = read(memory(beat=64, bytes_per_cycle=16), 0, 3)
    assert [cycle - taken for cycle, *_ in got] == [5, 9, 13]


def test_outside_answers_decerr():
    _, got = read(memory(), 248, 4)
    assert [response for _, _, response, _ in got] == [0, 0, 3, 3]
    assert got[2][1] == 0xDEDEDEDE


def test_faults_count_beats():
    _, got = read(memory(faults=(Fault(0, False, 1, 2), Fault(1, False, 2, 3))), 0, 4)
    assert [response for _, _, response, _ in got] == [0, 2, 0, 0]


def test_writes_use_strobes_and_answer_after_the_latency():
    m = memory()
    m.edge(ChannelOutputs(), 0)
    data = {"wvalid": 1, "wdata": 0xAABBCCDD, "wstrb": 0b0110}
    m.edge(ChannelOutputs(awvalid=1, awaddr=16, awlen=0, **data), 1)
    answered = None
    for cycle in range(2, 20):
        if m.inputs["bvalid"]:
            answered = cycle
            break
        m.edge(ChannelOutputs(bready=1), cycle)
    # The beat is moved in cycle 2.
    assert answered == 2 + 5
    assert list(m.data[16:20]) == [16, 0xCC, 0xBB, 19]
    assert m.counters.write_bytes == 2


@pytest.mark.parametrize("hold", [0, 2])
def test_stalls_are_as_frequent_as_asked(hold):
    stalls = Stalls(seed=1, probability={"r": 0.25}, hold=hold)
    hits = [stalls.hit(1, "r", cycle) for cycle in range(8000)]
    assert sum(hits) / len(hits) == pytest.approx(0.25, abs=0.02)
    assert hits != [stalls.hit(0, "r", cycle) for cycle in range(8000)]
    assert not any(stalls.hit(1, "w", cycle) for cycle in range(100))
    runs = np.flatnonzero(np.diff(np.array(hits, int))) + 1
    assert not np.any(runs % (1 << hold))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"probability": {"x": 0.1}}, r"^Stall must be one of ar, r, aw, w, b, lite, not 'x'$"),
        ({"probability": {"r": 1.0}}, r"^Probability of a stall must be in 0..1 \(not 1\), not 1"),
        ({"hold": 16}, r"^Hold of a stall must be in 0..15, not 16$"),
    ],
)
def test_wrong_stalls(options, message):
    with pytest.raises(ValueError, match=message):
        Stalls(**options)
