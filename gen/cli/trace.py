"""``attnsieve trace``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from attnsieve.gen.cli.console import print_json, steps
from attnsieve.gen.cli.options import Json
from attnsieve.gen.output import output_file

__all__ = ["command"]


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="minilm or smollm2.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="T.npz", help="File to write.")],
    text: Annotated[
        str | None, typer.Option("--text", help="Text to record; one of our own by default.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="N", help="minilm: cut the text here.")
    ] = None,
    pad_to: Annotated[
        int | None, typer.Option("--pad-to", metavar="N", help="minilm: pad to so many tokens.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", metavar="N", help="smollm2: exactly so many tokens.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option("--layers", metavar="A-B,C", help="smollm2: layers to record.")
    ] = None,
    decode_steps: Annotated[
        int | None,
        typer.Option("--decode-steps", metavar="N", help="smollm2: the last N tokens one by one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Record Q, K, V of a real model on a text."""
    from attnsieve.sim.trace.record import record

    options: dict[str, Any] = {
        "max_tokens": max_tokens, "pad_to": pad_to, "tokens": tokens, "layers": layers,
        "decode_steps": decode_steps,
    }  # fmt: skip
    with output_file(output) as file, steps(f"trace {model}"):
        trace = record(model, text, file, **options)
    shape = dict(
        zip(("layers", "heads", "queries", "head_dim"), map(int, trace.q.shape), strict=True)
    )
    shape |= {"kv_heads": int(trace.k.shape[1]), "keys": int(trace.k.shape[2])}
    if as_json:
        print_json({"file": str(output), **shape, "causal": trace.causal, "decode": trace.decode})
    else:
        print(f"{output}: " + ", ".join(f"{value} {name}" for name, value in shape.items()))
