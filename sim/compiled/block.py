"""A compiled block whose ports are streams, driven from Python."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.lib import wiring

from attnsieve.gen.verilog import to_verilog
from attnsieve.sim.compiled.build import DEFAULT_BACKEND, Backend, build_block
from attnsieve.sim.compiled.machine import load
from attnsieve.sim.compiled.payload import Words, pack, payload_words, unpack

__all__ = ["BlockRun", "CompiledBlock"]

Fields = Mapping[str, Any]

#: Cycles without a transfer after which a run is over.
PATIENCE = 2000


class _Stream(ctypes.Structure):
    _fields_ = [
        ("words", ctypes.c_void_p),
        ("times", ctypes.c_void_p),
        ("count", ctypes.c_uint64),
        ("done", ctypes.c_uint64),
        ("broken", ctypes.c_uint64),
        ("stride", ctypes.c_uint32),
        ("stall", ctypes.c_uint32),
    ]


@dataclass(frozen=True, eq=False)
class BlockRun:
    """What a block did.

    Parameters
    ----------
    outputs : dict of str to dict of arrays
        Payloads of each output stream, an array per field.
    times : dict of str to array
        Cycle of each transfer, of inputs and outputs; the first cycle after reset is 0.
    complete : bool
        Every input was taken, every output came, and no output too many.
    held : bool
        Every output kept what it offered until it was taken.
    """

    outputs: dict[str, dict[str, npt.NDArray[np.int64]]]
    times: dict[str, npt.NDArray[np.int64]]
    complete: bool
    held: bool


class CompiledBlock:
    """The generated Verilog of a block, compiled.

    Parameters
    ----------
    block : wiring.Component
        Its ports are streams with structs as payloads, none always valid or always ready.
    name : str
        Of its module.
    backend, progress
        See `build_block`.
    """

    def __init__(
        self,
        block: wiring.Component,
        name: str,
        *,
        backend: Backend = DEFAULT_BACKEND,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        members = block.signature.members
        flows = {key: member.flow for key, member in members.items()}
        self._layouts = {key: getattr(block, key).payload.shape() for key in members}
        self.inputs = [key for key, flow in flows.items() if flow is wiring.In]
        self.outputs = [key for key, flow in flows.items() if flow is wiring.Out]
        verilog = to_verilog(block, name)
        library = build_block(
            verilog, name, self.inputs, self.outputs, backend=backend, progress=progress
        )
        self._run = load(library).attnsieve_block_run
        self._run.restype = ctypes.c_uint64
        self._run.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_uint64] * 2

    def run(
        self,
        inputs: Mapping[str, Fields],
        outputs: Mapping[str, int],
        *,
        stall: Mapping[str, float] | None = None,
        seed: int = 1,
        patience: int = PATIENCE,
    ) -> BlockRun:
        """Reset the block, give it payloads, take others.

        Parameters
        ----------
        inputs : mapping
            Payloads of each input stream: an array per field, see `pack`.
        outputs : mapping
            How many payloads of each output stream should come.
        stall : mapping
            By stream, probability that the bench does not go on in a cycle; 0 by default.
        seed : int
            Of the stalls.
        patience : int
            Cycles without a transfer after which the run is over.
        """
        words: dict[str, Words] = {
            name: pack(self._layouts[name], inputs[name]) for name in self.inputs
        }
        for name in self.outputs:
            layout = self._layouts[name]
            words[name] = np.zeros((outputs[name], payload_words(layout)), np.uint32)
        times = {name: np.zeros(len(array), np.int64) for name, array in words.items()}

        def streams(names: list[str]) -> Any:
            entries = []
            for name in names:
                array, own = words[name], int((stall or {}).get(name, 0.0) * (2**32 - 1))
                places = (array.ctypes.data, times[name].ctypes.data)
                entries.append(_Stream(*places, len(array), 0, 0, array.shape[1], own))
            return (_Stream * len(names))(*entries)

        given, taken = streams(self.inputs), streams(self.outputs)
        self._run(given, taken, seed, patience)
        return BlockRun(
            {name: unpack(self._layouts[name], words[name]) for name in self.outputs},
            times,
            all(s.done == s.count for s in (*given, *taken)),
            not any(s.broken for s in taken),
        )
