"""Bit-serial units with banks around them, compiled: what they read, decide and keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.slices.bit_serial_dot import survivor_layout
from attnsieve.hdl.slices.exit_bounds import ExitBounds
from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.hdl.slices.unit_circle import UnitCircle
from attnsieve.sim.bench.exit_rows import KEYS, Batch
from attnsieve.sim.compiled import BlockRun, CompiledBlock
from attnsieve.sim.golden.bit_serial import cut

__all__ = ["CompiledUnits", "Found", "UnitBench", "unit_params"]

Ints = npt.NDArray[np.int64]


def _stride(p: SliceParams) -> int:
    """Addresses from key to key, a power of two."""
    return 1 << (p.slices - 1).bit_length()


def unit_params(
    slice_bits: int, *, taps: int = 64, units: int = 2, sign_magnitude: bool = False
) -> SliceParams:
    """Units for 12-bit words; each bank has places for all slices of all keys, so that an address
    tells the key in whatever unit it is."""
    p = SliceParams(taps=taps, slice_bits=slice_bits, units=units, sign_magnitude=sign_magnitude)
    groups = -(-KEYS * _stride(p) // p.slices)
    return replace(p, stored=units * groups)


class UnitBench(wiring.Component):
    """A `UnitCircle` with its banks and `ExitBounds`: takes the keys, then row after row.

    A row begins when all keys of the one before are decided. All that its units read and decide is
    shown; a read or a decision has to be taken in its cycle, a key that is kept may wait.

    Latency: `ExitBounds.latency` + slices + 2 cycles from a row to its first keys. Throughput: a
    key per unit and cycle, as far as there are places.

    Parameters
    ----------
    params : SliceParams

    Members
    -------
    load : In(stream({bank, address, bits, last}))
        The slices of all keys.
    row : In(stream({query, threshold, group, first, keys, number}))
        So many keys, at least one, from the first one on, which is in this group of one key per
        unit; their words begin with slice ``number``.
    read0, … : Out(stream({address}))
        Slices that a unit reads.
    ended0, … : Out(stream({address, number, kept}))
        Keys that a unit decides, and where their last slices lie.
    o0, … : Out(stream(survivor_layout))
        Keys that a unit keeps.
    """

    load: stream.Interface
    row: stream.Interface

    def __init__(self, *, params: SliceParams) -> None:
        self.params = p = params
        address = {"address": range(p.bank_depth)}
        load = {"bank": range(p.units), **address, "bits": p.slice_layout(), "last": unsigned(1)}
        row = {
            "query": p.query_layout(),
            "threshold": unsigned(p.score_bits),
            "group": range(KEYS),
            "first": range(KEYS),
            "keys": range(KEYS + 1),
            "number": range(p.slices),
        }
        ended = {**address, "number": range(p.slices), "kept": unsigned(1)}
        outputs = {
            "read": data.StructLayout(address),
            "ended": data.StructLayout(ended),
            "o": survivor_layout(p),
        }
        super().__init__(
            {
                "load": In(stream.Signature(data.StructLayout(load))),
                "row": In(stream.Signature(data.StructLayout(row))),
                **{
                    f"{name}{n}": Out(stream.Signature(layout))
                    for name, layout in outputs.items()
                    for n in range(p.units)
                },
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, row = self.params, self.row.p
        m.submodules.units = units = UnitCircle(params=p)
        loaded, busy, dealing = Signal(), Signal(), Signal()
        take, number, begin = Signal(), Signal(range(p.rows)), Signal(range(p.slices))
        first, end, left = Signal(range(KEYS)), Signal(range(2 * KEYS)), Signal(range(KEYS + 1))
        m.d.comb += [
            self.load.ready.eq(1),
            self.row.ready.eq(loaded & ~busy),
            take.eq(self.row.valid & self.row.ready),
        ]
        with m.If(self.load.valid & self.load.p.last):
            m.d.sync += loaded.eq(1)
        decided = sum(getattr(self, f"ended{n}").valid for n in range(p.units))
        m.d.sync += left.eq(left - decided)
        with m.If(take):
            m.d.sync += [busy.eq(1), left.eq(row.keys), number.eq(number + 1)]
            m.d.sync += [begin.eq(row.number), first.eq(row.first), end.eq(row.first + row.keys)]
        with m.Elif(busy & dealing & (left == 0)):
            m.d.sync += [busy.eq(0), dealing.eq(0)]
        with m.If(self._bounds(m, units, take, number)):
            m.d.sync += dealing.eq(1)
        for n in range(p.units):
            self._bank(m, n, units.read[n])
            self._deal(m, n, units.start[n], take, dealing, (first, end))
            m.d.comb += [
                units.start[n].p.row.eq(number),
                units.start[n].p.number.eq(begin),
            ]
            self._show(m, n, units)
        return m

    def _bounds(self, m: Module, units: UnitCircle, take: Value, number: Signal) -> Value:
        """A row's query and bounds to the units; whether the last one has come."""
        p, row = self.params, self.row.p
        m.submodules.bounds = bounds = ExitBounds(params=p)
        place, active, last = Signal(range(p.bounds)), Signal(), Signal()
        values = Signal(p.bounds_layout())
        m.d.comb += [
            bounds.i.valid.eq(take),
            bounds.i.p.query.eq(row.query),
            bounds.i.p.threshold.eq(row.threshold),
            units.query.valid.eq(take),
            units.query.p.row.eq(number + 1),
            units.query.p.query.eq(row.query),
            units.bound.valid.eq(active),
            units.bound.p.row.eq(number),
            units.bound.p.number.eq(place),
            units.bound.p.bound.eq(values[0]),
            last.eq(active & (place == p.bounds - 1)),
        ]
        with m.If(bounds.o.valid):
            m.d.sync += [active.eq(1), values.eq(bounds.o.p)]
        with m.If(active):
            rest = Value.cast(values) >> values[0].shape().width
            m.d.sync += [place.eq(Mux(last, 0, place + 1)), Value.cast(values).eq(rest)]
        with m.If(last):
            m.d.sync += active.eq(0)
        return last

    def _bank(self, m: Module, n: int, read: Any) -> None:
        """The slices that a unit reads."""
        p, given = self.params, self.load
        m.submodules[f"bank{n}"] = ram = Ram(shape=p.slice_layout(), depth=p.bank_depth)
        m.d.comb += [
            ram.write.en.eq(given.valid & (given.p.bank == n)),
            ram.write.address.eq(given.p.address),
            ram.write.data.eq(given.p.bits),
            ram.read[0].en.eq(read.en),
            ram.read[0].address.eq(read.address),
            Value.cast(read.data).eq(
                delayed(m, Value.cast(ram.read[0].data), UnitCircle.memory_latency - Ram.latency)
            ),
        ]

    def _deal(
        self, m: Module, n: int, start: Any, take: Value, on: Value, ends: tuple[Value, Value]
    ) -> None:
        """Each key of a row whose first slice a unit has."""
        p, (first, end) = self.params, ends
        group, key = Signal(range(KEYS + 1), name=f"group{n}"), Signal.like(end, name=f"key{n}")
        m.d.comb += [
            key.eq(group * p.units + n),
            start.valid.eq(on & (key >= first) & (key < end)),
            start.p.key.eq(key),
            start.p.address.eq(key * _stride(p)),
        ]
        with m.If((start.valid & start.ready) | (on & (key < first))):
            m.d.sync += group.eq(group + 1)
        with m.If(take):
            m.d.sync += group.eq(self.row.p.group)

    def _show(self, m: Module, n: int, units: UnitCircle) -> None:
        """What a unit does. A key is decided so long after its read that all places are as long."""
        read, ended, kept = (getattr(self, f"{name}{n}") for name in ("read", "ended", "o"))
        asked, decided = units.read[n], units.ended[n]
        wiring.connect(m, units.o[n], wiring.flipped(kept))
        m.d.comb += [
            read.valid.eq(asked.en),
            read.p.address.eq(asked.address),
            ended.valid.eq(decided.valid & ~decided.p.waits),
            ended.p.address.eq(delayed(m, asked.address, units.latency - 1)),
            ended.p.number.eq(decided.p.number),
            ended.p.kept.eq(decided.p.kept),
        ]


