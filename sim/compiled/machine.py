"""A compiled core with its memory, driven from Python."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from attnsieve.sim.bench.memory import STALL_KINDS, ChannelCounters, Stalls, Timing
from attnsieve.sim.compiled.build import DEFAULT_BACKEND, Backend, build

__all__ = ["READ", "WRITTEN", "BusTimeout", "CompiledMachine", "load"]

#: Bits of a byte of `CompiledMachine.touched`.
READ, WRITTEN = 1, 2

_LIMIT = 10_000  # cycles that the register bus may take to answer


class BusTimeout(RuntimeError):
    """The register bus did not answer."""


class _Counters(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ChannelCounters._fields]


_H, _P, _INT, _UINT = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint
_U32, _U64 = ctypes.c_uint32, ctypes.c_uint64
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "create": (_P, []),
    "destroy": (None, [_H]),
    "channels": (_UINT, []),
    "beat_bytes": (_UINT, []),
    "memory": (None, [_H, _UINT, _P, _U64, _P]),
    "timing": (None, [_H] + [_U32] * 5),
    "stalls": (None, [_H, _U64, _P, _U32]),
    "fault": (None, [_H, _UINT, _INT, _U64, _UINT]),
    "clear": (None, [_H]),
    "reset": (None, [_H, _UINT]),
    "run": (_U64, [_H, _U64, _INT]),
    "write": (_INT, [_H, _U32, _U32, _U32, _U64]),
    "read": (_INT, [_H, _U32, _P, _U64]),
    "cycles": (_U64, [_H]),
    "irq": (_INT, [_H]),
    "idle": (_INT, [_H]),
    "counters": (None, [_H, _UINT, _P]),
    "violations": (_U64, [_H, ctypes.c_char_p, _UINT]),
    "trace": (_INT, [_H, ctypes.c_char_p]),
    "trace_close": (None, [_H]),
}  # fmt: skip


def load(library: Path) -> ctypes.CDLL:
    """Load a private copy: the cache may drop the file, and a library is never unloaded."""
    with tempfile.TemporaryDirectory(prefix="attnsieve-") as folder:
        copy = Path(folder) / library.name
        shutil.copyfile(library, copy)
        return ctypes.CDLL(str(copy))


def _bound(library: Path) -> ctypes.CDLL:
    loaded = load(library)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, f"attnsieve_{name}")
        function.restype = result
        function.argtypes = arguments
    return loaded


class CompiledMachine:
    """A core, an AXI4-Lite master and a reference memory per channel, compiled.

    Time passes only inside `reset`, `write`, `read` and `run`. The memories are numpy arrays of
    bytes that may be changed between calls.

    Parameters
    ----------
    verilog : str
        Verilog as yosys writes it.
    top : str
        The core's module.
    memory_bytes : int
        Bytes of each channel's memory.
    backend : str
        ``verilator`` or ``cxxrtl``.
    timing : Timing
        Of the memory; by default one beat per cycle, as `Timing` says.
    stalls : Stalls
        Random stalls of the memory and of the register bus; none by default.
    seed : int
        Random contents of the memories; zeros when None.
    touch : bool
        Keep `touched`: per byte of memory whether it was read or written.
    vcd : path
        Write waveforms there.
    progress : callable
        Gets a line before work that takes long.
    """

    def __init__(
        self,
        verilog: str,
        top: str,
        *,
        memory_bytes: int,
        backend: Backend = DEFAULT_BACKEND,
        timing: Timing | None = None,
        stalls: Stalls | None = None,
        seed: int | None = None,
        touch: bool = False,
        vcd: str | Path | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        library = build(verilog, top, backend=backend, trace=vcd is not None, progress=progress)
        self._lib = _bound(library)
        self.channels: int = self._lib.attnsieve_channels()
        self.beat_bytes: int = self._lib.attnsieve_beat_bytes()
        self._handle = self._lib.attnsieve_create()
        rng = np.random.default_rng(seed)
        shape = (self.channels, memory_bytes)
        self.memory: npt.NDArray[np.uint8] = (
            np.zeros(shape, np.uint8) if seed is None else rng.integers(0, 256, shape, np.uint8)
        )
        self.touched: npt.NDArray[np.uint8] | None = np.zeros(shape, np.uint8) if touch else None
        self._attach()
        self.set_timing(timing or Timing(bytes_per_cycle=self.beat_bytes))
        if stalls is not None:
            self.set_stalls(stalls)
        if vcd is not None and not self._lib.attnsieve_trace(self._handle, str(vcd).encode()):
            self.close()
            raise OSError(f"{vcd}: cannot be written")

    def _attach(self) -> None:
        for c in range(self.channels):
            flags = None if self.touched is None else self.touched[c].ctypes.data
            row = self.memory[c]
            self._lib.attnsieve_memory(self._handle, c, row.ctypes.data, row.size, flags)

    def set_memory(self, memory: npt.NDArray[np.uint8]) -> None:
        """Attach other memories: an array of bytes ``[channels, bytes]``, used in place."""
        if memory.dtype != np.uint8 or memory.ndim != 2 or memory.shape[0] != self.channels:
            raise ValueError(
                f"Memory must be bytes [{self.channels}, …], not {memory.dtype} {memory.shape}"
            )
        self.memory = np.ascontiguousarray(memory)
        if self.touched is not None:
            self.touched = np.zeros(memory.shape, np.uint8)
        self._attach()

    def set_timing(self, timing: Timing) -> None:
        """Change the memory's timing."""
        self._lib.attnsieve_timing(self._handle, *timing)

    def set_stalls(self, stalls: Stalls) -> None:
        """Change the random stalls."""
        thresholds = (ctypes.c_uint32 * len(STALL_KINDS))(*stalls.thresholds)
        self._lib.attnsieve_stalls(self._handle, stalls.seed, thresholds, stalls.hold)

    def fail_read(self, channel: int, beat: int, response: int) -> None:
        """Answer read beat ``beat`` of a channel (counted since `clear`) with a response code."""
        self._lib.attnsieve_fault(self._handle, channel, 0, beat, response)

    def fail_write(self, channel: int, burst: int, response: int) -> None:
        """Answer write burst ``burst`` of a channel (counted as reads are) with a response."""
        self._lib.attnsieve_fault(self._handle, channel, 1, burst, response)

    def clear(self) -> None:
        """Forget faults, counters and what was touched."""
        self._lib.attnsieve_clear(self._handle)
        if self.touched is not None:
            self.touched[:] = 0

    def reset(self, cycles: int = 2) -> None:
        """Hold reset, from cycle 0 on; the memory forgets everything in flight, too."""
        self._lib.attnsieve_reset(self._handle, cycles)

    def write(self, address: int, data: int, strobe: int = 15) -> None:
        """Write a register."""
        response = self._lib.attnsieve_write(self._handle, address, data, strobe, _LIMIT)
        if response:
            self._raise(f"write of register {address:#x}", response)

    def read(self, address: int) -> int:
        """Read a register."""
        data = ctypes.c_uint32()
        response = self._lib.attnsieve_read(self._handle, address, ctypes.byref(data), _LIMIT)
        if response:
            self._raise(f"read of register {address:#x}", response)
        return data.value

    def _raise(self, what: str, response: int) -> None:
        how = f"not answered in {_LIMIT} cycles" if response < 0 else f"answered {response}"
        raise BusTimeout(f"{what} {how}")

    def run(self, cycles: int, *, until_irq: bool = False) -> int:
        """Let time pass; the cycles it took. With ``until_irq``, end when the interrupt is seen."""
        return self._lib.attnsieve_run(self._handle, cycles, until_irq)

    @property
    def cycles(self) -> int:
        """Cycles since the last reset began."""
        return self._lib.attnsieve_cycles(self._handle)

    @property
    def irq(self) -> bool:
        """The interrupt in the last cycle."""
        return bool(self._lib.attnsieve_irq(self._handle))

    @property
    def bus_idle(self) -> bool:
        """Whether no AXI4 transaction is in flight."""
        return bool(self._lib.attnsieve_idle(self._handle))

    def counters(self) -> Sequence[ChannelCounters]:
        """What each channel moved since `clear`."""
        found = []
        for c in range(self.channels):
            raw = _Counters()
            self._lib.attnsieve_counters(self._handle, c, ctypes.byref(raw))
            found.append(ChannelCounters(*(getattr(raw, n) for n in ChannelCounters._fields)))
        return found

    @property
    def violations(self) -> str | None:
        """First protocol rule that the core broke, and how many breaches; None if there is none."""
        text = ctypes.create_string_buffer(256)
        count = self._lib.attnsieve_violations(self._handle, text, len(text))
        return f"{text.value.decode()} ({count} in all)" if count else None

    def close(self) -> None:
        """Free the model and finish the waveforms."""
        if self._handle:
            self._lib.attnsieve_trace_close(self._handle)
            self._lib.attnsieve_destroy(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
