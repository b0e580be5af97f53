"""Checks a job before it touches memory."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.layouts import head_layout, request_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["JobChecker"]

#: The four tensors in the order in which their address ranges are walked.
_TENSORS = ("q", "k", "v", "o")


class JobChecker(wiring.Component):
    """Decides whether a job may run, and divides heads by KV heads on the way.

    ``start`` is pulsed with ``request`` valid and held until ``done``. Three walks follow each
    other, all on one adder: the address range of every tensor (one cycle a head), the division of
    heads by KV heads (one cycle a head of a group), the head table (two cycles a head). The first
    rule that is broken ends the check with its status code; no memory is touched.

    Latency from ``start`` to ``done``: 1 cycle for a rule on the request alone, otherwise at most
    ``2 * (heads + kv_heads) + 8 + heads / kv_heads + 2 * heads + 4`` cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    start : In(1)
        Begins a check.
    request : In(request_layout)
        The job, as software wrote it.
    done : Out(1)
        High for one cycle at the end, with ``code`` and ``group``.
    code : Out(StatusCode)
        Result.
    group : Out(head_bits)
        Query heads of a KV head.
    table_head : Out(head_bits), table_en : Out(1), table_grant : In(1)
        Read request to the head table; data follow one cycle after a granted request.
    table_data : In(head_layout)
        The entry asked for.
    """

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "request": In(request_layout(params)),
                "done": Out(1),
                "code": Out(StatusCode),
                "group": Out(params.head_bits),
                "table_head": Out(params.head_bits),
                "table_en": Out(1),
                "table_grant": In(1),
                "table_data": In(head_layout(params)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.next = "RULES"
            with m.State("RULES"):
                self._rules(m)
            with m.State("ADDRESS"):
                self._addresses(m)
            with m.State("DIVIDE"):
                self._divide(m)
            with m.State("TABLE"):
                self._table(m)
        return m

    def _finish(self, m, code) -> None:
        m.d.comb += [self.done.eq(1), self.code.eq(code)]
        m.next = "IDLE"

    def _rules(self, m) -> None:
        """Rules on single registers, by priority of their code."""
        p, r = self.params, self.request
        parts = r.head_dim >> (p.segment - 1).bit_length()
        lines = Signal(24)
        m.d.comb += lines.eq((r.keys * parts[: p.part_bits] + p.groups - 1) // p.groups)
        zero = (r.heads == 0) | (r.kv_heads == 0) | (r.queries == 0) | (r.keys == 0)
        over = (
            (r.heads > p.max_heads)
            | (r.queries > p.max_queries)
            | (r.keys > p.max_keys)
            | (r.head_dim > p.max_head_dim)
            | (lines > p.kv_lines)
            | (r.wide & Const(p.operand_bits < 12))
        )
        addresses = Cat(getattr(r, f"{t}_{kind}")[: (p.alignment - 1).bit_length()]
                        for t in _TENSORS for kind in ("base", "stride"))
        with m.If(zero):
            self._finish(m, StatusCode.ZERO_LENGTH)
        with m.Elif((r.head_dim == 0) | r.head_dim[:4].any()):
            self._finish(m, StatusCode.BAD_HEAD_DIM)
        with m.Elif(over):
            self._finish(m, StatusCode.SIZE_OVER_BUILD)
        with m.Elif(addresses.any()):
            self._finish(m, StatusCode.MISALIGNED)
        with m.Elif(r.kv_heads > r.heads):
            self._finish(m, StatusCode.BAD_GROUP)
        with m.Elif(r.causal & (r.queries > r.keys)):
            self._finish(m, StatusCode.BAD_COUNT)
        with m.Else():
            m.next = "ADDRESS"

    def _addresses(self, m) -> None:
        """Walks base + (heads - 1) * stride + size for each tensor; a carry is a wrap."""
        p, r = self.params, self.request
        tensor, head, started = Signal(range(4)), Signal(p.head_bits), Signal()
        address = Signal(p.addr_width)
        kv = (tensor == 1) | (tensor == 2)
        heads = Mux(kv, r.kv_heads, r.heads)[: p.head_bits]
        rows = Mux(kv, r.keys, r.queries)[: max(p.key_bits, p.query_bits)]
        units = Signal(p.key_bits + p.query_bits + 4)  # rows of 16 elements
        m.d.comb += units.eq(rows * (r.head_dim >> 4)[:4])
        narrow = Mux(r.wide, (units << 4) + (units << 3), units << 4)
        size = Mux(tensor == 3, units << 5, narrow)
        base = Array(getattr(r, f"{t}_base") for t in _TENSORS)[tensor]
        stride = Array(getattr(r, f"{t}_stride") for t in _TENSORS)[tensor]
        last = head == heads - 1
        total = Signal(p.addr_width + 1)
        m.d.comb += total.eq(address + Mux(last, size - 1, stride))
        with m.If(~started):
            m.d.sync += [address.eq(base), head.eq(0), started.eq(1)]
        with m.Elif(total[-1]):
            m.d.sync += [started.eq(0), tensor.eq(0)]
            self._finish(m, StatusCode.ADDRESS_WRAP)
        with m.Else():
            m.d.sync += [address.eq(total), head.eq(head + 1)]
            with m.If(last):
                m.d.sync += [started.eq(0), tensor.eq(tensor + 1)]
                with m.If(tensor == 3):
                    m.d.sync += self.group.eq(0)
                    m.next = "DIVIDE"

    def _divide(self, m) -> None:
        """heads / kv_heads by repeated subtraction; a remainder is a bad group."""
        p, r = self.params, self.request
        covered = Signal(p.head_bits + 1)
        with m.If(covered == r.heads):
            m.d.sync += covered.eq(0)
            m.next = "TABLE"
        with m.Elif(covered > r.heads):
            m.d.sync += covered.eq(0)
            self._finish(m, StatusCode.BAD_GROUP)
        with m.Else():
            m.d.sync += [covered.eq(covered + r.kv_heads[: p.head_bits]),
                         self.group.eq(self.group + 1)]

    def _table(self, m) -> None:
        """Every mantissa must be normalised: its top bit is set."""
        p, r = self.params, self.request
        head, asked = Signal(p.head_bits), Signal()
        m.d.comb += [self.table_head.eq(head), self.table_en.eq(~asked)]
        m.d.sync += asked.eq(~asked & self.table_grant)
        with m.If(asked):
            m.d.sync += head.eq(head + 1)
            with m.If(~self.table_data.mantissa[-1]):
                m.d.sync += head.eq(0)
                self._finish(m, StatusCode.BAD_THRESHOLD)
            with m.Elif(head == r.heads[: p.head_bits] - 1):
                m.d.sync += head.eq(0)
                self._finish(m, StatusCode.OK)
