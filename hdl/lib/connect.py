"""Joining streams, strictly."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Shape
from amaranth.lib import data, stream

__all__ = ["connect"]


def _describe(shape: Any) -> str:
    """A layout with its fields, recursively; two shapes are the same when this is."""
    if isinstance(shape, data.ArrayLayout):
        return f"{shape.length} x {_describe(shape.elem_shape)}"
    if isinstance(shape, data.Layout):
        fields = (f"{n}: {_describe(f.shape)} @{f.offset}" for n, f in shape)
        return "{" + ", ".join(fields) + "}"
    if isinstance(shape, type):
        return shape.__name__
    return repr(Shape.cast(shape))


def _is_one(wire: Any) -> bool:
    return isinstance(wire, Const) and wire.value == 1


def connect(m: Module, source: Any, sink: Any) -> None:
    """Let everything that ``source`` delivers enter ``sink``.

    Both are streams as a component has them, its own or those of a submodule: inside a component,
    ``connect(m, self.i, self.queue.i)`` and ``connect(m, self.queue.o, self.o)``. The order of the
    arguments is the direction, and `wiring.flipped` is not needed.

    Parameters
    ----------
    m : Module
        Gets the assignments.
    source, sink : stream.Interface
        Where payloads come from and where they go.

    Raises
    ------
    TypeError
        An argument is not a stream, or the payloads are laid out differently, if only by the name
        of a field.
    ValueError
        The source cannot wait but the sink may let it, or the reverse.
    """
    for name, end in (("source", source), ("sink", sink)):
        if not isinstance(getattr(end, "signature", None), stream.Signature) and not isinstance(
            getattr(getattr(end, "signature", None), "flip", lambda: None)(), stream.Signature
        ):
            raise TypeError(f"The {name} must be a stream, not {end!r}")
    have, want = (_describe(end.signature.members["payload"].shape) for end in (source, sink))
    if have != want:
        raise TypeError(f"The payloads must be the same, not {have} into {want}")
    if _is_one(source.ready) and not _is_one(sink.ready):
        raise ValueError("The sink must be always ready: its source cannot wait")
    if _is_one(sink.valid) and not _is_one(source.valid):
        raise ValueError("The source must be always valid: its sink cannot wait")
    m.d.comb += sink.payload.eq(source.payload)
    if not _is_one(sink.valid):
        m.d.comb += sink.valid.eq(source.valid)
    if not _is_one(source.ready):
        m.d.comb += source.ready.eq(sink.ready)
