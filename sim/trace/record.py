"""Recording a trace of a known model into a file: what ``attnsieve trace`` does."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnsieve.gen.errors import UserError
from attnsieve.sim.trace import minilm, smollm2
from attnsieve.sim.trace.trace import Trace, save

__all__ = ["MODELS", "record"]

_RECORDERS: dict[str, Callable[..., Trace]] = {"minilm": minilm.record, "smollm2": smollm2.record}

#: Name and one line for each model.
MODELS = {
    "minilm": "all-MiniLM-L6-v2, sentence encoder: 6 layers × 12 heads × 32, up to 256 tokens",
    "smollm2": "SmolLM2-135M, decoder: 30 layers × 9 heads (3 KV heads) × 64, causal or decode",
}


def record(model: str, text: str | None, out: str | Path, **options: Any) -> Trace:
    """Record Q, K and V of a model on a text and write the trace.

    Parameters
    ----------
    model : str
        A name from `MODELS`.
    text : str or None
        The text; one of our own if None.
    out : path
        File to write.
    options
        Of the model: ``max_tokens`` and ``pad_to`` (minilm), ``tokens``, ``layers`` and
        ``decode_steps`` (smollm2). Options that are None are left at their default.

    Returns
    -------
    Trace
        What was written.

    Raises
    ------
    UserError
        The model, the text or an option is wrong, or the file cannot be written.
    """
    if model not in MODELS:
        near = difflib.get_close_matches(model, MODELS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"model must be one of {', '.join(MODELS)}, not {model!r}{hint}")
    given = {name: value for name, value in options.items() if value is not None}
    known = [n for n in inspect.signature(_RECORDERS[model]).parameters if n != "text"]
    for name in given:
        if name not in known:
            raise UserError(f"{model} has no option {name!r}; it has {', '.join(known)}")
    if text is not None and not text.strip():
        raise UserError("the text must not be empty")
    out = Path(out)
    if not out.parent.is_dir():
        raise UserError(f"{out} cannot be written: {out.parent} is not a folder")
    trace = _RECORDERS[model](text, **given)
    save(out, trace)
    return trace
