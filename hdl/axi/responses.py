"""Counts the bursts of two jobs that wait for their write responses."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int

__all__ = ["Responses"]


class Responses(wiring.Component):
    """Bursts under way, of odd and even jobs; a response belongs to the oldest job first.

    Parameters
    ----------
    most : int
        Most bursts of a job that wait.

    Members
    -------
    started : In(1), job : In(1)
        A burst of this job is asked for. Only if there is room.
    answered : In(1)
        A response comes.
    oldest : In(1)
        Job to which it belongs, if it waits for one.
    room : Out(2)
        For each job: another burst of it may be asked for.
    waiting : Out(2)
        For each job: a burst waits for its response.
    """

    started: Signal
    job: Signal
    answered: Signal
    oldest: Signal
    room: Signal
    waiting: Signal

    def __init__(self, *, most: int) -> None:
        check_int("Most", most, 1)
        self.most = most
        super().__init__(
            {
                "started": In(1),
                "job": In(1),
                "answered": In(1),
                "oldest": In(1),
                "room": Out(2),
                "waiting": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counts = [Signal(range(self.most + 1), name=f"count{k}") for k in range(2)]
        of_oldest = Mux(self.oldest, counts[1], counts[0]) != 0
        answered = Mux(of_oldest, self.oldest, ~self.oldest)
        for k, count in enumerate(counts):
            up, down = self.started & (self.job == k), self.answered & (answered == k)
            with m.If(up ^ down):
                m.d.sync += count.eq(count + Mux(up, 1, -1))
            m.d.comb += [self.waiting[k].eq(count != 0), self.room[k].eq(count != self.most)]
        return m
