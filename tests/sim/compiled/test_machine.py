# amaranth: UnusedElaboratable=no
"""The compiled harness on a small copying core: data, timing, faults, protocol checks."""

import functools

import numpy as np
import pytest

from attnsieve.gen.verilog import to_verilog
from attnsieve.sim.bench.memory import Stalls, Timing
from attnsieve.sim.compiled import BACKENDS, BusTimeout, CompiledMachine, build
from tests.sim.copy_engine import (
    CONTROL,
    COUNT,
    CYCLES,
    DESTINATION,
    SOURCE,
    STATUS,
    CopyEngine,
)

SIZE = 1 << 14


@functools.cache
def engine(channels=1, data_width=32, bug=None):
    return to_verilog(CopyEngine(channels=channels, data_width=data_width, bug=bug), "copy")


def machine(channels=1, data_width=32, bug=None, **options):
    made = CompiledMachine(
        engine(channels, data_width, bug), "copy", memory_bytes=SIZE, seed=1, **options
    )
    made.reset()
    return made


def start(m, beats, source=0x100, destination=0x2008):
    destination -= destination % m.beat_bytes
    for address, value in ((SOURCE, source), (DESTINATION, destination), (COUNT, beats)):
        m.write(address, value)
    m.write(CONTROL, 1)
    return destination


def copy(m, beats, **places):
    """Copy and check: everything but the destination is as before."""
    want = m.memory.copy()
    size = beats * m.beat_bytes
    destination = start(m, beats, **places)
    source = places.get("source", 0x100)
    want[:, destination : destination + size] = m.memory[:, source : source + size]
    m.run(100_000, until_irq=True)
    assert m.irq
    assert m.read(STATUS) == 0
    m.write(CONTROL, 2)
    np.testing.assert_array_equal(m.memory, want)
    assert m.violations is None
    assert m.bus_idle
    return m.read(CYCLES)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels, data_width", [(1, 32), (2, 256)])
