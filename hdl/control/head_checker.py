"""Checks what a job says of its heads: groups, pruned ones, room for rows that wait, scales."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.words import LateWords, fetch_signature, head_words, job_words
from attnsieve.hdl.params import CoreParams

__all__ = ["HeadChecker"]


class HeadChecker(wiring.Component):
    """Of the heads of a job the first rule that is broken, in this order: KV heads divide heads;
    where rows can wait, there is room for those of a KV head; where heads are pruned, one is not;
    every scale is normalised.

    Latency of good heads from ``go`` to ``done``, if the memory is always granted:
    ``heads / kv_heads + heads + 7`` cycles; ``heads / kv_heads + 1`` more where rows can wait; and
    ``words + 3`` for the words that tell which heads are pruned.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    go : In(1)
        Begin, after a reset; each check needs one of its own.
    bank, heads, kv_heads, keys, dim, threshold, demand, planar : In
        Of the job, from then to the next reset.
    done : Out(1), code : Out(StatusCode)
        The verdict, until then.
    group : Out(head_bits)
        Heads of a KV head, with a verdict that is not BAD_GROUP.
    fetch : Out(fetch_signature)
        Read port of the job memory.
    """

    go: Signal
    bank: Signal
    heads: Signal
    kv_heads: Signal
    keys: Signal
    dim: Signal
    threshold: Signal
    demand: Signal
    planar: Signal
    done: Signal
    code: Signal
    group: Signal
    fetch: Any

    def __init__(self, *, params: CoreParams) -> None:
        self.params = p = params
        super().__init__(
            {
                "go": In(1),
                "bank": In(p.bank_bits),
                "heads": In(p.head_bits),
                "kv_heads": In(p.head_bits),
                "keys": In(p.key_bits),
                "dim": In((p.max_head_dim // 16).bit_length()),
                "threshold": In(1),
                "demand": In(1),
                "planar": In(1),
                "done": Out(1),
                "code": Out(StatusCode),
                "group": Out(p.head_bits, init=-1),
                "fetch": Out(fetch_signature(p)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self._state(m)
        m.d.comb += self.fetch.bank.eq(self.bank)
        with m.FSM() as fsm:
            m.d.comb += self.done.eq(fsm.ongoing("END"))
            with m.State("IDLE"):
                with m.If(self.go):
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                self._divide(m, s)
            if self._waits:
                with m.State("ROOM"):
                    self._room(m, s)
            if self.params.token_lanes:
                with m.State("HEADS"):
                    self._heads(m, s)
            with m.State("TABLE"):
                self._table(m, s)
            with m.State("END"):
                pass
        return m

    @property
    def _waits(self) -> bool:
        return self.params.progressive or self.params.value_demand

    @property
    def _next(self) -> str:
        """What follows the room."""
        return "HEADS" if self.params.token_lanes else "TABLE"

    def _state(self, m: Module) -> SimpleNamespace:
        p = self.params
        m.submodules.words = words = LateWords(params=p)
        m.d.comb += [
            words.granted.eq(self.fetch.en & self.fetch.grant),
            words.data.eq(self.fetch.data),
        ]
        shapes = {
            "left": p.head_bits + 1,  # heads covered; entries of the table to ask for
            "exact": 1,  # the heads of so many KV heads are all
            "past": 1,  # more than all
            "members": p.head_bits,  # heads of a group whose room is added up
            "beats": p.held_beats.bit_length() + 1,
            "segments": p.held_segments.bit_length() + 1,
            "asked": range(len(head_words(p)) + 1),
            "come": range(len(head_words(p)) + 1),
            "lives": 1,  # a head does
        }
        state = {name: Signal(shape, name=name) for name, shape in shapes.items()}
        return SimpleNamespace(**state, words=words)

    def _finish(self, m: Module, code: StatusCode) -> None:
        m.d.sync += self.code.eq(code)
        m.next = "END"

    def _divide(self, m: Module, s: SimpleNamespace) -> None:
        """heads / kv_heads by repeated addition; a remainder is a bad group.

        Sums are looked at a cycle later, when ``group`` is what was added before the last one.
        """
        m.d.sync += [s.exact.eq(s.left == self.heads), s.past.eq(s.left > self.heads)]
        with m.If(s.exact):
            m.d.sync += s.left.eq(self.heads)
            m.next = "ROOM" if self._waits else self._next
        with m.Elif(s.past):
            self._finish(m, StatusCode.BAD_GROUP)
        with m.Else():
            m.d.sync += [s.left.eq(s.left + self.kv_heads), self.group.eq(self.group + 1)]

    def _room(self, m: Module, s: SimpleNamespace) -> None:
        """Where rows wait there must be room for those of a KV head: sums over its heads."""
        p = self.params
        beats = (self.keys + (p.groups - 1)) // p.groups
        with m.If(((s.beats > p.held_beats) & (self.threshold | self.demand))
                  | ((s.segments > p.held_segments) & self.threshold)
                  | ((self.group > p.slice_rows) & self.planar)):  # fmt: skip
            self._finish(m, StatusCode.BAD_GROUP)
        with m.Elif(s.members == self.group):
            m.next = self._next
        with m.Else():
            m.d.sync += [
                s.members.eq(s.members + 1),
                s.beats.eq(s.beats + beats),
                s.segments.eq(s.segments + self.dim * (16 // p.segment)),
            ]

    def _heads(self, m: Module, s: SimpleNamespace) -> None:
        """Where heads are pruned, one at least must not be."""
        names, word = head_words(self.params), s.words.word
        m.d.comb += [
            self.fetch.en.eq(s.asked != len(names)),
            self.fetch.index.eq(s.asked + job_words(self.params)[names[0]]),
        ]
        with m.If(self.fetch.en & self.fetch.grant):
            m.d.sync += s.asked.eq(s.asked + 1)
        lives = Signal()
        for place in range(len(names)):
            first = 32 * place
            built = word[: self.params.max_heads - first]
            heads = [~bit & (first + n < self.heads) for n, bit in enumerate(built)]
            with m.If(s.come == place):
                m.d.comb += lives.eq(Cat(heads).any())
        with m.If(s.words.arrived):
            m.d.sync += [s.come.eq(s.come + 1), s.lives.eq(s.lives | lives)]
            with m.If(s.come == len(names) - 1):
                m.next = "TABLE"
                with m.If(~(s.lives | lives)):
                    self._finish(m, StatusCode.BAD_COUNT)

    def _table(self, m: Module, s: SimpleNamespace) -> None:
        """Every mantissa must be normalised: its top bit is set. ``left`` entries are not asked
        for yet; the last head's comes first."""
        m.d.comb += [
            self.fetch.table.eq(1),
            self.fetch.index.eq(s.left - 1),
            self.fetch.en.eq(s.left != 0),
        ]
        with m.If(self.fetch.en & self.fetch.grant):
            m.d.sync += s.left.eq(s.left - 1)
        with m.If(s.words.arrived & ~s.words.word[self.params.scale_mantissa_bits - 1]):
            self._finish(m, StatusCode.BAD_THRESHOLD)
        with m.Elif((s.left == 0) & ~s.words.coming):
            self._finish(m, StatusCode.OK)
