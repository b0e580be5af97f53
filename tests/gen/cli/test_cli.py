"""The command line: every way to be wrong is one line and exit status 2."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from attnsieve.gen import cli, tools
from attnsieve.gen.errors import UserError
from attnsieve.sim.trace import Trace, save


@pytest.fixture
def attnsieve(capsys, tmp_path, monkeypatch):
    """Runs a command line in an empty folder: (status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        status = cli.run([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def trace(tmp_path):
    rng = np.random.default_rng(1)
    q = rng.normal(size=(2, 2, 3, 16)).astype(np.float32)
    path = tmp_path.parent / f"{tmp_path.name}.npz"
    save(path, Trace(q=q, k=q, v=q))
    yield path
    path.unlink()


def wrong(attnsieve, message, *words):
    status, out, err = attnsieve(*words)
    assert status == 2
    assert out == ""
    assert re.fullmatch(rf"attnsieve: {message}\n", err), err
    assert list(Path.cwd().iterdir()) == []


def test_list(attnsieve):
    status, out, err = attnsieve("list")
    assert (status, err) == (0, "")
    for name in ("dense", "dense-tiny", "dense-full"):
        assert re.search(rf"^{name} +supported", out, re.MULTILINE)


def test_list_as_json(attnsieve):
    status, out, _ = attnsieve("list", "--json")
    assert status == 0
    assert {p["name"]: p["core"]["lanes"] for p in json.loads(out)} == {
        "dense": 64, "dense-full": 512, "dense-tiny": 4, "leopard": 64,
        "leopard-ecp5": 32, "leopard-hp": 64, "leopard-tiny": 16,
        "spatten": 64,
        "spatten-ecp5": 16, "spatten-full": 512, "spatten-tiny": 4,
    }  # fmt: skip


def test_version_and_help(attnsieve):
    assert re.fullmatch(r"attnsieve \d+\.\d+\.\d+\n", attnsieve("--version")[1])
    status, out, _ = attnsieve("--help")
    assert status == 0
    for command in ("list", "generate", "trace", "simulate", "synth", "lint", "demo"):
        assert re.search(rf"^  {command} ", out, re.MULTILINE)
    assert attnsieve("generate", "--help")[0] == 0


def test_no_command_shows_help(attnsieve):
    status, out, _ = attnsieve()
    assert status == 2
    assert "Commands:" in out


@pytest.mark.parametrize(
    "words, message",
    [
        ("lst", "No such command 'lst'.*; see attnsieve --help"),
        ("list --jsn", "No such option.*--jsn.*; see attnsieve --help"),
        ("list x", "Got unexpected extra argument.*; see attnsieve --help"),
        ("generate", "Missing argument 'SYSTEM'; see attnsieve --help"),
        ("generate dense", "Missing option '-o' / '--output'; see attnsieve --help"),
        ("generate dens -o x", r"unknown system 'dens'; did you mean 'dense'\?"),
        ("generate dense --set lanes=3 -o x", "dense: lanes must be a power of two, not 3"),
        ("generate dense --set lanez=4 -o x", r".*unknown key 'lanez'; did you mean 'lanes'\?"),
        ("generate dense --config n.toml -o x", r"n\.toml: no such file"),
        ("generate none.toml -o x", r"none\.toml: no such file"),
        ("generate dense --seed -1 -o x", "Invalid value for '--seed'.*; see attnsieve --help"),
        ("generate dense -o /proc/none", "/proc/none: cannot be written: .*"),
        ("generate dense -o /dev/null", "/dev/null: is a file, not a folder"),
        ("generate dense -o /dev/null/x", "/dev/null/x: cannot be written: .*"),
        ("lint", "Missing argument 'SYSTEM'; see attnsieve --help"),
        ("lint dense --set lanes", "--set lanes: must be key=value, for example core.lanes=32"),
        ("synth dense", "Missing option '--target'; see attnsieve --help"),
        ("synth dense --target x", "unknown target 'x'; known: ecp5, ice40, gowin, xilinx, asic"),
        ("synth dense --target asic --pnr", "--pnr needs target ecp5 or ice40, not asic"),
        ("synth dense --target gowin --pnr", "--pnr needs target ecp5 or ice40, not gowin"),
        ("synth dense --target ecp5 --liberty f", "--liberty needs target asic, not ecp5"),
        ("synth dense --target asic --liberty f", "f: no such file"),
        ("synth dense --target asic --liberty /dev/null", "/dev/null: not a Liberty file: .*"),
        ("synth dense --target ecp5 -o /proc/x", "/proc/x: cannot be written: .*"),
        ("simulate dense -o x", "simulate needs exactly one of --trace and --workload"),
        ("simulate dense --trace a --workload b -o x", "simulate needs exactly one of .*"),
        ("simulate dense --workload b -o x", "b: no such file"),
        ("simulate dense --workload b --heads 0 -o x", "--heads is for traces; .*"),
        ("simulate dense --trace a --on rtl -o x", "--iterations and --on are for workloads; .*"),
        ("simulate dense --trace none.npz -o x", r"none\.npz cannot be read: .*"),
        ("simulate dense --trace /dev/null -o x", "/dev/null.*"),
        ("simulate dense --trace t --thresholds f -o x", "--thresholds: system dense has no .*"),
        ("simulate leopard --workload b --thresholds f -o x", "--thresholds is for traces; .*"),
        ("calibrate dense --trace t --keep 0.3 -o f", "calibrate: system dense has no thresholds"),
        ("calibrate leopard --trace none.npz --keep 0.3 -o f", r"none\.npz cannot be read: .*"),
        ("calibrate leopard --trace t", "Missing option '-o' / '--output'; see attnsieve --help"),
        ("trace minilm", "Missing option '-o' / '--output'; see attnsieve --help"),
        ("trace bert -o t.npz", "model must be one of minilm, smollm2, not 'bert'"),
        ("trace minilm -o /proc/t.npz", r"/proc/t\.npz: cannot be written: .*"),
        ("trace minilm --tokens 3 -o t.npz", "minilm has no option 'tokens'; .*"),
        ("trace minilm --text= -o t.npz", "the text must not be empty"),
        ("trace minilm --max-tokens 1 -o t.npz", r"tokens must be in 3\.\.256, not 1"),
        ("trace smollm2 --layers 99 -o t.npz", "layers? must be .*"),
        ("demo --text=", "the text must not be empty"),
        ("demo --system dens", r"unknown system 'dens'; did you mean 'dense'\?"),
    ],
)
def test_wrong_input(attnsieve, words, message):
    wrong(attnsieve, message, *words.split())


@pytest.mark.parametrize(
    "words, message",
    [
        ("--simulator modelsim", "simulator must be one of cxxrtl, verilator, icarus, not .*"),
        ("--layers 7", "layers? must be .*"),
        ("--heads x", "heads? must be .*"),
        ("--set max_keys=2", "keys must be at most 2 on this core, not 3"),
    ],
)
def test_wrong_simulations(attnsieve, trace, words, message):
    message = message.replace("cxxrtl, verilator, icarus", "[a-z, ]+")
    wrong(attnsieve, message, "simulate", "dense", "--trace", trace, "-o", "x", *words.split())


def test_output_in_the_way(attnsieve, trace, tmp_path):
    (tmp_path / "x").write_text("mine")
    status, _, err = attnsieve("simulate", "dense", "--trace", trace, "-o", "x")
    assert (status, err) == (2, "attnsieve: x: is a file, not a folder\n")
    assert (tmp_path / "x").read_text() == "mine"


def test_the_seed_is_the_configuration_s_if_none_is_given(attnsieve, monkeypatch):
    def seed(config, *args, **kwargs):
        raise UserError(f"seed {config.synth.seed}")

    monkeypatch.setattr("attnsieve.gen.cli.synth.synth", seed)
    words = ("synth", "dense", "--target", "ecp5", "--set", "synth.seed=7")
    assert attnsieve(*words) == (2, "", "attnsieve: seed 7\n")
    assert attnsieve(*words, "--seed", 9) == (2, "", "attnsieve: seed 9\n")


def test_a_missing_tool_is_named(attnsieve, monkeypatch):
    def missing(name):
        raise tools.MissingToolError(f"{name} is not installed: pip install {name}")

    monkeypatch.setattr(tools, "which", missing)
    for target, tool in (("ecp5", "nextpnr-ecp5"), ("ice40", "nextpnr-ice40")):
        message = f"{tool} is not installed: pip install {tool}"
        wrong(attnsieve, message, "synth", "dense", "--target", target, "--pnr")
    wrong(attnsieve, "sta is not installed.*", "synth", "dense", "--target", "asic")


@pytest.mark.parametrize(
    "error, status, text",
    [
        (UserError("a\n  b"), 2, "a b"),
        (tools.ToolError("yosys: ERROR: x"), 1, "yosys: ERROR: x"),
        (OSError(28, "No space left on device", "f"), 2, "f: No space left on device"),
    ],
)
def test_how_commands_end(attnsieve, monkeypatch, error, status, text):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("attnsieve.gen.cli.generate.write_package", fail)
    assert attnsieve("generate", "dense", "-o", "x") == (status, "", f"attnsieve: {text}\n")


def test_a_bug_is_not_hidden(attnsieve, monkeypatch):
    def fail(*arguments, **options):
        raise ZeroDivisionError

    monkeypatch.setattr("attnsieve.gen.cli.generate.write_package", fail)
    with pytest.raises(ZeroDivisionError):
        attnsieve("generate", "dense", "-o", "x")


def test_the_command_is_installed():
    program = Path(sys.executable).with_name("attnsieve")
    done = subprocess.run([program, "synth", "dense"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "attnsieve: Missing option '--target'; see attnsieve --help\n"


def test_calibrate_and_what_simulate_makes_of_it(attnsieve, trace):
    """Thresholds that are calibrated, those of another trace, and a wrong share."""
    limits = trace.with_suffix(".toml")
    wrong(attnsieve, "keep must be over 0 and at most 1, not 2.0",
          "calibrate", "leopard-tiny", "--trace", trace, "--keep", 2, "-o", "f.toml")  # fmt: skip
    status, out, err = attnsieve(
        "calibrate", "leopard-tiny", "--trace", trace, "--keep", 0.5, "-o", limits, "--json"
    )
    assert (status, err) == (0, "")
    assert np.shape(json.loads(out)["thresholds"]) == (2, 2)
    words = ("calibrate", "leopard-tiny", "--trace", trace, "-o", limits)
    wrong(attnsieve, "calibrate takes either --keep or --margin", *words)
    both = ("--keep", 1, "--margin", 1)
    wrong(attnsieve, "calibrate takes either --keep or --margin", *words, *both)
    text = "--per and --relative go with --keep, not with --margin"
    for more in (("--per", "head"), ("--relative",)):
        wrong(attnsieve, text, *words, "--margin", 3, *more)
    assert attnsieve(*words, "--keep", 0.5, "--relative")[0] == 0
    assert "relative = true" in limits.read_text()
    status, out, err = attnsieve(*words, "--margin", 4, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["thresholds"] == [[4.0, 4.0]] * 2
    limits.write_text(limits.read_text() + "\n[[layers]]\nthresholds = [0.0, 0.0]\n")
    words = ("simulate", "leopard-tiny", "--trace", trace, "--thresholds", limits, "-o", "x")
    wrong(attnsieve, "thresholds must be of 2 layers as the trace, not 3", *words)
    limits.unlink()
