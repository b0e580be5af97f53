"""Pairs those who ask with those who serve, fairly, in one cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int, check_power_of_two

__all__ = ["Matching"]


class Matching(wiring.Component):
    """A wavefront arbiter: walks the diagonals of the requests and pairs whoever is still free.

    So the pairs are maximal: of no request both sides are left over. The first diagonal moves on
    by one asker in every cycle; a request that stays is served within ``askers`` cycles.

    Combinational, but for the turn: a chain of ``askers`` steps.

    Parameters
    ----------
    askers : int
        How many, a power of two.
    servers : int
        How many, at most as many as askers.

    Members
    -------
    request : In(servers).array(askers)
        Who asks for whom.
    match : Out(servers).array(askers)
        The pairs: at most one of each row, and at most one row for each server.
    """

    request: Any
    match: Any

    def __init__(self, *, askers: int, servers: int) -> None:
        check_power_of_two("Askers", askers, 1, 64)
        check_int("Servers", servers, 1, askers)
        self.askers, self.servers = askers, servers
        super().__init__(
            {"request": In(servers).array(askers), "match": Out(servers).array(askers)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        askers = self.askers
        turn = Signal(range(askers))
        m.d.sync += turn.eq(turn + 1)
        rows = self._rotated([Value.cast(row) for row in self.request], turn)
        found = [Signal(self.servers, name=f"found{row}") for row in range(askers)]
        free_rows: list[Value] = [Const(1, 1)] * askers
        free_servers: list[Value] = [Const(1, 1)] * self.servers
        for diagonal in range(askers):
            for server in range(self.servers):
                row = (server + diagonal) % askers
                pair = found[row][server]
                m.d.comb += pair.eq(rows[row][server] & free_rows[row] & free_servers[server])
                free_rows[row] = free_rows[row] & ~pair
                free_servers[server] = free_servers[server] & ~pair
        back = self._rotated(list(found), (0 - turn)[: len(turn)])
        m.d.comb += [match.eq(row) for match, row in zip(self.match, back, strict=True)]
        return m

    def _rotated(self, rows: list[Value], by: Value) -> list[Value]:
        """Row n is what was row n + ``by``."""
        for bit in range((self.askers - 1).bit_length()):
            moved = rows[1 << bit :] + rows[: 1 << bit]
            rows = [Mux(by[bit], b, a) for a, b in zip(rows, moved, strict=True)]
        return rows
