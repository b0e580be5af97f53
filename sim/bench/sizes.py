"""What the cycle model says of the models that SpAtten was measured with, from their shapes.

As a command::

    python -m attnsieve.sim.bench.sizes
    python -m attnsieve.sim.bench.sizes --model gpt2-small --system spatten-full

Every layer is a job of its own. An encoder runs once over its tokens, a decoder writes 32 tokens
behind 992. What a layer keeps of a decoder is what SpAtten's release keeps in its records of
WikiText-2; of an encoder it follows the paper's schedule (`keep_ratios`). Which tokens, values and
rows that come again these are is drawn.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from amaranth.hdl import UnusedElaboratable

from attnsieve.gen.config import Configuration
from attnsieve.gen.config import load as load_config
from attnsieve.sim.driver.schedule import HEADS_WHOLE, TOKENS_WHOLE, keep_counts, keep_ratios
from attnsieve.sim.golden.progressive import LSB_BITS
from attnsieve.sim.replay import replay
from attnsieve.sim.trace.workload import Workload, WorkloadJob

__all__ = ["MODELS", "Figures", "Model", "figures", "model_workload"]

#: Operands of the dense references, in bytes of an element.
_FP32, _BYTE = 4, 1


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model, and how much each layer keeps.

    Parameters
    ----------
    name : str
        Of model and case.
    heads : int
        Query heads of a layer, of 64 elements.
    tokens : int
        Of an encoder's sentence; of a decoder in its last step.
    steps : int
        Tokens that a decoder writes; 0: an encoder.
    keys : tuple of float
        Share of ``tokens`` that each layer keeps.
    alive : tuple of int
        Heads of each layer.
    values : float
        Share of its keys whose V each row keeps.
    query_bits, key_bits, value_bits : int
        Of operands, of K of the first plane if it has two.
    threshold : float
        Rows whose largest probability is less come again; 0: none.
    again : tuple of float
        Share of the rows of each layer that do.
    """

    name: str
    heads: int
    tokens: int
    steps: int = 0
    keys: tuple[float, ...]
    alive: tuple[int, ...]
    values: float
    query_bits: int
    key_bits: int
    value_bits: int
    threshold: float = 0.0
    again: tuple[float, ...] = ()


def _encoder(name: str, layers: int, heads: int, tokens: int) -> Model:
    """Two thirds of the tokens and nine tenths of the heads are kept, half of the values."""
    alive = keep_counts(keep_ratios(layers, 0.9, HEADS_WHOLE), heads)
    return Model(
        name=f"{name}, {tokens} tokens", heads=heads, tokens=tokens,
        keys=keep_ratios(layers, 0.67, TOKENS_WHOLE), alive=alive, values=0.5,
        query_bits=8, key_bits=8, value_bits=8,
    )  # fmt: skip


_SMALL = Model(
    name="gpt2-small, K 6+4, V 6", heads=12, tokens=1024, steps=32,
    keys=(0.9, 0.7, *(0.2,) * 4, *(0.1,) * 6), alive=(12,) * 12, values=0.2,
    query_bits=12, key_bits=6, value_bits=6, threshold=0.05,
    again=(0.32, 0.45, 0.03, *(0.003,) * 5, 0.008, *(0.003,) * 2, 0.013),
)  # fmt: skip

#: The cases, in the order of the table.
MODELS = (
    _encoder("bert-base", 12, 12, 128),
    _encoder("bert-base", 12, 12, 384),
    _encoder("bert-large", 24, 16, 128),
    _encoder("bert-large", 24, 16, 384),
    _SMALL,
    replace(_SMALL, name="gpt2-small, K 8+4, V 8", key_bits=8, value_bits=8),
    Model(
        name="gpt2-medium, K 12, V 8", heads=16, tokens=1024, steps=32,
        keys=(1.0, 1.0, 0.9, 0.8, 0.8, *(0.6,) * 6, *(0.3,) * 13),
        alive=(*(16,) * 16, *(13,) * 6, *(10,) * 2), values=0.3,
        query_bits=12, key_bits=12, value_bits=8,
    ),
)  # fmt: skip


