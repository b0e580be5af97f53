"""The package of a core: complete, the same every time, and its driver runs the RTL."""

import ctypes
import json
import re
import subprocess
from hashlib import sha256

import pytest

from attnsieve.gen import config, tools
from attnsieve.gen.lint import WAIVERS
from attnsieve.gen.package import driver_texts, write_package
from attnsieve.hdl.control.register_map import counters as counters_of
from attnsieve.hdl.control.register_map import register_map
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.compiled import CompiledMachine

TINY = config.load("dense-tiny")
WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_package(TINY, tmp_path_factory.mktemp("package") / "tiny")


def files(folder):
    found = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def test_files(package):
    found = set(files(package))
    top = TINY.top
    assert {
        f"{top}.v", f"{top}.core", f"{top}.vlt", f"{top}.sdc", "config.toml", "manifest.json",
        "README.md", "driver/attnsieve.h", "driver/attnsieve.c", "driver/example.c",
        "driver/example.h", f"registers/{top}.rdl", f"registers/{top}.xml",
        f"registers/{top}_registers.h", "registers/html/index.html", f"registers/{top}.md",
    } <= found  # fmt: skip


def test_manifest(package):
    manifest = json.loads((package / "manifest.json").read_text())
    assert manifest["top"] == TINY.top
    assert manifest["config"] == TINY.as_dict()
    listed = {name: content for name, content in files(package).items() if name != "manifest.json"}
    assert manifest["sha256"] == {n: sha256(c).hexdigest() for n, c in sorted(listed.items())}
    ports = {p["name"]: (p["direction"], p["width"]) for p in manifest["ports"]}
    assert ports["clk"] == ("input", 1)
    assert ports["m_axi_rdata"] == ("input", 32)
    assert ports["m_axi_araddr"] == ("output", 24)
    assert ports["s_axil_wdata"] == ("input", 32)
    assert ports["irq"] == ("output", 1)
    assert set(manifest["tool_versions"]) == {"attnsieve", "amaranth", "yosys"}


def test_manifest_ports_are_the_verilog_ports(package):
    manifest = json.loads((package / "manifest.json").read_text())
    verilog = (package / f"{TINY.top}.v").read_text()
    body = re.search(rf"^module {TINY.top}\((.*?)\);(.*?)^endmodule", verilog, re.M | re.S)
    declared = {
        name: (direction, int(high or 0) + 1)
        for direction, high, name in re.findall(
            r"^  (input|output) (?:signed )?(?:\[(\d+):0\] )?(\w+);", body[2], re.M
        )
    }
    assert declared == {p["name"]: (p["direction"], p["width"]) for p in manifest["ports"]}
    assert sorted(declared) == sorted(name.strip() for name in body[1].split(","))


def test_config_makes_the_same_package_anywhere(package, tmp_path):
    again = write_package(config.load(str(package / "config.toml")), tmp_path / "a" / "b")
    mine, other = files(again), files(package)
    assert [n for n in sorted({*mine, *other}) if mine.get(n) != other.get(n)] in (
        [],
        ["config.toml", "manifest.json"],  # a file is experimental until it is a preset
    )


def test_readme_has_ports_registers_and_parameters(package):
    text = (package / "README.md").read_text()
    manifest = json.loads((package / "manifest.json").read_text())
    for port in manifest["ports"]:
        direction = "in" if port["direction"] == "input" else "out"
        assert f"| `{port['name']}` | {direction} | {port['width']} |" in text
    registers = register_map(TINY.core)
    for register in (*registers.registers, *registers.windows):
        assert f"| 0x{register.offset:03x} | `{register.name}` |" in text
    for name, value in TINY.core.as_dict().items():
        assert f"| `{name}` | {str(value).lower()} |" in text
    for file in re.findall(r"^\| `([\w./]+)` \|", text.split("## Ports")[0], re.M):
        assert (package / file).exists(), file
    assert "\n\n\n" not in text


def test_waivers_are_shipped(package):
    text = (package / f"{TINY.top}.vlt").read_text()
    assert re.findall(r"lint_off -rule (\w+)", text) == list(WAIVERS)


def test_core_file_is_yaml_with_existing_files(package):
    yaml = pytest.importorskip("yaml")
    text = (package / f"{TINY.top}.core").read_text()
    assert text.startswith("CAPI=2:\n")
    core = yaml.safe_load(text.removeprefix("CAPI=2:\n"))
    assert re.fullmatch(r"attnsieve:cores:dense-tiny:\d+\.\d+\.\d+", core["name"])
    for fileset in core["filesets"].values():
        assert all((package / name).exists() for name in fileset["files"])
    for target in core["targets"].values():
        assert target["toplevel"] == TINY.top
        assert set(target["filesets"]) <= set(core["filesets"])


