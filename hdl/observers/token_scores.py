"""Importance of tokens: what each key's probabilities add up to."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.reduce import either
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["SCORE_BITS", "TokenScores", "share_layout", "token_bits", "token_rows"]

#: Bits of a token's score: ``p_bits`` and what heads, layers and queries add.
SCORE_BITS = 32


def token_bits(p: CoreParams) -> int:
    """Bits of a token's number."""
    return (p.max_keys - 1).bit_length() or 1


def token_rows(p: CoreParams) -> int:
    """Rows of ``token_lanes`` scores."""
    return -(-p.max_keys // p.token_lanes)


def share_layout(p: CoreParams) -> data.StructLayout:
    """What a beat adds to the scores of ``groups`` tokens, which differ; 0 adds nothing."""
    return data.StructLayout(
        {
            "token": data.ArrayLayout(token_bits(p), p.groups),
            "share": data.ArrayLayout(unsigned(p.p_bits), p.groups),
        }
    )


class TokenScores(wiring.Component):
    """Scores of all tokens in ``token_lanes`` banks, token t in bank ``t mod token_lanes``.

    A beat's shares are added at once as far as they go to different banks; the lowest lanes first.
    Sums never saturate: a score has `SCORE_BITS` bits, room for 2**(32 - p_bits) rows of
    probability one. Reading, adding and writing a bank takes one cycle, so no order of beats needs
    care.

    A beat is added from the cycle after its transfer on, and `latency` cycles later at the latest
    if its tokens are in different banks. Throughput: a beat per cycle if its tokens are in
    different banks, as those of a list mostly are. While ``scan`` or ``access`` is set nothing new
    is added. ``access`` and ``clear`` count in a cycle in which ``quiet`` is set too, ``scan`` from
    the first one on, and it asks for losses only from then on. What a score loses is gone two
    cycles later: it is seen in one and taken away in the next, in which another row may be looked
    at.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(share_layout))
    idle : Out(1)
        Everything that came has been added.
    quiet : Out(1)
        Nothing is added in this cycle, and nothing lost that was seen in the cycle before.
    scan : In(1), row : In, value : Out(32).array(token_lanes)
        Look at a row of scores, in this cycle.
    clear : In(1)
        With ``scan``: the row becomes zero.
    decay : In(5), decays : In(token_lanes)
        With ``scan``: each score with its bit set loses its ``2**-decay``-th; 0: nothing.
    access : In(1), token : In, write : In(1), data : In(32), score : Out(32)
        Look at a token's score in this cycle, or write it.
    """

    i: stream.Interface
    idle: Signal
    quiet: Signal
    scan: Signal
    row: Signal
    value: Any
    clear: Signal
    decay: Signal
    decays: Signal
    access: Signal
    token: Signal
    write: Signal
    data: Signal
    score: Signal

    #: Cycles from a beat's transfer until its shares have been added.
    latency = 2

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = p = params
        super().__init__(
            {
                "i": In(stream.Signature(share_layout(p))),
                "idle": Out(1),
                "quiet": Out(1),
                "scan": In(1),
                "row": In(range(token_rows(p))),
                "value": Out(SCORE_BITS).array(p.token_lanes),
                "clear": In(1),
                "decay": In(5),
                "decays": In(p.token_lanes),
                "access": In(1),
                "token": In(token_bits(p)),
                "write": In(1),
                "data": In(SCORE_BITS),
                "score": Out(SCORE_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        beat, pending = Signal(share_layout(p)), Signal(p.groups)
        goes, still = Signal(p.groups), Signal(p.groups)
        held = self.scan | self.access
        banks = [token[: self._bank_bits] for token in beat.token]
        for lane in range(p.groups):
            blocked = [pending[k] & (banks[k] == banks[lane]) for k in range(lane)]
            m.d.comb += goes[lane].eq(pending[lane] & ~held & ~Cat(blocked).any())
        adding, decaying, losing = Signal(), Signal(), Signal()
        m.d.comb += [
            still.eq(pending & ~goes),
            self.i.ready.eq(still == 0),
            decaying.eq(self.scan & ~self.clear & (self.decay != 0)),
            self.quiet.eq(~adding & ~losing),
            self.idle.eq((pending == 0) & self.quiet),
        ]
        m.d.sync += [pending.eq(still), adding.eq(goes.any()), losing.eq(decaying & ~adding)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [beat.eq(self.i.p), pending.eq(Cat(s != 0 for s in self.i.p.share))]
        for bank in range(p.token_lanes):
            self._bank(m, bank, beat, goes, banks, decaying)
        select = self.token[: self._bank_bits]
        m.d.comb += self.score.eq(Cat(self.value).word_select(select, SCORE_BITS))
        return m

    @property
    def _bank_bits(self) -> int:
        return self.params.token_lanes.bit_length() - 1

    def _bank(
        self, m: Module, bank: int, beat: Any, goes: Value, banks: list[Value], decaying: Signal
    ) -> None:
        """A bank's memory; what is added to it in the next cycle."""
        p = self.params
        scores = memory.Memory(shape=SCORE_BITS, depth=token_rows(p), init=[])
        m.submodules[f"bank{bank}"] = scores
        read, write = scores.read_port(domain="comb"), scores.write_port()
        row_bits = len(read.addr)
        mine = [go & (its == bank) for go, its in zip(goes, banks, strict=True)]
        add, row, share = (
            Signal(name=f"add{bank}"),
            Signal(row_bits, name=f"row{bank}"),
            Signal(p.p_bits, name=f"share{bank}"),
        )
        m.d.sync += [
            add.eq(Cat(mine).any()),
            row.eq(either([Mux(f, t >> self._bank_bits, 0)
                           for f, t in zip(mine, beat.token, strict=True)])),
            share.eq(either([Mux(f, s, 0) for f, s in zip(mine, beat.share, strict=True)])),
        ]
        looked = Mux(self.scan, self.row, self.token >> self._bank_bits)
        here = self.access & self.quiet & (self.token[: self._bank_bits] == bank)
        loses, seen = self._decay(m, bank, decaying & ~add, read.data)
        m.d.comb += [
            read.addr.eq(Mux(add, row, looked)),
            write.addr.eq(Mux(loses, seen.row, read.addr)),
            self.value[bank].eq(read.data),
            write.data.eq(read.data + share),
            write.en.eq(add),
        ]
        with m.If(loses):
            m.d.comb += [write.data.eq(seen.score - seen.loss), write.en.eq(1)]
        with m.Elif(~add & self.scan):
            m.d.comb += [write.data.eq(0), write.en.eq(self.clear)]
        with m.Elif(here):
            m.d.comb += [write.data.eq(self.data), write.en.eq(self.write)]

    def _decay(self, m: Module, bank: int, decaying: Value, score: Value) -> tuple[Signal, Any]:
        """Whether a bank's score loses something now, and what was seen of it in the cycle before:
        its row, the score, the loss."""
        layout = data.StructLayout(
            {"row": len(self.row), "score": SCORE_BITS, "loss": SCORE_BITS}
        )
        loses = Signal(name=f"loses{bank}")
        seen = Signal(layout, name=f"seen{bank}", reset_less=True)
        m.d.sync += [
            loses.eq(decaying & self.decays[bank]),
            seen.row.eq(self.row),
            seen.score.eq(score),
            seen.loss.eq(score >> self.decay),
        ]
        return loses, seen