def model_workload(model: Model, seed: int = 0) -> Workload:
    """The jobs of a model.

    Parameters
    ----------
    model : Model
        Which.
    seed : int
        Of the heads that live and the rows that come again.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(model.heads)
    alive = [tuple(sorted(int(head) for head in order[:count])) for count in model.alive]
    jobs = []
    for step in range(max(1, model.steps)):
        length = model.tokens - max(1, model.steps) + 1 + step
        for layer, share in enumerate(model.keys):
            # the cascade takes effect behind a decoder's first step
            whole = model.steps > 0 and step == 0
            keys = length if whole else min(length, int(share * model.tokens + 1e-9))
            heads = tuple(range(model.heads)) if whole else alive[layer]
            again = rng.random(len(heads)) < (model.again[layer] if model.again else 0.0)
            following = model.keys[layer + 1] if layer + 1 < len(model.keys) else None
            keep = None if following is None else int(following * model.tokens + 1e-9)
            jobs.append(
                WorkloadJob(
                    iteration=step, layer=layer, heads=heads, head_dim=64, length=length,
                    keys=keys, values=max(1, int(model.values * (model.tokens if whole else keys))),
                    key_bits=model.key_bits, query_bits=model.query_bits,
                    value_bits=model.value_bits, threshold=model.threshold,
                    increment=LSB_BITS if model.threshold else 0,
                    again=tuple(bool(a) for a in again), keep=keep,
                    queries=1 if model.steps else length,
                )
            )  # fmt: skip
    return Workload(model.name, tuple(jobs))


class Figures(NamedTuple):
    """What the cycle model says.

    Parameters
    ----------
    cycles, dense_cycles : int
        Of the core, and of the dense core with the same arrays, buffers and memory, with operands
        of its widest mode.
    gflops : float
        Operations of the dense model, 2 for every multiplication, in those cycles at 1 GHz.
    moved : int
        Bytes read and written.
    fp32, bytes8 : int
        Bytes of all of Q, K, V and O, 4 and 1 per element.
    """

    cycles: int
    dense_cycles: int
    gflops: float
    moved: int
    fp32: int
    bytes8: int


def figures(config: Configuration, model: Model, *, seed: int = 0) -> Figures:
    """Run a model on the cycle model.

    Parameters
    ----------
    config : Configuration
        A core that prunes.
    model : Model
        What runs.
    seed : int
        Of what is drawn.
    """
    workload = model_workload(model, seed)
    stats = replay(config, workload, seed=seed).stats
    total, of_workload = stats["total"], stats["workload"]
    elements = sum(2 * 64 * model.heads * (job.length + job.queries) for job in workload.jobs)
    return Figures(
        total["cycles"],
        of_workload["baseline_cycles"],
        of_workload["total"]["gflops_dense_equivalent"],
        total["dram_read_bytes"] + total["dram_write_bytes"],
        _FP32 * elements,
        _BYTE * elements,
    )


def _table(systems: Sequence[str], models: Sequence[Model], seed: int) -> Iterator[str]:
    yield (
        f"{'system':14}{'case':26}{'cycles':>12}{'dense core':>12}{'faster':>8}{'GFLOPS':>8}"
        f"{'bytes':>14}{'fp32 by':>9}{'8-bit by':>9}"
    )
    for name in systems:
        config = load_config(name)
        for model in models:
            found = figures(config, model, seed=seed)
            yield (
                f"{name:14}{model.name:26}{found.cycles:12,}{found.dense_cycles:12,}"
                f"{found.dense_cycles / found.cycles:8.2f}{found.gflops:8.0f}{found.moved:14,}"
                f"{found.fp32 / found.moved:9.1f}{found.bytes8 / found.moved:9.1f}"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m attnsieve.sim.bench.sizes")
    parser.add_argument("--system", action="append", help="preset or TOML file; repeatable")
    parser.add_argument(
        "--model", default="", metavar="NAME", help="only cases whose name begins like this"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore", UnusedElaboratable)  # the model makes blocks for their latency
    models = [model for model in MODELS if model.name.startswith(given.model)]
    if not models:
        parser.error(f"--model must begin one of: {'; '.join(m.name for m in MODELS)}")
    for line in _table(given.system or ["spatten", "spatten-full"], models, given.seed):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