def test_fusesoc_reads_the_core_file(package, tmp_path):
    pytest.importorskip("fusesoc", reason="fusesoc is not installed: pip install fusesoc")
    subprocess.run(
        ["fusesoc", "--cores-root", package, "core-info", "attnsieve:cores:dense-tiny"],
        check=True, cwd=tmp_path, capture_output=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "params",
    [
        CoreParams(),
        TINY.core,
        CoreParams(addr_width=64, channels=16, data_width=512, max_heads=64, max_keys=4096),
    ],
)
def test_driver_compiles_without_warnings(params, tmp_path):
    for name, text in driver_texts(params, "attnsieve_x").items():
        (tmp_path / name).write_text(text)
    for freestanding in (["-ffreestanding"], []):
        arguments = [*WARNINGS, *freestanding, "-x", "c", "-fsyntax-only", "attnsieve.c"]
        run_c(arguments, tmp_path)
    run_c([*WARNINGS[:3], "-Werror", "-x", "c", "-fsyntax-only", "example.c"], tmp_path)


def run_c(arguments, folder):
    tools.run_program("gcc", [*arguments], folder)


READ = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)
WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)


class Bus(ctypes.Structure):
    _fields_ = [("read", READ), ("write", WRITE), ("context", ctypes.c_void_p)]


class Memory(ctypes.Structure):
    _fields_ = [("channel", ctypes.c_void_p * 1), ("base", ctypes.c_uint64)]


class Counters(ctypes.Structure):
    _fields_ = [
        ("cycles", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name, _ in counters_of(TINY.core)),
    ]


class Core(ctypes.Structure):
    _fields_ = [("bus", Bus)]


@pytest.fixture(scope="module")
def machine(package):
    verilog = (package / f"{TINY.top}.v").read_text()
    with CompiledMachine(verilog, TINY.top, memory_bytes=8192, seed=1, touch=True) as made:
        made.reset()
        yield made


@pytest.fixture
def bus(machine):
    """The machine's register bus as callbacks for C."""

    def write(context, offset, value):
        machine.write(offset, value)

    return Bus(READ(lambda context, offset: machine.read(offset)), WRITE(write), None)


@pytest.fixture(scope="module")
def library(package):
    folder = package / "driver"
    sources = ["attnsieve.c", "example.c"]
    run_c(
        [*WARNINGS[:3], "-Werror", "-x", "c", "-shared", "-fPIC", "-o", "driver.so", *sources],
        folder,
    )
    loaded = ctypes.CDLL(str(folder / "driver.so"))
    (folder / "driver.so").unlink()
    return loaded


def test_the_example_runs_on_the_rtl(library, machine, bus):
    memory = Memory((ctypes.c_void_p * 1)(machine.memory[0].ctypes.data), 4096)
    counters = Counters()
    machine.clear()
    arguments = (ctypes.byref(bus), ctypes.byref(memory), ctypes.byref(counters))
    assert library.example_run(*arguments) == StatusCode.OK.value
    assert counters.cycles == counters.busy + sum(
        getattr(counters, name) for name, _ in counters_of(TINY.core) if name.startswith("stall_")
    )
    assert (counters.rows, counters.empty_rows) == (2 * 5, 0)
    assert counters.scores == 2 * 5 * 9
    assert counters.write_bytes == 2 * 5 * 16 * 2
    assert machine.violations is None


def test_the_driver_refuses_another_core(library, machine, bus):
    registers = register_map(TINY.core)
    wrong = {registers["ID"].offset: 0, registers["LANES"].offset: 64}
    core = Core()
    for offset, value in wrong.items():
        other = Bus(
            READ(lambda _, at, o=offset, v=value: v if at == o else machine.read(at)),
            bus.write, None,
        )  # fmt: skip
        assert library.attnsieve_init(ctypes.byref(core), ctypes.byref(other)) == -1
    assert library.attnsieve_init(ctypes.byref(core), ctypes.byref(bus)) == 0


def test_the_driver_reports_a_refused_job(library, machine, bus):
    core = Core()
    assert library.attnsieve_init(ctypes.byref(core), ctypes.byref(bus)) == 0
    library.attnsieve_enable_irq(ctypes.byref(core), False, True)
    job = (ctypes.c_uint8 * 256)()  # all zeros: no heads, no tensors
    assert library.attnsieve_start(ctypes.byref(core), ctypes.byref(job)) == 0
    assert library.attnsieve_wait(ctypes.byref(core), 1000) == StatusCode.ZERO_LENGTH.value
    assert machine.irq
    registers = register_map(TINY.core)
    assert (
        library.attnsieve_take_irq(ctypes.byref(core)) & registers["IRQ_STATUS"].field("error").mask
    )
    machine.run(4)
    assert not machine.irq


def test_the_driver_checks_sizes_of_tables(library, bus):
    core = Core()
    assert library.attnsieve_init(ctypes.byref(core), ctypes.byref(bus)) == 0
    job = (ctypes.c_uint16 * 128)(TINY.core.max_heads + 1)
    assert library.attnsieve_start(ctypes.byref(core), ctypes.byref(job)) == -3


def test_abort_ends_in_idle(library, machine, bus):
    core = Core()
    assert library.attnsieve_init(ctypes.byref(core), ctypes.byref(bus)) == 0
    library.attnsieve_abort(ctypes.byref(core))
    assert library.attnsieve_wait(ctypes.byref(core), 1000) >= 0
    assert library.attnsieve_jobs(ctypes.byref(core)) == 0
