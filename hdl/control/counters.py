"""Counters of a job in a small memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.register_map import STALLS, counters
from attnsieve.hdl.control.row_tally import row_tally_layout
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.value_tally import value_tally_layout
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.params import CoreParams

__all__ = ["KINDS", "Activity", "Counters", "counts", "result_layout", "set_words"]

#: Names of the words that count cycles by kind.
KINDS = ("busy", *(name for name, _ in STALLS))
_CYCLE_WORDS = 2 + len(KINDS)
_PLACE_BITS = 4
_SUM_BITS = 5


def _swapped(word: Any) -> Any:
    """Place of a word in its set, in the order of visits: kinds of cycles, cycles, the rest."""
    if isinstance(word, int):
        return word ^ 6 if word < _CYCLE_WORDS else word
    return word ^ Mux(word[-1], 0, 6)


def set_words(params: CoreParams) -> tuple[str, ...]:
    """Words of one set, by their addresses in the register map."""
    return ("cycles", "cycles_hi", *(name for name, _ in counters(params)))


def counts(params: CoreParams) -> tuple[str, ...]:
    """Words that come with the result."""
    return tuple(name for name, _ in counters(params) if name not in KINDS)


class Activity(enum.Enum, shape=3):
    """What a cycle is counted as. NONE: no job is under way."""

    NONE = 0
    BUSY = 1
    STALL_SETUP = 2
    STALL_QUERY = 3
    STALL_KEY = 4
    STALL_OUTPUT = 5
    STALL_TAIL = 6


def tally_members(p: CoreParams) -> dict[str, Any]:
    """Counts that a job has only if it ended well."""
    values = dict(value_tally_layout(p).members) if p.value_lanes else {}
    return dict(row_tally_layout(p).members) | values


def result_layout(p: CoreParams) -> data.StructLayout:
    """How a job ended, and its counts that are not counts of cycles."""
    members = dict.fromkeys(counts(p), unsigned(32)) | tally_members(p)
    return data.StructLayout({"code": StatusCode, **members})


class Counters(wiring.Component):
    """Counts cycles by what they were spent on, and keeps the counts of the last finished job.

    Cycles are counted in sums of 5 bits. Places of a set in memory are visited in turn, one per
    cycle; the upper bit of a sum, 16 cycles, is added to its place. A result that is offered moves
    all sums at once to a row of registers, where they leave one after another in the round that
    closes the set; that round also copies the other counts from the result. Then the set is what
    software reads, and the next round starts the other one.

    A cycle is counted for the job whose result is offered next: up to and including the cycle in
    which ``result.valid`` rises, or in which the block comes out of finishing the job before if
    that is later. Of a job that did not end with OK, rows and scores are 0.

    Latency from ``result.valid`` to ``result.ready``: `latency` cycles, 3 more than a set has
    words, plus one for each read in between; up to `latency` more if the last result was less than
    that ago. From the cycle after the transfer, reads see this job. Reads in at most half of the
    cycles, two at once: sums do not overflow then.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    activity : In(Activity)
        What this cycle is counted as.
    result : In(stream(result_layout))
        The oldest job ends. ``ready`` is a register, and low but in the cycle of the transfer.
    word : In(4), en : In(1), data : Out(32)
        Read port: word of the set of the last finished job; data in the cycle after ``en`` only.
    """

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        self.words = set_words(params)
        if len(self.words) > 1 << _PLACE_BITS:
            raise ValueError(f"Counters must be {1 << _PLACE_BITS} words at most")
        super().__init__(
            {
                "activity": In(Activity),
                "result": In(stream.Signature(result_layout(params))),
                "word": In(4),
                "en": In(1),
                "data": Out(32),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a result's being offered to its being taken, without reads."""
        return len(self.words) + 3

    def _place(self, name: str) -> int:
        return _swapped(self.words.index(name))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sets = sets = Ram(
            shape=unsigned(32), depth=2 << _PLACE_BITS, distributed=self.params.lut_ram
        )
        state = data.StructLayout(
            {
                "live": 1,  # of the two sets in memory, that which is being added to
                "closing": 1,  # this round ends the set of a finished job
                "fresh": 1,  # this round starts a set: amounts replace what is in memory
            }
        )
        # after reset: a round that starts the set that is read, and ends it
        state = Signal(state, init={"closing": 1, "fresh": 1})
        place, step = Signal(_PLACE_BITS), Signal()  # at the memory's output; it is visited
        write, (read,) = sets.write, sets.read
        replace = Signal()  # what is there, by the amount
        visit, capture = self._sequence(m, state, place, step, replace)
        carried = Signal()  # from the cycles to their upper half
        amount = self._cycles(m, state, place, step, capture) | self._counts(m, state, visit)
        amount |= carried & (place == self._place("cycles_hi"))
        total = Signal(33)
        # Written a cycle later: the sum is no part of a long path.
        m.d.sync += [
            write.address.eq(Cat(place, state.live)),
            write.data.eq(Mux(replace, amount, total)),
            write.en.eq(step),
        ]
        m.d.comb += [
            read.en.eq(1),
            read.address.eq(
                Mux(self.en, Cat(_swapped(self.word), ~state.live), Cat(visit, state.live))
            ),
            self.data.eq(read.data),
            total.eq(read.data + amount),
        ]
        with m.If(step & (place == self._place("cycles"))):
            m.d.sync += carried.eq(carried | (total[-1] & ~replace))
        with m.If(step & (place == self._place("cycles_hi"))):
            m.d.sync += carried.eq(0)
        return m

    def _sequence(
        self, m: Module, state, place: Signal, step: Signal, replace: Signal
    ) -> tuple[Signal, Signal]:
        """Rounds over places: which is read now, and whether the sums are to be moved.

        One over all places closes a set, others are over those of cycles only.
        """
        visit, end, close, capture = Signal(_PLACE_BITS), Signal(), Signal(), Signal()
        taken = Signal()  # the visit: it is not read for software in this cycle
        upper, closed = visit[-1], Signal()
        done = step & (place == Mux(state.closing, len(self.words) - 1, _CYCLE_WORDS - 1))
        blind = upper | (state.fresh & ~done)  # what is replaced need not be read
        m.d.comb += [
            end.eq(done & state.closing),
            close.eq(self.result.valid & ~state.closing & ~state.fresh),
            self.result.ready.eq(closed),
            # What was in hand at the close is written in the cycle of the capture.
            taken.eq((~self.en | blind) & ~capture),
        ]
        m.d.sync += [step.eq(taken), capture.eq(close), closed.eq(end & ~state.fresh)]
        with m.If(taken):
            m.d.sync += [place.eq(visit), replace.eq(blind), visit[:-1].eq(visit[:-1] + 1)]
            with m.If(visit[:-1] == _CYCLE_WORDS - 1):
                m.d.sync += upper.eq(state.closing)
        with m.If(done):
            m.d.sync += [
                state.closing.eq(0),
                state.fresh.eq(state.closing),
                state.live.eq(state.live ^ state.closing),
            ]
        with m.If(close):
            m.d.sync += state.closing.eq(1)
        with m.If(close | end):
            m.d.sync += [visit.eq(0), step.eq(0)]  # what was fetched is of another round
        return visit, capture

    def _cycles(self, m: Module, state, place: Signal, step: Signal, capture: Signal) -> Value:
        """Sums of cycles; what is to be added of them to ``place``."""
        activity = self.activity.as_value()
        now = {self._place("cycles"): activity.any()}
        for name in KINDS:
            now[self._place(name)] = activity == Activity[name.upper()].value
        sums = []
        for number, counts in sorted(now.items()):
            total, drain = Signal(_SUM_BITS, name=f"sum{number}"), Signal(name=f"drain{number}")
            lower = total[:-1] + counts
            m.d.comb += drain.eq(step & ~state.closing & (place[:-1] == number))
            with m.If(capture):
                m.d.sync += total.eq(counts)
            with m.Else():
                m.d.sync += total.eq(Cat(lower[:-1], lower[-1] | (total[-1] & ~drain)))
            sums.append(total)
        moved = Signal(len(sums) * _SUM_BITS)  # in the order of the places
        with m.If(capture):
            m.d.sync += moved.eq(Cat(sums))
        with m.Elif(step):
            m.d.sync += moved.eq(moved >> _SUM_BITS)
        full = Cat(total[-1] for total in sums).bit_select(place[:-1], 1) & ~state.closing
        return moved[:_SUM_BITS] | full << _SUM_BITS - 1

    def _counts(self, m: Module, state, visit: Signal) -> Value:
        """What is to be copied from the result to the place that was visited a cycle ago: these
        places do not wait for reads."""
        chosen: Value = Const(0, 32)
        good, copied = Signal(), Signal(32)
        m.d.sync += good.eq(self.result.p.code == StatusCode.OK)
        for name in counts(self.params):
            here = (visit == self._place(name)) & ~state.fresh
            if name in tally_members(self.params):
                here &= good
            chosen = chosen | (self.result.p[name] & here.replicate(32))
        m.d.sync += copied.eq(chosen)
        return copied
