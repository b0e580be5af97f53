"""AXI4 and AXI4-Lite as Amaranth signatures with the standard lower-case member names."""

from __future__ import annotations

from amaranth.hdl import Module, unsigned
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Member, Out

from attnsieve.hdl.lib.checks import check_int, check_power_of_two

__all__ = ["AXI4LiteSignature", "AXI4Signature", "Response", "flat_members", "forward"]

#: Bytes that a burst must not cross.
BOUNDARY = 4096
#: AxBURST of an incrementing burst.
INCR = 0b01
#: AxCACHE of ordinary memory behind any interconnect: normal, non-cacheable, bufferable.
CACHE = 0b0011


class Response(enum.IntEnum, shape=2):
    """Codes of RRESP and BRESP. Bit 1 marks the two errors."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def _address_channel(prefix: str, addr_width: int, size: int, id_width: int) -> dict[str, Member]:
    return {
        f"{prefix}id": Out(id_width),
        f"{prefix}addr": Out(addr_width),
        f"{prefix}len": Out(8),
        f"{prefix}size": Out(3, init=size),
        f"{prefix}burst": Out(2, init=INCR),
        f"{prefix}lock": Out(1),
        f"{prefix}cache": Out(4, init=CACHE),
        f"{prefix}prot": Out(3),
        f"{prefix}qos": Out(4),
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
    }


class AXI4Signature(wiring.Signature):
    """AXI4, seen by the master.

    Members that are the same in every transaction of this project have that value as their
    initial value and need no driver: ``*size`` (full width), ``*burst`` (INCR), ``*cache``
    (normal, non-cacheable, bufferable), ``*lock``, ``*prot``, ``*qos`` and the identifiers (0:
    one identifier, so all responses come in order).

    Parameters
    ----------
    addr_width : int
        Address bits, 1 to 64.
    data_width : int
        Data bits, a power of two from 32 to 1024.
    id_width : int
        Bits of an identifier, 1 to 32.
    read, write : bool
        Whether the read channels (ar, r) and the write channels (aw, w, b) are there.

    Members
    -------
    awid, awaddr, awlen, awsize, awburst, awlock, awcache, awprot, awqos, awvalid, awready
        Write address.
    wdata, wstrb, wlast, wvalid, wready
        Write data.
    bid, bresp, bvalid, bready
        Write response.
    arid, araddr, arlen, arsize, arburst, arlock, arcache, arprot, arqos, arvalid, arready
        Read address.
    rid, rdata, rresp, rlast, rvalid, rready
        Read data.
    """

    def __init__(
        self,
        *,
        addr_width: int,
        data_width: int,
        id_width: int = 1,
        read: bool = True,
        write: bool = True,
    ) -> None:
        check_int("Address width", addr_width, 1, 64)
        check_power_of_two("Data width", data_width, 32, 1024)
        check_int("Identifier width", id_width, 1, 32)
        if not (read or write):
            raise ValueError("AXI4 signature must have read or write channels, not neither")
        self.addr_width = addr_width
        self.data_width = data_width
        self.id_width = id_width
        size = (data_width // 8).bit_length() - 1
        members: dict[str, Member] = {}
        if write:
            members |= _address_channel("aw", addr_width, size, id_width)
            members |= {
                "wdata": Out(data_width),
                "wstrb": Out(data_width // 8),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
                "bid": In(id_width),
                "bresp": In(unsigned(2)),
                "bvalid": In(1),
                "bready": Out(1),
            }
        if read:
            members |= _address_channel("ar", addr_width, size, id_width)
            members |= {
                "rid": In(id_width),
                "rdata": In(data_width),
                "rresp": In(unsigned(2)),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
            }
        super().__init__(members)


class AXI4LiteSignature(wiring.Signature):
    """AXI4-Lite, seen by the master (a slave has it as ``In(AXI4LiteSignature(...))``).

    Parameters
    ----------
    addr_width : int
        Address bits, 1 to 64.
    data_width : int
        Data bits: 32 or 64.

    Members
    -------
    awaddr, awprot, awvalid, awready
        Write address.
    wdata, wstrb, wvalid, wready
        Write data.
    bresp, bvalid, bready
        Write response.
    araddr, arprot, arvalid, arready
        Read address.
    rdata, rresp, rvalid, rready
        Read data.
    """

    def __init__(self, *, addr_width: int, data_width: int = 32) -> None:
        check_int("Address width", addr_width, 1, 64)
        check_power_of_two("Data width", data_width, 32, 64)
        self.addr_width = addr_width
        self.data_width = data_width
        super().__init__(
            {
                "awaddr": Out(addr_width),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(data_width),
                "wstrb": Out(data_width // 8),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(unsigned(2)),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(addr_width),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(data_width),
                "rresp": In(unsigned(2)),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


def flat_members(prefix: str, signature: wiring.Signature) -> dict[str, Member]:
    """Members of ``signature`` as ``prefix_member``, for ports with exactly these Verilog names.

    A nested interface would become ``m_axi__araddr``; tools look for ``m_axi_araddr``.

    Parameters
    ----------
    prefix : str
        Name before the underscore, such as ``m_axi`` or ``s_axil``.
    signature : wiring.Signature
        A flat signature; give ``signature.flip()`` for a slave.
    """
    return {f"{prefix}_{name}": member for name, member in signature.members.items()}


def forward(m: Module, inner: object, outer: object, *, prefix: str = "") -> None:
    """Wire a submodule's bus to ports of the component around it.

    ``inner`` may have only the read or only the write channels; what it lacks is left alone, so
    that a reader and a writer share one set of ports.

    Parameters
    ----------
    m : Module
        Module of the outer component.
    inner : interface
        Bus of the submodule.
    outer : component or interface
        Where the ports are: ``outer.<prefix>_<name>``, or ``outer.<name>`` without a prefix.
    prefix : str
        As in :func:`flat_members`.
    """
    for name, member in inner.signature.members.items():  # type: ignore[attr-defined]
        port = getattr(outer, f"{prefix}_{name}" if prefix else name)
        wire = getattr(inner, name)
        m.d.comb += port.eq(wire) if member.flow == Out else wire.eq(port)
