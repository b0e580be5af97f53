"""Generated Verilog: the same text in any process, and lint-clean."""

import os
import re
import subprocess
import sys

import pytest

from attnsieve.gen import config, lint, tools
from attnsieve.gen.errors import UserError
from attnsieve.gen.verilog import core_ports, digest, generate_verilog

_SCRIPT = """
from attnsieve.gen import config, verilog
c = config.load("dense-tiny")
print(verilog.digest(verilog.generate_verilog(c)))
"""


def test_the_text_is_the_same_in_any_process(tmp_path):
    found = {digest(generate_verilog(config.load("dense-tiny")))}
    for seed, folder in (("1", tmp_path), ("77", "/")):
        env = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo", "HOME": str(tmp_path)}
        command = [sys.executable, "-P", "-c", _SCRIPT]
        done = subprocess.run(
            command, cwd=folder, env=env, check=True, capture_output=True, text=True
        )
        found.add(done.stdout.strip())
    assert len(found) == 1


def test_only_the_core_decides(tmp_path):
    plain = generate_verilog(config.load("dense-tiny"))
    other = generate_verilog(
        config.load("dense-tiny", settings=["latency=9", "bits=12", "intent=x"])
    )
    assert other == plain
    assert generate_verilog(config.load("dense-tiny", settings=["max_keys=32"])) != plain


def test_names_and_ports():
    chosen = config.load("dense-tiny")
    text = generate_verilog(chosen)
    modules = re.findall(r"^module (\S+?)\(", text, re.M)
    assert modules.count(chosen.top) == 1
    assert all(name.lstrip("\\").startswith(chosen.top) for name in modules)
    assert "[-1:0]" not in text
    assert "src =" not in text
    names = [port.name for port in core_ports(chosen)]
    assert names[:2] == ["clk", "rst"]
    assert all(re.fullmatch(r"clk|rst|irq|(m_axi|s_axil)_[a-z]+", name) for name in names)
    wide = [p.name for p in core_ports(config.load("dense"))]
    assert any(name.startswith("m_axi1_") for name in wide)


def test_a_core_whose_blocks_cannot_be_joined():
    chosen = config.load("dense", settings=["lanes=16", "channels=16"])
    with pytest.raises(UserError, match="^dense: core: Memory must deliver at most 32 lines at"):
        generate_verilog(chosen)


@pytest.mark.parametrize(
    "preset, settings",
    [
        ("dense-tiny", []),
        ("spatten-tiny", []),
        ("leopard-tiny", ["slice_words=sign_magnitude"]),
        ("leopard-tiny", ["value_demand=true", "slice_demand=true", "data_width=64"]),
        pytest.param("leopard-tiny", ["value_demand=true"], marks=pytest.mark.full),
        *(
            pytest.param(name, [], marks=pytest.mark.full)
            for name in ("dense", "dense-full", "spatten", "spatten-ecp5", "leopard-tiny",
                         "leopard-ecp5")
        ),
    ],
)
def test_presets_are_lint_clean(preset, settings):
    for tool in ("verilator", "iverilog", "yosys"):
        try:
            tools.which(tool)
        except tools.MissingToolError as error:
            pytest.skip(str(error))
    report = lint.lint(config.load(preset, settings=settings))
    assert report.as_dict() == {"verilator": [], "icarus": [], "yosys": []}


LATCH = "module t(input a, input en, output reg q);\n  always @* if (en) q = a;\nendmodule\n"
LOOP = "module t(input a, output y);\n  wire x = ~(y & a);\n  assign y = x;\nendmodule\n"
TWICE = "module t(input a, input b, output y);\n  assign y = a;\n  assign y = b;\nendmodule\n"
UNDRIVEN = "module t(input a, output y);\n  wire x;\n  assign y = x & a;\nendmodule\n"
BROKEN = "module t(input a;\nendmodule\n"


@pytest.mark.parametrize("text", [LATCH, LOOP, TWICE, UNDRIVEN, BROKEN])
def test_lint_finds_what_is_wrong(text):
    report = lint.lint_verilog(text, "t")
    assert not report.clean
    assert report.verilator
    assert report.yosys


def test_every_waiver_is_needed_and_has_a_reason():
    text = generate_verilog(config.load("dense-tiny"))
    for rule, reason in lint.WAIVERS.items():
        assert len(reason) > 20, rule
    used = lint.rules_without_waivers(text, "attnsieve_dense_tiny")
    assert set(lint.WAIVERS) - used <= {"DECLFILENAME"}
