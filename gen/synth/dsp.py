"""Registers of ECP5 multipliers: flip-flops around a MULT18X18D move into it.

``synth_ecp5`` maps a product to a MULT18X18D without its registers, so both operands and the
product lie in flip-flops somewhere in the fabric. `pack` changes the mapped netlist, as yosys
writes it in JSON. The result does the same in every cycle from power-up on.

A register inside is used when every bit has a flip-flop of the same clock and enable which starts
with zero. Two limits come from the tools behind, not from the device:

* nextpnr has times for no operand or both in registers, not for one. So both move, or none.
* The bits that choose enable and reset of the product's register are not in prjtrellis (there are
  some for the reset of every other multiplier). So a product moves when its register has neither:
  the enable is tied to 1 and the reset to 0. ``gated_products`` also moves those with an enable.

nextpnr fixes the polarity of CLK, CE and RST; an inverted enable gets a lookup table of its own,
one per signal. CE3 and RST3, the choice whose configuration bits are all zero, hold what products
need.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["pack"]

#: A net's number, or a constant: "0", "1", "x".
Bit = int | str
Cell = dict[str, Any]

_BITS = {"A": 18, "B": 18, "P": 36}
_REGISTERS = ("INPUTA", "INPUTB", "INPUTC", "PIPELINE", "OUTPUT")
_INVERTER = "0101010101010101"


@dataclass(frozen=True)
class _Control:
    """What flip-flops of one register have in common. Starting with zero goes without saying."""

    clock: Bit
    enable: Bit
    inverted: bool
    reset: Bit


def pack(netlist: dict[str, Any], *, gated_products: bool = False) -> dict[str, int]:
    """Move flip-flops into the multipliers they surround; changes ``netlist``.

    Parameters
    ----------
    netlist : dict
        As written by ``write_json`` after ``synth_ecp5``.
    gated_products : bool
        Also move product registers with an enable: right for the primitive as Lattice describes
        it, but no bitstream made with prjtrellis says which enable it is.

    Returns
    -------
    dict
        ``outputs``: products in registers of a multiplier; ``inputs``: operands;
        ``flip_flops``: how many are gone; ``inverters``: lookup tables added for enables.
    """
    counts = dict.fromkeys(("outputs", "inputs", "flip_flops", "inverters"), 0)
    for module in netlist["modules"].values():
        if any(cell["type"] == "MULT18X18D" for cell in module["cells"].values()):
            for key, number in _Packer(module, gated_products).run().items():
                counts[key] += number
    return counts


class _Packer:
    """One module: its flip-flops by net, and who reads a net."""

    def __init__(self, module: dict[str, Any], gated_products: bool) -> None:
        self.module = module
        self.gated_products = gated_products
        self.cells: dict[str, Cell] = module["cells"]
        self.loads: dict[Bit, int] = {}
        self.by_data: dict[Bit, str] = {}
        self.by_output: dict[Bit, str] = {}
        self.inverse: dict[Bit, int] = {}
        self.removed = 0
        highest = 1
        for port in module.get("ports", {}).values():
            for bit in port["bits"]:
                if port["direction"] != "input":
                    self.loads[bit] = self.loads.get(bit, 0) + 1
                highest = max(highest, bit if isinstance(bit, int) else 0)
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for bit in bits:
                    if cell["port_directions"][port] != "output":
                        self.loads[bit] = self.loads.get(bit, 0) + 1
                    highest = max(highest, bit if isinstance(bit, int) else 0)
            if cell["type"] == "TRELLIS_FF":
                if _bit(cell, "DI") is not None:
                    self.by_data[cell["connections"]["DI"][0]] = name
                self.by_output[cell["connections"]["Q"][0]] = name
        self.next_net = highest + 1

    def run(self) -> dict[str, int]:
        multipliers = [
            cell
            for cell in self.cells.values()
            if cell["type"] == "MULT18X18D" and not _registered(cell) and self._plain(cell)
        ]
        products = [self._product(cell) for cell in multipliers]
        operands = [
            self._operands(cell, product)
            for cell, product in zip(multipliers, products, strict=True)
        ]
        for cell, product, pair in zip(multipliers, products, operands, strict=True):
            self._connect(cell, product, pair)
        return {
            "outputs": sum(product is not None for product in products),
            "inputs": 2 * sum(pair is not None for pair in operands),
            "flip_flops": self.removed,
            "inverters": len(self.inverse),
        }

    def _plain(self, cell: Cell) -> bool:
        """Whether nothing but the product leaves the cell."""
        return not any(
            self.loads.get(bit)
            for port, bits in cell["connections"].items()
            if cell["port_directions"][port] == "output" and not port[1:].isdigit()
            for bit in bits
        )

    def _product(self, cell: Cell) -> _Control | None:
        """Absorb the flip-flops behind the product; None when it cannot be."""
        names: dict[str, str] = {}
        controls = set()
        for port, bit in _bus(cell, "P"):
            if not isinstance(bit, int) or not self.loads.get(bit):
                continue
            if self.loads[bit] != 1 or bit not in self.by_data:
                return None
            names[port] = self.by_data[bit]
            controls.add(_control(self.cells[names[port]]))
        if len(controls) != 1:
            return None
        (control,) = controls
        if control is None or control.reset != "0":
            return None
        if control.enable != "1" and not self.gated_products:
            return None
        for port, name in names.items():
            cell["connections"][port] = list(self.cells[name]["connections"]["Q"])
            self._remove(name)
        return control

    def _operands(self, cell: Cell, product: _Control | None) -> list[_Control] | None:
        """Copy the flip-flops before both operands; None when it cannot be."""
        found: dict[str, set[_Control | None]] = {}
        ones = set()
        for operand in "AB":
            if not isinstance(_bit(cell, f"SIGNED{operand}") or "0", str):
                return None
            if _bit(cell, f"SOURCE{operand}") not in (None, "0"):
                return None
            found[operand] = set()
            for _, bit in _bus(cell, operand):
                if bit == "1":
                    ones.add(operand)
                if isinstance(bit, int):
                    if bit not in self.by_output:
                        return None
                    found[operand].add(_control(self.cells[self.by_output[bit]]))
        sets = [group or found["AB".replace(name, "")] for name, group in found.items()]
        controls = [control for group in sets for control in group if control is not None]
        if any(len(group) != 1 or None in group for group in sets):
            return None
        if len({control.clock for control in (*controls, *([product] if product else []))}) != 1:
            return None
        # a constant 1 is 0 after power-up or reset: the other operand must be all 0 as long
        if len(ones) == 2 or (ones and controls[0] != controls[1]):
            return None
        for port, bit in (*_bus(cell, "A"), *_bus(cell, "B")):
            if bit in self.by_output:
                name = self.by_output[bit]
                data: Bit = self.cells[name]["connections"]["DI"][0]
                cell["connections"][port] = [data]
                self.loads[data] = self.loads.get(data, 0) + 1
                self.loads[bit] -= 1
                if not self.loads[bit]:
                    self._remove(name)
        return controls

    def _connect(
        self, cell: Cell, product: _Control | None, operands: list[_Control] | None
    ) -> None:
        """Clock, enables and resets of the registers used."""
        used: dict[str, _Control] = {}
        if product is not None:
            used["OUTPUT"] = product
        if operands is not None:
            used |= dict(zip(("INPUTA", "INPUTB"), operands, strict=True))
        if not used:
            return
        parameters = cell["parameters"]
        parameters |= {"GSR": "DISABLED", "RESETMODE": "SYNC"}
        signals: dict[str, dict[Bit, str]] = {"CLK": {}, "CE": {}, "RST": {}}
        for register, control in used.items():
            enable = self._inverted(control.enable) if control.inverted else control.enable
            for kind, bit, last in (
                ("CLK", control.clock, False),
                ("CE", enable, register == "OUTPUT" or enable == "1"),
                ("RST", control.reset, control.reset == "0"),
            ):
                names = signals[kind]
                if bit not in names:
                    free = [n for n in "012" if kind + n not in names.values()]
                    if last and f"{kind}3" not in names.values():
                        free = ["3"]
                    names[bit] = kind + free[0]
                parameters[f"REG_{register}_{kind}"] = names[bit]
        for names in signals.values():
            for bit, name in names.items():
                cell["connections"][name] = [bit]
                cell["port_directions"][name] = "input"

    def _inverted(self, bit: Bit) -> int:
        """The inverse of an enable, from a lookup table for all multipliers that need it."""
        if bit not in self.inverse:
            net = self.next_net
            self.next_net += 1
            self.inverse[bit] = net
            name = f"{self._name(bit)}_inverse"
            while {name, f"{name}_Z"} & {*self.cells, *self.module["netnames"]}:
                name += "_"
            inputs: dict[str, list[Bit]] = {"A": [bit], "B": ["0"], "C": ["0"], "D": ["0"]}
            self.cells[name] = {
                "hide_name": 0,
                "type": "LUT4",
                "parameters": {"INIT": _INVERTER},
                "attributes": {},
                "port_directions": {**dict.fromkeys(inputs, "input"), "Z": "output"},
                "connections": {**inputs, "Z": [net]},
            }
            wire = {"hide_name": 0, "bits": [net], "attributes": {}}
            self.module["netnames"][f"{name}_Z"] = wire
        return self.inverse[bit]

    def _name(self, bit: Bit) -> str:
        """The first public name of a net."""
        names = [n for n, net in self.module["netnames"].items() if bit in net["bits"]]
        return min(names, key=lambda n: self.module["netnames"][n].get("hide_name", 0))

    def _remove(self, name: str) -> None:
        cell = self.cells.pop(name)
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] != "output":
                self.loads[bits[0]] -= 1
        if self.by_data.get(cell["connections"]["DI"][0]) == name:
            del self.by_data[cell["connections"]["DI"][0]]
        del self.by_output[cell["connections"]["Q"][0]]
        self.removed += 1


def _bit(cell: Cell, port: str) -> Bit | None:
    bits = cell["connections"].get(port)
    return bits[0] if bits else None


def _bus(cell: Cell, name: str) -> Iterator[tuple[str, Bit]]:
    for index in range(_BITS[name]):
        bit = _bit(cell, f"{name}{index}")
        if bit is not None:
            yield f"{name}{index}", bit


def _registered(cell: Cell) -> bool:
    clocks = (cell["parameters"].get(f"REG_{name}_CLK", "NONE") for name in _REGISTERS)
    return any(clock.strip() != "NONE" for clock in clocks)


def _control(cell: Cell) -> _Control | None:
    """Control signals of a flip-flop; None when a multiplier has no such register."""
    # a blank follows what would read as a number
    parameters = {name: str(value).strip() for name, value in cell["parameters"].items()}
    clock, enable, reset = (_bit(cell, port) for port in ("CLK", "CE", "LSR"))
    fixed = {"CLKMUX": "CLK", "REGSET": "RESET", "LSRMUX": "LSR", "LSRMODE": "LSR"}
    if any(parameters.get(name, value) != value for name, value in fixed.items()):
        return None
    # flip-flops are not reset by the global reset; a multiplier could not be in part
    if parameters.get("GSR", "ENABLED") != "DISABLED" or "keep" in cell["attributes"]:
        return None
    if not isinstance(clock, int) or _bit(cell, "DI") is None or _bit(cell, "M") is not None:
        return None
    kind = parameters.get("CEMUX", "1")
    if kind == "1":
        enable = "1"
    elif kind not in ("CE", "INV") or not isinstance(enable, int):
        return None
    if reset is None:
        reset = "0"
    if reset != "0" and not isinstance(reset, int):
        return None
    if reset != "0" and parameters.get("SRMODE", "LSR_OVER_CE") != "LSR_OVER_CE":
        return None
    return _Control(clock, enable, kind == "INV", reset)
