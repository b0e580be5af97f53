"""The engines and the stage behind them, compiled, and compared with the golden model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attnsieve.hdl.select.keep import Keep
from attnsieve.hdl.select.quick_select import QuickSelect
from attnsieve.hdl.select.radix_select import RadixSelect
from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.bench.top_k.rows import Beats, Row, beats_of
from attnsieve.sim.compiled import BlockRun, CompiledBlock
from attnsieve.sim.golden.top_k import top_k, top_k_threshold

__all__ = ["ENGINES", "Compared", "Flags", "Selector", "Thresholds"]

Ints = npt.NDArray[np.int64]

ENGINES: dict[str, type[RadixSelect] | type[QuickSelect]] = {
    "radix select": RadixSelect,
    "quick-select": QuickSelect,
}

#: Rows that may be inside at once: as many worst cases may pass without a threshold.
ROWS = 8


@dataclass(frozen=True, eq=False)
class Compared:
    """A run on some rows.

    Parameters
    ----------
    wrong : array of bool
        Rows whose results differ from the golden model's, or did not come.
    run : BlockRun
        What the block did.
    """

    wrong: npt.NDArray[np.bool_]
    run: BlockRun


class Thresholds:
    """An engine, compiled.

    Parameters
    ----------
    engine : str
        Of `ENGINES`.
    params : TopKParams
    """

    def __init__(self, engine: str, params: TopKParams) -> None:
        self.params = params
        self.engine = ENGINES[engine](params=params)
        self.patience = ROWS * self.engine.worst(params.max_beats)
        self._block = CompiledBlock(self.engine, engine.replace(" ", "_").replace("-", "_"))

    def run(
        self,
        rows: Sequence[Row],
        beats: Beats | None = None,
        *,
        stall: Mapping[str, float] | None = None,
        seed: int = 1,
    ) -> Compared:
        """Thresholds of rows, from their beats."""
        beats = beats_of(self.params, rows) if beats is None else beats
        run = self._block.run(
            {"i": beats.fields}, {"o": len(rows)}, stall=stall, seed=seed, patience=self.patience
        )
        bits = self.params.value_bits
        want = np.array([top_k_threshold(row.values, row.k, bits) for row in rows])
        found = np.stack([run.outputs["o"]["value"], run.outputs["o"]["equal"]], 1)
        return Compared((want != found).any(1), run)


class Flags:
    """The stage that makes flags of a row and its threshold, compiled."""

    def __init__(self, params: TopKParams) -> None:
        self.params = params
        self._block = CompiledBlock(Keep(params=params, lanes=params.lanes), "keep")

    def run(
        self,
        rows: Sequence[Row],
        beats: Beats,
        thresholds: Mapping[str, Ints],
        *,
        stall: Mapping[str, float] | None = None,
        seed: int = 1,
    ) -> Compared:
        """Flags of rows, from their beats and their thresholds."""
        lanes, total = self.params.lanes, len(beats.row)
        row = {name: beats.fields[name] for name in ("value", "keep", "last")}
        inputs = {"i": row, "threshold": thresholds}
        run = self._block.run(inputs, {"o": total}, stall=stall, seed=seed)
        want = np.zeros(total * lanes, np.int64)
        want[beats.places] = np.concatenate([top_k(r.values, r.k) for r in rows])
        flags = want.reshape(total, lanes) @ (1 << np.arange(lanes))
        same = (run.outputs["o"]["keep"] == flags) & (run.outputs["o"]["last"] == row["last"])
        wrong = np.zeros(len(rows), bool)
        wrong[beats.row[~same]] = True
        return Compared(wrong, run)


@dataclass(frozen=True, eq=False)
class Selector:
    """An engine and the flags made of its thresholds."""

    thresholds: Thresholds
    flags: Flags

    @classmethod
    def of(cls, engine: str, params: TopKParams) -> Selector:
        """Both compiled."""
        return cls(Thresholds(engine, params), Flags(params))

    def run(
        self, rows: Sequence[Row], beats: Beats, stall: Mapping[str, float], seed: int
    ) -> tuple[Compared, Compared]:
        """Thresholds and flags of rows; ``stall`` of ``i`` holds for thresholds too."""
        found = self.thresholds.run(rows, beats, stall=stall, seed=seed)
        stall = {**stall, "threshold": stall.get("i", 0.0)}
        given = found.run.outputs["o"]
        return found, self.flags.run(rows, beats, given, stall=stall, seed=seed + 1)
