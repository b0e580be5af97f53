"""Register files: they compile, agree with the map, and are the same every time."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from attnsieve.gen.registers import export, system_rdl
from attnsieve.hdl.control.register_map import Access, register_map
from attnsieve.hdl.params import CoreParams

CORES = [CoreParams(), CoreParams(max_keys=4096, max_heads=64, addr_width=40, channels=4)]


@pytest.fixture(scope="module", params=CORES, ids=["32-bit", "40-bit"])
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("registers")
    return request.param, folder, export(request.param, folder, name="core")


def test_files(exported):
    _, folder, files = exported
    names = [str(f.relative_to(folder)) for f in files]
    assert names == ["core.rdl", "core_registers.h", "html/index.html", "core.md", "core.xml"]
    assert all(f.stat().st_size > 1000 for f in files)


def test_system_rdl_agrees_with_the_map(exported):
    from systemrdl import RDLCompiler

    params, _, files = exported
    compiler = RDLCompiler()
    compiler.compile_file(str(files[0]))
    top = compiler.elaborate().top
    nodes = {node.inst_name: node for node in top.registers(unroll=False)}
    found = register_map(params)
    assert set(nodes) == {r.name for r in (*found.registers, *found.windows)}
    for register in found.registers:
        node = nodes[register.name]
        assert node.absolute_address == register.offset
        fields = {f.inst_name: f for f in node.fields()}
        assert set(fields) == {f.name for f in register.fields}
        for field in register.fields:
            got = fields[field.name]
            assert (got.lsb, got.width) == (field.lsb, field.width)
            assert got.get_property("reset") == field.reset
            assert got.is_sw_readable == (field.access not in (Access.PULSE, Access.WO))
            assert got.is_sw_writable == (field.access is not Access.RO)
    for window in found.windows:
        node = nodes[window.name]
        assert node.raw_absolute_address == window.offset
        assert node.array_dimensions == [window.words]
        assert node.array_stride == 4


def test_c_header_agrees_with_the_map(exported, tmp_path):
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc is not installed")
    params, folder, _ = exported
    found = register_map(params)
    checks = []
    for register in found.registers:
        checks.append((f"offsetof(core_t, {register.name})", register.offset))
        for field in register.fields:
            macro = f"CORE__{register.name}__{field.name.upper()}"
            checks += [
                (f"{macro}_bm", field.mask),
                (f"{macro}_bp", field.lsb),
                (f"{macro}_bw", field.width),
                (f"{macro}_reset", field.reset),
            ]
    for window in found.windows:
        checks.append((f"offsetof(core_t, {window.name})", window.offset))
        checks.append((f"sizeof(((core_t *)0)->{window.name})", 4 * window.words))
    lines = [f'_Static_assert({what} == {value}u, "{what}");' for what, value in checks]
    source = tmp_path / "check.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdint.h>\n"
        '#include "core_registers.h"\n' + "\n".join(lines) + "\n"
    )
    command = [gcc, "-std=gnu11", "-Wall", "-Werror", "-I", str(folder), "-c", str(source)]
    subprocess.run([*command, "-o", str(tmp_path / "check.o")], check=True)


def test_ipxact_and_markdown_name_every_register(exported):
    params, folder, _ = exported
    found = register_map(params)
    names = {r.name for r in (*found.registers, *found.windows)}
    root = ElementTree.parse(folder / "core.xml").getroot()
    space = root.tag.split("}")[0] + "}"
    registers = root.iter(f"{space}register")
    assert {r.find(f"{space}name").text for r in registers} == names
    text = (folder / "core.md").read_text()
    assert all(re.search(rf"### {name}\b", text) for name in names)


def test_same_bytes_every_time(exported, tmp_path):
    params, folder, _ = exported
    export(params, tmp_path, name="core")
    first, second = (
        {p.relative_to(d): p.read_bytes() for p in d.rglob("*") if p.is_file()}
        for d in (folder, tmp_path)
    )
    assert set(first) == set(second)
    assert [str(p) for p in first if first[p] != second[p]] == []
    assert not any(str(tmp_path).encode() in b or str(folder).encode() in b for b in first.values())


@pytest.mark.parametrize("name", ["", "2nd", "a-b", "a b"])
def test_bad_name(name):
    with pytest.raises(ValueError, match=r"^Name must be an identifier, not "):
        system_rdl(CoreParams(), name=name)


@pytest.mark.parametrize("params", CORES, ids=["32-bit", "40-bit"])
def test_nothing_overlaps(params):
    found = register_map(params)
    taken = [(r.offset, r.offset + 4, r.name) for r in found.registers]
    taken += [(w.offset, w.offset + 4 * w.words, w.name) for w in found.windows]
    for (_, end, name), (start, _, other) in itertools.pairwise(sorted(taken)):
        assert end <= start, (name, other)
    for owner in (*found.registers, *found.windows):
        used = 0
        for field in owner.fields:
            assert not used & field.mask
            assert field.lsb + field.width <= 32
            assert field.reset < 1 << field.width
            used |= field.mask
    names = [r.name for r in (*found.registers, *found.windows)]
    assert len(set(names)) == len(names)