@dataclass(frozen=True)
class Found:
    """What units did with keys: arrays ``[rows, keys]``, of all keys, also those not in a row.

    Parameters
    ----------
    reads, places : int arrays
        How many slices were read, and the sum of 2**n over their places, from the first slice on.
    ended, said, slices : int arrays
        How often a key was said to be decided, and to be kept; after how many slices.
    given, score : int arrays
        How often it was given as one that is kept, and its score.
    """

    reads: Ints
    places: Ints
    ended: Ints
    said: Ints
    slices: Ints
    given: Ints
    score: Ints


class CompiledUnits:
    """`UnitBench`, compiled.

    Parameters
    ----------
    params : SliceParams
    backend, progress
        See `CompiledBlock`.
    """

    def __init__(self, params: SliceParams, **options: Any) -> None:
        self.params = params
        self._block = CompiledBlock(UnitBench(params=params), "exit_units", **options)

    def run(self, batch: Batch, *, stall: float = 0.0, seed: int = 1) -> Found:
        """Score the keys of a batch's rows; with ``stall``, kept keys are taken only at times.

        Raises
        ------
        AssertionError
            A key that was kept did not stay until it was taken.
        """
        p = self.params
        most = len(batch.keys) * len(batch.rows) * p.slices
        outputs = dict.fromkeys(self._block.outputs, most)
        outputs |= {name: most // p.slices for name in outputs if name[0] in "eo"}
        run = self._block.run(
            {"load": self._slices(batch), "row": self._rows(batch)}, outputs, patience=500,
            stall={f"o{n}": stall for n in range(p.units)}, seed=seed,
        )  # fmt: skip
        if not run.held:
            raise AssertionError("a key that is kept did not stay until it was taken")
        return self._found(run, batch)

    def _slices(self, batch: Batch) -> Mapping[str, Ints]:
        """Every slice of every key, and where it goes."""
        p = self.params
        sliced = cut(batch.keys, batch.bits, p.slice_bits, sign_magnitude=p.sign_magnitude)
        number, key = np.divmod(np.arange(len(sliced) * len(batch.keys)), len(batch.keys))
        return {
            "bank": np.asarray(p.bank(key, number)),
            "address": key * _stride(p) + number,
            "bits": sliced.reshape(-1, p.taps),
            "last": (number + 1) * (key + 1) == len(number),
        }

    def _rows(self, batch: Batch) -> Mapping[str, Ints]:
        rows = batch.rows
        return {
            "query": np.stack([row.query for row in rows]),
            "threshold": np.array([row.threshold for row in rows]),
            "group": np.array([row.first // self.params.units for row in rows]),
            "first": np.array([row.first for row in rows]),
            "keys": np.array([row.keys for row in rows]),
            "number": np.full(len(rows), self._skipped(batch)),
        }

    def _skipped(self, batch: Batch) -> int:
        """Slices of the longest word that one of the batch does not have."""
        return self.params.slices - -(-batch.bits // self.params.slice_bits)

    def _found(self, run: BlockRun, batch: Batch) -> Found:
        p, shape = self.params, (len(batch.rows), len(batch.keys))
        found = {name: np.zeros(shape, np.int64) for name in Found.__dataclass_fields__}
        parts: dict[str, Ints | None]
        for name in self._block.outputs:
            fields, row = _events(run, name)
            if name.startswith("o"):
                key, score = fields["key"], fields["score"]
                row -= (row + 1 - fields["row"]) % p.rows  # it may have waited for longer than that
                sign = score >> p.score_bits - 1 << p.score_bits
                parts = {"given": None, "score": score - sign}
            else:
                key, slot = np.divmod(fields["address"], _stride(p))
                parts = {"reads": None, "places": 1 << slot}
                if name.startswith("ended"):
                    slices = fields["number"] + 1 - self._skipped(batch)
                    parts = {"ended": None, "said": fields["kept"], "slices": slices}
            where = row * shape[1] + np.minimum(key, shape[1] - 1)
            for part, values in parts.items():
                sums = np.bincount(where, values, shape[0] * shape[1])
                found[part] += sums.reshape(shape).astype(np.int64)
        return Found(**found)


def _events(run: BlockRun, name: str) -> tuple[dict[str, Ints], Ints]:
    """What came of an output, and in which row."""
    came, began = run.times[name] > 0, run.times["row"]
    fields = {field: values[came] for field, values in run.outputs[name].items()}
    return fields, np.searchsorted(began[began > 0], run.times[name][came]) - 1
