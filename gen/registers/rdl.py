"""The register map as SystemRDL 2.0 text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from attnsieve.hdl.control.register_map import (
    Access,
    Field,
    Register,
    RegisterMap,
    Window,
    register_map,
)
from attnsieve.hdl.params import CoreParams

__all__ = ["system_rdl"]

#: Properties of a field by what software may do with it.
_PROPERTIES = {
    Access.RO: ("sw = r;", "hw = w;"),
    Access.RW: ("sw = rw;", "hw = r;"),
    Access.W1C: ("sw = rw;", "hw = w;", "onwrite = woclr;"),
    Access.PULSE: ("sw = w;", "hw = r;", "singlepulse;"),
    Access.WO: ("sw = w;", "hw = r;"),
}


def system_rdl(params: CoreParams, *, name: str = "attnsieve") -> str:
    """SystemRDL text of a core's registers.

    Parameters
    ----------
    params : CoreParams
        The core.
    name : str
        Name of the address map, an identifier.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"Name must be an identifier, not {name!r}")
    found = register_map(params)
    lines = [
        f"addrmap {name} {{",
        f"    name = {_text(f'{name} registers')};",
        '    desc = "AXI4-Lite slave of 4 KB. Unmapped words read as 0; writing them is ignored.";',
        "    default regwidth = 32;",
        "    default accesswidth = 32;",
        *_enumerations(found),
    ]
    for register in found.registers:
        lines += _register(register)
    for window in found.windows:
        lines += _window(window)
    return "\n".join([*lines, "};", ""])


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _indent(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _enumerations(found: RegisterMap) -> list[str]:
    lines = []
    for register in found.registers:
        for field in register.fields:
            if field.values:
                lines += [f"enum {_enumeration(register, field)} {{"]
                lines += _indent(f"{name} = {value};" for name, value in field.values)
                lines += ["};"]
    return _indent(lines)


def _enumeration(register: Register, field: Field) -> str:
    return f"{register.name}_{field.name}_e".lower()


def _fields(owner: Register | Window) -> list[str]:
    lines = []
    for field in owner.fields:
        lines += [
            "field {",
            *_indent([f"name = {_text(field.name)};", f"desc = {_text(field.doc + '.')};"]),
            *_indent(_PROPERTIES[field.access]),
        ]
        if field.values and isinstance(owner, Register):
            lines += _indent([f"encode = {_enumeration(owner, field)};"])
        high = field.lsb + field.width - 1
        reset = "" if isinstance(owner, Window) else f" = {field.width}'h{field.reset:x}"
        lines += [f"}} {field.name}[{high}:{field.lsb}]{reset};"]
    return lines


def _head(owner: Register | Window) -> list[str]:
    return ["reg {", *_indent([f"name = {_text(owner.name)};", f"desc = {_text(owner.doc)};"])]


def _register(register: Register) -> list[str]:
    return _indent(
        [
            *_head(register),
            *_indent(_fields(register)),
            f"}} {register.name} @ 0x{register.offset:03x};",
        ]
    )


def _window(window: Window) -> list[str]:
    return _indent(
        [
            *_head(window),
            *_indent(_fields(window)),
            f"}} {window.name}[{window.words}] @ 0x{window.offset:03x} += 4;",
        ]
    )
