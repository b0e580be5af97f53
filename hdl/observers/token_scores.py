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
    probability one. Where a bank is read stands in a register; one cycle reads, the next one adds
    and writes, and gives its sum to a beat that needs it, so no order of beats needs care.

    A beat is added from the cycle after its transfer on, and `latency` cycles later at the latest
    if its tokens are in different banks. Throughput: a beat per cycle if its tokens are in
    different banks, as those of a list mostly are. While ``scan``, ``clear`` or ``access`` is set
    nothing new is added.

    A row is looked at in the cycle after ``en``, and until the next; what its scores lose is gone
    `loss_latency` cycles after it is asked for, and only then may the row be looked at again. So
    long after ``scan`` no row is cleared.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(share_layout))
    idle : Out(1)
        Everything that came has been added.
    scan : In(1)
        Rows are being looked at, from the next cycle on.
    en : In(1), row : In, value : Out(32).array(token_lanes)
        With ``scan``: look at this row of scores next.
    decay : In(5), decays : In(token_lanes)
        With ``scan``, once per row: of that which is looked at, each score with its bit set loses
        its ``2**-decay``-th; 0: nothing.
    clear : In(1)
        The row becomes zero. Set once it is idle, and row after row.
    access : In(1), token : In, write : In(1), data : In(32), score : Out(32), ready : Out(1)
        Look at a token's score, or write it: what is asked for in a cycle with ``ready`` is done in
        it. That comes `access_latency` cycles after the token has been asked for, but later if
        rows are looked at or become zero, or if something else is asked for, or nothing, meanwhile.
    """

    i: stream.Interface
    idle: Signal
    scan: Signal
    en: Signal
    row: Signal
    value: Any
    decay: Signal
    decays: Signal
    clear: Signal
    access: Signal
    token: Signal
    write: Signal
    data: Signal
    score: Signal
    ready: Signal

    #: Cycles from a beat's transfer until its shares have been added.
    latency = 3
    #: Cycles until what a score loses is gone.
    loss_latency = 4
    #: Cycles from a software access until it is done.
    access_latency = 2

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = p = params
        super().__init__(
            {
                "i": In(stream.Signature(share_layout(p))),
                "idle": Out(1),
                "scan": In(1),
                "en": In(1),
                "row": In(range(token_rows(p))),
                "value": Out(SCORE_BITS).array(p.token_lanes),
                "decay": In(5),
                "decays": In(p.token_lanes),
                "clear": In(1),
                "access": In(1),
                "token": In(token_bits(p)),
                "write": In(1),
                "data": In(SCORE_BITS),
                "score": Out(SCORE_BITS),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        beat, pending = Signal(share_layout(p)), Signal(p.groups)
        goes, still = Signal(p.groups), Signal(p.groups)
        scanned, added = Signal(2), Signal(2)  # in the cycles before
        held = self.scan | scanned.any() | self.clear | self.access
        self._decay = Signal.like(self.decay)  # of the row that was seen
        banks = [token[: self._bank_bits] for token in beat.token]
        for lane in range(p.groups):
            blocked = [pending[k] & (banks[k] == banks[lane]) for k in range(lane)]
            m.d.comb += goes[lane].eq(pending[lane] & ~held & ~Cat(blocked).any())
        m.d.comb += [
            still.eq(pending & ~goes),
            self.i.ready.eq(still == 0),
            self.idle.eq((pending == 0) & ~added.any()),
        ]
        m.d.sync += [
            pending.eq(still),
            added.eq(Cat(goes.any(), added)),
            scanned.eq(Cat(self.scan, scanned)),
            self._decay.eq(self.decay),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [beat.eq(self.i.p), pending.eq(Cat(s != 0 for s in self.i.p.share))]
        looks = self._software(m, scanned.any(), ~added[0])
        for bank in range(p.token_lanes):
            mine = [go & (its == bank) for go, its in zip(goes, banks, strict=True)]
            self._bank(m, bank, beat, mine, looks)
        return m

    @property
    def _bank_bits(self) -> int:
        return self.params.token_lanes.bit_length() - 1

    def _software(self, m: Module, scanned: Value, quiet: Value) -> Signal:
        """Whether software's row is to be looked at next. What was looked at counts only if it is
        still asked for, and nothing has come between."""
        looks, looked, known = Signal(), Signal(), Signal()
        token = Signal.like(self.token)  # that is looked at
        free = ~self.scan & ~self.clear
        m.d.comb += [
            looks.eq(self.access & free & ~scanned & ~looked & ~known),
            self.ready.eq(known & self.access & free & quiet & (self.token == token)),
        ]
        m.d.sync += [
            looked.eq(looks),
            known.eq(looked & free),
            self.score.eq(Cat(self.value).word_select(token[: self._bank_bits], SCORE_BITS)),
        ]
        with m.If(looks):
            m.d.sync += token.eq(self.token)
        return looks

    def _bank(
        self, m: Module, bank: int, beat: Any, mine: list[Value], looks: Signal
    ) -> None:
        """A bank's memory: where it is read and what is to be added there, for the next cycle; the
        score and what is added to it, for the one after; then the sum is written."""
        p = self.params
        scores = memory.Memory(shape=SCORE_BITS, depth=token_rows(p), init=[])
        m.submodules[f"bank{bank}"] = scores
        read, write = scores.read_port(domain="comb"), scores.write_port()
        add, place, share = (
            Signal(name=f"add{bank}"),
            Signal.like(read.addr, name=f"place{bank}"),
            Signal(p.p_bits, name=f"share{bank}"),
        )
        rows = [Mux(f, t >> self._bank_bits, 0) for f, t in zip(mine, beat.token, strict=True)]
        shares = [Mux(f, s, 0) for f, s in zip(mine, beat.share, strict=True)]
        m.d.sync += [add.eq(Cat(mine).any()), share.eq(either(shares))]
        with m.If(self.en):
            m.d.sync += place.eq(self.row)
        with m.Elif(looks):
            m.d.sync += place.eq(self.token >> self._bank_bits)
        with m.Elif(~self.scan):
            m.d.sync += place.eq(either(rows))
        m.d.comb += [read.addr.eq(place), self.value[bank].eq(read.data)]
        puts, put_row, score = self._put(m, bank, place, read.data)
        # what software has been told is written stays through a reset
        layout = {"en": 1, "row": len(place), "base": SCORE_BITS, "addend": SCORE_BITS}
        then = Signal(data.StructLayout(layout), name=f"then{bank}", reset_less=True)
        again = then.en & (then.row == place)  # it is being written
        m.d.sync += [
            then.en.eq(add | puts),
            then.row.eq(Mux(puts, put_row, place)),
            then.base.eq(Mux(puts, 0, Mux(again, write.data, read.data))),
            then.addend.eq(Mux(puts, score, share)),
        ]
        m.d.comb += [
            write.en.eq(then.en),
            write.addr.eq(then.row),
            write.data.eq(then.base + then.addend),
        ]

    def _put(
        self, m: Module, bank: int, place: Value, score: Value
    ) -> tuple[Value, Value, Value]:
        """Whether something new is written to a bank in the next cycle, its row, and that:
        what is left of a score that was seen two cycles before, what software writes, or zero."""
        seen, losing = (
            Signal(
                data.StructLayout({"en": 1, "row": len(self.row), "score": SCORE_BITS, **more}),
                name=f"{name}{bank}",
            )
            for name, more in (("seen", {}), ("losing", {"loss": SCORE_BITS}))
        )
        m.d.sync += [
            seen.en.eq(self.scan & self.decays[bank] & (self.decay != 0)),
            seen.row.eq(place),
            seen.score.eq(score),
            losing.en.eq(seen.en),
            losing.row.eq(seen.row),
            losing.score.eq(seen.score),
            losing.loss.eq(seen.score >> self._decay),
        ]
        writes = self.ready & self.write & (self.token[: self._bank_bits] == bank)
        written = self.token >> self._bank_bits
        return (
            losing.en | writes | self.clear,
            Mux(self.clear, self.row, Mux(losing.en, losing.row, written)),
            Mux(self.clear, 0, Mux(losing.en, losing.score - losing.loss, self.data)),
        )
