"""Counters of a job in a small memory."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.register_map import COUNTERS, STALLS
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.params import CoreParams

__all__ = ["Activity", "Counters", "result_layout"]

#: Words of one set: cycles, their upper half, then the counters of the register map.
WORDS = 2 + len(COUNTERS)
#: Names of the words that count cycles by kind, and of those that come with the result.
KINDS = ("busy", *(name for name, _ in STALLS))
COUNTS = tuple(name for name, _ in COUNTERS if name not in KINDS)


class Activity(enum.Enum, shape=3):
    """What a cycle is counted as. NONE: no job is under way."""

    NONE = 0
    BUSY = 1
    STALL_SETUP = 2
    STALL_QUERY = 3
    STALL_KEY = 4
    STALL_OUTPUT = 5
    STALL_TAIL = 6


def result_layout(p: CoreParams) -> data.StructLayout:
    """How a job ended, and its counts that are not counts of cycles."""
    return data.StructLayout({"code": StatusCode, **dict.fromkeys(COUNTS, unsigned(32))})


class Counters(wiring.Component):
    """Counts cycles by what they were spent on, and keeps the counts of the last finished job.

    Cycles are summed in short registers and added one after another, a word per cycle, to a set
    of words in memory. A cycle is counted for the job whose result is offered next: up to and
    including the cycle in which ``result.valid`` rises, or in which the block comes out of
    finishing the job before if that is later. The other counts are copied from the result.

    Latency from ``result.valid`` to ``result.ready``: ``latency = WORDS + 1`` cycles, plus one for
    each read in between; up to ``WORDS + 1`` more if the last result was less than that ago. From
    the cycle after the transfer, reads see this job. At most one read in 2 cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    activity : In(Activity)
        What this cycle is counted as.
    result : In(stream(result_layout))
        The oldest job ends.
    word : In(4), en : In(1), data : Out(32)
        Read port: word of the set of the last finished job; data in the cycle after ``en`` only.
    """

    latency = WORDS + 1

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "activity": In(Activity),
                "result": In(stream.Signature(result_layout(params))),
                "word": In(4),
                "en": In(1),
                "data": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sets = sets = Ram(
            shape=unsigned(32), depth=32, distributed=self.params.lut_ram
        )
        state = data.StructLayout(
            {
                "side": 1,  # of the two short sums of a kind, that which takes this cycle
                "live": 1,  # of the two sets in memory, that which is being added to
                "closing": 1,  # this round drains the sums of the finished job
                "fresh": 1,  # this round starts a set: sums replace what is in memory
                "first": 1,  # after reset: the set that is read is started too
            }
        )
        state = Signal(state, init={"fresh": 1, "first": 1})
        visited, step = Signal(4), Signal()  # the word at the memory's output
        write, (read,) = sets.write, sets.read
        visit = self._sequence(m, state, visited, step)
        carry, carried = Signal(), Signal()
        m.d.comb += [
            read.en.eq(1),
            read.address.eq(Mux(self.en, Cat(self.word, ~state.live), Cat(visit, state.live))),
            self.data.eq(read.data),
            write.address.eq(Cat(visited, state.live)),
            write.en.eq(step),
        ]
        added, copied = self._sum(m, state, visited, step, carried)
        old = Mux(state.fresh | copied, 0, read.data)
        m.d.comb += Cat(write.data, carry).eq(old + added)
        with m.If(step):
            m.d.sync += carried.eq(carry & (visited == 0))
        return m

    def _sequence(self, m: Module, state, visited: Signal, step: Signal) -> Signal:
        """Rounds over all words; one that drains the finished job, one that starts a new set."""
        visit, end, close = Signal(4), Signal(), Signal()
        m.d.comb += [
            end.eq(step & (visited == WORDS - 1)),
            close.eq(self.result.valid & ~state.closing & ~state.fresh),
            self.result.ready.eq(end & state.closing),
        ]
        m.d.sync += step.eq(~self.en)
        with m.If(~self.en):
            m.d.sync += [visited.eq(visit), visit.eq(Mux(visit == WORDS - 1, 0, visit + 1))]
        with m.If(end):
            turn = state.closing | state.first
            m.d.sync += [
                state.closing.eq(0),
                state.first.eq(0),
                state.fresh.eq(turn),
                state.live.eq(state.live ^ turn),
            ]
        with m.If(close):
            m.d.sync += [state.closing.eq(1), state.side.eq(~state.side)]
        with m.If(close | (end & (state.closing | state.fresh))):
            m.d.sync += [visit.eq(0), step.eq(0)]  # what was fetched is of another round
        return visit

    def _sum(
        self, m: Module, state, visited: Signal, step: Signal, carried: Signal
    ) -> tuple[Value, Value]:
        """What is to be added to the word ``visited``, and whether it replaces it."""
        # A word is visited at least every second round, and a read takes one cycle of two.
        width = (4 * (WORDS + 2)).bit_length()
        drained = state.side ^ state.closing
        activity = self.activity.as_value()
        now = {0: activity.any()}
        for name in KINDS:
            now[self._word(name)] = activity == Activity[name.upper()].value
        sums: dict[int, Value] = {1: carried}
        for word, counts in now.items():
            pair = [Signal(width, name=f"sum{word}_{side}") for side in range(2)]
            for side, total in enumerate(pair):
                clear = step & (visited == word) & (drained == side)
                now_counts = counts & (state.side == side)
                m.d.sync += total.eq(total + now_counts)
                with m.If(clear):
                    m.d.sync += total.eq(now_counts)
            sums[word] = Mux(drained, pair[1], pair[0])
        for name in COUNTS:  # anything until the round that closes the set
            sums[self._word(name)] = self.result.payload[name]
        chosen = Signal(32)
        # the words of COUNTS are the last ones
        with m.Switch(visited):
            for word, value in sums.items():
                with m.Case(word):
                    m.d.comb += chosen.eq(value)
        return chosen, visited >= self._word(COUNTS[0])

    @staticmethod
    def _word(name: str) -> int:
        return 2 + [known for known, _ in COUNTERS].index(name)