def test_copies_on_every_back_end(backend, channels, data_width):
    with machine(channels, data_width, backend=backend, touch=True) as m:
        assert (m.channels, m.beat_bytes) == (channels, data_width // 8)
        first = copy(m, 100)
        assert copy(m, 100) == first
        for c in m.counters():
            assert (c.read_beats, c.write_beats) == (200, 200)
            assert c.write_bytes == 200 * m.beat_bytes
            assert c.path_cycles == 400
            assert c.outside == 0
            # A granule is 32 bytes; narrow beats share one, and start 8 bytes into one.
            assert c.write_granules == 2 * (13 if data_width == 32 else 100)
        read = np.flatnonzero(m.touched[0] & 1)
        written = np.flatnonzero(m.touched[0] & 2)
        size = 100 * m.beat_bytes
        assert (read[0], read[-1], len(read)) == (0x100, 0x100 + size - 1, size)
        assert len(written) == size


def test_back_ends_agree_to_the_cycle():
    seen = []
    for backend in BACKENDS:
        with machine(2, 256, backend=backend, stalls=Stalls.everywhere(0.3, 5)) as m:
            seen.append((copy(m, 77), m.cycles, m.counters(), m.memory.tobytes()))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("latency", [1, 2, 50, 200])
def test_latency_is_from_address_to_first_beat_and_from_last_beat_to_response(latency):
    with machine() as m:
        m.set_timing(Timing(latency=latency, bytes_per_cycle=4))
        # One beat: address, latency, data into the queue and out, address and data, latency.
        counts = [copy(m, n) for n in (1, 2)]
        m.set_timing(Timing(latency=latency + 7, bytes_per_cycle=4))
        assert copy(m, 1) == counts[0] + 14
        assert counts[1] == counts[0] + 2


def test_one_path_for_reads_and_writes():
    with machine(1, 256) as m:
        m.set_timing(Timing(latency=1))
        beats = 400
        full = copy(m, beats, destination=0x0)
        assert 2 * beats <= full < 2 * beats + 60
        m.set_timing(Timing(latency=1, bytes_per_cycle=16))
        half = copy(m, beats, destination=0x0)
        assert 4 * beats <= half < 4 * beats + 60


def test_outstanding_limits_the_rate():
    with machine(1, 256) as m:
        m.set_timing(Timing(latency=100, outstanding=16))
        slow = copy(m, 160, destination=0x0)
        # Sixteen granules each hundred cycles.
        assert slow > 160 // 16 * 100


@pytest.mark.parametrize("hold", [0, 3])
@pytest.mark.parametrize("kind", ["ar", "r", "aw", "w", "b", "lite"])
def test_stalls_of_each_channel(kind, hold):
    with machine() as m:
        free = copy(m, 64)
        m.set_stalls(Stalls(seed=3, probability={kind: 0.99}, hold=hold))
        slow = copy(m, 64)
        assert slow == free if kind == "lite" else slow > free
        m.set_stalls(Stalls())
        assert copy(m, 64) == free


@pytest.mark.parametrize("response", [2, 3])
def test_faults_reach_the_core(response):
    with machine() as m:
        m.fail_read(0, 17, response)
        start(m, 32)
        m.run(10_000, until_irq=True)
        assert m.read(STATUS) == response << 1
        m.clear()
        m.write(CONTROL, 2)
        m.fail_write(0, 1, response)
        start(m, 32)
        m.run(10_000, until_irq=True)
        assert m.read(STATUS) == response << 1
        m.clear()
        m.write(CONTROL, 2)
        copy(m, 32)


def test_addresses_outside_are_refused_and_counted():
    with machine() as m:
        start(m, 8, source=SIZE - 16)
        m.run(10_000, until_irq=True)
        assert m.read(STATUS) == 3 << 1
        assert m.counters()[0].outside == 4


def test_reset_in_the_middle_and_again():
    with machine(stalls=Stalls.everywhere(0.5, 9)) as m:
        for after in range(1, 120, 7):
            start(m, 100)
            m.run(after)
            m.reset(1)
            assert m.bus_idle
            assert not m.irq
            copy(m, 20)


@pytest.mark.parametrize(
    "bug, message",
    [
        ("hold", r"channel 0: w changed before wready"),
        ("wlast", r"channel 0: wlast is [01] in beat \d+ of 16"),
        ("boundary", r"channel 0: ar burst at 0xfe0 crosses 4 KB"),
    ],
)
def test_broken_protocol_is_seen(bug, message):
    with machine(bug=bug, stalls=Stalls.everywhere(0.5, 2)) as m:
        start(m, 64, source=0xFE0 if bug == "boundary" else 0x100)
        m.run(2000)
        assert m.violations is not None
        with pytest.raises(AssertionError, match=rf"^cycle \d+: {message} \(\d+ in all\)$"):
            raise AssertionError(m.violations)


def test_registers_that_never_answer():
    with machine(bug="mute") as m:
        with pytest.raises(BusTimeout, match=r"^write of register 0x4 not answered in 10000"):
            m.write(SOURCE, 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_waveforms(backend, tmp_path):
    path = tmp_path / "wave.vcd"
    with machine(backend=backend, vcd=path) as m:
        copy(m, 4)
    text = path.read_text()
    assert "m_axi_araddr" in text
    assert len(text) > 5000
    with pytest.raises(OSError, match=r"^/nowhere/wave.vcd: cannot be written$"):
        machine(backend=backend, vcd="/nowhere/wave.vcd")


def test_built_once():
    library = build(engine(), "copy")
    stamp = library.stat().st_ctime_ns
    told = []
    assert build(engine(), "copy", progress=told.append) == library
    assert not told
    assert library.stat().st_size > 0
    assert stamp > 0


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"^Back end must be one of verilator, cxxrtl, not 'vcs'$"):
        build(engine(), "copy", backend="vcs")
    with pytest.raises(ValueError, match=r"^Verilog must have a module kopie, and has none$"):
        build(engine(), "kopie")
    with machine() as m:
        with pytest.raises(ValueError, match=r"^Memory must be bytes \[1, …\], not uint8"):
            m.set_memory(np.zeros((2, 8), np.uint8))
