"""The demo: a sentence encoder whose attention runs on the generated Verilog."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attnsieve.gen.config import Configuration
from attnsieve.gen.errors import UserError

__all__ = ["Demo", "LayerReport"]

Progress = Callable[[float], None]


@dataclass(frozen=True)
class LayerReport:
    """What a layer came to.

    Parameters
    ----------
    layer : int
        Which one.
    figures : dict
        Its entry of stats.json: cycles, ratios, bytes, mismatches.
    error : float
        Largest difference to float64 attention on the same Q, K, V, over the largest output.
    cosines : tuple of float
        Cosine to float64 attention, per head, over the flattened [queries, head_dim].
    """

    layer: int
    figures: dict[str, Any]
    error: float
    cosines: tuple[float, ...]


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-300))


@dataclass
class Demo:
    """MiniLM on a text, every layer's attention computed by the generated core.

    The accelerator's outputs go back into the model, so what it gets wrong carries on: the last
    embedding is what a user of the core would have.

    Parameters
    ----------
    config : Configuration
        The core.
    text : str or None
        What is encoded; a text of our own if None.
    simulator : str or None
        See `attnsieve.sim.simulate`.
    seed : int
        Of the contents of unused memory.
    """

    config: Configuration
    text: str | None = None
    simulator: str | None = None
    seed: int = 0
    layers: list[LayerReport] = field(default_factory=list)
    simulated_cycles: int = 0
    simulation_seconds: float = 0.0
    embedding_cosine: float = 0.0

    def __post_init__(self) -> None:
        from attnsieve.sim.trace import minilm
        from attnsieve.sim.trace.text import ENGLISH

        self.text = ENGLISH if self.text is None else self.text
        if not self.text.strip():
            raise UserError("the text must not be empty")
        self.tokens = len(minilm.tokenize(self.text)[0])
        self.depth, self.heads = minilm.LAYERS, minilm.HEADS

    def run(self, progress: Progress = lambda share: None) -> Iterator[LayerReport]:
        """Run layer by layer; ``progress`` gets the share of all work that is done."""
        from attnsieve.sim.golden.dense import dense_float
        from attnsieve.sim.simulate import DEFAULT_SIMULATOR, simulate
        from attnsieve.sim.trace import Trace, minilm

        assert self.text is not None
        run = minilm.start(self.text)
        while (step := run.step) is not None:
            trace = Trace(q=step.q[None], k=step.k[None], v=step.v[None], key_valid=step.key_valid)
            number = step.layer

            def inner(done: int, total: int, number: int = number) -> None:
                progress((number + done / max(1, total)) / self.depth)

            began = time.monotonic()
            result = simulate(
                self.config, trace, simulator=self.simulator or DEFAULT_SIMULATOR,
                seed=self.seed, baseline=False, progress=inner,
            )  # fmt: skip
            self.simulation_seconds += time.monotonic() - began
            self.simulated_cycles += result.simulated_cycles
            context = result.out[0]
            exact = dense_float(step.q, step.k, step.v, key_valid=step.key_valid)
            report = LayerReport(
                layer=number,
                figures=result.stats["layers"][0],
                error=float(np.abs(context - exact).max() / np.abs(exact).max()),
                cosines=tuple(_cosine(a, b) for a, b in zip(context, exact, strict=True)),
            )
            self.layers.append(report)
            yield report
            run.advance(context)
        self.embedding_cosine = _cosine(run.result, minilm.embed(self.text))

    @property
    def total(self) -> dict[str, Any]:
        """Sums and ratios over all layers."""
        figures = [report.figures for report in self.layers]
        names = ("cycles", "limit_cycles", "dram_read_bytes", "dram_write_bytes", "mismatches")
        sums: dict[str, Any] = {name: sum(f[name] for f in figures) for name in names}
        cosines = sorted(c for report in self.layers for c in report.cosines)
        return sums | {
            "limit_ratio": sums["limit_cycles"] / max(1, sums["cycles"]),
            "error": max(report.error for report in self.layers),
            "heads": len(cosines),
            "worst_cosine": cosines[0],
            "median_cosine": cosines[len(cosines) // 2],
        }

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return {
            "config": self.config.as_dict(),
            "text": self.text,
            "tokens": self.tokens,
            "layers": [
                {**r.figures, "layer": r.layer, "error": r.error, "cosines": list(r.cosines)}
                for r in self.layers
            ],
            "total": self.total,
            "embedding_cosine": self.embedding_cosine,
            "simulated_cycles": self.simulated_cycles,
            "simulation_seconds": round(self.simulation_seconds, 3),
        }
